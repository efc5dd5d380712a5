#!/usr/bin/env python3
"""Exports a model that was trained in Python to a folder that appcore serves: manifest.json and the model's file.

    export_sklearn.py MODEL.joblib FOLDER [--data ROWS.csv --target COLUMN] [options]

    from export_sklearn import export
    export(estimator, "FOLDER", feature_names=["alcohol", "sulphates"], data=X, target=y)

Takes fitted estimators of scikit-learn (1.2 and later) and pipelines of them: linear models, logistic regression,
decision trees, forests, gradient boosting, behind imputers, scalers, encoders and column transformers; text pipelines of
a vectorizer with naive Bayes or logistic regression; and XGBoost's models. What can't be expressed exactly is refused
with a sentence. With data the manifest also gets each input's range, its distribution in training (for drift), quality
figures on these rows, and examples that appcore checks before it serves the model. Needs NumPy and scikit-learn only.

A pickled model is a program: export only files that you trust."""
import argparse
import csv
import datetime
import hashlib
import json
import math
import os
import sys
import warnings

import numpy as np

CATEGORIES_MAX, BINS, BINS_MAX, EXAMPLES = 10000, 10, 64, 5
TOLERANCE, TOLERANCE_FLOAT32 = 1e-9, 1e-6


class Refused(Exception):
    """What the format can't express."""


def kind_of(thing):
    return type(thing).__name__


def is_a(thing, *names):
    """By name, so that nothing is imported that the model does not need."""
    return any(base.__name__ in names for base in type(thing).__mro__)


