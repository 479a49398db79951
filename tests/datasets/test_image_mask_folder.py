from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skcyto.datasets import (
    load_image_mask_folder,
    load_ted,
    make_cell_images,
    write_image_mask_folder,
)
from skcyto.exceptions import InvalidDatasetError, InvalidInputWarning


@pytest.fixture
def pairs(put):
    for case in ("p.2", "p.1"):
        put(f"images/{case}.nii.gz")
        put(f"masks/{case}.nrrd")


def test_pairs_by_name_whatever_the_extension(tmp_path, pairs):
    data = load_image_mask_folder(tmp_path)
    assert data.cases.tolist() == ["p.1", "p.2"]
    assert list(data.data.columns) == ["image", "mask"]
    assert data.data.index.tolist() == ["p.1", "p.2"]
    assert data.data.loc["p.1", "mask"] == str(tmp_path / "masks" / "p.1.nrrd")
    assert data.target is None
    assert data.target_names is None
    assert data.groups is None


def test_what_belongs_to_a_scan_is_no_problem(tmp_path, put):
    for kind in ("images", "masks"):
        put(f"{kind}/a.mhd")
        put(f"{kind}/a.raw")
        put(f"{kind}/b.c.hdr")
        put(f"{kind}/b.c.img")
        put(f"{kind}/d.gipl.gz")
        put(f"{kind}/e.VTK")
    put("images/d.json")
    data = load_image_mask_folder(tmp_path)
    assert data.cases.tolist() == ["a", "b.c", "d", "e"]
    assert len(data.report) == 0


def test_index_gives_order_labels_and_patients(tmp_path, pairs, put):
    put("list.csv", "case,grade,patient,age\np.2,2,007,50\np.1,1,007,\n")
    data = load_image_mask_folder(
        tmp_path, index="list.csv", target_column="grade", group_column="patient"
    )
    assert data.cases.tolist() == ["p.2", "p.1"]
    assert data.target.tolist() == [2, 1]
    assert data.target_names.tolist() == [1, 2]
    assert data.groups.tolist() == ["007", "007"]
    assert data.frame["age"].isna().tolist() == [False, True]


def test_each_case_may_be_its_own_group(tmp_path, pairs, put):
    put("list.csv", "case,label\np.2,x\np.1,x\np.2,x\n")
    with pytest.warns(InvalidInputWarning, match="duplicate row"):
        data = load_image_mask_folder(
            tmp_path,
            index="list.csv",
            target_column="label",
            group_column="case",
            on_error="warn",
        )
    assert data.groups.tolist() == data.cases.tolist() == ["p.2", "p.1"]


@pytest.mark.parametrize(
    ("image", "mask", "names"),
    [
        ("{case}.nii.gz", "{case}_mask.nii.gz", ["a.nii.gz", "a_mask.nii.gz"]),
        ("{case}_mask.nii.gz", "{case}.nii.gz", ["a_mask.nii.gz", "a.nii.gz"]),
        ("{case}/T1.nii", "{case}/labels.nii", ["a/T1.nii", "a/labels.nii"]),
        ("x/{case}{extension}", "y/{case}{extension}", ["x/a.NII.GZ", "y/a.png"]),
        ("s(1)/{case}+.png", "m/{case}.png", ["s(1)/a+.png", "m/a.png"]),
        (
            "{case}/{case}_flair.nii.gz",
            "{case}/{case}_seg.nii.gz",
            ["a/a_flair.nii.gz", "a/a_seg.nii.gz"],
        ),
        (
            "sub-{case}/**/*_T1w{extension}",
            "derivatives/**/sub-{case}_*dseg.nii.gz",
            ["sub-a/ses-1/anat/sub-a_ses-1_T1w.nii", "derivatives/x/sub-a_space-T1_dseg.nii.gz"],
        ),
    ],
)
def test_patterns(tmp_path, put, image, mask, names):
    for name in names:
        put(name, "x")
    data = load_image_mask_folder(tmp_path, image=image, mask=mask)
    assert data.cases.tolist() == ["a"]
    assert data.data.iloc[0].tolist() == [str(tmp_path / name) for name in names]


def test_a_case_is_called_the_same_in_all_of_a_path(tmp_path, put):
    for name in ("a/a_t1.nii", "a/b_t1.nii", "a/a_seg.nii", "b/b_seg.nii"):
        put(name, "x")
    with pytest.warns(InvalidInputWarning, match=r"missing image .*: b/b_seg.nii"):
        data = load_image_mask_folder(
            tmp_path, image="{case}/{case}_t1.nii", mask="{case}/{case}_seg.nii", on_error="warn"
        )
    assert data.cases.tolist() == ["a"]


