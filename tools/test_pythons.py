"""Run the suite on each supported Python that this machine has.

``make test-pythons`` calls it. Supported is what the classifiers of ``pyproject.toml`` promise, and
the release after them is tried where there is one. Pythons are looked for among pyenv's versions
and on the PATH. Each gets an environment ``.env-python-<version>`` with everything for development,
made anew where ``pyproject.toml`` has changed since.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run the tests and print the closing line of each Python."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", default=".venv", help="environment whose Python is left out")
    parser.add_argument("--all", action="store_true", help="that Python, too")
    parser.add_argument("--newest", action="store_true", help="only the newest of those promised")
    parser.add_argument("--workers", default="2", help="workers of pytest-xdist")
    parser.add_argument("tests", nargs="*", help="what pytest runs; the whole suite by default")
    options = parser.parse_args()

    promised = promised_versions()
    wanted = promised if options.newest else [*promised, following(promised[-1])]
    default = None if options.all else version_of(ROOT / options.venv / "bin" / "python")
    pythons = {v: find_python(v) for v in wanted if v != default}
    found = {version: python for version, python in pythons.items() if python is not None}
    if options.newest:
        found = dict(list(found.items())[-1:])

    results = {}
    for version, python in found.items():
        print(f"== Python {version}: {python}", flush=True)
        results[version] = run_suite(version, python, options.tests, options.workers)
    print()
    if default is not None:
        print(f"Python {default}: not run, it is that of {options.venv} (--all runs it, too)")
    for version in pythons:
        if version in results:
            print(f"Python {version}: {results[version][1]}")
        elif version in promised and version not in found and not options.newest:
            print(f"Python {version}: not run, there is none on this machine")
    if not found:
        print("No other supported Python was found: nothing was run.")
    return int(any(code != 0 for code, _ in results.values()))


def promised_versions() -> list[str]:
    """List the minor versions of Python among the classifiers, oldest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pattern = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    found = (pattern.fullmatch(classifier) for classifier in project["classifiers"])
    return sorted((match[1] for match in found if match), key=minor)


def following(version: str) -> str:
    """Name the minor version after this one."""
    return f"3.{minor(version) + 1}"


def minor(version: str) -> int:
    """Return 11 of "3.11"."""
    return int(version.split(".")[1])


def find_python(version: str) -> str | None:
    """Find an interpreter of a minor version: pyenv's newest, else the one on the PATH."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    releases = sorted(
        (f for f in pyenv.glob(f"{version}.*") if re.fullmatch(r"3\.\d+\.\d+", f.name)),
        key=lambda folder: int(folder.name.split(".")[2]),
        reverse=True,
    )
    on_path = shutil.which(f"python{version}")
    candidates = [*(folder / "bin" / "python" for folder in releases), on_path]
    # One that is there need not run: pyenv puts scripts on the PATH for versions not switched on.
    return next((str(c) for c in candidates if c and version_of(c) == version), None)


def version_of(python: str | Path) -> str | None:
    """Ask an interpreter for its minor version; None where it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def run_suite(version: str, python: str, tests: list[str], workers: str) -> tuple[int, str]:
    """Return pytest's status and its closing line."""
    folder = ROOT / f".env-python-{version}"
    own = folder / "bin" / "python"
    stamp = folder / "installed"
    if not stamp.exists() or stamp.stat().st_mtime < (ROOT / "pyproject.toml").stat().st_mtime:
        for command in (
            [python, "-m", "venv", "--clear", folder],
            [own, "-m", "pip", "install", "--quiet", "--upgrade", "pip"],
            [own, "-m", "pip", "install", "--quiet", "-e", ".[dev]"],
        ):
            status = subprocess.run(command, cwd=ROOT, check=False).returncode
            if status != 0:
                return status, f"the environment could not be made ({' '.join(map(str, command))})"
        stamp.touch()
    command = [own, "-m", "pytest", "-q", "-n", workers, "-m", "not slow and not gpu", *tests]
    last = ""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pytest:
        for line in pytest.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
    return pytest.returncode, last


if __name__ == "__main__":
    sys.exit(main())
