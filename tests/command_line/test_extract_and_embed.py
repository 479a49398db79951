"""skcyto extract and skcyto embed: one row an input, bad ones named."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skcyto.command_line import main
from skcyto.datasets import make_cell_images, write_image_mask_folder
from skcyto.feature_extraction import EVA02TokenEmbedder, RadiomicsExtractor

SETTINGS = """\
imageType: {Original: {}}
featureClass: {shape2D: [PixelSurface], firstorder: [Mean]}
"""


@pytest.fixture
def scans(tmp_path):
    """Gray cells with masks in a folder, and a parameter file."""
    cells = make_cell_images(12, image_size=48, random_state=0)
    kept = [i for i in range(12) if {1, 2} <= set(np.unique(cells.masks[i]))][:4]
    folder = tmp_path / "cells"
    images = [image[..., 0] for image in cells.images[kept]]
    write_image_mask_folder(folder, images, cells.masks[kept], cells.target[kept])
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    return folder


def extract(folder, *words):
    labels = ["--label", "nucleus=1", "--label", "cytoplasm=2"]
    settings = ["--settings", folder.parent / "settings.yaml"]
    return main(["extract", *map(str, [folder, *words, *labels, *settings]), "--quiet"])


def test_table_of_a_folder(scans, tmp_path, capsys):
    pytest.importorskip("radiomics")
    assert extract(scans, "-o", tmp_path / "table.csv") == 0
    table = pd.read_csv(tmp_path / "table.csv")
    assert table.columns[:2].tolist() == ["image", "mask"]
    assert table.columns[-3:].tolist() == ["error", "note", "settings"]
    extractor = RadiomicsExtractor(
        {"nucleus": 1, "cytoplasm": 2}, str(tmp_path / "settings.yaml")
    ).set_output(transform="pandas")
    expected = extractor.fit_transform(table[["image", "mask"]])
    found = table[expected.columns]
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), rtol=1e-9)
    assert not (tmp_path / "table.csv.partial").exists()
    # The same command on finished work says so, and other settings are refused.
    assert extract(scans, "-o", tmp_path / "table.csv") == 0
    assert "finished before" in capsys.readouterr().err
    (tmp_path / "settings.yaml").write_text(SETTINGS.replace("[Mean]", "[Median]"))
    assert extract(scans, "-o", tmp_path / "table.csv") == 1
    assert "exists: replace it with --overwrite" in capsys.readouterr().err


def test_bad_scans_have_rows_with_reasons(scans, tmp_path):
    pytest.importorskip("radiomics")
    images = sorted((scans / "images").iterdir())
    masks = sorted((scans / "masks").iterdir())
    nucleus = np.array(Image.open(masks[1]))
    nucleus[nucleus == 2] = 0
    Image.fromarray(nucleus).save(masks[1])
    rows = [(str(i), str(m)) for i, m in zip(images, masks, strict=True)]
    rows.append((str(images[0]), str(scans / "nowhere.png")))
    pd.DataFrame(rows, columns=["scan", "seg"]).to_csv(tmp_path / "list.csv", index=False)
    words = ["--image-column", "scan", "--mask-column", "seg", "-o", tmp_path / "out.csv"]
    labels = ["--label", "nucleus=1", "--label", "cytoplasm=2", "-q", "--settings"]
    words += [*labels, tmp_path / "settings.yaml"]
    assert main(["extract", str(tmp_path / "list.csv"), *map(str, words)]) == 1
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["error"].isna().tolist() == [True] * 4 + [False]
    assert "nowhere.png does not exist" in table["error"][4]
    assert "cytoplasm" in table["note"][1]
    features = table.filter(regex="__")
    assert features.iloc[4].isna().all()
    assert features.iloc[1].isna().sum() == 2
    assert features.iloc[[0, 2, 3]].notna().all(axis=None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.csv", "-o", "t.csv"], "there is no list or folder nowhere.csv"),
        (["{folder}", "-o", "t.txt"], "must end with .csv or .parquet"),
        (["{folder}", "-o", "t.csv", "--label", "nucleus"], "as in nucleus=1"),
    ],
)
def test_errors_of_extract(scans, tmp_path, monkeypatch, capsys, words, message):
    pytest.importorskip("radiomics")
    monkeypatch.chdir(tmp_path)
    assert main(["extract", *(word.format(folder=scans) for word in words)]) == 1
    assert message in capsys.readouterr().err


def embed(folder, output, *words):
    model = ["--model", "test_vit", "--image-size", "32", "--device", "cpu"]
    return main(["embed", str(folder), "-o", str(output), *model, *words, "--quiet"])


def test_tokens_of_a_folder(scans, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    import timm
    from safetensors.torch import save_file

    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), weights)
    images = scans / "images"
    (images / "broken.png").write_text("no image")
    (images / "notes.txt").touch()
    words = ["--weights", str(weights), "--part-size", "3"]
    with pytest.warns(UserWarning, match="could not be read"):
        assert embed(images, tmp_path / "tokens", *words) == 1
    message = capsys.readouterr().err
    assert "left out 1 files that are no images" in message
    assert "5 rows, 1 of them with an error" in message
    table = pd.read_parquet(tmp_path / "tokens")
    bad = table["path"].str.endswith("broken.png")
    assert table["error"].notna().tolist() == bad.tolist()
    embedder = EVA02TokenEmbedder("test_vit", weights=weights, image_size=32, device="cpu")
    expected = embedder.fit_transform(table["path"][~bad].tolist())
    np.testing.assert_allclose(table[~bad].filter(regex="^all_"), expected, rtol=1e-4, atol=1e-5)
    # Another model in the same folder is refused.
    assert embed(images, tmp_path / "tokens", *words, "--tokens", "class") == 1
    assert capsys.readouterr().err.startswith("left out 1")


def test_weights_out_of_reach_are_an_error_of_one_line(scans, tmp_path, capsys):
    pytest.importorskip("pyarrow")
    missing = tmp_path / "missing.safetensors"
    assert embed(scans / "images", tmp_path / "tokens", "--weights", str(missing)) == 1
    assert "error: " in capsys.readouterr().err


def test_every_command_has_help(capsys):
    for command in ("predict", "extract", "embed"):
        with pytest.raises(SystemExit) as exit_info:
            main([command, "--help"])
        assert exit_info.value.code == 0
        assert f"skcyto {command}" in capsys.readouterr().out
