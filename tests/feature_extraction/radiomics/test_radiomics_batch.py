"""Many cases: scikit-learn's contract, processes, the cache, kills, and state left as it was."""

import logging
import pickle
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skcyto.exceptions import DamagedFileWarning, InvalidInputWarning, InvalidScanError
from skcyto.feature_extraction import RadiomicsExtractor
from skcyto.feature_extraction._radiomics import _batch, _worker
from skcyto.utils._content_store import ContentStore

SMALL = {
    "imageType": {"Original": {}, "Wavelet": {}},
    "featureClass": {"firstorder": ["Mean", "Entropy"], "glcm": ["Contrast"], "shape": []},
}


@pytest.fixture
def paths(scans, tmp_path):
    """Five cases on disk."""
    import SimpleITK as sitk

    rows = []
    for seed in range(5):
        arrays = scans.make_volume((8, 18, 20), seed=seed)
        row = [str(tmp_path / f"case{seed}_{role}.nii.gz") for role in ("image", "mask")]
        for array, path in zip(arrays, row, strict=True):
            sitk.WriteImage(scans.to_sitk(array), path)
        rows.append(row)
    return np.array(rows)


@pytest.fixture
def computed(monkeypatch):
    """Count the labels that go through the engine, in this process."""
    labels = []
    run = _worker.run_case

    def counting(case, wanted, task, *, check_only=False):
        labels.extend(label for structure in wanted for label in structure.labels)
        return run(case, wanted, task, check_only=check_only)

    monkeypatch.setattr(_batch, "run_case", counting)
    return labels


class TestContract:
    """What replaces scikit-learn's estimator checks, which need a table of numbers as input."""

    def test_parameters_clone_and_repr(self):
        parameters = {"mask_labels": {"a": 3}, "settings": SMALL, "on_error": "nan", "n_jobs": 2}
        extractor = RadiomicsExtractor(**parameters)
        copy = clone(extractor)
        assert copy.get_params() == extractor.get_params()
        assert {name: copy.get_params()[name] for name in parameters} == parameters
        assert "on_error='nan'" in repr(extractor)
        tags = extractor.__sklearn_tags__()
        assert not tags.input_tags.two_d_array
        assert tags.input_tags.string

    def test_fit_leaves_parameters_and_input_alone(self, paths):
        settings = pickle.loads(pickle.dumps(SMALL))
        extractor = RadiomicsExtractor([1, 2], settings=settings)
        before = paths.copy()
        assert extractor.fit(paths) is extractor
        extractor.transform(paths)
        assert extractor.settings is settings
        assert settings == SMALL
        np.testing.assert_array_equal(paths, before)

    def test_unfitted_is_said(self, paths):
        for method in ("transform", "get_feature_names_out", "diagnostics"):
            with pytest.raises(NotFittedError):
                getattr(RadiomicsExtractor(), method)(*([] if "names" in method else [paths]))

    def test_rows_do_not_depend_on_each_other_or_on_order(self, paths):
        extractor = RadiomicsExtractor([1, 2], settings=SMALL).fit(paths)
        values = extractor.transform(paths)
        assert values.dtype == np.float64
        np.testing.assert_array_equal(extractor.transform(paths[::-1]), values[::-1])
        np.testing.assert_array_equal(extractor.transform(paths[2:3]), values[2:3])
        np.testing.assert_array_equal(extractor.fit_transform(paths, [0, 1, 0, 1, 0]), values)

    def test_names_pandas_and_pickles(self, paths):
        extractor = RadiomicsExtractor({"fat": 5, "nerve": 1}, settings=SMALL).fit(paths)
        names = extractor.get_feature_names_out()
        assert names.dtype == object
        assert len(set(names)) == len(names) == 2 * (14 + 9 * 3)
        assert names[0].startswith("fat__original_shape_")
        assert names[-1] == "nerve__wavelet-LLL_glcm_Contrast"
        assert list(extractor.feature_table_.index) == list(names)
        values = extractor.transform(paths)
        again = pickle.loads(pickle.dumps(extractor)).set_output(transform="pandas")
        frame = again.transform(pd.DataFrame(paths, columns=["image", "mask"], index=list("vwxyz")))
        assert list(frame.index) == list("vwxyz")
        assert list(frame.columns) == list(names)
        np.testing.assert_array_equal(frame.to_numpy(), values)
        assert extractor.n_features_in_ == 2
        assert extractor.n_dims_ == 3

    def test_in_pipelines_and_folds(self, paths):
        X = pd.DataFrame(np.vstack([paths, paths]), columns=["image", "mask"])
        y = np.tile([0, 1, 0, 1, 0], 2)
        extractor = RadiomicsExtractor([1, 2], settings=SMALL)
        pipeline = make_pipeline(
            make_column_transformer((extractor, ["image", "mask"])), StandardScaler(), LinearSVC()
        )
        assert cross_val_score(pipeline, X, y, cv=2, n_jobs=1).shape == (2,)

    def test_the_version_is_recorded(self, paths):
        import radiomics

        extractor = RadiomicsExtractor([1], settings=SMALL).fit(paths)
        assert extractor.radiomics_version_ == radiomics.__version__

    def test_fit_reads_no_mask_where_labels_are_given(self, paths, monkeypatch):
        def refuse(*_):
            raise AssertionError("a mask was read")

        monkeypatch.setattr(_worker, "read_mask", refuse)
        RadiomicsExtractor([1], settings=SMALL).fit(paths)
        with pytest.raises(AssertionError, match="a mask was read"):
            RadiomicsExtractor(settings=SMALL).fit(paths)


