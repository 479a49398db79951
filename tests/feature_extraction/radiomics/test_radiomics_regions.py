"""Unions, largest components, lesions and sequences have the values of pyradiomics' own."""

import csv
import io
import warnings

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import skcyto
from skcyto.command_line._main import main
from skcyto.datasets import load_image_mask_folder, load_pyradiomics_csv
from skcyto.exceptions import InvalidDatasetError, InvalidInputWarning, InvalidScanError
from skcyto.feature_extraction import RadiomicsExtractor, split_lesions

SETTINGS = {
    "setting": {"normalize": True, "normalizeScale": 100, "binWidth": 10},
    "imageType": {"Original": {}, "LoG": {"sigma": [2.0]}, "Wavelet": {}},
    "featureClass": {"shape": [], "firstorder": [], "glcm": [], "glszm": []},
}
QUICK = {
    "setting": {"binWidth": 30},
    "imageType": {"Original": {}},
    "featureClass": {"shape": ["VoxelVolume", "Sphericity"], "glcm": ["Contrast"]},
}


def region(mask, inside):
    """A mask of 1 where the array says so, on the grid of another mask."""
    made = sitk.GetImageFromArray(np.asarray(inside, dtype=np.uint8))
    made.CopyInformation(mask)
    return made


def first_row(extractor, X):
    return extractor.set_output(transform="pandas").fit_transform(X).iloc[0]


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"resampledPixelSpacing": [1.2, 1.2, 1.6]},
        {"preCrop": True, "padDistance": 3},
        {"resegmentRange": [350.0, 900.0], "normalize": False},
    ],
    ids=["shared", "resampled", "cropped before", "resegmented"],
)
def test_a_union_is_what_pyradiomics_measures_in_a_mask_of_it(scans, volume, setting):
    image, mask = volume
    settings = {**SETTINGS, "setting": {**SETTINGS["setting"], **setting}}
    if setting:
        settings["imageType"] = {"Original": {}}
    unions = {"all": [5, 1, 2], "pair": [1, 2], "one": [2], "two": 2}
    with pytest.raises(ValueError, match=r"\[2\] twice, as 'one' and 'two'"):
        RadiomicsExtractor(unions, settings).fit([(image, mask)])
    del unions["one"]
    extractor = RadiomicsExtractor(unions, settings)
    row = first_row(extractor, [(image, mask)])
    values = sitk.GetArrayFromImage(mask)
    for name, labels in unions.items():
        plain = scans.plain_radiomics(settings, image, region(mask, np.isin(values, labels)), 1)
        scans.assert_same_values(scans.by_radiomics_name(row, name), plain)
    assert extractor.mask_labels_ == {"all": [5, 1, 2], "pair": [1, 2], "two": 2}


def test_a_union_is_of_what_a_mask_holds_and_missing_without_any(volume):
    image, mask = volume
    extractor = RadiomicsExtractor({"some": [2, 8], "none": [8, 9]}, QUICK)
    with pytest.warns(InvalidInputWarning, match=r"labels 8, 9 \(none\): not in the mask"):
        row = first_row(extractor, [(image, mask)])
    alone = first_row(RadiomicsExtractor([2], QUICK), [(image, mask)])
    np.testing.assert_array_equal(row.filter(like="some__"), alone)
    assert row.filter(like="none__").isna().all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1, 2]], r"the union \[1, 2\] needs a name: give a dict"),
        ({"a": []}, "the union 'a', .*is empty"),
        ({"a": [1, 1]}, "the union 'a', .*names a value twice"),
        ({"a": [1, 2], "b": [2, 1]}, r"\[1, 2\] twice, as 'a' and 'b'"),
        ({"a": [1, "2"]}, "must be integers, got '2' of type str; write 2"),
        ({"a": [0, 1]}, "must be positive"),
    ],
)
def test_bad_unions_are_named(volume, labels, message):
    with pytest.raises(ValueError, match=message):
        RadiomicsExtractor(labels, QUICK).fit([volume])


def two_blocks(volume):
    """Label 1 in two parts, 60 and 48 voxels, which touch label 2's corner; the image."""
    image, mask = volume
    values = np.zeros_like(sitk.GetArrayFromImage(mask))
    values[2:5, 3:8, 3:7] = 1
    values[8:12, 20:24, 20:23] = 1
    values[5:7, 8:12, 7:10] = 2
    return image, region(mask, values), values


