"""scikit-learn on the pairs and folds of tests/few_pairs: Kendall's tau within folds, as the example few_pairs has it.

    python few_pairs_peers.py 10        # needs numpy, scipy and scikit-learn
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau
from sklearn.ensemble import RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
from sklearn.linear_model import LassoCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

FOLDS = 5
KINDS = {
    "RidgeCV": lambda: RidgeCV(alphas=np.logspace(-1, 5, 25)),
    "LassoCV": lambda: LassoCV(cv=4, max_iter=3000),
    "SVR": lambda: SVR(C=1.0, epsilon=0.1),
    "GaussianProcess": lambda: GaussianProcessRegressor(
        ConstantKernel() * DotProduct() + ConstantKernel() * RBF(10.0, (1.0, 1e3)) + WhiteKernel()
    ),
    "RandomForest": lambda: RandomForestRegressor(100, max_features=1 / 3, random_state=0),
}


def tau(truth, predicted):
    value = kendalltau(truth, predicted)[0]
    return 0.0 if np.isnan(value) else value


def main():
    warnings.filterwarnings("ignore")
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    files = sorted((Path(__file__).parent.parent / "tests" / "few_pairs").glob("*.jsonl"))
    print("| pairs |", " | ".join(KINDS), "|\n|---" + "|---" * len(KINDS) + "|")
    means = []
    for file in files:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        x = np.array([line["features"] for line in lines])
        y = np.array([line["top1"] for line in lines])
        folds = np.array([line["folds"] for line in lines])
        taus = {kind: [] for kind in KINDS}
        for repeat in range(repeats):
            for fold in range(FOLDS):
                test = folds[:, repeat] == fold
                mean, deviation = y[~test].mean(), y[~test].std() or 1.0
                for kind, build in KINDS.items():
                    model = make_pipeline(StandardScaler(), build()).fit(x[~test], (y[~test] - mean) / deviation)
                    taus[kind].append(tau(y[test], model.predict(x[test])))
        means.append([np.mean(taus[kind]) for kind in KINDS])
        print(f"| {file.stem} |", " | ".join(f"{value:.3f}" for value in means[-1]), "|", flush=True)
    print("| mean |", " | ".join(f"{value:.3f}" for value in np.mean(means, axis=0)), "|")


main()
