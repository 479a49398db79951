"""Compiled kernels give pyradiomics' numbers, or leave them to pyradiomics."""

import warnings

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from skcyto.exceptions import InvalidScanError
from skcyto.feature_extraction import RadiomicsExtractor
from skcyto.feature_extraction._radiomics import _engine, _textures
from skcyto.feature_extraction._radiomics._classes import phantoms, share_bins
from skcyto.feature_extraction._radiomics._filters import Box
from skcyto.feature_extraction._radiomics._kernels import _gaussian
from skcyto.feature_extraction._radiomics._runtime import _one_itk_thread
from skcyto.feature_extraction._radiomics._textures import BinnedRegion, compute
from skcyto.feature_extraction._radiomics._voxels import Voxels

CLASSES = ("firstorder", "glcm", "gldm", "glrlm", "glszm", "ngtdm")


def draw_image(rng, shape):
    kind = rng.choice(["noise", "smooth", "steps", "far from zero", "skewed"])
    image = rng.normal(size=shape)
    if kind == "smooth":
        image = gaussian_filter(image, rng.uniform(0.5, 1.5))
    if kind == "steps":
        image = np.round(image * rng.uniform(0.5, 2))
    if kind == "skewed":
        image = np.exp(image)
    image = image / max(image.std(), 1e-9) * 10 ** rng.uniform(0.5, 2.5)
    return image + (5000 if kind == "far from zero" else rng.choice([0, 300]))


def draw_mask(rng, shape):
    mask = np.zeros(shape, dtype=np.uint8)
    for label in (1, 2):
        kind = rng.choice(["ragged", "body", "parts", "sheet"])
        if kind == "ragged":
            mask[rng.random(shape) < rng.uniform(0.05, 0.7)] = label
        elif kind == "body":
            centre, radii = rng.uniform(0.3, 0.7, len(shape)), rng.uniform(0.15, 0.5, len(shape))
            far = sum(
                ((axis / length - middle) / radius) ** 2
                for axis, length, middle, radius in zip(
                    np.indices(shape), shape, centre, radii, strict=True
                )
            )
            mask[far < 1] = label
        elif kind == "parts":
            for _ in range(rng.integers(2, 5)):
                corner = [rng.integers(0, length - 1) for length in shape]
                mask[tuple(slice(a, a + rng.integers(1, 4)) for a in corner)] = label
        else:
            axis = rng.integers(len(shape))
            plane = [slice(None)] * len(shape)
            plane[axis] = slice(int(rng.integers(shape[axis])), None, int(rng.integers(2, 4)))
            mask[tuple(plane)] = label
    return mask


def draw_params(rng, ndim, spread):
    setting = {"minimumROIDimensions": 1}
    if rng.random() < 0.3:
        setting["binCount"] = int(rng.integers(2, 40))
    else:
        setting["binWidth"] = float(spread / rng.choice([1, 4, 10, 30]))
    if rng.random() < 0.3:
        setting |= {"normalize": True, "normalizeScale": int(spread)}
    if rng.random() < 0.3:
        setting |= {"force2D": True, "force2Ddimension": int(rng.integers(ndim))}
    if rng.random() < 0.3:
        setting["distances"] = [[1, 2], [2], [1, 3]][rng.integers(3)]
    if rng.random() < 0.3:
        norms = ["euclidean", "manhattan", "infinity", "no_weighting"]
        setting["weightingNorm"] = str(rng.choice(norms))
    if rng.random() < 0.3:
        setting["symmetricalGLCM"] = False
    if rng.random() < 0.3:
        setting["gldm_a"] = int(rng.integers(1, 4))
    if rng.random() < 0.3:
        setting["voxelArrayShift"] = int(rng.integers(1, 400))
    if rng.random() < 0.2:
        setting |= {"resegmentRange": [-1.5, 2.0], "resegmentMode": "sigma"}
    types = {
        "Original": {},
        "LoG": {"sigma": [float(rng.choice([0.7, 1.5, 3.0]))]},
        "Wavelet": {},
        "Square": {},
        "SquareRoot": {},
        "Logarithm": {},
        "Exponential": {},
        "Gradient": {},
    }
    if ndim == 2:
        del types["LoG"]
    chosen = rng.choice(list(types), size=2, replace=False)
    return {
        "setting": setting,
        "imageType": {str(name): types[name] for name in chosen},
        "featureClass": {name: [] for name in (*CLASSES, "shape" if ndim == 3 else "shape2D")},
    }


