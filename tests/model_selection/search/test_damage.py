"""Damaged SQLite storages: one error that says what to do, and never another result."""

import json
import shutil
import sqlite3

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.datasets import make_classification
from sklearn.tree import DecisionTreeClassifier

from skcyto.model_selection import OptunaSearchCV

X, Y = make_classification(60, 6, flip_y=0.2, random_state=0)


def search(path, n_trials=5):
    space = {"max_depth": [1, 2, 3, 4, 5, 6], "ccp_alpha": loguniform(1e-4, 1e-1)}
    return OptunaSearchCV(
        DecisionTreeClassifier(random_state=0),
        space,
        n_trials=n_trials,
        cv=2,
        random_state=0,
        refit=False,
        storage=f"sqlite:///{path}",
    ).fit(X, Y)


def results(found):
    return found.cv_results_["params"], found.cv_results_["mean_test_score"].tolist()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    path = tmp_path_factory.mktemp("storage") / "kept.db"
    return path, results(search(path, 4)), results(search(path.with_name("longer.db")))


@pytest.fixture
def path(kept, tmp_path):
    return shutil.copy(kept[0], tmp_path / "trials.db")


def change_json(attribute, old, new):
    def change(connection):
        query = "SELECT trial_user_attribute_id, value_json FROM trial_user_attributes WHERE key=?"
        row, text = connection.execute(query, (attribute,)).fetchone()
        assert old in text
        connection.execute(
            "UPDATE trial_user_attributes SET value_json=? WHERE trial_user_attribute_id=?",
            (text.replace(old, new, 1), row),
        )

    return change


def run(statement):
    return lambda connection: connection.execute(statement)


FIRST = "WHERE trial_id = (SELECT min(trial_id) FROM trials)"
CONTENT = {
    "no JSON": change_json("skcyto:record", "{", "#"),
    "no key": change_json("skcyto:record", '"values"', '"valves"'),
    "another score": change_json("skcyto:record", "0.", "0.1"),
    "another status": change_json("skcyto:record", "complete", "failed"),
    "another owner": change_json("skcyto:owner", '"key": "', '"key": "f'),
    "no owner": run(f"DELETE FROM trial_user_attributes {FIRST} AND key = 'skcyto:owner'"),
    "no record": run(f"DELETE FROM trial_user_attributes {FIRST} AND key = 'skcyto:record'"),
    "another value": run(f"UPDATE trial_values SET value = value + 1 {FIRST}"),
    "no value": run(f"DELETE FROM trial_values {FIRST}"),
    "another parameter": run(f"UPDATE trial_params SET param_value = 0.01 {FIRST}"),
    "no parameter": run(f"DELETE FROM trial_params {FIRST}"),
    "no distribution": run(f"UPDATE trial_params SET distribution_json = 'x' {FIRST}"),
    "another state": run(f"UPDATE trials SET state = 'COMPLETED' {FIRST}"),
    "another number": run(f"UPDATE trials SET number = 3 {FIRST}"),
    "no trial": run(f"DELETE FROM trials {FIRST}"),
    "another direction": run("UPDATE study_directions SET direction = 'MINIMIZE'"),
    "no direction": run("UPDATE study_directions SET direction = 'UP'"),
    "no table": run("DROP TABLE trial_values"),
    "a date": run(f"UPDATE trials SET datetime_start = 'x' {FIRST}"),
}


def assert_refused(path):
    with pytest.raises(ValueError, match=r"trials.db of OptunaSearchCV is damaged") as error:
        search(path)
    message = str(error.value)
    assert ".recover | sqlite3" in message
    assert "trials can be read" in message


@pytest.mark.parametrize("name", CONTENT)
def test_changed_contents_are_refused_with_what_to_do(path, name):
    connection = sqlite3.connect(path)
    with connection:
        CONTENT[name](connection)
    connection.close()
    assert_refused(path)


@pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.9])
def test_a_file_cut_off_is_refused(path, part):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    before = path.read_bytes()
    assert_refused(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database" * 500, bytes(40_000), b"S"])
def test_what_is_no_database_is_refused(path, content):
    path.write_bytes(content)
    assert_refused(path)


def test_flipped_bits_are_refused_or_change_nothing(kept, path):
    """Anywhere in the file: free space, names and dates may change without consequence."""
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    messages = []
    for position in rng.integers(len(content), size=24):
        changed = bytearray(content)
        changed[position : position + 64] = bytes(b ^ 5 for b in changed[position : position + 64])
        path.write_bytes(changed)
        try:
            found = search(path)
        except ValueError as error:
            messages.append(str(error))
        else:
            assert results(found) == kept[2]
    assert len(messages) > 3
    assert all("trials.db of OptunaSearchCV is damaged" in message for message in messages)


def test_a_whole_storage_and_an_empty_file_are_no_damage(kept, path, tmp_path):
    assert results(search(path)) == kept[2]
    empty = tmp_path / "empty.db"
    empty.touch()
    assert results(search(empty)) == kept[2]


def test_records_of_earlier_versions_have_no_checksum(kept, path):
    connection = sqlite3.connect(path)
    query = "SELECT trial_user_attribute_id, value_json FROM trial_user_attributes WHERE key=?"
    for row, text in connection.execute(query, ("skcyto:record",)).fetchall():
        record = json.loads(text)
        del record["checksum"]
        with connection:
            connection.execute(
                "UPDATE trial_user_attributes SET value_json=? WHERE trial_user_attribute_id=?",
                (json.dumps(record), row),
            )
    connection.close()
    assert results(search(path, 4)) == kept[1]
