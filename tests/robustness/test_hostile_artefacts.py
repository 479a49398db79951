"""Files made to harm, in every place that skcyto reads: refused in a sentence, nothing run."""

import io
import json
import os
import pickle
import re
import shutil
import sqlite3
import struct
import sys
import tarfile
import warnings
import zipfile
from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest
import safetensors.numpy
import torch
from sklearn.datasets import load_iris
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skcyto
from skcyto.command_line import main
from skcyto.exceptions import (
    DamagedFileWarning,
    InvalidModelError,
    PretrainedWeightsError,
    RandomWeightsWarning,
)
from skcyto.feature_extraction import EVA02TokenEmbedder, RadiomicsExtractor, embed_to_parquet
from skcyto.model_selection import OptunaSearchCV, compare_models
from skcyto.neural_network import EVA02Classifier, ImbalancedMLPClassifier
from skcyto.utils._content_store import ContentStore, _checksum
from skcyto.utils._damage import make_seal
from tests.robustness.forging import (
    CALLS,
    Payload,
    change_manifest,
    edit_schema,
    find_nodes,
    sign,
)

DEEP = "[" * 200_000
TINY = "test_vit"
# What the files would have run or read. The hook can't be taken off again, so it is switched.
RUNS = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pty.spawn"}
watched = {"on": False, "events": []}


def _watch(event, arguments):
    if watched["on"] and event in (*RUNS, "open"):
        watched["events"].append((event, str(arguments[0])))


sys.addaudithook(_watch)


class Attack:
    """A file to forge in a folder; `outside` must stay unread and `evidence` must not appear."""

    def __init__(self, tmp_path):
        self.folder = tmp_path / "given"
        self.folder.mkdir()
        self.outside = tmp_path / "outside.txt"
        self.outside.write_text("password: hunter2")
        self.evidence = tmp_path / "ran"
        self.pickle = pickle.dumps(Payload(self.evidence), protocol=2)
        watched["events"].clear()

    def check(self):
        assert not self.evidence.exists()
        for event, what in watched["events"]:
            assert event not in RUNS, (event, what)
            assert str(self.outside) not in what, what


@pytest.fixture
def attack(tmp_path):
    return Attack(tmp_path)


@pytest.fixture(autouse=True)
def _watching():
    watched["events"].clear()
    watched["on"] = True
    yield
    watched["on"] = False


def check_sentence(error, attack, name):
    """It names the file, is short, and advises nobody to let the file run code."""
    text = str(error)
    assert name in text
    assert len(text) < 1500
    assert not re.search(r"weights_only|allow_pickle=True|Traceback|hunter2", text)
    attack.check()


def first(caught):
    """The first warning of damage; random weights have one, too."""
    return next(each.message for each in caught if isinstance(each.message, DamagedFileWarning))


# --- Saved models ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound_model(tmp_path_factory):
    X, y = load_iris(return_X_y=True)
    network = ImbalancedMLPClassifier((4,), max_epochs=1, random_state=0)
    pipeline = make_pipeline(StandardScaler(), network).fit(X, y)
    return skcyto.save(pipeline, tmp_path_factory.mktemp("models") / "model")


def put(name, content, signed=True):
    def forge(attack, model):
        path = model / name
        path.write_bytes(content(attack) if callable(content) else content)
        if signed and name != "manifest.json":
            sign(model)

    return forge


def pickled(attack):
    return attack.pickle


def listed(change):
    return lambda attack, model: change_manifest(model, change)


def of_file(name, **facts):
    return listed(lambda manifest: manifest["files"][name].update(facts))


def also_listed(name):
    facts = {"bytes": 3, "sha256": "0" * 64}
    return listed(lambda manifest: manifest["files"].update({name: facts}))


def linked(name):
    def forge(attack, model):
        (model / name).unlink()
        (model / name).symlink_to(attack.outside)

    return forge


def made(name, make):
    def forge(attack, model):
        (model / name).unlink()
        make(model / name)

    return forge


def schema(how, where="Pipeline"):
    """Put a node that runs a command into a parameter of the pipeline's network."""

    def forge(attack, model):
        command = json.dumps(json.dumps(f"touch {attack.evidence}"))
        node = json.loads(json.dumps(CALLS[how]).replace('"X"', command))

        def edit(content):
            target = next(find_nodes(content, __class__="StandardScaler"))
            target["content"]["content"][where] = node

        edit_schema(model, edit)

    return forge


