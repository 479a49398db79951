"""Metadata requests, which refer back to the estimator that holds them."""

from __future__ import annotations

from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils._metadata_requests import MetadataRequest, MethodMetadataRequest


def set_request_owner(estimator: BaseEstimator, owner: Any) -> None:
    """Name the owner of an estimator's requests, if it made any (``set_fit_request``).

    Parameters
    ----------
    estimator : estimator
        Whose requests are changed.
    owner : estimator or None
        None where a file is written: skops cannot write what refers to itself.
    """
    request = vars(estimator).get("_metadata_request")
    if not isinstance(request, MetadataRequest):
        return
    request.owner = owner
    for each in vars(request).values():
        if isinstance(each, MethodMetadataRequest):
            each.owner = owner
