import codecs
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skcyto.datasets import load_image_folder
from skcyto.exceptions import InvalidDatasetError, InvalidInputWarning


def relative(data, root):
    return [Path(path).relative_to(root).as_posix() for path in data.paths]


def test_subfolders_are_classes(tmp_path, put):
    for name in ("b/2.png", "b/1.JPG", "a/slide1/x.png", "a/slide2/deep/y.bmp"):
        put(name)
    data = load_image_folder(tmp_path)
    assert relative(data, tmp_path) == [
        "a/slide1/x.png",
        "a/slide2/deep/y.bmp",
        "b/1.JPG",
        "b/2.png",
    ]
    assert data.target.tolist() == ["a", "a", "b", "b"]
    assert data.target_names.tolist() == ["a", "b"]
    assert data.groups is None
    assert data.data is data.paths
    assert data.report.empty
    assert list(data.report.columns) == ["problem", "item", "detail"]
    assert data.frame["file"].tolist() == relative(data, tmp_path)
    assert "4 images of 2 classes" in data.DESCR


def test_system_files_are_no_problem(tmp_path, put):
    put("a/1.png")
    for name in ("a/.DS_Store", "a/Thumbs.db", "__MACOSX/a/1.png", ".git/x.png", "notes.txt"):
        put(name)
    assert len(load_image_folder(tmp_path).paths) == 1


def test_group_pattern_reads_slides_from_names(tmp_path, put):
    for name in ("a/s1/1.png", "a/s2/1.png", "b/s1/7.png"):
        put(name)
    data = load_image_folder(tmp_path, group_pattern=r"^(s\d)/")
    assert data.groups.tolist() == ["s1", "s2", "s1"]
    assert data.frame["group"].tolist() == ["s1", "s2", "s1"]


def test_linked_folders_are_followed_once(tmp_path, put):
    put("real/1.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    assert relative(load_image_folder(tmp_path / "root"), tmp_path / "root") == ["a/1.png"]


INDEX = "file,label,slide,age\nx/1.png,b,007,31\n./y\\2.png, a ,007,\ny/3.png,b,12,40\n"


@pytest.fixture
def listed(put):
    for name in ("x/1.png", "y/2.png", "y/3.png"):
        put(name)
    return put("index.csv", INDEX)


def test_index_gives_labels_groups_and_its_other_columns(tmp_path, listed):
    data = load_image_folder(tmp_path, index="index.csv", group_column="slide")
    assert relative(data, tmp_path) == ["x/1.png", "y/2.png", "y/3.png"]
    assert data.target.tolist() == ["b", "a", "b"]
    assert data.groups.tolist() == ["007", "007", "12"], "leading zeros are part of a name"
    assert data.frame["age"].isna().tolist() == [False, True, False], "other columns may be empty"


def test_index_elsewhere_and_with_a_byte_order_mark(tmp_path, listed):
    elsewhere = tmp_path.parent / f"{tmp_path.name}.csv"
    elsewhere.write_bytes(codecs.BOM_UTF8 + INDEX.replace("\n", "\r\n").encode() + b"\r\n")
    data = load_image_folder(tmp_path, index=elsewhere)
    assert data.target.tolist() == ["b", "a", "b"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "0", "1"], np.array([1, 0, 1])),
        (["10", "9", "-1"], np.array([10, 9, -1])),
        (["01", "0", "1"], np.array(["01", "0", "1"])),
        (["1.5", "0", "1"], np.array(["1.5", "0", "1"])),
        (["None", "null", "x"], np.array(["None", "null", "x"])),
        (["True", "False", "True"], np.array(["True", "False", "True"])),
    ],
)
def test_labels_are_integers_only_where_all_are(tmp_path, put, values, expected):
    rows = [f"{i}.png,{value}" for i, value in enumerate(values)]
    for i in range(3):
        put(f"{i}.png")
    put("index.csv", "\n".join(["file,label", *rows]))
    data = load_image_folder(tmp_path, index="index.csv")
    assert data.target.dtype.kind == expected.dtype.kind
    assert data.target.tolist() == expected.tolist()


