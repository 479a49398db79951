"""External sets and single splits: validated on that set alone, and called what they are."""

import itertools
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss, roc_auc_score
from sklearn.model_selection import ShuffleSplit, TimeSeriesSplit
from sklearn.naive_bayes import GaussianNB
from statsmodels.stats.contingency_tables import mcnemar

import skcyto
from skcyto.exceptions import MissingClassWarning
from skcyto.model_selection import compare_models, delong_test

MODELS = {
    "logistic": LogisticRegression(),
    "bayes": GaussianNB(),
    "majority": DummyClassifier(),
}


def site(name, n_patients, seed, share=0.3, per_patient=2):
    """Cells of some patients, a class of each."""
    rng = np.random.default_rng(seed)
    ill = np.arange(n_patients) < round(share * n_patients)
    label = np.repeat(np.where(ill, "abnormal", "normal"), per_patient)
    patient = np.repeat([f"{name}{i}" for i in range(n_patients)], per_patient)
    X = rng.normal(size=(len(label), 3)) + 1.2 * (label == "abnormal")[:, None]
    return X, label, patient


INSIDE, B = site("A", 40, 0), site("B", 25, 1, share=0.4)


@pytest.fixture(scope="module")
def comparison():
    X, y, groups = INSIDE
    return compare_models(
        MODELS,
        X,
        y,
        groups=groups,
        cv=3,
        external={"site B": B, "site C": site("C", 30, 2)[:2]},
        random_state=0,
    )


@pytest.fixture(scope="module")
def fitted():
    return {name: model.fit(*INSIDE[:2]) for name, model in MODELS.items()}


def shown(comparison, path, **options):
    comparison.to_html(path, **options)
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", path.read_text("utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", text).replace("&#39;", "'")


def test_scores_are_those_of_models_fitted_on_all_internal_cases(comparison, fitted):
    found = comparison.external["site B"]
    X, y, _ = B
    for name, model in fitted.items():
        row = found.table().loc[name]
        assert row["f1_macro", "mean"] == pytest.approx(
            f1_score(y, model.predict(X), average="macro")
        )
        prob = model.predict_proba(X)
        assert row["roc_auc_ovr", "mean"] == pytest.approx(roc_auc_score(y, prob[:, 1]))
        assert row["log_loss", "mean"] == pytest.approx(log_loss(y, prob))
        assert np.isnan(row["f1_macro", "std"])
    kept = found.out_of_fold("bayes")
    np.testing.assert_array_equal(kept["sample"], np.arange(len(y)))
    np.testing.assert_allclose(
        kept["predict_proba[abnormal]"], fitted["bayes"].predict_proba(X)[:, 0]
    )


def test_cross_validation_is_that_without_external_sets(comparison):
    X, y, groups = INSIDE
    alone = compare_models(MODELS, X, y, groups=groups, cv=3, random_state=0)
    pd.testing.assert_frame_equal(alone.scores, comparison.scores)
    assert alone.external == {}


def test_interval_of_a_share_has_mid_p_tails(comparison):
    # Site C has no groups: its cases are independent.
    found = comparison.external["site C"]
    hits = round(found.fold_scores("logistic", "accuracy")[0] * 60)
    row = found.table("accuracy").loc["logistic", "accuracy"]
    above = binom.sf(hits, 60, row["ci_low"]) + binom.pmf(hits, 60, row["ci_low"]) / 2
    below = binom.cdf(hits, 60, row["ci_high"]) - binom.pmf(hits, 60, row["ci_high"]) / 2
    assert (above, below) == pytest.approx((0.025, 0.025), abs=1e-6)


