"""Perturbed masks: by the amounts asked for, seeded, cached; and bin widths."""

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from skcyto.exceptions import InvalidInputWarning, InvalidScanError
from skcyto.feature_extraction import RadiomicsExtractor, perturb_masks, suggest_bin_width
from skcyto.feature_extraction._radiomics._perturbed_masks import (
    Amounts,
    perturb,
    signed_distance,
)
from skcyto.feature_selection import ReproducibilityFilter

NONE = {"shift": 0.0, "rotation": 0.0, "resize": 0.0, "contour": 0.0, "smoothness": 5.0}


class Fixed:
    """A generator that answers what the test wants, in the order shift, angle, growth."""

    def __init__(self, shift, angle, grow):
        self.answers = [np.array(shift, float), angle, grow]

    def uniform(self, *_):
        return self.answers.pop(0)


def ball(radius, shape=(41, 61, 61), spacing=(1.5, 1.0, 1.0)):
    indices = np.indices(shape)
    centre = [(length - 1) / 2 for length in shape]
    squares = [
        ((axis - middle) * step) ** 2
        for axis, middle, step in zip(indices, centre, spacing, strict=True)
    ]
    return (sum(squares) <= radius**2).astype(np.uint8), spacing


def change(values, spacing, *, shift=(0, 0, 0), angle=0.0, grow=0.0):
    amounts = Amounts(**{**NONE, "shift": max(map(abs, shift)), "resize": abs(grow)})
    return perturb(values, spacing, amounts, Fixed(shift, angle, grow))


def test_nothing_changes_by_nothing(scans):
    _, mask = scans.make_volume()
    drawn = perturb(mask, (2.0, 0.9, 0.8), Amounts(**NONE), np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, mask)


def test_the_distance_is_from_the_faces_of_voxels():
    inside = np.zeros((9, 9), dtype=bool)
    inside[3:6, 3:6] = True
    distance = signed_distance(inside, np.array([2.0, 1.0]))
    np.testing.assert_allclose(distance[4], [-2.5, -1.5, -0.5, 0.5, 1.5, 0.5, -0.5, -1.5, -2.5])
    np.testing.assert_allclose(distance[:, 4][[0, 2]], [-5.0, -1.0])


def test_a_shift_by_whole_voxels_is_a_roll(scans):
    _, mask = scans.make_volume()
    moved = change(mask, (2.0, 0.9, 0.8), shift=(2.0, -0.9, 1.6))
    np.testing.assert_array_equal(moved, np.roll(mask, (1, -1, 2), axis=(0, 1, 2)))


def test_a_quarter_turn_turns_the_slices():
    mask = np.zeros((5, 21, 21), dtype=np.uint8)
    mask[1:4, 8:13, 3:18] = 1
    amounts = Amounts(**{**NONE, "rotation": 90})
    turned = perturb(mask, (2.0, 1.0, 1.0), amounts, Fixed((0, 0, 0), 90.0, 0.0))
    np.testing.assert_array_equal(turned, np.rot90(mask, axes=(1, 2)))


@pytest.mark.parametrize("grow", [2.0, -2.0])
def test_a_ball_grows_and_shrinks_by_what_was_asked(grow):
    mask, spacing = ball(15)
    volume = change(mask, spacing, grow=grow).sum() * 1.5
    radius = np.cbrt(volume * 3 / 4 / np.pi)
    assert radius == pytest.approx(15 + grow, abs=0.35)  # a third of a voxel


def test_contours_vary_by_what_was_asked():
    mask, spacing = ball(15)
    amounts = Amounts(**{**NONE, "contour": 1.0, "smoothness": 4.0})
    rng = np.random.default_rng(0)
    equator = slice(20, 21)
    radii = []
    for _ in range(60):
        drawn = perturb(mask, spacing, amounts, rng)[equator]
        radii.append(drawn[0, 30, 30:].sum() - 0.5)  # along a ray from the centre
    assert np.mean(radii) == pytest.approx(15, abs=0.5)
    assert np.std(radii) == pytest.approx(1.0, abs=0.3)


