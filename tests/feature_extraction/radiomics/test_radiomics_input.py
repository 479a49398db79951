"""Every form of input, and every bad input: named, with the rest of the batch unharmed."""

import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skcyto.exceptions import InvalidInputWarning, InvalidScanError
from skcyto.feature_extraction import RadiomicsExtractor
from skcyto.feature_extraction._radiomics._classes import feature_classes

FIRST = {"featureClass": {"firstorder": ["Mean", "Maximum"], "shape": ["VoxelVolume"]}}
LOG = {
    "imageType": {"Original": {}, "LoG": {"sigma": [1.0]}},
    "featureClass": {"firstorder": ["Mean"]},
}


@pytest.fixture
def good(scans):
    return scans.make_volume((8, 20, 22))


def _save(image, path):
    import SimpleITK as sitk

    sitk.WriteImage(image, str(path))
    return str(path)


def _extract(X, labels=(1, 2, 5), settings=FIRST, **parameters):
    return RadiomicsExtractor(labels, settings=settings, **parameters).fit_transform(X)


def test_every_form_of_input_gives_the_same(scans, good, tmp_path):
    spacing = (2.0, 0.9, 0.8)
    image, mask = (scans.to_sitk(array, spacing) for array in good)
    expected = _extract([(image, mask)])
    assert expected.shape == (1, 9)
    assert expected[0, 0] == pytest.approx(np.sum(good[1] == 1) * 2.0 * 0.9 * 0.8)
    # NIfTI keeps spacings in single precision.
    files = [
        (_save(image, tmp_path / f"image.{kind}"), _save(mask, tmp_path / f"mask.{kind}"))
        for kind in ("nii", "nii.gz", "nrrd", "mha", "mhd", "nhdr")
    ]
    arrays = ((good[0], spacing), (good[1], list(spacing)))
    frame = pd.DataFrame(files, columns=["image", "mask"], index=list("abcdef"))
    for X in (
        files,
        np.array(files),
        np.array(files, dtype=object),
        frame,
        frame[["mask", "image"]],
        [(Path(image), Path(mask)) for image, mask in files],
        [arrays],
        [(image, arrays[1]), (files[0][0], mask)],
    ):
        np.testing.assert_allclose(_extract(X), np.repeat(expected, len(X), axis=0), rtol=3e-8)
    unit = _extract([(good[0], good[1].astype(bool) * np.uint8(1))], labels=[1])
    assert unit[0, 0] == np.sum(good[1] > 0)
    boolean = _extract([(good[0], good[1] > 0)], labels=[1])
    np.testing.assert_array_equal(boolean, unit)


@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "i4", "i8", "f4", "f8", "f16"])
def test_byte_order_does_not_matter(good, kind):
    """FITS files and old scanners give big-endian arrays."""
    image, mask = good[0] // 8, good[1]
    expected = _extract([(image.astype(kind), mask)])
    for order in "<>":
        dtype = np.dtype(kind).newbyteorder(order)
        X = [(image.astype(dtype), mask.astype(dtype))]
        extractor = RadiomicsExtractor(settings=FIRST, on_error="nan").fit(X)
        assert list(extractor.mask_labels_.values()) == [1, 2, 5]
        np.testing.assert_array_equal(extractor.transform(X), expected)


@pytest.mark.parametrize("role", ["image", "mask"])
def test_array_that_simpleitk_refuses_is_named(good, role, monkeypatch):
    import SimpleITK as sitk

    original = sitk.GetImageFromArray

    def refuse(array, isVector=None):
        if array.shape[0] == 3:
            raise TypeError("dtype: of today is not supported.")
        return original(array, isVector=isVector)

    monkeypatch.setattr(sitk, "GetImageFromArray", refuse)
    pair = [good[0], good[1]]
    pair[role == "mask"] = pair[role == "mask"][:3]
    message = rf"case 0: the {role}, an array of shape .3, 20, 22. and dtype \w+, .*of today.*conv"
    with pytest.raises(InvalidScanError, match=message):
        RadiomicsExtractor(settings=FIRST).fit([tuple(pair)])
    with pytest.warns(InvalidInputWarning, match=message):
        values = _extract([tuple(pair), good], on_error="nan")
    assert np.isnan(values).all(axis=1).tolist() == [True, False]


def test_data_frames_name_their_columns_and_keep_their_index(scans, good):
    pair = [scans.to_sitk(array) for array in good]
    frame = pd.DataFrame({"patient": ["p7"], "flair": [pair[0]], "seg": [pair[1]]}, index=["c3"])
    extractor = RadiomicsExtractor([1], settings=FIRST, image_column="flair", mask_column="seg")
    out = extractor.set_output(transform="pandas").fit_transform(frame)
    assert list(out.index) == ["c3"]
    assert out.columns[0] == "label_1__original_shape_VoxelVolume"
    with pytest.raises(ValueError, match=r"no column 'image' and no column 'mask'.*\['patient'"):
        RadiomicsExtractor([1], settings=FIRST).fit(frame)
    extractor.set_params(mask_column="mask")
    with pytest.raises(ValueError, match="no column 'mask'"):
        extractor.fit(frame)
    twice = pd.DataFrame([[*pair, pair[0]]], columns=["image", "mask", "image"])
    with pytest.raises(ValueError, match="more than one column 'image'"):
        RadiomicsExtractor([1], settings=FIRST).fit(twice)
    numbered = RadiomicsExtractor([1], settings=FIRST, image_column="0", mask_column="1")
    with pytest.raises(ValueError, match=r"no column '0' .*\[0, 1\]"):
        numbered.fit(pd.DataFrame([pair]))


