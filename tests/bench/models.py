#!/usr/bin/env python3
"""What a tree model costs a served prediction: POST /api/v1/models/{name}/predict of 11 features, answered by the mean and
by 100 trees of depth 6 that XGBoost has trained here, in turns and on one service. Part of `make bench-models`.

    models.py [--gate] [--rounds N]

BENCH_SECONDS (3) is the length of each run. Without python3-xgboost it says so and measures nothing."""
import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import ROOT, Failed, Goals, Service, exit_on_signals, fetch, metered, need, scratch

FEATURES, TREES, DEPTH, CONNECTIONS, GOAL = 11, 100, 6, 64, 0.9


def train(file: Path) -> bool:
    try:
        import numpy
        import xgboost
    except ImportError:
        return False
    generator = numpy.random.default_rng(7)
    rows = generator.normal(size=(2000, FEATURES))
    target = rows[:, 0] * 2 + numpy.sin(rows[:, 1] * 3) + rows[:, 2] * rows[:, 3] + generator.normal(size=2000) / 10
    matrix = xgboost.DMatrix(rows, target)
    xgboost.train({"max_depth": DEPTH, "nthread": 1}, matrix, TREES).save_model(str(file))
    return True


def start(directory: Path) -> Service:
    service = Service(directory, str(ROOT / "scripts" / "service.sh"))
    service.start()
    add = [str(ROOT / "build" / "release" / "appcore"), "model", "add", str(directory / "trees.json")]
    add += ["--name", "trees", "--version", "1", "--activate"]
    done = subprocess.run(add, env=service.environment, cwd=directory, capture_output=True, text=True)
    if done.returncode != 0:
        service.stop()
        raise Failed(done.stderr.strip())
    return service


def wait_for(service: Service, path: str) -> None:
    body = {"features": [0.5] * FEATURES}
    for _ in range(100):
        if fetch(service.tls + path, service.key, body)[0] in (200, 201):
            return
        time.sleep(0.1)
    raise Failed(f"{path} does not answer")


def measure(service: Service, rounds: int, seconds: float) -> dict:
    paths = {name: f"/api/v1/models/{name}/predict" for name in ("mean", "trees")}
    runs = {name: [] for name in paths}
    for path in paths.values():
        wait_for(service, path)
        metered(service, service.tls, ["post", path, str(FEATURES)], CONNECTIONS, 1)
    for _ in range(rounds):
        for name, path in paths.items():
            runs[name].append(metered(service, service.tls, ["post", path, str(FEATURES)], CONNECTIONS, seconds))
    return runs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gate", action="store_true", help="exit 1 when the goal is missed")
    parser.add_argument("--rounds", type=int, default=5, help="in turns (5)")
    options = parser.parse_args()
    need("wrk")
    exit_on_signals()
    with tempfile.TemporaryDirectory(prefix="appcore-bench-models-", dir=scratch()) as name:
        directory = Path(name)
        if not train(directory / "trees.json"):
            print("served trees: not measured, there is no python3-xgboost here")
            return 0
        service = start(directory)
        try:
            runs = measure(service, options.rounds, float(os.environ.get("BENCH_SECONDS", "3")))
        finally:
            service.stop()
    for model, results in runs.items():
        rps = statistics.median(run["rps"] for run in results)
        worker = statistics.median(run["cpu_us"]["worker"] for run in results)
        print(f"POST …/models/{model}/predict {rps:>10,.0f} requests/s, worker {worker:.1f} µs of processor time")
    goals = Goals()
    ratios = [trees["rps"] / mean["rps"] for mean, trees in zip(runs["mean"], runs["trees"])]
    goals.add("a served tree model : the mean", statistics.median(ratios), ">=", GOAL)
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
