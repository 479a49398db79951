"""Time, processor time, memory and agreement of radiomics extraction.

Synthetic orbits of 256 x 256 x 40 voxels with eight labels, 1,648 features a label from 19 image
types. Compared are pyradiomics' ``execute`` label by label, the extractor of skcyto, and other
reimplementations where `--rivals-python` names an interpreter that has them:

    python -m venv rivals
    rivals/bin/pip install flash-radiomics fastrad numpyradiomics SimpleITK PyWavelets pykwalify \
        h5py scipy scikit-image scikit-learn trimesh psutil
    python benchmarks/radiomics.py --rivals-python rivals/bin/python

fastrad and numpyradiomics have no such filters, and fastrad's memory grows with the whole volume:
they are measured on the unfiltered image of a smaller scan, in a table of its own. Other peers
install and have no part here: MIRP, z-rad and pictologics (Python 3.12 and later) follow IBSI, with
features, names and filters other than pyradiomics', so that there is no common set of numbers.
Every contestant runs in a process of its own and reads the same files.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

# This file's folder comes first on the path, where this file would pass for pyradiomics.
sys.path[:] = [
    entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent
]

import numpy as np  # noqa: E402

TED = "ted1648"
UNFILTERED = "unfiltered"
CLASSES = ("shape", "firstorder", "glcm", "glrlm", "glszm", "gldm")


def parameters(what):
    """Return pyradiomics' parameters."""
    if what == UNFILTERED:
        return {
            "imageType": {"Original": {}},
            "featureClass": {name: [] for name in CLASSES},
            "setting": {"binWidth": 25},
        }
    from skcyto.feature_extraction._radiomics._settings import PRESETS

    return PRESETS[TED]


def pyradiomics_loop(cases, labels, params):
    import radiomics
    from radiomics.featureextractor import RadiomicsFeatureExtractor

    radiomics.setVerbosity(60)
    extractor = RadiomicsFeatureExtractor(params)
    for image, mask in cases:
        for label in labels:
            found = extractor.execute(image, mask, label=label)
            yield {k: float(v) for k, v in found.items() if not k.startswith("diagnostics")}


def skcyto_extractor(cases, labels, params, n_jobs):
    from skcyto.feature_extraction import RadiomicsExtractor

    extractor = RadiomicsExtractor(labels, settings=params, n_jobs=n_jobs).fit(cases)
    values = extractor.transform(cases).reshape(len(cases) * len(labels), -1)
    names = [name.split("__")[1] for name in extractor.get_feature_names_out()]
    for row in values:
        yield dict(zip(names, row.tolist(), strict=False))


def flash_radiomics(cases, labels, params):
    from flash_radiomics import RadiomicsFeatureExtractor

    params = {**params, "scalarFeatureClass": params["featureClass"]}
    del params["featureClass"]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        extractor = RadiomicsFeatureExtractor(params, backend="cpu", num_threads=1)
        for image, mask in cases:
            for label in labels:
                with tempfile.TemporaryDirectory() as folder:
                    found = extractor.execute(
                        image, mask, label=label, output_hdf5_path=f"{folder}/result.h5"
                    )
                yield {k: float(v) for k, v in found.items() if not k.startswith("diagnostics")}


def fastrad(cases, labels, params):
    import SimpleITK as sitk
    import torch
    from fastrad import FeatureExtractor, FeatureSettings, Mask, MedicalImage

    settings = FeatureSettings(
        feature_classes=list(CLASSES), bin_width=params["setting"]["binWidth"], device="cpu"
    )
    extractor = FeatureExtractor(settings)
    for image_path, mask_path in cases:
        image, mask = sitk.ReadImage(image_path), sitk.ReadImage(mask_path)
        spacing = image.GetSpacing()[::-1]
        voxels = torch.tensor(sitk.GetArrayFromImage(image).astype(np.float32))
        regions = sitk.GetArrayFromImage(mask)
        for label in labels:
            region = torch.tensor((regions == label).astype(np.float32))
            found = extractor.extract(MedicalImage(voxels, spacing), Mask(region, spacing))
            yield {f"original_{k.replace(':', '_', 1)}": float(v) for k, v in found.items()}


