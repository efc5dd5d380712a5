#!/usr/bin/python3
"""Tasks for the background: what was promised against what is stored. Each task that was added is there once and is
completed once; of a batch each text has exactly one row, in its place; whatever happens meanwhile:

workers are killed with -9, those that serve as well while they accept tasks; a worker is stopped, replaced and
continued; a task crashes its worker each time; the disk is full; the clock is set back; two workers have the same
schedules."""
import calendar
import contextlib
import glob
import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import urllib.parse
import uuid
from typing import Callable, Dict, List, NamedTuple, Optional, Set

from disk import fill, small_disk
from harness import (HOME, SECONDS, Answer, Check, Service, every, is_alive, note, request, run, skip,
                     wait_for)  # fmt: skip
from stopped import turn_holder

FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"  # of package libfaketime
LEASE_S = 1
PATIENCE_S = 120.0  # of a busy machine
TEXTS = 20000
PART = 1000
BATCH = "sentiment_batch"
SMALL = ("echo", "crash")  # kinds that are claimed together
# The schedules' tasks are not among those that are compared.
QUIET = {"SCHEDULE_EXPIRY": "off", "SCHEDULE_RETENTION": "off", "TASK_LEASE_SECONDS": LEASE_S, "USER_RATE_LIMIT_PER_MINUTE": 0,
         "USER_TASKS_PENDING": 0, "USER_TASKS_RUNNING": 0}


# --- the queue, as the database has it ---


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def new_id(ahead_s: float = 0) -> str:
    """As the service makes them (UUIDv7)."""
    ms = int((time.time() + ahead_s) * 1000)
    bits = ms << 80 | 0x7 << 76 | random.getrandbits(12) << 64 | 0b10 << 62 | random.getrandbits(62)
    return str(uuid.UUID(int=bits))


class Task(NamedTuple):
    kind: str
    payload: str
    texts: int = 0  # of a batch


def text_of(position: int) -> str:
    return f"{('I love number', 'What a terrible number', 'It is number')[position % 3]} {position}"


class Queue:
    """Adds tasks and remembers them. Statements are plain SQL: another engine needs no more than another `sql`."""

    def __init__(self, service: Service, before: Optional["Queue"] = None):
        self.service = service
        self.before: Set[str] = before.known() if before else set()
        self.added: Dict[str, Task] = {}
        self.user = 7
        self.lock = threading.Lock()

    def sql(self, text: str) -> List[list]:
        db = sqlite3.connect(f"{self.service.data}/predictions.db", isolation_level=None, timeout=60)
        try:
            return [list(row) for row in db.execute(text)]
        finally:
            db.close()

    def blob(self, text: str) -> str:
        return f"CAST({quote(text)} AS BLOB)"

    def number(self, text: str) -> int:
        return int(self.sql(text)[0][0])

    def add(self, kind: str, payloads: List[str], ahead_s: float = 0, delay_s: float = 0, total: int = 0, of_id: str = "") -> List[str]:
        """As somebody does whose clock is so far ahead."""
        now = time.time() + ahead_s
        made = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + ".000000"
        ids = [of_id or new_id(ahead_s) for _ in payloads]
        rows = ", ".join(
            f"({quote(i)}, {self.user}, {quote(kind)}, {quote(p)}, '{made}', '{made}',"
            f" {int(i[:8] + i[9:13], 16) * 1000 + int(delay_s * 1e6)}, {total}, {int(kind in SMALL)})" for i, p in zip(ids, payloads)
        )  # fmt: skip
        self.sql("INSERT INTO background_tasks (task_id, user_id, task_type, payload, created_at, updated_at, run_us, total,"
                 f" small) VALUES {rows}")  # fmt: skip
        with self.lock:
            self.added.update({i: Task(kind, p) for i, p in zip(ids, payloads)})
        return ids

    def echo(self, n: int, **how: float) -> List[str]:
        return self.add("echo", [json.dumps({"n": random.random()}) for _ in range(n)], **how)

    def single(self, n: int) -> None:
        """Tasks of one text each."""
        for i in self.add("sentiment", [json.dumps({"text": text_of(0)})] * n):
            self.added[i] = Task("sentiment", "", 1)

    def batch(self, texts: int = TEXTS, **how: float) -> str:
        new = new_id(how.get("ahead_s", 0))
        counts = []
        for number, first in enumerate(range(0, texts, PART)):
            part = [text_of(i) for i in range(first, min(first + PART, texts))]
            self.sql(f"INSERT INTO task_parts (id, data, created_us) VALUES ('{new}/{number:08d}', {self.blob(json.dumps(part))},"
                     f" {int(time.time() * 1e6)})")  # fmt: skip
            counts.append(len(part))
        payload = json.dumps({"version": "1", "counts": counts})
        self.add(BATCH, [payload], total=texts, of_id=new, **how)
        self.added[new] = Task(BATCH, payload, texts)
        return new

    def one(self, task: str) -> Dict[str, object]:
        names = ("status", "attempts", "done", "worker", "error_message", "claim")
        rows = self.sql(f"SELECT {', '.join(names)} FROM background_tasks WHERE task_id = '{task}'")
        row = dict(zip(names, rows[0])) if rows else dict.fromkeys(names, "")
        return {**row, "attempts": int(row["attempts"] or 0), "done": int(row["done"] or 0), "claim": int(row["claim"] or 0)}

    def open(self) -> int:
        return self.number("SELECT count(*) FROM background_tasks WHERE status IN ('pending', 'processing')")

    def known(self) -> Set[str]:
        """Also those of a queue of before on the same service."""
        return set(self.added) | self.before

    def settles(self, seconds: float = PATIENCE_S) -> bool:
        return wait_for(lambda: self.open() == 0, seconds, 0.1)


