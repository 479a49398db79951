"""Make the figures of the explanation guide.

    python docs/figures/explanation.py --weights path/to/vit_small_patch14_dinov2.safetensors

Data: synthetic cells, drawn by skcyto. The weights are those of timm's vit_small_patch14_dinov2
(DINOv2, Apache-2.0); without --weights they come from the Hugging Face Hub.
"""

import argparse
import io
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import pandas as pd
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.datasets import make_cell_images
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.inspection import (
    ExtremeSamplesDisplay,
    ImportanceDisplay,
    TokenMapDisplay,
    explain,
)
from skcyto.neural_network import ImbalancedMLPClassifier

STATIC = Path(__file__).resolve().parents[1] / "_static"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="pretrained")
    args = parser.parse_args()

    shares = {"healthy": 0.4, "rubbish": 0.3, "unhealthy": 0.3}
    cells = make_cell_images(
        500, class_proportions=shares, image_size=112, cells_per_slide=10, random_state=0
    )
    splitter = GroupShuffleSplit(1, test_size=0.3, random_state=0)
    train, test = next(splitter.split(cells.images, groups=cells.groups))
    images, y = cells.images[test], cells.target[test]
    pipeline = make_pipeline(
        EVA02TokenEmbedder(
            "vit_small_patch14_dinov2", tokens="image", weights=args.weights, image_size=112
        ),
        StandardScaler(),
        ImbalancedMLPClassifier((64,), max_epochs=40, random_state=0),
    ).fit(cells.images[train], cells.target[train])
    prediction = pipeline.predict(images)
    print(f"balanced accuracy {balanced_accuracy_score(y, prediction):.3f}")

    explanation = explain(
        pipeline, images[::4], background_data=cells.images[train], random_state=0, verbose=1
    )
    groups = cells.groups[test][::4]
    importance = explanation.global_importance("unhealthy", groups=groups, random_state=0)
    print(importance.head().to_string())
    display = ImportanceDisplay.from_explanation(
        explanation, "unhealthy", max_features=10, groups=groups, random_state=0
    )
    display.figure_.savefig(STATIC / "explanation_importance.png", dpi=80)

    display = ExtremeSamplesDisplay.from_estimator(
        pipeline, images, y=y, importances=importance, n=8
    )
    save_photographs(display.figure_, "explanation_extreme_samples")
    print(display.samples.to_string())

    six = pd.Series(range(len(y))).groupby(y).head(2)
    display = TokenMapDisplay.from_estimator(pipeline, images[six], label="unhealthy")
    print([y[i] for i in six])
    save_photographs(display.figure_, "explanation_token_map")


def save_photographs(figure, name):
    """Save as PNG of 256 colours: true colour takes three times the space."""
    file = io.BytesIO()
    figure.savefig(file, dpi=90)
    picture = Image.open(file).convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE)
    picture.save(STATIC / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
