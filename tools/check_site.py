"""Look over the built site: every public method documented, no dead link, nothing from outside.

Usage: python tools/check_site.py docs/_build/html
"""

from __future__ import annotations

import inspect
import re
import sys
import zlib
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import skcyto

MIN_METHODS = 220  # some of them went missing if there are fewer
# Where inherited methods stop being ours to document: dictionaries, torch modules, exceptions.
FOREIGN = ("builtins", "torch", "typing")


def read_inventory(file: Path) -> dict[str, set[str]]:
    """Return the names of objects.inv by their role."""
    data = file.read_bytes()
    head, body = data.split(b"zlib.\n", 1)
    assert head.startswith(b"# Sphinx inventory version 2"), file
    names: dict[str, set[str]] = {}
    for line in zlib.decompress(body).decode().splitlines():
        name, role, _ = line.split(" ", 2)
        names.setdefault(role, set()).add(name)
    return names


def public_methods() -> dict[str, object]:
    """Return every public method of a public class, inherited ones of scikit-learn's included."""
    methods = {}
    for package in skcyto._SUBMODULES:
        module = import_module(f"skcyto.{package}")
        for name in getattr(module, "__all__", ()):
            item = getattr(module, name)
            if not inspect.isclass(item) or issubclass(item, Exception):
                continue
            for method in dir(item):
                owner = next((base for base in item.__mro__ if method in vars(base)), None)
                if owner is None or owner.__module__.partition(".")[0] in FOREIGN:
                    continue
                value = getattr(item, method)
                if method.startswith("_") or inspect.isclass(value):
                    continue
                if callable(value):
                    methods[f"skcyto.{package}.{name}.{method}"] = value
    return methods


def missing_methods(site: Path) -> list[str]:
    """Name what is missing from the reference, or has no description."""
    listed = read_inventory(site / "objects.inv").get("py:method", set())
    methods = public_methods()
    faults = [f"{name} is not in the reference" for name in sorted(set(methods) - listed)]
    faults += [
        f"{name} has no description"
        for name, method in sorted(methods.items())
        if not inspect.getdoc(method)
    ]
    if len(listed) < MIN_METHODS:
        faults.append(f"objects.inv has {len(listed)} methods, fewer than {MIN_METHODS}")
    return faults


class Page(HTMLParser):
    """Anchors of a page, its links, and what a browser fetches to show it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect from one tag."""
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.add(values["href"])
        if "src" in values:
            self.fetched.add(values["src"])
        # rel="canonical", "index" and the like fetch nothing.
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "icon"):
            self.fetched.add(values.get("href", ""))


def dead_links(site: Path) -> list[str]:
    """Name links within the site that lead nowhere, and files from outside."""
    # What lies in _static are parts of pages, not pages.
    files = [file for file in sorted(site.rglob("*.html")) if "_static" not in file.parts]
    pages = {file.resolve(): Page(file) for file in files}
    faults = []
    for file, page in pages.items():
        where = file.relative_to(site.resolve())
        for link in sorted(page.links | page.fetched):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.fetched and parts.scheme != "data":
                    faults.append(f"{where} fetches {link}")
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                faults.append(f"{where}: there is no {link}")
            elif parts.fragment and target in pages:
                anchor = unquote(parts.fragment)
                if anchor not in pages[target].anchors:
                    faults.append(f"{where}: {link} has no such anchor")
    return faults


def cut_formulas(site: Path) -> list[str]:
    """Name pages with formulas for which MathJax is not beside them."""
    with_math = [
        file
        for file in site.rglob("*.html")
        if re.search(r'class="[^"]*\bmath\b', file.read_text(encoding="utf-8"))
    ]
    if with_math and not (site / "_static" / "tex-svg.js").exists():
        return [f"{len(with_math)} pages have formulas, and there is no MathJax beside them"]
    return []


def main(site: Path) -> None:
    """Check a site, and exit with its faults."""
    faults = missing_methods(site) + dead_links(site) + cut_formulas(site)
    n_methods = len(read_inventory(site / "objects.inv")["py:method"])
    n_pages = len(list(site.rglob("*.html")))
    print(f"{n_methods} methods in objects.inv, {n_pages} pages, {len(faults)} faults")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