def test_all_of_five_rare_cases_found_leaves_doubt():
    rng = np.random.default_rng(0)
    y = np.repeat([1, 0], [5, 60])
    X = (10 * y + rng.normal(size=65))[:, None]
    found = compare_models(MODELS, X, y, external={"B": (X + 0.1, y)}, cv=2, random_state=0)
    table = found.external["B"].table()
    row = table.loc["logistic", "recall[1]"]
    # Half of the probability p**5 of five hits is 2.5 %.
    assert row["ci_low"] == pytest.approx((2 * 0.025) ** (1 / 5), abs=1e-4)
    assert row["ci_high"] == 1
    assert table.loc["logistic", ("roc_auc_ovr", "ci_low")] < 0.9
    assert table.loc["logistic", ("f1_macro", "ci_low")] < 0.9


def test_images_of_a_patient_count_by_how_alike_they_are():
    apart = site("B", 50, 3, share=0.2, per_patient=8)
    once = site("C", 50, 3, share=0.2, per_patient=1)
    copies = tuple(np.repeat(part, 8, axis=0) for part in once)
    sets = {"apart": apart, "cases": apart[:2], "copies": copies, "patients": once[:2]}
    models = {"logistic": LogisticRegression()}
    found = compare_models(models, *INSIDE[:2], external=sets, cv=2, random_state=0).external

    def width(name, metric):
        row = found[name].bootstrap(metric=metric, n_resamples=300).loc["logistic"]
        return row["ci_high"] - row["ci_low"]

    for metric in ("balanced_accuracy", "f1_macro", "roc_auc_ovr"):
        # Patients whose images differ tell nearly as much as so many cases, but for Student's t,
        # and eight copies of an image no more than one.
        assert width("apart", metric) < 1.5 * width("cases", metric)
        assert width("copies", metric) > 0.7 * width("patients", metric)


def test_all_of_five_rare_patients_found_leaves_as_much_doubt():
    y = np.repeat([1, 0], [20, 80])
    X = (10.0 * y + np.random.default_rng(0).normal(size=100))[:, None]
    elsewhere = X + 0.1, y, np.arange(100) // 4
    found = compare_models(
        {"logistic": LogisticRegression()}, X, y, external={"B": elsewhere}, cv=2, random_state=0
    ).external["B"]
    with pytest.warns(UserWarning, match="rests on 5 groups"):
        row = found.bootstrap(metric="balanced_accuracy", n_resamples=100).loc["logistic"]
    # Two classes times five patients, whatever the number of their images.
    assert row["ci_low"] == pytest.approx((2 * 0.025) ** (1 / 10), abs=1e-4)
    assert row["ci_high"] == 1


def test_mcnemar_and_delong_are_of_that_set(comparison, fitted):
    X, y, _ = site("C", 30, 2)
    found = comparison.external["site C"]
    right = {name: model.predict(X) == y for name, model in fitted.items()}
    a, b = right["bayes"], right["logistic"]
    counts = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    assert found.mcnemar().loc[("bayes", "logistic"), "pvalue"] == pytest.approx(
        mcnemar(counts, exact=True).pvalue
    )
    scores = [fitted[name].predict_proba(X)[:, 1] for name in ("bayes", "logistic")]
    expected = delong_test(y == "normal", *scores)
    row = found.delong().xs(("bayes", "logistic")).iloc[0]
    assert abs(row["difference"]) == pytest.approx(abs(expected.difference))
    assert row["pvalue"] == pytest.approx(expected.pvalue)


def test_permutation_test_exchanges_whole_groups():
    X, y, groups = INSIDE
    outside = site("B", 7, 5, share=0.43)
    found = compare_models(
        {"majority": DummyClassifier(), "logistic": LogisticRegression()},
        X,
        y,
        groups=groups,
        cv=2,
        external={"B": outside},
        random_state=0,
    ).external["B"]
    said = [found.out_of_fold(name)["y_pred"].to_numpy() for name in ("logistic", "majority")]
    patient = np.unique(outside[2], return_inverse=True)[1]

    def difference(swap):
        one = np.where(np.asarray(swap)[patient], said[1], said[0])
        two = np.where(np.asarray(swap)[patient], said[0], said[1])
        scores = [
            f1_score(outside[1], part, average="macro", zero_division=0) for part in (one, two)
        ]
        return scores[0] - scores[1]

    # All 128 exchanges of seven patients.
    every = np.array([difference(swap) for swap in itertools.product([False, True], repeat=7)])
    observed = difference([False] * 7)
    tails = np.mean(every >= observed - 1e-12), np.mean(every <= observed + 1e-12)
    row = found.permutation().loc[("logistic", "majority")]
    assert row["difference"] == pytest.approx(observed)
    assert row["pvalue"] == pytest.approx(min(1, 2 * min(tails)))
    assert row["n_independent"] == 7