def node(module, name, loader, content=None):
    def forge(attack, model):
        def edit(schema):
            target = next(find_nodes(schema, __class__="StandardScaler"))
            target["content"]["content"]["with_mean"] = {
                "__class__": name,
                "__module__": module,
                "__loader__": loader,
                "__id__": 10**9,
                "content": content or [],
            }

        edit_schema(model, edit)

    return forge


def array_file(name):
    """Have an array be read from another place than the archive."""

    def forge(attack, model):
        def edit(schema):
            array = next(find_nodes(schema, __loader__="NdArrayNode"))
            array["file"] = str(attack.outside) if name is None else name

        edit_schema(model, edit)

    return forge


def array_pickle(attack, model):
    """Put a pickled array of objects in the place of a plain one."""
    path = model / "estimator.skops"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    buffer = io.BytesIO()
    np.save(buffer, np.array([Payload(attack.evidence)], dtype=object), allow_pickle=True)
    content = {k: buffer.getvalue() if k.endswith(".npy") else v for k, v in content.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    sign(model)


def deep_schema(attack, model):
    with zipfile.ZipFile(model / "estimator.skops", "w") as archive:
        archive.writestr("schema.json", DEEP)
    sign(model)


def huge_schema(attack, model):
    with zipfile.ZipFile(model / "estimator.skops", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", b" " * (1 << 28))
    sign(model)


def no_schema(attack, model):
    with zipfile.ZipFile(model / "estimator.skops", "w") as archive:
        archive.writestr("../../outside.txt", attack.pickle)
    sign(model)


def tensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return put("weights-0.safetensors", struct.pack("<Q", len(text)) + text + data)


def tensor(**facts):
    return {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **facts}}


MODELS = {
    "pickle as manifest": put("manifest.json", pickled),
    "pickle as estimator": put("estimator.skops", pickled),
    "pickle as weights": put("weights-0.safetensors", pickled),
    "pickle beside": put("model.pkl", pickled, signed=False),
    "pickle beside, signed": put("model.pkl", pickled),
    "code beside": put("conftest.py", b"import os; os.system('true')"),
    "startup code beside": put("sitecustomize.py", b"raise SystemExit", signed=False),
    "hidden file beside": put(".x", b"", signed=False),
    "link as manifest": linked("manifest.json"),
    "link as estimator": linked("estimator.skops"),
    "link as weights": linked("weights-0.safetensors"),
    "folder as estimator": made("estimator.skops", lambda path: path.mkdir()),
    "pipe as weights": made("weights-0.safetensors", os.mkfifo),
    "pipe as manifest": made("manifest.json", os.mkfifo),
    "path upwards": also_listed("../outside.txt"),
    "absolute path": also_listed("/etc/passwd"),
    "path in a folder": also_listed("x/../weights-0.safetensors"),
    "path of Windows": also_listed("C:\\weights-0.safetensors"),
    "name with a line end": also_listed("weights-0.safetensors\n"),
    "name with a null": also_listed("weights-0.safetensors\0"),
    "name of nothing": also_listed(""),
    "huge size": of_file("estimator.skops", bytes=10**18),
    "negative size": of_file("estimator.skops", bytes=-1),
    "size as text": of_file("estimator.skops", bytes="9"),
    "size of nothing": of_file("estimator.skops", bytes=None),
    "checksum as list": of_file("estimator.skops", sha256=["a"]),
    "checksum of nothing": of_file("estimator.skops", sha256=""),
    "files as list": listed(lambda manifest: manifest.update(files=["estimator.skops"])),
    "versions as text": listed(lambda manifest: manifest.update(versions="1")),
    "version as list": listed(lambda manifest: manifest["versions"].update(torch=[1])),
    "format of another": listed(lambda manifest: manifest.update(format_version=10**30)),
    "format as text": listed(lambda manifest: manifest.update(format_version="1; rm")),
    "deep manifest": put("manifest.json", DEEP.encode()),
    "deep objects": put("manifest.json", b'{"a":' * 100_000),
    "large manifest": put("manifest.json", b" " * (1 << 24) + b" {}"),
    "long number": put("manifest.json", b'{"format": ' + b"9" * 10_000 + b"}"),
    "other encoding": put("manifest.json", '{"format": 1}'.encode("utf-16")),
    "deep schema": deep_schema,
    "huge schema": huge_schema,
    "no schema, path upwards": no_schema,
    "no archive": put("estimator.skops", b"PK\x03\x04" + b"\0" * 100),
    **{f"schema with {how}": schema(how, "with_mean") for how in CALLS},
    "eval": node("builtins", "eval", "FunctionNode"),
    "getattr": node("builtins", "getattr", "FunctionNode"),
    "a method of os": node("os", "system", "MethodNode", {"obj": {}, "func": "x"}),
    "operator": node("operator", "methodcaller", "OperatorFuncNode"),
    "partial": node("functools", "partial", "PartialNode"),
    "loader of none": node("builtins", "int", "NoSuchNode"),
    "pickled array": array_pickle,
    "array of another file": array_file(None),
    "array upwards": array_file("../../outside.txt"),
    "tensor header too long": put("weights-0.safetensors", struct.pack("<Q", 1 << 62) + b"{}"),
    "tensor header deep": tensors(DEEP.encode()),
    "tensor beyond the end": tensors(tensor(shape=[10**9], data_offsets=[0, 4 * 10**9]), b"0" * 4),
    "tensor backwards": tensors(tensor(data_offsets=[4, 0]), b"0" * 4),
    "tensor of objects": tensors(tensor(dtype="O"), b"0" * 4),
    "tensor of negative shape": tensors(tensor(shape=[-1]), b"0" * 4),
    "other tensors": tensors(tensor(), b"0" * 4),
    "empty weights": put("weights-0.safetensors", b""),
}


@pytest.mark.parametrize("name", MODELS)
def test_saved_model(name, sound_model, attack):
    model = shutil.copytree(sound_model, attack.folder / "model")
    MODELS[name](attack, model)
    with pytest.raises(InvalidModelError) as caught:
        skcyto.load(model)
    check_sentence(caught.value, attack, str(model))


# --- Weights -----------------------------------------------------------------------------------


def torch_archive(attack):
    buffer = io.BytesIO()
    torch.save({"patch_embed.proj.weight": Payload(attack.evidence)}, buffer)
    return buffer.getvalue()


def tar_of_pickles(attack):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle", "../../outside.txt"):
            entry = tarfile.TarInfo(name)
            entry.size = len(attack.pickle)
            archive.addfile(entry, io.BytesIO(attack.pickle))
    return buffer.getvalue()


WEIGHTS = {
    "pickle": ("weights.pth", pickled),
    "torch's archive with an object": ("weights.pt", torch_archive),
    "pickle as bin": ("weights.bin", pickled),
    "pickle as ckpt": ("weights.ckpt", pickled),
    "pickle as safetensors": ("weights.safetensors", pickled),
    "tar of pickles": ("weights.tar", tar_of_pickles),
    "header too long": ("weights.safetensors", lambda _: struct.pack("<Q", 1 << 62)),
    "text": ("weights.pth", lambda _: b"no weights"),
    "pickle under a strange name": ("weights.pkl", pickled),
    "metadata that is deep": (
        "weights.safetensors",
        lambda _: safetensors.numpy.save(
            {"a": np.zeros(1)}, {"model_name": TINY, "preprocessing": DEEP}
        ),
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name, attack):
    file, content = WEIGHTS[name]
    path = attack.folder / file
    path.write_bytes(content(attack))
    with pytest.raises(PretrainedWeightsError) as caught:
        EVA02TokenEmbedder(TINY, weights=path, image_size=32).fit_transform(
            [np.zeros((32, 32, 3), np.uint8)]
        )
    check_sentence(caught.value, attack, str(path))


def test_deep_description_beside_weights(attack):
    path = attack.folder / "weights.pth"
    path.write_bytes(b"x")
    (attack.folder / "config.json").write_text(DEEP)
    with pytest.raises(PretrainedWeightsError) as caught:
        EVA02TokenEmbedder(TINY, weights=path, image_size=32).fit([np.zeros((32, 32, 3), np.uint8)])
    check_sentence(caught.value, attack, "config.json")


# --- Settings of radiomics -----------------------------------------------------------------------

SETTINGS = {
    "call": "!!python/object/apply:os.system ['touch {evidence}']",
    "object": "setting: !!python/object/new:os.system ['touch {evidence}']",
    "name": "featureClass: !!python/name:os.system",
    "module": "imageType: !!python/module:os",
    "tuple": "setting: {{binWidth: !!python/tuple [1]}}",
    "tag of another": "setting: !include {outside}",
    "binary": "setting: !!binary aGVsbG8=",
    "deep": "[" * 20_000,
    "deep maps": "{{a: " * 5_000,
    "references": "a: &a [x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 8)}]\n" for a, b in pairwise("abcdefghijklmnop")),
    "keys as lists": "? [featureClass]\n: 1",
    "several documents": "--- a\n--- b",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name, attack):
    path = attack.folder / "settings.yaml"
    path.write_text(SETTINGS[name].format(evidence=attack.evidence, outside=attack.outside))
    image = np.arange(64.0).reshape(4, 4, 4)
    with pytest.raises((ValueError, TypeError)) as caught:
        RadiomicsExtractor([1], settings=str(path)).fit([(image, np.ones((4, 4, 4)))])
    check_sentence(caught.value, attack, "settings")


# --- What skcyto writes and reads again ---------------------------------------------------------


def npz(attack, name="codes"):
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.array([Payload(attack.evidence)], dtype=object)})
    return buffer.getvalue()


