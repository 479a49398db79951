"""Kill, damage and share all that skcyto writes and reads again, and see what comes of it.

    python benchmarks/faults.py
    python benchmarks/faults.py --repeats 10 --kinds radiomics search

Each kind of work is small (random weights, seconds). It is done once undisturbed, then as often as
`--repeats` says

- killed: ``kill -9`` at a random moment, once or twice, and then done to the end;
- damaged: one of its files, finished or half-finished, gets flipped bits, is cut off, has parts or
  files swapped or something appended, and the work is done again;
- shared: several processes do it at once in one folder, one of them perhaps killed.

What comes of it is compared with the undisturbed result. "Lost" is what ends neither right nor in
an error of skcyto's that names the file or folder: raw errors of other packages, crashes, work that
hangs, a model that was there before and is gone. Exit status 1 if anything was silently wrong or
lost.
"""

from __future__ import annotations

import argparse
import os
import pickle
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

# This file's folder comes first on the path; radiomics.py in it would pass for pyradiomics.
sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402
import optuna  # noqa: E402
import pandas as pd  # noqa: E402
import SimpleITK as sitk  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.naive_bayes import GaussianNB  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.tree import DecisionTreeClassifier  # noqa: E402

# What is imported when it is first needed would else be, in every process.
for name in ("timm", "alembic.command", "pyarrow.parquet", "radiomics", "skops.io", "pywt"):
    __import__(name)

import skcyto  # noqa: E402
from skcyto.command_line import main as skcyto_command  # noqa: E402
from skcyto.exceptions import DamagedFileWarning, InvalidModelError  # noqa: E402
from skcyto.feature_extraction import (  # noqa: E402
    EVA02TokenEmbedder,
    RadiomicsExtractor,
    embed_to_parquet,
)
from skcyto.model_selection import OptunaSearchCV, compare_models  # noqa: E402
from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier  # noqa: E402

OUTCOMES = ("right", "right with warning", "refused", "silently wrong", "lost")
FAULTS = ("killed", "damaged", "shared")
RESULTS = Path(__file__).with_name("results") / "faults.md"
# Errors that a user can act on; subclasses of other packages are theirs, not skcyto's.
CLEAR = (ValueError, OSError, FileNotFoundError, FileExistsError, InvalidModelError, RuntimeError)
TIMEOUT = 300.0
N_SEEDS = 3


class Refused(RuntimeError):
    """The command ended with a message."""


@dataclass
class Outcome:
    """What came of a process."""

    result: Any = None
    error: str | None = None
    clear: bool = False
    warned: bool = False
    killed: bool = False


@dataclass
class Kind:
    """A kind of work: what to do in a folder, and what in it is no state of skcyto's."""

    name: str
    work: Callable[[Path, Path], Any]
    title: str
    expected: list[Any] = field(default_factory=list)
    seconds: float = 0.0


def embed(inputs: Path, folder: Path) -> Any:
    paths = sorted(map(str, (inputs / "cells").iterdir()))
    return _embedder(cache=folder / "cache").fit_transform(paths)


def to_parquet(inputs: Path, folder: Path) -> Any:
    paths = sorted(map(str, (inputs / "cells").iterdir()))
    embed_to_parquet(_embedder(), paths, folder / "set", part_size=3)
    assert (folder / "set" / "_SUCCESS").exists()
    return pd.read_parquet(folder / "set").drop(columns="error")


def finetune(inputs: Path, folder: Path) -> Any:
    X = np.stack([np.asarray(Image.open(p)) for p in sorted((inputs / "cells").iterdir())])
    classifier = EVA02Classifier(
        "test_vit",
        weights=None,
        image_size=32,
        max_epochs=3,
        batch_size=6,
        validation_fraction=None,
        checkpoint=folder / "checkpoint",
        random_state=0,
    )
    return classifier.fit(X, np.arange(len(X)) % 3).predict_proba(X)


