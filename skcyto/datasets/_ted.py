"""Orbital MRI of thyroid eye disease (TED): images, masks of eight structures, labels."""

from __future__ import annotations

import os

from sklearn.utils import Bunch

from skcyto.datasets._files import as_folder, read_list
from skcyto.datasets._image_mask_folder import load_image_mask_folder
from skcyto.datasets._problems import OnError
from skcyto.datasets._synthetic._orbit_drawing import TED_LABELS
from skcyto.utils._validation import PATH, check_parameters


@check_parameters(path=PATH)
def load_ted(
    path: str | os.PathLike[str],
    *,
    on_error: OnError = "raise",
) -> Bunch:
    """Load the paths and labels of orbital MRI with masks of eight structures.

    The MRI of the TED study are not public, so there is no layout to follow: bring yours into the
    one below, or use :func:`load_image_mask_folder`, which takes others.

    Parameters
    ----------
    path : str or path-like
        Folder with one scan, one mask and one row a case::

            images/{case}.nii.gz      (or .nii, .nrrd, .mha, ...)
            masks/{case}.nii.gz
            labels.csv                case,label[,patient]

        A mask holds eight structures, beside 0 for all else: 1 superior rectus, 2 inferior
        rectus, 3 medial rectus, 4 lateral rectus, 5 optic nerve, 6 fat, 7 lacrimal gland,
        8 superior oblique. The column patient is optional; with several cases a patient it is
        what keeps folds honest.

    on_error : {"raise", "warn"}, default="raise"
        What to do about cases without image, mask, row or label and other problems: "raise" one
        error that lists them all, or "warn", leave them out and load the rest.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        As :func:`load_image_mask_folder` returns it: `data` (paths in the columns image and
        mask), `cases`, `target`, `target_names`, `groups` (patient, or None without that column),
        `frame`, `report`, `DESCR`; and beside these

        mask_labels : dict of str to int
            Name and mask value of the eight structures, in the order of the paper: what
            ``RadiomicsExtractor(mask_labels=...)`` takes.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If `path` is not a folder.
    InvalidDatasetError
        If ``labels.csv`` cannot be read, if there is a problem and `on_error` is "raise", or if
        no case is left.

    See Also
    --------
    make_orbit_mri : Synthetic scans, written in this layout.
    load_image_mask_folder : Other layouts.

    Examples
    --------
    >>> import tempfile
    >>> from skcyto.datasets import load_ted, make_orbit_mri
    >>> with tempfile.TemporaryDirectory() as root:
    ...     scans = make_orbit_mri(2, path=root, random_state=0)
    ...     data = load_ted(root)
    >>> data.cases.tolist()
    ['synthetic_orbit_0001', 'synthetic_orbit_0002']
    >>> list(data.mask_labels)[:2]
    ['superior_rectus', 'inferior_rectus']
    """
    folder = as_folder(path, "load_ted")
    columns = read_list(folder / "labels.csv", ["case"], required=["case", "label"]).columns
    data = load_image_mask_folder(
        folder,
        index="labels.csv",
        target_column="label",
        group_column="patient" if "patient" in columns else None,
        on_error=on_error,
    )
    data.mask_labels = dict(TED_LABELS)
    data.DESCR += " Each mask holds eight structures: " + ", ".join(TED_LABELS) + "."
    return data