def compare(check: Check, what: str, queue: Queue, dead: Optional[List[str]] = None) -> None:
    """What was added against what the database holds. `dead` are to be that, and all others are completed."""
    rows = {r[0]: r for r in queue.sql("SELECT task_id, task_type, status, coalesce(result, ''), attempts, coalesce(error_message, '')"
                                       " FROM background_tasks WHERE user_id <> 0")}  # fmt: skip
    dead = dead or []
    lost = [i for i in queue.added if i not in rows]
    check(not lost, f"{what}: each of {len(queue.added)} tasks is there", f"{len(lost)} are not" if lost else "")
    check(not set(rows) - queue.known(), f"{what}: and no other", list(set(rows) - queue.known())[:2] or "")
    wrong = [r for i, r in rows.items() if i in queue.added and r[2] != ("dead" if i in dead else "completed")]
    check(not wrong, f"{what}: each ended as it should", f"{len(wrong)} did not: {wrong[:2]}" if wrong else "")
    echoes = [i for i, t in queue.added.items() if t.kind == "echo" and i in rows and i not in dead]
    wrong = [rows[i] for i in echoes if rows[i][3] != queue.added[i].payload]
    check(not wrong, f"{what}: with its own result", wrong[:2] if wrong else "")
    compare_texts(check, what, queue, {i: t.texts for i, t in queue.added.items() if t.texts and i in rows})


def compare_texts(check: Check, what: str, queue: Queue, batches: Dict[str, int]) -> None:
    missing, twice, wrong, left = [], [], [], 0
    stored: Dict[str, List[list]] = {}
    for row in queue.sql("SELECT task_id, position, text FROM sentiment_requests WHERE task_id <> ''"):
        stored.setdefault(row[0], []).append(row[1:])
    for i, texts in batches.items():
        rows = stored.get(i, [])
        seen = [int(row[0]) for row in rows]
        missing += sorted(set(range(texts)) - set(seen))
        twice += [n for n in seen if not 0 <= n < texts] + [len(seen) - len(set(seen))] * (len(seen) != len(set(seen)))
        wrong += [row for row in rows if row[1] != text_of(int(row[0]))]
    left = queue.number("SELECT count(*) FROM task_parts")
    if not batches:
        return
    what += f": each of the batch's {sum(batches.values())} texts" if len(batches) == 1 else f": each of {sum(batches.values())} texts of {len(batches)} batches"
    check(not missing, f"{what} has its row", f"{len(missing)} have none: {missing[:3]}" if missing else "")
    check(not twice, f"{what} only one", twice[:3] if twice else "")
    check(not wrong and left == 0, f"{what} in its place, and no part is left", f"{wrong[:2]}, {left} parts" if wrong or left else "")