def name_of(value):
    """The text of a class or category, as people write it: 1, not 1.0."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def is_missing(value):
    return value is None or (isinstance(value, (float, np.floating)) and math.isnan(value))


def numbers(array):
    return [float(value) for value in np.asarray(array, dtype=float).ravel()]


# --- preprocessing ---


class Input:
    """One input of the model: a number, or a category once an encoder has said which there are."""

    def __init__(self, name):
        self.name = name
        self.categories = None  # the values of an encoder, in its order
        self.missing_category = None  # their place of None or NaN
        self.outside = self.missing = None  # rules that follow from the steps
        self.imputed = False
        self.numeric_steps = 0

    def names(self):
        return ["(missing)" if is_missing(value) else name_of(value) for value in self.categories]


class Column:
    """One column on its way: an input, or one of its categories."""

    def __init__(self, source, category=None, mean=0.0, scale=1.0):
        self.source, self.category, self.mean, self.scale = source, category, mean, scale


class Preprocessing:
    """Follows the columns through transformers; what they do becomes the manifest's steps."""

    def __init__(self, names):
        self.inputs = [Input(name) for name in names]
        self.columns = [Column(place) for place in range(len(names))]
        self.steps = []

    def apply(self, transformer, columns):
        if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
            return columns
        if isinstance(transformer, str) and transformer == "drop":
            return []
        for name, method in TRANSFORMERS.items():
            if is_a(transformer, name):
                return method(self, transformer, columns)
        raise Refused(f"{kind_of(transformer)} can't be expressed as steps of preprocessing")

    def pipeline(self, pipeline, columns):
        for _, transformer in pipeline.steps:
            columns = self.apply(transformer, columns)
        return columns

    def column_transformer(self, transformer, columns):
        known = {name: place for place, name in enumerate(getattr(transformer, "feature_names_in_", []))}
        result = []
        for _, part, selection in transformer.transformers_:
            result += self.apply(part, [columns[place] for place in places_of(selection, len(columns), known)])
        return result

    def imputer(self, imputer, columns):
        if getattr(imputer, "add_indicator", False):
            raise Refused("SimpleImputer(add_indicator=True) can't be expressed: it adds columns")
        if not is_missing(imputer.missing_values):
            raise Refused("SimpleImputer has to impute NaN (missing_values)")
        kept, places, values = [], [], []
        for column, value in zip(columns, imputer.statistics_):
            if is_missing(value):
                continue  # nothing but missing values in training: scikit-learn drops the column
            if column.category is not None or self.inputs[column.source].categories is not None:
                raise Refused("SimpleImputer behind an encoder can't be expressed: impute first")
            self.inputs[column.source].imputed = True
            kept.append(column)
            places.append(column.source)
            values.append(value)
        if places:
            self.steps.append(("impute", places, values))
        return kept

    def scale(self, columns, means, scales):
        numeric = [(column, mean, scale) for column, mean, scale in zip(columns, means, scales) if column.category is None]
        for column, _, _ in numeric:
            if self.inputs[column.source].categories is not None:
                raise Refused("a scaler over ordinal categories can't be expressed")
            self.inputs[column.source].numeric_steps += 1
        if numeric:
            self.steps.append(("standardise", [column.source for column, _, _ in numeric],
                               [[float(mean) for _, mean, _ in numeric], [float(scale) for _, _, scale in numeric]]))
        return [column if column.category is None else
                Column(column.source, column.category, column.scale * mean + column.mean, column.scale * scale)
                for column, mean, scale in zip(columns, means, scales)]

    def standard_scaler(self, scaler, columns):
        zeros, ones = np.zeros(len(columns)), np.ones(len(columns))
        return self.scale(columns, scaler.mean_ if scaler.with_mean else zeros, scaler.scale_ if scaler.with_std else ones)

    def min_max_scaler(self, scaler, columns):
        if getattr(scaler, "clip", False):
            raise Refused("MinMaxScaler(clip=True) can't be expressed")
        return self.scale(columns, -scaler.min_ / scaler.scale_, 1 / scaler.scale_)

    def max_abs_scaler(self, scaler, columns):
        return self.scale(columns, np.zeros(len(columns)), scaler.scale_)

    def robust_scaler(self, scaler, columns):
        return self.scale(columns, scaler.center_ if scaler.with_centering else np.zeros(len(columns)),
                          scaler.scale_ if scaler.with_scaling else np.ones(len(columns)))

    def encode(self, column, categories, strict):
        source = self.inputs[column.source]
        if column.category is not None or source.categories is not None or source.numeric_steps:
            raise Refused(f"the input {source.name} is encoded after another step")
        if len(categories) > CATEGORIES_MAX:
            raise Refused(f"the input {source.name} has {len(categories)} categories, {CATEGORIES_MAX} are allowed")
        source.categories = list(categories)
        if len(set(source.names())) != len(source.categories):
            raise Refused(f"two categories of the input {source.name} are written alike")
        missing = [place for place, value in enumerate(source.categories) if is_missing(value)]
        source.outside = "refuse" if strict else "allow"
        source.missing = "refuse" if strict and not missing and not source.imputed else "allow"
        if missing:
            self.steps.append(("impute", [column.source], [source.categories[missing[0]]]))

    def one_hot_encoder(self, encoder, columns):
        if getattr(encoder, "infrequent_categories_", None) is not None and any(
                part is not None for part in encoder.infrequent_categories_):
            raise Refused("OneHotEncoder with infrequent categories can't be expressed")
        result = []
        for place, (column, categories) in enumerate(zip(columns, encoder.categories_)):
            self.encode(column, categories, encoder.handle_unknown == "error")
            self.steps.append(("one_hot", [column.source], None))
            dropped = None if encoder.drop_idx_ is None else encoder.drop_idx_[place]
            result += [Column(column.source, category) for category in range(len(categories)) if category != dropped]
        return result

    def ordinal_encoder(self, encoder, columns):
        strict = encoder.handle_unknown == "error"
        if not strict and encoder.unknown_value != -1:
            raise Refused("OrdinalEncoder needs unknown_value=-1, the number of a category that is not known")
        for column, categories in zip(columns, encoder.categories_):
            if any(is_missing(value) for value in categories):
                if not is_missing(getattr(encoder, "encoded_missing_value", math.nan)):
                    raise Refused("OrdinalEncoder needs encoded_missing_value=NaN")
                categories = [value for value in categories if not is_missing(value)]
                self.encode(column, categories, strict)
                self.inputs[column.source].missing = "allow"
            else:  # a missing value would be an unknown category to scikit-learn
                self.encode(column, categories, strict)
                self.inputs[column.source].missing = "allow" if self.inputs[column.source].imputed else "refuse"
        return columns

    def selector(self, selector, columns):
        return [column for column, kept in zip(columns, selector.get_support()) if kept]

    def function(self, transformer, columns):
        if transformer.func is not None:
            raise Refused("FunctionTransformer can't be expressed")
        return columns

    # --- what comes of it ---

    def layout(self):
        """The place of each input's first column in the manifest's order, and how many there are."""
        encoded = {places[0] for step, places, _ in self.steps if step == "one_hot"}
        first, n = [], 0
        for place, source in enumerate(self.inputs):
            first.append(n)
            n += len(source.categories) if place in encoded else 1
        return first, n

    def places(self):
        first, n = self.layout()
        return [first[column.source] + (column.category or 0) for column in self.columns], n

    def spread(self, coefficients, intercepts):
        """Rows of coefficients over the manifest's columns; scaled categories go into them."""
        places, n = self.places()
        rows = np.zeros((len(coefficients), n))
        intercepts = np.array(intercepts, dtype=float)
        for column, place in enumerate(places):
            weights = np.asarray(coefficients)[:, column] / self.columns[column].scale
            rows[:, place] += weights
            intercepts -= weights * self.columns[column].mean
        return rows, intercepts

    def manifest_steps(self):
        result = []
        for step, places, values in self.steps:
            names = [self.inputs[place].name for place in places]
            if step == "one_hot":
                result.append({"step": step, "input": names[0]})
            elif step == "standardise":
                result.append({"step": step, "inputs": names, "means": values[0], "scales": values[1]})
            else:
                result.append({"step": step, "inputs": names,
                               "values": [self.imputed(place, value) for place, value in zip(places, values)]})
        return result

    def imputed(self, place, value):
        source = self.inputs[place]
        if source.categories is None:
            return float(value)
        for category, name in zip(source.categories, source.names()):
            if category == value or (is_missing(category) and is_missing(value)):
                return name
        raise Refused(f"what is imputed for {source.name} is none of its categories")


