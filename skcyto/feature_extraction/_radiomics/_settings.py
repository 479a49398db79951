"""What is to be computed: presets, pyradiomics' parameter files and dicts, checked."""

from __future__ import annotations

import copy
import difflib
import json
import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skcyto.exceptions import DroppedFeatureWarning
from skcyto.feature_extraction._radiomics._runtime import (
    geometry_tolerance,
    import_radiomics,
    private_runtime,
)
from skcyto.utils._warnings import warn

# The 22 GLCM features of pyradiomics' own example settings: all but SumAverage, which repeats
# JointAverage on symmetric matrices, and MCC, which is slow and unstable on many grey levels.
_GLCM_OF_EXAMPLES = [
    "Autocorrelation",
    "JointAverage",
    "ClusterProminence",
    "ClusterShade",
    "ClusterTendency",
    "Contrast",
    "Correlation",
    "DifferenceAverage",
    "DifferenceEntropy",
    "DifferenceVariance",
    "JointEnergy",
    "JointEntropy",
    "Imc1",
    "Imc2",
    "Idm",
    "Idmn",
    "Id",
    "Idn",
    "InverseVariance",
    "MaximumProbability",
    "SumEntropy",
    "SumSquares",
]

PRESETS: dict[str, dict[str, Any]] = {
    "original": {
        "imageType": {"Original": {}},
        "featureClass": {
            "firstorder": [],
            "glcm": [],
            "gldm": [],
            "glrlm": [],
            "glszm": [],
            "ngtdm": [],
            "shape": [],
        },
    },
    "ted1648": {
        "imageType": {
            "Original": {},
            "LoG": {"sigma": [1.0, 2.0, 3.0, 4.0, 5.0]},
            "Wavelet": {},
            "Square": {},
            "SquareRoot": {},
            "Logarithm": {},
            "Exponential": {},
            "Gradient": {},
        },
        "featureClass": {
            "shape": [],
            "firstorder": [],
            "glcm": _GLCM_OF_EXAMPLES,
            "glrlm": [],
            "glszm": [],
            "gldm": [],
        },
        "setting": {
            "normalize": True,
            "normalizeScale": 100,
            "binWidth": 5,
            "voxelArrayShift": 300,
        },
    },
}

# Numbers without which pyradiomics does not work; of others, none means that they do not apply.
_NEVER_EMPTY = (
    "binWidth",
    "distances",
    "force2Ddimension",
    "gldm_a",
    "lbp2DRadius",
    "lbp2DSamples",
    "lbp3DIcosphereRadius",
    "lbp3DIcosphereSubdivision",
    "lbp3DLevels",
    "level",
    "minimumROIDimensions",
    "normalizeScale",
    "padDistance",
    "start_level",
    "voxelArrayShift",
)

_validator = threading.Lock()


@dataclass(frozen=True)
class Settings:
    """Settings with every default filled in.

    Attributes
    ----------
    setting : dict
        pyradiomics' settings.
    image_types : dict of str to dict
        Settings of each image type, in the order of computation.
    feature_classes : dict of str to list of str
        Features of each class.
    label : int or None
        The label that a parameter file asks for.
    """

    setting: dict[str, Any]
    image_types: dict[str, dict[str, Any]]
    feature_classes: dict[str, list[str]]
    label: int | None = field(default=None)

    @property
    def has_shape(self) -> bool:
        """Whether shape is asked for, of which intensities are no part."""
        return bool({"shape", "shape2D"} & set(self.feature_classes))

    @property
    def has_intensities(self) -> bool:
        """Whether anything but shape is asked for."""
        return bool(set(self.feature_classes) - {"shape", "shape2D"})

    @property
    def per_label_reason(self) -> str | None:
        """Why labels can't share filtered images, or None where they can."""
        resampled = self.setting.get("resampledPixelSpacing") is not None
        if resampled and self.setting.get("interpolator") is not None:
            return "resampledPixelSpacing: pyradiomics resamples around each label"
        if self.setting.get("preCrop"):
            return "preCrop: pyradiomics crops to each label before it filters"
        return None