def compare(inputs: Path, folder: Path) -> Any:
    X, y = load_iris(return_X_y=True)
    models = {"tree": DecisionTreeClassifier(), "bayes": GaussianNB(), "tree 2": _Slow(max_depth=2)}
    comparison = compare_models(models, X, y, scoring=["accuracy"], checkpoint=folder / "records")
    return {"seed": comparison.seed, "scores": comparison.scores}


def radiomics(inputs: Path, folder: Path) -> Any:
    images = sorted(map(str, (inputs / "scans").glob("*image.nii.gz")))
    X = np.array([[path, path.replace("image", "mask")] for path in images])
    return RadiomicsExtractor([1, 2], settings="original", cache=folder / "cache").fit_transform(X)


def search(inputs: Path, folder: Path) -> Any:
    X, y = load_iris(return_X_y=True)
    found = OptunaSearchCV(
        _Slow(random_state=0),
        {"max_depth": optuna.distributions.IntDistribution(1, 8)},
        n_trials=4,
        cv=3,
        storage=f"sqlite:///{folder}/trials.db",
        random_state=0,
    ).fit(X, y)
    depths = [params["max_depth"] for params in found.cv_results_["params"]]
    return {"params": np.array(depths), "scores": found.cv_results_["mean_test_score"]}


def predict(inputs: Path, folder: Path) -> Any:
    output = folder / "table.csv"
    words = ["predict", inputs / "model", inputs / "cells", "-o", output, "--quiet"]
    if skcyto_command(list(map(str, words))) != 0:
        raise Refused(sys.stderr.getvalue())
    return pd.read_csv(output).drop(columns=["note", "error"])


def save_and_load(inputs: Path, folder: Path) -> Any:
    X, y = load_iris(return_X_y=True)
    path = folder / "model"
    if path.exists() or list(folder.glob(".model.*.former")):
        # A model that is there, or that a killed process was replacing, must be whole.
        before = skcyto.load(path).predict_proba(X)
    model = make_pipeline(ImbalancedMLPClassifier((4,), max_epochs=2, random_state=0)).fit(X, y)
    for _ in range(3):
        skcyto.save(model, path, overwrite=True)
        after = skcyto.load(path).predict_proba(X)
    return {"before": before if "before" in locals() else after, "after": after}


KINDS = [
    Kind("embedding", embed, "embedding with cache"),
    Kind("parquet", to_parquet, "embed_to_parquet"),
    Kind("finetuning", finetune, "EVA02Classifier with checkpoint"),
    Kind("comparison", compare, "compare_models with checkpoint"),
    Kind("radiomics", radiomics, "RadiomicsExtractor with cache"),
    Kind("search", search, "OptunaSearchCV with SQLite storage"),
    Kind("predict", predict, "python -m skcyto predict"),
    Kind("model", save_and_load, "save and load"),
]


class _Slow(DecisionTreeClassifier):
    """A tree that takes its time, so that a kill falls between two writes, too."""

    def fit(self, X, y, sample_weight=None):
        time.sleep(0.01)
        return super().fit(X, y, sample_weight)


def _embedder(**params: Any) -> EVA02TokenEmbedder:
    return EVA02TokenEmbedder(
        "test_vit", weights=None, image_size=32, batch_size=1, random_state=0, n_jobs=1, **params
    )


def make_inputs(inputs: Path) -> None:
    """Draw cells and scans, and save a model for ``predict``."""
    rng = np.random.default_rng(0)
    (inputs / "cells").mkdir()
    for i in range(12):
        image = Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8))
        image.save(inputs / "cells" / f"cell{i:02}.png")
    (inputs / "scans").mkdir()
    for i in range(4):
        mask = np.zeros((10, 10, 10), dtype=np.uint8)
        mask[2:5, 2:8, 2:8], mask[5:8, 2:8, 2:8] = 1, 2
        scan = rng.normal(100, 20, mask.shape)
        for name, array in (("image", scan), ("mask", mask)):
            sitk.WriteImage(
                sitk.GetImageFromArray(array), str(inputs / "scans" / f"{i}_{name}.nii.gz")
            )
    paths = sorted(map(str, (inputs / "cells").iterdir()))
    pipeline = make_pipeline(_embedder(), LogisticRegression(max_iter=500))
    skcyto.save(pipeline.fit(paths, np.array(list("ab" * 6))), inputs / "model")


