#!/usr/bin/python3
"""The package on a whole machine: Debian 12 in qemu, with a kernel of its own and nothing of appcore, nor of what appcore
needs, on its disk. The package is installed as docs/deployment.md says. It serves over HTTPS then and after a reboot under
load, what systemd promises is looked at where a kernel enforces it, and its power is cut under load and in the midst of a batch
and of a file: what was acknowledged is there once, of batch and file nothing is lost or there twice, every task ends, and the
database has no damage.

CUTS (1) power cuts; SUITE (bookworm), with DEB, a package built for it (build/deb/appcore.deb); KEEP=1 keeps disk and
console; FORGET=1 takes an acknowledged prediction, a text and a record away after a cut and has a task go on, for the test to
be seen failing. Times are those of a machine without hardware acceleration and are printed; installation alone is judged, with
much slack."""
import base64
import contextlib
import http.client
import json
import os
import re
import sqlite3
import ssl
import sys
import threading
import time
import types
import urllib.parse
from typing import Dict, List, Optional

sys.dont_write_bytecode = True
from container import HOME  # noqa: E402  (it says where harness, data and tasks are)
import data as pipelines  # noqa: E402
import tasks  # noqa: E402
from harness import Answer, Check, Load, Row, Skip, body_of, compare, headers_of, note, run_and_count, wait_for  # noqa: E402
from machine import Machine, disk_of  # noqa: E402

SUITE = os.environ.get("SUITE") or "bookworm"
CUTS = int(os.environ.get("CUTS") or 1)
DEB = os.environ.get("DEB") or f"{HOME}/build/deb/appcore.deb"
HEALTHY_S, PATIENCE_S = 300.0, 600.0
INSTALLED_S, SLACK = 180.0, 4  # from the command to healthy
ROWS, TEXTS = 30000, 20000  # of a file and of a batch; twice that where they are done before the power is cut
WANTED = 60  # predictions acknowledged
API = ["appcore@1.service", "appcore@2.service"]
UNITS = [*API, "appcore-worker@1.service", "appcore-nginx.service"]
DATA = "/var/lib/appcore"
AS_APPCORE = (f"runuser -u appcore -- env DATA_DIR={DATA} RUN_DIR=/run/appcore PIPELINES_DIR=/usr/share/appcore/pipelines "
              "LOG_LEVEL=ERROR appcore")  # fmt: skip
# One thread is for small tasks.
SETTINGS = "\nRATE_LIMIT_PER_MINUTE=0\nUSER_RATE_LIMIT_PER_MINUTE=0\nUSER_TASKS_PENDING=0\nTASK_THREADS=3\n"
UNCHECKED = ssl._create_unverified_context()  # the certificate is the machine's own


# Whoever looks into the folder first, it is this pipeline's.
ORDERS = {**pipelines.ORDERS, "source": {"format": "csv", "match": "orders*.csv"}}