def resolve_settings(settings: str | os.PathLike[str] | Mapping[str, Any], ndim: int) -> Settings:
    """Turn the `settings` parameter into checked settings for images of `ndim` dimensions.

    Parameters
    ----------
    settings : str, path-like or mapping
        Name of a preset, pyradiomics parameter file (YAML or JSON) or its content as a dict.
    ndim : {2, 3}
        On 2-D images the presets compute `shape2D` where they compute `shape` on 3-D ones.

    Returns
    -------
    settings : Settings

    Raises
    ------
    ValueError
        If there is no such preset or file, or a name or value in it is not pyradiomics'.
    """
    if isinstance(settings, str) and settings in PRESETS:
        content = copy.deepcopy(PRESETS[settings])
        if ndim == 2:
            content["featureClass"]["shape2D"] = content["featureClass"].pop("shape")
        where = f"settings={settings!r}"
    elif isinstance(settings, str | os.PathLike):
        where = f"the settings file {os.fspath(settings)}"
        content = _read(Path(settings))
    elif isinstance(settings, Mapping):
        where = "settings"
        content = copy.deepcopy(dict(settings))
    else:
        raise ValueError(
            f"settings must be one of {sorted(PRESETS)}, a pyradiomics parameter file or a dict, "
            f"got {type(settings).__name__}"
        )
    _check_names(content, where)
    _check_numbers(content, where, ndim)
    if content.pop("voxelSetting", None):
        warn(
            f"{where}: 'voxelSetting' is about maps of features, one value a voxel, which skcyto "
            "does not make; it has no effect on the features of a region",
            DroppedFeatureWarning,
        )
    return _with_defaults(content, where)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(
            f"settings={str(path)!r} is neither a preset ({', '.join(sorted(PRESETS))}) nor a file"
        )
    import yaml  # comes with pyradiomics

    try:
        text = path.read_text(encoding="utf-8-sig")
        try:
            # Not left to YAML, which knows JSON but for tabs and for numbers such as 1e-3.
            content = json.loads(text)
        except ValueError:
            content = yaml.safe_load(text)
    except RecursionError as error:
        raise ValueError(f"the settings file {path} is nested too deeply") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"the settings file {path} is neither YAML nor JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"the settings file {path} holds no pyradiomics settings: expected the keys "
            "imageType, featureClass and setting"
        )
    return content


def _schema() -> dict[str, Any]:
    import yaml

    schema_file, _ = import_radiomics().getParameterValidationFiles()
    with open(schema_file, encoding="utf-8") as file:
        return yaml.safe_load(file)["mapping"]


def _check_names(content: dict[str, Any], where: str) -> None:
    """Name each unknown key with what was probably meant: pyradiomics' own message does not."""
    radiomics = import_radiomics()
    schema = _schema()
    setting_names = list(schema["setting"]["mapping"])
    stray = [key for key in content if key not in schema and key in setting_names]
    if stray:
        raise ValueError(
            f"{where}: {', '.join(map(repr, stray))} must stand under 'setting', as in "
            f"{{'setting': {{{stray[0]!r}: {content[stray[0]]!r}}}}}"
        )
    problems = _unknown(content, list(schema), "")
    for section in ("setting", "voxelSetting", "imageType", "featureClass"):
        part = content.get(section)
        if part is None:
            content.pop(section, None)
        elif not isinstance(part, Mapping):
            problems.append(f"{section!r} must be a mapping, not {type(part).__name__}")
    if not problems:
        problems += _unknown(content.get("setting", {}), setting_names, "setting ")
        problems += _unknown(content.get("imageType", {}), radiomics.getImageTypes(), "image type ")
        for image_type, custom in content.get("imageType", {}).items():
            content["imageType"][image_type] = custom = custom or {}
            problems += _unknown(custom, setting_names, f"setting of {image_type} ")
        classes = radiomics.getFeatureClasses()
        problems += _unknown(content.get("featureClass", {}), list(classes), "feature class ")
        for name, features in content.get("featureClass", {}).items():
            if name in classes and isinstance(features, list):
                known = list(classes[name].getFeatureNames())
                problems += _unknown(features, known, f"{name} feature ")
    if problems:
        raise ValueError(f"{where}: " + "; ".join(problems))


