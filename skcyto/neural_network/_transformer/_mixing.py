"""Mixup and CutMix: images that are made of two, and targets that say how much of each."""

from __future__ import annotations

import torch
from timm.data import Mixup

from skcyto.losses import Criterion
from skcyto.utils._random import all_seeded


class Mixer:
    """Mix the images of a batch with one another.

    Parameters
    ----------
    mixup_alpha : float
        Of the beta distribution from which the share of an image is drawn; 0 for no mixup.
    cutmix_alpha : float
        Likewise for the area of a rectangle that is taken from another image; 0 for no CutMix.
    n_classes : int
        Number of classes.
    """

    def __init__(self, mixup_alpha: float, cutmix_alpha: float, n_classes: int) -> None:
        self._n_classes = n_classes
        self._mixup = Mixup(
            mixup_alpha=mixup_alpha,
            cutmix_alpha=cutmix_alpha,
            label_smoothing=0.0,
            num_classes=n_classes,
        )

    def mix(
        self, images: torch.Tensor, target: torch.Tensor, seed: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix a batch; of an odd number of images the last one stays as it is.

        Parameters
        ----------
        images : torch.Tensor of shape (n_images, 3, height, width), dtype uint8
            As they were read.
        target : torch.Tensor of shape (n_images,)
            Their classes.
        seed : int
            Of what is drawn.

        Returns
        -------
        images : torch.Tensor, dtype float32
            Pixels from 0 to 255, on the device of the images.
        shares : torch.Tensor of shape (n_images, n_classes)
            Of the classes in each image, on the device of the targets.
        """
        pixels = images.float()
        shares = torch.nn.functional.one_hot(target, self._n_classes).float()
        even = len(pixels) // 2 * 2
        with all_seeded(seed):
            pixels[:even], shares[:even] = self._mixup(pixels[:even].clone(), target[:even])
        return pixels, shares


def check_mixing(criterion: Criterion, loss: object) -> None:
    """Refuse a loss that has no meaning for an image of two classes.

    Parameters
    ----------
    criterion : Criterion
        Of the training.
    loss : object
        What the user gave.

    Raises
    ------
    ValueError
        If its value is no weighted mean over rows.
    """
    if not criterion.takes_soft_targets:
        raise ValueError(
            f"mixup_alpha and cutmix_alpha make images of two classes, for which loss={loss!r} has "
            "no value: it is no weighted mean over images. Take another loss, such as 'ce', "
            "'focal' or 'poly1', or leave both at 0"
        )
