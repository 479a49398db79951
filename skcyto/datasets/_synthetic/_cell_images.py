"""Synthetic Pap-smear cells for demonstrations and tests."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.utils import Bunch

from skcyto.datasets._synthetic._cell_types import draw_frame, draw_slide
from skcyto.datasets._synthetic._sampling import (
    ClassProportions,
    check_proportions,
    draw_classes,
    sample_rng,
)
from skcyto.utils._random import draw_seed
from skcyto.utils._validation import RANDOM_STATE, check_parameters

CELL_CLASSES = ("healthy", "rubbish", "unhealthy", "bothcells")

# The class counts of the PS3C challenge's training set, bothcells counted as unhealthy.
_PS3C_SHARES = {"healthy": 28895, "rubbish": 50371, "unhealthy": 5814}

_CHUNK = 64

_DESCRIPTION = """\
Synthetic Pap-smear cells
-------------------------
{n} images of {size} x {size} pixels, drawn by skcyto.datasets.make_cell_images; no image shows a
real cell. Classes: {counts}. {slides} synthetic slides, each with a stain and a light of its own.

healthy   superficial, intermediate, parabasal and columnar cells, some of them reactive
unhealthy dysplastic cells of all grades: a larger nucleus for the cell (N:C ratio), darker and
          coarser chromatin, an irregular outline; the mild ones overlap with reactive normal cells
rubbish   debris, inflammatory cells, folded squames without nuclei, cells out of focus, smudged
          nuclei, next to nothing
bothcells a healthy and an unhealthy cell in one image (only where `class_proportions` asks for it)

For demonstrations and tests only: scores on these images say nothing about real smears.
"""


@check_parameters(class_proportions=[Mapping, "array-like", None], random_state=RANDOM_STATE)
def make_cell_images(
    n_samples: int = 300,
    *,
    class_proportions: ClassProportions = None,
    image_size: int = 96,
    cells_per_slide: int = 20,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
) -> Bunch:
    """Draw synthetic Pap-smear cells: healthy, unhealthy and rubbish.

    The cells are drawn, not photographed: nucleus, cytoplasm, stain, overlap, debris and blur,
    by the light that the dyes of the Papanicolaou stain absorb. They are for demonstrations and
    tests only. The classes can be learnt, but not from the mean colour and not perfectly: grades
    of dysplasia overlap with reactive normal cells, and rubbish holds cells out of focus.

    Parameters
    ----------
    n_samples : int, default=300
        Number of images.

    class_proportions : dict of str to float or sequence of float, default=None
        Share of each class, as a dict by class name or in the order healthy, rubbish, unhealthy,
        bothcells; shares need not sum to 1. A class of weight 0 (or missing from the dict) does
        not occur. None takes the shares of the PS3C training set: healthy 0.34, rubbish 0.59,
        unhealthy 0.07.

    image_size : int, default=96
        Height and width in pixels, at least 32.

    cells_per_slide : int, default=20
        Number of consecutive images that share a slide, its stain and its light.

    random_state : int, RandomState instance or None, default=None
        Pass an int for the same images in every call. Image i depends on `random_state`,
        `class_proportions`, `image_size`, `cells_per_slide` and i alone: neither on `n_samples`
        (a longer set begins with the shorter one) nor on `n_jobs`.

    n_jobs : int, default=None
        Number of jobs, as in :class:`joblib.Parallel`.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data, images : ndarray of shape (n_samples, image_size, image_size, 3), dtype uint8
            The images, one array under both names.
        masks : ndarray of shape (n_samples, image_size, image_size), dtype uint8
            Where the cell is: 1 nucleus, 2 cytoplasm, 0 all else. Empty for rubbish that shows no
            cell, without a 2 for a bare nucleus.
        target : ndarray of shape (n_samples,), dtype str
            Class of each image.
        target_names : ndarray of shape (n_classes,), dtype str
            The classes with a positive weight, sorted.
        groups : ndarray of shape (n_samples,), dtype str
            Slide of each image: what to split by.
        labels : dict of str to int
            Names of the values in `masks`: ``{"nucleus": 1, "cytoplasm": 2}``.
        DESCR : str
            The data set in words.

    Raises
    ------
    ValueError
        If a parameter is out of range or `class_proportions` does not fit the classes.

    See Also
    --------
    write_image_folder : Write the images as one folder a class.
    write_ps3c_folder : Write the images in the layout of the PS3C challenge.
    make_orbit_mri : Synthetic scans with masks.

    Examples
    --------
    >>> from skcyto.datasets import make_cell_images
    >>> cells = make_cell_images(30, image_size=48, random_state=0)
    >>> cells.images.shape, cells.images.dtype
    ((30, 48, 48, 3), dtype('uint8'))
    >>> cells.target_names.tolist()
    ['healthy', 'rubbish', 'unhealthy']
    >>> shares = {"healthy": 1, "unhealthy": 1}
    >>> half = make_cell_images(30, class_proportions=shares, random_state=0)
    >>> half.target.tolist().count("unhealthy")
    15
    """
    for name, value, least in (
        ("n_samples", n_samples, 1),
        ("image_size", image_size, 32),
        ("cells_per_slide", cells_per_slide, 1),
    ):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name}={value!r} must be an integer of at least {least}")
    shares = check_proportions(class_proportions, CELL_CLASSES, _PS3C_SHARES)
    seed = draw_seed(random_state)
    classes = draw_classes(n_samples, shares, seed)

    starts = range(0, n_samples, _CHUNK)
    parts = Parallel(n_jobs=n_jobs)(
        delayed(_draw_chunk)(
            classes[start : start + _CHUNK], start, seed, image_size, cells_per_slide
        )
        for start in starts
    )
    images = np.concatenate([part[0] for part in parts])
    target = np.array(classes, dtype=np.str_)
    groups = np.array([f"slide_{i // cells_per_slide + 1:04d}" for i in range(n_samples)])
    counts = ", ".join(f"{name} {classes.count(name)}" for name in shares)
    return Bunch(
        data=images,
        images=images,
        masks=np.concatenate([part[1] for part in parts]),
        target=target,
        target_names=np.array(list(shares)),
        groups=groups,
        labels={"nucleus": 1, "cytoplasm": 2},
        DESCR=_DESCRIPTION.format(
            n=n_samples, size=image_size, counts=counts, slides=len(np.unique(groups))
        ),
    )


def _draw_chunk(
    classes: list[str], start: int, seed: int, size: int, cells_per_slide: int
) -> tuple[Any, Any]:
    """Draw consecutive images and their masks."""
    images = np.empty((len(classes), size, size, 3), dtype=np.uint8)
    masks = np.empty((len(classes), size, size), dtype=np.uint8)
    for offset, label in enumerate(classes):
        i = start + offset
        slide = draw_slide(sample_rng(seed, 0, i // cells_per_slide))
        images[offset], masks[offset] = draw_frame(label, slide, size, sample_rng(seed, 1, i))
    return images, masks
