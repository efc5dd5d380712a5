#!/usr/bin/env python3
"""Trains models with XGBoost on scikit-learn's bundled sets, gives every row to appcore's evaluator and compares:
margins must be equal to the last bit, what is made of them to one unit in the last place of a float32.

    xgboost_parity.py DRIVER           trains and compares with the XGBoost of this Python
    xgboost_parity.py --make FOLDER    trains only; FOLDER can be taken to another machine
    xgboost_parity.py --check FOLDER DRIVER

DATA_NUMERIC names a folder with winequality-red.csv (UCI's Wine Quality, separated by semicolons); without it that set
is left out. Exits with 1 when anything differs."""
import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

REGRESSION, BINARY, MULTICLASS = "regression", "binary", "multiclass"


def wine_quality():
    folder = os.environ.get("DATA_NUMERIC")
    if not folder:
        return None
    with open(os.path.join(folder, "winequality-red.csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter=";"))[1:]
    table = np.array([[float(cell) for cell in row] for row in rows])
    return table[:, :-1], table[:, -1]


def load_sets():
    from sklearn import datasets

    sets = {
        "iris": datasets.load_iris(return_X_y=True),
        "wine": datasets.load_wine(return_X_y=True),
        "cancer": datasets.load_breast_cancer(return_X_y=True),
        "diabetes": datasets.load_diabetes(return_X_y=True),
        "digits": datasets.load_digits(return_X_y=True),
    }
    quality = wine_quality()
    if quality:
        sets["quality"] = quality
    return sets


# Set, objective, parameters, rounds, share of values that are missing.
MODELS = [
    ("diabetes", "reg:squarederror", {"max_depth": 1}, 200, 0),
    ("diabetes", "reg:squarederror", {"max_depth": 6}, 100, 0),
    ("diabetes", "reg:squarederror", {"max_depth": 6}, 100, 0.2),
    ("diabetes", "reg:squarederror", {"max_depth": 14, "min_child_weight": 0}, 50, 0),
    ("diabetes", "reg:squarederror", {"max_depth": 0, "max_leaves": 60, "grow_policy": "lossguide", "tree_method": "hist"}, 30, 0),
    ("diabetes", "reg:squarederror", {"max_depth": 4, "tree_method": "exact", "gamma": 2000}, 40, 0.1),
    ("diabetes", "reg:squarederror", {"max_depth": 5, "num_parallel_tree": 5, "subsample": 0.5, "colsample_bynode": 0.5}, 10, 0),
    ("diabetes", "reg:squaredlogerror", {"max_depth": 3}, 60, 0),
    ("diabetes", "reg:pseudohubererror", {"max_depth": 4, "base_score": 150}, 60, 0.1),
    ("diabetes", "reg:absoluteerror", {"max_depth": 4}, 60, 0.1),
    ("diabetes", "reg:gamma", {"max_depth": 4}, 80, 0),
    ("diabetes", "reg:tweedie", {"max_depth": 4, "tweedie_variance_power": 1.3}, 80, 0.3),
    ("diabetes", "count:poisson", {"max_depth": 5}, 80, 0),
    ("diabetes", "count:poisson", {"max_depth": 5, "base_score": 100}, 80, 0.2),
    ("diabetes", "rank:pairwise", {"max_depth": 4}, 40, 0),
    ("diabetes", "rank:ndcg", {"max_depth": 4}, 40, 0.1),
    ("diabetes", "survival:cox", {"max_depth": 3}, 30, 0),
    ("diabetes", "survival:aft", {"max_depth": 3}, 30, 0),
    ("cancer", "reg:logistic", {"max_depth": 4}, 60, 0),
    ("cancer", "binary:logistic", {"max_depth": 3}, 100, 0),
    ("cancer", "binary:logistic", {"max_depth": 6}, 100, 0.2),
    ("cancer", "binary:logistic", {"max_depth": 6, "base_score": 0.37, "eta": 1.0}, 60, 0.5),
    ("cancer", "binary:logistic", {"max_depth": 12, "min_child_weight": 0, "lambda": 0.01}, 60, 0),
    ("cancer", "binary:logitraw", {"max_depth": 4, "base_score": 0.25}, 60, 0.1),
    ("cancer", "binary:hinge", {"max_depth": 4}, 40, 0.1),
    ("iris", "multi:softprob", {"max_depth": 3}, 60, 0),
    ("iris", "multi:softmax", {"max_depth": 6}, 60, 0.2),
    ("wine", "multi:softprob", {"max_depth": 2}, 80, 0),
    ("wine", "multi:softprob", {"max_depth": 6, "base_score": 0.1}, 80, 0.3),
    ("wine", "multi:softmax", {"max_depth": 4, "num_parallel_tree": 3, "subsample": 0.6}, 15, 0),
    ("digits", "multi:softprob", {"max_depth": 6}, 20, 0),
    ("digits", "multi:softprob", {"max_depth": 3}, 40, 0.4),
    ("digits", "multi:softmax", {"max_depth": 10}, 10, 0),
    ("quality", "reg:squarederror", {"max_depth": 6}, 100, 0),
    ("quality", "reg:squarederror", {"max_depth": 10}, 500, 0),
    ("quality", "reg:squarederror", {"max_depth": 6}, 100, 0.2),
    ("quality", "binary:logistic", {"max_depth": 6}, 100, 0),
    ("quality", "multi:softprob", {"max_depth": 6}, 50, 0.1),
    ("quality", "count:poisson", {"max_depth": 8}, 100, 0),
]


def output_of(objective):
    if objective.startswith("binary:"):
        return BINARY
    if objective.startswith("multi:"):
        return MULTICLASS
    return {"count": "count", "rank": "ranking"}.get(objective.split(":")[0], REGRESSION)


def labels_of(name, objective, target):
    """What the objective can learn from."""
    if objective.startswith(("binary:", "reg:logistic")):
        return (target >= 6 if name == "quality" else target > 0).astype(float)
    if objective.startswith("multi:"):
        return target - target.min()
    return target


def train(xgboost, features, name, objective, parameters, rounds, target):
    labels = labels_of(name, objective, target)
    data = xgboost.DMatrix(features, label=labels)
    parameters = dict(parameters, objective=objective, nthread=2, seed=7)
    parameters.setdefault("eta", 0.2)
    if objective.startswith("multi:"):
        parameters["num_class"] = int(labels.max()) + 1
    if objective.startswith("rank:"):
        data.set_group([13] * (len(labels) // 13))
        data.set_label(np.floor(labels / 100))
    if objective == "survival:aft":
        data.set_float_info("label_lower_bound", labels)
        data.set_float_info("label_upper_bound", labels * 1.1)
    return xgboost.train(parameters, data, rounds), data, parameters.get("num_class", 0)


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)


def make_one(xgboost, folder, features, objective, trained):
    booster, data, classes = trained
    os.makedirs(folder)
    path = os.path.join(folder, "model.json")
    booster.save_model(path)
    with open(path, "rb") as file:
        digest = hashlib.blake2b(file.read(), digest_size=32).hexdigest()
    output = {"type": output_of(objective), "name": "y"}
    if output["type"] == BINARY:
        output["classes"] = ["no", "yes"]
    elif output["type"] == MULTICLASS:
        output["classes"] = [f"class {i}" for i in range(classes)]
    inputs = [{"name": f"f{i}", "type": "number"} for i in range(features.shape[1])]
    write_json(os.path.join(folder, "manifest.json"), {
        "appcore": 1, "kind": "xgboost", "file": "model.json", "hash": digest, "inputs": inputs, "output": output})
    with open(os.path.join(folder, "rows.jsonl"), "w", encoding="utf-8") as file:
        for row in features:
            file.write(json.dumps([None if np.isnan(x) else float(x) for x in row]) + "\n")
    margins = booster.predict(data, output_margin=True).astype(float)
    write_json(os.path.join(folder, "expected.json"), {
        "margins": margins.reshape(len(features), -1).tolist(),
        "predictions": booster.predict(data).astype(float).tolist(),
        "xgboost": xgboost.__version__,
        "objective": objective,
        "trees": len(booster.get_dump())})


def make(folder):
    import xgboost

    sets = load_sets()
    made = 0
    for number, (name, objective, parameters, rounds, missing) in enumerate(MODELS):
        if name not in sets:
            continue
        features, target = sets[name]
        features = features.astype(float)
        if objective.startswith("rank:"):
            n = len(features) // 13 * 13
            features, target = features[:n], target[:n]
        if missing:
            holes = np.random.RandomState(number).random_sample(features.shape) < missing
            features = np.where(holes, np.nan, features)
        title = f"{number:02d} {name} {objective.replace(':', '-')} depth {parameters.get('max_depth')} missing {missing}"
        trained = train(xgboost, features, name, objective, parameters, rounds, target)
        make_one(xgboost, os.path.join(folder, title), features, objective, trained)
        made += 1
    return made


def places_apart(a, b):
    """Of float32 values, units in the last place."""
    def ordered(values):
        bits = np.asarray(values, dtype=np.float32).view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    return int(np.max(np.abs(ordered(a) - ordered(b)))) if len(a) else 0


def compare(folder, driver):
    with open(os.path.join(folder, "expected.json"), encoding="utf-8") as file:
        expected = json.load(file)
    with open(os.path.join(folder, "rows.jsonl"), encoding="utf-8") as file:
        run = subprocess.run([driver, folder], stdin=file, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        return expected, 0, -1, -1, run.stderr.strip()
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    margins = np.array([answer["margins"] for answer in answers])
    wanted = np.array(expected["margins"])
    if margins.shape != wanted.shape:
        return expected, len(answers), -1, -1, "as many rows or margins as expected did not come"
    differ = int(np.sum(margins != wanted))
    predictions = np.array(expected["predictions"])
    objective = expected["objective"]
    if objective == "multi:softprob":
        ours = np.array([answer["probabilities"] for answer in answers])
        wrong = [answer["label"] for answer in answers] != np.argmax(predictions, axis=1).tolist()
    else:
        ours = np.array([answer["result"] for answer in answers])
        wrong = False
        if objective == "binary:logitraw":
            predictions = (1 / (1 + np.exp(-predictions.astype(np.float32)))).astype(np.float32)
    ulps = places_apart(ours.ravel(), predictions.ravel())
    why = "labels differ" if wrong else ""
    return expected, len(answers), differ, ulps, why


def check(folder, driver):
    failed = 0
    names = sorted(os.listdir(folder))
    print(f"{'model':58} {'XGBoost':>8} {'trees':>6} {'rows':>5} {'margins that differ':>20} {'ulps':>5}")
    for name in names:
        expected, rows, differ, ulps, why = compare(os.path.join(folder, name), driver)
        # The reference for raw margins as probabilities is numpy's exp, not XGBoost's.
        allowed = 2 if expected["objective"] == "binary:logitraw" else 1
        bad = differ != 0 or ulps > allowed or why
        failed += bool(bad)
        print(f"{name:58} {expected['xgboost']:>8} {expected['trees']:>6} {rows:>5} {differ:>20} {ulps:>5}"
              f"{'  FAIL ' + why if bad else ''}")
    print(f"parity with XGBoost: {len(names) - failed} models agree, {failed} differ")
    return 1 if failed or not names else 0


def main():
    parser = argparse.ArgumentParser(description="Compares appcore with XGBoost.")
    parser.add_argument("--make", metavar="FOLDER")
    parser.add_argument("--check", metavar="FOLDER")
    parser.add_argument("driver", nargs="?")
    options = parser.parse_args()
    if options.make:
        print(f"{make(options.make)} models made")
        return 0
    if options.check:
        return check(options.check, options.driver)
    with tempfile.TemporaryDirectory(prefix="appcore-parity-") as folder:
        make(folder)
        return check(folder, options.driver)


if __name__ == "__main__":
    sys.exit(main())
