"""The parts of :class:`skcyto.feature_extraction.RadiomicsExtractor`.

From the outside in: ``_extractor`` is the estimator; ``_worker`` takes one case through reading
(``_reading``), checks (``_checks``) and extraction (``_engine``, on ``_filters``; on ``_textures``,
which runs the compiled ``_kernels`` on ``_voxels``; on ``_classes``, pyradiomics' own, and
``_shape``); ``_maps`` measures around each voxel; ``_settings`` and ``_schema`` fix what is
computed and how columns are called; ``_cases`` understands what the user passes as `X`,
``_structures`` which voxels are measured; ``_lesions`` makes one row a lesion; ``_cache`` keys
results by content; ``_runtime`` keeps pyradiomics' and ITK's global state as it was found.
"""
