"""What pyproject.toml and the README promise is what the code uses and what is run."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
METADATA = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = METADATA["project"]
USERS_EXTRAS = ("radiomics", "dask", "parquet")
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
        ("benchmarks", (*USERS_EXTRAS, "dev", "benchmark")),
    ],
)
def test_what_is_imported_is_declared(folder, extras):
    missing = {
        package
        for package in imported_packages(folder)
        # One that is not installed here, such as a rival of the benchmarks, goes by its own name.
        if not (distributions_of(package) or {canonicalize_name(package)}) & declared(*extras)
    }
    assert missing == set()


def test_what_is_declared_is_imported():
    used = {name for package in imported_packages("skcyto") for name in distributions_of(package)}
    assert declared(*USERS_EXTRAS) - used - {"dask"} == set()  # dask: its `distributed` is used


@pytest.mark.parametrize("extra", ["", *USERS_EXTRAS])
def test_every_dependency_has_a_lower_bound(extra):
    texts = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for requirement in map(Requirement, texts):
        assert [s for s in requirement.specifier if s.operator in (">=", "==")], requirement


def test_the_readme_promises_the_pythons_that_are_run():
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={promised[0]}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python {promised[0]} to {promised[-1]}" in re.sub(r"\s+", " ", readme)
