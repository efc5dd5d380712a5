"""What the fault scripts share: a service in a scratch folder, clients that remember every answer, and the comparison of
what they were told with what the database holds.

A script is `main(check)` under `run(main)`. It prints one line per check; exit code 0 all good, 1 not, 77 skipped."""
import contextlib
import fcntl
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Set

HERE = os.path.dirname(os.path.abspath(__file__))
HOME = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
NAME = os.path.splitext(os.path.basename(sys.argv[0]))[0]
SECONDS = float(os.environ.get("SECONDS") or 60)
CLIENTS = 16

sys.path.insert(0, os.path.dirname(HERE))


class Skip(Exception):
    """What the test needs is not there."""


class Check:
    def __init__(self) -> None:
        self.passed = self.failed = 0

    def __call__(self, good: bool, name: str, detail: object = "") -> bool:
        self.passed += bool(good)
        self.failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {NAME:<8} {name}{': ' + str(detail) if detail != '' else ''}", flush=True)
        return good


def note(text: str) -> None:
    print(f"     {NAME:<8} {text}", flush=True)


def skip(what: str) -> None:
    print(f"skip {NAME:<8} {what}", flush=True)


at_end: List[Callable[[], None]] = []  # called after the services have ended


def run(main: Callable[[Check], None]) -> None:
    check = Check()

    def end(*_: object) -> None:
        raise SystemExit(130)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        main(check)
    except Skip as why:
        skip(str(why))
        sys.exit(1 if check.failed else 77)
    finally:
        for service in list(Service.all):
            service.close()
        for undo in reversed(at_end):
            undo()
    sys.exit(1 if check.failed else 0)


def run_and_count(name: str, main: Callable[[Check], None]) -> None:
    """As run, for one that nobody counts the results of: its last line has the totals, and what is skipped is no failure."""
    checks: List[Check] = []

    def counted(check: Check) -> None:
        checks.append(check)
        main(check)

    try:
        run(counted)
    except SystemExit as end:
        print(f"{name}: {checks[0].passed} passed, {checks[0].failed} failed")
        sys.exit(0 if end.code == 77 else end.code)


def wait_for(condition: Callable[[], object], seconds: float, step: float = 0.02) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(step)
    return True


def free_ports(n: int) -> int:
    """The first of n ports after each other that nobody listens on, and that no test beside this one was given (take_ports
    of tests/e2e/lib.sh says how the list of these is written)."""
    with open(f"/tmp/appcore-test-ports.{os.getuid()}", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        rows = [[int(word) for word in line.split()] for line in file]
        rows = [row for row in rows if os.path.exists(f"/proc/{row[2]}")]
        first = find_ports(n, rows)
        file.seek(0)
        file.truncate()
        file.write("".join(f"{port} {many} {pid}\n" for port, many, pid in [*rows, [first, n, os.getpid()]]))
    return first


def find_ports(n: int, taken: List[List[int]]) -> int:
    for _ in range(1000):
        first = random.randrange(10000, 31000)
        if any(first < port + many and port < first + n for port, many, _ in taken):
            continue
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + n):
                    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                        if family == socket.AF_INET6 and not os.path.exists("/proc/net/if_inet6"):
                            continue
                        s = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        if family == socket.AF_INET6:
                            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                        s.bind((address, port))
            except OSError:
                continue
            return first
    raise Skip("no free ports")


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# --- the service ---


