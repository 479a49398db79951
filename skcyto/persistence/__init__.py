"""Saved models, and their description."""

from skcyto.persistence._card import model_card
from skcyto.persistence._load import load
from skcyto.persistence._save import save

__all__ = ["load", "model_card", "save"]