def _check_numbers(content: dict[str, Any], where: str, ndim: int) -> None:
    """Refuse once what pyradiomics' own check lets through, and every scan would fail with."""
    schema = _schema()["setting"]["mapping"]
    parts = [("setting", content.get("setting", {}))]
    parts += [
        (f"setting of {name}", custom) for name, custom in content.get("imageType", {}).items()
    ]
    problems = []
    for part, settings in parts:
        for name, value in settings.items():
            what = f"{part} {name!r}"
            kind = schema[name].get("type")
            is_list = "seq" in schema[name]
            if (schema[name]["seq"][0]["type"] if is_list else kind) in ("int", "float"):
                if value is None and name in _NEVER_EMPTY:
                    problems.append(f"{what} is empty: give a number, or remove it")
                items = value if isinstance(value, list | tuple) else [value]
                problems += [f"{what} {wrong}" for item in items if (wrong := _no_number(item))]
            if name == "resampledPixelSpacing" and settings.get("interpolator", "") is None:
                continue  # without interpolator nothing is resampled
            if is_list and (wrong := _wrong_length(name, value, ndim)):
                problems.append(f"{what} {wrong}")
    if problems:
        raise ValueError(f"{where}: " + "; ".join(problems))


def _no_number(value: Any) -> str | None:
    if isinstance(value, str):
        try:
            number = f", such as {float(value):g}"
        except ValueError:
            number = ""
        exponent = number and "e" in value.lower() and "." not in value
        hint = " (YAML takes 1e-3 for text, and 1.0e-3 for a number)" if exponent else ""
        return f"is the text {value!r}: give a number{number}{hint}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {value}: give a finite number"
    return None


def _wrong_length(name: str, value: Any, ndim: int) -> str | None:
    length = len(value) if isinstance(value, list | tuple) else None
    if length is None:
        return None
    if name == "resampledPixelSpacing" and length != ndim:
        return f"has {length} number(s), but the images have {ndim} dimensions"
    if name == "resegmentRange" and not 1 <= length <= 2:
        return f"has {length} number(s): give the lowest intensity, or the lowest and the highest"
    if name == "distances" and not length:
        return "is empty: give at least one distance, in voxels"
    return None


def _unknown(names: Any, known: list[str], kind: str) -> list[str]:
    problems = []
    for name in names:
        if name in known:
            continue
        by_lower = {each.lower(): each for each in known}
        guess = by_lower.get(str(name).lower())
        close = [guess] if guess else difflib.get_close_matches(str(name), known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        problems.append(f"unknown {kind}{name!r}, {hint}")
    return problems


def _with_defaults(content: dict[str, Any], where: str) -> Settings:
    radiomics = import_radiomics()
    label = content.get("setting", {}).get("label")
    # The constructor of pyradiomics sets ITK's tolerance for good, and its validator crashes where
    # two threads construct extractors at once.
    with _validator, private_runtime(), geometry_tolerance(None):
        try:
            extractor = radiomics.featureextractor.RadiomicsFeatureExtractor(content)
        except Exception as error:
            raise ValueError(f"{where}: pyradiomics refuses it: {error}") from error
    classes = radiomics.getFeatureClasses()
    feature_classes = {}
    for name, features in extractor.enabledFeatures.items():
        available = classes[name].getFeatureNames()
        feature_classes[name] = list(
            features or [feature for feature, deprecated in available.items() if not deprecated]
        )
        for feature in feature_classes[name]:
            if available[feature] and not _gives_value(classes[name], feature):
                raise ValueError(
                    f"{where}: the {name} feature {feature!r} is deprecated in pyradiomics and "
                    "has no value any more; remove it"
                )
    return Settings(
        setting={**extractor.settings, "additionalInfo": False},
        image_types={name: dict(custom) for name, custom in extractor.enabledImagetypes.items()},
        feature_classes=feature_classes,
        label=label,
    )


def _gives_value(feature_class: type, feature: str) -> bool:
    """Tell deprecated features that still compute from those that only raise."""
    import numpy as np
    import SimpleITK as sitk

    ndim = 2 if feature_class.__name__.endswith("2D") else 3
    image = sitk.GetImageFromArray(np.arange(4.0**ndim).reshape((4,) * ndim))
    mask = sitk.GetImageFromArray(np.ones((4,) * ndim, dtype=np.uint8))
    with private_runtime():
        calculator = feature_class(image, mask, label=1)
        calculator.enableFeatureByName(feature)
        return feature in calculator.execute()
