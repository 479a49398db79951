"""Displays, by their data."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.datasets import make_cell_images
from skcyto.exceptions import InvalidImageError
from skcyto.inspection import (
    Explanation,
    ExtremeSamplesDisplay,
    GroupImportanceDisplay,
    ImportanceDisplay,
    TokenMapDisplay,
    explain,
)
from skcyto.model_selection import TunedLogitBiasClassifierCV
from skcyto.utils._plotting import PALETTE


@pytest.fixture(scope="module")
def cells():
    return make_cell_images(40, image_size=32, random_state=0)


@pytest.fixture(scope="module")
def colours(cells):
    means = cells.images.mean(axis=(1, 2))
    return pd.DataFrame(means, columns=["red", "green", "blue"])


@pytest.fixture(scope="module")
def pipeline(cells, colours):
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(colours, cells.target)


def test_importance_display(pipeline, colours):
    explanation = explain(pipeline, colours[:10], background=10, random_state=0)
    table = explanation.global_importance("unhealthy", random_state=0)
    display = ImportanceDisplay.from_explanation(
        explanation, "unhealthy", max_features=2, random_state=0
    )
    assert isinstance(display, ImportanceDisplay)
    widths = [bar.get_width() for bar in display.bars_]
    np.testing.assert_allclose(widths, table["importance"].iloc[:2])
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels == table.index[:2].tolist()
    assert display.ax_.yaxis_inverted()
    assert display.ax_.get_title() == "Class unhealthy (2 of 3 features)"
    assert "probability" in display.ax_.get_xlabel()
    segments = display.bars_.errorbar.lines[2][0].get_segments()
    np.testing.assert_allclose(
        [segment[:, 0] for segment in segments], table[["ci_low", "ci_high"]].iloc[:2]
    )


def test_importance_display_on_given_axes(pipeline, colours):
    _, ax = plt.subplots()
    explanation = explain(pipeline, colours[:4], background=4, random_state=0)
    display = ImportanceDisplay.from_explanation(explanation, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.ax_.get_title() == "All classes"


def test_group_importance_display(pipeline, colours):
    explanation = Explanation(
        np.ones((2, 3, 1)),
        [0],
        np.zeros((2, 3)),
        feature_names=["a__original_glcm_X", "a__original_shape_Y", "b__square_glcm_Z"],
        class_names=["tumour"],
        response_method="decision_function",
    )
    display = GroupImportanceDisplay.from_explanation(
        explanation, "structure", "tumour", random_state=0
    )
    assert isinstance(display, GroupImportanceDisplay)
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels == ["a (2)", "b (1)"]
    assert [bar.get_width() for bar in display.bars_] == [2, 1]
    assert display.ax_.get_ylabel() == "structure\n(number of features)"
    assert "decision function" in display.ax_.get_xlabel()
    explanation = explain(pipeline, colours[:3], background=3, random_state=0)
    other = GroupImportanceDisplay.from_explanation(explanation, ["warm", "cold", "cold"])
    assert {text.get_text() for text in other.ax_.get_yticklabels()} == {"warm (1)", "cold (2)"}


def test_an_extreme_image_that_cannot_be_drawn_is_named(pipeline, cells, colours, tmp_path):
    paths = [tmp_path / f"cell{i}.png" for i in range(len(colours))]
    for path in paths:
        path.write_bytes(b"no image")
    with pytest.raises(InvalidImageError, match=r"cell\d+\.png \(row \d+\) cannot be drawn: "):
        ExtremeSamplesDisplay.from_estimator(pipeline, paths, X=colours, feature="green", n=1)


def test_extreme_samples_are_the_extremes(pipeline, cells, colours):
    display = ExtremeSamplesDisplay.from_estimator(
        pipeline, cells.images, X=colours, y=cells.target, feature="green", n=5
    )
    values = pipeline[:-1].transform(colours)[:, 1]
    order = np.argsort(values)
    highest = display.samples.query("side == 'highest'")
    lowest = display.samples.query("side == 'lowest'")
    assert highest.index.tolist() == order[::-1][:5].tolist()
    assert lowest.index.tolist() == order[:5].tolist()
    np.testing.assert_allclose(highest["value"], values[order[::-1][:5]])
    assert (highest["prediction"] == pipeline.predict(colours)[highest.index]).all()
    assert (highest["label"] == cells.target[highest.index]).all()
    for side, samples in (("highest", highest), ("lowest", lowest)):
        axes = display.image_axes_[side]
        assert len(axes) == 5
        for ax, (index, sample) in zip(axes, samples.iterrows(), strict=True):
            np.testing.assert_array_equal(ax.get_images()[0].get_array(), cells.images[index])
            caption = ax.get_xlabel()
            assert caption.startswith(f"{sample['value']:.3g}\n{sample['label']}")
            wrong = sample["label"] != sample["prediction"]
            assert (f"pred. {sample['prediction']}" in caption) == wrong
            assert to_hex(ax.xaxis.label.get_color()) == PALETTE[1 if wrong else 6].lower()
    assert "green" in display.ax_.get_title()


def test_extreme_samples_of_a_tuned_decision(pipeline, cells, colours):
    tuned = TunedLogitBiasClassifierCV(pipeline, cv=2).fit(colours, cells.target)
    tuned.best_bias_ = np.array([9.0, 0.0, 0.0])
    display = ExtremeSamplesDisplay.from_estimator(
        tuned, cells.images, X=colours, feature="green", n=2
    )
    assert set(display.samples["prediction"]) == {tuned.classes_[0]}
    scaled = tuned.estimator_[:-1].transform(colours)[:, 1]
    np.testing.assert_allclose(display.samples["value"], scaled[display.samples.index])


@pytest.mark.parametrize("kind", ["array", "frame", "explanation"])
def test_top_feature(pipeline, cells, colours, kind):
    explanation = explain(pipeline, colours[:10], background=10, random_state=0)
    first = explanation.global_importance().index[0]
    importances = {
        "explanation": explanation,
        "frame": explanation.global_importance(),
        "array": np.abs(explanation.values).mean(axis=(0, 2)),
    }[kind]
    display = ExtremeSamplesDisplay.from_estimator(
        pipeline, cells.images, X=colours, importances=importances, n=2
    )
    assert display.feature_name == first
    assert "label" not in display.samples
    assert "pred." in display.image_axes_["lowest"][0].get_xlabel()


def test_top_feature_by_the_classifiers_own_importances(pipeline, cells, colours):
    common = {"X": colours, "n": 2}
    for model in (
        pipeline,
        TunedLogitBiasClassifierCV(pipeline, cv=2).fit(colours, cells.target),
        clone(pipeline).set_params(logisticregression=RandomForestClassifier(random_state=0)),
    ):
        if not hasattr(model, "classes_"):
            model.fit(colours, cells.target)
        display = ExtremeSamplesDisplay.from_estimator(model, cells.images, **common)
        final = getattr(model, "estimator_", model)[-1]
        own = np.abs(getattr(final, "coef_", np.zeros((1, 3)))).mean(axis=0)
        own = getattr(final, "feature_importances_", own)
        assert display.feature_name == colours.columns[np.argmax(own)]


def test_top_feature_of_a_classifier_without_importances(cells, colours):
    rng = np.random.default_rng(0)
    table = colours.assign(noise=rng.normal(size=len(colours)))
    red = table["red"] > table["red"].median()
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(5)).fit(table, red)
    display = ExtremeSamplesDisplay.from_estimator(
        model, cells.images, X=table, n=2, random_state=0
    )
    assert display.feature_name == "red"


@pytest.mark.parametrize("container", [sparse.csr_matrix, np.ndarray.tolist, pl.DataFrame])
def test_top_feature_in_any_container(cells, container):
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = KNeighborsClassifier(5, algorithm="brute").fit(container(X), X[:, 1] > 0)
    display = ExtremeSamplesDisplay.from_estimator(
        make_pipeline("passthrough", model), cells.images, X=container(X), n=2, random_state=0
    )
    np.testing.assert_allclose(display.samples["value"], X[display.samples.index, 1])


def test_extreme_samples_of_given_values(pipeline, cells, colours):
    given = ExtremeSamplesDisplay.from_predictions(
        cells.images,
        pipeline[:-1].transform(colours)[:, 1],
        pipeline.predict(colours),
        y=cells.target,
        feature_name="green",
        n=3,
    )
    found = ExtremeSamplesDisplay.from_estimator(
        pipeline, cells.images, X=colours, y=cells.target, feature="green", n=3
    )
    pd.testing.assert_frame_equal(given.samples, found.samples)
    assert given.ax_.get_title() == found.ax_.get_title() == "Feature green"
    with pytest.raises(ValueError, match="prediction has 2 rows, but there are 40 values"):
        ExtremeSamplesDisplay.from_predictions(cells.images, colours["red"], ["a", "b"])
    with pytest.raises(ValueError, match=r"values has shape \(40, 3\)"):
        ExtremeSamplesDisplay.from_predictions(cells.images, colours, cells.target)
    with pytest.raises(ValueError, match=r"prediction has shape \(40, 3\); one class"):
        ExtremeSamplesDisplay.from_predictions(
            cells.images, colours["red"], pipeline.predict_proba(colours)
        )


def test_images_as_paths(pipeline, cells, colours, tmp_path):
    paths = []
    for i, image in enumerate(cells.images):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    common = {"X": colours, "feature": 0, "n": 1}
    from_paths = ExtremeSamplesDisplay.from_estimator(pipeline, paths, **common)
    from_arrays = ExtremeSamplesDisplay.from_estimator(pipeline, cells.images, **common)
    for one, other in zip(from_paths.images, from_arrays.images, strict=True):
        np.testing.assert_array_equal(one, other)
    broken = paths[int(from_paths.samples.index[0])]
    broken.write_bytes(b"no image")
    with pytest.raises(InvalidImageError, match=broken.name):
        ExtremeSamplesDisplay.from_estimator(pipeline, paths, **common)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"feature": "gren"}, "names like it: green"),
        ({"feature": 3}, "no column of 3 features"),
        ({"importances": [1, 2]}, r"shape \(2,\), but 3 features"),
        ({"feature": "red", "n": 21}, "need 42 images; there are 40"),
        ({"feature": "red", "n": 0}, "n=0"),
        ({"feature": "red", "y": ["healthy"]}, "y has 1 rows"),
    ],
)
def test_bad_extreme_samples(pipeline, cells, colours, params, match):
    with pytest.raises(ValueError, match=match):
        ExtremeSamplesDisplay.from_estimator(pipeline, cells.images, X=colours, **params)


def test_missing_values_are_told(cells, colours):
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(max_iter=2).fit(colours, cells.target)
    holes = colours.copy()
    holes.loc[7, "red"] = np.nan
    with pytest.raises(ValueError, match=r"missing in 1 row.*row 7"):
        ExtremeSamplesDisplay.from_estimator(model, cells.images, X=holes, feature="red")


def test_token_map_display():
    images = [np.full((8, 8, 3), 100 * i, dtype=np.uint8) for i in range(2)]
    maps = np.zeros((2, 2, 2))
    maps[0, 0, 1], maps[1, 1, 0] = 0.4, -0.2
    display = TokenMapDisplay(images, maps, ["healthy", "x3"], values=[1.5, 2]).plot()
    assert [artist.get_clim() for artist in display.map_artists_] == [(-0.4, 0.4)] * 2
    for artist, values in zip(display.map_artists_, maps, strict=True):
        np.testing.assert_array_equal(artist.get_array(), values)
        assert artist.get_extent() == [-0.5, 7.5, 7.5, -0.5]
    captions = [artist.axes.get_xlabel() for artist in display.map_artists_]
    assert captions == ["healthy: 1.5", "x3: 2"]
    with pytest.raises(ValueError, match="2 images, maps of shape"):
        TokenMapDisplay(images, maps[:1], ["a", "b"]).plot()


def test_flat_maps_can_be_drawn():
    display = TokenMapDisplay([np.zeros((4, 4, 3), np.uint8)], np.zeros((1, 2, 2)), ["a"]).plot()
    assert display.map_artists_[0].get_clim() == (-1.0, 1.0)
    display.figure_.canvas.draw()
