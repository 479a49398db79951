"""From images to class token and patch mean, or a pooled vector, and from these to features."""

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

# What a backbone gives for an image, and a cache keeps: class token and patch mean of the last
# block, the same of tokens that were normed one by one, or timm's own pooled feature.
RAW, NORMED, POOLED = "raw", "normed", "pooled"
TOKEN_NAMES = ("class", "image", "all", POOLED)


@dataclass(frozen=True)
class PoolingHead:
    """What turns stored embeddings into features, kept beside them so that no weights are needed.

    Attributes
    ----------
    n_patches : int
        Number of patch tokens whose mean was stored.
    norm : torch.nn.Module
        What is still to be applied: the model's final norm, on the CPU, or nothing.
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
    def from_bytes(cls, data: bytes, info: BackboneInfo, kind: str = RAW) -> PoolingHead:
        """Read what :meth:`to_bytes` wrote.

        Parameters
        ----------
        data : bytes
            Serialised head.
        info : BackboneInfo
            Gives the kind of norm.
        kind : {"raw", "normed", "pooled"}, default="raw"
            What the embeddings are.

        Returns
        -------
        head : PoolingHead
        """
        import torch
        from torch import nn

        norm = copy.deepcopy(info.final_norm) if kind == RAW else nn.Identity()
        norm = norm.to_empty(device="cpu").requires_grad_(False)
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
    """A network that gives class token and patch mean of an image side by side, or pools itself.

    Parameters
    ----------
    model : torch.nn.Module
        A model of timm; the final norm of a vision transformer is taken out of it, unless it pools.
    info : BackboneInfo
        Its description.
    kind : {"raw", "normed", "pooled"}, default="raw"
        What it gives.
    """

    def __init__(self, model: nn.Module, info: BackboneInfo, kind: str = RAW) -> None:
        import torch
        from torch import nn

        self._info = info
        self._kind = kind
        norm = copy.deepcopy(find_final_norm(model)).requires_grad_(False)
        if kind != POOLED:
            # timm norms every token before the pooling in some models and after it in others;
            # without either, forward_features gives the same for all: the last block's output.
            model.norm = nn.Identity()
        self._token_norm = norm if kind == NORMED else nn.Identity()
        self._norm = copy.deepcopy(norm).cpu() if kind == RAW else nn.Identity()
        self._model = model.requires_grad_(False)
        self._head: PoolingHead | None = None
        shape = (1, 3, 1, 1)
        self._mean = torch.tensor(info.data_config["mean"]).reshape(shape)
        self._std = torch.tensor(info.data_config["std"]).reshape(shape)

    def to(self, device: torch.device) -> TokenBackbone:
        """Move the weights to a device and return self."""
        self._model.to(device)
        self._token_norm.to(device)
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
        embeddings : torch.Tensor of shape (n_images, n_numbers)
            Class token, then mean over the patch tokens; or the pooled feature. float32, on the
            network's device.
        """
        import torch

        if self._kind == POOLED:
            self._head = PoolingHead(0, self._norm)
            with torch.inference_mode(), self._autocast(precision):
                pixels = normalize_pixels(images, self._mean, self._std)
                return self._model(pixels).float()
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

        n_prefix = self._info.n_prefix_tokens
        with torch.inference_mode(), self._autocast(precision):
            pixels = normalize_pixels(images, self._mean, self._std)
            tokens = self._model.forward_features(pixels)
            if not isinstance(tokens, torch.Tensor) or tokens.ndim != 3:
                raise ValueError(
                    f"model_name={self._info.model_name!r} gives no sequence of tokens: choose "
                    "another vision transformer"
                )
            if self._head is None:
                self._head = PoolingHead(tokens.shape[1] - n_prefix, self._norm)
            tokens = self._token_norm(tokens)
            return tokens[:, 0].float(), tokens[:, n_prefix:].float()

    def _autocast(self, precision: torch.dtype) -> torch.autocast:
        import torch

        kind = self._mean.device.type
        return torch.autocast(kind, precision, enabled=precision != torch.float32)


def combine_tokens(
    embeddings: np.ndarray,
    head: PoolingHead,
    tokens: Sequence[str],
    final_norm: Any,
) -> np.ndarray:
    """Make features of class tokens and patch means.

    Parameters
    ----------
    embeddings : ndarray of shape (n_images, n_numbers)
        As the backbone gave them.
    head : PoolingHead
        Number of patches, and the norm.
    tokens : sequence of {"class", "image", "all"}, or ["pooled"]
        What to concatenate.
    final_norm : bool, "image" or "tokens"
        Whether the norm is applied to each pooled vector; "image" applies it to "image" alone, and
        with "tokens" it was applied before.

    Returns
    -------
    features : ndarray of shape (n_images, embedding_dim * len(tokens))
        Of dtype float32.
    """
    import torch

    if list(tokens) == [POOLED]:
        return embeddings.astype(np.float32, copy=False)
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


def check_token_names(tokens: object, names: Sequence[str], info: BackboneInfo) -> None:
    """Check that a network has the tokens that are asked for.

    Parameters
    ----------
    tokens : object
        As the user gave them.
    names : sequence of str
        The same as a sequence.
    info : BackboneInfo
        Description of the network.

    Raises
    ------
    ValueError
        If it has not, or the names are none that there are.
    """
    if not names or set(names) - set(TOKEN_NAMES) or len(set(names)) < len(names):
        raise ValueError(
            f"tokens={tokens!r} must be one of {', '.join(map(repr, TOKEN_NAMES))}, or a list of "
            "different ones of these"
        )
    if POOLED in names and len(names) > 1:
        raise ValueError(
            f"tokens={tokens!r}: 'pooled' is timm's own feature and stands alone; join two "
            "embedders in a FeatureUnion for more"
        )
    if not info.has_tokens and POOLED not in names:
        raise ValueError(
            f"model_name={info.model_name!r} is no vision transformer, which would keep a token "
            f"for each patch: tokens={tokens!r} must be 'pooled', timm's own pooled feature"
        )
    if not info.has_class_token and not set(names) <= {"image", POOLED}:
        raise ValueError(
            f"model_name={info.model_name!r} has no class token, only patches: "
            "tokens must be 'image'"
        )
