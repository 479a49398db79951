"""A bin width that leaves texture matrices a sensible number of gray levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils import Bunch

from skcyto.exceptions import InvalidInputWarning
from skcyto.feature_extraction._radiomics._cases import Case, ScanProblem, make_cases
from skcyto.feature_extraction._radiomics._checks import missing_reason, present_labels
from skcyto.feature_extraction._radiomics._engine import Region, prepare
from skcyto.feature_extraction._radiomics._problems import Report
from skcyto.feature_extraction._radiomics._reading import read_case
from skcyto.feature_extraction._radiomics._runtime import private_runtime
from skcyto.feature_extraction._radiomics._structures import (
    Structure,
    region_masks,
    structures_of,
)
from skcyto.feature_extraction._radiomics._worker import planes_of
from skcyto.utils._progress import progress_bar
from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    from skcyto.feature_extraction._radiomics._extractor import RadiomicsExtractor

FEWEST, MOST = 16, 128
# Round numbers, about a quarter apart.
_MANTISSAS = (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)


def suggest_bin_width(X: Any, extractor: RadiomicsExtractor) -> Bunch:
    """Find a bin width that gives the regions of scans 16 to 128 gray levels.

    Textures depend on the width of the bins more than on most other settings. pyradiomics advises
    a width that leaves 16 to 128 bins, and the default of 25 is right for few images.

    Parameters
    ----------
    X : DataFrame, ndarray of shape (n_cases, n_images + 1), or sequence of pairs
        Images and masks, as the extractor takes them. No label of a class is looked at; for a
        study that is above reproach give the training cases alone.
    extractor : RadiomicsExtractor
        Says which structures are measured and how intensities are prepared: normalised,
        resampled, resegmented. It is left as it is.

    Returns
    -------
    suggestion : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        bin_width : float
            A round number: of these the one with most regions between 16 and 128 levels, and
            among equals that with their geometric mean nearest to 45, the middle.
        share : float
            Share of the regions that have 16 to 128 levels with it.
        levels : DataFrame of shape (n_regions, 6)
            `case`, `structure`, `channel`, `minimum` and `maximum` of the unfiltered intensities
            and the number of `levels`.
        reason : str
            How it was found, for the methods section.

    Raises
    ------
    InvalidScanError
        If a case or a region cannot be used and the extractor's `on_error` is "raise".
    ValueError
        If no region is left.

    Warns
    -----
    InvalidInputWarning
        If with the best width fewer than nine regions in ten have 16 to 128 levels: then no one
        width suits these scans. Normalise them, or use ``binCount``.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.feature_extraction import RadiomicsExtractor, suggest_bin_width
    >>> rng = np.random.default_rng(0)
    >>> mask = np.ones((8, 16, 16), dtype=np.uint8)
    >>> scans = [(rng.uniform(0, 900, mask.shape), mask) for _ in range(3)]
    >>> suggestion = suggest_bin_width(scans, RadiomicsExtractor([1], "original"))
    >>> suggestion.bin_width
    20.0
    >>> print(suggestion.reason.split(",")[0])
    bin width 20: 100% of 3 regions have 16 to 128 gray levels (45 to 45
    """
    fitted = clone(extractor).set_params(verbose=0).fit(X)
    cases = make_cases(X, fitted._columns())
    report = Report(len(cases), fitted.on_error, fitted.on_missing_label)
    rows: list[dict[str, Any]] = []
    with progress_bar(cases, desc="Intensities", unit="case", verbose=extractor.verbose) as bar:
        for case in bar:
            rows += _ranges(case, structures_of(case, fitted._structures()), fitted, report)
    report.finish(what="intensities")
    if not rows:
        raise ValueError(f"none of the {len(cases)} cases has a region with intensities")
    levels = pd.DataFrame(rows)
    low, high = levels["minimum"].to_numpy(), levels["maximum"].to_numpy()
    width = _best_width(low, high)
    levels["levels"] = count_levels(low, high, width)
    counts = levels["levels"]
    share = float(counts.between(FEWEST, MOST).mean())
    reason = (
        f"bin width {width:g}: {share:.0%} of {len(levels)} regions have {FEWEST} to {MOST} gray "
        f"levels ({counts.min()} to {counts.max()}, median {counts.median():g}), of the widths "
        f"{', '.join(f'{each:g}' for each in _MANTISSAS)} times powers of ten the one with most "
        "regions in that range"
    )
    if share < 0.9:
        warn(
            f"{reason}. The ranges of intensities differ too much for one width: normalise the "
            "images ('normalize': True) or give bins by count ('binCount')",
            InvalidInputWarning,
        )
    return Bunch(bin_width=width, share=share, levels=levels, reason=reason)


def count_levels(low: np.ndarray, high: np.ndarray, width: float) -> np.ndarray:
    """Count bins from the lowest to the highest intensity; edges are multiples of the width.

    Parameters
    ----------
    low, high : ndarray of shape (n_regions,)
    width : float

    Returns
    -------
    levels : ndarray of int, shape (n_regions,)
    """
    return (np.floor(high / width) - np.floor(low / width)).astype(np.int64) + 1


def _best_width(low: np.ndarray, high: np.ndarray) -> float:
    span = high - low
    first = int(np.floor(np.log10(span.min() / MOST)))
    last = int(np.ceil(np.log10(span.max() / FEWEST)))
    widths = [
        float(f"{mantissa:g}e{power}")
        for power in range(first, last + 1)
        for mantissa in _MANTISSAS
    ]
    middle = np.log(FEWEST * MOST) / 2

    def quality(width: float) -> tuple[float, float]:
        levels = count_levels(low, high, width)
        inside = np.mean((levels >= FEWEST) & (levels <= MOST))
        return float(inside), -abs(float(np.log(levels).mean()) - middle)

    return max(widths, key=quality)


def _ranges(
    case: Case, structures: list[Structure], extractor: RadiomicsExtractor, report: Report
) -> list[dict[str, Any]]:
    """Find the lowest and the highest intensity of each structure of a case."""
    import SimpleITK as sitk

    settings, schema = extractor._settings, extractor._schema
    rows = []
    with private_runtime():
        try:
            images, mask = read_case(case, settings.setting.get("label_channel"), schema.ndim)
            present = present_labels(sitk.GetArrayViewFromImage(mask))
            there = {each.key: each for each in structures if set(each.labels) & set(present)}
            for structure in structures:
                if structure.key not in there:
                    report.add_missing(case, missing_reason(present), structure)
            masks = region_masks(mask, there.values())
            for channel, where, plane in planes_of(images, mask, schema):
                regions, problems = prepare(plane, mask, masks, settings)
                problems += [each.problem for each in regions if each.problem is not None]
                for problem in problems:
                    structure = None if problem.key is None else there[problem.key]
                    report.add_problem(case, problem.reason + where, structure)
                for region in regions:
                    if region.problem is None:
                        low, high = _range(region)
                        name = there[region.key].name
                        rows.append(
                            {
                                "case": case.row,
                                "structure": name,
                                "channel": channel,
                                "minimum": low,
                                "maximum": high,
                            }
                        )
        except ScanProblem as problem:
            report.add_problem(case, problem.reason)
    return rows


def _range(region: Region) -> tuple[float, float]:
    import SimpleITK as sitk

    inside = sitk.GetArrayViewFromImage(region.mask) == region.label
    values = sitk.GetArrayViewFromImage(region.image)[inside]
    return float(values.min()), float(values.max())
