"""Models that are damaged, incomplete, of other versions, or made to harm: refused, nothing run."""

import contextlib
import io
import json
import pickle
import re
import shutil
import zipfile

import numpy as np
import pytest
import skops.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

import skcyto
from skcyto.exceptions import InvalidModelError, ModelVersionWarning
from skcyto.feature_extraction import RadiomicsExtractor
from skcyto.feature_selection import CorrelationTTestFilter
from skcyto.neural_network import ImbalancedMLPClassifier
from tests.robustness.forging import (
    CALLS,
    Payload,
    change_manifest,
    edit_schema,
    find_nodes,
    sign,
)


@pytest.fixture
def model(saved, tmp_path):
    """A copy of the saved model that a test may spoil."""
    return shutil.copytree(saved.path, tmp_path / "model")


@pytest.fixture
def evidence(tmp_path):
    """A file that is there if, and only if, code of an attacker ran."""
    return tmp_path / "ran"


def test_the_payload_would_run(evidence):
    pickle.loads(pickle.dumps(Payload(evidence)))
    assert evidence.exists()


# --- The four cases of every day -------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["estimator.skops", "weights-0.safetensors", "weights-1.safetensors", "README.md"]
)
def test_tampered_file(model, name):
    data = bytearray((model / name).read_bytes())
    data[len(data) // 2] ^= 1
    (model / name).write_bytes(data)
    with pytest.raises(InvalidModelError, match=rf"{re.escape(name)} was changed since"):
        skcyto.load(model)


def test_file_that_was_not_copied_to_the_end(model):
    path = model / "weights-0.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidModelError, match="not copied to the end"):
        skcyto.load(model)


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("skcyto", "7.0.0"),
        ("scikit-learn", "1.2.2"),
        ("numpy", "1.26.4"),
        ("torch", "1.13.0"),
        ("timm", "0.9.16"),
        ("python", "4.0.0"),
    ],
)
def test_wrong_version(model, package, version):
    change_manifest(model, lambda manifest: manifest["versions"].update({package: version}))
    with pytest.raises(
        InvalidModelError, match=rf"\({package}: saved with {re.escape(version)}, installed is"
    ):
        skcyto.load(model)


def test_wrong_version_can_be_accepted(model, cells, saved):
    change_manifest(model, lambda manifest: manifest["versions"].update({"timm": "0.9.16"}))
    with pytest.warns(ModelVersionWarning, match=r"timm: saved with 0\.9\.16"):
        loaded = skcyto.load(model, on_version_mismatch="warn")
    np.testing.assert_allclose(
        loaded.predict_proba(cells.images), saved.probabilities, rtol=0, atol=1e-6
    )
    with pytest.raises(ValueError, match="must be 'raise' or 'warn'"):
        skcyto.load(model, on_version_mismatch="ignore")


def test_patch_version_does_not_matter(model):
    def change(manifest):
        release = manifest["versions"]["scikit-learn"].split(".")
        manifest["versions"]["scikit-learn"] = ".".join([*release[:2], "99"])

    change_manifest(model, change)
    skcyto.load(model)


def test_version_that_is_not_recorded(model):
    change_manifest(model, lambda manifest: manifest["versions"].pop("torch"))
    with pytest.raises(InvalidModelError, match="torch: not recorded"):
        skcyto.load(model)


def test_later_format(model):
    change_manifest(model, lambda manifest: manifest.update(format_version=2))
    with pytest.raises(InvalidModelError, match="version 2 of the format"):
        skcyto.load(model)


@pytest.mark.parametrize("name", ["estimator.skops", "weights-0.safetensors", "README.md"])
def test_missing_part(model, name):
    (model / name).unlink()
    with pytest.raises(InvalidModelError, match=f"lacks {re.escape(name)}, which manifest.json"):
        skcyto.load(model)


def test_missing_weights_that_the_manifest_does_not_list(model):
    (model / "weights-1.safetensors").unlink()
    sign(model)
    with pytest.raises(InvalidModelError, match=r"lacks weights-1\.safetensors, which Imb"):
        skcyto.load(model)


@pytest.mark.parametrize("name", ["model.pkl", "estimator.pkl", "conftest.py", "__init__.py", ".x"])
def test_pickle_dropped_into_the_folder(model, evidence, name):
    (model / name).write_bytes(pickle.dumps(Payload(evidence)))
    with pytest.raises(InvalidModelError, match=rf"holds {re.escape(name)}, which .* not list"):
        skcyto.load(model)
    # Listed in the manifest, it is no file of a model either.
    sign(model)
    with pytest.raises(InvalidModelError, match=rf"{re.escape(repr(name))}, which is no file"):
        skcyto.load(model)
    assert not evidence.exists()