TRANSFORMERS = {
    "Pipeline": Preprocessing.pipeline,
    "ColumnTransformer": Preprocessing.column_transformer,
    "SimpleImputer": Preprocessing.imputer,
    "StandardScaler": Preprocessing.standard_scaler,
    "MinMaxScaler": Preprocessing.min_max_scaler,
    "MaxAbsScaler": Preprocessing.max_abs_scaler,
    "RobustScaler": Preprocessing.robust_scaler,
    "OneHotEncoder": Preprocessing.one_hot_encoder,
    "OrdinalEncoder": Preprocessing.ordinal_encoder,
    "SelectorMixin": Preprocessing.selector,
    "FunctionTransformer": Preprocessing.function,
}


def places_of(selection, n, known):
    """The columns that a part of a ColumnTransformer works on."""
    if isinstance(selection, slice) and isinstance(selection.start or selection.stop, str):
        raise Refused("a ColumnTransformer with a slice of names can't be expressed: list the names")
    if isinstance(selection, slice):
        return list(range(n))[selection]
    if isinstance(selection, (str, int, np.integer)):
        selection = [selection]
    selection = list(selection)
    if selection and isinstance(selection[0], (bool, np.bool_)):
        return [place for place, taken in enumerate(selection) if taken]
    return [known[item] if isinstance(item, str) else int(item) for item in selection]


# --- models: each gives (kind, file, output type, classes) ---

REGRESSIONS = ("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "LassoLars", "Lars", "ElasticNet", "ElasticNetCV",
               "SGDRegressor", "HuberRegressor", "BayesianRidge", "ARDRegression", "OrthogonalMatchingPursuit",
               "TheilSenRegressor", "LinearSVR", "PassiveAggressiveRegressor", "QuantileRegressor")
LOGARITHMIC = ("PoissonRegressor", "GammaRegressor", "TweedieRegressor")
LOGISTIC = ("LogisticRegression", "SGDClassifier", "LinearDiscriminantAnalysis")
FORESTS = ("RandomForestRegressor", "RandomForestClassifier", "ExtraTreesRegressor", "ExtraTreesClassifier",
           "DecisionTreeRegressor", "DecisionTreeClassifier")


def class_names(classes):
    if np.ndim(classes[0]) > 0 or isinstance(classes, list):
        raise Refused("a model with several outputs can't be expressed")
    names = [name_of(value) for value in classes]
    if len(set(names)) != len(names):
        raise Refused("two classes are written alike")
    if len(names) < 2:
        raise Refused("a classifier needs two classes at least")
    return names


def linear_file(preprocessing, coefficients, intercepts, link):
    coefficients, intercepts = preprocessing.spread(np.atleast_2d(coefficients), np.ravel(intercepts))
    return {"format": "appcore linear 1", "link": link, "coefficients": coefficients.tolist(),
            "intercepts": intercepts.tolist()}


def full_intercepts(estimator, rows):
    return np.broadcast_to(np.ravel(np.asarray(estimator.intercept_, dtype=float)), (rows,))


def export_regression(estimator, preprocessing):
    coefficients = np.atleast_2d(estimator.coef_)
    if coefficients.shape[0] != 1:
        raise Refused("a model with several outputs can't be expressed")
    output, link = "regression", "identity"
    if is_a(estimator, *LOGARITHMIC):
        power = getattr(estimator, "power", None)
        link = getattr(estimator, "link", "auto")
        link = "identity" if link == "identity" or (link == "auto" and power is not None and power <= 0) else "exp"
        output = "count" if is_a(estimator, "PoissonRegressor") else "regression"
    return "linear", linear_file(preprocessing, coefficients, full_intercepts(estimator, 1), link), output, None


def logistic_rows(estimator):
    """Coefficients, intercepts and link of a classifier's probabilities."""
    n = len(estimator.classes_)
    coefficients = np.atleast_2d(estimator.coef_)
    intercepts = full_intercepts(estimator, coefficients.shape[0])
    if is_a(estimator, "LinearDiscriminantAnalysis"):
        return coefficients, intercepts, "logistic" if n == 2 else "softmax"
    if is_a(estimator, "SGDClassifier"):
        if estimator.loss not in ("log", "log_loss"):
            raise Refused(f"SGDClassifier(loss=\"{estimator.loss}\") can't be expressed: only log_loss has probabilities")
        return coefficients, intercepts, "logistic" if n == 2 else "ovr"
    scheme = getattr(estimator, "multi_class", "auto")
    one_each = scheme in ("ovr", "warn") or (scheme != "multinomial" and (n == 2 or estimator.solver == "liblinear"))
    if n == 2:  # the softmax of (-x, x) is the logistic function of 2 x
        return (coefficients, intercepts, "logistic") if one_each else (2 * coefficients, 2 * intercepts, "logistic")
    return coefficients, intercepts, "ovr" if one_each else "softmax"