class Service:
    """appcore in the machine, as Load and compare know it."""

    def __init__(self, machine: Machine):
        self.machine, self.key, self.copies, self.folder = machine, "", 0, ""

    def connect(self, timeout: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.machine.port[443], timeout=timeout, context=UNCHECKED)

    def ask(self, method: str, path: str, body: bytes = b"", timeout: float = 20.0, headers: Optional[Dict[str, str]] = None) -> Answer:
        connection = self.connect(timeout)
        started = time.monotonic()
        try:
            connection.request(method, path, body or None, headers or headers_of(self.key))
            got = connection.getresponse()
            return Answer(got.status, dict(got.getheaders()), got.read(), time.monotonic() - started)
        except (OSError, http.client.HTTPException) as why:
            return Answer(0, {}, repr(why).encode(), time.monotonic() - started)
        finally:
            connection.close()

    def is_healthy(self) -> bool:
        return self.ask("GET", "/health", timeout=5).status == 200

    def appcore(self, command: str, **options: object) -> str:
        return self.machine.must("sh", "-c", f"{AS_APPCORE} {command}", **options)

    def copy(self) -> str:
        """A folder with the database of now, and with the sources and files of pipelines."""
        self.copies += 1
        folder, inside = f"{self.machine.folder}/copy{self.copies}", f"{DATA}/copy"
        packed = self.machine.must("sh", "-c", f"rm -rf {inside}; install -d -o appcore {inside} && {AS_APPCORE} backup {inside}/predictions.db >/dev/null && cd {inside} && "
                                   "for f in processed archive; do [ ! -d ../$f ] || ln -s ../$f; done && tar -chf - * | gzip -1 | base64 -w 0", timeout=PATIENCE_S)  # fmt: skip
        os.mkdir(folder)
        with open(f"{folder}.tar.gz", "wb") as file:
            file.write(base64.b64decode(packed))
        if os.system(f"tar -xzf {folder}.tar.gz -C {folder}") != 0:
            raise RuntimeError("the copy of the database cannot be read")
        return folder

    def stored(self) -> Dict[str, Row]:
        self.folder = self.copy()
        with contextlib.closing(sqlite3.connect(f"{self.folder}/predictions.db")) as db:
            self.integrity = [row[0] for row in db.execute("PRAGMA integrity_check")] + list(db.execute("PRAGMA foreign_key_check"))
            return {row[0]: Row(*row) for row in db.execute("SELECT id, result, features FROM predictions")}


class SecureLoad(Load):
    def _connect(self) -> http.client.HTTPSConnection:
        return self.service.connect(self.timeout)


class Work:
    """What somebody with an account has in the hands of the worker: a batch of texts, a file of records, small tasks."""

    def __init__(self, service: Service, n: int, times: int):
        self.service, self.name, self.texts = service, f"worker{n}", times * TEXTS
        self.rows = pipelines.Rows(times * ROWS, first=n * 10**6, stamp=self.name)
        self.added: Dict[str, tasks.Task] = {}
        self.unanswered = 0
        self.ending = threading.Event()
        self.giver = threading.Thread(target=self._give, daemon=True)
        self.batch = self.run = ""
        self.states, self.at = ["", ""], {"texts": 0, "rows": 0}

    def ask(self, method: str, path: str, body: object = None, timeout: float = 120.0) -> Answer:
        return self.service.ask(method, f"/api/v1/{path}", json.dumps(body).encode() if body is not None else b"", timeout, self.headers)

    def must(self, method: str, path: str, body: object = None) -> dict:
        answer = self.ask(method, path, body)
        if answer.status not in (200, 201, 202):
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
        return answer.json()

    def log_in(self) -> None:
        self.headers = {"Content-Type": "application/json"}
        who = {"username": self.name, "email": f"{self.name}@example.com", "password": "a-long-password"}
        self.ask("POST", "auth/register", who)
        form = urllib.parse.urlencode({"username": self.name, "password": who["password"]}).encode()
        answer = self.service.ask("POST", "/api/v1/auth/login", form, 120, {"Content-Type": "application/x-www-form-urlencoded"})
        self.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def hand_over(self) -> None:
        machine, file = self.service.machine, f"orders-{self.name}.csv"
        machine.write("/usr/share/appcore/pipelines/orders.json", json.dumps(ORDERS))
        machine.must("install", "-d", "-o", "appcore", "-g", "appcore", f"{DATA}/raw")
        machine.must("sync", timeout=300)  # the definition; the data is the worker's to put on the disk
        machine.write(f"{DATA}/raw/{file}", self.rows.text, owner="appcore:appcore")
        self.log_in()
        wait_for(lambda: self.ask("POST", "sentiment/analyze", {"text": "x"}).status == 200, PATIENCE_S, 0.5)
        self.batch = self.must("POST", "sentiment/analyze/batch", {"texts": [tasks.text_of(i) for i in range(self.texts)]})["task_id"]
        self.added[self.batch] = tasks.Task(tasks.BATCH, "", self.texts)
        self.run = self.must("POST", "data/runs", {"pipeline": "orders", "file": file})["run_id"]
        self.giver.start()

    def _give(self) -> None:
        n = 0
        while not self.ending.is_set():
            n += 1
            payload = {"of": self.name, "n": n}
            answer = self.ask("POST", "tasks", {"kind": "echo", "payload": payload})
            if answer.status == 202:
                self.added[answer.json()["task_id"]] = tasks.Task("echo", json.dumps(payload, separators=(",", ":")))
            else:
                self.unanswered += answer.status in (0, 502, 503, 504)
            self.ending.wait(0.5)

    def end(self) -> None:
        self.ending.set()
        self.giver.join()

    def reached(self) -> Dict[str, int]:
        """Texts and rows that are done; nothing when it cannot be told just now."""
        answers = [self.ask("GET", f"sentiment/task/{self.batch}?limit=1"), self.ask("GET", f"data/runs/{self.run}")]
        self.states = ["", ""]
        if any(answer.status != 200 for answer in answers):
            if any(answer.status == 401 for answer in answers):
                self.log_in()  # what lets somebody in does not last for ever
            return {"texts": 0, "rows": 0}
        batch, run = (answer.json() for answer in answers)
        self.states = [batch["status"], run["state"]]
        return {"texts": batch["progress"]["done"], "rows": run["rows_read"]}

    def is_midway(self) -> bool:
        self.at = self.reached()
        return self.states == ["processing", "running"] and 0 < self.at["texts"] < self.texts and 0 < self.at["rows"] < self.rows.n

    def has_ended(self) -> bool:
        self.at = self.reached()
        return all(state not in ("", "pending", "processing", "running") for state in self.states)