def test_polars_frames_work(scans, good, tmp_path):
    import polars as pl

    paths = [_save(scans.to_sitk(array), tmp_path / f"{i}.nrrd") for i, array in enumerate(good)]
    frame = pl.DataFrame({"image": paths[:1], "mask": paths[1:]})
    extractor = RadiomicsExtractor([1], settings=FIRST).set_output(transform="polars")
    assert extractor.fit_transform(frame).columns[0] == "label_1__original_shape_VoxelVolume"


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([], "holds no case"),
        ("image.nii", "got str"),
        (("image.nii", "mask.nii"), r"row 0 is no pair but str: for one case write \[\(image"),
        ([("a", "b", "c")], "row 0 is no pair"),
        (np.zeros((4, 2)), r"shape \(4, 2\) and dtype float64"),
        (np.array(["a", "b"]), r"shape \(2,\)"),
        ({"image": ["a"], "mask": ["b"]}, "got dict"),
    ],
)
def test_what_is_no_batch_is_refused(X, message):
    with pytest.raises(ValueError, match=message):
        RadiomicsExtractor([1], settings=FIRST).fit(X)


# Each entry spoils the good image and mask and says what the message must name.
def _with(array, where, value):
    array = array.astype(np.float64)
    array[where] = value
    return array


INSIDE, OUTSIDE = (2, 6, 6), (0, 0, 0)
BAD = {
    "label missing everywhere": (lambda i, m: (i, m * 0), FIRST, "the mask is empty"),
    "one voxel": (
        lambda i, m: (i, np.where(np.arange(m.size).reshape(m.shape) == 900, 5, m * (m != 5))),
        FIRST,
        r"label 5 \(\w+\): the region is a single voxel",
    ),
    "a line": (
        lambda i, m: (i, _line(m)),
        FIRST,
        r"label 5 \(\w+\): the region spans 6 x 1 x 1 voxels, 1 dimension\(s\)",
    ),
    "too few voxels": (
        lambda i, m: (i, m),
        {"setting": {"minimumROISize": 100_000}, **FIRST},
        r"label 1 \(\w+\): the region has \d+ voxels, not more than 'minimumROISize' 100000",
    ),
    "flat": (
        lambda i, m: (np.where(m == 2, 7, i), m),
        FIRST,
        r"label 2 \(\w+\): the region is flat: all \d+ voxels have the intensity 7",
    ),
    "NaN inside": (
        lambda i, m: (_with(i, INSIDE, np.nan), m),
        FIRST,
        r"label 1 \(\w+\): 1 of the region's \d+ voxels are NaN or infinite",
    ),
    "infinity inside": (
        lambda i, m: (_with(i, INSIDE, np.inf), m),
        FIRST,
        r"label 1 \(\w+\): 1 of the region's \d+ voxels are NaN or infinite",
    ),
    "NaN outside, normalised": (
        lambda i, m: (_with(i, OUTSIDE, np.nan), m),
        {"setting": {"normalize": True}, **FIRST},
        "holds 1 NaN or infinite voxels, which normalisation and filters spread",
    ),
    "infinity outside, filtered": (
        lambda i, m: (_with(i, OUTSIDE, np.inf), m),
        LOG,
        "holds 1 NaN or infinite voxels",
    ),
    "mask smaller": (lambda i, m: (i, m[:-1]), FIRST, r"size \(22, 20, 7\) instead of"),
    "mask is a slice": (lambda i, m: (i, m[3]), FIRST, "mask has 2 dimensions, the image 3"),
    "fractions in the mask": (lambda i, m: (i, m * 0.5), FIRST, "holds fractions, as after interp"),
    "NaN in the mask": (lambda i, m: (i, _with(m, OUTSIDE, np.nan)), FIRST, "mask holds NaN"),
    "negative mask": (lambda i, m: (i, -m.astype(np.int8)), FIRST, "negative values, down to -5"),
    "label of 2**32": (
        lambda i, m: (i, m + np.int64(2**32)),
        FIRST,
        r"up to 4294967301, .* 2\*\*32",
    ),
    "label of 2**63": (
        lambda i, m: (i, m.astype(np.uint64) << np.uint64(61)),
        FIRST,
        "give the structures smaller numbers",
    ),
    "label of 2.0**40": (lambda i, m: (i, m * 2.0**40), FIRST, "labels must be below"),
    "complex image": (lambda i, m: (i + 1j, m), FIRST, "dtype complex128"),
    "objects": (lambda i, m: (i.astype(object), m), FIRST, "dtype object: convert"),
    "4-D": (lambda i, m: (np.stack([i, i]), m), FIRST, r"shape \(2, 8, 20, 22\)"),
    "no image": (lambda i, m: (None, m), FIRST, "the image is missing"),
    "not a number": (lambda i, m: (float("nan"), m), FIRST, "the image is missing"),
    "a number": (lambda i, m: (i, 3), FIRST, "the mask is of type int"),
    "bad spacing": (
        lambda i, m: ((i, (1, 2)), m),
        FIRST,
        r"spacing \(1, 2\) of the image must be 3",
    ),
    "zero spacing": (lambda i, m: ((i, (1, 2, 0)), m), FIRST, "must be 3 positive numbers"),
    "masked image": (lambda i, m: (np.ma.masked_less(i, 0), m), FIRST, "image is a masked array"),
    "masked mask": (
        lambda i, m: (i, (np.ma.masked_equal(m, 2), (1, 1, 1))),
        FIRST,
        r"mask is a masked array.*numpy\.ma\.filled",
    ),
    "no file": (
        lambda i, m: ("nowhere.nii.gz", m),
        FIRST,
        "image file nowhere.nii.gz does not exist",
    ),
    "a folder": (lambda i, m: (".", m), FIRST, "is a folder without a DICOM series"),
}


def _line(mask):
    mask = mask * (mask != 5)
    mask[4, 10, 14:20] = 5
    return mask


