"""Tables, the page, and the displays of a comparison."""

import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from skcyto.exceptions import MissingClassWarning
from skcyto.metrics import expected_calibration_error
from skcyto.model_selection import (
    CalibrationComparisonDisplay,
    ConfusionComparisonDisplay,
    CriticalDifferenceDisplay,
    PrecisionRecallComparisonDisplay,
    ROCComparisonDisplay,
    ScoreComparisonDisplay,
    compare_models,
)
from skcyto.model_selection._statistics._intervals import mid_p_interval
from skcyto.model_selection._statistics._pooled import discount

MODELS = {
    "majority": DummyClassifier(),
    "naive Bayes": GaussianNB(),
    "neighbours & <co>_50%": KNeighborsClassifier(),
    "ridge": RidgeClassifier(),
}


def make(n_classes, groups=False, seed=0, **options):
    X, y = make_classification(
        160,
        6,
        n_informative=4,
        n_classes=n_classes,
        weights=[0.7] + [0.3 / (n_classes - 1)] * (n_classes - 1),
        random_state=seed,
    )
    labels = np.array(["well", "ill", "rubbish"])[y]
    patient = np.arange(160) // 2 if groups else None
    return compare_models(MODELS, X, labels, groups=patient, random_state=0, **options)


@pytest.fixture(scope="module")
def binary():
    return make(2)


@pytest.fixture(scope="module")
def multiclass():
    return make(3, groups=True)


def test_table_holds_mean_spread_and_interval(binary):
    table = binary.table(["accuracy", "neg_log_loss", "roc_auc_ovr"])
    values = binary.fold_scores("naive Bayes", "accuracy")
    row = table.loc["naive Bayes", "accuracy"]
    assert row["mean"] == pytest.approx(values.mean())
    assert row["std"] == pytest.approx(values.std(ddof=1))
    kept = binary.out_of_fold("naive Bayes")
    hits = (kept["y_true"] == kept["y_pred"]).groupby(kept["sample"]).mean()
    # Five folds a round, a quarter as many test as training cases: up to 1 + 5 / 4 of the variance
    # of cases that train no model, less where nearly all are right.
    widened = 1 + 1.25 * 8 * hits.mean() * (1 - hits.mean())
    widened = min(widened, 2.25)
    n = len(hits) / widened
    low, high = mid_p_interval(hits.mean() * n, n)
    assert row["ci_low"] == pytest.approx(low)
    assert row["ci_high"] == pytest.approx(high)
    values = binary.fold_scores("naive Bayes", "log_loss")
    # t(4) at 97.5 % is 2.776445.
    half = 2.7764451052 * values.std(ddof=1) * np.sqrt(1 / 10 + 1 / 4)
    loss = table.loc["naive Bayes", "log_loss"]
    assert loss["ci_low"] == pytest.approx(values.mean() - half)
    # Upwards as on a logarithmic scale.
    assert loss["ci_high"] == pytest.approx(values.mean() * np.exp(half / values.mean()))
    area = table.loc["naive Bayes", "roc_auc_ovr"]
    assert area["ci_low"] < area["mean"] < area["ci_high"] < 1
    columns = list(table.columns.get_level_values(0).unique())
    assert columns == ["accuracy", "log_loss", "roc_auc_ovr"]
    narrow = binary.table("accuracy", confidence_level=0.5)
    assert narrow.loc["naive Bayes", ("accuracy", "ci_high")] < row["ci_high"]


def test_markdown(binary):
    text = binary.to_markdown(["f1_macro", "log_loss"])
    lines = text.splitlines()
    assert lines[0] == "| model | macro F1 | log-loss ↓ |"
    assert len(lines) == 8
    assert all(line.count("|") == 4 for line in lines[:6])
    row = binary.table("f1_macro").loc["naive Bayes"]["f1_macro"]
    assert f"{row['mean']:.3f} ± {row['std']:.3f} [{row['ci_low']:.3f}, " in lines[3]
    # One best mean a column, and a dash where a model has no probabilities.
    assert sum(line.count("**") for line in lines[:6]) == 4
    assert lines[5].endswith("| \N{EN DASH} |")
    assert "widened for the training data that folds share" in lines[-1]


