"""What a fitted pipeline looks at."""

from skcyto.inspection._explain import explain
from skcyto.inspection._explanation import Explanation
from skcyto.inspection._extreme_samples_display import ExtremeSamplesDisplay
from skcyto.inspection._group_importance_display import GroupImportanceDisplay
from skcyto.inspection._importance_display import ImportanceDisplay
from skcyto.inspection._radiomics_names import parse_radiomics_names
from skcyto.inspection._token_map_display import TokenMapDisplay
from skcyto.utils._public_paths import use_public_paths

__all__ = [
    "Explanation",
    "ExtremeSamplesDisplay",
    "GroupImportanceDisplay",
    "ImportanceDisplay",
    "TokenMapDisplay",
    "explain",
    "parse_radiomics_names",
]

use_public_paths(__name__, globals(), __all__)
