#!/usr/bin/python3
"""The shipped sentiment model: scikit-learn and appcore on the same sentences, in turns, best of many.

Usage: text.py DRIVER [--gate]     (build/release/tests/parity/text_driver; --gate: a missed goal is an error)

Both get the same vocabulary and weights; their probabilities are compared first. DATA_SENTIMENT names a folder with the
3,000 sentences; without it, sentences are made up of the vocabulary's words, as long as those are on average (12 words).
"""
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import time

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = f"{HERE}/../../models/sentiment/1/model.json"
BATCH, SINGLES, ROUNDS = 10000, 300, 5
GOALS = {"one sentence": 50, "10,000 in a batch": 8}


def sentences(vocabulary):
    folder = os.environ.get("DATA_SENTIMENT")
    texts = []
    if folder:
        for path in sorted(glob.glob(f"{folder}/*_labelled.txt")):
            with open(path, encoding="utf-8", newline="\n") as file:
                texts += [line.split("\t")[0] for line in file.read().split("\n") if line]
    else:
        pick = random.Random(1)
        words = [term for term in vocabulary if " " not in term] + ["unheard", "of", "I", "a"]
        texts = [" ".join(pick.choices(words, k=pick.randrange(4, 21))).capitalize() + "." for _ in range(3000)]
    return (texts * (BATCH // len(texts) + 1))[:BATCH]


def load():
    with open(MODEL, encoding="utf-8") as file:
        model = json.load(file)
    vectoriser = TfidfVectorizer(ngram_range=tuple(model["ngram_range"]), vocabulary=model["vocabulary"])
    vectoriser.idf_ = np.array(model["idf"])
    bayes = MultinomialNB()
    bayes.classes_ = np.array([0, 1])
    bayes.feature_log_prob_ = np.array(model["feature_log_prob"])
    bayes.class_log_prior_ = np.array(model["class_log_prior"])
    bayes.n_features_in_ = len(model["vocabulary"])
    return model["vocabulary"], lambda texts: bayes.predict_proba(vectoriser.transform(texts))


def timed(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def main():
    driver, gate = sys.argv[1], "--gate" in sys.argv
    vocabulary, predict = load()
    texts = sentences(vocabulary)
    given = "\0".join(texts).encode() + b"\0"

    def ours(mode):
        return subprocess.run([driver, mode, MODEL, "2"], input=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout

    said = np.array([list(map(float, line.split())) for line in ours("classify").decode().splitlines()])
    worst = np.abs(said - predict(texts)).max()
    assert worst < 1e-9, f"probabilities differ by {worst}"
    theirs, mine = {name: np.inf for name in GOALS}, {name: np.inf for name in GOALS}
    for _ in range(ROUNDS):
        for text in texts[:SINGLES]:
            theirs["one sentence"] = min(theirs["one sentence"], timed(predict, [text])[0])
        theirs["10,000 in a batch"] = min(theirs["10,000 in a batch"], timed(predict, texts)[0] / BATCH)
        for name, ns in zip(GOALS, map(float, ours("bench").split())):
            mine[name] = min(mine[name], ns / 1e9)
    mean = sum(len(text.encode()) for text in texts) / BATCH
    print(f"text: TF-IDF of {len(vocabulary)} n-grams and naive Bayes, sentences of {mean:.0f} bytes, µs a sentence")
    print(f"{'':18} {'scikit-learn':>12} {'appcore':>8} {'ratio':>7} {'goal':>5}")
    missed = 0
    for name, goal in GOALS.items():
        ratio = theirs[name] / mine[name]
        missed += ratio < goal
        print(f"{name:18} {theirs[name] * 1e6:12.2f} {mine[name] * 1e6:8.3f} {ratio:7.0f} {goal:5}{'  missed' if ratio < goal else ''}")
    return 1 if gate and missed else 0


sys.exit(main())
