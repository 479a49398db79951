"""Fine-tuning that is interrupted goes on to the same result, and mixes nothing up."""

import io
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from skcyto.neural_network._transformer._checkpoint import Checkpoint
from skcyto.neural_network._transformer._loop import FineTuning
from skcyto.utils._atomic import _node
from skcyto.utils._damage import make_seal

pytestmark = pytest.mark.usefixtures("one_thread")

FILES = {"fine_tuning.pt", "fine_tuning.previous.pt"}
PARAMS = {"max_epochs": 5, "drop_path": 0.2, "augment": "default", "learning_rate": 3e-3}


class Killed(Exception):
    """In place of a signal, where a process of its own would show no more."""


def kill_in_epoch(monkeypatch, number):
    train = FineTuning._train

    def interrupted(self, epoch, stream, advance):
        if epoch == number - 1:
            raise Killed
        return train(self, epoch, stream, advance)

    monkeypatch.setattr(FineTuning, "_train", interrupted)


def assert_same_fit(result, expected):
    for key, tensor in expected.network_.state_dict().items():
        torch.testing.assert_close(result.network_.state_dict()[key], tensor, atol=1e-6, rtol=0)
    for row, other in zip(result.history_, expected.history_, strict=True):
        assert {**row, "dur": 0} == {**other, "dur": 0}
    assert result.best_epoch_ == expected.best_epoch_


SCRIPT = """
import os, signal, sys
import numpy as np, torch
from skcyto.neural_network import EVA02Classifier
from skcyto.neural_network._transformer._loop import FineTuning

torch.set_num_threads(1)
folder, data = sys.argv[1:]
step = FineTuning._step
steps = 0

def killed(self, *args):
    global steps
    steps += 1
    # Five batches an epoch: the second batch of the third one.
    if steps == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *args)

FineTuning._step = killed
data = np.load(data)
EVA02Classifier("test_vit", checkpoint=folder, **{params}).fit(data["X"], data["y"])
"""


def test_killed_in_epoch_3_and_resumed_equals_unbroken(images, make_classifier, tmp_path):
    """With ``kill -9`` in a process of its own, in the middle of the epoch."""
    X, y = images
    np.savez(tmp_path / "data.npz", X=X, y=y)
    params = {**make_classifier(**PARAMS).get_params()}
    defaults = type(make_classifier())().get_params()
    params = {k: v for k, v in params.items() if v != defaults[k] and k != "model_name"}
    script = textwrap.dedent(SCRIPT).replace("{params}", repr(params))
    folder = tmp_path / "checkpoint"
    process = subprocess.run(
        [sys.executable, "-c", script, str(folder), str(tmp_path / "data.npz")],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert {path.name for path in folder.iterdir()} == FILES
    assert len(torch.load(folder / "fine_tuning.pt", weights_only=True)["state"]["history"]) == 2
    unbroken = make_classifier(**PARAMS).fit(X, y)
    resumed = make_classifier(**PARAMS, checkpoint=folder).fit(X, y)
    assert_same_fit(resumed, unbroken)
    np.testing.assert_array_equal(resumed.predict_proba(X), unbroken.predict_proba(X))


@pytest.mark.parametrize(
    "params",
    [
        {"restore_best_weights": False, "validation_fraction": None, "lr_scheduler": "cosine"},
        {"loss": "group_dro", "sampler": "grouped", "batch_size": 9},
        {"freeze": 3, "grad_accumulation": 2, "class_weight": "balanced", "lr_scheduler": None},
    ],
)
def test_every_part_of_the_state_comes_back(images, make_classifier, tmp_path, monkeypatch, params):
    """Schedules, losses with a state, samplers: whatever the rest of the training depends on."""
    params = {**PARAMS, "max_epochs": 4, **params}
    expected = make_classifier(**params).fit(*images)
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 3)
        with pytest.raises(Killed):
            make_classifier(**params, checkpoint=tmp_path).fit(*images)
    assert_same_fit(make_classifier(**params, checkpoint=tmp_path).fit(*images), expected)


@pytest.mark.parametrize("restore", [True, False])
def test_a_finished_fit_is_not_repeated(images, make_classifier, tmp_path, monkeypatch, restore):
    common = {"checkpoint": tmp_path, "restore_best_weights": restore}
    expected = make_classifier(**common).fit(*images)
    monkeypatch.setattr(FineTuning, "_step", lambda *args: pytest.fail("trained again"))
    assert_same_fit(make_classifier(**common).fit(*images), expected)


def test_a_finished_checkpoint_holds_the_result_alone(images, make_classifier, tmp_path):
    make_classifier(checkpoint=tmp_path).fit(*images)
    state = torch.load(tmp_path / "fine_tuning.pt", weights_only=True)["state"]
    assert "optimizer" not in state
    assert state["best"]


def test_an_unset_random_state_is_kept_in_the_checkpoint(
    images, make_classifier, tmp_path, monkeypatch
):
    """Else an interrupted fit would go on with another validation split."""
    params = {"random_state": None, "checkpoint": tmp_path}
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 2)
        with pytest.raises(Killed):
            make_classifier(**params).fit(*images)
    seeds = torch.load(tmp_path / "fine_tuning.pt", weights_only=True)["state"]["seeds"]
    make_classifier(**params).fit(*images)
    assert torch.load(tmp_path / "fine_tuning.pt", weights_only=True)["state"]["seeds"] == seeds


