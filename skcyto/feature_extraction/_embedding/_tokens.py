"""From images to the un-normalised class token and patch mean, and from these to features."""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from skcyto.utils._backbones._source import BackboneInfo, find_final_norm
from skcyto.utils._backbones._transforms import normalize_pixels

if TYPE_CHECKING:
    import torch
    from torch import nn

TOKEN_NAMES = ("class", "image", "all")


@dataclass(frozen=True)
class PoolingHead:
    """What turns stored embeddings into features, kept beside them so that no weights are needed.

    Attributes
    ----------
    n_patches : int
        Number of patch tokens whose mean was stored.
    norm : torch.nn.Module
        The model's final norm, on the CPU.
    """

    n_patches: int
    norm: nn.Module

    def to_bytes(self) -> bytes:
        """Serialise without pickle."""
        file = io.BytesIO()
        state = {f"norm.{k}": v.numpy() for k, v in self.norm.state_dict().items()}
        np.savez(file, n_patches=self.n_patches, **state)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, info: BackboneInfo) -> PoolingHead:
        """Read what :meth:`to_bytes` wrote.

        Parameters
        ----------
        data : bytes
            Serialised head.
        info : BackboneInfo
            Gives the kind of norm.

        Returns
        -------
        head : PoolingHead
        """
        import torch

        norm = copy.deepcopy(info.final_norm).to_empty(device="cpu").requires_grad_(False)
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            n_patches = int(arrays["n_patches"])
            state = {
                name.removeprefix("norm."): torch.from_numpy(arrays[name])
                for name in arrays.files
                if name != "n_patches"
            }
        norm.load_state_dict(state)
        return cls(n_patches, norm.eval())


class TokenBackbone:
    """A vision transformer that gives, for each image, class token and patch mean side by side.

    Parameters
    ----------
    model : torch.nn.Module
        A timm vision transformer; its final norm is taken out of it.
    info : BackboneInfo
        Its description.
    """

    def __init__(self, model: nn.Module, info: BackboneInfo) -> None:
        import torch
        from torch import nn

        self._info = info
        self._norm = copy.deepcopy(find_final_norm(model)).cpu().requires_grad_(False)
        # timm norms every token before the pooling in some models and after it in others; without
        # either, forward_features gives the same thing for all: the last block's output.
        model.norm = nn.Identity()
        self._model = model.requires_grad_(False)
        self._head: PoolingHead | None = None
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(info.data_config["mean"]).reshape(shape)
        self._std = torch.tensor(info.data_config["std"]).reshape(shape)

    def to(self, device: torch.device) -> TokenBackbone:
        """Move the weights to a device and return self."""
        self._model.to(device)
        self._mean = self._mean.to(device)
        self._std = self._std.to(device)
        return self

    @property
    def head(self) -> PoolingHead:
        """How to make features of embeddings."""
        import torch

        if self._head is None:
            size = self._info.image_size
            self.forward(torch.zeros((1, 3, size, size), dtype=torch.uint8), torch.float32)
        assert self._head is not None
        return self._head

    def forward(self, images: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
        """Send a batch through the network.

        Parameters
        ----------
        images : torch.Tensor of shape (n_images, 3, image_size, image_size)
            8-bit RGB, on any device.
        precision : torch.dtype
            What the network computes in.

        Returns
        -------
        embeddings : torch.Tensor of shape (n_images, 2 * embedding_dim)
            Class token, then mean over the patch tokens; float32, on the network's device.
        """
        import torch

        class_token, patch_tokens = self.forward_tokens(images, precision)
        with torch.inference_mode():
            return torch.cat([class_token, patch_tokens.mean(dim=1)], dim=1)

    def forward_tokens(
        self, images: torch.Tensor, precision: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Send a batch through the network and keep every patch token.

        Parameters
        ----------
        images : torch.Tensor of shape (n_images, 3, image_size, image_size)
            8-bit RGB, on any device.
        precision : torch.dtype
            What the network computes in.

        Returns
        -------
        class_token : torch.Tensor of shape (n_images, embedding_dim)
            float32, on the network's device.
        patch_tokens : torch.Tensor of shape (n_images, n_patches, embedding_dim)
            Row by row from the upper left; float32, on the network's device.
        """
        import torch

        device = self._mean.device
        n_prefix = self._info.n_prefix_tokens
        autocast = torch.autocast(device.type, precision, enabled=precision != torch.float32)
        with torch.inference_mode(), autocast:
            pixels = normalize_pixels(images, self._mean, self._std)
            tokens = self._model.forward_features(pixels)
            if not isinstance(tokens, torch.Tensor) or tokens.ndim != 3:
                raise ValueError(
                    f"model_name={self._info.model_name!r} gives no sequence of tokens: choose "
                    "another vision transformer"
                )
            if self._head is None:
                self._head = PoolingHead(tokens.shape[1] - n_prefix, self._norm)
            return tokens[:, 0].float(), tokens[:, n_prefix:].float()


def combine_tokens(
    embeddings: np.ndarray,
    head: PoolingHead,
    tokens: Sequence[str],
    final_norm: Any,
) -> np.ndarray:
    """Make features of class tokens and patch means.

    Parameters
    ----------
    embeddings : ndarray of shape (n_images, 2 * embedding_dim)
        Class token, then patch mean, un-normalised.
    head : PoolingHead
        Number of patches, and the norm.
    tokens : sequence of {"class", "image", "all"}
        What to concatenate.
    final_norm : bool or "image"
        Whether the norm is applied to each pooled vector; "image" applies it to "image" alone.

    Returns
    -------
    features : ndarray of shape (n_images, embedding_dim * len(tokens))
        Of dtype float32.
    """
    import torch

    class_token, patch_mean = np.split(embeddings, 2, axis=1)
    blocks = []
    for name in tokens:
        if name == "class":
            block = class_token
        elif name == "image":
            block = patch_mean
        else:
            n_patches = np.float32(head.n_patches)
            block = (class_token + n_patches * patch_mean) / (n_patches + 1)
        if final_norm is True or (final_norm == "image" and name == "image"):
            with torch.inference_mode():
                block = head.norm(torch.from_numpy(np.ascontiguousarray(block))).numpy()
        blocks.append(block)
    return np.concatenate(blocks, axis=1, dtype=np.float32)