@pytest.mark.parametrize(("spoil", "settings", "message"), BAD.values(), ids=BAD)
def test_bad_cases_are_named_and_the_others_survive(good, spoil, settings, message):
    bad = spoil(*(array.copy() for array in good))
    extractor = RadiomicsExtractor({"rectus": 1, "nerve": 2, "fat": 5}, settings=settings)
    reference = [good, good] if "minimumROISize" not in str(settings) else None
    extractor.fit([good])
    with pytest.raises(InvalidScanError, match=r"(?s)on_error=\"nan\".*- case 1.*" + message):
        extractor.transform([good, bad])
    extractor.set_params(on_error="nan")
    with pytest.warns(InvalidInputWarning, match=message):
        values = extractor.transform([good, bad])
    if reference is not None:
        np.testing.assert_array_equal(values[0], extractor.transform([good])[0])
        assert np.isfinite(values[0]).all()
    nan = np.isnan(values[1]).reshape(3, -1)
    assert nan.any()
    if any(word in message for word in ("flat", "the region's")):
        # Shape, the first column, needs no intensities.
        assert not nan[:, 0].any()
        nan = nan[:, 1:]
    assert (nan.all(axis=1) | ~nan.any(axis=1)).all()  # a label is given whole or not at all
    named = {"label 1 ": [0], "label 2 ": [1], "label 5 ": [2]}.get(message[:8], [0, 1, 2])
    if "minimumROISize" in message:
        named = [0, 1, 2]
    assert np.flatnonzero(nan.all(axis=1)).tolist() == named


def test_a_label_too_small_for_the_distances_does_not_cost_the_others():
    rng = np.random.default_rng(0)
    image, mask = rng.normal(100, 40, (10, 20, 20)), np.zeros((10, 20, 20), dtype=np.uint8)
    mask[2:7, 3:13, 3:13], mask[8:, 17:19, 17:19] = 1, 2
    settings = {"setting": {"distances": [2]}, "featureClass": {"glcm": ["Contrast"]}}
    extractor = RadiomicsExtractor({"large": 1, "small": 2}, settings)
    reason = r"case 0, label 2 \(small\): pyradiomics cannot measure it: .*'distances' reaches"
    with pytest.raises(InvalidScanError, match=reason):
        extractor.fit_transform([(image, mask)])
    with pytest.warns(InvalidInputWarning, match=reason):
        values = extractor.set_params(on_error="nan").fit_transform([(image, mask)])
    alone = RadiomicsExtractor({"large": 1}, settings).fit_transform([(image, mask)])
    np.testing.assert_array_equal(values, [[alone[0, 0], np.nan]])


def test_a_missing_value_has_its_own_reason():
    """Not what pyradiomics says of another label, nor of the first use's comparison with it."""
    image = np.random.default_rng(1).normal(100, 20, (12, 12, 12))
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[1:6, 1:6, 1:6] = 1
    mask[8, 8, 8] = mask[10, 10, 10] = mask[8, 10, 8] = 2  # voxels that do not touch
    settings = {"setting": {"symmetricalGLCM": False, "binWidth": 5}, "featureClass": {"glcm": []}}
    feature_classes.cache_clear()
    with pytest.warns(InvalidInputWarning) as caught:
        _extract([(image, mask)], labels=[1, 2], settings=settings)
    (note,) = str(caught[0].message).splitlines()[1:]
    assert note.startswith("- case 0, label 2: no value of original_glcm_Autocorrelation, ")
    assert note.endswith(" more (no two of its voxels are neighbours, which the GLCM counts)")


@pytest.mark.parametrize("value", [1.0, np.nan, np.inf])
def test_shape_needs_no_intensities(scans, value):
    mask = np.zeros((8, 12, 12), dtype=np.uint8)
    mask[2:6, 3:9, 3:9] = 1
    image = np.full(mask.shape, value)
    plain = scans.plain_radiomics(
        {"featureClass": {"shape": []}}, scans.to_sitk(mask), scans.to_sitk(mask), 1
    )
    case = ((image, (2.0, 0.9, 0.8)), (mask, (2.0, 0.9, 0.8)))
    for more in ({}, {"setting": {"normalize": True}}):
        extractor = RadiomicsExtractor([1], {"featureClass": {"shape": []}, **more})
        found = extractor.set_output(transform="pandas").fit_transform([case]).iloc[0]
        scans.assert_same_values(scans.by_radiomics_name(found, "label_1"), plain)
    # With textures it is an error, and shape what is left of the label.
    both = {"featureClass": {"shape": [], "firstorder": []}}
    extractor = RadiomicsExtractor([1], both, on_error="nan").set_output(transform="pandas")
    with pytest.warns(InvalidInputWarning, match=r"flat|NaN or infinite") as caught:
        found = extractor.fit_transform([case]).iloc[0]
    assert len(caught) == 1
    assert "no value of" not in str(caught[0].message)
    shape = scans.by_radiomics_name(found.filter(like="_shape_"), "label_1")
    scans.assert_same_values(shape, plain)
    assert found.filter(like="_firstorder_").isna().all()
    with pytest.raises(InvalidScanError, match=r"flat|NaN or infinite"):
        extractor.set_params(on_error="raise").fit_transform([case])


def test_a_label_without_intensities_is_not_remembered_as_done(tmp_path):
    mask = np.zeros((8, 12, 12), dtype=np.uint8)
    mask[2:6, 3:9, 3:9] = 1
    settings = {"featureClass": {"shape": ["VoxelVolume"], "firstorder": ["Mean"]}}
    for _ in range(2):
        extractor = RadiomicsExtractor([1], settings, on_error="nan", cache=tmp_path)
        with pytest.warns(InvalidInputWarning, match="the region is flat"):
            found = extractor.fit_transform([(mask, mask)])
        np.testing.assert_array_equal(found, [[144, np.nan]])


