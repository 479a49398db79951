"""Which columns come out, fixed once so that every case has the same ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skcyto.feature_extraction._radiomics._filters import filter_of
from skcyto.feature_extraction._radiomics._runtime import import_radiomics, private_runtime
from skcyto.feature_extraction._radiomics._settings import Settings

if TYPE_CHECKING:
    import pandas as pd

CHANNELS = ("red", "green", "blue")
_SHAPE_CLASSES = {2: "shape2D", 3: "shape"}


@dataclass(frozen=True)
class Feature:
    """One column of one label.

    Attributes
    ----------
    image_type, feature_class, name : str
        As pyradiomics calls them.
    channel : str
        Colour channel or sequence the feature is computed on; empty for shape, and where there is
        one gray image a case.
    """

    image_type: str
    feature_class: str
    name: str
    channel: str = ""

    @property
    def radiomics_name(self) -> str:
        """The name in pyradiomics' own output."""
        return f"{self.image_type}_{self.feature_class}_{self.name}"


@dataclass(frozen=True)
class Schema:
    """The columns of one label, in order.

    Attributes
    ----------
    ndim : {2, 3}
        Dimension of the images.
    channels : tuple of str
        Colour channels or sequences; one empty name for one gray image a case.
    features : tuple of Feature
    """

    ndim: int
    channels: tuple[str, ...]
    features: tuple[Feature, ...]


def channel_names(image_column: Any, n_channels: int) -> tuple[str, ...]:
    """Name what there is of each texture: colours, sequences, or one without a name.

    Parameters
    ----------
    image_column : str or sequence of str
        Parameter of the extractor.
    n_channels : int
        Of an image.

    Returns
    -------
    channels : tuple of str
    """
    if not isinstance(image_column, str):
        return tuple(image_column)
    return CHANNELS if n_channels > 1 else ("",)


def make_schema(settings: Settings, ndim: int, channels: tuple[str, ...]) -> Schema:
    """List the columns of one label.

    Parameters
    ----------
    settings : Settings
    ndim : {2, 3}
    channels : tuple of str

    Returns
    -------
    schema : Schema

    Raises
    ------
    ValueError
        If an image type gives no image here, or no feature is left.
    """
    shape_class = _SHAPE_CLASSES[ndim]
    shape_classes = [shape_class]
    if ndim == 3 and settings.setting.get("force2D"):
        shape_classes.append("shape2D")
    features = [
        Feature("original", name, feature)
        for name in settings.feature_classes
        if name in shape_classes
        for feature in settings.feature_classes[name]
    ]
    image_types = image_type_names(settings, ndim)
    features += [
        Feature(image_type, name, feature, channel)
        for channel in channels
        for image_type in image_types
        for name, names in settings.feature_classes.items()
        if not name.startswith("shape")
        for feature in names
    ]
    if not features:
        raise ValueError(
            f"the settings give no feature for {ndim}-D images: enable {shape_class!r} or a "
            "texture class under 'featureClass'"
        )
    return Schema(ndim, channels, tuple(features))


def lost_shape_class(settings: Settings, schema: Schema) -> tuple[str, str] | None:
    """Find a shape class that is asked for, where these images have another one instead.

    Settings that ask for both, as pyradiomics' defaults do, lose nothing: one of them applies.

    Parameters
    ----------
    settings : Settings
    schema : Schema

    Returns
    -------
    lost, applicable : tuple of str, or None
    """
    asked = {name for name in settings.feature_classes if name in _SHAPE_CLASSES.values()}
    given = {each.feature_class for each in schema.features}
    if not asked or asked & given:
        return None
    return asked.pop(), _SHAPE_CLASSES[schema.ndim]


def image_type_names(settings: Settings, ndim: int) -> list[str]:
    """Ask pyradiomics' filters for the names of their images, on noise of the right dimension.

    Parameters
    ----------
    settings : Settings
    ndim : {2, 3}

    Returns
    -------
    names : list of str

    Raises
    ------
    ValueError
        If an image type gives no image: a package is missing, or it has no sigma.
    """
    import SimpleITK as sitk

    names: list[str] = []
    for image_type, custom in settings.image_types.items():
        kwargs = {**settings.setting, **custom, "label": 1}
        size = 16
        if image_type == "LoG":
            size = max(size, int(np.ceil(max(kwargs.get("sigma") or [0]))) + 2)
        noise = np.random.default_rng(0).normal(size=(size,) * ndim)
        image = sitk.GetImageFromArray(noise)
        mask = sitk.GetImageFromArray(np.ones(noise.shape, dtype=np.uint32))
        with private_runtime() as messages:
            found = [name for _, name, _ in filter_of(image_type)(image, mask, **kwargs)]
        if not found:
            reason = "; ".join(messages) or "it needs a setting, such as sigma for LoG"
            raise ValueError(
                f"the image type {image_type!r} gives no image of {ndim} dimensions here: {reason}"
            )
        names += found
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"the settings give the image types {', '.join(twice)} twice")
    return names


def column_names(schema: Schema, structures: list[str]) -> list[str]:
    """Name the columns of all labels: ``structure__[channel__]imagetype_class_feature``."""
    return [
        "__".join(filter(None, (structure, feature.channel, feature.radiomics_name)))
        for structure in structures
        for feature in schema.features
    ]


def feature_table(schema: Schema, structures: list[str]) -> pd.DataFrame:
    """Describe each column: one row a column, indexed by its name."""
    import pandas as pd

    rows = [
        (structure, each.image_type, each.feature_class, each.name, each.channel)
        for structure in structures
        for each in schema.features
    ]
    columns = ["structure", "image_type", "feature_class", "feature", "channel"]
    index = pd.Index(column_names(schema, structures), name="column")
    return pd.DataFrame(rows, columns=columns, index=index)


def radiomics_version() -> str:
    """Version of the installed pyradiomics."""
    return str(import_radiomics().__version__)
