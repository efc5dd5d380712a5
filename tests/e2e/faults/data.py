#!/usr/bin/python3
"""Pipelines: what was in the sources against what is stored. Each key is there once, with its own value; what a run
counts is what is there; each refused row is told, once, with its line; files in data/processed hold what was stored, in
order, once; whatever happens meanwhile:

the worker is killed with -9 in the midst of a run, again and again; the power is cut; the disk is full; a source grows,
shrinks, is replaced; it is handed over many times at once; the definition is changed."""
import csv
import glob
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from typing import Dict, List, Tuple

from disk import fill, small_disk
from harness import Check, Service, note, request, run, skip, wait_for

from tasks import Worker, log_in

PATIENCE_S = 120.0  # of a busy machine
ROWS = 16000
SETTINGS = {"SCHEDULE_EXPIRY": "off", "SCHEDULE_RETENTION": "off", "SCHEDULE_INGEST": "off", "TASK_LEASE_SECONDS": 1,
            "BATCH_SIZE": 200, "MAX_WORKERS": 2}  # fmt: skip
ORDERS = {
    "name": "orders",
    "source": {"format": "csv", "match": "*.csv"},
    "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "value", "type": "number", "required": True},
               {"name": "note", "type": "text"}],
    "key": ["id"], "duplicates": "skip", "to": ["records", "csv", "jsonl"],
}  # fmt: skip


class Rows:
    """A source, and what is to come of it. Each 50th row repeats a key, each 97th has no number."""

    def __init__(self, n: int = ROWS, first: int = 0, stamp: str = "a"):
        self.text = "id,value,note\n"
        self.stored: Dict[str, float] = {}
        self.refused: List[int] = []
        self.skipped = 0
        self.n = 0
        self.add(n, first, stamp)

    def add(self, n: int, first: int, stamp: str = "a") -> str:
        lines = []
        for i in range(first, first + n):
            self.n += 1
            key, value = i, f"{i}.25"
            if i % 97 == 96:
                value = f"no number {i}"
                self.refused.append(self.n + 1)
            else:
                key = i - 7 if i % 50 == 49 else i
                self.skipped += str(key) in self.stored
                self.stored.setdefault(str(key), i + 0.25)
            lines.append(f'{key},{value},"{stamp}, row {i}"\n')
        self.text += "".join(lines)
        return "".join(lines)


