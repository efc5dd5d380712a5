"""`make bench`: what the service reaches beside nginx's bare `return 200` and beside a Python service of the same API.

Starts the real service (limits off) and the Python reference in a scratch directory on free loopback ports, loads them
with wrk, prints a table and writes JSON, with the goals beside the ratios. Only ratios within one run mean something:
the machine is noisy and shares its cores with wrk and nginx. What a ratio compares is therefore measured in rounds, one
after the other, and the ratio is the median of the rounds' ratios. A missed goal is reported as MISSED; the exit code
is 1 for it only with --gate, and always 1 when requests failed or what is stored is not what clients were told.

With --postgres, a second service and a second reference on a private PostgreSQL server join the rounds; with --redis, two
services with limits that never refuse, which one keeps in its shared memory and the other in a private Redis.

Environment: BENCH_SECONDS per cell (5; CI uses 2), BENCH_DIR for the scratch directory.
"""
import argparse
import json
import os
import shutil
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Union

import harness
import servers
from harness import ROOT, Failed, Goals, Reference, Service, fetch, median_run, metered

CONNECTIONS = (1, 64, 256)
PAIRED = 64  # connections of the cells that the ratios come from
IDS = 512
LIMIT = 100_000_000  # requests a minute, the largest there is: it never refuses

RETURN = "nginx return 200"
VERSION = "GET /version"
PREDICT = "POST /predict"
READ = "GET /predictions/{id}"
REFERENCE = "POST /predict, Python"
NODELAY = "POST /predict, Python, no Nagle"
PG = ", PostgreSQL"  # after any of these
LOCAL = "POST /predict, local limits"
SHARED = "POST /predict, Redis limits"


class Cell(NamedTuple):
    """What a name in the table stands for."""

    server: Union[Service, Reference]
    kind: List[str]  # arguments of load.lua


def say(text: str) -> None:
    print(text, flush=True)


def check_answers(server: Union[Service, Reference], base: str) -> None:
    """One look at what is going to be loaded: a bench of error pages would be fast."""
    status, _, body = fetch(base + "/predict", server.key, {"features": [1.0, 2.0, 3.0]})
    if status != 201 or json.loads(body)["result"] != 2.0:
        raise Failed(f"{base}/predict answers {status} {body[:200]!r}")
    server.told.acknowledged += 1
    prediction = json.loads(body)["prediction_id"]
    status, _, body = fetch(f"{base}/predictions/{prediction}")
    if status != 200 or json.loads(body)["id"] != prediction:
        raise Failed(f"{base}/predictions/{{id}} answers {status} {body[:200]!r}")


def collect_ids(service: Service, path: Path) -> List[str]:
    """Stores some predictions; the load that reads them."""
    ids = []
    for i in range(IDS):
        status, _, body = fetch(service.plain + "/predict", service.key, {"features": [float(i), 0.5]})
        if status != 201:
            raise Failed(f"/predict answers {status} {body[:200]!r}")
        service.told.acknowledged += 1
        ids.append(json.loads(body)["prediction_id"])
    path.write_text("\n".join(ids) + "\n")
    return ["ids", "/predictions/", str(path)]


