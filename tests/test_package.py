"""The package as a whole: imports, names, docstrings."""

import importlib
import inspect
import subprocess
import sys

import pytest
from numpydoc.validate import validate

import skcyto

SUBPACKAGES = [name for name in skcyto._SUBMODULES if name != "utils"]


def public_objects():
    """Yield the dotted name of every public class, function and method."""
    for package in SUBPACKAGES:
        module = importlib.import_module(f"skcyto.{package}")
        for name in getattr(module, "__all__", ()):
            item = getattr(module, name)
            yield f"skcyto.{package}.{name}"
            if inspect.isclass(item) and not issubclass(item, Exception):
                for method, function in vars(item).items():
                    # What overrides a documented method need not repeat its documentation.
                    overrides = any(method in vars(base) for base in item.__mro__[1:])
                    if (
                        not method.startswith("_")
                        and inspect.isfunction(function)
                        and not overrides
                    ):
                        yield f"skcyto.{package}.{name}.{method}"


def test_import_is_lazy():
    code = (
        "import sys, skcyto; "
        "heavy = {'torch', 'timm', 'radiomics', 'SimpleITK', 'shap', 'optuna', 'skorch'}; "
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "package", ["feature_extraction", "feature_selection", "datasets", "metrics"]
)
def test_packages_without_networks_do_not_import_torch(package):
    code = (
        f"import sys, skcyto.{package}; "
        "sys.exit(', '.join({'torch', 'timm', 'radiomics', 'SimpleITK'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        skcyto.nonsense  # noqa: B018


def test_dir_lists_subpackages():
    assert set(SUBPACKAGES) <= set(dir(skcyto))


# What numpydoc would have beyond a summary, described parameters and returned values: extended
# summaries and "See Also" sections where there is nothing to say.
IGNORED = {
    "ES01",  # no extended summary
    "EX01",  # no example: asked of classes and functions below, not of every method
    "GL01",  # text starts on the line of the quotes, as ruff's pydocstyle has it
    "GL02",
    "GL03",
    "GL08",  # methods that scikit-learn documents
    "PR01",  # attributes of displays are documented as such
    "PR02",  # **kwargs are documented by their name
    "RT02",  # named return values
    "RT03",
    "RT04",
    "RT05",
    "SA01",  # no "See Also"
    "SA04",
    "SS05",
    "SS06",  # summaries may be longer than a line where clarity asks for it
    "YD01",
    "PR08",  # descriptions may start with a quoted value such as "auto"
    "PR09",
    "PR06",
}


@pytest.mark.parametrize("name", sorted(set(public_objects())))
def test_docstring_follows_numpydoc(name):
    errors = [(code, text) for code, text in validate(name)["errors"] if code not in IGNORED]
    assert errors == []


@pytest.mark.parametrize("name", sorted(n for n in set(public_objects()) if n.count(".") == 2))
def test_public_object_has_an_example(name):
    _, package, attribute = name.split(".")
    item = getattr(importlib.import_module(f"skcyto.{package}"), attribute)
    if inspect.isclass(item) and issubclass(item, Exception):
        pytest.skip("exceptions and warnings need no example")
    if not callable(item):
        pytest.skip("a constant")
    assert ">>>" in (item.__doc__ or ""), f"{name} has no runnable example"