def numpyradiomics(cases, labels, params):
    import numpyradiomics as rival
    import SimpleITK as sitk

    width = params["setting"]["binWidth"]
    for image_path, mask_path in cases:
        image, mask = sitk.ReadImage(image_path), sitk.ReadImage(mask_path)
        voxels, regions = (sitk.GetArrayFromImage(each) for each in (image, mask))
        spacing = image.GetSpacing()[::-1]
        for label in labels:
            region = regions == label
            box = tuple(slice(axis.min(), axis.max() + 1) for axis in np.nonzero(region))
            part, region = voxels[box].astype(float), region[box]
            found = {f"shape_{k}": v for k, v in rival.shape(region, spacing).items()}
            found |= {
                f"firstorder_{k}": v
                for k, v in rival.firstorder(part, region, float(np.prod(spacing)), width).items()
            }
            for name in ("glcm", "glrlm", "glszm", "gldm"):
                values = getattr(rival, name)(part, region, binWidth=width)
                found |= {f"{name}_{k}": v for k, v in values.items()}
            yield {f"original_{k}": float(v) for k, v in found.items()}


CONTESTANTS = {
    "pyradiomics, label by label": pyradiomics_loop,
    "skcyto, 1 process": lambda *args: skcyto_extractor(*args, n_jobs=1),
    "skcyto, 2 processes": lambda *args: skcyto_extractor(*args, n_jobs=2),
    "flash-radiomics": flash_radiomics,
    "fastrad": fastrad,
    "numpyradiomics": numpyradiomics,
}
RIVALS = ("flash-radiomics", "fastrad", "numpyradiomics")
PACKAGES = {
    "pyradiomics": ("pyradiomics-bhklab", "pyradiomics"),
    "flash-radiomics": ("flash-radiomics",),
    "fastrad": ("fastrad",),
    "numpyradiomics": ("numpyradiomics",),
    "skcyto": ("skcyto",),
}


def version_of(contestant):
    from importlib.metadata import PackageNotFoundError, version

    for package in PACKAGES[contestant.partition(",")[0]]:
        with contextlib.suppress(PackageNotFoundError):
            return f"{package} {version(package)}"
    return "unknown"


def run_one(task_file):
    """Run one contestant in this process and write what it took and found."""
    import psutil

    task = json.loads(Path(task_file).read_text())
    warnings.simplefilter("ignore")
    contestant = CONTESTANTS[task["contestant"]]
    own = psutil.Process()
    list(contestant([task["warm_up"]], task["labels"][:1], task["params"]))
    before = _processor_seconds(own)
    start = time.perf_counter()
    rows = list(contestant(task["cases"], task["labels"], task["params"]))
    wall = time.perf_counter() - start
    Path(task["result"]).write_text(
        json.dumps(
            {
                "wall": wall,
                "cpu": _processor_seconds(own) - before,
                "peak": [_peak(each) for each in [own, *own.children(recursive=True)]],
                "rows": rows,
                "version": version_of(task["contestant"]),
            }
        )
    )


def _processor_seconds(process):
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        times = each.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _peak(process):
    """Peak resident memory in MB, from Linux's own account."""
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        lines = [line for line in file if line.startswith("VmHWM")]
    return int(lines[0].split()[1]) / 1024 if lines else 0.0


def start(python, contestant, folder, cases, warm_up, labels, params):
    folder = Path(folder)
    task = folder / "task.json"
    result = folder / "result.json"
    content = {"contestant": contestant, "cases": cases, "warm_up": warm_up, "labels": labels}
    task.write_text(json.dumps({**content, "params": params, "result": str(result)}))
    # numpy's own threads would blur processor time; ITK's are left as everyone has them.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [python, __file__, "--one", str(task)],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(f"{contestant}: failed\n{done.stderr[-2000:]}", file=sys.stderr)
        return None
    return json.loads(result.read_text())


