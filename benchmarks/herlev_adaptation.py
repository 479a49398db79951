"""How far views and adapters carry a pretrained network on real Pap-smear cells.

Run with::

    python benchmarks/herlev_adaptation.py --data HERLEV --weights DINOV2.safetensors
    python benchmarks/herlev_adaptation.py --data HERLEV --weights DINOV2.safetensors --lora

HERLEV is a folder with the images and an `index.csv` (columns file, label, abnormal, group),
DINOV2.safetensors the weights of timm's `vit_small_patch14_dinov2`.

The protocol was written down before anything was run. Seven classes, 593 cells, images of 112
pixels, class and image tokens. Five times five folds that split no acquisition. Everything that is
learnt, scaling included, is learnt inside the fold; no setting is chosen by these folds. Measures
are balanced accuracy over the seven classes, macro AUC and the AUC of abnormal cells. The reference
is the network as it is, with the MLP of the defaults; differences from it are tested by the
corrected resampled t-test, p-values are Holm's over the candidates of the run.

Without ``--lora``: 593 images in eight views, each through the network once (some two minutes on an
idle core), and fifty fits of a small network. With ``--lora``: fifty fine-tunings of 24 epochs, for
which a GPU is advised: on a core each takes half an hour or more. Killed at any point, the same
command goes on where it was.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.metrics import make_scorer, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.datasets import load_image_folder
from skcyto.feature_extraction import EmbeddingCache, EVA02TokenEmbedder
from skcyto.model_selection import RepeatedStratifiedGroupKFold, compare_models
from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier

MODEL = "vit_small_patch14_dinov2.lvd142m"
REFERENCE = "frozen, MLP"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv")
    parser.add_argument("--weights", required=True, help="weights of the model")
    parser.add_argument("--lora", action="store_true", help="fine-tune adapters, too")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("output/herlev_adaptation"))
    return parser.parse_args()


def make_candidates(args: argparse.Namespace) -> dict:
    network = {"model_name": MODEL, "weights": args.weights, "image_size": 112}
    cache = EmbeddingCache(args.output / "embeddings")
    tokens = ["class", "image"]

    def followed_by_mlp(embedder: EVA02TokenEmbedder) -> object:
        return make_pipeline(embedder, StandardScaler(), ImbalancedMLPClassifier())

    candidates = {
        REFERENCE: followed_by_mlp(EVA02TokenEmbedder(tokens=tokens, cache=cache, **network)),
        "frozen, eight views, MLP": followed_by_mlp(
            EVA02TokenEmbedder(tokens=tokens, cache=cache, views="dihedral", **network)
        ),
    }
    if args.lora:
        adapted = EVA02Classifier(
            **network,
            augment="cells",
            class_weight="balanced",
            lora_rank=4,
            learning_rate=1e-3,
            lr_scheduler="cosine",
            warmup_epochs=2,
            max_epochs=24,
            validation_fraction=None,
            restore_best_weights=False,
            checkpoint=args.output / "fine_tuning" / "{fit}",
        )
        candidates["LoRA"] = adapted
        candidates["LoRA, averaged weights, eight views"] = EVA02Classifier(
            **{**adapted.get_params(deep=False), "ema_decay": 0.99, "views": "dihedral"}
        )
    return candidates


def abnormal_auc(y_true: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Score the summed probability of the classes that are not normal."""
    is_abnormal = np.array([not str(label).startswith("normal") for label in labels])
    truth = np.isin(y_true, labels[is_abnormal])
    return float(roc_auc_score(truth, probabilities[:, is_abnormal].sum(axis=1)))


def main() -> None:
    args = parse_arguments()
    args.output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    cells = load_image_folder(args.data, index="index.csv", group_column="group")
    labels = np.unique(cells.target)
    # Seven classes of 45 to 128 cells: some fold has few cases of a class, which is no news here.
    warnings.filterwarnings("ignore", message="The least populated class")
    comparison = compare_models(
        make_candidates(args),
        cells.paths,
        cells.target,
        groups=cells.groups,
        cv=RepeatedStratifiedGroupKFold(args.folds, args.repeats, random_state=0),
        scoring={
            "balanced accuracy": "balanced_accuracy",
            "macro AUC": "roc_auc_ovr",
            "abnormal AUC": make_scorer(
                abnormal_auc, response_method="predict_proba", labels=labels
            ),
        },
        n_jobs=args.n_jobs,
        checkpoint=args.output / "checkpoint",
        random_state=0,
        verbose=1,
    )
    print(comparison.to_markdown())
    for metric in ("balanced accuracy", "macro AUC", "abnormal AUC"):
        tests = comparison.ttest(reference=REFERENCE, metric=metric)
        print(f"\nCorrected resampled t-tests of {metric} against {REFERENCE!r}\n")
        print(tests[["difference", "ci_low", "ci_high", "pvalue", "p_holm"]].to_string())
    print(f"\n{len(cells.paths)} images; done in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
