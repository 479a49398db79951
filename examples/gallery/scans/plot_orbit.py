"""
A drawn orbit and its structures
================================

:func:`~skcyto.datasets.make_orbit_mri` draws MRI-like volumes of an orbit, with the eight labels
of the study on thyroid eye disease (TED). Two of them carry the class, in shape and texture.
"""

import matplotlib.pyplot as plt
import numpy as np
import SimpleITK as sitk

from skcyto.datasets import make_orbit_mri

orbits = make_orbit_mri(6, random_state=0)
print(orbits.mask_labels)
print("differ between the classes:", ", ".join(orbits.signal_structures))

# %%
# The slice with the most structures, without and with its mask.
fig, axes = plt.subplots(2, 2, figsize=(7.5, 6.4), layout="constrained")
for row, name in zip(axes, orbits.target_names, strict=True):
    case = orbits.data[orbits.target == name].iloc[0]
    image = sitk.GetArrayFromImage(case["image"])
    mask = sitk.GetArrayFromImage(case["mask"])
    middle = np.argmax([len(np.unique(plane)) for plane in mask])
    for ax in row:
        ax.imshow(image[middle], cmap="gray")
        ax.set(xticks=[], yticks=[])
    shown = np.ma.masked_equal(mask[middle], 0)
    colours = row[1].imshow(shown, cmap="tab10", vmin=0.5, vmax=10.5, alpha=0.6)
    row[0].set_ylabel(name)
bar = fig.colorbar(colours, ax=axes[:, 1], ticks=list(orbits.mask_labels.values()))
bar.ax.set_ylim(0.5, 8.5)
bar.ax.set_yticklabels([name.replace("_", " ") for name in orbits.mask_labels])
plt.show()
