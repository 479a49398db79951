"""The extractor's values are pyradiomics' own, label by label."""

import copy

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from skcyto.exceptions import InvalidInputWarning
from skcyto.feature_extraction import RadiomicsExtractor
from skcyto.feature_extraction._radiomics import _classes
from skcyto.feature_extraction._radiomics._classes import feature_classes
from skcyto.feature_extraction._radiomics._settings import PRESETS, resolve_settings

TED = PRESETS["ted1648"]
# One texture class with many gray levels and one cheap class: enough to see a wrong image.
FEW = {"firstorder": [], "glcm": []}


def _params(setting=None, image_types=None, classes=FEW):
    params = {"setting": setting or {}, "featureClass": classes}
    params["imageType"] = image_types or {"Original": {}}
    return params


ALL_TYPES = {
    "Original": {},
    "LoG": {"sigma": [1.0, 2.5]},
    "Wavelet": {},
    "Square": {},
    "SquareRoot": {},
    "Logarithm": {},
    "Exponential": {},
    "Gradient": {},
}
VARIANTS = {
    "not normalised": _params(image_types=ALL_TYPES),
    "normalised, outliers removed": _params(
        {"normalize": True, "normalizeScale": 50, "removeOutliers": 3.0, "binWidth": 7.5},
        image_types=ALL_TYPES,
    ),
    "bins by count": _params({"binCount": 16}, image_types=ALL_TYPES),
    "bins by image type": _params(
        image_types={"Original": {"binWidth": 40}, "LoG": {"sigma": [3.0], "binWidth": 4}}
    ),
    "resegmented, absolute": _params(
        {"resegmentRange": [350.0, 900.0], "binWidth": 20}, classes={**FEW, "shape": []}
    ),
    "resegmented, sigma, shape too": _params(
        {"resegmentRange": [-1.5, 1.5], "resegmentMode": "sigma", "resegmentShape": True},
        classes={"firstorder": [], "shape": []},
    ),
    "resegmented, relative, wavelet": _params(
        {"resegmentRange": [0.3, 0.95], "resegmentMode": "relative"}, image_types={"Wavelet": {}}
    ),
    "slices": _params(
        {"force2D": True, "force2Ddimension": 0},
        image_types={"Original": {}, "Wavelet": {}, "LoG": {"sigma": [2.0]}},
        classes={"glcm": [], "glrlm": [], "ngtdm": []},
    ),
    "weighted, distances": _params(
        {"weightingNorm": "euclidean", "distances": [1, 3], "symmetricalGLCM": False},
        classes={"glcm": [], "gldm": [], "glrlm": [], "ngtdm": []},
    ),
    "wavelet levels": _params(
        {"binWidth": 60},
        image_types={"Wavelet": {"wavelet": "db3", "start_level": 1, "level": 2}},
    ),
    "gradient in voxels": _params(image_types={"Gradient": {"gradientUseSpacing": False}}),
    "deprecated features": _params(classes={"shape": ["Compactness1", "Sphericity"]}),
    "cropped before filtering": _params(
        {"preCrop": True, "padDistance": 4},
        image_types={"Original": {}, "LoG": {"sigma": [1.0]}, "Wavelet": {}, "Square": {}},
        classes={**FEW, "shape": []},
    ),
    "resampled": _params(
        {"resampledPixelSpacing": [1.1, 1.1, 1.5], "normalize": True, "binWidth": 0.2},
        image_types={"Original": {}, "LoG": {"sigma": [1.5]}, "Wavelet": {}},
        classes={**FEW, "shape": []},
    ),
    "resampled in the slice": _params(
        {"resampledPixelSpacing": [1.5, 1.5, 0], "interpolator": "sitkLinear"}
    ),
}


@pytest.mark.parametrize("params", VARIANTS.values(), ids=VARIANTS)
def test_equal_for_every_setting(scans, volume, params):
    extractor = RadiomicsExtractor([1, 2, 5], settings=copy.deepcopy(params))
    scans.compare_with_radiomics(extractor, params, *volume)


