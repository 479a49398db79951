"""The site: built without a warning, every method documented, no dead link."""

import importlib.util
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTENSIONS = ("sphinx_gallery", "sphinx_copybutton", "sphinx_design", "myst_parser", "numpydoc")


def load_check():
    spec = importlib.util.spec_from_file_location("check_site", ROOT / "tools" / "check_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_method_has_a_description():
    check = load_check()
    methods = check.public_methods()
    assert len(methods) >= check.MIN_METHODS
    assert [name for name, method in methods.items() if not inspect.getdoc(method)] == []


def test_dead_links_and_foreign_files_are_found(tmp_path):
    (tmp_path / "page.html").write_text(
        '<h2 id="here"></h2><a href="#here"></a><a href="#gone"></a><a href="other.html"></a>'
        '<a href="https://example.org"></a><script src="https://example.org/a.js"></script>'
    )
    faults = load_check().dead_links(tmp_path)
    assert [fault.partition(" ")[2] for fault in faults] == [
        "#gone has no such anchor",
        "fetches https://example.org/a.js",
        "there is no other.html",
    ]


def test_gallery_has_themes_and_figures():
    """Sphinx-gallery runs them when the site is built; what it shows is here."""
    scripts = sorted((ROOT / "examples" / "gallery").glob("*/plot_*.py"))
    assert len(scripts) >= 14
    for script in scripts:
        assert (script.parent / "GALLERY_HEADER.rst").exists()
        text = script.read_text(encoding="utf-8")
        assert text.startswith('"""\n')
        assert "# %%" in text
        title, underline = text.splitlines()[1:3]
        assert set(underline) == {"="}
        assert len(underline) == len(title)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_site_is_built_without_a_warning(tmp_path):
    for name in EXTENSIONS:
        pytest.importorskip(name)
    for folder in ("docs", "examples"):
        ignored = shutil.ignore_patterns("_build", "_generated", "generated", "gallery.zip")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.rmtree(tmp_path / "docs" / "gallery", ignore_errors=True)
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    site = tmp_path / "html"
    # The gallery's scripts are run by `make docs`.
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-D", "plot_gallery=0"]
    for command in (
        [*build, "-b", "html", str(tmp_path / "docs"), str(site)],
        [sys.executable, str(ROOT / "tools" / "check_site.py"), str(site)],
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