def test_latex_is_escaped_and_for_booktabs(binary):
    text = binary.to_latex(["f1_macro", "expected_calibration_error"])
    assert r"neighbours \& \textless{}co\textgreater{}\_50\%" in text
    assert r"\toprule" in text
    assert r"$\downarrow$" in text
    assert r"\textbf{" in text
    assert text.count(r"\\") == 5
    # Nothing that LaTeX would trip over is left bare.
    assert not re.search(r"(?<!\\)[%&_#](?![^\n]*tabular)", re.sub(r" & |[\[{]tbp[\]}]", "", text))
    assert "\N{MINUS SIGN}" not in text
    assert "±" not in text


class Page(HTMLParser):
    """Collects what a page asks for and shows."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.tags, self.text, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_page_is_whole_and_needs_nothing_else(multiclass, tmp_path):
    path = tmp_path / "page.html"
    multiclass.to_html(path, title="A <title>", reference="naive Bayes", n_resamples=50)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.tags.count("img") == 5
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert "link" not in page.tags
    assert "script" not in page.tags
    assert not re.search(r"@import|url\(", text)
    shown = " ".join(" ".join(page.text).split())
    assert "A <title>" in shown
    assert "neighbours & <co>_50%" in shown
    assert "160 cases in 80 groups" in shown
    for heading in (
        *("Scores", "Recall by class", "Differences from naive Bayes", "ROC curves"),
        *("Precision-recall curves", "Confusion matrices", "Calibration", "DeLong", "McNemar"),
        *("Bootstrap of macro F1", "Models", "How this was worked out"),
    ):
        assert heading in shown, heading
    row = multiclass.table("f1_macro").loc["ridge"]["f1_macro"]
    assert f"{row['mean']:.3f}" in shown
    assert "nan" not in shown.lower().split()


def test_page_is_reproducible_and_leaves_no_figure_open(binary, tmp_path):
    import matplotlib.pyplot as plt

    plt.close("all")
    for name in ("a", "b"):
        binary.to_html(tmp_path / name, n_resamples=0)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "Bootstrap" not in (tmp_path / "a").read_text(encoding="utf-8")
    assert plt.get_fignums() == []


def test_page_shows_failures_with_their_traceback(tmp_path):
    X, y = make_classification(60, random_state=0)
    with pytest.warns(FitFailedWarning):
        found = compare_models(
            {"nb": GaussianNB(), "bad <C>": LogisticRegression(C=-1)}, X, y, cv=3, random_state=0
        )
    found.to_html(tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    shown = " ".join(" ".join(page.text).split())
    assert page.open == []
    assert "bad <C>" in shown
    assert "InvalidParameterError" in shown
    assert "Traceback (most recent call last)" in shown
    # A single model is left: there is nothing to test, and the page says what there is.
    assert "Differences from" not in shown
    assert "McNemar" not in shown


def test_page_says_who_takes_the_place_of_a_failed_reference(tmp_path):
    X, y = make_classification(60, random_state=0)
    models = {
        "ce": LogisticRegression(C=-1),
        "focal": GaussianNB(),
        "ldam": LogisticRegression(),
    }
    with pytest.warns(FitFailedWarning):
        found = compare_models(models, X, y, cv=3, random_state=0)

    def shown(**options):
        found.to_html(tmp_path / "page.html", n_resamples=20, **options)
        page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
        assert page.open == []
        return " ".join(" ".join(page.text).split())

    said = "The first candidate, ce, was to be the reference and failed."
    text = shown()
    assert f"{said} Differences on this page are from focal" in text
    assert "Differences from focal" in text
    # Who names one knows.
    text = shown(reference="ldam")
    assert said not in text
    assert "Differences from ldam" in text
    with pytest.raises(ValueError, match="model 'ce' failed"):
        found.to_html(tmp_path / "page.html", reference="ce")


def test_page_without_any_scores_of_classes(tmp_path):
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Sign(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return self.classes_[(X[:, 0] > 0).astype(int)]

    X, y = make_classification(60, random_state=0)
    found = compare_models({"a": Sign(), "b": Sign()}, X, y, cv=3, random_state=0)
    found.to_html(tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.tags.count("img") == 2
    with pytest.raises(ValueError, match="no model gives probabilities or decision values"):
        found.plot_roc()
    with pytest.raises(ValueError, match="gives neither probabilities nor decision values"):
        found.plot_roc(models=["a"])
    # The same predictions: no difference is seen, and nothing is known of how it would vary.
    assert found.ttest().loc[("b", "a"), "p_holm"] == 1
    assert np.isnan(found.bayesian().loc[("b", "a"), "p_equivalent"])


def test_roc_curves_go_through_the_folds_own(binary):
    display = ROCComparisonDisplay.from_comparison(binary)
    # The rarer class is the positive one, though "well" sorts last.
    assert display.caption == "ill"
    kept = binary.out_of_fold("naive Bayes").query("fold == 2")
    positive, score = kept["y_true"] == "ill", kept["predict_proba[ill]"]
    assert display.areas["naive Bayes"][2] == pytest.approx(roc_auc_score(positive, score))
    false, true, _ = roc_curve(positive, score)
    inside = np.interp(display.x[1:], false, true)
    np.testing.assert_allclose(display.curves["naive Bayes"][2][1:], inside)
    assert display.curves["naive Bayes"].shape == (10, 201)


def test_precision_recall_curves_are_steps(binary):
    display = PrecisionRecallComparisonDisplay.from_comparison(binary)
    kept = binary.out_of_fold("ridge").query("fold == 0")
    positive, score = kept["y_true"] == "ill", kept["decision_function[ill]"]
    expected = average_precision_score(positive, score)
    assert display.areas["ridge"][0] == pytest.approx(expected)
    # The area under the steps on the grid is the average precision.
    assert display.curves["ridge"][0].mean() == pytest.approx(expected, abs=0.01)
    precision, recall, _ = precision_recall_curve(positive, score)
    assert display.curves["ridge"][0][-1] == precision[recall == 1].max()
    assert display.chance == pytest.approx(np.mean(binary.y == "ill"))


def test_curves_of_several_classes_are_averages(multiclass):
    average = ROCComparisonDisplay.from_comparison(multiclass)
    parts = [
        ROCComparisonDisplay.from_comparison(multiclass, pos_label=label)
        for label in multiclass.classes
    ]
    np.testing.assert_allclose(
        average.curves["ridge"], np.mean([part.curves["ridge"] for part in parts], axis=0)
    )
    np.testing.assert_allclose(
        average.areas["ridge"], multiclass.fold_scores("ridge", "roc_auc_ovr")
    )


def make_axes():
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


@pytest.mark.parametrize("display", [ROCComparisonDisplay, PrecisionRecallComparisonDisplay])
def test_curves_are_drawn_with_bands(binary, display):
    two = display.from_comparison(binary, models=["naive Bayes", "ridge"], ax=make_axes())
    assert len(two.lines_) == 2
    assert len(two.bands_) == 2
    four = display.from_comparison(binary, ax=make_axes())
    assert (len(four.lines_), len(four.bands_)) == (4, 0)
    grid = display.from_comparison(binary)
    assert len(grid.axes_) == 4
    assert len(grid.bands_) == 4
    ax = make_axes()
    assert binary.plot_roc(ax=ax).ax_ is ax
    assert binary.plot_precision_recall(ax=ax).figure_ is ax.figure


def test_calibration_curves(binary):
    display = binary.plot_calibration(models=["naive Bayes"])
    kept = binary.out_of_fold("naive Bayes")
    curve = display.curves["naive Bayes"]
    assert curve.share.sum() == pytest.approx(1)
    assert np.sum(curve.share * curve.observed) == pytest.approx(np.mean(kept["y_true"] == "ill"))
    expected = expected_calibration_error(
        kept["y_true"] == "ill", kept["predict_proba[ill]"], labels=[False, True]
    )
    assert curve.error == pytest.approx(expected)
    everyone = CalibrationComparisonDisplay.from_comparison(binary)
    assert list(everyone.curves) == list(MODELS)[:3]
    with pytest.raises(ValueError, match=r"\['ridge'\] give no probabilities"):
        binary.plot_calibration(models=["ridge"])


def test_calibration_of_several_classes_is_confidence_against_accuracy(multiclass):
    display = CalibrationComparisonDisplay.from_comparison(multiclass, ax=make_axes())
    curve = display.curves["naive Bayes"]
    kept = multiclass.out_of_fold("naive Bayes")
    assert np.sum(curve.share * curve.observed) == pytest.approx(
        np.mean(kept["y_true"] == kept["y_pred"])
    )
    assert display.ax_.get_ylabel() == "accuracy"


def test_confusion_matrices_are_means_over_rounds(multiclass):
    display = ConfusionComparisonDisplay.from_comparison(multiclass)
    kept = multiclass.out_of_fold("ridge")
    expected = confusion_matrix(kept["y_true"], kept["y_pred"]) / 2
    np.testing.assert_allclose(display.matrices["ridge"], expected)
    assert display.matrices["ridge"].sum() == 160
    assert len(display.axes_) == 4
    assert len(multiclass.plot_confusion_matrices(normalize=False).axes_) == 4


def test_score_display_shows_what_the_test_found(binary):
    display = binary.plot_scores(metric="roc_auc_ovr", reference="ridge")
    left, right = display.axes_
    assert [tick.get_text() for tick in left.get_yticklabels()] == list(MODELS)
    texts = [text.get_text().strip() for text in right.texts]
    assert texts.count("reference") == 1
    assert sum(text.startswith("p ") for text in texts) == 3
    assert right.get_xlabel() == "difference in ROC AUC from ridge"
    made = ScoreComparisonDisplay.from_comparison(binary)
    assert made.reference == "majority"


def test_critical_difference_over_data_sets(binary, multiclass):
    others = {"three classes": multiclass, "again": make(2, seed=3)}
    display = binary.plot_critical_difference(others, name="two classes", metric="accuracy")
    assert display.datasets == ["two classes", "three classes", "again"]
    means = multiclass.table("accuracy")["accuracy"]["mean"]
    np.testing.assert_allclose(display.scores[1], means)
    assert display.ax_.figure is display.figure_
    assert sum(display.result.average_ranks) == pytest.approx(10)
    with pytest.raises(ValueError, match=r"\['ridge'\] have no brier_score on 'two classes'"):
        binary.plot_critical_difference(others, name="two classes", metric="brier_score")


def test_losses_are_turned_over_for_ranks():
    X, y = make_classification(80, random_state=0)
    models = {name: MODELS[name] for name in list(MODELS)[:3]}
    found = compare_models(models, X, y, cv=3, random_state=0)
    display = found.plot_critical_difference({"again": found}, metric="neg_log_loss")
    best = found.table("log_loss")["log_loss"]["mean"].to_numpy().argmin()
    assert display.result.average_ranks[best] == 1


def test_critical_difference_needs_the_same_models(binary):
    X, y = make_classification(60, random_state=0)
    other = compare_models({"nb": GaussianNB()}, X, y, cv=3, random_state=0)
    with pytest.raises(ValueError, match="was not compared with the same models"):
        binary.plot_critical_difference({"other": other})
    with pytest.raises(ValueError, match="scores has shape"):
        CriticalDifferenceDisplay(np.ones((3, 3)), ["a", "b"], ["x", "y", "z"])


def test_runs_of_ranks_that_cannot_be_told_apart():
    rng = np.random.default_rng(0)
    scores = rng.normal(scale=0.1, size=(20, 5)) + np.array([0, 0.05, 1, 1.02, 3])
    display = CriticalDifferenceDisplay(scores, list("abcde"), [str(i) for i in range(20)])
    ranks = np.sort(display.result.average_ranks)
    runs = display._groups(ranks)
    cd = display.result.critical_difference
    assert runs
    for first, last in runs:
        assert ranks[last] - ranks[first] < cd
    joined = {(i, j) for first, last in runs for i in range(first, last) for j in [i + 1]}
    for i in range(4):
        assert ((i, i + 1) in joined) == (ranks[i + 1] - ranks[i] < cd)


def test_pooled_tests_against_the_single_functions(binary, multiclass):
    from skcyto.model_selection import delong_test, mcnemar_test

    # One round of four folds: the tables hold what the functions give for its pooled predictions,
    # with variances times 1 + 4 / 3 for the training data that folds share.
    one = make(2, cv=4)
    a, b = one.out_of_fold("naive Bayes"), one.out_of_fold("majority")
    expected = delong_test(
        a["y_true"] == one.pos_label,
        a[f"predict_proba[{one.pos_label}]"],
        b[f"predict_proba[{one.pos_label}]"],
        strata=a["fold"],
    )
    found = one.delong().loc[("naive Bayes", "majority", one.pos_label)]
    assert found["t"] == pytest.approx(expected.statistic / np.sqrt(7 / 3))
    assert found["difference"] == pytest.approx(expected.difference)
    assert expected.df == (a["y_true"] == "ill").sum() - 1
    assert found["df"] == pytest.approx(expected.df / (7 / 3))
    exact = mcnemar_test(a["y_true"] == a["y_pred"], b["y_true"] == b["y_pred"])
    row = one.mcnemar().loc[("naive Bayes", "majority")]
    assert (row["only_model"], row["only_reference"]) == (exact.only_a, exact.only_b)
    assert row["pvalue"] > exact.pvalue
    # Three classes: a row for each, corrected together; groups are allowed for.
    rows = multiclass.delong(reference="naive Bayes")
    assert len(rows) == 9
    assert (rows["p_holm"] >= rows["pvalue"] - 1e-12).all()
    assert set(rows.index.get_level_values("class")) == set(multiclass.classes)
    # Two rounds: twice the median, at most 1.
    twice = binary.mcnemar().loc[("naive Bayes", "majority")]
    kept = [binary.out_of_fold(name) for name in ("naive Bayes", "majority")]
    single = []
    for number in (0, 1):
        hits = [part[part["repeat"] == number].eval("y_true == y_pred") for part in kept]
        single.append(discount(mcnemar_test(*hits), 1 + 5 / 4, 99).pvalue)
    assert twice["pvalue"] == pytest.approx(min(1, 2 * np.median(single)))


def rare(n_rare, patients=None, labels="abc", **options):
    """Three classes (or two), of which the last has few cases, and few patients with groups."""
    counts = [80, 40 - n_rare, n_rare] if len(labels) == 3 else [120 - n_rare, n_rare]
    X = np.random.default_rng(0).normal(size=(120, 4))
    groups = None
    if patients is not None:
        groups = np.arange(120)
        groups[-n_rare:] = 1000 + np.arange(n_rare) % patients
    models = {"majority": DummyClassifier(), "bayes": GaussianNB(), "near": KNeighborsClassifier()}
    options = {"cv": 3, "scoring": ["accuracy", "f1_macro"], **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MissingClassWarning)
        return compare_models(
            models, X, np.repeat(list(labels), counts), groups=groups, random_state=0, **options
        )


@pytest.mark.parametrize(
    ("n_rare", "patients", "counts"),
    [(4, 1, "1 positive and 38 negative"), (1, None, "1 positive and 39 negative")],
)
def test_delong_leaves_out_a_class_of_one_patient(n_rare, patients, counts):
    from skcyto.model_selection import delong_test

    found = rare(n_rare, patients)
    with pytest.warns(UserWarning, match=f"class 'c': DeLong's variance.*{counts}") as caught:
        table = found.delong()
    assert len(caught) == 1
    assert "class 'a'" not in str(caught[0].message)
    assert caught[0].filename == __file__
    assert list(table.index.get_level_values("class")) == list("abcabc")
    assert table.xs("c", level="class").isna().all(axis=None)
    tested = table.drop("c", level="class")
    assert tested.notna().all(axis=None)
    kept = [found.out_of_fold(name) for name in ("bayes", "majority")]
    groups = None if patients is None else found.groups[kept[0]["sample"]]
    alone = delong_test(
        kept[0]["y_true"] == "b",
        *(part["predict_proba[b]"] for part in kept),
        groups=groups,
        strata=kept[0]["fold"],
    )
    # Three folds of about the same size: variances times 1 + 3 / 2.
    row = table.loc[("bayes", "majority", "b")]
    assert row["t"] == pytest.approx(alone.statistic / np.sqrt(5 / 2), rel=0.01)
    # Holm's correction is for the four tests that there are.
    assert tested["p_holm"].min() == pytest.approx(min(1, 4 * tested["pvalue"].min()))


def test_delong_without_any_class_that_can_be_tested():
    found = rare(10, patients=1, labels=["n", "p"])
    message = "can test no class: class 'p': .*1 positive and 36 negative in round 1"
    with pytest.raises(ValueError, match=message):
        found.delong()


@pytest.mark.parametrize(
    ("case", "reasons", "n_images"),
    [
        # The area of one class is a dash with the reason below, the others are tested.
        ({"n_rare": 4, "patients": 1}, ["Class c can't be tested: DeLong's variance"], 5),
        # Without shuffling, no fold tests all classes.
        (
            {"n_rare": 4, "cv": KFold(3), "scoring": ["roc_auc_ovr", "accuracy"]},
            [
                "No model has a ROC AUC: it is undefined on every fold.",
                "Can't be drawn: no fold has cases of every class",
            ],
            3,
        ),
        (
            {"n_rare": 10, "patients": 1, "labels": ["n", "p"]},
            ["Can't be worked out: DeLong's test can test no class: class 'p'"],
            5,
        ),
        (
            {"n_rare": 4, "patients": 2, "scoring": ["roc_auc_ovr", "accuracy"]},
            ["Can't be worked out: the statistic is undefined in"],
            5,
        ),
    ],
)
def test_page_gives_the_reason_in_place_of_what_cannot_be_worked_out(
    case, reasons, n_images, tmp_path
):
    rare(**case).to_html(tmp_path / "page.html", n_resamples=50)
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert page.tags.count("img") == n_images
    shown = " ".join(" ".join(page.text).split())
    for reason in reasons:
        assert reason in shown
    for heading in (
        *("Scores", "Differences from majority", "ROC curves", "Precision-recall curves"),
        *("Confusion matrices", "Calibration", "DeLong", "McNemar", "Bootstrap of", "Models"),
        "How this was worked out",
    ):
        assert heading in shown
    # Only what has no numbers has a reason.
    assert shown.count("only the reference") == 1
    assert shown.count("pooled score") == (0 if "statistic" in reasons[0] else 1)


def test_page_refuses_parameters_that_no_data_would_allow(binary, tmp_path):
    for options, message in (
        ({"n_resamples": 5}, "n_resamples=5"),
        ({"confidence_level": 95}, "confidence_level=95"),
        ({"rope": -1}, "rope=-1"),
        ({"reference": "nobody"}, "there is no model 'nobody'"),
    ):
        with pytest.raises(ValueError, match=message):
            binary.to_html(tmp_path / "page.html", **options)
    assert list(tmp_path.iterdir()) == []


def test_bootstrap_table(multiclass):
    table = multiclass.bootstrap(reference="ridge", n_resamples=200)
    again = multiclass.bootstrap(reference="ridge", n_resamples=200)
    assert table.equals(again)
    assert (table["ci_low"] < table["estimate"]).all()
    assert (table["estimate"] < table["ci_high"]).all()
    assert table.loc["ridge", "difference":].isna().all()
    gap = table.loc["majority", "estimate"] - table.loc["ridge", "estimate"]
    assert table.loc["majority", "difference"] == pytest.approx(gap)
    # A model without probabilities has no log-loss; the others have.
    losses = multiclass.bootstrap(metric="log_loss", n_resamples=50)
    assert losses.loc["ridge"].isna().all()
    assert losses.loc["naive Bayes"].notna().all()
