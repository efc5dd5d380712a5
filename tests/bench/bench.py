"""`make bench`: what the service reaches beside nginx's bare `return 200` and beside a Python service of the same API.

Starts the real service (limits off) and the Python reference in a scratch directory on free loopback ports, loads them
with wrk, prints a table and writes JSON, with the goals beside the ratios. Only ratios within one run mean something:
the machine is noisy and shares its cores with wrk and nginx. What a ratio compares is therefore measured in rounds, one
after the other, and the ratio is the median of the rounds' ratios. A missed goal is reported as MISSED; the exit code
is 1 for it only with --gate, and always 1 when requests failed or stored predictions are missing.

Environment: BENCH_SECONDS per cell (5; CI uses 2), BENCH_DIR for the scratch directory.
"""
import argparse
import json
import os
import shutil
import sqlite3
import statistics
import sys
from pathlib import Path

import harness
from harness import ROOT, Failed, Goals, Reference, Service, fetch, median_run, metered, wrk

CONNECTIONS = (1, 64, 256)
PAIRED = 64  # connections of the cells that the ratios come from
IDS = 512

# name in the table → arguments of load.lua
KINDS = {
    "nginx return 200": ["get", "/bench/return"],
    "GET /version": ["get", "/version"],
    "POST /predict": ["predict"],
    "GET /predictions/{id}": ["ids", "/predictions/"],  # a file of ids is appended
}
REFERENCE = "POST /predict, Python"
NODELAY = "POST /predict, Python, no Nagle"


def say(text: str) -> None:
    print(text, flush=True)


def check_answers(base: str, key: str) -> None:
    """One look at what is going to be loaded: a bench of error pages would be fast."""
    status, _, body = fetch(base + "/predict", key, {"features": [1.0, 2.0, 3.0]})
    if status != 201 or json.loads(body)["result"] != 2.0:
        raise Failed(f"{base}/predict answers {status} {body[:200]!r}")
    prediction = json.loads(body)["prediction_id"]
    status, _, body = fetch(f"{base}/predictions/{prediction}")
    if status != 200 or json.loads(body)["id"] != prediction:
        raise Failed(f"{base}/predictions/{{id}} answers {status} {body[:200]!r}")


def collect_ids(service: Service, path: Path) -> None:
    ids = []
    for i in range(IDS):
        status, _, body = fetch(service.plain + "/predict", service.key, {"features": [float(i), 0.5]})
        if status != 201:
            raise Failed(f"/predict answers {status} {body[:200]!r}")
        ids.append(json.loads(body)["prediction_id"])
    path.write_text("\n".join(ids) + "\n")


def rows_of(database: Path) -> int:
    db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return db.execute("SELECT count(*) FROM predictions").fetchone()[0]
    finally:
        db.close()