# --- Files that were made to harm ------------------------------------------------------------


@pytest.mark.parametrize("name", ["estimator.skops", "weights-0.safetensors"])
def test_pickle_in_the_place_of_a_file(model, evidence, name):
    (model / name).write_bytes(pickle.dumps(Payload(evidence)))
    sign(model)
    with pytest.raises(InvalidModelError, match=f"{name} is (damaged|no safetensors file)"):
        skcyto.load(model)
    assert not evidence.exists()


def test_pickled_weights_of_a_network(table, tmp_path, evidence):
    path = skcyto.save(ImbalancedMLPClassifier((4,), max_epochs=1).fit(*table), tmp_path / "model")
    (path / "weights-0.safetensors").write_bytes(pickle.dumps(Payload(evidence)))
    sign(path)
    with pytest.raises(InvalidModelError, match="no safetensors file"):
        skcyto.load(path)
    assert not evidence.exists()


def test_weights_of_another_network(table, tmp_path):
    path = skcyto.save(ImbalancedMLPClassifier((4,), max_epochs=1).fit(*table), tmp_path / "model")
    other = skcyto.save(ImbalancedMLPClassifier((5,), max_epochs=1).fit(*table), tmp_path / "other")
    shutil.copy(other / "weights-0.safetensors", path)
    sign(path)
    with pytest.raises(InvalidModelError, match="cannot be built from what was saved"):
        skcyto.load(path)


@pytest.mark.parametrize("how", CALLS)
@pytest.mark.parametrize("where", ["root", "parameter"])
def test_schema_that_names_a_command(model, evidence, how, where):
    node = json.loads(
        json.dumps(CALLS[how]).replace('"X"', json.dumps(json.dumps(f"touch {evidence}")))
    )

    def edit(schema):
        if where == "root":
            return {**node, "protocol": schema["protocol"], "_skops_version": "0.16.0"}
        focal = next(find_nodes(schema, __class__="Focal"))
        focal["content"]["content"]["gamma"] = node
        return None

    edit_schema(model, edit)
    with pytest.raises(InvalidModelError, match=r"not trusted: .*(os|posix|subprocess)\..*Nothing"):
        skcyto.load(model)
    assert not evidence.exists()


def test_trusted_types_are_not_called(model):
    """A node that calls its type with what the file says is refused for our own types too."""

    def edit(schema):
        focal = next(find_nodes(schema, __class__="Focal"))
        focal["__loader__"] = "ListNode"
        focal["content"] = []

    edit_schema(model, edit)
    with pytest.raises(InvalidModelError, match="Focal as ListNode"):
        skcyto.load(model)


def test_estimator_that_is_none(model):
    data = skops.io.dumps([1, 2])
    (model / "estimator.skops").write_bytes(data)
    sign(model)
    with pytest.raises(InvalidModelError, match="no estimator but a list"):
        skcyto.load(model)


