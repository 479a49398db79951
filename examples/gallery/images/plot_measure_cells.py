"""
Measure nucleus and cytoplasm
=============================

Radiomics are not for scans alone. Of a colour image, textures are measured in each channel and
shapes once; a mask says where the nucleus (1) and the cytoplasm (2) are.
"""

import matplotlib.pyplot as plt
import pandas as pd

from skcyto import RadiomicsExtractor, make_cell_images

cells = make_cell_images(260, image_size=64, random_state=0)
shown = (cells.masks == 1).any(axis=(1, 2)) & (cells.masks == 2).any(axis=(1, 2))
shown &= cells.target != "rubbish"
pairs = list(zip(cells.images[shown], cells.masks[shown], strict=True))
y = cells.target[shown]

# %%
# Shapes and gray levels are enough here; ``settings="ted1648"`` gives 1,648 features a structure.
extractor = RadiomicsExtractor(
    {"nucleus": 1, "cytoplasm": 2},
    settings={
        "imageType": {"Original": {}},
        "featureClass": {"shape2D": [], "firstorder": ["Mean", "Entropy", "Variance"]},
    },
)
table = extractor.set_output(transform="pandas").fit_transform(pairs)
print(table.shape)
print("\n".join(table.columns[:6]))

# %%
# What cytologists call the ratio of nucleus and cytoplasm: unhealthy cells have a larger nucleus
# for their size. The classes overlap, as reactive cells and mild dysplasia do.
areas = pd.DataFrame(
    {
        "nucleus": table.filter(regex="^nucleus.*shape2D_PixelSurface").iloc[:, 0].to_numpy(),
        "cytoplasm": table.filter(regex="^cytoplasm.*shape2D_PixelSurface").iloc[:, 0].to_numpy(),
    }
)
fig, ax = plt.subplots(figsize=(6, 4.5), layout="constrained")
for name, marker in {"healthy": "o", "unhealthy": "^"}.items():
    points = areas[y == name]
    ax.scatter(points["nucleus"], points["cytoplasm"], marker=marker, alpha=0.7, label=name)
ax.set(xlabel="area of the nucleus, pixels", ylabel="area of the cytoplasm, pixels", xscale="log")
ax.legend()
plt.show()