# What is put into the folder beside two sound images a/1.png and b/1.png; what is reported.
FOLDER_PROBLEMS = {
    "a file that is no image": (["a/notes.txt"], [("not an image", "a/notes.txt")]),
    "an image in no class": (["stray.png"], [("no class folder", "stray.png")]),
    "an empty class": (
        ["c/notes.md"],
        [("not an image", "c/notes.md"), ("empty class folder", "c")],
    ),
    "an empty file": ([("a/0.png", b"")], [("empty file", "a/0.png")]),
    "several": (
        ["stray.png", ("b/0.bmp", b""), "b/x.doc"],
        [("no class folder", "stray.png"), ("not an image", "b/x.doc"), ("empty file", "b/0.bmp")],
    ),
}


@pytest.mark.parametrize("name", FOLDER_PROBLEMS)
def test_problems_of_folders(tmp_path, put, name):
    extra, expected = FOLDER_PROBLEMS[name]
    put("a/1.png")
    put("b/1.png")
    for item in extra:
        put(*item) if isinstance(item, tuple) else put(item)
    check_problems(expected, ["a/1.png", "b/1.png"], tmp_path)


# The list beside three sound rows and images; what is reported.
ROWS = ["a/1.png,x,g", "a/2.png,y,g", "b/3.png,x,h"]
INDEX_PROBLEMS = {
    "no file": (["a/9.png,x,g"], [("missing file", "a/9.png")]),
    "no row": ([], [("unlisted file", "b/9.png")]),
    "no label": (
        ["b/9.png,,g"],
        [("missing value", "line 5 (b/9.png)"), ("unlisted file", "b/9.png")],
    ),
    "nan label": (
        ["b/9.png,nan,g"],
        [("missing value", "line 5 (b/9.png)"), ("unlisted file", "b/9.png")],
    ),
    "no group": (
        ["b/9.png,x, "],
        [("missing value", "line 5 (b/9.png)"), ("unlisted file", "b/9.png")],
    ),
    "no name": ([",x,g"], [("missing value", "line 5")]),
    "twice the same": (["a/1.png,x,g"], [("duplicate row", "line 5 (a/1.png)")]),
    "other case": (["b/9.PNG,x,g"], [("missing file", "b/9.PNG"), ("unlisted file", "b/9.png")]),
}


@pytest.mark.parametrize("name", INDEX_PROBLEMS)
def test_problems_of_lists(tmp_path, put, name):
    rows, expected = INDEX_PROBLEMS[name]
    for image in ("a/1.png", "a/2.png", "b/3.png"):
        put(image)
    if "b/9.png" in str(expected):
        put("b/9.png")
    put("index.csv", "\n".join(["file,label,group", *ROWS, *rows]) + "\n")
    check_problems(
        expected,
        ["a/1.png", "a/2.png", "b/3.png"],
        tmp_path,
        index="index.csv",
        group_column="group",
    )


def test_rows_that_contradict_each_other_are_all_left_out(tmp_path, put):
    for image in ("a/1.png", "a/2.png", "b/3.png"):
        put(image)
    put("index.csv", "\n".join(["file,label,group", *ROWS, "a/1.png,y,g"]))
    expected = [("conflicting rows", "a/1.png"), ("unlisted file", "a/1.png")]
    check_problems(expected, ["a/2.png", "b/3.png"], tmp_path, index="index.csv")


def test_a_listed_file_may_have_any_extension_and_must_hold_something(tmp_path, put):
    put("1.scan")
    put("2.scan", b"")
    put("index.csv", "file,label\n1.scan,a\n2.scan,b\n")
    check_problems([("empty file", "2.scan")], ["1.scan"], tmp_path, index="index.csv")


def test_a_name_without_group_is_a_problem(tmp_path, put):
    put("a/s1_1.png")
    put("a/odd.png")
    for pattern in (r"^(s\d)_", r"^(s\d)?", r"^((s\d)?)"):
        check_problems([("no group", "a/odd.png")], ["a/s1_1.png"], tmp_path, group_pattern=pattern)


