"""A filter inside the pipeline finds nothing where nothing is; before the split it does."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "leakage.py"


@pytest.fixture(scope="module")
def leakage():
    spec = importlib.util.spec_from_file_location("leakage", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def score(leakage, flow, n_minority, n_majority, n_features, n_tables):
    runs = [
        leakage.score_table(flow, n_minority, n_majority, n_features, seed)
        for seed in range(n_tables)
    ]
    return {
        order: leakage.mean_interval([run[order] for run in runs])
        for order in (leakage.INSIDE, leakage.BEFORE)
    }


def test_small_noise_tables(leakage):
    scores = score(leakage, leakage.SIMPLE, 30, 60, 800, 12)
    _, low, high = scores[leakage.INSIDE]
    assert low < 0.5 < high
    assert high - low < 0.15
    assert scores[leakage.BEFORE][1] > 0.75


@pytest.mark.slow
def test_noise_tables_of_a_radiomics_study(leakage):
    scores = score(leakage, leakage.SIMPLE, 100, 200, 13_184, 20)
    _, low, high = scores[leakage.INSIDE]
    assert low < 0.5 < high
    assert scores[leakage.BEFORE][1] > 0.95


@pytest.mark.slow
def test_the_whole_flow_on_shuffled_labels(leakage):
    scores = score(leakage, leakage.WHOLE, 100, 200, 13_184, 6)
    _, low, high = scores[leakage.INSIDE]
    assert low < 0.5 < high
    assert high - low < 0.25
    assert scores[leakage.BEFORE][1] > 0.75
