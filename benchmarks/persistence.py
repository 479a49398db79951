"""Time and size of saved models: skcyto.save and skcyto.load against joblib, in one run.

python benchmarks/persistence.py
"""

import argparse
import pickle
import platform
import tempfile
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import skops
import torch
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skcyto
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier


def make_models(args):
    X, y = make_classification(2000, args.features, n_informative=20, n_classes=3, random_state=0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    yield (
        "scaler, logistic regression",
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=20)).fit(X, y),
        X,
    )
    yield (
        "scaler, network 1024-512-256",
        make_pipeline(
            StandardScaler(), ImbalancedMLPClassifier((1024, 512, 256), max_epochs=1)
        ).fit(X, y),
        X,
    )
    yield "histogram boosting, 20 rounds", HistGradientBoostingClassifier(max_iter=20).fit(X, y), X
    yield "random forest, 100 trees", RandomForestClassifier(100, random_state=0).fit(X, y), X
    finetune = EVA02Classifier(
        args.transformer,
        weights=None,
        image_size=56,
        max_epochs=1,
        freeze=args.freeze,
        validation_fraction=None,
        random_state=0,
    )
    yield (
        f"embedder fine-tuned ({args.transformer}), network",
        make_pipeline(
            EVA02TokenEmbedder(finetune=finetune), ImbalancedMLPClassifier(max_epochs=1)
        ).fit(images, np.arange(12) % 3),
        images,
    )


def timed(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return result, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=768)
    parser.add_argument("--transformer", default="eva02_base_patch14_448")
    parser.add_argument("--freeze", type=int, default=12)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print(
        f"Python {platform.python_version()}, skops {skops.__version__}, torch "
        f"{torch.__version__}, joblib {joblib.__version__}, skcyto {skcyto.__version__}; "
        f"{args.features} features\n"
    )
    print(
        "| model | skcyto.save, s | joblib.dump, s | skcyto.load, s | joblib.load, s | "
        "skcyto, MB | joblib, MB | largest difference |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        # What is imported on first use is paid for once.
        first = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
        skcyto.load(skcyto.save(first, Path(folder) / "first"))
        pickle.dumps(first)
        for i, (name, model, X) in enumerate(make_models(args)):
            ours, other = Path(folder) / f"model{i}", Path(folder) / f"model{i}.joblib"
            _, save = timed(skcyto.save, model, ours)
            _, dump = timed(joblib.dump, model, other)
            again, load = timed(skcyto.load, ours)
            _, undump = timed(joblib.load, other)
            difference = np.abs(again.predict_proba(X) - model.predict_proba(X)).max()
            size = sum(file.stat().st_size for file in ours.iterdir()) / 1e6
            print(
                f"| {name} | {save:.2f} | {dump:.2f} | {load:.2f} | {undump:.2f} | {size:.1f} | "
                f"{other.stat().st_size / 1e6:.1f} | {difference:.0e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