@pytest.mark.parametrize(("preset", "params"), [("ted1648", TED), ("original", None)])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_equal_for_the_presets(scans, preset, params, dtype):
    image, mask = scans.make_volume(seed=3, dtype=dtype)
    extractor = RadiomicsExtractor(settings=preset)
    scans.compare_with_radiomics(extractor, params, scans.to_sitk(image), scans.to_sitk(mask))
    assert list(extractor.mask_labels_.values()) == [1, 2, 5]


@pytest.mark.parametrize("spacing", [(1.0, 0.7, 0.7), (3.0, 0.4, 0.5)])
def test_equal_where_crops_are_much_smaller_than_the_image(scans, spacing):
    shape = (24, 90, 101)
    image, mask = scans.make_volume((8, 22, 20), seed=4)
    rng = np.random.default_rng(5)
    whole, whole_mask = rng.normal(400, 90, shape), np.zeros(shape, dtype=np.uint8)
    corner = (slice(9, 17), slice(50, 72), slice(31, 51))
    whole[corner], whole_mask[corner] = image, mask
    whole[0, 0, 0] = -3000.0  # the largest magnitude, far away, scales Square and the like
    params = _params({"binWidth": 20}, {**ALL_TYPES, "LoG": {"sigma": [0.5, 1.0]}})
    pair = scans.to_sitk(whole, spacing), scans.to_sitk(whole_mask, spacing)
    extractor = RadiomicsExtractor([1, 2, 5], settings=params)
    scans.compare_with_radiomics(extractor, params, *pair)
    strict = RadiomicsExtractor([1, 2, 5], settings=params, crop_filters=False)
    np.testing.assert_array_equal(extractor.transform([pair]), strict.fit_transform([pair]))


@pytest.mark.parametrize("distances", [[1], [1, 3]])
def test_equal_for_scattered_parts(scans, distances):
    """Empty planes between parts are left out: too few or too many would make new neighbours."""
    image, part = scans.make_volume((9, 20, 18), seed=7)
    image = np.tile(image, (2, 3, 3))
    mask = np.zeros_like(image, dtype=np.uint8)
    mask[:9, :20, :18] = mask[9:, 20:40, 36:] = part
    mask[3:5, 50, 20:30] = 1
    mask[5:7, 1, 22:24] = mask[5:7, 1, 26:28] = 2
    params = _params(
        {"distances": distances},
        {"Original": {}, "Wavelet": {}},
        {name: [] for name in ("firstorder", "glcm", "gldm", "glrlm", "glszm", "ngtdm")},
    )
    pair = scans.to_sitk(image), scans.to_sitk(mask)
    scans.compare_with_radiomics(RadiomicsExtractor([1, 2, 5], settings=params), params, *pair)


@pytest.mark.parametrize("size", [(1, 1, 2), (1, 2, 2), (1, 3, 3), (3, 1, 2), (2, 2, 2)])
@pytest.mark.parametrize("force2D", [False, True])
def test_equal_for_small_foci_and_contours_of_every_other_slice(scans, size, force2D):
    """Run lengths leave out directions without two voxels in line, whatever lies between."""
    rng = np.random.default_rng(0)
    image = rng.normal(100, 60, (14, 24, 24))
    mask = np.zeros(image.shape, dtype=np.uint8)
    for label in (1, 2, 3):
        for _ in range(2 * label):
            corner = [rng.integers(0, length - 3) for length in image.shape]
            mask[tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))] = label
    mask[3:12:4, 9:13, 10:14] = 4
    params = _params(
        {"force2D": force2D, "force2Ddimension": 0},
        classes={name: [] for name in ("glcm", "gldm", "glrlm", "glszm", "ngtdm")},
    )
    pair = scans.to_sitk(image), scans.to_sitk(mask)
    scans.compare_with_radiomics(RadiomicsExtractor([1, 2, 3, 4], settings=params), params, *pair)