class Data:
    """A service without workers, and what is in its database. Another engine needs no more than another `sql`."""

    def __init__(self, service: Service):
        self.service = service
        self.pipelines = f"{service.folder}/pipelines"
        os.makedirs(self.pipelines, exist_ok=True)
        self.define(ORDERS)

    def sql(self, text: str) -> List[list]:
        db = sqlite3.connect(f"{self.service.data}/predictions.db", isolation_level=None, timeout=60)
        try:
            return [list(row) for row in db.execute(text)]
        finally:
            db.close()

    def value_of(self, data: str) -> float:
        return json.loads(data)["value"]

    def define(self, definition: dict) -> None:
        with open(f"{self.pipelines}/orders.json.new", "w") as file:
            json.dump(definition, file)
        os.replace(f"{self.pipelines}/orders.json.new", f"{self.pipelines}/orders.json")

    def put(self, name: str, text: str) -> str:
        """Into data/raw, whole at once and as if it had lain there for a while."""
        os.makedirs(f"{self.service.data}/raw", exist_ok=True)
        path = f"{self.service.data}/raw/{name}"
        with open(path + ".part", "w", newline="") as file:
            file.write(text)
        os.utime(path + ".part", (time.time() - 60, time.time() - 60))
        os.replace(path + ".part", path)
        return path

    def command(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen([self.service.binary, *arguments], cwd=self.service.folder, env=self.service.settings,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip

    def ingest(self, path: str) -> str:
        command = self.command("ingest", path, "--pipeline", "orders")
        told, _ = command.communicate(timeout=PATIENCE_S)
        if command.returncode != 0:
            raise RuntimeError(f"appcore ingest: {told}")
        return told.strip().splitlines()[-1]

    def run(self, run_id: str) -> dict:
        names = ("number", "state", "rows_read", "stored", "replaced", "skipped", "refused", "bytes_read", "bytes_total", "path", "error")
        rows = self.sql(f"SELECT {', '.join(names)} FROM data_runs WHERE id = '{run_id}'")
        row = dict(zip(names, rows[0])) if rows else dict.fromkeys(names, "")
        return {k: v if k in ("state", "path", "error") else int(v or 0) for k, v in row.items()}

    def is_midway(self, run_id: str, beyond: int = 0) -> bool:
        row = self.run(run_id)
        return row["state"] == "running" and row["rows_read"] > beyond and row["bytes_read"] < row["bytes_total"]

    def is_over(self, run_id: str) -> bool:
        return self.run(run_id)["state"] not in ("pending", "running")

    def ended(self, run_id: str, seconds: float = PATIENCE_S) -> str:
        wait_for(lambda: self.run(run_id)["state"] not in ("pending", "running"), seconds, 0.05)
        return self.run(run_id)["state"]

    def forget(self) -> None:
        for table in ("data_records", "data_refusals", "data_runs", "background_tasks"):
            self.sql(f"DELETE FROM {table}")


def outputs(data: Data, run_id: str) -> Tuple[List[str], List[str]]:
    """The keys in the files that a run wrote, in their order."""
    found: Dict[str, List[str]] = {"csv": [], "jsonl": []}
    for kind, keys in found.items():
        for path in glob.glob(f"{data.service.data}/processed/*-{run_id}.{kind}"):
            with open(path, newline="") as file:
                keys += [str(row["id"]) for row in (csv.DictReader(file) if kind == "csv" else map(json.loads, file))]
    return found["csv"], found["jsonl"]


def compare(check: Check, what: str, data: Data, run_id: str, rows: Rows, archived: bool = True) -> None:
    row = data.run(run_id)
    told = {k: row[k] for k in ("rows_read", "stored", "replaced", "skipped", "refused")}
    due = {"rows_read": rows.n, "stored": len(rows.stored), "replaced": 0, "skipped": rows.skipped, "refused": len(rows.refused)}
    check(row["state"] == "completed" and told == due, f"{what}: the run is completed and counts what was there",
          "" if told == due and row["state"] == "completed" else f"{row} instead of {due}")  # fmt: skip
    found = data.sql(f"SELECT record_key, data FROM data_records WHERE run = {row['number']} ORDER BY seq")
    keys = [str(r[0]) for r in found]
    missing, twice = set(rows.stored) - set(keys), len(keys) - len(set(keys))
    wrong = [r for r in found if rows.stored.get(str(r[0])) != data.value_of(r[1])]
    check(not missing and not twice and not wrong, f"{what}: each of {len(rows.stored)} keys is stored once, with its value",
          f"{len(missing)} missing, {twice} twice, {len(wrong)} wrong: {wrong[:2]}" if missing or twice or wrong else "")  # fmt: skip
    lines = [int(r[0]) for r in data.sql(f"SELECT line FROM data_refusals WHERE run = {row['number']} ORDER BY n")]
    check(lines == rows.refused, f"{what}: each of {len(rows.refused)} refused rows is told once, by its line",
          f"{len(lines)}: {lines[:3]} instead of {rows.refused[:3]}" if lines != rows.refused else "")  # fmt: skip
    in_csv, in_lines = outputs(data, run_id)
    check(in_csv == keys and in_lines == keys, f"{what}: and so they are in the files in data/processed",
          f"{len(in_csv)} and {len(in_lines)} of {len(keys)}" if in_csv != keys or in_lines != keys else "")  # fmt: skip
    if archived:
        there = os.path.exists(f"{data.service.data}/{row['path']}")
        check(row["path"].startswith("archive/") and there, f"{what}: the source is in the archive", "" if there else row["path"])


# --- killed ---


def spoil(data: Data, run_id: str) -> None:
    """What a batch had written when it was not committed."""
    for path in glob.glob(f"{data.service.data}/processed/*-{run_id}.*"):
        with open(path, "a") as file:
            file.write('{"id":99999999,"half of a li')


def killed(check: Check, data: Data) -> None:
    what, rows = "killed", Rows()
    for _ in range(5):  # a run that was over too soon is begun anew
        run_id = data.ingest(data.put("killed.csv", rows.text))
        kills = kill_in_midst(data, run_id)
        if kills >= 2:
            break
        data.forget()
    check(kills >= 2, f"{what}: in the midst of the run", f"{kills} times")
    compare(check, what, data, run_id, rows)


def kill_in_midst(data: Data, run_id: str) -> int:
    """How often the worker of a run was killed; the run is over then."""
    kills, reached = 0, 0
    while kills < 4 and data.run(run_id)["state"] in ("pending", "running"):
        with Worker(data.service) as worker:
            met = wait_for(lambda: data.is_midway(run_id, reached) or data.run(run_id)["state"] == "completed", PATIENCE_S, 0.005)
            if met and data.is_midway(run_id):
                worker.end(signal.SIGKILL)
                kills += 1
        reached = data.run(run_id)["rows_read"]
        if not data.is_over(run_id):  # nobody looks at its files any more
            spoil(data, run_id)
    with Worker(data.service):
        data.ended(run_id)
    return kills


def stopped_in_order(check: Check, data: Data) -> None:
    """SIGTERM hands the run back, and the next worker goes on at once."""
    what, rows = "stopped", Rows(first=10**6)
    midway = Midway(data, "stopped.csv", rows)
    midway.worker.end(signal.SIGTERM)
    before = data.run(midway.run_id)
    with Worker(data.service):
        data.ended(midway.run_id)
    check(midway.met, f"{what}: in the midst of the run", before["rows_read"])
    compare(check, what, data, midway.run_id, rows)


# --- sources that change ---


class Midway:
    """A run in the midst of which everything stands still."""

    def __init__(self, data: Data, name: str, rows: Rows):
        self.data, self.rows = data, rows
        for _ in range(5):  # one that was over before anybody could look is begun anew
            self.path = data.put(name, rows.text)
            self.run_id = data.ingest(self.path)
            self.worker = Worker(data.service)
            self.met = wait_for(lambda: data.is_midway(self.run_id) or data.is_over(self.run_id), PATIENCE_S, 0.002)
            self.worker.send(signal.SIGSTOP)
            self.met = self.met and data.is_midway(self.run_id)
            if self.met:
                break
            self.kill()
            data.forget()

    def go_on(self) -> str:
        self.worker.send(signal.SIGCONT)
        return self.data.ended(self.run_id)

    def kill(self) -> None:
        self.worker.end(signal.SIGKILL)


def grows(check: Check, data: Data) -> None:
    what, rows = "grows", Rows(first=2 * 10**6)
    midway = Midway(data, "grows.csv", rows)
    check(midway.met, f"{what}: while it is read")
    with open(midway.path, "a") as file:
        for piece in range(20):
            text = rows.add(500, 3 * 10**6 + 500 * piece)
            for part in (text[:-9], text[-9:]):  # a line in two halves
                file.write(part)
                file.flush()
                time.sleep(0.02)
            if piece == 0:  # a run that reaches the end before there is more is over
                midway.worker.send(signal.SIGCONT)
    data.ended(midway.run_id)
    midway.kill()
    compare(check, what, data, midway.run_id, rows)


def shrinks(check: Check, data: Data) -> None:
    what, rows = "shrinks", Rows(first=4 * 10**6)
    midway = Midway(data, "shrinks.csv", rows)
    os.truncate(midway.path, 3000)
    state = midway.go_on()
    midway.kill()
    row = data.run(midway.run_id)
    check(midway.met and state == "failed" and "changed" in row["error"], f"{what}: the run fails and says so", "" if state == "failed" else row)
    keys = [str(r[0]) for r in data.sql(f"SELECT record_key FROM data_records WHERE run = {row['number']} ORDER BY seq")]
    check(len(keys) == row["stored"] > 0 and keys == list(rows.stored)[: len(keys)], f"{what}: what came before is stored, and counted",
          f"{len(keys)} and {row['stored']}")  # fmt: skip
    data.command("task", "add", "pipeline_ingest").wait()
    with Worker(data.service):
        wait_for(lambda: not int(data.sql("SELECT count(*) FROM background_tasks WHERE status IN ('pending', 'processing')")[0][0]), PATIENCE_S)
    again = int(data.sql("SELECT count(*) FROM data_runs WHERE source = 'shrinks.csv'")[0][0])
    check(again == 1, f"{what}: it is not read again as it is", again)
    os.unlink(midway.path)


def replaced(check: Check, data: Data) -> None:
    what, rows, other = "replaced", Rows(first=5 * 10**6), Rows(2000, first=6 * 10**6, stamp="other")
    midway = Midway(data, "replaced.csv", rows)
    data.put("replaced.csv", other.text)
    midway.go_on()
    check(midway.met, f"{what}: while it is read")
    compare(check, what, data, midway.run_id, rows, archived=False)
    second = data.ingest(midway.path)
    data.ended(second)
    compare(check, f"{what}, the new one", data, second, other)
    midway.kill()

    what, rows = "replaced after a kill", Rows(first=7 * 10**6)
    midway = Midway(data, "gone.csv", rows)
    midway.kill()
    data.put("gone.csv", Rows(ROWS, first=8 * 10**6).text)
    with Worker(data.service):
        state = data.ended(midway.run_id)
    row = data.run(midway.run_id)
    check(midway.met and state == "failed", f"{what}: the run fails", row["error"] or row)
    mixed = data.sql(f"SELECT count(*) FROM data_records WHERE run = {row['number']} AND record_key >= '8000000'")
    check(int(mixed[0][0]) == 0, f"{what}: nothing of the other file is mixed in")
    os.unlink(midway.path)


def definition_changed(check: Check, data: Data) -> None:
    what, rows = "definition changed", Rows(first=9 * 10**6)
    midway = Midway(data, "definition.csv", rows)
    data.define({**ORDERS, "key": ["note"], "fields": [{**f, "type": "text"} for f in ORDERS["fields"]]})  # type: ignore[attr-defined]
    midway.kill()
    with Worker(data.service):
        data.ended(midway.run_id)
    data.define(ORDERS)
    check(midway.met, f"{what}: in the midst of a run")
    compare(check, what, data, midway.run_id, rows)


# --- asked for ---


def user(data: Data) -> Dict[str, str]:
    """Headers of a superuser."""
    headers = {**log_in(data.service, "operator"), "Content-Type": "application/json"}
    done = data.command("user", "promote", "operator")
    done.wait()
    return headers


def ask(data: Data, headers: Dict[str, str], verb: str, path: str, wanted: Tuple[int, ...] = (200, 202)) -> dict:
    """Again when the worker has not ended yet, or does not know the user's new rights."""
    told = None

    def once() -> bool:
        nonlocal told
        told = request(data.service.direct, verb, f"/api/v1/data/runs/{path}", b"" if verb == "POST" else None, headers, 30)
        return told.status in wanted

    wait_for(once, 120, 0.1)
    return {"status": told.status, "body": told.body[:200]} if told else {}


def asked(check: Check, data: Data) -> None:
    """Paused, continued, cancelled, continued; and what was refused, once more by rules that take it."""
    what, rows, headers = "asked", Rows(2 * ROWS, first=3 * 10**7), user(data)
    run_id, worker = data.ingest(data.put("asked.csv", rows.text)), Worker(data.service, BATCH_SIZE=20)
    midway = wait_for(lambda: data.is_midway(run_id), PATIENCE_S, 0.002)
    for verb, path, state in (("POST", "/pause", "paused"), ("DELETE", "", "cancelled")):
        told = ask(data, headers, verb, run_id + path)
        still = wait_for(lambda: data.run(run_id)["state"] == state and not data.sql(
            f"SELECT 1 FROM background_tasks WHERE task_id = '{run_id}' AND status IN ('pending', 'processing')"), 120, 0.05)  # fmt: skip
        row = data.run(run_id)
        says = data.sql(f"SELECT error_message FROM background_tasks WHERE task_id = '{run_id}'")[0][0]
        check(says == f"It was {state}.", f"{what}: who listens to it is told that it is {state}", says)
        check(midway and still and row["rows_read"] < rows.n, f"{what}: {state} in the midst of it", f"{told} {row}" if not still else row["rows_read"])
        ask(data, headers, "POST", run_id + "/resume")
        midway = wait_for(lambda: data.is_midway(run_id, row["rows_read"]), PATIENCE_S, 0.002)
    data.ended(run_id)
    compare(check, what, data, run_id, rows)

    data.define({**ORDERS, "fields": [{**f, "type": "text"} if f["name"] == "value" else f for f in ORDERS["fields"]]})  # type: ignore[attr-defined,index]
    told = request(data.service.direct, "POST", f"/api/v1/data/runs/{run_id}/retry", b"", headers, 30)
    again = [r for r in data.sql("SELECT id FROM data_runs WHERE retry_of > 0")]
    state = data.ended(str(again[0][0])) if again else ""
    row = data.run(str(again[0][0])) if again else {}
    counts = (row.get("rows_read"), row.get("stored", 0) + row.get("skipped", 0), row.get("refused"))
    n = len(rows.refused)
    check(state == "completed" and counts == (n, n, 0), f"{what}: what was refused is read again by new rules, and nothing else",
          f"{told.status} {told.body[:200]!r} {row}" if counts != (n, n, 0) else "")  # fmt: skip
    data.define(ORDERS)
    worker.end(signal.SIGKILL)


# --- handed over at once ---


def at_once(check: Check, data: Data) -> None:
    what, rows = "at once", Rows(first=10**7)
    path = data.put("once.csv", rows.text)
    commands = [data.command("ingest", path, "--pipeline", "orders") for _ in range(4)]
    commands += [data.command("task", "add", "pipeline_ingest") for _ in range(4)]
    told = [command.communicate(timeout=PATIENCE_S)[0] for command in commands]
    # Only then: the file would be in the archive before a late command looks for it.
    workers = [Worker(data.service) for _ in range(2)]
    good = all(command.returncode == 0 for command in commands)
    ids = [str(r[0]) for r in data.sql("SELECT id FROM data_runs WHERE source = 'once.csv'")]
    state = data.ended(ids[0]) if ids else ""
    wait_for(lambda: not int(data.sql("SELECT count(*) FROM background_tasks WHERE status IN ('pending', 'processing')")[0][0]), PATIENCE_S)
    for worker in workers:
        worker.end(signal.SIGKILL)
    check(good and len(ids) == 1 and state == "completed", f"{what}: four commands and four looks at data/raw are one run",
          f"{len(ids)} {state} {told if not good else ''}")  # fmt: skip
    if ids:
        compare(check, what, data, ids[0], rows)


# --- disks ---


def disk_full(check: Check) -> None:
    what, rows = "disk full", Rows(4 * ROWS)
    if os.geteuid() != 0:
        skip("disk full: only root may mount small disks")
        return
    service = Service(instances=1, WORKERS=0, **SETTINGS)
    with small_disk(service, "tmpfs") as mounted:
        if not mounted:
            skip("disk full: no tmpfs can be mounted here")
            return
        data = start(service)
        run_id = data.ingest(data.put("full.csv", rows.text))
        filler = fill(service, 8_000_000)
        with Worker(service) as worker:
            noticed = wait_for(lambda: "tasks wait for the database" in worker.log(), PATIENCE_S)
            held = data.run(run_id)
            check(noticed and held["state"] == "running", f"{what}: in the midst of a run", held["rows_read"])
            os.unlink(filler)
            data.ended(run_id)
        compare(check, what, data, run_id, rows)


def upload_full(check: Check) -> None:
    """A piece, and a whole file, for which there is no room: told so, what was there before stays, and what was not taken
    in leaves nothing behind; with room again they come in whole."""
    what, size = "upload, disk full", 4_000_000
    if os.geteuid() != 0:
        skip("upload, disk full: only root may mount small disks")
        return
    service = Service(instances=1, WORKERS=0, **SETTINGS)
    with small_disk(service, "tmpfs") as mounted:
        if not mounted:
            skip("upload, disk full: no tmpfs can be mounted here")
            return
        data = start(service)
        headers = log_in(service, "uploader")
        path, body = "/api/v1/data/uploads", os.urandom(size)
        wish = {"name": "big.bin", "bytes": size, "sha256": hashlib.sha256(body).hexdigest()}
        made = request(service.direct, "POST", path, json.dumps(wish).encode(), {**headers, "Content-Type": "application/json"}, 30)
        one = f"{path}/{made.json()['upload_id']}"

        def send(at: int, to: int):
            more = {**headers, "Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"}
            return request(service.direct, "PATCH", one, body[at:to], more, 60)

        def offset() -> str:
            return request(service.direct, "HEAD", one, None, headers, 30).headers.get("upload-offset", "")

        def folders() -> int:
            return len(os.listdir(f"{service.data}/uploads"))

        first = send(0, 1_000_000)
        filler = fill(service, 1_500_000)
        piece = send(1_000_000, size)
        check((first.status, piece.status, offset()) == (204, 507, "1000000"), f"{what}: a piece is told so, and what was there stays",
              f"{first.status} {piece.status} {piece.body[:200]!r} {offset()}")  # fmt: skip
        whole = request(service.direct, "PUT", f"{path}?name=whole.bin", body, headers, 60)
        check(whole.status == 507 and folders() == 1, f"{what}: a whole file leaves nothing behind", f"{whole.status} {whole.body[:200]!r} {folders()}")
        os.unlink(filler)
        piece = send(1_000_000, size)
        whole = request(service.direct, "PUT", f"{path}?name=whole.bin&sha256={wish['sha256']}", body, headers, 60)
        stored = [str(r[0]) for r in data.sql("SELECT name FROM data_uploads WHERE bytes = received ORDER BY name")]
        check((piece.status, whole.status, stored) == (204, 201, ["big.bin", "whole.bin"]), f"{what}: with room they come in whole",
              f"{piece.status} {piece.body[:200]!r} {whole.status} {whole.body[:200]!r} {stored}")  # fmt: skip


def power_cut(check: Check) -> None:
    """A copy of the disk while it is mounted has what was synced, as after a cut; what the kernel still holds is lost."""
    what, rows = "power cut", Rows()
    if os.geteuid() != 0:
        skip("power cut: only root may mount small disks")
        return
    service = Service(instances=1, WORKERS=0, **SETTINGS)
    os.makedirs(service.data)
    image, after = f"{service.folder}/before.img", f"{service.folder}/after.img"
    subprocess.run(["truncate", "-s", "128M", image], check=True)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", image], check=True, capture_output=True)
    mount = ["mount", "-t", "ext4", "-o", "loop"]
    if subprocess.run([*mount, image, service.data], capture_output=True).returncode != 0:
        skip("power cut: nothing can be mounted here")
        return
    try:
        data = start(service)
        run_id = data.ingest(data.put("cut.csv", rows.text))
        subprocess.run(["sync", "-f", service.data], check=True)
        with Worker(service) as worker:
            midway = wait_for(lambda: data.is_midway(run_id), PATIENCE_S, 0.002)
            worker.send(signal.SIGKILL)
            told = data.run(run_id)["rows_read"]
            # What a run has stored is on the disk within a few milliseconds, or with the next thing that is acknowledged.
            answer = service.predict(1.0)
            check(answer.status == 201, f"{what}: a prediction is acknowledged meanwhile", f"{answer.status} {answer.body[:200]!r}")
            shutil.copyfile(image, after)
        service.control("stop")
        subprocess.run(["umount", service.data], check=True)
        subprocess.run(["e2fsck", "-p", after], check=False, capture_output=True)
        subprocess.run([*mount, after, service.data], check=True)
        service.start()
        left = data.run(run_id)
        check(midway and left["rows_read"] >= told, f"{what}: what was told before is there after", f"{left['rows_read']} of {told}")
        with Worker(service):
            data.ended(run_id)
        compare(check, what, data, run_id, rows)
    finally:
        service.control("stop")
        subprocess.run(["umount", service.data], check=False, capture_output=True)
        service.close()


# --- ---


def start(service: Service) -> Data:
    data = Data(service)
    service.settings["PIPELINES_DIR"] = data.pipelines
    service.start()
    return data


def each(check: Check, data: Data, parts: list) -> None:
    wanted = os.environ.get("ONLY", "").split()  # for whoever looks into one
    for part in parts:
        if not wanted or part.__name__ in wanted:
            began = time.monotonic()
            part(check, data) if data else part(check)
            note(f"{part.__name__}: {time.monotonic() - began:.0f} s")


SHARED = [killed, stopped_in_order, grows, shrinks, replaced, definition_changed, asked, at_once]


def main(check: Check) -> None:
    service = Service(instances=1, WORKERS=0, **SETTINGS)
    each(check, start(service), SHARED)
    service.close()
    each(check, None, [disk_full, upload_full, power_cut])  # type: ignore[arg-type]


if __name__ == "__main__":
    run(main)
