"""Fixtures that every test module may use."""

import os
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")

DATA = Path(os.environ.get("SKCYTO_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data():
    """Folder of the real data sets; tests that need it are skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip("real data not present: set SKCYTO_DATA to the folder that holds it")
    return DATA


def pytest_collection_modifyitems(items):
    """Skip the tests of a GPU where there is none; torch is asked only if there are such tests."""
    gpu_tests = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_tests:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason="torch sees no CUDA device here"))


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
