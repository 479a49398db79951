"""Tokens of a vision transformer and radiomics of the nucleus, together in one pipeline.

A cell image says two things: what it looks like to a pretrained network, and what its nucleus and
cytoplasm measure. A `ColumnTransformer` sends the images to the one and images with masks to the
other; scaling, selection and the classifier see both. Tokens alone, radiomics alone and both are
compared on the same folds, which keep slides whole.

    python examples/tokens_and_radiomics.py                # synthetic cells
    python examples/tokens_and_radiomics.py --data ROOT    # images/, masks/ and index.csv

ROOT/index.csv has the columns case, label and group (slide or patient); a mask holds 1 in the
nucleus and 2 in the cytoplasm. Without `--data` the cells are SYNTHETIC: drawn by skcyto to try it
out, of no medical meaning, and so are the scores.
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
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.datasets import (
    load_image_mask_folder,
    make_cell_images,
    write_image_mask_folder,
)
from skcyto.exceptions import (
    DroppedFeatureWarning,
    PretrainedWeightsError,
    RandomWeightsWarning,
)
from skcyto.feature_extraction import EVA02TokenEmbedder, RadiomicsExtractor
from skcyto.feature_selection import CorrelationTTestFilter
from skcyto.model_selection import compare_models

MODEL = "eva02_tiny_patch14_336.mim_in22k_ft_in1k"
SCORES = ["roc_auc_ovr", "balanced_accuracy", "f1_macro"]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder with images/, masks/ and index.csv")
    parser.add_argument("--model", default=MODEL, help="any timm vision transformer with tokens")
    parser.add_argument("--weights", help="file with weights; default: pretrained, else random")
    parser.add_argument("--image-size", type=int, default=112, help="pixels the model sees")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("output/tokens_and_radiomics"))
    parser.add_argument("--smoke", action="store_true", help="as small as it can be")
    return parser.parse_args()


# %%
# Cells
# -----
# Images and masks are files of the same name. The synthetic cells are healthy or unhealthy: grades
# of dysplasia differ from reactive cells in the size of the nucleus and in its chromatin. They are
# written to a folder beside and moved to their place when all are there.


def load_cells(args: argparse.Namespace):
    root = args.data
    if root is None:
        print("SYNTHETIC cells: the numbers below say nothing about real smears.")
        n_cells = 60 if args.smoke else 300
        root = args.output / f"synthetic_cells_{n_cells}_seed{args.seed}"
        if not root.exists():
            cells = make_cell_images(
                n_cells,
                class_proportions={"healthy": 0.8, "unhealthy": 0.2},
                cells_per_slide=10,
                random_state=args.seed,
            )
            part = root.with_name(f"{root.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            write_image_mask_folder(
                part, cells.images, cells.masks, cells.target, groups=cells.groups
            )
            os.replace(part, root)
    return load_image_mask_folder(
        root, index="index.csv", target_column="label", group_column="group"
    )


# %%
# Two views of a cell
# -------------------
# Tokens: the image is one column. Radiomics: image and mask are two; of a colour image textures are
# measured in each channel, shape once. Most radiomics repeat one another, so the filter follows, in
# this branch alone. A bare nucleus has no cytoplasm: its columns are NaN, and imputed in the fold.
# Both branches learn nothing from other images and have caches, so that five folds cost one pass.


def make_views(args: argparse.Namespace, data: pd.DataFrame) -> dict:
    embedder = EVA02TokenEmbedder(
        args.model,
        weights=args.weights or "pretrained",
        image_size=args.image_size,
        cache=args.output / "embeddings",
        random_state=args.seed,
    )
    if not args.weights:
        try:
            embedder.fit_transform(data[["image"]][:1])
        except PretrainedWeightsError as error:
            print(f"\nPRETRAINED WEIGHTS OUT OF REACH, going on with RANDOM ones.\n({error})\n")
            embedder.set_params(weights=None)
            # It has been said, and would be said again in every fold.
            warnings.simplefilter("ignore", RandomWeightsWarning)
    extractor = RadiomicsExtractor(
        {"nucleus": 1, "cytoplasm": 2},
        settings={
            "setting": {"binWidth": 8},
            "imageType": {"Original": {}},
            "featureClass": {name: [] for name in ("shape2D", "firstorder", "glcm", "gldm")},
        },
        cache=args.output / "radiomics",
        n_jobs=args.n_jobs,
    )
    # Once, before the folds: the caches then hold every cell. Nothing is learnt here.
    features = embedder.fit_transform(data[["image"]]), extractor.fit_transform(data)
    print(f"{features[0].shape[1]} token features, {features[1].shape[1]} radiomics of each cell")
    return {
        "tokens": ("tokens", make_pipeline(embedder, StandardScaler()), ["image"]),
        "radiomics": (
            "radiomics",
            make_pipeline(
                extractor,
                CorrelationTTestFilter(),
                SimpleImputer(strategy="median"),
                StandardScaler(),
            ),
            ["image", "mask"],
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
    cells = load_cells(args)
    counts = pd.Series(cells.target).value_counts().to_dict()
    print(f"{len(cells.data)} cells on {len(set(cells.groups))} slides: {counts}")
    views = make_views(args, cells.data)
    warnings.filterwarnings("ignore", category=DroppedFeatureWarning)

    def pipeline(*names):
        return make_pipeline(
            ColumnTransformer([views[name] for name in names]),
            LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000),
        )

    comparison = compare_models(
        {
            "tokens": pipeline("tokens"),
            "radiomics": pipeline("radiomics"),
            "tokens and radiomics": pipeline("tokens", "radiomics"),
        },
        cells.data.reset_index(drop=True),
        cells.target,
        groups=cells.groups,
        cv=3 if args.smoke else None,
        scoring=SCORES,
        random_state=args.seed,
        verbose=1,
    )
    table = comparison.to_markdown()
    (args.output / "table.md").write_text(table + "\n", encoding="utf-8")
    comparison.plot_roc().figure_.savefig(args.output / "roc.png", dpi=90)
    comparison.to_html(args.output / "comparison.html", title="Tokens and radiomics")
    print(f"\n{table}\n\nPaired tests of the ROC AUC against tokens\n")
    print(comparison.ttest(reference="tokens", metric="roc_auc_ovr").round(3).to_string())

    # %%
    # What is in the pipeline
    # -----------------------
    # Fitted on all cells, to look at, not to score: names say where each feature came from.

    both = pipeline("tokens", "radiomics").fit(cells.data, cells.target)
    names = both[0].get_feature_names_out()
    weight = pd.Series(both[-1].coef_[0], names).sort_values(key=abs, ascending=False)
    n_radiomics = sum(name.startswith("radiomics__") for name in names)
    print(f"\n{len(names)} features reach the classifier, {n_radiomics} of them radiomics.")
    print(f"Largest weights:\n{weight.head(8).round(3).to_string()}")
    print(f"\ndone in {time.perf_counter() - start:.0f} s; see {args.output / 'comparison.html'}")


if __name__ == "__main__":
    main()
