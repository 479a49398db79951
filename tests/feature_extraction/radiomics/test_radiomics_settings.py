"""Presets, parameter files, dicts; what is wrong in them is named."""

import copy
import json

import numpy as np
import pytest

from skcyto.exceptions import DroppedFeatureWarning
from skcyto.feature_extraction import RadiomicsExtractor

IMAGE = np.random.default_rng(0).normal(100, 30, size=(6, 9, 9))
MASK = np.ones((6, 9, 9), dtype=np.uint8)
PARAMS = {
    "setting": {"binWidth": 10, "label": 1},
    "imageType": {"Original": {}, "LoG": {"sigma": [1.0]}},
    "featureClass": {"firstorder": ["Mean", "Entropy"], "glcm": None},
}
YAML = """
# pyradiomics accepts comments and empty entries
setting:
  binWidth: 10
  label: 1
imageType:
  Original:
  LoG:
    sigma: [1.0]
featureClass:
  firstorder:
    - Mean
    - Entropy
  glcm:
"""


def _fit(settings, labels=(1,), image=IMAGE, mask=MASK):
    return RadiomicsExtractor(labels, settings=settings).fit([(image, mask)])


def test_files_and_dicts_say_the_same(tmp_path):
    (tmp_path / "params.yaml").write_text(YAML)
    (tmp_path / "params.json").write_text(json.dumps(PARAMS))
    given = copy.deepcopy(PARAMS)
    expected = _fit(given).get_feature_names_out()
    assert given == PARAMS  # the caller's dict stays as it was
    assert len(expected) == 2 * (2 + 24)
    assert expected[0] == "label_1__original_firstorder_Mean"
    for settings in (tmp_path / "params.yaml", str(tmp_path / "params.json")):
        np.testing.assert_array_equal(_fit(settings).get_feature_names_out(), expected)


def test_without_labels_the_label_of_the_file_counts():
    mask = MASK.copy()
    mask[3:] = 2
    assert _fit(PARAMS, labels=None, mask=mask).mask_labels_ == {"label_1": 1}
    without = {**PARAMS, "setting": {"binWidth": 10}}
    assert _fit(without, labels=None, mask=mask).mask_labels_ == {"label_1": 1, "label_2": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("ted1684", r"'ted1684' is neither a preset \(original, ted1648\) nor a file"),
        ("folder/params.yaml", "neither a preset .* nor a file"),
        ({"setting": {"binwidth": 5}}, "unknown setting 'binwidth', did you mean 'binWidth'"),
        ({"setting": {"normalise": True}}, "'normalise', did you mean 'normalize'"),
        (
            {"binWidth": 5},
            r"'binWidth' must stand under 'setting', as in \{'setting': \{'binWidth'",
        ),
        ({"settings": {}}, "unknown 'settings', did you mean 'setting'"),
        ({"imageType": {"log": {"sigma": [1]}}}, "image type 'log', did you mean 'LoG'"),
        ({"imageType": {"LoG": {"sigmas": [1]}}}, "setting of LoG 'sigmas', did you mean 'sigma'"),
        ({"imageType": {"LoG": {}}}, "'LoG' gives no image .* needs a setting, such as sigma"),
        ({"imageType": {"LBP2D": {}}}, "'LBP2D' gives no image .*skimage"),
        ({"featureClass": {"GLCM": []}}, "feature class 'GLCM', did you mean 'glcm'"),
        ({"featureClass": {"glcm": ["contrast"]}}, "glcm feature 'contrast', .* 'Contrast'"),
        ({"featureClass": {"glcm": ["Homogeneity1"]}}, "'Homogeneity1' is deprecated .* remove"),
        ({"featureClass": ["glcm"]}, "'featureClass' must be a mapping, not list"),
        ({"setting": {"binWidth": -5}}, "pyradiomics refuses it: .*binWidth"),
        ({"setting": {"normalize": "yes"}}, "pyradiomics refuses it: .*normalize"),
        ({"imageType": {"Wavelet": {"wavelet": "coif99"}}}, "refuses it"),
        ({"featureClass": {"shape2D": []}}, "no feature for 3-D images: enable 'shape'"),
        ({"setting": {"binWidth": "5"}}, "setting 'binWidth' is the text '5': give a number, such"),
        ({"setting": {"binWidth": "wide"}}, "is the text 'wide': give a number$"),
        ({"setting": {"normalizeScale": "1e2"}}, r"give a number, such as 100 \(YAML takes 1e-3"),
        ({"setting": {"binWidth": None}}, "'binWidth' is empty: give a number, or remove it"),
        ({"setting": {"binWidth": float("nan")}}, "'binWidth' is nan: give a finite number"),
        ({"setting": {"removeOutliers": float("inf")}}, "is inf: give a finite number"),
        ({"imageType": {"LoG": {"sigma": ["1e0"]}}}, "setting of LoG 'sigma' is the text '1e0'"),
        ({"setting": {"distances": []}}, "'distances' is empty: give at least one"),
        ({"setting": {"resegmentRange": [1, 2, 3]}}, "'resegmentRange' has 3 number"),
        (
            {"setting": {"resampledPixelSpacing": [1, 1]}},
            r"'resampledPixelSpacing' has 2 number\(s\), but the images have 3 dimensions",
        ),
    ],
)
def test_what_is_wrong_is_named(settings, message, capfd):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        _fit(settings)
    assert capfd.readouterr() == ("", "")


def test_resampling_to_three_numbers_is_refused_for_flat_images_once():
    settings = {"setting": {"resampledPixelSpacing": [1, 1, 1]}}
    with pytest.raises(ValueError, match=r"has 3 number.*the images have 2 dimensions"):
        _fit(settings, image=IMAGE[0], mask=MASK[0])
    # Without an interpolator nothing is resampled, as in pyradiomics.
    settings["setting"]["interpolator"] = None
    settings["featureClass"] = {"firstorder": ["Mean"]}
    _fit(settings, image=IMAGE[0], mask=MASK[0])


