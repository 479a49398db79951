"""From a folder of cell images to honest cross-validated scores.

Image files are turned into EVA-02 tokens, tokens are selected, and a network is trained with and
without class weights, everything inside the folds. The result is a table with the spread over the
folds, a ROC figure and an HTML page.

    python examples/quickstart.py                     # synthetic cells
    python examples/quickstart.py --data FOLDER       # FOLDER/<class>/<image>

Without `--data` the images are synthetic: drawn by skcyto to try it out, of no medical meaning.
Where no pretrained weights are within reach, these cells are described by sizes, shapes, colours
and texture of nucleus and cytoplasm instead of tokens, so that there is something to look at.
"""

# %%
# The command line
# ----------------

from __future__ import annotations

import argparse
import os
import shutil
import time
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.datasets import load_image_folder, make_cell_images, write_image_folder
from skcyto.exceptions import PretrainedWeightsError
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.feature_selection import ImportanceThresholdSelector
from skcyto.model_selection import compare_models
from skcyto.neural_network import ImbalancedMLPClassifier

MODEL = "eva02_tiny_patch14_336.mim_in22k_ft_in1k"
SCORES = ["f1_macro", "balanced_accuracy", "roc_auc_ovr", "recall_per_class"]
LONG = 10 * 60  # seconds of embedding after which a smaller model is suggested


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
# all are there, so that a run may be killed at any moment. What was drawn where is kept, too.


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
        np.savez_compressed(masks_of(root), masks=cells.masks)
        os.replace(part, root)
    return load_image_folder(root, index="index.csv", group_column="group")


def masks_of(root: Path) -> Path:
    return root.with_name(f"{root.name}_masks.npz")


# %%
# Tokens
# ------
# Pretrained weights are fetched by timm. The embedding is the part that takes long, so that it is
# timed on a few images before it begins. It is done once: the cache holds every image afterwards,
# and the folds run the network on none.


def embed(args: argparse.Namespace, paths) -> EVA02TokenEmbedder:
    embedder = EVA02TokenEmbedder(
        args.model,
        weights=args.weights or "pretrained",
        image_size=args.image_size,
        cache=args.output / "embeddings",
        random_state=args.seed,
    )
    embedder.fit_transform(paths[:1])  # fetches the weights
    tell_time(args, embedder, paths)
    embedder.set_params(verbose=1).fit_transform(paths)
    print(f"{embedder.n_forward_images_} images went through the network")
    return embedder.set_params(verbose=0)


def tell_time(args: argparse.Namespace, embedder: EVA02TokenEmbedder, paths) -> None:
    start = time.perf_counter()
    embedder.fit_transform(paths[1:4])
    if not embedder.n_forward_images_:
        return  # they lie in the cache
    each = (time.perf_counter() - start) / embedder.n_forward_images_
    total = each * len(paths)
    print(
        f"{args.model} at {args.image_size} px takes {each:.2f} s an image here: about "
        f"{describe(total)} for {len(paths)} images, once. The comparison comes after that."
    )
    if total > LONG:
        print(
            "A smaller model or image size is faster, such as --model "
            f"vit_small_patch14_dinov2.lvd142m --image-size 112, or --model {MODEL} "
            "--image-size 112 (time grows with the square of the size). Stop with Ctrl-C whenever "
            "you like: what is embedded is kept."
        )


def describe(seconds: float) -> str:
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"


# %%
# Measurements
# ------------
# What cytologists look at, in numbers: how large, round, dark and coarse nucleus and cytoplasm
# are. A cell without a nucleus has no such numbers; they are imputed inside the folds, with a
# column that says so.


