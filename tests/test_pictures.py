"""No text of a picture leaves it or overlaps another, whatever the names and numbers."""

import warnings
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axis import Axis
from matplotlib.transforms import Bbox
from sklearn.dummy import DummyClassifier

from skcyto.feature_selection import (
    CorrelationHeatmapDisplay,
    FeatureCorrelationDisplay,
    FeaturePValueDisplay,
    ImportanceThresholdDisplay,
)
from skcyto.inspection import (
    ExtremeSamplesDisplay,
    GroupImportanceDisplay,
    ImportanceDisplay,
    TokenMapDisplay,
)
from skcyto.model_selection import CriticalDifferenceDisplay, compare_models
from skcyto.utils import _plotting
from skcyto.utils._plotting import n_cells, wrap

LONG = "superior_rectus__wavelet-LLH_glszm_SmallAreaHighGrayLevelEmphasis"
NAMES = {
    "plain": "model",
    "long": "a gradient boosting behind the filter, class weights, tuned in the fold",
    "chinese": "原位癌与轻度异型增生的分类模型",
    "greek": "Ταξινομητής αβγ, naïve café",
}


def names_of(kind, n):
    return [f"{NAMES[kind]} {i}" for i in range(n)]


def texts_of(figure):
    """Yield every text that is drawn, with what it is."""
    yield from ((text, "of the figure") for text in figure.texts)
    for attribute in ("_suptitle", "_supxlabel", "_supylabel"):
        text = getattr(figure, attribute)
        if text is not None:
            yield text, attribute
    legends = list(figure.legends)
    axes = list(figure.axes)
    while axes:
        ax = axes.pop()
        if not ax.get_visible():
            continue
        axes += ax.child_axes
        if ax.get_legend() is not None:
            legends.append(ax.get_legend())
        yield from ((text, "within axes") for text in ax.texts)
        yield from ((text, "title") for text in (ax.title, ax._left_title, ax._right_title))
        if not ax.axison:
            continue
        for axis in (ax.xaxis, ax.yaxis):
            yield axis.label, "axis label"
            yield axis.offsetText, "offset"
            for tick in Axis._update_ticks(axis):
                yield tick.label1, "tick"
                yield tick.label2, "tick"
    for legend in legends:
        yield from ((text, "legend") for text in legend.get_texts())


