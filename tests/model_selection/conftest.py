"""What the tests of searches share."""

import optuna
import pytest


@pytest.fixture(autouse=True)
def _close_storages_of_optuna(monkeypatch):
    """Close what optuna opened for a test that gave it a URL: it leaves that to the collector.

    So it does with the storage of a study that scikit-learn's ``clone`` copies.

    Searches of skcyto hand it no URLs but storages, and close these themselves.
    """
    opened = []
    get_storage = optuna.storages.get_storage

    def remembered(storage):
        found = get_storage(storage)
        if isinstance(storage, str):
            opened.append(found._backend)
        return found

    set_state = optuna.storages.RDBStorage.__setstate__

    def remembered_copy(storage, state):
        set_state(storage, state)
        opened.append(storage)

    monkeypatch.setattr(optuna.storages, "get_storage", remembered)
    monkeypatch.setattr(optuna.storages.RDBStorage, "__setstate__", remembered_copy)
    yield
    for storage in opened:
        storage.remove_session()
        storage.engine.dispose()
