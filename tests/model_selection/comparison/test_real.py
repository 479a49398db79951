"""Comparisons of real data: Herlev's cells, gliomas, lymph nodes of dogs; and of no effect."""

import numpy as np
import pandas as pd
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skcyto.feature_selection import CorrelationTTestFilter
from skcyto.model_selection import compare_models, corrected_resampled_ttest


@pytest.fixture(scope="module")
def herlev(shared_data):
    file = np.load(shared_data / "cytology/herlev/herlev_dev_dinov2s_112_tokens.npz")
    return file["tokens"][:, 0].astype(np.float32), file["label"], file["group"]


@pytest.fixture(scope="module")
def glioma(shared_data):
    table = pd.read_csv(shared_data / "radiomics/egd_glioma_4seq.csv.gz")
    return table.filter(like="original_"), np.where(table["IDH"] == 1, "mutant", "wildtype")


def logistic(C=0.01, **options):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000, **options))


def test_glioma(glioma):
    X, y = glioma
    found = compare_models(
        {
            "majority": DummyClassifier(),
            "logistic": logistic(),
            "filter, logistic": make_pipeline(CorrelationTTestFilter(), *logistic(0.1)),
        },
        X,
        y,
        random_state=0,
    )
    areas = found.table("roc_auc_ovr")["roc_auc_ovr"]
    assert areas.loc["majority", "mean"] == 0.5
    assert areas.loc["logistic", "mean"] > 0.75
    tests = found.ttest(metric="roc_auc_ovr")
    assert (tests["p_holm"] < 0.01).all()
    # The filter is no worse than practically equivalent or better: it isn't worse for certain.
    belief = found.bayesian(reference="logistic", metric="roc_auc_ovr")
    assert belief.loc[("filter, logistic", "logistic"), "p_worse"] < 0.5


def test_dogs_with_several_nodes_stay_on_one_side(shared_data):
    table = pd.read_csv(shared_data / "radiomics/dog_lymphnode_ct.csv.gz")
    X, y, dog = table.filter(like="original_"), table["metastatic"], table["patient_id"]
    models = {"majority": DummyClassifier(), "forest": RandomForestClassifier(30)}
    with pytest.raises(ValueError, match=r"splits \d+ group"):
        compare_models(models, X, y, groups=dog, cv=StratifiedKFold(5, shuffle=True))
    found = compare_models(models, X, y, groups=dog, random_state=0)
    for train, test in found.splits.splits:
        assert not set(dog[train]) & set(dog[test])
    # 91 % accuracy without having learnt anything.
    assert found.table("accuracy").loc["majority"].iloc[0] == pytest.approx(177 / 195, abs=0.005)
    assert found.table("recall[1]").loc["majority"].iloc[0] == 0
    assert found.table("balanced_accuracy").loc["majority"].iloc[0] == 0.5


@pytest.mark.slow
def test_herlev_nested_grouped_comparison_of_eight_models(herlev, tmp_path):
    X, y, groups = herlev
    inner = StratifiedGroupKFold(3)

    def tuned(model, **grid):
        pipeline = make_pipeline(StandardScaler(), model)
        name = pipeline.steps[-1][0]
        grid = {f"{name}__{key}": values for key, values in grid.items()}
        return GridSearchCV(pipeline, grid, cv=inner, scoring="f1_macro")

    models = {
        "majority": DummyClassifier(),
        "logistic": tuned(LogisticRegression(max_iter=2000), C=[0.001, 0.01, 0.1]),
        "balanced logistic": tuned(
            LogisticRegression(max_iter=2000, class_weight="balanced"), C=[0.001, 0.01, 0.1]
        ),
        "SVC": tuned(SVC(), C=[1, 10]),
        "ridge": tuned(RidgeClassifier(), alpha=[10, 1000]),
        "neighbours": tuned(KNeighborsClassifier(), n_neighbors=[5, 15]),
        "LDA": tuned(LinearDiscriminantAnalysis(solver="lsqr"), shrinkage=[0.1, 0.5]),
        "forest": RandomForestClassifier(100),
        "naive Bayes": GaussianNB(),
    }
    found = compare_models(models, X, y, groups=groups, random_state=0)
    assert found.models == list(models)
    for train, test in found.splits.splits:
        assert not set(groups[train]) & set(groups[test])
    # A linear probe reaches a balanced accuracy of 0.51 to 0.59 over seven classes.
    balanced = found.table("balanced_accuracy")["balanced_accuracy"]
    assert 0.49 < balanced.loc["logistic", "mean"] < 0.61
    assert balanced.loc["majority", "mean"] == pytest.approx(1 / 7)
    tests = found.ttest(reference="majority")
    assert (tests["p_holm"] < 0.05).all()
    # Balanced weights make no difference that ten folds could show.
    close = found.ttest(reference="logistic").loc[("balanced logistic", "logistic")]
    assert close["p_holm"] > 0.05
    found.to_html(tmp_path / "page.html", reference="logistic")
    assert (tmp_path / "page.html").stat().st_size > 100_000


def test_abnormal_against_normal_cells(herlev):
    X, y, groups = herlev
    abnormal = ~np.char.startswith(y.astype(str), "normal")
    models = {"logistic": logistic(1.0)}
    grouped = compare_models(models, X, abnormal, groups=groups, random_state=0, cv=5)
    area = grouped.table("roc_auc_ovr").loc["logistic"].iloc[0]
    assert 0.86 < area < 0.92
    # Rows of one acquisition on both sides of a fold: what looks better is a leak.
    leaking = compare_models(models, X, abnormal, random_state=0, cv=5)
    assert leaking.table("roc_auc_ovr").loc["logistic"].iloc[0] > area + 0.01


@pytest.mark.slow
def test_under_the_null_the_corrected_test_keeps_its_level_and_the_naive_one_does_not():
    rng = np.random.default_rng(0)
    models = {"bayes": GaussianNB(), "tree": DecisionTreeClassifier(max_depth=3)}
    corrected, naive = [], []
    for seed in range(500):
        X, y = rng.normal(size=(100, 8)), rng.permutation(np.arange(100) % 2)
        found = compare_models(models, X, y, scoring=["accuracy"], random_state=seed)
        corrected.append(found.ttest().loc[("tree", "bayes"), "pvalue"])
        differences = found.fold_scores("tree") - found.fold_scores("bayes")
        naive.append(corrected_resampled_ttest(differences, 0).pvalue)
    assert np.mean(np.array(corrected) < 0.05) <= 0.07
    assert np.mean(np.array(naive) < 0.05) > 0.10