def facts(text):
    buffer = io.BytesIO()
    np.savez(buffer, codes=np.zeros(3, int), facts=np.array(text))
    return buffer.getvalue()


RECORDS = {
    "pickle": pickled,
    "pickled array": npz,
    "path upwards": lambda attack: npz(attack, "../../outside"),
    "deep facts": lambda _: facts(DEEP),
    "facts of another form": lambda _: facts("[1]"),
    "no archive": lambda _: b"PK\x05\x06" + b"\0" * 18,
}


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("sealed", [False, True])
def test_record_of_a_comparison(name, sealed, attack):
    """A forger can make a checksum, too: what is then no record is named just as well."""
    X, y = load_iris(return_X_y=True)

    def compare():
        return compare_models(
            {"bayes": GaussianNB()}, X, y, cv=2, checkpoint=attack.folder, random_state=0
        ).scores

    expected = compare()
    path = sorted(attack.folder.glob("*.npz"))[0]
    content = RECORDS[name](attack)
    path.write_bytes(content + (make_seal(content, path.stem) if sealed else b""))
    with pytest.warns(DamagedFileWarning) as caught:
        found = compare()
    np.testing.assert_array_equal(found, expected)
    check_sentence(first(caught), attack, path.name)


@pytest.mark.parametrize("content", [pickled, lambda _: DEEP.encode(), lambda _: b"\xff\xfe"])
def test_seed_of_a_comparison(content, attack):
    X, y = load_iris(return_X_y=True)
    (attack.folder / "seed.json").write_bytes(content(attack))
    with pytest.warns(DamagedFileWarning) as caught:
        compare_models({"bayes": GaussianNB()}, X, y, cv=2, checkpoint=attack.folder)
    check_sentence(first(caught), attack, "seed.json")


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("content", [pickled, torch_archive])
@pytest.mark.filterwarnings("ignore::skcyto.exceptions.RandomWeightsWarning")
def test_checkpoint_of_a_fine_tuning(content, sealed, attack):
    path = attack.folder / "fine_tuning.pt"
    data = content(attack)
    path.write_bytes(data + (make_seal(data, path.name) if sealed else b""))
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    classifier = EVA02Classifier(
        TINY,
        weights=None,
        image_size=32,
        max_epochs=1,
        validation_fraction=None,
        checkpoint=attack.folder,
    )
    if sealed:
        with pytest.raises(ValueError, match="no checkpoint") as caught:
            classifier.fit(images, [0, 1] * 3)
        check_sentence(caught.value, attack, path.name)
    else:
        with pytest.warns(DamagedFileWarning) as caught:
            classifier.fit(images, [0, 1] * 3)
        check_sentence(first(caught), attack, path.name)