def test_the_largest_component_alone(scans, volume):
    image, mask, values = two_blocks(volume)
    extractor = RadiomicsExtractor({"a": 1, "both": [1, 2]}, SETTINGS, largest_component=True)
    row = first_row(extractor, [(image, mask)])
    first = values * (np.indices(values.shape)[0] < 8) > 0
    for name, inside in (("a", first & (values == 1)), ("both", first)):
        plain = scans.plain_radiomics(SETTINGS, image, region(mask, inside), 1)
        scans.assert_same_values(scans.by_radiomics_name(row, name), plain)
    assert row["both__original_shape_VoxelVolume"] == pytest.approx((60 + 24) * 2.0 * 0.9 * 0.8)


def test_the_cache_keeps_unions_and_components_apart(volume, tmp_path):
    image, mask, _ = two_blocks(volume)
    results = []
    for cache in (None, tmp_path, tmp_path):
        for largest in (False, True):
            labels = {"a": 1, "both": [1, 2]}
            extractor = RadiomicsExtractor(labels, QUICK, cache=cache, largest_component=largest)
            results.append(extractor.fit_transform([(image, mask)])[0])
    assert not np.array_equal(results[0], results[1])
    for first in (0, 1):
        for again in (first + 2, first + 4):
            np.testing.assert_array_equal(results[again], results[first])


class TestLesions:
    def test_each_has_the_values_of_its_mask(self, scans, volume, tmp_path):
        image, mask, values = two_blocks(volume)
        frame = pd.DataFrame({"image": [image], "mask": [mask]}, index=["case a"])
        lesions = split_lesions(frame, tmp_path, [1], y=["high"], groups=["patient"])
        assert lesions.frame["n_voxels"].tolist() == [60, 48]
        assert lesions.frame["volume"].tolist() == pytest.approx([86.4, 69.12])
        assert lesions.groups.tolist() == ["patient"] * 2
        assert lesions.target.tolist() == ["high"] * 2
        assert lesions.data.index.tolist() == ["case a"] * 2
        extractor = RadiomicsExtractor(settings=SETTINGS, label_column="lesion")
        table = extractor.set_output(transform="pandas").fit_transform(lesions.data)
        above = np.indices(values.shape)[0] < 8
        for (_, row), part in zip(table.iterrows(), (above, ~above), strict=True):
            plain = scans.plain_radiomics(SETTINGS, image, region(mask, part & (values == 1)), 1)
            scans.assert_same_values(scans.by_radiomics_name(row, "lesion"), plain)
        assert extractor.n_features_in_ == 3

    def test_small_ones_are_left_out_and_cases_without_any_named(self, volume, tmp_path):
        image, mask, _ = two_blocks(volume)
        empty = region(mask, sitk.GetArrayFromImage(mask) == 2)
        pairs = [(image, mask), (image, empty)]
        with pytest.warns(InvalidInputWarning, match="1 of 2 cases have no lesion.*case 1"):
            lesions = split_lesions(pairs, tmp_path, 1, min_volume=70)
        assert lesions.frame[["case", "n_voxels"]].values.tolist() == [[0, 60]]
        assert split_lesions(pairs, tmp_path).frame["case"].tolist() == [0, 0, 1]
        with pytest.raises(ValueError, match="none of the 2 masks holds a lesion"):
            split_lesions(pairs, tmp_path, [9])
        assert not (tmp_path / "lesions.csv").exists()  # images in memory have no path

    def test_bad_masks_are_listed(self, volume, tmp_path):
        with pytest.raises(InvalidScanError, match=r"1 of 2 case\(s\)(.|\n)*case 1: the mask file"):
            split_lesions([volume, (volume[0], "gone.nrrd")], tmp_path)
        with pytest.raises(ValueError, match="groups has 2 values for 1 cases"):
            split_lesions([volume], tmp_path, groups=[1, 2])

    def test_a_row_without_a_label_is_a_bad_case(self, volume):
        frame = pd.DataFrame({"image": [volume[0]] * 3, "mask": [volume[1]] * 3})
        frame["lesion"] = [2.0, "5", None]
        extractor = RadiomicsExtractor(settings=QUICK, label_column="lesion", on_error="nan")
        with pytest.warns(InvalidInputWarning, match="case 2: its 'lesion' is None"):
            values = extractor.fit_transform(frame)
        both = first_row(RadiomicsExtractor([2, 5], QUICK), [volume]).to_numpy().reshape(2, -1)
        np.testing.assert_array_equal(values[:2], both)
        assert np.isnan(values[2]).all()

    def test_a_missing_lesion_is_named_by_its_label(self, volume):
        frame = pd.DataFrame({"image": [volume[0]] * 2, "mask": [volume[1]] * 2, "lesion": [1, 7]})
        extractor = RadiomicsExtractor(settings=QUICK, label_column="lesion")
        with pytest.warns(InvalidInputWarning, match=r"case 1, label 7 \(lesion\): not in"):
            values = extractor.fit_transform(frame)
        assert np.isnan(values[1]).all()
        assert not np.isnan(values[0]).any()

    def test_a_scan_is_read_once_for_all_its_rows(self, volume, tmp_path, monkeypatch):
        from skcyto.feature_extraction._radiomics import _worker

        for name, each in zip(("image", "mask"), volume, strict=True):
            sitk.WriteImage(each, str(tmp_path / f"{name}.nrrd"))
        read = _worker.read_case
        seen = []
        monkeypatch.setattr(_worker, "read_case", lambda *args: seen.append(1) or read(*args))
        lesions = split_lesions(
            [(tmp_path / "image.nrrd", tmp_path / "mask.nrrd")], tmp_path / "made"
        )
        assert len(lesions.data) == 2  # two of the bodies touch
        RadiomicsExtractor(settings=QUICK, label_column="lesion").fit_transform(lesions.data)
        assert seen == [1]

    def test_what_does_not_go_together(self, volume):
        with pytest.raises(ValueError, match="label_column='lesion' gives each row a label"):
            RadiomicsExtractor([1], label_column="lesion").fit([volume])
        with pytest.raises(ValueError, match="X must be a DataFrame, got list"):
            RadiomicsExtractor(label_column="lesion").fit([volume])
        with pytest.raises(ValueError, match="without '__'"):
            RadiomicsExtractor(label_column="a__b").fit([volume])


