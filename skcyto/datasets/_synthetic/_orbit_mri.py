"""Synthetic scans of the orbit for demonstrations and tests of the radiomics pipeline."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.utils import Bunch

from skcyto.datasets._synthetic._orbit_drawing import (
    TED_LABELS,
    OrbitField,
    draw_disease,
    draw_orbit,
)
from skcyto.datasets._synthetic._sampling import (
    ClassProportions,
    check_proportions,
    draw_classes,
    sample_rng,
)
from skcyto.utils._optional import import_optional
from skcyto.utils._random import draw_seed
from skcyto.utils._validation import OPTIONAL_PATH, RANDOM_STATE, check_parameters

ORBIT_CLASSES = ("control", "ted")
_DEFAULT_WEIGHTS = {"control": 2.0, "ted": 1.0}

_NOTE = "SYNTHETIC.json"

# Raised whenever the same parameters draw other voxels.
_GENERATOR = 1

_DESCRIPTION = """\
Synthetic orbital MRI
---------------------
{n} T1-like volumes of {size} voxels, {spacing} mm, drawn by skcyto.datasets.make_orbit_mri; no
volume shows a real patient. {view}. Classes: {counts}; {patients} synthetic patients.

Masks hold eight structures: superior, inferior, medial and lateral rectus, optic nerve, fat,
lacrimal gland, superior oblique. The class "ted" (as in thyroid eye disease) differs from
"control" in the shape and the texture of two of them: inferior and medial rectus have thicker
bellies with coarser, slightly brighter signal, by a severity of the patient's own. The other six
are drawn without looking at the class.

