"""pyradiomics' ``diagnostics_*``, apart from the features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from skcyto.feature_extraction._radiomics._cases import Case, ScanProblem
from skcyto.feature_extraction._radiomics._checks import missing_reason, present_labels
from skcyto.feature_extraction._radiomics._problems import Report
from skcyto.feature_extraction._radiomics._reading import read_case
from skcyto.feature_extraction._radiomics._reasons import one_sentence
from skcyto.feature_extraction._radiomics._runtime import geometry_tolerance, private_runtime
from skcyto.feature_extraction._radiomics._settings import Settings
from skcyto.feature_extraction._radiomics._structures import (
    Structure,
    region_masks,
    structures_of,
)
from skcyto.utils._progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd


def diagnose(
    cases: list[Case],
    structures: list[Structure],
    settings: Settings,
    ndim: int,
    report: Report,
    *,
    verbose: int,
) -> pd.DataFrame:
    """Collect the diagnostics of every structure of every case, of its first image.

    Parameters
    ----------
    cases : list of Case
    structures : list of Structure
    settings : Settings
    ndim : {2, 3}
        Dimension of the images.
    report : Report
        Collects what is wrong.
    verbose : int

    Returns
    -------
    table : pandas.DataFrame
    """
    import pandas as pd

    rows: dict[tuple[int, str], dict[str, Any]] = {}
    with progress_bar(cases, desc="Diagnostics", unit="case", verbose=verbose) as bar:
        for row, case in enumerate(bar):
            try:
                found = _diagnose_case(
                    case, structures_of(case, structures), settings, ndim, report
                )
            except ScanProblem as problem:
                report.add_problem(case, problem.reason)
                continue
            rows.update({(row, structure): values for structure, values in found.items()})
    index = pd.MultiIndex.from_tuples(list(rows), names=["row", "structure"])
    return pd.DataFrame(list(rows.values()), index=index)


def _diagnose_case(
    case: Case, structures: list[Structure], settings: Settings, ndim: int, report: Report
) -> dict[str, dict[str, Any]]:
    import SimpleITK as sitk
    from radiomics import featureextractor

    images, mask = read_case(case, settings.setting.get("label_channel"), ndim)
    image = images[0]
    if image.GetNumberOfComponentsPerPixel() > 1:
        image = sitk.VectorIndexSelectionCast(image, 0)
    present = present_labels(sitk.GetArrayViewFromImage(mask))
    found: dict[str, dict[str, Any]] = {}
    for structure in structures:
        if not set(structure.labels) & set(present):
            report.add_missing(case, missing_reason(present), structure)
            continue
        own, label = region_masks(mask, [structure])[structure.key]
        with private_runtime(), geometry_tolerance(settings.setting.get("geometryTolerance")):
            extractor = featureextractor.RadiomicsFeatureExtractor()
            # Without image types and classes its execute() gives the diagnostics alone.
            extractor.settings = {**settings.setting, "additionalInfo": True}
            extractor.enabledImagetypes, extractor.enabledFeatures = {}, {}
            try:
                values = extractor.execute(image, own, label=label)
            except (ValueError, RuntimeError) as error:
                report.add_problem(case, one_sentence(error), structure)
                continue
        values["diagnostics_Configuration_EnabledImageTypes"] = settings.image_types
        found[structure.name] = dict(values)
    return found
