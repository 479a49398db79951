"""Keep the last few loaded backbones, so that clones and folds do not load them again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from skcyto.exceptions import PretrainedWeightsError
from skcyto.feature_extraction._embedding._fine_tuned import FineTunedSource
from skcyto.feature_extraction._embedding._tokens import RAW, TokenBackbone
from skcyto.utils._backbones._source import BackboneSource

if TYPE_CHECKING:
    import torch

_MAX_LOADED = 2
_Key = tuple[str, int | None, str, str, str, str]

_lock = threading.Lock()
_loaded: OrderedDict[_Key, TokenBackbone] = OrderedDict()


def get_backbone(
    source: BackboneSource | FineTunedSource, identity: str, device: torch.device, kind: str = RAW
) -> TokenBackbone:
    """Return a backbone, loading it unless this process still has it.

    Parameters
    ----------
    source : BackboneSource or FineTunedSource
        Where it comes from.
    identity : str
        What `source.identify_weights()` said when the estimator was fitted.
    device : torch.device
        Where it shall be.
    kind : {"raw", "normed", "pooled"}, default="raw"
        What it shall give.

    Returns
    -------
    backbone : TokenBackbone
        Shared: it must not be changed.

    Raises
    ------
    PretrainedWeightsError
        If the weights cannot be had, or are not those of the fit any more.
    """
    key = (source.model_name, source.image_size, identity, repr(source.options), str(device), kind)
    with _lock:
        if key not in _loaded:
            if source.identify_weights() != identity:
                raise PretrainedWeightsError(
                    f"the weights of model_name={source.model_name!r} are not those that fit saw "
                    f"(then: {identity}; now: {source.identify_weights()}): fit again"
                )
            info = source.describe()
            # Before the new one is loaded: both need not fit into memory side by side.
            while len(_loaded) >= _MAX_LOADED:
                _loaded.popitem(last=False)
            _loaded[key] = TokenBackbone(source.create(), info, kind).to(device)
        _loaded.move_to_end(key)
        return _loaded[key]


def clear_backbones() -> None:
    """Forget all loaded backbones and give their memory back."""
    with _lock:
        _loaded.clear()
