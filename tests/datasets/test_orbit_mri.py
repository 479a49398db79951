import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skcyto.datasets import load_ted, make_orbit_mri
from skcyto.datasets._synthetic._orbit_drawing import (
    TED_LABELS,
    Disease,
    OrbitField,
    draw_disease,
    draw_orbit,
)
from skcyto.datasets._synthetic._orbit_mri import _draw_case

sitk = pytest.importorskip("SimpleITK", reason="needs the extra 'radiomics'")

SIZE, SPACING = (96, 96, 24), (0.625, 0.625, 2.0)
SIGNAL = {"inferior_rectus", "medial_rectus"}
SEVEREST = Disease(growth=(0.65, 0.65), coarse=(0.9, 0.9), shift=(28.0, 28.0))


def arrays(data):
    return [
        (sitk.GetArrayFromImage(image), sitk.GetArrayFromImage(mask))
        for image, mask in zip(data.data["image"], data.data["mask"], strict=True)
    ]


def test_what_comes_back():
    data = make_orbit_mri(3, random_state=0)
    assert data.cases.tolist() == [f"synthetic_orbit_000{i}" for i in (1, 2, 3)]
    assert data.groups.tolist() == [f"synthetic_patient_000{i}" for i in (1, 1, 2)]
    assert data.target_names.tolist() == ["control", "ted"]
    assert data.target[0] == data.target[1] != data.target[2]
    assert list(data.data.columns) == ["image", "mask"]
    assert data.data.index.tolist() == data.cases.tolist()
    assert set(data.signal_structures) == SIGNAL
    assert "Synthetic" in data.DESCR
    for image, mask in data.data.itertuples(index=False):
        assert image.GetSize() == mask.GetSize() == SIZE
        assert image.GetSpacing() == mask.GetSpacing() == SPACING
        assert image.GetOrigin() == mask.GetOrigin()
        assert image.GetDirection() == mask.GetDirection()
        assert image.GetPixelIDTypeAsString() == "16-bit signed integer"
        assert mask.GetPixelIDTypeAsString() == "8-bit unsigned integer"


def test_right_orbit_lies_right_of_the_nose():
    """The apex is medial of the globe: at higher x (left) in a right orbit, lower in a left."""
    data = make_orbit_mri(2, random_state=0)
    for (_, mask), sign in zip(arrays(data), (1, -1), strict=True):
        z, _, x = np.nonzero(mask == data.mask_labels["optic_nerve"])
        shift = x[z >= z.max() - 2].mean() - x[z <= z.min() + 2].mean()
        assert sign * shift > 5


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31 - 2), left=st.booleans())
def test_the_class_changes_two_structures_and_no_voxel_of_the_others(seed, left):
    drawn = []
    for disease in (Disease((0, 0), (0, 0), (0, 0)), SEVEREST):
        field = OrbitField(SIZE, SPACING, left, np.random.default_rng(seed), 1.0)
        draw_orbit(field, disease)
        drawn.append(field)
    control, ted = drawn
    for name, value in TED_LABELS.items():
        before, after = control.mask == value, ted.mask == value
        assert before.sum() > 100, name
        if name in SIGNAL:
            assert after.sum() > 1.2 * before.sum(), "the shape changes"
            both = before & after
            change = np.abs(control.signal[both] - ted.signal[both])
            assert (change > 0).mean() > 0.9, "the texture changes"
        else:
            np.testing.assert_array_equal(before, after)
            np.testing.assert_array_equal(control.signal[before], ted.signal[before])


@given(seed=st.integers(0, 2**31 - 2))
def test_controls_have_no_disease_and_no_disease_exceeds_its_room(seed):
    control, ted = (draw_disease(np.random.default_rng(seed), sick) for sick in (False, True))
    for part in ("growth", "coarse", "shift"):
        assert getattr(control, part) == (0, 0)
        for drawn, most in zip(getattr(ted, part), getattr(SEVEREST, part), strict=True):
            assert 0 <= drawn <= most


def test_same_seed_same_scans_whatever_n_samples_n_jobs_and_medium(tmp_path):
    long = make_orbit_mri(6, random_state=5)
    short = make_orbit_mri(3, random_state=5)
    files = make_orbit_mri(6, random_state=5, n_jobs=2, path=tmp_path / "scans")
    for other, n in ((short, 3), (files, 6)):
        assert other.cases.tolist() == long.cases[:n].tolist()
        assert other.target.tolist() == long.target[:n].tolist()
        assert other.groups.tolist() == long.groups[:n].tolist()
    for (image, mask), (image_2, mask_2) in zip(arrays(long)[:3], arrays(short), strict=True):
        np.testing.assert_array_equal(image, image_2)
        np.testing.assert_array_equal(mask, mask_2)
    for (path, mask_path), (image, mask) in zip(
        files.data.itertuples(index=False), long.data.itertuples(index=False), strict=True
    ):
        for name, expected in ((path, image), (mask_path, mask)):
            read = sitk.ReadImage(name)
            np.testing.assert_array_equal(
                sitk.GetArrayViewFromImage(read), sitk.GetArrayViewFromImage(expected)
            )
            assert read.GetPixelID() == expected.GetPixelID()
            # The default spacing is exact in the single precision of a NIfTI header.
            assert read.GetSpacing() == expected.GetSpacing()
            assert read.GetOrigin() == expected.GetOrigin()
            assert read.GetDirection() == expected.GetDirection()
    other = make_orbit_mri(3, random_state=6)
    assert not np.array_equal(arrays(other)[0][0], arrays(short)[0][0])


