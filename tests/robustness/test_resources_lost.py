"""Full disks, folders of others, no locks, workers that die: what docs/guide/reliability.md says.

Each case runs in a process of its own, as a user's script would.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NOBODY = 65534
# What every script begins with: a small work of each kind, in the folder that it is given.
WORK = """
import sys, warnings
from pathlib import Path
import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

torch.set_num_threads(1)
place, name = Path(sys.argv[1]), sys.argv[2]
X, y = load_iris(return_X_y=True)
images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)
scans = [(np.random.default_rng(i).normal(size=(6, 6, 6)), np.ones((6, 6, 6))) for i in range(40)]

def embedder(**params):
    from skcyto.feature_extraction import EVA02TokenEmbedder
    return EVA02TokenEmbedder("test_vit", weights=None, image_size=32, random_state=0, **params)

def embedding():
    return np.abs(embedder(cache=place).fit_transform(images)).sum()

def parquet():
    from PIL import Image
    from skcyto.feature_extraction import embed_to_parquet
    import pandas as pd
    import tempfile
    with tempfile.TemporaryDirectory() as cells:
        paths = [f"{cells}/{i}.png" for i in range(40)]
        for path, image in zip(paths, images):
            Image.fromarray(image).save(path)
        model = embedder().fit(paths)
        # The names must be those of the call before.
        from skcyto.feature_extraction._parquet import _manifest
        _manifest.PathList.digest = lambda self: "the same"
        embed_to_parquet(model, paths, place / "set", part_size=10)
    return np.abs(pd.read_parquet(place / "set").select_dtypes("number").to_numpy()).sum()

def finetuning():
    from skcyto.neural_network import EVA02Classifier
    classifier = EVA02Classifier(
        "test_vit", weights=None, image_size=32, max_epochs=2, validation_fraction=None,
        checkpoint=place, random_state=0,
    )
    return classifier.fit(images[:12], np.arange(12) % 2).predict_proba(images)[:, 0].sum()

def comparison(n_jobs=1, models=None):
    from skcyto.model_selection import compare_models
    models = models or {"one": GaussianNB(), "two": GaussianNB(var_smoothing=0.1)}
    return compare_models(
        models, X, y, checkpoint=place, random_state=0, scoring=["accuracy"], n_jobs=n_jobs
    ).scores.to_numpy().sum()

def radiomics():
    from skcyto.feature_extraction import RadiomicsExtractor
    settings = {"featureClass": {"firstorder": ["Mean", "Energy"]}}
    return RadiomicsExtractor([1], settings=settings, cache=place).fit_transform(scans).sum()

def search():
    from skcyto.model_selection import OptunaSearchCV
    found = OptunaSearchCV(
        GaussianNB(), {"var_smoothing": [1e-9, 1e-3, 0.1, 1.0]}, n_trials=4, cv=3,
        storage=f"sqlite:///{place}/trials.db", random_state=0,
    ).fit(X, y)
    return found.cv_results_["mean_test_score"].sum()

def model():
    import skcyto
    pipeline = make_pipeline(StandardScaler(), GaussianNB()).fit(X, y)
    path = skcyto.save(pipeline, place / "model", overwrite=True)
    return skcyto.load(path).predict_proba(X)[:, 0].sum()

def predict():
    import contextlib, io
    import pandas as pd
    import skcyto
    from PIL import Image
    from skcyto.command_line import main
    inputs = Path(f"{place}-inputs")
    if not inputs.exists():
        (inputs / "cells").mkdir(parents=True)
        for i, image in enumerate(images):
            Image.fromarray(image).save(inputs / "cells" / f"{i:02}.png")
        pipeline = make_pipeline(embedder(), GaussianNB()).fit(list(images), np.arange(40) % 2)
        skcyto.save(pipeline, inputs / "model")
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        words = [inputs / "model", inputs / "cells", "-o", place / "table.csv", "--quiet"]
        status = main(["predict", *map(str, words)])
    if status:
        raise OSError(said.getvalue())
    return pd.read_csv(place / "table.csv")["probability_0"].sum()

def tell(work):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            print("result", round(float(work()), 3))
        except Exception as error:
            print("error", f"{type(error).__name__}: {error}".replace("\\n", " "))
    for each in caught:
        print("warning", each.category.__name__, str(each.message).replace("\\n", " "))
"""
KINDS = (
    "embedding",
    "parquet",
    "finetuning",
    "comparison",
    "radiomics",
    "search",
    "model",
    "predict",
)
GOES_ON = {"embedding", "radiomics"}  # a result is worth more than its cache


def run(place, kind, script="tell(globals()[name])", **settings):
    """Run a script after the common beginning; return what it says by its first words."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment |= settings.pop("env", {})
    done = subprocess.run(
        [sys.executable, "-c", WORK + textwrap.dedent(script), str(place), kind],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=environment,
        cwd="/",
        **settings,
    )
    said = [line.partition(" ") for line in done.stdout.splitlines()]
    assert said, done.stderr
    return {first: rest for first, _, rest in reversed(said)} | {"all": done.stdout}


@pytest.fixture(scope="module")
def undisturbed():
    """The results of all kinds, in one process."""
    script = """
    import tempfile
    for each in {kinds!r}:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            print(each, round(float(globals()[each]()), 3))
    """
    with tempfile.TemporaryDirectory() as folder:
        return run(folder, "all", script.replace("{kinds!r}", repr(KINDS)))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with almost no room; the filler takes the rest."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("mounting a file system takes root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk, n_left):
    """Leave this many bytes of a disk."""
    filler = disk.parent / "disk" / "filler"
    stat = os.statvfs(disk)
    filler.write_bytes(b"\0" * max(0, stat.f_bavail * stat.f_bsize - n_left))
    return filler