def test_a_label_that_resampling_loses_does_not_cost_the_others(scans):
    rng = np.random.default_rng(0)
    image, mask = rng.normal(100, 20, (24, 24, 24)), np.zeros((24, 24, 24), dtype=np.uint8)
    mask[4:16, 4:16, 4:16], mask[17:19, 17:19, 17:19] = 1, 2
    settings = {
        "setting": {"resampledPixelSpacing": [3, 3, 3], "interpolator": "sitkBSpline"},
        "featureClass": {"firstorder": ["Mean"], "shape": ["VoxelVolume"]},
    }
    plain = scans.plain_radiomics(
        settings, scans.to_sitk(image, (1, 1, 1)), scans.to_sitk(mask, (1, 1, 1)), 1
    )
    extractor = RadiomicsExtractor({"tumour": 1, "speck": 2}, settings, on_error="nan")
    reason = r"case 0, label 2 \(speck\): resampling leaves no voxel .*'resampledPixelSpacing'"
    with pytest.warns(InvalidInputWarning, match=reason):
        found = extractor.set_output(transform="pandas").fit_transform([(image, mask)]).iloc[0]
    scans.assert_same_values(scans.by_radiomics_name(found, "tumour"), plain)
    assert found.filter(like="speck__").isna().all()
    with pytest.raises(InvalidScanError, match=reason):
        extractor.set_params(on_error="raise").fit_transform([(image, mask)])


@pytest.mark.parametrize("error", [AssertionError("odd"), IndexError("index 0"), KeyError("x")])
def test_whatever_one_label_makes_pyradiomics_raise_costs_that_label(good, monkeypatch, error):
    from radiomics import imageoperations

    original = imageoperations.resegmentMask

    def refuse(image, mask, **kwargs):
        if kwargs["label"] == 2:
            raise error
        return original(image, mask, **kwargs)

    monkeypatch.setattr(imageoperations, "resegmentMask", refuse)
    settings = {"setting": {"resegmentRange": [0]}, "featureClass": {"firstorder": ["Mean"]}}
    with pytest.warns(
        InvalidInputWarning, match=f"label 2: pyradiomics refuses it: {type(error).__name__}"
    ):
        values = _extract([good], settings=settings, on_error="nan")
    assert np.isnan(values).tolist() == [[False, True, False]]


def test_nan_outside_the_labels_is_fine_where_nothing_spreads_it(good):
    image = _with(good[0], OUTSIDE, np.nan)
    np.testing.assert_array_equal(_extract([(image, good[1])]), _extract([good]))


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"origin": (1e-4, 0.0, 0.0)}, r"origin \(0.0001, 0, 0\) instead of .*off by 0.0001"),
        ({"spacing": (2.0, 0.9, 0.81)}, r"spacing \(0.81, 0.9, 2\) instead of"),
        ({"direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}, "direction"),
    ],
)
def test_masks_on_another_grid_are_named(scans, good, geometry, message):
    image, mask = (scans.to_sitk(array) for array in good)
    if "origin" in geometry:
        mask.SetOrigin(geometry["origin"])
    if "spacing" in geometry:
        mask.SetSpacing(geometry["spacing"][::-1])
    if "direction" in geometry:
        mask.SetDirection(geometry["direction"])
    with pytest.raises(InvalidScanError, match=f"(?s){message}.*geometryTolerance.*correctMask"):
        _extract([(image, mask)])


def test_missing_labels(good):
    image, mask = good
    other = np.where(mask == 5, 255, mask)
    cases = [good, (image, other)]
    extractor = RadiomicsExtractor({"rectus": 1, "fat": 5}, settings=FIRST).fit(cases)
    message = r"case 1, label 5 \(fat\): not in the mask, which holds 1, 2, 255"
    with pytest.warns(InvalidInputWarning, match=message):
        values = extractor.transform(cases)
    np.testing.assert_array_equal(np.isnan(values), [[False] * 6, [False] * 3 + [True] * 3])
    extractor.set_params(on_missing_label="raise")
    with pytest.raises(InvalidScanError, match=r"(?s)on_missing_label=\"nan\".*" + message):
        extractor.transform(cases)


def test_labels_reach_to_the_last_of_32_bits(good):
    image, mask = good
    largest = 2**32 - 1
    extractor = RadiomicsExtractor(settings=FIRST).fit([(image, (mask == 5) * np.int64(largest))])
    assert extractor.mask_labels_ == {f"label_{largest}": largest}
    values = extractor.transform([(image, (mask == 5) * np.uint64(largest))])
    np.testing.assert_array_equal(values, _extract([good], labels=[5]))
    with pytest.raises(InvalidScanError, match="values up to 4294967301"):
        RadiomicsExtractor(settings=FIRST).fit([(image, mask + np.int64(2**32))])


def test_a_mask_of_255_is_found_without_labels_and_named_with_them(good):
    image, mask = good[0], (good[1] > 0).astype(np.uint8) * 255
    extractor = RadiomicsExtractor(settings=FIRST).fit([(image, mask)])
    assert extractor.mask_labels_ == {"label_255": 255}
    with pytest.warns(InvalidInputWarning, match="label 1: not in the mask, which holds 255"):
        assert np.isnan(_extract([(image, mask)], labels=[1])).all()


def test_up_to_twenty_problems_are_listed(good):
    bad = (good[0], good[1] * 0)
    with pytest.raises(InvalidScanError, match="from 25 of 26 case") as error:
        _extract([good] + [bad] * 25)
    assert str(error.value).count("- case") == 20
    assert "- and 5 more" in str(error.value)


def test_labels_are_found_over_all_masks_and_bad_masks_are_named(good):
    image, mask = good
    cases = [(image, np.where(mask == label, label, 0)) for label in (5, 1, 2)]
    assert list(RadiomicsExtractor(settings=FIRST).fit(cases).mask_labels_.values()) == [1, 2, 5]
    cases[1] = (image, "nowhere.nii")
    with pytest.raises(InvalidScanError, match=r"case 1: the mask file nowhere.nii does not exist"):
        RadiomicsExtractor(settings=FIRST).fit(cases)
    with pytest.warns(InvalidInputWarning, match="nowhere.nii"):
        extractor = RadiomicsExtractor(settings=FIRST, on_error="nan").fit(cases)
    assert list(extractor.mask_labels_.values()) == [2, 5]
    with pytest.raises(InvalidScanError, match=r"no image can be used:\n- case 0.*does not exist"):
        RadiomicsExtractor([1], settings=FIRST).fit([("gone.nii", mask)])


