"""
What does a number look like?
=============================

A feature or a probability gets a face by the images with its highest and lowest values.
Misclassified ones are marked.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto import make_cell_images
from skcyto.inspection import ExtremeSamplesDisplay

cells = make_cell_images(300, random_state=2)
kept = cells.target != "rubbish"
images, masks, y = cells.images[kept], cells.masks[kept], cells.target[kept]

# %%
# Three measurements of each cell, and the probability of "unhealthy" from models that have not seen the
# slide.
nucleus = masks == 1
X = pd.DataFrame(
    {
        "area of the nucleus": nucleus.mean(axis=(1, 2)),
        "area of the cell": (masks > 0).mean(axis=(1, 2)),
        "darkness": [
            255 - image[region].mean() for image, region in zip(images, nucleus, strict=True)
        ],
    }
)
probability = cross_val_predict(
    make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced")),
    X,
    y,
    groups=cells.groups[kept],
    cv=StratifiedGroupKFold(5),
    method="predict_proba",
)[:, 1]
prediction = np.where(probability > 0.5, "unhealthy", "healthy")

# %%
ExtremeSamplesDisplay.from_predictions(
    images, probability, prediction, y=y, feature_name="probability of unhealthy", n=8
)
