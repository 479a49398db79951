"""The IBSI's digital phantom: reference values beside those of the extractor, as Markdown.

The phantom and its reference values are those of the Image Biomarker Standardisation Initiative's
reference manual (Zwanenburg et al., Radiology 295(2), 2020, doi:10.1148/radiol.2020191145;
https://ibsi.readthedocs.io), which MIRP 2.7.0's tests hold as well. Textures are those that are
averaged over the directions in 3-D.

    python benchmarks/ibsi.py
"""

import sys
from pathlib import Path

# This file's folder comes first on the path; radiomics.py in it would pass for pyradiomics.
sys.path[:] = [
    entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent
]

import numpy as np  # noqa: E402

from skcyto.feature_extraction import RadiomicsExtractor  # noqa: E402

# 5 x 4 x 4 voxels of 2 mm, slices first; 0 is outside the region.
PHANTOM = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ],
    dtype=np.int16,
)
SPACING = (2.0, 2.0, 2.0)

# pyradiomics' name, the IBSI's code, reference value; absolute tolerance where the IBSI gives one.
REFERENCE = """
shape_MeshVolume RNU0 556 4
shape_VoxelVolume YEKZ 592 4
shape_SurfaceArea C0JK 388 3
shape_SurfaceVolumeRatio 2PR5 0.698 0.004
shape_Compactness1 SKGS 0.0411 0.0003
shape_Compactness2 BQWJ 0.599 0.004
shape_SphericalDisproportion KRCK 1.19 0.01
shape_Sphericity QCFX 0.843 0.005
shape_Maximum3DDiameter L0JK 13.1 0.1
shape_MajorAxisLength TDIC 11.4 0.1
shape_MinorAxisLength P9VJ 9.31 0.06
shape_LeastAxisLength 7J51 8.54 0.05
shape_Elongation Q3CK 0.816 0.005
shape_Flatness N17B 0.749 0.005
firstorder_Mean Q4LE 2.15
firstorder_Variance ECT3 3.05
firstorder_Skewness KE2A 1.08
firstorder_Kurtosis IPH6 -0.355
firstorder_Median Y12H 1
firstorder_Minimum 1GSF 1
firstorder_10Percentile QG58 1
firstorder_90Percentile 8DWT 4
firstorder_Maximum 84IY 6
firstorder_InterquartileRange SALO 3
firstorder_Range 2OJQ 5
firstorder_MeanAbsoluteDeviation 4FUA 1.55
firstorder_RobustMeanAbsoluteDeviation 1128 1.11
firstorder_Energy N8CA 567
firstorder_RootMeanSquared 5ZWQ 2.77
firstorder_Entropy TLU2 1.27
firstorder_Uniformity BJ5W 0.512
glcm_MaximumProbability GYBY 0.503
glcm_JointAverage 60VM 2.14
glcm_SumSquares UR99 3.1
glcm_JointEntropy TU9B 2.4
glcm_DifferenceAverage TF7R 1.43
glcm_DifferenceVariance D3YU 3.06
glcm_DifferenceEntropy NTRS 1.56
glcm_SumAverage ZGXS 4.29
glcm_SumEntropy P6QZ 1.92
glcm_JointEnergy 8ZQL 0.303
glcm_Contrast ACUI 5.32
glcm_Id IB1Z 0.677
glcm_Idn NDRX 0.851
glcm_Idm WF0Z 0.618
glcm_Idmn 1QCO 0.898
glcm_InverseVariance E8JP 0.0604
glcm_Correlation NI2N 0.157
glcm_Autocorrelation QWB0 5.06
glcm_ClusterTendency DG8W 7.07
glcm_ClusterShade 7NFM 16.6
glcm_ClusterProminence AE86 145
glcm_Imc1 R8DG -0.157
glcm_Imc2 JN9H 0.52
glrlm_ShortRunEmphasis 22OV 0.705
glrlm_LongRunEmphasis W4KF 3.06
glrlm_LowGrayLevelRunEmphasis V3SW 0.603
glrlm_HighGrayLevelRunEmphasis G3QZ 9.7
glrlm_ShortRunLowGrayLevelEmphasis HTZT 0.352
glrlm_ShortRunHighGrayLevelEmphasis GD3A 8.54
glrlm_LongRunLowGrayLevelEmphasis IVPO 2.39
glrlm_LongRunHighGrayLevelEmphasis 3KUM 17.6
glrlm_GrayLevelNonUniformity R5YN 21.8
glrlm_GrayLevelNonUniformityNormalized OVBL 0.43
glrlm_RunLengthNonUniformity W92Y 26.9
glrlm_RunLengthNonUniformityNormalized IC23 0.513
glrlm_RunPercentage 9ZK5 0.68
glrlm_GrayLevelVariance 8CE5 3.46
glrlm_RunVariance SXLW 0.574
glrlm_RunEntropy HJ9O 2.43
glszm_SmallAreaEmphasis 5QRC 0.255
glszm_LargeAreaEmphasis 48P8 550
glszm_LowGrayLevelZoneEmphasis XMSY 0.253
glszm_HighGrayLevelZoneEmphasis 5GN9 15.6
glszm_SmallAreaLowGrayLevelEmphasis 5RAI 0.0256
glszm_SmallAreaHighGrayLevelEmphasis HW1V 2.76
glszm_LargeAreaLowGrayLevelEmphasis YH51 503
glszm_LargeAreaHighGrayLevelEmphasis J17V 1490
glszm_GrayLevelNonUniformity JNSA 1.4
glszm_GrayLevelNonUniformityNormalized Y1RO 0.28
glszm_SizeZoneNonUniformity 4JP3 1
glszm_SizeZoneNonUniformityNormalized VB3A 0.2
glszm_ZonePercentage P30P 0.0676
glszm_GrayLevelVariance BYLV 2.64
glszm_ZoneVariance 3NSA 331
glszm_ZoneEntropy GU8N 2.32
ngtdm_Coarseness QCDE 0.0296
ngtdm_Contrast 65HE 0.584
ngtdm_Busyness NQ30 6.54
ngtdm_Complexity HDEZ 13.5
ngtdm_Strength 1X9X 0.763
gldm_SmallDependenceEmphasis SODN 0.045
gldm_LargeDependenceEmphasis IMOQ 109
gldm_LowGrayLevelEmphasis TL9H 0.693
gldm_HighGrayLevelEmphasis OAE7 7.66
gldm_SmallDependenceLowGrayLevelEmphasis EQ3F 0.00963
gldm_SmallDependenceHighGrayLevelEmphasis JA6D 0.736
gldm_LargeDependenceLowGrayLevelEmphasis NBZI 102
gldm_LargeDependenceHighGrayLevelEmphasis 9QMG 235
gldm_GrayLevelNonUniformity FP8K 37.9
gldm_DependenceNonUniformity Z87G 4.86
gldm_DependenceNonUniformityNormalized OKJI 0.0657
gldm_GrayLevelVariance 1PFV 3.05
gldm_DependenceVariance DNX2 22.1
gldm_DependenceEntropy FCBV 4.4
"""


