"""timm's preparation of images for a model, with and without random augmentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from skcyto.utils._backbones._options import WHITE
from skcyto.utils._backbones._source import BackboneInfo

if TYPE_CHECKING:
    import torch

AUGMENTATIONS = ("light", "cells", "default")
Augment = str | Callable[[Image.Image], Any] | None
# How many times longer than broad an image may be whose shorter edge is brought to the input's size
# before its middle is cut out: a strip of one pixel would become a gigabyte, and its ends be lost.
_MAX_ASPECT = 64


def make_transform(
    info: BackboneInfo, augment: Augment = None
) -> Callable[[Image.Image], torch.Tensor]:
    """Make what turns an RGB image into the network's input, still in 8 bit.

    A quarter of the memory of floats on the way to the device, where :func:`normalize_pixels`
    does the rest.

    Parameters
    ----------
    info : BackboneInfo
        Description of the network.
    augment : {"light", "cells", "default"}, callable or None, default=None
        None resizes and crops as at prediction. "light" adds to this flips to either side and
        slight changes of brightness, contrast and saturation; "cells" flips, right-angle turns,
        in half of the cases a free turn with shift and scale, and changes of brightness and
        contrast; a callable what it makes of the PIL image. "default" is timm's own default for
        training: a random crop of 8 to 100 % of the area, flips to the side, and changes of
        brightness, contrast and saturation by up to 40 %. Random numbers come from the global
        generators of Python, numpy and torch: see :func:`~skcyto.utils._random.all_seeded`.

    Returns
    -------
    transform : callable
        From a PIL image to a tensor of shape (3, image_size, image_size), dtype uint8.
    """
    from timm.data import create_transform
    from torchvision import transforms

    config = dict(info.data_config)
    fill = config.pop("fill", WHITE)
    pads = config["crop_mode"] == "pad"
    if pads:
        config["crop_mode"] = "squash"  # what is square already
    if augment == "default":
        return create_transform(**config, normalize=False, is_training=True)
    *geometry, to_tensor = create_transform(**config, normalize=False).transforms
    if pads:
        geometry.insert(0, partial(_pad, config=config, fill=fill))
    if config["crop_mode"] == "center":
        geometry.insert(0, _refuse_strip)
    if augment is None:
        return transforms.Compose([*geometry, to_tensor])
    if augment == "light":
        changes = [
            transforms.RandomHorizontalFlip(),
            transforms.RandomVerticalFlip(),
            transforms.ColorJitter(0.1, 0.1, 0.1),
        ]
    elif augment == "cells":
        free = transforms.RandomAffine(
            180,
            translate=(0.1, 0.1),
            scale=(0.8, 1.2),
            interpolation=transforms.InterpolationMode.BILINEAR,
            fill=list(fill),
        )
        changes = [
            transforms.RandomHorizontalFlip(),
            transforms.Lambda(_turn),
            transforms.RandomApply([free]),
            transforms.ColorJitter(0.2, 0.2),
        ]
    else:
        assert not isinstance(augment, str)
        changes = [partial(_apply, function=augment)]
    return transforms.Compose([*geometry, *changes, to_tensor])


def _turn(image: Image.Image) -> Image.Image:
    """Turn by a random number of right angles, which loses nothing."""
    import torch

    n_turns = int(torch.randint(4, ()))
    ways = Image.Transpose
    turns = (None, ways.ROTATE_90, ways.ROTATE_180, ways.ROTATE_270)
    way = turns[n_turns]
    return image if way is None else image.transpose(way)


def _apply(image: Image.Image, function: Callable[[Image.Image], Any]) -> Image.Image:
    """Call a transform of the user's, and see that the network can take what it gives."""
    from torchvision.transforms.functional import to_pil_image

    changed = function(image)
    if not isinstance(changed, Image.Image):
        try:
            changed = to_pil_image(changed)
        except TypeError as error:
            raise ValueError(
                f"augment={function!r} gives a {type(changed).__name__}, and must give a PIL image "
                "or a tensor of one"
            ) from error
    if changed.size != image.size:
        raise ValueError(
            f"augment={function!r} makes an image of {changed.width} x {changed.height} pixels of "
            f"one of {image.width} x {image.height}, and must keep its size"
        )
    return changed.convert("RGB")


def _pad(image: Image.Image, config: Mapping[str, Any], fill: tuple[int, ...]) -> Image.Image:
    """Bring the longer edge to the network's input, and put a border around the rest."""
    from timm.data.transforms import str_to_pil_interp

    size = int(config["input_size"][-1] / config["crop_pct"])
    method = str_to_pil_interp(config["interpolation"])
    return ImageOps.pad(image, (size, size), method=method, color=fill)


def _refuse_strip(image: Image.Image) -> Image.Image:
    long, short = max(image.size), min(image.size)
    if long > _MAX_ASPECT * short:
        raise ValueError(
            f"an image of {image.width} x {image.height} pixels is too long for its breadth: the "
            f"network would see less than 1/{_MAX_ASPECT} of it; cut or resize it first"
        )
    return image


def normalize_pixels(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Standardize 8-bit images on the device of `mean`.

    Parameters
    ----------
    images : torch.Tensor of shape (n_images, 3, height, width)
        Pixels from 0 to 255, of any dtype, on any device; left as they are.
    mean, std : torch.Tensor of shape (1, 3, 1, 1), dtype float32
        Of pixels between 0 and 1.

    Returns
    -------
    pixels : torch.Tensor of shape (n_images, 3, height, width), dtype float32
    """
    pixels = images.to(mean.device, non_blocking=True).to(mean.dtype, copy=True)
    return pixels.div_(255).sub_(mean).div_(std)
