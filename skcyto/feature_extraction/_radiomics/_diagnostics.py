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
from skcyto.utils._progress import progress_bar

if TYPE_CHECKING:
    import pandas as pd


def diagnose(
    cases: list[Case],
    structures: dict[str, int],
    settings: Settings,
    ndim: int,
    report: Report,
    *,
    verbose: int,
) -> pd.DataFrame:
    """Collect the diagnostics of every label of every case.

    Parameters
    ----------
    cases : list of Case
    structures : dict of str to int
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
                found = _diagnose_case(case, structures, settings, ndim, report)
            except ScanProblem as problem:
                report.add_problem(case, None, None, problem.reason)
                continue
            rows.update({(row, structure): values for structure, values in found.items()})
    index = pd.MultiIndex.from_tuples(list(rows), names=["row", "structure"])
    return pd.DataFrame(list(rows.values()), index=index)


def _diagnose_case(
    case: Case, structures: dict[str, int], settings: Settings, ndim: int, report: Report
) -> dict[str, dict[str, Any]]:
    import SimpleITK as sitk
    from radiomics import featureextractor

    image, mask = read_case(case, settings.setting.get("label_channel"), ndim)
    if image.GetNumberOfComponentsPerPixel() > 1:
        image = sitk.VectorIndexSelectionCast(image, 0)
    present = present_labels(sitk.GetArrayViewFromImage(mask))
    found: dict[str, dict[str, Any]] = {}
    for structure, label in structures.items():
        if label not in present:
            report.add_missing(case, structure, label, missing_reason(present))
            continue
        with private_runtime(), geometry_tolerance(settings.setting.get("geometryTolerance")):
            extractor = featureextractor.RadiomicsFeatureExtractor()
            # Without image types and classes its execute() gives the diagnostics alone.
            extractor.settings = {**settings.setting, "additionalInfo": True}
            extractor.enabledImagetypes, extractor.enabledFeatures = {}, {}
            try:
                values = extractor.execute(image, mask, label=label)
            except (ValueError, RuntimeError) as error:
                report.add_problem(case, structure, label, one_sentence(error))
                continue
        values["diagnostics_Configuration_EnabledImageTypes"] = settings.image_types
        found[structure] = dict(values)
    return found