def references():
    """Give pyradiomics' name, code, value and tolerance of each; reference values have 3 digits."""
    rows = []
    for line in REFERENCE.split("\n"):
        if line:
            name, code, value, *tolerance = line.split()
            value = float(value)
            half_a_digit = 0.5 * 10.0 ** (np.floor(np.log10(abs(value))) - 2)
            tolerance = max(half_a_digit, *map(float, tolerance or ["0"]))
            rows.append((name, code, value, tolerance * (1 + 1e-9)))
    return rows


def settings():
    """Ask for all features of the unfiltered phantom, gray levels as they are, deprecated too."""
    classes = {name.split("_")[0]: [] for name, *_ in references()}
    for name, *_ in references():
        feature_class, feature = name.split("_")
        classes[feature_class].append(feature)
    return {"setting": {"binWidth": 1}, "imageType": {"Original": {}}, "featureClass": classes}


def values():
    """Measure the phantom."""
    extractor = RadiomicsExtractor({"phantom": 1}, settings()).set_output(transform="pandas")
    mask = (PHANTOM > 0).astype(np.uint8)
    row = extractor.fit_transform([((PHANTOM, SPACING), (mask, SPACING))]).iloc[0]
    return {name.removeprefix("phantom__original_"): value for name, value in row.items()}


def main():
    found = values()
    print("| feature | IBSI code | reference | skcyto | |")
    print("|---|---|---|---|---|")
    agreeing = 0
    for name, code, reference, tolerance in references():
        agrees = abs(found[name] - reference) <= tolerance
        agreeing += agrees
        mark = "" if agrees else "differs"
        print(f"| `{name}` | {code} | {reference:g} | {found[name]:.5g} | {mark} |")
    print(f"\n{agreeing} of {len(references())} agree.")


if __name__ == "__main__":
    main()