def change_images(X, y, groups):
    X = X.copy()
    X[3, 0, 0] ^= 1
    return X, y, groups


def change_labels(X, y, groups):
    return X, np.r_[y[1:], y[:1]], groups


def change_groups(X, y, groups):
    return X, y, groups[::-1]


@pytest.mark.parametrize(
    ("params", "change", "message"),
    [
        ({"model_name": "test_vit2"}, None, "model_name was 'test_vit' and is 'test_vit2'"),
        ({"image_size": 48}, None, "image_size was 32 and is 48"),
        ({"learning_rate": 1e-4}, None, "learning_rate was 0.002 and is 0.0001"),
        ({"loss": "focal"}, None, "loss was 'CrossEntropy()' and is 'Focal()'"),
        ({"class_weight": "balanced"}, None, "class_weight was None and is \"'balanced'\""),
        ({"random_state": 1}, None, "random_state was"),
        ({"max_epochs": 3}, None, "max_epochs was 2 and is 3"),
        ({}, change_images, "its images are not those of this fit"),
        ({}, change_labels, "its labels are not those of this fit"),
        ({}, change_groups, "its groups are not those of this fit"),
    ],
)
def test_the_checkpoint_of_another_fit_is_an_error_before_training(
    images, make_classifier, tmp_path, monkeypatch, params, change, message
):
    X, y = images
    groups = np.arange(36) // 3
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 2)
        with pytest.raises(Killed):
            make_classifier(checkpoint=tmp_path).fit(X, y, groups=groups)
    before = (tmp_path / "fine_tuning.pt").read_bytes()
    if change is not None:
        X, y, groups = change(X, y, groups)
    monkeypatch.setattr(FineTuning, "run", lambda *args, **kwargs: pytest.fail("training began"))
    with pytest.raises(ValueError, match=r"belongs to another fit: .*'{fit}'") as error:
        make_classifier(checkpoint=tmp_path, **params).fit(X, y, groups=groups)
    assert message in str(error.value)
    assert (tmp_path / "fine_tuning.pt").read_bytes() == before


def test_what_changes_no_result_may_change(images, make_classifier, tmp_path):
    expected = make_classifier(checkpoint=tmp_path).fit(*images)
    other = make_classifier(
        checkpoint=tmp_path, verbose=1, n_jobs=2, device="cpu", gradient_checkpointing=True
    )
    assert_same_fit(other.fit(*images), expected)


def test_groups_belong_to_a_fit_only_where_it_uses_them(images, make_classifier, tmp_path):
    """So that a classifier and an embedder, which gets no groups, share one fine-tuning."""
    params = {"checkpoint": tmp_path, "validation_fraction": None, "max_epochs": 1}
    expected = make_classifier(**params).fit(*images, groups=np.arange(36))
    assert_same_fit(make_classifier(**params).fit(*images), expected)


def test_each_fit_has_a_folder_of_its_own_where_the_name_says_so(images, make_classifier, tmp_path):
    X, y = images
    folder = f"{tmp_path}/{{fit}}"
    for rows in (slice(0, 30), slice(6, 36), slice(0, 30)):
        make_classifier(checkpoint=folder, max_epochs=1).fit(X[rows], y[rows])
    make_classifier(checkpoint=folder, max_epochs=1, learning_rate=1e-4).fit(X[:30], y[:30])
    assert len(list(tmp_path.glob("*/fine_tuning.pt"))) == 3


def flip(content, position):
    changed = bytearray(content)
    changed[position] ^= 1 << position % 8
    return bytes(changed)


def find_tensor_bytes(path):
    """Positions of the largest tensors' first bytes: flipped, the file still can be read."""
    content = path.read_bytes()
    state = torch.load(path, weights_only=True)["state"]
    tensors = sorted(state["network"].values(), key=lambda tensor: -tensor.numel())[:3]
    found = [content.find(tensor.numpy().tobytes()) for tensor in tensors]
    assert min(found) > 0
    return found


