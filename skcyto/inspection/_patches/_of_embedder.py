"""What each patch of a picture contributes to a feature or to a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skcyto.exceptions import InvalidImageError
from skcyto.feature_extraction import EVA02TokenEmbedder
from skcyto.inspection._pipeline_features import (
    find_feature,
    name_features,
    split_pipeline,
    transform_to_features,
)
from skcyto.inspection._tables import TableEncoder
from skcyto.utils._backbones._transforms import make_transform
from skcyto.utils._images._inputs import as_image_inputs, list_bad_images
from skcyto.utils._images._inputs import explain as explain_error

if TYPE_CHECKING:
    from skcyto.feature_extraction._embedding._tokens import PoolingHead, TokenBackbone

_SMALLEST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class TokenContributions:
    """Maps of some images.

    Attributes
    ----------
    pictures : list of ndarray of shape (image_size, image_size, 3), uint8
        What the network saw: the images, resized and cropped.
    maps : ndarray of shape (n_images, n_rows, n_columns)
        Contribution of each patch.
    targets : list of str
        Feature or class that each map is about.
    values : ndarray of shape (n_images,)
        The whole: value of the feature, or log-odds or margin of the class.
    """

    pictures: list[np.ndarray]
    maps: np.ndarray
    targets: list[str]
    values: np.ndarray


def contribute_by_token(
    pipeline: Any, images: Any, *, feature: str | int | None, label: Any
) -> TokenContributions:
    """Take each patch token out of the pool and see what changes.

    A token is replaced by the mean of the image's patch tokens; what the target loses by this is
    the patch's contribution. Where all that follows the pooling is linear, this is exactly the
    token's own term in the pooled feature, less the mean term.

    Parameters
    ----------
    pipeline : estimator
        Fitted; begins with an embedder that pools patch tokens.
    images : sequence of paths, PIL images or arrays
        Images to map.
    feature : str, int or None
        Feature, among those that reach the classifier, to map.
    label : object
        Class to map where `feature` is None; None takes each image's predicted class.

    Returns
    -------
    contributions : TokenContributions
    """
    steps, classifier = split_pipeline(pipeline)
    embedder = _find_embedder(steps)
    embedded = _embed_without_each_token(embedder, images)
    whole = np.vstack([rows[:1] for _, _, rows in embedded])
    features = _combine(embedder, embedded[0][1], whole, steps[1:])
    table = transform_to_features(steps[1:], features)
    if feature is not None:
        names = name_features(steps, images, table)
        column = find_feature(feature, names)
        targets = [names[column]] * len(features)
    else:
        columns, targets = _find_classes(classifier, table, label)

    pictures, maps, values = [], [], []
    for index, (picture, head, rows) in enumerate(embedded):
        changed = transform_to_features(steps[1:], _combine(embedder, head, rows, steps[1:]))
        if feature is not None:
            scores = TableEncoder(changed).encode(changed)[:, column].astype(np.float64)
        else:
            scores = _class_score(classifier, changed, columns[index])
        pictures.append(picture)
        maps.append(make_map(scores))
        values.append(scores[0])
    return TokenContributions(pictures, np.stack(maps), targets, np.array(values))


def make_map(scores: np.ndarray) -> np.ndarray:
    """Arrange what the target loses without each patch as the patches lie in the picture.

    Parameters
    ----------
    scores : ndarray of shape (1 + n_patches,)
        The target, as it is and then without each patch.

    Returns
    -------
    contributions : ndarray of shape (n_rows, n_columns)

    Raises
    ------
    ValueError
        If the patches form no square.
    """
    n_patches = len(scores) - 1
    side = int(np.sqrt(n_patches))
    if side * side != n_patches:
        raise ValueError(f"{n_patches} patch tokens form no square")
    return (scores[0] - scores[1:]).reshape(side, side)


def _find_embedder(steps: list[tuple[str, Any]]) -> Any:
    if not steps or not isinstance(steps[0][1], EVA02TokenEmbedder):
        raise TypeError(
            "token maps need an EVA02Classifier, or a pipeline whose first step is an "
            "EVA02TokenEmbedder and whose input are images"
        )
    embedder = steps[0][1]
    if embedder._token_names in (["class"], ["pooled"]):
        raise ValueError(
            f"tokens={embedder.tokens!r} pools no patch tokens, so there is nothing to map: use "
            "tokens='image' or 'all'"
        )
    return embedder


def _find_classes(classifier: Any, table: Any, label: Any) -> tuple[list[int], list[str]]:
    classes = [str(label) for label in classifier.classes_]
    if label is None:
        targets = [str(label) for label in classifier.predict(table)]
    elif str(label) in classes:
        targets = [str(label)] * len(table)
    else:
        raise ValueError(f"label={label!r} must be one of {', '.join(classes)}")
    return [classes.index(target) for target in targets], targets


def _class_score(classifier: Any, table: Any, column: int) -> np.ndarray:
    """Log-odds of a class, or its margin: neither saturates as a probability does."""
    if hasattr(classifier, "predict_proba"):
        probability = np.asarray(classifier.predict_proba(table), dtype=np.float64)
        # Summed over the others, as 1 - p loses all digits where p is almost 1.
        rest = np.delete(probability, column, axis=1).sum(axis=1)
        floor = _SMALLEST_PROBABILITY
        return np.log(np.maximum(probability[:, column], floor)) - np.log(np.maximum(rest, floor))
    margin = np.asarray(classifier.decision_function(table), dtype=np.float64)
    if margin.ndim == 1:
        return margin if column == 1 else -margin
    return margin[:, column]


def _embed_without_each_token(
    embedder: EVA02TokenEmbedder, images: Any
) -> list[tuple[np.ndarray, PoolingHead, np.ndarray]]:
    """Return picture, pooling head and embeddings: as they are, then with one token replaced."""
    import torch

    from skcyto.feature_extraction._embedding._loaded_backbones import get_backbone
    from skcyto.utils._devices._device import resolve_device, resolve_precision

    device = resolve_device(embedder.device)
    precision = resolve_precision(embedder.precision, device)
    source = embedder._source
    backbone: TokenBackbone = get_backbone(
        source, embedder._weights_identity, device, embedder._kind
    )
    info = source.describe()
    transform = make_transform(info)
    inputs = as_image_inputs(images)
    results = []
    for index in range(len(inputs)):
        try:
            pixels: torch.Tensor = transform(inputs.load(index).decode())
        except MemoryError:
            raise
        except Exception as error:  # Each of Pillow's decoders fails in its own way.
            raise InvalidImageError(
                list_bad_images(inputs, {index: explain_error(error)})
            ) from None
        class_token, patches = backbone.forward_tokens(pixels[None], precision)
        tokens = patches[0].cpu().numpy()
        mean = tokens.mean(axis=0)
        pooled = np.vstack([mean, mean - (tokens - mean) / len(tokens)])
        prefix = np.tile(class_token.cpu().numpy(), (len(pooled), 1))
        picture = pixels.permute(1, 2, 0).numpy()
        results.append((picture, backbone.head, np.hstack([prefix, pooled])))
    return results


def _combine(
    embedder: EVA02TokenEmbedder,
    head: PoolingHead,
    rows: np.ndarray,
    following: Sequence[tuple[str, Any]],
) -> Any:
    from skcyto.feature_extraction._embedding._tokens import combine_tokens

    features = combine_tokens(rows, head, embedder._token_names, embedder.final_norm)
    if following and hasattr(following[0][1], "feature_names_in_"):
        return pd.DataFrame(features, columns=embedder.get_feature_names_out())
    return features