class Service:
    all: List["Service"] = []

    def __init__(self, instances: int = 2, variant: str = "release", rows_from: Optional[Callable[[], List[List[str]]]] = None,
                 **settings: object):  # fmt: skip
        self.instances = instances
        self.rows_from = rows_from  # id, result, features of what is stored, when that is not a file of SQLite
        self.folder = tempfile.mkdtemp(prefix=f"appcore-{NAME}.")
        first = free_ports(instances + 3)
        self.direct, self.https, self.http = first, first + instances + 1, first + instances + 2
        self.binary = os.path.join(HOME, "build", variant, "appcore")
        if not os.access(self.binary, os.X_OK):
            raise Skip(f"{self.binary} is missing: make VARIANT={variant} all")
        self.data = str(settings.get("DATA_DIR", os.path.join(self.folder, "data")))
        self.settings: Dict[str, str] = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HTTPS_PORT": str(self.https),
            "HTTP_PORT": str(self.http),
            "DIRECT_PORT": str(self.direct),
            "INSTANCES": str(instances),
            "RATE_LIMIT_PER_MINUTE": "0",
            "APPCORE_BIN": self.binary,
            "API_KEY": "fault-tests-key-0123456789",
            "SECRET_KEY": "a-secret-for-tests-of-more-than-32-bytes",
            "ASAN_OPTIONS": "abort_on_error=0",
            **{name: str(value) for name, value in settings.items()},
        }
        self.key = self.settings["API_KEY"]
        Service.all.append(self)

    def control(self, verb: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [os.path.join(HOME, "scripts/service.sh"), verb], cwd=self.folder, env=self.settings,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )  # fmt: skip

    def start(self) -> "Service":
        done = self.control("start")
        if done.returncode != 0:
            raise RuntimeError(f"the service does not start: {done.stdout}")
        return self

    def close(self) -> None:
        if self in Service.all:
            Service.all.remove(self)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.control("stop")
        if os.environ.get("KEEP"):
            note(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def pids(self, role: str) -> Dict[int, int]:
        """Of the live workers or supervisors, by instance."""
        found = {}
        for i in range(1, self.instances + 1):
            with contextlib.suppress(OSError, ValueError):
                with open(f"{self.folder}/run/appcore-{i}.pid") as file:
                    for line in file:
                        words = line.split()
                        if words[:1] == [role] and is_alive(int(words[1])):
                            found[i] = int(words[1])
        return found

    def workers(self) -> Dict[int, int]:
        return self.pids("worker")

    def all_serve(self, seconds: float = 60.0) -> bool:
        """Waits until every instance is ready: before one is ended, so that there is another."""
        return wait_for(lambda: all(self.get("/readyz", self.direct + i, 5).status == 200 for i in range(1, self.instances + 1)), seconds, 0.05)

    def all_store(self, values: Callable[[], float], seconds: float) -> float:
        """How long until every instance has stored a prediction; -1: not in time."""
        started = time.monotonic()
        for i in range(1, self.instances + 1):
            left = started + seconds - time.monotonic()
            if not wait_for(lambda i=i: self.predict(values(), self.direct + i, 10).status == 201, left, 0.05):
                return -1.0
        return time.monotonic() - started

    def socket(self, i: int) -> str:
        return f"{self.folder}/run/appcore-{i}.sock"

    def get(self, path: str, port: int = 0, timeout: float = 60.0, source: str = "127.0.0.1") -> "Answer":
        return request(port or self.direct, "GET", path, timeout=timeout, source=source)

    def predict(self, value: float, port: int = 0, timeout: float = 60.0, headers: Optional[dict] = None) -> "Answer":
        return request(port or self.direct, "POST", "/predict", body_of(value), {**headers_of(self.key), **(headers or {})}, timeout)

    def metric(self, series: str) -> float:
        text = self.get("/metrics").body.decode()
        found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.M)
        return float(found.group(1)) if found else 0.0

    def log(self) -> str:
        text = ""
        for i in range(1, self.instances + 1):
            with contextlib.suppress(OSError):
                with open(f"{self.folder}/run/log/appcore-{i}.log", errors="replace") as file:
                    text += file.read()
        return text

    def stored(self) -> Dict[str, "Row"]:
        if self.rows_from:
            return {row[0]: Row(row[0], float(row[1]), row[2]) for row in self.rows_from()}
        db = sqlite3.connect(f"file:{self.data}/predictions.db?mode=ro", uri=True, timeout=60)
        try:
            return {row[0]: Row(*row) for row in db.execute("SELECT id, result, features FROM predictions")}
        finally:
            db.close()


class Row(NamedTuple):
    id: str
    result: float
    features: str


class Answer(NamedTuple):
    status: int  # 0: no answer
    headers: Dict[str, str]
    body: bytes
    seconds: float

    def json(self) -> dict:
        return json.loads(self.body)


def headers_of(key: str) -> Dict[str, str]:
    return {"X-API-Key": key, "Content-Type": "application/json"}


def body_of(value: float) -> bytes:
    return json.dumps({"features": [value, value + 1]}).encode()


def request(port, method, path, body=None, headers=None, timeout=60.0, source="127.0.0.1") -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout, source_address=(source, 0))
    started = time.monotonic()
    try:
        connection.request(method, path, body, headers or {})
        got = connection.getresponse()
        read = got.read()
        return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, read, time.monotonic() - started)
    except (OSError, http.client.HTTPException) as why:
        return Answer(0, {}, repr(why).encode(), time.monotonic() - started)
    finally:
        connection.close()


# --- load ---


class Told(NamedTuple):
    """A prediction that a client was told is stored."""

    at: float
    value: float
    id: str
    result: float
    began: float = 0.0  # when it was asked


class Failed(NamedTuple):
    at: float
    value: float
    status: int  # 0: no answer
    headers: Dict[str, str]
    body: bytes
    began: float = 0.0  # when it was asked