def check_problems(expected, sound, root, **parameters):
    """By default an error names everything; on request a warning does and the rest is loaded."""
    with pytest.raises(InvalidDatasetError) as caught:
        load_image_folder(root, **parameters)
    report = caught.value.report
    assert list(zip(report["problem"], report["item"], strict=True)) == expected
    for problem, item in expected:
        assert problem in str(caught.value)
        assert item in str(caught.value)
    assert "on_error='warn'" in str(caught.value)
    with pytest.warns(InvalidInputWarning, match=f"{len(sound)} sound samples") as warned:
        data = load_image_folder(root, **parameters, on_error="warn")
    assert len(warned) == 1
    assert warned[0].filename == __file__, "the warning points at the caller"
    pd.testing.assert_frame_equal(data.report, report)
    assert relative(data, root) == sound
    assert len(data.target) == len(data.frame) == len(sound)


@settings(max_examples=60, deadline=None)
@given(
    files=st.sets(st.sampled_from([f"{c}/{i}.png" for c in "ab" for i in range(4)])),
    rows=st.lists(
        st.tuples(
            st.sampled_from(["", *(f"{c}/{i}.png" for c in "ab" for i in range(4))]),
            st.sampled_from(["x", "y", ""]),
        ),
        max_size=10,
    ),
)
def test_every_file_and_every_row_is_loaded_or_reported(tmp_path_factory, files, rows):
    root = tmp_path_factory.mktemp("folder")
    for name in files:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(name)
    (root / "index.csv").write_text("\n".join(["file,label", *map(",".join, rows)]) + "\n")
    try:
        data = load_image_folder(root, index="index.csv")
        loaded, report = relative(data, root), data.report
    except InvalidDatasetError as error:
        report, loaded = error.report, []
        if "nothing to load" not in str(error):
            with pytest.warns(InvalidInputWarning):
                loaded = relative(load_image_folder(root, index="index.csv", on_error="warn"), root)
    assert len(set(loaded)) == len(loaded)
    told = "\n".join(report["item"])
    for name in files:
        assert name in loaded or name in told
    for line, (name, _) in enumerate(rows, start=2):
        # A blank last line ends the file; it is no row.
        blank_end = all(row == ("", "") for row in rows[line - 2 :])
        assert name in loaded or (name and name in told) or f"line {line}" in told or blank_end
    clean = sorted(loaded) == sorted(files) and len(loaded) == len(rows)
    assert report.empty or not clean


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "could not be read"),
        ("file;label\na/1.png;x\n", r"no column 'file'; its first line names \['file;label'\]"),
        ("name,label\na/1.png,x\n", r"no column 'file'; its first line names \['name', 'label'\]"),
        ("file,label\na/1.png,x\nb,c,d,e\n", "could not be read.*line 3"),
        ("file,label\na/1.png,größe\n".encode("latin-1"), "could not be read.*utf-8"),
        ("file,label\n", "nothing to load"),
        ("file,label\n,\n,\n", "nothing to load"),
    ],
)
def test_lists_that_cannot_be_read(tmp_path, put, content, match):
    put("a/1.png")
    put("index.csv", content)
    for on_error in ("raise", "warn"):
        with pytest.raises(InvalidDatasetError, match=match):
            load_image_folder(tmp_path, index="index.csv", on_error=on_error)


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"root": "nowhere"}, FileNotFoundError, r"does not exist; .* holds \['a'"),
        ({"root": "a/1.png"}, NotADirectoryError, "is a file"),
        ({"root": "a"}, InvalidDatasetError, "nothing to load"),
        ({"index": "no.csv"}, InvalidDatasetError, "no.csv' does not exist"),
        ({"on_error": "ignore"}, ValueError, "on_error='ignore' must be"),
        ({"group_column": "g"}, ValueError, "pass index as well"),
        ({"group_column": "g", "group_pattern": "(a)", "index": "i"}, ValueError, "not both"),
        ({"group_pattern": "a("}, ValueError, "no regular expression"),
        ({"group_pattern": "a"}, ValueError, "parenthesis"),
        ({"extensions": ["png"]}, ValueError, "begins with a dot"),
        ({"extensions": ".png"}, ValueError, "sequence"),
        ({"extensions": []}, ValueError, "sequence"),
    ],
)
def test_wrong_parameters(tmp_path, put, parameters, error, match):
    put("a/1.png")
    root = tmp_path / parameters.pop("root", ".")
    with pytest.raises(error, match=match):
        load_image_folder(root, **parameters)


