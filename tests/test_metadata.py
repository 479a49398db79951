"""What pyproject.toml and the README promise is what the code uses and what is run."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = METADATA["project"]
USERS_EXTRAS = ("radiomics", "dicom", "dask", "parquet")
IMPORTERS = {"import_optional", "import_module", "importorskip"}


def imported_packages(folder):
    """The top-level packages that the modules of a folder import, anywhere in their code."""
    found = set()
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module)
            elif isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                text = node.args[0]
                if isinstance(text, ast.JoinedStr):  # import_module(f"imblearn.{name}")
                    text = text.values[0]
                if name in IMPORTERS and isinstance(text, ast.Constant):
                    found.add(text.value)
    found = {name.partition(".")[0] for name in found}
    own = {path.stem for path in (ROOT / folder).iterdir()}  # a script beside the script
    return found - set(sys.stdlib_module_names) - {"skcyto", "tests"} - own


def declared(*extras):
    """The distributions that the package asks for, alone or with some extras."""
    requirements = [Requirement(text) for text in PROJECT["dependencies"]]
    for extra in extras:
        for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
            if requirement.name == "skcyto":  # another of its extras
                continue
            requirements.append(requirement)
            # Extras of another package that are packages themselves: dask[distributed].
            requirements += [Requirement(name) for name in requirement.extras]
    return {canonicalize_name(requirement.name) for requirement in requirements}


@cache
def installed_packages():
    return packages_distributions()


def distributions_of(package):
    return {canonicalize_name(name) for name in installed_packages().get(package, ())}


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("skcyto", USERS_EXTRAS),
        ("examples", USERS_EXTRAS),
        ("tests", (*USERS_EXTRAS, "dev")),
    ],
)
def test_what_is_imported_is_declared(folder, extras):
    missing = {
        package
        for package in imported_packages(folder)
        # A tool that is not installed here goes by its own name.
        if not (distributions_of(package) or {canonicalize_name(package)}) & declared(*extras)
    }
    assert missing == set()


def test_what_is_declared_is_imported():
    used = {name for package in imported_packages("skcyto") for name in distributions_of(package)}
    assert declared(*USERS_EXTRAS) - used - {"dask"} == set()  # dask: its `distributed` is used


def test_the_version_is_that_of_the_package():
    pyproject = METADATA["tool"]["setuptools"]["dynamic"]
    assert "version" not in PROJECT
    assert pyproject["version"] == {"attr": "skcyto.__version__"}


@pytest.mark.parametrize("extra", ["", *USERS_EXTRAS])
def test_every_dependency_has_a_lower_bound(extra):
    texts = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for requirement in map(Requirement, texts):
        if requirement.name == "skcyto":  # another of its extras
            continue
        assert [s for s in requirement.specifier if s.operator in (">=", "==")], requirement


def test_the_readme_promises_the_pythons_that_are_run():
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={promised[0]}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python {promised[0]} to {promised[-1]}" in re.sub(r"\s+", " ", readme)


def test_the_papers_are_cited():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == PROJECT["license"]
    identifiers = {entry.get("doi") for entry in citation["references"]}
    assert identifiers == {"10.48550/arXiv.2504.21340", "10.12677/SEA.2023.123049"}
    for entry in citation["references"]:
        assert {"type", "title", "authors", "year"} <= set(entry)


@pytest.mark.parametrize("fragment", sorted((ROOT / "changelog.d").glob("*.md")), ids=str)
def test_changelog_fragments_have_a_kind(fragment):
    kinds = [kind["directory"] for kind in METADATA["tool"]["towncrier"]["type"]]
    assert re.fullmatch(rf"\+[\w-]+\.({'|'.join(kinds)})\.md", fragment.name)
    assert fragment.read_text(encoding="utf-8").strip()


def test_towncrier_puts_fragments_under_their_kind(tmp_path):
    pytest.importorskip("towncrier")
    folder = tmp_path / "changelog.d"
    folder.mkdir()
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (folder / "+new.added.md").write_text("`something` is new.")
    (folder / "+mended.fixed.md").write_text("`other` works.")
    command = [sys.executable, "-m", "towncrier", "build", "--draft"]
    command += ["--version", "9.8.7", "--date", "2030-01-02"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wanted = (
        r"## 9\.8\.7 \(2030-01-02\)\s+### Added\s+- `something` is new\."
        r"\s+### Fixed\s+- `other` works\."
    )
    assert re.search(wanted, done.stdout), done.stdout


def test_workflows_run_targets_of_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert workflows
    for workflow in workflows:
        called = set()
        for job in yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values():
            commands = [step["run"] for step in job["steps"] if "run" in step]
            called |= {re.fullmatch(r"make (\S+|\$\{\{.*?\}\})( \w+=.*)?", c)[1] for c in commands}
            if "${{ matrix.target }}" in called:
                called |= set(job["strategy"]["matrix"]["target"])
        assert called - {"${{ matrix.target }}"} <= targets, workflow.name
