"""Read a saved pipeline without running code from it."""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.exceptions import InconsistentVersionWarning

from skcyto.exceptions import InvalidModelError, ModelVersionWarning
from skcyto.persistence._categories import rebuild_category_encoder
from skcyto.persistence._former_parameters import use_present_parameters
from skcyto.persistence._manifest import ESTIMATOR, MANIFEST, check_files, read_manifest
from skcyto.persistence._moved_types import use_public_names
from skcyto.persistence._neighbors import rebuild_search_tree
from skcyto.persistence._replace import recover_former
from skcyto.persistence._requests import set_request_owner
from skcyto.persistence._sparse import check_sparse
from skcyto.persistence._stand_ins import SavedPartial, SavedSpline
from skcyto.persistence._tables import SavedTable
from skcyto.persistence._trees import check_trees
from skcyto.persistence._trusted_types import check_node_kinds, trusted_types
from skcyto.persistence._versions import compare_versions
from skcyto.persistence._walk import walk
from skcyto.utils._devices._device import resolve_device
from skcyto.utils._persistence import PersistentEstimator
from skcyto.utils._validation import PATH, check_parameters
from skcyto.utils._warnings import warn

_ATTEMPTS = 10


@check_parameters(
    path=PATH, device=[str, None], trusted=["array-like", tuple], on_version_mismatch=[str]
)
def load(
    path: str | os.PathLike[str],
    *,
    device: str | None = None,
    trusted: Sequence[str] = (),
    on_version_mismatch: str = "raise",
) -> Any:
    """Load a pipeline that :func:`save` wrote; nothing in the folder is run as code.

    Before anything is built, the folder must hold exactly the files of its manifest, unchanged,
    and name no types but those of scikit-learn, imbalanced-learn and skcyto. Networks are built
    from their parameters, and filled from safetensors; nothing is unpickled.

    Parameters
    ----------
    path : str or path
        Folder that :func:`save` made.
    device : str or None, default=None
        Where networks run, such as "cpu" or "cuda". None keeps what each estimator was given, or
        takes the CPU, with a warning, where this machine has no such device.
    trusted : sequence of str, default=()
        Full names of further types that may be built, such as ``"my_package.MyTransformer"``.
        Their code runs: name only what you trust.
    on_version_mismatch : {"raise", "warn"}, default="raise"
        What to do where packages have other versions than those the model was saved with, such
        that it may fail or predict otherwise: another minor version of skcyto, scikit-learn or
        imbalanced-learn, another major one of Python, NumPy, torch or timm.

    Returns
    -------
    pipeline : estimator
        Fitted.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    InvalidModelError
        If it is no saved model, a file is missing, changed or not on its list, a version does not
        fit, or it names a type that is not trusted. Nothing was run.

    Warns
    -----
    ModelVersionWarning
        If versions differ, and `on_version_mismatch` is "warn".

    See Also
    --------
    save : Make such a folder.

    Notes
    -----
    The manifest's SHA-256 find damage, not fraud: who forges a model can forge its manifest. A
    forged model runs nothing, but its predictions are worth what its maker is.

    The weights of an embedder are read from the folder when they are first used; keep it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> import skcyto
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = LogisticRegression(max_iter=500).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = skcyto.save(classifier, Path(folder) / "model")
    ...     skcyto.load(path)
    LogisticRegression(max_iter=500)
    """
    if on_version_mismatch not in ("raise", "warn"):
        raise ValueError(f"on_version_mismatch={on_version_mismatch!r} must be 'raise' or 'warn'")
    if device is not None:
        resolve_device(device)
    folder = Path(os.path.abspath(os.path.expanduser(path)))
    recover_former(folder)
    for _ in range(_ATTEMPTS):
        before = _identify(folder)
        try:
            model = _load(folder, device, trusted, on_version_mismatch)
        except (InvalidModelError, OSError):
            if _identify(folder) == before:
                raise
        else:
            if _identify(folder) == before:
                return model
        recover_former(folder)
    raise InvalidModelError(f"{folder} was replaced {_ATTEMPTS} times while it was read")


def _identify(folder: Path) -> tuple[int, int] | None:
    """Tell one model from another that takes its place while it is read."""
    try:
        stat = (folder / MANIFEST).lstat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def _load(
    folder: Path, device: str | None, trusted: Sequence[str], on_version_mismatch: str
) -> Any:
    manifest = read_manifest(folder)
    _check_versions(folder, manifest["versions"], on_version_mismatch)
    check_files(folder, manifest)
    model = _build(folder, list(trusted))
    items = list(walk(model))
    for item in items:
        use_present_parameters(item)
        if isinstance(item, BaseEstimator):
            _adapt(item, device)
    for item in reversed(items):  # what an estimator holds, before itself
        if issubclass(type(item), PersistentEstimator):
            _give_back(item, folder, manifest["files"])
    return model


