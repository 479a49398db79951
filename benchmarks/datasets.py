"""Time the loaders against scikit-learn's and torchvision's, and the generators by themselves.

    python benchmarks/datasets.py
    python benchmarks/datasets.py --files 5000 --cells 100 --orbits 4      # quick

The loaders list as many files as the PS3C challenge has in its training set. The rivals list a
folder and check nothing; `load_ps3c` also reads the list and compares it with the files. The time
of a generator is processor time on one core. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import sklearn
import torchvision
from sklearn.datasets import load_files

import skcyto
from skcyto.datasets import load_image_folder, load_ps3c, make_cell_images, make_orbit_mri


def seconds(call, repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def write_files(root: Path, n: int) -> Path:
    """Write `n` one-byte files in PS3C's layout and shares."""
    folder = root / "isbi2025-ps3c-train-dataset"
    rows = ["image_name,label"]
    labels = np.random.default_rng(0).choice(
        ["healthy", "rubbish", "unhealthy"], p=[0.34, 0.59, 0.07], size=n
    )
    for label in np.unique(labels):
        (folder / label).mkdir(parents=True)
    for i, label in enumerate(labels):
        name = f"isbi2025_ps3c_train_image_{i:05d}.png"
        (folder / label / name).write_bytes(b"x")
        rows.append(f"{name},{label}")
    (root / "isbi2025-ps3c-train-dataset.csv").write_text("\n".join(rows) + "\n")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=85_080)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--orbits", type=int, default=20)
    args = parser.parse_args()

    print(
        f"skcyto {skcyto.__version__}, scikit-learn {sklearn.__version__}, "
        f"torchvision {torchvision.__version__}, Python {platform.python_version()}\n"
    )
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = write_files(root, args.files)
        timed = {
            "`sklearn.datasets.load_files(load_content=False)`": seconds(
                lambda: load_files(folder, load_content=False)
            ),
            "`torchvision.datasets.ImageFolder`": seconds(
                lambda: torchvision.datasets.ImageFolder(folder)
            ),
            "`load_image_folder`": seconds(lambda: load_image_folder(folder)),
            "`load_ps3c` (list read and compared)": seconds(lambda: load_ps3c(root)),
        }
    first = next(iter(timed.values()))
    print(f"| loader, {args.files} files | seconds | ratio |\n|---|---|---|")
    for loader, took in timed.items():
        print(f"| {loader} | {took:.2f} | {took / first:.1f} |")

    print("\n| generator | ms each |\n|---|---|")
    for size in (64, 96, 224):
        start = time.process_time()
        make_cell_images(args.cells, image_size=size, random_state=0)
        took = 1e3 * (time.process_time() - start) / args.cells
        print(f"| `make_cell_images`, {size} px | {took:.1f} |")
    for size, spacing in (((96, 96, 24), (0.625, 0.625, 2.0)), ((256, 256, 40), (0.3, 0.3, 1.2))):
        start = time.process_time()
        make_orbit_mri(args.orbits, size=size, spacing=spacing, random_state=0)
        took = 1e3 * (time.process_time() - start) / args.orbits
        print(f"| `make_orbit_mri`, {'x'.join(map(str, size))} | {took:.0f} |")


if __name__ == "__main__":
    main()
