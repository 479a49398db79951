import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.datasets import make_cell_images
from skcyto.datasets._synthetic._sampling import check_proportions, draw_classes


def test_what_comes_back():
    cells = make_cell_images(45, image_size=40, random_state=0)
    assert cells.images.shape == (45, 40, 40, 3)
    assert cells.images.dtype == np.uint8
    assert cells.data is cells.images
    assert cells.masks.shape == (45, 40, 40)
    assert cells.masks.dtype == np.uint8
    assert cells.target_names.tolist() == ["healthy", "rubbish", "unhealthy"]
    assert set(cells.target) == set(cells.target_names)
    assert cells.groups.tolist() == ["slide_0001"] * 20 + ["slide_0002"] * 20 + ["slide_0003"] * 5
    assert cells.labels == {"nucleus": 1, "cytoplasm": 2}
    assert "Synthetic" in cells.DESCR
    assert "no image shows a\nreal cell" in cells.DESCR


def test_same_seed_same_images_whatever_n_samples_and_n_jobs():
    long = make_cell_images(70, image_size=32, random_state=3)
    short = make_cell_images(9, image_size=32, random_state=3)
    parallel = make_cell_images(70, image_size=32, random_state=3, n_jobs=2)
    for other, n in ((short, 9), (parallel, 70)):
        for key in ("images", "masks", "target", "groups"):
            np.testing.assert_array_equal(other[key], long[key][:n])
    assert not np.array_equal(
        make_cell_images(9, image_size=32, random_state=4).images, short.images
    )
    assert len({image.tobytes() for image in long.images}) == 70


def test_global_random_state_is_left_alone():
    key, *rest = np.random.get_state()[1:]
    key = key.copy()
    make_cell_images(3, image_size=32, random_state=0)
    key_after, *rest_after = np.random.get_state()[1:]
    np.testing.assert_array_equal(key_after, key)
    assert rest_after == rest


def test_slides_have_a_light_of_their_own():
    cells = make_cell_images(60, image_size=32, class_proportions={"rubbish": 1}, random_state=0)
    brightest = np.quantile(cells.images.reshape(60, -1), 0.95, axis=1).reshape(3, 20)
    within = brightest.std(axis=1).mean()
    assert brightest.mean(axis=1).std() > 2 * within


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        (None, ["healthy", "rubbish", "unhealthy"]),
        ({"unhealthy": 1, "healthy": 3}, ["healthy", "unhealthy"]),
        ({"unhealthy": 1, "healthy": 3, "rubbish": 0}, ["healthy", "unhealthy"]),
        ([0.5, 0.2, 0.2, 0.1], ["bothcells", "healthy", "rubbish", "unhealthy"]),
    ],
)
def test_weights(weights, names):
    cells = make_cell_images(40, class_proportions=weights, image_size=32, random_state=0)
    assert cells.target_names.tolist() == names
    assert set(cells.target) == set(names)
    if names == ["healthy", "unhealthy"]:
        assert (cells.target == "healthy").sum() == 30


@settings(max_examples=100, deadline=None)
@given(
    shares=st.lists(st.floats(0.01, 1), min_size=1, max_size=4),
    n=st.integers(1, 300),
    seed=st.integers(0, 2**31 - 2),
)
def test_every_beginning_keeps_the_shares(shares, n, seed):
    names = ["a", "b", "c", "d"][: len(shares)]
    share = check_proportions(dict(zip(names, shares, strict=True)), names, {})
    assert sum(share.values()) == pytest.approx(1)
    drawn = draw_classes(n, share, seed)
    assert drawn == draw_classes(n + 17, share, seed)[:n]
    for name in names:
        # The first round holds one of each, which is all that may be too many.
        assert abs(drawn.count(name) - n * share[name]) < 3.5
        assert n < len(names) or name in drawn


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"n_samples": 0}, "n_samples=0 must be an integer of at least 1"),
        ({"n_samples": 2.5}, "n_samples=2.5"),
        ({"n_samples": True}, "n_samples=True"),
        ({"image_size": 31}, "image_size=31 must be an integer of at least 32"),
        ({"cells_per_slide": 0}, "cells_per_slide=0"),
        ({"class_proportions": {"sick": 1}}, "names the class 'sick'; there are"),
        ({"class_proportions": [0.5, 0.5]}, "2 values for the 4 classes"),
        ({"class_proportions": {"healthy": -1, "rubbish": 2}}, "not negative"),
        ({"class_proportions": {"healthy": float("nan")}}, "finite"),
        ({"class_proportions": {"healthy": 0}}, "positive"),
        ({"class_proportions": {}}, "positive"),
    ],
)
def test_wrong_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        make_cell_images(**{"n_samples": 2, **parameters})