def main_pids(machine: Machine) -> Dict[str, str]:
    said = machine.must("systemctl", "show", "-p", "Id", "-p", "MainPID", *UNITS)
    return {re.search("Id=(.*)", part).group(1): re.search("MainPID=(.*)", part).group(1) for part in said.strip().split("\n\n")}


def kernel(check: Check, machine: Machine) -> None:
    """What systemd was asked for, as the kernel has it."""
    pids = main_pids(machine)
    groups = {unit: machine.read(f"/proc/{pid}/cgroup").strip().splitlines()[-1] for unit, pid in pids.items()}
    for unit, group in groups.items():
        note(f"{unit}: {group}")
    check(all(group.startswith("0::/system.slice/") for group in groups.values()), "all of it is below system.slice")
    controllers = machine.read("/sys/fs/cgroup/system.slice/cgroup.subtree_control").split()
    # With it each unit would be a group of its own, and SCHED_IDLE mean nothing to the others.
    check("cpu" not in controllers, "and one group for the processors", f"controllers below system.slice: {' '.join(controllers)}")
    for unit, pid in pids.items():
        status = dict(re.findall(r"^(\w+):\s*(.*)$", machine.read(f"/proc/{pid}/status"), re.M))
        capabilities = int(status["CapEff"], 16)
        allowed = 1 << 10 if unit == "appcore-nginx.service" else 0  # CAP_NET_BIND_SERVICE
        good = status["NoNewPrivs"] == "1" and status["Seccomp"] == "2" and capabilities & ~allowed == 0 and status["Uid"].split()[0] != "0"
        check(good, f"{unit}: no privileges, system calls filtered",
              "" if good else {k: status[k] for k in ("NoNewPrivs", "Seccomp", "CapEff", "Uid")})  # fmt: skip
    for path in ("/usr/share/appcore/x", "/etc/appcore/x", "/etc/x"):
        done = machine.shell(f"nsenter -t {pids[API[0]]} -m -- touch {path}")
        check(done.returncode != 0 and "Read-only" in done.stdout, f"an instance can't write {path}", done.stdout.strip() if done.returncode == 0 else "")
    wanted = {"MemoryMax": "memory.max", "TasksMax": "pids.max"}
    for what, file in wanted.items():
        limit = machine.show(what, API[0])
        real = machine.read(f"/sys/fs/cgroup/{groups[API[0]][len('0::/'):]}/{file}").strip()
        check(limit == real and limit.isdigit(), f"{what} is the kernel's", real)


