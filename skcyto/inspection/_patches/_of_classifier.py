"""What each patch of a picture contributes to a class of a fine-tuned image classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skcyto.exceptions import InvalidImageError
from skcyto.inspection._patches._of_embedder import TokenContributions, make_map
from skcyto.inspection._pipeline_features import without_tuners
from skcyto.neural_network import EVA02Classifier
from skcyto.utils._backbones._transforms import make_transform, normalize_pixels
from skcyto.utils._images._inputs import as_image_inputs, list_bad_images
from skcyto.utils._images._inputs import explain as explain_error

_SAME = 1e-3  # of the size of the features: what rounding may do to them


def contribute_to_classes(classifier: Any, images: Any, label: Any) -> TokenContributions:
    """Take each patch token out of the network's own pool and see what the log-odds lose.

    As for tokens of an embedder: a token is replaced by the mean of the image's patch tokens. What
    follows the pool (its norm, the head, the scores of the loss) is the classifier's own.

    Parameters
    ----------
    classifier : EVA02Classifier, or what tunes the decision of one
        Fitted.
    images : sequence of paths, PIL images or arrays
        Images to map.
    label : object
        Class to map; None takes each image's predicted class.

    Returns
    -------
    contributions : TokenContributions

    Raises
    ------
    ValueError
        If the network pools no patch tokens by their mean, or there is no such class.
    InvalidImageError
        If an image cannot be read.
    """
    classes = [str(label) for label in classifier.classes_]
    if label is not None and str(label) not in classes:
        raise ValueError(f"label={label!r} must be one of {', '.join(classes)}")
    inputs = as_image_inputs(images)
    if label is None:
        targets = [str(label) for label in classifier.predict(images)]
    else:
        targets = [str(label)] * len(inputs)
    model: EVA02Classifier = without_tuners(classifier)
    model.network_.eval()
    transform = make_transform(model._describe())
    pictures, maps, values = [], [], []
    for index, target in enumerate(targets):
        try:
            pixels = transform(inputs.load(index).decode())
        except MemoryError:
            raise
        except Exception as error:  # Each of Pillow's decoders fails in its own way.
            raise InvalidImageError(
                list_bad_images(inputs, {index: explain_error(error)})
            ) from None
        with torch.inference_mode():
            logits = model.network_.head(_features_without_each_token(model, pixels))
            scores = model.criterion_.scores(logits).double()
            column = classes.index(target)
            rest = torch.cat([scores[:, :column], scores[:, column + 1 :]], dim=1)
            log_odds = (scores[:, column] - rest.logsumexp(dim=1)).cpu().numpy()
        pictures.append(pixels.permute(1, 2, 0).numpy())
        maps.append(make_map(log_odds))
        values.append(log_odds[0])
    return TokenContributions(pictures, np.stack(maps), targets, np.array(values))


def _features_without_each_token(classifier: EVA02Classifier, pixels: torch.Tensor) -> torch.Tensor:
    """Return what reaches the head: as it is, then with one patch token replaced."""
    network = classifier.network_
    backbone: Any = network.backbone
    tokens = backbone.forward_features(normalize_pixels(pixels[None], network.mean, network.std))
    patches = tokens[0, backbone.num_prefix_tokens :]
    mean = patches.mean(dim=0, keepdim=True)
    features = torch.cat([mean, mean - (patches - mean) / len(patches)])
    # Models that pool nothing but the class token may have no norm after the pool.
    features = getattr(backbone, "fc_norm", torch.nn.Identity())(features)
    expected = backbone.forward_head(tokens, pre_logits=True)
    if (features[:1] - expected).abs().max() > _SAME * expected.abs().max():
        raise ValueError(
            f"the head of model_name={classifier.model_name!r} does not stand on the mean of the "
            "patch tokens, so that patches contribute to it by attention alone and there is "
            "nothing to map: fine-tune in a pipeline instead, EVA02TokenEmbedder(tokens='image', "
            "finetune=EVA02Classifier(...)) and a classifier, and map that"
        )
    return features
