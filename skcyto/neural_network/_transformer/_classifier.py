"""A pretrained network that is fine-tuned on images."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from skcyto.losses import Criterion, Loss
from skcyto.neural_network._neural_classifier import NeuralClassifierMixin, check_prior
from skcyto.neural_network._transformer._fit import fine_tune, predict_logits
from skcyto.neural_network._transformer._parameters import PARAMETERS
from skcyto.neural_network._transformer._settings import FineTuneSettings
from skcyto.neural_network._transformer._state import (
    load_classifier_state,
    pack_network,
    save_classifier_state,
    unpack_network,
)
from skcyto.neural_network._transformer._targets import check_targets
from skcyto.neural_network._transformer._weights import write_weights
from skcyto.utils._backbones._options import BackboneOptions
from skcyto.utils._backbones._source import BackboneInfo, describe_backbone
from skcyto.utils._backbones._transforms import Augment
from skcyto.utils._images._inputs import check_image_input


class EVA02Classifier(NeuralClassifierMixin, BaseEstimator):
    """Fine-tune a pretrained vision transformer, or any other network of timm, on images.

    A network of `timm <https://huggingface.co/docs/timm>`_, EVA-02 [1]_ by default, gets a
    linear head and is trained as a whole, or from a block on, with any loss of
    :mod:`skcyto.losses` [2]_. Images are taken, checked and prepared exactly as
    :class:`~skcyto.feature_extraction.EVA02TokenEmbedder` does it. Everything that depends on the
    classes is fitted to the images that train: neither a scored fold nor the images that choose
    the best epoch are counted.

    Parameters
    ----------
    model_name : str, default="eva02_base_patch14_448.mim_in22k_ft_in22k_in1k"
        Name of a timm model (a vision transformer, ConvNeXt, MaxViT, Swin or any other),
        ``"hf-hub:owner/name"``, or a folder with a `config.json` of timm and `model.safetensors`;
        as in :class:`~skcyto.feature_extraction.EVA02TokenEmbedder`.
    weights : str, path or None, default="pretrained"
        Where training begins: "pretrained" for timm's weights, or those in the folder that
        `model_name` names, the path of a `.safetensors` or
        `.pth` file, or None for random weights.
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
        How an image that is not square becomes so: squashed, by its middle, or with a border; as
        in :class:`~skcyto.feature_extraction.EVA02TokenEmbedder`. None as for `mean`.
    fill : int, sequence of 3 ints or None, default=None
        Colour of the border, from 0 to 255; None is white. For ``crop_mode="pad"`` alone.
    interpolation : {"bicubic", "bilinear", "nearest", "lanczos"} or None, default=None
        Of the resizing; None as for `mean`.
    model_kwargs : dict or None, default=None
        Arguments of the architecture, such as ``{"init_values": 1e-5}``; they go before those in
        a ``config.json``.
    views : {"flips", "dihedral"}, int or None, default=None
        Shows each image in several ways at prediction, and takes the mean of the log-probabilities:
        "flips" (4), "dihedral" for all flips and right-angle turns (8), or a number of windows, as
        in :class:`~skcyto.feature_extraction.EVA02TokenEmbedder`. May be set after `fit`.
    augment : {"light", "cells", "default"}, callable or None, default="light"
        Random changes of the training images. "light" keeps the geometry of prediction and adds
        flips to either side and changes of brightness, contrast and saturation by up to 10 %.
        "cells" adds flips, right-angle turns, for half of the images a free turn with a shift by
        up to 10 % and a scale of 0.8 to 1.2 (what comes in from outside is white, or `fill`), and
        brightness and contrast changed by up to 20 %. A callable, such as a ``Compose`` of
        torchvision, is given the PIL image of `image_size` and returns one of the same size.
        "default" is timm's own default for training, made for photographs: crops of 8 to 100 % of
        the area, flips to the side, colours changed by up to 40 %. None shows them as they are.
    loss : str or skcyto.losses.Loss, default="ce"
        Loss function: a name of :func:`skcyto.losses.available` or a parameter object such as
        ``Focal(gamma=1.5)``, whose parameters are searched as ``loss__gamma``.
    class_weight : {"balanced", "max_ratio", "effective"}, dict or None, default=None
        Weights of the classes in the loss, as in :class:`ImbalancedMLPClassifier`.
    reduction : {"weight_sum", "count"}, default="weight_sum"
        Whether the weighted loss of a batch is divided by the sum of its weights, as torch does,
        or by its number of images, which is unbiased in small batches.
    sampler : {"balanced", "stratified", "grouped"} or None, default=None
        How batches are drawn, as in :class:`ImbalancedMLPClassifier`. None shuffles.
    predict_proba_prior : "train", array-like of shape (n_classes,) or None, default=None
        Class prior of the probabilities, as in :class:`ImbalancedMLPClassifier`.
    learning_rate : float, default=1e-5
        Initial learning rate of AdamW.
    weight_decay : float, default=0.05
        Weight decay of AdamW, for matrices: biases, norms and embeddings have none.
    lr_scheduler : {"plateau", "cosine"} or None, default="plateau"
        "plateau" halves the learning rate after more than two epochs without improvement, "cosine"
        anneals it over `max_epochs`.
    warmup_epochs : int, default=0
        Epochs in which the learning rate rises evenly from 0, before the schedule begins.
    ema_decay : float or None, default=None
        Decay of a moving average of the weights, such as 0.999, that is validated and kept in
        place of the weights themselves; it is lower in the first steps, as timm's ModelEmaV3 has
        it. None for no average.
    mixup_alpha, cutmix_alpha : float, default=0.0
        Mix the images of a batch in pairs: whole (mixup), or a rectangle of one in the other
        (CutMix), with shares drawn from the beta distribution of this parameter. Where both are
        above 0, each batch draws one of the two. The targets are mixed alike, which a loss must be
        a weighted mean over images for: "minimax", "group_dro", "cvar" and "soft_f1" are refused.
    layer_decay : float, default=1.0
        Factor of the learning rate from each layer to the one below it, beginning with the head,
        in (0, 1].
    freeze : int, default=0
        Number of lowest blocks that keep their weights, and with them the patch embedding. The
        number of all blocks trains the final norm and the head only.
    head_hidden_size : int or None, default=None
        Width of a hidden layer of the head, with GELU; None for a linear head.
    lora_rank : int, default=0
        Breadth of low-rank adapters [3]_ of linear layers, which are trained with the head while
        the network keeps its weights; 0 trains the weights themselves. Adapters need a higher
        learning rate, 1e-4 to 1e-3. Pickles and checkpoints hold the adapters alone;
        :meth:`save_weights` and :func:`skcyto.save` write whole weights.
    lora_alpha : float or None, default=None
        Divided by `lora_rank`, the factor of what the adapters add; None for a factor of 1.
    lora_targets : {"qkv", "attention", "all"} or sequence of str, default="qkv"
        Layers with adapters: queries, keys and values; also the projection behind them; all
        linear layers, which networks without attention need; or ends of names. Of the lowest
        `freeze` blocks none.
    drop_path : float, default=0.0
        Stochastic depth: probability of leaving the last block out; it grows linearly from the
        first. In [0, 1).
    batch_size : int, default=32
        Images that go through the network at once. Where the device's memory is too small, they
        are halved until it is enough, and the step of the optimiser stays as large as it was.
    grad_accumulation : int, default=1
        Batches of one step of the optimiser.
    max_epochs : int, default=20
        Length of the training.
    validation_fraction : float or None, default=0.1
        Share of the images that chooses the best epoch, stratified by class and, where `groups`
        are given, never splitting a group. None trains on all images and looks at the training
        loss.
    early_stopping : bool, default=False
        Stop after `n_iter_no_change` epochs without improvement. Where the loss defers its class
        weights, as ``LDAM(drw_start=0.8)``, they are counted once the weights are in force.
    n_iter_no_change : int, default=5
        Patience of `early_stopping`, in epochs.
    restore_best_weights : bool, default=True
        Put the weights of the epoch with the lowest validation loss (without validation: training
        loss) back at the end; False keeps those of the last epoch.
    checkpoint : str, path or None, default=None
        Folder that keeps the state of the training after each epoch. A fit that was interrupted
        goes on from there, and one that was finished is not repeated. The folder belongs to one
        fit: another model, other images or parameters are an error. ``{fit}`` in the name, as in
        ``"checkpoints/{fit}"``, becomes a name of each fit's own, for cross-validations and
        searches.
    device : str or torch.device, default="auto"
        Where the network runs; "auto" takes CUDA, then MPS, then the CPU.
    precision : {"auto", "float32", "bfloat16", "float16"}, default="auto"
        What the network computes in; "auto" is bfloat16 on CUDA devices that have it, float32
        elsewhere. The weights are float32 in any case.
    gradient_checkpointing : bool, default=False
        Compute activations again in the backward pass instead of keeping them: one more forward
        pass, for a fraction of the memory.
    compile : bool, default=False
        Whether the training goes through :func:`torch.compile`.
    n_jobs : int or None, default=None
        Processes that read, decode and augment images beside the network. None takes one a core,
        at most 8, for a CUDA device; elsewhere, and with 1, images are read between the batches.
        Changes nothing in the result.
    random_state : int, RandomState or None, default=None
        Validation images, head, order of the batches, augmentation and stochastic depth, and the
        weights where `weights` is None. Threads of one process train one after the other, since
        they share torch's generators.
    verbose : int or bool, default=0
        Show a progress bar with the losses and the macro F1 of each epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted; the order of the columns of `predict_proba`.
    class_counts_ : ndarray of float, shape (n_classes,)
        Images of each class among those that trained; sums of weights with `sample_weight`.
    class_weight_ : ndarray of float, shape (n_classes,)
        Weight of each class in the loss; ones where there is none.
    draws_per_row_ : ndarray of float, shape (n_classes,)
        How often, on average, an epoch showed an image of each class: ones without a `sampler`.
    loss_ : skcyto.losses.Loss
        Loss that was used.
    criterion_ : skcyto.losses.Criterion
        That loss, fitted to the class counts.
    network_ : torch.nn.Module
        The trained network, which takes 8-bit images of `image_size_` and returns logits.
    history_ : list of dict
        One row an epoch: epoch, train_loss, train_f1_macro, valid_loss, valid_f1_macro,
        learning_rate, dur (seconds). The training values are means over the epoch, on augmented
        images.
    n_iter_ : int
        Epochs that were run.
    best_epoch_ : int
        Epoch, from 1, with the lowest monitored loss; where the loss defers its class weights, of
        the epochs with weights.
    image_size_ : int
        Height and width to which images are brought, in pixels.
    n_features_in_ : int
        Always 1: the column that holds the images.
    feature_names_in_ : ndarray of shape (1,)
        Name of that column; only where `fit` was given a data frame.

    See Also
    --------
    skcyto.feature_extraction.EVA02TokenEmbedder : Tokens of the network that this one trains, with
        ``finetune=EVA02Classifier(...)``.
    ImbalancedMLPClassifier : A small network on features.

    Notes
    -----
    Every image is read and decoded once before the training, so that a bad one is found before
    hours are spent.

    The head stands on timm's own pooled and normed output: the class token for ViT and DINOv2, the
    mean over patches for EVA-02. `grad_accumulation` and batches that were halved give the step of
    the whole batch for losses that are weighted means over images; "minimax", "group_dro", "cvar"
    and "soft_f1", which compare the images of a batch, see each part by itself.

    On the CPU the same seed and number of threads give the same result to the bit, resumed or
    not. A pickle holds all weights; :meth:`save_weights` writes them for timm and for
    `weights` of other estimators.

    References
    ----------
    .. [1] Y. Fang, Q. Sun, X. Wang, T. Huang, X. Wang and Y. Cao, "EVA-02: A visual representation
       for neon genesis", Image and Vision Computing 149, 2024.
    .. [2] Pap smear cell classification challenge (PS3C), IEEE ISBI 2025.
    .. [3] E. J. Hu et al., "LoRA: Low-rank adaptation of large language models", ICLR 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.neural_network import EVA02Classifier
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 100, (12, 28, 28, 3), dtype=np.uint8)
    >>> images[6:] += 150
    >>> y = np.repeat(["dark", "pale"], 6)
    >>> classifier = EVA02Classifier(
    ...     "eva02_tiny_patch14_224",
    ...     weights=None,
    ...     image_size=28,
    ...     learning_rate=1e-3,
    ...     max_epochs=3,
    ...     validation_fraction=None,
    ...     random_state=0,
    ... )
    >>> classifier.fit(images, y).predict(images[[0, 11]]).tolist()
    ['dark', 'pale']
    """

    _parameter_constraints: dict[str, list[Any]] = PARAMETERS

    def __init__(
        self,
        model_name: str = "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k",
        *,
        weights: str | os.PathLike[str] | None = "pretrained",
        image_size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        crop_pct: float | None = None,
        crop_mode: str | None = None,
        fill: int | Sequence[int] | None = None,
        interpolation: str | None = None,
        model_kwargs: Mapping[str, Any] | None = None,
        views: str | int | None = None,
        augment: Augment = "light",
        loss: str | Loss = "ce",
        class_weight: str | Mapping[Any, float] | None = None,
        reduction: str = "weight_sum",
        sampler: str | None = None,
        predict_proba_prior: str | ArrayLike | None = None,
        learning_rate: float = 1e-5,
        weight_decay: float = 0.05,
        lr_scheduler: str | None = "plateau",
        warmup_epochs: int = 0,
        ema_decay: float | None = None,
        mixup_alpha: float = 0.0,
        cutmix_alpha: float = 0.0,
        layer_decay: float = 1.0,
        freeze: int = 0,
        head_hidden_size: int | None = None,
        lora_rank: int = 0,
        lora_alpha: float | None = None,
        lora_targets: str | Sequence[str] = "qkv",
        drop_path: float = 0.0,
        batch_size: int = 32,
        grad_accumulation: int = 1,
        max_epochs: int = 20,
        validation_fraction: float | None = 0.1,
        early_stopping: bool = False,
        n_iter_no_change: int = 5,
        restore_best_weights: bool = True,
        checkpoint: str | os.PathLike[str] | None = None,
        device: str | torch.device = "auto",
        precision: str = "auto",
        gradient_checkpointing: bool = False,
        compile: bool = False,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int | bool = 0,
    ) -> None:
        self.model_name = model_name
        self.weights = weights
        self.image_size = image_size
        self.mean = mean
        self.std = std
        self.crop_pct = crop_pct
        self.crop_mode = crop_mode
        self.fill = fill
        self.interpolation = interpolation
        self.model_kwargs = model_kwargs
        self.views = views
        self.augment = augment
        self.loss = loss
        self.class_weight = class_weight
        self.reduction = reduction
        self.sampler = sampler
        self.predict_proba_prior = predict_proba_prior
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.lr_scheduler = lr_scheduler
        self.warmup_epochs = warmup_epochs
        self.ema_decay = ema_decay
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.layer_decay = layer_decay
        self.freeze = freeze
        self.head_hidden_size = head_hidden_size
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.lora_targets = lora_targets
        self.drop_path = drop_path
        self.batch_size = batch_size
        self.grad_accumulation = grad_accumulation
        self.max_epochs = max_epochs
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.restore_best_weights = restore_best_weights
        self.checkpoint = checkpoint
        self.device = device
        self.precision = precision
        self.gradient_checkpointing = gradient_checkpointing
        self.compile = compile
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> EVA02Classifier:
        """Fine-tune the network.

        Parameters
        ----------
        X : sequence, array or data frame of n_images images
            Paths, PIL images, 8-bit or 16-bit arrays of shape (height, width, 3), or one array of
            shape (n_images, height, width, 3); or a data frame with one column of these.
        y : array-like of shape (n_images,)
            Labels: strings, numbers or booleans of at least two classes.
        sample_weight : array-like of shape (n_images,) or None, default=None
            Weights of the images, at least 0; an image of weight 0 takes no part at all.
        groups : array-like of shape (n_images,) or None, default=None
            Patients, slides or acquisitions: the validation images never share one with the
            images that train. Reaches a pipeline's last step by ``set_fit_request(groups=True)``.

        Returns
        -------
        self : EVA02Classifier

        Raises
        ------
        ValueError
            If labels or a parameter are not as described, a class has one image and images are
            held out for validation, the checkpoint belongs to another fit, or training diverges.
        InvalidImageError
            If images cannot be read; found before the training.
        PretrainedWeightsError
            If the weights cannot be had, or do not fit the model.
        DeviceMemoryError
            If the device's memory does not hold the training on one image.
        """
        inputs = check_image_input(self, X, reset=True)
        targets = check_targets(
            type(self).__name__,
            len(inputs),
            y,
            sample_weight,
            groups,
            is_validated=self.validation_fraction is not None,
        )
        check_prior(self.predict_proba_prior, targets.classes)
        result = fine_tune(FineTuneSettings.of(self), inputs, targets)
        self.classes_ = targets.classes
        self.network_, self.criterion_ = result.network, result.criterion
        self.loss_ = result.loss
        self.class_counts_, self.draws_per_row_ = result.class_counts, result.draws_per_row
        self.class_weight_ = result.criterion.class_weight.numpy(force=True).astype(np.float64)
        self.image_size_ = result.info.image_size
        self._backbone_name = result.source.model_name
        self._backbone_size = result.source.image_size
        self._backbone_options = result.source.options.to_dict()
        self.__dict__.pop("_adapted_source", None)
        if self.lora_rank:
            self._adapted_source = result.source
            self._weights_identity = result.source.identify_weights()
        self._keep_history(result.history, result.criterion)
        return self

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the weights under timm's own names, as a file or as a folder.

        A file is taken as `weights` by this and other estimators, and loaded by
        ``timm.create_model(model_name, num_classes=n_classes, checkpoint_path=path)``, with
        ``img_size=image_size_`` where that is not the model's own. A folder, which has a
        `config.json` beside the weights, is taken as `model_name`, and loaded by
        ``timm.create_model("local-dir:" + path, pretrained=True)``. With a loss whose logits are
        cosines ("ldam"), for which timm has no head, it holds the network alone. Labels, in the
        order of the logits, stand in the file's metadata.

        Parameters
        ----------
        path : str or path
            A file that ends with ``.safetensors``, or a folder, which is made.
        """
        check_is_fitted(self)
        write_weights(path, self.network_, self._describe(), self.classes_)

    def _network_scores(self, X: Any) -> tuple[torch.Tensor, Criterion]:
        check_is_fitted(self)
        inputs = check_image_input(self, X, reset=False)
        settings = FineTuneSettings.of(self)
        logits = predict_logits(settings, self.network_, self._describe(), inputs)
        scores = (
            self.criterion_.to(logits.device).scores(logits.flatten(0, 1)).to("cpu", torch.float64)
        )
        scores = scores.reshape(logits.shape)
        if scores.shape[1] > 1:
            scores = scores.log_softmax(dim=2)
        return scores.mean(dim=1), self.criterion_

    def _describe(self) -> BackboneInfo:
        """Describe the fitted transformer, whatever became of its weights file."""
        options = BackboneOptions.from_dict(self._backbone_options)
        return describe_backbone(self._backbone_name, self._backbone_size, options)

    def _save_state(self, weights: Path) -> dict[str, Any]:
        return save_classifier_state(self.__dict__, weights)

    def _load_state(self, state: dict[str, Any], weights: Path | None) -> None:
        self.__dict__.update(load_classifier_state(state, weights))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.no_validation = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if not hasattr(self, "network_"):
            return state
        if self.network_.mean.device.type != "cpu":
            # A pickle made beside a GPU is opened on machines without one.
            state["criterion_"] = copy.deepcopy(self.criterion_).cpu()
            if not self.network_.is_adapted:
                state["network_"] = copy.deepcopy(self.network_).cpu()
        if self.network_.is_adapted:
            state["network_"] = pack_network(self.__dict__)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if isinstance(state.get("network_"), dict):
            self.network_ = unpack_network(self.__dict__)