STORES = {
    "pickle as file": None,
    "pickle as value": pickled,
    "deep value": lambda _: DEEP.encode() + b"\n",
    "other value": lambda _: b'{"missing": 3}\n',
    "text as value": lambda _: b"\n\n",
}


@pytest.mark.parametrize("name", STORES)
def test_cache_of_radiomics(name, attack):
    image = np.random.default_rng(0).normal(size=(6, 6, 6))
    mask = np.zeros((6, 6, 6))
    mask[1:5, 1:5, 1:5] = 1
    extractor = RadiomicsExtractor(
        [1], settings={"featureClass": {"firstorder": ["Mean"]}}, cache=attack.folder
    )
    expected = extractor.fit_transform([(image, mask)])
    (path,) = attack.folder.glob("*.sqlite")
    forge_store(path, STORES[name], attack)
    with pytest.warns(DamagedFileWarning) as caught:
        np.testing.assert_array_equal(extractor.fit_transform([(image, mask)]), expected)
    check_sentence(first(caught), attack, path.name)


@pytest.mark.parametrize("name", ["pickle as file", "pickle as value"])
@pytest.mark.filterwarnings("ignore::skcyto.exceptions.RandomWeightsWarning")
def test_cache_of_embeddings(name, attack):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    embedder = EVA02TokenEmbedder(
        TINY, weights=None, image_size=32, random_state=0, cache=attack.folder
    )
    expected = embedder.fit_transform(images)
    (path,) = attack.folder.glob("*.sqlite3")
    forge_store(path, STORES[name], attack)
    with pytest.warns(DamagedFileWarning) as caught:
        np.testing.assert_allclose(embedder.fit_transform(images), expected, atol=1e-5)
    check_sentence(first(caught), attack, path.name)