def started(check: Check, machine: Machine, service: Service, what: str, since: float) -> None:
    healthy = wait_for(service.is_healthy, HEALTHY_S, 0.5)
    check(healthy, f"{what}: it serves by itself", f"after {time.monotonic() - since:.0f} s")
    if not healthy:
        raise RuntimeError("without the service there is nothing to look at")
    # More than the test at a time: the unit that fails is told. The health check has half a minute, which is little here.
    failed = [line for line in machine("systemctl", "--failed", "--plain", "--no-legend").stdout.splitlines() if "appcore-health" not in line]
    check(not failed, "and no unit has failed", failed or "")


def under_load(service: Service, base: int) -> Load:
    return SecureLoad(service, clients=8, base=base, timeout=60)


def documented(command: str) -> str:
    """The line of docs/deployment.md that begins with it."""
    with open(f"{HOME}/docs/deployment.md") as file:
        return next(line.strip() for line in file if line.startswith(command))


def installed(check: Check, machine: Machine, service: Service) -> None:
    """On a machine without any of it, as an operator does."""
    there = machine.shell("command -v nginx spawn-fcgi appcore; ls -d /etc/nginx /etc/appcore /var/lib/appcore 2>/dev/null").stdout.split()
    check(not there, "the machine has nothing of appcore, nor of what it needs", there or "")
    command = documented("apt-get install")
    machine.put(os.path.realpath(DEB), f"/root/{re.search(r'[.]/([^ ]+)', command).group(1)}")  # by the name that it has there
    since = time.monotonic()
    done = machine.shell(f"cd /root && {command}", timeout=PATIENCE_S, DEBIAN_FRONTEND="noninteractive")
    took = time.monotonic() - since
    new = re.search(r"(\d+) newly installed", done.stdout)
    good = done.returncode == 0 and new and int(new.group(1)) > 1
    check(good, "apt-get installs it with what it needs", f"{new.group(1)} packages in {took:.0f} s" if good else done.stdout[-2000:])
    if not good:
        raise RuntimeError("without the package there is nothing to look at")
    started(check, machine, service, "installed", since)
    took = time.monotonic() - since
    check(took < SLACK * INSTALLED_S, "it is healthy soon after the command", f"{took:.0f} s in this emulation (wanted on a machine: {INSTALLED_S:.0f})")
    machine.must("sh", "-c", "cat >>/etc/appcore/appcore.env", input=SETTINGS)  # taken over by the reboot


def rebooted(check: Check, machine: Machine, service: Service) -> Load:
    load = under_load(service, 0)
    with load:
        wait_for(lambda: len(load.told) > WANTED, PATIENCE_S / 2, 0.1)
    since = time.monotonic()
    machine.reboot()
    started(check, machine, service, "a reboot", since)
    return load


def cut(check: Check, machine: Machine, service: Service, n: int, loads: List[Load], works: List[Work]) -> None:
    for times in (1, 2, 3):
        works.append(work := Work(service, len(works), times))
        work.hand_over()
        begun = wait_for(lambda w=work: w.is_midway() or w.has_ended(), PATIENCE_S, 0.2)
        loads.append(load := under_load(service, 100 * len(loads)))
        with load:  # what works in the background does so when nobody else wants a processor
            wanted = WANTED if times < 3 else 0  # at last on a machine that is too fast
            enough = wait_for(lambda told=load.told, wanted=wanted: len(told) > wanted, PATIENCE_S / 2, 0.05)
            if wanted:
                time.sleep(0.7 * (n % 3))
            begun = begun and wait_for(lambda w=work: w.is_midway() or w.has_ended(), 60, 1) and work.states == ["processing", "running"]  # still
            if begun or times == 3:
                machine.cut()
        work.end()
        if machine.qemu.poll() is not None:
            break
        note(f"{work.texts} texts or {work.rows.n} rows were done before the power could be cut: more of them")
    check(enough, f"power cut {n + 1} comes under load", f"{len(load.told)} predictions acknowledged before")
    check(begun, "in the midst of a batch and of a file", f"{work.at['texts']} of {work.texts} texts, {work.at['rows']} of {work.rows.n} rows, {len(work.added) - 1} small tasks")
    since = time.monotonic()
    machine.boot()
    started(check, machine, service, f"power cut {n + 1}", since)
    ended = wait_for(work.has_ended, PATIENCE_S, 1)
    check(ended, "the batch and the run come to an end by themselves", f"{time.monotonic() - since:.0f} s after the power is back" if ended else work.states)
    if os.environ.get("FORGET"):
        load.told[-1] = load.told[-1]._replace(id="forgotten")
    compare(check, service, *loads)
    check(service.integrity == ["ok"], "the database has no damage", "" if service.integrity == ["ok"] else service.integrity[:3])
    worked(check, service.folder, works)
    halves = machine.must("sh", "-c", f"find {DATA} /run/appcore /etc/appcore -name '*.new' -o -name '*.tmp' -o -size 0 -type f -name '*.pem'").split()
    check(not halves, "no half written file", halves[:5] if halves else "")