For demonstrations and tests only: scores on these volumes say nothing about real patients.
"""


@check_parameters(
    class_proportions=[Mapping, "array-like", None],
    size=["array-like"],
    spacing=["array-like"],
    path=OPTIONAL_PATH,
    random_state=RANDOM_STATE,
)
def make_orbit_mri(
    n_samples: int = 30,
    *,
    class_proportions: ClassProportions = None,
    bilateral: bool = False,
    size: Sequence[int] = (96, 96, 24),
    spacing: Sequence[float] = (0.625, 0.625, 2.0),
    path: str | os.PathLike[str] | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
) -> Bunch:
    """Draw synthetic MRI volumes of the orbit with a mask of eight structures.

    The volumes are drawn from smooth bodies, not scanned; they are for demonstrations and tests
    only. Two of the eight structures, the inferior and the medial rectus, carry the class in both
    shape and texture; the other six carry nothing.

    Parameters
    ----------
    n_samples : int, default=30
        Number of volumes.

    class_proportions : dict of str to float or sequence of float, default=None
        Share of each class, as a dict by class name or in the order control, ted. None is two
        controls to one ted; ``{"control": 4, "ted": 1}`` is the severe imbalance of the TED study.

    bilateral : bool, default=False
        Draw both orbits in one volume, twice as wide, with the same labels on both sides.
        Otherwise a volume shows one orbit, and a patient has two volumes (right, then left).

    size : sequence of 3 ints, default=(96, 96, 24)
        Voxels in x, y and z of one orbit.

    spacing : sequence of 3 floats, default=(0.625, 0.625, 2.0)
        Size of a voxel in mm. The orbit needs a box of about 54 x 54 x 46 mm.

    path : str or path-like, default=None
        Write each volume to this folder as soon as it is drawn, in the layout of
        :func:`load_ted`, and return paths: memory then holds one volume a job. A folder written
        by the same call before is completed and used again; any other content is refused. None
        returns the volumes themselves.

    random_state : int, RandomState instance or None, default=None
        Pass an int for the same volumes in every call. Volume i depends on the parameters and i
        alone: neither on `n_samples` nor on `n_jobs`.

    n_jobs : int, default=None
        Number of jobs, as in :class:`joblib.Parallel`.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : :class:`~pandas.DataFrame` of shape (n_samples, 2)
            Columns image and mask: paths if `path` is given, else SimpleITK images (int16 and
            uint8). The index holds the names of the cases, ``synthetic_orbit_0001``, ...
        cases : ndarray of shape (n_samples,), dtype str
            Names of the cases.
        target : ndarray of shape (n_samples,), dtype str
            Class of each case.
        target_names : ndarray of shape (n_classes,), dtype str
            The classes with a positive weight, sorted.
        groups : ndarray of shape (n_samples,), dtype str
            Patient of each case: what to split by.
        mask_labels : dict of str to int
            Name and mask value of the eight structures.
        signal_structures : list of str
            The two structures that differ between the classes.
        DESCR : str
            The data set in words.

    Raises
    ------
    ImportError
        If SimpleITK is not installed (extra ``radiomics``).
    FileExistsError
        If `path` holds anything that the same call did not write.
    ValueError
        If a parameter is out of range or `class_proportions` does not fit the classes.

    See Also
    --------
    load_ted : Load the files that `path` received.
    make_cell_images : Synthetic cells.

    Examples
    --------
    >>> from skcyto.datasets import make_orbit_mri
    >>> scans = make_orbit_mri(2, random_state=0)
    >>> scans.data.loc["synthetic_orbit_0001", "image"].GetSize()
    (96, 96, 24)
    >>> scans.mask_labels["optic_nerve"]
    5
    """
    sitk = import_optional("SimpleITK", extra="radiomics", purpose="make_orbit_mri")
    if not isinstance(n_samples, Integral) or isinstance(n_samples, bool) or n_samples < 1:
        raise ValueError(f"n_samples={n_samples!r} must be an integer of at least 1")
    voxels, millimetres = _check_box(size, spacing)
    shares = check_proportions(class_proportions, ORBIT_CLASSES, _DEFAULT_WEIGHTS)
    seed = draw_seed(random_state)

    per_patient = 1 if bilateral else 2
    patients = [i // per_patient for i in range(n_samples)]
    of_patient = draw_classes(patients[-1] + 1, shares, seed)
    target = np.array([of_patient[patient] for patient in patients], dtype=np.str_)
    groups = np.array([f"synthetic_patient_{patient + 1:04d}" for patient in patients])
    cases = np.array([f"synthetic_orbit_{i + 1:04d}" for i in range(n_samples)])
    drawings = [
        (seed, i, patient, label == "ted", bilateral, voxels, millimetres)
        for i, (patient, label) in enumerate(zip(patients, target, strict=True))
    ]
    if path is None:
        drawn = Parallel(n_jobs=n_jobs)(delayed(_draw_case)(*drawing) for drawing in drawings)
        rows = [tuple(_as_image(sitk, voxels, millimetres) for voxels in pair) for pair in drawn]
    else:
        _claim(Path(path), _note_of_call(n_samples, shares, bilateral, (voxels, millimetres), seed))
        rows = Parallel(n_jobs=n_jobs)(
            delayed(_write_case)(Path(path), case, drawing)
            for case, drawing in zip(cases, drawings, strict=True)
        )
        pd.DataFrame({"case": cases, "label": target, "patient": groups}).to_csv(
            Path(path) / "labels.csv", index=False, lineterminator="\n"
        )
    images, masks = zip(*rows, strict=True)
    frame = pd.DataFrame(
        {"image": images, "mask": masks}, index=pd.Index(cases, name="case"), dtype=object
    )
    return Bunch(
        data=frame,
        cases=cases,
        target=target,
        target_names=np.array(list(shares)),
        groups=groups,
        mask_labels=dict(TED_LABELS),
        signal_structures=["inferior_rectus", "medial_rectus"],
        DESCR=_DESCRIPTION.format(
            n=n_samples,
            size=" x ".join(map(str, ((1 + bilateral) * voxels[0], *voxels[1:]))),
            spacing=" x ".join(map(str, millimetres)),
            view="Both orbits in one volume" if bilateral else "One orbit a volume, right and left",
            counts=", ".join(f"{name} {(target == name).sum()}" for name in shares),
            patients=patients[-1] + 1,
        ),
    )


def _note_of_call(
    n_samples: int,
    shares: Mapping[str, float],
    bilateral: bool,
    box: tuple[tuple[int, int, int], tuple[float, float, float]],
    seed: int,
) -> dict[str, Any]:
    """Return what the scans of a folder depend on."""
    return {
        "synthetic": True,
        "made_by": "skcyto.datasets.make_orbit_mri",
        "generator": _GENERATOR,
        "n_samples": int(n_samples),
        "shares": dict(shares),
        "bilateral": bool(bilateral),
        "size": list(box[0]),
        "spacing": list(box[1]),
        "seed": seed,
    }


def _check_box(
    size: Sequence[int], spacing: Sequence[float]
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Refuse boxes that would cut the orbit."""
    if len(size) != 3 or not all(isinstance(n, Integral) and n >= 8 for n in size):
        raise ValueError(f"size={size!r} must be three integers of at least 8: x, y, z")
    if len(spacing) != 3 or not all(isinstance(mm, Real) and mm > 0 for mm in spacing):
        raise ValueError(f"spacing={spacing!r} must be three positive numbers in mm: x, y, z")
    box = [float(n * mm) for n, mm in zip(size, spacing, strict=True)]
    if box[0] < 54 or box[1] < 54 or box[2] < 46:
        raise ValueError(
            f"size={tuple(size)} at spacing={tuple(spacing)} mm is a box of "
            f"{box[0]:.0f} x {box[1]:.0f} x {box[2]:.0f} mm; the orbit needs 54 x 54 x 46 mm"
        )
    x, y, z = (int(n) for n in size)
    dx, dy, dz = (float(mm) for mm in spacing)
    return (x, y, z), (dx, dy, dz)


