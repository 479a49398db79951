"""One word for one idea: every public signature is held to the table of words."""

import importlib
import inspect

import pytest

from skcyto.losses import Criterion, Loss

PACKAGES = (
    "datasets",
    "feature_extraction",
    "feature_selection",
    "inspection",
    "losses",
    "metrics",
    "model_selection",
    "neural_network",
    "persistence",
    "utils",
)

# Words that are not used, and what is said instead.
INSTEAD = {
    "C": "max_margin",
    "cache_dir": "cache",
    "checkpoint_dir": "checkpoint",
    "confidence": "confidence_level",
    "directory": "path",
    "memory": "cache",
    "n_bootstrap": "n_resamples",
    "p_value": "pvalue",
    "p_values": "pvalues",
    "root": "path",
    "target": "y",
}
# Words of one meaning, and who else may use them: torch's criteria say target, as torch does.
ONLY_IN = {
    "class_name": {"GroupImportanceDisplay.__init__", "ImportanceDisplay.__init__"},  # a caption
    "weights": {"EVA02Classifier.__init__", "EVA02TokenEmbedder.__init__"},
}
# One default wherever a parameter has one.
DEFAULTS = {
    "ax": None,
    "confidence_level": 0.95,
    "device": None,
    "early_stopping": False,
    "groups": None,
    "n_jobs": None,
    "normalize": True,
    "on_error": "raise",
    "pos_label": None,
    "random_state": None,
    "reduction": "weight_sum",
    "sample_weight": None,
    "sampler": None,
    "validation_fraction": 0.1,
    "verbose": 0,
    "y": None,
}
# Where another default is meant: networks run where they can, a loaded model where it did.
OTHER_DEFAULT = {"device": {"auto", "cpu"}}
BY_NAME_ONLY = {"confidence_level", "groups", "n_resamples", "random_state", "sample_weight"}


def signatures():
    """Yield a name and the signature of all that is public."""
    for package in PACKAGES:
        module = importlib.import_module(f"skcyto.{package}")
        for name in module.__all__:
            item = getattr(module, name)
            if not inspect.isclass(item):
                yield name, inspect.signature(item)
                continue
            if issubclass(item, Exception) or hasattr(item, "_fields"):
                continue
            for method, function in inspect.getmembers(item, callable):
                is_own = str(getattr(function, "__module__", None)).startswith("skcyto")
                if is_own and (method == "__init__" or not method.startswith("_")):
                    yield f"{name}.{method}", inspect.signature(function)


PARAMETERS = [
    (name, parameter)
    for name, signature in signatures()
    for parameter in signature.parameters.values()
    if parameter.name not in ("self", "cls")
]


def is_of_torch(name):
    """Criteria are called as torch's own: by position, with a target."""
    module = importlib.import_module("skcyto.losses")
    item = getattr(module, name.partition(".")[0], None)
    return inspect.isclass(item) and issubclass(item, Criterion | Loss)


def test_no_word_has_a_synonym():
    found = {
        (name, p.name, INSTEAD[p.name])
        for name, p in PARAMETERS
        if p.name in INSTEAD and not is_of_torch(name)
    }
    assert found == set()


@pytest.mark.parametrize("word", sorted(ONLY_IN))
def test_a_word_of_one_meaning_is_used_for_it_alone(word):
    assert {name for name, p in PARAMETERS if p.name == word} <= ONLY_IN[word]


@pytest.mark.parametrize("word", sorted(DEFAULTS))
def test_a_parameter_has_one_default(word):
    found = {
        (name, p.default)
        for name, p in PARAMETERS
        if p.name == word and p.default is not p.empty and p.default != DEFAULTS[word]
    }
    assert {(n, d) for n, d in found if d not in OTHER_DEFAULT.get(word, ())} == set()


def test_what_is_easily_mixed_up_is_given_by_name():
    # Splitters have scikit-learn's own signatures, and one argument alone is not mixed up.
    by_position = {".split", ".get_n_splits", ".quantiles"}
    found = {
        (name, p.name)
        for name, p in PARAMETERS
        if p.name in BY_NAME_ONLY
        and not name.endswith(tuple(by_position))
        and p.kind is not p.KEYWORD_ONLY
        and p.default is not p.empty
        and not is_of_torch(name)
    }
    assert found == set()


def test_the_classifiers_have_one_set_of_parameters():
    from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier
    from skcyto.neural_network._neural_classifier import TRAINING_PARAMETERS

    for classifier in (EVA02Classifier, ImbalancedMLPClassifier):
        assert set(TRAINING_PARAMETERS) <= set(inspect.signature(classifier).parameters)
        for method in ("predict", "predict_proba", "predict_log_proba", "set_params"):
            assert getattr(classifier, method) is getattr(EVA02Classifier.__mro__[1], method)
