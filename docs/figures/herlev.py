"""Draw the figure of the README: three models on real Pap-smear cells.

    python docs/figures/herlev.py DATA/cytology/herlev

The images of the Herlev benchmark may be used for research, and are not shown. Needed are the
DINOv2 tokens of its cells, an array (n, 65, 384) with the class token first, and their labels.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto import ImbalancedMLPClassifier, compare_models

STATIC = Path(__file__).parents[1] / "_static"


def main(folder: Path) -> None:
    matplotlib.use("Agg")
    with np.load(next(folder.glob("*tokens.npz")), allow_pickle=False) as file:
        tokens, labels, groups = file["tokens"][:, 0].astype(float), file["label"], file["group"]
    index = pd.read_csv(folder / "index.csv")
    abnormal = index.loc[index["abnormal"].astype(bool), "label"].unique()
    y = np.where(np.isin(labels, abnormal), "abnormal", "normal")
    mlp = {"hidden_layer_sizes": (0.5,), "max_epochs": 40, "dropout": 0.3}
    models = {
        "logistic regression": LogisticRegression(C=0.01, max_iter=1000),
        "network": ImbalancedMLPClassifier(**mlp),
        "network, class weights": ImbalancedMLPClassifier(**mlp, class_weight="balanced"),
    }
    comparison = compare_models(
        {name: make_pipeline(StandardScaler(), model) for name, model in models.items()},
        tokens,
        y,
        groups=groups,
        cv=5,
        scoring=["balanced_accuracy", "roc_auc_ovr"],
        pos_label="abnormal",
        random_state=0,
        verbose=1,
    )
    print(comparison.to_markdown())
    comparison.plot_roc().figure_.savefig(STATIC / "herlev_roc.png", dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
