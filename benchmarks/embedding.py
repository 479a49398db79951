"""Time and memory of EVA02TokenEmbedder against a bare timm loop and against embetter.

Run with::

    python benchmarks/embedding.py

All contenders embed the same files with the same random weights in the same process, turn by turn;
each ratio is that of the fastest turns. Peak memory is measured in a process of its own for each
number of images.
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
from unittest import mock

import numpy as np
import timm
import torch
from PIL import Image, ImageFilter

from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.utils._backbones._source import BackboneSource
from skcyto.utils._random import draw_seed

SEED = 0


def write_images(folder, n_images, size):
    """Write JPEG files of coloured blobs, each other than all others."""
    rng = np.random.default_rng(SEED)
    paths = []
    for i in range(n_images):
        noise = rng.integers(0, 256, (size // 8, size // 8, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
        path = Path(folder) / f"{i:05d}.jpg"
        image.filter(ImageFilter.GaussianBlur(2)).save(path, quality=90)
        paths.append(path)
    return paths


def make_embedder(args, **params):
    return EVA02TokenEmbedder(
        args.model,
        ["class", "image"],
        final_norm=False,
        weights=None,
        image_size=args.image_size,
        batch_size=args.batch_size,
        device="cpu",
        random_state=SEED,
        **params,
    )


def make_model(args):
    return BackboneSource(args.model, args.image_size, None, draw_seed(SEED)).create()


def make_transform(model, args):
    size = (3, args.image_size, args.image_size)
    config = timm.data.resolve_model_data_config(model, args={"input_size": size})
    return timm.data.create_transform(**config)


def run_bare_loop(model, transform, paths, args):
    """What one would write by hand."""
    results = []
    with torch.inference_mode():
        for start in range(0, len(paths), args.batch_size):
            batch = [
                transform(Image.open(path).convert("RGB"))
                for path in paths[start : start + args.batch_size]
            ]
            tokens = model.forward_features(torch.stack(batch))
            patches = tokens[:, model.num_prefix_tokens :].mean(dim=1)
            results.append(torch.cat([tokens[:, 0], patches], dim=1))
    return torch.cat(results).numpy()


def make_embetter(model, args):
    """embetter's encoder around the same model; it would load its own from the network."""
    from embetter.vision import ImageLoader, TimmEncoder

    with mock.patch("timm.create_model", return_value=model):
        encoder = TimmEncoder(args.model)
    encoder.transform_img = make_transform(model, args)
    loader = ImageLoader(convert="RGB")
    return lambda paths: encoder.transform(loader.transform(paths))


def time_once(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def measure_time(paths, args, folder):
    model = make_model(args)
    transform = make_transform(model, args)
    embedder = make_embedder(args).fit(paths)
    embetter = make_embetter(model, args)
    contenders = {
        "skcyto": lambda: embedder.transform(paths),
        "bare timm loop": lambda: run_bare_loop(model, transform, paths, args),
        "embetter": lambda: embetter(paths),
    }
    embedder.transform(paths[: args.batch_size])  # loads the weights
    best = dict.fromkeys(contenders, np.inf)
    results = {}
    for _ in range(args.repeats):
        for name, function in contenders.items():
            seconds, results[name] = time_once(function)
            best[name] = min(best[name], seconds)
    difference = np.abs(results["skcyto"] - results["bare timm loop"]).max()

    cached = make_embedder(args, cache=Path(folder) / "cache").fit(paths)
    first, _ = time_once(cached.transform, paths)
    n_first = cached.n_forward_images_
    second = min(time_once(cached.transform, paths)[0] for _ in range(args.repeats))
    assert (n_first, cached.n_forward_images_) == (len(paths), 0)
    best |= {"skcyto, first run with cache": first, "skcyto, second run with cache": second}
    return best, difference


def measure_memory(n_images, args):
    """Peak resident memory of a process that embeds so many files, in MiB."""
    command = [sys.executable, __file__, "--memory-of", str(n_images), *args.memory_arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def report_memory(args):
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(folder, args.memory_of, args.file_size)
        embedder = make_embedder(args).fit(paths)
        embedder.transform(paths[: 4 * args.batch_size])
        result = embedder.transform(paths)
    unit = 1024**2 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(json.dumps({"peak": peak, "result": result.nbytes / 1024**2}))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="eva02_tiny_patch14_224")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--images", type=int, default=64, help="files that are timed")
    parser.add_argument("--file-size", type=int, default=320, help="height and width of a file")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory-images", type=int, nargs="*", default=[200, 2000])
    parser.add_argument("--memory-image-size", type=int, default=28, help="of the network")
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.memory_arguments = [
        *("--model", args.model, "--image-size", str(args.memory_image_size)),
        *("--batch-size", str(args.batch_size), "--file-size", str(args.file_size)),
        *("--threads", str(args.threads)),
    ]
    return args


def main():
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    if args.memory_of:
        report_memory(args)
        return
    print(
        f"{args.model} at {args.image_size} px, {args.images} JPEG files of {args.file_size} px, "
        f"batches of {args.batch_size}, {args.threads} threads, fastest of {args.repeats}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, timm {timm.__version__}, "
        f"{platform.machine()}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        paths = write_images(folder, args.images, args.file_size)
        seconds, difference = measure_time(paths, args, folder)
    ours, bare = seconds["skcyto"], seconds["bare timm loop"]
    print("| | seconds | images/s | skcyto's time / this |")
    print("|---|---|---|---|")
    for name, value in seconds.items():
        print(f"| {name} | {value:.3f} | {args.images / value:.1f} | {ours / value:.3f} |")
    first, second = (seconds[f"skcyto, {n} run with cache"] for n in ("first", "second"))
    print(f"\nskcyto / bare timm loop: {ours / bare:.2f} (at most 1.10 wanted)")
    print(f"embetter / skcyto: {seconds['embetter'] / ours:.2f}")
    print(f"first / second run with cache: {first / second:.0f} (at least 50 wanted)")
    print(f"largest difference from the bare loop's values: {difference:.1e}")
    if args.memory_images:
        print("\n| files | peak memory, MiB | of it the result, MiB |")
        print("|---|---|---|")
        for n_images in args.memory_images:
            memory = measure_memory(n_images, args)
            print(f"| {n_images} | {memory['peak']:.0f} | {memory['result']:.1f} |")


if __name__ == "__main__":
    main()
