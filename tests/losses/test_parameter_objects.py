"""Losses as scikit-learn sees them: parameters, clones, names; and bad input."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import ParameterGrid

from skcyto.exceptions import MissingClassWarning
from skcyto.losses import (
    LDAM,
    ClassBalanced,
    Criterion,
    CrossEntropy,
    CVaR,
    Focal,
    GroupDRO,
    LogitAdjusted,
    Loss,
    Minimax,
    Poly1,
    VectorScaling,
    WeightedCrossEntropy,
    available,
    compute_class_weight,
    get_loss,
)

NAMES = [
    "ce",
    "wce",
    "focal",
    "ldam",
    "class_balanced",
    "balanced_softmax",
    "logit_adjusted",
    "vector_scaling",
    "minimax",
    "group_dro",
    "cvar",
    "soft_f1",
    "poly1",
]


def test_names():
    assert available() == NAMES
    for name in NAMES:
        assert get_loss(name).name == name


def test_documented_flags():
    flags = {
        flag: {name for name in NAMES if getattr(get_loss(name), flag)}
        for flag in ("needs_cosine_head", "uses_class_counts", "needs_every_class_in_batch")
    }
    assert flags == {
        "needs_cosine_head": {"ldam"},
        "uses_class_counts": {
            "wce",
            "ldam",
            "class_balanced",
            "balanced_softmax",
            "logit_adjusted",
            "vector_scaling",
        },
        "needs_every_class_in_batch": {"minimax", "group_dro", "soft_f1"},
    }


def test_default_parameters_are_the_specification():
    assert {name: get_loss(name).get_params() for name in NAMES} == {
        "ce": {"label_smoothing": 0},
        "wce": {"label_smoothing": 0},
        "focal": {"gamma": 2},
        "ldam": {"max_margin": 0.5, "scale": 30, "drw_start": None},
        "class_balanced": {"beta": 0.9999, "gamma": 0},
        "balanced_softmax": {},
        "logit_adjusted": {"tau": 1},
        "vector_scaling": {"gamma": 0.3, "tau": 1},
        "minimax": {"grouping": "class", "temperature": 0},
        "group_dro": {"step_size": 0.01},
        "cvar": {"alpha": 0.5},
        "soft_f1": {},
        "poly1": {"epsilon": 1},
    }


@pytest.mark.parametrize("name", NAMES)
def test_clone_pickle_equality(name):
    loss = get_loss(name)
    for copy in (clone(loss), pickle.loads(pickle.dumps(loss))):
        assert copy is not loss
        assert copy == loss
        assert hash(copy) == hash(loss)
        assert repr(copy) == repr(loss) == f"{type(loss).__name__}()"
    assert loss != "focal"
    assert loss != GroupDRO(step_size=0.5)
    assert get_loss(loss) is loss


def test_repr_shows_what_was_changed():
    assert repr(LDAM(scale=20, drw_start=0.8)) == "LDAM(scale=20, drw_start=0.8)"
    assert repr(Minimax(grouping="chunk")) == "Minimax(grouping='chunk')"
    assert eval(repr(Focal(gamma=1.5))) == Focal(gamma=1.5)


def test_equality_is_of_class_and_parameters():
    assert Focal(gamma=2) == Focal(gamma=2.0) != Focal(gamma=1)
    assert CrossEntropy() != WeightedCrossEntropy()
    assert len({Focal(), Focal(gamma=2.0), Focal(gamma=1), CrossEntropy()}) == 3


class Model(BaseEstimator):
    def __init__(self, loss="ce"):
        self.loss = loss


def test_searches_through_an_estimator():
    model = Model(loss=Focal())
    assert model.get_params()["loss__gamma"] == 2
    copy = clone(model).set_params(loss__gamma=0.5)
    assert copy.loss == Focal(gamma=0.5)
    assert model.loss == Focal()
    grid = ParameterGrid([{"loss": ["ce", Focal(), LDAM()]}, {"loss__gamma": [1, 2]}])
    assert [clone(model).set_params(**params).loss for params in grid] == [
        "ce",
        Focal(),
        LDAM(),
        Focal(gamma=1),
        Focal(gamma=2),
    ]
    assert "Focal(gamma=0.5)" in repr(copy)


def test_unknown_parameter():
    with pytest.raises(ValueError, match=r"Focal has no parameter 'alpha'; it has \['gamma'\]"):
        Focal().set_params(alpha=1)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"Did you mean 'focal'\? Available: ce, wce, "):
        get_loss("Focal")
    with pytest.raises(ValueError, match="Did you mean 'group_dro'"):
        get_loss("group-dro")
    with pytest.raises(ValueError, match="Did you mean 'wce' or 'ce'"):
        get_loss("wces")
    with pytest.raises(ValueError, match=r"loss='zzz' is unknown\. Available"):
        get_loss("zzz")
    with pytest.raises(TypeError, match=r"did you mean Focal\(\)\?"):
        get_loss(Focal)
    with pytest.raises(TypeError, match="must be a name or an object"):
        get_loss(3)


@pytest.mark.parametrize("weight", [["much", "little"], object(), [[1, 2], [3]]])
def test_class_weights_that_are_no_numbers_are_named(weight):
    with pytest.raises(TypeError, match=r"class_weight=.* must be None, one of .* or a sequence"):
        compute_class_weight(weight, [3, 4])


BAD_PARAMETERS = [
    (ClassBalanced(beta=1.0), r"beta=1\.0 must lie in \[0, 1\)"),
    (CrossEntropy(label_smoothing=1), r"label_smoothing=1 must lie in \[0, 1\)"),
    (CrossEntropy(label_smoothing="a"), "label_smoothing='a' must be a number"),
    (Focal(gamma=-0.1), "gamma=-0.1 must be a finite number of at least 0"),
    (Focal(gamma=float("nan")), "gamma"),
    (Focal(gamma=True), "must be a number"),
    (LDAM(max_margin=-1), "max_margin"),
    (LDAM(scale=0), "scale=0 must be a finite number above 0"),
    (LDAM(drw_start=1.1), "drw_start"),
    (ClassBalanced(beta=1), "beta"),
    (ClassBalanced(gamma=-1), "gamma"),
    (LogitAdjusted(tau=-1), "tau"),
    (VectorScaling(gamma=-1), "gamma"),
    (VectorScaling(tau=float("inf")), "tau"),
    (Minimax(grouping="batch"), r"grouping='batch' must be one of \['chunk', 'class'\]"),
    (Minimax(temperature=-1), "temperature"),
    (GroupDRO(step_size=-1), "step_size"),
    (CVaR(alpha=0), "alpha"),
    (CVaR(alpha=1.01), "alpha"),
    (Poly1(epsilon=-1.1), "epsilon"),
]


@pytest.mark.parametrize(("loss", "message"), BAD_PARAMETERS, ids=repr)
def test_bad_parameters_are_named_at_build(loss, message):
    with pytest.raises(ValueError, match=message):
        loss.build([9, 3])


def test_parameters_of_numpy_types():
    assert Focal(gamma=np.float32(2)).build([9, 3]).gamma == 2
    assert CVaR(alpha=np.float64(0.5)).build(np.array([9, 3])).alpha == 0.5
    LDAM(max_margin=np.int64(1)).build(torch.tensor([9, 3]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_counts": [3]}, "two or more classes"),
        ({"class_counts": [[3, 3]]}, "two or more classes"),
        ({"class_counts": [3, -1]}, "not negative"),
        ({"class_counts": [3, float("nan")]}, "finite"),
        ({"class_counts": [0, 0]}, "all zero"),
        ({"class_counts": [3, 3], "reduction": "mean"}, "reduction='mean' must be one of"),
        ({"class_counts": [3, 3], "class_weight": "inverse"}, "class_weight='inverse' is unknown"),
        ({"class_counts": [3, 3], "class_weight": [1, 2, 3]}, "one weight a class|give one weight"),
        ({"class_counts": [3, 3], "class_weight": [1, -1]}, "not negative"),
        ({"class_counts": [3, 3], "class_weight": [0, 0]}, "zero for every class"),
        ({"class_counts": [3, 3], "class_weight": {0: 1, 1: 2}}, "in the order of the classes"),
    ],
)
def test_bad_arguments_of_build(arguments, message):
    with pytest.raises(ValueError, match=message):
        CrossEntropy().build(**arguments)


def test_class_weight_rules():
    counts = [50371, 28895, 5814]
    n = sum(counts)
    assert compute_class_weight(None, counts).tolist() == [1, 1, 1]
    assert compute_class_weight("balanced", counts).tolist() == pytest.approx(
        [n / (3 * c) for c in counts]
    )
    assert compute_class_weight("max_ratio", counts).tolist() == pytest.approx(
        [1, 1.743, 8.664], abs=5e-4
    )
    effective = compute_class_weight("effective", counts, beta=0.999)
    raw = [(1 - 0.999) / (1 - 0.999**c) for c in counts]
    assert effective.tolist() == pytest.approx([3 * r / sum(raw) for r in raw])
    assert effective.sum().item() == pytest.approx(3)
    assert compute_class_weight([2, 3, 4], counts).tolist() == [2, 3, 4]
    with pytest.raises(ValueError, match="beta=1"):
        compute_class_weight("effective", counts, beta=1)


def test_effective_weights_keep_their_digits():
    # In exact arithmetic; 1 - beta**n in doubles is off by 5e-10 here.
    beta = 1 - 1e-12
    exact = [(1 - Fraction(beta)) / (1 - Fraction(beta) ** n) for n in (1000, 3)]
    expected = [float(2 * w / sum(exact)) for w in exact]
    weight = compute_class_weight("effective", [1000, 3], beta=beta)
    assert weight.tolist() == pytest.approx(expected, rel=1e-13)


def test_given_class_weights_win_over_wce():
    assert WeightedCrossEntropy().build([9, 3], class_weight=[1, 1]).class_weight.tolist() == [1, 1]
    assert ClassBalanced().build([9, 3], class_weight="effective").class_weight[0] < 1


def test_absent_class_never_outweighs_small_counts():
    """Sums of small sample weights: an absent class takes the smallest of them, not 1."""
    with pytest.warns(MissingClassWarning):
        criterion = CrossEntropy().build([0.9, 0.1, 0.0], class_weight="balanced")
    assert criterion.class_counts.tolist() == [0.9, 0.1, 0.1]


class Doubled(Criterion):
    def sample_losses(self, logits, target):
        return 2 * super().sample_losses(logits, target)


class Twice(Loss):
    name = "twice"

    def make_criterion(self, class_counts, *, class_weight, reduction, max_epochs):
        return Doubled(class_counts, class_weight=class_weight, reduction=reduction)


def test_a_loss_of_ones_own():
    loss = get_loss(Twice())
    assert clone(loss) == loss
    logits, target = torch.randn(9, 2, dtype=torch.float64), torch.arange(9) % 2
    weight = torch.rand(9, dtype=torch.float64)
    own = loss.build([9, 3], class_weight="balanced")
    plain = CrossEntropy().build([9, 3], class_weight="balanced")
    assert own(logits, target, weight) == pytest.approx(2 * plain(logits, target, weight))
    # Nothing is known about its minimum, so no correction is claimed.
    with pytest.raises(ValueError, match="CalibratedClassifierCV"):
        own.log_prior_correction()
