"""The estimator."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils import Tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from skcyto.exceptions import DroppedFeatureWarning, InvalidInputWarning
from skcyto.feature_extraction._radiomics._batch import run_batch, scan_labels
from skcyto.feature_extraction._radiomics._cases import (
    Case,
    Columns,
    ScanProblem,
    check_columns,
    make_cases,
)
from skcyto.feature_extraction._radiomics._diagnostics import diagnose
from skcyto.feature_extraction._radiomics._maps import (
    Kernel,
    choose_features,
    choose_structure,
    map_case,
)
from skcyto.feature_extraction._radiomics._problems import Report
from skcyto.feature_extraction._radiomics._reading import first_gray, peek
from skcyto.feature_extraction._radiomics._schema import (
    channel_names,
    column_names,
    feature_table,
    lost_shape_class,
    make_schema,
    radiomics_version,
)
from skcyto.feature_extraction._radiomics._settings import resolve_settings
from skcyto.feature_extraction._radiomics._state import load_extractor_state, save_extractor_state
from skcyto.feature_extraction._radiomics._structures import (
    Structure,
    check_mask_labels,
    make_structures,
    structure_name,
)
from skcyto.feature_extraction._radiomics._worker import Task
from skcyto.utils._warnings import warn

if TYPE_CHECKING:
    import pandas as pd

_MANY_LABELS = 128  # more structures than atlases of the whole body have


class RadiomicsExtractor(TransformerMixin, BaseEstimator):
    """Radiomics of all labels of images and masks, with pyradiomics' names and numbers.

    Every label of a mask gets the features that pyradiomics' ``execute`` gives it, but the
    image is read, normalised and filtered once a case instead of once a label, on crops where
    that gives identical results, and the slowest steps run faster with equal results. Where
    settings make sharing inexact (`preCrop`, resampling), each label gets images of its own.

    Parameters
    ----------
    mask_labels : None, list of int, or dict of str to int or list of int, default=None
        Labels of the masks to extract, with a structure's name each in a dict; a list there is
        the union of its labels, as in ``{"whole": [1, 2, 4], "core": [1, 4], "edema": 2}``, of
        those that a mask holds. A label without a name is called ``label_<value>``. None takes
        the label that `settings` names, if any, or else all labels found in the masks seen in
        `fit`.
    settings : str, path-like or dict, default="ted1648"
        What to compute:

        - "ted1648": 1,648 features a label, for MR images: 19 image types (original, Laplacian
          of Gaussian with sigma 1 to 5 mm, 8 wavelet bands, square, square root, logarithm,
          exponential, gradient), shape, first-order statistics and the GLCM, GLRLM, GLSZM and
          GLDM matrices on intensities normalised to a standard deviation of 100, in bins of 5.
        - "original": pyradiomics' defaults; all classes on the unfiltered image, bins of 25.
        - a pyradiomics parameter file (YAML or JSON), or its content as a dict with the keys
          ``setting``, ``imageType`` and ``featureClass``.

        On 2-D images the presets compute `shape2D` instead of `shape`. Other settings are taken
        at their word, with a warning where their only shape class has no meaning for the images.
    image_column : str or list of str, default="image"
        Column of `X` where it is a DataFrame. A list names several images a case that share a
        mask, such as MR sequences: each gives textures of its own, and shape comes once.
    mask_column : str, default="mask"
        Column of `X` where it is a DataFrame.
    label_column : str or None, default=None
        Column of `X`, a DataFrame, with the label of each row, as :func:`split_lesions` and
        pyradiomics' batch command have it. It also names the one structure; `mask_labels` is None.
    largest_component : bool, default=False
        Whether only the largest connected part of each structure is measured. Voxels that share a
        face, an edge or a corner are connected.
    crop_filters : bool, default=True
        Filter a crop around the labels where the result is the same. False filters whole
        images: slower, for those who want to check.
    on_missing_label : {"nan", "raise"}, default="nan"
        What to do where a mask lacks one of `mask_labels`: NaN columns and a warning, or an error.
    on_error : {"raise", "nan"}, default="raise"
        What to do with cases and labels that give no features: one error that lists them, or
        NaN and a warning. NaN fills the whole row where the case is bad, the label's columns
        where the rest of the case is sound, and all but its shape where only its intensities are
        unusable (flat, NaN, infinite).
    n_jobs : int or None, default=None
        Number of cases in work at the same time, in processes, through joblib. Each process
        holds one case in memory and keeps ITK to one thread.
    cache : str, path-like or None, default=None
        Folder that keeps results, each under the content of image, mask and settings and the
        version of pyradiomics. Finished cases survive a killed run. Many processes may share
        it; it should be on a local disk.
    verbose : int, default=0
        Above 0, a progress bar and remarks about the settings.

    Attributes
    ----------
    mask_labels_ : dict of str to int or list of int
        Structures and their labels, in the order of the columns; an empty list where each row has
        a label of its own.
    feature_table_ : pandas.DataFrame
        Describes the columns, indexed by their names: `structure`, `image_type`,
        `feature_class`, `feature`, and `channel` ("red", "green" or "blue" for colour images, the
        column of the image where `image_column` is a list, otherwise empty).
    settings_ : dict
        What pyradiomics is given: ``setting``, ``imageType`` and ``featureClass``, defaults
        filled in.
    n_dims_ : {2, 3}
        Dimension of the images.
    radiomics_version_ : str
        Version of the installed pyradiomics.
    n_features_in_ : int
        Number of columns that are read: 2 for image and mask.

    Raises
    ------
    InvalidScanError
        In `transform`, with ``on_error="raise"``: lists up to 20 cases with the label, the
        reason and what to do.

    See Also
    --------
    split_lesions : Make one row a lesion of one row a case.
    skcyto.feature_selection.CorrelationTTestFilter : The filter that follows in the TED study.

    Notes
    -----
    `X` is a DataFrame with an image and a mask column, an array of shape (n_samples, 2) of
    paths, or a sequence of (image, mask) pairs. With several images a case an array has a column
    for each before that of the mask, and a pair is ``({name: image}, mask)``. An image or a mask
    is a path, a SimpleITK image, a numpy array (of unit spacing), or a pair ``(array, spacing)``
    with the spacing in millimetres **in the order of the array's axes**, (z, y, x) for a volume.
    PNG, JPEG, BMP, WebP and TIFF pictures have unit spacing: lengths are in pixels. A uint8 array
    of shape (H, W, 3) is an RGB image; textures are then computed on each channel.

    A column is called ``structure__imagetype_class_feature``, as in
    ``superior_rectus__wavelet-LLH_glcm_Contrast``; behind the double underscore stands
    pyradiomics' own name. Colour images add the channel:
    ``nucleus__red__original_glcm_Contrast``; several images a case their columns:
    ``whole__flair__original_glcm_Contrast``. pyradiomics' ``diagnostics_*`` are no features;
    :meth:`diagnostics` gives them as a table.

    Values equal pyradiomics' to a relative 1e-9 (most of them bit for bit). On its first use
    in a process the extractor compares its compiled kernels with the installed pyradiomics' own
    code on small phantoms, and uses the latter where they disagree. Kernels are compiled once, in
    some 20 seconds, and kept in numba's cache on disk. One difference is meant: in images of
    bytes pyradiomics' bin edges overflow with numpy 2, and the values are wrong; here they are
    those of the same image as 32-bit integers.

    References
    ----------
    .. [1] van Griethuysen JJM et al. Computational radiomics system to decode the radiographic
       phenotype. Cancer Research 77(21), 2017. doi:10.1158/0008-5472.CAN-17-0339.

    Examples
    --------
    >>> import numpy as np
    >>> from skcyto.feature_extraction import RadiomicsExtractor
    >>> rng = np.random.default_rng(0)
    >>> image = rng.normal(100, 20, size=(8, 12, 12))
    >>> mask = np.zeros((8, 12, 12), dtype=np.uint8)
    >>> mask[2:6, 2:8, 2:10] = 1
    >>> spacing = (2.0, 0.5, 0.5)
    >>> extractor = RadiomicsExtractor({"nerve": 1}, settings="original")
    >>> extractor.set_output(transform="pandas").fit_transform(
    ...     [((image, spacing), (mask, spacing))]
    ... )["nerve__original_shape_VoxelVolume"]
    0    96.0
    Name: nerve__original_shape_VoxelVolume, dtype: float64
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "mask_labels": [None, "array-like", Mapping],
        "settings": [str, os.PathLike, Mapping],
        "image_column": [str, Sequence],
        "mask_column": [str],
        "label_column": [None, str],
        "largest_component": ["boolean"],
        "crop_filters": ["boolean"],
        "on_missing_label": [StrOptions({"nan", "raise"})],
        "on_error": [StrOptions({"raise", "nan"})],
        "n_jobs": [None, Integral],
        "cache": [None, str, os.PathLike],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        mask_labels: Sequence[int] | Mapping[str, int | Sequence[int]] | None = None,
        settings: str | os.PathLike[str] | Mapping[str, Any] = "ted1648",
        *,
        image_column: str | Sequence[str] = "image",
        mask_column: str = "mask",
        label_column: str | None = None,
        largest_component: bool = False,
        crop_filters: bool = True,
        on_missing_label: str = "nan",
        on_error: str = "raise",
        n_jobs: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        verbose: int = 0,
    ) -> None:
        self.mask_labels = mask_labels
        self.settings = settings
        self.image_column = image_column
        self.mask_column = mask_column
        self.label_column = label_column
        self.largest_component = largest_component
        self.crop_filters = crop_filters
        self.on_missing_label = on_missing_label
        self.on_error = on_error
        self.n_jobs = n_jobs
        self.cache = cache
        self.verbose = verbose

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Fix the columns: labels, features, and whether images are 2-D, 3-D, gray or colour.

        Reads one image's header and, where no label is given, every mask.

        Parameters
        ----------
        X : DataFrame, ndarray of shape (n_samples, 2), or sequence of pairs
            Images and masks; see Notes.
        y : array-like or None, default=None
            Ignored.

        Returns
        -------
        self : RadiomicsExtractor
            The fitted extractor.

        Warns
        -----
        DroppedFeatureWarning
            If the settings ask for `shape` on 2-D images, or for `shape2D` on 3-D ones, and not
            for the class that applies.
        """
        labels = self._check_mask_labels()
        columns = self._columns()
        cases = make_cases(X, columns)
        self.radiomics_version_ = radiomics_version()
        self.n_dims_, n_channels = self._peek(cases)
        if n_channels > 1 and (name := first_gray(cases)) is not None:
            warn(
                f"{name} is gray, saved as RGB: red, green and blue give every texture three "
                "times. Save gray images as gray ones (mode 'L' in Pillow)",
                InvalidInputWarning,
            )
        self._settings = resolve_settings(self.settings, self.n_dims_)
        channels = channel_names(self.image_column, n_channels)
        self._schema = make_schema(self._settings, self.n_dims_, channels)
        if (lost := lost_shape_class(self._settings, self._schema)) is not None:
            warn(
                f"the images have {self.n_dims_} dimensions: the feature class {lost[0]!r} of the "
                f"settings gives them no columns. Enable {lost[1]!r} under 'featureClass' for "
                "their shape",
                DroppedFeatureWarning,
            )
        if labels is None and columns.label is not None:
            labels = {columns.label: []}
        if labels is None and self._settings.label is not None:
            labels = {structure_name(self._settings.label): self._settings.label}
        if labels is None:
            report = Report(len(cases), self.on_error, self.on_missing_label)
            channel = self._settings.setting.get("label_channel")
            found = scan_labels(cases, channel, report, verbose=self.verbose)
            report.finish(what="labels")
            if not found:
                report.raise_error("no mask holds a label")
            labels = {structure_name(label): label for label in found}
            if len(found) > _MANY_LABELS:
                warn(
                    f"the masks hold {len(found)} labels, from {found[0]} to {found[-1]}: "
                    f"{len(found) * len(self._schema.features)} columns. A label must mean the "
                    "same structure in all masks; name those that do with mask_labels=",
                    InvalidInputWarning,
                )
        self.mask_labels_ = labels
        self.feature_table_ = feature_table(self._schema, list(labels))
        self.settings_ = {
            "setting": dict(self._settings.setting),
            "imageType": dict(self._settings.image_types),
            "featureClass": dict(self._settings.feature_classes),
        }
        self.n_features_in_ = len(columns.images) + (1 if columns.label is None else 2)
        if self.verbose and self._settings.per_label_reason is not None:
            print(
                "[RadiomicsExtractor] labels do not share filtered images, with "
                f"{self._settings.per_label_reason}"
            )
        return self

    def transform(self, X: Any) -> NDArray[np.float64]:
        """Extract the features.

        Parameters
        ----------
        X : DataFrame, ndarray of shape (n_samples, 2), or sequence of pairs
            Images and masks; see Notes.

        Returns
        -------
        features : ndarray of shape (n_samples, n_labels * n_features), dtype float64
            Or a DataFrame, after ``set_output``.

        Raises
        ------
        InvalidScanError
            If cases or labels give no features, with ``on_error="raise"``; if a label is
            missing, with ``on_missing_label="raise"``.
        """
        check_is_fitted(self)
        cases = make_cases(X, self._columns())
        report = Report(len(cases), self.on_error, self.on_missing_label)
        values = run_batch(
            cases,
            self._structures(),
            Task(self._settings, self._schema, whole=not self.crop_filters),
            report,
            n_jobs=self.n_jobs,
            cache=self.cache,
            verbose=self.verbose,
        )
        report.finish(what="features")
        return values

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Name the columns.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Ignored: image and mask have no part in the names.

        Returns
        -------
        names : ndarray of shape (n_labels * n_features,), dtype object
            ``structure__imagetype_class_feature``.
        """
        check_is_fitted(self)
        return np.array(column_names(self._schema, list(self.mask_labels_)), dtype=object)

    def diagnostics(self, X: Any) -> pd.DataFrame:
        """Tabulate pyradiomics' ``diagnostics_*``: versions, hashes, sizes, voxel counts.

        Where there are several images a case, those of the first one.

        Parameters
        ----------
        X : DataFrame, ndarray of shape (n_samples, 2), or sequence of pairs
            Images and masks; see Notes.

        Returns
        -------
        diagnostics : pandas.DataFrame
            One row for each case and structure that has any, indexed by `row`, counted from 0,
            and `structure`.
        """
        check_is_fitted(self)
        cases = make_cases(X, self._columns())
        report = Report(len(cases), self.on_error, self.on_missing_label)
        table = diagnose(
            cases, self._structures(), self._settings, self.n_dims_, report, verbose=self.verbose
        )
        report.finish(what="diagnostics")
        return table

    def voxel_map(
        self,
        image: Any,
        mask: Any,
        structure: str | None = None,
        *,
        features: Sequence[str] | None = None,
        kernel_radius: int = 1,
        masked_kernel: bool = True,
        init_value: float = np.nan,
    ) -> dict[str, Any]:
        """Map features over a structure: of each voxel, those of its neighbourhood.

        The maps are those of pyradiomics' ``voxelBased=True``, many times faster. Shape has none,
        nor has GLCM's MCC, for which pyradiomics gives NaN as soon as one voxel lacks a direction.
        So it does for JointAverage; here the directions that there are are averaged, as they are
        for all others.

        Parameters
        ----------
        image, mask : path, SimpleITK.Image, ndarray or (ndarray, spacing)
            One volume and its mask, as in `X`.
        structure : str or None, default=None
            Which of ``mask_labels_``; may be left out where there is only one.
        features : sequence of str or None, default=None
            pyradiomics' names of the features to map, such as "original_glcm_Contrast"; None for
            all of the settings that have maps.
        kernel_radius : int, default=1
            How far the neighbourhood reaches along each axis: 1 for 3 x 3 x 3 voxels.
        masked_kernel : bool, default=True
            Whether to leave out of it what is outside the structure.
        init_value : float, default=NaN
            Value of the voxels outside the structure. pyradiomics has 0.

        Returns
        -------
        maps : dict of str to SimpleITK.Image
            By pyradiomics' names, in single images of 64-bit floats, cut to the structure's box
            and `kernel_radius` around it; origin and spacing place them. NaN where a voxel has no
            neighbours.

        Raises
        ------
        InvalidScanError
            If the image or the mask cannot be used.
        ValueError
            If the images are not 3-D, `structure` or `features` are unknown, or `kernel_radius`
            is below 1.

        Examples
        --------
        >>> import numpy as np
        >>> from skcyto.feature_extraction import RadiomicsExtractor
        >>> image = np.random.default_rng(0).normal(100, 20, size=(8, 12, 12))
        >>> mask = np.zeros((8, 12, 12), dtype=np.uint8)
        >>> mask[2:6, 2:8, 2:10] = 1
        >>> extractor = RadiomicsExtractor([1], settings="original").fit([(image, mask)])
        >>> maps = extractor.voxel_map(image, mask, features=["original_firstorder_Mean"])
        >>> maps["original_firstorder_Mean"].GetSize()
        (10, 8, 6)
        """
        check_is_fitted(self)
        if self.n_dims_ != 3:
            raise ValueError("voxel_map needs 3-D images; the extractor was fitted on 2-D ones")
        if self.label_column is not None:
            raise ValueError(
                "voxel_map cannot tell the label of a row: with "
                f"label_column={self.label_column!r} there are no mask_labels"
            )
        chosen_structure = choose_structure(self._structures(), structure)
        kernel = Kernel(kernel_radius, masked_kernel)
        names = [each.radiomics_name for each in self._schema.features]
        chosen = choose_features(names, features)
        (case,) = make_cases([(image, mask)], Columns(("image",), "mask"))
        try:
            return map_case(case, chosen_structure, self._settings, kernel, chosen, init_value)
        except ScanProblem as problem:
            report = Report(1, "raise", "raise")
            report.add_problem(case, problem.reason, chosen_structure)
            report.raise_error("no map")

    def _save_state(self, weights: Path) -> dict[str, Any]:
        return save_extractor_state(self.__dict__)

    def _load_state(self, state: dict[str, Any], weights: Path | None) -> None:
        self.__dict__.update(load_extractor_state(state))

    def _check_mask_labels(self) -> dict[str, int | list[int]] | None:
        labels = check_mask_labels(self.mask_labels)
        if self.label_column is None:
            return labels
        if labels is not None:
            raise ValueError(
                f"label_column={self.label_column!r} gives each row a label of its own: leave "
                "mask_labels at None"
            )
        if not self.label_column or "__" in self.label_column:
            raise ValueError(
                f"label_column={self.label_column!r} also names the structure: it must be a string "
                "without '__'"
            )
        return None

    def _columns(self) -> Columns:
        return check_columns(self.image_column, self.mask_column, self.label_column)

    def _structures(self) -> list[Structure]:
        return make_structures(self.mask_labels_, largest=self.largest_component)

    def _peek(self, cases: list[Case]) -> tuple[int, int]:  # noqa: RET503
        """Dimension and channels of the first image that can be read."""
        report = Report(len(cases), "raise", self.on_missing_label)
        for case in cases:
            try:
                ndim, channels = peek(case)
            except ScanProblem as problem:
                report.add_problem(case, problem.reason)
                continue
            if channels == 3 and not isinstance(self.image_column, str):
                reason = "the image has 3 channels; several images a case must be gray"
            elif ndim in (2, 3) and channels in ((1, 3) if ndim == 2 else (1,)):
                return ndim, channels
            else:
                reason = f"the image has {ndim} dimensions and {channels} channels"
            report.add_problem(case, reason)
        report.raise_error("no image can be used")
