"""Images a second on one GPU, embedding and fine-tuning, against a plain timm script.

Run with::

    python benchmarks/gpu.py

The plain script is what one would write by hand: a `DataLoader` with processes and pinned memory,
timm's own transforms, bfloat16 autocast. Both read the same JPEG files and start from the same
weights; each figure is that of the fastest turn. The fractions are of the device's matrix rate,
measured in the same run, by the floating-point operations that torch counts in one forward pass; an
image that is trained on costs three of these. At last the embedding is run once more with a share
of the device's memory that is too small for its batch.

`--device cpu` with a small model tries the command out; its figures say nothing about a GPU.
"""

import argparse
import platform
import tempfile
import time
import warnings

import numpy as np
import timm
import torch
from embedding import make_model, make_transform, write_images
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.neural_network import EVA02Classifier

SEED = 0
N_CLASSES = 3
# Forward, and backward to the inputs and to the weights.
PASSES_OF_TRAINING = 3
LEARNING_RATE, WEIGHT_DECAY = 1e-5, 0.05


class ImageFiles(Dataset):
    def __init__(self, paths, labels, transform):
        self.paths, self.labels, self.transform = paths, labels, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        image = Image.open(self.paths[index]).convert("RGB")
        return self.transform(image), self.labels[index]


def make_loader(paths, labels, transform, batch_size, args, shuffle=False):
    return DataLoader(
        ImageFiles(paths, labels, transform),
        batch_size=batch_size,
        shuffle=shuffle,
        num_workers=args.workers,
        pin_memory=args.device.type == "cuda",
        persistent_workers=args.workers > 0,
    )


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def autocast(args):
    return torch.autocast(args.device.type, torch.bfloat16)


def measure_matrix_rate(args):
    """Floating-point operations a second of a large bfloat16 product."""
    n = args.matrix
    a, b = (torch.randn(n, n, device=args.device, dtype=torch.bfloat16) for _ in range(2))
    best = np.inf
    for _ in range(5):
        synchronize(args.device)
        start = time.perf_counter()
        for _ in range(args.products):
            a @ b
        synchronize(args.device)
        best = min(best, (time.perf_counter() - start) / args.products)
    return 2 * n**3 / best


def count_operations(args):
    """Floating-point operations of one image's way through the network."""
    model = make_model(args).to("meta")
    image = torch.empty(1, 3, args.image_size, args.image_size, device="meta")
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.forward_features(image)
    return counter.get_total_flops()


def embed_plainly(model, loader, args):
    rows = []
    with torch.inference_mode(), autocast(args):
        for images, _ in loader:
            tokens = model.forward_features(images.to(args.device, non_blocking=True))
            tokens = tokens.float()
            patches = tokens[:, model.num_prefix_tokens :].mean(dim=1)
            rows.append(torch.cat([tokens[:, 0], patches], dim=1).cpu())
    return torch.cat(rows).numpy()


def make_embedder(args, batch_size):
    return EVA02TokenEmbedder(
        args.model,
        ["class", "image"],
        final_norm=False,
        weights=None,
        image_size=args.image_size,
        batch_size=batch_size,
        device=args.device,
        precision="bfloat16",
        n_jobs=args.workers or 1,
        random_state=SEED,
    )


class PeakMemory:
    """Largest allocation on the device in the block, in GiB."""

    def __init__(self, device):
        self.device, self.gibibytes = device, float("nan")

    def __enter__(self):
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        return self

    def __exit__(self, *error):
        if self.device.type == "cuda":
            self.gibibytes = torch.cuda.max_memory_allocated(self.device) / 2**30


def measure_embedding(paths, args):
    """Images a second and peak memory of each contender, and both results."""
    model = make_model(args).to(args.device)
    loader = make_loader(
        paths, [0] * len(paths), make_transform(model, args), args.batch_size, args
    )
    embedder = make_embedder(args, args.batch_size).fit(paths)
    contenders = {
        "plain timm script": lambda: embed_plainly(model, loader, args),
        "skcyto": lambda: embedder.transform(paths),
    }
    seconds, peaks, results = dict.fromkeys(contenders, np.inf), {}, {}
    for turn in range(args.repeats + 1):
        for name, embed in contenders.items():
            with PeakMemory(args.device) as peak:
                start = time.perf_counter()
                results[name] = embed()
                duration = time.perf_counter() - start
            peaks[name] = peak.gibibytes
            if turn:  # The first only warms up: weights, processes, kernels.
                seconds[name] = min(seconds[name], duration)
    rates = {name: len(paths) / value for name, value in seconds.items()}
    return rates, peaks, results


