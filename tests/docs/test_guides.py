"""Each guide can be pasted from top to bottom, and so can the README.

The lines run as they are written, only smaller: fewer trials, rows and epochs, and a tiny
transformer with random weights where the page takes a pretrained one from the hub.
"""

import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from skcyto.exceptions import RandomWeightsWarning
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.model_selection import OptunaSearchCV
from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier

ROOT = Path(__file__).parents[2]
FIRST_STEPS = ROOT / "docs" / "start" / "first_steps.md"
GUIDES = sorted((ROOT / "docs" / "guide").glob("*.md"))
BLOCK = re.compile(r"^(% not run: [^\n]+\n)?```py(?:thon)?\n(.*?)^```", re.MULTILINE | re.DOTALL)

SMALLER = [
    (r"n_trials=\d+", "n_trials=2"),
    (r"trials_per_batch=\d+", "trials_per_batch=2"),
    (r"max_epochs=20", "max_epochs=2"),
    (r"n_jobs=(-1|\d+)", "n_jobs=1"),
    (r"make_orbit_mri\(\d+", "make_orbit_mri(6"),
    (r"make_cell_images\(\s*\d{3,}", "make_cell_images(90"),
    (r"(RandomForestClassifier\()300", r"\1 20"),
    (r'settings="ted1648"', 'settings="original"'),
    (r"rectus__wavelet-LLH_glcm", "rectus__original_glcm"),
    ('"eva02_tiny_patch14_336"', '"test_vit"'),
    (r"image_size=112", "image_size=32"),
    # Weights that the reader has.
    (r'"vit_small_patch16_224",\n    weights="lunit/model.safetensors"', '"test_vit"'),
]
DEFAULTS = {
    EVA02TokenEmbedder: {"weights": None, "image_size": 32, "random_state": 0},
    EVA02Classifier: {"weights": None, "image_size": 32, "max_epochs": 1},
    ImbalancedMLPClassifier: {"max_epochs": 3},
    OptunaSearchCV: {"n_trials": 2},
}


def code_of(page):
    """Return the page's Python with the lines where it stands, for messages."""
    text = page.read_text(encoding="utf-8")
    lines = []
    for match in BLOCK.finditer(text):
        if match[1]:
            continue
        start = text[: match.start(2)].count("\n")
        lines += [""] * (start - len(lines)) + match[2].splitlines()
    return "\n".join(lines) + "\n"


def run(page):
    code = code_of(page)
    for pattern, replacement in SMALLER:
        code = re.sub(pattern, replacement, code)
    exec(compile(code, str(page), "exec"), {"__name__": "guide"})


@pytest.fixture
def small(monkeypatch, tmp_path):
    """An empty folder, and estimators whose defaults need no network and little time."""
    monkeypatch.chdir(tmp_path)
    for estimator, settings in DEFAULTS.items():
        for name, value in settings.items():
            monkeypatch.setitem(estimator.__init__.__kwdefaults__, name, value)
        if "weights" in settings:
            defaults = estimator.__init__.__defaults__
            monkeypatch.setattr(estimator.__init__, "__defaults__", ("test_vit", *defaults[1:]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        yield
    plt.close("all")


WITH_CODE = [page for page in [ROOT / "README.md", FIRST_STEPS, *GUIDES] if code_of(page).strip()]


def test_pages_have_code():
    assert len(WITH_CODE) >= 16


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_page_runs_from_top_to_bottom(page, small):
    if page.stem == "README":
        # Its images are whatever the reader has.
        from skcyto.datasets import make_cell_images, write_image_folder

        drawn = make_cell_images(60, class_proportions={"healthy": 1, "unhealthy": 1})
        root = write_image_folder("drawn", drawn.images, drawn.target)
        for i, file in enumerate(sorted(root.rglob("*.png"))):
            target = Path("cells") / file.parent.name / f"slide{i % 6}_{i}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
    if page.stem in ("radiomics", "datasets", "ibsi"):
        pytest.importorskip("radiomics")
    if page.stem == "sites":
        pytest.importorskip("combatlearn")
    run(page)
