#!/usr/bin/env python3
"""Trains models with scikit-learn on its bundled sets, exports them with scripts/export_sklearn.py, gives every row to
appcore and compares results, labels and probabilities to 1e-9 (of values larger than 1: of the value; XGBoost's, which
are floats, to 1e-6).

    sklearn_parity.py DRIVER           trains and compares with the scikit-learn of this Python
    sklearn_parity.py DRIVER NAME      only models whose name has NAME in it

DATA_NUMERIC names a folder with winequality-red.csv (UCI's Wine Quality); without it that set is left out. Exits with 1 when anything differs."""
import json
import os
import subprocess
import sys
import tempfile
import warnings

import numpy as np
from sklearn import datasets
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (ExtraTreesClassifier, ExtraTreesRegressor, GradientBoostingClassifier,
                              GradientBoostingRegressor, HistGradientBoostingClassifier, HistGradientBoostingRegressor,
                              RandomForestClassifier, RandomForestRegressor)
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (BayesianRidge, ElasticNet, GammaRegressor, HuberRegressor, Lasso, LinearRegression,
                                  LogisticRegression, LogisticRegressionCV, PoissonRegressor, Ridge, RidgeCV,
                                  SGDClassifier, SGDRegressor, TweedieRegressor)
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import ComplementNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (MaxAbsScaler, MinMaxScaler, OneHotEncoder, OrdinalEncoder, PolynomialFeatures,
                                   RobustScaler, StandardScaler)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "scripts"))
import export_sklearn  # noqa: E402

TOLERANCE = 1e-9
COLOURS = ["red", "white", "rosé", "orange", "green"]


def with_gaps(x, share, seed=1):
    x = np.array(x, dtype=float)
    x[np.random.RandomState(seed).rand(*x.shape) < share] = np.nan
    return x


def with_categories(x, gaps=False):
    """The first column as a colour, the second as a number that stands for a category; both by their quantiles."""
    rows = np.array(x, dtype=object)
    colour = np.searchsorted(np.quantile(x[:, 0], [0.2, 0.4, 0.6, 0.8]), x[:, 0])
    size = np.searchsorted(np.quantile(x[:, 1], [0.3, 0.6]), x[:, 1])
    rows[:, 0] = [COLOURS[place] for place in colour]
    rows[:, 1] = [int(place) + 1 for place in size]
    if gaps:
        hidden = np.random.RandomState(2).rand(*rows.shape) < 0.1
        rows[hidden] = np.nan
    return rows


def load_sets():
    sets = {name: getattr(datasets, "load_" + name)(return_X_y=True) for name in
            ("iris", "wine", "breast_cancer", "diabetes", "digits")}
    sets["cancer"] = sets.pop("breast_cancer")
    for name in ("wine", "cancer", "diabetes"):
        x, y = sets[name]
        sets[name + "?"] = with_gaps(x, 0.15), y
        sets[name + "+"] = with_categories(x), y
        sets[name + "+?"] = with_categories(x, gaps=True), y
    x, y = sets["cancer"]
    sets["words"] = x, np.array(["malign", "benign"])[y]
    lines = [(line, label) for label, name in enumerate(("iris", "wine", "breast_cancer", "diabetes"))
             for line in getattr(datasets, "load_" + name)().DESCR.splitlines() if line.strip()]
    sets["lines"] = [line for line, _ in lines], np.array([label for _, label in lines])
    sets["two"] = [line for line, label in lines if label > 1], np.array([label for _, label in lines if label > 1])
    if os.environ.get("DATA_NUMERIC"):
        table = np.loadtxt(os.path.join(os.environ["DATA_NUMERIC"], "winequality-red.csv"), delimiter=";", skiprows=1)
        sets["quality"] = table[:, :-1], table[:, -1].astype(int)
        sets["quality?"] = with_gaps(table[:, :-1], 0.1), table[:, -1].astype(int)
    return sets


def encoded(estimator, encoder=None, numbers=None):
    """Two categories and numbers in another order than the inputs'."""
    encoder = encoder or OneHotEncoder(handle_unknown="ignore")
    return make_pipeline(ColumnTransformer([("n", numbers or StandardScaler(), slice(2, None)), ("c", encoder, [1, 0])]),
                         estimator)