@pytest.mark.parametrize("n_left", [0, 40_000])
@pytest.mark.parametrize("kind", KINDS)
def test_full_disk(kind, n_left, small_disk, undisturbed):
    """A cache that takes no more is done without; else an error names the place, and the same
    work goes on once there is room."""
    filler = fill(small_disk, n_left)
    said = run(small_disk, kind)
    if "result" in said:
        assert said["result"] == undisturbed[kind]
        assert n_left or kind in GOES_ON
    else:
        assert str(small_disk) in said["error"]
        assert "full" in said["error"] or "space" in said["error"]
    filler.unlink()
    again = run(small_disk, kind)
    assert again.get("result") == undisturbed[kind], again["all"]
    assert "warning DamagedFile" not in again["all"]


@pytest.mark.parametrize("kind", KINDS)
def test_folder_of_someone_else(kind, undisturbed):
    """An error that names the folder, also where it holds the finished work of its owner."""
    settings = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
    try:
        subprocess.run([sys.executable, "-c", "import encodings"], check=True, cwd="/", **settings)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("others than root cannot run this Python: it lies in root's own folder")
    place = Path(tempfile.mkdtemp(prefix="skcyto-foreign-"))
    try:
        for finished in (False, True):
            if finished:
                place.chmod(0o755)
                assert run(place, kind)["result"] == undisturbed[kind]
            place.chmod(0o555)
            before = sorted(path.name for path in place.rglob("*"))
            said = run(place, kind, env={"HOME": "/tmp"}, **settings)
            if "result" in said:  # what is there can be read
                assert finished
                assert said["result"] == undisturbed[kind]
            else:
                assert str(place) in said["error"], said["all"]
            assert sorted(path.name for path in place.rglob("*")) == before
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)
        shutil.rmtree(f"{place}-inputs", ignore_errors=True)


NO_LOCKS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
static int refuses(int cmd) { return cmd == F_SETLK || cmd == F_SETLKW || cmd == F_OFD_SETLK; }
int flock(int fd, int how) { errno = ENOLCK; return -1; }
#define LAYER(name)                                                      \
    int name(int fd, int cmd, ...) {                                     \
        static int (*next)(int, int, ...);                               \
        va_list rest; va_start(rest, cmd);                               \
        void *argument = va_arg(rest, void *); va_end(rest);             \
        if (refuses(cmd)) { errno = ENOLCK; return -1; }                 \
        if (!next) next = (int (*)(int, int, ...))dlsym(RTLD_NEXT, #name); \
        return next(fd, cmd, argument);                                  \
    }
LAYER(fcntl)
LAYER(fcntl64)
"""


@pytest.fixture(scope="module")
def no_locks(tmp_path_factory):
    """A library under which no file can be locked, as on some network file systems."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("takes a C compiler and Linux")
    folder = tmp_path_factory.mktemp("no_locks")
    (folder / "no_locks.c").write_text(NO_LOCKS)
    library = folder / "no_locks.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", library, folder / "no_locks.c", "-ldl"], check=True
    )
    return {"LD_PRELOAD": str(library)}


@pytest.mark.parametrize("kind", KINDS)
def test_no_locks(kind, no_locks, undisturbed, tmp_path):
    """What needs no locks is right; SQLite's files are refused in an error that names them."""
    script = """
    from skcyto.utils import _content_store
    from skcyto.model_selection._search import _damage
    _content_store._BUSY_SECONDS = _damage._TIMEOUT = 0.2
    import sqlite3
    connect = sqlite3.connect
    sqlite3.connect = lambda path, **settings: connect(path, **{**settings, "timeout": 0.2})
    import sqlite3.dbapi2
    sqlite3.dbapi2.connect = sqlite3.connect
    tell(globals()[name])
    """
    said = run(tmp_path, kind, script, env=no_locks)
    if kind in ("embedding", "radiomics", "search", "predict"):
        assert str(tmp_path) in said["error"], said["all"]
        assert "lock" in said["error"]
    else:
        assert said.get("result") == undisturbed[kind], said["all"]


@pytest.mark.parametrize("death", ["killed", "segmentation fault"])
def test_a_worker_dies_in_a_comparison(death, undisturbed, tmp_path):
    """As by the kernel where memory is short: an error says so, finished folds are kept."""
    how = "os.kill(os.getpid(), 9)" if death == "killed" else "ctypes.string_at(0)"
    (tmp_path / "dying.py").write_text(
        textwrap.dedent(
            f"""
            import ctypes, os, time
            from sklearn.naive_bayes import GaussianNB

            class Dying(GaussianNB):
                def fit(self, X, y, sample_weight=None):
                    time.sleep(2)
                    if not os.path.exists({str(tmp_path / "sound")!r}):
                        {how}
                    return super().fit(X, y, sample_weight)
            """
        )
    )
    script = """
    sys.path.insert(0, str(place.parent))
    from dying import Dying
    models = {"one": GaussianNB(), "two": Dying(var_smoothing=0.1)}
    tell(lambda: comparison(2, models))
    """
    place = tmp_path / "checkpoint"
    environment = {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "PYTHONFAULTHANDLER": "0"}
    said = run(place, "comparison", script, env=environment)
    assert "TerminatedWorkerError" in said["error"], said["all"]
    assert "memory" in said["error"]
    kept = len(list(place.glob("*.npz")))
    assert kept > 0
    (tmp_path / "sound").touch()
    said = run(place, "comparison", script, env=environment)
    assert said.get("result") == undisturbed["comparison"], said["all"]


def test_many_processes_at_once_and_killed_ones():
    """The command that kills, damages and shares each kind of work, a few times each."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "faults.py", "--repeats", "3"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| all |" in done.stdout
