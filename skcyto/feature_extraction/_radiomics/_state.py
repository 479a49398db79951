"""What a saved model holds of a RadiomicsExtractor; see :mod:`skcyto.utils._persistence`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from skcyto.exceptions import InvalidModelError
from skcyto.feature_extraction._radiomics._schema import (
    channel_names,
    column_names,
    feature_table,
    make_schema,
)
from skcyto.feature_extraction._radiomics._settings import PRESETS, resolve_settings

if TYPE_CHECKING:
    from skcyto.feature_extraction._radiomics._extractor import RadiomicsExtractor


def save_extractor_state(extractor: RadiomicsExtractor) -> dict[str, Any]:
    """Return the attributes of an extractor that the others follow from.

    Parameters
    ----------
    extractor : RadiomicsExtractor
        Fitted or not.

    Returns
    -------
    state : dict
        As for ``_save_state`` of :class:`skcyto.utils._persistence.PersistentEstimator`.
    """
    state = dict(vars(extractor))
    state["cache"] = None
    settings = extractor.settings
    if not hasattr(extractor, "settings_"):
        if isinstance(settings, os.PathLike):
            state["settings"] = os.fspath(settings)
        return state
    if isinstance(settings, str | os.PathLike) and settings not in PRESETS:
        # The content of a parameter file, which need not be where the model is loaded.
        state["settings"] = extractor.settings_
    state["_saved_columns"] = column_names(extractor._schema, list(extractor.mask_labels_))
    for name in ("_settings", "_schema", "feature_table_"):
        del state[name]
    return state


def load_extractor_state(extractor: RadiomicsExtractor, state: dict[str, Any]) -> None:
    """Take back what :func:`save_extractor_state` gave.

    Parameters
    ----------
    extractor : RadiomicsExtractor
        Changed in place.
    state : dict
        As returned there.

    Raises
    ------
    InvalidModelError
        If the settings are none, or the installed pyradiomics does not give the saved columns.
    """
    state = {k: v for k, v in state.items() if k not in ("_settings", "_schema", "cache")}
    columns = state.pop("_saved_columns", None)
    extractor.__dict__.update(state, cache=None)
    if columns is None:
        return
    if not isinstance(state.get("settings_"), Mapping):
        # A text would be the place of a parameter file, which a forged model may not choose.
        raise InvalidModelError(
            f"{type(extractor).__name__} cannot be built: settings_ is no mapping but a "
            f"{type(state.get('settings_')).__name__}. No file was read for it"
        )
    try:
        extractor._settings = resolve_settings(extractor.settings_, extractor.n_dims_)
        n_channels = 3 if "__red__" in str(columns) else 1
        channels = channel_names(extractor.image_column, n_channels)
        extractor._schema = make_schema(extractor._settings, extractor.n_dims_, channels)
        extractor.feature_table_ = feature_table(extractor._schema, list(extractor.mask_labels_))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidModelError(f"{type(extractor).__name__} cannot be built: {error}") from error
    if extractor.feature_table_.index.tolist() != list(columns):
        raise InvalidModelError(
            f"the installed pyradiomics gives {type(extractor).__name__} other features than the "
            f"saved one ({extractor.radiomics_version_}) gave"
        )
