"""python -m skcyto predict: one row an input, bad ones named, and nothing lost in a kill."""

import io
import os
import pickle
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import warnings
import zlib
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline

import skcyto
from skcyto.command_line import main
from skcyto.command_line._inputs import CommandError
from skcyto.command_line._journal import Journal
from skcyto.command_line._model import SavedModel
from skcyto.exceptions import DamagedFileWarning, InvalidInputWarning
from skcyto.feature_extraction import RadiomicsExtractor
from skcyto.model_selection import TunedLogitBiasClassifierCV
from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.utils._atomic import _node

CLASSES = ["healthy", "rubbish", "unhealthy"]
PROBABILITIES = [f"probability_{name}" for name in CLASSES]


@pytest.fixture(scope="module")
def folder(cells, tmp_path_factory):
    """The cells as files in two folders."""
    folder = tmp_path_factory.mktemp("cells")
    for i, image in enumerate(cells.images):
        slide = folder / f"slide{i % 2}"
        slide.mkdir(exist_ok=True)
        Image.fromarray(image).save(slide / f"cell{i:02}.png")
    return folder


def run(*words):
    return main(["predict", *map(str, words), "--quiet"])


def spoil(folder):
    """Add a text, half an image, an empty file and a folder by an image's name."""
    good = (folder / "slide0" / "cell00.png").read_bytes()
    (folder / "text.png").write_text("no image")
    (folder / "half.png").write_bytes(good[: len(good) // 2])
    (folder / "empty.png").touch()
    return [str(folder / name) for name in ("text.png", "half.png", "empty.png")]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_table(saved, cells, folder, tmp_path, suffix, capsys):
    output = tmp_path / f"table{suffix}"
    assert run(saved.path, folder / "slide0", folder / "slide1", "-o", output) == 0
    table = pd.read_csv(output) if suffix == ".csv" else pd.read_parquet(output)
    assert table.columns.tolist() == [
        "input",
        "prediction",
        *PROBABILITIES,
        "error",
        "note",
        "model",
    ]
    order = [*range(0, 60, 2), *range(1, 60, 2)]
    assert table["input"].tolist() == [
        str(folder / f"slide{i % 2}" / f"cell{i:02}.png") for i in order
    ]
    np.testing.assert_allclose(table[PROBABILITIES], saved.probabilities[order], atol=1e-6)
    assert table["prediction"].tolist() == [
        CLASSES[i] for i in saved.probabilities[order].argmax(axis=1)
    ]
    assert table["error"].isna().all()
    assert sorted(tmp_path.iterdir()) == [tmp_path / f".table{suffix}.sha256", output]
    assert "60 rows, 0 of them with an error" in capsys.readouterr().err


def test_bad_inputs_have_rows_with_reasons(saved, folder, tmp_path, capsys):
    bad = spoil(shutil.copytree(folder, tmp_path / "x"))
    output = tmp_path / "table.csv"
    missing = str(tmp_path / "x" / "nowhere.png")
    assert run(saved.path, tmp_path / "x", missing, "-o", output) == 1
    table = pd.read_csv(output, index_col="input")
    assert len(table) == 64
    wrong = table[table["error"].notna()]
    assert sorted(wrong.index) == sorted([*bad, missing])
    assert wrong[["prediction", *PROBABILITIES]].isna().all(axis=None)
    assert wrong.loc[missing, "error"] == "no such file"
    assert "\n" not in "".join(wrong["error"])
    assert table.drop(wrong.index).notna().drop(columns=["error", "note"]).all(axis=None)
    assert f"{missing}: no such file" in capsys.readouterr().err


def test_only_bad_inputs_is_a_failure(saved, tmp_path):
    assert run(saved.path, tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "t.csv") == 1
    assert pd.read_csv(tmp_path / "t.csv")["error"].tolist() == ["no such file"] * 2


def test_patterns_and_lists(saved, folder, tmp_path):
    assert run(saved.path, folder / "slide*" / "cell0[0-3].png", "-o", tmp_path / "a.csv") == 0
    rows = pd.read_csv(tmp_path / "a.csv")["input"].tolist()
    assert [row[-10:] for row in rows] == [f"cell0{i}.png" for i in (0, 2, 1, 3)]
    # Paths of a list are relative to it; what is listed twice has two rows.
    names = ["slide1/cell01.png", "slide0/cell00.png", "slide1/cell01.png", ""]
    pd.DataFrame({"path": names, "age": 1}).to_csv(folder / "list.csv", index=False)
    assert run(saved.path, folder / "list.csv", "-o", tmp_path / "b.csv") == 1
    table = pd.read_csv(tmp_path / "b.csv", keep_default_na=False)
    assert table["input"].tolist() == [str(folder / name) if name else "" for name in names]
    assert table["prediction"][0] == table["prediction"][2] != ""
    assert table["error"][3] == "no such file"
    (folder / "list.csv").unlink()


class TestResuming:
    def test_interrupted_command_goes_on(self, saved, folder, tmp_path, monkeypatch, capsys):
        predicted = []
        original = SavedModel.predict

        def interrupted(model, inputs):
            if len(predicted) >= 8:
                raise KeyboardInterrupt
            predicted.extend(inputs)
            return original(model, inputs)

        output = tmp_path / "table.csv"
        monkeypatch.setattr(SavedModel, "predict", interrupted)
        assert run(saved.path, folder, "-o", output) == 130
        assert "stopped: 8 inputs are done" in capsys.readouterr().err
        assert not output.exists()

        def going_on(model, inputs):
            predicted.extend(inputs)
            return original(model, inputs)

        monkeypatch.setattr(SavedModel, "predict", going_on)
        assert run(saved.path, folder, "-o", output) == 0
        assert "going on: 8 of 60 inputs are done" in capsys.readouterr().err
        assert len(predicted) == len(set(predicted)) == 60
        assert len(pd.read_csv(output)) == 60
        assert not (tmp_path / "table.csv.partial").exists()

    def test_changed_file_is_predicted_again(self, saved, folder, tmp_path, monkeypatch):
        copy = shutil.copytree(folder, tmp_path / "cells")
        self.stop_before_the_table(monkeypatch)
        with pytest.raises(ZeroDivisionError):
            run(saved.path, copy, "-o", tmp_path / "table.csv")
        monkeypatch.undo()
        Image.new("RGB", (48, 48)).save(copy / "slide0" / "cell00.png")
        (copy / "slide0" / "cell02.png").unlink()
        assert run(saved.path, copy, "-o", tmp_path / "table.csv") == 0
        table = pd.read_csv(tmp_path / "table.csv")
        assert len(table) == 59
        black = skcyto.load(saved.path).predict_proba([Image.new("RGB", (48, 48))])
        np.testing.assert_allclose(table[PROBABILITIES].iloc[[0]], black, atol=1e-6)

    def test_another_model_does_not_go_on(self, saved, folder, tmp_path, monkeypatch, capsys):
        self.stop_before_the_table(monkeypatch)
        with pytest.raises(ZeroDivisionError):
            run(saved.path, folder, "-o", tmp_path / "table.csv")
        monkeypatch.undo()
        embedder = skcyto.load(saved.path)[0]
        cells = sorted(map(str, folder.rglob("*.png")))
        other = make_pipeline(embedder, LogisticRegression(max_iter=1000)).fit(cells, [0, 1] * 30)
        other = skcyto.save(other, tmp_path / "other")
        assert run(other, folder, "-o", tmp_path / "table.csv") == 1
        assert "predictions of another model" in capsys.readouterr().err
        assert run(other, folder, "-o", tmp_path / "table.csv", "--overwrite") == 0
        table = pd.read_csv(tmp_path / "table.csv")
        assert table.columns[1:-3].tolist() == ["prediction", "probability_0", "probability_1"]
        assert table["prediction"].dtype == np.int64

    def test_finished_table_is_not_touched(self, saved, folder, tmp_path, capsys):
        output = tmp_path / "table.csv"
        output.write_text("precious")
        assert run(saved.path, folder, "-o", output) == 1
        assert "exists: replace it with --overwrite" in capsys.readouterr().err
        assert output.read_text(encoding="utf-8") == "precious"

    @pytest.mark.parametrize("suffix", [".csv", ".parquet", ".CSV"])
    def test_the_same_command_on_finished_work(self, saved, folder, tmp_path, suffix, capsys):
        copy = shutil.copytree(folder / "slide0", tmp_path / "cells")
        output = tmp_path / f"table{suffix}"
        assert run(saved.path, copy, "-o", output) == 0
        before = output.read_bytes()
        # As left by kills while the table was written, and before the journal was removed.
        left = f".{output.name}.{_node()}.99999999.0a1b2c3d.part"
        (tmp_path / left).write_text("half a table")
        Journal(tmp_path / f"{output.name}.partial", "x").close()
        capsys.readouterr()
        assert run(saved.path, copy, "-o", output) == 0
        assert "30 rows, 0 of them with an error: finished before" in capsys.readouterr().err
        assert output.read_bytes() == before
        names = [f".{output.name}.sha256", "cells", output.name]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
        # An input that is newer than the table, and fewer inputs, are other work.
        (copy / "cell00.png").write_bytes((copy / "cell02.png").read_bytes())
        assert run(saved.path, copy, "-o", output) == 1
        assert "older than one of the inputs" in capsys.readouterr().err
        assert run(saved.path, copy / "cell02.png", "-o", output) == 1
        assert output.read_bytes() == before
        assert run(saved.path, copy, "-o", output, "--overwrite") == 0

    def test_finished_work_with_errors_ends_as_it_did(self, saved, folder, tmp_path):
        words = saved.path, folder / "slide0", tmp_path / "no.png", "-o", tmp_path / "table.csv"
        assert run(*words) == 1
        assert run(*words) == 1

    def test_killed_between_the_table_and_the_end(self, saved, folder, tmp_path, monkeypatch):
        """The journal is whole and so is the table: the next command clears the first."""

        def kill(path):
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr("skcyto.command_line._predict.remove_journal", kill)
            with pytest.raises(ZeroDivisionError):
                run(saved.path, folder, "-o", tmp_path / "table.csv")
        assert (tmp_path / "table.csv.partial").exists()
        assert run(saved.path, folder, "-o", tmp_path / "table.csv") == 0
        names = [".table.csv.sha256", "table.csv"]
        assert sorted(path.name for path in tmp_path.iterdir()) == names

    def test_parts_of_running_commands_are_left_alone(self, saved, folder, tmp_path):
        # The first process is always there.
        names = {f".table.csv.{_node()}.1.0a1b2c3d.part", ".table.csv.notes"}
        for name in names:
            (tmp_path / name).touch()
        assert run(saved.path, folder / "slide0", "-o", tmp_path / "table.csv") == 0
        assert {path.name for path in tmp_path.iterdir()} == {
            *names,
            "table.csv",
            ".table.csv.sha256",
        }

    def test_a_damaged_journal_is_set_aside(self, saved, folder, tmp_path, monkeypatch):
        with monkeypatch.context() as patch:
            self.stop_before_the_table(patch)
            with pytest.raises(ZeroDivisionError):
                run(saved.path, folder, "-o", tmp_path / "table.csv")
        (tmp_path / "table.csv.partial").write_bytes(b"no journal" * 10_000)
        with pytest.warns(DamagedFileWarning, match="table.csv.partial is damaged .* set aside"):
            assert run(saved.path, folder, "-o", tmp_path / "table.csv") == 0
        (aside,) = tmp_path.glob("table.csv.partial.damaged-*")
        assert aside.read_bytes().startswith(b"no journal")

    def test_a_damaged_record_is_predicted_anew(self, saved, folder, tmp_path, monkeypatch):
        """Also that of the model's identity: predictions belong to a model each."""
        with monkeypatch.context() as patch:
            self.stop_before_the_table(patch)
            with pytest.raises(ZeroDivisionError):
                run(saved.path, folder, "-o", tmp_path / "table.csv")
        query = "UPDATE entries SET value = replace(CAST(value AS TEXT), 'healthy', 'heaLthy')"
        with closing(sqlite3.connect(tmp_path / "table.csv.partial")) as connection, connection:
            connection.execute(query)
            connection.execute("UPDATE entries SET value = 'x' WHERE key = 'model'")
        with pytest.warns(DamagedFileWarning, match="damaged entries of .*table.csv.partial"):
            assert run(saved.path, folder, "-o", tmp_path / "table.csv") == 0
        assert set(pd.read_csv(tmp_path / "table.csv")["prediction"]) <= set(CLASSES)

    def test_a_changed_table_is_not_called_finished(self, saved, folder, tmp_path, capsys):
        words = saved.path, folder / "slide0", "-o", tmp_path / "table.csv"
        assert run(*words) == 0
        text = (tmp_path / "table.csv").read_text(encoding="utf-8")
        (tmp_path / "table.csv").write_text(text.replace("0.", "1.", 1), encoding="utf-8")
        assert run(*words) == 1
        assert "does not have its checksum" in capsys.readouterr().err
        assert run(*words, "--overwrite") == 0

    def test_a_failed_command_is_in_nobodys_way(self, saved, folder, tmp_path, monkeypatch):
        def fail(model, inputs):
            raise CommandError("out of order")

        monkeypatch.setattr(SavedModel, "predict", fail)
        assert run(saved.path, folder, "-o", tmp_path / "table.csv") == 1
        assert list(tmp_path.iterdir()) == []
        # One that was killed at once leaves an empty journal, of whichever model.
        journal = Journal(tmp_path / "table.csv.partial", "another")
        journal._store.close()
        monkeypatch.undo()
        assert run(saved.path, folder / "slide0", "-o", tmp_path / "table.csv") == 0

    @staticmethod
    def stop_before_the_table(monkeypatch):
        def stop(*args):
            raise ZeroDivisionError

        monkeypatch.setattr("skcyto.command_line._predict._write_table", stop)


@pytest.mark.slow
def test_thousand_files_five_broken_and_a_kill(saved, cells, tmp_path):
    folder = tmp_path / "cells"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(1000):
        noise = rng.integers(0, 20, cells.images[0].shape, dtype=np.uint8)
        image = np.clip(cells.images[i % 60].astype(int) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / f"{i:04}.png")
    broken = [3, 250, 251, 600, 999]
    good = (folder / "0000.png").read_bytes()
    for i, content in zip(
        broken, [b"", b"no image", good[:200], good[:-300], b"\0" * 99], strict=True
    ):
        (folder / f"{i:04}.png").write_bytes(content)
    output = tmp_path / "table.csv"
    command = [sys.executable, "-m", "skcyto", "predict", saved.path, folder, "--output", output]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    n_before = wait_for_rows(tmp_path / "table.csv.partial", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not output.exists()
    assert 0 < n_before < 1000

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"going on: {n_before} of 1000 inputs are done" in done.stderr
    table = pd.read_csv(output)
    assert len(table) == 1000
    assert table["input"].tolist() == [str(folder / f"{i:04}.png") for i in range(1000)]
    assert np.flatnonzero(table["error"].notna()).tolist() == broken
    assert table["prediction"].isna().sum() == 5
    assert "1000 rows, 5 of them with an error" in done.stderr
    whole = [i for i in range(0, 1000, 50) if i not in broken]
    expected = skcyto.load(saved.path).predict_proba([str(folder / f"{i:04}.png") for i in whole])
    np.testing.assert_allclose(table[PROBABILITIES].iloc[whole], expected, atol=1e-6)


def count_rows(journal):
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as connection:
        query = "SELECT count(*) FROM entries WHERE key <> 'model'"
        return connection.execute(query).fetchone()[0]


def wait_for_rows(journal, process):
    """Wait until some, but not all inputs are recorded; return how many."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        assert process.poll() is None, process.stderr.read()
        if journal.exists():
            try:
                count = count_rows(journal)
            except sqlite3.Error:
                count = 0
            if count:
                process.send_signal(signal.SIGSTOP)
                return count_rows(journal)
        time.sleep(0.02)
    raise AssertionError("nothing was recorded in five minutes")


def test_tuned_decision_and_cache(saved, cells, folder, tmp_path):
    """The prediction is the model's own, not the most probable class."""
    embedder = skcyto.load(saved.path)[0]
    paths = sorted(map(str, folder.rglob("*.png")))
    labels = np.array([cells.target[int(path[-6:-4])] for path in paths])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = TunedLogitBiasClassifierCV(
            make_pipeline(embedder, ImbalancedMLPClassifier((8,), max_epochs=5, random_state=0)),
            cv=2,
        ).fit(paths, labels)
    path = skcyto.save(model, tmp_path / "model")
    output = tmp_path / "table.csv"
    assert run(path, folder, "-o", output, "--cache", tmp_path / "cache") == 0
    table = pd.read_csv(output)
    assert table["prediction"].tolist() == model.predict(paths).tolist()
    assert any((tmp_path / "cache").iterdir())


def test_scans(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(8):
        image = (rng.random((24, 24)) * 60 + 20 * i).astype(np.uint8)
        mask = np.zeros((24, 24), dtype=np.uint8)
        mask[5:18, 6:19] = 1
        Image.fromarray(image).save(tmp_path / f"scan{i}.png")
        Image.fromarray(mask).save(tmp_path / f"mask{i}.png")
        rows.append((f"scan{i}.png", f"mask{i}.png"))
    settings = {"imageType": {"Original": {}}, "featureClass": {"firstorder": []}}
    pipeline = make_pipeline(
        RadiomicsExtractor({"cell": 1}, settings), LogisticRegression(max_iter=5000)
    )
    pairs = [tuple(str(tmp_path / name) for name in row) for row in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.fit(pairs, [0] * 4 + [1] * 4)
    path = skcyto.save(pipeline, tmp_path / "model")
    rows.append(("scan0.png", "nowhere.png"))
    pd.DataFrame(rows, columns=["image", "mask"]).to_csv(tmp_path / "scans.csv", index=False)
    assert run(path, tmp_path / "scans.csv", "-o", tmp_path / "out.csv", "--n-jobs", 1) == 1
    table = pd.read_csv(tmp_path / "out.csv")
    assert table.columns[:3].tolist() == ["image", "mask", "prediction"]
    assert table["prediction"].tolist()[:8] == pipeline.predict(pairs).tolist()
    assert table["error"].notna().tolist() == [False] * 8 + [True]
    nowhere = tmp_path / "nowhere.png"
    assert table["error"][8] == f"the mask file {nowhere} does not exist"


@pytest.fixture(scope="module")
def two_labels(tmp_path_factory):
    """A model of scans with two structures, twelve scans, and one that lacks a structure."""
    folder = tmp_path_factory.mktemp("two_labels")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(13):
        image = (rng.random((24, 24)) * 60 + 10 * (i % 12)).astype(np.uint8)
        mask = np.ones((24, 24), dtype=np.uint8)
        mask[12:] = 2 if i < 12 else 1
        Image.fromarray(image).save(folder / f"scan{i}.png")
        Image.fromarray(mask).save(folder / f"mask{i}.png")
        rows.append((str(folder / f"scan{i}.png"), str(folder / f"mask{i}.png")))
    settings = {"featureClass": {"firstorder": ["Mean"]}}
    pipeline = make_pipeline(
        RadiomicsExtractor({"nucleus": 1, "cytoplasm": 2}, settings), LogisticRegression()
    ).fit(rows[:12], [0, 1] * 6)
    path = skcyto.save(pipeline, folder / "model")
    return SimpleNamespace(path=path, pipeline=pipeline, good=rows[:12], bad=rows[12])


@pytest.mark.parametrize("place", [0, 4, 10])
def test_scan_without_a_label_costs_its_own_row(two_labels, tmp_path, place):
    rows = [*two_labels.good[:place], two_labels.bad, *two_labels.good[place:]]
    pd.DataFrame(rows, columns=["image", "mask"]).to_csv(tmp_path / "scans.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InvalidInputWarning)
        assert run(two_labels.path, tmp_path / "scans.csv", "-o", tmp_path / "out.csv") == 1
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["error"].dropna().to_dict() == {
        place: "label 2 (cytoplasm): not in the mask, which holds 1"
    }
    good = table.drop(index=place)
    assert good["prediction"].tolist() == two_labels.pipeline.predict(two_labels.good).tolist()


def test_scan_without_a_label_alone(two_labels, tmp_path):
    pd.DataFrame([two_labels.bad], columns=["image", "mask"]).to_csv(
        tmp_path / "scans.csv", index=False
    )
    assert run(two_labels.path, tmp_path / "scans.csv", "-o", tmp_path / "out.csv") == 1
    assert "label 2 (cytoplasm)" in pd.read_csv(tmp_path / "out.csv")["error"][0]


@pytest.fixture
def imputing(two_labels, tmp_path):
    """The same model with an imputer, which has a value for whatever is missing."""
    settings = {"featureClass": {"firstorder": ["Mean"]}}
    pipeline = make_pipeline(
        RadiomicsExtractor({"nucleus": 1, "cytoplasm": 2}, settings),
        SimpleImputer(strategy="median"),
        LogisticRegression(),
    ).fit(two_labels.good, [0, 1] * 6)
    return SimpleNamespace(path=skcyto.save(pipeline, tmp_path / "imputing"), pipeline=pipeline)


def test_nothing_is_predicted_from_an_imputer_alone(two_labels, imputing, tmp_path, capsys):
    """Masks of 255, swapped columns: an error. One structure of two: predicted, with a note."""
    image, mask = two_labels.good[0]
    of_255 = tmp_path / "of_255.png"
    Image.fromarray((np.asarray(Image.open(mask)) == 1).astype(np.uint8) * 255).save(of_255)
    rows = [
        two_labels.good[1],
        (image, str(of_255)),
        two_labels.bad,
        (mask, image),
        two_labels.good[2],
    ]
    pd.DataFrame(rows, columns=["image", "mask"]).to_csv(tmp_path / "scans.csv", index=False)
    assert run(imputing.path, tmp_path / "scans.csv", "-o", tmp_path / "out.csv") == 1
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["error"].notna().tolist() == [False, True, False, True, False]
    assert table["error"][1] == (
        "label 1 (nucleus): not in the mask, which holds 255; "
        "label 2 (cytoplasm): not in the mask, which holds 255"
    )
    assert table["prediction"].isna().tolist() == [False, True, False, True, False]
    assert table["note"].dropna().to_dict() == {
        2: "label 2 (cytoplasm): not in the mask, which holds 1"
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InvalidInputWarning)
        expected = imputing.pipeline.predict_proba([rows[i] for i in (0, 2, 4)])
    found = table.loc[[0, 2, 4], ["probability_0", "probability_1"]]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_lists_of_spreadsheets(saved, folder, tmp_path, capsys):
    """Semicolons, tabs, a byte-order mark, and a list whose rows have more cells than its head."""
    names = ["slide0/cell00.png", "slide1/cell01.png"]
    expected = skcyto.load(saved.path).predict_proba([str(folder / name) for name in names])
    for number, (separator, encoding) in enumerate(
        [(";", "utf-8-sig"), ("\t", "utf-8"), (",", "utf-8")]
    ):
        lines = [
            f"{separator}".join(row)
            for row in [("age", "path"), ("1,5", names[0]), ("2", names[1])]
        ]
        if separator == ",":
            lines[1] = lines[1].replace("1,5", '"1,5"')
        place = folder / f"list{number}.csv"
        place.write_text("\n".join(lines), encoding=encoding)
        assert run(saved.path, place, "-o", tmp_path / f"{number}.csv") == 0
        found = pd.read_csv(tmp_path / f"{number}.csv")[PROBABILITIES]
        np.testing.assert_allclose(found, expected, atol=1e-6)
        place.unlink()
    (tmp_path / "long.csv").write_text("path\na.png,b.png\n")
    assert run(saved.path, tmp_path / "long.csv", "-o", tmp_path / "t.csv") == 1
    assert "long.csv cannot be read" in capsys.readouterr().err


def test_what_is_left_out_is_counted(saved, folder, tmp_path, capsys):
    copy = shutil.copytree(folder / "slide0", tmp_path / "cells")
    (copy / "notes.txt").touch()
    (copy / "scan.dcm").touch()
    assert run(saved.path, copy, "-o", tmp_path / "t.csv") == 0
    assert "30 rows, 0 of them with an error, 2 files left out" in capsys.readouterr().err


def test_formulas_are_quoted_on_request(cells, tmp_path):
    from skcyto.command_line._inputs import Inputs
    from skcyto.command_line._table import Table

    paths = ["=cmd.png", "-1.png", "@a.png", "+1.png", "\tx.png", "a=b.png"]
    inputs = Inputs(("input",), [(path,) for path in paths], [])
    results = {
        (path,): {"prediction": "=1+1", "probabilities": [0.5], "error": None, "note": "-n"}
        for path in paths
    }
    results["@a.png",] = {"prediction": None, "probabilities": None, "error": "=E", "note": None}
    for quote, mark in ((True, "'"), (False, "")):
        table = Table(tmp_path / f"{quote}.csv", inputs, "0123456789abcdef", quote)
        table.write(results, ["=1+1"])
        found = pd.read_csv(table.path, keep_default_na=False)
        assert found["input"].tolist() == [mark + path for path in paths[:-1]] + paths[-1:]
        assert found["prediction"].tolist() == [*[f"{mark}=1+1"] * 2, "", *[f"{mark}=1+1"] * 3]
        assert found["error"][2] == f"{mark}=E"
        assert found["note"][0] == f"{mark}-n"
        assert found["probability_=1+1"][0] == "0.5"
        assert set(found["model"]) == {"0123456789ab"}
        assert table.find_finished() is not None
    assert Table(tmp_path / "True.csv", inputs, "0123456789abcdef").find_finished() is None


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
    """Eight cases with two sequences and a mask each."""
    folder = tmp_path_factory.mktemp("sequences")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(8):
        mask = np.zeros((20, 20), dtype=np.uint8)
        mask[4:15, 5:16] = 1
        row = {}
        for name, pixels in (
            ("t1", rng.integers(60, 100, mask.shape) + 60 * (i % 2)),
            ("flair", rng.integers(20, 90, mask.shape)),
            ("mask", mask),
        ):
            row[name] = f"{i}_{name}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / row[name])
        rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "list.csv", index=False)
    frame = pd.DataFrame(rows).map(lambda name: str(folder / name))
    return SimpleNamespace(folder=folder, frame=frame, target=np.arange(8) % 2)


@pytest.mark.parametrize("join", ["union", "columns"])
def test_a_model_of_two_sequences(sequences, tmp_path, join):
    settings = {"featureClass": {"firstorder": ["Mean", "Range"]}}
    both = [
        (name, RadiomicsExtractor({"tumour": 1}, settings, image_column=name))
        for name in ("t1", "flair")
    ]
    union = FeatureUnion(both, n_jobs=2)
    if join == "columns":
        union = ColumnTransformer([(n, part, [n, "mask"]) for n, part in both])
    model = make_pipeline(union, SimpleImputer(), LogisticRegression())
    model.fit(sequences.frame, sequences.target)
    path = skcyto.save(model, tmp_path / "model")
    assert run(path, sequences.folder / "list.csv", "-o", tmp_path / "out.csv") == 0
    table = pd.read_csv(tmp_path / "out.csv")
    assert table.columns[:4].tolist() == ["t1", "flair", "mask", "prediction"]
    np.testing.assert_allclose(
        table[["probability_0", "probability_1"]], model.predict_proba(sequences.frame), atol=1e-9
    )
    # Without its only structure in the common mask, a case is not predicted.
    Image.fromarray(np.full((20, 20), 9, dtype=np.uint8)).save(tmp_path / "other.png")
    rows = sequences.frame.copy()
    rows.loc[2, "mask"] = str(tmp_path / "other.png")
    rows.to_csv(tmp_path / "list.csv", index=False)
    assert run(path, tmp_path / "list.csv", "-o", tmp_path / "other.csv") == 1
    assert pd.read_csv(tmp_path / "other.csv")["error"].dropna().to_dict() == {
        2: "label 1 (tumour): not in the mask, which holds 9"
    }


def fail_on(monkeypatch, wrong):
    """Have a model fail as scikit-learn does, without saying which input is at fault."""
    original = RadiomicsExtractor.transform

    def transform(extractor, X):
        if any(wrong(path) for path in X["image"]):
            raise ValueError("something is wrong")
        return original(extractor, X)

    monkeypatch.setattr(RadiomicsExtractor, "transform", transform)


def test_model_that_fails_on_every_input_is_at_fault(two_labels, tmp_path, monkeypatch, capsys):
    fail_on(monkeypatch, lambda path: True)
    pd.DataFrame(two_labels.good, columns=["image", "mask"]).to_csv(
        tmp_path / "scans.csv", index=False
    )
    assert run(two_labels.path, tmp_path / "scans.csv", "-o", tmp_path / "out.csv") == 1
    error = capsys.readouterr().err
    assert "the model fails on each of the 8 inputs that were tried, such as" in error
    assert "something is wrong" in error
    assert not (tmp_path / "out.csv").exists()


def test_failure_on_the_first_input_and_on_the_last_of_a_resumed_run(
    two_labels, tmp_path, monkeypatch
):
    good = two_labels.good
    model = SavedModel(str(two_labels.path))
    fail_on(monkeypatch, lambda path: path == good[0][0])
    errors = [row["error"] for row in model.predict(good[:3])]
    assert errors == ["something is wrong", None, None]
    resumed = SavedModel(str(two_labels.path))
    resumed.works = True
    assert resumed.predict(good[:1])[0]["error"] == "something is wrong"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{model}", "x.png", "-o", "t.xlsx"], "must end with .csv or .parquet"),
        (["{model}", "x.png", "-o", "{tmp}/no/t.csv"], "there is no folder"),
        (["{model}", "{tmp}/slidez", "-o", "{tmp}/t.csv"], "no file or folder {tmp}/slidez"),
        (["{tmp}/nowhere", "x.png", "-o", "{tmp}/t.csv"], "nowhere does not exist"),
        (["{model}", "{tmp}", "-o", "{tmp}/t.csv"], "holds no image: none of its 3 files"),
        (["{model}", "{tmp}/*.jpg", "-o", "{tmp}/t.csv"], "no file fits the pattern"),
        (["{model}", "{tmp}/no.csv", "-o", "{tmp}/t.csv"], "there is no such file"),
        (["{model}", "{tmp}/two.csv", "-o", "{tmp}/t.csv"], "Say so with --column; it has a, b"),
        (["{model}", "{tmp}/two.csv", "-o", "{tmp}/t.csv", "--column", "c"], "no column c"),
        (["{model}", "{tmp}/empty.csv", "-o", "{tmp}/t.csv"], "is empty"),
        (["{table}", "x.png", "-o", "{tmp}/t.csv"], "takes a table of features, not images"),
        (["{model}", "x.png", "-o", "{tmp}/t.csv", "--device", "abacus"], "no torch device"),
    ],
)
def test_errors_of_use(saved, table, tmp_path, capsys, words, message):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "two.csv").write_text("a,b\n1,2\n")
    (lists / "empty.csv").write_text("path\n")
    (lists / "notes.txt").touch()
    features = skcyto.save(LogisticRegression().fit(*table), tmp_path / "features")
    places = {"model": saved.path, "tmp": lists, "table": features}
    assert run(*(word.format(**places) for word in words)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message.format(**places) in error
    assert not (lists / "t.csv").exists()


def test_help_and_usage(capsys):
    for words, status in ((["--help"], 0), (["predict", "--help"], 0), (["predict"], 2)):
        with pytest.raises(SystemExit) as exit_info:
            main(words)
        assert exit_info.value.code == status
    assert "one row for each input" in capsys.readouterr().out


def _hostile_images(folder, good):
    """Thirty inputs that are no good image; most look like one by their names."""
    whole = good.read_bytes()
    flipped, zeroed, scan_lines = bytearray(whole), bytearray(whole), bytearray(whole)
    start = whole.index(b"IDAT") + 4
    flipped[start + 40] ^= 4
    zeroed[start + 20 : start + 84] = bytes(64)
    scan_lines[start : start + 9] = b"\xff" * 9
    jpeg, tiff, webp, gif = (io.BytesIO() for _ in range(4))
    with Image.open(good) as picture:
        picture.save(jpeg, "JPEG")
        picture.save(tiff, "TIFF", compression="tiff_lzw")
        picture.save(webp, "WEBP", lossless=True)
        picture.save(gif, "GIF")
    bomb = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"IHDR" + bomb
    bomb = whole[:8] + struct.pack(">I", 13) + bomb + struct.pack(">I", zlib.crc32(bomb))
    contents = {
        "empty.png": b"",
        "text.png": b"no image",
        "zeros.png": bytes(4000),
        "noise.png": np.random.default_rng(0).bytes(4000),
        "magic.png": whole[:8],
        "head.png": whole[:40],
        "half.png": whole[: len(whole) // 2],
        "no_end_of_pixels.png": whole[:-60],
        "flipped.png": bytes(flipped),
        "zeroed.png": bytes(zeroed),
        "lines.png": bytes(scan_lines),
        "bomb.png": bomb,
        "page.png": b"<html><body>404 Not Found</body></html>",
        "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "pickle.png": pickle.dumps({"a": 1}),
        "archive.png": b"PK\x03\x04" + bytes(100),
        "half.jpg": jpeg.getvalue()[: len(jpeg.getvalue()) // 2],
        "magic.jpg": b"\xff\xd8\xff\xe0",
        "half.tif": tiff.getvalue()[: len(tiff.getvalue()) // 2],
        "magic.tif": b"II*\0\xff\xff\xff\x7f",
        "half.webp": webp.getvalue()[: len(webp.getvalue()) // 2],
        "half.gif": gif.getvalue()[: len(gif.getvalue()) // 3],
        "magic.bmp": b"BM" + bytes(20),
        "line\nbreak.png": b"no image",
        "=HYPERLINK.png": b"no image",
        "comma, and 'quotes'.png": b"no image",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no image")
    Image.fromarray(np.ones((40, 40), dtype=np.float32)).save(folder / "fractions.tif")
    Image.fromarray(np.full((40, 40), 70_000, dtype=np.int32)).save(folder / "deep.tif")
    (folder / "broken_link.png").symlink_to(folder / "nowhere.png")
    return len(contents) + 4


def test_a_folder_of_thirty_hostile_images(saved, cells, folder, tmp_path, capsys):
    """Every one in its row with a reason, the exit status 1, and the good rows right."""
    place = tmp_path / "slides"
    place.mkdir()
    expected = {}
    for i in range(6):
        shutil.copy(folder / f"slide{i % 2}" / f"cell{i:02}.png", place / f"good{i}.png")
        expected[str(place / f"good{i}.png")] = saved.probabilities[i]
    n_hostile = _hostile_images(place, place / "good0.png")
    assert n_hostile == 30
    (place / "a.png").mkdir()  # a folder by an image's name holds nothing
    for suffix in (".csv", ".parquet"):
        output = tmp_path / f"table{suffix}"
        assert run(saved.path, place, "-o", output) == 1
        table = pd.read_csv(output) if suffix == ".csv" else pd.read_parquet(output)
        assert len(table) == 36
        table = table.set_index("input")
        assert table.index.is_unique
        bad = table.drop(index=list(expected))
        assert bad.index[bad["error"].isna()].tolist() == []
        assert bad[["prediction", *PROBABILITIES]].isna().all(axis=None)
        assert not bad["error"].str.contains("\n").any()
        good = table.loc[list(expected)]
        assert good["error"].isna().all()
        np.testing.assert_allclose(good[PROBABILITIES], list(expected.values()), atol=1e-6)
        assert "36 rows, 30 of them with an error" in capsys.readouterr().err
        assert run(saved.path, place, "-o", output) == 1  # finished before, with the same end
        assert "finished before" in capsys.readouterr().err


def _hostile_scans(folder, image, mask):
    """Thirty pairs that are no image with its mask."""
    pixels = np.asarray(Image.open(image))
    values = np.asarray(Image.open(mask))

    def put(name, array, **options):
        Image.fromarray(array).save(folder / name, **options)
        return str(folder / name)

    def write(name, content):
        (folder / name).write_bytes(content)
        return str(folder / name)

    colours = np.dstack([values == 1, values == 2, values == 0]).astype(np.uint8) * 255
    background = values.copy()
    background[:4] = 0
    palette = Image.fromarray(np.array([1, 0, 2], dtype=np.uint8)[background]).convert("P")
    palette.putpalette([255, 0, 0, 0, 0, 0, 0, 255, 0])
    palette.save(folder / "palette.png")
    white = Image.fromarray(np.full_like(values, 255))
    Image.merge("LA", [white, Image.fromarray((values == 1) * np.uint8(255))]).save(
        folder / "alpha.png"
    )
    speck = np.zeros_like(values)
    speck[3, 3] = 1
    line = np.zeros_like(values)
    line[4, 3:15], line[9, 3:15] = 1, 2
    lossy = put("lossy.webp", values, quality=30)
    other = np.where(values > 0, 255, 0).astype(np.uint8)
    masks = [
        put("of_255.png", other),
        put("empty.png", np.zeros_like(values)),
        put("shifted.png", values + np.uint8(7)),
        put("small.png", values[:-2]),
        put("turned.png", np.ascontiguousarray(values[:20].T)),
        put("mask.jpg", values),
        lossy,
        put("jpeg_inside.tif", values, compression="jpeg"),
        put("white_is_zero.tif", values, tiffinfo={262: 0}),
        put("colours.png", colours),
        put("fractions.tif", values * np.float32(0.5)),
        put("nan.tif", np.where(values == 1, np.float32("nan"), values).astype(np.float32)),
        put("negative.tif", -values.astype(np.int32)),
        put("line.png", line),
        put("speck.png", speck),
        str(folder / "palette.png"),
        str(folder / "alpha.png"),
        image,
        write("text.png", b"no mask"),
        write("half.png", (folder / "of_255.png").read_bytes()[:60]),
        write("zero.png", b""),
        str(folder / "nowhere.png"),
        str(folder),
        "",
    ]
    images = [
        put("flat.png", np.full_like(pixels, 80)),
        put("colour.png", np.dstack([pixels, pixels // 2, pixels // 3])),
        put("other_size.png", pixels[:, :-1]),
        write("half_image.png", Path(image).read_bytes()[:90]),
        str(folder / "nowhere.nii.gz"),
    ]
    return [(image, each) for each in masks] + [(each, mask) for each in images] + [(mask, image)]


def test_a_list_of_thirty_hostile_scans(two_labels, imputing, tmp_path):
    """With an imputer, which would hide all of them."""
    rows = _hostile_scans(tmp_path, *two_labels.good[3])
    assert len(rows) == 30
    good = two_labels.good
    listed = [good[0], *rows[:11], good[1], *rows[11:], good[2]]
    pd.DataFrame(listed, columns=["image", "mask"]).to_csv(tmp_path / "scans.csv", index=False)
    assert run(imputing.path, tmp_path / "scans.csv", "-o", tmp_path / "out.csv") == 1
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert len(table) == 33
    places = [0, 12, 32]
    assert np.flatnonzero(table["error"] == "").tolist() == places
    assert (table["prediction"].drop(index=places) == "").all()
    np.testing.assert_allclose(
        table.loc[places, ["probability_0", "probability_1"]].astype(float),
        imputing.pipeline.predict_proba(good[:3]),
        atol=1e-9,
    )
