"""
From scans to a table
=====================

:class:`~skcyto.feature_extraction.RadiomicsExtractor` makes one row of a scan and one block of
columns of a structure, under pyradiomics' own names.
"""

import matplotlib.pyplot as plt
import numpy as np

from skcyto import RadiomicsExtractor
from skcyto.datasets import make_orbit_mri

scans = make_orbit_mri(24, size=(72, 72, 18), spacing=(0.8, 0.8, 2.7), random_state=0)
structures = {name: scans.mask_labels[name] for name in ("medial_rectus", "optic_nerve", "fat")}
extractor = RadiomicsExtractor(
    structures,
    settings={
        "setting": {"normalize": True, "normalizeScale": 100, "binWidth": 10},
        "imageType": {"Original": {}},
        "featureClass": {"shape": [], "firstorder": [], "glcm": []},
    },
)
table = extractor.set_output(transform="pandas").fit_transform(scans.data)
print(table.shape[0], "scans,", table.shape[1], "columns")

# %%
# The medial rectus differs between the classes, the optic nerve does not: one feature of each.
features = {
    "medial_rectus__original_shape_MeshVolume": "medial rectus, volume (mm³)",
    "optic_nerve__original_shape_MeshVolume": "optic nerve, volume (mm³)",
}
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.6), layout="constrained")
for ax, (feature, label) in zip(axes, features.items(), strict=True):
    values = [table[feature].to_numpy()[scans.target == name] for name in scans.target_names]
    ax.boxplot(values, tick_labels=list(scans.target_names), widths=0.5)
    for i, points in enumerate(values, start=1):
        spread = np.linspace(-0.12, 0.12, len(points))
        ax.plot(i + spread, points, "o", alpha=0.5, markersize=4)
    ax.set_ylabel(label)
plt.show()
