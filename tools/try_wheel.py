"""Try an installed skcyto as the README does, far from any checkout; `make test-wheel` calls it.

Usage: python -I try_wheel.py README.md (in an empty folder)

The README's lines run as they stand: first those on a table, then those on images, on twelve
synthetic cells, with random weights, so that no network is needed and nothing is said about how
good the models are.
"""

from __future__ import annotations

import re
import sys
import sysconfig
import warnings
from importlib import import_module
from pathlib import Path

from PIL import Image

import skcyto
from skcyto.datasets import make_cell_images


def main(readme: Path) -> None:
    """Import every subpackage, then run the README's lines."""
    installed = Path(sysconfig.get_path("purelib"))
    assert Path(skcyto.__file__).is_relative_to(installed), f"{skcyto.__file__} is a checkout"
    for name in skcyto._SUBMODULES:
        import_module(f"skcyto.{name}")
    skcyto.show_versions()
    draw_cells(Path("cells"))
    blocks = re.findall(r"```py(?:thon)?\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2, f"{readme} shows {len(blocks)} pieces of Python"
    on_table, on_images = blocks
    names: dict[str, object] = {"__name__": "__main__"}
    exec(compile(on_table, str(readme), "exec"), names)
    on_images, n_replaced = re.subn(
        r"EVA02TokenEmbedder\(", "EVA02TokenEmbedder(weights=None, random_state=0, ", on_images
    )
    assert n_replaced == 1, "the README's embedder is not where it was"
    with warnings.catch_warnings():
        # Twelve cells and random weights are worth a warning each time.
        warnings.simplefilter("ignore")
        exec(compile(on_images, str(readme), "exec"), names)
    assert "logistic" in Path("comparison.html").read_text(encoding="utf-8")
    print("The wheel does what the README says.")


def draw_cells(folder: Path) -> None:
    """Write six slides with a cell of each of two classes, named as the README's pattern asks."""
    cells = make_cell_images(12, class_proportions={"healthy": 1, "unhealthy": 1}, random_state=0)
    for name in cells.target_names:
        (folder / name).mkdir(parents=True)
        for slide, image in enumerate(cells.images[cells.target == name]):
            Image.fromarray(image).save(folder / name / f"slide{slide}_cell.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