def test_labels_side_by_side_do_not_overlap_and_leave_no_gap():
    mask = np.zeros((8, 30, 30), dtype=np.uint8)
    mask[2:6, 5:25, 5:15], mask[2:6, 5:25, 15:25] = 1, 2
    drawn = change(mask, (1.0, 1.0, 1.0), grow=1.0)
    assert set(np.unique(drawn)) == {0, 1, 2}
    np.testing.assert_array_equal(drawn[:, :, :15] == 2, False)
    np.testing.assert_array_equal(drawn[3, 4:26, 4:26] > 0, True)


@pytest.fixture
def cases(scans, tmp_path):
    paths = []
    for number in range(3):
        image, mask = scans.make_volume(seed=number)
        mask = np.roll(mask, number, axis=2)
        names = [str(tmp_path / f"{number}_{kind}.nrrd") for kind in ("image", "mask")]
        for name, values in zip(names, (image, mask), strict=True):
            sitk.WriteImage(scans.to_sitk(values, origin=(3.0, -2.0, 1.0)), name)
        paths.append(names)
    return pd.DataFrame(paths, columns=["image", "mask"], index=["a", "b", "c"])


def voxels(table):
    return [sitk.GetArrayFromImage(sitk.ReadImage(path)) for path in table["mask"]]


class TestFiles:
    def test_seeded_and_independent_of_the_other_cases(self, cases, tmp_path):
        first = perturb_masks(cases, tmp_path / "a", n_repeats=2, random_state=5)
        again = perturb_masks(cases.iloc[::-1], tmp_path / "b", n_repeats=2, random_state=5)
        other = perturb_masks(cases, tmp_path / "c", n_repeats=2, random_state=6)
        assert [table.index.tolist() for table in first] == [["a", "b", "c"]] * 2
        for one, two, three in zip(first, again, other, strict=True):
            for x, y, z in zip(voxels(one), voxels(two)[::-1], voxels(three), strict=True):
                np.testing.assert_array_equal(x, y)
                assert (x != z).any()
        assert (voxels(first[0])[0] != voxels(first[1])[0]).any()

    def test_what_is_there_is_not_drawn_again(self, cases, tmp_path, monkeypatch):
        from skcyto.feature_extraction._radiomics import _perturbed_masks

        drawn = []
        monkeypatch.setattr(
            _perturbed_masks, "perturb", lambda *args: drawn.append(1) or perturb(*args)
        )
        for n_repeats, expected in ((1, 3), (1, 3), (2, 6)):
            tables = perturb_masks(cases, tmp_path / "m", n_repeats=n_repeats, random_state=0)
            assert len(drawn) == expected
        assert len(list((tmp_path / "m").iterdir())) == 6
        perturb_masks(cases, tmp_path / "m", n_repeats=2, random_state=0, shift=0.5)
        assert len(drawn) == 12
        assert tables[0]["image"].tolist() == cases["image"].tolist()

    def test_pairs_and_sequences(self, scans, tmp_path):
        image, mask = (scans.to_sitk(each) for each in scans.make_volume())
        (pairs,) = perturb_masks([(image, mask)], tmp_path, n_repeats=1, random_state=0)
        assert pairs[0][0] is image
        X = [({"t1": image, "t2": image}, mask)]
        (rows,) = perturb_masks(X, tmp_path, n_repeats=1, random_state=0, image_column=["t1", "t2"])
        assert rows[0][0] == {"t1": image, "t2": image}
        assert rows[0][1] == pairs[0][1]

    def test_bad_masks_and_labels_that_vanish_are_named(self, cases, tmp_path):
        broken = cases.copy()
        broken.loc["b", "mask"] = "gone.nrrd"
        with pytest.raises(InvalidScanError, match=r"case 'b'.*gone\.nrrd does not exist"):
            perturb_masks(broken, tmp_path)
        image = np.zeros((9, 9, 9))
        mask = np.zeros((9, 9, 9), dtype=np.uint8)
        mask[4, 4, 4], mask[1:4, 1:8, 1:8] = 7, 1
        with pytest.warns(InvalidInputWarning, match=r"labels vanish.*case 0, label 7, repeat"):
            perturb_masks([(image, mask)], tmp_path, resize=2, random_state=1, shift=0)


