"""The store under the caches: many processes, kills, damage."""

import os
import pickle
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from skcyto.exceptions import DamagedFileWarning
from skcyto.utils._content_store import ContentStore

_WRITER = """
import sys
from skcyto.utils._content_store import ContentStore
store = ContentStore(sys.argv[1])
for i in range(40):
    store.put_many({f"{sys.argv[2]}-{i}": bytes([i]) * 100, f"{sys.argv[2]}-{i}-b": b"b"})
"""
_ENDLESS_WRITER = """
import itertools, sys
from skcyto.utils._content_store import ContentStore
store = ContentStore(sys.argv[1])
for i in itertools.count():
    store.put_many({f"{i}-{part}": b"x" * 50_000 for part in range(4)})
"""


def _start(program, *arguments):
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)])


@pytest.fixture
def make_store():
    """Make stores that are closed when the test is over."""
    stores = []

    def make(path):
        stores.append(ContentStore(path))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def test_values_come_back_and_absent_keys_are_absent(make_store, tmp_path):
    store = make_store(tmp_path / "folder" / "store.sqlite")
    items = {f"key{i}": os.urandom(20) for i in range(1200)}
    store.put_many(items)
    store.put_many({})
    assert store.get_many([*items, "absent", "key0"]) == items
    assert store.info() == {"entries": 1200, "bytes": 24_000}
    again = pickle.loads(pickle.dumps(store))
    assert again.get_many(["key7"]) == {"key7": items["key7"]}
    again.clear()
    again.close()
    assert store.info()["entries"] == 0
    store.close()
    assert store.get_many(["key7"]) == {}


def test_many_processes_write_at_once(make_store, tmp_path):
    path = tmp_path / "store.sqlite"
    processes = [_start(_WRITER, path, name) for name in "abc"]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert make_store(path).info()["entries"] == 3 * 80


def test_a_killed_writer_leaves_whole_transactions(make_store, tmp_path):
    path = tmp_path / "store.sqlite"
    process = _start(_ENDLESS_WRITER, path)
    store = make_store(path)
    while store.info()["entries"] < 40:
        time.sleep(0.01)
    process.kill()
    assert process.wait() < 0
    entries = store.info()["entries"]
    assert entries % 4 == 0
    keys = [f"{i}-{part}" for i in range(entries // 4) for part in range(4)]
    assert len(store.get_many(keys)) == entries


def test_a_flipped_byte_counts_as_absent(make_store, tmp_path):
    store = make_store(tmp_path / "store.sqlite")
    store.put_many({"a": b"good", "b": b"bad?"})
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("UPDATE entries SET value = ? WHERE key = 'b'", (b"bad!",))
    with pytest.warns(DamagedFileWarning, match="1 damaged entries"):
        assert store.get_many(["a", "b"]) == {"a": b"good"}


def test_a_value_under_another_key_counts_as_absent(make_store, tmp_path):
    store = make_store(tmp_path / "store.sqlite")
    store.put_many({"a": b"of a", "b": b"of b"})
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute(
            "UPDATE entries SET (checksum, value) = "
            "(SELECT checksum, value FROM entries WHERE key = 'a') WHERE key = 'b'"
        )
    with pytest.warns(DamagedFileWarning, match="1 damaged entries"):
        assert store.get_many(["a", "b"]) == {"a": b"of a"}


@pytest.mark.parametrize("when", ["before opening", "while open"])
def test_a_damaged_file_is_named_moved_aside_and_rebuilt(make_store, tmp_path, when):
    path = tmp_path / "store.sqlite"
    store = make_store(path)
    store.put_many({str(i): os.urandom(3000) for i in range(50)})
    store.close()
    content = bytearray(path.read_bytes())
    content[:4096] = os.urandom(4096)
    if when == "while open":
        content = bytearray(path.read_bytes())
        content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.warns(DamagedFileWarning, match=r"store\.sqlite is damaged .* set aside as"):
        assert store.get_many(["1"]) == {}
    store.put_many({"new": b"value"})
    assert store.get_many(["new"]) == {"new": b"value"}
    assert len(list(tmp_path.glob("store.sqlite.damaged-*"))) >= 1


def test_an_unusable_place_is_an_error_not_a_damaged_file(make_store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        make_store(tmp_path / "file" / "store.sqlite").put_many({"a": b""})
