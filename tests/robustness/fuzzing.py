"""Bad inputs for every public name, and the verdict on what comes of each.

A call is a public function, or the making, fitting and use of a public class, with arguments that
work. Each argument is replaced in turn by each of a pool of bad values that fits its kind. What
comes of it is a right answer (as many rows as went in), or an error that a user can act on: raised
by skcyto or scikit-learn, of a kind that tells who is at fault, naming the argument.
"""

from __future__ import annotations

import signal
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

LIMIT = 30  # seconds
# An error of these types says that what was given is wrong; any other, that skcyto is.
CLEAR = (ValueError, TypeError, OSError, ImportError, LookupError, MemoryError, RuntimeError)
# Whose sentences are meant for the caller: joblib's name n_jobs, and narwhals reads frames for
# scikit-learn.
OURS = ("/skcyto/", "/sklearn/", "/tests/robustness/", "/joblib/", "/narwhals/")
PATHS = ("/pathlib", "/os.py", "/posixpath.py", "/shutil.py", "/tempfile.py")


# What scikit-learn and joblib call an argument, too.
_OTHER_WORDS = {
    "cv": ("n_splits", "fold", "split", "CV"),
    "n_jobs": ("joblib",),
    "scoring": ("scorer",),
}


class Hang(BaseException):
    """A call took longer than anybody would wait to hear that an argument is wrong."""


@dataclass
class Call:
    """A public name with arguments that work.

    Attributes
    ----------
    name : str
        Under which it is reported.
    run : callable
        Takes the arguments as keywords and gives the number of rows that come out, or None.
    arguments : dict
        Name of each argument that is replaced, and the value that works.
    kinds : dict of str to str
        Which pool the bad values of an argument come from; a scalar's, if it is not here.
    left_out : dict of (str, str) to str
        Arguments and bad values that are none here, and why.
    """

    name: str
    run: Callable[..., int | None]
    arguments: dict[str, Any]
    kinds: dict[str, str] = field(default_factory=dict)
    left_out: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass
class Outcome:
    """What came of one bad input."""

    call: str
    argument: str
    value: str
    verdict: str
    detail: str = ""


class _Opaque:
    def __repr__(self) -> str:
        return "<opaque>"


def scalars(_: Any) -> dict[str, Any]:
    """Give bad values of a parameter."""
    return {
        "negative": -1,
        "zero": 0,
        "negative float": -0.5,
        "huge": 10**12,
        "nan": float("nan"),
        "infinity": float("inf"),
        "text": "no such thing",
        "empty text": "",
        "bytes": b"bytes",
        "True": True,
        "None": None,
        "empty list": [],
        "dict": {"no": "such"},
        "object": _Opaque(),
        "generator": (i for i in range(3)),
    }


def matrices(X: np.ndarray) -> dict[str, Any]:
    """Give bad and odd forms of a numeric table, odd ones of which must be read as they stand."""
    X = np.asarray(X, dtype=float)
    read_only = X.copy()
    read_only.setflags(write=False)

    def put(value: float) -> np.ndarray:
        changed = X.copy()
        changed[1, 0] = value
        return changed

    return {
        "nan": put(np.nan),
        "infinity": put(np.inf),
        "huge": put(1e300),
        "no rows": X[:0],
        "one row": X[:1],
        "no columns": X[:, :0],
        "one dimension": X[:, 0],
        "three dimensions": X[None],
        "scalar": 3.0,
        "constant": np.ones_like(X),
        "text": X.astype(str).astype(object)[:, :1] + "x",
        "object": X.astype(object),
        "bytes": X.astype("S8"),
        "complex": X + 1j,
        "bool": X > 0,
        "integers": (X * 100).astype(int),
        "read-only": read_only,
        "column order": np.asfortranarray(X),
        "every other": np.repeat(X, 2, axis=0)[::2],
        "half precision": X.astype(np.float16),
        "nested list": X.tolist(),
        "ragged list": [[1.0], [1.0, 2.0]],
        "frame": pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])]),
        "duplicated names": pd.DataFrame(X, columns=["same"] * X.shape[1]),
        "missing object": pd.DataFrame(X).astype(object).mask(np.eye(*X.shape) > 0, None),
        "None": None,
        "dict": {"a": 1},
        "generator": (row for row in X),
        "opaque": _Opaque(),
        "masked": np.ma.masked_array(X, mask=np.eye(*X.shape) > 0),
    }


