"""Check sparse matrices that come from a file: compiled code follows their indices unchecked."""

from __future__ import annotations

from typing import Any

from scipy.sparse import issparse

from skcyto.exceptions import InvalidModelError
from skcyto.persistence._walk import walk


def check_sparse(model: Any) -> None:
    """Refuse sparse matrices with indices out of bounds.

    Parameters
    ----------
    model : object
        What was loaded.

    Raises
    ------
    InvalidModelError
        If a matrix is not as SciPy makes them.
    """
    for item in walk(model):
        if not issparse(item):
            continue
        try:
            if item.format not in ("csr", "csc"):
                raise ValueError(f"its format is {item.format}")
            item.check_format(full_check=True)
        except ValueError as error:
            raise InvalidModelError(
                f"the model holds a sparse matrix that is damaged or forged: {error}. Nothing was "
                "run; do not use this file"
            ) from error
