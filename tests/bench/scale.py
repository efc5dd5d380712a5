"""`make bench ARGS=--scale`: how the service bears ten million rows, how soon a worker answers, and whether it grows.

Three parts, each with its goals (choose with --only rows, start, memory):

rows    Two services side by side, one on a database of ten thousand rows and one of ten million (about 5 GB under
        BENCH_DIR, removed at the end). Each kind of request is measured on both, one after the other, in rounds; the
        result is the median of the rounds' ratios. Reading compares the mean time of a request, one after the other on
        one connection and at 64; writing compares the rate at 64 connections.
start   A worker is started as spawn-fcgi starts it, listening socket on descriptor 0, and asked for /livez at once: time
        from exec to the answer.
memory  One worker, a mix of reading and writing until a million requests are done, and a million more; its memory from
        /proc after each. What it shares with others (binary, libraries, shared memory) is shown, too.

Environment: BENCH_SECONDS per cell (5), BENCH_DIR.
"""
import argparse
import json
import os
import random
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List
from urllib.parse import quote

import harness
from harness import ROOT, Failed, Goals, Service, fetch, wrk

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import fcgi_client

CONNECTIONS = 64
IDS = 20000
STARTS = 15


def say(text: str) -> None:
    print(text, flush=True)


# --- rows ---


def migrated(directory: Path, environment: Dict[str, str], database: Path) -> None:
    database.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [harness.appcore(environment), "migrate", "up"], env=environment, cwd=directory, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise Failed(f"appcore migrate up failed: {done.stderr.strip() or done.stdout.strip()}")