def test_settings_of_the_attacker_are_not_followed(table, tmp_path):
    """A cache of joblib holds pickles: a model does not say where one is."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(*table)
    path = skcyto.save(pipeline, tmp_path / "model")
    pipeline.set_params(memory=str(tmp_path / "prepared"))
    (path / "estimator.skops").write_bytes(skops.io.dumps(pipeline))
    sign(path)
    assert skcyto.load(path).memory is None


def test_embedder_reads_no_other_file_than_its_own(model):
    def edit(schema):
        embedder = next(find_nodes(schema, __class__="EVA02TokenEmbedder"))
        embedder["content"]["content"].pop("_saved_weights")

    edit_schema(model, edit)
    with pytest.raises(
        InvalidModelError, match="EVA02TokenEmbedder cannot be built: its weights are"
    ):
        skcyto.load(model)


@pytest.mark.parametrize("content", ["password: hunter2", "featureClass: {firstorder: [Mean]}"])
def test_radiomics_extractor_reads_no_file_that_the_model_names(tmp_path, content):
    image = np.arange(64.0).reshape(4, 4, 4)
    extractor = RadiomicsExtractor([1], settings={"featureClass": {"firstorder": ["Mean"]}})
    path = skcyto.save(extractor.fit([(image, np.ones((4, 4, 4)))]), tmp_path / "model")
    outside = tmp_path / "outside.yaml"
    outside.write_text(content)
    text = {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "__id__": 1}
    text |= {"content": json.dumps(str(outside)), "is_json": True}

    def edit(schema):
        node = next(find_nodes(schema, __class__="RadiomicsExtractor"))
        node["content"]["content"]["settings_"] = text

    edit_schema(path, edit)
    with pytest.raises(InvalidModelError, match="settings_ is no mapping but a str") as error:
        skcyto.load(path)
    assert content[:8] not in str(error.value)


def test_link_in_the_place_of_a_file(model, tmp_path):
    shutil.move(model / "weights-0.safetensors", tmp_path / "elsewhere")
    (model / "weights-0.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidModelError, match="no plain file"):
        skcyto.load(model)


def test_names_that_leave_the_folder(model):
    change_manifest(
        model,
        lambda manifest: manifest["files"].update(
            {"../outside.safetensors": {"bytes": 0, "sha256": ""}}
        ),
    )
    with pytest.raises(InvalidModelError, match="no file of a saved model"):
        skcyto.load(model)


TREES = {
    "tree": (DecisionTreeClassifier(max_depth=3), "feature", 10**6),
    "forest": (RandomForestClassifier(3, max_depth=3), "left_child", 10**6),
    "boosting": (GradientBoostingClassifier(n_estimators=2), "right_child", 0),
}


@pytest.mark.parametrize("name", TREES)
def test_forged_tree(name, table, tmp_path):
    estimator, field, value = TREES[name]
    estimator.fit(*table)
    path = skcyto.save(estimator, tmp_path / "model")
    assert skcyto.load(path).predict(table[0]).shape == (120,)
    edit_arrays(path, lambda nodes: set_root(nodes, field, value), field)
    with pytest.raises(InvalidModelError, match="a decision tree that scikit-learn did not grow"):
        skcyto.load(path)


@pytest.mark.parametrize(("field", "value"), [("left", 10**6), ("feature_idx", 900), ("right", 0)])
def test_forged_tree_of_histogram_boosting(field, value, table, tmp_path):
    path = skcyto.save(HistGradientBoostingClassifier(max_iter=2).fit(*table), tmp_path / "model")
    edit_arrays(path, lambda nodes: set_root(nodes, field, value), field)
    with pytest.raises(InvalidModelError, match="a decision tree that scikit-learn did not grow"):
        skcyto.load(path)


def test_estimator_that_hands_its_trees_too_few_features(table, tmp_path):
    forest = GradientBoostingClassifier(n_estimators=2, random_state=0).fit(*table)
    forest.n_features_in_ = 1
    path = skcyto.save(forest, tmp_path / "model")
    with pytest.raises(InvalidModelError, match="reads features that its estimator does not have"):
        skcyto.load(path)


def forged_boosting(**attributes):
    """Histogram boosting with a node that points far out of its tree."""

    def forge(X, y):
        boosting = HistGradientBoostingClassifier(max_iter=2).fit(X, y)
        for predictors in boosting._predictors:
            for predictor in predictors:
                predictor.nodes = predictor.nodes.copy()
                predictor.nodes["left"][0] = predictor.nodes["right"][0] = 10**7
        for name, hold in attributes.items():
            setattr(boosting, name, hold(boosting._predictors))
        return boosting

    return forge


def wide_boosting(X, y, **attributes):
    boosting = HistGradientBoostingClassifier(max_iter=2).fit(X, y)
    for name, value in attributes.items():
        setattr(boosting, name, value)
    return boosting


def unchecked_tree(X, y):
    """A tree that adds one to `X` where it should count its columns."""
    tree = DecisionTreeClassifier(max_depth=3).fit(X, y)
    tree._validate_X_predict = np.add
    return tree


def forest_of(hold):
    def forge(X, y):
        forest = RandomForestClassifier(3, max_depth=3, random_state=0).fit(X, y)
        forest.n_features_in_, forest.estimators_ = 1, hold(forest.estimators_)
        return forest

    return forge


HIDDEN_TREES = {
    "a tuple of rounds": (forged_boosting(_predictors=tuple), "its rounds are no lists"),
    "rounds that are tuples": (
        forged_boosting(_predictors=lambda rounds: [tuple(each) for each in rounds]),
        "its rounds are no lists",
    ),
    "rounds in a dict": (
        forged_boosting(_predictors=lambda rounds: {"rounds": rounds}),
        "its rounds are no lists",
    ),
    "rounds that are an ensemble": (
        lambda X, y: wide_boosting(X, y, _predictors=RandomForestClassifier(2).fit(X, y)),
        "its rounds are no lists",
    ),
    "another kind of tree": (
        lambda X, y: wide_boosting(X, y, _predictors=[[DecisionTreeClassifier().fit(X, y)]]),
        "hold something else than trees",
    ),
    "trees beside the rounds": (
        forged_boosting(spare=list, _predictors=lambda rounds: []),
        "stands where scikit-learn puts none",
    ),
    "columns that another step leaves out": (
        lambda X, y: wide_boosting(X, y, _preprocessor=StandardScaler().fit(X[:, :1])),
        "does not check what it hands to it",
    ),
    "a fit that goes on": (
        lambda X, y: wide_boosting(X, y, _in_fit=True),
        "does not check what it hands to it",
    ),
    "no check of columns": (unchecked_tree, "another _validate_X_predict than its class"),
    "a tuple of trees": (forest_of(tuple), "ensemble is no list but a tuple"),
    "trees in a forest": (
        forest_of(lambda trees: RandomForestClassifier(2).fit(*make_table(9))),
        "ensemble is no list but a RandomForest",
    ),
}


def make_table(n_features):
    X = np.random.default_rng(0).normal(size=(60, n_features))
    return X, X[:, -1] > 0


@pytest.mark.parametrize("name", HIDDEN_TREES)
def test_trees_are_checked_wherever_they_are_held(name, tmp_path):
    forge, message = HIDDEN_TREES[name]
    path = skcyto.save(forge(*make_table(9)), tmp_path / "model")
    with pytest.raises(InvalidModelError, match=f"did not grow: .*{message}"):
        skcyto.load(path)


def test_vote_with_a_bare_tree_is_a_model(table, tmp_path):
    """It has no number of features of its own: each member checks `X` for itself."""
    trees = [("tree", DecisionTreeClassifier()), ("forest", RandomForestClassifier(2))]
    vote = VotingClassifier(trees).fit(*table)
    loaded = skcyto.load(skcyto.save(vote, tmp_path / "model"))
    assert (loaded.predict(table[0]) == vote.predict(table[0])).all()


def set_root(nodes, field, value):
    nodes[field][0] = value


def edit_arrays(folder, edit, field):
    """Change the arrays of nodes in a skops file, and sign it."""
    path = folder / "estimator.skops"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    edited = 0
    for name, data in content.items():
        if name.endswith(".npy"):
            array = np.load(io.BytesIO(data))
            if array.dtype.names and field in array.dtype.names and len(array) > 1:
                edit(array)
                buffer = io.BytesIO()
                np.save(buffer, array)
                content[name] = buffer.getvalue()
                edited += 1
    assert edited
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    sign(folder)


@pytest.fixture(scope="module")
def mixed_model(table, tmp_path_factory):
    """A model with a bit of everything that is made again in its own way."""
    voters = [
        ("trees", RandomForestClassifier(2, max_depth=2, random_state=0)),
        ("neighbours", KNeighborsClassifier(algorithm="kd_tree")),
        ("network", ImbalancedMLPClassifier((4,), max_epochs=1, random_state=0)),
    ]
    pipeline = make_pipeline(CorrelationTTestFilter(), VotingClassifier(voters)).fit(*table)
    return skcyto.save(pipeline, tmp_path_factory.mktemp("mixed") / "model")


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rng=st.randoms(use_true_random=False))
def test_whatever_the_file_says_is_a_model_or_an_error(mixed_model, tmp_path, rng):
    model = shutil.copytree(mixed_model, tmp_path / "model", dirs_exist_ok=True)
    odd = [None, -1, 10**9, "os", "system", "ObjectNode", "ListNode", "TypeNode", [], {}, "[1]"]

    def edit(schema):
        for _ in range(rng.choice([1, 2, 4])):
            node = rng.choice(list(find_nodes(schema)))
            other = rng.choice(list(find_nodes(schema)))
            if node:
                value = rng.choice([*odd, json.loads(json.dumps(other))])
                node[rng.choice(sorted(node))] = value

    edit_schema(model, edit)
    with contextlib.suppress(InvalidModelError):
        skcyto.load(model)


# --- Things that are no model ----------------------------------------------------------------


def test_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        skcyto.load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match="is a file; a saved model is a folder"):
        skcyto.load(tmp_path / "file")
    with pytest.raises(InvalidModelError, match=r"no saved model: it has no manifest\.json"):
        skcyto.load(tmp_path)


def test_manifest_of_which_a_bit_was_flipped(model):
    path = model / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"versions"', '"versionz"'))
    with pytest.raises(InvalidModelError, match="does not have its checksum"):
        skcyto.load(model)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "list indices"),
        ("{}", "it lacks 'format'"),
        ('{"format": "other"}', "its format is 'other'"),
        ('{"format": "skcyto model", "format_version": 1, "versions": {}}', "lacks 'files'"),
        pytest.param("[" * 100_000, "damaged", id="too deep"),
    ],
)
def test_damaged_manifest(model, text, reason):
    (model / "manifest.json").write_text(text)
    with pytest.raises(InvalidModelError, match=reason):
        skcyto.load(model)