@pytest.mark.parametrize("label", ["healthy", "unhealthy"])
def test_masks_hold_nucleus_and_cytoplasm(label):
    cells = make_cell_images(40, class_proportions={label: 1}, random_state=1)
    nuclei, cytoplasms = cells.masks == 1, cells.masks == 2
    assert set(np.unique(cells.masks)) == {0, 1, 2}
    assert nuclei.sum(axis=(1, 2)).min() > 20
    assert (cytoplasms.sum(axis=(1, 2)) > 20).mean() > 0.95
    darkness = 255 - cells.images.mean(axis=3)
    darker = [
        d[n].mean() > d[c].mean() for d, n, c in zip(darkness, nuclei, cytoplasms, strict=True)
    ]
    assert np.mean(darker) > 0.95


def test_unhealthy_cells_have_larger_nuclei_for_their_size_and_overlap_with_healthy_ones():
    ratio = {}
    for label in ("healthy", "unhealthy"):
        masks = make_cell_images(80, class_proportions={label: 1}, random_state=2).masks
        ratio[label] = (masks == 1).sum(axis=(1, 2)) / (masks > 0).sum(axis=(1, 2))
    assert np.median(ratio["unhealthy"]) > 2 * np.median(ratio["healthy"])
    assert ratio["healthy"].max() > ratio["unhealthy"].min()


@pytest.fixture(scope="module")
def mixed():
    weights = {"healthy": 1, "rubbish": 1, "unhealthy": 1}
    return make_cell_images(600, class_proportions=weights, image_size=64, random_state=0)


def scores(cells, X, model):
    """Return the one-vs-rest AUC of each class and macro F1, over folds of whole slides."""
    probability = cross_val_predict(
        model, X, cells.target, groups=cells.groups, cv=GroupKFold(5), method="predict_proba"
    )
    aucs = [
        roc_auc_score(cells.target == name, column)
        for name, column in zip(cells.target_names, probability.T, strict=True)
    ]
    predicted = cells.target_names[probability.argmax(axis=1)]
    return aucs, f1_score(cells.target, predicted, average="macro")


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        RandomForestClassifier(100, min_samples_leaf=3, random_state=0),
    ],
    ids=["linear", "forest"],
)
def test_mean_colour_does_not_tell_the_classes(mixed, model):
    aucs, _ = scores(mixed, mixed.images.mean(axis=(1, 2)), model)
    assert max(aucs) < 0.8


def test_simple_image_features_tell_the_classes_but_not_perfectly(mixed):
    features = []
    for image in mixed.images:
        grey = image.mean(axis=2)
        density = -np.log(np.clip(grey / np.quantile(grey, 0.95), 0.02, 1.2))
        dark = density > 0.8
        regions, n = ndimage.label(dark)
        slope = ndimage.gaussian_gradient_magnitude(density, 1)
        features.append(
            [
                dark.mean(),
                n,
                np.bincount(regions.ravel())[1:].max(initial=0),
                (density > 0.15).mean(),
                dark.sum() / (1 + (density > 0.15).sum()),
                slope.max(),
                slope.mean(),
                np.quantile(density, 0.99),
                ndimage.laplace(density).std(),
            ]
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    aucs, f1 = scores(mixed, np.array(features), model)
    assert min(aucs) > 0.75
    assert 0.55 < f1 < 0.9
