"""What is read from an explanation: rankings, intervals, groups."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skcyto.inspection import Explanation, explain, parse_radiomics_names
from skcyto.inspection._shapley._shap import import_shap


@pytest.fixture
def explanation():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 5, 2)) * np.array([1, 5, 2, 0.1, 0])[:, None]
    return Explanation(
        values,
        [0.4, 0.6],
        rng.normal(size=(30, 5)),
        feature_names=list("abcde"),
        class_names=["normal", "abnormal"],
        repeat_importances=np.abs(values).mean(axis=0) * rng.uniform(0.5, 1.5, (4, 5, 1)),
    )


def test_each_class_is_a_shap_explanation(explanation):
    shap = import_shap()
    assert list(explanation) == ["normal", "abnormal"]
    assert len(explanation) == 2
    one = explanation["abnormal"]
    assert isinstance(one, shap.Explanation)
    np.testing.assert_array_equal(one.values, explanation.values[:, :, 1])
    assert list(one.feature_names) == list("abcde")
    np.testing.assert_array_equal(one.base_values, np.full(30, 0.6))
    both = explanation.to_shap()
    assert both.values.shape == (30, 5, 2)
    np.testing.assert_array_equal(both[:, :, "normal"].values, explanation.values[:, :, 0])
    with pytest.raises(KeyError, match="normal, abnormal"):
        explanation["rubbish"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:shap")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning:shap")
def test_shaps_own_plots_take_it(explanation):
    import matplotlib.pyplot as plt

    import_shap().plots.beeswarm(explanation["abnormal"], show=False)
    labels = [text.get_text() for text in plt.gca().get_yticklabels()]
    assert labels[-1] == "b"


def test_global_importance_is_the_mean_absolute_value(explanation):
    table = explanation.global_importance("abnormal", random_state=0)
    assert table.index.tolist() == ["b", "c", "a", "d", "e"]
    assert table["rank"].tolist() == [1, 2, 3, 4, 5]
    expected = np.abs(explanation.values[:, :, 1]).mean(axis=0)
    np.testing.assert_allclose(table.loc[list("abcde"), "importance"], expected)
    assert (table["ci_low"] <= table["importance"]).all()
    assert (table["importance"] <= table["ci_high"]).all()
    overall = explanation.global_importance(random_state=0)
    np.testing.assert_allclose(
        overall.loc[list("abcde"), "importance"], np.abs(explanation.values).mean(axis=(0, 2))
    )
    pd.testing.assert_frame_equal(overall, explanation.global_importance(random_state=0))


def test_interval_is_scipys_percentile_bootstrap(explanation):
    table = explanation.global_importance("normal", n_resamples=20_000, random_state=0)
    sample = np.abs(explanation.values[:, 1, 0])
    theirs = bootstrap(
        (sample,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    np.testing.assert_allclose(
        table.loc["b", ["ci_low", "ci_high"]].astype(float), theirs, rtol=0.02
    )


def test_groups_widen_the_interval(explanation):
    # Every row thrice, as three cells of one patient: no more is known than from each once.
    thrice = Explanation(
        np.repeat(explanation.values, 3, axis=0), [0, 0], np.repeat(explanation.data, 3, axis=0)
    )
    patients = np.repeat(np.arange(30), 3)
    common = {"n_resamples": 4000, "random_state": 0}

    def width(table):
        return table["ci_high"].iloc[0] - table["ci_low"].iloc[0]

    once = width(explanation.global_importance(**common))
    grouped = width(thrice.global_importance(groups=patients, **common))
    naive = width(thrice.global_importance(**common))
    assert grouped == pytest.approx(once, rel=0.1)
    assert naive < 0.7 * grouped
    with pytest.raises(ValueError, match="90 rows were explained"):
        thrice.global_importance(groups=patients[:5])


def test_stability_over_repeats(explanation):
    table = explanation.ranking_stability("abnormal", top=2)
    assert table.index.tolist() == explanation.global_importance("abnormal").index.tolist()
    assert table["rank_mean"].iloc[-1] == 5
    assert table["rank_std"].iloc[-1] == 0
    assert table["top_frequency"].sum() == pytest.approx(2)
    agreement = explanation.rank_agreement("abnormal", top=2)
    assert 0.5 < agreement["spearman"] <= 1
    assert agreement.index.tolist() == ["spearman", "top_overlap", "same_first"]
    same = Explanation(
        explanation.values,
        [0, 0],
        explanation.data,
        repeat_importances=np.stack([np.abs(explanation.values).mean(axis=0)] * 3),
    )
    assert same.rank_agreement().tolist() == pytest.approx([1, 1, 1])
    single = Explanation(explanation.values, [0, 0], explanation.data)
    for method in (single.ranking_stability, single.rank_agreement):
        with pytest.raises(ValueError, match="n_repeats"):
            method()
    for top in (0, 2.5):
        for method in (explanation.ranking_stability, explanation.rank_agreement):
            with pytest.raises(ValueError, match=f"top={top} must be an int of at least 1"):
                method(top=top)


def test_bad_shapes_are_named(explanation):
    with pytest.raises(ValueError, match="n_outputs"):
        Explanation(np.zeros((3, 2)), [0], np.zeros((3, 2)))
    with pytest.raises(ValueError, match="feature_names has 1 names, but there are 2"):
        Explanation(np.zeros((3, 2, 1)), [0], np.zeros((3, 2)), feature_names=["a"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_resamples": 0}, "n_resamples=0 must be an int of at least 1"),
        ({"confidence_level": 95}, "confidence_level=95 must lie between 0 and 1"),
        ({"groups": ["one patient"] * 30}, "one group only, which gives no interval"),
    ],
)
def test_intervals_that_cannot_be_are_named(explanation, params, message):
    with pytest.raises(ValueError, match=message):
        explanation.global_importance("abnormal", **params)


def test_an_explanation_says_what_it_is_of(explanation):
    assert "30 samples, 5 features, classes normal, abnormal>" in repr(explanation)


def test_groups_of_features_are_names_or_a_rule(explanation):
    with pytest.raises(TypeError, match="by=3 must be a part of a name, a callable or a sequence"):
        explanation.group_importance(3)
    with pytest.raises(TypeError, match="names='age' must be a sequence of feature names"):
        parse_radiomics_names("age")


def test_pickles(explanation):
    copy = pickle.loads(pickle.dumps(explanation))
    pd.testing.assert_frame_equal(
        copy.global_importance(random_state=0), explanation.global_importance(random_state=0)
    )


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "superior_rectus__wavelet-LLH_glcm_Contrast",
            ("superior_rectus", "wavelet-LLH", "wavelet", "glcm", "Contrast"),
        ),
        ("original_shape_Sphericity", ("", "original", "original", "shape", "Sphericity")),
        (
            "radiomics__lens__log-sigma-1-0-mm-3D_firstorder_10Percentile",
            ("lens", "log-sigma-1-0-mm-3D", "log", "firstorder", "10Percentile"),
        ),
        ("T1_original_ngtdm_Busyness", ("T1", "original", "original", "ngtdm", "Busyness")),
        ("a__lbp-3D-m1_shape2D_Perimeter", ("a", "lbp-3D-m1", "lbp", "shape2D", "Perimeter")),
        ("age", ("other",) * 5),
        ("image_78", ("other",) * 5),
        ("diagnostics_Versions_Python", ("other",) * 5),
    ],
)
def test_radiomics_names(name, parts):
    assert tuple(parse_radiomics_names([name]).iloc[0]) == parts


def test_group_importance_by_hand():
    names = ["lens__original_glcm_A", "lens__square_glcm_B", "nerve__original_shape_C", "age"]
    values = np.array([[1.0, -1.0, 0.5, 0.1], [2.0, -1.0, -0.5, 0.1]])[:, :, None]
    explanation = Explanation(values, [0], np.zeros((2, 4)), feature_names=names)
    table = explanation.group_importance("structure", random_state=0)
    # lens: |1 - 1| and |2 - 1|; its features alone would sum to 2.5.
    assert table["importance"].to_dict() == pytest.approx({"lens": 0.5, "nerve": 0.5, "other": 0.1})
    assert table.loc["lens", "total"] == pytest.approx(2.5)
    assert table["share"].sum() == pytest.approx(1)
    assert table["n_features"].to_dict() == {"lens": 2, "nerve": 1, "other": 1}
    assert table.loc["lens", "per_feature"] == pytest.approx(1.25)
    assert set(explanation.group_importance("filter").index) == {"original", "square", "other"}
    by_callable = explanation.group_importance(lambda name: name[0])
    assert set(by_callable.index) == {"l", "n", "a"}
    by_labels = explanation.group_importance(["x", "x", "y", "y"])
    assert by_labels.loc["x", "n_features"] == 2
    with pytest.raises(ValueError, match="filter_family"):
        explanation.group_importance("organ")
    with pytest.raises(ValueError, match="3 groups for 4 features"):
        explanation.group_importance(["x", "x", "y"])


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    n_groups=st.integers(1, 6),
)
def test_groups_neither_lose_nor_invent(seed, n_groups):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(7, 9, 2))
    explanation = Explanation(values, [0, 0], np.zeros((7, 9)))
    labels = rng.integers(n_groups, size=9).astype(str).tolist()
    table = explanation.group_importance(labels, n_resamples=2)
    assert table["n_features"].sum() == 9
    assert table["total"].sum() == pytest.approx(np.abs(values).mean(axis=(0, 2)).sum())
    assert (table["importance"] <= table["total"] + 1e-12).all()
    single = explanation.group_importance(lambda name: name, n_resamples=2)
    np.testing.assert_allclose(single["importance"], single["total"])


def test_glioma_by_sequence_and_feature_class(shared_data):
    table = pd.read_csv(shared_data / "radiomics" / "egd_glioma_4seq.csv.gz")
    table = table[table["IDH"].notna()]
    X = table.drop(columns=["patient_id", "IDH", "codel_1p19q", "grade"])
    train, test, y_train, _ = train_test_split(
        X, table["IDH"], test_size=40, stratify=table["IDH"], random_state=0
    )
    model = make_pipeline(
        SimpleImputer().set_output(transform="pandas"),
        RandomForestClassifier(50, random_state=0),
    ).fit(train, y_train)
    explanation = explain(model, test, background_data=train, method="auto", random_state=0)
    assert explanation.method == "tree"
    by_sequence = explanation.group_importance("structure", random_state=0)
    assert set(by_sequence.index) == {"FLAIR", "T1", "T1GD", "T2"}
    assert by_sequence["n_features"].tolist() == [100] * 4
    by_class = explanation.group_importance("feature_class", random_state=0)
    assert by_class["n_features"].sum() == 400
    # Contrast enhancement is what tells IDH-wildtype glioma.
    assert by_sequence.index[0] == "T1GD"
