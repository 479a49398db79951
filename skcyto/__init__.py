"""scikit-learn estimators for cytology images and radiomics under class imbalance.

The subpackages carry scikit-learn's own names, so a thing is found where scikit-learn has its
like: ``skcyto.feature_extraction``, ``skcyto.feature_selection``, ``skcyto.neural_network``,
``skcyto.model_selection``, ``skcyto.metrics``, ``skcyto.inspection`` and ``skcyto.datasets``;
``skcyto.losses`` holds the imbalance losses. They are imported on first use: ``import skcyto``
alone loads neither torch nor timm nor pyradiomics.

Estimators and the functions of the first steps can be imported from ``skcyto`` itself, too:
``from skcyto import compare_models``. A fitted pipeline is saved by ``skcyto.save``, read by
``skcyto.load`` and described by ``skcyto.model_card``; ``skcyto.show_versions`` prints what a bug
report needs.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0.dev0"  # the only place: the metadata read it from here

_SUBMODULES = (
    "datasets",
    "exceptions",
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
_SHORTCUTS = {
    "CorrelationTTestFilter": "feature_selection",
    "EVA02Classifier": "neural_network",
    "EVA02TokenEmbedder": "feature_extraction",
    "ImbalancedMLPClassifier": "neural_network",
    "ImportanceThresholdSelector": "feature_selection",
    "OptunaSearchCV": "model_selection",
    "RadiomicsExtractor": "feature_extraction",
    "TunedLogitBiasClassifierCV": "model_selection",
    "compare_models": "model_selection",
    "embed_to_parquet": "feature_extraction",
    "explain": "inspection",
    "load": "persistence",
    "load_image_folder": "datasets",
    "load_image_mask_folder": "datasets",
    "make_cell_images": "datasets",
    "model_card": "persistence",
    "save": "persistence",
    "show_versions": "utils",
    "suggest_space": "model_selection",
}

__all__ = [*_SUBMODULES, *_SHORTCUTS, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"skcyto.{name}")
    if name in _SHORTCUTS:
        return getattr(import_module(f"skcyto.{_SHORTCUTS[name]}"), name)
    raise AttributeError(f"module 'skcyto' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
