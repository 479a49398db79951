"""What a saved model holds of a RadiomicsExtractor; see :mod:`skcyto.utils._persistence`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from skcyto.exceptions import InvalidModelError
from skcyto.feature_extraction._radiomics._schema import (
    channel_names,
    column_names,
    feature_table,
    make_schema,
)
from skcyto.feature_extraction._radiomics._settings import PRESETS, resolve_settings


def save_extractor_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of an extractor that the others follow from.

    Parameters
    ----------
    state : dict
        All attributes.

    Returns
    -------
    state : dict
        As for ``_save_state`` of :class:`skcyto.utils._persistence.PersistentEstimator`.
    """
    state = state | {"cache": None}
    settings = state["settings"]
    if "settings_" not in state:
        if isinstance(settings, os.PathLike):
            state["settings"] = os.fspath(settings)
        return state
    if isinstance(settings, str | os.PathLike) and settings not in PRESETS:
        # The content of a parameter file, which need not be where the model is loaded.
        state["settings"] = state["settings_"]
    state["_saved_columns"] = column_names(state["_schema"], list(state["mask_labels_"]))
    for name in ("_settings", "_schema", "feature_table_"):
        del state[name]
    return state


def load_extractor_state(state: dict[str, Any]) -> dict[str, Any]:
    """Turn what :func:`save_extractor_state` gave into attributes.

    Parameters
    ----------
    state : dict
        As returned there.

    Returns
    -------
    state : dict
        All attributes.

    Raises
    ------
    InvalidModelError
        If the settings are none, or the installed pyradiomics does not give the saved columns.
    """
    state = {k: v for k, v in state.items() if k not in ("_settings", "_schema")}
    # The later two have come since the first models were saved.
    state = {"label_column": None, "largest_component": False} | state | {"cache": None}
    columns = state.pop("_saved_columns", None)
    if columns is None:
        return state
    if not isinstance(state.get("settings_"), Mapping):
        # A text would be the place of a parameter file, which a forged model may not choose.
        raise InvalidModelError(
            "RadiomicsExtractor cannot be built: settings_ is no mapping but a "
            f"{type(state.get('settings_')).__name__}. No file was read for it"
        )
    try:
        settings = resolve_settings(state["settings_"], state["n_dims_"])
        n_channels = 3 if "__red__" in str(columns) else 1
        channels = channel_names(state["image_column"], n_channels)
        schema = make_schema(settings, state["n_dims_"], channels)
        table = feature_table(schema, list(state["mask_labels_"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidModelError(f"RadiomicsExtractor cannot be built: {error}") from error
    if table.index.tolist() != list(columns):
        raise InvalidModelError(
            "the installed pyradiomics gives RadiomicsExtractor other features than the saved one "
            f"({state.get('radiomics_version_')}) gave"
        )
    return state | {"_settings": settings, "_schema": schema, "feature_table_": table}
