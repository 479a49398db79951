r"""
What a classifier of Pap-smear cells looks at
=============================================

Trains a small network on the pooled tokens of a vision transformer to tell abnormal from normal
cells, explains it by Kernel SHAP, and draws three figures: the most important features, the images
with the highest and the lowest value of the first of them, and where in six cells it comes from.

The Herlev images are for research use and are not part of this package; neither are weights. With
``herlev/index.csv`` and its images in a folder, and a weights file of DINOv2::

    python examples/explain_herlev.py --data path/to/herlev \
        --weights path/to/vit_small_patch14_dinov2.safetensors --output figures
"""

# %%
# Arguments

import argparse
import time
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.inspection import ExtremeSamplesDisplay, ImportanceDisplay, TokenMapDisplay, explain
from skcyto.neural_network import ImbalancedMLPClassifier

matplotlib.use("Agg")

parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
parser.add_argument("--data", type=Path, required=True, help="folder with index.csv and images")
parser.add_argument("--weights", required=True, help="weights of vit_small_patch14_dinov2")
parser.add_argument("--output", type=Path, default=Path("figures"))
parser.add_argument("--rows", type=int, default=60, help="test images to explain")
parser.add_argument("--repeats", type=int, default=3, help="independent explanations")
parser.add_argument("--n-jobs", type=int, default=None)
args = parser.parse_args()
args.output.mkdir(parents=True, exist_ok=True)

# %%
# Cells of one acquisition stay together: the split is by group.

index = pd.read_csv(args.data / "index.csv")
paths = index["file"].map(lambda name: str(args.data / name)).to_numpy()
y = index["abnormal"].map({0: "normal", 1: "abnormal"}).to_numpy()
splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
train, test = next(splitter.split(paths, y, index["group"]))

# %%
# Embedder, scaler and network are one pipeline.

pipeline = make_pipeline(
    EVA02TokenEmbedder(
        "vit_small_patch14_dinov2",
        tokens="image",
        weights=args.weights,
        image_size=112,
        cache=args.output / "embeddings",
    ),
    StandardScaler(),
    ImbalancedMLPClassifier((128,), class_weight="balanced", max_epochs=60, random_state=0),
).fit(paths[train], y[train])
probability = pipeline.predict_proba(paths[test])[:, 0]
print(
    f"{len(train)} training and {len(test)} test images; "
    f"AUC {roc_auc_score(y[test] == 'abnormal', probability):.3f}, "
    f"balanced accuracy {balanced_accuracy_score(y[test], pipeline.predict(paths[test])):.3f}"
)

# %%
# The background comes from the training images; the test images are explained.

start = time.perf_counter()
explained = test[np.linspace(0, len(test) - 1, min(args.rows, len(test))).astype(int)]
explanation = explain(
    pipeline,
    paths[explained],
    background_data=paths[train],
    n_repeats=args.repeats,
    random_state=0,
    n_jobs=args.n_jobs,
    verbose=1,
)
print(f"explained in {time.perf_counter() - start:.0f} s: {explanation}")
groups = index["group"].to_numpy()[explained]
importance = explanation.global_importance(groups=groups, random_state=0)
print(importance.head(10).to_string(float_format="{:.5f}".format))
if args.repeats > 1:
    print(explanation.ranking_stability().head(5).to_string(float_format="{:.2f}".format))
    print(explanation.rank_agreement().to_string(float_format="{:.2f}".format))

# %%
# The most important features, the extremes of the first, and where it comes from.

display = ImportanceDisplay.from_explanation(explanation, groups=groups, random_state=0)
display.figure_.savefig(args.output / "importance.png", dpi=120)

display = ExtremeSamplesDisplay.from_estimator(
    pipeline, paths[test], y=y[test], feature="top", importances=importance
)
display.figure_.savefig(args.output / "extreme_samples.png", dpi=120)
print(display.samples.to_string(float_format="{:.2f}".format))

top = importance.index[0]
six = pd.concat([display.samples.query("side == 'highest'").head(3), display.samples.tail(3)]).index
cells = paths[test][six]
display = TokenMapDisplay.from_estimator(pipeline, cells, feature=top)
display.figure_.savefig(args.output / "token_map_feature.png", dpi=120)
display = TokenMapDisplay.from_estimator(pipeline, cells, label="abnormal")
display.figure_.savefig(args.output / "token_map_class.png", dpi=120)
