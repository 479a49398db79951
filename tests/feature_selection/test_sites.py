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


def test_with_the_class_as_a_covariate_features_of_a_case_depend_on_its_class(sites):
    table, y, site = sites.make_table(effect=0.8)
    labels = pd.DataFrame({"y": y}, index=table.index)
    combat = combatlearn.ComBat(batch=site, discrete_covariates=labels, method="fortin")
    combat.fit(table.iloc[:100])
    features = combat.transform(table.iloc[100:])
    combat.discrete_covariates = 1 - labels
    assert np.abs(combat.transform(table.iloc[100:]) - features).max().max() > 0.1


def test_classes_that_are_more_frequent_in_a_site_lose_their_difference():
    """A tenth and nine tenths in two sites of one size: 0.8 becomes 0.8 * (1 - 0.8 ** 2)."""
    rng = np.random.default_rng(0)
    y = np.repeat([1, 0, 1, 0], [200, 1800, 1800, 200])
    site = pd.Series(np.repeat(["A", "B"], 2000))
    table = pd.DataFrame(rng.normal(size=(4000, 6)) + 0.8 * y[:, None]).add_prefix("feature_")
    after = combatlearn.ComBat(batch=site, mean_only=True).fit(table).transform(table)
    difference = after[y == 1].mean() - after[y == 0].mean()
    assert difference.mean() == pytest.approx(0.288, abs=0.03)
