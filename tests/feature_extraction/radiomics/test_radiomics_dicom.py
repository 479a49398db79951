"""DICOM series as images, SEG and RTSTRUCT files as masks, made here."""

import re

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from skcyto.exceptions import InvalidInputWarning, InvalidScanError
from skcyto.feature_extraction import RadiomicsExtractor, masks_from_dicom

pydicom = pytest.importorskip("pydicom", reason="skcyto[dicom] is not installed")
highdicom = pytest.importorskip("highdicom", reason="skcyto[dicom] is not installed")

SHAPE = (8, 24, 30)  # slices, rows, columns
SPACING = (1.0, 1.5, 3.0)  # x, y, z
ORIGIN = (-12.0, 7.5, 40.0)
AXIAL = np.eye(3)
# Slices along an oblique direction; the columns are the directions of x, y and z.
ANGLE = np.deg2rad(20)
OBLIQUE = np.array(
    [[1, 0, 0], [0, np.cos(ANGLE), -np.sin(ANGLE)], [0, np.sin(ANGLE), np.cos(ANGLE)]]
)
SETTINGS = {
    "imageType": {"Original": {}},
    "featureClass": {"shape": [], "firstorder": [], "glcm": ["Contrast"]},
}


def voxels():
    rng = np.random.default_rng(0)
    return rng.integers(-100, 900, SHAPE).astype(np.int16)


def grid(values, directions=AXIAL):
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(SPACING)
    image.SetOrigin(ORIGIN)
    image.SetDirection(directions.ravel().tolist())
    return image


def write_series(folder, directions=AXIAL, values=None, frame="1.2.3.4", series="1.2.3.5"):
    """Write a CT series, one file a slice, with a rescale intercept; return its data sets."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    values = voxels() if values is None else values
    made = []
    for k, plane in enumerate(values):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, str(k)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        item.StudyInstanceUID, item.SeriesInstanceUID = "1.2.3", series
        item.FrameOfReferenceUID, item.Modality = frame, "CT"
        item.SeriesDescription = "thorax"
        item.PatientName, item.PatientID, item.PatientBirthDate = "A^B", "1", ""
        item.PatientSex, item.StudyID, item.AccessionNumber = "O", "1", ""
        item.StudyDate, item.StudyTime, item.ReferringPhysicianName = "20260101", "120000", ""
        item.SeriesNumber, item.InstanceNumber = 1, k + 1
        item.Manufacturer, item.PositionReferenceIndicator = "none", ""
        position = np.array(ORIGIN) + directions[:, 2] * SPACING[2] * k
        item.ImagePositionPatient = [f"{each:.6f}" for each in position]
        item.ImageOrientationPatient = [f"{each:.8f}" for each in directions[:, :2].T.ravel()]
        item.PixelSpacing, item.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        item.Rows, item.Columns = plane.shape
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit = 16, 16, 15
        item.PixelRepresentation = 0
        item.RescaleIntercept, item.RescaleSlope, item.RescaleType = -1024, 1, "HU"
        item.PixelData = (plane.astype(np.int32) + 1024).astype(np.uint16).tobytes()
        item.save_as(folder / f"{(5 * k) % 8}.dcm", enforce_file_format=True)  # names out of order
        made.append(item)
    return made


def write_structures(path, contours, frame="1.2.3.4", kind="CLOSED_PLANAR"):
    """Write a structure set: names, and for each a list of arrays of points in millimetres."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, "1.2.9"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    item.SOPClassUID, item.SOPInstanceUID, item.Modality = (
        RTStructureSetStorage,
        "1.2.9",
        "RTSTRUCT",
    )
    item.StructureSetROISequence, item.ROIContourSequence = [], []
    for number, (name, its) in enumerate(contours.items(), 11):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame
        drawn.ReferencedROINumber, drawn.ContourSequence = number, []
        for points in its:
            contour = Dataset()
            contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
            contour.ContourData = [f"{each:.6f}" for each in np.ravel(points)]
            drawn.ContourSequence.append(contour)
        item.StructureSetROISequence.append(roi)
        item.ROIContourSequence.append(drawn)
    item.save_as(path, enforce_file_format=True)
    return path


