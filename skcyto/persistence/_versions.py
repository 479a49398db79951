"""Which versions of packages a model was saved with, and whether those installed will do."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

# How many numbers of a version must be the same: scikit-learn promises nothing from one minor
# release to the next; the others keep what a model needs within a major one.
_MUST_AGREE = {
    "skcyto": 2,
    "scikit-learn": 2,
    "imbalanced-learn": 2,
    "numpy": 1,
    "torch": 1,
    "timm": 1,
    "pyradiomics-bhklab": 2,
    "python": 1,
}


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a model may depend on.

    Returns
    -------
    versions : dict of str to str
        Packages that are not installed are left out.
    """
    from skcyto import __version__

    found = {"python": platform.python_version(), "skcyto": __version__}
    for name in (*_MUST_AGREE, "scipy", "skops", "safetensors"):
        if name not in found:
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                continue
    return found


def compare_versions(saved: Mapping[str, str]) -> list[str]:
    """List the packages whose installed version will not do for a saved model.

    Parameters
    ----------
    saved : mapping of str to str
        Versions that it was saved with.

    Returns
    -------
    problems : list of str
        Each names a package, the version that was saved with, and the one installed.
    """
    installed = installed_versions()
    problems = []
    for name, n_numbers in _MUST_AGREE.items():
        if name not in saved:
            if name in ("skcyto", "scikit-learn", "numpy", "torch", "python"):
                problems.append(f"{name}: not recorded (installed: {installed[name]})")
            continue
        here = installed.get(name)
        if here is None:
            # Needed only by some models, whose own types say so when they are loaded.
            if name != "pyradiomics-bhklab":
                problems.append(f"{name}: saved with {saved[name]}, not installed")
        elif saved[name].split(".")[:n_numbers] != here.split(".")[:n_numbers]:
            problems.append(f"{name}: saved with {saved[name]}, installed is {here}")
    return problems
