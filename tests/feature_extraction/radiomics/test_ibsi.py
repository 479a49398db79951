"""The IBSI's digital phantom, and the settings that the guide gives."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

from skcyto.feature_extraction import RadiomicsExtractor

ROOT = Path(__file__).parents[3]
# Where pyradiomics' definition is another one.
DIFFERENT = {"firstorder_Kurtosis", "shape_MinorAxisLength", "shape_LeastAxisLength"}


@pytest.fixture(scope="module")
def ibsi():
    spec = importlib.util.spec_from_file_location("ibsi", ROOT / "benchmarks" / "ibsi.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_phantom_is_the_one_of_the_manual(ibsi):
    inside = ibsi.PHANTOM[ibsi.PHANTOM > 0]
    assert ibsi.PHANTOM.shape == (4, 4, 5)
    assert np.bincount(inside).tolist() == [0, 50, 0, 1, 16, 0, 7]


def test_102_of_105_features_have_the_reference_value(ibsi):
    found = ibsi.values()
    assert len(ibsi.references()) == 105
    differing = {
        name
        for name, _, reference, tolerance in ibsi.references()
        if abs(found[name] - reference) > tolerance
    }
    assert differing == DIFFERENT


def test_why_the_others_differ(ibsi):
    found = ibsi.values()
    assert found["firstorder_Kurtosis"] - 3 == pytest.approx(-0.355, abs=5e-4)
    # Of the 74 voxels pyradiomics takes the covariance over 74, and the IBSI over 73.
    for axis, reference in (("Major", 11.4), ("Minor", 9.31), ("Least", 8.54)):
        length = found[f"shape_{axis}AxisLength"] * np.sqrt(74 / 73)
        assert length == pytest.approx(reference, abs=0.005 if axis != "Major" else 0.05)


def test_maps_of_voxels_by_pyradiomics_itself(ibsi):
    """The recipe of the guide: `settings_` is what pyradiomics' own extractor takes."""
    import SimpleITK as sitk
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    image = sitk.GetImageFromArray(ibsi.PHANTOM)
    mask = sitk.GetImageFromArray((ibsi.PHANTOM > 0).astype(np.uint8))
    settings = {"setting": {"binWidth": 1}, "featureClass": {"firstorder": ["Maximum"]}}
    extractor = RadiomicsExtractor([1], settings).fit([(image, mask)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pyradiomics' own
        plain = RadiomicsFeatureExtractor(extractor.settings_)
        plain.settings.update(kernelRadius=1, maskedKernel=True)
        maps = plain.execute(image, mask, label=1, voxelBased=True)
    largest = sitk.GetArrayFromImage(maps["original_firstorder_Maximum"])
    assert largest.max() == 6
    assert largest[-1, -1, 0] == 1  # the 6 of the last row is two voxels away


CT = {
    "C": {
        "setting": {
            "resampledPixelSpacing": [2, 2, 2],
            "interpolator": "sitkLinear",
            "resegmentRange": [-1000, 400],
            "binWidth": 25,
        }
    },
    "D": {
        "setting": {
            "resampledPixelSpacing": [2, 2, 2],
            "interpolator": "sitkLinear",
            "resegmentRange": [-3, 3],
            "resegmentMode": "sigma",
            "binCount": 32,
        }
    },
}


@pytest.mark.parametrize("settings", CT.values(), ids=CT)
def test_the_configurations_of_the_guide_are_settings(settings):
    rng = np.random.default_rng(0)
    image = rng.normal(0, 200, (10, 24, 24))
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[2:8, 4:20, 4:20] = 1
    spacing = (3.0, 0.977, 0.977)
    extractor = RadiomicsExtractor([1], {**settings, "featureClass": {"firstorder": []}})
    values = extractor.fit_transform([((image, spacing), (mask, spacing))])
    assert np.isfinite(values).all()
    shown = extractor.settings_["setting"]
    assert {name: shown[name] for name in settings["setting"]} == settings["setting"]