class TestSequences:
    @pytest.fixture
    def two(self, scans, volume):
        image, mask = volume
        values, _ = scans.make_volume(seed=8)
        return {"t1": image, "flair": scans.to_sitk(values)}, mask

    def test_each_has_its_textures_and_shape_comes_once(self, scans, two):
        images, mask = two
        labels = {"all": [1, 2, 5], "b": 2}
        extractor = RadiomicsExtractor(labels, SETTINGS, image_column=["t1", "flair"])
        row = first_row(extractor, [(images, mask)])
        for name, its in labels.items():
            own = region(mask, np.isin(sitk.GetArrayFromImage(mask), its))
            for sequence, image in images.items():
                plain = scans.plain_radiomics(SETTINGS, image, own, 1)
                ours = {
                    key.removeprefix(f"{name}__").removeprefix(f"{sequence}__"): value
                    for key, value in row.items()
                    if key.startswith((f"{name}__{sequence}__", f"{name}__original_shape_"))
                }
                scans.assert_same_values(ours, plain)
        assert sorted(extractor.feature_table_["channel"].unique()) == ["", "flair", "t1"]
        assert extractor.n_features_in_ == 3

    def test_frames_arrays_and_pairs_are_the_same(self, two, tmp_path):
        images, mask = two
        paths = {}
        for name, image in {**images, "mask": mask}.items():
            paths[name] = str(tmp_path / f"a_{name}.nrrd")
            sitk.WriteImage(image, paths[name])
        extractor = RadiomicsExtractor([1], QUICK, image_column=["t1", "flair"])
        expected = extractor.fit_transform([(images, mask)])
        found = load_image_mask_folder(
            tmp_path,
            image={"t1": "{case}_t1.nrrd", "flair": "{case}_flair.nrrd"},
            mask="{case}_mask.nrrd",
        )
        for X in (found.data, found.data.to_numpy(), [(dict(paths), paths["mask"])]):
            if isinstance(X, list):
                del X[0][0]["mask"]
            np.testing.assert_array_equal(extractor.fit_transform(X), expected)
        swapped = RadiomicsExtractor([1], QUICK, image_column=["flair", "t1"])
        names = dict(zip(extractor.get_feature_names_out(), expected[0], strict=True))
        again = swapped.fit_transform(found.data)
        assert dict(zip(swapped.get_feature_names_out(), again[0], strict=True)) == names

    def test_what_is_wrong_with_one_is_said_of_it(self, two, scans):
        images, mask = two
        flat = sitk.Image(images["t1"])
        flat[:, :, :] = 7
        extractor = RadiomicsExtractor([1], QUICK, image_column=["t1", "flair"], on_error="nan")
        with pytest.warns(InvalidInputWarning, match="label 1: the region is flat.* in flair"):
            row = first_row(extractor, [({**images, "flair": flat}, mask)])
        assert not row.filter(like="_shape_").isna().any()
        shifted = sitk.Image(images["flair"])
        shifted.SetOrigin((1.0, 0.0, 0.0))
        with pytest.raises(InvalidScanError, match=r"another grid.* in flair"):
            extractor.set_params(on_error="raise").transform([({**images, "flair": shifted}, mask)])
        with pytest.raises(ValueError, match=r"row 0 of X .*keys \['t1', 'flair'\].*got \['t1'\]"):
            extractor.fit([({"t1": images["t1"]}, mask)])
        with pytest.raises(ValueError, match="must differ"):
            RadiomicsExtractor([1], image_column=["t1", "t1"]).fit([two])

    def test_colours_are_no_sequences(self, cells):
        image, mask = cells
        extractor = RadiomicsExtractor([1], "original", image_column=["a", "b"])
        with pytest.raises(InvalidScanError, match="several images a case must be gray"):
            extractor.fit([({"a": image, "b": image}, mask)])

    @pytest.fixture
    def cells(self):
        rng = np.random.default_rng(0)
        mask = np.zeros((20, 20), dtype=np.uint8)
        mask[5:15, 5:15] = 1
        return rng.integers(0, 255, (20, 20, 3), dtype=np.uint8), mask