def imputed():
    return make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))


def models():
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    many = {"n_estimators": 30, "random_state": 0}
    hist = {"max_iter": 30, "random_state": 0}
    return [
        ("diabetes", LinearRegression()),
        ("diabetes", LinearRegression(fit_intercept=False)),
        ("diabetes", Ridge()),
        ("diabetes", RidgeCV()),
        ("diabetes", Lasso(alpha=0.1)),
        ("diabetes", ElasticNet(alpha=0.01)),
        ("diabetes", BayesianRidge()),
        ("diabetes", HuberRegressor(max_iter=1000)),
        ("diabetes", SGDRegressor(random_state=0)),
        ("diabetes", PoissonRegressor()),
        ("diabetes", GammaRegressor()),
        ("diabetes", TweedieRegressor(power=1.5)),
        ("diabetes", TweedieRegressor(power=0)),
        ("diabetes", make_pipeline(MinMaxScaler(), Ridge())),
        ("diabetes", make_pipeline(RobustScaler(), Ridge())),
        ("diabetes", make_pipeline(MaxAbsScaler(), Ridge())),
        ("diabetes", make_pipeline(StandardScaler(with_mean=False), SelectKBest(k=5), LinearRegression())),
        ("diabetes", GridSearchCV(make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": [0.1, 1, 10]}, cv=3)),
        ("diabetes?", make_pipeline(SimpleImputer(), StandardScaler(), Ridge())),
        ("diabetes?", make_pipeline(StandardScaler(), SimpleImputer(strategy="median"), Lasso())),
        ("diabetes?", make_pipeline(SimpleImputer(strategy="constant", fill_value=7.5), LinearRegression())),
        ("diabetes+", encoded(Ridge())),
        ("diabetes+", encoded(LinearRegression(), OneHotEncoder(drop="first"))),
        ("diabetes+", encoded(RandomForestRegressor(**many))),
        ("diabetes+", make_pipeline(encoded(None)[0], StandardScaler(with_mean=False), Ridge())),
        ("diabetes+?", encoded(Ridge(), imputed(), numbers)),
        ("diabetes+?", encoded(RandomForestRegressor(**many), OneHotEncoder(handle_unknown="ignore"), numbers)),
        ("iris", LogisticRegression(max_iter=1000)),
        ("iris", LogisticRegression(solver="liblinear")),
        ("iris", LogisticRegressionCV(max_iter=5000, Cs=3, cv=3)),
        ("iris", LinearDiscriminantAnalysis()),
        ("iris", SGDClassifier(loss="log_loss", random_state=0)),
        ("digits", LogisticRegression(max_iter=100)),
        ("digits", make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))),
        ("cancer", make_pipeline(StandardScaler(), LogisticRegression())),
        ("cancer", make_pipeline(StandardScaler(), LogisticRegression(multi_class="multinomial"))),
        ("cancer", LinearDiscriminantAnalysis()),
        ("cancer", make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0))),
        ("words", make_pipeline(StandardScaler(), LogisticRegression())),
        ("words", RandomForestClassifier(**many)),
        ("cancer?", make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())),
        ("cancer+", encoded(LogisticRegression(max_iter=500))),
        ("cancer+?", encoded(LogisticRegression(max_iter=500), imputed(), numbers)),
        ("wine+?", encoded(LogisticRegression(max_iter=500), imputed(), numbers)),
        ("wine+", encoded(GradientBoostingClassifier(**many))),
        ("wine+", make_pipeline(encoded(None)[0], StandardScaler(with_mean=False), RandomForestClassifier(**many))),
        ("wine+", encoded(RandomForestClassifier(**many), OrdinalEncoder())),
        ("wine+?", encoded(HistGradientBoostingClassifier(**hist), imputed(), "passthrough")),
        ("diabetes", DecisionTreeRegressor(random_state=0)),
        ("diabetes", DecisionTreeRegressor(max_leaf_nodes=20, random_state=0)),
        ("diabetes", RandomForestRegressor(**many)),
        ("diabetes", RandomForestRegressor(max_depth=1, **many)),
        ("diabetes", RandomForestRegressor(criterion="absolute_error", max_depth=5, **many)),
        ("diabetes", ExtraTreesRegressor(**many)),
        ("diabetes", GradientBoostingRegressor(**many)),
        ("diabetes", GradientBoostingRegressor(loss="absolute_error", **many)),
        ("diabetes", GradientBoostingRegressor(loss="huber", max_depth=6, **many)),
        ("diabetes", GradientBoostingRegressor(loss="quantile", alpha=0.8, **many)),
        ("diabetes", GradientBoostingRegressor(init="zero", **many)),
        ("diabetes", make_pipeline(StandardScaler(), GradientBoostingRegressor(subsample=0.5, **many))),
        ("diabetes", HistGradientBoostingRegressor(**hist)),
        ("diabetes?", HistGradientBoostingRegressor(**hist)),
        ("diabetes", HistGradientBoostingRegressor(loss="poisson", **hist)),
        ("diabetes", HistGradientBoostingRegressor(loss="absolute_error", **hist)),
        ("iris", DecisionTreeClassifier(random_state=0)),
        ("iris", RandomForestClassifier(**many)),
        ("iris", ExtraTreesClassifier(**many)),
        ("iris", GradientBoostingClassifier(**many)),
        ("iris", HistGradientBoostingClassifier(**hist)),
        ("wine", RandomForestClassifier(class_weight="balanced", **many)),
        ("wine", GradientBoostingClassifier(learning_rate=0.3, **many)),
        ("wine?", make_pipeline(SimpleImputer(), RandomForestClassifier(**many))),
        ("wine?", HistGradientBoostingClassifier(**hist)),
        ("cancer", DecisionTreeClassifier(max_depth=4, random_state=0)),
        ("cancer", RandomForestClassifier(**many)),
        ("cancer", ExtraTreesClassifier(**many)),
        ("cancer", GradientBoostingClassifier(**many)),
        ("cancer", GradientBoostingClassifier(loss="exponential", **many)),
        ("cancer", HistGradientBoostingClassifier(**hist)),
        ("cancer?", HistGradientBoostingClassifier(**hist)),
        ("digits", RandomForestClassifier(**many)),
        ("digits", ExtraTreesClassifier(max_depth=8, **many)),
        ("digits", GradientBoostingClassifier(n_estimators=5, random_state=0)),
        ("digits", HistGradientBoostingClassifier(max_iter=5, random_state=0)),
        ("two", make_pipeline(CountVectorizer(), MultinomialNB())),
        ("two", make_pipeline(TfidfVectorizer(), LogisticRegression())),
        ("two", make_pipeline(TfidfVectorizer(), LogisticRegression(multi_class="multinomial"))),
        ("lines", make_pipeline(TfidfVectorizer(ngram_range=(1, 2), max_features=500), MultinomialNB())),
        ("lines", make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True), LogisticRegression())),
        ("lines", make_pipeline(TfidfVectorizer(norm=None, use_idf=False), MultinomialNB())),
    ]


