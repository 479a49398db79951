"""Show the images with the highest and the lowest values of a feature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from skcyto.feature_selection._importances import read_importances
from skcyto.inspection._pipeline_features import (
    find_feature,
    name_features,
    split_pipeline,
    transform_to_features,
    without_tuners,
)
from skcyto.inspection._plot._image_grid import (
    CAPTION_SIZE,
    LINE,
    place_cell,
    read_pictures,
    wrap_caption,
)
from skcyto.inspection._shapley._explain import explain
from skcyto.inspection._shapley._explanation import Explanation
from skcyto.inspection._tables import TableEncoder
from skcyto.utils._plotting import PALETTE, choose_fonts, get_figure_and_axes, text_width, wrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

_CELL = 1.25  # inches
_EXPLAINED_ROWS, _BACKGROUND = 10, 20
_SIDES = ("highest", "lowest")


class ExtremeSamplesDisplay:
    """Images with the highest and the lowest values of a feature, side by side.

    Make it with :meth:`from_estimator` or :meth:`from_predictions`.

    Parameters
    ----------
    images : sequence of ndarray of shape (height, width, 3), uint8
        Pictures, one a row of `samples`.

    samples : pandas.DataFrame
        One row a picture, indexed by its position among all images, with the columns ``side``
        ("highest" or "lowest"), ``value``, ``prediction`` and, where the classes are known,
        ``label``. Most extreme first.

    feature_name : str
        Name of the feature, for the title.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.

    figure_ : matplotlib.figure.Figure
        Figure that holds them.

    image_axes_ : dict of str to list of matplotlib.axes.Axes
        One axes a picture, under "highest" and "lowest".

    See Also
    --------
    explain : Finds the most important feature.
    TokenMapDisplay : Where in the picture a feature comes from.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skcyto.datasets import make_cell_images
    >>> from skcyto.inspection import ExtremeSamplesDisplay
    >>> cells = make_cell_images(40, image_size=32, random_state=0)
    >>> colours = cells.images.mean(axis=(1, 2))  # stands for the tokens of an embedder
    >>> classifier = LogisticRegression(max_iter=1000).fit(colours, cells.target)
    >>> display = ExtremeSamplesDisplay.from_estimator(
    ...     classifier, cells.images, X=colours, y=cells.target, feature="x0", n=4
    ... )
    >>> display.samples["side"].tolist().count("highest")
    4
    """

    def __init__(
        self, images: Sequence[np.ndarray], samples: pd.DataFrame, *, feature_name: str
    ) -> None:
        self.images = images
        self.samples = samples
        self.feature_name = feature_name

    @classmethod
    def from_estimator(
        cls,
        pipeline: Any,
        images: Any,
        *,
        feature: str | int = "top",
        n: int = 8,
        importances: Explanation | ArrayLike | pd.DataFrame | None = None,
        X: Any = None,
        y: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
        ax: Axes | None = None,
    ) -> ExtremeSamplesDisplay:
        """Find the extremes of a feature that reaches a pipeline's classifier, and draw them.

        Parameters
        ----------
        pipeline : estimator
            Fitted pipeline, search over one, or classifier.

        images : sequence of paths, PIL images or arrays
            What to draw; only the images shown are read for it.

        feature : "top", str or int, default="top"
            Name or column of a feature among those that reach the classifier; "top" is the most
            important by `importances`.

        n : int, default=8
            Number of images at each end.

        importances : Explanation, array-like of shape (n_features,) or DataFrame, default=None
            What "top" means: an explanation, numbers, or what
            :meth:`Explanation.global_importance` returned, for one class perhaps. Where None, the
            classifier's own: the mean over classes of the magnitudes of ``coef_``, or
            ``feature_importances_``. A classifier that has neither is explained by Kernel SHAP in
            small, ten rows before a background of twenty, which for a network on hundreds of
            features takes a minute and is rough: give an explanation of more rows instead.

        X : array-like or DataFrame, default=None
            Input of the pipeline, one row an image, where that is not the images themselves but
            features that were computed before.

        y : array-like of shape (n_images,), default=None
            True classes.

        random_state : int, RandomState or None, default=None
            Of the small explanation, where one is needed.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : ExtremeSamplesDisplay

        Raises
        ------
        ValueError
            If there is no such feature, if a value is missing, if there are fewer than ``2 * n``
            images, or if `images`, `X` and `y` differ in length.
        InvalidImageError
            If an image that is shown cannot be read.
        """
        steps, classifier = split_pipeline(pipeline)
        inputs = images if X is None else X
        table = transform_to_features(steps, inputs)
        names = name_features(steps, inputs, table)
        if feature == "top":
            if importances is None:
                importances = _own_importances(classifier, table, len(names), random_state)
            column = _find_top(importances, names)
        else:
            column = find_feature(feature, names)
        return cls.from_predictions(
            images,
            TableEncoder(table).encode(table)[:, column],
            np.asarray(classifier.predict(table)),
            y=y,
            feature_name=names[column],
            n=n,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        images: Any,
        values: ArrayLike,
        prediction: ArrayLike,
        *,
        y: ArrayLike | None = None,
        feature_name: str = "value",
        n: int = 8,
        ax: Axes | None = None,
    ) -> ExtremeSamplesDisplay:
        """Draw the images with the extremes of given values.

        Parameters
        ----------
        images : sequence of paths, PIL images or arrays
            What to draw; only the images shown are read for it.

        values : array-like of shape (n_images,)
            Values of a feature, a probability, an uncertainty or what else orders the images.

        prediction : array-like of shape (n_images,)
            Predicted classes, out of fold for instance.

        y : array-like of shape (n_images,), default=None
            True classes.

        feature_name : str, default="value"
            What the values are, for the title.

        n : int, default=8
            Number of images at each end.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : ExtremeSamplesDisplay

        Raises
        ------
        ValueError
            If a value is missing, if there are fewer than ``2 * n`` images, or if lengths differ.
        InvalidImageError
            If an image that is shown cannot be read.
        """
        values = np.asarray(values, dtype=np.float64)
        prediction = np.asarray(prediction)
        if values.ndim != 1:
            raise ValueError(f"values has shape {values.shape}; one number an image is needed")
        if prediction.ndim != 1:
            raise ValueError(
                f"prediction has shape {prediction.shape}; one class an image is needed"
            )
        _check_lengths(len(values), n, images=images, prediction=prediction, y=y)
        missing = np.flatnonzero(np.isnan(values))
        if len(missing):
            raise ValueError(
                f"feature {feature_name!r} is missing in {len(missing)} row(s), first in row "
                f"{missing[0]}: leave these images out"
            )
        order = np.argsort(values, kind="stable")
        shown = np.concatenate([order[::-1][:n], order[:n]])
        samples = pd.DataFrame(
            {
                "side": np.repeat(_SIDES, n),
                "value": values[shown],
                "prediction": prediction[shown],
            },
            index=pd.Index(shown, name="image"),
        )
        if y is not None:
            samples["label"] = np.asarray(y)[shown]
        pictures = read_pictures(images, shown.tolist())
        return cls(pictures, samples, feature_name=feature_name).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> ExtremeSamplesDisplay:
        """Draw the images, each with its value, class and prediction.

        A prediction that differs from the class is marked by a cross and by colour.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : ExtremeSamplesDisplay
            This display.
        """
        n = int(self.samples["side"].value_counts().max())
        n_columns = int(np.ceil(np.sqrt(2 * n))) if n > 2 else n
        n_rows = int(np.ceil(n / n_columns))
        captions = [_caption(sample) for sample in self.samples.itertuples()]
        below = LINE * (max(text.count("\n") for text in captions) + 1) + 0.08
        width = _CELL * (2 * n_columns + 0.5)
        title = wrap(f"Feature {self.feature_name}", int(0.9 * width / text_width("x", 12)))
        height = 0.9 + 0.22 * title.count("\n") + (_CELL + below) * n_rows
        self.figure_, self.ax_ = get_figure_and_axes(ax, figsize=(width, height))
        self.ax_.set_axis_off()
        self.ax_.set_title(title, pad=24, va="bottom")
        self.image_axes_: dict[str, list[Axes]] = {side: [] for side in _SIDES}
        for picture, sample, caption in zip(
            self.images, self.samples.itertuples(), captions, strict=True
        ):
            cells = self.image_axes_[sample.side]
            left = 0.0 if sample.side == "highest" else 0.52
            cell = place_cell(
                self.ax_,
                len(cells) // n_columns,
                len(cells) % n_columns,
                n_rows,
                n_columns,
                caption=below / (_CELL + below),
                left=left,
                width=0.48,
            )
            cell.imshow(picture)
            wrong = getattr(sample, "label", sample.prediction) != sample.prediction
            colour = PALETTE[1] if wrong else PALETTE[6]
            cell.set_xlabel(caption, fontsize=CAPTION_SIZE, color=colour, labelpad=2)
            cells.append(cell)
        for side, centre in zip(_SIDES, (0.24, 0.76), strict=True):
            self.ax_.text(centre, 1.02, f"{side} values", ha="center", va="bottom")
        self.ax_.plot([0.5, 0.5], [0.02, 0.98], color="0.6", linewidth=0.8)
        self.ax_.set(xlim=(0, 1), ylim=(0, 1))
        choose_fonts(self.figure_)
        return self


def _caption(sample: Any) -> str:
    label = getattr(sample, "label", None)
    value = f"{sample.value:.3g}"
    if label is None:
        return f"{value}\n{wrap_caption(f'pred. {sample.prediction}', _CELL)}"
    if label == sample.prediction:
        return f"{value}\n{wrap_caption(label, _CELL)}\n\N{CHECK MARK}"
    wrong = f"\N{MULTIPLICATION SIGN} pred. {sample.prediction}"
    return f"{value}\n{wrap_caption(label, _CELL)}\n{wrap_caption(wrong, _CELL)}"


def _own_importances(classifier: Any, table: Any, n_features: int, random_state: Any) -> Any:
    """Ask a classifier what is important to it, or find out by explaining a few rows."""
    model = without_tuners(classifier)
    if hasattr(model, "coef_") or hasattr(model, "feature_importances_"):
        return read_importances(model, "auto", "mean", n_features)
    n_rows = _num_samples(table)
    rows = np.linspace(0, n_rows - 1, min(_EXPLAINED_ROWS, n_rows)).astype(int)
    explanation = explain(
        classifier,
        _safe_indexing(table, rows),
        background_data=table,
        background=min(_BACKGROUND, n_rows),
        random_state=random_state,
    )
    return np.abs(explanation.values).mean(axis=(0, 2))


def _find_top(importances: Any, names: list[str]) -> int:
    if isinstance(importances, Explanation):
        importances = importances.global_importance(n_resamples=1)
    if hasattr(importances, "columns"):
        return find_feature(str(importances["importance"].idxmax()), names)
    numbers = np.asarray(importances, dtype=np.float64)
    if numbers.shape != (len(names),):
        raise ValueError(
            f"importances has shape {numbers.shape}, but {len(names)} features reach the classifier"
        )
    return int(np.argmax(numbers))


def _check_lengths(n_rows: int, n: int, **sequences: Any) -> None:
    if not isinstance(n, (int, np.integer)) or n < 1:
        raise ValueError(f"n={n!r} must be an integer of at least 1")
    for name, sequence in sequences.items():
        if sequence is not None and len(sequence) != n_rows:
            raise ValueError(f"{name} has {len(sequence)} rows, but there are {n_rows} values")
    if 2 * n > n_rows:
        raise ValueError(f"n={n} images at each end need {2 * n} images; there are {n_rows}")
