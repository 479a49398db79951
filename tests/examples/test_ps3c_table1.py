"""The whole PS3C experiment, killed three times in the middle and taken up again."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from skcyto.datasets import load_ps3c
from skcyto.feature_extraction import EmbeddingCache

EXAMPLE = Path(__file__).parents[2] / "examples" / "ps3c_table1.py"
RESULTS = ("table1.md", "scores.csv", "tests.csv")
# Files that are written once, when a piece of work is done.
FINISHED = ("folds/*.npz", "predictions/*/*.csv", "submissions/*/*.csv")


def start(output, *options):
    command = [sys.executable, str(EXAMPLE), "--smoke", "--output", str(output), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with open(output.with_suffix(".log"), "ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def finished(output):
    """What is done, with the time of it."""
    return {
        str(path.relative_to(output)): path.stat().st_mtime_ns
        for pattern in FINISHED
        for path in output.glob(pattern)
    }


def read_results(output):
    files = [output / name for name in RESULTS]
    for folder in ("predictions", "submissions", "out_of_fold"):
        files += sorted((output / folder).rglob("*.csv"))
    return {str(file.relative_to(output)): file.read_bytes() for file in files}


def draw_moments(output, rng, n_moments):
    """Draw moments of a whole run: pieces of work that were done, and seconds since the last."""
    begin = (output / "settings.json").stat().st_mtime_ns
    times = sorted(finished(output).values())
    moments = []
    for time_ns in sorted(rng.uniform(begin, times[-1]) for _ in range(n_moments)):
        before = [t for t in times if t <= time_ns]
        moments.append((len(before), (time_ns - max([begin, *before])) / 1e9))
    return moments


def kill_at(process, output, n_runs, n_finished, seconds):
    """Kill a run some time after so many pieces of work are done, and not while it starts."""

    def is_there():
        begun = (
            output.with_suffix(".log").read_text(encoding="utf-8").count("train: 180 images")
            == n_runs
        )
        return begun and len(finished(output)) >= n_finished

    while not is_there():
        assert process.poll() is None, output.with_suffix(".log").read_text(encoding="utf-8")[
            -3000:
        ]
        time.sleep(0.05)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("options", "seed"), [((), 0), (("--paper-faithful",), 1)], ids=["default", "paper"]
)
def test_killed_three_times_it_gives_the_same_table(tmp_path, options, seed):
    whole = tmp_path / "whole"
    assert start(whole, *options).wait() == 0, whole.with_suffix(".log").read_text(
        encoding="utf-8"
    )[-3000:]
    expected = read_results(whole)
    broken = tmp_path / "broken"
    done = {}
    moments = draw_moments(whole, random.Random(seed), 3)
    for n_runs, moment in enumerate(moments, start=1):
        kill_at(start(broken, *options), broken, n_runs, *moment)
        now = finished(broken)
        # What was done before stands as it was.
        assert done.items() <= now.items()
        done = now
    assert start(broken, *options).wait() == 0, broken.with_suffix(".log").read_text(
        encoding="utf-8"
    )[-3000:]
    assert done.items() <= finished(broken).items()
    assert read_results(broken) == expected
    infos = [EmbeddingCache(folder / "embeddings").info() for folder in (whole, broken)]
    assert infos[1].entries == infos[0].entries == infos[0].misses
    # At most the batches that were under way were embedded twice.
    assert infos[1].misses <= infos[0].misses + 3 * 512

    for split in ("test", "eval"):
        names = load_ps3c(whole / "synthetic_ps3c", split=split).image_names.tolist()
        for file in sorted((whole / "submissions" / split).glob("*.csv")):
            submission = pd.read_csv(file)
            assert submission.columns.tolist() == ["image_name", "label"]
            assert submission["image_name"].tolist() == names
            prediction = pd.read_csv(whole / "predictions" / split / file.name)
            assert prediction["label"].tolist() == submission["label"].tolist()
            sums = prediction.filter(like="p_").sum(axis=1)
            assert sums.between(1 - 1e-6, 1 + 1e-6).all()
        assert len(list((whole / "submissions" / split).glob("*.csv"))) == 26


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_is_wrong_is_told_before_anything_is_trained(tmp_path):
    output = tmp_path / "run"
    process = start(output)
    while not (output / "settings.json").exists():
        assert process.poll() is None, output.with_suffix(".log").read_text(encoding="utf-8")[
            -3000:
        ]
        time.sleep(0.02)
    process.kill()
    process.wait()

    def refused(*options, folder=output):
        process = start(folder, *options)
        assert process.wait(timeout=300) != 0
        assert not list(folder.glob("networks/*/*"))
        return folder.with_suffix(".log").read_text(encoding="utf-8")

    for file in output.glob("networks/*/*"):
        file.unlink()
    assert "was begun with other epochs" in refused("--epochs", "3")
    data = output / "synthetic_ps3c"
    image = data / "isbi2025-ps3c-test-dataset" / "synthetic_ps3c_test_image_00007.png"
    image.write_bytes(image.read_bytes()[:-50])
    other = tmp_path / "other"
    text = refused("--data", str(data), folder=other)
    assert "1 images cannot be read" in text
    assert image.name in text
    image.unlink()
    assert image.name in refused("--data", str(data), folder=other)
