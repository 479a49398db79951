"""
Clinical columns beside images
==============================

What is known of the patient (age, a test result) goes into the same pipeline as the picture: a
:class:`~sklearn.compose.ColumnTransformer` sends each column to whom it concerns. Do the images add
anything to what was known before?
"""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skcyto import RadiomicsExtractor, compare_models, make_cell_images

# %%
# Cells with their masks, and two clinical columns that are drawn: age says little, the HPV test
# more. With images in files, columns of paths stand where the arrays stand here.
cells = make_cell_images(400, image_size=48, cells_per_slide=8, random_state=1)
kept = cells.target != "rubbish"
y, groups = cells.target[kept], cells.groups[kept]
rng = np.random.default_rng(0)
unhealthy = y == "unhealthy"
frame = pd.DataFrame(
    {
        "image": list(cells.images[kept]),
        "mask": list(cells.masks[kept]),
        "age": rng.normal(42, 10, len(y)) + 4 * unhealthy,
        "hpv": np.where(rng.random(len(y)) < np.where(unhealthy, 0.7, 0.2), "positive", "negative"),
    }
)
print(frame[["age", "hpv"]].assign(label=y).groupby("label").agg({"age": "mean", "hpv": "max"}))

# %%
# Three pipelines. Radiomics learn nothing from other cells; what is imputed, scaled and encoded is
# learnt in each fold. A bare nucleus has no cytoplasm: its columns are empty, and imputed.
clinical = [("age", StandardScaler(), ["age"]), ("hpv", OneHotEncoder(drop="first"), ["hpv"])]
settings = {
    "imageType": {"Original": {}},
    "featureClass": {"shape2D": ["PixelSurface", "Elongation"], "firstorder": ["Mean", "Entropy"]},
}
picture = make_pipeline(
    RadiomicsExtractor({"nucleus": 1, "cytoplasm": 2}, settings=settings),
    SimpleImputer(strategy="median"),
    StandardScaler(),
)
views = {
    "clinical": clinical,
    "picture": [("picture", picture, ["image", "mask"])],
    "both": [*clinical, ("picture", picture, ["image", "mask"])],
}
models = {
    name: make_pipeline(ColumnTransformer(parts), LogisticRegression(class_weight="balanced"))
    for name, parts in views.items()
}
comparison = compare_models(
    models, frame, y, groups=groups, cv=4, scoring=["roc_auc_ovr", "f1_macro"], random_state=0
)

# %%
# On the right, each fold's difference from the clinical columns alone, which is what a paired test
# looks at.
comparison.plot_scores(metric="roc_auc_ovr")
print(comparison.to_markdown())