# --- workers ---


class Worker:
    """A process that works on tasks. machine: one of its own, that is without shared memory with the service."""

    number = 0

    def __init__(self, service: Service, machine: bool = True, **settings: object):
        Worker.number += 1
        self.service = service
        self.run_dir = f"{service.folder}/machine-{Worker.number}" if machine else f"{service.folder}/run"
        os.makedirs(self.run_dir, exist_ok=True)
        self.log_path = f"{service.folder}/worker-{Worker.number}.log"
        self.env = {**service.settings, "RUN_DIR": self.run_dir, "INSTANCE_ID": f"W{Worker.number}",
                    **{k: str(v) for k, v in settings.items()}}  # fmt: skip
        with open(self.log_path, "w") as log:
            self.process = subprocess.Popen([service.binary, "work"], cwd=service.folder, env=self.env, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT)  # fmt: skip
        self.pid = self.process.pid

    def log(self) -> str:
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def send(self, number: int) -> None:
        with contextlib.suppress(OSError):
            os.kill(self.pid, number)

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def end(self, number: int = signal.SIGTERM) -> None:
        self.send(number)
        self.send(signal.SIGCONT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGKILL)


def pid_in(worker: object) -> int:
    """Workers write their process number into the rows of their tasks."""
    tail = str(worker).rpartition("/")[2]
    return int(tail) if tail.isdigit() else 0


def kill(pid: int) -> bool:
    if pid <= 0 or not is_alive(pid):
        return False
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def task_workers(service: Service) -> Dict[int, int]:
    found = {}
    for path in glob.glob(f"{service.folder}/run/appcore-work-*.pid"):
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            for line in file:
                words = line.split()
                if words[:1] == ["worker"] and is_alive(int(words[1])):
                    found[int(path.rpartition("-")[2][:-4])] = int(words[1])
    return found


# --- killed with -9 ---


def kill_workers(check: Check, what: str, queue: Queue, seconds: float) -> None:
    """Once a second any of them, and each time that the batch has come further the one that works on it."""
    service, batch = queue.service, queue.batch()
    kills = {"at random": 0, "in a batch": 0}
    reached, began, last = -1, time.monotonic(), time.monotonic()
    while time.monotonic() - began < seconds or (kills["in a batch"] < 3 and time.monotonic() - began < PATIENCE_S):
        queue.echo(25)
        queue.single(2)
        row = queue.one(batch)
        if row["status"] == "processing" and row["done"] > reached and kill(pid_in(row["worker"])):
            kills["in a batch"] += 1
            reached = row["done"]
        elif row["status"] == "completed":
            batch, reached = queue.batch(), -1
        if time.monotonic() - last > 1:
            last = time.monotonic()
            workers = list(task_workers(service).values())
            kills["at random"] += bool(workers) and kill(random.choice(workers))
        time.sleep(0.05)
    settled = queue.settles()
    revived = revive(queue)
    claims = [queue.one(i)["claim"] for i, t in queue.added.items() if t.kind == BATCH]
    note(f"{what}: killed {kills}; {len(queue.added)} tasks, of them batches {len(claims)}, claimed up to {max(claims)} times;"
         f" {revived} lost their worker as often as they had attempts")  # fmt: skip
    check(min(kills.values()) > 0, f"{what}: workers were killed", sum(kills.values()))
    check(settled, f"{what}: all tasks come to an end", f"{queue.open()} did not" if not settled else "")
    compare(check, what, queue)