@pytest.mark.parametrize("kind", ["nii", "nii.gz", "img"])
@pytest.mark.parametrize("role", ["image", "mask"])
def test_truncated_nifti_is_noticed(scans, good, tmp_path, kind, role):
    paths = {
        name: _save(scans.to_sitk(array), tmp_path / f"{name}.{kind}")
        for name, array in zip(("image", "mask"), good, strict=True)
    }
    extractor = RadiomicsExtractor([1], settings=FIRST).fit([tuple(paths.values())])
    extractor.transform([tuple(paths.values())])
    content = Path(paths[role]).read_bytes()
    for keep in (0.98, 0.5, 0.05):
        Path(paths[role]).write_bytes(content[: int(len(content) * keep)])
        with pytest.raises(
            InvalidScanError, match=rf"the {role} file .*{role}.{kind} is truncated"
        ):
            extractor.transform([tuple(paths.values())])


SAID = r"is truncated: it holds \d+ of \d+ bytes"
DOUBTED = r"is unreadable, perhaps truncated.*; copy or export it again \(ITK says: .*{}"
TRUNCATED = {
    "mha": DOUBTED.format("cannot be read"),
    "mha, packed": DOUBTED.format("cannot be read"),
    "mhd": DOUBTED.format("cannot be read"),
    "mhd, packed": DOUBTED.format("cannot be read"),
    "nrrd": DOUBTED.format(r"fread got only \d+ "),
    "nrrd, packed": DOUBTED.format("expected 7040 bytes but received"),
    "nhdr": DOUBTED.format(r"fread got only \d+ "),
    "nhdr, packed": DOUBTED.format("expected 7040 bytes but received"),
    "tif": SAID,
    "tiff, packed": SAID,
    "vtk": SAID,
    "mrc": SAID,
    "gipl": SAID,
    "gipl.gz, packed": "is truncated or damaged",
}


@pytest.mark.parametrize("kind", TRUNCATED)
def test_truncated_volumes_are_named(scans, good, tmp_path, kind):
    """ITK speaks of a missing file, of nothing, or gives what is left of the slices."""
    import SimpleITK as sitk

    suffix, _, packed = kind.partition(", ")
    path = tmp_path / f"image.{suffix}"
    sitk.WriteImage(scans.to_sitk(good[0]), str(path), bool(packed))
    mask = scans.to_sitk(good[1])
    whole = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(whole, good[0])
    extractor = RadiomicsExtractor([1], settings=FIRST).fit([(str(path), mask)])
    largest = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    content = largest.read_bytes()
    for keep in (0.98, 0.9, 0.55, 0.3):
        largest.write_bytes(content[: int(len(content) * keep)])
        with pytest.raises(
            InvalidScanError,
            match=rf"case 0 .image.{suffix}.: the image file .*image.{suffix} {TRUNCATED[kind]}",
        ):
            extractor.transform([(str(path), mask)])


def test_tiff_is_complete_to_the_last_byte_that_counts(good, tmp_path):
    """Whole files pass, plain, packed and as BigTIFF; those cut anywhere do not."""
    pages = [Image.fromarray(page.astype(np.uint16)) for page in good[0]]
    mask = good[1]
    path = tmp_path / "stack.tif"
    extractor = RadiomicsExtractor([1], settings=FIRST).fit([good])
    expected = extractor.transform([good])
    for options in ({}, {"big_tiff": True}, {"compression": "tiff_deflate"}):
        pages[0].save(path, save_all=True, append_images=pages[1:], **options)
        np.testing.assert_array_equal(extractor.transform([(path, mask)]), expected)
        content = path.read_bytes()
        for keep in (4, 9, 500, len(content) // 2, len(content) - 300):
            path.write_bytes(content[:keep])
            with pytest.raises(InvalidScanError, match=r"stack.tif is (truncated|unreadable)"):
                extractor.transform([(path, mask)])


def test_big_endian_tiff(tmp_path):
    pixels = np.arange(30 * 36, dtype=">u2").reshape(30, 36)
    mask = np.ones(pixels.shape, dtype=np.uint8)
    tags = {256: 36, 257: 30, 258: 16, 259: 1, 262: 1, 273: 200, 277: 1, 278: 30, 279: 2160}
    page = struct.pack(">H", len(tags))
    page += b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags.items())
    content = (struct.pack(">2sHI", b"MM", 42, 8) + page).ljust(200, b"\0") + pixels.tobytes()
    path = tmp_path / "big.tif"
    path.write_bytes(content)
    settings = {"featureClass": {"firstorder": ["Mean"]}}
    extractor = RadiomicsExtractor([1], settings=settings).fit([(path, mask)])
    assert extractor.transform([(path, mask)]) == pytest.approx(pixels.mean())
    path.write_bytes(content[:-1])
    with pytest.raises(InvalidScanError, match=r"big.tif is truncated: it holds 2359 of 2360"):
        extractor.transform([(path, mask)])


@pytest.mark.parametrize("on_error", ["raise", "nan"])
def test_truncated_tiff_is_no_picture_to_fit_on(good, tmp_path, on_error):
    """Its first page alone would make an extractor of 2-D images."""
    image, mask = good
    pages = [Image.fromarray(page.astype(np.uint16)) for page in image]
    path = tmp_path / "stack.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    path.write_bytes(path.read_bytes()[:2000])
    extractor = RadiomicsExtractor([1], settings=FIRST, on_error=on_error)
    extractor.fit([(path, mask), good])
    assert extractor.n_dims_ == 3


def test_header_without_its_voxels_is_named(scans, good, tmp_path):
    path = _save(scans.to_sitk(good[0]), tmp_path / "image.mhd")
    (tmp_path / "image.raw").unlink()
    with pytest.raises(InvalidScanError, match="perhaps truncated, or without its file of voxels"):
        _extract([(path, good[1])])


