"""How an estimator says what a saved model holds of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from skcyto.exceptions import InvalidModelError, ModelSavingWarning
from skcyto.utils._file_modes import mode_of_umask
from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    import torch


@runtime_checkable
class PersistentEstimator(Protocol):
    """An estimator with attributes that are written in another way than scikit-learn's.

    :func:`skcyto.save` writes attributes of plain Python, NumPy and scikit-learn types by itself.
    What these cannot hold (networks, things tied to a place on disk) the estimator hands out, and
    takes back, by two methods. They must not pickle, and nothing that was saved may name code.
    """

    def _save_state(self, weights: Path) -> dict[str, Any]:
        """Return the attributes without networks, and write the networks' tensors to a file.

        Parameters
        ----------
        weights : Path
            Where a safetensors file may be written. An estimator that has no tensors, such as one
            that is not fitted, writes none.

        Returns
        -------
        state : dict
            What ``vars(self)`` becomes: plain Python, NumPy and scikit-learn objects, and other
            estimators of skcyto.
        """

    def _load_state(self, state: dict[str, Any], weights: Path | None) -> None:
        """Take back what :meth:`_save_state` gave.

        Parameters
        ----------
        state : dict
            As it was returned; from an untrusted source it may hold anything.
        weights : Path or None
            The file, if one was written.
        """


def without_training_code(
    state: dict[str, Any], defaults: Mapping[str, Any], optimizers: Mapping[str, type]
) -> dict[str, Any]:
    """Leave out the parameters of a network's training that hold code, and name them.

    Callbacks, optimiser classes and further settings of skorch say how a network was trained;
    what it predicts does not depend on them.

    Parameters
    ----------
    state : dict
        Attributes of an ImbalancedMLPClassifier; changed.
    defaults : mapping
        What its parameters are by default.
    optimizers : mapping of str to type
        Optimisers that have a name.

    Returns
    -------
    state : dict
        The same, with plain values only for these parameters and `device`.
    """
    left_out = []
    for name in ("callbacks", "net_params"):
        if state.get(name):
            left_out.append(f"{name}={state[name]!r}")
            state[name] = defaults[name]
    optimizer = state.get("optimizer")
    if isinstance(optimizer, type):
        names = {cls: name for name, cls in optimizers.items()}
        if optimizer not in names:
            left_out.append(f"optimizer={optimizer.__name__}")
        state["optimizer"] = names.get(optimizer, defaults["optimizer"])
    if left_out:
        warn(
            "the saved ImbalancedMLPClassifier predicts the same, but these settings of its "
            f"training hold code and are left out: {', '.join(left_out)}",
            ModelSavingWarning,
        )
    if "device" in state:
        state["device"] = str(state["device"])
    return state


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors from any device to a safetensors file.

    Parameters
    ----------
    path : Path
        The file.
    tensors : mapping of str to tensor
        Names and tensors.
    metadata : dict of str to str or None, default=None
        What the file says of itself.
    """
    from safetensors.torch import save_file

    # Tensors that share memory, or are views, are written as what they show.
    kept: dict[str, torch.Tensor] = {}
    places: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.data_ptr() in places:
            tensor = tensor.clone()
        places.add(tensor.data_ptr())
        kept[name] = tensor
    with mode_of_umask(path):
        save_file(kept, str(path), metadata)


def write_modules(path: Path, modules: Mapping[str, torch.nn.Module]) -> None:
    """Write the tensors of modules, under the modules' names.

    Parameters
    ----------
    path : Path
        The file.
    modules : mapping of str to torch.nn.Module
        Names and modules.
    """
    write_tensors(
        path,
        {
            f"{name}.{key}": tensor
            for name, module in modules.items()
            for key, tensor in module.state_dict().items()
        },
    )


@contextmanager
def building_network(name: str, weights: Path | None) -> Iterator[dict[str, torch.Tensor]]:
    """Give the saved tensors of an estimator, and say what keeps its network from being built.

    Parameters
    ----------
    name : str
        Of the estimator's class.
    weights : Path or None
        The file.

    Yields
    ------
    tensors : dict of str to tensor

    Raises
    ------
    InvalidModelError
        If there is no such file, or the block fails.
    """
    if weights is None:
        raise InvalidModelError(f"the weights of {name} are missing")
    tensors = read_tensors(weights)
    try:
        yield tensors
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidModelError(
            f"the network of {name} cannot be built from what was saved: {error}"
        ) from error


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file onto the CPU.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    tensors : dict of str to tensor

    Raises
    ------
    InvalidModelError
        If it is no such file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path), device="cpu")
    except (SafetensorError, OSError) as error:
        raise _not_tensors(path, error) from error


def take_part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Take the tensors whose names have a prefix, without it.

    Parameters
    ----------
    tensors : mapping of str to tensor
        Names and tensors.
    prefix : str
        Beginning of a name.

    Returns
    -------
    part : dict of str to tensor
    """
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def check_tensors(path: Path) -> None:
    """Check that a file is a safetensors file, without reading its tensors.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    InvalidModelError
        If it is not.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            file.keys()
    except (SafetensorError, OSError) as error:
        raise _not_tensors(path, error) from error


def _not_tensors(path: Path, error: Exception) -> InvalidModelError:
    return InvalidModelError(f"{path} is no safetensors file: {error}. Nothing was run")
