"""Check what the built wheel and source distribution hold; `make build` calls it.

Usage: check_distributions.py FOLDER
"""

from __future__ import annotations

import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
# Neither tests nor data, pictures or notebooks belong into what every user downloads.
CODE = {".py", ".typed", ".html", ".css"}


def main(folder: Path) -> int:
    """Print what is wrong, and the sizes where nothing is."""
    (wheel,), (source,) = list(folder.glob("*.whl")), list(folder.glob("*.tar.gz"))
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(source) as archive:
        in_source = {
            member.name.partition("/")[2]: member.size
            for member in archive.getmembers()
            if member.isfile()
        }
    wrong = [*check_wheel(in_wheel), *check_source(in_source)]
    for line in wrong:
        print(f"error: {line}")
    if not wrong:
        for path, n_files in ((wheel, len(in_wheel)), (source, len(in_source))):
            print(
                f"{path.name}: {n_files} files, {path.stat().st_size / 1024:.0f} KiB, as expected"
            )
    return int(bool(wrong))


def package_files() -> set[str]:
    """List the package's own files in the checkout."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "skcyto").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def check_wheel(files: dict[str, bytes]) -> list[str]:
    """List what a wheel has too much of or lacks."""
    wrong = []
    (info,) = {name.partition("/")[0] for name in files if ".dist-info/" in name}
    package = {name for name in files if not name.startswith(info)}
    wrong += [f"the wheel lacks {name}" for name in sorted(package_files() - package)]
    wrong += [f"the wheel should not hold {name}" for name in sorted(package - package_files())]
    wrong += [
        f"the wheel holds {name}, which is no code"
        for name in sorted(package)
        if PurePosixPath(name).suffix not in CODE
    ]
    if f"{info}/licenses/LICENSE" not in files:
        wrong.append("the wheel lacks LICENSE")
    metadata = Parser().parsestr(files[f"{info}/METADATA"].decode("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if metadata["Requires-Python"] != project["requires-python"]:
        wrong.append(f"the wheel asks for Python {metadata['Requires-Python']}")
    if len(metadata.get_all("Project-URL", [])) != len(project["urls"]):
        wrong.append("the wheel lacks project URLs")
    return wrong


def check_source(files: dict[str, int]) -> list[str]:
    """List what a source distribution has too much of or lacks."""
    needed = package_files() | {"LICENSE", "README.md", "pyproject.toml", "CHANGELOG.md"}
    made = {"PKG-INFO", "setup.cfg", "MANIFEST.in"}
    extra = {name for name in files if ".egg-info/" not in name} - needed - made
    return [f"the source distribution lacks {name}" for name in sorted(needed - set(files))] + [
        f"the source distribution should not hold {name}" for name in sorted(extra)
    ]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
