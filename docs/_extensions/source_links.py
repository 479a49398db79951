"""Links from the reference to the lines on GitHub.

Public names say that they live in public packages, so that their files are looked up here.
"""

import inspect
import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOB = "https://github.com/skcyto/skcyto/blob/main"


@cache
def _classes():
    """Class name to its file and lines, of every module of skcyto that was imported."""
    found = {}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not name.startswith("skcyto") or not file:
            continue
        lines = Path(file).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            match = re.match(r"class (\w+)", line)
            if match:
                length = len(inspect.getblock([text + "\n" for text in lines[number - 1 :]]))
                found[match[1]] = (file, number, number + length - 1)
    return found


def linkcode_resolve(domain, info):
    """Address of an object's source, or None."""
    if domain != "py" or not info["module"]:
        return None
    item = sys.modules.get(info["module"])
    for part in info["fullname"].split("."):
        item = getattr(item, part, None)
    if inspect.isclass(item):
        where = _classes().get(item.__name__)
    else:
        where = _lines_of_function(item)
    if where is None:
        return None
    file, first, last = where
    path = Path(file)
    if not path.is_relative_to(ROOT):
        return None  # inherited from another package
    return f"{BLOB}/{path.relative_to(ROOT).as_posix()}#L{first}-L{last}"


def _lines_of_function(item):
    if isinstance(item, property):
        item = item.fget
    try:
        item = inspect.unwrap(item)
        lines, first = inspect.getsourcelines(item)
        return inspect.getsourcefile(item), first, first + len(lines) - 1
    except (TypeError, OSError, ValueError):
        return None