def test_several_images_a_case(tmp_path, put):
    for case in "ab":
        for name in ("t1", "t1ce", "flair", "seg"):
            put(f"{case}/{case}_{name}.nii.gz", case)
    put("c/c_t1.nii.gz", "x")
    put("c/c_seg.nii.gz", "x")
    put("list.csv", "case,grade\na,1\nb,0\n")
    patterns = {name: f"{{case}}/*_{name}.nii.gz" for name in ("t1", "t1ce", "flair")}
    with pytest.warns(InvalidInputWarning) as caught:
        data = load_image_mask_folder(
            tmp_path,
            image=patterns,
            mask="{case}/*_seg.nii.gz",
            index="list.csv",
            target_column="grade",
            on_error="warn",
        )
    assert data.data.columns.tolist() == ["t1", "t1ce", "flair", "mask"]
    assert data.data.loc["b"].tolist() == [
        str(tmp_path / f"b/b_{name}.nii.gz") for name in ("t1", "t1ce", "flair", "seg")
    ]
    assert data.target.tolist() == [1, 0]
    assert data.report["problem"].tolist() == ["missing flair", "missing t1ce"]
    assert set(data.report["item"]) == {"c/c_t1.nii.gz"}
    assert len(caught) == 1


def test_nothing_to_load_says_what_lies_there(tmp_path, put):
    put("scans/a.nii", "x")
    with pytest.raises(InvalidDatasetError) as caught:
        load_image_mask_folder(tmp_path, mask="segmentations/{case}.nii")
    message = str(caught.value)
    assert "nothing to load" in message
    assert "no file is 'images/{case}{extension}'; below the folder lies): scans/a.nii" in message
    assert "no file is 'segmentations/{case}.nii'; below the folder lies): scans/a.nii" in message


# Files and rows beside two sound cases; what is reported.
PROBLEMS = {
    "no mask": (["images/c.nii"], [], [("missing mask", "images/c.nii")]),
    "no image": (["masks/c.nii"], [], [("missing image", "masks/c.nii")]),
    "no files": ([], ["c,1"], [("missing case", "c")]),
    "no row": (["images/c.nii", "masks/c.nii"], [], [("unlisted case", "c")]),
    "listed, no mask": (["images/c.nii"], ["c,1"], [("missing mask", "images/c.nii")]),
    "two images": (["images/p.1.nii"], [], [("duplicate image", "images/p.1.nii.gz")]),
    "no label": (
        ["images/c.nii", "masks/c.nii"],
        ["c,"],
        [("missing value", "line 4 (c)"), ("unlisted case", "c")],
    ),
    "no known ending": (
        ["images/c.foo", "images/README.txt"],
        [],
        [("unknown ending", "images/README.txt"), ("unknown ending", "images/c.foo")],
    ),
    "twice": ([], ["p.1,1"], [("duplicate row", "line 4 (p.1)")]),
    "empty file": (
        [("images/c.nii", b""), "masks/c.nii"],
        ["c,1"],
        [("empty file", "images/c.nii"), ("missing image", "masks/c.nii")],
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_are_reported_by_name(tmp_path, pairs, put, name):
    files, rows, expected = PROBLEMS[name]
    for file in files:
        put(*file) if isinstance(file, tuple) else put(file)
    put("list.csv", "\n".join(["case,label", "p.1,1", "p.2,0", *rows]) + "\n")
    with pytest.raises(InvalidDatasetError) as caught:
        load_image_mask_folder(tmp_path, index="list.csv", target_column="label")
    report = caught.value.report
    assert list(zip(report["problem"], report["item"], strict=True)) == expected
    with pytest.warns(InvalidInputWarning) as warned:
        data = load_image_mask_folder(
            tmp_path, index="list.csv", target_column="label", on_error="warn"
        )
    assert warned[0].filename == __file__
    assert data.cases.tolist() == ["p.1", "p.2"]
    assert data.target.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"image": "images/*.nii"}, ValueError, r"must hold \{case\}, such as"),
        ({"image": {"t1": "{case}.nii", "t2": "{case}.nii"}}, ValueError, "t1 and t2 are the same"),
        ({"image": {"mask": "{case}.nii"}}, ValueError, "columns other than 'mask'"),
        ({"image": {}}, ValueError, "must be a pattern, or a dict"),
        ({"mask": "images/{case}{extension}"}, ValueError, "must differ"),
        ({"target_column": "label"}, ValueError, "pass index"),
        ({"image": "scans/{case}.nii"}, InvalidDatasetError, "nothing to load"),
        ({"index": "x.csv"}, InvalidDatasetError, "does not exist"),
        ({"on_error": "nan"}, ValueError, "must be 'raise' or 'warn'"),
    ],
)
def test_wrong_parameters(tmp_path, pairs, parameters, error, match):
    with pytest.raises(error, match=match):
        load_image_mask_folder(tmp_path, **parameters)


