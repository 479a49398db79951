"""Show where in a picture a feature or a class comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skcyto.inspection._pipeline_features import split_pipeline, without_tuners
from skcyto.inspection._plot._image_grid import CAPTION_SIZE, LINE, place_cell, wrap_caption
from skcyto.utils._plotting import choose_fonts, get_figure_and_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

_CELL = 1.5  # inches
_COLOURS = "PuOr_r"
_SCALE_QUANTILE = 0.98


class TokenMapDisplay:
    """Heat maps of what each patch contributes to a feature or a class, over the pictures.

    Make it with :meth:`from_estimator`. All maps share one scale, which ends at the 98th percentile
    of the absolute contributions. The upper picture of each pair is what the network saw, the
    lower one the same in grey under the map: orange patches raise the value, purple ones lower it.

    Parameters
    ----------
    images : sequence of ndarray of shape (height, width, 3), uint8
        Pictures, as resized and cropped for the network.

    maps : array-like of shape (n_images, n_rows, n_columns)
        Contribution of each patch.

    targets : sequence of str
        Feature or class of each map.

    values : array-like of shape (n_images,), default=None
        Value of the feature, or log-odds of the class, for the captions.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.

    figure_ : matplotlib.figure.Figure
        Figure that holds them.

    map_artists_ : list of matplotlib.image.AxesImage
        The heat maps.

    colorbar_ : matplotlib.colorbar.Colorbar
        The scale, which all maps share.

    See Also
    --------
    ExtremeSamplesDisplay : The images with the highest and lowest values.

    Notes
    -----
    The features of an embedder with ``tokens="image"`` or "all" are means over patch tokens. A
    patch's contribution is what the feature, or the log-odds of the class, loses when the patch's
    token is replaced by the mean of the picture's patch tokens. Where what follows the mean is
    linear, this is the token's own term in the mean, less the average term, and the map sums to
    zero; norms and classifiers that are not linear are included as they are, and let the sum
    deviate from zero. An :class:`~skcyto.neural_network.EVA02Classifier` is mapped in the same
    way: its own norm, head and loss follow the mean, and the log-odds are those of its
    probabilities. The class token
    stays: what it has gathered from the patches is on no map. A token has seen the whole picture,
    too, by attention, so a map tells where the network keeps what it uses, not the only place that
    it comes from.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.inspection import TokenMapDisplay
    >>> images = [np.full((32, 32, 3), 200, dtype=np.uint8)]
    >>> maps = np.array([[[0.3, -0.1], [-0.1, -0.1]]])
    >>> display = TokenMapDisplay(images, maps, ["unhealthy"]).plot()
    >>> display.map_artists_[0].get_clim()
    (-0.3, 0.3)
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        maps: ArrayLike,
        targets: Sequence[str],
        *,
        values: ArrayLike | None = None,
    ) -> None:
        self.images = images
        self.maps = maps
        self.targets = targets
        self.values = values

    @classmethod
    def from_estimator(
        cls,
        pipeline: Any,
        images: Any,
        *,
        feature: str | int | None = None,
        label: Any = None,
        ax: Axes | None = None,
    ) -> TokenMapDisplay:
        """Map the patches of some images and draw the maps.

        Parameters
        ----------
        pipeline : estimator
            Fitted pipeline whose first step is an
            :class:`~skcyto.feature_extraction.EVA02TokenEmbedder` with ``tokens="image"`` or
            "all"; or a fitted :class:`~skcyto.neural_network.EVA02Classifier` whose network
            classifies by the mean of its patch tokens, as EVA-02's own does.

        images : sequence of paths, PIL images or arrays
            A few images.

        feature : str or int, default=None
            Name or column of a feature among those that reach the classifier.

        label : object, default=None
            Class to map where `feature` is None; the predicted class of each image where None.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : TokenMapDisplay

        Raises
        ------
        TypeError
            If the pipeline does not begin with an embedder, and is no EVA02Classifier.
        ValueError
            If its features do not depend on patch tokens, there is no such feature or class, or
            both are given; or a feature of an EVA02Classifier is asked for, which has classes only.
        InvalidImageError
            If an image cannot be read.
        """
        # Imported here, since it brings torch.
        from skcyto.inspection._patches._of_classifier import contribute_to_classes
        from skcyto.inspection._patches._of_embedder import contribute_by_token
        from skcyto.neural_network import EVA02Classifier

        if feature is not None and label is not None:
            raise ValueError("give a feature or a label, not both")
        steps, classifier = split_pipeline(pipeline)
        if not steps and isinstance(without_tuners(classifier), EVA02Classifier):
            if feature is not None:
                raise ValueError(
                    f"feature={feature!r}: an EVA02Classifier has no features to map; give a "
                    "label, or neither"
                )
            result = contribute_to_classes(classifier, images, label)
        else:
            result = contribute_by_token(pipeline, images, feature=feature, label=label)
        return cls(result.pictures, result.maps, result.targets, values=result.values).plot(ax=ax)

    def plot(self, *, ax: Axes | None = None) -> TokenMapDisplay:
        """Draw pictures and maps.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; new ones where None.

        Returns
        -------
        display : TokenMapDisplay
            This display.
        """
        from matplotlib.cm import ScalarMappable

        maps = np.asarray(self.maps, dtype=np.float64)
        n = len(maps)
        if maps.ndim != 3 or len(self.images) != n or len(self.targets) != n:
            raise ValueError(
                f"one map and one target an image are needed: {len(self.images)} images, maps of "
                f"shape {maps.shape}, {len(self.targets)} targets"
            )
        size = np.abs(maps)
        # One patch far above all others would leave the rest of the maps blank.
        limit = float(np.quantile(size, _SCALE_QUANTILE, method="higher")) or 1.0
        captions = [wrap_caption(self._caption(i), _CELL) for i in range(n)]
        below = LINE * (max(text.count("\n") for text in captions) + 1) + 0.08
        height = 2 * (_CELL + below)
        figsize = (1.1 + _CELL * n, 0.1 + height)
        self.figure_, self.ax_ = get_figure_and_axes(ax, figsize=figsize)
        self.ax_.set_axis_off()
        self.map_artists_ = []
        for column, (picture, values) in enumerate(zip(self.images, maps, strict=True)):
            height, width = picture.shape[:2]
            place_cell(self.ax_, 0, column, 2, n, caption=0.04).imshow(picture)
            cell = place_cell(self.ax_, 1, column, 2, n, caption=2 * below / height)
            cell.imshow(picture.mean(axis=2), cmap="gray", vmin=0, vmax=255)
            self.map_artists_.append(
                cell.imshow(
                    values,
                    cmap=_COLOURS,
                    vmin=-limit,
                    vmax=limit,
                    alpha=0.2 + 0.6 * np.minimum(np.abs(values) / limit, 1.0),
                    extent=(-0.5, width - 0.5, height - 0.5, -0.5),
                    interpolation="nearest",
                )
            )
            cell.set_xlabel(captions[column], fontsize=CAPTION_SIZE, labelpad=2)
        self.colorbar_ = self.figure_.colorbar(
            ScalarMappable(self.map_artists_[-1].norm, _COLOURS),
            ax=self.ax_,
            label="contribution of the patch",
            extend="both" if size.max() > limit else "neither",
        )
        choose_fonts(self.figure_)
        return self

    def _caption(self, index: int) -> str:
        if self.values is None:
            return str(self.targets[index])
        return f"{self.targets[index]}: {np.asarray(self.values)[index]:.3g}"