def export_logistic(estimator, preprocessing):
    names = class_names(estimator.classes_)
    output = "binary" if len(names) == 2 else "multiclass"
    return "logistic", linear_file(preprocessing, *logistic_rows(estimator)), output, names


class Trees:
    """The trees of a file; features are the estimator's columns, on the way they become the manifest's."""

    def __init__(self, preprocessing):
        self.preprocessing = preprocessing
        self.places, self.n = preprocessing.places()
        self.trees = []

    def threshold(self, column, threshold, as_float):
        """Of a category's column, which is 0 or 1 and may be scaled: one that decides the same without the scaling."""
        column = self.preprocessing.columns[column]
        if column.category is None:
            return min(float(threshold), sys.float_info.max)  # infinite: a split between numbers and missing values
        sides = [((value - column.mean) / column.scale) for value in (0.0, 1.0)]
        zero, one = [(np.float32(side) if as_float else side) <= threshold for side in sides]
        if one and not zero:
            raise Refused("a category that is scaled by a negative number can't be expressed")
        return 2.0 if one else 0.5 if zero else -1.0

    def add(self, left, right, features, thresholds, leaves, missing_left=None, output=0, as_float=True):
        inner = [node for node in range(len(left)) if left[node] >= 0]
        tree = {
            "output": output,
            "features": [self.places[features[node]] if left[node] >= 0 else -1 for node in range(len(left))],
            "left": [int(left[node]) for node in inner],
            "right": [int(right[node]) for node in inner],
            "at_most": [self.threshold(features[node], thresholds[node], as_float) for node in inner],
            "leaves": [value for node in range(len(left)) if left[node] < 0 for value in np.ravel(leaves[node]).tolist()],
        }
        if missing_left is not None:
            tree["missing_left"] = [int(missing_left[node]) for node in inner]
        self.trees.append(tree)

    def add_sklearn(self, tree, leaves, output=0):
        self.add(tree.children_left.tolist(), tree.children_right.tolist(), tree.feature.tolist(), tree.threshold.tolist(),
                 leaves, getattr(tree, "missing_go_to_left", None), output)

    def file(self, link, start, **more):
        return {"format": "appcore forest 1", "link": link, "start": numbers(start), **more, "trees": self.trees}


def export_forest(estimator, preprocessing):
    if estimator.n_outputs_ != 1:
        raise Refused("a model with several outputs can't be expressed")
    trees = Trees(preprocessing)
    parts = getattr(estimator, "estimators_", [estimator])
    names = class_names(estimator.classes_) if hasattr(estimator, "classes_") else None
    for part in parts:
        values = part.tree_.value[:, 0, :]
        if names:
            totals = values.sum(axis=1, keepdims=True)
            values = values / np.where(totals == 0, 1, totals)
        trees.add_sklearn(part.tree_, values)
    if not names:
        return "forest", trees.file("identity", [0], divisor=len(parts)), "regression", None
    return ("forest", trees.file("shares", np.zeros(len(names)), divisor=len(parts), vectors=True),
            "binary" if len(names) == 2 else "multiclass", names)


def export_boosting(estimator, preprocessing):
    """GradientBoosting: the raw prediction of the initial estimator, then the trees times the learning rate."""
    trees = Trees(preprocessing)
    if estimator.init_ != "zero" and not is_a(estimator.init_, "DummyRegressor", "DummyClassifier"):
        raise Refused(f"GradientBoosting that begins with {kind_of(estimator.init_)} can't be expressed")
    start = np.ravel(estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32)))
    for stage in estimator.estimators_:
        for output, part in enumerate(stage):
            trees.add_sklearn(part.tree_, estimator.learning_rate * part.tree_.value[:, 0, 0], output)
    if not hasattr(estimator, "classes_"):
        return "forest", trees.file("identity", start), "regression", None
    names = class_names(estimator.classes_)
    if len(names) > 2:
        return "forest", trees.file("softmax", start), "multiclass", names
    # The exponential loss's probability is the logistic function of twice the sum.
    return "forest", trees.file("logistic", start, divisor=0.5 if estimator.loss == "exponential" else 1), "binary", names


def export_hist_boosting(estimator, preprocessing):
    """HistGradientBoosting: splits found in doubles, values with the learning rate in them."""
    trees = Trees(preprocessing)
    if getattr(estimator, "is_categorical_", None) is not None and np.any(estimator.is_categorical_):
        raise Refused("HistGradientBoosting with categorical features can't be expressed: encode them one-hot")
    for stage in estimator._predictors:
        for output, predictor in enumerate(stage):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            trees.add(np.where(leaf, -1, nodes["left"].astype(int)).tolist(), nodes["right"].astype(int).tolist(),
                      nodes["feature_idx"].astype(int).tolist(), nodes["num_threshold"].tolist(), nodes["value"],
                      nodes["missing_go_to_left"], output, as_float=False)
    for source in preprocessing.inputs:
        source.missing = source.missing or "allow"
    start = np.ravel(estimator._baseline_prediction)
    if not hasattr(estimator, "classes_"):
        logarithmic = estimator.loss in ("poisson", "gamma")
        return ("forest", trees.file("exp" if logarithmic else "identity", start, compare="float64"),
                "count" if estimator.loss == "poisson" else "regression", None)
    names = class_names(estimator.classes_)
    return ("forest", trees.file("logistic" if len(names) == 2 else "softmax", start, compare="float64"),
            "binary" if len(names) == 2 else "multiclass", names)


