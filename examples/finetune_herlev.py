"""Fine-tuning inside the fold against frozen tokens, on real Pap-smear cells.

Seven classes of single cells (Herlev), the folds of `herlev_table.py`: cells of one acquisition
never appear on both sides. In each fold the network is fine-tuned on the training cells alone, and
judged by itself and by what the same small network and logistic regression make of its tokens.

    python examples/finetune_herlev.py --data HERLEV --weights DINOV2.safetensors

HERLEV is a folder with the images and an `index.csv` (columns file, label, abnormal, group),
DINOV2.safetensors the weights of timm's `vit_small_patch14_dinov2`. Killed at any point, the same
command goes on after the last finished epoch.
"""

# %%
# The command line
# ----------------

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import matplotlib
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.datasets import load_image_folder
from skcyto.feature_extraction import EmbeddingCache, EVA02TokenEmbedder
from skcyto.model_selection import compare_models
from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with index.csv")
    parser.add_argument("--weights", required=True, help="weights of the model")
    parser.add_argument("--model", default="vit_small_patch14_dinov2.lvd142m")
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--tokens", default="class", choices=["class", "image", "all"])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--layer-decay", type=float, default=0.75)
    parser.add_argument("--freeze", type=int, default=8, help="blocks that stay as they are")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--augment", default="light", choices=["none", "light", "default"])
    parser.add_argument("--precision", default="auto", help="of the fine-tuning")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("output/finetune_herlev"))
    return parser.parse_args()


# %%
# The candidates
# --------------
# A few hundred cells can spare none for validation: the learning rate is annealed to zero and the
# last epoch is kept, for both networks. The classifier and the embedders describe the same
# fine-tuning, and `checkpoint` keeps each fit under a name of its own: it is done once a fold.


def make_candidates(args: argparse.Namespace) -> dict:
    finetune = EVA02Classifier(
        args.model,
        weights=args.weights,
        image_size=args.image_size,
        augment=None if args.augment == "none" else args.augment,
        class_weight="balanced",
        learning_rate=args.learning_rate,
        layer_decay=args.layer_decay,
        freeze=args.freeze,
        lr_scheduler="cosine",
        batch_size=args.batch_size,
        max_epochs=args.epochs,
        validation_fraction=None,
        restore_best_weights=False,
        checkpoint=args.output / "fine_tuning" / "{fit}",
        precision=args.precision,
        n_jobs=1,
        random_state=0,
        verbose=args.n_jobs == 1,
    )
    cache = EmbeddingCache(args.output / "embeddings")
    frozen = EVA02TokenEmbedder(
        args.model, args.tokens, weights=args.weights, image_size=args.image_size, cache=cache
    )
    tuned = EVA02TokenEmbedder(tokens=args.tokens, finetune=finetune, cache=cache)
    # The network of herlev_table.py.
    mlp = ImbalancedMLPClassifier(
        (1024, 512, 256),
        class_weight="max_ratio",
        dropout=0.5,
        batch_size=128,
        max_epochs=100,
        lr_scheduler="cosine",
        validation_fraction=None,
        restore_best_weights=False,
    )
    logistic_regression = LogisticRegression(max_iter=5000)
    return {
        "frozen tokens, MLP": make_pipeline(frozen, StandardScaler(), mlp),
        "frozen tokens, logistic regression": make_pipeline(
            frozen, StandardScaler(), logistic_regression
        ),
        "fine-tuned classifier": finetune,
        "fine-tuned tokens, MLP": make_pipeline(tuned, StandardScaler(), mlp),
        "fine-tuned tokens, logistic regression": make_pipeline(
            tuned, StandardScaler(), logistic_regression
        ),
    }


# %%
# The comparison
# --------------


def main() -> None:
    args = parse_arguments()
    matplotlib.use("Agg")
    args.output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    cells = load_image_folder(args.data, index="index.csv", group_column="group")
    # Seven classes of 45 to 128 cells: some fold has few cases of a class, which is no news here.
    warnings.filterwarnings("ignore", message="The least populated class")
    comparison = compare_models(
        make_candidates(args),
        cells.paths,
        cells.target,
        groups=cells.groups,
        cv=args.folds,
        scoring={"balanced accuracy": "balanced_accuracy", "macro F1": "f1_macro"},
        n_jobs=args.n_jobs,
        checkpoint=args.output / "checkpoint",
        random_state=0,
        verbose=1,
    )
    (args.output / "table.md").write_text(comparison.to_markdown() + "\n", encoding="utf-8")
    comparison.to_html(args.output / "finetune_herlev.html")
    print(comparison.to_markdown())
    reference = "frozen tokens, MLP"
    tests = comparison.ttest(reference=reference, metric="balanced accuracy")
    print(f"\nPaired tests of balanced accuracy against {reference!r}\n")
    print(tests[["difference", "ci_low", "ci_high", "pvalue", "p_holm"]].to_string())
    print(f"\n{len(cells.paths)} images; done in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