def test_truncated_inside_an_intact_gzip_is_noticed(scans, good, tmp_path):
    whole = _save(scans.to_sitk(good[0]), tmp_path / "whole.nii")
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(gzip.compress(Path(whole).read_bytes()[:3000]))
    with pytest.raises(InvalidScanError, match=r"holds 3000 of \d+ bytes"):
        _extract([(whole, scans.to_sitk(good[1])), (str(path), scans.to_sitk(good[1]))])


def test_big_endian_and_nifti2_headers_are_understood(scans, good, tmp_path):
    from skcyto.feature_extraction._radiomics._truncated import _promised_nifti_size

    little = struct.pack("<i", 348) + bytes(36) + struct.pack("<8h", 3, 4, 5, 6, 1, 1, 1, 1)
    little = little.ljust(70, b"\0") + struct.pack("<2h", 4, 16)
    little = little.ljust(108, b"\0") + struct.pack("<f", 352)
    (tmp_path / "little.nii").write_bytes(little.ljust(352, b"\0"))
    big = struct.pack(">i", 348) + bytes(36) + struct.pack(">8h", 3, 4, 5, 6, 1, 1, 1, 1)
    big = big.ljust(70, b"\0") + struct.pack(">2h", 4, 16)
    big = big.ljust(108, b"\0") + struct.pack(">f", 352)
    (tmp_path / "big.nii").write_bytes(big.ljust(352, b"\0"))
    two = struct.pack("<i", 540).ljust(14, b"\0") + struct.pack("<h", 16)
    two += struct.pack("<8q", 3, 4, 5, 6, 1, 1, 1, 1)
    two = two.ljust(168, b"\0") + struct.pack("<q", 544)
    (tmp_path / "two.nii").write_bytes(two.ljust(544, b"\0"))
    sizes = [
        _promised_nifti_size(str(tmp_path / f"{name}.nii"), with_header=True)
        for name in ("little", "big", "two")
    ]
    assert sizes == [352 + 240, 352 + 240, 544 + 240]


def test_files_that_are_no_images_are_named(scans, good, tmp_path):
    (tmp_path / "text.nrrd").write_text("no image")
    (tmp_path / "text.png").write_text("no image")
    mask = scans.to_sitk(good[1])
    extractor = RadiomicsExtractor([1], settings=FIRST).fit([good])
    with pytest.raises(
        InvalidScanError,
        match=r"(?s)text.nrrd has no format that.*reader for.*text.png is unreadable",
    ):
        extractor.transform([(str(tmp_path / f"text.{kind}"), mask) for kind in ("nrrd", "png")])


def test_vector_masks_need_a_channel(scans, good):
    import SimpleITK as sitk

    image = scans.to_sitk(good[0])
    mask = sitk.Compose(*[scans.to_sitk((good[1] == label) * np.uint8(1)) for label in (2, 5)])
    with pytest.raises(InvalidScanError, match=r"mask has 2 channels: choose one .*label_channel"):
        _extract([(image, mask)], labels=[1])
    settings = {"setting": {"label_channel": 1}, **FIRST}
    values = _extract([(image, mask)], labels=[1], settings=settings)
    np.testing.assert_array_equal(values, _extract([(image, scans.to_sitk(good[1]))], labels=[5]))
    settings["setting"]["label_channel"] = 2
    with pytest.raises(InvalidScanError, match="label_channel=2, but the mask has channels 0 to 1"):
        _extract([(image, mask)], labels=[1], settings=settings)


def test_colour_and_4d_volumes_are_refused(scans, good):
    import SimpleITK as sitk

    image, mask = (scans.to_sitk(array) for array in good)
    extractor = RadiomicsExtractor([1], settings=FIRST).fit([good])
    with pytest.raises(InvalidScanError, match="3 channels and 3 dimensions"):
        extractor.transform([(sitk.Compose(image, image, image), mask)])
    with pytest.raises(InvalidScanError, match=r"4 dimensions, size \(22, 20, 8, 2\)"):
        extractor.transform([(sitk.JoinSeries(image, image), mask)])
    with pytest.raises(InvalidScanError, match="2 dimensions, but the extractor was fitted on 3-D"):
        extractor.transform([(good[0][3], good[1][3])])


def test_a_sigma_too_large_for_one_case_is_nan_there(scans, good):
    settings = {
        "imageType": {"Original": {}, "LoG": {"sigma": [1.0, 12.0]}},
        "featureClass": {"firstorder": ["Mean"]},
    }
    large = scans.make_volume((16, 40, 40))
    extractor = RadiomicsExtractor([1], settings=settings).fit([good])
    with pytest.warns(
        InvalidInputWarning, match=r"case 0, label 1: no value of log-sigma-12-0-mm-3D"
    ):
        values = extractor.transform([good, large])
    assert np.isnan(values).tolist() == [[False, False, True], [False] * 3]


def test_many_gray_levels_are_spoken_of(good):
    settings = {"featureClass": {"glcm": ["Contrast"], "firstorder": ["Mean"]}}
    settings["setting"] = {"binWidth": 0.25}
    with pytest.warns(InvalidInputWarning, match=r"label 1: \d+ gray levels in original.*binWidth"):
        values = _extract([good], labels=[1], settings=settings)
    assert np.isfinite(values).all()
    settings["setting"]["binWidth"] = 0.0005
    with pytest.warns(InvalidInputWarning, match=r"no texture features .* too many"):
        few = _extract([good], labels=[1], settings=settings)
    assert np.isnan(few).tolist() == [[True, False]]
    settings["setting"]["binWidth"] = 1e-9
    with pytest.warns(InvalidInputWarning, match=r"no features of original.* too many"):
        assert np.isnan(_extract([good], labels=[1], settings=settings)).all()


def _levels(number):
    """A region whose intensities take this many values, and a mask of two labels."""
    image = np.arange(8 * 16 * 16).reshape(8, 16, 16) % number
    mask = np.ones(image.shape, dtype=np.uint8)
    mask[4:] = 2
    return image.astype(np.int32), mask


