"""Values and gradients worked out by independent code."""

import json

import numpy as np
import pytest
import torch

from skcyto.losses import compute_class_weight, get_loss

# How many cases the file holds for each loss: one that went missing would not be noticed else.
N_CASES = {
    "ce": 57,
    "focal": 33,
    "ldam": 21,
    "balanced_softmax": 3,
    "logit_adjusted": 18,
    "vector_scaling": 21,
    "minimax": 15,
    "group_dro": 12,
    "cvar": 9,
    "soft_f1": 1,
    "poly1": 9,
}


@pytest.fixture(scope="module")
def vectors(shared_data):
    return json.loads((shared_data / "loss_vectors.json").read_text(encoding="utf-8"))


def value_and_gradient(case, batch, dtype):
    params = dict(case["params"])
    weight = params.pop("class_weight", None)
    if "beta" in params:
        weight = compute_class_weight(weight, batch["class_counts"], beta=params.pop("beta"))
    reduction = params.pop("normalize", "weight_sum")
    n_steps = params.pop("n_steps", 1)
    sample_weight = None
    if params.pop("sample_weight", False):
        sample_weight = torch.tensor(batch["sample_weight"], dtype=dtype)
    # Where the file spells out what our losses do anyway.
    assert params.pop("reduction", "mean") == "mean"
    assert params.pop("average", "macro_present_classes") == "macro_present_classes"
    if case["loss"] == "group_dro":
        assert params.pop("groups") == "class"
    if "groups" in params:
        params["grouping"] = params.pop("groups")
    if (literal := params.pop("C", None)) is not None:
        params["max_margin"] = literal * min(batch["class_counts"]) ** -0.25
    loss = get_loss(case["loss"]).set_params(**params)
    criterion = loss.build(batch["class_counts"], class_weight=weight, reduction=reduction)
    logits = torch.tensor(batch["logits"], dtype=dtype, requires_grad=True)
    for _ in range(n_steps):
        value = criterion(logits, torch.tensor(batch["target"]), sample_weight)
    value.backward()
    assert logits.grad.dtype == dtype
    return value.item(), logits.grad.double().numpy()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", N_CASES)
def test_value_and_gradient(vectors, name, dtype):
    cases = [case for case in vectors["cases"] if case["loss"] == name]
    assert len(cases) == N_CASES[name]
    for case in cases:
        value, gradient = value_and_gradient(case, vectors["inputs"][case["input"]], dtype)
        tolerance = case["tol"] if dtype == torch.float64 else 1e-4
        reference = np.array(case["grad"])
        assert abs(value - case["value"]) <= tolerance * max(1, abs(case["value"])), case["id"]
        error = np.abs(gradient - reference).max()
        assert error <= tolerance * max(1, np.abs(reference).max()), case["id"]


def test_no_case_is_left_out(vectors):
    assert len(vectors["cases"]) == sum(N_CASES.values())


def test_prior_corrections(vectors):
    for case in vectors["posthoc"]:
        batch = vectors["inputs"][case["input"]]
        counts = batch["class_counts"]
        logits = torch.tensor(batch["logits"], dtype=torch.float64)
        sign = 1
        if case["op"] == "undo_class_weight":
            criteria = [get_loss("ce").build(counts, class_weight=case["class_weight"])]
        elif case["op"] == "add_train_prior":
            names = ("balanced_softmax", "logit_adjusted")
            criteria = [get_loss(name).build(counts) for name in names]
        else:
            # The post-hoc twin takes off what the loss's way back to the prior adds.
            assert case["op"] == "posthoc_logit_adjust"
            criteria = [get_loss("logit_adjusted").set_params(tau=case["tau"]).build(counts)]
            sign = -1
        for criterion in criteria:
            scores = criterion.scores(logits) + sign * criterion.log_prior_correction("train")
            np.testing.assert_allclose(scores.softmax(1), case["proba"], rtol=1e-9)
            if "adjusted_logits" in case:
                np.testing.assert_allclose(scores, case["adjusted_logits"], rtol=1e-9)


def test_weights_from_a_training_split(vectors):
    for case in vectors["estimator_level"]:
        for counts, name, expected in (
            (case["counts"], "balanced", case["balanced"]),
            (case["weighted_counts"], "balanced", case["balanced_sample_weight"]),
            (case["counts"], "max_ratio", case["max_ratio"]),
        ):
            np.testing.assert_allclose(compute_class_weight(name, counts), expected, rtol=1e-12)