def rectangle(slice_, rows, columns, directions=AXIAL):
    """Contour half a voxel around whole rows and columns of a slice, in millimetres."""
    (r0, r1), (c0, c1) = rows, columns
    corners = np.array(
        [
            [c0 - 0.5, r0 - 0.5, slice_],
            [c1 + 0.5, r0 - 0.5, slice_],
            [c1 + 0.5, r1 + 0.5, slice_],
            [c0 - 0.5, r1 + 0.5, slice_],
        ]
    )
    return np.array(ORIGIN) + (corners * SPACING) @ directions.T


def write_segmentation(path, series, masks, kind="BINARY"):
    """Write a SEG file of named masks over the slices that are given."""
    from highdicom.sr.coding import CodedConcept
    from pydicom.uid import generate_uid

    tissue = CodedConcept("85756007", "SCT", "Tissue")
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=tissue,
            segmented_property_type=tissue,
            algorithm_type="MANUAL",
        )
        for number, name in enumerate(masks, 1)
    ]
    made = highdicom.seg.Segmentation(
        source_images=series,
        pixel_array=np.stack(list(masks.values()), axis=-1).astype(
            np.uint8 if kind == "BINARY" else float
        ),
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
    )
    made.save_as(path)
    made._db_con.close()
    return path


class TestSeries:
    @pytest.mark.parametrize("directions", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
    def test_a_folder_is_a_volume(self, tmp_path, directions):
        write_series(tmp_path / "ct", directions)
        mask = np.zeros(SHAPE, dtype=np.uint8)
        mask[2:6, 5:15, 8:20] = 1
        own = grid(mask, directions)
        extractor = RadiomicsExtractor([1], SETTINGS, cache=tmp_path / "cache")
        found = extractor.fit_transform([(tmp_path / "ct", own)])
        assert extractor.n_dims_ == 3
        plain = RadiomicsExtractor([1], SETTINGS)
        expected = plain.fit_transform([(grid(voxels(), directions), own)])
        np.testing.assert_allclose(found, expected, rtol=1e-6)  # positions are written in text
        np.testing.assert_array_equal(extractor.transform([(str(tmp_path / "ct"), own)]), found)

    def test_what_is_wrong_with_a_series(self, tmp_path):
        write_series(tmp_path / "gap")
        names = sorted((tmp_path / "gap").iterdir())
        names[4].unlink()  # the fifth slice
        write_series(tmp_path / "two")
        write_series(tmp_path / "two" / "more", series="1.2.3.99")
        for number, file in enumerate((tmp_path / "two" / "more").iterdir()):
            file.rename(tmp_path / "two" / f"other{number}.dcm")
        series = write_series(tmp_path / "twice")
        series[3].SOPInstanceUID = series[3].file_meta.MediaStorageSOPInstanceUID = "1.2.77"
        series[3].save_as(tmp_path / "twice" / "again.dcm", enforce_file_format=True)
        sheared = write_series(tmp_path / "tilted")
        for k, item in enumerate(sheared):
            item.ImagePositionPatient = [ORIGIN[0], ORIGIN[1] + 0.4 * k, ORIGIN[2] + 3.0 * k]
            item.save_as(tmp_path / "tilted" / f"{(5 * k) % 8}.dcm", enforce_file_format=True)
        (tmp_path / "none").mkdir()
        mask = grid(np.ones(SHAPE, dtype=np.uint8))
        good = grid(voxels())
        folders = ["gap", "two", "twice", "tilted", "none"]
        extractor = RadiomicsExtractor([1], SETTINGS).fit([(good, mask)])
        with pytest.raises(InvalidScanError) as caught:
            extractor.transform([(tmp_path / name, mask) for name in folders])
        said = {row: reasons[0] for row, reasons in caught.value.bad.items()}
        for row, words in enumerate(
            [
                "with a gap of 6 mm after",
                "is a folder with 2 DICOM series: thorax (8 files); thorax (8 files)",
                "with several slices at one place",
                "with a tilted gantry",
                "is a folder without a DICOM series",
            ]
        ):
            assert words in said[row]


class TestStructureSets:
    @pytest.fixture
    def image(self, tmp_path):
        write_series(tmp_path / "ct")
        return tmp_path / "ct"

    def read(self, tmp_path, image, contours, segments, **parameters):
        structures = write_structures(tmp_path / "rs.dcm", contours)
        X = masks_from_dicom([(image, structures)], tmp_path / "masks", segments, **parameters)
        return X, sitk.GetArrayFromImage(sitk.ReadImage(X[0][1]))

    def test_contours_become_voxels(self, tmp_path, image):
        contours = {
            "GTV-1": [rectangle(k, (4, 9), (6, 13)) for k in (2, 3, 4)]
            + [rectangle(3, (6, 7), (8, 10))],  # a hole in the middle slice
            "Cord": [rectangle(k, (18, 20), (20, 22)) for k in range(8)],
        }
        X, values = self.read(
            tmp_path, image, contours, {"tumour": ["gtv", "gtv-1"], "cord": "CORD"}
        )
        expected = np.zeros(SHAPE, dtype=np.uint32)
        expected[2:5, 4:10, 6:14] = 1
        expected[3, 6:8, 8:11] = 0
        expected[:, 18:21, 20:23] = 2
        np.testing.assert_array_equal(values, expected)
        found = RadiomicsExtractor({"tumour": 1, "cord": 2}, SETTINGS).fit_transform(X)
        plain = RadiomicsExtractor({"tumour": 1, "cord": 2}, SETTINGS).fit_transform(
            [(grid(voxels()), grid(expected))]
        )
        np.testing.assert_allclose(found, plain, rtol=1e-6)

    def test_a_circle_has_its_area(self, tmp_path, image):
        angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        centre = np.add(ORIGIN, [14.2, 17.3, 9.0])
        ring = centre + 8 * np.column_stack([np.cos(angle), np.sin(angle), 0 * angle])
        _, values = self.read(tmp_path, image, {"a": [ring]}, {"a": "a"})
        assert values[3].sum() * SPACING[0] * SPACING[1] == pytest.approx(np.pi * 64, rel=0.03)
        assert values.sum() == values[3].sum()

    @pytest.mark.parametrize(
        ("contours", "message"),
        [
            ({"a": [rectangle(2.4, (4, 9), (6, 13))]}, "beside the planes of the slices"),
            ({"a": [rectangle(9, (4, 9), (6, 13))]}, "'a' lies outside the image"),
            ({"a": [rectangle(2, (4, 9), (6, 40))]}, "'a' lies outside the image"),
            ({"a": []}, "'a' has no contours"),
            ({"b": [rectangle(2, (4, 9), (6, 13))]}, "lacks 'a'; it holds 'b'"),
            ({"a": [rectangle(2, (4, 9), (6, 9))], "A ": []}, "several segments are called 'a'"),
        ],
    )
    def test_bad_contours_are_named(self, tmp_path, image, contours, message):
        with pytest.raises(InvalidScanError, match=message):
            self.read(tmp_path, image, contours, {"a": "a"})

    def test_overlaps_points_and_other_scans_are_refused(self, tmp_path, image):
        both = {name: [rectangle(2, (4, 9), (6, 13))] for name in ("gtv", "ctv")}
        with pytest.raises(InvalidScanError, match="'ctv' and 'gtv' overlap"):
            self.read(tmp_path, image, both, {"gtv": "gtv", "ctv": "ctv"})
        path = write_structures(tmp_path / "points.dcm", both, kind="OPEN_PLANAR")
        with pytest.raises(InvalidScanError, match="type OPEN_PLANAR, which has no inside"):
            masks_from_dicom([(image, path)], tmp_path / "masks", {"gtv": "gtv"})
        path = write_structures(tmp_path / "other.dcm", both, frame="9.9.9")
        with pytest.raises(InvalidScanError, match="in another frame of reference"):
            masks_from_dicom([(image, path)], tmp_path / "masks", {"gtv": "gtv"})
        with pytest.raises(InvalidScanError, match="masks_from_dicom draws them"):
            RadiomicsExtractor([1], SETTINGS).fit_transform([(image, path)])

    def test_missing_names_and_skipped_slices_are_said(self, tmp_path, image):
        contours = {"a": [rectangle(k, (4, 9), (6, 13)) for k in (1, 3, 5)]}
        with pytest.warns(InvalidInputWarning) as caught:
            self.read(tmp_path, image, contours, {"a": "a", "b": "b"}, on_missing_segment="warn")
        (message,) = (str(each.message) for each in caught)
        assert "lacks 'b'; it holds 'a'" in message
        assert "'a' is drawn on every 2 slices" in message


class TestSegmentations:
    @pytest.mark.parametrize("directions", [AXIAL, OBLIQUE], ids=["axial", "oblique"])
    def test_segments_come_by_name(self, tmp_path, directions):
        series = write_series(tmp_path / "ct", directions)
        tumour, node = (np.zeros(SHAPE, dtype=np.uint8) for _ in range(2))
        tumour[2:5, 4:10, 6:14] = 1
        node[3:6, 15:20, 20:25] = 1
        # Slices without a segment are left out of the file: what is there covers a part.
        path = write_segmentation(tmp_path / "seg.dcm", series, {"Tumour": tumour, "Node": node})
        frame = pd.DataFrame({"image": [str(tmp_path / "ct")], "mask": [str(path)]}, index=["p1"])
        segments = {"node": "node", "tumour": "tumour"}
        X = masks_from_dicom(frame, tmp_path / "masks", segments)
        assert X.index.tolist() == ["p1"]
        values = sitk.GetArrayFromImage(sitk.ReadImage(X.loc["p1", "mask"]))
        np.testing.assert_array_equal(values, 2 * tumour + node)
        extractor = RadiomicsExtractor({"node": 1, "tumour": 2}, SETTINGS)
        assert np.isfinite(extractor.fit_transform(X)).all()
        with pytest.raises(InvalidScanError, match="is a DICOM segmentation"):
            extractor.transform(frame)

    def test_another_grid_is_refused(self, tmp_path):
        series = write_series(tmp_path / "ct")
        mask = np.zeros(SHAPE, dtype=np.uint8)
        mask[2:5, 4:10, 6:14] = 1
        path = write_segmentation(tmp_path / "seg.dcm", series, {"a": mask})
        shifted = grid(voxels())
        shifted.SetOrigin((ORIGIN[0] + 0.5, *ORIGIN[1:]))
        coarse = grid(voxels())
        coarse.SetSpacing((1.0, 1.5, 2.0))
        far = grid(voxels())
        far.SetOrigin((ORIGIN[0] + 12.0, *ORIGIN[1:]))
        pairs = [(image, path) for image in (shifted, coarse, far)]
        with pytest.raises(InvalidScanError) as caught:
            masks_from_dicom(pairs, tmp_path / "masks", {"a": "a"})
        for row, words in enumerate(
            ["by a shift", "another grid.*by spacing", "outside the image"]
        ):
            assert re.search(words, caught.value.bad[row][0])

    def test_other_files_are_no_masks(self, tmp_path):
        write_series(tmp_path / "ct")
        (tmp_path / "text.dcm").write_text("no DICOM")
        pairs = [
            (tmp_path / "ct", tmp_path / "ct" / "0.dcm"),
            (tmp_path / "ct", tmp_path / "text.dcm"),
            (tmp_path / "ct", tmp_path / "gone.dcm"),
        ]
        with pytest.raises(InvalidScanError) as caught:
            masks_from_dicom(pairs, tmp_path / "masks", {"a": "a"})
        for row, words in enumerate(
            ["of another kind, CT Image Storage", "no readable DICOM file", "does not exist"]
        ):
            assert words in caught.value.bad[row][0]
        with pytest.raises(ValueError, match="segments is empty"):
            masks_from_dicom(pairs, tmp_path / "masks", {})