def export_xgboost(estimator, preprocessing):
    """The file is XGBoost's own; the columns have to be the inputs in their order."""
    booster = estimator.get_booster() if hasattr(estimator, "get_booster") else estimator
    if preprocessing.places()[0] != list(range(preprocessing.places()[1])) or any(
            column.scale != 1 or column.mean != 0 for column in preprocessing.columns):
        raise Refused("XGBoost behind a transformer that reorders or drops columns can't be expressed")
    if hasattr(estimator, "missing") and not is_missing(estimator.missing):
        raise Refused("XGBoost with missing= other than NaN can't be expressed")
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    names = None
    if objective.startswith("multi:"):
        n = int(json.loads(booster.save_config())["learner"]["learner_model_param"]["num_class"])
        names = class_names(getattr(estimator, "classes_", np.arange(n)))
        output = "multiclass"
    elif objective.startswith("binary:"):
        names = class_names(getattr(estimator, "classes_", np.arange(2)))
        output = "binary"
    else:
        output = {"count": "count", "rank": "ranking"}.get(objective.split(":")[0], "regression")
    return "xgboost", booster, output, names


def export_model(estimator, preprocessing):
    for names, method in (
            (REGRESSIONS + LOGARITHMIC, export_regression),
            (LOGISTIC, export_logistic),
            (FORESTS, export_forest),
            (("GradientBoostingRegressor", "GradientBoostingClassifier"), export_boosting),
            (("HistGradientBoostingRegressor", "HistGradientBoostingClassifier"), export_hist_boosting),
            (("XGBModel", "Booster"), export_xgboost)):
        if is_a(estimator, *names):
            return method(estimator, preprocessing)
    if hasattr(estimator, "classes_") and not hasattr(estimator, "predict_proba"):
        raise Refused(f"{kind_of(estimator)} has no probabilities (predict_proba) and can't be expressed")
    raise Refused(f"{kind_of(estimator)} can't be expressed")


# --- text ---

PLAIN_VECTORIZER = {"analyzer": "word", "binary": False, "lowercase": True, "preprocessor": None, "stop_words": None,
                    "strip_accents": None, "tokenizer": None, "token_pattern": r"(?u)\b\w\w+\b", "input": "content"}


def is_text(steps):
    return is_a(steps[0], "CountVectorizer", "HashingVectorizer")


def export_text(steps):
    vectorizer, classifier = steps[0], steps[-1]
    if not is_a(vectorizer, "CountVectorizer"):
        raise Refused(f"{kind_of(vectorizer)} can't be expressed: it has no vocabulary")
    for option, value in PLAIN_VECTORIZER.items():
        if getattr(vectorizer, option) != value:
            raise Refused(f"{kind_of(vectorizer)}({option}={getattr(vectorizer, option)!r}) can't be expressed")
    weighing = vectorizer if is_a(vectorizer, "TfidfVectorizer") else None
    for step in steps[1:-1]:
        if not is_a(step, "TfidfTransformer") or weighing is not None:
            raise Refused(f"{kind_of(step)} in a text pipeline can't be expressed")
        weighing = step
    terms = sorted(vectorizer.vocabulary_, key=vectorizer.vocabulary_.get)
    norm = getattr(weighing, "norm", None)
    if norm not in ("l2", None):
        raise Refused(f"norm={norm!r} can't be expressed")
    file = {"format": "appcore text 1", "classifier": "naive_bayes", "ngram_range": list(vectorizer.ngram_range),
            "sublinear_tf": bool(getattr(weighing, "sublinear_tf", False)), "norm": norm, "vocabulary": terms,
            "idf": numbers(weighing.idf_) if getattr(weighing, "use_idf", False) else [1.0] * len(terms)}
    if is_a(classifier, "MultinomialNB"):
        file["feature_log_prob"] = classifier.feature_log_prob_.tolist()
        file["class_log_prior"] = numbers(classifier.class_log_prior_)
    elif is_a(classifier, "LogisticRegression"):
        coefficients, intercepts, link = logistic_rows(classifier)
        if link == "ovr":
            raise Refused("one-vs-rest logistic regression over texts can't be expressed: use multinomial")
        file.update(classifier="logistic_regression", coefficients=coefficients.tolist(), intercepts=numbers(intercepts))
    else:
        raise Refused(f"{kind_of(classifier)} over texts can't be expressed: MultinomialNB and LogisticRegression can")
    names = class_names(classifier.classes_)
    return file, "binary" if len(names) == 2 else "multiclass", names


