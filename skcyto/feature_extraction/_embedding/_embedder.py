"""Images to the pooled tokens of a vision transformer."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import nullcontext
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from skcyto.exceptions import InvalidImageError, InvalidInputWarning, RandomWeightsWarning
from skcyto.feature_extraction._embedding._cache import EmbeddingCache
from skcyto.feature_extraction._embedding._fine_tuned import (
    FineTunedSource,
    fine_tune,
    network_parameters,
)
from skcyto.utils._backbones._options import (
    INTERPOLATIONS,
    BackboneOptions,
    BackboneRequest,
    options_of,
)
from skcyto.utils._backbones._source import (
    BackboneInfo,
    BackboneSource,
    describe_backbone,
    resolve_weights_path,
)
from skcyto.utils._devices._device import resolve_device, resolve_precision
from skcyto.utils._images._decoding import describe_reader
from skcyto.utils._images._inputs import check_image_input, list_bad_images
from skcyto.utils._prefetch import resolve_n_threads
from skcyto.utils._progress import progress_bar
from skcyto.utils._random import draw_seed
from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    import torch

    from skcyto.neural_network import EVA02Classifier

_TOKENS = ("class", "image", "all")
# Tokens of a batch, with batch_size="auto": few on a CPU, whose caches hold no more.
_CPU_BATCH_TOKENS = 4096
_GPU_BATCH_TOKENS = 65536
_MAX_BATCH_SIZE = 512
# Raise it when an embedding would come out otherwise than before for a reason not named elsewhere.
_FORMAT_VERSION = 1


class EVA02TokenEmbedder(TransformerMixin, BaseEstimator):
    """Embed images by the pooled tokens of a pretrained vision transformer.

    Each image goes through a transformer of `timm <https://huggingface.co/docs/timm>`_, EVA-02 [1]_
    by default, and its class token, the mean of its patch tokens, or the mean of both becomes a row
    of features [2]_. Images are prepared as timm says for the model: size, interpolation, crop,
    mean and standard deviation.

    Nothing is learnt from the data unless `finetune` is given, so the estimator may stand in front
    of, or inside, any cross-validation. With a `cache`, each image goes through the network once,
    however many folds, processes and runs ask for it.

    Parameters
    ----------
    model_name : str, default="eva02_base_patch14_448.mim_in22k_ft_in22k_in1k"
        Name of a timm vision transformer: EVA-02, ViT, DINOv2 and DINOv3 (with or without
        registers), CLIP, SigLIP, BEiT, DeiT and others. A tag after the dot names the training.

    tokens : {"class", "image", "all"} or list of these, default="all"
        What becomes of an image's tokens:

        - "class": the class token;
        - "image": the mean of the patch tokens;
        - "all": the mean of class token and patch tokens together.

        Several are concatenated in the order given. Registers and distillation tokens belong to
        none of these, as they do not describe a place nor, by themselves, the image. A model
        without a class token has "image" only.

    final_norm : bool or "image", default=True
        Whether the model's own final norm is applied, to the pooled vector. False gives the
        output of the last block as it is. "image" is the mixture used in [2]_: "image" with the
        norm, "class" and "all" without. The few models that have no final norm give the same in
        each case.

    weights : str, path or None, default="pretrained"
        "pretrained" takes timm's weights for the model, from the local cache of the Hugging Face
        Hub or from the network. A path names a `.safetensors` file, or a `.pth` file that holds
        tensors only: a position embedding of another image size is resampled, a classifier is
        dropped, and any other weight that is missing or has no place is an error. None gives
        random weights, drawn with `random_state`, and a warning.

    image_size : int or None, default=None
        Height and width to which images are brought, in pixels; a multiple of the model's patch
        size. None takes the one that the weights file states (see `mean`), else the model's own.

    mean, std : sequence of 3 floats or None, default=None
        Mean and standard deviation of red, green and blue, of pixels between 0 and 1, by which
        images are standardized. None takes those that the weights file states, in its metadata or
        in a ``config.json`` of timm beside it, else timm's for the model.

    crop_pct : float or None, default=None
        Share of the resized image's edge that is kept, in (0, 1]; None as for `mean`.

    interpolation : {"bicubic", "bilinear", "nearest", "lanczos"} or None, default=None
        Of the resizing; None as for `mean`.

    finetune : EVA02Classifier or None, default=None
        Fine-tunes the network on the images and labels given to `fit`, before it embeds. The
        network is then the one that the classifier describes: leave `model_name`, `weights` and
        `image_size` to it. It sees the training fold only, so the embedder must stand inside the
        cross-validation. A `cache` keeps apart what different weights made of an image.

    batch_size : int or "auto", default="auto"
        Images of one forward pass. "auto" goes by device and number of patches. Where the device's
        memory is too small, it is halved until it is enough.

    device : str or torch.device, default="auto"
        Where the network runs; "auto" takes CUDA, then MPS, then the CPU.

    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        What the network computes in; "auto" is bfloat16 on CUDA devices that have it, float32
        elsewhere. The features are float32 in any case.

    cache : str, path, EmbeddingCache or None, default=None
        Folder, or :class:`EmbeddingCache`, that keeps embeddings on disk.

    on_error : {"raise", "nan"}, default="raise"
        What to do about images that cannot be read: raise one error that lists all of them with
        the reason of each, or give rows of NaN and a warning with the same list. With "nan",
        `finetune` is trained on the images that can be read; a warning lists those left out.

    n_jobs : int or None, default=None
        Threads that read and decode images beside the network. None takes one per core, at most
        8; -1 takes one per core.

    random_state : int, RandomState instance or None, default=None
        Draws the random weights where `weights` is None; nothing else is random.

    verbose : int or bool, default=0
        Whether a progress bar is shown.

    Attributes
    ----------
    embedding_dim_ : int
        Length of one token.

    finetune_ : EVA02Classifier
        The fitted classifier, a classifier of images in its own right; only with `finetune`.

    image_size_ : int
        Height and width to which images are brought, in pixels.

    n_features_in_ : int
        Always 1: the column that holds the images.

    feature_names_in_ : ndarray of shape (1,)
        Name of that column; only where `fit` was given a data frame.

    n_forward_images_ : int
        Images that went through the network in the last call of `transform`: those neither in the
        cache nor equal to an earlier image of the call.

    batch_size_ : int
        Images of one forward pass at the end of the last call of `transform`.

    See Also
    --------
    EmbeddingCache : Embeddings on disk, shared by folds, processes and runs.
    skcyto.neural_network.EVA02Classifier : Fine-tunes the network.

    Notes
    -----
    timm applies the final norm to each token before pooling in some models (ViT, DINOv2, CLIP) and
    to the pooled vector in others (EVA-02, BEiT). Here it is applied to the pooled vector in all,
    which is the same for "class"; for "image", the first kind's own average pooling is the mean of
    normed tokens instead.

    Grayscale, palette, CMYK and 16-bit images are converted to 8-bit RGB, transparency is laid over
    white, and the orientation in EXIF is applied. Of a file with several frames the first counts.

    Pickles hold no weights: they are loaded again, and checked to be the same, on the first use.
    Fine-tuned weights exist nowhere else, so a pickle holds them.

    References
    ----------
    .. [1] Y. Fang, Q. Sun, X. Wang, T. Huang, X. Wang and Y. Cao, "EVA-02: A visual representation
       for neon genesis", Image and Vision Computing 149, 2024.
    .. [2] Pap smear cell classification challenge (PS3C), IEEE ISBI 2025.

    Examples
    --------
    >>> import numpy as np
    >>> import warnings
    >>> from skcyto.feature_extraction import EVA02TokenEmbedder
    >>> images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    >>> embedder = EVA02TokenEmbedder(
    ...     "eva02_tiny_patch14_224", weights=None, image_size=28, random_state=0
    ... )
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")  # random weights are good for trials only
    ...     features = embedder.fit_transform(images)
    >>> features.shape
    (3, 192)
    >>> embedder.get_feature_names_out()[:2].tolist()
    ['all_0', 'all_1']
    """

    _parameter_constraints: dict = {
        "model_name": [str],
        "tokens": [StrOptions(set(_TOKENS)), list, tuple],
        "final_norm": ["boolean", StrOptions({"image"})],
        "weights": [str, os.PathLike, None],
        "image_size": [Interval(Integral, 1, None, closed="left"), None],
        "mean": ["array-like", None],
        "std": ["array-like", None],
        "crop_pct": [Interval(Real, 0, 1, closed="right"), None],
        "interpolation": [StrOptions(set(INTERPOLATIONS)), None],
        "finetune": [HasMethods(["fit", "predict_proba", "save_weights"]), None],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "device": "no_validation",
        "precision": [StrOptions({"auto", "float32", "bfloat16", "float16"})],
        "cache": [str, os.PathLike, EmbeddingCache, None],
        "on_error": [StrOptions({"raise", "nan"})],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        model_name: str = "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k",
        tokens: str | list[str] = "all",
        *,
        final_norm: bool | str = True,
        weights: str | os.PathLike[str] | None = "pretrained",
        image_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        crop_pct: float | None = None,
        interpolation: str | None = None,
        finetune: EVA02Classifier | None = None,
        batch_size: int | str = "auto",
        device: str | torch.device = "auto",
        precision: str = "auto",
        cache: str | os.PathLike[str] | EmbeddingCache | None = None,
        on_error: str = "raise",
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int | bool = 0,
    ) -> None:
        self.model_name = model_name
        self.tokens = tokens
        self.final_norm = final_norm
        self.weights = weights
        self.image_size = image_size
        self.mean = mean
        self.std = std
        self.crop_pct = crop_pct
        self.interpolation = interpolation
        self.finetune = finetune
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.cache = cache
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, *, sample_weight: Any = None, groups: Any = None) -> Self:
        """Check the parameters, and fine-tune the network where `finetune` is given.

        Without `finetune`, nothing is learnt from the images, and none is read.

        Parameters
        ----------
        X : sequence, array or data frame of n_images images
            Paths, PIL images, 8-bit or 16-bit arrays of shape (height, width, 3), or one array of
            shape (n_images, height, width, 3); or a data frame with one column of these.
        y : array-like of shape (n_images,) or None, default=None
            Labels, for `finetune` only.
        sample_weight : array-like of shape (n_images,) or None, default=None
            Weights of the images, at least 0, for `finetune` only: an image of weight 0 takes no
            part in the training. Without `finetune` nothing is learnt, and they change nothing.
            Reaches a step of a pipeline by ``set_fit_request(sample_weight=True)``.
        groups : array-like of shape (n_images,) or None, default=None
            Patients, slides or acquisitions, which `finetune` keeps whole when it chooses
            validation images. Reaches a step of a pipeline by ``set_fit_request(groups=True)``.

        Returns
        -------
        self : EVA02TokenEmbedder

        Raises
        ------
        ValueError
            If a parameter is out of its range, the model unknown or no vision transformer, or `X`
            no collection of images; or if labels are missing that `finetune` needs.
        InvalidImageError
            If images cannot be read that `finetune` needs, and `on_error` is "raise"; found before
            the training.
        PretrainedWeightsError
            If there is no such weights file, or timm has no pretrained weights for the model.
        """
        inputs = check_image_input(self, X, reset=True)
        model_name, weights, image_size = network_parameters(self)
        weights = resolve_weights_path(weights)
        options = options_of(self if self.finetune is None else self.finetune)
        image_size, options = BackboneRequest(model_name, image_size, weights, options).resolve()
        info = describe_backbone(model_name, image_size, options)
        self._check_tokens(info)
        resolve_device(self.device)
        self.__dict__.pop("finetune_", None)
        self._source: BackboneSource | FineTunedSource
        if self.finetune is None:
            self._source = self._find_source(weights, image_size, options)
        else:
            self._source = fine_tune(
                self.finetune,
                inputs,
                X,
                y,
                sample_weight=sample_weight,
                groups=groups,
                leave_out_bad=self.on_error == "nan",
            )
            self.finetune_ = self._source.classifier
        self._weights_identity = self._source.identify_weights()
        self.embedding_dim_ = info.embedding_dim
        self.image_size_ = info.image_size
        self.n_forward_images_ = 0
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embed images.

        Parameters
        ----------
        X : sequence, array or data frame of n_images images
            As in `fit`.

        Returns
        -------
        features : ndarray of shape (n_images, n_features)
            Of dtype float32; one block of `embedding_dim_` columns for each of `tokens`. A data
            frame after `set_output`.

        Raises
        ------
        InvalidImageError
            If images cannot be read, and `on_error` is "raise".
        DeviceMemoryError
            If the device's memory does not hold one image.
        PretrainedWeightsError
            If the weights cannot be had, or are not those of `fit` any more.
        """
        from skcyto.feature_extraction._embedding._loaded_backbones import get_backbone
        from skcyto.feature_extraction._embedding._run import EmbeddingRun
        from skcyto.feature_extraction._embedding._tokens import combine_tokens

        check_is_fitted(self)
        inputs = check_image_input(self, X, reset=False)
        info = self._source.describe()
        device = resolve_device(self.device)
        precision = resolve_precision(self.precision, device)
        cache = self.cache
        if cache is not None and not isinstance(cache, EmbeddingCache):
            cache = EmbeddingCache(cache)
        bar = progress_bar(total=len(inputs), desc="Embedding", unit="image", verbose=self.verbose)
        with bar, nullcontext() if cache is None else cache._open() as store:
            result = EmbeddingRun(
                info=info,
                load_backbone=lambda: get_backbone(self._source, self._weights_identity, device),
                device=device,
                precision=precision,
                fingerprint=self._compute_fingerprint(info, precision),
                batch_size=self._choose_batch_size(info, device),
                n_threads=resolve_n_threads(self.n_jobs),
                stop_on_bad=self.on_error == "raise",
                store=store,
                advance=bar.update,
            ).run(inputs)
        self.n_forward_images_ = result.n_forward_images
        self.batch_size_ = result.batch_size
        if result.bad:
            message = list_bad_images(inputs, result.bad)
            if self.on_error == "raise":
                raise InvalidImageError(
                    f"{message}\nMend or leave out these, or set on_error='nan' for rows of NaN.",
                    result.bad,
                )
            warn(f"{message}\nTheir rows are NaN.", InvalidInputWarning)
        if result.head is None:
            shape = (len(inputs), len(self._token_names) * info.embedding_dim)
            return np.full(shape, np.nan, dtype=np.float32)
        return combine_tokens(result.embeddings, result.head, self._token_names, self.final_norm)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the features: ``all_0``, ``all_1`` and so on.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        names : ndarray of str objects
        """
        check_is_fitted(self)
        return np.array(
            [f"{name}_{i}" for name in self._token_names for i in range(self.embedding_dim_)],
            dtype=object,
        )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        tags.no_validation = True
        tags.target_tags.required = self.finetune is not None
        return tags

    def _save_state(self, weights: Path) -> dict[str, Any]:
        from skcyto.feature_extraction._embedding._state import save_embedder_state

        return save_embedder_state(self, weights)

    def _load_state(self, state: dict[str, Any], weights: Path | None) -> None:
        from skcyto.feature_extraction._embedding._state import load_embedder_state

        load_embedder_state(self, state, weights)

    @property
    def _token_names(self) -> list[str]:
        return [self.tokens] if isinstance(self.tokens, str) else list(self.tokens)

    def _check_tokens(self, info: BackboneInfo) -> None:
        names = self._token_names
        if not names or set(names) - set(_TOKENS) or len(set(names)) < len(names):
            raise ValueError(
                f"tokens={self.tokens!r} must be one of {', '.join(map(repr, _TOKENS))}, or a list "
                "of different ones of these"
            )
        if not info.has_class_token and set(names) != {"image"}:
            raise ValueError(
                f"model_name={info.model_name!r} has no class token, only patches: "
                "tokens must be 'image'"
            )

    def _find_source(
        self, weights: str | None, image_size: int | None, options: BackboneOptions
    ) -> BackboneSource:
        """Say where the network comes from; all else depends on it through its identity alone."""
        seed = 0
        if weights is None:
            seed = draw_seed(self.random_state)
            warn(
                f"weights=None: {self.model_name} has random weights, whose features are good for "
                "trials only",
                RandomWeightsWarning,
            )
        return BackboneSource(self.model_name, image_size, weights, seed, options)

    def _compute_fingerprint(self, info: BackboneInfo, precision: torch.dtype) -> bytes:
        parts = {
            "format": _FORMAT_VERSION,
            "reader": describe_reader(),
            "model": info.model_name,
            "weights": self._weights_identity,
            "preprocessing": dict(info.data_config),
            "precision": str(precision),
        }
        text = json.dumps(parts, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=20).digest()

    def _choose_batch_size(self, info: BackboneInfo, device: torch.device) -> int:
        if not isinstance(self.batch_size, str):
            return int(self.batch_size)
        n_tokens = max(1, (info.image_size // info.patch_size) ** 2)
        budget = _CPU_BATCH_TOKENS if device.type == "cpu" else _GPU_BATCH_TOKENS
        return min(max(1, budget // n_tokens), _MAX_BATCH_SIZE)