def test_features_that_depend_on_the_contour_are_left_out(scans, tmp_path):
    """From scans to the filter: volume survives small changes, noise at the rim does not."""
    rng = np.random.default_rng(0)
    pairs = []
    for case in range(8):
        mask, spacing = ball(5 + case / 2, (17, 25, 25), (1.0, 1.0, 1.0))
        image = rng.normal(100, 5, mask.shape)
        image[mask == 0] = rng.normal(3000, 2000)  # a single voxel too many, and the maximum is it
        pairs.append(((image, spacing), (mask, spacing)))
    settings = {
        "imageType": {"Original": {}},
        "featureClass": {"shape": ["VoxelVolume"], "firstorder": ["Maximum", "Median"]},
    }
    extractor = RadiomicsExtractor([1], settings, cache=tmp_path / "cache")
    table = extractor.set_output(transform="pandas").fit_transform(pairs)
    again = perturb_masks(pairs, tmp_path / "masks", n_repeats=3, random_state=0)
    repeats = np.stack([extractor.transform(X).to_numpy() for X in again], axis=1)
    kept = ReproducibilityFilter().fit(table, repeats=repeats).get_feature_names_out()
    assert "label_1__original_shape_VoxelVolume" in kept
    assert "label_1__original_firstorder_Maximum" not in kept


class TestBinWidth:
    @staticmethod
    def scan(low, high, rng):
        image = rng.uniform(low, high, (6, 14, 14))
        mask = np.ones(image.shape, dtype=np.uint8)
        image[0, 0, 0], image[0, 0, 1] = low, high
        return image, mask

    def test_levels_are_those_that_pyradiomics_bins(self, scans):
        from radiomics import imageoperations

        rng = np.random.default_rng(0)
        pairs = [self.scan(-40 * k, 900 + 50 * k, rng) for k in range(4)]
        found = suggest_bin_width(pairs, RadiomicsExtractor([1], "original"))
        assert found.share == 1.0
        for (image, mask), levels in zip(pairs, found.levels["levels"], strict=True):
            binned, _ = imageoperations.binImage(image, mask == 1, binWidth=found.bin_width)
            assert levels == binned[mask == 1].max()
        assert found.levels["levels"].between(16, 128).all()
        assert f"bin width {found.bin_width:g}: 100% of 4 regions" in found.reason

    def test_normalisation_and_units_count(self):
        rng = np.random.default_rng(1)
        pairs = [self.scan(0, 10.0**k, rng) for k in range(5)]
        normalised = RadiomicsExtractor(
            [1], {"setting": {"normalize": True, "normalizeScale": 100}}
        )
        assert suggest_bin_width(pairs, normalised).share == 1.0
        with pytest.warns(InvalidInputWarning, match="ranges of intensities differ too much"):
            mixed = suggest_bin_width(pairs, RadiomicsExtractor([1], "original"))
        assert mixed.share < 0.9
        small = suggest_bin_width(pairs[:1], RadiomicsExtractor([1], "original"))
        assert small.bin_width == pytest.approx(0.025)  # 41 levels; 0.02 gives 51

    def test_bad_regions_are_named(self):
        rng = np.random.default_rng(1)
        flat = (np.ones((4, 4, 4)), np.ones((4, 4, 4), dtype=np.uint8))
        pairs = [self.scan(0, 100, rng), flat]
        settings = {"featureClass": {"firstorder": []}}
        with pytest.raises(InvalidScanError, match="case 1, label 1: the region is flat"):
            suggest_bin_width(pairs, RadiomicsExtractor([1], settings))
        extractor = RadiomicsExtractor([1, 2], settings, on_error="nan")
        with pytest.warns(InvalidInputWarning) as caught:
            found = suggest_bin_width(pairs, extractor)
        assert len(found.levels) == 1
        assert len(caught) == 2
