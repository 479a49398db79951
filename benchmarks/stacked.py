"""Train the nets of 20 candidates on 5 folds one by one, and all together as a stack does it.

The networks are those of the TED pipeline: d -> d/2 -> 2, batches of 36, on about 1,000 rows.
Candidates differ in learning rate, weight decay, dropout and loss. Both ways run in this process,
on one thread of the CPU or on one GPU, and predict the same rows; the ratio is one of CPU time,
which other processes of the machine do not change.

    python benchmarks/stacked.py --output benchmarks/results/stacked.md
    python benchmarks/stacked.py --features 100 --device cuda

On a GPU the dropout masks of the two are drawn differently; --no-dropout makes the results
comparable there.
"""

import argparse
import platform
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import StratifiedKFold

import skcyto
from skcyto.losses import LogitAdjusted, VectorScaling
from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.neural_network._stacked._fit import StackedFit, make_stacks, train_stack

LOSSES = ["ce", "wce", "balanced_softmax", LogitAdjusted(tau=0.5), VectorScaling(gamma=0.2)]
HEAD = (
    "| d | nets | epochs | one by one, CPU s | stacked, CPU s | ratio | wall, s | "
    "stacked, wall, s | largest difference of a probability |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def make_candidates(arguments: argparse.Namespace) -> list[ImbalancedMLPClassifier]:
    rng = np.random.default_rng(arguments.seed)
    return [
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
            random_state=number,
        )
        for number in range(arguments.candidates)
    ]


def make_fits(n_features: int, arguments: argparse.Namespace) -> list[StackedFit]:
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
    X = X.astype(np.float32)
    folds = [(X[train], y[train]) for train, _ in StratifiedKFold(arguments.folds).split(X, y)]
    return [
        StackedFit(clone(candidate), *fold)
        for candidate in make_candidates(arguments)
        for fold in folds
    ]


def fit_one_by_one(fits: list[StackedFit]) -> None:
    for fit in fits:
        fit.classifier.fit(fit.X, fit.y)


def fit_stacked(fits: list[StackedFit]) -> None:
    for stack in make_stacks(fits):
        _, errors = train_stack([fits[number] for number in stack])
        assert not any(errors)


def measure(fit: object, fits: list[StackedFit]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    fit(fits)
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=int, nargs="+", default=[26, 100, 200, 1163])
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-dropout", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines = [
        "# Nets one by one and stacked\n",
        f"skcyto {skcyto.__version__}, torch {torch.__version__}, Python "
        f"{platform.python_version()}, {arguments.device} ({platform.machine()}), one thread, "
        f"{arguments.samples} rows, {arguments.folds} folds, seed {arguments.seed}\n",
        HEAD,
    ]
    # What a process does once is no part of either.
    once = argparse.Namespace(**{**vars(arguments), "epochs": 1, "candidates": 1})
    for fit in (fit_one_by_one, fit_stacked):
        fit(make_fits(10, once))
    for n_features in arguments.features:
        one, other = make_fits(n_features, arguments), make_fits(n_features, arguments)
        cpu, wall = measure(fit_one_by_one, one)
        stacked_cpu, stacked_wall = measure(fit_stacked, other)
        difference = max(
            np.abs(a.classifier.predict_proba(a.X) - b.classifier.predict_proba(a.X)).max()
            for a, b in zip(one, other, strict=True)
        )
        lines.append(
            f"| {n_features} | {len(one)} | {arguments.epochs} | {cpu:.1f} | {stacked_cpu:.1f} | "
            f"{cpu / stacked_cpu:.1f} | {wall:.1f} | {stacked_wall:.1f} | {difference:.1e} |"
        )
        print(lines[-1], flush=True)
        if arguments.output is not None:
            arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
