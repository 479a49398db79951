"""What a fitted pipeline looks at."""

from skcyto.inspection._plot._extreme_samples import ExtremeSamplesDisplay
from skcyto.inspection._plot._group_importance import GroupImportanceDisplay
from skcyto.inspection._plot._importance import ImportanceDisplay
from skcyto.inspection._plot._token_map import TokenMapDisplay
from skcyto.inspection._radiomics_names import parse_radiomics_names
from skcyto.inspection._shapley._explain import explain
from skcyto.inspection._shapley._explanation import Explanation
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