@pytest.mark.parametrize("number", [257, 500, 999])
def test_hundreds_of_gray_levels_are_spoken_of_once_a_label(number):
    settings = {"featureClass": {"glcm": ["Contrast"]}, "setting": {"binWidth": 1}}
    settings["imageType"] = {"Original": {}, "Square": {}, "Exponential": {}}
    with pytest.warns(InvalidInputWarning) as caught:
        _extract([_levels(number)], labels=[1, 2], settings=settings)
    (message,) = [str(warning.message) for warning in caught]
    notes = message.splitlines()[1:]
    assert [note.partition(":")[0] for note in notes] == [
        "- case 0, label 1",
        "- case 0, label 2",
    ]
    assert all(f"{number} gray levels in original" in note for note in notes)
    assert all("a larger binWidth, or binCount, would do" in note for note in notes)


def test_as_many_gray_levels_as_a_byte_has_are_no_matter():
    settings = {"featureClass": {"glcm": ["Contrast"]}, "setting": {"binWidth": 1}}
    _extract([_levels(256)], labels=[1, 2], settings=settings)
    # Without matrices, or with fewer bins, the number does no harm.
    _extract([_levels(900)], labels=[1], settings={**settings, "featureClass": {"firstorder": []}})
    _extract([_levels(900)], labels=[1], settings={**settings, "setting": {"binCount": 64}})


@pytest.mark.parametrize("number", [1, 2])
def test_bins_too_wide_for_textures_are_spoken_of(number):
    levels = {1: "1 gray level in original", 2: "2 gray levels in original"}[number]
    settings = {"featureClass": {"glcm": ["Contrast"]}, "setting": {"binWidth": 20}}
    with pytest.warns(InvalidInputWarning) as caught:
        _extract([_levels(20 * number)], labels=[1, 2], settings=settings)
    (message,) = [str(warning.message) for warning in caught]
    assert f"case 0, label 2: {levels}: bins so wide" in message
    _extract([_levels(60)], labels=[1, 2], settings=settings)
    # A region of few intensities is none the worse for its bins, nor are moments, without bins.
    _extract([_levels(2)], labels=[1], settings={**settings, "setting": {"binWidth": 1}})
    _extract([_levels(20)], labels=[1], settings={"featureClass": {"firstorder": ["Mean"]}})


def test_one_gray_level_in_each_filtered_image_is_spoken_of_once():
    """The default binWidth of 25 on an image from 0 to 1, as of SUV or ADC."""
    image, mask = _levels(40)
    settings = {"imageType": {name: {} for name in ("Original", "Square", "Logarithm", "Gradient")}}
    settings["featureClass"] = {"glcm": ["Contrast"]}
    with pytest.warns(InvalidInputWarning) as caught:
        _extract([(image / 40, mask)], labels=[1], settings=settings)
    note = str(caught[0].message).splitlines()[1]
    assert note.startswith("- case 0, label 1: 1 gray level in original, 1 in square, 1 in ")
    assert "and few in 1 more: bins so wide" in note
    assert "a smaller binWidth, or binCount, would do" in note
    # One bright voxel elsewhere leaves a region nothing in the exponential: no fault of the bins.
    image = image * 3.0
    image[5:], mask[4:] = 4000, 0
    settings["imageType"] = {"Original": {}, "Exponential": {}}
    _extract([(image, mask)], labels=[1], settings=settings)


def test_the_worst_filters_are_named_first():
    settings = {"featureClass": {"glcm": ["Contrast"]}, "setting": {"binWidth": 0.1}}
    settings["imageType"] = {
        name: {} for name in ("Original", "Square", "SquareRoot", "Logarithm", "Exponential")
    }
    with pytest.warns(
        InvalidInputWarning, match=r"label 1: (\d+) gray levels in \w+, .*"
    ) as caught:
        _extract([_levels(200)], labels=[1], settings=settings)
    note = str(caught[0].message).splitlines()[1]
    counts = [int(each) for each in re.findall(r"(\d+) (?:gray levels )?in [a-z]", note)]
    assert len(counts) == 3
    assert counts == sorted(counts, reverse=True)
    assert note.endswith("would do")
    assert "and many in 2 more" in note