def agreement(rows, reference):
    """Say how many values are pyradiomics', by relative difference."""
    lowered = [{_plain_name(k): v for k, v in row.items()} for row in reference]
    differences = []
    for row, expected in zip(rows, lowered, strict=True):
        for name, value in row.items():
            if _plain_name(name) in expected:
                right = expected[_plain_name(name)]
                differences.append(abs(value - right) / max(abs(right), 1e-300))
    total = sum(len(row) for row in reference)
    differences = np.nan_to_num(np.array(differences), nan=np.inf)
    within = [np.count_nonzero(differences <= limit) / total for limit in (1e-9, 1e-3)]
    return f"{within[0]:.1%}", f"{within[1]:.1%}", f"{len(differences) / total:.1%}"


def _plain_name(name):
    return name.replace("_", "").lower()


def table(title, results, base):
    print(f"\n{title}\n")
    head = (
        "| | wall s a case | processor s a case | wall, times faster | processor, times faster "
        "| peak MB a process | equal to 1e-9 | to 1e-3 | values given |"
    )
    print(head)
    print("|---|" + "---|" * (head.count("|") - 2))
    plain = results[base]
    if plain is None:
        return
    for name, result in results.items():
        if result is None:
            print(f"| {name} | failed |")
            continue
        cells = [
            f"{result['wall'] / result['n']:.2f}",
            f"{result['cpu'] / result['n']:.2f}",
            f"{plain['wall'] / plain['n'] / (result['wall'] / result['n']):.2f}",
            f"{plain['cpu'] / plain['n'] / (result['cpu'] / result['n']):.2f}",
            " + ".join(f"{peak:.0f}" for peak in result["peak"] if peak > 60),
            *agreement(result["rows"], plain["rows"]),
        ]
        print(f"| {name} ({result['version']}) | " + " | ".join(cells) + " |")


def compare(title, contestants, folder, cases, warm_up, labels, params, rivals_python):
    results = {}
    for name in contestants:
        python = rivals_python if name in RIVALS else sys.executable
        if python is None:
            continue
        print(f"... {name}", file=sys.stderr, flush=True)
        results[name] = start(python, name, folder, cases, warm_up, labels, params)
        if results[name] is not None:
            results[name]["n"] = len(cases)
    table(title, results, next(iter(contestants)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--size", type=int, nargs=3, default=(256, 256, 40), metavar="N")
    parser.add_argument("--small-size", type=int, nargs=3, default=(96, 80, 24), metavar="N")
    parser.add_argument("--rivals-python", help="interpreter that has the rivals")
    parser.add_argument("--only", choices=[TED, UNFILTERED], help="one of the two tables")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return run_one(arguments.one)
    import platform

    import SimpleITK as sitk

    from skcyto.datasets import make_orbit_mri

    with tempfile.TemporaryDirectory() as folder:

        def draw(n_cases, size):
            x, y, z = size
            in_plane = max(0.6, 112 / x, 56 / y)  # two orbits side by side, 54 x 54 x 46 mm each
            return make_orbit_mri(
                n_cases,
                size=(x // 2, y, z),
                spacing=(in_plane, in_plane, max(2.0, 48 / z)),
                bilateral=True,
                path=f"{folder}/{x}",
                random_state=0,
            )

        warm_up = [str(path) for path in draw(1, (80, 40, 12)).data.iloc[0]]
        print(
            f"Python {platform.python_version()}, numpy {np.__version__}, SimpleITK "
            f"{sitk.Version().VersionString()}, {os.cpu_count()} cores"
        )
        tables = {
            TED: (
                arguments.cases,
                arguments.size,
                [name for name in CONTESTANTS if name not in ("fastrad", "numpyradiomics")],
                "1,648 features a label from 19 image types (preset ted1648)",
            ),
            UNFILTERED: (
                1,
                arguments.small_size,
                ["pyradiomics, label by label", "skcyto, 1 process", *RIVALS],
                "the unfiltered image alone, bins of 25",
            ),
        }
        for which in [arguments.only] if arguments.only else tables:
            n_cases, size, names, what = tables[which]
            orbits = draw(n_cases, size)
            cases = [[str(image), str(mask)] for image, mask in orbits.data.to_numpy()]
            labels = list(orbits.mask_labels.values())
            title = f"{n_cases} synthetic orbits of {' x '.join(map(str, size))} voxels"
            title += f", {len(labels)} labels; {what}"
            params = parameters(which)
            compare(title, names, folder, cases, warm_up, labels, params, arguments.rivals_python)
    return None


if __name__ == "__main__":
    main()
