from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from skcyto.datasets import (
    load_ps3c,
    make_cell_images,
    write_ps3c_folder,
    write_ps3c_submission,
)
from skcyto.exceptions import InvalidDatasetError, InvalidInputWarning

TRAIN = "isbi2025-ps3c-train-dataset"
TEST = "isbi2025-ps3c-test-dataset"
SOUND = [("1.png", "healthy"), ("2.png", "rubbish"), ("3.png", "bothcells"), ("4.png", "unhealthy")]


@pytest.fixture
def train(put):
    """Make a sound train split; return a function that appends rows to its list."""
    for name, label in SOUND:
        put(f"{TRAIN}/{label}/{name}")

    def write(*rows, where=""):
        lines = ["image_name,label", *(f"{name},{label}" for name, label in SOUND), *rows]
        put(f"{where}{TRAIN}.csv", "\n".join(lines) + "\n")

    return write


def test_train_merges_bothcells_into_unhealthy(tmp_path, train):
    train()
    data = load_ps3c(tmp_path)
    assert data.target.tolist() == ["healthy", "rubbish", "unhealthy", "unhealthy"]
    assert data.target_names.tolist() == ["healthy", "rubbish", "unhealthy"]
    assert data.image_names.tolist() == ["1.png", "2.png", "3.png", "4.png"]
    assert all(Path(path).is_file() for path in data.paths)
    assert data.groups is None
    assert data.frame["label"].tolist()[2] == "bothcells"


def test_train_keeps_bothcells_on_request(tmp_path, train):
    train()
    data = load_ps3c(tmp_path, merge_bothcells=False)
    assert data.target.tolist() == ["healthy", "rubbish", "bothcells", "unhealthy"]
    assert data.target_names.tolist() == ["bothcells", "healthy", "rubbish", "unhealthy"]


def test_the_lists_may_lie_in_a_subfolder(tmp_path, train):
    train(where="pap-smear-cell-classification-challenge/")
    assert len(load_ps3c(tmp_path).paths) == 4


def test_labels_may_be_capitalised(tmp_path, train, put):
    put(f"{TRAIN}/healthy/5.png")
    train("5.png, Healthy")
    assert load_ps3c(tmp_path).target.tolist()[-1] == "healthy"


