#!/usr/bin/env python3
"""Sentiment analysis as it is served: single texts against POST /predict, a batch for the background against
scikit-learn, and what others feel of a batch. All in turns, on one service.

    sentiment.py [--gate] [--rounds N] [--texts N]

single   POST /api/v1/sentiment/analyze (a token, its session read from the store, the row stored) : POST /predict (an API
         key from memory, the row stored), in requests a second, both on the port without TLS
batch    from the request to the last stored result : scikit-learn's predict_proba of the same texts, which stores nothing
others   p99 of GET /health and POST /predict while batches run : without them, before and after

BENCH_SECONDS (3) is the length of each run."""
import argparse
import json
import os
import random
import ssl
import statistics
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from harness import ROOT, Failed, Goals, Service, exit_on_signals, need, share_processors, wrk

CONNECTIONS, FEW = 64, 4
MODEL = ROOT / "models" / "sentiment" / "1" / "model.json"
GOALS = {"single": 0.8, "batch": 1.5, "health": 2, "predict": 2}


def load():
    """The shipped model in scikit-learn, and its vocabulary."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.naive_bayes import MultinomialNB

    model = json.loads(MODEL.read_text(encoding="utf-8"))
    vectoriser = TfidfVectorizer(ngram_range=tuple(model["ngram_range"]), vocabulary=model["vocabulary"])
    vectoriser.idf_ = np.array(model["idf"])
    bayes = MultinomialNB()
    bayes.classes_ = np.array([0, 1])
    bayes.feature_log_prob_ = np.array(model["feature_log_prob"])
    bayes.class_log_prior_ = np.array(model["class_log_prior"])
    bayes.n_features_in_ = len(model["vocabulary"])
    return model["vocabulary"], lambda texts: bayes.predict_proba(vectoriser.transform(texts))


def make_texts(vocabulary, n):
    """As long as the sentences that the model was trained on are on average (12 words)."""
    pick = random.Random(1)
    words = [term for term in vocabulary if " " not in term and term.isalpha()] + ["unheard", "of", "I", "a"]
    return [" ".join(pick.choices(words, k=pick.randrange(4, 21))).capitalize() + "." for _ in range(n)]


class Client:
    """Somebody who is logged in."""

    def __init__(self, base: str):
        self.base = base
        self.context = ssl.create_default_context()
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.token = ""
        account = {"username": "bench", "email": "bench@example.com", "password": "bench-password-1"}
        self.ask("/api/v1/auth/register", json.dumps(account).encode())
        form = urllib.parse.urlencode({"username": "bench", "password": account["password"]}).encode()
        answer = self.ask("/api/v1/auth/login", form, "application/x-www-form-urlencoded")
        self.token = answer["access_token"]

    def ask(self, path: str, body=None, kind="application/json"):
        request = urllib.request.Request(self.base + path, data=body)
        if body is not None:
            request.add_header("Content-Type", kind)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=60, context=self.context) as answer:
            return json.loads(answer.read())

    def batch(self, body: bytes) -> str:
        return self.ask("/api/v1/sentiment/analyze/batch", body)["task_id"]

    def wait(self, task: str, pause: float = 0.01) -> None:
        while True:
            answer = self.ask(f"/api/v1/sentiment/task/{task}?limit=1")
            if answer["status"] == "completed":
                return
            if answer["status"] == "failed":
                raise Failed(f"a batch failed: {answer['error_message']}")
            time.sleep(pause)


def wait_for_model(client: Client) -> None:
    for _ in range(200):
        try:
            client.ask("/api/v1/sentiment/analyze", b'{"text":"x"}')
            return
        except urllib.error.HTTPError:
            time.sleep(0.1)
    raise Failed("the sentiment model is not loaded")


def measure_single(service, lines, rounds, seconds):
    """In turns, so that what disturbs the machine disturbs both."""
    kinds = {"predict": ["predict"], "analyze": ["text", "/api/v1/sentiment/analyze", str(lines)]}
    runs = {name: [] for name in kinds}
    for kind in kinds.values():
        wrk(service.direct, kind, CONNECTIONS, 1, service.key)
    for _ in range(rounds):
        for name, kind in kinds.items():
            runs[name].append(wrk(service.direct, kind, CONNECTIONS, seconds, service.key))
    return runs


def measure_batch(client, predict, texts, rounds):
    body = json.dumps({"texts": texts}).encode()
    ours, taken, theirs = [], [], []
    for _ in range(rounds):
        start = time.perf_counter()
        task = client.batch(body)
        taken.append(time.perf_counter() - start)
        client.wait(task)
        ours.append(time.perf_counter() - start)
        start = time.perf_counter()
        predict(texts)
        theirs.append(time.perf_counter() - start)
    return ours, taken, theirs


class Batches(threading.Thread):
    """One batch after the other until it is told to stop."""

    def __init__(self, client, body):
        super().__init__()
        self.client, self.body, self.going, self.done = client, body, True, 0

    def run(self):
        while self.going:
            # Seldom: who asks is not to be what others feel.
            self.client.wait(self.client.batch(self.body), 0.1)
            self.done += 1


def measure_others(service, client, texts, rounds, seconds):
    """Few connections: what is measured is how long somebody waits, not who gets the processor."""
    body = json.dumps({"texts": texts}).encode()
    kinds = {"health": ["get", "/health"], "predict": ["predict"]}
    p99 = {(name, busy): [] for name in kinds for busy in (False, True)}
    done = 0

    def run(kind):
        return wrk(service.direct, kind, FEW, seconds, service.key)["p99_ms"]

    for _ in range(rounds):
        for name, kind in kinds.items():
            before = run(kind)
            batches = Batches(client, body)
            batches.start()
            time.sleep(0.3)
            p99[name, True].append(run(kind))
            batches.going = False
            batches.join()
            done += batches.done
            p99[name, False].append((before + run(kind)) / 2)
    return p99, done


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gate", action="store_true", help="exit 1 when a goal is missed")
    parser.add_argument("--rounds", type=int, default=5, help="in turns (5)")
    parser.add_argument("--texts", type=int, default=100000, help="in a batch (100,000)")
    options = parser.parse_args()
    need("wrk")
    exit_on_signals()
    share_processors()
    seconds = float(os.environ.get("BENCH_SECONDS", "3"))
    vocabulary, predict = load()
    texts = make_texts(vocabulary, options.texts)
    with tempfile.TemporaryDirectory(prefix="appcore-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        directory = Path(name)
        lines = directory / "texts"
        lines.write_text("\n".join(texts[:1024]) + "\n")
        service = Service(directory, str(ROOT / "scripts" / "service.sh"))
        service.environment.update(
            SECRET_KEY="bench-secret-0123456789-0123456789-0123", USER_RATE_LIMIT_PER_MINUTE="0", WORKERS="1"
        )
        service.start()
        try:
            client = Client(service.direct)
            os.environ["TOKEN"] = client.token
            wait_for_model(client)
            runs = measure_single(service, lines, options.rounds, seconds)
            ours, taken, theirs = measure_batch(client, predict, texts, options.rounds)
            p99, done = measure_others(service, client, texts, options.rounds, seconds)
        finally:
            service.stop()
    for name, results in runs.items():
        rps, p = (statistics.median(run[key] for run in results) for key in ("rps", "p99_ms"))
        print(f"POST {name:8} {rps:>10,.0f} requests/s, p99 {p:.2f} ms")
    n = len(texts)
    print(f"batch of {n:,} texts: taken after {statistics.median(taken):.2f} s, stored after {min(ours):.2f} s"
          f" ({n / min(ours):,.0f} texts/s); scikit-learn {min(theirs):.2f} s ({n / min(theirs):,.0f} texts/s)")
    for (name, busy), values in p99.items():
        print(f"p99 of {name:8} {'beside batches' if busy else 'alone':15} {statistics.median(values):8.2f} ms")
    goals = Goals()
    ratios = [a["rps"] / p["rps"] for a, p in zip(runs["analyze"], runs["predict"])]
    goals.add("POST analyze : POST /predict, requests/s", statistics.median(ratios), ">=", GOALS["single"])
    goals.add("scikit-learn's time : a stored batch's", min(theirs) / min(ours), ">=", GOALS["batch"])
    for name in ("health", "predict"):
        pairs = [busy / alone for alone, busy in zip(p99[name, False], p99[name, True])]
        goals.add(f"p99 of {name} beside batches : alone", statistics.median(pairs), "<=", GOALS[name], f"{done} batches")
    errors = sum(run["errors"] for results in runs.values() for run in results)
    goals.add("errors", errors, "<=", 0)
    goals.print()
    return 1 if errors or (options.gate and not goals.met) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as why:
        print(f"bench: {why}", file=sys.stderr)
        sys.exit(1)
