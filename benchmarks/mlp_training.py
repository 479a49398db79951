"""Time a fit of ImbalancedMLPClassifier against plain skorch and against a bare torch loop.

All train the same network with the same optimiser, batches and epochs, on the same data. The rival
is timed right after each fit of the reference and the ratio taken pair by pair: a slow moment of
the machine strikes both. Where other programs run beside it, the ratio of processor times says
more than that of wall times.

    python benchmarks/mlp_training.py
    python benchmarks/mlp_training.py --loss all     # every loss against plain cross-entropy
"""

import argparse
import platform
import time
import warnings

import numpy as np
import skorch
import torch
from sklearn.datasets import make_classification
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

from skcyto.losses import Minimax, available
from skcyto.neural_network import ImbalancedMLPClassifier
from skcyto.neural_network._modules import MLPModule


def skcyto_fit(X, y, args, loss="ce", **settings):
    model = ImbalancedMLPClassifier(
        tuple(args.hidden),
        loss=loss,
        batch_size=args.batch_size,
        max_epochs=args.epochs,
        optimizer="adamw",
        lr_scheduler=None,
        validation_fraction=None,
        restore_best_weights=False,
        device=args.device,
        random_state=0,
        **settings,
    )
    return model.fit(X, y)


def skorch_fit(X, y, args):
    torch.manual_seed(0)
    net = NeuralNetClassifier(
        MLPModule,
        module__n_features=X.shape[1],
        module__n_classes=len(np.unique(y)),
        module__hidden_layer_sizes=tuple(args.hidden),
        module__dropout=0.2,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=0.01,
        lr=1e-3,
        batch_size=args.batch_size,
        max_epochs=args.epochs,
        iterator_train__shuffle=True,
        train_split=None,
        device=args.device,
        verbose=0,
    )
    return net.fit(X, y)


class BareLoop:
    """What someone writes who knows torch and nothing else: index the tensors, step, repeat."""

    def __init__(self, X, y, args):
        torch.manual_seed(0)
        device = torch.device(args.device)
        self.device = device
        self.net = MLPModule(X.shape[1], len(np.unique(y)), args.hidden, dropout=0.2).to(device)
        features, target = torch.from_numpy(X).to(device), torch.from_numpy(y).to(device)
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3, weight_decay=0.01)
        criterion = nn.CrossEntropyLoss()
        self.net.train()
        for _ in range(args.epochs):
            order = torch.randperm(len(features), device=device)
            total = 0.0
            for rows in order.split(args.batch_size):
                optimizer.zero_grad()
                loss = criterion(self.net(features[rows]), target[rows])
                loss.backward()
                optimizer.step()
                total += loss.item()

    def predict(self, X):
        self.net.eval()
        with torch.no_grad():
            return self.net(torch.from_numpy(X).to(self.device)).argmax(1).cpu().numpy()


def timed(function, *args, **kwargs):
    start, cpu = time.perf_counter(), time.process_time()
    model = function(*args, **kwargs)
    return model, time.perf_counter() - start, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--hidden", type=int, nargs="*", default=[50])
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of the rivals")
    parser.add_argument("--loss", choices=["ce", "all"], default="ce")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    X, y = make_classification(
        2 * args.samples,
        args.features,
        n_informative=min(20, args.features),
        n_classes=3,
        weights=[0.6, 0.3, 0.1],
        random_state=0,
    )
    X = StandardScaler().fit_transform(X).astype(np.float32)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)

    if args.loss == "ce":
        contestants = {
            "skcyto": lambda: skcyto_fit(X, y, args),
            "plain skorch": lambda: skorch_fit(X, y, args),
            "bare torch loop": lambda: BareLoop(X, y, args),
        }
    else:
        settings = {loss: {"loss": loss} for loss in available()}
        settings["minimax, temperature 0.2"] = {"loss": Minimax(temperature=0.2)}
        settings["minimax in chunks"] = {"loss": Minimax(grouping="chunk")}
        settings["ce, cosine head"] = {"cosine_head": True}
        for sampler in ("balanced", "stratified", "grouped"):
            settings[f"ce, {sampler} batches"] = {"sampler": sampler}
        for loss in ("minimax", "group_dro"):
            settings[f"{loss}, grouped batches"] = {"loss": loss, "sampler": "grouped"}
        contestants = {
            name: lambda kwargs=kwargs: skcyto_fit(X, y, args, **kwargs)
            for name, kwargs in settings.items()
        }
    reference, *rivals = contestants

    clocks = ("wall", "processor")
    seconds = {(name, clock): [] for name in contestants for clock in clocks}
    ratios = {(name, clock): [] for name in rivals for clock in clocks}
    accuracy = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for round_ in range(args.rounds + 1):
            for name in rivals:
                times = {}
                for fitted in (reference, name):
                    model, *times[fitted] = timed(contestants[fitted])
                    accuracy[fitted] = balanced_accuracy_score(y_test, model.predict(X_test))
                if not round_:  # the first one warms up
                    continue
                for clock, base, time_ in zip(clocks, times[reference], times[name], strict=True):
                    seconds[reference, clock].append(base)
                    seconds[name, clock].append(time_)
                    ratios[name, clock].append(time_ / base)

    print(
        f"n={len(X)}, p={args.features}, hidden={args.hidden}, batch={args.batch_size}, "
        f"{args.epochs} epochs, {args.rounds} rounds, device={args.device}\n"
        f"Python {platform.python_version()}, torch {torch.__version__} "
        f"({args.threads} thread(s)), skorch {skorch.__version__}; times are medians\n"
    )
    print(
        f"| | wall, s | processor, s | wall / {reference} | processor / {reference} | middle half "
        "| balanced accuracy |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in contestants:
        wall, processor = (f"{np.median(seconds[name, clock]):.3f}" for clock in clocks)
        row = [name, wall, processor, "1", "1", ""]
        if name != reference:
            low, high = np.quantile(ratios[name, "processor"], [0.25, 0.75])
            row[3:] = [f"{np.median(ratios[name, clock]):.2f}" for clock in clocks]
            row.append(f"{low:.2f}-{high:.2f}")
        print("| " + " | ".join([*row, f"{accuracy[name]:.3f}"]) + " |")


if __name__ == "__main__":
    main()