def test_importing_the_package_imports_no_radiomics():
    program = (
        "import sys, skcyto.feature_extraction as f; f.RadiomicsExtractor; "
        "print([m for m in ('radiomics', 'SimpleITK', 'pywt', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_radiomics_names_the_extra(monkeypatch, paths):
    monkeypatch.setitem(sys.modules, "radiomics", None)
    monkeypatch.setitem(sys.modules, "radiomics.featureextractor", None)
    with pytest.raises(ImportError, match=r"pip install 'skcyto\[radiomics\]'"):
        RadiomicsExtractor([1], settings=SMALL).fit(paths)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_same_values_in_processes_and_threads(paths, backend):
    paths = np.vstack([paths, [["gone.nii", "gone.nii"]]])
    alone = RadiomicsExtractor([1, 2, 5], settings=SMALL, on_error="nan").fit(paths)
    many = clone(alone).set_params(n_jobs=2).fit(paths)
    with pytest.warns(InvalidInputWarning, match="gone.nii") as expected:
        values = alone.transform(paths)
    with parallel_config(backend=backend), pytest.warns(InvalidInputWarning) as found:
        np.testing.assert_array_equal(many.transform(paths), values)
    assert str(found[0].message) == str(expected[0].message)


def test_in_memory_volumes_in_processes(scans):
    cases = [scans.make_volume((8, 60, 60), seed=seed) for seed in range(3)]  # above joblib's 1 MB
    cases = [
        (image.astype(np.float64).repeat(5, axis=0), mask.repeat(5, axis=0))
        for image, mask in cases
    ]
    extractor = RadiomicsExtractor([1, 2], settings=SMALL).fit(cases)
    values = extractor.transform(cases)
    itk = [tuple(scans.to_sitk(array, (1, 1, 1)) for array in case) for case in cases]
    extractor.set_params(n_jobs=2)
    np.testing.assert_array_equal(extractor.transform(cases), values)
    np.testing.assert_array_equal(extractor.transform(itk), values)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed")
def test_on_a_dask_cluster(paths):
    from distributed import Client, LocalCluster

    extractor = RadiomicsExtractor([1, 2], settings=SMALL).fit(paths)
    values = extractor.transform(paths)
    # Port 0: any free one, for another cluster may run on this machine.
    options = {"processes": False, "dashboard_address": ":0", "worker_dashboard_address": None}
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster,
        Client(cluster),
        parallel_config(backend="dask"),
    ):
        np.testing.assert_array_equal(extractor.set_params(n_jobs=-1).transform(paths), values)


