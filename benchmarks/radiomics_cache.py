"""A folder of scans end to end: killed half way, resumed, and run again from the cache.

The folder holds ``<case>_<sequence>.nii.gz`` and ``<case>_seg.nii.gz`` with the labels 1, 2 and 4,
as glioma segmentations of the BraTS challenge have them (tumour core, edema, enhancing tumour).

    python benchmarks/radiomics_cache.py ../shared/data/radiomics/brats13_rois
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# This file's folder comes first on the path; radiomics.py in it would pass for pyradiomics.
sys.path[:] = [
    entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent
]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from skcyto.feature_extraction import RadiomicsExtractor  # noqa: E402
from skcyto.utils._content_store import ContentStore  # noqa: E402

LABELS = {"core": 1, "edema": 2, "enhancing": 4}


def find_cases(folder, sequence):
    masks = sorted(Path(folder).glob("*_seg.nii.gz"))
    names = [mask.name.removesuffix("_seg.nii.gz") for mask in masks]
    images = [Path(folder, f"{name}_{sequence}.nii.gz") for name in names]
    return pd.DataFrame({"image": map(str, images), "mask": map(str, masks)}, index=names)


def extract(arguments, cache):
    cases = find_cases(arguments.folder, arguments.sequence)
    extractor = RadiomicsExtractor(LABELS, n_jobs=arguments.n_jobs, cache=cache)
    extractor.set_output(transform="pandas").fit(cases)
    start = time.perf_counter()
    return extractor.transform(cases), time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--sequence", default="flair")
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--run", metavar="CACHE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        extract(arguments, arguments.run)
        return
    n_cases = len(find_cases(arguments.folder, arguments.sequence))
    with tempfile.TemporaryDirectory() as cache:
        store = ContentStore(Path(cache) / "radiomics.sqlite")
        start = time.perf_counter()
        command = [sys.executable, __file__, arguments.folder, "--run", cache]
        command += ["--sequence", arguments.sequence, "--n-jobs", str(arguments.n_jobs)]
        process = subprocess.Popen(command, start_new_session=True)
        while store.info()["entries"] < len(LABELS) * (n_cases // 2):
            if process.poll() is not None:
                raise SystemExit("the first run ended before it could be killed")
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)  # kill -9, workers too
        process.wait()
        killed = time.perf_counter() - start
        survived = store.info()["entries"] // len(LABELS)
        table, resumed = extract(arguments, cache)
        again, cached = extract(arguments, cache)
    fresh, whole = extract(arguments, None)
    same = np.array_equal(table, fresh) and np.array_equal(again, fresh)
    print(f"{n_cases} cases, {table.shape[1]} features, {int(table.isna().sum().sum())} NaN\n")
    print("| run | seconds | times faster than a run without cache |")
    print("|---|---|---|")
    print(f"| without cache | {whole:.2f} | 1 |")
    print(f"| killed (kill -9) after {survived} finished cases | {killed:.2f} | |")
    print(f"| resumed, the other {n_cases - survived} | {resumed:.2f} | {whole / resumed:.1f} |")
    print(f"| again, all from the cache | {cached:.3f} | {whole / cached:.0f} |")
    print(f"\nsame table each time: {same}\n")
    columns = [
        "core__original_shape_MeshVolume",
        "edema__log-sigma-3-0-mm-3D_firstorder_Mean",
        "enhancing__wavelet-LLH_glcm_Contrast",
    ]
    print(table[columns].round(2).to_string())


if __name__ == "__main__":
    main()
