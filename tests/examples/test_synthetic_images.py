"""The examples' synthetic images: whole or not there, and those of the settings."""

import argparse
import importlib.util
from pathlib import Path

import pytest
from PIL import Image

from skcyto.datasets import _writers

EXAMPLES = Path(__file__).parents[2] / "examples"
LOADERS = {"quickstart": "load_images", "tokens_and_radiomics": "load_cells"}


@pytest.fixture(params=LOADERS)
def load(request, tmp_path):
    """Load an example's images as its command line would."""
    spec = importlib.util.spec_from_file_location(request.param, EXAMPLES / f"{request.param}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def load(**params):
        settings = {"data": None, "output": tmp_path, "smoke": True, "image_size": 48, "seed": 0}
        args = argparse.Namespace(**{**settings, **params})
        return getattr(module, LOADERS[request.param])(args)

    load.example = request.param
    return load


def read(data):
    if "paths" in data:
        return [Path(path).read_bytes() for path in data.paths]
    return [Path(path).read_bytes() for path in data.data["image"]]


def test_killed_while_images_are_written(load, tmp_path, monkeypatch):
    write = _writers._write_png
    n_written = 0

    def stop(path, pixels):
        nonlocal n_written
        n_written += 1
        if n_written == 10:
            raise KeyboardInterrupt
        write(path, pixels)

    monkeypatch.setattr(_writers, "_write_png", stop)
    with pytest.raises(KeyboardInterrupt):
        load()
    assert list(tmp_path.rglob("*.png")), "the test shows nothing otherwise"
    monkeypatch.undo()
    again = read(load())
    assert again == read(load(output=tmp_path / "unbroken"))
    assert not list(tmp_path.glob("*.part"))


def test_images_of_other_settings_are_not_taken(load, tmp_path):
    first = read(load())
    assert read(load(seed=1)) != first
    assert len(read(load(smoke=False))) > len(first)
    if load.example == "quickstart":
        data = load(image_size=64)
        with Image.open(data.paths[0]) as image:
            assert image.size == (64, 64)
    assert read(load()) == first
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    load()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")} == files