def test_numbers_as_yaml_and_json_write_them(tmp_path):
    """YAML 1.1 takes 1e-3 for a text and tabs for an error; in JSON both are fine."""
    content = {"setting": {"binWidth": 1e-3}, "featureClass": {"firstorder": ["Mean"]}}
    (tmp_path / "tabs.json").write_text(json.dumps(content, indent="\t").replace("0.001", "1e-3"))
    assert _fit(tmp_path / "tabs.json").settings_["setting"]["binWidth"] == pytest.approx(0.001)
    (tmp_path / "params.yaml").write_text("setting:\n  binWidth: 1e-3\n")
    with pytest.raises(ValueError, match=r"params.yaml: .*'1e-3': give a number, such as 0.001"):
        _fit(tmp_path / "params.yaml")


def test_settings_of_voxel_maps_have_no_effect_and_that_is_said():
    settings = {"voxelSetting": {"kernelRadius": 2}, "featureClass": {"firstorder": ["Mean"]}}
    with pytest.warns(DroppedFeatureWarning, match="'voxelSetting' is about maps") as caught:
        extractor = _fit(settings)
    assert caught[0].filename == __file__
    assert "kernelRadius" not in extractor.settings_["setting"]
    _fit({**settings, "voxelSetting": None})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("setting: [unclosed", "neither YAML nor JSON"),
        ("just text", "holds no pyradiomics settings"),
        ("setting:\n  binwidth: 3", r"params.yaml: unknown setting 'binwidth', did you mean"),
    ],
)
def test_bad_files_are_named(tmp_path, content, message):
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ValueError, match=message):
        _fit(tmp_path / "params.yaml")


def test_2d_images_get_2d_shape():
    table = _fit("ted1648", image=IMAGE[0], mask=MASK[0]).feature_table_
    assert table["image_type"].nunique() == 15  # 4 wavelet bands instead of 8
    assert set(table.loc[table["image_type"] == "original", "feature_class"]) == {
        "shape2D",
        "firstorder",
        "glcm",
        "glrlm",
        "glszm",
        "gldm",
    }


@pytest.mark.parametrize(
    ("asked", "applicable", "where"), [("shape", "shape2D", 0), ("shape2D", "shape", slice(None))]
)
def test_shape_that_the_images_do_not_have_is_spoken_of(asked, applicable, where, tmp_path):
    settings = {"featureClass": {asked: [], "firstorder": ["Mean"]}}
    file = tmp_path / "params.json"
    file.write_text(json.dumps(settings))
    for given in (settings, file):
        with pytest.warns(
            DroppedFeatureWarning, match=f"class '{asked}' of the settings .*Enable '{applicable}' "
        ) as caught:
            extractor = _fit(given, image=IMAGE[where], mask=MASK[where])
        assert caught[0].filename == __file__
        assert extractor.get_feature_names_out().tolist() == ["label_1__original_firstorder_Mean"]


@pytest.mark.parametrize("where", [0, slice(None)])
@pytest.mark.parametrize(
    "settings",
    [
        "original",
        "ted1648",
        {},  # pyradiomics enables every class
        {"featureClass": {"shape": [], "shape2D": []}},
        {"featureClass": {"firstorder": []}},
    ],
)
def test_shape_is_not_spoken_of_where_none_is_lost(settings, where):
    """A warning is an error in these tests."""
    table = _fit(settings, image=IMAGE[where], mask=MASK[where]).feature_table_
    shape = set(table["feature_class"]) & {"shape", "shape2D"}
    named = isinstance(settings, str) or "firstorder" not in settings.get("featureClass", {})
    assert shape == ({"shape2D" if where == 0 else "shape"} if named else set())


def test_2d_shape_of_slices_is_not_lost():
    settings = {"setting": {"force2D": True}, "featureClass": {"shape2D": ["Elongation"]}}
    assert len(_fit(settings).get_feature_names_out()) == 1


def test_labels_that_do_not_share_are_spoken_of_at_verbose(capsys):
    settings = {"setting": {"preCrop": True}, "featureClass": {"firstorder": []}}
    RadiomicsExtractor([1], settings=settings, verbose=1).fit([(IMAGE, MASK)])
    assert "preCrop: pyradiomics crops to each label" in capsys.readouterr().out
    RadiomicsExtractor([1], settings=settings).fit([(IMAGE, MASK)])
    RadiomicsExtractor([1], settings="original", verbose=1).fit([(IMAGE, MASK)])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["1"], r"labels must be integers, got '1' of type str; write 1"),
        ([1.0], "must be integers, got 1.0"),
        ([True], "must be integers, got True"),
        ([0], r"must be positive \(0 is the background\), got 0"),
        ([-1], "must be positive"),
        ([1, 2, 1], r"names the values \[1\] twice"),
        ({"a": 1, "b": 1}, r"names the values \[1\] twice"),
        ({1: 2}, "the structure's name 1 must be a string"),
        ({"a__b": 2}, "'a__b' must be a string without '__'"),
        ([], "labels is empty"),
        ({}, "labels is empty"),
    ],
)
def test_bad_labels_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        _fit("original", labels=labels)


@pytest.mark.parametrize(
    "parameters",
    [{"on_error": "ignore"}, {"on_missing_label": 0}, {"settings": 5}, {"mask_labels": "1"}],
)
def test_bad_parameters_are_named(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        RadiomicsExtractor(**parameters).fit([(IMAGE, MASK)])
