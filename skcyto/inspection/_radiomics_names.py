"""Read the parts of radiomics feature names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

_CLASSES = ("shape", "shape2D", "firstorder", "glcm", "glrlm", "glszm", "gldm", "ngtdm")
_NAME = re.compile(rf"(?P<front>.+)_(?P<feature_class>{'|'.join(_CLASSES)})_(?P<feature>[^_]+)")
_PARTS = ("structure", "filter", "filter_family", "feature_class", "feature")
OTHER = "other"


def parse_radiomics_names(names: Iterable[str]) -> pd.DataFrame:
    """Split radiomics feature names into structure, filter, feature class and feature.

    Parameters
    ----------
    names : iterable of str
        As ``superior_rectus__wavelet-LLH_glcm_Contrast``, or pyradiomics' own
        ``wavelet-LLH_glcm_Contrast``. Prefixes that a column transformer adds before the structure
        are left out; ``T1_original_firstorder_Mean`` is read as the structure "T1".

    Returns
    -------
    parts : pandas.DataFrame
        Indexed by name, with the columns ``structure`` ("" where there is none), ``filter``
        ("wavelet-LLH"), ``filter_family`` ("wavelet"), ``feature_class`` and ``feature``. Every
        part of a name that is not structured so is "other".

    Examples
    --------
    >>> from skcyto.inspection import parse_radiomics_names
    >>> parts = parse_radiomics_names(["superior_rectus__wavelet-LLH_glcm_Contrast", "age"])
    >>> parts["structure"].tolist()
    ['superior_rectus', 'other']
    >>> parts["filter_family"].tolist()
    ['wavelet', 'other']
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"names={names!r} must be a sequence of feature names")
    names = [str(name) for name in names]
    return pd.DataFrame(
        [_parse(name) for name in names], index=pd.Index(names, name="name"), columns=list(_PARTS)
    )


def _parse(name: str) -> tuple[str, ...]:
    match = _NAME.fullmatch(name)
    if match is None:
        return (OTHER,) * len(_PARTS)
    front = match["front"]
    if "__" in front:
        structure, image_filter = front.rsplit("__", 1)
        structure = structure.rsplit("__", 1)[-1]
    else:
        structure, _, image_filter = front.rpartition("_")
    family = "log" if image_filter.startswith("log-sigma") else image_filter.split("-")[0]
    return structure, image_filter, family, match["feature_class"], match["feature"]


def group_labels(names: Sequence[str], by: str | Sequence[str] | Callable[[str], str]) -> list[str]:
    """Name the group of each feature.

    Parameters
    ----------
    names : sequence of str
        Feature names.
    by : str, callable or sequence of str
        Part of a radiomics name, function of a name, or the groups themselves.

    Returns
    -------
    labels : list of str
        One a feature.
    """
    if isinstance(by, str):
        if by not in _PARTS:
            raise ValueError(f"by={by!r} must be one of {', '.join(_PARTS)}, or give a callable")
        return parse_radiomics_names(names)[by].tolist()
    if not callable(by) and not isinstance(by, Iterable):
        raise TypeError(f"by={by!r} must be a part of a name, a callable or a sequence")
    labels = [by(name) for name in names] if callable(by) else list(by)
    if len(labels) != len(names):
        raise ValueError(f"by has {len(labels)} groups for {len(names)} features")
    return [str(label) for label in labels]