def forge_store(path, content, attack):
    """Put content into every entry, under its right checksum, or in the place of the file."""
    if content is None:
        for beside in path.parent.glob(f"{path.name}-*"):
            beside.unlink()
        path.write_bytes(attack.pickle * 1000)
        return
    value = content(attack)
    with closing(sqlite3.connect(path)) as connection, connection:
        for (key,) in connection.execute("SELECT key FROM entries").fetchall():
            row = (value, _checksum(key, value), key)
            connection.execute("UPDATE entries SET value = ?, checksum = ? WHERE key = ?", row)


@pytest.mark.parametrize("content", [pickled, lambda _: DEEP.encode(), lambda _: b"[]"])
def test_manifest_of_a_parquet_set(content, attack):
    cells = [attack.folder / f"{i}.png" for i in range(2)]
    from PIL import Image

    for cell in cells:
        Image.new("RGB", (32, 32)).save(cell)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RandomWeightsWarning)
        embedder = EVA02TokenEmbedder(TINY, weights=None, image_size=32).fit(cells)
        embed_to_parquet(embedder, cells, attack.folder / "set")
    path = attack.folder / "set" / "_manifest.json"
    path.write_bytes(content(attack))
    with pytest.warns(DamagedFileWarning) as caught:
        embed_to_parquet(embedder, cells, attack.folder / "set")
    check_sentence(first(caught), attack, path.name)
    part = attack.folder / "set" / "part-00000000.parquet"
    part.write_bytes(attack.pickle)
    with pytest.warns(DamagedFileWarning) as caught:
        embed_to_parquet(embedder, cells, attack.folder / "set")
    check_sentence(first(caught), attack, part.name)


def test_storage_of_a_search(attack):
    path = attack.folder / "trials.db"
    path.write_bytes(attack.pickle * 100)
    search = OptunaSearchCV(
        GaussianNB(), {"var_smoothing": [1e-9, 1e-8]}, n_trials=1, storage=f"sqlite:///{path}"
    )
    with pytest.raises(ValueError, match="is damaged") as caught:
        search.fit(*load_iris(return_X_y=True))
    check_sentence(caught.value, attack, path.name)


def test_journal_of_predict(sound_model, attack, capsys):
    """Its entries are believed by their checksum and the model that they belong to."""
    store = ContentStore(attack.folder / "table.csv.partial")
    store.put_many({"model": attack.pickle, "x": attack.pickle})
    store.close()
    words = ["predict", sound_model, attack.folder, "-o", attack.folder / "table.csv", "--quiet"]
    assert main(list(map(str, words))) != 0
    attack.check()


def test_the_payload_would_run(attack):
    pickle.loads(attack.pickle)
    assert attack.evidence.exists()
    assert any(event == "os.system" for event, _ in watched["events"])


def test_there_are_sixty_of_them():
    assert len(MODELS) + len(WEIGHTS) + len(SETTINGS) + 2 * len(RECORDS) + len(STORES) >= 60