def make_damages(last, previous, in_tensors):
    size = len(last)
    rng = np.random.default_rng(0)
    anywhere = [int(position) for position in rng.integers(size, size=8)]
    # Not the signs of floats alone: any bit of any byte.
    damages = {f"flip {i}": flip(last, i) for i in (*in_tensors, *anywhere, 0, size - 1)}
    damages |= {f"cut {part}": last[: int(size * part)] for part in (0.001, 0.1, 0.5, 0.999)}
    damages |= {f"cut by {n}": last[:-n] for n in (1, 32, 46, 47)}
    damages |= {
        "empty": b"",
        "text": b"no checkpoint",
        "appended": last + b"more",
        "twice": last + last[-46:],
        "zeros": bytes(size),
        "swapped halves": last[size // 2 :] + last[: size // 2],
        "tail of another": last[:-46] + previous[-46:],
        "head of another": previous[: size // 4] + last[size // 4 :],
        "zeros inside": last[: size // 3] + bytes(4096) + last[size // 3 + 4096 :],
    }
    return damages


@pytest.fixture
def interrupted(images, make_classifier, tmp_path, monkeypatch):
    """Parameters, and the result of the unbroken fit, of one that was killed in its 3rd epoch."""
    params = {"max_epochs": 3, "drop_path": 0.2, "augment": "default"}
    expected = make_classifier(**params).fit(*images)
    params["checkpoint"] = tmp_path / "kept"
    with monkeypatch.context() as patch:
        kill_in_epoch(patch, 3)
        with pytest.raises(Killed):
            make_classifier(**params).fit(*images)
    return params, expected


def test_no_damage_is_believed(interrupted):
    """Every damaged file is named and set aside, and the state before it is taken."""
    folder = interrupted[0]["checkpoint"]
    path, previous = folder / "fine_tuning.pt", folder / "fine_tuning.previous.pt"
    last, older = path.read_bytes(), previous.read_bytes()
    fingerprint = torch.load(path, weights_only=True)["fingerprint"]
    checkpoint = Checkpoint(folder, fingerprint)
    assert len(checkpoint.load()["history"]) == 2
    damages = make_damages(last, older, find_tensor_bytes(path))
    assert len(damages) >= 30
    for name, content in damages.items():
        path.write_bytes(content)
        with pytest.warns(UserWarning, match="a checkpoint is damaged: .*fine_tuning.pt") as caught:
            state = checkpoint.load()
        assert len(caught) == 1, name
        assert "goes on from the last whole state" in str(caught[0].message)
        assert len(state["history"]) == 1, name
        (aside,) = folder.glob("fine_tuning.pt.damaged-*")
        assert aside.read_bytes() == content
        assert aside.name in str(caught[0].message)
        aside.unlink()
    assert previous.read_bytes() == older


def test_after_damage_the_result_is_that_of_the_unbroken_fit(images, make_classifier, interrupted):
    params, expected = interrupted
    path = params["checkpoint"] / "fine_tuning.pt"
    path.write_bytes(flip(path.read_bytes(), find_tensor_bytes(path)[0]))
    with pytest.warns(UserWarning, match="goes on from the last whole state"):
        result = make_classifier(**params).fit(*images)
    assert_same_fit(result, expected)
    np.testing.assert_array_equal(
        result.predict_proba(images[0]), expected.predict_proba(images[0])
    )


def test_where_no_state_is_whole_training_begins_anew(images, make_classifier, interrupted):
    params, expected = interrupted
    folder = params["checkpoint"]
    for name in FILES:
        (folder / name).write_bytes(b"")
    with pytest.warns(UserWarning, match="begins anew, as there is no whole state") as caught:
        result = make_classifier(**params).fit(*images)
    assert_same_fit(result, expected)
    assert all(str(folder / name) in str(caught[0].message) for name in FILES)
    assert len(list(folder.glob("*.damaged-*"))) == 2


def test_a_kill_between_the_two_renamings_loses_nothing(images, make_classifier, interrupted):
    params, expected = interrupted
    folder = params["checkpoint"]
    (folder / "fine_tuning.pt").replace(folder / "fine_tuning.previous.pt")
    assert_same_fit(make_classifier(**params).fit(*images), expected)


def test_a_whole_file_of_something_else_is_refused_in_words_of_our_own(tmp_path):
    """torch's own message advises to let the file run code."""

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    for content in ({"weights": torch.zeros(3)}, Hostile(), [1, 2]):
        file = io.BytesIO()
        torch.save(content, file)
        whole = file.getvalue()
        path = tmp_path / "fine_tuning.pt"
        path.write_bytes(whole + make_seal(whole, path.name))
        with pytest.raises(ValueError, match=r"fine_tuning.pt is whole but no checkpoint") as error:
            Checkpoint(tmp_path, {"a": 1}).load()
        assert "weights_only" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_half_written_files_of_killed_processes_are_cleared_when_they_are_old(tmp_path):
    # The names say which process of which machine wrote them: this one, and one elsewhere.
    own = tmp_path / f".fine_tuning.pt.{_node()}.{os.getpid()}.0a1b2c3d.part"
    old, new = (tmp_path / f".fine_tuning.pt.elsewhere.1.{n}a1b2c3d.part" for n in (1, 2))
    for path in (own, old, new):
        path.touch()
    os.utime(old, (0, 0))
    assert Checkpoint(tmp_path, {}).load() is None
    assert {path.name for path in tmp_path.iterdir()} == {own.name, new.name}


def test_a_save_that_fails_leaves_the_last_state(images, make_classifier, tmp_path, monkeypatch):
    """As when the disk is full."""
    save = torch.save
    calls = []

    def full(content, file):
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        save(content, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left"):
            make_classifier(checkpoint=tmp_path).fit(*images)
    assert [path.name for path in tmp_path.iterdir()] == ["fine_tuning.pt"]
    resumed = make_classifier(checkpoint=tmp_path).fit(*images)
    assert_same_fit(resumed, make_classifier().fit(*images))
