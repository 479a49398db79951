"""What the tests of searches share."""

import optuna
import pytest


@pytest.fixture(autouse=True)
def _close_storages_of_optuna(monkeypatch):
    """Close what optuna opened for a test that gave it a URL: it leaves that to the collector.

    Searches of skcyto hand it no URLs but storages, and close these themselves.
    """
    opened = []
    get_storage = optuna.storages.get_storage

    def remembered(storage):
        found = get_storage(storage)
        if isinstance(storage, str):
            opened.append(found._backend)
        return found

    monkeypatch.setattr(optuna.storages, "get_storage", remembered)
    yield
    for storage in opened:
        storage.remove_session()
        storage.engine.dispose()
