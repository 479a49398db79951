"""Saved models, and their description."""

from skcyto.persistence._card._model_card import model_card
from skcyto.persistence._load import load
from skcyto.persistence._save import save
from skcyto.persistence._stand_ins import SavedPartial as SavedPartial
from skcyto.persistence._stand_ins import SavedSpline as SavedSpline
from skcyto.persistence._tables import SavedTable as SavedTable
from skcyto.utils._public_paths import use_public_paths

__all__ = ["load", "model_card", "save"]

# Files hold tables, splines and partial functions under these names.
use_public_paths(__name__, globals(), [*__all__, "SavedPartial", "SavedSpline", "SavedTable"])