def faults(figure):
    """Name texts that leave the figure, and pairs that overlap."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    boxes = []
    for text, kind in {id(t): (t, k) for t, k in texts_of(figure)}.values():
        if text.get_visible() and text.get_text().strip():
            boxes.append((text.get_text(), kind, text.get_window_extent(renderer)))
    width, height = figure.canvas.get_width_height()
    found = [
        f"{kind} {text!r} leaves the figure"
        for text, kind, box in boxes
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]
    for (one, kind, box), (other, other_kind, other_box) in combinations(boxes, 2):
        common = Bbox.intersection(box, other_box)
        # Boxes are a little larger than what is drawn in them.
        if common is not None and common.width > 2 and common.height > 3:
            found.append(f"{kind} {one!r} overlaps {other_kind} {other!r}")
    return found


def check(draw):
    with warnings.catch_warnings():
        # Where no font has them, boxes are as wide as the characters.
        warnings.filterwarnings("ignore", message="no installed font has the characters")
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        display = draw()
        found = faults(display.figure_)
    plt.close("all")
    assert found == []


rng = np.random.default_rng(0)


def importances(names):
    values = np.sort(rng.random(len(names)))[::-1]
    return pd.DataFrame(
        {"importance": values, "ci_low": values * 0.8, "ci_high": values * 1.2}, index=names
    )


@pytest.mark.parametrize("n", [2, 12, 30])
@pytest.mark.parametrize("kind", [*NAMES, "radiomics"])
def test_importance(kind, n):
    names = [f"{LONG}{i}" for i in range(n)] if kind == "radiomics" else names_of(kind, n)
    label = NAMES.get(kind, LONG)
    check(lambda: ImportanceDisplay(importances(names), class_name=label).plot())


@pytest.mark.parametrize("n", [1, 4, 12])
@pytest.mark.parametrize("kind", NAMES)
def test_group_importance(kind, n):
    table = importances(names_of(kind, n)).assign(n_features=range(100, 100 + n))
    check(
        lambda: GroupImportanceDisplay(
            table,
            group_name="filter_family",
            class_name=NAMES[kind],
            axis_label="mean |sum of SHAP values| (probability)",
        ).plot()
    )


@pytest.mark.parametrize("n", [1, 2, 8])
@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("labelled", [True, False])
def test_extreme_samples(kind, n, labelled):
    classes = np.array(names_of(kind, 3))
    images = rng.integers(0, 255, (2 * n, 20, 20, 3), dtype=np.uint8)
    label, prediction = (classes[rng.integers(0, 3, 2 * n)] for _ in range(2))
    check(
        lambda: ExtremeSamplesDisplay.from_predictions(
            list(images),
            rng.random(2 * n) / 1e5,
            prediction,
            y=label if labelled else None,
            feature_name=NAMES[kind],
            n=n,
        )
    )


@pytest.mark.parametrize("n", [1, 6])
@pytest.mark.parametrize("kind", NAMES)
def test_token_map(kind, n):
    images = rng.integers(0, 255, (n, 28, 28, 3), dtype=np.uint8)
    maps = rng.normal(size=(n, 4, 4))
    check(lambda: TokenMapDisplay(images, maps, names_of(kind, n), values=maps.sum((1, 2))).plot())


@pytest.mark.parametrize("n", [3, 40, 60])
def test_correlation_heatmap(n):
    names = [f"{LONG}{i}" for i in range(n)]
    r = np.corrcoef(rng.normal(size=(n, 50)))
    check(lambda: CorrelationHeatmapDisplay(r, feature_names=names).plot())


def test_pictures_of_selectors():
    values = rng.random(60)
    check(lambda: FeaturePValueDisplay(values**4, 0.05, correction="fdr_bh").plot())
    check(lambda: FeatureCorrelationDisplay(values, 0.9, values > 0.9).plot())
    check(lambda: ImportanceThresholdDisplay(values, 0.5, estimator_name=NAMES["long"]).plot())


def test_wide_characters_count_twice():
    assert n_cells("ab") == 2
    assert n_cells("原位") == 4
    assert all(n_cells(line) <= 10 for line in wrap(NAMES["chinese"], 10).splitlines())
    assert wrap("", 10) == ""


def test_missing_glyphs_are_told_once_with_what_to_install(monkeypatch):
    monkeypatch.setattr(_plotting, "_FALLBACK_FONTS", ())
    with pytest.warns(UserWarning, match="install one, such as Noto Sans CJK") as caught:
        ImportanceDisplay(importances(names_of("chinese", 3))).plot()
    plt.close("all")
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_greek_and_accents_need_no_other_font():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display = ImportanceDisplay(importances(names_of("greek", 3))).plot()
        display.figure_.canvas.draw()
    plt.close("all")


@pytest.fixture(scope="module")
def comparisons():
    """Comparisons of 2, 5 and 12 models with 2 and 7 classes, all of one fit."""
    X = rng.normal(size=(140, 3))
    found = {}

    def make(kind, n_models, n_classes):
        if (kind, n_models, n_classes) not in found:
            y = np.array(names_of(kind, n_classes))[np.arange(140) % n_classes]
            models = {
                name: DummyClassifier(strategy="stratified", random_state=i)
                for i, name in enumerate(names_of(kind, n_models))
            }
            found[kind, n_models, n_classes] = compare_models(
                models,
                X,
                y,
                cv=3,
                scoring=["balanced_accuracy", "roc_auc_ovr", "neg_log_loss"],
                random_state=0,
            )
        return found[kind, n_models, n_classes]

    return make


CASES = [
    *((kind, n_models, 2) for kind in NAMES for n_models in (1, 2, 5, 12)),
    *((kind, 5, 7) for kind in NAMES),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pictures_of_a_comparison(case, comparisons):
    comparison = comparisons(*case)
    draws = [
        comparison.plot_roc,
        comparison.plot_precision_recall,
        comparison.plot_calibration,
        comparison.plot_confusion_matrices,
        lambda: comparison.plot_confusion_matrices(normalize=False),
    ]
    if case[1] > 1:
        draws.append(lambda: comparison.plot_scores(metric="balanced_accuracy"))
    for draw in draws:
        check(draw)


@pytest.mark.parametrize("n_models", [5, 12])
def test_curves_on_axes_of_the_user(n_models, comparisons):
    """A legend of many models hides no curve, and has room beside them."""
    comparison = comparisons("plain", n_models, 2)
    for draw in (comparison.plot_roc, comparison.plot_calibration):
        ax = plt.figure(figsize=(7, 5)).add_subplot()
        check(lambda draw=draw, ax=ax: draw(ax=ax))


@pytest.mark.parametrize("n_models", [3, 12])
@pytest.mark.parametrize("kind", NAMES)
def test_critical_difference(kind, n_models):
    names = names_of(kind, n_models)
    scores = rng.random((6, n_models))
    check(lambda: CriticalDifferenceDisplay(scores, names, list("abcdef")).plot())