def test_global_state_is_left_as_it_was(paths, capfd):
    import radiomics
    import SimpleITK as sitk

    process_object = sitk.ProcessObject
    threads = process_object.GetGlobalDefaultNumberOfThreads()
    logger = logging.getLogger("radiomics")
    process_object.SetGlobalDefaultNumberOfThreads(3)
    try:
        before = (
            [(handler, handler.level) for handler in logger.handlers],
            logger.level,
            logger.propagate,
            process_object.GetGlobalDefaultCoordinateTolerance(),
            process_object.GetGlobalDefaultDirectionTolerance(),
        )
        settings = {**SMALL, "setting": {"geometryTolerance": 0.01}}
        settings["imageType"] = {"LoG": {"sigma": [1.0, 50.0]}}
        extractor = RadiomicsExtractor([1], settings=settings).fit(paths)
        extractor.set_params(n_jobs=2)
        with parallel_config(backend="threading"), pytest.warns(InvalidInputWarning, match="50"):
            extractor.transform(paths)
        assert process_object.GetGlobalDefaultNumberOfThreads() == 3
        after = (
            [(handler, handler.level) for handler in logger.handlers],
            logger.level,
            logger.propagate,
            process_object.GetGlobalDefaultCoordinateTolerance(),
            process_object.GetGlobalDefaultDirectionTolerance(),
        )
        assert after == before
    finally:
        process_object.SetGlobalDefaultNumberOfThreads(threads)
    assert capfd.readouterr() == ("", "")  # nothing of pyradiomics' log
    assert radiomics.handler.level == logging.WARNING


def test_itk_has_one_thread_inside(paths, monkeypatch):
    import SimpleITK as sitk

    seen = []
    monkeypatch.setattr(
        _worker,
        "extract",
        lambda *_, **__: seen.append(sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()),
    )
    extractor = RadiomicsExtractor([1], settings=SMALL).fit(paths)
    with pytest.warns(InvalidInputWarning, match="no value of"):
        extractor.transform(paths[:2])
    assert seen == [1, 1]


