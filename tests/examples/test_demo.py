"""`make demo` on a machine that has Python, git and make, and no compiler."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What the extras bring, by the names under which it is imported.
EXTRAS = {
    "pyradiomics-bhklab": "radiomics",
    "SimpleITK": "SimpleITK",
    "PyWavelets": "pywt",
    "dask": "dask",
    "pyarrow": "pyarrow",
}
WITHOUT_EXTRAS = """
import runpy, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.argv = {argv}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_demo_installs_no_extra(tmp_path):
    """Extras need more than the package registry: pyradiomics is built by a C compiler."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    command = ["make", "--dry-run", "demo", f"VENV={tmp_path / 'venv'}"]
    plan = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    installs = [line.split(" install ")[1] for line in plan.splitlines() if " install " in line]
    assert installs == ["--quiet --upgrade pip", "--quiet -e ."]
    assert "examples/quickstart.py" in plan


@pytest.mark.slow
def test_demo_runs_without_extras(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = [line for name in ("radiomics", "dask", "parquet") for line in extras[name]]
    assert len(names) == len(EXTRAS), "name the new extra above"
    argv = [str(ROOT / "examples" / "quickstart.py"), "--smoke", "--output", str(tmp_path)]
    code = WITHOUT_EXTRAS.format(blocked=set(EXTRAS.values()), argv=argv)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert {"comparison.html", "roc.png", "scores.png"} <= {p.name for p in tmp_path.iterdir()}
