#!/usr/bin/python3
"""Compares appcore's text classifiers with scikit-learn's: tokens, vocabularies, weights, probabilities, reports.

Usage: text_parity.py BUILD/tests/parity/driver     (text_driver lies beside it, appcore in BUILD)

DATA_SENTIMENT names a folder with amazon_cells_labelled.txt, imdb_labelled.txt and yelp_labelled.txt ("Sentiment
Labelled Sentences", Kotzias et al. 2015); without it, only the samples that are built in and made-up texts are compared.
The last line counts; the exit code is 1 when anything differs by more than TOLERANCE (logistic regressions that no solver
of scikit-learn takes to the bottom: ten times that, and the gradient of its objective has to vanish at our weights).
"""
import glob
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np
from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model._linear_loss import LinearModelLoss
from sklearn.metrics import accuracy_score, classification_report
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import MultinomialNB

HERE = os.path.dirname(os.path.abspath(__file__))
BESIDE = os.path.dirname(os.path.abspath(sys.argv[1]))
DRIVER, APPCORE = f"{BESIDE}/text_driver", f"{BESIDE}/../../appcore"
TOLERANCE = 1e-9
WORDS = re.compile(r"(?u)\b\w\w+\b")
counts = {"ok": 0, "FAIL": 0}


def check(good, what):
    word = "ok" if good else "FAIL"
    counts[word] += 1
    print(f"{word:4} {what}")