class TestCache:
    def test_only_what_is_new_is_computed(self, paths, tmp_path, computed):
        extractor = RadiomicsExtractor([1, 2], settings=SMALL, cache=tmp_path / "cache").fit(paths)
        first = extractor.transform(paths[:3])
        assert len(computed) == 6
        np.testing.assert_array_equal(extractor.transform(paths)[:3], first)
        assert len(computed) == 10
        more = clone(extractor).set_params(mask_labels=[5, 1, 2]).fit(paths)
        values = more.transform(paths)
        assert computed[10:] == [5] * 5
        width = first.shape[1] // 2
        np.testing.assert_array_equal(values[:3, width:], first)
        computed.clear()
        np.testing.assert_array_equal(more.transform(paths), values)
        np.testing.assert_array_equal(more.transform(paths[::-1]), values[::-1])
        assert computed == []
        plain = clone(more).set_params(cache=None).fit(paths)
        np.testing.assert_array_equal(plain.transform(paths), values)

    def test_content_counts_and_not_the_name(self, paths, tmp_path, computed, scans):
        import shutil

        extractor = RadiomicsExtractor([1], settings=SMALL, cache=tmp_path / "cache").fit(paths)
        extractor.transform(paths[:1])
        moved = [
            shutil.copy(path, tmp_path / f"moved{i}.nii.gz") for i, path in enumerate(paths[0])
        ]
        extractor.transform([moved])
        assert computed == [1]
        content = bytearray((tmp_path / "moved1.nii.gz").read_bytes())
        content[4] ^= 1  # the time in the gzip header: the voxels are the same, the bytes not
        (tmp_path / "moved1.nii.gz").write_bytes(content)
        extractor.transform([moved])
        assert computed == [1, 1]
        image, mask = scans.make_volume((8, 18, 20))
        for case in [(image, mask), ((image, (2, 1, 1)), (mask, (2, 1, 1)))] * 2:
            extractor.transform([case])
        assert len(computed) == 4
        mask[3, 3, 3] = 1
        extractor.transform([(image, mask)])
        assert len(computed) == 5

    def test_detached_voxels_are_part_of_the_content(self, tmp_path, computed, scans):
        import SimpleITK as sitk

        image, mask = (scans.to_sitk(each) for each in scans.make_volume((8, 18, 20)))
        for suffix in ("mhd", "nhdr"):
            sitk.WriteImage(image, str(tmp_path / f"image.{suffix}"))
            case = [(str(tmp_path / f"image.{suffix}"), mask)]
            extractor = RadiomicsExtractor([1], settings=SMALL, cache=tmp_path / "cache").fit(case)
            before = extractor.transform(case)
            sitk.WriteImage(image * 2, str(tmp_path / f"image.{suffix}"))
            assert (extractor.transform(case) != before).any()

    @pytest.mark.parametrize(
        "change",
        [
            {"settings": {**SMALL, "setting": {"binWidth": 10}}},
            {"settings": {**SMALL, "featureClass": {"firstorder": ["Mean"]}}},
            {"crop_filters": False},
        ],
    )
    def test_settings_are_part_of_the_key(self, paths, tmp_path, computed, change):
        extractor = RadiomicsExtractor([1], settings=SMALL, cache=tmp_path / "cache").fit(paths)
        extractor.transform(paths[:1])
        clone(extractor).set_params(**change).fit(paths).transform(paths[:1])
        assert computed == [1, 1]

    def test_the_version_is_part_of_the_key(self, paths, tmp_path, computed, monkeypatch):
        import radiomics

        extractor = RadiomicsExtractor([1], settings=SMALL, cache=tmp_path / "cache").fit(paths)
        extractor.transform(paths[:1])
        monkeypatch.setattr(radiomics, "__version__", "another")
        extractor.fit(paths).transform(paths[:1])
        assert computed == [1, 1]

    def test_missing_labels_and_notes_are_remembered_and_errors_are_not(
        self, paths, tmp_path, computed
    ):
        settings = {
            "imageType": {"LoG": {"sigma": [50.0]}},
            "featureClass": {"firstorder": ["Mean"]},
        }
        extractor = RadiomicsExtractor([1, 9], settings=settings, cache=tmp_path / "cache")
        extractor.fit(paths)
        messages = []
        for _ in range(2):
            with pytest.warns(InvalidInputWarning) as caught:
                extractor.transform(paths[:1])
            messages.append([str(each.message) for each in caught])
        assert messages[0] == messages[1]
        assert len(messages[0]) == 2
        assert computed == [1, 9]
        bad = np.array([[paths[0, 0], "gone.nii"]])
        for _ in range(2):
            with pytest.raises(InvalidScanError, match=r"gone\.nii"):
                extractor.transform(bad)
        assert computed == [1, 9] * 3

    def test_the_good_cases_of_a_failed_batch_are_kept(self, paths, tmp_path, computed):
        bad = np.vstack([[["gone.nii", "gone.nii"]], paths])
        extractor = RadiomicsExtractor([1], settings=SMALL, cache=tmp_path / "cache").fit(bad[1:])
        with pytest.raises(InvalidScanError, match="from 1 of 6 case"):
            extractor.transform(bad)
        computed.clear()
        extractor.transform(paths)
        assert computed == []

    def test_a_damaged_file_is_named_and_rebuilt(self, paths, tmp_path):
        extractor = RadiomicsExtractor([1], settings=SMALL, cache=tmp_path / "cache").fit(paths)
        values = extractor.transform(paths)
        (file,) = (tmp_path / "cache").glob("*.sqlite")
        for part in (tmp_path / "cache").iterdir():
            part.write_bytes(b"no database" * 1000) if part == file else part.unlink()
        with pytest.warns(DamagedFileWarning, match=r"radiomics\.sqlite is damaged"):
            np.testing.assert_array_equal(extractor.transform(paths), values)