def quality_models():
    """Of the 1,599 wines that DATA_NUMERIC names."""
    many = {"n_estimators": 100, "random_state": 0}
    return [
        ("quality", LinearRegression()),
        ("quality?", make_pipeline(SimpleImputer(), StandardScaler(), Ridge())),
        ("quality", PoissonRegressor(max_iter=1000)),
        ("quality", make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))),
        ("quality", RandomForestRegressor(**many)),
        ("quality", RandomForestClassifier(**many)),
        ("quality", ExtraTreesRegressor(**many)),
        ("quality", GradientBoostingRegressor(max_depth=6, **many)),
        ("quality", GradientBoostingClassifier(n_estimators=20, random_state=0)),
        ("quality?", HistGradientBoostingRegressor(random_state=0)),
        ("quality?", HistGradientBoostingClassifier(max_iter=30, random_state=0)),
    ]


def missing_models():
    """Trees with missing values came with scikit-learn 1.3, forests with them with 1.4."""
    many = {"n_estimators": 20, "random_state": 0}
    return [
        ("diabetes?", DecisionTreeRegressor(random_state=0)),
        ("wine?", DecisionTreeClassifier(random_state=0)),
        ("diabetes?", RandomForestRegressor(**many)),
        ("cancer?", RandomForestClassifier(**many)),
    ]


