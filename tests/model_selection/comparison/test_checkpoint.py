"""A comparison that was interrupted goes on where it was, and nothing stale is taken up."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from skcyto.exceptions import DamagedFileWarning
from skcyto.model_selection import compare_models
from skcyto.model_selection._comparison._record_folder import RecordFolder
from skcyto.model_selection._fingerprints import fingerprint_data, fingerprint_estimator

FITS = []


class Counted(DecisionTreeClassifier):
    def fit(self, X, y, sample_weight=None):
        FITS.append(self)
        return super().fit(X, y, sample_weight)


@pytest.fixture
def data():
    return load_iris(return_X_y=True)


@pytest.fixture
def run(tmp_path, data):
    """Compare with a checkpoint; return comparison and number of fits."""

    def compare(estimators=None, X=None, y=None, **options):
        FITS.clear()
        options.setdefault("random_state", 0)
        options.setdefault("cv", 3)
        found = compare_models(
            estimators or {"tree": Counted(max_depth=2), "nb": GaussianNB()},
            data[0] if X is None else X,
            data[1] if y is None else y,
            checkpoint=tmp_path / "checkpoint",
            **options,
        )
        return found, len(FITS)

    return compare


def test_a_finished_comparison_is_read_back_to_the_last_bit(run):
    first, fits = run()
    assert fits == 3
    second, fits = run()
    assert fits == 0
    pd.testing.assert_frame_equal(first.scores, second.scores, check_exact=True)
    pd.testing.assert_frame_equal(first.times, second.times, check_exact=True)
    for name in first.models:
        pd.testing.assert_frame_equal(
            first.out_of_fold(name), second.out_of_fold(name), check_exact=True
        )


def test_a_lost_record_is_computed_anew(run, tmp_path):
    first, _ = run({"tree": Counted()})
    records = sorted((tmp_path / "checkpoint").glob("*.npz"))
    assert len(records) == 3
    records[1].unlink()
    second, fits = run({"tree": Counted()})
    assert fits == 1
    pd.testing.assert_frame_equal(first.scores, second.scores, check_exact=True)
    assert not list((tmp_path / "checkpoint").glob("*.part"))


def test_what_changed_is_computed_anew_and_nothing_else(run, data):
    X, y = data
    run()
    assert run({"tree": Counted(max_depth=3), "nb": GaussianNB()})[1] == 3
    # A name or a neighbour is nothing that results depend on.
    assert run({"renamed": Counted(max_depth=2), "other": DecisionTreeClassifier()})[1] == 0
    changed = X.copy()
    changed[0, 0] += 1
    assert run(X=changed)[1] == 3
    assert run(y=np.where(np.arange(150) == 0, 1, y))[1] == 3
    assert run(random_state=1)[1] == 3
    assert run(params={"sample_weight": np.ones(150)})[1] == 3
    assert run()[1] == 0


def test_new_scores_come_from_old_predictions(run):
    run(scoring=["accuracy"])
    found, fits = run(scoring=["accuracy", "log_loss", "roc_auc_ovr"][0::2])
    assert fits == 0
    assert found.metrics == ["accuracy", "roc_auc_ovr"]
    scorer = make_scorer(f1_score, average="macro")
    assert run(scoring={"f1": scorer})[1] == 0

    def depth(estimator, X, y):
        return getattr(estimator, "max_depth", 0)

    # Only the fitted estimator can tell this one: fitted once more, then kept too.
    assert run(scoring={"depth": depth})[1] == 3
    assert run(scoring={"depth": depth})[1] == 0


def test_without_a_seed_the_folder_keeps_one(run):
    first, _ = run(random_state=None)
    second, fits = run(random_state=None)
    assert fits == 0
    pd.testing.assert_frame_equal(first.scores, second.scores, check_exact=True)


def test_folds_that_come_out_otherwise_at_every_call_are_refused(run):
    with pytest.raises(ValueError, match="gives other folds at every call"):
        run(cv=KFold(3, shuffle=True))
    run(cv=StratifiedKFold(3, shuffle=True, random_state=0))


def test_a_failure_is_tried_again(run):
    class Flaky(ClassifierMixin, BaseEstimator):
        broken = True

        def fit(self, X, y):
            if self.broken:
                raise OSError("disk full")
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return np.zeros(len(X), dtype=int)

    candidates = {"tree": Counted(), "flaky": Flaky()}
    with pytest.warns(FitFailedWarning, match="disk full"):
        run(candidates)
    Flaky.broken = False
    found, fits = run(candidates)
    assert fits == 0
    assert found.models == ["tree", "flaky"]


def test_a_checkpoint_that_is_a_file_is_refused(data, tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(ValueError, match="is a file; give a folder"):
        compare_models({"nb": GaussianNB()}, *data, checkpoint=path)


def test_the_records_hold_no_pickles(run, tmp_path):
    run()
    for path in (tmp_path / "checkpoint").glob("*.npz"):
        with np.load(path, allow_pickle=False) as file:
            assert set(file.files) == {"codes", "response", "facts"}


def double(X):
    return 2 * X


def halve(X):
    return X / 2


def power(exponent):
    return FunctionTransformer(lambda X: X**exponent)


first, second = lambda X: X + 1, lambda X: X - 1
EXPONENT = 2


def to_the_power(X):
    return X**EXPONENT


def by_way_of_another(X):
    return to_the_power(X)


class Mixin:
    factor = 2


class Scaled(Mixin, BaseEstimator):
    def transform(self, X):
        return self.factor * X


def defined(source, name):
    """Define something as at a prompt, where no source can be found."""
    scope = {"__name__": "__main__", "BaseEstimator": BaseEstimator}
    exec(source, scope)
    return scope[name]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (FunctionTransformer(first), FunctionTransformer(second)),
        (
            FunctionTransformer(defined("def f(X): return X + 1", "f")),
            FunctionTransformer(defined("def f(X): return X + 2", "f")),
        ),
        (
            defined("class A(BaseEstimator):\n    def fit(self, X): return 1", "A")(),
            defined("class A(BaseEstimator):\n    def fit(self, X): return 2", "A")(),
        ),
        (make_scorer(first), make_scorer(second)),
        (make_scorer(double), make_scorer(double, greater_is_better=False)),
        ([first], [second]),
        (GaussianNB(), GaussianNB(var_smoothing=1e-8)),
        (GaussianNB(priors=np.array([0.5, 0.5])), GaussianNB(priors=np.array([0.4, 0.6]))),
        (FunctionTransformer(double), FunctionTransformer(halve)),
        (power(2), power(3)),
        (
            FunctionTransformer(kw_args={"a": [1, {"b": 2}]}),
            FunctionTransformer(kw_args={"a": [1, {"b": 3}]}),
        ),
        (make_pipeline(GaussianNB()), make_pipeline(FunctionTransformer(), GaussianNB())),
        (Counted(), DecisionTreeClassifier()),
        (DecisionTreeClassifier(max_depth=1), DecisionTreeClassifier(max_depth=True)),
    ],
)
def test_fingerprints_tell_estimators_apart(one, two):
    from sklearn.base import clone

    assert fingerprint_estimator(one) == fingerprint_estimator(clone(one, safe=False))
    assert fingerprint_estimator(one) != fingerprint_estimator(two)


@pytest.mark.parametrize("item", [to_the_power, by_way_of_another, make_scorer(by_way_of_another)])
def test_a_constant_that_a_function_uses_counts(item, monkeypatch):
    before = fingerprint_estimator(item)
    assert before == fingerprint_estimator(item)
    monkeypatch.setattr(sys.modules[__name__], "EXPONENT", 3)
    assert fingerprint_estimator(item) != before


def test_a_base_class_of_the_users_own_counts(monkeypatch):
    before = fingerprint_estimator(Scaled())
    monkeypatch.setattr(Mixin, "factor", 3)
    assert fingerprint_estimator(Scaled()) != before


def test_functions_that_call_themselves_and_sets_have_one_digest_in_every_process():
    script = """
        from skcyto.model_selection._fingerprints import fingerprint_estimator

        def recurse(X, depth=3):
            return X if depth in {1, "a", "b", "c"} else recurse(X, depth - 1)

        class A:
            def again(self):
                return A().again()

        def inner():
            def one(n):
                return n and two(n - 1)

            def two(n):
                return n and one(n - 1)

            return one

        print(fingerprint_estimator([recurse, A, inner()]))
    """
    found = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in range(3)
    }
    assert len(found) == 1


def test_an_object_that_holds_itself_and_cannot_be_pickled_has_a_digest():
    class Knot:
        def __init__(self, power):
            self.me, self.function = self, lambda X: X**power

    assert fingerprint_estimator(Knot(2)) == fingerprint_estimator(Knot(2))
    assert fingerprint_estimator(Knot(2)) != fingerprint_estimator(Knot(3))


def test_another_scorer_of_the_same_name_is_computed_anew(run):
    def cost(factor):
        return lambda estimator, X, y: -factor * float((estimator.predict(X) != y).mean())

    first, _ = run(scoring={"cost": cost(5)})
    second, fits = run(scoring={"cost": cost(9)})
    assert fits == 3
    nine, five = (each.table()["cost"]["mean"] for each in (second, first))
    np.testing.assert_allclose(nine, five * 9 / 5)
    assert (nine < 0).all()
    assert run(scoring={"cost": cost(9)})[1] == 0


@pytest.mark.parametrize("content", [b"", b"hello", "half", "flipped"])
def test_a_damaged_record_is_named_and_computed_anew(run, tmp_path, content):
    first, _ = run({"tree": Counted()})
    path = sorted((tmp_path / "checkpoint").glob("*.npz"))[1]
    sound = path.read_bytes()
    if content == "half":
        content = sound[: len(sound) // 2]
    elif content == "flipped":
        content = sound[:200] + bytes([sound[200] ^ 255]) + sound[201:]
    path.write_bytes(content)
    with pytest.warns(DamagedFileWarning, match=f"{path.name} is damaged .* set aside as"):
        second, fits = run({"tree": Counted()})
    assert fits == 1
    pd.testing.assert_frame_equal(first.scores, second.scores, check_exact=True)
    assert path.read_bytes()[:2] == b"PK"


def test_the_cache_of_a_pipeline_is_no_difference(tmp_path):
    plain = make_pipeline(GaussianNB())
    cached = make_pipeline(GaussianNB(), memory=str(tmp_path))
    assert fingerprint_estimator(plain) == fingerprint_estimator(cached)


def test_files_count_by_what_is_in_them(tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for path in paths:
        with open(path, "w") as file:
            file.write("one")
    y = np.arange(3)
    for X in (paths, [(path, path) for path in paths], pd.DataFrame({"file": paths})):
        before = fingerprint_data(X, y, {})
        assert before == fingerprint_data(X, y, {})
        with open(paths[1], "a") as file:
            file.write("more")
        assert fingerprint_data(X, y, {}) != before


def test_a_half_written_record_never_appears(tmp_path, monkeypatch):
    store = RecordFolder(tmp_path, {})
    monkeypatch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.seed(3)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}", b'{"seed": 4}', b"no json"])
def test_a_damaged_seed_is_set_aside_and_its_copy_goes_on(tmp_path, content):
    assert RecordFolder(tmp_path, {}).seed(3) == 3
    sound = (tmp_path / "seed.json").read_bytes()
    (tmp_path / "seed.json").write_bytes(content)
    with pytest.warns(DamagedFileWarning, match="seed.json is damaged .* set aside as"):
        assert RecordFolder(tmp_path, {}).seed(5) == 3
    (aside,) = tmp_path.glob("seed.json.damaged-*")
    assert aside.read_bytes() == content
    assert (tmp_path / "seed.json").read_bytes() == sound
    assert RecordFolder(tmp_path, {}).seed(5) == 3


def test_processes_that_begin_at_once_have_one_seed(tmp_path):
    script = (
        "import sys; from skcyto.model_selection._comparison._record_folder import RecordFolder;"
    )
    script += "print(RecordFolder(sys.argv[1], {}).seed(int(sys.argv[2])))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, tmp_path, str(i)], stdout=subprocess.PIPE, text=True
        )
        for i in range(3)
    ]
    assert len({process.communicate()[0] for process in processes}) == 1


def test_a_record_under_another_name_is_damaged(run, tmp_path):
    first, _ = run({"tree": Counted()})
    one, other = sorted((tmp_path / "checkpoint").glob("*.npz"))[:2]
    one.write_bytes(other.read_bytes())
    with pytest.warns(DamagedFileWarning, match=f"{one.name} is damaged .* set aside as"):
        second, fits = run({"tree": Counted()})
    assert fits == 1
    pd.testing.assert_frame_equal(first.scores, second.scores, check_exact=True)


SCRIPT = """
import sys, time
import numpy as np
from pathlib import Path
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier
from skcyto.model_selection import compare_models

