"""Inventories of other projects for builds without network.

With network, intersphinx takes each project's own. Without, it takes what is written here: the
names that skcyto's pages and docstrings refer to, at the addresses that those projects have.
"""

import inspect
import re
import zlib
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
_GENERATED = "modules/generated/{page}.html"
# Project: its site, and where a name's page is.
PROJECTS = {
    "sklearn": ("https://scikit-learn.org/stable/", _GENERATED),
    "torch": ("https://docs.pytorch.org/docs/stable/", "generated/{page}.html"),
    "optuna": ("https://optuna.readthedocs.io/en/stable/", "reference/generated/{page}.html"),
    "pandas": ("https://pandas.pydata.org/docs/", "reference/api/{page}.html"),
    "matplotlib": ("https://matplotlib.org/stable/", "api/_as_gen/{page}.html"),
    "joblib": ("https://joblib.readthedocs.io/en/stable/", "generated/{page}.html"),
}
_REFERENCE = re.compile(r"[:{](?:py:)?(?:class|func|meth|mod|obj|attr|exc)[:}]`~?([\w.]+)`")


def _used_names():
    names = set()
    for pattern in ("docs/**/*.md", "skcyto/**/*.py", "examples/gallery/**/*.py"):
        for path in ROOT.glob(pattern):
            names.update(_REFERENCE.findall(path.read_text(encoding="utf-8")))
    return sorted(names)


def _find(name):
    """The object and how many parts of its name are the module's."""
    parts = name.split(".")
    for n_parts in range(len(parts), 0, -1):
        try:
            item = import_module(".".join(parts[:n_parts]))
        except ImportError:
            continue
        for part in parts[n_parts:]:
            item = getattr(item, part, None)
        return item, n_parts
    return None, 0


def _entry(name, page_pattern):
    item, n_parts = _find(name)
    if item is None or inspect.ismodule(item):
        return None
    parts = name.split(".")
    is_method = len(parts) - n_parts > 1
    page = ".".join(parts[:-1]) if is_method else name
    role = "method" if is_method else "class" if inspect.isclass(item) else "function"
    return f"{name} py:{role} 1 {page_pattern.format(page=page)}#$ -"


def write_inventories(folder: Path):
    """Write one inventory a project and return intersphinx's mapping."""
    folder.mkdir(parents=True, exist_ok=True)
    names = _used_names()
    mapping = {}
    for project, (site, pattern) in PROJECTS.items():
        used = [name for name in names if name.partition(".")[0] == project]
        entries = [entry for entry in (_entry(name, pattern) for name in used) if entry]
        head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        head += "# The remainder of this file is compressed using zlib.\n"
        body = "".join(f"{entry}\n" for entry in entries)
        file = folder / f"{project}.inv"
        file.write_bytes(head.encode() + zlib.compress(body.encode()))
        mapping[project] = (site, (None, str(file)))
    return mapping