def measure(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    gray = image.mean(axis=2)
    edges = ndimage.gaussian_gradient_magnitude(gray, 1)
    values = {}
    for name, value in {"nucleus": 1, "cytoplasm": 2}.items():
        region = mask == value
        values[f"{name} area"] = region.mean()
        if region.sum() < 9:
            continue
        for colour, level in zip(("red", "green", "blue"), image[region].mean(axis=0), strict=True):
            values[f"{name} {colour}"] = level
        values[f"{name} contrast"] = gray[region].std()
        values[f"{name} coarseness"] = edges[region].mean()
        short, long = np.linalg.eigvalsh(np.cov(np.argwhere(region).T))
        values[f"{name} elongation"] = np.sqrt(long / max(short, 1e-9))
    return values


def measure_all(paths) -> pd.DataFrame:
    with np.load(masks_of(Path(paths[0]).parents[1])) as file:
        masks = file["masks"]
    rows = [measure(np.asarray(Image.open(p)), mask) for p, mask in zip(paths, masks, strict=True)]
    return pd.DataFrame(rows)


def describe_images(args: argparse.Namespace, images):
    """Return what the models are given, the steps before them, and what to call it."""
    select = ImportanceThresholdSelector(LogisticRegression(C=0.1, max_iter=2000), "0.5*mean")
    try:
        steps = [embed(args, images.paths), StandardScaler(), select]
        return images.paths, steps, f"tokens of {args.model}"
    except PretrainedWeightsError as error:
        if args.data:
            raise SystemExit(
                f"{error}\n\nGive a file of weights with --weights FILE, or run this once on a "
                "machine with network."
            ) from None
        print(
            "Pretrained weights are out of reach: instead of tokens, the models get sizes, "
            "shapes, colours and texture of nucleus and cytoplasm."
        )
    steps = [SimpleImputer(add_indicator=True), StandardScaler()]
    return measure_all(images.paths), steps, "measurements of nucleus and cytoplasm"


# %%
# The comparison
# --------------
# All candidates see the same folds, which keep slides whole; selection, scaling and class counts
# are learnt inside each fold. One that always says the most frequent class shows what
# the scores are worth.


def compare(args: argparse.Namespace, images, X, steps):
    mlp = {"hidden_layer_sizes": (0.5,), "max_epochs": 20 if args.smoke else 60}
    models = {
        "majority": DummyClassifier(),
        "logistic regression": LogisticRegression(C=0.1, max_iter=2000),
        "network": ImbalancedMLPClassifier(**mlp),
        "network, class weights": ImbalancedMLPClassifier(**mlp, class_weight="balanced"),
    }
    return compare_models(
        {name: make_pipeline(*steps, model) for name, model in models.items()},
        X,
        images.target,
        groups=images.groups,
        cv=3 if args.smoke else args.folds,
        scoring=SCORES,
        random_state=args.seed,
        verbose=1,
    )


def main() -> None:
    args = parse_arguments()
    if not args.show:
        matplotlib.use("Agg")
    args.output.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    images = load_images(args)
    counts = {str(name): int((images.target == name).sum()) for name in images.target_names}
    print(f"{len(images.paths)} images: {counts}")
    X, steps, what = describe_images(args, images)
    comparison = compare(args, images, X, steps)

    # %%
    # Results
    # -------

    (args.output / "table.md").write_text(comparison.to_markdown() + "\n", encoding="utf-8")
    figures = {
        "roc.png": comparison.plot_roc(),
        "scores.png": comparison.plot_scores(metric="f1_macro"),
    }
    for name, display in figures.items():
        display.figure_.savefig(args.output / name, dpi=150)
    page = args.output / "comparison.html"
    comparison.to_html(page, reference="logistic regression")

    print(f"\n{what}, {len(images.paths)} images\n")
    print(comparison.to_markdown(["f1_macro", "balanced_accuracy", "roc_auc_ovr"]))
    print(f"\nDone in {time.perf_counter() - start:.0f} s. Open")
    print(f"  {page}    everything: scores, tests, curves, confusions")
    print(f"  {args.output / 'roc.png'}    ROC curves with their spread over the folds")
    print(f"  {args.output / 'scores.png'}    scores fold by fold, and paired differences")
    if not args.data:
        print("\nThen try your own images, in one subfolder a class:")
        print("  python examples/quickstart.py --data FOLDER")
    if args.show:
        plt.show()


if __name__ == "__main__":
    main()