class Bench:
    """Cells in the order in which each round takes them: what is compared stands side by side. Those of `others` are
    also measured with other numbers of connections and over TLS."""

    def __init__(self, rounds_of: Dict[str, Cell], others: List[str], seconds: float, rounds: int):
        self.rounds_of = rounds_of
        self.others = others
        self.seconds = seconds
        self.rounds = rounds
        self.cells = []  # of the table, in order
        self.paired = {name: [] for name in rounds_of}  # one result per round

    def run(self, name: str, transport: str, connections: int, seconds: float) -> dict:
        server, kind = self.rounds_of[name]
        base = server.tls if transport == "TLS" else server.plain
        result = metered(server, base, kind, connections, seconds)
        if kind == ["predict"]:
            server.told.add(result, connections)
        return result

    def add(self, name: str, transport: str, connections: int, result: dict) -> None:
        ours = isinstance(self.rounds_of[name].server, Service)
        self.cells.append({"name": name, "transport": transport, "connections": connections, "ours": ours, **result})
        say(
            f"{name:<43} {transport:<5} {connections:>4} {result['rps']:>10,.0f} {result['p50_ms']:>9.2f} "
            f"{result['p99_ms']:>9.2f} {result['p999_ms']:>9.2f} {result['max_ms']:>9.2f} {result['errors']:>7} "
            + "".join(f" {part} {used:.1f}" for part, used in result["cpu_us"].items())
        )

    def all(self) -> None:
        say(
            f"{'':<43} {'':<5} {'conn':>4} {'req/s':>10} {'p50 ms':>9} {'p99 ms':>9} {'p99.9':>9} {'max':>9}  errors "
            "CPU µs per request"
        )
        for name, cell in self.rounds_of.items():  # warm-up, not counted
            if name == VERSION or (cell.kind == ["predict"] and isinstance(cell.server, Service)):
                self.run(name, "plain", PAIRED, 1)

        for _ in range(self.rounds):
            for name, results in self.paired.items():
                results.append(self.run(name, "plain", PAIRED, self.seconds))
        for name, results in self.paired.items():
            self.add(name, "plain", PAIRED, median_run(results))

        for transport in ("plain", "TLS"):
            for connections in CONNECTIONS:
                for name in self.others:
                    if (transport, connections) != ("plain", PAIRED):
                        self.add(name, transport, connections, self.run(name, transport, connections, self.seconds))

    def errors(self) -> int:
        return sum(cell["errors"] for cell in self.cells if cell["ours"])

    def ratio(self, above: str, below: str, of: str = "rps"):
        pairs = zip(self.paired.get(above, []), self.paired.get(below, []))
        ratios = [a[of] / b[of] for a, b in pairs if b[of]]
        return statistics.median(ratios) if ratios else None

    def beside_python(self, goals: Goals, name: str, after: str, goal: float) -> None:
        beside = self.ratio(PREDICT + after, NODELAY + after)
        detail = f"({beside:.1f} with Nagle's algorithm off)" if beside else ""
        goals.add(name, self.ratio(PREDICT + after, REFERENCE + after), ">=", goal, detail)

    def goals(self, goals: Goals) -> None:
        goals.add("GET /version : nginx return 200", self.ratio(VERSION, RETURN), ">=", 0.75)
        goals.add("POST /predict : GET /version", self.ratio(PREDICT, VERSION), ">=", 0.50)
        self.beside_python(goals, "POST /predict : Python reference", "", 30)
        spread = statistics.median(run["p99_ms"] / run["p50_ms"] for run in self.paired[PREDICT])
        goals.add("POST /predict, p99 : p50", spread, "<=", 4)
        if PREDICT + PG in self.paired:
            goals.add("POST /predict PostgreSQL : SQLite", self.ratio(PREDICT + PG, PREDICT), ">=", 0.40)
            self.beside_python(goals, "POST /predict PostgreSQL : Python on PostgreSQL", PG, 15)
        if SHARED in self.paired:
            goals.add("with Redis limits : with local limits", self.ratio(SHARED, LOCAL), ">=", 0.85)
        goals.add("errors", self.errors(), "<=", 0)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gate", action="store_true", help="exit 1 when a goal is missed")
    parser.add_argument("--scale", action="store_true", help="then run scale.py: 10 million rows, start, memory")
    parser.add_argument("--postgres", action="store_true", help="also on a private PostgreSQL server")
    parser.add_argument("--redis", action="store_true", help="also what limits in a private Redis cost")
    parser.add_argument("--rounds", type=int, default=3, help="of the paired cells (3)")
    parser.add_argument("--no-reference", action="store_true", help="leave the Python reference out")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", help="where the figures go")
    parser.add_argument("--service", default=str(ROOT / "scripts" / "service.sh"), help="script with start and stop")
    return parser.parse_args()


def on_sqlite(options, directory: Path, stack: ExitStack) -> Dict[str, Cell]:
    service = Service(directory / "service", options.service)
    stack.callback(service.stop)
    service.add_return_location()
    check_answers(service, service.plain)
    check_answers(service, service.tls)
    return {
        RETURN: Cell(service, ["get", "/bench/return"]),
        VERSION: Cell(service, ["get", "/version"]),
        PREDICT: Cell(service, ["predict"]),
        READ: Cell(service, collect_ids(service, directory / "ids")),
    }


def on_postgres(options, directory: Path, stack: ExitStack, server: servers.Postgres) -> Dict[str, Cell]:
    service = Service(directory / "service-pg", options.service, servers.PostgresDatabase(server, "service"))
    stack.callback(service.stop)
    service.start()
    check_answers(service, service.plain)
    return {
        PREDICT + PG: Cell(service, ["predict"]),
        READ + PG: Cell(service, collect_ids(service, directory / "ids-pg")),
    }


