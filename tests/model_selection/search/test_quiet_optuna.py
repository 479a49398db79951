"""optuna's log is held back, and comes back."""

import logging
from contextlib import ExitStack

import optuna
import pytest

from skcyto.model_selection._search._quiet_optuna import quiet_optuna


@pytest.mark.parametrize("before", [logging.DEBUG, logging.INFO, logging.ERROR])
@pytest.mark.parametrize("first_ends_first", [True, False])
def test_blocks_that_overlap_give_the_level_back(before, first_ends_first):
    level = optuna.logging.get_verbosity
    found = level()
    optuna.logging.set_verbosity(before)
    try:
        first, second = ExitStack(), ExitStack()
        first.enter_context(quiet_optuna())
        second.enter_context(quiet_optuna())
        assert level() == max(before, logging.WARNING)
        ends = [first, second] if first_ends_first else [second, first]
        ends[0].close()
        # The other one still searches.
        assert level() == max(before, logging.WARNING)
        ends[1].close()
        assert level() == before
    finally:
        optuna.logging.set_verbosity(found)


def test_a_search_that_shows_the_log_does_not_end_the_silence_of_another():
    found = optuna.logging.get_verbosity()
    with quiet_optuna(), quiet_optuna(0):
        assert optuna.logging.get_verbosity() == max(found, logging.WARNING)
    assert optuna.logging.get_verbosity() == found
