"""Features from images and scans."""

from skcyto.feature_extraction._embedding._cache import EmbeddingCache, EmbeddingCacheInfo
from skcyto.feature_extraction._embedding._embedder import EVA02TokenEmbedder
from skcyto.feature_extraction._parquet._embed_to_parquet import (
    ParquetEmbeddingInfo,
    embed_to_parquet,
)
from skcyto.feature_extraction._radiomics._extractor import RadiomicsExtractor
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
]

use_public_paths(__name__, globals(), __all__)
