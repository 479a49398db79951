"""What a weights file, or the user, says of a backbone beyond the name of its architecture."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from numbers import Integral, Real
from typing import Any

INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos")
# What a user chooses of; timm's "border", which pads with the mean colour, is for its own models.
CROP_MODES = ("squash", "center", "pad")
_CROP_MODES = (*CROP_MODES, "border")
WHITE = (255, 255, 255)
# Set elsewhere, or of no account for what the network computes.
_WITHOUT_EFFECT = {"dynamic_img_pad", "dynamic_img_size", "img_size", "num_classes"}
# Arguments of timm's builders, beside those of the architecture: they name files or code, or make
# something else of the network. A description of any origin must not set one.
_OF_BUILDERS = re.compile(
    r"(pretrained|checkpoint|features|feature|cache|weight_init|scriptable|exportable|no_jit|out_"
    r"|kwargs).*|.*(_path|_dir|_fn|_filter|_cls|_cfg|cfg)"
)
PREPROCESSING = ("mean", "std", "crop_pct", "crop_mode", "interpolation", "fill")


@dataclass(frozen=True)
class BackboneOptions:
    """How a backbone differs from what timm says of its name; None stands for no difference.

    Attributes
    ----------
    mean, std : tuple of 3 floats or None
        Of pixels between 0 and 1.
    crop_pct : float or None
        Share of the resized image's edge that is kept.
    crop_mode : {"center", "squash", "pad", "border"} or None
        How an image is brought to the input's shape.
    fill : tuple of 3 ints or None
        Colour of the border that "pad" puts around an image.
    interpolation : str or None
        Of the resizing.
    model_args : tuple of (str, value) pairs
        Arguments of the architecture: numbers, texts, truth values and tuples of these. A layer
        stands there by its name: see :func:`with_layers`.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    fill: tuple[int, ...] | None = None
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
        args = json.loads(json.dumps(dict(self.model_args)))  # tuples become lists
        return values | {"model_args": args}

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
        if values.get("fill") is not None:
            found["fill"] = _check_fill(values["fill"])
        args = _check_model_args(values.get("model_args") or {})
        return cls(**found, model_args=tuple(sorted(args.items())))


NO_OPTIONS = BackboneOptions()


def make_metadata(
    model_name: str, image_size: int, data_config: Mapping[str, Any], options: BackboneOptions
) -> dict[str, str]:
    """Describe weights in the metadata of their file, as a :class:`BackboneRequest` reads them.

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
    values = {name: data_config[name] for name in PREPROCESSING if name in data_config}
    values["model_args"] = dict(options.model_args)
    return {
        "format": "pt",
        "model_name": model_name,
        "image_size": str(image_size),
        "preprocessing": json.dumps(values),
    }


def with_layers(model_args: Mapping[str, Any]) -> dict[str, Any]:
    """Put layers in the place of their names, as the architectures of timm take them.

    Parameters
    ----------
    model_args : mapping
        Of a :class:`BackboneOptions`.

    Returns
    -------
    arguments : dict
        With classes of :mod:`timm.layers` and :mod:`torch.nn`; names that neither has are left to
        timm, which knows more.
    """
    import timm.layers
    from torch import nn

    found = dict(model_args)
    for key, name in model_args.items():
        if key.endswith("_layer") and isinstance(name, str):
            place = nn if name.startswith("nn.") else timm.layers
            layer = getattr(place, name.removeprefix("nn."), None)
            if _is_layer(layer):
                found[key] = layer
    return found


def _is_layer(value: Any) -> bool:
    from torch import nn

    made = value.func if isinstance(value, partial) else value  # as timm makes some of others
    return isinstance(made, type) and issubclass(made, nn.Module)


def _check_model_args(values: Mapping[str, Any]) -> dict[str, Any]:
    """Take the arguments of an architecture as plain values that can be compared and stored."""
    args = {}
    for name, value in values.items():
        if name in _WITHOUT_EFFECT or (name, value) in (("in_chans", 3), ("global_pool", "")):
            continue
        if not isinstance(name, str) or name == "in_chans" or _OF_BUILDERS.fullmatch(name):
            raise ValueError(f"model_args cannot be built from a description: {name}")
        args[name] = _plain(name, value)
    return args


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, (Integral, Real)):
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, (list, tuple)):
        return tuple(_plain(name, item) for item in value)
    if _is_layer(value):
        import timm.layers
        from torch import nn

        for place, prefix in ((timm.layers, ""), (nn, "nn.")):
            for layer in dir(place):
                if getattr(place, layer) is value:
                    return f"{prefix}{layer}"
    raise ValueError(
        f"model_args cannot be built from a description: {name} is {value!r}, and must be a "
        "number, a text, a truth value, a list of these, or a layer of timm.layers or torch.nn"
    )


def _check_fill(value: Any) -> tuple[int, ...]:
    colour = value if isinstance(value, (list, tuple)) else (value,) * 3
    if len(colour) != 3 or not all(isinstance(c, Integral) and 0 <= int(c) <= 255 for c in colour):
        raise ValueError(
            f"fill={value!r} must be a whole number from 0 to 255, or three for red, green and blue"
        )
    return tuple(int(c) for c in colour)


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
