"""Sphinx configuration."""

from importlib import import_module
from inspect import cleandoc
from pathlib import Path

from skcyto import __version__

project = "skcyto"
author = "The skcyto developers"
copyright = "2026, The skcyto developers"
release = __version__
version = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_design",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
numpydoc_show_class_members = True
numpydoc_show_inherited_class_members = False
numpydoc_class_members_toctree = False

# Inherited docstrings refer to scikit-learn's own glossary and labels.
suppress_warnings = ["ref.term", "ref.ref"]

html_theme = "pydata_sphinx_theme"
html_title = "skcyto"
html_static_path = ["_static"]
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"index": []}

PACKAGES = (
    "feature_extraction",
    "feature_selection",
    "neural_network",
    "losses",
    "model_selection",
    "metrics",
    "inspection",
    "persistence",
    "datasets",
    "exceptions",
    "utils",
)


def write_api_pages():
    """List every public name, so that none is forgotten: `__all__` is the only list of them."""
    folder = Path(__file__).parent / "api" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        module = import_module(f"skcyto.{package}")
        names = sorted(getattr(module, "__all__", []), key=str.lower)
        if not names:
            continue
        title = f"skcyto.{package}"
        lines = [title, "=" * len(title), "", cleandoc(module.__doc__ or ""), ""]
        lines += [f".. currentmodule:: {title}", "", ".. autosummary::", "   :toctree: .", ""]
        lines += [f"   {name}" for name in names]
        page = folder / f"package_{package}.rst"
        text = "\n".join(lines) + "\n"
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


# Now, and not in an event: autosummary looks for the pages as soon as the build begins.
write_api_pages()


def skip_annotated(app, what, name, obj, skip, options):
    """Leave out attributes that a class only annotates: its docstring describes them.

    Their source would be looked for in the public package, where no class is written.
    """
    return True if name in _ANNOTATED else None


def _annotated():
    import inspect

    for package in PACKAGES:
        module = import_module(f"skcyto.{package}")
        for item in vars(module).values():
            if inspect.isclass(item) and item.__module__ == module.__name__:
                yield from (
                    n for n in vars(item).get("__annotations__", {}) if not hasattr(item, n)
                )


_ANNOTATED = set(_annotated())


def setup(app):
    """Register what autosummary asks."""
    app.connect("autodoc-skip-member", skip_annotated)