def test_sequences_and_lesions_are_saved_and_predicted(scans, volume, tmp_path):
    """From lists on disk, with a label in each row, through `skcyto predict`."""
    _, mask, _ = two_blocks(volume)
    rows = []
    for case in range(4):
        paths = {}
        for name, shift in (("t1", 0), ("flair", 40)):
            values, _ = scans.make_volume(seed=case)
            paths[name] = str(tmp_path / f"{case}_{name}.nrrd")
            sitk.WriteImage(scans.to_sitk(values + np.int16(shift * (case % 2))), paths[name])
        paths["mask"] = str(tmp_path / f"{case}_mask.nrrd")
        sitk.WriteImage(mask, paths["mask"])
        rows.append(paths)
    sequences = ["t1", "flair"]
    lesions = split_lesions(
        pd.DataFrame(rows), tmp_path / "lesions", 1, y=[0, 1, 0, 1], image_column=sequences
    )
    extractor = RadiomicsExtractor(
        settings=QUICK, image_column=sequences, label_column="lesion", cache=tmp_path / "cache"
    )
    pipeline = make_pipeline(extractor, LogisticRegression(max_iter=10_000))
    pipeline.fit(lesions.data, lesions.target)
    model = skcyto.save(pipeline, tmp_path / "model")
    loaded = skcyto.load(model)
    np.testing.assert_array_equal(
        loaded[0].get_feature_names_out(), pipeline[0].get_feature_names_out()
    )
    expected = pipeline.predict(lesions.data)
    np.testing.assert_array_equal(loaded.predict(lesions.data), expected)
    output = tmp_path / "out.csv"
    command = ["predict", str(model), str(tmp_path / "lesions" / "lesions.csv"), "-o", str(output)]
    assert main([*command, "--n-jobs", "1"]) == 0
    table = pd.read_csv(output)
    assert table.columns[:5].tolist() == ["t1", "flair", "mask", "lesion", "prediction"]
    assert table["prediction"].tolist() == expected.tolist()


class TestBatchFile:
    """The CSV of pyradiomics' own command, and the values that command gives."""

    @pytest.fixture
    def listed(self, volume, tmp_path):
        for name, each in zip(("image", "mask"), volume, strict=True):
            sitk.WriteImage(each, str(tmp_path / f"{name}.nrrd"))
        path = tmp_path / "cases.csv"
        path.write_text(
            "ID,Image,Mask,Label,grade\n"
            "p1,image.nrrd,mask.nrrd,2,low\n"
            "p1,image.nrrd,mask.nrrd,5,low\n"
            f"p2,{tmp_path}/image.nrrd,mask.nrrd,1,high\n"
        )
        return path

    def test_values_are_those_of_the_command(self, listed):
        cases = load_pyradiomics_csv(listed, target_column="grade", group_column="ID")
        assert cases.groups.tolist() == ["p1", "p1", "p2"]
        assert cases.target.tolist() == ["low", "low", "high"]
        assert cases.label_channel is None
        extractor = RadiomicsExtractor(settings=QUICK, label_column="label")
        values = extractor.set_output(transform="pandas").fit_transform(cases.data)
        theirs = pd.DataFrame(_run_pyradiomics(listed))
        names = [name.removeprefix("label__") for name in values.columns]
        np.testing.assert_allclose(values, theirs[names].astype(float), rtol=1e-9)

    def test_bad_lines_are_named(self, listed):
        text = listed.read_text() + "p3,gone.nrrd,mask.nrrd,1,low\np4,image.nrrd,mask.nrrd,,low\n"
        listed.write_text(text + "p5,image.nrrd,mask.nrrd,first,low\n")
        with pytest.raises(InvalidDatasetError, match="3 problems") as caught:
            load_pyradiomics_csv(listed)
        for part in ("line 5 (gone.nrrd)", "line 6", "line 7 (first)"):
            assert part in str(caught.value)
        with pytest.warns(InvalidInputWarning, match="3 sound samples"):
            assert len(load_pyradiomics_csv(listed, on_error="warn").data) == 3

    def test_channels(self, listed):
        lines = listed.read_text().splitlines()
        for channels, expected in (("111", 1), ("010", None)):
            heads = ["Label_channel", *channels]
            listed.write_text("\n".join(f"{a},{b}" for a, b in zip(lines, heads, strict=True)))
            if expected is None:
                with pytest.raises(InvalidDatasetError, match=r"Label_channel holds \['0', '1'\]"):
                    load_pyradiomics_csv(listed)
            else:
                assert load_pyradiomics_csv(listed).label_channel == expected
        listed.write_text("Image,Mask\nimage.nrrd,mask.nrrd\n")
        assert load_pyradiomics_csv(listed).data.columns.tolist() == ["image", "mask"]