# --- data: ranges, distributions, quality, examples ---


def distribution_of_numbers(values):
    there = values[~np.isnan(values)]
    if len(there) == 0:
        return None
    edges = np.unique(np.quantile(there, np.arange(1, BINS) / BINS))
    counts = np.bincount(np.searchsorted(edges, there, side="right"), minlength=len(edges) + 1)
    return {"edges": numbers(edges), "shares": numbers(counts / len(there)),
            "missing": float(1 - len(there) / len(values))}


def distribution_of_categories(values, names):
    missing = sum(is_missing(value) for value in values)
    counts = np.array([sum(not is_missing(value) and name_of(value) == name for value in values) for name in names], float)
    if counts.sum() == 0 or len(names) > BINS_MAX:
        return None
    return {"shares": numbers(counts / counts.sum()), "missing": missing / len(values)}


def describe_input(source, values, options):
    """The manifest's entry of one input; `values` is its column of the data, or None."""
    entry = {"name": source.name, "type": "number"}
    if source.categories is not None:
        entry.update(type="category", categories=source.names(), outside=source.outside, missing=source.missing)
        distribution = None if values is None else distribution_of_categories(values, entry["categories"])
    else:
        column = None if values is None else np.array([math.nan if is_missing(v) else float(v) for v in values])
        distribution = None if column is None else distribution_of_numbers(column)
        if distribution:
            entry.update(minimum=float(np.nanmin(column)), maximum=float(np.nanmax(column)), outside=options["outside"])
        if source.missing:
            entry["missing"] = source.missing
        elif column is not None and np.isnan(column).any():
            entry["missing"] = "allow"
    if options["missing"] and entry.get("missing") != "refuse":
        entry["missing"] = options["missing"]
    if distribution:
        entry["distribution"] = distribution
    return entry


def as_rows(data, preprocessing, estimator):
    """The data as the estimator was given it in training."""
    names = [source.name for source in preprocessing.inputs]
    if hasattr(estimator, "feature_names_in_"):
        try:
            import pandas

            return pandas.DataFrame({name: pandas.Series([row[place] for row in data]).infer_objects()
                                     for place, name in enumerate(names)})
        except ImportError:
            pass
    if any(source.categories is not None for source in preprocessing.inputs):
        return np.array([list(row) for row in data], dtype=object)
    return np.array([[math.nan if is_missing(value) else float(value) for value in row] for row in data])


