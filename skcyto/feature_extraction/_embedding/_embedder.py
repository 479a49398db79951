"""Images to the features of a pretrained network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from numbers import Integral
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
    check_same_network,
    fine_tune,
)
from skcyto.feature_extraction._embedding._fingerprint import fingerprint
from skcyto.feature_extraction._embedding._tokens import (
    NORMED,
    POOLED,
    RAW,
    TOKEN_NAMES,
    check_token_names,
)
from skcyto.utils._backbones._request import BACKBONE_CONSTRAINTS, BackboneRequest
from skcyto.utils._backbones._source import BackboneSource
from skcyto.utils._backbones._views import VIEWS, list_views
from skcyto.utils._devices._device import resolve_device, resolve_precision
from skcyto.utils._images._inputs import check_image_input, list_bad_images
from skcyto.utils._prefetch import resolve_n_threads
from skcyto.utils._progress import progress_bar
from skcyto.utils._random import draw_seed
from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    import torch

    from skcyto.neural_network import EVA02Classifier


class EVA02TokenEmbedder(TransformerMixin, BaseEstimator):
    """Embed images by the pooled tokens of a pretrained vision transformer, or any network of timm.

    Each image goes through a network of `timm <https://huggingface.co/docs/timm>`_, EVA-02 [1]_
    by default. The class token of a transformer, the mean of its patch tokens, or the mean of both
    becomes a row of features [2]_; of any other network, it is the feature that it pools itself.
    Images are prepared as timm, or the model's own files, say: size, interpolation, crop, mean and
    standard deviation. :func:`known_backbones` lists networks made for pathology.

    Nothing is learnt from the data unless `finetune` is given, so the estimator may stand in front
    of, or inside, any cross-validation. With a `cache`, each image goes through the network once,
    however many folds, processes and runs ask for it.

    Parameters
    ----------
    model_name : str, default="eva02_base_patch14_448.mim_in22k_ft_in22k_in1k"
        Which network, one of

        - the name of a timm model: EVA-02, ViT, DINOv2 and DINOv3 (with or without registers),
          CLIP, SigLIP, BEiT, DeiT and others, and with ``tokens="pooled"`` ConvNeXt, MaxViT, Swin,
          EfficientNet, ResNet and all else. A tag after the dot names the training;
        - ``"hf-hub:owner/name"``: a model on the Hugging Face Hub that was made for timm;
        - a folder, with ``local-dir:`` before it or not, with a `config.json` of timm and
          `model.safetensors`: what ``hf download`` leaves, and needs no network.

    tokens : {"class", "image", "all", "pooled"} or list of the first three, default="all"
        What becomes of an image's tokens:

        - "class": the class token;
        - "image": the mean of the patch tokens;
        - "all": the mean of class token and patch tokens together;
        - "pooled": the feature that timm itself pools, with its own norm, whatever `final_norm`
          says. Networks that are no vision transformers have it alone.

        Several are concatenated in the order given. Registers and distillation tokens belong to
        none of these, as they do not describe a place nor, by themselves, the image. A model
        without a class token has "image" only.

    final_norm : bool, "tokens" or "image", default=True
        Whether the model's own final norm is applied, to the pooled vector. False gives the
        output of the last block as it is. "tokens" applies it to each token before these are
        pooled, as the authors of Virchow and of most transformers mean it. "image" is the mixture
        used in [2]_: "image" with the norm, "class" and "all" without. The few models that have no
        final norm give the same in each case.

    weights : str, path or None, default="pretrained"
        "pretrained" takes timm's weights for the model, from the local cache of the Hugging Face
        Hub or from the network, or those in the folder that `model_name` names. A path names a
        `.safetensors` file, or a `.pth` file that holds tensors only: a position embedding of
        another image size is resampled, a classifier is dropped, and any other weight that is
        missing or has no place is an error. None gives random weights, drawn with `random_state`,
        and a warning.

    image_size : int or None, default=None
        Height and width to which images are brought, in pixels; a multiple of the model's patch
        size. None takes the one that the weights file states (see `mean`), else the model's own.

    mean, std : sequence of 3 floats or None, default=None
        Mean and standard deviation of red, green and blue, of pixels between 0 and 1, by which
        images are standardized. None takes those that the weights file states, in its metadata or
        in a ``config.json`` of timm beside it, else timm's for the model.

    crop_pct : float or None, default=None
        Share of the resized image's edge that is kept, in (0, 1]; None as for `mean`.

    crop_mode : {"squash", "center", "pad"} or None, default=None
        How an image that is not square becomes so: "squash" brings both edges to the input's
        size, "center" the shorter one and cuts off the ends of the longer, "pad" the longer one
        and puts a border around the rest. None as for `mean`. With "squash" and "pad", `crop_pct`
        is 1 unless it is given.

    fill : int, sequence of 3 ints or None, default=None
        Colour of the border, from 0 to 255; None is white. For ``crop_mode="pad"`` alone.

    interpolation : {"bicubic", "bilinear", "nearest", "lanczos"} or None, default=None
        Of the resizing; None as for `mean`.

    model_kwargs : dict or None, default=None
        Arguments of the architecture, as given to ``timm.create_model``, such as
        ``{"init_values": 1e-5}`` or ``{"reg_tokens": 8, "mlp_layer": "SwiGLUPacked"}``: numbers,
        texts, lists, and layers or their names. They go before those in a ``config.json``.

    finetune : EVA02Classifier or None, default=None
        Fine-tunes the network on the images and labels given to `fit`, before it embeds. The
        network is then the one that the classifier describes: leave `model_name`, `weights`,
        `image_size` and the like to it. It sees the training fold only, so the embedder must stand
        inside the cross-validation. A `cache` keeps apart what different weights made of an image.

    views : {"flips", "dihedral"}, int or None, default=None
        Shows each image to the network in several ways, and takes the mean of the features:
        "flips" for the image as it is and mirrored to either side and to both (4), "dihedral" for
        all flips and right-angle turns (8), a number for the image as it is and windows of half
        of its area or more, spread evenly and the same for each image. A `cache` keeps each view.

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
        Length of one token, or of the pooled feature.

    finetune_ : EVA02Classifier
        The fitted classifier, a classifier of images in its own right; only with `finetune`.

    image_size_ : int
        Height and width to which images are brought, in pixels.

    n_features_in_ : int
        Always 1: the column that holds the images.

    feature_names_in_ : ndarray of shape (1,)
        Name of that column; only where `fit` was given a data frame.

    n_forward_images_ : int
        Images, and views of images, that went through the network in the last call of
        `transform`: those neither in the cache nor equal to an earlier image of the call.

    batch_size_ : int
        Images of one forward pass at the end of the last call of `transform`.

    See Also
    --------
    EmbeddingCache : Embeddings on disk, shared by folds, processes and runs.
    known_backbones : Networks made for pathology, and how to name them.
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
        "tokens": [StrOptions(set(TOKEN_NAMES)), list, tuple],
        "final_norm": ["boolean", StrOptions({"tokens", "image"})],
        **BACKBONE_CONSTRAINTS,
        "finetune": [HasMethods(["fit", "predict_proba", "save_weights"]), None],
        "views": [StrOptions(set(VIEWS)), Interval(Integral, 1, None, closed="left"), None],
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
        crop_mode: str | None = None,
        fill: int | Sequence[int] | None = None,
        interpolation: str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        finetune: EVA02Classifier | None = None,
        views: str | int | None = None,
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
        self.crop_mode = crop_mode
        self.fill = fill
        self.interpolation = interpolation
        self.model_kwargs = model_kwargs
        self.finetune = finetune
        self.views = views
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
            If a parameter is out of its range, the model unknown or without the tokens that are
            asked for, or `X` no collection of images; or if labels are missing that `finetune`
            needs.
        InvalidImageError
            If images cannot be read that `finetune` needs, and `on_error` is "raise"; found before
            the training.
        PretrainedWeightsError
            If there is no such folder or weights file, its description is another model's, or timm
            has no pretrained weights for the model.
        """
        inputs = check_image_input(self, X, reset=True)
        if self.finetune is not None:
            check_same_network(self.finetune, self.__dict__, type(self)().get_params(deep=False))
        source = BackboneRequest.of(self.finetune or self).resolve()
        info = source.describe()
        check_token_names(self.tokens, self._token_names, info)
        resolve_device(self.device)
        self.__dict__.pop("finetune_", None)
        self._source: BackboneSource | FineTunedSource
        if self.finetune is None:
            self._source = self._seed(source)
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
        self.embedding_dim_ = info.pooled_dim if self._kind == POOLED else info.embedding_dim
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
        from skcyto.feature_extraction._embedding._run import EmbeddingRun, choose_batch_size
        from skcyto.feature_extraction._embedding._tokens import combine_tokens

        check_is_fitted(self)
        inputs = check_image_input(self, X, reset=False)
        info = self._source.describe()
        device = resolve_device(self.device)
        precision = resolve_precision(self.precision, device)
        cache = self.cache
        if cache is not None and not isinstance(cache, EmbeddingCache):
            cache = EmbeddingCache(cache)
        views = list_views(self.views)
        bar = progress_bar(
            total=len(inputs) * len(views), desc="Embedding", unit="image", verbose=self.verbose
        )
        with bar, nullcontext() if cache is None else cache._open() as store:
            result = EmbeddingRun(
                info=info,
                kind=self._kind,
                views=views,
                n_features=len(self._token_names) * self.embedding_dim_,
                combine=lambda embeddings, head: combine_tokens(
                    embeddings, head, self._token_names, self.final_norm
                ),
                load_backbone=lambda: get_backbone(
                    self._source, self._weights_identity, device, self._kind
                ),
                device=device,
                precision=precision,
                fingerprint=fingerprint(info, self._weights_identity, self._kind, precision),
                batch_size=choose_batch_size(self.batch_size, info, device),
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
        return result.features

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

        return save_embedder_state(self.__dict__, weights)

    def _load_state(self, state: dict[str, Any], weights: Path | None) -> None:
        from skcyto.feature_extraction._embedding._state import load_embedder_state

        self.__dict__.update(load_embedder_state(state, weights))

    @property
    def _token_names(self) -> list[str]:
        return [self.tokens] if isinstance(self.tokens, str) else list(self.tokens)

    @property
    def _kind(self) -> str:
        if self._token_names == [POOLED]:
            return POOLED
        return NORMED if self.final_norm == "tokens" else RAW

    def _seed(self, source: BackboneSource) -> BackboneSource:
        """Draw the seed of random weights."""
        if source.weights is not None:
            return source
        warn(
            f"weights=None: {self.model_name} has random weights, whose features are good for "
            "trials only",
            RandomWeightsWarning,
        )
        return replace(source, seed=draw_seed(self.random_state))
