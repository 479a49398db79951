"""Pages of the reference, a page a package: `__all__` is the only list of public names."""

from importlib import import_module
from inspect import cleandoc, isclass
from pathlib import Path

PACKAGES = {
    "feature_extraction": "Images and scans to tables",
    "feature_selection": "Fewer columns",
    "neural_network": "Networks for rare classes",
    "losses": "Losses, in plain torch",
    "model_selection": "Comparing and searching",
    "metrics": "Scores",
    "inspection": "What a model looks at",
    "persistence": "Models to hand on",
    "datasets": "Loaders and drawings",
    "exceptions": "Errors and warnings",
    "utils": "Estimators and versions",
}


def public_names(package):
    """Sorted public names of a package."""
    return sorted(getattr(import_module(f"skcyto.{package}"), "__all__", []), key=str.lower)


def write_api_pages(folder: Path):
    """Write a page for each package that has public names."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        module = import_module(f"skcyto.{package}")
        names = public_names(package)
        title = f"skcyto.{package}"
        lines = [title, "=" * len(title), "", cleandoc(module.__doc__ or ""), ""]
        lines += [f".. currentmodule:: {title}", ""]
        kinds = {"Classes": [], "Functions": []}
        for name in names:
            kinds["Classes" if isclass(getattr(module, name)) else "Functions"].append(name)
        for kind, members in kinds.items():
            if members:
                lines += [f".. rubric:: {kind}", "", ".. autosummary::", "   :toctree: ."]
                lines += ["   :nosignatures:", ""]
                lines += [f"   {name}" for name in members] + [""]
        _write_if_changed(folder / f"package_{package}.rst", "\n".join(lines) + "\n")


def _write_if_changed(page: Path, text: str):
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def annotated_names():
    """Attributes that classes only annotate: their docstrings describe them."""
    for package in PACKAGES:
        module = import_module(f"skcyto.{package}")
        for item in vars(module).values():
            if isclass(item) and item.__module__ == module.__name__:
                for base in item.__mro__:
                    names = vars(base).get("__annotations__", {})
                    yield from (name for name in names if not hasattr(item, name))
