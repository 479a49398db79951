"""Site effects before and after ComBat, in rows that it was not fitted on.

Needs combatlearn, which skcyto does not depend on.

    python benchmarks/sites.py
"""

import warnings

import numpy as np
import pandas as pd
from combatlearn import ComBat
from scipy.stats import f_oneway
from sklearn.model_selection import StratifiedKFold
from statsmodels.stats.multitest import multipletests


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


def main():
    warnings.simplefilter("ignore")
    print("| rows outside the fit | variance between sites, median | features with p < 0.05 |")
    print("|---|---|---|")
    for when, frame in effects_in_folds(*make_table(effect=0.8)).items():
        share, found = frame["share"].median(), (frame["pvalue"] < 0.05).mean()
        print(f"| {when} ComBat | {share:.3f} | {found:.0%} |")


if __name__ == "__main__":
    main()