def test_permutation_test_of_accuracy_is_mcnemars(comparison):
    found = comparison.external["site C"]
    by_exchange = found.permutation(metric="accuracy", reference="majority")["pvalue"]
    exact = found.mcnemar(reference="majority")["pvalue"]
    np.testing.assert_allclose(by_exchange, exact, atol=0.02)


def test_areas_are_exchanged_by_rank_whatever_the_scale():
    class Squeezed(LogisticRegression):
        """The same order of cases, on another scale."""

        def predict_proba(self, X):
            second = 0.9 + 0.1 * super().predict_proba(X)[:, 1]
            return np.column_stack([1 - second, second])

    models = {"plain": LogisticRegression(), "squeezed": Squeezed()}
    X, y, _ = INSIDE
    found = compare_models(models, X, y, cv=2, external={"B": B[:2]}, random_state=0).external["B"]
    assert found.permutation(metric="roc_auc_ovr").iloc[0]["pvalue"] == 1
    assert found.permutation(metric="log_loss").iloc[0]["pvalue"] < 0.01


@pytest.mark.slow
def test_no_claim_from_models_that_know_nothing():
    """Two models of noise on three patients with the rare class: at most 5 % claims."""
    rng = np.random.default_rng(0)

    class Noise(ClassifierMixin, BaseEstimator):
        def __init__(self, seed=0):
            self.seed = seed

        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return np.random.default_rng(self.seed).integers(0, 2, len(X))

    claims = []
    X, y = np.zeros((40, 1)), np.repeat([0, 1], 20)
    patient = np.repeat(np.arange(12), 4)
    truth = np.repeat(np.arange(12) < 3, 4).astype(int)
    for _ in range(40):
        seeds = rng.integers(0, 10**6, 2).tolist()
        models = {"a": Noise(seeds[0]), "b": Noise(seeds[1])}
        found = compare_models(
            models,
            X,
            y,
            cv=2,
            scoring="f1_macro",
            external={"B": (np.zeros((48, 1)), truth, patient)},
            random_state=0,
        ).external["B"]
        claims.append(found.permutation()["pvalue"].iloc[0] < 0.05)
    assert np.sum(claims) <= 6  # binomial(40, 0.05) exceeds 6 with probability 0.003


def test_one_given_split_is_validation_on_that_set_alone():
    X, y, groups = (np.concatenate(parts) for parts in zip(INSIDE, B, strict=True))
    n = len(INSIDE[1])
    split = [(np.arange(n), np.arange(n, len(y)))]
    given = compare_models(MODELS, X, y, groups=groups, cv=split, random_state=0)
    external = compare_models(
        MODELS, *INSIDE[:2], groups=INSIDE[2], cv=2, external={"B": B}, random_state=0
    ).external["B"]
    pd.testing.assert_frame_equal(given.table(), external.table())
    for method in ("permutation", "mcnemar", "delong"):
        pd.testing.assert_frame_equal(getattr(given, method)(), getattr(external, method)())
    assert np.isfinite(given.permutation()["pvalue"]).all()
    assert "Validation on one test set, 50 cases of 25 groups" in repr(given)
    for refused in (given.bayesian, given.ttest):
        with pytest.raises(ValueError, match="there is one test set: use permutation"):
            refused()
    pooled = given.bootstrap(random_state=given.seed)
    np.testing.assert_allclose(pooled["estimate"], given.table("f1_macro")["f1_macro", "mean"])
    one = compare_models(MODELS, X, y, cv=ShuffleSplit(1, random_state=0), random_state=0)
    assert one.splits.one_test_set


