"""What a bug report is asked to hold."""

import platform
import sys
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
import sklearn
import torch
from numpydoc.validate import validate

import skcyto
from skcyto.utils import _show_versions
from tests.test_package import IGNORED


def test_names_python_packages_kernels_and_devices(capsys):
    skcyto.show_versions()
    printed = capsys.readouterr().out
    lines = {line.strip() for line in printed.splitlines()}
    assert {
        f"python: {platform.python_version()}",
        f"executable: {sys.executable}",
        f"skcyto: {skcyto.__version__}",
        f"numpy: {np.__version__}",
        f"scikit-learn: {sklearn.__version__}",
    } <= lines
    assert f"torch: {torch.backends.cpu.get_cpu_capability()}, " in printed
    assert "openblas" in printed or "mkl" in printed or "accelerate" in printed.lower()
    assert "cpu: " in printed
    assert "sphinx" not in printed, "a tool for development is of no interest"


@pytest.mark.parametrize("absent", ["pyarrow", "skcyto"])
def test_says_what_is_not_installed(monkeypatch, capsys, absent):
    def without(function):
        def look_up(name):
            if name == absent:
                raise PackageNotFoundError(name)
            return function(name)

        return look_up

    requirements = ["numpy>=2.0", 'pyarrow>=17; extra == "parquet"', 'sphinx>=8; extra == "docs"']
    monkeypatch.setattr(_show_versions, "requires", without(lambda _: requirements))
    monkeypatch.setattr(_show_versions, "version", without(lambda _: "1.2"))
    skcyto.show_versions()
    printed = capsys.readouterr().out
    if absent == "skcyto":
        assert "unknown: skcyto runs from a folder and is not installed" in printed
    else:
        assert "pyarrow: not installed (extra parquet)" in printed
        assert "numpy: 1.2" in printed


def test_docstring_follows_numpydoc():
    errors = validate("skcyto.show_versions")["errors"]
    assert [(code, text) for code, text in errors if code not in IGNORED] == []
