#!/usr/bin/python3
"""Data pipelines: a CSV of many rows and twelve columns, from the file to the database.

Usage: data.py APPCORE [--gate] [--rows N] [--others]     (build/release/appcore; a million rows)

Compared are: sqlite3's .import into a plain table without an index, one transaction, no rules at all; pandas (read_csv,
the same rules, to_sql), when it is installed; a loop over records in Python as such pipelines are often written; and
appcore: rules, a key that must be unique, JSON records, a transaction for each batch that is on the disk before the next
one, and with a model of 100 trees. All on this machine, one after the other; the ratios count, and
on a busy machine the processor time: appcore's threads that read and transform let everybody else go first. --gate: only lost rows and
errors are errors, for a machine that is busy otherwise."""
import contextlib
import csv
import importlib.util
import json
import os
import random
import secrets
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Optional, Tuple

from harness import ROOT, Failed, Service, exit_on_signals, need, share_processors, wrk

COLUMNS = ["id", "value", "category", "price", "weight", "height", "score", "ratio", "count", "city", "note", "day"]
NUMBERS = ["value", "price", "weight", "height", "score", "ratio"]
BAD = 1000  # each so-many-th row has no number in `value`

PANDAS = """
import sqlite3, sys, pandas
frame = pandas.read_csv(sys.argv[1])
frame["value"] = pandas.to_numeric(frame["value"], errors="coerce")
for name in ("price", "weight", "height", "score", "ratio"):
    frame[name] = pandas.to_numeric(frame[name])
frame["category"] = frame["category"].str.lower().str.strip()
frame["city"] = frame["city"].str.strip()
frame["day"] = pandas.to_datetime(frame["day"]).dt.strftime("%Y-%m-%d")
frame = frame.dropna(subset=["id", "value", "category"]).drop_duplicates("id")
db = sqlite3.connect(sys.argv[2])
frame.to_sql("records", db, index=False)
db.commit()
"""


def write_rows(path: Path, rows: int) -> int:
    """Returns how many of them are good."""
    random.seed(6)
    bad = 0
    with open(path, "w", newline="") as file:
        file.write(",".join(COLUMNS) + "\n")
        for i in range(rows):
            r = random.random()
            value = f"{r * 1000:.4f}"
            if i % BAD == BAD - 1:
                value, bad = "n/a", bad + 1
            file.write(f"{i},{value}, Kind {i % 7} ,{r * 99:.2f},{r * 7:.3f},{r + 1:.5f},{r * 10:.2f},{1 - r:.4f},"
                       f"{i * 7919 % 100003},City {i % 500},note {i % 1000},2026-{i % 12 + 1:02d}-{i % 28 + 1:02d}\n")  # fmt: skip
    return rows - bad


# --- the others ---


def by_import(path: Path, folder: Path) -> float:
    database = folder / "import.db"
    began = time.monotonic()
    subprocess.run(["sqlite3", str(database), f"CREATE TABLE t ({', '.join(COLUMNS)})", ".mode csv", f".import --skip 1 {path} t"], check=True)
    took = time.monotonic() - began
    database.unlink()
    return took


def by_pandas(path: Path, folder: Path) -> Optional[float]:
    if importlib.util.find_spec("pandas") is None:
        return None
    database = folder / "pandas.db"
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", PANDAS, str(path), str(database)], check=True)
    took = time.monotonic() - began
    database.unlink()
    return took


def by_records(path: Path, folder: Path) -> float:
    """Record by record: is all there that must be, the value as a number, texts in lower case and trimmed."""
    database = folder / "records.db"
    began = time.monotonic()
    db = sqlite3.connect(database)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE records (id TEXT PRIMARY KEY, received TEXT, source TEXT, data TEXT, status TEXT, processed TEXT)")
    with open(path, newline="") as file:
        for n, record in enumerate(csv.DictReader(file)):
            now = time.strftime("%Y-%m-%dT%H:%M:%S")
            if not all(name in record for name in ("id", "value", "category")):
                continue
            data = dict(record)
            try:
                for name in NUMBERS:
                    data[name] = float(data[name])
            except ValueError:
                continue
            data["category"] = data["category"].lower().strip()
            db.execute("INSERT INTO records VALUES (?, ?, 'csv', ?, 'processed', ?)", (data["id"], now, json.dumps(data), now))
            if n % 1000 == 999:
                db.commit()
    db.commit()
    took = time.monotonic() - began
    db.close()
    database.unlink()
    return took


# --- ours ---