class Load:
    """Clients on kept connections, each with one request after the other: predictions whose features nobody else sends.

    keep=False: a connection for each request. keyed: an Idempotency-Key for each, and what fails is tried again with it
    until it succeeds (RETRY_S); a failure is then one that never did."""

    RETRY_S = 90.0

    def __init__(self, service: Service, clients: int = CLIENTS, keep: bool = True, keyed: bool = False,
                 source: str = "127.0.0.1", pause: float = 0.0, base: int = 0, timeout: float = 40.0):  # fmt: skip
        self.service, self.keep, self.keyed, self.source, self.pause = service, keep, keyed, source, pause
        self.timeout = timeout
        self.told: List[Told] = []
        self.failed: List[Failed] = []
        self.retries = 0
        self.slowest = 0.0
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self._client, args=(base + i,), daemon=True) for i in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join(self.timeout + self.RETRY_S)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(
            "127.0.0.1", self.service.direct, timeout=self.timeout, source_address=(self.source, 0)
        )

    def _client(self, number: int) -> None:
        connection = self._connect()
        headers = headers_of(self.service.key)
        n = 0
        while not self.ending.is_set():
            n += 1
            value = number * 10_000_000 + n + 0.25
            if self.keyed:
                headers["Idempotency-Key"] = f"{os.getpid()}-{number}-{n}"
            started = time.monotonic()
            while True:
                answer = self._ask(connection, value, headers)
                if answer.status == 201 or not self.keyed or time.monotonic() - started > self.RETRY_S:
                    break
                self.retries += 1
                time.sleep(0.02)
            now = time.monotonic()
            self.slowest = max(self.slowest, now - started)
            if answer.status == 201:
                body = json.loads(answer.body)
                self.told.append(Told(now, value, body["prediction_id"], body["result"], started))
            else:
                self.failed.append(Failed(now, value, answer.status, answer.headers, answer.body, started))
                time.sleep(0.02)
            if self.pause:
                time.sleep(self.pause)
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, value: float, headers: Dict[str, str]) -> Answer:
        try:
            connection.request("POST", "/predict", body_of(value), headers)
            got = connection.getresponse()
            answer = Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, got.read(), 0.0)
            if not self.keep:
                connection.close()
            return answer
        except (OSError, http.client.HTTPException) as why:
            connection.close()
            return Answer(0, {}, repr(why).encode(), 0.0)

    # What came of it. Moments are those of asking: an answer may come late to whoever hears it.

    def refused_after(self, moment: float) -> List[Failed]:
        return [f for f in self.failed if f.began > moment]

    def told_between(self, since: float, until: float) -> List[Told]:
        """Asked after `since` and told before `until`."""
        return [t for t in self.told if t.began > since and t.at < until]

    def longest_silence(self, since: float, until: float) -> float:
        """The longest time in which nobody was told of a stored prediction."""
        moments = sorted(t.at for t in self.told if since <= t.at <= until)
        edges = [since, *moments, until]
        return max(b - a for a, b in zip(edges, edges[1:]))

    def summary(self) -> str:
        return f"{len(self.told)} stored, {len(self.failed)} failed, {self.retries} retries, slowest {self.slowest:.2f} s"


def describe(failed: List[Failed]) -> str:
    if not failed:
        return ""
    kinds: Dict[str, int] = {}
    for f in failed:
        kind = f"{f.status} {f.body[:160].decode(errors='replace')}"
        kinds[kind] = kinds.get(kind, 0) + 1
    return f"{len(failed)}: " + "; ".join(f"{n} x {kind}" for kind, n in sorted(kinds.items(), key=lambda k: -k[1])[:4])


def compare(check: Check, service: Service, *loads: Load) -> None:
    """What clients were told against what the database holds."""
    stored = service.stored()
    told = [t for load in loads for t in load.told]
    missing = [t for t in told if t.id not in stored]
    wrong = [
        t for t in told
        if t.id in stored and (stored[t.id].result != t.result or t.result != t.value + 0.5
                               or json.loads(stored[t.id].features) != [t.value, t.value + 1])
    ]  # fmt: skip
    values = [row.features for row in stored.values()]
    check(not missing, f"each of {len(told)} acknowledged predictions is stored", f"{len(missing)} are not: {missing[:2]}" if missing else "")
    check(not wrong, "with the value that was told", wrong[:2] if wrong else "")
    check(len(values) == len(set(values)), "none is there twice", f"{len(values) - len(set(values))} are" if len(values) != len(set(values)) else "")
    check(len({t.id for t in told}) == len(told), "no two clients were told the same id")
    # A refusal that is sure (429, 503 and other answers of a worker, but for an unknown outcome) stored nothing.
    refused = {json.dumps([f.value, f.value + 1]) for load in loads for f in load.failed
               if f.status in (429, 503) and not load.keyed and b"not known" not in f.body and b"Service Unavailable" not in f.body}  # fmt: skip
    both: Set[str] = refused & set(values)
    if refused:
        check(not both, f"none of {len(refused)} that were refused with 503 is stored", f"{len(both)} are" if both else "")


def random_worker(service: Service) -> Optional[int]:
    pids = list(service.workers().values())
    return random.choice(pids) if pids else None


def every(seconds: float, duration: float) -> Iterator[int]:
    """Once per `seconds` until `duration` has passed."""
    started = time.monotonic()
    n = 0
    while (n + 1) * seconds <= duration:
        time.sleep(max(0.0, started + (n + 1) * seconds - time.monotonic()))
        yield n
        n += 1