def _draw_case(
    seed: int,
    i: int,
    patient: int,
    diseased: bool,
    bilateral: bool,
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the volume (int16) and mask (uint8) of one case, in z, y, x order."""
    person = sample_rng(seed, 0, patient)
    scale = float(np.clip(person.normal(1, 0.03), 0.92, 1.04))
    gain = float(np.exp(person.normal(0, 0.12)))
    disease = draw_disease(person, diseased)
    rng = sample_rng(seed, 1, i)
    sides = (False, True) if bilateral else (bool(i % 2),)
    parts = []
    for left in sides:
        field = OrbitField(size, spacing, left, rng, scale)
        draw_orbit(field, disease)
        parts.append(field)
    # The patient's left lies at high x: the right orbit comes first.
    signal = np.concatenate([field.signal for field in parts], axis=2)
    mask = np.concatenate([field.mask for field in parts], axis=2)
    shading = rng.normal(0, 0.06, 3)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in signal.shape), indexing="ij", sparse=True)
    shade = np.exp(sum(s * axis for s, axis in zip(shading, axes, strict=True)))
    noise = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(14.0)
    # The magnitude of a complex signal with noise in both parts: Rice's distribution.
    scan = np.hypot(signal * gain * shade + noise[0], noise[1])
    return np.clip(scan + 0.5, 0, 32767).astype(np.int16), mask


def _as_image(sitk: Any, array: np.ndarray, spacing: tuple[float, float, float]) -> Any:
    """Make a SimpleITK image of a coronal stack."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    # Rows run from superior to inferior, slices from anterior to posterior (axes L, P, S).
    image.SetDirection((1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0))
    width, height, _ = (n * mm for n, mm in zip(image.GetSize(), spacing, strict=True))
    image.SetOrigin((-width / 2, -60.0, height / 2))
    return image


def _write_case(directory: Path, case: str, drawing: tuple[Any, ...]) -> tuple[str, str]:
    """Draw one case and write its files, unless they are there."""
    paths = tuple(directory / kind / f"{case}.nii.gz" for kind in ("images", "masks"))
    if not all(path.exists() for path in paths):
        sitk = import_optional("SimpleITK", extra="radiomics", purpose="make_orbit_mri")
        spacing = drawing[-1]
        for path, array in zip(paths, _draw_case(*drawing), strict=True):
            # A file appears under its name only when it is complete.
            part = path.with_name(f".{os.getpid()}-{path.name}")
            sitk.WriteImage(_as_image(sitk, array, spacing), str(part), useCompression=True)
            part.replace(path)
    return str(paths[0]), str(paths[1])


def _claim(directory: Path, parameters: dict[str, Any]) -> None:
    """Make the folder ours, or refuse one that holds something else."""
    note = directory / _NOTE
    text = json.dumps(parameters, indent=1, sort_keys=True) + "\n"
    if directory.exists() and any(directory.iterdir()):
        if not note.is_file():
            raise FileExistsError(
                f"{str(directory)!r} is not empty and was not written by make_orbit_mri; "
                "name another folder"
            )
        if note.read_text(encoding="utf-8") != text:
            raise FileExistsError(
                f"{str(directory)!r} holds synthetic scans of other parameters (see {_NOTE} in "
                "it; random_state must be an int for a folder to be used again); name another "
                "folder or remove it"
            )
    for kind in ("images", "masks"):
        (directory / kind).mkdir(parents=True, exist_ok=True)
    note.write_text(text, encoding="utf-8")