def test_training_cases_are_no_part_of_the_bootstrap():
    X, y, _ = INSIDE
    test = np.r_[0:12, 40:55]
    split = [(np.setdiff1d(np.arange(80), test), test)]
    found = compare_models(MODELS, X, y, cv=split, scoring="accuracy", random_state=0)
    row = found.bootstrap(n_resamples=4000, random_state=0).loc["logistic"]
    hits = round(row["estimate"] * 27)
    low, high = binom.ppf([0.025, 0.975], 27, hits / 27) / 27
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((low, high), abs=0.06)


@pytest.mark.parametrize("kind", ["external", "split"])
def test_the_page_says_what_it_is(comparison, kind, tmp_path):
    if kind == "split":
        X, y, groups = (np.concatenate(parts) for parts in zip(INSIDE, B, strict=True))
        split = [(np.arange(80), np.arange(80, len(y)))]
        comparison = compare_models(MODELS, X, y, groups=groups, cv=split, random_state=0)
    text = shown(comparison, tmp_path / "page.html", n_resamples=20)
    assert "nan" not in re.findall(r"\w+", text.lower())
    assert "\N{EN DASH} to \N{EN DASH}" not in text
    assert "over 1 folds" not in text
    if kind == "split":
        assert "Validation on one test set, 50 cases of 25 groups; models fitted on 80" in text
        assert "abnormal 20 (40%)" in text
        for wrong in ("External", "cross-validation", "Nadeau", "Bayesian", "folds"):
            assert wrong not in text, wrong
        return
    assert "external validation on site B, site C" in text
    assert "External validation on site B, 50 cases of 25 groups; models fitted on all 80" in text
    assert "External validation on site C, 60 cases; models fitted on all 80 internal" in text
    row = comparison.external["site B"].table("f1_macro").loc["bayes"]["f1_macro"]
    assert f"{row['mean']:.3f} ({row['ci_low']:.3f} to {row['ci_high']:.3f})" in text
    assert "permutation test, in which the two predictions of each group are exchanged" in text
    assert (tmp_path / "page.html").read_text("utf-8").count("<img") == 15


def test_markdown_and_latex_say_what_they_are(comparison):
    text = comparison.external["site B"].to_markdown(["f1_macro", "roc_auc_ovr"])
    assert text.rstrip().endswith(
        "External validation on site B, 50 cases of 25 groups; models fitted on all 80 internal "
        "cases. Score with 95% confidence interval by group, which takes the fitted models as "
        "given."
    )
    assert "±" not in text
    assert "| majority | " in text
    assert "0.500 |" in text  # an area of guessing has no interval
    assert "External validation on site B" in comparison.external["site B"].to_latex("f1_macro")


def test_the_card_says_what_it_is(comparison, fitted):
    card = skcyto.model_card(fitted["logistic"], comparison)
    assert "those on cases of elsewhere (site B, site C) stand under External" in card
    assert "## External validation on site B" in card
    part = card[card.index("## External validation on site B") :]
    row = comparison.external["site B"].table("accuracy").loc["logistic", "accuracy"]
    assert f"| accuracy | {row['mean']:.3f} | {row['ci_low']:.3f} to {row['ci_high']:.3f} |" in part
    alone = skcyto.model_card(fitted["logistic"], comparison.external["site B"])
    assert "The scores are of external validation on site B." in alone
    assert "## Folds" not in alone
    assert "80 training cases. Tested: 50 cases, of 25 groups" in alone
    assert "There was no cross-validation on these cases" in alone
    assert "nan" not in alone.lower().split()


