"""The displays show what the selectors found, on given axes or on new ones."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.exceptions import DroppedFeatureWarning
from skcyto.feature_selection import (
    CorrelationHeatmapDisplay,
    CorrelationTTestFilter,
    FeatureCorrelationDisplay,
    FeaturePValueDisplay,
    ImportanceThresholdDisplay,
    ImportanceThresholdSelector,
)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 2
    X = rng.normal(size=(90, 12))
    X[:, :4] += y[:, None]
    X[:, 4:6] = X[:, :1] + 0.05 * X[:, 4:6]
    return pd.DataFrame(X).add_prefix("f"), y


@pytest.fixture(scope="module")
def filter_(table):
    return CorrelationTTestFilter().fit(*table)


def values(points):
    return np.asarray(points.get_offsets())[:, 1]


def test_importances(table):
    X, y = table
    ranker = make_pipeline(StandardScaler(), LogisticRegression())
    selector = ImportanceThresholdSelector(ranker, "mean", max_features=2).fit(X, y)
    display = ImportanceThresholdDisplay.from_estimator(selector)
    assert isinstance(display, ImportanceThresholdDisplay)
    assert display.ax_.get_yscale() == "log"
    assert display.ax_.get_title() == "Feature importances (LogisticRegression)"
    order = np.sort(selector.importances_)[::-1]
    assert_allclose(values(display.kept_), order[:2])
    assert_allclose(values(display.dropped_), order[2:])
    assert_allclose(display.line_.get_ydata(), selector.threshold_)


def test_importances_of_zero_are_counted_not_drawn():
    display = ImportanceThresholdDisplay(np.array([0.0, 0.5, 0.0, 0.1]), 0.0).plot()
    assert_allclose(values(display.kept_), [0.5, 0.1])
    assert display.dropped_.get_label() == "dropped: 2 (2 of them zero)"
    assert display.line_ is None
    assert ImportanceThresholdDisplay(np.zeros(3), 0.0).plot().ax_.get_yscale() == "linear"


def test_pvalues_too_small_to_draw_are_said():
    display = FeaturePValueDisplay(np.array([0.0, 0.5]), 0.05).plot()
    assert "where smaller)" in display.ax_.get_ylabel()


def test_pvalues(filter_):
    display = FeaturePValueDisplay.from_estimator(filter_)
    assert isinstance(display, FeaturePValueDisplay)
    significant = np.sort(filter_.pvalues_)[filter_.pvalues_[np.argsort(filter_.pvalues_)] < 0.05]
    assert_allclose(values(display.significant_), np.maximum(significant, 1e-16))
    assert len(values(display.others_)) == 12 - len(significant)
    assert_allclose(display.expected_.get_ydata(), np.arange(1, 13) / 13)


def test_corrected_pvalues_have_no_uniform_line(table):
    fitted = CorrelationTTestFilter(correction="holm").fit(*table)
    display = FeaturePValueDisplay.from_estimator(fitted)
    assert display.expected_ is None
    assert display.ax_.get_ylabel() == "p-value, corrected (holm)"


def test_correlation(filter_):
    display = FeatureCorrelationDisplay.from_estimator(filter_)
    assert isinstance(display, FeatureCorrelationDisplay)
    compared = np.isfinite(filter_.correlations_)
    dropped = compared & ~filter_.support_
    assert dropped.sum() == 2
    assert_allclose(
        np.sort(values(display.dropped_)), np.sort(np.abs(filter_.correlations_[dropped]))
    )
    assert len(values(display.kept_)) == (compared & filter_.support_).sum()


def test_heatmap_groups_features_around_those_kept(table, filter_):
    X, _ = table
    display = CorrelationHeatmapDisplay.from_estimator(filter_, X)
    assert isinstance(display, CorrelationHeatmapDisplay)
    names = list(display.feature_names)
    assert names[:3] == ["f0", "f4", "f5"]
    assert_allclose(display.correlations, np.corrcoef(X[names].T), atol=1e-12)
    assert_array_equal(np.unique(display.blocks, return_counts=True)[1].max(), 3)
    assert len(display.ax_.patches) == 1
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == names
    fewer = CorrelationHeatmapDisplay.from_estimator(filter_, X, max_features=2)
    assert fewer.correlations.shape == (2, 2)
    assert fewer.ax_.get_xlabel() == f"2 of {len(names)} significant features"


def test_heatmap_without_a_kept_feature(table):
    X, y = table
    with pytest.warns(DroppedFeatureWarning):
        empty = CorrelationTTestFilter(alpha=1e-200).fit(X, y)
    with pytest.raises(ValueError, match="kept no feature"):
        CorrelationHeatmapDisplay.from_estimator(empty, X)
    assert len(values(FeatureCorrelationDisplay.from_estimator(empty).kept_)) == 0


def test_given_axes_are_used(table, filter_):
    X, y = table
    selector = ImportanceThresholdSelector(LogisticRegression(), "mean").fit(X, y)
    figure, axes = plt.subplots(2, 2)
    displays = [
        ImportanceThresholdDisplay.from_estimator(selector, ax=axes[0, 0]),
        FeaturePValueDisplay.from_estimator(filter_, ax=axes[0, 1]),
        FeatureCorrelationDisplay.from_estimator(filter_, ax=axes[1, 0]),
        CorrelationHeatmapDisplay.from_estimator(filter_, X, ax=axes[1, 1]),
    ]
    for display, ax in zip(displays, axes.ravel(), strict=True):
        assert display.ax_ is ax
        assert display.figure_ is figure


def test_unfitted_selectors_are_refused(table):
    for plot in (
        lambda: ImportanceThresholdDisplay.from_estimator(
            ImportanceThresholdSelector(LogisticRegression())
        ),
        lambda: FeaturePValueDisplay.from_estimator(CorrelationTTestFilter()),
        lambda: FeatureCorrelationDisplay.from_estimator(CorrelationTTestFilter()),
        lambda: CorrelationHeatmapDisplay.from_estimator(CorrelationTTestFilter(), table[0]),
    ):
        with pytest.raises(NotFittedError):
            plot()