def worked(check: Check, folder: str, works: List[Work]) -> None:
    """What was handed over against what a copy of the database, and the files beside it, have."""
    there = types.SimpleNamespace(folder=folder, data=folder)
    queue = tasks.Queue(there)
    if os.environ.get("FORGET"):
        queue.sql("DELETE FROM data_records WHERE seq = (SELECT max(seq) FROM data_records)")
        queue.sql(f"DELETE FROM sentiment_requests WHERE task_id = '{works[-1].batch}' AND position = 7")
        queue.sql("UPDATE background_tasks SET status = 'processing' WHERE task_id = (SELECT max(task_id) FROM background_tasks WHERE user_id <> 0)")
    for work in works:
        pipelines.compare(check, f"the file of {work.name}", pipelines.Data(there), work.run, work.rows)
        queue.added.update(work.added)
    rows = {str(row[0]): row[1:] for row in queue.sql("SELECT task_id, task_type, status FROM background_tasks WHERE user_id <> 0")}
    still = [row for row in rows.values() if row[1] in ("pending", "processing")]
    check(not still, f"each of {len(rows)} tasks has ended", f"{len(still)} have not" if still else "")
    # The runs', and those for which no answer came because the power went.
    queue.before = {i for i in rows if i not in queue.added}
    unknown, unanswered = [rows[i][0] for i in queue.before].count("echo"), sum(work.unanswered for work in works)
    check(unknown <= unanswered, "and no other is there than was asked for", f"{unknown} of {unanswered} requests without an answer" if unanswered else "")
    tasks.compare(check, "tasks", queue)


def main(check: Check) -> None:
    if not os.access(DEB, os.R_OK):
        raise Skip(f"{DEB} is missing: make deb")
    began = time.monotonic()

    def so_far(what: str) -> None:
        note(f"[{time.monotonic() - began:4.0f} s] {what}")

    disk = disk_of(SUITE)
    so_far(f"the disk of {SUITE} is there")
    with Machine(disk, {443: 0}) as machine:
        service = Service(machine)
        so_far("booted")
        try:
            installed(check, machine, service)
            so_far("installed")
            service.key = machine.read("/etc/appcore/credentials/api_key").strip()
            answer = service.ask("POST", "/predict", body_of(1.0))
            check(answer.status == 201, "the key that was made opens it", answer.body.decode() if answer.status != 201 else "")
            kernel(check, machine)
            so_far("looked at")
            loads, works = [rebooted(check, machine, service)], []
            so_far("rebooted")
            for n in range(CUTS):
                cut(check, machine, service, n, loads, works)
                so_far(f"cut {n + 1}")
        finally:
            if check.failed or sys.exc_info()[0] or os.environ.get("KEEP"):
                note(machine("systemctl", "--no-pager", "list-units", "--all", "appcore*", timeout=120).stdout)
                note(machine("journalctl", "--no-pager", "-o", "short-monotonic", "-n", "60", "-u", "appcore*", timeout=120).stdout[-6000:])
                note(machine.console()[-2000:])


if __name__ == "__main__":
    run_and_count("vm", main)