def draw_case(seed):
    rng = np.random.default_rng(seed)
    ndim = int(rng.choice([2, 3, 3, 3]))
    shape = tuple(rng.integers(5, 15, ndim)) if ndim == 3 else tuple(rng.integers(8, 40, ndim))
    image = draw_image(rng, shape)
    mask = draw_mask(rng, shape)
    params = draw_params(rng, ndim, image.std())
    dtype = rng.choice([np.float64, np.float32, np.int16, np.int32, np.uint16])
    if np.issubdtype(dtype, np.unsignedinteger):
        image = np.clip(image, 0, None)
    return image.astype(dtype), mask, tuple(rng.uniform(0.4, 3, ndim)), params


def check_case(scans, seed):
    image, mask, spacing, params = draw_case(seed)
    pair = scans.to_sitk(image, spacing), scans.to_sitk(mask, spacing)
    labels = [label for label in (1, 2) if (mask == label).any()]
    extractor = RadiomicsExtractor(labels, settings=params, on_error="nan")
    row = extractor.set_output(transform="pandas").fit_transform([pair]).iloc[0]
    for structure, label in extractor.mask_labels_.items():
        ours = scans.by_radiomics_name(row, structure)
        try:
            # `normalize` sums in an order that depends on ITK's threads, and the last digit of an
            # intensity decides between two bins where it lies on an edge.
            with _one_itk_thread():
                plain = scans.plain_radiomics(params, *pair, label)
        except (ValueError, RuntimeError, IndexError):
            # Only its shape may be known where the rest is not.
            textures = [value for name, value in ours.items() if "_shape" not in name]
            assert np.isnan(textures).all(), f"seed {seed}, label {label}"
            continue
        try:
            scans.assert_same_values(ours, plain)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, label {label}, {params}: {error}") from None


@pytest.mark.filterwarnings("ignore::skcyto.exceptions.InvalidInputWarning")
@pytest.mark.parametrize("seed", range(12))
def test_equal_on_random_cases(scans, seed):
    check_case(scans, seed)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::skcyto.exceptions.InvalidInputWarning")
@pytest.mark.parametrize("hundred", [1, 2, 3, 4])
def test_equal_on_hundreds_of_random_cases(scans, hundred):
    for seed in range(100 * hundred, 100 * hundred + 100):
        check_case(scans, seed)


def binned(phantom, wanted):
    shared = share_bins(phantom.values[phantom.inside], phantom.settings)
    return BinnedRegion(
        Voxels(phantom.inside, Box((0, 0, 0), phantom.image.GetSize()), 2),
        phantom.values[phantom.inside],
        shared["ranks"],
        shared["present"],
        phantom.image.GetSpacing()[::-1],
        phantom.settings,
        wanted,
    )


def test_every_kernel_agrees_with_the_installed_radiomics():
    """The check on first use: were one to fail, only speed would be lost, unnoticed."""
    assert _textures.trusted_classes() == set(CLASSES)


def test_nothing_is_left_to_radiomics_where_all_is_clear(scans, monkeypatch):
    image, mask = scans.make_volume()
    monkeypatch.setattr(
        _engine, "_compute_by_radiomics", lambda *args: pytest.fail(f"{args[-2:]} is left")
    )
    params = {
        "imageType": {"Original": {}, "LoG": {"sigma": [2.0]}},
        "featureClass": {name: [] for name in CLASSES},
    }
    found = RadiomicsExtractor(settings=params).fit_transform([(image, mask)])
    assert np.isfinite(found).all()