def xgboost_models():
    """What the script exports of XGBoost's; xgboost_parity.py compares the evaluator itself, to the last bit."""
    try:
        from xgboost import XGBClassifier, XGBRanker, XGBRegressor
    except ImportError:
        print("xgboost is not there: its exports are left out")
        return []

    class Ranker(XGBRanker):
        def fit(self, x, y):
            return super().fit(x, np.arange(len(y)) % 5, group=[len(y)])

    few = {"n_estimators": 20, "random_state": 0}
    return [
        ("diabetes", XGBRegressor(**few)),
        ("diabetes?", XGBRegressor(max_depth=3, **few)),
        ("diabetes", XGBRegressor(objective="count:poisson", **few)),
        ("diabetes", Ranker(**few)),
        ("diabetes+?", make_pipeline(ColumnTransformer([("c", imputed(), [0, 1])], remainder=SimpleImputer()),
                                     XGBRegressor(**few))),
        ("cancer?", XGBClassifier(**few)),
        ("iris", XGBClassifier(**few)),
        ("wine?", make_pipeline(SimpleImputer(), StandardScaler(), XGBClassifier(**few))),
    ]


def refusals():
    """What can't be expressed, and a part of the sentence that says so."""
    x, y = datasets.load_iris(return_X_y=True)
    two, lines = y > 0, [f"flower {place}" for place in y]
    return [
        (make_pipeline(PCA(2), LogisticRegression()).fit(x, y), "PCA can't be expressed as steps"),
        (make_pipeline(PolynomialFeatures(), Ridge()).fit(x, y), "PolynomialFeatures can't be expressed"),
        (make_pipeline(SimpleImputer(add_indicator=True), Ridge()).fit(with_gaps(x, 0.1), y), "add_indicator"),
        (make_pipeline(MinMaxScaler(clip=True), Ridge()).fit(x, y), "clip=True"),
        (make_pipeline(StandardScaler(), OneHotEncoder(handle_unknown="ignore"), Ridge()).fit(x, y), "encoded after another step"),
        (make_pipeline(OneHotEncoder(max_categories=3), Ridge()).fit(x, y), "infrequent categories"),
        (SVC().fit(x, y), "has no probabilities"),
        (KNeighborsClassifier().fit(x, y), "KNeighborsClassifier can't be expressed"),
        (LinearRegression().fit(x, x), "several outputs"),
        (RandomForestClassifier(n_estimators=2).fit(x, np.column_stack([y, y])), "several outputs"),
        (SGDClassifier(loss="modified_huber").fit(x, y), "only log_loss has probabilities"),
        (GradientBoostingRegressor(n_estimators=2, init=LinearRegression()).fit(x, y), "begins with LinearRegression"),
        (HistGradientBoostingRegressor(max_iter=2, categorical_features=[0]).fit(y[:, None] * np.ones((1, 2)), y), "categorical features"),
        (make_pipeline(CountVectorizer(stop_words="english"), MultinomialNB()).fit(lines, two), "stop_words='english'"),
        (make_pipeline(CountVectorizer(binary=True), MultinomialNB()).fit(lines, two), "binary=True"),
        (make_pipeline(TfidfVectorizer(norm="l1"), MultinomialNB()).fit(lines, two), "norm='l1'"),
        (make_pipeline(CountVectorizer(), ComplementNB()).fit(lines, two), "ComplementNB over texts"),
        (make_pipeline(HashingVectorizer(), LogisticRegression()).fit(lines, two), "HashingVectorizer can't be expressed"),
        (make_pipeline(TfidfVectorizer(), LogisticRegression(solver="liblinear")).fit(lines, y), "one-vs-rest"),
    ]


def check_refusals():
    """How many are exported all the same, or refused with another sentence."""
    wrong = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = refusals()
    for estimator, part in cases:
        with tempfile.TemporaryDirectory() as folder:
            try:
                export_sklearn.export(estimator, folder)
                sentence = "it was exported"
            except export_sklearn.Refused as error:
                sentence = str(error)
            if part not in sentence or os.listdir(folder):
                print(f"FAIL {title(estimator)} should be refused ({part}): {sentence}")
                wrong += 1
    print(f"{len(cases) - wrong} of {len(cases)} models that can't be expressed are refused")
    return wrong


