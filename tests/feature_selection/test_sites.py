"""The recipe of the guide: ComBat inside the fold, and what labels as covariates do."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.model_selection import compare_models

combatlearn = pytest.importorskip("combatlearn", reason="combatlearn is not installed")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:combatlearn")


@pytest.fixture(scope="module")
def sites():
    spec = importlib.util.spec_from_file_location("sites", ROOT / "benchmarks" / "sites.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_comparison_with_combat_in_the_fold(sites):
    table, y, site = sites.make_table(effect=0.8)
    classifier = LogisticRegression(C=0.1, max_iter=2000)
    models = {
        "as they are": make_pipeline(StandardScaler(), classifier),
        "ComBat": make_pipeline(combatlearn.ComBat(batch=site), StandardScaler(), classifier),
    }
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    comparison = compare_models(models, table, y, cv=folds, random_state=0)
    # What the comparison scored is what comes of fitting each step on the training rows.
    train, test = next(folds.split(table, y))
    combat = combatlearn.ComBat(batch=site).fit(table.iloc[train])
    rest = make_pipeline(StandardScaler(), classifier)
    rest.fit(combat.transform(table.iloc[train]), y[train])
    expected = rest.predict_proba(combat.transform(table.iloc[test]))[:, 1]
    found = comparison.out_of_fold("ComBat").query("fold == 0").set_index("sample")
    np.testing.assert_allclose(found.loc[test, "predict_proba[1]"], expected)


def test_site_effects_go_in_rows_outside_the_fit(sites):
    effects = sites.effects_in_folds(*sites.make_table(effect=0.8))
    assert effects["after"]["share"].median() < 0.3 * effects["before"]["share"].median()
    assert (effects["before"]["pvalue"] < 0.05).mean() > 0.8
    assert (effects["after"]["pvalue"] < 0.05).mean() < 0.3


def test_shares_of_variance_are_those_of_an_analysis_of_variance(sites):
    import statsmodels.api as sm
    from statsmodels.formula.api import ols

    table, _, site = sites.make_table(60, 3)
    effects = sites.site_effects(table, site)
    frame = table.assign(site=site)
    for name in table:
        anova = sm.stats.anova_lm(ols(f"{name} ~ site", frame).fit())
        share = anova.loc["site", "sum_sq"] / anova["sum_sq"].sum()
        assert effects.loc[name, "share"] == pytest.approx(share)


def test_the_class_as_a_covariate_leaks(sites):
    scores = {"plain": [], "leaking": []}
    for seed in range(4):
        table, y, site = sites.make_table(random_state=seed)
        labels = pd.DataFrame({"y": y}, index=table.index)
        leaking = combatlearn.ComBat(batch=site, discrete_covariates=labels, method="fortin")
        scores["plain"].append(sites.auc(table, y, combatlearn.ComBat(batch=site)))
        scores["leaking"].append(sites.auc(table, y, leaking))
    assert abs(np.mean(scores["plain"]) - 0.5) < 0.1
    assert np.mean(scores["leaking"]) > 0.65