def fill(service: Service, rows: int) -> None:
    """Schema by the service's own migrations, rows by fill.sql."""
    migrated(service.directory, service.environment, service.database)
    script = (harness.HERE / "fill.sql").read_text().replace(":rows", str(rows))
    begun = time.monotonic()
    done = subprocess.run(["sqlite3", "-bail", service.database], input=script, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(f"the database could not be filled: {done.stderr.strip()}")
    size = service.database.stat().st_size
    say(f"filled {rows:,} rows in {time.monotonic() - begun:.0f} s, {size / 1e6:,.0f} MB ({size / rows:.0f} bytes a row)")


def sample_ids(service: Service, rows: int, path: Path) -> None:
    """Ids of random rows: the first one at or after a random time."""
    db = sqlite3.connect(f"file:{service.database}?mode=ro", uri=True)
    try:
        low, high = (int(row.replace("-", "")[:12], 16) for row in db.execute("SELECT min(id), max(id) FROM predictions").fetchone())
        chance = random.Random(11)
        ids = []
        for _ in range(min(IDS, rows)):
            prefix = f"{chance.randint(low, high):012x}"
            row = db.execute(
                "SELECT id FROM predictions WHERE id <= ? ORDER BY id DESC LIMIT 1",
                (f"{prefix[:8]}-{prefix[8:]}-8",),
            ).fetchone()
            if row:
                ids.append(row[0])
    finally:
        db.close()
    path.write_text("\n".join(ids) + "\n")


def deep_page(service: Service, ids: Path) -> str:
    """The list of /api/v1 from a cursor in the middle of all rows."""
    ordered = sorted(ids.read_text().split())
    status, _, body = fetch(f"{service.direct}/api/v1/predictions/{ordered[len(ordered) // 2]}")
    if status != 200:
        raise Failed(f"/api/v1/predictions/{{id}} answers {status} {body[:200]!r}")
    until = quote(json.loads(body)["created_at"])
    status, _, body = fetch(f"{service.direct}/api/v1/predictions?limit=1&created_until={until}")
    if status != 200 or not json.loads(body).get("next_cursor"):
        raise Failed(f"/api/v1/predictions with created_until answers {status} {body[:200]!r}")
    return f"/api/v1/predictions?limit=20&cursor={quote(json.loads(body)['next_cursor'])}"


def compare_rows(directory: Path, options, seconds: float, goals: Goals) -> dict:
    sizes = {"small": options.small, "big": options.big}
    services = {name: Service(directory / name, options.service) for name in sizes}
    kinds: Dict[str, Dict[str, List[str]]] = {}
    try:
        for name, service in services.items():
            fill(service, sizes[name])
            service.start()
            ids = directory / f"{name}.ids"
            sample_ids(service, sizes[name], ids)
            kinds[name] = {
                "GET /predictions/{id}": ["ids", "/predictions/", str(ids)],
                "GET /predictions": ["get", "/predictions"],
                "GET /api/v1/predictions?limit=20": ["get", "/api/v1/predictions?limit=20"],
                "the same, from a cursor in the middle": ["get", deep_page(service, ids)],
                "POST /predict": ["predict"],
            }
        return measure_rows(services, kinds, options.rounds, seconds, goals)
    finally:
        for service in services.values():
            service.stop()


def measure_rows(services, kinds, rounds: int, seconds: float, goals: Goals) -> dict:
    """Reads are measured on one connection and at 64; /api/v1 is not on the clear port, so all of it goes over the direct
    one."""
    result = {}
    errors, others = 0, 0.0
    say(f"\n{'':<40} {'conn':>4} {'small, req/s':>13} {'big, req/s':>13} {'p50 ms':>14} {'p99 ms':>16} {'CPU µs':>12}  ratio")
    for kind in kinds["small"]:
        writes = kind == "POST /predict"
        for connections in (CONNECTIONS,) if writes else (1, CONNECTIONS):
            runs = {"small": [], "big": []}
            for i in range(rounds):
                # The order alternates: what runs second finds a machine that the first has used.
                for name in ("small", "big") if i % 2 == 0 else ("big", "small"):
                    service = services[name]
                    run = harness.metered(service, service.direct, kinds[name][kind], connections, seconds)
                    runs[name].append(run)
                    errors += run["errors"]
            if writes:
                ratio = statistics.median(b["rps"] / s["rps"] for s, b in zip(runs["small"], runs["big"]))
                goals.add(f"{kind}, rate big : small", ratio, ">=", 0.8)
            elif connections == 1:
                # The mean and not the median: what a cache misses now and then counts as well.
                ratio = statistics.median(s["rps"] / b["rps"] for s, b in zip(runs["small"], runs["big"]))
                goals.add(f"{kind}, time big : small", ratio, "<=", 1.2)
            else:
                ratio = statistics.median(s["rps"] / b["rps"] for s, b in zip(runs["small"], runs["big"]))
                goals.add(f"{kind}, the same at {CONNECTIONS}", ratio, "<=", 1.2)
            others = max(others, *(run["others"] for side in runs.values() for run in side))
            small, big = (harness.median_run(runs[name]) for name in ("small", "big"))
            p50 = f"{small['p50_ms']:.2f} {big['p50_ms']:.2f}"
            cpu = " ".join(f"{sum(v for k, v in run['cpu_us'].items() if k != 'wrk'):.1f}" for run in (small, big))
            p99 = f"{small['p99_ms']:.2f} {big['p99_ms']:.2f}"
            say(f"{kind:<40} {connections:>4} {small['rps']:>13,.0f} {big['rps']:>13,.0f} {p50:>14} {p99:>16} {cpu:>12}  {ratio:.2f}")
            result[f"{kind} at {connections}"] = {"small": small, "big": big, "ratio": ratio}
    goals.add("errors with many rows", errors, "<=", 0)
    if others > 0.05:
        say(f"note: other programs took up to {others:.0%} of the machine during a cell: the ratios are noisy")
    return result


# --- start ---


def start_once(command: List[str], environment: Dict[str, str], directory: Path) -> float:
    """Seconds from exec to the answered /livez."""
    path = str(directory / "start.sock")
    if os.path.exists(path):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX) as listening, (directory / "start.log").open("ab") as log:
        listening.bind(path)
        listening.listen(128)
        begun = time.perf_counter()
        worker = subprocess.Popen(command, stdin=listening, stdout=log, stderr=log, env=environment, cwd=directory)
    try:
        # The socket listens already: the request waits in it until the worker is ready.
        with fcgi_client.Connection(path, timeout=10) as connection:
            answer = connection.request("GET", "/livez")
        took = time.perf_counter() - begun
        if answer.status != 200:
            raise Failed(f"/livez answers {answer.status} {answer.body[:200]!r}")
        return took
    except (fcgi_client.Closed, OSError):
        tail = (directory / "start.log").read_text(errors="replace").strip().splitlines()[-3:]
        raise Failed("a worker that was started by itself does not answer: " + " | ".join(tail)) from None
    finally:
        worker.terminate()
        try:
            worker.wait(15)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def measure_start(directory: Path, options, goals: Goals) -> dict:
    service = Service(directory / "start", options.service)
    service.run_dir.mkdir()
    environment = {**service.environment, "INSTANCE_ID": "API-1"}
    migrated(service.directory, environment, service.database)
    command = [harness.appcore(environment), "serve"]
    times = [start_once(command, environment, service.directory) * 1000 for _ in range(STARTS + 1)][1:]
    say(f"\nworker's start to its first answer: median {statistics.median(times):.1f} ms, worst of {STARTS} {max(times):.1f} ms")
    goals.add("start to first answer, ms (median)", statistics.median(times), "<=", 50, f"worst {max(times):.1f}")
    return {"ms": times}