def test_cells_with_masks_survive_the_round_trip(tmp_path):
    cells = make_cell_images(4, image_size=32, random_state=0)
    index = write_image_mask_folder(
        tmp_path, cells.images, cells.masks, cells.target, groups=cells.groups
    )
    data = load_image_mask_folder(
        tmp_path, index=index, target_column="label", group_column="group"
    )
    assert data.target.tolist() == cells.target.tolist()
    assert data.groups.tolist() == cells.groups.tolist()
    assert data.cases[0] == "synthetic_cell_0001"
    for i, row in enumerate(data.data.itertuples()):
        np.testing.assert_array_equal(np.asarray(Image.open(row.image)), cells.images[i])
        np.testing.assert_array_equal(np.asarray(Image.open(row.mask)), cells.masks[i])


def test_real_scans(shared_data):
    brats = load_image_mask_folder(
        shared_data / "radiomics" / "brats13_rois",
        image="{case}_flair.nii.gz",
        mask="{case}_seg.nii.gz",
        index="index.csv",
    )
    assert len(brats.cases) == 13
    assert brats.frame["vox_core_1"].iloc[0] == 15443
    assert all(Path(path).is_file() for path in brats.data.to_numpy().ravel())
    cases = load_image_mask_folder(
        shared_data / "radiomics" / "pyradiomics_cases",
        image="{case}_image.nrrd",
        mask="{case}_label.nrrd",
    )
    assert cases.cases.tolist() == ["brain1", "brain2", "breast1"]


def test_ted_layout(tmp_path, pairs, put):
    put("labels.csv", "case,label\np.1,1\np.2,0\n")
    data = load_ted(tmp_path)
    assert data.target.tolist() == [1, 0]
    assert data.groups is None
    assert data.mask_labels == {
        "superior_rectus": 1,
        "inferior_rectus": 2,
        "medial_rectus": 3,
        "lateral_rectus": 4,
        "optic_nerve": 5,
        "fat": 6,
        "lacrimal_gland": 7,
        "superior_oblique": 8,
    }
    put("labels.csv", "case,label,patient\np.1,1,x\np.2,0,x\n")
    assert load_ted(tmp_path).groups.tolist() == ["x", "x"]
    put("labels.csv", "case,label,patient\np.1,1,x\np.2,,x\n")
    with pytest.raises(InvalidDatasetError, match=r"missing value \(1; no label in labels.csv"):
        load_ted(tmp_path)
    with pytest.warns(InvalidInputWarning):
        assert load_ted(tmp_path, on_error="warn").cases.tolist() == ["p.1"]


def test_ted_without_its_list(tmp_path, pairs):
    with pytest.raises(InvalidDatasetError, match=r"labels\.csv' does not exist"):
        load_ted(tmp_path)


def test_frames_are_plain_tables(tmp_path, pairs):
    data = load_image_mask_folder(tmp_path)
    assert isinstance(data.data, pd.DataFrame)
    assert all(type(path) is str for path in data.data.to_numpy().ravel())


def test_same_case_under_two_labels(tmp_path, put):
    contents = {
        "a": ("scan", "left"),
        "b": ("scan", "left"),
        "c": ("scan", "right"),
        "d": ("x", "y"),
    }
    for case, (scan, mask) in contents.items():
        put(f"images/{case}.nii", scan)
        put(f"masks/{case}.nii", mask)
    put("list.csv", "case,grade\na,1\nb,2\nc,2\nd,1\n")
    with pytest.warns(InvalidInputWarning, match=r"a \(1\) = b \(2\)"):
        data = load_image_mask_folder(
            tmp_path, index="list.csv", target_column="grade", on_error="warn"
        )
    # Another structure in the same scan is another case.
    assert data.cases.tolist() == ["c", "d"]
    assert data.report["item"].tolist() == ["a (1) = b (2)", "b (2) = a (1)"]
    assert len(load_image_mask_folder(tmp_path, index="list.csv").cases) == 4


def test_links_to_folders_that_are_listed_anyway(tmp_path, pairs):
    (tmp_path / "images" / "up").symlink_to(tmp_path)
    assert len(load_image_mask_folder(tmp_path).report) == 0
    (tmp_path / "copies").symlink_to("masks")
    with pytest.raises(InvalidDatasetError, match=r"link to another folder .*copies -> masks"):
        load_image_mask_folder(tmp_path)