class TestPictures:
    """Cell images with a mask: gray, colour, as files and arrays."""

    @pytest.fixture
    def cell(self):
        rng = np.random.default_rng(0)
        pixels = rng.integers(40, 220, (30, 36, 3), dtype=np.uint8)
        y, x = np.indices((30, 36))
        distance = (y - 15) ** 2 + (x - 18) ** 2
        mask = np.select([distance < 30, distance < 150], [2, 1], 0).astype(np.uint8)
        return pixels, mask

    @pytest.mark.parametrize("ending", ["png", "tif"])
    def test_sixteen_bits_of_colour_are_not_made_eight(self, cell, tmp_path, ending):
        import SimpleITK as sitk

        pixels, mask = cell
        deep = pixels.astype(np.uint16) * 200
        path = str(tmp_path / f"deep.{ending}")
        sitk.WriteImage(sitk.GetImageFromArray(deep, isVector=True), path)
        extractor = RadiomicsExtractor([2], {"featureClass": {"firstorder": ["Mean"]}})
        with pytest.raises(InvalidScanError, match=r"16 bits a channel.*SimpleITK\.ReadImage"):
            extractor.fit([(path, mask)])
        found = extractor.fit_transform([(sitk.ReadImage(path), mask)])
        np.testing.assert_allclose(found[0], deep[mask == 2].mean(axis=0))

    def test_a_shape_for_each_channel_is_refused(self, cell):
        setting = {"resegmentRange": [50, 255], "resegmentShape": True}
        settings = {"setting": setting, "featureClass": {"shape2D": [], "firstorder": ["Mean"]}}
        with pytest.raises(InvalidScanError, match="resegmentShape=True would give each channel"):
            RadiomicsExtractor([1], settings).fit_transform([cell])
        gray = cell[0][..., 0], cell[1]
        assert np.isfinite(RadiomicsExtractor([1], settings).fit_transform([gray])).all()

    def test_colour_gives_textures_by_channel_and_shape_once(self, cell, tmp_path):
        pixels, mask = cell
        settings = {"featureClass": {"firstorder": ["Mean"], "shape2D": ["PixelSurface"]}}
        extractor = RadiomicsExtractor({"cytoplasm": 1, "nucleus": 2}, settings=settings)
        extractor.set_output(transform="pandas")
        row = extractor.fit_transform([cell]).iloc[0]
        assert list(row.index[:4]) == [
            "cytoplasm__original_shape2D_PixelSurface",
            "cytoplasm__red__original_firstorder_Mean",
            "cytoplasm__green__original_firstorder_Mean",
            "cytoplasm__blue__original_firstorder_Mean",
        ]
        assert row["nucleus__green__original_firstorder_Mean"] == pytest.approx(
            pixels[mask == 2, 1].mean()
        )
        assert row["nucleus__original_shape2D_PixelSurface"] == (mask == 2).sum()
        table = extractor.feature_table_
        assert list(table.columns) == [
            "structure",
            "image_type",
            "feature_class",
            "feature",
            "channel",
        ]
        assert table.loc["nucleus__blue__original_firstorder_Mean"].to_list() == [
            "nucleus",
            "original",
            "firstorder",
            "Mean",
            "blue",
        ]
        Image.fromarray(pixels).save(tmp_path / "cell.png", dpi=(300, 300))
        Image.fromarray(mask).save(tmp_path / "mask.png")
        palette = Image.fromarray(mask).convert("P")
        palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        palette.save(tmp_path / "palette.png")
        Image.fromarray(np.dstack([mask] * 3)).save(tmp_path / "threefold.bmp")
        Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save(tmp_path / "alpha.png")
        Image.fromarray(pixels).save(tmp_path / "cell.tiff")
        names = [
            ("cell.png", "mask.png"),
            ("cell.tiff", "palette.png"),
            ("alpha.png", "threefold.bmp"),
        ]
        out = extractor.transform([(tmp_path / image, tmp_path / m) for image, m in names])
        for _, other in out.iterrows():
            np.testing.assert_array_equal(other, row)

    def test_gray_pictures_have_no_channels(self, cell, tmp_path):
        pixels, mask = cell
        gray = pixels[..., 0]
        Image.fromarray(gray).save(tmp_path / "gray.png")
        Image.fromarray(gray.astype(np.uint16) * 200).save(tmp_path / "deep.png")
        Image.fromarray(mask == 2).save(tmp_path / "bit.png")
        settings = {"featureClass": {"firstorder": ["Mean"]}}
        X = [(tmp_path / f"{name}.png", tmp_path / "bit.png") for name in ("gray", "deep")]
        values = _extract(X, labels=[1], settings=settings)
        np.testing.assert_allclose(values[:, 0], gray[mask == 2].mean() * np.array([1, 200]))

    def test_gray_saved_as_colour_is_spoken_of(self, cell, tmp_path):
        pixels, mask = cell
        gray = np.ascontiguousarray(pixels[..., 0])
        settings = {"featureClass": {"firstorder": ["Mean"]}}
        with pytest.warns(InvalidInputWarning, match="case 0 is gray, saved as RGB") as caught:
            RadiomicsExtractor([1], settings).fit([(np.dstack([gray] * 3), mask)])
        assert caught[0].filename == __file__
        RadiomicsExtractor([1], settings).fit([cell])
        # A palette of grays, as optimisers make it, is a gray picture.
        Image.fromarray(gray).quantize(256).save(tmp_path / "palette.png")
        found = RadiomicsExtractor([1], settings).fit_transform(
            [(tmp_path / "palette.png", mask), (gray, mask)]
        )
        assert found.shape == (2, 1)
        assert found[0] == pytest.approx(found[1], rel=1e-12)

    def test_kinds_are_not_mixed(self, cell):
        pixels, mask = cell
        colour = RadiomicsExtractor([1]).fit([cell])
        with pytest.raises(InvalidScanError, match=r"image is gray, but .* fitted on RGB"):
            colour.transform([(pixels[..., 0], mask)])
        gray = RadiomicsExtractor([1]).fit([(pixels[..., 0], mask)])
        with pytest.raises(InvalidScanError, match=r"image is RGB, but .* fitted on gray"):
            gray.transform([cell])

    def test_a_flat_channel_is_named(self, cell):
        pixels, mask = cell
        pixels = pixels.copy()
        pixels[..., 2][mask == 2] = 9
        with pytest.raises(
            InvalidScanError, match=r"label 2: the region is flat.* in the blue channel"
        ):
            _extract([(pixels, mask)], labels=[1, 2], settings="original")

    @pytest.mark.parametrize(
        ("name", "message"),
        [("mask.jpg", "JPEG file, which does not keep label"), ("colour.png", "a colour image")],
    )
    def test_masks_that_cannot_hold_labels_are_refused(self, cell, tmp_path, name, message):
        pixels, mask = cell
        Image.fromarray(mask if name == "mask.jpg" else pixels).save(tmp_path / name)
        with pytest.raises(InvalidScanError, match=message):
            _extract([(pixels, tmp_path / name)], labels=[1], settings="original")

    def test_truncated_pictures_are_noticed(self, cell, tmp_path):
        pixels, mask = cell
        Image.fromarray(pixels).save(tmp_path / "cell.png")
        content = (tmp_path / "cell.png").read_bytes()
        (tmp_path / "cell.png").write_bytes(content[: len(content) // 2])
        extractor = RadiomicsExtractor([1], settings="original").fit([cell])
        with pytest.raises(InvalidScanError, match=r"cell.png is unreadable, perhaps truncated"):
            extractor.transform([(tmp_path / "cell.png", mask)])