def title(estimator):
    if hasattr(estimator, "steps"):
        return ", ".join(title(step) for _, step in estimator.steps)
    if hasattr(estimator, "transformers"):
        return "(" + "; ".join(title(part) for _, part, _ in estimator.transformers) + ")"
    if hasattr(estimator, "param_grid"):
        return f"search over {title(estimator.estimator)}"
    if is_xgboost(estimator):
        return f"{type(estimator).__name__}({estimator.objective})"
    return " ".join(repr(estimator).split())


def is_xgboost(estimator):
    return export_sklearn.is_a(estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator, "XGBModel")


def fit(estimator, x, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(x, y)


def instances(x):
    if isinstance(x, list):
        return x
    return [[None if export_sklearn.is_missing(value) else value if isinstance(value, str) else float(value) for value in row]
            for row in x]


def rows_of(x, manifest):
    """Categories are texts, also where the data has numbers for them."""
    rows = instances(x)
    for place, source in enumerate(manifest["inputs"]):
        if source["type"] == "category":
            for row in rows:
                row[place] = None if row[place] is None else export_sklearn.name_of(row[place])
    return rows


def ask(driver, folder, rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    run = subprocess.run([driver, folder], input=lines, capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(run.stderr.strip())
    return [json.loads(line) for line in run.stdout.splitlines()]


def difference(got, wanted):
    got, wanted = np.asarray(got, dtype=float), np.asarray(wanted, dtype=float)
    return float(np.max(np.abs(got - wanted) / np.maximum(1, np.abs(wanted)), initial=0))


def compare(driver, estimator, x, y):
    """The largest difference over all rows; labels have to be equal where the two likeliest are not."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manifest = export_sklearn.export(estimator, folder, data=x, target=y)
        answers = ask(driver, folder, rows_of(x, manifest))
        classes = manifest["output"].get("classes")
        if classes is None:
            return difference([row["result"] for row in answers], np.ravel(estimator.predict(x)))
        wanted = estimator.predict_proba(x)
        got = np.array([row["probabilities"] for row in answers])
        top = np.sort(wanted, axis=1)
        clear = top[:, -1] - top[:, -2] > TOLERANCE
        labels = np.array([row["label"] for row in answers])
        if (labels != np.argmax(wanted, axis=1))[clear].any():
            raise RuntimeError("labels differ")
        results = got[:, 1] if len(classes) == 2 else labels
        if (np.array([row["result"] for row in answers]) != results).any():
            raise RuntimeError("results are not what probabilities and labels say")
        return difference(got, wanted)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    import sklearn

    sets, failed, n, worst, rows = load_sets(), 0, 0, 0.0, 0
    every = models()
    if tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 4):
        every += missing_models()
    if len(sys.argv) == 2:
        failed += check_refusals()
    if "quality" in sets:
        every += quality_models()
    every += xgboost_models()
    for name, estimator in every:
        if len(sys.argv) == 3 and sys.argv[2] not in name + " " + title(estimator):
            continue
        x, y = sets[name]
        try:
            largest = compare(sys.argv[1], fit(estimator, x, y), x, y)
        except (RuntimeError, export_sklearn.Refused) as error:
            print(f"FAIL {name:11} {title(estimator)}: {error}")
            failed += 1
            continue
        floats = is_xgboost(estimator)
        good = largest <= (export_sklearn.TOLERANCE_FLOAT32 if floats else TOLERANCE)
        failed += not good
        worst = worst if floats else max(worst, largest)
        rows += len(y)
        n += 1
        print(f"{'ok  ' if good else 'FAIL'} {name:11} {len(y):5} rows {largest:8.1e}  {title(estimator)}")
    print(f"scikit-learn {sklearn.__version__}: {n} models, {rows} rows, largest difference {worst:.1e}, {failed} failed")
    sys.exit(1 if failed or n == 0 else 0)


if __name__ == "__main__":
    main()