def revive(queue: Queue) -> int:
    """Small tasks have few attempts, and each death of a worker takes one from all that it had claimed. What is dead by
    that only is what an operator would have tried again."""
    dead = queue.number("SELECT count(*) FROM background_tasks WHERE status = 'dead' AND error_message LIKE 'Its worker ended%'")
    if dead:
        service = queue.service
        subprocess.run([service.binary, "task", "retry", "--dead"], cwd=service.folder, env=service.settings, check=True, capture_output=True)
        queue.settles()
    return dead


def counted_once(check: Check, what: str, queue: Queue) -> None:
    """Workers count after the commit: a kill may lose a count, nothing may be counted twice."""
    for kind in ("echo", BATCH):
        told = queue.service.metric(f'tasks_completed_total{{kind="{kind}",status="completed"}}')
        n = sum(t.kind == kind for t in queue.added.values())
        check(told <= n and (told > 0 or n < 10), f"{what}: no {kind} is counted twice", f"{told:.0f} of {n}")


def killed(check: Check) -> None:
    service = Service(instances=1, WORKERS=2, **QUIET).start()
    queue = Queue(service)
    kill_workers(check, "killed workers", queue, SECONDS / 6)
    counted_once(check, "killed workers", queue)
    service.close()


# --- accepted over HTTP ---


def log_in(service: Service, name: str = "faults") -> Dict[str, str]:
    """The header of a user who is logged in; the user is made when there is none."""
    who = {"username": name, "email": f"{name}@example.com", "password": "a-long-password"}
    path = "/api/v1/auth/"
    request(service.direct, "POST", path + "register", json.dumps(who).encode(), {"Content-Type": "application/json"}, 30)
    form = urllib.parse.urlencode({"username": name, "password": who["password"]}).encode()
    answer = request(service.direct, "POST", path + "login", form, {"Content-Type": "application/x-www-form-urlencoded"}, 30)
    if answer.status != 200:
        raise RuntimeError(f"login: {answer.status} {answer.body!r}")
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


class Givers:
    """Clients that add tasks one after the other, each twentieth a batch, and remember what was accepted."""

    def __init__(self, queue: Queue, headers: Dict[str, str], clients: int = 6):
        self.queue, self.headers = queue, {**headers, "Content-Type": "application/json"}
        self.failed: List[Answer] = []
        self.told: List[str] = []
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._client, args=(i,), daemon=True) for i in range(clients)]

    def __enter__(self) -> "Givers":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join(60)

    def _client(self, number: int) -> None:
        for n in itertools.count():
            if self.ending.is_set():
                return
            if n % 20 == 7:
                body: dict = {"texts": [text_of(i) for i in range(300)]}
                task, path = Task(BATCH, "", 300), "/api/v1/sentiment/analyze/batch"
            else:
                payload = {"client": number, "n": n}
                body = {"kind": "echo", "payload": payload}
                task, path = Task("echo", json.dumps(payload, separators=(",", ":"))), "/api/v1/tasks"
            answer = request(self.queue.service.direct, "POST", path, json.dumps(body).encode(), self.headers, 30)
            if answer.status == 202:
                new = answer.json()["task_id"]
                with self.queue.lock:
                    self.told.append(new)
                    self.queue.added[new] = task
            else:
                self.failed.append(answer)
                time.sleep(0.05)


def accepted(check: Check, service: Service, queue: Queue) -> None:
    what = "killed while they accept"
    headers = log_in(service)
    wait_for(lambda: model_is_there(service, headers), PATIENCE_S, 0.1)
    kills = 0
    with Givers(queue, headers) as givers:
        for _ in every(0.7, SECONDS / 10):
            service.all_serve()
            pids = list(service.workers().values())
            kills += bool(pids) and kill(random.choice(pids))
        wait_for(lambda: any(queue.added[i].kind == BATCH for i in list(givers.told)), PATIENCE_S, 0.1)
    settled = queue.settles()
    n, batches = len(givers.told), sum(queue.added[i].kind == BATCH for i in givers.told)
    note(f"{what}: {kills} kills; {n} tasks were accepted, of them {batches} batches")
    kinds = {f"{a.status} {a.body[:120]!r}" for a in givers.failed}
    check(kills > 0 and n > 0 and batches > 0, f"{what}: workers were killed", kills)
    check(not givers.failed, f"{what}: no request fails", f"{len(givers.failed)}: {list(kinds)[:3]}" if givers.failed else "")
    check(len(set(givers.told)) == n, f"{what}: no two were told the same id")
    check(settled, f"{what}: all tasks come to an end", f"{queue.open()} did not" if not settled else "")
    compare(check, what, queue)