def vectors(y: np.ndarray) -> dict[str, Any]:
    """Give bad and odd forms of the labels or of another vector of one value a row."""
    y = np.arange(24) % 2 if y is None else np.asarray(y)
    numbers = np.arange(len(y)) % 2
    missing = y.astype(object).copy()
    missing[0] = None
    return {
        "one class": np.repeat(y[:1], len(y)),
        "one of a class": np.r_[y[:1], np.repeat(y[-1:], len(y) - 1)],
        "all different": np.arange(len(y)) + 0.5,
        "short": y[:-1],
        "long": np.r_[y, y[:1]],
        "empty": y[:0],
        "column": y[:, None],
        "two columns": np.c_[numbers, 1 - numbers],
        "missing": missing,
        "nan": np.where(numbers == 0, np.nan, 1.0),
        "infinity": np.where(numbers == 0, np.inf, 1.0),
        "bytes": y.astype(str).astype("S"),
        "mixed types": np.array([1, "a"] * len(y), dtype=object)[: len(y)],
        "list": y.tolist(),
        "series": pd.Series(y, index=np.arange(len(y))[::-1]),
        "categories": pd.Series(y).astype("category"),
        "None": None,
        "scalar": 1,
        "text": "labels",
        "dict": {"a": 1},
        "generator": (value for value in y),
        "opaque": _Opaque(),
    }


def image_lists(images: Any) -> dict[str, Any]:
    """Give bad and odd forms of a sequence of images."""
    stack = np.stack([np.asarray(image) for image in images])
    return {
        "none": [],
        "one": stack[:1],
        "missing file": ["no/such/file.png"] * len(stack),
        "one missing file": [*stack[:-1], "no/such/file.png"],
        "folder": ["/"] * len(stack),
        "floats": stack.astype(float) / 255,
        "signed": stack.astype(np.int64) - 128,
        "nan": np.full(stack.shape, np.nan),
        "no pixels": [np.zeros((0, 5, 3), np.uint8)] * len(stack),
        "one pixel": [np.zeros((1, 1, 3), np.uint8)] * len(stack),
        "five channels": np.zeros((len(stack), 28, 28, 5), np.uint8),
        "gray": stack[..., 0],
        "one image": stack[0],
        "numbers": np.arange(len(stack)),
        "None": None,
        "list of None": [None] * len(stack),
        "text": "image.png",
        "bytes": [b"bytes"] * len(stack),
        "opaque": _Opaque(),
        "objects": [_Opaque()] * len(stack),
        "generator": (image for image in stack),
        "read-only": _read_only(stack),
        "every other": np.repeat(stack, 2, axis=0)[::2],
        "list": list(stack),
        "bool": stack > 127,
        "frame": pd.DataFrame({"a": np.arange(len(stack)), "b": 1.0}),
        "series": pd.Series(list(stack)),
    }


