"""Nine tuned models on real cells and real gliomas: which is better, and by how much?

Every model but the majority is a search of its own, so that the outer folds, which compare, are
never seen by the inner ones, which tune. Cells of one acquisition stay on one side of every fold,
outer and inner. Each data set ends in one self-contained page.

    python examples/compare_models_real.py --data DATA --output output/compare_models

DATA holds `cytology/herlev/herlev_dev_dinov2s_112_tokens.npz` (tokens of the Herlev cells by
DINOv2, arrays tokens, label, group) and `radiomics/egd_glioma_4seq.csv.gz` (a radiomics table of
the EGD gliomas, a row a patient). With --smoke everything is small, and the scores mean nothing.
"""

# %%
# The command line
# ----------------

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from scipy.stats import loguniform
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skcyto.feature_selection import CorrelationTTestFilter
from skcyto.model_selection import ModelComparison, OptunaSearchCV, compare_models
from skcyto.neural_network import ImbalancedMLPClassifier


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("output/compare_models"))
    parser.add_argument("--sets", nargs="+", default=["herlev", "glioma"])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="small and quick")
    return parser.parse_args()


# %%
# The data
# --------
# Cells that are abnormal or not, by the tokens of a network that never saw a cell; gliomas with
# an IDH mutation or without, by shape and texture in four sequences.


def load(name: str, data: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if name == "herlev":
        file = np.load(data / "cytology/herlev/herlev_dev_dinov2s_112_tokens.npz")
        normal = np.char.startswith(file["label"].astype(str), "normal")
        X = file["tokens"][:, 1:].astype(np.float32).mean(axis=1)
        return X, np.where(normal, "normal", "abnormal"), file["group"]
    table = pd.read_csv(data / "radiomics/egd_glioma_4seq.csv.gz")
    X = table.filter(like="original_").to_numpy()
    return X, np.where(table["IDH"] == 1, "mutant", "wildtype"), table["patient_id"].to_numpy()


# %%
# The models
# ----------
# The filter of the radiomics table is a step of each pipeline, and is fitted in every fold anew.


def make_models(name: str, args: argparse.Namespace) -> dict:
    inner = StratifiedGroupKFold(3)
    first = [CorrelationTTestFilter()] if name == "glioma" else []

    def tuned(model, **grid):
        pipeline = make_pipeline(*first, StandardScaler(), model)
        step = pipeline.steps[-1][0]
        grid = {
            f"{step}__{key}": values[:2] if args.smoke else values for key, values in grid.items()
        }
        return GridSearchCV(pipeline, grid, cv=inner, scoring="roc_auc")

    net = make_pipeline(
        *first,
        StandardScaler(),
        ImbalancedMLPClassifier((0.5,), max_epochs=5 if args.smoke else 30, batch_size=64),
    )
    space = {
        "imbalancedmlpclassifier__loss": ["ce", "wce", "balanced_softmax"],
        "imbalancedmlpclassifier__learning_rate": loguniform(3e-4, 1e-2),
        "imbalancedmlpclassifier__dropout": [0.1, 0.3, 0.5],
    }
    return {
        "logistic regression": tuned(LogisticRegression(max_iter=3000), C=[1e-3, 1e-2, 1e-1, 1]),
        "majority": DummyClassifier(),
        "naive Bayes": tuned(GaussianNB(), var_smoothing=[1e-9, 1e-2, 1e-1]),
        "nearest neighbours": tuned(KNeighborsClassifier(), n_neighbors=[5, 15, 31]),
        "discriminant analysis": tuned(
            LinearDiscriminantAnalysis(solver="lsqr"), shrinkage=[0.1, 0.5, 0.9]
        ),
        "support vectors": tuned(SVC(), C=[0.1, 1, 10]),
        "random forest": tuned(
            RandomForestClassifier(20 if args.smoke else 200), min_samples_leaf=[1, 4]
        ),
        "extra trees": tuned(
            ExtraTreesClassifier(20 if args.smoke else 200), min_samples_leaf=[1, 4]
        ),
        "network": OptunaSearchCV(
            net,
            space,
            n_trials=2 if args.smoke else 12,
            trials_per_batch=6,
            cv=inner,
            scoring="roc_auc",
            engine="stacked",
        ),
    }


def compare(name: str, args: argparse.Namespace) -> ModelComparison:
    X, y, groups = load(name, args.data)
    return compare_models(
        make_models(name, args),
        X,
        y,
        groups=groups,
        cv=StratifiedGroupKFold(2 if args.smoke else args.folds),
        n_jobs=args.n_jobs,
        checkpoint=None if args.smoke else args.output / f"{name}-folds",
        random_state=0,
        verbose=1,
    )


def main() -> None:
    args = parse_arguments()
    matplotlib.use("Agg")
    args.output.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
    for name in args.sets:
        comparison = compare(name, args)
        page = args.output / f"{name}.html"
        comparison.to_html(page)
        comparison.plot_scores(metric="roc_auc_ovr").figure_.savefig(
            args.output / f"{name}_scores.png", dpi=100
        )
        comparison.plot_roc().figure_.savefig(args.output / f"{name}_roc.png", dpi=80)
        print(f"\n{name}\n{comparison.table('roc_auc_ovr').round(3).to_string()}")
        print(comparison.ttest(metric="roc_auc_ovr").round(3).to_string())
        print(f"page: {page}")


if __name__ == "__main__":
    main()