def test_a_kernel_that_disagrees_is_not_used(monkeypatch):
    kernel = _textures._MATRICES["glrlm"]

    def off_by_little(region):
        features, unsure = kernel(region)
        return {**features, "RunEntropy": features["RunEntropy"] * (1 + 1e-8)}, unsure

    def failing(region):
        raise RuntimeError("another version")

    monkeypatch.setitem(_textures._MATRICES, "glrlm", off_by_little)
    monkeypatch.setitem(_textures._MATRICES, "glszm", failing)
    assert _textures.trusted_classes.__wrapped__() == set(CLASSES) - {"glrlm", "glszm"}


def test_values_are_the_same_without_kernels(scans, volume, monkeypatch):
    image, mask = volume
    params = {
        "setting": {"weightingNorm": "manhattan"},
        "imageType": {"Original": {}},
        "featureClass": {name: [] for name in CLASSES},
    }
    extractor = RadiomicsExtractor([1, 2], settings=params)
    fast = extractor.fit_transform([(image, mask)])
    monkeypatch.setattr(_engine, "trusted_classes", frozenset)
    np.testing.assert_allclose(extractor.transform([(image, mask)]), fast, rtol=1e-9)


def test_the_box_is_empty_again_after_use():
    """What one image leaves behind would count as neighbours in the next."""
    for phantom in phantoms():
        region = binned(phantom, {name: list(phantom.expected(name)) for name in CLASSES})
        for classes in (["glcm"], list(CLASSES)):
            compute(region, classes)
            assert not region.voxels.dense.any()


@pytest.mark.parametrize("kind", ["one level", "two levels, never side by side"])
def test_regions_without_contrast_are_no_special_case(scans, kind):
    mask = np.zeros((5, 6, 7), dtype=np.uint8)
    mask[1:4, 1:5, 1:6] = 1
    image = np.full(mask.shape, 40.0)
    if kind != "one level":
        image[np.indices(mask.shape).sum(axis=0) % 2 == 0] = 90
    else:
        image[mask == 0] = 10
    params = {"featureClass": {name: [] for name in CLASSES[1:]}, "imageType": {"Original": {}}}
    pair = scans.to_sitk(image), scans.to_sitk(mask)
    plain = scans.plain_radiomics(params, *pair, 1)
    region = BinnedRegion(
        Voxels(mask == 1, Box((0, 0, 0), pair[0].GetSize()), 1),
        image[mask == 1],
        *(share_bins(image[mask == 1], {})[key] for key in ("ranks", "present")),
        pair[0].GetSpacing()[::-1],
        {},
        {name: [] for name in CLASSES},
    )
    found = compute(region, CLASSES[1:])
    ours = {
        f"original_{name}_{feature}": value
        for name, (features, unsure) in found.items()
        for feature, value in features.items()
        if feature not in unsure
    }
    assert len(ours) > 60
    scans.assert_same_values(ours, {name: plain[name] for name in ours})


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", [0, 2])
def test_the_recursive_filter_is_itks_bit_for_bit(order, dtype):
    import SimpleITK as sitk

    rng = np.random.default_rng(order)
    for shape, spacing in [((9, 31, 40), (0.44, 0.6, 3.0)), ((33, 20), (0.8, 1.0))]:
        array = rng.normal(50, 100, size=shape).astype(dtype)
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing)
        for axis in range(len(shape)):
            for sigma in (0.5, 3.0, 7.5):
                own = sitk.RecursiveGaussianImageFilter()
                own.SetSigma(sigma)
                own.SetNormalizeAcrossScale(True)
                own.SetDirection(axis)
                own.SetOrder(order)
                expected = sitk.GetArrayFromImage(own.Execute(image))
                numpy_axis = len(shape) - 1 - axis
                part = (slice(None),) * numpy_axis + (slice(2, -3),)
                found = _gaussian.smooth_along(
                    array,
                    numpy_axis,
                    2,
                    array.shape[numpy_axis] - 3,
                    _gaussian.coefficients(sigma, spacing[axis], order),
                )
                np.testing.assert_array_equal(found, expected[part])


