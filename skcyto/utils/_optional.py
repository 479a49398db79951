"""Import what only some users have installed."""

from importlib import import_module
from types import ModuleType


def import_optional(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import a module of an optional extra, or say which extra brings it.

    Parameters
    ----------
    module : str
        Dotted name of the module.
    extra : str
        Extra of skcyto that installs it.
    purpose : str
        What it is needed for, as the subject of a sentence: "RadiomicsExtractor".

    Returns
    -------
    module : module

    Raises
    ------
    ImportError
        If the module is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which could not be imported "
            f"({error}). Install it with: pip install 'skcyto[{extra}]'"
        ) from error