def test_files_are_what_load_ted_reads(tmp_path):
    made = make_orbit_mri(
        4, class_proportions={"control": 1, "ted": 1}, path=tmp_path, random_state=0
    )
    data = load_ted(tmp_path)
    pd.testing.assert_frame_equal(data.data, made.data, check_index_type=False)
    assert data.target.tolist() == made.target.tolist()
    assert data.groups.tolist() == made.groups.tolist()
    assert data.mask_labels == made.mask_labels
    assert data.report.empty


def test_a_folder_is_completed_and_used_again(tmp_path):
    first = make_orbit_mri(3, path=tmp_path, random_state=0)
    paths = [tmp_path / "images" / f"synthetic_orbit_000{i}.nii.gz" for i in (1, 2, 3)]
    content = [path.read_bytes() for path in paths]
    kept = paths[0].stat().st_mtime_ns
    # As a run that was killed leaves it: some files missing, no list.
    paths[1].unlink()
    (tmp_path / "labels.csv").unlink()
    again = make_orbit_mri(3, path=tmp_path, random_state=0)
    assert again.target.tolist() == first.target.tolist()
    assert paths[0].stat().st_mtime_ns == kept
    assert [path.read_bytes() for path in paths] == content
    for parameters in ({"random_state": 1}, {"n_samples": 2}, {"class_proportions": {"ted": 1}}):
        with pytest.raises(FileExistsError, match="other parameters"):
            make_orbit_mri(**{"n_samples": 3, "random_state": 0, **parameters}, path=tmp_path)
    (tmp_path / "SYNTHETIC.json").unlink()
    with pytest.raises(FileExistsError, match="not written by make_orbit_mri"):
        make_orbit_mri(3, path=tmp_path, random_state=0)


def test_bilateral_scans_hold_both_orbits():
    data = make_orbit_mri(2, bilateral=True, random_state=0)
    assert len(set(data.groups)) == 2
    for image, mask in arrays(data):
        assert image.shape == mask.shape == (24, 96, 192)
        for half in (mask[..., :96], mask[..., 96:]):
            assert set(np.unique(half)) == set(range(9))


def test_weights_are_shares_of_patients():
    data = make_orbit_mri(10, class_proportions={"control": 4, "ted": 1}, random_state=0)
    assert (data.target == "ted").sum() == 2
    assert make_orbit_mri(
        2, class_proportions={"ted": 1}, random_state=0
    ).target_names.tolist() == ["ted"]


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"n_samples": 0}, "n_samples=0"),
        ({"n_samples": "3"}, "n_samples='3'"),
        ({"size": (96, 96)}, "must be three integers"),
        ({"size": (96, 96, 4)}, "at least 8"),
        ({"spacing": (0.6, 0.6, 0)}, "positive numbers in mm"),
        ({"size": (64, 96, 24)}, "box of 40 x 60 x 48 mm; the orbit needs 54 x 54 x 46"),
        ({"class_proportions": {"healthy": 1}}, "there are .*'control', 'ted'"),
    ],
)
def test_wrong_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        make_orbit_mri(**{"n_samples": 1, **parameters})


def test_without_simpleitk_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(ImportError, match=r"make_orbit_mri needs.*skcyto\[radiomics\]"):
        make_orbit_mri(1)


def test_shape_and_texture_of_the_two_muscles_tell_the_classes_and_the_others_do_not():
    """Raw voxel statistics of each structure, over folds of whole patients."""
    classes = np.array([i % 2 == 0 for i in range(60)])
    X = {"shape": [], "texture": [], "others": []}
    for patient, diseased in enumerate(classes):
        image, mask = _draw_case(0, patient, patient, bool(diseased), False, SIZE, SPACING)
        fat = np.median(image[mask == 6])
        shape, texture, others = [], [], []
        for value in (1, 2, 3, 4, 5, 7, 8):
            voxels = image[mask == value] / fat
            area = (mask == value).sum(axis=(1, 2))
            two = value in (2, 3)
            (shape if two else others).extend([area.sum(), area.max()])
            (texture if two else others).extend([np.median(voxels), voxels.std()])
        X["shape"].append(shape)
        X["texture"].append(texture)
        X["others"].append(others)
    auc = {}
    for name, features in X.items():
        probability = cross_val_predict(
            make_pipeline(StandardScaler(), LogisticRegression(C=0.3)),
            np.array(features),
            classes,
            cv=StratifiedGroupKFold(5),
            groups=np.arange(len(classes)),
            method="predict_proba",
        )
        auc[name] = roc_auc_score(classes, probability[:, 1])
    assert 0.7 < auc["shape"] < 0.99
    assert 0.65 < auc["texture"] < 0.99
    assert 0.3 < auc["others"] < 0.7
