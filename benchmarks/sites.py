"""Site effects before and after ComBat inside the fold, and what labels as covariates do.

Needs combatlearn, which skcyto does not depend on.

    python benchmarks/sites.py
"""

import argparse
import warnings

import numpy as np
import pandas as pd
from combatlearn import ComBat
from scipy.stats import f_oneway
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.multitest import multipletests

from skcyto.metrics import macro_roc_auc_score


def make_table(n_cases=150, n_features=60, effect=0.0, random_state=0):
    """Draw features of three sites that differ in mean and spread, and two classes.

    The classes are as frequent in each site; `effect` moves the first ten features of a class.
    """
    rng = np.random.default_rng(random_state)
    names = [f"case_{i}" for i in range(n_cases)]
    site = pd.Series(rng.choice(["A", "B", "C"], n_cases, p=[0.5, 0.3, 0.2]), index=names)
    y = np.zeros(n_cases, dtype=int)
    for each in "ABC":
        members = np.flatnonzero(site == each)
        y[rng.permutation(members)[: len(members) // 2]] = 1
    X = rng.normal(size=(n_cases, n_features))
    X[:, :10] += effect * y[:, None]
    for each in "BC":
        members = (site == each).to_numpy()
        X[members] = X[members] * rng.uniform(0.5, 2, n_features) + rng.normal(0, 1.5, n_features)
    table = pd.DataFrame(X, index=names, columns=[f"feature_{i}" for i in range(n_features)])
    return table, y, site


def site_effects(table, site):
    """Tabulate each feature's share of variance between sites, and its corrected p-value."""
    site = site.loc[table.index].to_numpy()
    parts = [table[site == each] for each in np.unique(site)]
    between = sum(len(part) * (part.mean() - table.mean()) ** 2 for part in parts)
    pvalue = multipletests(f_oneway(*parts).pvalue, method="fdr_bh")[1]
    share = between / ((table - table.mean()) ** 2).sum()
    return pd.DataFrame({"share": share, "pvalue": pvalue}, index=table.columns)


def effects_in_folds(table, y, site):
    """Site effects of rows that ComBat was not fitted on, before and after it."""
    before, after = [], []
    for train, test in StratifiedKFold(2, shuffle=True, random_state=0).split(table, y):
        combat = ComBat(batch=site).fit(table.iloc[train])
        before.append(site_effects(table.iloc[test], site))
        after.append(site_effects(combat.transform(table.iloc[test]), site))
    return {"before": pd.concat(before), "after": pd.concat(after)}


def auc(table, y, *steps):
    """Area under the curve of out-of-fold predictions."""
    pipeline = make_pipeline(*steps, StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found = cross_val_predict(pipeline, table, y, cv=folds, method="predict_proba")[:, 1]
    return macro_roc_auc_score(y, found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    warnings.simplefilter("ignore")
    print("| rows outside the fit | variance between sites, median | features with p < 0.05 |")
    print("|---|---|---|")
    effects = effects_in_folds(*make_table(effect=0.8))
    for when, frame in effects.items():
        share, found = frame["share"].median(), (frame["pvalue"] < 0.05).mean()
        print(f"| {when} ComBat | {share:.3f} | {found:.0%} |")
    rows = {"as they are": [], "ComBat in the fold": [], "with the class as a covariate": []}
    print(f"\n| mean AUC of {repeats} tables | no difference of classes | a difference |")
    print("|---|---|---|")
    for effect in (0.0, 0.8):
        for seed in range(repeats):
            table, y, site = make_table(effect=effect, random_state=seed)
            labels = pd.DataFrame({"y": y}, index=table.index)
            rows["as they are"].append(auc(table, y))
            rows["ComBat in the fold"].append(auc(table, y, ComBat(batch=site)))
            leaking = ComBat(batch=site, discrete_covariates=labels, method="fortin")
            rows["with the class as a covariate"].append(auc(table, y, leaking))
    for name, scores in rows.items():
        halves = np.reshape(scores, (2, repeats)).mean(axis=1)
        print(f"| {name} | {halves[0]:.3f} | {halves[1]:.3f} |")


if __name__ == "__main__":
    main()
