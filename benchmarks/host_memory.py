"""Peak memory of embedding and of fine-tuning against the number of images.

Run with::

    python benchmarks/host_memory.py

Each number is measured in a process of its own, on the same small synthetic files with the same
random weights. The rival of embed_to_parquet embeds everything in one call and writes one table,
which is what one would do by hand. Fine-tuning is one epoch, with a validation split.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import timm
import torch
from PIL import Image

from skcyto.feature_extraction import EVA02TokenEmbedder, embed_to_parquet
from skcyto.neural_network import EVA02Classifier

MODEL = "eva02_tiny_patch14_224"
METHODS = ("embed_to_parquet", "one table", "fine-tuning")


def write_images(folder, n_images, size):
    rng = np.random.default_rng(0)
    for i in range(n_images):
        pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(Path(folder) / f"tile{i:07d}.png")


def embed_in_one(embedder, paths, folder):
    """What one would write by hand."""
    features = embedder.transform(paths)
    frame = pd.DataFrame(features, columns=embedder.get_feature_names_out())
    frame.insert(0, "path", paths)
    Path(folder).mkdir()
    frame.to_parquet(Path(folder) / "tiles.parquet")


def fine_tune(args, paths):
    labels = ["odd" if i % 2 else "even" for i in range(len(paths))]
    EVA02Classifier(
        MODEL, weights=None, image_size=args.image_size, max_epochs=1, device="cpu", random_state=0
    ).fit(paths, labels)


def measure_here(args):
    """Embed or fine-tune, and print the peak of this process before and after, in MiB."""
    paths = [str(p) for p in sorted(Path(args.folder).glob("*.png"))[: args.measure]]
    if args.method == "fine-tuning":
        fine_tune(args, paths[:64])  # loads network and libraries
        before, start = peak(), time.perf_counter()
        fine_tune(args, paths)
        seconds = time.perf_counter() - start
        print(json.dumps({"before": before, "peak": peak(), "seconds": seconds}))
        return
    embedder = EVA02TokenEmbedder(
        MODEL, weights=None, image_size=args.image_size, device="cpu", random_state=0
    ).fit(paths[:1])
    embedder.transform(paths[:64])  # loads network and libraries
    before = peak()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if args.method == "embed_to_parquet":
            embed_to_parquet(embedder, paths, folder, part_size=args.part_size)
        else:
            embed_in_one(embedder, paths, Path(folder) / "tiles")
    seconds = time.perf_counter() - start
    print(json.dumps({"before": before, "peak": peak(), "seconds": seconds}))


def peak():
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(args, folder, n_images, method):
    command = [sys.executable, __file__, "--measure", str(n_images), "--method", method]
    command += ["--folder", folder, "--part-size", str(args.part_size)]
    command += ["--image-size", str(args.image_size)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(output.splitlines()[-1])


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--part-size", type=int, default=500)
    parser.add_argument("--file-size", type=int, default=32, help="height and width of a file")
    parser.add_argument("--image-size", type=int, default=28, help="what the network sees")
    for name, kind in (("--measure", int), ("--method", str), ("--folder", str)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = parse_arguments()
    warnings.simplefilter("ignore")
    if args.measure:
        measure_here(args)
        return
    print(
        f"{MODEL} at {args.image_size} px, random weights, PNG files of {args.file_size} px, parts "
        f"of {args.part_size}; Python {platform.python_version()}, torch {torch.__version__}, timm "
        f"{timm.__version__}, pyarrow {pyarrow.__version__}, {platform.machine()}\n"
    )
    print("| | images | peak memory, MiB | of it after loading, MiB | seconds |")
    print("|---|---|---|---|---|")
    growth = {}
    with tempfile.TemporaryDirectory() as folder:
        write_images(folder, max(args.images), args.file_size)
        for method in METHODS:
            found = [measure(args, folder, n, method) for n in args.images]
            growth[method] = found[-1]["peak"] - found[0]["peak"]
            for n, result in zip(args.images, found, strict=True):
                print(
                    f"| {method} | {n} | {result['peak']:.0f} | "
                    f"{result['peak'] - result['before']:.0f} | {result['seconds']:.1f} |"
                )
    print(f"\nFrom {args.images[0]} to {args.images[-1]} images the peak grows by")
    for method, value in growth.items():
        print(f"- {method}: {value:.0f} MiB")


if __name__ == "__main__":
    main()