def answer(estimator, rows, names):
    """Results, labels and probabilities that the estimator gives."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if is_a(estimator, "Booster"):
            import xgboost

            raw = estimator.predict(xgboost.DMatrix(np.asarray(rows, dtype=float)))
            if names is None:
                return np.ravel(raw), None, None
            probabilities = raw if raw.ndim == 2 else np.column_stack([1 - raw, raw])
        elif names is None:
            return np.ravel(estimator.predict(rows)), None, None
        else:
            probabilities = estimator.predict_proba(rows)
    labels = np.argmax(probabilities, axis=1)
    return probabilities[:, 1] if len(names) == 2 else labels.astype(float), labels, probabilities


def quality_of(results, labels, probabilities, target, names):
    if names is None:
        truth = np.asarray(target, dtype=float)
        rest = truth - results
        spread = ((truth - truth.mean()) ** 2).sum()
        return {"rows": len(truth), "mean_absolute_error": float(np.abs(rest).mean()),
                "root_mean_squared_error": float(np.sqrt((rest ** 2).mean())),
                "r2": float(1 - (rest ** 2).sum() / spread) if spread > 0 else 0.0}
    truth = [name_of(value) for value in target]
    places = {name: place for place, name in enumerate(names)}
    unknown = sorted(set(truth) - set(places))
    if unknown:
        raise Refused(f"the target has {unknown[0]!r}, which is none of the model's classes")
    truth = np.array([places[value] for value in truth])
    shares = np.clip(probabilities[np.arange(len(truth)), truth], 1e-15, 1)
    return {"rows": len(truth), "accuracy": float((labels == truth).mean()), "log_loss": float(-np.log(shares).mean())}


def examples_of(inputs, results, labels, probabilities, names, tolerance):
    examples = []
    for place in np.unique(np.linspace(0, len(inputs) - 1, min(EXAMPLES, len(inputs))).astype(int)):
        example = {"input": inputs[place], "result": float(results[place])}
        if names is not None:
            example["label"] = names[labels[place]]
            example["probabilities"] = numbers(probabilities[place])
        example["tolerance"] = tolerance
        examples.append(example)
    return examples


def instance_of(row, preprocessing):
    return [None if is_missing(value) else name_of(value) if source.categories is not None else float(value)
            for value, source in zip(row, preprocessing.inputs)]


def made_up_rows(preprocessing):
    """Without data, examples are rows that are as good as any: they only show that both compute the same."""
    random = np.random.RandomState(0)
    rows = []
    for _ in range(EXAMPLES):
        rows.append([random.standard_normal() if source.categories is None else
                     next(value for value in source.categories if not is_missing(value)) for source in preprocessing.inputs])
    return rows


def typed(data, preprocessing):
    """Categories of a CSV file, which are texts, as the values that the encoder knows."""
    rows = [list(row) for row in data]
    for place, source in enumerate(preprocessing.inputs):
        for number, row in enumerate(rows):
            if source.categories is None:
                try:
                    row[place] = math.nan if is_missing(row[place]) or row[place] == "" else float(row[place])
                except ValueError:
                    raise Refused(f"row {number + 1} of the data has {row[place]!r} as {source.name}, a number is wanted") from None
            elif isinstance(row[place], str):
                by_name = dict(zip(source.names(), source.categories))
                row[place] = by_name.get(row[place], None if row[place] == "" else row[place])
    return rows


# --- the folder ---


def pretty(value, indent=0):
    """JSON for people: a line for each member, lists of numbers and names on one line."""
    inner = "\n" + " " * (indent + 1)
    if isinstance(value, dict) and value:
        parts = [f"{json.dumps(name, ensure_ascii=False)}: {pretty(member, indent + 1)}" for name, member in value.items()]
        return "{" + inner + ("," + inner).join(parts) + inner[:-1] + "}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[" + inner + ("," + inner).join(pretty(item, indent + 1) for item in value) + inner[:-1] + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_folder(folder, model, manifest, name):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, name)
    if isinstance(model, dict):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(model, file, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    else:
        model.save_model(path)
    with open(path, "rb") as file:
        manifest["hash"] = hashlib.blake2b(file.read(), digest_size=32).hexdigest()
    with open(os.path.join(folder, "manifest.json"), "w", encoding="utf-8") as file:
        file.write(pretty(manifest) + "\n")


def begin_manifest(kind, options):
    manifest = {"appcore": 1, "kind": kind, "file": "model.json", "hash": ""}
    manifest["created_at"] = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name in ("description", "source", "licence"):
        if options[name]:
            manifest[name] = options[name]
    return manifest


def describe_output(output, names, options):
    entry = {"type": output}
    if options["output_name"]:
        entry["name"] = options["output_name"]
    if options["meaning"]:
        entry["meaning"] = options["meaning"]
    if names is not None:
        entry["classes"] = names
    return entry


def export_text_model(estimator, steps, folder, data, target, options):
    file, output, names = export_text(steps)
    manifest = begin_manifest("text", options)
    entry = {"name": options["feature_names"][0] if options["feature_names"] else "text", "type": "text"}
    texts = [str(text) for text in (file["vocabulary"][:EXAMPLES] if data is None else data)]
    if data is not None:
        entry["distribution"] = distribution_of_numbers(np.array([float(len(text)) for text in texts]))
    results = answer(estimator, texts, names)
    manifest["inputs"] = [entry]
    manifest["output"] = describe_output(output, names, options)
    if data is not None and target is not None:
        manifest["quality"] = quality_of(*results, target, names)
    manifest["examples"] = examples_of(texts, *results, names, TOLERANCE)
    write_folder(folder, file, manifest, "model.json")
    return manifest


def input_names(estimator, steps, feature_names):
    first = steps[0]
    n = getattr(estimator, "n_features_in_", None) or getattr(first, "n_features_in_", None)
    known = getattr(estimator, "feature_names_in_", None)
    if known is None:
        known = getattr(first, "feature_names_in_", None)
    if n is None and hasattr(estimator, "num_features"):
        n, known = estimator.num_features(), estimator.feature_names
    names = feature_names if feature_names is not None else known
    if n is None and names is None:
        raise Refused("the number of inputs is not known: is the model fitted?")
    if names is None:
        names = [f"x{place}" for place in range(n)]
    if n is not None and len(names) != n:
        raise Refused(f"there are {len(names)} feature names, the model has {n} inputs")
    return [str(name) for name in names]


def export_tabular(estimator, steps, folder, data, target, options):
    preprocessing = Preprocessing(input_names(estimator, steps, options["feature_names"]))
    for step in steps[:-1]:
        preprocessing.columns = preprocessing.apply(step, preprocessing.columns)
    kind, model, output, names = export_model(steps[-1], preprocessing)
    manifest = begin_manifest(kind, options)
    rows = made_up_rows(preprocessing) if data is None else typed(data, preprocessing)
    manifest["inputs"] = [
        describe_input(source, None if data is None else [row[place] for row in rows], options)
        for place, source in enumerate(preprocessing.inputs)]
    if preprocessing.steps:
        manifest["preprocessing"] = preprocessing.manifest_steps()
    manifest["output"] = describe_output(output, names, options)
    table = as_rows(rows, preprocessing, estimator)
    if kind == "xgboost" and len(steps) > 1 and hasattr(estimator[:-1].transform(table), "toarray"):
        raise Refused("XGBoost takes the zeros of a sparse matrix for missing values: "
                      "OneHotEncoder needs sparse_output=False (ColumnTransformer: sparse_threshold=0)")
    results = answer(estimator, table, names)
    if data is not None and target is not None and output != "ranking":
        manifest["quality"] = quality_of(*results, target, names)
    manifest["examples"] = examples_of([instance_of(row, preprocessing) for row in rows], *results, names,
                                       TOLERANCE_FLOAT32 if kind == "xgboost" else TOLERANCE)
    write_folder(folder, model, manifest, "model.json")
    return manifest


def unwrap(estimator):
    """What a search over parameters has found."""
    return unwrap(estimator.best_estimator_) if is_a(estimator, "BaseSearchCV") else estimator


def steps_of(estimator):
    if not is_a(estimator, "Pipeline"):
        return [estimator]
    *transformers, last = [step for _, step in estimator.steps if step is not None and step != "passthrough"]
    return transformers + steps_of(unwrap(last))


def export(estimator, folder, *, feature_names=None, data=None, target=None, outside="flag", missing=None,
           output_name="", meaning="", description="", source="", licence=""):
    """Writes folder/manifest.json and the model's file; returns the manifest. `data` is a list of rows (of texts for a
    text model) in the order of the inputs, `target` what they should give. `outside` is what to do with values outside
    of the data's range, `missing` with missing values where the model can have them."""
    options = {"feature_names": feature_names, "outside": outside, "missing": missing, "output_name": output_name,
               "meaning": meaning, "description": description, "source": source, "licence": licence}
    estimator = unwrap(estimator)
    steps = steps_of(estimator)
    write = export_text_model if is_text(steps) else export_tabular
    return write(estimator, steps, folder, data, target, options)


