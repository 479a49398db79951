"""Processor time and agreement of voxel-wise maps: skcyto against pyradiomics' ``voxelBased=True``.

    python benchmarks/radiomics_maps.py

A smoothed body of some hundred voxels, all six classes (without MCC, which has no map), 3 x 3 x 3
neighbourhoods, bins from wide to narrow. Both are timed in this process, one after the other; the
first call of each, which compiles or loads, is not counted.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

# This file's folder comes first on the path, where radiomics.py would pass for pyradiomics.
sys.path[:] = [
    entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent
]

import numpy as np  # noqa: E402
import SimpleITK as sitk  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

CLASSES = ("firstorder", "glcm", "gldm", "ngtdm", "glrlm", "glszm")


def draw(side):
    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.normal(size=(side, 2 * side, 2 * side)), 0.7) * 100
    mask = np.zeros(image.shape, dtype=np.uint8)
    z, y, x = np.indices(image.shape)
    middle = (np.array(image.shape) - 1) / 2
    far = sum(
        ((axis - centre) / (0.33 * length)) ** 2
        for axis, centre, length in zip((z, y, x), middle, image.shape, strict=True)
    )
    mask[far < 1] = 1
    images = [sitk.GetImageFromArray(each) for each in (image, mask)]
    for each in images:
        each.SetSpacing((0.8, 0.9, 2.0))
    return images


def timed(function):
    function()
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def compare(pair, bin_width):
    import radiomics
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    from skcyto.feature_extraction import RadiomicsExtractor

    params = {"setting": {"binWidth": bin_width}, "imageType": {"Original": {}}}
    params["featureClass"] = {name: [] for name in CLASSES}
    params["featureClass"]["glcm"] = [
        name
        for name, deprecated in radiomics.getFeatureClasses()["glcm"].getFeatureNames().items()
        if name != "MCC" and not deprecated
    ]
    ours = RadiomicsExtractor([1], settings=params).fit([pair])
    theirs = RadiomicsFeatureExtractor(params)
    own_seconds, maps = timed(lambda: ours.voxel_map(*pair, init_value=0.0))
    seconds, expected = timed(lambda: theirs.execute(*pair, label=1, voxelBased=True))
    equal = total = 0
    for name, image in expected.items():
        if name.startswith("diagnostics"):
            continue
        left, right = (sitk.GetArrayFromImage(each) for each in (maps[name], image))
        same = np.isclose(left, right, rtol=1e-9, atol=0, equal_nan=True)
        equal, total = equal + same.sum(), total + same.size
    return own_seconds, seconds, equal / total


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=14)
    arguments = parser.parse_args()
    import radiomics

    radiomics.setVerbosity(60)
    warnings.simplefilter("ignore")
    pair = draw(arguments.side)
    values = sitk.GetArrayFromImage(pair[0])[sitk.GetArrayFromImage(pair[1]) == 1]
    print(f"numpy {np.__version__}, SimpleITK {sitk.Version().VersionString()}\n")
    print(f"{values.size} voxels, 92 maps\n")
    print(
        "| bin width | gray levels | skcyto, processor s | pyradiomics, processor s "
        "| times faster | equal to 1e-9 |"
    )
    print("|---|---|---|---|---|---|")
    for bin_width in (50.0, 25.0, 10.0, 5.0):
        own_seconds, seconds, equal = compare(pair, bin_width)
        levels = int(np.ptp(values) // bin_width) + 1
        print(
            f"| {bin_width:g} | {levels} | {own_seconds:.3f} | {seconds:.2f} "
            f"| {seconds / own_seconds:.1f} | {equal:.2%} |"
        )


if __name__ == "__main__":
    main()
