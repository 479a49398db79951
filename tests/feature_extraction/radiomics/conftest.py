"""Phantoms, and pyradiomics' own answer to compare with."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

SPACING = (2.0, 0.9, 0.8)  # z, y, x


def make_volume(shape=(14, 34, 38), seed=0, dtype=np.int16):
    """Draw a textured volume with three bodies, labels 1, 2 and 5, none of them alike."""
    rng = np.random.default_rng(seed)
    image = gaussian_filter(rng.normal(size=shape), 0.8) * 300 + 400
    mask = np.zeros(shape, dtype=np.uint8)
    z, y, x = np.indices(shape)
    bodies = {
        1: ((0.35, 0.3, 0.3), (0.25, 0.22, 0.16)),
        2: ((0.6, 0.6, 0.35), (0.3, 0.15, 0.2)),
        5: ((0.45, 0.45, 0.75), (0.2, 0.3, 0.14)),
    }
    for label, (centre, radii) in bodies.items():
        distance = sum(
            ((axis / length - middle) / radius) ** 2
            for axis, length, middle, radius in zip((z, y, x), shape, centre, radii, strict=True)
        )
        mask[distance < 1] = label
        image[distance < 1] += 80 * label
    if np.issubdtype(dtype, np.integer):
        image = np.clip(np.round(image), 0, np.iinfo(dtype).max)
    return image.astype(dtype), mask


def to_sitk(array, spacing=SPACING, **geometry):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    image.SetSpacing(tuple(spacing[::-1]))
    if "origin" in geometry:
        image.SetOrigin(geometry["origin"])
    return image


def plain_radiomics(params, image, mask, label):
    """Run pyradiomics' own ``execute`` for one label, without its log."""
    import radiomics
    import SimpleITK as sitk
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    coordinate = sitk.ProcessObject.GetGlobalDefaultCoordinateTolerance()
    direction = sitk.ProcessObject.GetGlobalDefaultDirectionTolerance()
    radiomics.setVerbosity(60)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            extractor = RadiomicsFeatureExtractor(*([] if params is None else [params]))
            found = extractor.execute(image, mask, label=label)
    finally:
        radiomics.setVerbosity(30)
        sitk.ProcessObject.SetGlobalDefaultCoordinateTolerance(coordinate)
        sitk.ProcessObject.SetGlobalDefaultDirectionTolerance(direction)
    # The axes of a shape are complex numbers without an imaginary part from numpy 2.5 on.
    return {k: float(np.real(v)) for k, v in found.items() if not k.startswith("diagnostics_")}


def assert_same_values(ours, plain, rtol=1e-9):
    """Compare a mapping of pyradiomics' names to values with pyradiomics' own."""
    assert set(plain) <= set(ours)
    absent = {name for name in ours if name not in plain and not np.isnan(ours[name])}
    assert not absent, f"values that pyradiomics does not give: {sorted(absent)[:5]}"
    wrong = {
        name: (ours[name], value)
        for name, value in plain.items()
        if not (
            abs(ours[name] - value) <= rtol * abs(value)
            or (np.isnan(ours[name]) and value != value)
        )
    }
    assert not wrong, f"{len(wrong)} of {len(plain)} differ, such as {list(wrong.items())[:5]}"


def by_radiomics_name(row, structure):
    """Pick one structure's columns out of a row of the extractor's output."""
    prefix = f"{structure}__"
    return {
        name.removeprefix(prefix): float(value)
        for name, value in row.items()
        if name.startswith(prefix)
    }


def compare_with_radiomics(extractor, params, image, mask, rtol=1e-9):
    """Extract one case and compare every label with pyradiomics' ``execute``."""
    row = extractor.set_output(transform="pandas").fit_transform([(image, mask)]).iloc[0]
    for structure, label in extractor.mask_labels_.items():
        ours = by_radiomics_name(row, structure)
        assert_same_values(ours, plain_radiomics(params, image, mask, label), rtol)


@pytest.fixture(scope="session")
def scans():
    """Functions that draw phantoms and compare with pyradiomics."""
    return SimpleNamespace(
        make_volume=make_volume,
        to_sitk=to_sitk,
        plain_radiomics=plain_radiomics,
        assert_same_values=assert_same_values,
        by_radiomics_name=by_radiomics_name,
        compare_with_radiomics=compare_with_radiomics,
    )


@pytest.fixture
def volume():
    """Image and mask of the default phantom, as SimpleITK images."""
    image, mask = make_volume()
    return to_sitk(image), to_sitk(mask)