def test_after_an_error_without_a_cache_cases_are_only_checked(paths, monkeypatch):
    computed = []
    extract = _worker.extract
    monkeypatch.setattr(
        _worker, "extract", lambda *args, **kw: computed.append(1) or extract(*args, **kw)
    )
    bad = np.vstack(
        [paths[:1], [["gone.nii", paths[0, 1]]], paths[1:4], [[paths[0, 0], "lost.nii"]]]
    )
    extractor = RadiomicsExtractor([1], settings=SMALL).fit(paths)
    with pytest.raises(InvalidScanError, match=r"(?s)case 1 .*gone\.nii.*case 5 .*lost\.nii"):
        extractor.transform(bad)
    assert len(computed) < 4


_RUN = """
import sys
import numpy as np
from skcyto.feature_extraction import RadiomicsExtractor
X, n_jobs = np.load(sys.argv[1]), int(sys.argv[4])
extractor = RadiomicsExtractor([1, 2], settings="original", cache=sys.argv[2], n_jobs=n_jobs)
np.save(sys.argv[3], extractor.fit_transform(X))
"""


def _start(paths, folder, name, n_jobs):
    np.save(folder / "X.npy", paths)
    arguments = [folder / "X.npy", folder / "cache", folder / f"{name}.npy", n_jobs]
    return subprocess.Popen([sys.executable, "-c", _RUN, *map(str, arguments)])


def _kill_half_way(paths, folder, n_jobs):
    """Start a run, kill it after two cases, and return the number of labels it has stored."""
    store = ContentStore(folder / "cache" / "radiomics.sqlite")
    process = _start(paths, folder, "killed", n_jobs)
    while store.info()["entries"] < 4 and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (folder / "killed.npy").exists()
    return store.info()["entries"]


def test_killed_half_way_it_resumes(paths, tmp_path, computed):
    done = _kill_half_way(paths, tmp_path, n_jobs=1)
    assert 4 <= done < 10
    assert done % 2 == 0  # a case's labels come together
    extractor = RadiomicsExtractor([1, 2], settings="original", cache=tmp_path / "cache")
    values = extractor.fit_transform(paths)
    assert len(computed) == 10 - done
    plain = clone(extractor).set_params(cache=None)
    np.testing.assert_array_equal(plain.fit_transform(paths), values)


@pytest.mark.slow
def test_two_runs_at_once_share_what_a_killed_one_left(paths, tmp_path, computed):
    _kill_half_way(paths, tmp_path, n_jobs=2)
    both = [_start(paths, tmp_path, name, n_jobs=2) for name in ("one", "two")]
    assert [process.wait() for process in both] == [0, 0]
    extractor = RadiomicsExtractor([1, 2], settings="original", cache=tmp_path / "cache")
    values = extractor.fit_transform(paths)
    assert computed == []
    for name in ("one", "two"):
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), values)


def test_diagnostics_are_a_table_apart(scans, paths):
    extractor = RadiomicsExtractor({"nerve": 1, "fat": 9}, settings=SMALL).fit(paths)
    assert not any("diagnostics" in name for name in extractor.get_feature_names_out())
    with pytest.warns(InvalidInputWarning, match=r"label 9 \(fat\): not in the mask"):
        table = extractor.diagnostics(paths[:2])
    assert list(table.index) == [(0, "nerve"), (1, "nerve")]
    mask = scans.make_volume((8, 18, 20), seed=1)[1]
    assert table.loc[(1, "nerve"), "diagnostics_Mask-original_VoxelNum"] == (mask == 1).sum()
    assert table["diagnostics_Image-original_Hash"].nunique() == 2
    assert table.iloc[0]["diagnostics_Configuration_EnabledImageTypes"] == SMALL["imageType"]