def compare_maps(scans, params, pair, **kwargs):
    import SimpleITK as sitk
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    extractor = RadiomicsExtractor({"node": 1}, settings=params).fit([pair])
    maps = extractor.voxel_map(*pair, init_value=0.0, **kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = RadiomicsFeatureExtractor(params)
        own.settings |= {
            "kernelRadius": kwargs.get("kernel_radius", 1),
            "maskedKernel": kwargs.get("masked_kernel", True),
        }
        expected = own.execute(*pair, label=1, voxelBased=True)
    expected = {k: v for k, v in expected.items() if not k.startswith("diagnostics")}
    assert maps.keys() == expected.keys()
    for name, image in expected.items():
        assert maps[name].GetOrigin() == image.GetOrigin()
        found, right = sitk.GetArrayFromImage(maps[name]), sitk.GetArrayFromImage(image)
        # What is zero but for rounding is zero to 1e-7 of the map: the root of the last digit.
        scale = np.nanmax(np.abs(right))
        np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-7 * scale, err_msg=name)


MAP_CLASSES = {
    **{name: [] for name in ("firstorder", "gldm", "ngtdm", "glrlm", "glszm")},
    "glcm": ["Contrast", "JointEntropy", "Correlation", "Idmn", "Imc1", "Imc2", "ClusterShade"],
}


@pytest.mark.parametrize(
    ("setting", "image_types", "kwargs"),
    [
        ({}, {"Original": {}}, {}),
        ({"weightingNorm": "euclidean", "gldm_a": 2}, {"LoG": {"sigma": [1.5]}}, {}),
        ({"force2D": True, "voxelArrayShift": 20}, {"Original": {}}, {"kernel_radius": 2}),
        ({"distances": [1, 2]}, {"Square": {}}, {"masked_kernel": False}),
    ],
)
def test_maps_are_those_of_radiomics(scans, setting, image_types, kwargs):
    rng = np.random.default_rng(1)
    image = gaussian_filter(rng.normal(size=(7, 12, 13)), 0.7) * 200 + 300
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[2:5, 3:8, 0:6] = 1
    mask[3, 5, 3] = 0
    pair = scans.to_sitk(image), scans.to_sitk(mask)
    params = {"setting": setting, "imageType": image_types, "featureClass": MAP_CLASSES}
    compare_maps(scans, params, pair, **kwargs)


def test_a_map_by_hand():
    import SimpleITK as sitk

    image = np.arange(36.0).reshape(3, 3, 4) * 10
    mask = np.ones(image.shape, dtype=np.uint8)
    extractor = RadiomicsExtractor([1], settings="original").fit([(image, mask)])
    names = ["original_firstorder_Mean", "original_firstorder_Maximum"]
    maps = extractor.voxel_map(image, mask, features=names)
    mean, largest = (sitk.GetArrayFromImage(maps[name]) for name in names)
    # Around the middle one, values rise on one side as they fall on the other.
    assert mean[1, 1, 1] == pytest.approx(image[1, 1, 1])
    # The first voxel has seven neighbours, the farthest in the middle.
    assert mean[0, 0, 0] == pytest.approx(image[:2, :2, :2].mean())
    assert largest[0, 0, 0] == pytest.approx(image[1, 1, 1])


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"structure": "nerve"}, "structure must be one of"),
        ({"features": ["original_glcm_Contras"]}, "did you mean 'original_glcm_Contrast'"),
        ({"features": ["original_shape_Sphericity"]}, "has no map"),
        ({"features": ["original_glcm_MCC"]}, "has no map"),
        ({"kernel_radius": 0}, "kernel_radius must be"),
    ],
)
def test_a_map_that_cannot_be_drawn_says_why(volume, kwargs, match):
    extractor = RadiomicsExtractor([1], settings="original").fit([volume])
    with pytest.raises(ValueError, match=match):
        extractor.voxel_map(*volume, **kwargs)


def test_a_map_of_a_missing_structure_says_why(volume):
    extractor = RadiomicsExtractor([1, 7], settings="original").fit([volume])
    with pytest.raises(ValueError, match="structure must be one of"):
        extractor.voxel_map(*volume)
    with pytest.raises(InvalidScanError, match="7"):
        extractor.voxel_map(*volume, "label_7", features=["original_firstorder_Mean"])