@pytest.mark.filterwarnings("ignore:(?s).*gray levels in original")
# Seeds whose co-occurrence matrices have an angle where a number is zero but for rounding.
@pytest.mark.parametrize(
    ("distances", "seeds"),
    [([1, 2], (1, 10, 42, 70, 72)), ([1, 3], (0, 18, 36, 42, 60, 83, 100, 112))],
)
def test_equal_where_rounding_decides_whether_an_angle_counts(scans, distances, seeds):
    params = _params(
        {"symmetricalGLCM": False, "distances": distances, "binWidth": 50}, classes={"glcm": []}
    )
    for seed in seeds:
        rng = np.random.default_rng(seed)
        image = gaussian_filter(rng.normal(size=(5, 6, 5)), 1) * 100
        mask = np.ones(image.shape, dtype=np.uint8)
        mask[rng.random(image.shape) < 0.2] = 0
        pair = scans.to_sitk(image), scans.to_sitk(mask)
        scans.compare_with_radiomics(RadiomicsExtractor([1], settings=params), params, *pair)


@pytest.mark.parametrize("binWidth", [5, 25, 500])
@pytest.mark.parametrize("norm", [None, "no_weighting"])
def test_equal_where_no_two_voxels_are_neighbours(scans, binWidth, norm):
    """pyradiomics has no value then, with one gray level or many; MCC is no 1."""
    image = np.random.default_rng(0).normal(110, 10, (9, 9, 9))
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[::3, ::3, ::3] = 1
    params = {"setting": {"binWidth": binWidth}, "featureClass": {"glcm": ["MCC", "Contrast"]}}
    params["setting"] |= {} if norm is None else {"weightingNorm": norm}
    image, mask = scans.to_sitk(image), scans.to_sitk(mask)
    plain = scans.plain_radiomics(params, image, mask, 1)
    assert np.isnan(plain["original_glcm_Contrast"])
    with pytest.warns(InvalidInputWarning, match="no two of its voxels are neighbours"):
        scans.compare_with_radiomics(RadiomicsExtractor([1], params), params, image, mask)


