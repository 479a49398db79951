"""A comparison as one self-contained HTML page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from skcyto.model_selection._report_tables import format_number, format_pvalue

if TYPE_CHECKING:
    from skcyto.model_selection._comparison_result import ModelComparison


def write_html(comparison: ModelComparison, path: str | os.PathLike[str], title: str) -> None:
    """See :meth:`ModelComparison.to_html`.

    Parameters
    ----------
    comparison : ModelComparison
        The comparison.
    path : str or path
        File to write.
    title : str
        Heading of the page.
    """
    parts = [f"<h1>{title}</h1>", comparison.table().T.to_html(float_format=format_number)]
    parts.append(comparison.test().to_html(float_format=format_pvalue))
    Path(path).write_text("\n".join(parts), encoding="utf-8")
