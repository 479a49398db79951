"""Reasons that name the right thing, and files that need more than a reader."""

import struct

import numpy as np
import pytest
from PIL import Image

from skcyto.exceptions import InvalidScanError
from skcyto.feature_extraction import RadiomicsExtractor
from skcyto.feature_extraction._radiomics._filters import _spherical_harmonics
from skcyto.feature_extraction._radiomics._reasons import one_sentence

MEAN = {"featureClass": {"firstorder": ["Mean"]}}


@pytest.fixture
def flat_case(tmp_path):
    """A radiograph as DICOM, a picture of its mask, and the mean inside."""
    import SimpleITK as sitk

    pixels = np.random.default_rng(0).integers(0, 4000, (1, 40, 50)).astype(np.int16)
    image = sitk.GetImageFromArray(pixels)
    image.SetSpacing((0.2, 0.3, 1.0))
    sitk.WriteImage(image, str(tmp_path / "xray.dcm"))
    mask = np.zeros((40, 50), dtype=np.uint8)
    mask[10:20, 10:30] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    return tmp_path / "xray.dcm", tmp_path / "mask.png", pixels[0][mask == 1].mean(), mask


def test_a_single_slice_goes_with_a_flat_mask(flat_case):
    import SimpleITK as sitk

    path, mask_path, mean, mask = flat_case
    settings = {"featureClass": {"firstorder": ["Mean"], "shape2D": ["PixelSurface"]}}
    extractor = RadiomicsExtractor([1], settings).fit([(path, mask_path)])
    assert extractor.n_dims_ == 2
    volume = sitk.ReadImage(str(path))
    thick = sitk.GetImageFromArray(mask[np.newaxis])
    thick.CopyInformation(volume)
    found = extractor.transform([(path, mask_path), (volume, thick)])
    # 200 pixels of 0.2 x 0.3 mm: the picture of the mask lies where its image does.
    np.testing.assert_allclose(found, [[12, mean], [12, mean]], rtol=1e-6)
    assert len(extractor.diagnostics([(path, mask_path)])) == 1
    thick.SetOrigin((5, 0, 0))
    with pytest.raises(InvalidScanError, match=r"mask lies on another grid: origin \(5, 0, 0\)"):
        extractor.transform([(volume, thick)])
    # With volumes of one slice only, it is a volume.
    thick.CopyInformation(volume)
    assert RadiomicsExtractor([1], MEAN).fit([(volume, thick)]).n_dims_ == 3


def test_a_picture_of_a_mask_has_no_place_of_its_own(flat_case, tmp_path):
    import SimpleITK as sitk

    path, mask_path, mean, _ = flat_case
    flat = sitk.ReadImage(str(path))[:, :, 0]
    assert RadiomicsExtractor([1], MEAN).fit_transform([(flat, mask_path)]) == pytest.approx(mean)
    Image.open(mask_path).crop((0, 0, 50, 39)).save(tmp_path / "small.png")
    with pytest.raises(InvalidScanError, match=r"size \(50, 39\) instead of the image's"):
        RadiomicsExtractor([1], MEAN).fit_transform([(flat, tmp_path / "small.png")])


def test_colour_in_a_single_slice(tmp_path):
    """Ultrasound, for instance."""
    import SimpleITK as sitk

    pixels = np.random.default_rng(0).integers(0, 255, (1, 30, 30, 3)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(tmp_path / "us.nrrd"))
    mask = np.zeros((30, 30), dtype=np.uint8)
    mask[5:20, 5:20] = 1
    found = RadiomicsExtractor([1], MEAN).fit_transform([(tmp_path / "us.nrrd", mask)])
    np.testing.assert_allclose(found[0], pixels[0][mask == 1].mean(axis=0))


def test_gif_masks_are_read(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.uint8)
    mask = np.zeros((40, 40), dtype=np.uint8)
    mask[5:20, 5:20] = 1
    Image.fromarray(mask).save(tmp_path / "mask.gif")
    Image.fromarray(pixels).save(tmp_path / "image.gif")
    found = RadiomicsExtractor([1], MEAN).fit_transform(
        [(tmp_path / "image.gif", tmp_path / "mask.gif")]
    )
    np.testing.assert_allclose(found, [[pixels[mask == 1].mean()]])


