"""What a fitted pipeline looks at."""

from skcyto.inspection._explain import explain
from skcyto.inspection._explanation import Explanation
from skcyto.inspection._group_importance_display import GroupImportanceDisplay
from skcyto.inspection._importance_display import ImportanceDisplay
from skcyto.inspection._radiomics_names import parse_radiomics_names

__all__ = [
    "Explanation",
    "GroupImportanceDisplay",
    "ImportanceDisplay",
    "explain",
    "parse_radiomics_names",
]