class Counting(LogisticRegression):
    """Says in a file that it was fitted."""

    def __init__(self, file="", C=1.0):
        super().__init__(C=C)
        self.file = file

    def fit(self, X, y):
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(f"{len(X)}\n")
        return super().fit(X, y)


def test_one_fit_serves_all_sets_and_a_checkpoint_keeps_it(tmp_path):
    X, y, groups = INSIDE
    file = tmp_path / "fits"
    models = {"a": Counting(str(file)), "b": Counting(str(file), C=0.01)}

    def run(**sets):
        file.write_text("")
        found = compare_models(
            models,
            X,
            y,
            groups=groups,
            cv=2,
            external=sets,
            checkpoint=tmp_path / "checkpoint",
            random_state=0,
        )
        return found, file.read_text().split().count("80")

    first, fits = run(B=B, C=site("C", 30, 2))
    assert fits == 2
    again, fits = run(B=B, C=site("C", 30, 2))
    assert fits == 0
    for name in ("B", "C"):
        pd.testing.assert_frame_equal(first.external[name].scores, again.external[name].scores)
    assert run(B=B, D=site("D", 20, 3))[1] == 2  # a new set needs the models again
    assert run(B=(B[0] + 1, *B[1:]))[1] == 2


def test_any_number_of_jobs_gives_the_same(comparison):
    X, y, groups = INSIDE
    found = compare_models(
        MODELS, X, y, groups=groups, cv=3, external={"site B": B}, n_jobs=2, random_state=0
    )
    pd.testing.assert_frame_equal(
        found.external["site B"].scores, comparison.external["site B"].scores
    )


def test_scorers_of_the_fitted_model_see_the_external_cases():
    def n_cases(estimator, X, y):
        return len(X)

    X, y, _ = INSIDE
    found = compare_models(MODELS, X, y, cv=2, scoring=n_cases, external={"B": B}, random_state=0)
    table = found.external["B"].table()
    assert table.loc["bayes", ("n_cases", "mean")] == 50
    assert np.isnan(table.loc["bayes", ("n_cases", "ci_low")])
    assert found.external["B"].permutation()["pvalue"].isna().all()


class Refuses(GaussianNB):
    """Can't predict what it finds elsewhere, or can't be fitted to all."""

    def __init__(self, most=1000, fitted=1000):
        super().__init__()
        self.most = most
        self.fitted = fitted

    def fit(self, X, y):
        if len(X) > self.fitted:
            raise RuntimeError("too many")
        return super().fit(X, y)

    def predict(self, X):
        if len(X) == self.most:
            raise RuntimeError("another scanner")
        return super().predict(X)


@pytest.mark.parametrize("bad", [Refuses(most=50), Refuses(fitted=70)])
def test_a_failure_elsewhere_leaves_the_rest(bad, tmp_path):
    X, y, groups = INSIDE
    models = {"bad": bad, "logistic": LogisticRegression()}
    with pytest.warns(FitFailedWarning, match=r"left out on external\['B'\].*'bad'"):
        found = compare_models(models, X, y, groups=groups, cv=2, external={"B": B}, random_state=0)
    assert found.models == ["bad", "logistic"]
    assert found.external["B"].models == ["logistic"]
    text = shown(found, tmp_path / "page.html", n_resamples=0)
    assert "These candidates failed here" in text
    assert "logistic 0." in text
    card = skcyto.model_card(Refuses(**bad.get_params()).fit(X[:60], y[:60]), found)
    assert "The model failed there: RuntimeError" in card
    with pytest.warns(FitFailedWarning):
        alone = compare_models({"bad": bad}, X, y, cv=2, external={"B": B}, random_state=0)
    assert "RuntimeError" in shown(alone, tmp_path / "page.html")


