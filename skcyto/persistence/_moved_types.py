"""Where types lived when saved models named the private modules that held them."""

from __future__ import annotations

from typing import Any

# Full name in files of format version 1 before public paths, and the package that has it now.
# The list is closed: since then files hold public paths.
_FORMER: dict[str, dict[str, tuple[str, ...]]] = {
    "skcyto.feature_extraction": {
        "_eva02_token_embedder": ("EVA02TokenEmbedder",),
        "_radiomics._extractor": ("RadiomicsExtractor",),
    },
    "skcyto.feature_selection": {
        "_correlation_ttest_filter": ("CorrelationTTestFilter",),
        "_importance_threshold_selector": ("ImportanceThresholdSelector",),
    },
    "skcyto.losses": {
        "_cross_entropy": ("CrossEntropy", "WeightedCrossEntropy"),
        "_focal": ("ClassBalanced", "Focal", "Poly1"),
        "_logit_adjustment": ("BalancedSoftmax", "LogitAdjusted", "VectorScaling"),
        "_margin": ("LDAM",),
        "_soft_f1": ("SoftF1",),
        "_worst_case": ("CVaR", "GroupDRO", "Minimax"),
    },
    "skcyto.metrics": {
        "_classification": ("average_f1_score", "recall_per_class"),
        "_probabilistic": (
            "expected_calibration_error",
            "macro_average_precision_score",
            "macro_roc_auc_score",
        ),
    },
    "skcyto.model_selection": {
        "_logit_bias": ("TunedLogitBiasClassifierCV",),
        "_splits": ("RepeatedStratifiedGroupKFold",),
    },
    "skcyto.neural_network": {
        "_eva02_classifier": ("EVA02Classifier",),
        "_imbalanced_mlp_classifier": ("ImbalancedMLPClassifier",),
    },
    "skcyto.persistence": {"_tables": ("SavedTable",)},
}
_PUBLIC_PACKAGES = {
    f"{package}.{module}.{name}": package
    for package, modules in _FORMER.items()
    for module, names in modules.items()
    for name in names
}


def use_public_names(schema: Any) -> bool:
    """Replace, in place, private modules of former versions by the public packages.

    Parameters
    ----------
    schema : object
        Parsed content of a skops file's schema.json.

    Returns
    -------
    changed : bool
    """
    changed = False
    waiting = [schema]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            for module, name in (("__module__", "__class__"), ("module_path", "function")):
                package = _PUBLIC_PACKAGES.get(f"{item.get(module)}.{item.get(name)}")
                if package is not None:
                    item[module] = package
                    changed = True
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return changed
