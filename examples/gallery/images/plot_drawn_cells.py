"""
Drawn cells and their masks
===========================

:func:`~skcyto.datasets.make_cell_images` draws Pap-smear cells of three classes, so that every
example runs without a download. They are drawings: a score on them says that code works, never
that it works on patients.
"""

import matplotlib.pyplot as plt
import numpy as np

from skcyto.datasets import make_cell_images

cells = make_cell_images(150, random_state=0)
names, counts = np.unique(cells.target, return_counts=True)
print(dict(zip(names.tolist(), counts.tolist(), strict=True)))

# %%
# Each row is a class. Outlined are the two structures of the mask, nucleus and cytoplasm: what
# :class:`~skcyto.feature_extraction.RadiomicsExtractor` measures. Rubbish may show no cell at all.
fig, axes = plt.subplots(3, 6, figsize=(9, 4.8), layout="constrained")
for row, name in zip(axes, names, strict=True):
    for ax, i in zip(row, np.flatnonzero(cells.target == name), strict=False):
        ax.imshow(cells.images[i])
        if cells.masks[i].any():
            ax.contour(cells.masks[i] == 1, [0.5], colors="tab:orange", linewidths=1)
            ax.contour(cells.masks[i] > 0, [0.5], colors="white", linewidths=1)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)
plt.show()

# %%
# Twenty images share a slide, with its stain and light. Whoever splits images at random has cells of
# one slide on both sides; ``cells.groups`` is there to be split by.
print(len(set(cells.groups)), "slides")
