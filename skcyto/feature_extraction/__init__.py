"""Features from images and scans."""

from skcyto.feature_extraction._embedding._cache import EmbeddingCache, EmbeddingCacheInfo
from skcyto.feature_extraction._embedding._embedder import EVA02TokenEmbedder
from skcyto.feature_extraction._parquet._embed_to_parquet import (
    ParquetEmbeddingInfo,
    embed_to_parquet,
)
from skcyto.feature_extraction._radiomics._bin_width import suggest_bin_width
from skcyto.feature_extraction._radiomics._dicom_masks import masks_from_dicom
from skcyto.feature_extraction._radiomics._extractor import RadiomicsExtractor
from skcyto.feature_extraction._radiomics._lesions import split_lesions
from skcyto.feature_extraction._radiomics._perturbed_masks import perturb_masks
from skcyto.utils._backbones._recipes import BackboneRecipe, known_backbones
from skcyto.utils._public_paths import use_public_paths

__all__ = [
    "BackboneRecipe",
    "EVA02TokenEmbedder",
    "EmbeddingCache",
    "EmbeddingCacheInfo",
    "ParquetEmbeddingInfo",
    "RadiomicsExtractor",
    "embed_to_parquet",
    "known_backbones",
    "masks_from_dicom",
    "perturb_masks",
    "split_lesions",
    "suggest_bin_width",
]

use_public_paths(__name__, globals(), __all__)
