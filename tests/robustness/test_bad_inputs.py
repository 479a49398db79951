"""Thousands of bad inputs to every public name: each is answered rightly or refused clearly."""

from __future__ import annotations

import collections
from importlib import import_module

import pytest

from tests.robustness import calls
from tests.robustness.fuzzing import try_all

GROUPS = {
    "statistics": lambda folder: calls.statistics(),
    "comparisons": lambda folder: calls.comparisons(),
    "networks": lambda folder: calls.networks(),
    "transformers": lambda folder: calls.transformers(),
    "scans": calls.scans,
    "files": calls.files,
}
GOOD = {"answer", "clear error"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("group", GROUPS)
def test_bad_inputs_are_refused_clearly(group, tmp_path, monkeypatch, record_property):
    monkeypatch.chdir(tmp_path)
    found = collections.Counter()
    bad = []
    for call in GROUPS[group](tmp_path):
        call.run(**call.arguments)  # as they stand they work: what fails below is the bad one
        for outcome in try_all(call):
            found[outcome.verdict] += 1
            if outcome.verdict not in GOOD:
                bad.append(outcome)
    record_property("outcomes", dict(found))
    print(group, dict(found))
    assert not bad, "\n".join(
        f"{b.call}({b.argument}={b.value}): {b.verdict}: {b.detail}" for b in bad[:40]
    )


def _tried(folder):
    return {call.name.partition(".")[0] for group in GROUPS.values() for call in group(folder)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_public_name_is_tried(tmp_path):
    untried = {
        # Displays take what others made: fitted selectors, comparisons, explanations.
        *(name for name in _public_names() if name.endswith("Display")),
        # Results, made by what is tried.
        "BackboneRecipe", "EmbeddingCacheInfo", "ParquetEmbeddingInfo", "Criterion", "Loss",
        # No arguments.
        "available", "all_estimators", "get_scorer_names", "known_backbones", "show_versions",
        # Any label is one.
        "make_recall_scorer",
        # Files that other programs make, with tests of their own.
        "load_pyradiomics_csv", "masks_from_dicom",
        # Their parts are tried: the embedder, the comparison, the writers.
        "embed_to_parquet", "model_card", "write_image_mask_folder", "write_ps3c_folder",
        "write_ps3c_submission",
    }  # fmt: skip
    assert _public_names() - untried <= _tried(tmp_path)


def _public_names():
    packages = (
        "datasets", "feature_extraction", "feature_selection", "inspection", "losses", "metrics",
        "model_selection", "neural_network", "persistence", "utils",
    )  # fmt: skip
    return {name for package in packages for name in import_module(f"skcyto.{package}").__all__}
