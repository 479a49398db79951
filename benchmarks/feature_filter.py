"""Time CorrelationTTestFilter against feature-engine's DropCorrelatedFeatures; measure its memory.

Both keep the first of a correlated pair, so they must keep the same columns; the filter runs with
``alpha=1`` there, which makes its tests and drops nothing for them. Fits alternate and the ratio is
taken round by round, in wall time and in processor time: other programs disturb the latter less.
The second table fits p = 100,000 columns in a process of its own and reports that process's peak
memory, data and interpreter included.

    python benchmarks/feature_filter.py
    python benchmarks/feature_filter.py --only memory
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version

import numpy as np
import pandas as pd

from skcyto.feature_selection import CorrelationTTestFilter


def make_table(kind, n_samples, n_features, dtype="float64"):
    """Make noise, or families of ten columns that repeat one another as radiomics tables do."""
    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % 3 == 0
    X = rng.standard_normal((n_samples, n_features), dtype=np.float32).astype(dtype)
    if kind == "families of 10":
        X *= 0.3
        for start in range(0, n_features, 10):
            X[:, start : start + 10] += rng.normal(size=(n_samples, 1)).astype(dtype)
    return X, y


def timed(function, *args):
    """Return the result and the seconds it took, by the wall clock and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    result = function(*args)
    return result, (time.perf_counter() - wall, time.process_time() - processor)


def race(args):
    from feature_engine.selection import DropCorrelatedFeatures

    print(
        f"\np = {args.features}, n = {args.samples}, |r| > 0.9, {args.rounds} rounds; "
        f"feature-engine {version('feature-engine')}, pandas {pd.__version__}\n"
    )
    print(
        "| table | kept | feature-engine, s | skcyto, s | ratio: wall, median | wall, smallest "
        "| processor, median | processor, smallest |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for kind in ("noise", "families of 10"):
        X, y = make_table(kind, args.samples, args.features)
        # feature-engine goes through the columns in alphabetical order.
        frame = pd.DataFrame(X, columns=[f"f{i:06d}" for i in range(X.shape[1])])
        CorrelationTTestFilter(alpha=1.0).fit(frame.iloc[:, :100], y)  # imports, thread pools
        DropCorrelatedFeatures(threshold=0.9).fit(frame.iloc[:, :100])
        ours, theirs = [], []
        for _ in range(args.rounds):
            filter_, seconds = timed(CorrelationTTestFilter(alpha=1.0).fit, frame, y)
            ours.append(seconds)
            rival, seconds = timed(DropCorrelatedFeatures(threshold=0.9).fit, frame)
            theirs.append(seconds)
        kept = list(filter_.get_feature_names_out())
        if kept != list(rival.get_feature_names_out()):
            raise SystemExit(f"{kind}: the two keep different columns")
        wall, processor = np.divide(theirs, ours).T
        print(
            f"| {kind} | {len(kept)} | {np.median(theirs, axis=0)[0]:.2f} "
            f"| {np.median(ours, axis=0)[0]:.3f} | {np.median(wall):.0f} | {wall.min():.0f} "
            f"| {np.median(processor):.0f} | {processor.min():.0f} |",
            flush=True,
        )


def fit_big(kind, alpha, n_samples, n_features):
    """Fit in this process and print seconds, kept columns and peak memory."""
    X, y = make_table(kind, n_samples, n_features)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    filter_ = CorrelationTTestFilter(alpha=alpha).fit(X, y)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(seconds, int(filter_.support_.sum()), before * 1024, after * 1024)


def memory(args):
    print(
        f"\np = {args.big_features}, n = {args.big_samples}, float64 "
        f"({args.big_features * args.big_samples * 8 / 1e9:.1f} GB; the full correlation matrix "
        f"would be {args.big_features**2 * 8 / 1e9:.0f} GB), default working_memory\n"
    )
    print("| table | alpha | kept | seconds | peak before fit, GB | peak, GB |")
    print("|---|---|---|---|---|---|")
    for kind, alpha in (("noise", 0.05), ("families of 10", 1.0)):
        command = [sys.executable, __file__, "--big", kind, str(alpha)]
        command += ["--big-samples", str(args.big_samples)]
        command += ["--big-features", str(args.big_features)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        seconds, kept, before, after = map(float, output)
        print(
            f"| {kind} | {alpha} | {kept:.0f} | {seconds:.1f} | {before / 1e9:.2f} "
            f"| {after / 1e9:.2f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--features", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--big-samples", type=int, default=500)
    parser.add_argument("--big-features", type=int, default=100_000)
    parser.add_argument("--only", choices=["speed", "memory"])
    parser.add_argument("--big", nargs=2, metavar=("TABLE", "ALPHA"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.big:
        fit_big(args.big[0], float(args.big[1]), args.big_samples, args.big_features)
        return
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, "
        f"scikit-learn {version('scikit-learn')}, scipy {version('scipy')}, "
        f"{os.cpu_count()} cores"
    )
    if args.only != "memory":
        race(args)
    if args.only != "speed":
        memory(args)


if __name__ == "__main__":
    main()
