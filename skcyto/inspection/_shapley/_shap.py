"""Import shap without its noise."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


def import_shap() -> ModuleType:
    """Import shap, which takes seconds, on first use and without other packages' deprecations.

    Returns
    -------
    shap : module
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import shap
    return shap


@contextmanager
def quiet_shap() -> Iterator[None]:
    """Silence shap's logger inside the block: what matters of it, skcyto says itself."""
    logger = logging.getLogger("shap")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