def test_long_lists_are_shortened_in_the_message_but_not_in_the_report(tmp_path, put):
    put("a/1.png")
    for i in range(50):
        put(f"a/{i:02d}.txt")
    with pytest.raises(InvalidDatasetError, match=r"not an image \(50; .*and 30 more") as caught:
        load_image_folder(tmp_path)
    assert len(caught.value.report) == 50


def test_herlev(shared_data):
    root = shared_data / "cytology" / "herlev"
    data = load_image_folder(root, index="index.csv", group_column="group")
    assert len(data.paths) == 593
    assert len(data.target_names) == 7
    assert len(np.unique(data.groups)) == 210
    assert (data.groups == "unknown").sum() == 86
    binary = load_image_folder(root, index="index.csv", target_column="abnormal")
    assert np.bincount(binary.target).tolist() == [156, 437]
    by_folder = load_image_folder(root / "images")
    assert sorted(by_folder.paths) == sorted(data.paths)
    assert dict(zip(by_folder.paths, by_folder.target, strict=True)) == dict(
        zip(data.paths, data.target, strict=True)
    )


def test_bccd(shared_data):
    root = shared_data / "cytology" / "bccd_crops64"
    data = load_image_folder(root, index="index.csv", group_column="group")
    assert {name: int((data.target == name).sum()) for name in data.target_names} == {
        "Platelets": 361,
        "RBC": 1499,
        "WBC": 372,
    }
    assert len(np.unique(data.groups)) == 363


def test_links_between_classes_and_to_themselves(tmp_path, put):
    for name in ("b/0.png", "b/slide7/1.png", "a/9.png"):
        put(name)
    (tmp_path / "a" / "link").symlink_to("../b/slide7")
    (tmp_path / "b" / "loop.png").symlink_to("loop.png")
    with pytest.raises(InvalidDatasetError, match=r"link to another class .*a/link -> b/slide7"):
        load_image_folder(tmp_path)
    with pytest.warns(InvalidInputWarning):
        data = load_image_folder(tmp_path, on_error="warn")
    assert relative(data, tmp_path) == ["a/9.png", "b/0.png", "b/slide7/1.png"]
    assert data.target.tolist() == ["a", "b", "b"]
    assert set(data.report["item"]) == {"a/link -> b/slide7", "b/loop.png"}


def test_same_picture_under_two_labels(tmp_path, put):
    for name, content in (("a/1.png", "x"), ("b/2.png", "x"), ("b/3.png", "x"), ("b/4.png", "y")):
        put(name, content)
    with pytest.warns(InvalidInputWarning, match=r"a/1\.png \(a\) = b/2\.png \(b\)"):
        data = load_image_folder(tmp_path, on_error="warn")
    assert relative(data, tmp_path) == ["b/4.png"]
    assert len(data.report) == 3
    put("index.csv", "file,label\nb/2.png,x\nb/3.png,x\nb/4.png,y\n")
    (tmp_path / "a" / "1.png").unlink()
    assert load_image_folder(tmp_path, index="index.csv").target.tolist() == ["x", "x", "y"]


def test_parts_of_a_split_are_no_classes(tmp_path, put):
    for name in ("train/a/1.png", "train/b/2.png", "test/a/3.png"):
        put(name)
    with pytest.raises(InvalidDatasetError, match="test, train are the parts of a split"):
        load_image_folder(tmp_path)
    assert load_image_folder(tmp_path / "train").target.tolist() == ["a", "b"]


def test_absolute_paths_and_other_unicode_forms_in_an_index(tmp_path, put):
    inside, decomposed = put("data/x/1.png"), put("data/u\u0308.png")
    outside = put("elsewhere/2.png")
    root = tmp_path / "data"
    rows = ["file,label", f"{inside},a", f"{outside},b", "\u00fc.png,c"]
    put("data/index.csv", "\n".join(rows))
    data = load_image_folder(root, index="index.csv")
    assert data.paths.tolist() == [str(inside), str(outside), str(decomposed)]
    assert data.target.tolist() == ["a", "b", "c"]
