"""Loops of radiomics, compiled by numba: they see arrays and know nothing of images and labels.

``_compile`` says how functions are compiled and where the result is kept; ``_first_order`` is
numpy alone; ``_cooccurrence`` (GLCM), ``_sizes`` (GLRLM, GLSZM, GLDM: three matrices, one set of
formulas) and ``_tones`` (NGTDM) count and measure; ``_maps`` calls these around each voxel;
``_gaussian`` is ITK's recursive filter. They import numba when they are imported, so that they are
to be imported where they are first needed.

numba keeps what it compiles until the function's own file changes. Who edits a kernel that
``_maps`` calls touches ``_maps`` as well, or deletes ``__pycache__``.
"""