def image_mask_pairs(pairs: Any) -> dict[str, Any]:
    """Give bad and odd forms of a sequence of scans with their masks."""
    image, mask = pairs[0]
    n = len(pairs)

    def all_of(image: Any, mask: Any) -> list[tuple[Any, Any]]:
        return [(image, mask)] * n

    return {
        "none": [],
        "missing files": all_of("no/such.nii.gz", "no/such_mask.nii.gz"),
        "folders": all_of("/", "/"),
        "text": "scan.nii.gz",
        "None": None,
        "pairs of None": all_of(None, None),
        "one array": image,
        "images alone": [image] * n,
        "triples": [(image, mask, mask)] * n,
        "other shape": all_of(image, mask[:-1]),
        "no pixels": all_of(image[:0], mask[:0]),
        "one dimension": all_of(image[0], mask[0]),
        "four dimensions": all_of(image[None, None], mask[None, None]),
        "nan": all_of(np.full(image.shape, np.nan), mask),
        "infinity": all_of(np.where(mask > 0, np.inf, 0.0), mask),
        "complex": all_of(image + 1j, mask),
        "constant": all_of(np.ones_like(image), mask),
        "fractions in the mask": all_of(image, mask / 2),
        "nan in the mask": all_of(image, np.where(mask > 0, np.nan, 0.0)),
        "negative mask": all_of(image, -mask.astype(int)),
        "empty mask": all_of(image, np.zeros_like(mask)),
        "full mask": all_of(image, np.ones_like(mask)),
        "one voxel": all_of(image, (np.arange(mask.size) == 5).reshape(mask.shape).astype(int)),
        "swapped": all_of(mask, image),
        "bool mask": all_of(image, mask > 0),
        "text arrays": all_of(image.astype(str), mask),
        "objects": all_of(_Opaque(), _Opaque()),
        "generator": (pair for pair in pairs),
        "read-only": all_of(_read_only(image), _read_only(mask)),
        "every other": all_of(np.repeat(image, 2, 0)[::2], np.repeat(mask, 2, 0)[::2]),
        "frame": pd.DataFrame({"image": [p[0] for p in pairs], "mask": [p[1] for p in pairs]}),
        "frame of other names": pd.DataFrame({"a": [1] * n, "b": [2] * n}),
        "numbers": np.arange(n),
        "opaque": _Opaque(),
    }


def paths(_: Any) -> dict[str, Any]:
    """Give bad paths."""
    return {
        "missing": "no/such/place",
        "empty": "",
        "number": 3,
        "None": None,
        "bytes": b"no/such/place",
        "null character": "a\0b",
        "too long": "x" * 5000,
        "device": "/dev/null/below",
        "list": ["a", "b"],
        "opaque": _Opaque(),
        "nan": float("nan"),
    }


POOLS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "scalar": scalars,
    "matrix": matrices,
    "vector": vectors,
    "images": image_lists,
    "pairs": image_mask_pairs,
    "path": paths,
}


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.setflags(write=False)
    return array


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise Hang where the body takes longer."""

    def ring(*_: Any) -> None:
        raise Hang

    former = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def try_all(call: Call) -> Iterator[Outcome]:
    """Replace each argument of a call by each bad value of its kind."""
    for argument, valid in call.arguments.items():
        kind = call.kinds.get(argument, "scalar")
        for value_name, value in POOLS[kind](valid).items():
            if (argument, value_name) in call.left_out:
                continue
            arguments = {**call.arguments, argument: value}
            yield Outcome(call.name, argument, value_name, *_judge(call, arguments, argument))


def _judge(call: Call, arguments: dict[str, Any], argument: str) -> tuple[str, str]:
    try:
        with warnings.catch_warnings(), time_limit(LIMIT):
            warnings.simplefilter("ignore")
            n_rows = call.run(**arguments)
    except Hang:
        return "hang", f"more than {LIMIT} s"
    except Exception as error:
        return _judge_error(error, argument, call)
    expected = _n_rows(arguments, call)
    if n_rows is not None and expected is not None and n_rows != expected:
        return "lost rows", f"{n_rows} rows of {expected}"
    return "answer", ""


def _n_rows(arguments: dict[str, Any], call: Call) -> int | None:
    for name in arguments:
        if call.kinds.get(name) in ("matrix", "images", "pairs"):
            try:
                return len(arguments[name])
            except TypeError:
                return None
    return None


def _judge_error(error: Exception, argument: str, call: Call) -> tuple[str, str]:
    frames = traceback.extract_tb(error.__traceback__)
    where = frames[-1].filename
    place = f"{where.rpartition('site-packages/')[2]}:{frames[-1].lineno}"
    message = f"{type(error).__name__}: {str(error)[:300]} @ {place}"
    if not isinstance(error, CLEAR):
        return "odd error", message
    if not str(error).strip("'\" "):
        return "empty error", message
    inside = any(part in where for part in OURS)
    if not inside and not (
        isinstance(error, (OSError, ValueError)) and any(part in where for part in PATHS)
    ):
        return "deep error", message
    kind = call.kinds.get(argument, "scalar")
    words = (argument, argument.removesuffix("s"), *_OTHER_WORDS.get(argument, ()))
    if kind == "scalar" and not any(word in str(error) for word in words):
        return "unnamed", message
    return "clear error", message
