"""Data sets of embeddings: written part by part, taken up where they were left, never mixed."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from skcyto.exceptions import (
    DamagedFileWarning,
    InvalidImageError,
    InvalidInputWarning,
    RandomWeightsWarning,
)
from skcyto.feature_extraction import EVA02TokenEmbedder, embed_to_parquet
from skcyto.feature_extraction._parquet._parts import PartProblem, count_unreadable
from skcyto.utils._atomic import _node


def make_embedder(**params):
    settings = {"weights": None, "image_size": 28, "random_state": 0, "device": "cpu", **params}
    return EVA02TokenEmbedder("eva02_tiny_patch14_224", **settings)


@pytest.fixture(autouse=True)
def _random_weights():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        yield


@pytest.fixture
def embedder(image_paths):
    return make_embedder().fit(image_paths)


def read(directory):
    return pd.read_parquet(directory)


def features_of(frame):
    return frame.drop(columns=["path", "error"]).to_numpy()


def parts_of(directory):
    return sorted(p.name for p in directory.glob("part-*.parquet"))


def test_rows_are_those_of_transform(embedder, image_paths, tmp_path):
    info = embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=5)
    frame = read(info.path)
    assert info == (tmp_path / "tiles", 12, 3, 3, 0)
    assert frame["path"].tolist() == image_paths
    assert frame.columns[1:-1].tolist() == embedder.get_feature_names_out().tolist()
    assert frame["error"].isna().all()
    assert features_of(frame).dtype == np.float32
    np.testing.assert_allclose(features_of(frame), embedder.transform(image_paths), atol=1e-5)
    assert (tmp_path / "tiles" / "_SUCCESS").exists()


def test_every_reader_gives_the_same(embedder, image_paths, tmp_path):
    folder = embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=5).path
    expected = read(folder)
    dask_frame = pytest.importorskip("dask.dataframe", reason="extra dask")
    found = {
        "pyarrow": pq.read_table(folder).to_pandas(),
        "polars": pl.read_parquet(folder / "*.parquet").to_pandas(),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dask's own: pandas is about to drop what it uses
        found["dask"] = dask_frame.read_parquet(folder).compute(scheduler="sync")
    for name, frame in found.items():
        assert frame["path"].tolist() == image_paths, name
        np.testing.assert_array_equal(features_of(frame), features_of(expected), err_msg=name)


@pytest.mark.parametrize(
    "make",
    [
        tuple,
        np.array,
        pd.Series,
        lambda paths: pd.Series(paths, index=range(len(paths))[::-1]),
        lambda paths: pd.Series(paths, dtype="string[pyarrow]"),
        lambda paths: pd.DataFrame({"image": paths}),
        pl.Series,
        lambda paths: pl.DataFrame({"image": paths}),
    ],
)
def test_paths_in_every_form(embedder, image_paths, tmp_path, make):
    embed_to_parquet(embedder, make(image_paths), tmp_path / "tiles", part_size=5)
    assert read(tmp_path / "tiles")["path"].tolist() == image_paths
    # However they are held, they are the same paths.
    assert embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=5).n_new_parts == 0


@pytest.mark.parametrize(
    ("paths", "error", "message"),
    [
        ("image.png", TypeError, "give a list"),
        ((p for p in ["a.png"]), TypeError, "give a list"),
        ([], ValueError, "no image"),
        (["a.png", None], TypeError, "row 1"),
        (["a.png", float("nan")], TypeError, "row 1"),
        ([b"a.png"], TypeError, "row 0"),
        (np.array([["a.png", "b.png"]]), ValueError, "1 dimension"),
        (pd.DataFrame({"a": ["a.png"], "b": [1]}), ValueError, "2 columns"),
    ],
)
def test_what_is_no_list_of_paths(embedder, tmp_path, paths, error, message):
    with pytest.raises(error, match=message):
        embed_to_parquet(embedder, paths, tmp_path / "tiles")
    assert not (tmp_path / "tiles").exists()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [({"part_size": 0}, "part_size"), ({"part_size": 2.5}, "part_size"), ({"verbose": -1}, "verb")],
)
def test_parameters_out_of_range(embedder, image_paths, tmp_path, kwargs, message):
    with pytest.raises(ValueError, match=message):
        embed_to_parquet(embedder, image_paths, tmp_path / "tiles", **kwargs)


def test_an_interrupted_call_goes_on(embedder, image_paths, tmp_path, monkeypatch):
    whole = embed_to_parquet(embedder, image_paths, tmp_path / "whole", part_size=3)
    seen = []
    transform = EVA02TokenEmbedder.transform

    def stop_at_the_third(self, X):
        seen.append(list(X))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return transform(self, X)

    monkeypatch.setattr(EVA02TokenEmbedder, "transform", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=3)
    assert parts_of(tmp_path / "tiles") == ["part-00000000.parquet", "part-00000001.parquet"]
    assert not (tmp_path / "tiles" / "_SUCCESS").exists()
    info = embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=3)
    assert info.n_new_parts == 2
    assert [batch[0] for batch in seen] == [image_paths[i] for i in (0, 3, 6, 6, 9)]
    for name in parts_of(whole.path):
        assert (whole.path / name).read_bytes() == (info.path / name).read_bytes()


def test_what_is_left_of_a_killed_process_is_removed(embedder, image_paths, tmp_path):
    embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=6)
    (tmp_path / "tiles" / "part-00000001.parquet").unlink()
    left = f".part-00000001.parquet.{_node()}.99999999.0123.part"
    half = tmp_path / "tiles" / left
    half.write_bytes(b"PAR1half")
    assert len(read(tmp_path / "tiles")) == 6  # readers take no notice of it
    embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=6)
    assert not half.exists()
    assert read(tmp_path / "tiles")["path"].tolist() == image_paths


@pytest.mark.parametrize("open_part", ["missing", "damaged", "rows of NaN"])
@pytest.mark.filterwarnings(
    "ignore::skcyto.exceptions.InvalidInputWarning",
    "ignore::skcyto.exceptions.DamagedFileWarning",
)
def test_success_is_taken_back_while_parts_are_open(embedder, image_paths, tmp_path, open_part):
    """A reader that waits for _SUCCESS must not read a data set with holes."""
    folder = tmp_path / "tiles"
    part = folder / "part-00000001.parquet"
    content = Path(image_paths[7]).read_bytes()
    if open_part == "rows of NaN":
        Path(image_paths[7]).write_bytes(b"no image")
        embed_to_parquet(make_embedder(on_error="nan"), image_paths, folder, part_size=6)
    else:
        embed_to_parquet(embedder, image_paths, folder, part_size=6)
        Path(image_paths[7]).write_bytes(b"no image")
        part.unlink() if open_part == "missing" else part.write_bytes(b"")
    assert (folder / "_SUCCESS").exists()
    with pytest.raises(InvalidImageError, match="row 7"):
        embed_to_parquet(embedder, image_paths, folder, part_size=6)
    assert not (folder / "_SUCCESS").exists()
    Path(image_paths[7]).write_bytes(content)
    assert embed_to_parquet(embedder, image_paths, folder, part_size=6).n_new_parts == 1
    assert (folder / "_SUCCESS").exists()


def test_every_flipped_byte_of_a_part_is_found(embedder, image_paths, tmp_path):
    folder = embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=12).path
    part = folder / "part-00000000.parquet"
    facts = pq.read_metadata(part).metadata[b"skcyto.fingerprint"].decode()
    whole = part.read_bytes()
    assert count_unreadable(part, 12, facts) == 0
    for place in [*range(0, len(whole), 97), *range(len(whole) - 200, len(whole))]:
        part.write_bytes(whole[:place] + bytes([whole[place] ^ 8]) + whole[place + 1 :])
        with pytest.raises(PartProblem):
            count_unreadable(part, 12, facts)


def test_parts_that_changed_places_are_found(embedder, image_paths, tmp_path):
    folder = embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=6).path
    first, second = (folder / f"part-0000000{i}.parquet" for i in range(2))
    before = first.read_bytes(), second.read_bytes()
    first.write_bytes(before[1])
    second.write_bytes(before[0])
    with pytest.warns(DamagedFileWarning, match="2 parts"):
        embed_to_parquet(embedder, image_paths, folder, part_size=6)
    assert (first.read_bytes(), second.read_bytes()) == before


@pytest.mark.parametrize("content", [b"", b"{}", b"no json", "flipped"])
def test_a_damaged_manifest_is_set_aside(embedder, image_paths, tmp_path, content):
    folder = embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=6).path
    manifest = folder / "_manifest.json"
    sound = manifest.read_bytes()
    content = sound.replace(b"28", b"29", 1) if content == "flipped" else content
    manifest.write_bytes(content)
    with pytest.warns(DamagedFileWarning, match="_manifest.json is damaged .* set aside"):
        assert embed_to_parquet(embedder, image_paths, folder, part_size=6).n_new_parts == 0
    assert manifest.read_bytes() == sound
    # Parts tell whether they belong to another call than this one, too.
    manifest.write_bytes(content)
    with (
        pytest.warns(DamagedFileWarning),
        pytest.raises(ValueError, match=r"part-00000000\.parquet is of another data set"),
    ):
        embed_to_parquet(make_embedder(tokens="class"), image_paths, folder, part_size=6)
    assert len(list(folder.glob("part-*.parquet"))) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_damaged_part_is_made_again(embedder, image_paths, tmp_path, damage):
    folder = embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=6).path
    other = embed_to_parquet(embedder, image_paths[::-1], tmp_path / "other", part_size=6).path
    part = folder / "part-00000001.parquet"
    before = part.read_bytes()
    content = {
        "cut": before[:-20],
        "empty": b"",
        "other": (other / "part-00000001.parquet").read_bytes(),
    }
    part.write_bytes(content[damage])
    with pytest.warns(DamagedFileWarning, match="part-00000001.parquet"):
        info = embed_to_parquet(embedder, image_paths, folder, part_size=6)
    assert info.n_new_parts == 1
    assert part.read_bytes() == before
    (aside,) = folder.glob("_part-00000001.parquet.damaged-*")
    assert aside.read_bytes() == content[damage]
    assert len(read(folder)) == 12  # readers take no notice of what was set aside


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embedder": {"tokens": "class"}}, "embedder.tokens: then .'all'., now .'class'."),
        ({"embedder": {"final_norm": False}}, "embedder.final_norm: then True, now False"),
        ({"embedder": {"image_size": 42}}, "embedder.image_size: then 28, now 42"),
        ({"embedder": {"random_state": 1}}, "embedder.weights: then .*, now "),
        ({"embedder": {"precision": "bfloat16"}}, "precision: then 'float32', now 'bfloat16'"),
        ({"part_size": 4}, "part_size: then 3, now 4"),
        ({"paths": slice(0, 9)}, "n_images: then 12, now 9"),
        ({"paths": slice(None, None, -1)}, "paths: then "),
    ],
)
def test_nothing_else_is_mixed_in(image_paths, tmp_path, change, message):
    embed_to_parquet(make_embedder(), image_paths, tmp_path / "tiles", part_size=3)
    files = {p: p.read_bytes() for p in (tmp_path / "tiles").iterdir()}
    with pytest.raises(ValueError, match=message):
        embed_to_parquet(
            make_embedder(**change.get("embedder", {})),
            image_paths[change.get("paths", slice(None))],
            tmp_path / "tiles",
            part_size=change.get("part_size", 3),
        )
    assert {p: p.read_bytes() for p in (tmp_path / "tiles").iterdir()} == files


def test_what_makes_no_difference_is_no_obstacle(image_paths, tmp_path):
    embed_to_parquet(make_embedder(), image_paths, tmp_path / "tiles", part_size=3)
    (tmp_path / "tiles" / "part-00000002.parquet").unlink()
    changed = make_embedder(batch_size=2, n_jobs=1, cache=tmp_path / "cache", on_error="nan")
    assert embed_to_parquet(changed, image_paths, tmp_path / "tiles", part_size=3).n_new_parts == 1


def test_a_folder_of_other_things_is_refused(embedder, image_paths, tmp_path):
    with pytest.raises(FileExistsError, match=r"cell00\.png"):
        embed_to_parquet(embedder, image_paths, tmp_path / "images")


def test_an_unreadable_image_stops_and_the_rest_goes_on_later(embedder, image_paths, tmp_path):
    damaged = Path(image_paths[7])
    good = damaged.read_bytes()
    damaged.write_bytes(good[:-40])
    with pytest.raises(InvalidImageError, match=r"1 of 12 .*\n.*cell07\.png \(row 7\): .*truncat"):
        embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=3)
    assert parts_of(tmp_path / "tiles") == ["part-00000000.parquet", "part-00000001.parquet"]
    damaged.write_bytes(good)
    info = embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=3)
    assert (info.n_new_parts, info.n_unreadable) == (2, 0)


def test_missing_files_are_found_before_anything_is_embedded(embedder, image_paths, tmp_path):
    paths = [*image_paths, str(tmp_path / "nowhere.png"), str(tmp_path / "neither.png")]
    with pytest.raises(InvalidImageError, match=r"2 of 14 .*\n.*nowhere\.png \(row 12\): no such"):
        embed_to_parquet(embedder, paths, tmp_path / "tiles", part_size=3)
    assert parts_of(tmp_path / "tiles") == []


def test_one_unreadable_image_in_many(tmp_path, image_paths):
    """A thousand rows, one of them bad: one row of NaN, with the reason beside it."""
    paths = image_paths * 84
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not an image")
    paths[777] = str(bad)
    embedder = make_embedder(on_error="nan")
    with pytest.warns(InvalidInputWarning, match=r"1 of 1008 .*\n.*bad\.png \(row 777\): not an"):
        info = embed_to_parquet(embedder, paths, tmp_path / "tiles", part_size=250)
    assert (info.n_parts, info.n_unreadable) == (5, 1)
    frame = read(info.path)
    assert frame["path"].tolist() == paths
    assert np.flatnonzero(frame["error"].notna()).tolist() == [777]
    assert np.flatnonzero(np.isnan(features_of(frame)).any(axis=1)).tolist() == [777]
    assert frame["error"][777] == "not an image that Pillow can read"
    # It is counted again where its part was done before, and warned of no more.
    assert embed_to_parquet(embedder, paths, tmp_path / "tiles", part_size=250) == (
        info.path,
        1008,
        5,
        0,
        1,
    )


def test_mended_images_are_embedded_by_a_strict_call(image_paths, tmp_path):
    damaged = Path(image_paths[7])
    good = damaged.read_bytes()
    damaged.write_bytes(b"")
    folder = tmp_path / "tiles"
    with pytest.warns(InvalidInputWarning, match="the file is empty"):
        embed_to_parquet(make_embedder(on_error="nan"), image_paths, folder, part_size=3)
    with pytest.raises(InvalidImageError, match=r"cell07\.png \(row 7\): the file is empty"):
        embed_to_parquet(make_embedder(), image_paths, folder, part_size=3)
    damaged.write_bytes(good)
    info = embed_to_parquet(make_embedder(), image_paths, folder, part_size=3)
    assert (info.n_new_parts, info.n_unreadable) == (1, 0)
    assert not np.isnan(features_of(read(folder))).any()


def make_tuned(**params):
    """An embedder whose network is fine-tuned, as little as can be."""
    from skcyto.neural_network import EVA02Classifier

    classifier = EVA02Classifier(
        "eva02_tiny_patch14_224",
        weights=None,
        image_size=28,
        max_epochs=1,
        validation_fraction=None,
        device="cpu",
        random_state=0,
        **params,
    )
    return EVA02TokenEmbedder(device="cpu", finetune=classifier)


def test_an_embedder_that_must_be_tuned_first(image_paths, tmp_path):
    with pytest.raises(NotFittedError, match="fine-tuned"):
        embed_to_parquet(make_tuned(), image_paths, tmp_path / "tiles")


def test_fine_tuned_networks_are_not_mixed(image_paths, tmp_path):
    y = ["a", "b"] * 6
    tuned = make_tuned().fit(image_paths, y)
    embed_to_parquet(tuned, image_paths, tmp_path / "tiles", part_size=5)
    features = features_of(read(tmp_path / "tiles"))
    np.testing.assert_allclose(features, tuned.transform(image_paths), atol=1e-5)
    other = make_tuned(learning_rate=1e-3).fit(image_paths, y)
    with pytest.raises(ValueError, match=r"embedder\.weights: then 'fine-tuned"):
        embed_to_parquet(other, image_paths, tmp_path / "tiles", part_size=5)


def test_the_embedder_is_left_as_it_was(image_paths, tmp_path):
    embedder = make_embedder()
    embed_to_parquet(embedder, image_paths, tmp_path / "a")
    assert not hasattr(embedder, "embedding_dim_")
    embedder.fit(image_paths).transform(image_paths[:2])
    embed_to_parquet(embedder, image_paths, tmp_path / "b")
    assert (embedder.n_forward_images_, embedder.on_error) == (2, "raise")


def test_another_precision_than_that_of_the_data_set(image_paths, tmp_path, monkeypatch):
    """A GPU of another kind, on another day or on another worker, shall not mix its features in."""
    import torch

    from skcyto.feature_extraction._parquet import _manifest as _parquet_manifest

    embed_to_parquet(make_embedder(), image_paths, tmp_path / "tiles", part_size=3)
    monkeypatch.setattr(_parquet_manifest, "resolve_precision", lambda *_: torch.bfloat16)
    with pytest.raises(ValueError, match="precision: then 'float32', now 'bfloat16'"):
        embed_to_parquet(make_embedder(), image_paths, tmp_path / "tiles", part_size=3)


def test_the_manifest_says_what_the_features_are(embedder, image_paths, tmp_path):
    embed_to_parquet(embedder, image_paths, tmp_path / "tiles", part_size=3)
    manifest = json.loads((tmp_path / "tiles" / "_manifest.json").read_text(encoding="utf-8"))
    assert manifest["embedder.model_name"] == "eva02_tiny_patch14_224"
    assert manifest["embedder.preprocessing"]["interpolation"] == "bicubic"
    assert (manifest["n_images"], manifest["part_size"]) == (12, 3)


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(st.integers(0, 11), min_size=1, max_size=30),
    part_size=st.integers(1, 31),
    lost=st.sets(st.integers(0, 30)),
)
def test_every_row_once_and_in_order(
    embedder, image_paths, tmp_path_factory, rows, part_size, lost
):
    """Whatever the size of the parts, and whichever of them are lost in between."""
    folder = tmp_path_factory.mktemp("tiles")
    paths = [image_paths[row] for row in rows]
    info = embed_to_parquet(embedder, paths, folder, part_size=part_size)
    assert info.n_new_parts == info.n_parts == -(-len(rows) // part_size)
    gone = [folder / f"part-{index:08d}.parquet" for index in lost if index < info.n_parts]
    for part in gone:
        part.unlink()
    assert embed_to_parquet(embedder, paths, folder, part_size=part_size).n_new_parts == len(gone)
    frame = read(folder)
    assert frame["path"].tolist() == paths
    np.testing.assert_allclose(features_of(frame), embedder.transform(paths), atol=1e-5)


def test_a_name_that_is_not_utf8_is_written_with_its_bytes(image_paths, tmp_path):
    odd = os.fsencode(tmp_path) + b"/zelle_\xfc.png"
    try:
        with open(odd, "wb") as file:
            file.write(Path(image_paths[0]).read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    folder = tmp_path / "tiles"
    info = embed_to_parquet(make_embedder(), [image_paths[0], os.fsdecode(odd)], folder)
    assert info.n_unreadable == 0
    paths = pd.read_parquet(folder)["path"].tolist()
    assert paths == [image_paths[0], f"{tmp_path}/zelle_\\xfc.png"]