def model_is_there(service: Service, headers: Dict[str, str]) -> bool:
    answer = request(service.direct, "POST", "/api/v1/sentiment/analyze", b'{"text":"x"}', {**headers, "Content-Type": "application/json"}, 30)
    return answer.status == 200


# --- a listener that stops reading ---


class Listener:
    """Of /api/v1/events. It reads, or stops to, and comes back from where it was; `over` is what it was told."""

    def __init__(self, service: Service, headers: Dict[str, str]):
        self.service, self.headers = service, headers
        self.last, self.over, self.connections = "", {}, 0
        self.reading, self.ending, self.open = threading.Event(), threading.Event(), threading.Event()
        self.reading.set()
        self.thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "Listener":
        self.thread.start()
        self.open.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.reading.set()
        self.thread.join(60)

    def _listen(self) -> None:
        while not self.ending.is_set():
            with contextlib.suppress(OSError), socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                s.settimeout(0.5)
                s.connect(("127.0.0.1", self.service.direct))
                lines = {"Host": "localhost", **self.headers, **({"Last-Event-ID": self.last} if self.last else {})}
                s.sendall(("GET /api/v1/events HTTP/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items()) + "\r\n").encode())
                self.connections += 1
                self._read(s)
            time.sleep(0.1)

    def _read(self, s: socket.socket) -> None:
        text = b""
        while not self.ending.is_set():
            self.reading.wait()
            try:
                got = s.recv(65536)
            except TimeoutError:
                continue
            if not got:
                return
            self.open.set()
            *whole, text = (text + got).replace(b"\r", b"").split(b"\n\n")
            for block in whole:
                self._take(block.decode())

    def _take(self, block: str) -> None:
        lines = [line.partition(": ") for line in block.split("\n")]
        fields = {name: value for name, _, value in lines}
        if "data" not in fields or "id" not in fields:
            return
        row = json.loads(fields["data"])
        self.last = fields["id"]
        if row["status"] in ("completed", "failed", "cancelled", "dead"):
            self.over[row["task_id"]] = row["status"]


def listeners(check: Check, service: Service, queue: Queue) -> None:
    what = "a listener that stops reading"
    headers = log_in(service)
    user = request(service.direct, "GET", "/api/v1/users/me", None, headers, 30).json()["id"]

    def streams() -> float:
        return sum(service.metric(f'appcore_event_streams{{instance="API-{i}"}}') for i in (1, 2))

    def resident() -> float:
        return sum(service.metric(f'appcore_worker_resident_bytes{{instance="API-{i}"}}') for i in (1, 2))

    queue.user = user
    with Listener(service, headers) as reader, Listener(service, headers) as stuck:
        check(wait_for(lambda: streams() == 2, PATIENCE_S, 0.1), f"{what}: two listen", streams())
        before = resident()
        stuck.reading.clear()
        deadline = time.monotonic() + PATIENCE_S
        while streams() > 1 and time.monotonic() < deadline:
            queue.echo(1500)
            queue.settles()
        check(streams() == 1, f"{what}: is let go", streams())
        settled = queue.settles()
        n = len(queue.added)
        check(settled, f"{what}: keeps nobody from working")
        heard = wait_for(lambda: len(reader.over) >= n, PATIENCE_S, 0.1)
        check(heard and reader.connections == 1, f"{what}: the other hears of each of {n} tasks", f"{len(reader.over)}, {reader.connections} connections")
        grown = resident() - before
        check(grown < 32e6, f"{what}: costs little memory", f"{grown / 1e6:.0f} MB")
        missed = n - len(stuck.over)
        stuck.reading.set()
        heard = wait_for(lambda: len(stuck.over) >= n, PATIENCE_S, 0.1)
        check(heard and missed > 0 and stuck.connections > 1, f"{what}: comes back and hears of the {missed} that it missed",
              f"{len(stuck.over)} of {n}, {stuck.connections} connections")  # fmt: skip
        check(not set(stuck.over.values()) - {"completed"} and set(stuck.over) == set(queue.added), f"{what}: what it heard is so")
    compare(check, what, queue)


def over_http(check: Check) -> None:
    service = Service(instances=2, WORKERS=1, **QUIET).start()
    queue = Queue(service)
    accepted(check, service, queue)
    listeners(check, service, Queue(service, before=queue))
    service.close()


# --- a task that crashes its worker ---


def poison(check: Check) -> None:
    what = "a task that crashes"
    if not os.access(f"{HOME}/build/faults/appcore", os.X_OK):
        subprocess.run(["make", "-s", "VARIANT=faults", "all"], cwd=HOME, check=True, stdout=subprocess.DEVNULL)
    service = Service(instances=1, variant="faults", WORKERS=1, **QUIET).start()
    queue = Queue(service)
    queue.echo(40)
    dead = queue.add("crash", ["{}", "{}"])
    queue.echo(40)
    queue.batch(2000)
    settled = queue.settles()
    check(settled, f"{what}: blocks nobody", "" if settled else queue.open())
    compare(check, what, queue, dead)
    rows = [queue.one(i) for i in dead]
    check(all("Its worker ended while it ran" in str(r["error_message"]) for r in rows), f"{what}: and says why", rows[0]["error_message"])
    deaths = service_log(service).count(" ended with code ")
    check(0 < deaths <= 6, f"{what}: it took as many workers with it as it had attempts", deaths)
    claims = rows[0]["claim"]
    done = subprocess.run([service.binary, "task", "retry", dead[0]], cwd=service.folder, env=service.settings, capture_output=True, text=True)
    check(done.returncode == 0, f"{what}: can be tried again", done.stderr.strip())
    queue.echo(5)
    check(wait_for(lambda: queue.one(dead[0])["claim"] > claims, PATIENCE_S, 0.1) and queue.settles(), f"{what}: was tried again")
    compare(check, what, queue, dead)
    service.close()


def service_log(service: Service) -> str:
    text = ""
    for path in glob.glob(f"{service.folder}/run/log/*.log"):
        with contextlib.suppress(OSError), open(path, errors="replace") as file:
            text += file.read()
    return text


# --- stopped ---


def stop_in_batch(queue: Queue, worker: Worker, batch: str, is_unfit: Callable[[int], bool]) -> bool:
    """Stops it while it works on the batch, at a moment that is not unfit. False: the batch was done before."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        row = queue.one(batch)
        if row["status"] == "completed":
            return False
        if row["status"] != "processing" or row["done"] == 0 or pid_in(row["worker"]) != worker.pid:
            time.sleep(0.002)
            continue
        worker.send(signal.SIGSTOP)
        wait_for(lambda: state_of(worker.pid) == "T", 5, 0.0005)
        if not is_unfit(worker.pid) and queue.one(batch)["status"] == "processing":
            return True
        worker.send(signal.SIGCONT)
        time.sleep(0.003)
    return False


def state_of(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def stopped_elsewhere(check: Check, what: str, queue: Queue, is_unfit: Callable[[int], bool]) -> None:
    """Workers of two machines: nobody ends the one that is stopped. What it had goes to the other, and what it still
    wants to write is refused."""
    with Worker(queue.service) as first:
        stopped, batch = False, ""
        for _ in range(5):
            batch = queue.batch(4 * TEXTS)
            if stopped := stop_in_batch(queue, first, batch, is_unfit):
                break
        if not check(stopped, f"{what}: in the midst of a batch"):
            return
        queue.echo(50)
        before = queue.one(batch)
        with Worker(queue.service, TASK_LEASE_SECONDS=20) as second:  # a pause of the machine takes nothing from it
            taken = wait_for(lambda: queue.one(batch)["claim"] > before["claim"], PATIENCE_S, 0.002)
            first.send(signal.SIGCONT)
            check(taken, f"{what}: another one takes its batch", "" if taken else queue.one(batch))
            # On PostgreSQL its commit may have been under way: then it leaves the batch to whoever has it.
            gives_up = ("to another worker", "waits for its next claim")
            refused = wait_for(lambda: any(words in first.log() for words in gives_up), PATIENCE_S, 0.05)
            check(refused, f"{what}: continued, it hears that the batch is not its own", first.log()[-300:] if not refused else "")
            check(queue.settles(), f"{what}: the other one finishes it")
            after = queue.one(batch)
            good = after["claim"] == before["claim"] + 1 and pid_in(after["worker"]) == second.pid
            check(good, f"{what}: by one claim", f"{before} {after}" if not good else "")
        queue.echo(50)
        check(queue.settles(), f"{what}: and goes on with others")
        check(first.is_alive(), f"{what}: it is the same process")
    compare(check, what, queue)


def stopped_here(check: Check, service: Service, queue: Queue) -> None:
    what = "stopped beside others"
    # From its first sign of life on, others look after it.
    for name in ("WORKER-1", "WORKER-2"):
        wait_for(lambda: service.metric(f'appcore_task_threads{{instance="{name}",state="idle"}}') > 0, PATIENCE_S, 0.1)
    number, pid = sorted(task_workers(service).items())[0]
    queue.echo(100)
    os.kill(pid, signal.SIGSTOP)
    queue.echo(100)
    replaced = wait_for(lambda: not is_alive(pid) and task_workers(service).get(number, pid) != pid, PATIENCE_S)
    check(replaced, f"{what}: it is replaced")
    check(queue.settles(), f"{what}: all tasks come to an end")
    compare(check, what, queue)


def stopped(check: Check) -> None:
    service = Service(instances=1, WORKERS=0, **QUIET).start()
    stopped_elsewhere(check, "stopped", Queue(service), lambda pid: turn_holder(service) == pid)
    service.close()
    service = Service(instances=1, WORKERS=2, **QUIET).start()
    stopped_here(check, service, Queue(service))
    service.close()


# --- the clock ---


def faked(library: str, file: str) -> Dict[str, str]:
    return {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": file, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}


def set_clock(path: str, text: str) -> None:
    with open(path + ".new", "w") as file:
        file.write(text + "\n")
    os.replace(path + ".new", path)


AHEAD_S = 7200


def clock_set_back(check: Check, library: str, queue: Queue) -> None:
    """By two hours, while a worker runs; another one was killed before it, with leases that end in two hours."""
    what = "clock set back"
    clock = f"{queue.service.folder}/clock"
    set_clock(clock, f"+{AHEAD_S}")
    environment = faked(library, clock)
    with Worker(queue.service, **environment) as first, Worker(queue.service, TASK_THREADS=1, **environment) as second:
        queue.echo(100, ahead_s=AHEAD_S)
        queue.add("sleep", ['{"seconds": 2}'], ahead_s=AHEAD_S)
        ahead, other = 0, second
        for _ in range(5):
            batch = queue.batch(4 * TEXTS, ahead_s=AHEAD_S)
            wait_for(lambda: queue.one(batch)["done"] > 0, PATIENCE_S, 0.005)
            owner, other = (first, second) if pid_in(queue.one(batch)["worker"]) == first.pid else (second, first)
            owner.send(signal.SIGSTOP)
            ahead = queue.number(f"SELECT count(*) FROM background_tasks WHERE status = 'processing' AND task_id = '{batch}'"
                                 f" AND lease_us > {int((time.time() + AHEAD_S / 2) * 1e6)}")  # fmt: skip
            if ahead:
                owner.send(signal.SIGKILL)
                break
            owner.send(signal.SIGCONT)
        check(ahead > 0, f"{what}: there is a lease of the time before")
        queue.echo(40, ahead_s=AHEAD_S)
        set_clock(clock, "+0")
        queue.echo(20)
        settled = queue.settles()
        check(settled, f"{what}: nobody waits for the time to come again", f"{queue.open()} do" if not settled else "")
        check(other.is_alive(), f"{what}: the worker is the same process")
        delayed = queue.echo(1, delay_s=3600)
        time.sleep(0.5)
        queue.echo(10)
        wait_for(lambda: queue.open() == 1, PATIENCE_S, 0.1)
        check(queue.one(delayed[0])["status"] == "pending", f"{what}: what was put off stays so")
        queue.sql(f"DELETE FROM background_tasks WHERE task_id = '{delayed[0]}'")
        del queue.added[delayed[0]]
    compare(check, what, queue)


def schedulers(check: Check, library: str, queue: Queue) -> None:
    """A minute passes in a second, and two workers have a schedule of every minute."""
    what = "two schedulers"
    clock = f"{queue.service.folder}/fast"
    set_clock(clock, "+0 x60")
    schedule = {**faked(library, clock), "SCHEDULE_EXPIRY": "* * * * *", "SCHEDULE_CHECKPOINT": "* * * * *"}
    minutes = max(6, round(SECONDS / 8))
    count = "SELECT count(DISTINCT substr(created_at, 1, 16)) FROM background_tasks WHERE user_id = 0 AND task_type = '{}'"
    with Worker(queue.service, **schedule) as first, Worker(queue.service, **schedule) as second:
        enough = wait_for(lambda: min(queue.number(count.format(k)) for k in ("expiry", "checkpoint")) >= minutes, PATIENCE_S, 0.2)
        if minutes > 6:
            first.end(signal.SIGKILL)  # one is enough
        check(enough and second.is_alive(), f"{what}: tasks are added", minutes)
    for kind in ("expiry", "checkpoint"):
        rows = queue.sql(f"SELECT substr(created_at, 1, 16) FROM background_tasks WHERE user_id = 0 AND task_type = '{kind}' ORDER BY 1")
        first_s, last_s = (calendar.timegm(time.strptime(rows[i][0], "%Y-%m-%dT%H:%M")) for i in (0, -1))
        due = (last_s - first_s) // 60 + 1
        # The last one may have been made in the minute after its own, in which another one was due.
        check(len(rows) <= due + 1, f"{what}: one {kind} for each minute", f"{len(rows)} in {due} minutes")


def clocks(check: Check) -> None:
    libraries = glob.glob(FAKETIME)
    if not libraries:
        skip("clocks: libfaketime is missing (make deps-postgres)")
        return
    service = Service(instances=1, WORKERS=0, **QUIET).start()
    clock_set_back(check, libraries[0], Queue(service))
    schedulers(check, libraries[0], Queue(service))
    service.close()


# --- a full disk ---


def disk_full(check: Check) -> None:
    what = "disk full"
    if os.geteuid() != 0:
        skip("disk full: only root may mount small disks")
        return
    service = Service(instances=1, WORKERS=1, **QUIET)
    with small_disk(service, "tmpfs") as mounted:
        if not mounted:
            skip("disk full: no tmpfs can be mounted here")
            return
        service.start()
        queue = Queue(service)
        filler = fill(service, 14_000_000)  # room for the texts, and not for what comes of them
        batch = queue.batch(4 * TEXTS)
        noticed = wait_for(lambda: "tasks wait for the database" in service_log(service), PATIENCE_S)
        row = queue.one(batch)
        check(noticed and row["status"] == "processing", f"{what}: in the midst of a batch", row)
        held = queue.one(batch)
        time.sleep(1)
        os.unlink(filler)
        queue.echo(50)
        settled = queue.settles()
        check(settled, f"{what}: the batch is completed when there is room again", "" if settled else queue.one(batch))
        note(f"{what}: at {held['done']} of {4 * TEXTS} texts; attempts {queue.one(batch)['attempts']}")
        compare(check, what, queue)


def main(check: Check) -> None:
    wanted = os.environ.get("ONLY", "").split()  # for whoever looks into one
    for part in (killed, over_http, poison, stopped, clocks, disk_full):
        if not wanted or part.__name__ in wanted:
            began = time.monotonic()
            part(check)
            note(f"{part.__name__}: {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    run(main)