def _run_pyradiomics(listed):
    """What pyradiomics' command does with each row of its CSV, without its logging."""
    from radiomics import featureextractor, setVerbosity
    from radiomics.scripts import segment

    setVerbosity(60)
    found = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            extractor = featureextractor.RadiomicsFeatureExtractor(QUICK)
            for number, row in enumerate(csv.DictReader(io.StringIO(listed.read_text())), 1):
                for name in ("Image", "Mask"):
                    row[name] = str(listed.parent / row[name])
                found.append(segment.extractSegment(number, row, extractor))
    finally:
        setVerbosity(30)
    return found


class TestGliomas:
    """Real masks of three labels: whole tumour, core, and lesions."""

    @pytest.fixture
    def cases(self, shared_data):
        return load_image_mask_folder(
            shared_data / "radiomics" / "brats13_rois",
            image={"t1ce": "{case}_t1ce.nii.gz", "flair": "{case}_flair.nii.gz"},
            mask="{case}_seg.nii.gz",
        ).data

    def test_unions_of_two_sequences(self, cases, scans):
        labels = {"whole": [1, 2, 4], "core": [1, 4], "edema": 2}
        some = cases.iloc[[7]]  # the smallest
        settings = {**SETTINGS, "imageType": {"Original": {}, "LoG": {"sigma": [2.0]}}}
        extractor = RadiomicsExtractor(labels, settings, image_column=["t1ce", "flair"])
        table = extractor.set_output(transform="pandas").fit_transform(some)
        for case, row in table.iterrows():
            mask = sitk.ReadImage(some.loc[case, "mask"])
            values = sitk.GetArrayFromImage(mask)
            image = sitk.ReadImage(some.loc[case, "flair"])
            own = region(mask, np.isin(values, [1, 2, 4]))
            plain = scans.plain_radiomics(settings, image, own, 1)
            ours = {
                name.removeprefix("whole__").removeprefix("flair__"): value
                for name, value in row.items()
                if name.startswith(("whole__flair__", "whole__original_shape_"))
            }
            scans.assert_same_values(ours, plain)
            volumes = row.filter(like="original_shape_VoxelVolume")
            assert volumes.iloc[0] == pytest.approx(volumes.iloc[1] + volumes.iloc[2])

    def test_lesions(self, cases, scans, tmp_path):
        groups = cases.index.str[:13]
        lesions = split_lesions(
            cases, tmp_path, [1, 4], groups=groups, min_volume=50, image_column=["t1ce", "flair"]
        )
        assert set(lesions.groups) <= set(groups)
        assert len(lesions.data) > len(set(lesions.groups)) > 10
        assert (lesions.frame["volume"] >= 50).all()
        several = lesions.frame["case"].value_counts().index[0]
        rows = lesions.data.loc[[several]]
        extractor = RadiomicsExtractor(settings=QUICK, image_column="flair", label_column="lesion")
        table = extractor.set_output(transform="pandas").fit_transform(rows)
        mask = sitk.ReadImage(cases.loc[several, "mask"])
        core = region(mask, np.isin(sitk.GetArrayFromImage(mask), [1, 4]))
        # ITK numbers the parts by itself: an independent answer.
        parts = sitk.RelabelComponent(sitk.ConnectedComponent(core, True), sortByObjectSize=True)
        image = sitk.ReadImage(cases.loc[several, "flair"])
        for number, (_, row) in enumerate(table.iterrows(), 1):
            plain = scans.plain_radiomics(QUICK, image, parts == number, 1)
            scans.assert_same_values(scans.by_radiomics_name(row, "lesion"), plain)
