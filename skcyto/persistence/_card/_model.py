"""What a card tells of the model itself."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from skcyto.persistence._walk import walk
from skcyto.utils._markdown import code, escape_markdown

# Parameters that tell of a machine, not of a model.
# Change where and how fast a model is computed, not what.
OF_A_MACHINE = {"cache", "checkpoint", "device", "memory", "n_jobs", "verbose"}


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Write a Markdown pipe table, numbers to the right.

    Parameters
    ----------
    header : sequence of str
        Names of the columns; the first is text.
    rows : sequence of sequences
        Cells: text is shown as it is, what is :class:`Code` is left alone.

    Returns
    -------
    text : str
    """
    lines = [
        [_cell(cell) for cell in header],
        ["---", *("---:" for _ in header[1:])],
        *([_cell(cell) for cell in row] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class Code(str):
    """What is Markdown already."""


def _cell(cell: Any) -> str:
    return cell if isinstance(cell, Code) else escape_markdown(cell)


def find_networks(pipeline: BaseEstimator) -> list[Any]:
    """Return the fitted networks in a model: what has a loss that was fitted to class counts."""
    return [
        item
        for item in walk(pipeline)
        if isinstance(item, BaseEstimator) and {"loss_", "class_counts_"} <= set(vars(item))
    ]


def describe_steps(pipeline: BaseEstimator) -> str:
    """Name the steps, and their parameters that are not the default."""
    rows = []
    for name, step in getattr(pipeline, "steps", None) or [("model", pipeline)]:
        if not isinstance(step, BaseEstimator):
            rows.append((name, step, ""))
            continue
        changed = ", ".join(code(f"{key}={value!r}") for key, value in _changed(step))
        rows.append((name, Code(code(type(step).__name__)), Code(changed or "as by default")))
    header, *body = markdown_table(["step", "estimator", "parameters"], rows).splitlines()
    return "\n".join([header, "| --- | --- | --- |", *body[1:]])


def _changed(estimator: BaseEstimator) -> list[tuple[str, Any]]:
    defaults = inspect.signature(type(estimator)).parameters
    return [
        (name, value)
        for name, value in estimator.get_params(deep=False).items()
        if name not in OF_A_MACHINE
        and (name not in defaults or repr(value) != repr(defaults[name].default))
    ]


def describe_loss(pipeline: BaseEstimator) -> str:
    """Tell what the networks of a model minimised."""
    parts = []
    for network in find_networks(pipeline):
        classes = [str(label) for label in np.asarray(network.classes_).tolist()]
        rows = zip(classes, network.class_counts_, network.class_weight_, strict=True)
        table = markdown_table(
            ["class", "cases that trained", "weight in the loss"],
            [(label, f"{count:g}", f"{weight:.4g}") for label, count, weight in rows],
        )
        sampler = (
            "shuffled" if network.sampler is None else f"drawn by the {network.sampler} sampler"
        )
        # The others keep the last epoch, whichever was the best.
        kept = network.best_epoch_ if network.restore_best_weights else network.n_iter_
        parts.append(
            f"`{type(network).__name__}` minimised {code(repr(network.loss_))}; "
            f"batches were {sampler}. Epoch {kept} of {network.n_iter_} is kept.\n\n{table}"
        )
    return "\n\n".join(parts) or "No step is a network of skcyto; see the parameters below."


def describe_prior(pipeline: BaseEstimator) -> str:
    """Tell under which class prior probabilities stand, and how the class is decided."""
    parts = []
    for network in find_networks(pipeline):
        prior = getattr(network, "predict_proba_prior", None)
        if prior is None and is_reweighted(network):
            text = (
                "stand under the prior that weights, sampler and loss trained, not under the "
                "shares of the classes in the data"
            )
        elif prior is None or isinstance(prior, str):
            text = "stand under the prior of the training cases"
        else:
            shares = zip(np.asarray(network.classes_).tolist(), prior, strict=True)
            text = "stand under the prior " + ", ".join(
                f"{escape_markdown(k)}: {v:.4g}" for k, v in shares
            )
        parts.append(f"Probabilities of `{type(network).__name__}` {text}.")
    tuned = [item for item in walk(pipeline) if hasattr(item, "best_bias_")]
    for item in tuned:
        biases = zip(np.asarray(item.classes_).tolist(), item.best_bias_, strict=True)
        parts.append(
            f"`{type(item).__name__}` adds to the scores before it decides: "
            + ", ".join(f"{escape_markdown(label)} {bias:+.3f}" for label, bias in biases)
            + ". Probabilities are left alone, so that the predicted class need not be the most "
            "probable one."
        )
    if not tuned:
        parts.append("The predicted class is the one that the last step of the model decides for.")
    return " ".join(parts)


def is_reweighted(network: Any) -> bool:
    """Tell whether a network was trained under another class prior than its data's."""
    weight = np.asarray(network.class_weight_, dtype=float)
    return bool(
        network.sampler in ("balanced", "grouped")
        or network.loss_.uses_class_counts
        or not np.allclose(weight, weight[0])
    )