class Bench:
    def __init__(self, service: Service, references: dict, seconds: float, rounds: int):
        self.service = service
        self.references = references
        self.seconds = seconds
        self.rounds = rounds
        self.cells = []  # of the table, in order
        self.paired = {}  # kind → one result per round

    def run(self, name: str, transport: str, connections: int) -> dict:
        if name in self.references:
            reference = self.references[name]
            return metered(reference, reference.plain, ["predict"], connections, self.seconds)
        base = self.service.tls if transport == "TLS" else self.service.plain
        return metered(self.service, base, KINDS[name], connections, self.seconds)

    def add(self, name: str, transport: str, connections: int, result: dict) -> None:
        self.cells.append({"name": name, "transport": transport, "connections": connections, **result})
        say(
            f"{name:<32} {transport:<5} {connections:>4} {result['rps']:>10,.0f} {result['p50_ms']:>9.2f} "
            f"{result['p99_ms']:>9.2f} {result['p999_ms']:>9.2f} {result['max_ms']:>9.2f} {result['errors']:>7} "
            + "".join(f" {part} {used:.1f}" for part, used in result["cpu_us"].items())
        )

    def all(self) -> None:
        say(f"{'':<32} {'':<5} {'conn':>4} {'req/s':>10} {'p50 ms':>9} {'p99 ms':>9} {'p99.9':>9} {'max':>9}  errors CPU µs per request")
        wrk(self.service.plain, KINDS["GET /version"], PAIRED, 1)  # warm-up, not counted
        wrk(self.service.plain, KINDS["POST /predict"], PAIRED, 1, self.service.key)

        names = [*KINDS, *self.references]
        for i in range(self.rounds):
            for name in names:
                self.paired.setdefault(name, []).append(self.run(name, "plain", PAIRED))
        for name in names:
            self.add(name, "plain", PAIRED, median_run(self.paired[name]))

        for transport in ("plain", "TLS"):
            for connections in CONNECTIONS:
                for name in KINDS:
                    if (transport, connections) != ("plain", PAIRED):
                        self.add(name, transport, connections, self.run(name, transport, connections))

    def ratio(self, above: str, below: str, of: str = "rps"):
        pairs = zip(self.paired.get(above, []), self.paired.get(below, []))
        ratios = [a[of] / b[of] for a, b in pairs if b[of]]
        return statistics.median(ratios) if ratios else None

    def goals(self, goals: Goals) -> None:
        goals.add("GET /version : nginx return 200", self.ratio("GET /version", "nginx return 200"), ">=", 0.75)
        goals.add("POST /predict : GET /version", self.ratio("POST /predict", "GET /version"), ">=", 0.50)
        beside = self.ratio("POST /predict", NODELAY)
        detail = f"({beside:.1f} with Nagle's algorithm off)" if beside else ""
        goals.add("POST /predict : Python reference", self.ratio("POST /predict", REFERENCE), ">=", 30, detail)
        spread = statistics.median(run["p99_ms"] / run["p50_ms"] for run in self.paired["POST /predict"])
        goals.add("POST /predict, p99 : p50", spread, "<=", 4)
        goals.add("errors", sum(c["errors"] for c in self.cells if c["name"] in KINDS), "<=", 0)

    def told(self) -> int:
        """How many predictions clients were told are stored."""
        paired = sum(run["requests"] - run["status_errors"] for run in self.paired["POST /predict"])
        return paired + sum(
            c["requests"] - c["status_errors"]
            for c in self.cells
            if c["name"] == "POST /predict" and (c["transport"], c["connections"]) != ("plain", PAIRED)
        )


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gate", action="store_true", help="exit 1 when a goal is missed")
    parser.add_argument("--scale", action="store_true", help="then run scale.py: 10 million rows, start, memory")
    parser.add_argument("--rounds", type=int, default=3, help="of the paired cells (3)")
    parser.add_argument("--no-reference", action="store_true", help="leave the Python reference out")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", help="where the figures go")
    parser.add_argument("--service", default=str(ROOT / "scripts" / "service.sh"), help="script with start and stop")
    return parser.parse_args()


def bench(options, directory: Path) -> bool:
    seconds = float(os.environ.get("BENCH_SECONDS", "5"))
    facts = harness.machine()
    goals = Goals()
    service = Service(directory / "service", options.service)
    references = {}
    try:
        service.add_return_location()
        check_answers(service.plain, service.key)
        check_answers(service.tls, service.key)
        ids = directory / "ids"
        collect_ids(service, ids)
        KINDS["GET /predictions/{id}"] = ["ids", "/predictions/", str(ids)]
        if not options.no_reference:
            for name, nodelay in ((REFERENCE, False), (NODELAY, True)):
                references[name] = Reference(directory / f"reference-{len(references)}", nodelay)
            for reference in references.values():
                reference.wait_ready()
                check_answers(reference.plain, reference.key)

        different = service.different_headers()
        run = Bench(service, references, seconds, options.rounds)
        run.all()
    finally:
        for reference in references.values():
            reference.stop()
        service.stop()

    run.goals(goals)
    goals.print()
    if different:
        say(f"note: /version and /bench/return differ in headers: {', '.join(different)}")
    others = max(cell["others"] for cell in run.cells)
    if others > 0.05:
        say(f"note: other programs took up to {others:.0%} of the machine during a cell: the ratios are noisy")
    stored, told = rows_of(service.database), run.told()
    lost = max(0, told - stored)
    say(f"predictions acknowledged {told:,}, stored {stored:,}{' — LOST ' + str(lost) if lost else ''}")
    failed = lost > 0 or any(c["errors"] for c in run.cells if c["name"] in KINDS)

    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": facts,
        "seconds_per_cell": seconds,
        "rounds": options.rounds,
        "cells": run.cells,
        "paired": run.paired,
        "goals": goals.rows,
        "acknowledged": told,
        "stored": stored,
    }
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    say(f"figures: {options.json}")
    return not failed and (goals.met or not options.gate)


def main() -> int:
    options = arguments()
    harness.exit_on_signals()
    directory = None
    try:
        harness.need("wrk", "nginx")
        directory = harness.scratch()
        good = bench(options, directory)
    except Failed as error:
        print(f"bench: {error}", file=sys.stderr)
        good = False
        if directory:
            print(f"bench: its files are kept in {directory}", file=sys.stderr)
            directory = None
    finally:
        if directory:
            shutil.rmtree(directory, ignore_errors=True)
    if options.scale and good:
        import scale

        good = scale.main(["--service", options.service] + (["--gate"] if options.gate else [])) == 0
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
