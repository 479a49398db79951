"""From a folder of cell images to honest cross-validated scores.

Image files are turned into EVA-02 tokens, tokens are selected, and a network is trained with and
without class weights, everything inside the folds. The result is a table with the spread over the
folds, a ROC figure and an HTML page.

    python examples/quickstart.py                     # synthetic cells
    python examples/quickstart.py --data FOLDER       # FOLDER/<class>/<image>

Without `--data` the images are synthetic: drawn by skcyto to try it out, of no medical meaning.
"""

# %%
# The command line
# ----------------

from __future__ import annotations

import argparse
import os
import shutil
import time
import warnings
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.datasets import load_image_folder, make_cell_images, write_image_folder
from skcyto.exceptions import PretrainedWeightsError, RandomWeightsWarning
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.feature_selection import ImportanceThresholdSelector
from skcyto.model_selection import compare_models
from skcyto.neural_network import ImbalancedMLPClassifier

MODEL = "eva02_tiny_patch14_336.mim_in22k_ft_in1k"
SCORES = ["f1_macro", "balanced_accuracy", "roc_auc_ovr", "recall_per_class"]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with one subfolder of images a class")
    parser.add_argument("--output", type=Path, default=Path("output/quickstart"))
    parser.add_argument("--model", default=MODEL, help="any timm vision transformer with tokens")
    parser.add_argument("--weights", help="file with weights; default: pretrained, else random")
    parser.add_argument("--image-size", type=int, default=112, help="pixels the model sees")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="as small as it can be")
    parser.add_argument("--show", action="store_true", help="open the figures in windows")
    return parser.parse_args()


# %%
# Images
# ------
# A folder of files, one subfolder a class. Files that are no images, and images without a class,
# are reported by name. Synthetic ones are written to a folder beside and moved to their place when
# all are there, so that a run may be killed at any moment.


def load_images(args: argparse.Namespace):
    if args.data:
        return load_image_folder(args.data)
    n_cells = 120 if args.smoke else 600
    root = args.output / f"synthetic_cells_{n_cells}_{args.image_size}px_seed{args.seed}"
    if not root.exists():
        cells = make_cell_images(
            n_cells,
            class_proportions={"rubbish": 0.5, "healthy": 0.38, "unhealthy": 0.12},
            image_size=args.image_size,
            cells_per_slide=10,
            random_state=args.seed,
        )
        part = root.with_name(f"{root.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        write_image_folder(part, cells.images, cells.target, groups=cells.groups)
        os.replace(part, root)
    return load_image_folder(root, index="index.csv", group_column="group")


# %%
# The embedder
# ------------
# Pretrained weights are fetched by timm. Without network the demonstration goes on with random
# ones, whose tokens tell less: never do that with real data.


def make_embedder(args: argparse.Namespace, paths) -> tuple[EVA02TokenEmbedder, str]:
    embedder = EVA02TokenEmbedder(
        args.model,
        image_size=args.image_size,
        cache=args.output / "embeddings",
        random_state=args.seed,
        verbose=1,
    )
    weights = "pretrained weights"
    if args.weights:
        embedder.set_params(weights=args.weights)
        weights = f"weights of {args.weights}"
    else:
        try:
            embedder.fit_transform(paths[:1])
        except PretrainedWeightsError as error:
            print(f"\nPRETRAINED WEIGHTS OUT OF REACH, going on with RANDOM ones.\n({error})\n")
            embedder.set_params(weights=None)
            weights = "random weights: no pretrained ones within reach"
            # It has been said, and would be said again in every fold.
            warnings.simplefilter("ignore", RandomWeightsWarning)
    # The cache now holds every image: the folds below run the network on none.
    embedder.fit_transform(paths)
    print(f"{embedder.n_forward_images_} images went through the network")
    return embedder.set_params(verbose=0), weights


# %%
# The comparison
# --------------
# Three candidates see the same folds. The images are embedded once, however many folds and
# candidates there are; selection, scaling and class counts are learnt inside each fold.


def main() -> None:
    args = parse_arguments()
    if not args.show:
        matplotlib.use("Agg")
    args.output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    images = load_images(args)
    counts = {str(name): int((images.target == name).sum()) for name in images.target_names}
    print(f"{len(images.paths)} images: {counts}")
    embedder, weights = make_embedder(args, images.paths)

    def pipeline(classifier):
        return make_pipeline(
            embedder,
            StandardScaler(),
            ImportanceThresholdSelector(LogisticRegression(C=0.1, max_iter=2000), "0.5*mean"),
            classifier,
        )

    mlp = {"hidden_layer_sizes": (0.5,), "max_epochs": 20 if args.smoke else 60}
    comparison = compare_models(
        {
            "logistic regression": pipeline(LogisticRegression(C=0.1, max_iter=2000)),
            "MLP": pipeline(ImbalancedMLPClassifier(**mlp)),
            "MLP, class weights": pipeline(ImbalancedMLPClassifier(**mlp, class_weight="balanced")),
        },
        images.paths,
        images.target,
        groups=images.groups,
        cv=3 if args.smoke else args.folds,
        scoring=SCORES,
        random_state=args.seed,
        verbose=1,
    )

    # %%
    # Results
    # -------

    table = comparison.to_markdown()
    (args.output / "table.md").write_text(table + "\n", encoding="utf-8")
    figures = {
        "roc.png": comparison.plot_roc(),
        "scores.png": comparison.plot_scores(metric="f1_macro"),
    }
    for name, display in figures.items():
        display.figure_.savefig(args.output / name, dpi=150)
    page = args.output / "comparison.html"
    comparison.to_html(page)

    print(f"\n{args.model}, {weights}\n")
    print(table)
    print("\nPaired tests of macro F1 against the logistic regression\n")
    print(comparison.ttest(metric="f1_macro").to_string())
    print(f"\nDone in {time.perf_counter() - start:.0f} s. Look at:")
    for path in (page, *(args.output / name for name in figures)):
        print(f"  {path}")
    if args.show:
        plt.show()


if __name__ == "__main__":
    main()