def _give_back(estimator: Any, folder: Path, files: Mapping[str, Any]) -> None:
    """Let an estimator build what it had written in its own way."""
    name = type(estimator).__name__
    state = dict(vars(estimator))
    weights = state.pop("_saved_weights", None)
    if weights is not None and weights not in files:
        raise InvalidModelError(f"{folder} lacks {weights}, which {name} asks for")
    vars(estimator).clear()
    try:
        # The method of the class: a file may have put something else under its name.
        type(estimator)._load_state(estimator, state, None if weights is None else folder / weights)
    except InvalidModelError as error:
        if str(folder) in str(error):
            raise
        raise InvalidModelError(f"{folder}: {error}") from error
    except Exception as error:  # What was saved may be anything.
        raise InvalidModelError(f"{name} in {folder} cannot be built: {error!r}") from error


def _check_versions(folder: Path, saved: dict[str, str], on_version_mismatch: str) -> None:
    problems = compare_versions(saved)
    if not problems:
        return
    listed = "; ".join(problems)
    if on_version_mismatch == "raise":
        raise InvalidModelError(
            f"{folder} was saved with other versions than are installed ({listed}), so that it may "
            "fail or predict otherwise. Install those versions, fit and save the model again, or "
            "set on_version_mismatch='warn' and check its predictions"
        )
    warn(
        f"{folder} was saved with other versions than are installed ({listed}): check its "
        "predictions",
        ModelVersionWarning,
    )


def _build(folder: Path, trusted: list[str]) -> Any:
    """Have skops build the object, once every type in the file is known to be harmless."""
    import skops.io

    data = (folder / ESTIMATOR).read_bytes()
    known = trusted_types()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_sizes(archive, len(data))
            schema = json.loads(archive.read("schema.json"))
        if use_public_names(schema):
            data = _with_schema(data, schema)
        found = set(skops.io.get_untrusted_types(data=data))
        odd = check_node_kinds(schema, {k: v for k, v in known.items() if k not in trusted})
    except Exception as error:  # A forged file may break the reader in any way.
        raise InvalidModelError(f"{folder / ESTIMATOR} is damaged: {error}") from error
    untrusted = sorted(found - set(known) - set(trusted))
    if untrusted or odd:
        raise InvalidModelError(
            f"{folder / ESTIMATOR} holds types that are not trusted: "
            f"{', '.join([*untrusted, *odd])}. Nothing was run. If you know where the model comes "
            "from and trust this code, name it in `trusted`"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InconsistentVersionWarning)  # checked already
            model = skops.io.loads(data, trusted=sorted(found))
        check_sparse(model)
        _complete(model)
        check_trees(model)
        for item in list(walk(model)):
            if isinstance(item, BaseEstimator):
                rebuild_category_encoder(item)
    except InvalidModelError:
        raise
    except Exception as error:
        raise InvalidModelError(f"{folder / ESTIMATOR} cannot be built: {error}") from error
    if not isinstance(model, BaseEstimator):
        raise InvalidModelError(f"{folder} holds no estimator but a {type(model).__name__}")
    return model


def _check_sizes(archive: zipfile.ZipFile, n_bytes: int) -> None:
    """Refuse archives that unpack to more than they are: :func:`save` does not compress."""
    entries = archive.infolist()
    is_plain = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if not is_plain or sum(entry.file_size for entry in entries) > n_bytes:
        raise ValueError("it is compressed, or larger than it says")


def _with_schema(data: bytes, schema: Any) -> bytes:
    """Return a skops file with another schema."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as former, zipfile.ZipFile(made, "w") as archive:
        for entry in former.infolist():
            if entry.filename != "schema.json":
                archive.writestr(entry, former.read(entry))
        archive.writestr("schema.json", json.dumps(schema))
    return made.getvalue()


def _complete(model: Any) -> None:
    """Make again what was saved in another form."""
    for item in list(walk(model)):
        if isinstance(item, BaseEstimator):
            rebuild_search_tree(item)
            set_request_owner(item, item)
        for name, value in list(getattr(item, "__dict__", {}).items()):
            if isinstance(value, SavedTable):
                vars(item)[name] = value.to_frame()
            elif isinstance(value, SavedPartial):
                vars(item)[name] = value.restore()
            elif isinstance(value, list) and value and isinstance(value[0], SavedSpline):
                vars(item)[name] = [SavedSpline.restore(spline) for spline in value]


def _adapt(estimator: BaseEstimator, device: str | None) -> None:
    """Fit an estimator's settings to this machine."""
    state = vars(estimator)
    if "memory" in state:
        estimator.memory = None  # A cache of joblib holds pickles.
    if "device" not in state or not issubclass(type(estimator), PersistentEstimator):
        return
    if device is not None:
        resolve_device(device)
        estimator.device = device
        return
    try:
        resolve_device(state["device"])
    except (ValueError, TypeError) as error:
        warn(f"{type(estimator).__name__} runs on the CPU: {error}")
        estimator.device = "cpu"