# Files beside the sound ones, rows beside the sound ones, what is reported, what is loaded more.
PROBLEMS = {
    "no label": ([], ["4.png,"], [("missing value", "line 6 (4.png)")], []),
    "nan label": (["healthy/5.png"], ["5.png,NaN"], ["missing value", "unlisted file"], []),
    "no name": ([], [",healthy"], [("missing value", "line 6")], []),
    "no file": ([], ["9.png,healthy"], [("missing file", "9.png")], []),
    "no row": (["rubbish/9.png"], [], [("unlisted file", "9.png")], []),
    "unknown label": (["healthy/5.png"], ["5.png,odd"], [("unknown label", "5.png (odd)")], []),
    "other folder": (
        ["healthy/5.png"],
        ["5.png,rubbish"],
        [("conflicting label", "healthy/5.png (listed as rubbish)")],
        [],
    ),
    "same name in two folders": (
        ["healthy/5.png", "rubbish/5.png"],
        ["5.png,rubbish"],
        [("duplicate file", "healthy/5.png")],
        ["rubbish/5.png"],
    ),
    "same row twice": ([], ["1.png,healthy"], [("duplicate row", "line 6 (1.png)")], []),
    "no image": (["healthy/readme.txt"], [], [("not an image", "healthy/readme.txt")], []),
    "empty file": (
        [("healthy/5.png", b"")],
        ["5.png,healthy"],
        [("empty file", "healthy/5.png")],
        [],
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_are_reported_by_name(tmp_path, train, put, name):
    files, rows, expected, more = PROBLEMS[name]
    for file in files:
        put(*(f"{TRAIN}/{file[0]}", file[1]) if isinstance(file, tuple) else (f"{TRAIN}/{file}",))
    train(*rows)
    with pytest.raises(InvalidDatasetError) as caught:
        load_ps3c(tmp_path)
    report = caught.value.report
    found = list(zip(report["problem"], report["item"], strict=True))
    if isinstance(expected[0], str):
        found = [problem for problem, _ in found]
    # "4.png," repeats a sound row without its label: only the bad row is lost.
    assert found == expected
    with pytest.warns(InvalidInputWarning):
        data = load_ps3c(tmp_path, on_error="warn")
    wanted = [f"{label}/{image}" for image, label in SOUND] + more
    assert [Path(p).relative_to(tmp_path / TRAIN).as_posix() for p in data.paths] == wanted
    pd.testing.assert_frame_equal(data.report, report)


def test_contradicting_rows_are_left_out(tmp_path, train):
    train("1.png,rubbish")
    with pytest.warns(InvalidInputWarning, match="conflicting rows"):
        data = load_ps3c(tmp_path, on_error="warn")
    assert "1.png" not in data.image_names


@pytest.mark.parametrize(
    ("rows", "target"),
    [
        (["image_name", "b.png", "a.png"], None),
        (["image_name,label", "b.png,", "a.png,"], None),
        (["image_name,label", "b.png,rubbish", "a.png,Healthy"], ["rubbish", "healthy"]),
    ],
)
def test_test_split_is_flat_and_in_the_order_of_the_list(tmp_path, put, rows, target):
    for name in "ab":
        put(f"{TEST}/{name}.png")
    put(f"{TEST}.csv", "\n".join(rows) + "\n")
    data = load_ps3c(tmp_path, split="test")
    assert data.image_names.tolist() == ["b.png", "a.png"]
    assert (None if data.target is None else data.target.tolist()) == target
    assert data.target_names.tolist() == ["healthy", "rubbish", "unhealthy"]


def test_what_cannot_be_loaded_at_all(tmp_path, put):
    with pytest.raises(FileNotFoundError, match=f"{TRAIN}' does not exist"):
        load_ps3c(tmp_path)
    put(f"{TRAIN}/healthy/1.png")
    with pytest.raises(InvalidDatasetError, match="neither there nor in a subfolder"):
        load_ps3c(tmp_path, on_error="warn")
    put(f"x/{TRAIN}.csv", "image_name,label\n1.png,healthy\n")
    put(f"y/{TRAIN}.csv", "image_name,label\n1.png,healthy\n")
    with pytest.raises(InvalidDatasetError, match=r"found: .*x.*y"):
        load_ps3c(tmp_path)
    put(f"{TRAIN}.csv", "image,label\n1.png,healthy\n")
    with pytest.raises(InvalidDatasetError, match="no column 'image_name'"):
        load_ps3c(tmp_path)
    put(f"{TRAIN}.csv", "image_name\n1.png\n")
    with pytest.raises(InvalidDatasetError, match="no column 'label'"):
        load_ps3c(tmp_path)
    with pytest.raises(ValueError, match="split='val' must be one of"):
        load_ps3c(tmp_path, split="val")


def test_synthetic_cells_survive_the_round_trip(tmp_path):
    weights = {"healthy": 1, "rubbish": 1, "unhealthy": 1, "bothcells": 1}
    cells = make_cell_images(12, class_proportions=weights, image_size=32, random_state=0)
    write_ps3c_folder(tmp_path, cells.images, cells.target)
    write_ps3c_folder(tmp_path, cells.images[:5], cells.target[:5], split="test")
    write_ps3c_folder(tmp_path, cells.images[:3], split="eval")
    train = load_ps3c(tmp_path, merge_bothcells=False)
    assert train.target.tolist() == cells.target.tolist()
    assert all(name.startswith("synthetic_ps3c_train_image_") for name in train.image_names)
    assert load_ps3c(tmp_path, split="test").target is None
    assert len(load_ps3c(tmp_path, split="eval").paths) == 3
    with pytest.raises(FileExistsError, match="exists already"):
        write_ps3c_folder(tmp_path, cells.images, cells.target)


# Submissions


def test_submission(tmp_path):
    names = [tmp_path / "deep" / "b.png", "a.png"]
    path = write_ps3c_submission(
        tmp_path / "new" / "s.csv", names, np.array(["Healthy", "rubbish"])
    )
    assert path.read_bytes() == b"image_name,label\nb.png,healthy\na.png,rubbish\n"
    again = write_ps3c_submission(path, ["c.png"], ["unhealthy"], expected_names=["x/c.png"])
    assert again.read_text(encoding="utf-8") == "image_name,label\nc.png,unhealthy\n"


@pytest.mark.parametrize(
    ("names", "labels", "parameters", "match"),
    [
        (["a.png"], ["healthy", "rubbish"], {}, "inconsistent numbers"),
        ([], [], {}, "no prediction"),
        (["a.png", "b.png"], ["healthy", "sick"], {}, r"found 'sick' \(1 times\)"),
        (["a.png"], ["bothcells"], {}, "Count bothcells as unhealthy"),
        (["a.png"], [np.nan], {}, "found 'nan'"),
        (["a.png"], [0], {}, "found '0'"),
        (["a.png", "x/a.png"], ["healthy", "healthy"], {}, "more than once: a.png"),
        (["a.png"], ["healthy"], {"expected_names": ["a.png", "b.png"]}, "1 missing .b.png."),
        (["a.png"], ["healthy"], {"expected_names": ["b.png"]}, r"1 missing .*1 surplus .a.png"),
        (["a.png"], [["healthy", "rubbish"]], {}, "1d array"),
    ],
)
def test_wrong_submissions_are_refused_before_anything_is_written(
    tmp_path, names, labels, parameters, match
):
    with pytest.raises(ValueError, match=match):
        write_ps3c_submission(tmp_path / "s.csv", names, labels, **parameters)
    assert not (tmp_path / "s.csv").exists()


def test_same_picture_under_two_labels(tmp_path, train, put):
    for folder, name, content in (
        ("healthy", "5.png", "one"),
        ("rubbish", "6.png", "one"),
        ("bothcells", "7.png", "two"),
        ("unhealthy", "8.png", "two"),
    ):
        put(f"{TRAIN}/{folder}/{name}", content)
    train("5.png,healthy", "6.png,rubbish", "7.png,bothcells", "8.png,unhealthy")
    with pytest.warns(
        InvalidInputWarning, match=r"5\.png \(healthy\) = rubbish/6\.png \(rubbish\)"
    ):
        data = load_ps3c(tmp_path, on_error="warn")
    assert data.image_names.tolist() == ["1.png", "2.png", "3.png", "4.png", "7.png", "8.png"]
    # Cells of both kinds are another label where they are a class of their own.
    with pytest.raises(InvalidDatasetError, match=r"7\.png \(bothcells\) = unhealthy/8\.png"):
        load_ps3c(tmp_path, merge_bothcells=False)


def test_links_between_classes_are_reported(tmp_path, train):
    train()
    (tmp_path / TRAIN / "rubbish" / "more").symlink_to("../healthy")
    with pytest.raises(
        InvalidDatasetError, match=r"link to another class .*rubbish/more -> healthy"
    ):
        load_ps3c(tmp_path)