class Slow(DecisionTreeClassifier):
    def fit(self, X, y, sample_weight=None):
        with open(sys.argv[2], "a") as log:
            log.write("fit\\n")
        time.sleep(float(sys.argv[3]))
        return super().fit(X, y, sample_weight)

comparison = compare_models(
    {"one": Slow(max_depth=1), "two": Slow(max_depth=2)},
    *load_iris(return_X_y=True), checkpoint=sys.argv[1], scoring=["accuracy"],
)
print(comparison.table().to_csv())
"""


def test_killed_and_taken_up_again(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    folder, log = tmp_path / "checkpoint", tmp_path / "log"

    def command(pause, where=folder):
        return [sys.executable, str(script), str(where), str(log), pause]

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def finish(where):
        done = subprocess.run(
            command("0", where), capture_output=True, text=True, check=True, env=environment
        )
        return done.stdout

    process = subprocess.Popen(command("0.15"), env=environment)
    deadline = time.monotonic() + 600
    while len(list(folder.glob("*.npz"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list(folder.glob("*.npz")))
    assert 4 <= finished < 20
    log.unlink()
    resumed = finish(folder)
    assert log.read_text(encoding="utf-8").count("fit") == 20 - finished
    # The seed was drawn by the run that was killed; with it, one go gives the same.
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "seed.json").write_text(
        (folder / "seed.json").read_text(encoding="utf-8")
    )
    assert finish(tmp_path / "again") == resumed