def begin(kind: Kind, inputs: Path, folder: Path, seed: int) -> tuple[int, Path]:
    """Start the work in a process of its own that has everything imported already."""
    report = folder.with_name(f"{folder.name}.{seed}.{time.monotonic_ns()}.report")
    process = os.fork()
    if process:
        return process, report
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        outcome = _work(kind, inputs, folder, seed)
        part = report.with_suffix(".part")
        part.write_bytes(pickle.dumps(outcome))
        part.rename(report)
    finally:
        os._exit(0)


def _work(kind: Kind, inputs: Path, folder: Path, seed: int) -> Outcome:
    import io
    import logging

    sys.stderr = io.StringIO()
    logging.disable()
    np.random.seed(seed % N_SEEDS)  # noqa: NPY002 - what a comparison without a seed draws from
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = Outcome(kind.work(inputs, folder))
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            clear = type(error) in (*CLEAR, Refused) and str(folder) in str(error)
            outcome = Outcome(error=text, clear=clear)
    outcome.warned = any(issubclass(each.category, DamagedFileWarning) for each in caught)
    return outcome


def end(process: int, report: Path, timeout: float = TIMEOUT) -> Outcome:
    """Wait for a process, and read what came of it."""
    deadline = time.monotonic() + timeout
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return Outcome(error="hangs")
        time.sleep(0.005)
    if report.exists():
        outcome = pickle.loads(report.read_bytes())
        report.unlink()
        return outcome
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return Outcome(error=f"ended with status {status}", killed=killed)


def judge(kind: Kind, outcome: Outcome) -> str:
    """Say which of the outcomes it is."""
    if outcome.error is not None:
        return "refused" if outcome.clear else "lost"
    if not any(_equal(outcome.result, expected) for expected in kind.expected):
        return "silently wrong"
    return "right with warning" if outcome.warned else "right"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, pd.DataFrame):
        numbers = one.select_dtypes("number").columns
        return (
            list(one.columns) == list(other.columns)
            and len(one) == len(other)
            and one.drop(columns=numbers).equals(other.drop(columns=numbers))
            and _equal(one[numbers].to_numpy(), other[numbers].to_numpy())
        )
    # To rounding: a network's last bits depend on how many rows it is given at once.
    return np.shape(one) == np.shape(other) and np.allclose(one, other, rtol=1e-5, atol=1e-6)


def kill_at_random(kind: Kind, inputs: Path, folder: Path, rng: random.Random) -> bool:
    """Begin, and kill; tell whether the work had not ended before."""
    process, report = begin(kind, inputs, folder, rng.randrange(N_SEEDS))
    time.sleep(rng.uniform(0, 1.1 * kind.seconds))
    os.kill(process, signal.SIGKILL)
    outcome = end(process, report)
    if outcome.killed or outcome.error is None:
        return outcome.killed
    raise RuntimeError(f"{kind.name}: {outcome.error}")


def run_killed(kind: Kind, inputs: Path, folder: Path, rng: random.Random) -> Outcome:
    n_kills = rng.randint(1, 2)
    for _ in range(20):
        n_kills -= kill_at_random(kind, inputs, folder, rng)
        if n_kills == 0:
            break
    return end(*begin(kind, inputs, folder, rng.randrange(N_SEEDS)))