def with_limits(options, directory: Path, stack: ExitStack, redis: servers.Redis) -> Dict[str, Cell]:
    cells = {}
    for name, folder, shared in ((LOCAL, "limits", None), (SHARED, "limits-redis", redis)):
        service = Service(directory / folder, options.service, limit=LIMIT, redis=shared)
        stack.callback(service.stop)
        service.start()
        check_answers(service, service.plain)
        cells[name] = Cell(service, ["predict"])
    return cells


def references(directory: Path, stack: ExitStack, server: Optional[servers.Postgres]) -> Dict[str, Cell]:
    cells = {}
    for after in ("", PG) if server else ("",):
        for name, nodelay in ((REFERENCE, False), (NODELAY, True)):
            n = len(cells)
            store = servers.PostgresDatabase(server, f"reference_{n}") if after else None
            reference = Reference(directory / f"reference-{n}", nodelay, store)
            stack.callback(reference.stop)
            cells[name + after] = Cell(reference, ["predict"])
    for reference, _ in cells.values():
        reference.wait_ready()
        check_answers(reference, reference.plain)
    return cells


def in_order(cells: Dict[str, Cell]) -> Dict[str, Cell]:
    """What is compared side by side."""
    order = (RETURN, VERSION, PREDICT, PREDICT + PG, LOCAL, SHARED, READ, READ + PG)
    order += (REFERENCE, NODELAY, REFERENCE + PG, NODELAY + PG)
    return {name: cells[name] for name in order if name in cells}


def redis_calls(service: Service) -> Dict[str, int]:
    """How often a service called Redis for its limits, by outcome. Limits that are its own after all would cost little."""
    calls = {}
    for line in fetch(service.plain + "/metrics")[2].decode().splitlines():
        if line.startswith("appcore_redis_operations_total{") and 'operation="limit"' in line:
            outcome = line.partition('outcome="')[2].partition('"')[0]
            calls[outcome] = calls.get(outcome, 0) + int(float(line.split()[-1]))
    if not calls.get("ok"):
        raise Failed(f"no limit was asked of Redis: {calls}")
    return calls


def compare_stores(cells: Dict[str, Cell]) -> List[dict]:
    """What clients were told beside what is stored, once per store; prints it."""
    stores = []
    for name, (server, kind) in cells.items():
        if kind == ["predict"]:
            told, stored = server.told, server.store.rows()
            good = told.acknowledged <= stored <= told.acknowledged + told.open
            stores.append({"name": name, **vars(told), "stored": stored, "good": good})
            words = f"acknowledged {told.acknowledged:>9,}, stored {stored:>9,}"
            if not good:
                words += f" — {'LOST' if stored < told.acknowledged else 'TOO MANY'}"
            say(f"{name:<43} {words}")
    return stores


def bench(options, directory: Path) -> bool:
    seconds = float(os.environ.get("BENCH_SECONDS", "5"))
    facts = harness.machine()
    goals = Goals()
    with ExitStack() as private:
        postgres = redis = None
        if options.postgres:
            postgres = servers.Postgres(directory / "postgres")
            private.callback(postgres.remove)
            facts["postgresql"] = postgres.settings["server_version"]
        if options.redis:
            redis = servers.Redis(directory / "redis")
            private.callback(redis.remove)
        with ExitStack() as running:
            cells = on_sqlite(options, directory, running)
            plain_and_tls = list(cells)
            service = cells[VERSION].server
            if postgres:
                cells.update(on_postgres(options, directory, running, postgres))
            if redis:
                cells.update(with_limits(options, directory, running, redis))
            if not options.no_reference:
                cells.update(references(directory, running, postgres))
            different = service.different_headers()
            run = Bench(in_order(cells), plain_and_tls, seconds, options.rounds)
            run.all()
            calls = redis_calls(cells[SHARED].server) if redis else {}

        run.goals(goals)
        goals.print()
        say("")
        stores = compare_stores(run.rounds_of)
    if different:
        say(f"note: /version and /bench/return differ in headers: {', '.join(different)}")
    others = max(cell["others"] for cell in run.cells)
    if others > 0.05:
        say(f"note: other programs took up to {others:.0%} of the machine during a cell: the ratios are noisy")
    if calls:
        say("note: calls of Redis for limits: " + ", ".join(f"{outcome} {n:,}" for outcome, n in sorted(calls.items())))
    failed = run.errors() > 0 or not all(store["good"] for store in stores)

    options.json.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "machine": facts,
        "seconds_per_cell": seconds,
        "rounds": options.rounds,
        "cells": run.cells,
        "paired": run.paired,
        "goals": goals.rows,
        "stores": stores,
        "redis_limit_calls": calls,
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
        servers.need(options.postgres, options.redis)
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