def test_a_class_that_an_external_set_lacks(tmp_path):
    X, y, _ = INSIDE
    some = B[1] == "normal"
    with pytest.warns(MissingClassWarning, match=r"external\['B'\] lacks class 'abnormal'"):
        found = compare_models(
            MODELS, X, y, cv=2, external={"B": (B[0][some], B[1][some])}, random_state=0
        )
    table = found.external["B"].table()
    assert np.isnan(table.loc["logistic", ("roc_auc_ovr", "mean")])
    assert np.isnan(table.loc["logistic", ("recall[abnormal]", "mean")])
    assert table.loc["majority", ("recall[normal]", "mean")] == 1
    text = shown(found, tmp_path / "page.html", n_resamples=0)
    assert "nan" not in re.findall(r"\w+", text.lower())
    assert "the test set lacks a class" in text


FRAME = pd.DataFrame(INSIDE[0], columns=["area", "ratio", "grey"])


@pytest.mark.parametrize(
    ("X", "external", "error", "message"),
    [
        (INSIDE[0], [B], TypeError, "external must be a dict of names"),
        (INSIDE[0], {"B": B[0]}, TypeError, r"external\['B'\] must be \(X, y\) or"),
        (INSIDE[0], {1: B}, TypeError, "the name 1 of an external set must be a string"),
        (INSIDE[0], {"B": (B[0], B[1][:-1])}, ValueError, r"of one length, not of \[50, 49\]"),
        (
            INSIDE[0],
            {"B": (B[0], np.where(B[1] == "normal", "healthy", B[1]))},
            ValueError,
            r"labels that no internal case has.*'healthy' \(30 cases\); the internal ones are",
        ),
        (INSIDE[0], {"B": (B[0], np.arange(50) % 2)}, ValueError, r"0 \(25 cases\), 1 \(25"),
        (
            INSIDE[0],
            {"B": (B[0], B[1], np.r_[["A3"] * 2, B[2][2:]])},
            ValueError,
            r"external\['B'\] shares 1 groups with the internal data.*'A3'",
        ),
        (
            INSIDE[0],
            {"B": (B[0], B[1], np.r_[[None] * 2, B[2][2:]])},
            ValueError,
            "groups is missing for 2 cases",
        ),
        (INSIDE[0], {"B": (B[0][:, :2], B[1])}, ValueError, r"of shape \(2,\).*of \(3,\)"),
        (FRAME, {"B": B}, ValueError, "has X as ndarray, the internal data as DataFrame"),
        (
            FRAME,
            {"B": (pd.DataFrame(B[0], columns=["area", "ratio", "colour"]), B[1])},
            ValueError,
            "lacks 'grey', has 'colour', which they lack",
        ),
        (
            FRAME,
            {"B": (pd.DataFrame(B[0], columns=["ratio", "area", "grey"]), B[1])},
            ValueError,
            "in another order",
        ),
    ],
)
def test_external_data_that_do_not_fit(X, external, error, message):
    with pytest.raises(error, match=message):
        compare_models(MODELS, X, INSIDE[1], groups=INSIDE[2], cv=2, external=external)


def test_test_sets_that_no_fold_trains_on_are_not_averaged():
    X, y, _ = INSIDE
    order = np.random.default_rng(0).permutation(80)
    train, one, two = order[:40], order[40:60], order[60:]
    with pytest.raises(ValueError, match="no fold trains on: they are test sets of their own"):
        compare_models(MODELS, X, y, cv=[(train, one), (train, two)])
    a, b = order[:20], order[20:40]
    folds = [(np.r_[b, one], a), (np.r_[a, one], b), (np.r_[a, b], one)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare_models(MODELS, X, y, cv=folds, scoring="accuracy", random_state=0)
        compare_models(
            MODELS,
            X[order],
            y[order],
            cv=list(TimeSeriesSplit(3).split(X)),
            scoring="accuracy",
            random_state=0,
        )
    with pytest.warns(UserWarning, match="fold 3 of cv tests cases that no fold trains on"):
        compare_models(
            MODELS,
            X,
            y,
            cv=[*folds, (np.r_[a, b, one], two)],
            scoring="accuracy",
            random_state=0,
        )
