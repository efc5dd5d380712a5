#!/usr/bin/env python3
"""Makes the small models of tests/unit/test_xgboost.c in tests/data/xgboost: NAME.json is what XGBoost saves,
NAME.expected.json has rows and XGBoost's own answers for them. Run with the Python whose XGBoost is meant; models of
other versions stay as they are, for the version is a part of the name."""
import json
import os
import sys

import numpy as np
import xgboost
from sklearn import datasets

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "xgboost")

# Name, set, objective, parameters, rounds, rows to train on, share of values that are missing, output of the manifest.
MODELS = [
    ("regression", "diabetes", "reg:squarederror", {"max_depth": 3}, 9, 400, 0.2, "regression"),
    ("deep", "diabetes", "reg:squarederror", {"max_depth": 20, "min_child_weight": 0, "lambda": 0.01}, 3, 70, 0.1, "regression"),
    ("poisson", "diabetes", "count:poisson", {"max_depth": 2, "base_score": 100}, 4, 400, 0, "count"),
    ("gamma", "diabetes", "reg:gamma", {"max_depth": 2}, 3, 400, 0, "regression"),
    ("absolute", "diabetes", "reg:absoluteerror", {"max_depth": 2}, 3, 400, 0, "regression"),
    ("rank", "diabetes", "rank:pairwise", {"max_depth": 2}, 3, 400, 0, "ranking"),
    ("logistic", "cancer", "binary:logistic", {"max_depth": 3, "base_score": 0.3}, 6, 500, 0.2, "binary"),
    ("logitraw", "cancer", "binary:logitraw", {"max_depth": 2, "base_score": 0.3}, 2, 500, 0, "binary"),
    ("hinge", "cancer", "binary:hinge", {"max_depth": 2}, 2, 500, 0, "binary"),
    ("softprob", "iris", "multi:softprob", {"max_depth": 3}, 4, 150, 0.1, "multiclass"),
    ("softmax", "wine", "multi:softmax", {"max_depth": 2, "num_parallel_tree": 2, "subsample": 0.7}, 2, 170, 0, "multiclass"),
    ("pruned", "diabetes", "reg:squarederror", {"max_depth": 5, "gamma": 60000, "tree_method": "exact"}, 3, 400, 0, "regression"),
]
SETS = {
    "diabetes": datasets.load_diabetes,
    "cancer": datasets.load_breast_cancer,
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
}


def make(number, name, source, objective, parameters, rounds, rows, missing, output):
    features, target = SETS[source](return_X_y=True)
    order = np.random.RandomState(1).permutation(len(features))[:rows]
    features, target = features[order, :11], target[order]
    if missing:
        holes = np.random.RandomState(number).random_sample(features.shape) < missing
        features = np.where(holes, np.nan, features)
    data = xgboost.DMatrix(features, label=np.floor(target / 100) if output == "ranking" else target)
    parameters = dict(parameters, objective=objective, nthread=1, seed=3)
    if output == "multiclass":
        parameters["num_class"] = 3
    if output == "ranking":
        data.set_group([20] * 20)
    booster = xgboost.train(parameters, data, rounds)
    path = os.path.join(FOLDER, f"{name}_{xgboost.__version__}")
    booster.save_model(path + ".json")
    shown = xgboost.DMatrix(features[:25])
    margins = booster.predict(shown, output_margin=True).astype(float).reshape(25, -1)
    answers = booster.predict(shown).astype(float).reshape(25, -1)
    rows = [[None if np.isnan(x) else float(x) for x in row] for row in features[:25]]
    with open(path + ".expected.json", "w", encoding="utf-8") as file:
        lines = ",\n".join(json.dumps({"input": row, "margins": list(margin), "answers": list(answer)})
                           for row, margin, answer in zip(rows, margins, answers))
        file.write(f'{{"output": "{output}", "width": {features.shape[1]}, "rows": [\n{lines}\n]}}\n')


def main():
    os.makedirs(FOLDER, exist_ok=True)
    wanted = sys.argv[1:]
    for number, model in enumerate(MODELS):
        if not wanted or model[0] in wanted:
            make(number, *model)


if __name__ == "__main__":
    main()