@pytest.mark.parametrize("seed", [9, 92, 214])
def test_equal_where_bulges_to_both_sides_cancel(scans, seed):
    """A cluster shade that is zero but for rounding, to the ninth digit."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 7, 3))
    image = rng.normal(100, 40, shape)
    mask = (rng.random(shape) < rng.choice([0.15, 0.3, 0.6])).astype(np.uint8)
    params = _params({"binWidth": 50}, classes={"glcm": []})
    pair = scans.to_sitk(image), scans.to_sitk(mask)
    scans.compare_with_radiomics(RadiomicsExtractor([1], settings=params), params, *pair)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    shape=st.tuples(st.integers(4, 9), st.integers(5, 14), st.integers(5, 14)),
    scale=st.sampled_from([3.0, 60.0, 4000.0]),
    share=st.floats(0.1, 0.9),
)
def test_equal_on_random_images_and_ragged_masks(scans, seed, shape, scale, share):
    rng = np.random.default_rng(seed)
    image = rng.normal(scale=scale, size=shape)
    mask = (rng.random(shape) < share).astype(np.uint8) * rng.integers(1, 3, size=shape)
    mask[:2, :2, :2], mask[-2:, -2:, -2:] = 1, 2
    params = _params(
        {"binWidth": scale / 4},
        {"Original": {}, "LoG": {"sigma": [1.0]}, "Wavelet": {}, "Square": {}},
        {"shape": [], "firstorder": [], "glcm": [], "gldm": []},
    )
    pair = scans.to_sitk(image), scans.to_sitk(mask.astype(np.uint8))
    scans.compare_with_radiomics(RadiomicsExtractor([1, 2], settings=params), params, *pair)


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_equal_on_2d_images(scans, dtype):
    image, mask = (array[4] for array in scans.make_volume((10, 60, 64), seed=6))
    image = (image / image.max() * 255).astype(dtype)
    params = copy.deepcopy(TED)
    del params["featureClass"]["shape"]
    params["featureClass"]["shape2D"] = []
    pair = [scans.to_sitk(each, (0.9, 0.8)) for each in (image, mask)]
    extractor = RadiomicsExtractor()
    scans.compare_with_radiomics(extractor, params, *pair)
    assert (extractor.feature_table_["feature_class"] == "shape2D").sum() == 3 * 9


def test_bytes_do_not_overflow(scans):
    """numpy 2 wraps ``uint8(250) + 50``, so pyradiomics bins byte images into nonsense."""
    image, mask = (array[4] for array in scans.make_volume((10, 60, 64), seed=6))
    image = (image / image.max() * 255).astype(np.uint8)
    assert image[mask > 0].max() > 205
    params = _params(classes={"firstorder": [], "glcm": [], "glszm": []})
    wide = scans.to_sitk(image.astype(np.int32), (1, 1)), scans.to_sitk(mask, (1, 1))
    extractor = RadiomicsExtractor([1, 2, 5], settings=params)
    scans.compare_with_radiomics(extractor, params, *wide)
    np.testing.assert_array_equal(extractor.transform([(image, mask)]), extractor.transform([wide]))


def test_equal_with_a_corrected_mask(scans, volume):
    image, _ = volume
    shifted = scans.to_sitk(scans.make_volume()[1], origin=(0.8, 0.9, 0.0))
    params = _params({"correctMask": True}, {"Original": {}, "Wavelet": {}}, {**FEW, "shape": []})
    extractor = RadiomicsExtractor([1, 2, 5], settings=params)
    scans.compare_with_radiomics(extractor, params, image, shifted)
    # A tolerance leaves the mask where it is.
    near = scans.to_sitk(scans.make_volume()[1], origin=(1e-4, 0.0, 0.0))
    params = _params({"geometryTolerance": 1e-3}, classes={"shape": [], "firstorder": []})
    extractor = RadiomicsExtractor([1, 2, 5], settings=params)
    scans.compare_with_radiomics(extractor, params, image, near)


@pytest.mark.parametrize("preset", ["ted1648", "original"])
def test_equal_on_a_small_real_case(scans, shared_data, preset):
    """breast1 whole, and a corner of a glioma with its three labels."""
    import SimpleITK as sitk

    params = None if preset == "original" else TED
    folder = shared_data / "radiomics" / "pyradiomics_cases"
    pair = [sitk.ReadImage(str(folder / f"breast1_{what}.nrrd")) for what in ("image", "label")]
    scans.compare_with_radiomics(RadiomicsExtractor(settings=preset), params, *pair)
    folder = shared_data / "radiomics" / "brats13_rois"
    pair = [
        sitk.ReadImage(str(folder / f"brats2020_003_{what}.nii.gz"))[20:60, 15:55, 25:50]
        for what in ("flair", "seg")
    ]
    extractor = RadiomicsExtractor({"core": 1, "edema": 2, "enhancing": 4}, settings=preset)
    scans.compare_with_radiomics(extractor, params, *pair)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ted1648", "original"])
@pytest.mark.parametrize("case", ["brain1", "brain2"])
def test_equal_on_pyradiomics_own_cases(scans, shared_data, preset, case):
    import SimpleITK as sitk

    folder = shared_data / "radiomics" / "pyradiomics_cases"
    pair = [sitk.ReadImage(str(folder / f"{case}_{what}.nrrd")) for what in ("image", "label")]
    params = None if preset == "original" else TED
    scans.compare_with_radiomics(RadiomicsExtractor(settings=preset), params, *pair)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ted1648", "original"])
@pytest.mark.parametrize("case", ["003", "005", "012"])
def test_equal_on_gliomas_with_three_labels(scans, shared_data, preset, case):
    import SimpleITK as sitk

    folder = shared_data / "radiomics" / "brats13_rois"
    names = [folder / f"brats2020_{case}_{what}.nii.gz" for what in ("t1ce", "seg")]
    pair = [sitk.ReadImage(str(name)) for name in names]
    params = None if preset == "original" else TED
    scans.compare_with_radiomics(RadiomicsExtractor([1, 2, 4], settings=preset), params, *pair)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["ted1648", "original"])
def test_equal_on_a_synthetic_orbit_with_eight_labels(scans, preset):
    from skcyto.datasets import make_orbit_mri

    orbit = make_orbit_mri(1, random_state=0)
    params = None if preset == "original" else TED
    pair = orbit.data.iloc[0]
    scans.compare_with_radiomics(
        RadiomicsExtractor(orbit.mask_labels, settings=preset), params, pair["image"], pair["mask"]
    )


def test_every_faster_class_agrees_with_the_installed_radiomics():
    """The phantom check on first use: were one to fail, only speed would be lost, unnoticed."""
    from skcyto.feature_extraction._radiomics import _laplacian_of_gaussian as _log

    chosen = feature_classes()
    assert chosen.slow == []
    assert set(chosen.classes) >= {"shape", "firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm"}
    assert _log.is_exact()


def test_an_adapted_class_that_disagrees_is_not_used(monkeypatch):
    share_bins = _classes.share_bins
    # As if the bins were handed over in the wrong order.
    monkeypatch.setattr(
        _classes,
        "share_bins",
        lambda *args: {**(shared := share_bins(*args)), "binned": shared["binned"][::-1]},
    )
    monkeypatch.setattr(
        _classes, "measure_mesh", lambda *_: (_ for _ in ()).throw(RuntimeError("other version"))
    )
    chosen = _classes.feature_classes.__wrapped__()
    assert {"glcm", "shape"} <= set(chosen.slow)
    assert "_skcyto" not in str(chosen.classes["glcm"].__mro__)
    assert chosen.classes["glcm"].__module__ == "radiomics.glcm"
    assert "_applyBinning" not in vars(chosen.classes["glcm"])


def test_preset_counts():
    image = np.random.default_rng(0).normal(size=(6, 9, 9))
    mask = np.ones((6, 9, 9), dtype=np.uint8)
    mask[3:] = 2
    names = "superior_rectus inferior_rectus medial_rectus lateral_rectus optic_nerve fat"
    names = [*names.split(), "lacrimal_gland", "superior_oblique"]
    extractor = RadiomicsExtractor({name: label + 1 for label, name in enumerate(names)})
    extractor.fit([(image, mask)])
    table = extractor.feature_table_
    assert isinstance(table, pd.DataFrame)
    assert len(table) == len(extractor.get_feature_names_out()) == 13_184
    one = table[table["structure"] == "fat"]
    assert one["image_type"].nunique() == 19
    assert one["feature_class"].value_counts().to_dict() == {
        "shape": 14,
        "firstorder": 342,
        "glcm": 418,
        "glrlm": 304,
        "glszm": 304,
        "gldm": 266,
    }
    assert len(one) == 1648
    glcm = set(one.loc[one["feature_class"] == "glcm", "feature"])
    assert len(glcm) == 22
    assert not glcm & {"SumAverage", "MCC"}
    setting = extractor.settings_["setting"]
    assert (setting["normalize"], setting["normalizeScale"]) == (True, 100)
    assert (setting["binWidth"], setting["voxelArrayShift"]) == (5, 300)
    assert not setting["preCrop"]
    assert setting["resampledPixelSpacing"] is None
    assert "superior_rectus__wavelet-LLH_glcm_Contrast" in table.index


def test_original_preset_is_radiomics_default():
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    default = RadiomicsFeatureExtractor()
    ours = resolve_settings("original", 3)
    assert ours.image_types == default.enabledImagetypes
    assert set(ours.feature_classes) == set(default.enabledFeatures)
    assert {**ours.setting, "additionalInfo": True} == default.settings
