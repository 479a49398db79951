"""
Which structure, which kind of feature?
=======================================

Names of radiomics are structured, so that importances can be summed by structure, filter or class
of feature.
"""

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto import explain
from skcyto.inspection import GroupImportanceDisplay, parse_radiomics_names

# %%
# A table as :class:`~skcyto.feature_extraction.RadiomicsExtractor` makes it: three structures, two
# image types. The class is in the texture of the medial rectus, and a little in the fat.
features = ["firstorder_Mean", "firstorder_Entropy", "glcm_Contrast", "gldm_DependenceVariance"]
names = [
    f"{structure}__{image}_{feature}"
    for structure in ("medial_rectus", "optic_nerve", "fat")
    for image in ("original", "wavelet-LLH")
    for feature in features
]
rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(300, len(names))), columns=names)
signal = X["medial_rectus__wavelet-LLH_glcm_Contrast"] + 0.4 * X["fat__original_firstorder_Mean"]
y = np.where(signal + 0.5 * rng.normal(size=300) > 0.8, "ted", "control")
print(parse_radiomics_names(names[:3]))

# %%
pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.3)).fit(X[:200], y[:200])
explanation = explain(
    pipeline, X[200:], background_data=X[:200], method="auto", response_method="decision_function"
)
GroupImportanceDisplay.from_explanation(explanation, "structure", random_state=0)

# %%
GroupImportanceDisplay.from_explanation(explanation, "feature_class", random_state=0)
