"""CorrelationTTestFilter against a plain reference, on real tables and on awkward input."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn import config_context
from sklearn.base import clone
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.oneway import anova_oneway

from skcyto.exceptions import DroppedFeatureWarning
from skcyto.feature_selection import CorrelationTTestFilter
from skcyto.feature_selection._class_tests import has_welch_anova
from skcyto.feature_selection._correlation_ttest_filter import _rank

# Welch's analysis of variance is in scipy 1.16 and later; before, the filter refuses it.
EQUAL_VAR = [True, False] if has_welch_anova() else [True]


def compare(samples, equal_var):
    """Return statistic and p-value of one feature, by the function made for its case."""
    if len(samples) == 2:
        result = stats.ttest_ind(*samples, equal_var=equal_var)
    elif equal_var:
        result = stats.f_oneway(*samples)
    else:
        result = anova_oneway(samples, use_var="unequal")
    return result.statistic, result.pvalue


def reference(X, y, alpha=0.05, threshold=0.9, equal_var=True, method="pearson"):
    """Test one feature, then compare it with the kept ones, one at a time."""
    r = pd.DataFrame(X).corr(method=method).abs().to_numpy()
    X, y = np.asarray(X, dtype=float), np.asarray(y)
    kept = []
    for column, feature in enumerate(X.T):
        samples = [feature[y == label] for label in np.unique(y)]
        if np.ptp(feature) == 0:
            continue
        if not compare(samples, equal_var)[1] < alpha:
            continue
        if all(r[column, other] <= threshold for other in kept):
            kept.append(column)
    return kept


@pytest.fixture(scope="session")
def egd(shared_data):
    table = pd.read_csv(shared_data / "radiomics/egd_glioma_4seq.csv.gz")
    return table.drop(columns=["patient_id", "IDH", "codel_1p19q", "grade"]), table


@pytest.fixture(scope="session")
def dogs(shared_data):
    table = pd.read_csv(shared_data / "radiomics/dog_lymphnode_ct.csv.gz")
    return table.drop(columns=["patient_id", "ln_site", "ln_label", "metastatic"]), table


def real_tables(egd, dogs):
    yield egd[0], egd[1]["IDH"]
    yield egd[0], egd[1]["codel_1p19q"]
    yield egd[0], egd[1]["grade"]
    yield dogs[0], dogs[1]["metastatic"]


@parametrize_with_checks(
    [
        CorrelationTTestFilter(alpha=1.0, correlation_threshold=0.5, method="spearman"),
        CorrelationTTestFilter(correction="fdr_bh", keep="lowest_pvalue", equal_var=EQUAL_VAR[-1]),
        CorrelationTTestFilter(alpha=0.9, keep="mutual_info", random_state=0),
    ]
)
@pytest.mark.filterwarnings("ignore::skcyto.exceptions.DroppedFeatureWarning")
@pytest.mark.filterwarnings("ignore:No features were selected:UserWarning")
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
@pytest.mark.parametrize("equal_var", EQUAL_VAR)
def test_equals_the_plain_reference_on_real_tables(egd, dogs, method, equal_var):
    for X, y in real_tables(egd, dogs):
        filter_ = CorrelationTTestFilter(equal_var=equal_var, method=method).fit(X, y)
        expected = reference(X, y, equal_var=equal_var, method=method)
        assert list(filter_.get_support(indices=True)) == expected
        assert 0 < len(expected) < X.shape[1] / 3


@pytest.mark.parametrize("keep", ["first", "lowest_pvalue", "highest_variance", "mutual_info"])
def test_what_the_filter_promises_on_real_tables(egd, dogs, keep):
    for X, y in real_tables(egd, dogs):
        filter_ = CorrelationTTestFilter(keep=keep, random_state=0).fit(X, y)
        r = np.abs(np.corrcoef(X.to_numpy(float), rowvar=False))
        kept = filter_.get_support(indices=True)
        assert np.all(filter_.pvalues_[kept] < 0.05)
        assert np.max(np.triu(r[np.ix_(kept, kept)], 1)) <= 0.9
        dropped = filter_.dropped_.set_index("feature")
        assert set(dropped.index) == set(X.columns) - set(X.columns[kept])
        insignificant = dropped["reason"] == "not significant"
        assert np.all(dropped.loc[insignificant, "pvalue"] >= 0.05)
        correlated = dropped[dropped["reason"] == "correlated"]
        assert len(correlated) + insignificant.sum() == len(dropped)
        columns = X.columns.get_indexer(correlated.index)
        partners = X.columns.get_indexer(correlated["correlated_with"])
        assert set(partners) <= set(kept)
        assert_allclose(np.abs(correlated["correlation"]), r[columns, partners], atol=1e-12)
        assert np.all(r[columns, partners] > 0.9)
        assert np.all(correlated["pvalue"] < 0.05)


def test_repeated_shape_columns_collapse_to_one_copy_each(egd):
    X, table = egd
    shapes = sorted(name.removeprefix("T1_") for name in X if name.startswith("T1_original_shape_"))
    assert len(shapes) == 14
    # Just under 1 only copies are correlated: of each shape feature exactly the first remains.
    filter_ = CorrelationTTestFilter(alpha=1, correlation_threshold=1 - 1e-9).fit(X, table["IDH"])
    kept = [name for name in filter_.get_feature_names_out() if "_shape_" in name]
    assert sorted(kept) == [f"T1_{shape}" for shape in shapes]
    dropped = filter_.dropped_[filter_.dropped_["feature"].str.contains("_shape_")]
    assert len(dropped) == 42
    assert all(
        row.feature.split("_", 1)[1] == row.correlated_with.split("_", 1)[1]
        for row in dropped.itertuples()
    )
    assert_allclose(dropped["correlation"], 1, atol=1e-15)
    # At the default threshold, no feature has two copies left.
    defaults = CorrelationTTestFilter().fit(X, table["IDH"]).get_feature_names_out()
    copies = [name.split("_", 1)[1] for name in defaults if "_shape_" in name]
    assert copies
    assert len(set(copies)) == len(copies)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    y = np.repeat(["a", "b"], [30, 50])
    X = rng.normal(size=(80, 12)) + 0.5 * rng.normal(size=(80, 1))
    X[y == "b", :6] += np.linspace(0.2, 1.5, 6)
    return X, y


@pytest.mark.parametrize("equal_var", [True, False])
def test_t_test(table, equal_var):
    X, y = table
    filter_ = CorrelationTTestFilter(equal_var=equal_var).fit(X, y)
    expected = stats.ttest_ind(X[y == "a"], X[y == "b"], equal_var=equal_var)
    assert_allclose(filter_.statistics_, expected.statistic)
    assert_allclose(filter_.pvalues_, expected.pvalue)
    assert filter_.statistics_[5] < 0  # the first class has the smaller mean
    assert_array_equal(filter_.corrected_pvalues_, filter_.pvalues_)


@pytest.mark.parametrize("equal_var", EQUAL_VAR)
def test_analysis_of_variance(table, equal_var):
    X, y = table
    y = np.where(np.arange(80) % 4 == 0, "c", y)
    filter_ = CorrelationTTestFilter(equal_var=equal_var).fit(X, y)
    expected = [compare([feature[y == label] for label in "abc"], equal_var) for feature in X.T]
    assert_allclose(filter_.statistics_, [statistic for statistic, _ in expected])
    assert_allclose(filter_.pvalues_, [pvalue for _, pvalue in expected])


def test_welch_analysis_of_variance_needs_scipy(table, monkeypatch):
    X, y = table
    y = np.where(np.arange(80) % 4 == 0, "c", y)
    monkeypatch.setattr("scipy.stats.f_oneway", lambda *samples, axis=0: None)
    with pytest.raises(ValueError, match=r"scipy 1\.16 or later"):
        CorrelationTTestFilter(equal_var=False).fit(X, y)


@pytest.mark.parametrize("correction", ["fdr_bh", "bonferroni", "holm"])
def test_correction(table, correction):
    X, y = table
    X = np.column_stack([X, np.ones(80)])  # a constant column is no test
    with pytest.warns(DroppedFeatureWarning, match="constant"):
        filter_ = CorrelationTTestFilter(correction=correction, correlation_threshold=1).fit(X, y)
    expected = multipletests(filter_.pvalues_[:12], method=correction)[1]
    assert_allclose(filter_.corrected_pvalues_[:12], expected)
    assert np.isnan(filter_.corrected_pvalues_[12])
    assert_array_equal(filter_.get_support()[:12], expected < 0.05)
    assert filter_.get_support().sum() < np.sum(filter_.pvalues_ < 0.05)


def test_alpha_of_one_drops_nothing_for_its_p_value(table):
    X, y = table
    filter_ = CorrelationTTestFilter(1, 1, correction="bonferroni").fit(X, y)
    assert filter_.corrected_pvalues_.max() == 1
    assert filter_.get_support().all()
    assert len(filter_.dropped_) == 0


def correlated_pair(table):
    X, y = table
    weak, strong = X[:, 5] + 0.3 * X[:, 6], X[:, 5]
    return np.column_stack([3 * weak, strong]), y


@pytest.mark.parametrize(
    ("keep", "kept"), [("first", 0), ("lowest_pvalue", 1), ("highest_variance", 0)]
)
def test_keep(table, keep, kept):
    X, y = correlated_pair(table)
    assert abs(np.corrcoef(X.T)[0, 1]) > 0.9
    filter_ = CorrelationTTestFilter(keep=keep).fit(X, y)
    assert list(filter_.get_support(indices=True)) == [kept]
    assert filter_.correlated_with_[1 - kept] == kept
    assert filter_.dropped_["correlated_with"].tolist() == [f"x{kept}"]
    swapped = CorrelationTTestFilter(keep=keep).fit(X[:, ::-1], y)
    expected = 0 if keep == "first" else 1 - kept
    assert list(swapped.get_support(indices=True)) == [expected]


def test_keep_mutual_information(table):
    X, y = correlated_pair(table)
    information = mutual_info_classif(X, y, random_state=3)
    filter_ = CorrelationTTestFilter(keep="mutual_info", random_state=3).fit(X, y)
    assert list(filter_.get_support(indices=True)) == [np.argmax(information)]


def test_equal_p_values_go_by_statistic_then_by_column():
    y = np.repeat([0, 1], 200)
    base = np.tile([-0.001, 0.001], 200)
    tight, loose = y + base, y + 3 * base
    X = np.column_stack([loose, tight, tight])
    filter_ = CorrelationTTestFilter(keep="lowest_pvalue").fit(X, y)
    assert np.all(filter_.pvalues_ == 0)
    assert list(filter_.get_support(indices=True)) == [1]


def test_kept_features_only_are_compared():
    """b goes for a; c repeats b but not a, so c stays."""
    rng = np.random.default_rng(0)
    a, b = np.linalg.qr(np.column_stack([np.ones(300), rng.normal(size=(300, 2))]))[0][:, 1:].T
    y = np.arange(300) % 2
    mix = np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))
    first, second = a, mix[0] * a + mix[1] * b
    third = np.cos(np.deg2rad(40)) * a + np.sin(np.deg2rad(40)) * b
    X = np.column_stack([first, second, third])
    filter_ = CorrelationTTestFilter(alpha=1).fit(X, y)
    assert_array_equal(filter_.get_support(), [True, False, True])
    # In the other order the middle one goes again, now for the third.
    backwards = CorrelationTTestFilter(alpha=1).fit(X[:, ::-1], y)
    assert_array_equal(backwards.get_support(), [True, False, True])


def test_dropped_names_the_strongest_kept_partner():
    rng = np.random.default_rng(0)
    a, noise = rng.normal(size=(2, 500))
    b = a + 0.8 * noise  # r about 0.8 with a
    c = b + 0.05 * rng.normal(size=500)  # above 0.8 with both, far closer to b
    X = np.column_stack([a, b, c])
    filter_ = CorrelationTTestFilter(alpha=1, correlation_threshold=0.83)
    filter_.fit(X, np.arange(500) % 2)
    r = np.corrcoef(X.T)
    assert r[0, 1] < 0.83
    assert list(filter_.get_support(indices=True)) == [0, 1]
    assert filter_.dropped_["correlated_with"].tolist() == ["x1"]
    assert_allclose(filter_.correlations_, [np.nan, r[0, 1], r[1, 2]])


def test_duplicates_and_mirrored_duplicates_whatever_the_rounding():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 1))
    y = (x[:, 0] > 0).astype(int)
    copies = np.hstack([x, x, -x, 3 * x, x / 7, x + 1e3, 1e-200 * x, 1e150 * x])
    for threshold, n_kept in ((0.9, 1), (1 - 1e-10, 1), (1, 8)):
        filter_ = CorrelationTTestFilter(correlation_threshold=threshold).fit(copies, y)
        assert filter_.get_support().sum() == n_kept
    # A scalar product of forty terms is 1 but for the rounding of each; by the BLAS it may be above
    # 1, which is cut off, or below.
    largest = np.nanmax(np.abs(filter_.correlations_))
    assert largest <= 1
    assert largest == pytest.approx(1, abs=40 * np.finfo(np.float64).eps)


def test_correlation_exactly_at_the_threshold_is_kept():
    """Orthogonal designs give r = 0.5 and 0 exactly, up to rounding that must not decide."""
    for n in (12, 36, 300):
        basis = np.linalg.qr(
            np.column_stack([np.ones(n), np.random.default_rng(n).normal(size=(n, 2))])
        )
        u, v = basis.Q[:, 1:].T
        half = 0.5 * u + np.sqrt(0.75) * v
        X = np.column_stack([u, half])
        y = np.arange(n) % 2
        at = CorrelationTTestFilter(alpha=1, correlation_threshold=0.5).fit(X, y)
        assert at.get_support().all()
        below = CorrelationTTestFilter(alpha=1, correlation_threshold=0.4999).fit(X, y)
        assert_array_equal(below.get_support(), [True, False])


def test_float32_is_tested_in_double_precision(egd):
    X, table = egd
    single = X.to_numpy(np.float32)
    ours = CorrelationTTestFilter().fit(single, table["IDH"])
    exact = CorrelationTTestFilter().fit(single.astype(np.float64), table["IDH"])
    assert_array_equal(ours.get_support(), exact.get_support())
    assert_array_equal(ours.pvalues_, exact.pvalues_)
    assert ours.transform(single).dtype == np.float32


def test_constant_missing_and_untestable_columns_are_said(table):
    X, y = table
    X = X[:, 3:6].copy()
    extra = np.full((80, 5), np.nan)
    extra[:, 0] = 7.0
    extra[:, 1] = 0.1 + 0.2 + np.where(np.arange(80) % 2, 0, 5e-17)  # one value but for rounding
    extra[y == "a", 3] = np.arange(30)  # no value in class b
    extra[:40, 4] = 2.0  # constant and missing
    frame = pd.DataFrame(np.hstack([X, extra])).set_axis(list("abcdefgh"), axis=1)
    with pytest.warns(DroppedFeatureWarning) as record:
        filter_ = CorrelationTTestFilter().fit(frame, y)
    messages = " ".join(str(warning.message) for warning in record)
    assert "dropped 3 feature(s) ('d', 'e', 'h'), which are constant" in messages
    assert "dropped 1 feature(s) ('f'), which have no value at all" in messages
    assert "dropped 1 feature(s) ('g'), which have too few values" in messages
    reasons = filter_.dropped_.set_index("feature")["reason"]
    assert reasons[list("defgh")].tolist() == [
        "constant",
        "constant",
        "missing",
        "untestable",
        "constant",
    ]
    assert np.isnan(filter_.pvalues_[3:]).all()
    assert record[0].filename == __file__


def test_nothing_significant_is_said():
    X = np.random.default_rng(0).normal(size=(40, 5))
    y = np.arange(40) % 2
    with pytest.warns(DroppedFeatureWarning, match=r"none of 5 features has p < alpha=1e-09"):
        filter_ = CorrelationTTestFilter(alpha=1e-9).fit(X, y)
    with pytest.warns(UserWarning, match="No features were selected"):
        assert filter_.transform(X).shape == (40, 0)


def test_perfect_separation_is_significant(table):
    _, y = table
    X = np.column_stack([y == "b", np.arange(80) / 80 + (y == "b")]).astype(float)
    filter_ = CorrelationTTestFilter(correlation_threshold=1).fit(X, y)
    assert filter_.pvalues_[0] == 0
    assert filter_.get_support().all()


def test_missing_values_are_left_out_of_each_test(table):
    X, y = table
    X = X.copy()
    rng = np.random.default_rng(1)
    X[3:9, 2:5] = np.nan  # three columns that miss the same rows
    X[rng.random(X.shape) < 0.05] = np.nan
    for equal_var in EQUAL_VAR:
        for labels in (y, np.where(np.arange(80) % 4 == 0, "c", y)):
            filter_ = CorrelationTTestFilter(equal_var=equal_var).fit(X, labels)
            for column in range(12):
                observed = ~np.isnan(X[:, column])
                samples = [X[observed & (labels == label), column] for label in np.unique(labels)]
                statistic, pvalue = compare(samples, equal_var)
                assert_allclose(filter_.pvalues_[column], pvalue)
                assert_allclose(filter_.statistics_[column], statistic)


@pytest.mark.parametrize(
    ("parameters", "y", "message"),
    [
        ({}, [0] * 6, "y holds 1 class only: .*0"),
        ({}, [0, 1, 2, 3, 4, 5], "each of the 6 rows has a class of its own"),
        ({}, [0.1, 0.2, 0.3, 0.1, 0.2, 0.35], "Unknown label type: continuous"),
        ({"equal_var": False}, ["a"] * 5 + ["b"], "class .*'b'.* has one row, and Welch"),
        ({}, [0, 1, 0, 1, 0], "inconsistent numbers of samples"),
        ({"keep": "last"}, [0, 1] * 3, "The 'keep' parameter"),
        ({"alpha": 0}, [0, 1] * 3, "The 'alpha' parameter"),
        ({"correlation_threshold": 1.1}, [0, 1] * 3, "The 'correlation_threshold' parameter"),
        ({"correction": "fdr"}, [0, 1] * 3, "The 'correction' parameter"),
        ({"method": "kendall"}, [0, 1] * 3, "The 'method' parameter"),
    ],
)
def test_bad_input_is_named(parameters, y, message):
    X = np.random.default_rng(0).normal(size=(6, 3))
    with pytest.raises(ValueError, match=message):
        CorrelationTTestFilter(**parameters).fit(X, y)


def test_infinite_values_are_refused(table):
    X, y = table
    X = X.copy()
    X[0, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        CorrelationTTestFilter().fit(X, y)


def test_mutual_information_refuses_missing_values_by_name(table):
    X, y = table
    frame = pd.DataFrame(X).add_prefix("f")
    frame.loc[0, "f5"] = np.nan
    with pytest.raises(
        ValueError, match=r"takes no missing values, but NaN is in 1 feature\(s\) \('f5'\)"
    ):
        CorrelationTTestFilter(keep="mutual_info").fit(frame, y)


def test_sample_weight_is_refused(table):
    X, y = table
    with pytest.raises(TypeError, match="takes no sample_weight"):
        CorrelationTTestFilter().fit(X, y, sample_weight=np.ones(80))
    pipeline = make_pipeline(CorrelationTTestFilter(), LogisticRegression())
    with pytest.raises(TypeError, match="takes no sample_weight"):
        pipeline.fit(X, y, correlationttestfilter__sample_weight=np.ones(80))
    with pytest.raises(TypeError, match="takes X and y only, not groups"):
        CorrelationTTestFilter().fit(X, y, groups=y)
    # Where weights are routed, those of the classifier pass the filter by.
    with sklearn.config_context(enable_metadata_routing=True):
        weighted = LogisticRegression().set_fit_request(sample_weight=True)
        make_pipeline(CorrelationTTestFilter(), weighted).fit(X, y, sample_weight=np.ones(80))


def test_names_output_pickle_and_search(table):
    X, y = table
    frame = pd.DataFrame(X).add_prefix("wavelet-LLH_")
    filter_ = CorrelationTTestFilter().set_output(transform="pandas").fit(frame, y)
    out = filter_.transform(frame)
    assert list(out.columns) == list(frame.columns[filter_.get_support()])
    loaded = pickle.loads(pickle.dumps(filter_))
    pd.testing.assert_frame_equal(loaded.transform(frame), out)
    pd.testing.assert_frame_equal(loaded.dropped_, filter_.dropped_)
    polars = clone(filter_).set_output(transform="polars").fit_transform(frame, y)
    assert list(polars.columns) == list(out.columns)
    search = GridSearchCV(
        make_pipeline(CorrelationTTestFilter(), LogisticRegression()),
        {"correlationttestfilter__correlation_threshold": [0.5, 0.9]},
        cv=3,
        scoring="roc_auc",
    ).fit(frame, y)
    assert search.best_score_ > 0.6


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_memory_limit_does_not_change_the_result(egd, method):
    X, table = egd
    filter_ = CorrelationTTestFilter(method=method, keep="highest_variance")
    expected = clone(filter_).fit(X, table["IDH"])
    with sklearn.config_context(working_memory=0.01):
        limited = clone(filter_).fit(X, table["IDH"])
    assert_array_equal(limited.get_support(), expected.get_support())
    assert_array_equal(limited.correlated_with_, expected.correlated_with_)
    assert_allclose(limited.correlations_, expected.correlations_, atol=1e-12)
    assert_allclose(limited.pvalues_, expected.pvalues_)


@pytest.mark.parametrize("equal_var", EQUAL_VAR)
def test_constant_in_one_class(table, equal_var):
    """Welch's analysis of variance weighs classes by their variance: without one it has no p."""
    X, y = table
    y = np.where(np.arange(80) % 4 == 0, "c", y)
    X = X[:, 4:6].copy()
    X[y == "c", 0] = 3.0
    filter_ = CorrelationTTestFilter(equal_var=equal_var)
    if equal_var:
        filter_.fit(X, y)
        assert_allclose(
            filter_.pvalues_[0], compare([X[y == label, 0] for label in "abc"], equal_var)[1]
        )
    else:
        with pytest.warns(DroppedFeatureWarning, match=r"\('x0'\), which have too few values, or"):
            filter_.fit(X, y)
        assert filter_.dropped_["reason"].tolist() == ["untestable"]


