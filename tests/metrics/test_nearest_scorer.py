"""Misspelt scores name the one that was meant."""

import pytest

from skcyto.metrics import get_scorer


@pytest.mark.parametrize(
    ("given", "meant"),
    [("log_loss", "neg_log_loss"), ("f1macro", "f1_macro"), ("ROC_AUC_OVR", "roc_auc_ovr")],
)
def test_unknown_scores_name_the_nearest(given, meant):
    with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
        get_scorer(given)