def definition(model: bool) -> dict:
    fields: List[dict] = [{"name": "id", "type": "integer", "required": True}]
    fields += [{"name": name, "type": "number", "required": name == "value"} for name in NUMBERS]
    fields += [{"name": "category", "type": "text", "required": True, "transform": [{"lower": True}, {"trim": True}]},
               {"name": "count", "type": "integer"}, {"name": "city", "type": "text", "transform": [{"trim": True}]},
               {"name": "note", "type": "text"}, {"name": "day", "type": "date"}]  # fmt: skip
    whole = {"name": "scored" if model else "plain", "source": {"format": "csv"}, "fields": fields, "key": ["id"], "to": ["records"]}
    return {**whole, "model": {"name": "bench", "inputs": NUMBERS, "into": "prediction"}} if model else whole


def tree(depth: int, number: int) -> dict:
    """As XGBoost saves one; a complete one."""
    inner = 2**depth - 1
    nodes = 2 * inner + 1
    left = [2 * i + 1 if i < inner else -1 for i in range(nodes)]
    right = [2 * i + 2 if i < inner else -1 for i in range(nodes)]
    scale = [1000, 99, 7, 2, 10, 1]
    features = [random.randrange(len(NUMBERS)) if i < inner else 0 for i in range(nodes)]
    conditions = [random.random() * scale[features[i]] if i < inner else random.random() for i in range(nodes)]
    return {
        "base_weights": [0.0] * nodes, "categories": [], "categories_nodes": [], "categories_segments": [], "categories_sizes": [],
        "default_left": [0] * nodes, "id": number, "left_children": left, "loss_changes": [0.0] * nodes,
        "parents": [2147483647] + [(i - 1) // 2 for i in range(1, nodes)], "right_children": right, "split_conditions": conditions,
        "split_indices": features, "split_type": [0] * nodes, "sum_hessian": [1.0] * nodes,
        "tree_param": {"num_deleted": "0", "num_feature": str(len(NUMBERS)), "num_nodes": str(nodes), "size_leaf_vector": "0"},
    }  # fmt: skip


def write_model(path: Path, trees: int = 100, depth: int = 6) -> None:
    path.write_text(json.dumps({
        "learner": {
            "attributes": {}, "feature_names": NUMBERS, "feature_types": ["float"] * len(NUMBERS),
            "gradient_booster": {
                "name": "gbtree",
                "model": {"gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(trees), "size_leaf_vector": "0"},
                          "tree_info": [0] * trees, "trees": [tree(depth, i) for i in range(trees)]},
            },
            "learner_model_param": {"base_score": "5E-1", "boost_from_average": "1", "num_class": "0",
                                    "num_feature": str(len(NUMBERS)), "num_target": "1"},
            "objective": {"name": "reg:squarederror", "reg_loss_param": {"scale_pos_weight": "1"}},
        },
        "version": [1, 7, 3],
    }))  # fmt: skip


class Appcore:
    def __init__(self, binary: str, folder: Path):
        self.binary, self.folder, self.data = binary, folder, folder / "data"
        for name in ("data/raw", "run", "pipelines"):
            (folder / name).mkdir(parents=True)
        self.env = {**os.environ, "DATA_DIR": str(self.data), "RUN_DIR": str(folder / "run"), "MODELS_DIR": str(folder / "models"),
                    "PIPELINES_DIR": str(folder / "pipelines"), "SECRET_KEY": secrets.token_hex(32), "INSTANCE_ID": "BENCH",
                    "SCHEDULE_INGEST": "off", "SCHEDULE_EXPIRY": "off", "SCHEDULE_RETENTION": "off"}  # fmt: skip
        self.command("migrate", "up")
        write_model(folder / "bench.json")
        self.command("model", "add", str(folder / "bench.json"), "--name", "bench", "--version", "1", "--activate")
        for model in (False, True):
            whole = definition(model)
            (folder / f"pipelines/{whole['name']}.json").write_text(json.dumps(whole))
        self.log = open(folder / "work.log", "w")
        self.worker = subprocess.Popen([binary, "work"], env=self.env, cwd=folder, stdout=self.log, stderr=self.log)

    def command(self, *words: str) -> str:
        done = subprocess.run([self.binary, *words], env=self.env, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"appcore {' '.join(words)}: {done.stderr or done.stdout}")
        return done.stdout

    def run(self, path: Path, pipeline: str) -> Tuple[float, dict]:
        there = self.data / "raw" / f"{pipeline}.csv"
        shutil.copy2(path, there)
        os.utime(there, (time.time() - 60, time.time() - 60))
        told = json.loads(self.command("ingest", str(there), "--pipeline", pipeline, "--follow", "--json"))
        db = sqlite3.connect(self.data / "predictions.db")
        took, number = db.execute("SELECT ended_us - started_us, number FROM data_runs WHERE id = ?", (told["id"],)).fetchone()
        told["there"] = db.execute("SELECT count(*) FROM data_records WHERE run = ?", (number,)).fetchone()[0]
        db.close()
        return took / 1e6, told

    def cpu(self) -> float:
        with open(f"/proc/{self.worker.pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        with open(f"/proc/{self.worker.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024

    def close(self) -> None:
        self.worker.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.worker.wait(20)
        self.worker.kill()
        self.log.close()


# --- what others feel ---

FEW, ROUNDS = 4, 3  # connections: what is measured is how long somebody waits, not who gets the processor


def run_of(service: Service, command: List[str]) -> subprocess.Popen:
    return subprocess.Popen(command, env=service.environment, cwd=service.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure_others(binary: str, folder: Path, path: Path) -> None:
    need("wrk")
    seconds = float(os.environ.get("BENCH_SECONDS", "3"))
    (folder / "pipelines").mkdir()
    # Without a key each run stores all of them.
    (folder / "pipelines/plain.json").write_text(json.dumps({name: value for name, value in definition(False).items() if name != "key"}))
    service = Service(folder / "service", str(ROOT / "scripts" / "service.sh"))
    service.environment.update(APPCORE_BIN=binary, PIPELINES_DIR=str(folder / "pipelines"), WORKERS="1", SCHEDULE_INGEST="off")
    command = [binary, "ingest", str(path), "--pipeline", "plain", "--follow"]
    kinds = {"health": ["get", "/health"], "predict": ["predict"]}
    pairs: Dict[str, List[Tuple[float, float]]] = {name: [] for name in kinds}
    took: List[float] = []
    service.start()
    try:
        for name, kind in kinds.items():
            wrk(service.direct, kind, FEW, 1, service.key)
        for _ in range(ROUNDS):
            for name, kind in kinds.items():
                before = wrk(service.direct, kind, FEW, seconds, service.key)["p99_ms"]
                began = time.monotonic()
                run = run_of(service, command)
                time.sleep(0.3)
                busy = wrk(service.direct, kind, FEW, seconds, service.key)["p99_ms"]
                if run.poll() is not None:
                    print(f"the run ended before {name} was measured: more --rows")
                if run.wait() != 0:
                    raise Failed("a run failed")
                took.append(time.monotonic() - began)
                pairs[name].append(((before + wrk(service.direct, kind, FEW, seconds, service.key)["p99_ms"]) / 2, busy))
    finally:
        service.stop()
    for name, values in pairs.items():
        alone, busy = (statistics.median(v) for v in zip(*values))
        ratio = statistics.median(b / a for a, b in values)
        print(f"p99 of {name:8} alone {alone:6.2f} ms, beside a run {busy:6.2f} ms: {ratio:.1f} times")
    print(f"a run beside them took {statistics.median(took):.1f} s; load {os.getloadavg()[0]:.1f}")


def main() -> int:
    arguments = sys.argv[1:]
    rows = int(arguments[arguments.index("--rows") + 1]) if "--rows" in arguments else 1000000
    exit_on_signals()
    share_processors()
    folder = Path(tempfile.mkdtemp(prefix="appcore-bench-data."))
    appcore: Optional[Appcore] = None
    failed = False
    try:
        path = folder / "rows.csv"
        good = write_rows(path, rows)
        if "--others" in arguments:
            measure_others(os.path.abspath(arguments[0]), folder, path)
            return 0
        took: Dict[str, Optional[float]] = {}
        cpu: Dict[str, float] = {}
        for name, way in (("sqlite3 .import", by_import), ("pandas", by_pandas), ("records in Python", by_records)):
            before = sum(os.times()[:4])
            took[name] = way(path, folder)
            cpu[name] = sum(os.times()[:4]) - before
        appcore = Appcore(os.path.abspath(arguments[0]), folder)
        for name, pipeline in (("appcore", "plain"), ("appcore, 100 trees", "scored")):
            before = appcore.cpu()
            took[name], told = appcore.run(path, pipeline)
            cpu[name] = appcore.cpu() - before
            if told["stored"] != good or told["there"] != good or told["refused"] != rows - good:
                print(f"FAIL {name}: {told} of {good} good rows and {rows - good} bad ones")
                failed = True
        print(f"{rows} rows of {len(COLUMNS)} columns, {path.stat().st_size / 1e6:.0f} MB, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        base = took["sqlite3 .import"] or 1
        for name, seconds in took.items():
            if seconds is None:
                print(f"{name:20} is not installed (make deps-data)")
            else:
                print(f"{name:20} {seconds:7.2f} s {rows / seconds:10.0f} rows/s {base / seconds:6.2f} × .import {cpu[name]:7.2f} s of processor")
        for name in ("pandas", "records in Python"):
            if took[name]:
                print(f"appcore is {took[name] / (took['appcore'] or 1):.1f} times as fast as {name}")  # type: ignore[operator]
        print(f"peak memory of the worker: {appcore.peak_mb():.0f} MB")
    finally:
        if appcore:
            appcore.close()
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
