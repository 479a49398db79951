"""Train 20 candidates on 5 folds one by one, and all together with engine="stacked".

The networks are those of the TED pipeline: d -> d/2 -> 2, batches of 36, 50 epochs, on about 1,000
rows. Candidates differ in learning rate, weight decay, dropout and loss. Both engines run in this
process, on one thread of the CPU or on one GPU, and predict the same rows.

    python benchmarks/stacked.py
    python benchmarks/stacked.py --features 100 --device cuda

On a GPU the dropout masks of the two are drawn differently; --no-dropout makes the results
comparable there.
"""

import argparse
import platform
import time
import warnings

import numpy as np
import sklearn
import torch
from sklearn.datasets import make_classification
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import skcyto
from skcyto.losses import LogitAdjusted, VectorScaling
from skcyto.model_selection import compare_models
from skcyto.neural_network import ImbalancedMLPClassifier

LOSSES = ["ce", "wce", "balanced_softmax", LogitAdjusted(tau=0.5), VectorScaling(gamma=0.2)]


def make_candidates(arguments: argparse.Namespace) -> dict:
    rng = np.random.default_rng(arguments.seed)
    return {
        f"candidate {number}": make_pipeline(
            MinMaxScaler(),
            ImbalancedMLPClassifier(
                (0.5,),
                loss=LOSSES[number % len(LOSSES)],
                optimizer="adam",
                lr_scheduler="cosine",
                batch_size=36,
                max_epochs=arguments.epochs,
                learning_rate=10 ** rng.uniform(-4, -2),
                weight_decay=10 ** rng.uniform(-6, -3),
                dropout=0.0 if arguments.no_dropout else rng.uniform(0.05, 0.5),
                device=arguments.device,
            ),
        )
        for number in range(arguments.candidates)
    }


def run(engine: str, n_features: int, arguments: argparse.Namespace) -> tuple:
    X, y = make_classification(
        arguments.samples,
        n_features,
        n_informative=min(12, n_features // 2),
        n_redundant=n_features // 4,
        weights=[2 / 3],
        flip_y=0.1,
        class_sep=0.7,
        random_state=arguments.seed,
    )
    wall, cpu = time.perf_counter(), time.process_time()
    comparison = compare_models(
        make_candidates(arguments),
        X,
        y,
        cv=arguments.folds,
        engine=engine,
        random_state=arguments.seed,
        scoring=["f1_macro", "roc_auc_ovr", "neg_log_loss"],
    )
    return comparison, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=int, nargs="+", default=[30, 100, 200])
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-dropout", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    print(
        f"skcyto {skcyto.__version__}, torch {torch.__version__}, scikit-learn "
        f"{sklearn.__version__}, Python {platform.python_version()}, {device} ({name}), "
        f"{arguments.folds} folds x {arguments.candidates} candidates, {arguments.samples} rows, "
        f"{arguments.epochs} epochs\n"
    )
    # What a process does once is no part of either.
    once = argparse.Namespace(**{**vars(arguments), "epochs": 1, "candidates": 1})
    run("separate", 10, once)
    run("stacked", 10, once)
    print(
        "| d | one by one, s | stacked, s | ratio | ratio of CPU time | largest difference of a "
        "probability | of a fold score |\n|---|---|---|---|---|---|---|"
    )
    for n_features in arguments.features:
        one, wall, cpu = run("separate", n_features, arguments)
        other, stacked_wall, stacked_cpu = run("stacked", n_features, arguments)
        probability = max(
            np.abs(
                one.out_of_fold(model).select_dtypes("float").to_numpy()
                - other.out_of_fold(model).select_dtypes("float").to_numpy()
            ).max()
            for model in one.models
        )
        score = max(
            np.abs(one.fold_scores(model, metric) - other.fold_scores(model, metric)).max()
            for model in one.models
            for metric in ("f1_macro", "roc_auc_ovr", "log_loss")
        )
        print(
            f"| {n_features} | {wall:.1f} | {stacked_wall:.1f} | {wall / stacked_wall:.1f} | "
            f"{cpu / stacked_cpu:.1f} | {probability:.1e} | {score:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
