"""What a forger of saved models does: change a file, and sign it again."""

import hashlib
import json
import os
import zipfile

CALLS = {
    "a function": {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"},
    "an object": {"__class__": "Popen", "__module__": "subprocess", "__loader__": "ObjectNode"},
    "a type": {"__class__": "system", "__module__": "posix", "__loader__": "TypeNode"},
    "a list": {
        "__class__": "Popen",
        "__module__": "subprocess",
        "__loader__": "ListNode",
        "content": [
            {"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": "X"}
        ],
    },
    "a call": {
        "__class__": "system",
        "__module__": "os",
        "__loader__": "ConstructorFromReduceNode",
        "content": {
            "__class__": "tuple",
            "__module__": "builtins",
            "__loader__": "TupleNode",
            "content": [
                {
                    "__class__": "str",
                    "__module__": "builtins",
                    "__loader__": "JsonNode",
                    "content": "X",
                }
            ],
        },
    },
}


class Payload:
    """Writes a file as soon as it is unpickled."""

    def __init__(self, evidence):
        self.evidence = str(evidence)

    def __reduce__(self):
        return os.system, (f"touch {self.evidence}",)


def sign(folder):
    """Bring the manifest up to date, as a forger would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest.pop("sha256", None)  # Models of earlier versions have none.
    manifest["files"] = {
        file.name: {
            "bytes": file.stat().st_size,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        }
        for file in folder.iterdir()
        if file != path
    }
    path.write_text(json.dumps(manifest))


def change_manifest(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest.pop("sha256", None)
    change(manifest)
    path.write_text(json.dumps(manifest))


def edit_schema(folder, edit):
    """Change what the skops file says, and sign it."""
    path = folder / "estimator.skops"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(content["schema.json"])
    content["schema.json"] = json.dumps(edit(schema) or schema).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    sign(folder)


def find_nodes(schema, **keys):
    """Yield the nodes of a schema that have these values."""
    if isinstance(schema, dict):
        if all(schema.get(key) == value for key, value in keys.items()):
            yield schema
        for value in schema.values():
            yield from find_nodes(value, **keys)
    elif isinstance(schema, list):
        for value in schema:
            yield from find_nodes(value, **keys)
