"""From an estimator's parameters to the backbone that they mean, with what its files say of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, NamedTuple

from sklearn.utils._param_validation import Interval, StrOptions

from skcyto.exceptions import PretrainedWeightsError
from skcyto.utils._backbones._folder import (
    CONFIG,
    find_folder,
    find_weights,
    is_folder,
    read_config,
)
from skcyto.utils._backbones._options import (
    CROP_MODES,
    INTERPOLATIONS,
    PREPROCESSING,
    WHITE,
    BackboneOptions,
)
from skcyto.utils._backbones._source import BackboneSource

# Parameters of the estimators that say how a network differs from what its files say of it.
OPTION_NAMES = (
    *("mean", "std", "crop_pct", "crop_mode", "fill", "interpolation"),
    "model_kwargs",
)
BACKBONE_CONSTRAINTS: dict[str, Any] = {
    "model_name": [str],
    "weights": [str, os.PathLike, None],
    "image_size": [Interval(Integral, 1, None, closed="left"), None],
    "mean": ["array-like", None],
    "std": ["array-like", None],
    "crop_pct": [Interval(Real, 0, 1, closed="right"), None],
    "crop_mode": [StrOptions(set(CROP_MODES)), None],
    "fill": [Integral, list, tuple, None],
    "interpolation": [StrOptions(set(INTERPOLATIONS)), None],
    "model_kwargs": [dict, None],
}
_FREE = {"dynamic_img_size", "dynamic_img_pad"}  # authors write them; here the size is fixed


class _Described(NamedTuple):
    """What was found about some weights: where it stands, and what it says."""

    place: str
    architecture: str
    image_size: int | None
    values: Mapping[str, Any]


@dataclass(frozen=True)
class BackboneRequest:
    """What an estimator is asked for.

    Attributes
    ----------
    model_name : str
        Name of a timm model, ``hf-hub:owner/name``, or a folder.
    image_size : int or None
        Height and width of the input; None for the file's, or else the model's own.
    weights : str or None
        "pretrained", an absolute path, or None.
    options : BackboneOptions
        What the user says himself, which goes before what the files say.
    """

    model_name: str
    image_size: int | None
    weights: str | None
    options: BackboneOptions

    @classmethod
    def of(cls, estimator: Any) -> BackboneRequest:
        """Take an estimator's parameters.

        Parameters
        ----------
        estimator : EVA02TokenEmbedder or EVA02Classifier
            Gives the parameters.

        Returns
        -------
        request : BackboneRequest

        Raises
        ------
        ValueError
            If one of them is out of its range.
        """
        weights = estimator.weights
        if weights is not None and weights != "pretrained":
            weights = os.path.abspath(os.path.expanduser(weights))
        values = {name: getattr(estimator, name) for name in OPTION_NAMES}
        if values["crop_mode"] in ("squash", "pad") and values["crop_pct"] is None:
            values["crop_pct"] = 1.0  # Who asks for the whole image does not mean 90 % of it.
        if values["crop_mode"] == "pad" and values["fill"] is None:
            values["fill"] = WHITE
        if values["fill"] is not None and values["crop_mode"] != "pad":
            raise ValueError(f"fill={values['fill']!r} is for crop_mode='pad' alone")
        values["model_args"] = _check_model_kwargs(values.pop("model_kwargs") or {})
        return cls(
            estimator.model_name, estimator.image_size, weights, BackboneOptions.from_dict(values)
        )

    def resolve(self, seed: int = 0) -> BackboneSource:
        """Find the model's files, and complete what was asked for by what they say.

        Parameters
        ----------
        seed : int, default=0
            Of random weights.

        Returns
        -------
        source : BackboneSource

        Raises
        ------
        PretrainedWeightsError
            If files are missing or out of reach, were made for another architecture, or their
            description cannot be used.
        """
        model_name, weights, hub, found = self.model_name, self.weights, None, None
        if is_folder(model_name):
            folder = find_folder(model_name)
            found = _describe_config(os.path.join(folder, CONFIG))
            if found is None:
                raise PretrainedWeightsError(
                    f"model_name={model_name!r}: {os.path.join(folder, CONFIG)} names no "
                    "architecture of timm, so it is that of another library. Give timm's name of "
                    "the architecture as model_name, and the file as weights="
                )
            model_name = found.architecture
            if weights == "pretrained":
                weights = find_weights(self.model_name, folder)
                hub = self.model_name if "hub:" in self.model_name else None
        if weights is not None and weights != "pretrained":
            own = _read_metadata(weights)
            if own is None and found is None:
                own = _describe_config(os.path.join(os.path.dirname(weights), CONFIG))
            found = own or found
        if found is None:
            return BackboneSource(model_name, self.image_size, weights, seed, self.options)
        if found.architecture.split(".")[0] != model_name.split(".")[0]:
            raise PretrainedWeightsError(
                f"{found.place} says that the weights are those of {found.architecture!r}, not of "
                f"model_name={self.model_name!r}: give that model_name"
            )
        size = self.image_size if self.image_size is not None else found.image_size
        return BackboneSource(model_name, size, weights, seed, self._complete(found), hub)

    def _complete(self, found: _Described) -> BackboneOptions:
        try:
            stated = BackboneOptions.from_dict(found.values)
        except (ValueError, TypeError, AttributeError) as error:
            raise PretrainedWeightsError(f"{found.place} cannot be used: {error}") from error
        args = dict(stated.model_args) | dict(self.options.model_args)
        own = self.options.preprocessing()
        return replace(stated, **own, model_args=tuple(sorted(args.items())))


def _check_model_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse what a file's description may leave to others, but a user would miss."""
    for name, remedy in (
        ("img_size", "give image_size="),
        ("in_chans", "images have three channels"),
        ("num_classes", "the network's own classifier is not used"),
    ):
        if name in kwargs and (name, kwargs[name]) not in (("in_chans", 3), ("num_classes", 0)):
            raise ValueError(f"model_kwargs: {name}={kwargs[name]!r} cannot be set; {remedy}")
    return {k: v for k, v in kwargs.items() if k not in _FREE}


def _read_metadata(path: str) -> _Described | None:
    """Read what `save_weights` wrote into a file."""
    from safetensors import SafetensorError, safe_open

    if not path.endswith(".safetensors") or not os.path.isfile(path):
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):
        return None  # Who reads the weights says what is wrong.
    if "model_name" not in metadata:
        return None
    try:
        size = int(metadata["image_size"]) if "image_size" in metadata else None
        if "preprocessing" in metadata:
            values = json.loads(metadata["preprocessing"])
            return _Described(path, metadata["model_name"], size, values)
    except (ValueError, TypeError, RecursionError) as error:
        raise PretrainedWeightsError(f"the metadata of {path} cannot be used: {error}") from error
    import timm

    # Files of earlier releases: their model's own preprocessing.
    config = timm.models.get_pretrained_cfg(metadata["model_name"])
    values = {} if config is None else config.to_dict()
    stated = {name: values[name] for name in PREPROCESSING if name in values}
    return _Described(path, metadata["model_name"], size, stated)


def _describe_config(path: str) -> _Described | None:
    """Read a config.json of timm; None where there is none, or it is another library's."""
    content = read_config(path) if os.path.isfile(path) else None
    if content is None:
        return None
    config, args = content["pretrained_cfg"], content["model_args"]
    size = args.get("img_size", (config.get("input_size") or [None])[-1])
    size = size[-1] if isinstance(size, list) else size
    # The architecture's tag, where the file has one, names the training.
    return _Described(path, content["architecture"], size, {**config, "model_args": args})
