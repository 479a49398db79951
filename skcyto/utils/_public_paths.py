"""Public names say that they live where users import them from."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

_PAGES = "https://skcyto.github.io/skcyto/api/generated/{estimator_module}.{estimator_name}.html"


def use_public_paths(package: str, namespace: Mapping[str, Any], names: Iterable[str]) -> None:
    """Set ``__module__`` of a package's public classes and functions to the package.

    Saved models and pickles hold this path, and so outlive a move of the private module; it is
    also what tracebacks, the documentation and scikit-learn's diagrams show.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.
    namespace : mapping
        Its globals.
    names : iterable of str
        Those that are public.
    """
    for name in names:
        item = namespace[name]
        if not (inspect.isclass(item) or inspect.isfunction(item)):
            continue
        private = item.__module__
        if not private.startswith(f"{package}."):
            continue
        item.__module__ = package
        if inspect.isclass(item):
            if hasattr(item, "_doc_link_module"):
                # The question mark in scikit-learn's diagrams leads to skcyto's own page.
                item._doc_link_module = "skcyto"
                item._doc_link_template = _PAGES  # type: ignore[attr-defined]
            if "__firstlineno__" in vars(item):
                # A line of the private module: Python 3.13 would show that of the package instead.
                del item.__firstlineno__  # type: ignore[attr-defined]
            # Methods too: doctest, for one, takes those of other modules for somebody else's.
            for method in vars(item).values():
                function = getattr(method, "__func__", method)
                if inspect.isfunction(function) and function.__module__ == private:
                    function.__module__ = package
