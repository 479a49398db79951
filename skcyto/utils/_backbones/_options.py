"""What a weights file, or the user, says of a backbone beyond the name of its architecture."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from skcyto.exceptions import PretrainedWeightsError

INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos")
_CROP_MODES = ("center", "squash", "border")
# Arguments of timm's vision transformers that change their weights or what these compute. None of
# them names a file or code.
_MODEL_ARGS = {
    *("class_token", "depth", "embed_dim", "fc_norm", "final_norm", "global_pool", "init_values"),
    *("mlp_ratio", "no_embed_class", "num_heads", "patch_size", "pre_norm", "qk_norm", "qkv_bias"),
    "reg_tokens",
}
_WITHOUT_EFFECT = {"dynamic_img_pad", "dynamic_img_size", "img_size", "num_classes"}
_CONFIG = "config.json"
_PREPROCESSING = ("mean", "std", "crop_pct", "crop_mode", "interpolation")


@dataclass(frozen=True)
class BackboneOptions:
    """How a backbone differs from what timm says of its name; None stands for no difference.

    Attributes
    ----------
    mean, std : tuple of 3 floats or None
        Of pixels between 0 and 1.
    crop_pct : float or None
        Share of the resized image's edge that is kept.
    crop_mode : {"center", "squash", "border"} or None
        How an image is brought to the input's shape.
    interpolation : str or None
        Of the resizing.
    model_args : tuple of (str, value) pairs
        Arguments of the architecture.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    interpolation: str | None = None
    model_args: tuple[tuple[str, Any], ...] = ()

    def preprocessing(self) -> dict[str, Any]:
        """Return what differs in the preprocessing, under timm's names."""
        return {k: v for k, v in asdict(self).items() if k != "model_args" and v is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, as :meth:`from_dict` takes them."""
        values = {
            k: list(v) if isinstance(v, tuple) else v for k, v in self.preprocessing().items()
        }
        return values | {"model_args": dict(self.model_args)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BackboneOptions:
        """Check and take values of any origin.

        Parameters
        ----------
        values : mapping
            Attributes by name; others are left out.

        Returns
        -------
        options : BackboneOptions

        Raises
        ------
        ValueError
            If a value is none that timm could use.
        """
        found: dict[str, Any] = {}
        for name in ("mean", "std"):
            if values.get(name) is not None:
                found[name] = _check_channels(name, values[name])
        if values.get("crop_pct") is not None:
            found["crop_pct"] = float(values["crop_pct"])
            if not 0 < found["crop_pct"] <= 1:
                raise ValueError(f"crop_pct={values['crop_pct']!r} must be in (0, 1]")
        for name, allowed in (("crop_mode", _CROP_MODES), ("interpolation", INTERPOLATIONS)):
            if values.get(name) is not None:
                if values[name] not in allowed:
                    raise ValueError(f"{name}={values[name]!r} must be one of {', '.join(allowed)}")
                found[name] = values[name]
        args = {k: v for k, v in (values.get("model_args") or {}).items() if k in _MODEL_ARGS}
        unknown = set(values.get("model_args") or {}) - _MODEL_ARGS - _WITHOUT_EFFECT
        if unknown or not all(isinstance(v, (str, int, float, bool)) for v in args.values()):
            names = ", ".join(sorted(map(str, unknown or args)))
            raise ValueError(f"model_args cannot be built from a description: {names}")
        return cls(**found, model_args=tuple(sorted(args.items())))


NO_OPTIONS = BackboneOptions()


@dataclass(frozen=True)
class BackboneRequest:
    """What an estimator is asked for.

    Attributes
    ----------
    model_name : str
        Name of a timm model.
    image_size : int or None
        Height and width of the input; None for the file's, or else the model's own.
    weights : str or None
        "pretrained", an absolute path, or None.
    options : BackboneOptions
        What the user says himself, which goes before what the file says.
    """

    model_name: str
    image_size: int | None
    weights: str | None
    options: BackboneOptions

    def resolve(self) -> tuple[int | None, BackboneOptions]:
        """Complete image size and options by what the weights file says of itself.

        Returns
        -------
        image_size : int or None
        options : BackboneOptions

        Raises
        ------
        PretrainedWeightsError
            If the file was made for another architecture, or its description cannot be used.
        """
        if self.weights is None or self.weights == "pretrained":
            return self.image_size, self.options
        found = _read_metadata(self.weights) or _read_config(self.weights)
        if found is None:
            return self.image_size, self.options
        place, architecture, image_size, values = found
        if architecture.split(".")[0] != self.model_name.split(".")[0]:
            raise PretrainedWeightsError(
                f"{place} says that the weights are those of {architecture!r}, not of "
                f"model_name={self.model_name!r}: give that model_name"
            )
        try:
            stated = BackboneOptions.from_dict(values)
        except (ValueError, TypeError, AttributeError) as error:
            raise PretrainedWeightsError(f"{place} cannot be used: {error}") from error
        options = replace(stated, **self.options.preprocessing())
        return self.image_size if self.image_size is not None else image_size, options


def options_of(estimator: Any) -> BackboneOptions:
    """Take mean, std, crop_pct and interpolation from an estimator's parameters.

    Parameters
    ----------
    estimator : EVA02TokenEmbedder or EVA02Classifier
        Gives the parameters.

    Returns
    -------
    options : BackboneOptions

    Raises
    ------
    ValueError
        If one of them is out of its range.
    """
    names = ("mean", "std", "crop_pct", "interpolation")
    return BackboneOptions.from_dict({name: getattr(estimator, name) for name in names})


def make_metadata(
    model_name: str, image_size: int, data_config: Mapping[str, Any], options: BackboneOptions
) -> dict[str, str]:
    """Describe weights in the metadata of their file, as :class:`BackboneRequest` reads them.

    Parameters
    ----------
    model_name : str
        Name of the timm model.
    image_size : int
        In pixels.
    data_config : mapping
        The preprocessing.
    options : BackboneOptions
        Gives the arguments of the architecture.

    Returns
    -------
    metadata : dict of str to str
    """
    values = {name: data_config[name] for name in _PREPROCESSING}
    values["model_args"] = dict(options.model_args)
    return {
        "format": "pt",
        "model_name": model_name,
        "image_size": str(image_size),
        "preprocessing": json.dumps(values),
    }


def _read_metadata(path: str) -> tuple[str, str, int | None, dict[str, Any]] | None:
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
            return path, metadata["model_name"], size, json.loads(metadata["preprocessing"])
    except (ValueError, TypeError, RecursionError) as error:
        raise PretrainedWeightsError(f"the metadata of {path} cannot be used: {error}") from error
    import timm

    # Files of earlier releases: their model's own preprocessing.
    config = timm.models.get_pretrained_cfg(metadata["model_name"])
    values = {} if config is None else config.to_dict()
    stated = {name: values[name] for name in _PREPROCESSING if name in values}
    return path, metadata["model_name"], size, stated


def _read_config(path: str) -> tuple[str, str, int | None, dict[str, Any]] | None:
    """Read a config.json of timm beside a file."""
    place = os.path.join(os.path.dirname(path), _CONFIG)
    if not os.path.isfile(place):
        return None
    try:
        with open(place, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise PretrainedWeightsError(f"{place} beside the weights is no JSON: {error}") from error
    architecture = content.get("architecture") if isinstance(content, dict) else None
    if not isinstance(architecture, str):
        return None  # Of another library than timm.
    config = content.get("pretrained_cfg", content)
    size = (config.get("input_size") or [None])[-1]
    args = content.get("model_args") or {}
    return place, architecture, args.get("img_size", size), {**config, "model_args": args}


def _check_channels(name: str, values: Any) -> tuple[float, ...]:
    try:
        channels = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        channels = ()
    bad = len(channels) != 3 or not all(0 <= value <= 1 for value in channels)
    if bad or (name == "std" and min(channels) == 0):
        raise ValueError(
            f"{name}={values!r} must be three numbers for red, green and blue between 0 and 1"
        )
    return channels
