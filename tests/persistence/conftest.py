"""A small pipeline with a network in every place, and its folder."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import skcyto
from skcyto.datasets import make_cell_images
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.feature_selection import ImportanceThresholdSelector
from skcyto.losses import Focal
from skcyto.neural_network import ImbalancedMLPClassifier

MODEL = "eva02_tiny_patch14_224"


def write_fine_tuned_weights(path, image_size=28):
    """Write weights with a head, as a fine-tuned model's checkpoint has."""
    import timm
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(3)
    model = timm.create_model(MODEL, num_classes=3, img_size=image_size)
    state = {
        name: tensor + 0.02 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in model.state_dict().items()
    }
    save_file(state, str(path))


@pytest.fixture(scope="session")
def cells():
    """Synthetic cells of three classes."""
    return make_cell_images(
        60,
        class_proportions={"healthy": 0.4, "rubbish": 0.4, "unhealthy": 0.2},
        image_size=48,
        random_state=0,
    )


@pytest.fixture(scope="session")
def saved(cells, tmp_path_factory):
    """Embedder with weights of a file, selector and network: fitted, and saved without the file."""
    folder = tmp_path_factory.mktemp("saved")
    write_fine_tuned_weights(folder / "tuned.safetensors")
    embedder = EVA02TokenEmbedder(
        MODEL,
        ["class", "image"],
        weights=folder / "tuned.safetensors",
        image_size=28,
        cache=folder / "cache",
    )
    selector = ImportanceThresholdSelector(LogisticRegression(C=0.1), threshold="median")
    classifier = ImbalancedMLPClassifier(
        (32, 0.25), loss=Focal(gamma=1.5), class_weight="balanced", max_epochs=8, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = make_pipeline(embedder, selector, classifier).fit(cells.images, cells.target)
    probabilities = pipeline.predict_proba(cells.images)
    path = skcyto.save(pipeline, folder / "model", card="# A model\n")
    (folder / "tuned.safetensors").unlink()
    return SimpleNamespace(path=path, pipeline=pipeline, probabilities=probabilities)


@pytest.fixture(scope="session")
def table():
    """Rows of two classes with names."""
    rng = np.random.default_rng(0)
    y = np.where(rng.random(120) < 0.3, "ill", "well")
    X = rng.normal(size=(120, 8)) + 1.5 * (y == "ill")[:, np.newaxis] * (np.arange(8) < 3)
    return X, y