def _sheared_nifti(path):
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 9, 9, 9, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 2, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<2h", header, 252, 0, 2)
    struct.pack_into("<12f", header, 280, 1, 0.05, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0)
    header[344:348] = b"n+1\0"
    path.write_bytes(bytes(header) + bytes(range(9)) * 81)


def _structure_set(path):
    path.write_bytes(bytes(128) + b"DICM" + b"\2\0\2\0UI\x1e\x001.2.840.10008.5.1.4.1.1.481.3\0")


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("sheared.nii", _sheared_nifti, r"sheared.nii has sheared axes.*orthonormal"),
        ("rt.dcm", _structure_set, r"rt.dcm is a DICOM structure set \(RTSTRUCT\): .* no voxels"),
        ("a.xyz", lambda path: path.write_text("?"), "a.xyz has no format that SimpleITK knows"),
    ],
)
def test_whole_files_are_not_called_truncated(tmp_path, name, write, message):
    write(tmp_path / name)
    mask = np.ones((9, 9, 9), dtype=np.uint8)
    image = np.random.default_rng(0).normal(size=mask.shape)
    for case in ((tmp_path / name, mask), (image, tmp_path / name)):
        with pytest.raises(InvalidScanError, match=message) as caught:
            RadiomicsExtractor([1], MEAN).fit_transform([case])
        assert "truncated" not in str(caught.value)


@pytest.mark.parametrize("setting", [{"correctMask": True}, {"resampledPixelSpacing": [2, 2, 2]}])
def test_pyradiomics_whole_sentence_is_given(scans, setting):
    image = np.random.default_rng(0).normal(size=(9, 9, 9))
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[2:6, 2:6, 2:6] = 1
    far = scans.to_sitk(mask, (1, 1, 1), origin=(500, 0, 0))
    message = r"refuses it: Bounding box of ROI is larger than image space: ROI bounds .*Image Size"
    with pytest.raises(InvalidScanError, match=message):
        RadiomicsExtractor([1], {"setting": setting, **MEAN}).fit_transform(
            [(scans.to_sitk(image, (1, 1, 1)), far)]
        )


def test_itk_reasons_are_one_line():
    error = RuntimeError(
        "Exception thrown in SimpleITK Foo: /x/foo.cxx:9:\nsitk::ERROR: Inputs differ.\n more"
    )
    assert one_sentence(error) == "Inputs differ."
    assert one_sentence(AssertionError()) == "AssertionError"


class TestSphericalHarmonics:
    def test_the_old_name_is_there_for_as_long_as_it_takes(self):
        from scipy import special

        before = hasattr(special, "sph_harm")
        azimuth, polar = np.array([0.3, 2.0]), np.array([0.4, 1.1])
        with _spherical_harmonics():
            found = special.sph_harm(1, 1, azimuth, polar)
            flat = special.sph_harm(0, 1, azimuth, polar)
        expected = -np.sqrt(3 / (8 * np.pi)) * np.exp(1j * azimuth) * np.sin(polar)
        np.testing.assert_allclose(found, expected)
        np.testing.assert_allclose(flat, np.sqrt(3 / (4 * np.pi)) * np.cos(polar))
        assert hasattr(special, "sph_harm") == before

    def test_local_binary_patterns_of_volumes(self, scans):
        pytest.importorskip("trimesh")
        image, mask = scans.make_volume((8, 20, 22))
        settings = {
            "setting": {"binWidth": 0.5},
            "imageType": {"LBP3D": {}},
            "featureClass": {"firstorder": ["Mean"]},
        }
        extractor = RadiomicsExtractor([1, 2], settings).set_output(transform="pandas")
        found = extractor.fit_transform([(image, mask)]).iloc[0]
        assert found.notna().all()
        case = scans.to_sitk(image, (1, 1, 1)), scans.to_sitk(mask, (1, 1, 1))
        with _spherical_harmonics():
            plain = scans.plain_radiomics(settings, *case, 2)
        scans.assert_same_values(scans.by_radiomics_name(found, "label_2"), plain)
