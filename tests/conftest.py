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


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")