def train_plainly(paths, labels, args):
    """Fine-tune by hand; return the seconds of each epoch."""
    torch.manual_seed(SEED)
    model = make_model(args)
    *geometry, to_tensor, normalize = make_transform(model, args).transforms
    light = [
        transforms.RandomHorizontalFlip(),
        transforms.RandomVerticalFlip(),
        transforms.ColorJitter(0.1, 0.1, 0.1),
    ]
    transform = transforms.Compose([*geometry, *light, to_tensor, normalize])
    model.reset_classifier(N_CLASSES)
    model.to(args.device).train()
    loader = make_loader(paths, labels, transform, args.train_batch_size, args, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    durations = []
    for _ in range(args.epochs):
        start = time.perf_counter()
        for images, target in loader:
            images = images.to(args.device, non_blocking=True)
            target = target.to(args.device, non_blocking=True)
            with autocast(args):
                loss = torch.nn.functional.cross_entropy(model(images), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        synchronize(args.device)
        durations.append(time.perf_counter() - start)
    return durations


def train_skcyto(paths, labels, args, **params):
    """Fine-tune with skcyto; return the seconds of each epoch."""
    classifier = EVA02Classifier(
        args.model,
        weights=None,
        image_size=args.image_size,
        augment="light",
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        batch_size=args.train_batch_size,
        max_epochs=args.epochs,
        validation_fraction=None,
        restore_best_weights=False,
        device=args.device,
        precision="bfloat16",
        n_jobs=args.workers or 1,
        random_state=SEED,
        **params,
    )
    return [row["dur"] for row in classifier.fit(paths, labels).history_]


def measure_training(paths, args):
    """Images a second and peak memory of each contender."""
    labels = (np.arange(len(paths)) % N_CLASSES).tolist()
    contenders = {
        "plain timm script": lambda: train_plainly(paths, labels, args),
        "skcyto": lambda: train_skcyto(paths, labels, args),
        "skcyto, compile=True": lambda: train_skcyto(paths, labels, args, compile=True),
    }
    rates, peaks = {}, {}
    for name, train in contenders.items():
        with PeakMemory(args.device) as peak:
            durations = train()
        # Processes start and kernels are chosen in the first epoch.
        rates[name], peaks[name] = len(paths) / min(durations[1:]), peak.gibibytes
    return rates, peaks


def force_shortage(paths, expected, args):
    """Embed with a share of the memory that holds the weights and little more."""
    embedder = make_embedder(args, args.batch_size).fit(paths)
    embedder.transform(paths[:1])
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(args.device).total_memory
    allowed = torch.cuda.memory_reserved(args.device) + args.spare_mebibytes * 2**20
    torch.cuda.set_per_process_memory_fraction(allowed / total, args.device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = embedder.transform(paths)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, args.device)
    print(
        f"\nwith {allowed / 2**30:.2f} GiB: batches of {args.batch_size} became "
        f"{embedder.batch_size_}; every image embedded: {bool(np.isfinite(result).all())}; "
        f"smallest cosine with the unhindered run: {smallest_cosine(result, expected):.6f}"
    )


def smallest_cosine(first, second):
    """Smallest cosine of the rows, each of the two tokens for itself."""
    first, second = (rows.reshape(len(rows), 2, -1).astype(float) for rows in (first, second))
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return float(((first * second).sum(axis=-1) / norms).min())


def print_table(title, rates, peaks, operations, matrix_rate):
    print(f"\n{title}\n")
    print("| | images/s | of the matrix rate | times the plain script | peak memory, GiB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, rate in rates.items():
        peak = "not measured" if np.isnan(peaks[name]) else f"{peaks[name]:.2f}"
        print(
            f"| {name} | {rate:.1f} | {rate * operations / matrix_rate:.1%} | "
            f"{rate / rates['plain timm script']:.2f} | {peak} |"
        )


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="eva02_base_patch14_448.mim_in22k_ft_in22k_in1k")
    parser.add_argument("--image-size", type=int, default=448)
    parser.add_argument("--file-size", type=int, default=512, help="height and width of a file")
    parser.add_argument("--images", type=int, default=4096, help="files that are embedded")
    parser.add_argument("--train-images", type=int, default=1536, help="files of an epoch")
    parser.add_argument("--batch-size", type=int, default=128, help="of the embedding")
    parser.add_argument("--train-batch-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3, help="the first is not timed")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--workers", type=int, default=torch.multiprocessing.cpu_count())
    parser.add_argument("--matrix", type=int, default=8192, help="order of the timed product")
    parser.add_argument("--products", type=int, default=20, help="products of a turn")
    parser.add_argument("--spare-mebibytes", type=int, default=1024, help="of the forced shortage")
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    args = parser.parse_args()
    if args.epochs < 2:
        parser.error(f"--epochs {args.epochs}: the first is not timed, so take at least 2")
    return args


def main():
    args = parse_arguments()
    warnings.filterwarnings("ignore", message=".*random weights")
    cuda = args.device.type == "cuda"
    name = torch.cuda.get_device_name(args.device) if cuda else platform.machine()
    matrix_rate, operations = measure_matrix_rate(args), count_operations(args)
    print(
        f"{args.model} at {args.image_size} px on {name}, {args.workers} reading workers; JPEG "
        f"files of {args.file_size} px; Python {platform.python_version()}, "
        f"torch {torch.__version__}, timm {timm.__version__}\n\n"
        f"bfloat16 products of order {args.matrix}: {matrix_rate / 1e12:.1f} TFLOP/s; "
        f"{operations:.3g} operations an image forward"
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(folder, max(args.images, args.train_images), args.file_size)
        embedded, trained = paths[: args.images], paths[: args.train_images]
        rates, peaks, results = measure_embedding(embedded, args)
        title = f"Embedding {args.images} images, batches of {args.batch_size} (aim 60 %)"
        print_table(title, rates, peaks, operations, matrix_rate)
        cosine = smallest_cosine(results["skcyto"], results["plain timm script"])
        print(f"\nsmallest cosine of the features: {cosine:.6f} (above 0.999 wanted)")
        rates, peaks = measure_training(trained, args)
        title = f"Fine-tuning, batches of {args.train_batch_size} (aim 45 %)"
        print_table(title, rates, peaks, PASSES_OF_TRAINING * operations, matrix_rate)
        if cuda:
            force_shortage(embedded, results["skcyto"], args)
        else:
            print("\nno shortage was forced: only a CUDA device's memory can be limited")


if __name__ == "__main__":
    main()