def driver(texts, *args):
    given = b"".join(text.encode() + b"\0" for text in texts)
    lines = subprocess.run([DRIVER, *args], input=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    return lines.stdout.decode().split("\n")[:-1]


def check_tokens(what, texts):
    said = driver(texts, "tokens")
    bad = [(t, s) for t, s in zip(texts, said) if " ".join(WORDS.findall(t.lower())) != s]
    check(not bad and len(said) == len(texts), f"tokens of {len(texts)} texts: {what}" + (f", first {bad[0]!r}" if bad else ""))


def all_tokens():
    characters = [chr(code) for code in range(1, 0x110000) if not 0xD800 <= code <= 0xDFFF]
    sigma = "\u03a3"
    check_tokens(
        "every character, beside letters and sigmas",
        [f"x{c}y {c}{c} a{c}{sigma} {c}{sigma} A{sigma}{c} A{sigma}{c}b" for c in characters],
    )
    pick = random.Random(42)
    odd = "aZ \u03a3\u03a3\u0130.'\u00ad\u0345_9\u0301\u2019\U0001d7ce\u00df\u1e9e\u01c5\u023a\U00010400"
    check_tokens("mixtures", ["".join(pick.choices(odd, k=pick.randrange(26))) for _ in range(100000)])


def all_orders():
    """Ties at the limit of the vocabulary fall as numpy's argsort has them."""
    pick = np.random.RandomState(1)
    keys = [pick.randint(0, most, size=n) for n in (1, 2, 15, 16, 17, 18, 33, 100, 1000, 20000) for most in (2, 5, 40, 10**6)]
    keys += [np.minimum(np.arange(n), n - np.arange(n)) for n in (100, 999, 5000, 20000)]
    keys += [-np.sort(-pick.zipf(1.5, size=n).clip(max=10**6)) for n in (500, 30000)] + [pick.zipf(1.5, size=50000).clip(max=10**6)]
    said = driver([" ".join(map(str, row)) for row in keys], "argsort")
    bad = [len(row) for row, order in zip(keys, said) if (row.astype(float).argsort() != np.array(order.split(), int)).any()]
    check(not bad and len(said) == len(keys), f"{len(keys)} argsorts{f', wrong are those of {bad}' if bad else ''}")


def samples():
    """The samples of appcore train, out of its source: the test of the test is that they are 30."""
    with open(f"{HERE}/../../lib/model/text_samples.c", encoding="utf-8") as file:
        texts = re.findall(r'STR_INIT\("([^"]*[.!])"\)', file.read())
    assert len(texts) == 30
    return texts, ["positive"] * 15 + ["negative"] * 15


def awkward():
    with open(f"{HERE}/awkward.txt", encoding="utf-8", newline="\n") as file:
        return file.read().split("\n")


def sentences(folder):
    texts, labels = [], []
    for path in files(folder):
        with open(path, encoding="utf-8", newline="\n") as file:
            for line in filter(None, file.read().split("\n")):
                text, label = line.split("\t")
                texts.append(text)
                labels.append(["negative", "positive"][int(label)])
    assert len(texts) == 3000
    return texts, labels


def files(folder):
    return sorted(glob.glob(f"{folder}/*_labelled.txt"))


def logistic(features, classes_n):
    """scikit-learn's own optimum, and how near it comes to it.

    lbfgs stops by its own ftol of 2.2e-9, however small tol is. newton-cholesky goes to the bottom, but for two classes
    only and with a matrix of features x features; PARITY_EXACT=1 waits a minute or two for 5,000 of them. The line search
    of newton-cg gives up some 1e-9 before the bottom.
    """
    exact = classes_n == 2 and features <= (5000 if os.environ.get("PARITY_EXACT") else 1000)
    solver = "newton-cholesky" if exact else "newton-cg"
    return LogisticRegression(solver=solver, tol=1e-12, max_iter=10000), TOLERANCE if exact else 10 * TOLERANCE


def gradient_at(ours, x, labels, classes):
    """The largest entry of the gradient of scikit-learn's own objective at our weights: how far they are from its optimum."""
    y = np.searchsorted(classes, labels).astype(float)
    weights = np.column_stack([np.array(ours["coefficients"]), ours["intercepts"]])
    loss = HalfBinomialLoss() if len(classes) == 2 else HalfMultinomialLoss(n_classes=len(classes))
    point = weights[0] if len(classes) == 2 else weights
    return np.abs(LinearModelLoss(loss, fit_intercept=True).gradient(point, x, y, l2_reg_strength=1.0)).max()


def compare(what, texts, labels, args, ngram=(1, 2), limit=5000, model="nb", split=0.2, seed=42, others=()):
    """Trains with both, compares everything."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that stop before the bottom
        command = [APPCORE, "train", "sentiment", *args, "--output", folder, "--version", "1", "--model", model]
        command += ["--ngram", f"{ngram[0]},{ngram[1]}", "--max-features", str(limit or 0)]
        command += ["--split", str(split), "--seed", str(seed)]
        printed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
        path = f"{folder}/sentiment/1/model.json"
        with open(path, encoding="utf-8") as file:
            ours = json.load(file)
        train_x, test_x, train_y, test_y = train_test_split(texts, labels, test_size=split, random_state=seed)
        vectoriser = TfidfVectorizer(ngram_range=ngram, max_features=limit or None)
        x = vectoriser.fit_transform(train_x)
        classifier, tolerance = MultinomialNB(), TOLERANCE
        if model == "logistic":
            classifier, tolerance = logistic(x.shape[1], len(set(labels)))
        classifier.fit(x, train_y)
        same = ours["vocabulary"] == list(vectoriser.get_feature_names_out())
        check(same, f"{what}: vocabulary of {len(ours['vocabulary'])}")
        asked = list(texts) + awkward() + list(others)
        theirs = classifier.predict_proba(vectoriser.transform(asked))
        said = np.array([list(map(float, line.split())) for line in driver(asked, "classify", path, str(theirs.shape[1]))])
        worst = np.abs(said - theirs).max()
        check(worst <= tolerance, f"{what}: {theirs.size} probabilities, worst difference {worst:.1e}")
        predicted = classifier.predict(vectoriser.transform(test_x))
        report = classification_report(test_y, predicted, zero_division=0)
        accuracy = f"Model Accuracy: {accuracy_score(test_y, predicted):.2%}\n"
        check(report in printed and accuracy in printed, f"{what}: report, {accuracy.strip()}")
        if model == "logistic":
            gradient = gradient_at(ours, x, train_y, classifier.classes_)
            check(gradient <= 1e-10, f"{what}: gradient of scikit-learn's objective {gradient:.1e}")
            lbfgs = LogisticRegression(tol=1e-12, max_iter=100000).fit(x, train_y)
            gap = np.abs(lbfgs.predict_proba(vectoriser.transform(asked)) - said).max()
            print(f"     {what}: scikit-learn's lbfgs, which stops earlier, is {gap:.1e} away")


def write_tsv(file, texts, labels):
    file.write("".join(f"{text}\t{label}\n" for text, label in zip(texts, labels)))
    file.flush()


def main():
    all_tokens()
    all_orders()
    texts, labels = samples()
    for model in "nb", "logistic":
        for ngram in (1, 1), (1, 2), (2, 3):
            compare(f"samples, {model} {ngram}", texts, labels, [], ngram=ngram, model=model)
    compare("samples, nb, 40 of the n-grams", texts, labels, [], limit=40)
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8", newline="\n") as file:
        # Ten texts that have no word leave rows of zeros.
        many = texts + [line for line in awkward() if "\t" not in line and line] * 3 + ["!"] * 10
        classes = [f"class {i * 7 % 4}" for i in range(len(many))]
        write_tsv(file, many, classes)
        for model in "nb", "logistic":
            compare(f"four classes, {model}", many, classes, ["--data", file.name], model=model, limit=100)
    folder = os.environ.get("DATA_SENTIMENT")
    if folder:
        texts, labels = sentences(folder)
        data = ["--data", *files(folder)]
        for model in "nb", "logistic":
            compare(f"3,000 sentences, {model}", texts, labels, data, model=model)
            compare(f"3,000 sentences, {model}, all n-grams of 1 to 3", texts, labels, data, model=model, ngram=(1, 3), limit=0)
            compare(f"3,000 sentences, {model}, 700 words, seed 7, 30 %", texts, labels, data, model=model, ngram=(1, 1), limit=700, split=0.3, seed=7)
    print(f"text parity: {counts['ok']} passed, {counts['FAIL']} failed")
    return counts["FAIL"] > 0


sys.exit(main())