@pytest.mark.parametrize("keep", ["lowest_pvalue", "highest_variance"])
@pytest.mark.parametrize("seed", range(8))
def test_rounding_does_not_decide_between_copies(keep, seed):
    """Columns in other units, in blocks of any size, rows in any order: the earlier one stays."""
    rng = np.random.default_rng(seed)
    y = np.repeat([0, 1], [25, 35])
    signal = rng.normal(size=60) + 2 * y
    copies = [-signal, signal] if keep == "highest_variance" else [signal * 10, signal * 2.54]
    X = np.column_stack([*rng.normal(size=(3, 60)), copies[0], signal, copies[1]])
    X[:, 0] += y  # another one, between them in strength
    rows = rng.permutation(60)
    for working_memory in (1024, 0.02, 0.001):
        with config_context(working_memory=working_memory):
            for each in (slice(None), rows):
                kept = CorrelationTTestFilter(keep=keep).fit(X[each], y[each]).get_support()
                assert kept[3:].tolist() == [True, False, False]


def test_what_differs_by_more_than_rounding_is_no_tie():
    keys = np.array(
        [3.0, 1.0, np.inf, 1.0 + 1e-12, 1.0 - 1e-12, 1.0 + 1e-8, np.inf, 0.0, 0.0, -2.0]
    )
    assert _rank(keys).tolist() == [4, 2, 5, 2, 2, 3, 5, 1, 1, 0]