# --- the command ---


def read_csv(path, delimiter):
    with open(path, newline="", encoding="utf-8") as file:
        if delimiter is None:
            head = file.readline()
            delimiter = max(",;\t", key=head.count)
            file.seek(0)
        rows = list(csv.reader(file, delimiter=delimiter))
    if len(rows) < 2:
        raise Refused(f"{path} has no rows below its header")
    return rows[0], [row for row in rows[1:] if row]


def take_data(arguments, estimator):
    """Rows and target of the CSV file, in the order of the model's inputs."""
    if not arguments.data:
        return arguments.features, None, None
    header, table = read_csv(arguments.data, arguments.delimiter)
    if arguments.target and arguments.target not in header:
        raise Refused(f"{arguments.data} has no column {arguments.target}")
    known = getattr(estimator, "feature_names_in_", None)
    names = arguments.features or (list(known) if known is not None else [name for name in header if name != arguments.target])
    absent = [name for name in names if name not in header]
    if absent:
        raise Refused(f"{arguments.data} has no column {absent[0]}")
    places = [header.index(name) for name in names]
    data = [[row[place] for place in places] for row in table]
    target = [row[header.index(arguments.target)] for row in table] if arguments.target else None
    if is_text(steps_of(estimator)):
        if len(names) != 1:
            raise Refused("a text model has one input: name its column with --features")
        data = [row[0] for row in data]
    return names, data, target


def load(path):
    if path.endswith((".ubj", ".json", ".bin")):
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(path)
        return booster
    import joblib

    return joblib.load(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="file of joblib or pickle, or XGBoost's own")
    parser.add_argument("folder", help="where manifest.json and model.json go")
    parser.add_argument("--data", help="CSV file with a header: ranges, distributions, examples")
    parser.add_argument("--target", help="column with the true answers: quality figures")
    parser.add_argument("--delimiter", help="of the CSV file; else ; tab or comma, whichever its header has most of")
    parser.add_argument("--features", type=lambda text: text.split(","), help="names of the inputs in the model's order: a,b,c")
    parser.add_argument("--outside", choices=("refuse", "flag", "allow"), default="flag",
                        help="what to do with values outside of the data's range (flag)")
    parser.add_argument("--missing", choices=("refuse", "flag", "allow"), help="what to do with missing values")
    parser.add_argument("--output-name", default="", help="what the result is called")
    for option in ("--meaning", "--description", "--source", "--licence"):
        parser.add_argument(option, default="")
    arguments = parser.parse_args()
    try:
        estimator = unwrap(load(arguments.model))
        names, data, target = take_data(arguments, estimator)
        manifest = export(estimator, arguments.folder, feature_names=names, data=data, target=target,
                          outside=arguments.outside, missing=arguments.missing, output_name=arguments.output_name,
                          meaning=arguments.meaning, description=arguments.description, source=arguments.source,
                          licence=arguments.licence)
    except Refused as error:
        sys.exit(f"export_sklearn.py: {error}.")
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"export_sklearn.py: {error}")
    print(f"{arguments.folder}: {manifest['kind']}, {len(manifest['inputs'])} inputs, {manifest['output']['type']}"
          + "".join(f", {name} {value:.4g}" for name, value in manifest.get("quality", {}).items() if name != "rows"))


if __name__ == "__main__":
    main()
