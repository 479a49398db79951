"""Classes, groups and seeds of synthetic samples, the same however many are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

ClassProportions = Mapping[str, float] | Sequence[float] | None


def check_proportions(
    class_proportions: ClassProportions, names: Sequence[str], default: Mapping[str, float]
) -> dict[str, float]:
    """Turn a `class_proportions` parameter into the share of each class that is to occur.

    Parameters
    ----------
    class_proportions : dict of str to float, sequence of float or None
        Shares by class name, or in the order of `names`; None for `default`.
    names : sequence of str
        The classes that can be drawn.
    default : dict of str to float
        Shares where `class_proportions` is None.

    Returns
    -------
    shares : dict of str to float
        Positive shares that sum to 1, sorted by class name.

    Raises
    ------
    ValueError
        If a class is unknown, the number of shares is wrong, or they are not usable shares.
    """
    if class_proportions is None:
        class_proportions = default
    if not isinstance(class_proportions, Mapping):
        values = [float(share) for share in class_proportions]
        if len(values) != len(names):
            raise ValueError(
                f"class_proportions has {len(values)} values for the {len(names)} classes "
                f"{list(names)}; "
                "a dict such as {'" + names[0] + "': 0.5, ...} names them"
            )
        class_proportions = dict(zip(names, values, strict=True))
    unknown = [name for name in class_proportions if name not in names]
    if unknown:
        raise ValueError(
            f"class_proportions names the class {unknown[0]!r}; there are {list(names)}"
        )
    shares = {name: float(class_proportions[name]) for name in sorted(class_proportions)}
    if any(not np.isfinite(share) or share < 0 for share in shares.values()):
        raise ValueError(f"class_proportions must be finite and not negative, got {shares}")
    total = sum(shares.values())
    if total <= 0:
        raise ValueError("class_proportions must have at least one positive value")
    return {name: share / total for name, share in shares.items() if share > 0}


def draw_classes(n: int, shares: Mapping[str, float], seed: int) -> list[str]:
    """Draw a class for each of `n` samples so that every beginning keeps the shares.

    The first samples hold one of each class; from then on a class is drawn with a probability
    proportional to what it lacks. Counts stay within about one of the exact shares (plus the
    first round), and the first k classes do not depend on `n`.

    Parameters
    ----------
    n : int
        Number of samples.
    shares : dict of str to float
        Shares that sum to 1.
    seed : int
        Seed of the order.

    Returns
    -------
    classes : list of str of length n
    """
    rng = np.random.default_rng([seed, 0])
    names = list(shares)
    share = np.array([shares[name] for name in names])
    counts = np.zeros(len(names))
    drawn: list[str] = []
    first = rng.permutation(len(names))
    for i in range(n):
        if i < len(names):
            pick = int(first[i])
        else:
            lack = np.maximum(share * (i + 1) - counts, 0.0)
            pick = int(np.searchsorted(np.cumsum(lack), rng.random() * lack.sum(), side="right"))
            pick = min(pick, len(names) - 1)
        counts[pick] += 1
        drawn.append(names[pick])
    return drawn


def sample_rng(seed: int, *keys: int) -> np.random.Generator:
    """Return the generator of one sample (or slide, or patient), independent of all others."""
    return np.random.default_rng([seed, *(key + 1 for key in keys)])