# --- memory ---


def memory_of(pid: int) -> Dict[str, int]:
    """Resident kB of a process: all, its own (anonymous), files, shared memory."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {name: int(fields[name].split()[0]) for name in ("VmRSS", "RssAnon", "RssFile", "RssShmem", "VmHWM")}


def requests_until(service: Service, ids: Path, wanted: int, connections: int, seconds: float) -> int:
    kinds = [["predict"], ["ids", "/predictions/", str(ids)], ["get", "/predictions?limit=100"], ["get", "/version"]]
    done, i = 0, 0
    while done < wanted:
        run = wrk(service.direct, kinds[i % len(kinds)], connections, seconds, service.key)
        if run["errors"] or not run["requests"]:
            raise Failed(f"{run['errors']} errors while the worker was loaded with {' '.join(kinds[i % len(kinds)])}")
        done += run["requests"]
        i += 1
    return done


def measure_memory(directory: Path, options, seconds: float, goals: Goals) -> dict:
    service = Service(directory / "memory", options.service, instances=1)
    result = []
    try:
        service.start()
        ids = directory / "memory.ids"
        answers = (fetch(service.plain + "/predict", service.key, {"features": [float(i)]}) for i in range(100))
        ids.write_text("".join(json.loads(body)["prediction_id"] + "\n" for _, _, body in answers))
        say(f"\n{'a worker after':<24} {'resident kB':>11} {'own':>8} {'files':>8} {'shared':>8} {'most ever':>10}")
        pids = service.workers()
        # The last part shows what a burst of more clients leaves behind; no goal.
        for wanted, connections in ((1, 1), (options.requests, 64), (options.requests, 64), (options.requests // 10, 256)):
            count = requests_until(service, ids, wanted, connections, seconds if wanted > 1 else 1)
            result.append({"requests": count + (result[-1]["requests"] if result else 0), **memory_of(pids[0])})
            row = result[-1]
            say(
                f"{row['requests']:>14,} requests {row['VmRSS']:>11,} {row['RssAnon']:>8,} {row['RssFile']:>8,} "
                f"{row['RssShmem']:>8,} {row['VmHWM']:>10,}  {connections} connections"
            )
        if service.workers() != pids:
            raise Failed("the worker was replaced while it was loaded: see the service's log")
    finally:
        service.stop()
    first, second = result[1], result[2]
    goals.add("resident MB of a worker", second["VmRSS"] / 1024, "<=", 16)
    growth = (second["RssAnon"] - first["RssAnon"]) / 1024
    # A page or two of a thread's stack touched late is not growth.
    goals.add("its growth in the second half, MB", growth, "<=", 0.25, "anonymous memory")
    return {"samples": result}


def main(argv: List[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--gate", action="store_true", help="exit 1 when a goal is missed")
    parser.add_argument("--only", action="append", choices=("rows", "start", "memory"), help="a part (all)")
    parser.add_argument("--small", type=int, default=10_000, help="rows of the small database")
    parser.add_argument("--big", type=int, default=10_000_000, help="rows of the big one")
    parser.add_argument("--requests", type=int, default=1_000_000, help="per half of the memory part (1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="of each comparison (3)")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench-scale.json", help="where the figures go")
    parser.add_argument("--service", default=str(ROOT / "scripts" / "service.sh"), help="script with start and stop")
    options = parser.parse_args(argv)
    seconds = float(os.environ.get("BENCH_SECONDS", "5"))
    only = options.only or ["rows", "start", "memory"]

    harness.exit_on_signals()
    goals = Goals()
    report = {"machine": harness.machine(), "seconds_per_cell": seconds, "rounds": options.rounds}
    directory = None
    try:
        harness.need("wrk", "nginx", "sqlite3")
        directory = harness.scratch()
        if "start" in only:
            report["start"] = measure_start(directory, options, goals)
        if "rows" in only:
            report["rows"] = compare_rows(directory, options, seconds, goals)
        if "memory" in only:
            report["memory"] = measure_memory(directory, options, seconds, goals)
    except Failed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        if directory:
            shutil.rmtree(directory, ignore_errors=True)
    goals.print()
    options.json.parent.mkdir(parents=True, exist_ok=True)
    report["goals"] = goals.rows
    options.json.write_text(json.dumps(report, indent=1) + "\n")
    say(f"figures: {options.json}")
    return 1 if options.gate and not goals.met else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