def damage(folder: Path, rng: random.Random) -> str:
    """Damage one file in a random way."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    path = rng.choice(files)
    content = bytearray(path.read_bytes())
    way = rng.choice(["flipped", "truncated", "swapped", "appended"])
    if way == "flipped":
        for _ in range(rng.choice([1, 1, 4, 64])):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif way == "truncated":
        del content[rng.randrange(len(content)) :]
    elif way == "appended":
        content += rng.choice([rng.randbytes(rng.randint(1, 3000)), bytes(content), b"\n"])
    else:
        others = [other for other in files if other.suffix == path.suffix and other != path]
        if others and rng.random() < 0.5:
            other = rng.choice(others)
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
            return f"{path.name} and {other.name} swapped"
        half = len(content) // 2
        size = rng.randint(1, max(1, half))
        content[:size], content[half : half + size] = content[half : half + size], content[:size]
    path.write_bytes(content)
    return f"{path.relative_to(folder)} {way}"


def run_damaged(
    kind: Kind, inputs: Path, folder: Path, rng: random.Random, states: list[Path]
) -> Outcome:
    shutil.copytree(rng.choice(states), folder, dirs_exist_ok=True)
    what = damage(folder, rng)
    outcome = end(*begin(kind, inputs, folder, rng.randrange(N_SEEDS)))
    if outcome.error is not None:
        outcome.error = f"{what}: {outcome.error}"
    return outcome


def run_shared(kind: Kind, inputs: Path, folder: Path, rng: random.Random) -> list[Outcome]:
    running = []
    for number in range(rng.randint(2, 4)):
        running.append(begin(kind, inputs, folder, number))
        time.sleep(rng.choice([0.0, 0.0, kind.seconds * rng.random() / 2]))
    if rng.random() < 0.3:
        time.sleep(kind.seconds * rng.random())
        os.kill(rng.choice(running)[0], signal.SIGKILL)
    outcomes = [end(*each) for each in running]
    outcomes = [each for each in outcomes if not each.killed]
    return [*outcomes, end(*begin(kind, inputs, folder, 0))]


def prepare(kind: Kind, inputs: Path, home: Path, rng: random.Random) -> list[Path]:
    """Do the work undisturbed, and leave finished and half-finished work to damage."""
    states = []
    for seed in range(N_SEEDS):
        folder = home / f"{kind.name}-whole-{seed}"
        folder.mkdir()
        start = time.monotonic()
        outcome = end(*begin(kind, inputs, folder, seed))
        kind.seconds = time.monotonic() - start
        if outcome.error is not None:
            raise RuntimeError(f"{kind.name} fails undisturbed: {outcome.error}")
        kind.expected.append(outcome.result)
        states.append(folder)
    for number in range(4):
        folder = home / f"{kind.name}-half-{number}"
        for _ in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            kill_at_random(kind, inputs, folder, rng)
            if any(path.is_file() and path.stat().st_size for path in folder.rglob("*")):
                states.append(folder)
                break
    return states


def try_kind(
    kind: Kind, inputs: Path, home: Path, repeats: int, seed: int, deadline: float
) -> dict[str, Counter]:
    """Disturb one kind of work in all ways."""
    rng = random.Random(f"{kind.name} {seed}")
    states = prepare(kind, inputs, home, rng)
    counts = {fault: Counter() for fault in FAULTS}
    for number in range(repeats):
        if time.monotonic() > deadline:
            break
        for fault in FAULTS:
            folder = home / f"{kind.name}-{fault}-{number}"
            folder.mkdir()
            if fault == "killed":
                outcomes = [run_killed(kind, inputs, folder, rng)]
            elif fault == "damaged":
                outcomes = [run_damaged(kind, inputs, folder, rng, states)]
            else:
                outcomes = run_shared(kind, inputs, folder, rng)
            worst = max(outcomes, key=lambda each: OUTCOMES.index(judge(kind, each)))
            verdict = judge(kind, worst)
            counts[fault][verdict] += 1
            if verdict in OUTCOMES[3:]:
                print(f"  {kind.name} {fault} {number}: {verdict}: {worst.error}", flush=True)
            elif verdict == "refused" and counts[fault][verdict] == 1:
                print(f"  {kind.name} {fault}, for one: {worst.error}", flush=True)
            shutil.rmtree(folder)
    return counts


def try_in_process(kind: Kind, inputs: Path, home: Path, options: Any) -> tuple[int, Path]:
    """Disturb one kind of work in a process of its own."""
    report = home / f"{kind.name}.counts"
    process = os.fork()
    if process:
        return process, report
    status = 1
    try:
        counts = try_kind(kind, inputs, home, options.repeats, options.seed, options.deadline)
        report.write_bytes(pickle.dumps(counts))
        status = 0
    except Exception as error:
        print(f"{kind.name}: {error!r}", flush=True)
    finally:
        os._exit(status)


def try_all(kinds: list[Kind], inputs: Path, home: Path, options: Any) -> dict[str, Any]:
    """Disturb all kinds, some at once."""
    waiting, running, found, failed = list(kinds), {}, {}, []
    start = time.monotonic()
    while waiting or running:
        while waiting and len(running) < options.jobs:
            kind = waiting.pop(0)
            process, report = try_in_process(kind, inputs, home, options)
            running[process] = kind, report
        process, status = os.wait()
        kind, report = running.pop(process)
        if status:
            failed.append(kind.name)
            continue
        found[kind.name] = pickle.loads(report.read_bytes())
        print(f"{kind.name}, after {time.monotonic() - start:.0f} s", flush=True)
    if failed:
        print(f"not tried, as they failed undisturbed: {', '.join(failed)}")
    return {kind.name: found[kind.name] for kind in kinds if kind.name in found}


def to_table(found: dict[str, dict[str, Counter]]) -> str:
    """Lay out what came of it as a table in Markdown."""
    titles = {kind.name: kind.title for kind in KINDS}
    lines = [
        "| work | fault | tried | right | right with warning | refused with a clear error "
        "| silently wrong | lost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    total = Counter()
    for name, counts in found.items():
        for fault, counter in counts.items():
            total += counter
            cells = [titles[name], fault, counter.total(), *(counter[key] for key in OUTCOMES)]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    cells = ["all", "", total.total(), *(total[key] for key in OUTCOMES)]
    lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=40, help="of each fault on each kind")
    parser.add_argument("--kinds", nargs="+", choices=[kind.name for kind in KINDS])
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no more after that")
    parser.add_argument("--jobs", type=int, default=2, help="kinds at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help=f"also write a page, such as {RESULTS.name}")
    arguments = parser.parse_args()
    arguments.deadline = time.monotonic() + 60 * arguments.minutes
    torch.set_num_threads(1)
    chosen = [kind for kind in KINDS if not arguments.kinds or kind.name in arguments.kinds]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as home:
        inputs = Path(home, "inputs")
        inputs.mkdir()
        maker = Kind("inputs", lambda inputs, _: make_inputs(inputs), "inputs")
        outcome = end(*begin(maker, inputs, Path(home, "none"), 0))
        if outcome.error is not None:
            raise RuntimeError(outcome.error)
        # Compiled on first use, and kept. Not in this process, which must have no threads.
        warmer = Kind("kernels", radiomics, "kernels")
        outcome = end(*begin(warmer, inputs, Path(home, "none"), 0), timeout=10 * TIMEOUT)
        if outcome.error is not None:
            raise RuntimeError(outcome.error)
        found = try_all(chosen, inputs, Path(home), arguments)
    table = to_table(found)
    print(f"\n{table}")
    if arguments.output:
        command = "python benchmarks/faults.py"
        arguments.output.write_text(
            f"# Killed, damaged, shared\n\n    {command} --repeats {arguments.repeats}\n\n"
            f"{date.today()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"{time.monotonic() - start:.0f} seconds.\n\n{table}\n",
            encoding="utf-8",
        )
    bad = (
        len(chosen)
        - len(found)
        + sum(
            counter[key] for c in found.values() for counter in c.values() for key in OUTCOMES[3:]
        )
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
