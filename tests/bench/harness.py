"""What bench.py and scale.py share: a service of their own in a scratch directory, the Python reference, and wrk."""
import atexit
import contextlib
import json
import os
import resource
import secrets
import shutil
import signal
import socket
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Dict, List, Optional

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYTHON = "/usr/bin/python3"
THREADS = 2  # of wrk, from 2 connections on


class Failed(Exception):
    """The bench can't go on; the text is one sentence for the user."""


def free_ports(n: int) -> int:
    """The first of n neighbouring TCP ports that are free on loopback now."""
    for _ in range(200):
        first = 20000 + secrets.randbelow(12000)
        taken = []
        try:
            for port in range(first, first + n):
                s = socket.socket()
                taken.append(s)
                s.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
        finally:
            for s in taken:
                s.close()
    raise Failed("no free ports on loopback")


def scratch() -> Path:
    """A directory of this run's own, under BENCH_DIR (default: the system's temporary one); the caller removes it."""
    return Path(tempfile.mkdtemp(prefix="appcore-bench-", dir=os.environ.get("BENCH_DIR")))


def exit_on_signals() -> None:
    """Turns SIGTERM and SIGHUP into SystemExit, so that `finally` stops what was started."""

    def leave(number, _):
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)


def share_processors() -> None:
    """From here on this process and what it starts are one group to the scheduler, as systemd's services are in
    system.slice. Otherwise each session is a group of its own (sched_autogroup), and a thread's priority says nothing
    to the threads of others. Needs root; without it everything goes on as it is."""
    for parent in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/cpu")):
        group = parent / f"appcore-bench-{os.getpid()}"
        try:
            group.mkdir()
            # What the kernel puts into a group whose processor is shared out: version 2, version 1. Else it is no such group.
            if (group / "cpu.weight").exists() or (group / "cpu.shares").exists():
                (group / "cgroup.procs").write_text("0")
                atexit.register(leave_group, parent, group)
                return
            group.rmdir()
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()


def leave_group(parent: Path, group: Path) -> None:
    with contextlib.suppress(OSError):
        (parent / "cgroup.procs").write_text("0")
    for _ in range(50):
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)


def fetch(url: str, key: Optional[str] = None, body: Optional[dict] = None, timeout: float = 60):
    """(status, headers, bytes) of one request; an error status is an answer, not an exception."""
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode())
    if body is not None:
        request.add_header("Content-Type", "application/json")
    if key:
        request.add_header("X-API-Key", key)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def inherited() -> Dict[str, str]:
    """The environment without what would name other servers than the bench's own, or change how they are used."""
    servers = ("DATABASE_READ_URL", "REDIS_URL", "POSTGRES_", "PG")
    return {name: value for name, value in os.environ.items() if not name.startswith(servers)}


class Told:
    """What a service's clients know of its store: predictions that were acknowledged, and requests for some that were
    under way when their run ended, which may be stored or not."""

    def __init__(self):
        self.acknowledged = 0
        self.open = 0

    def add(self, result: Dict[str, float], connections: int) -> None:
        """After a run of wrk."""
        self.acknowledged += int(result["requests"] - result["status_errors"])
        self.open += connections


class SqliteFile:
    """A store: its URL, its rows, and what its server has used of the processors, which here is none."""

    def __init__(self, path: Path):
        self.path = path
        self.url = f"sqlite:///{path}"

    def rows(self) -> int:
        db = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            return db.execute("SELECT count(*) FROM predictions").fetchone()[0]
        finally:
            db.close()

    def cpu(self) -> Dict[str, float]:
        return {}


class Service:
    """The real service, started by scripts/service.sh with every path and port of its own. Its store is a file of
    SQLite's in its directory unless `store` is given; limits are off (0 a minute) unless `limit` is, and kept by
    `redis` if given (servers.py)."""

    def __init__(self, directory: Path, script: str, store=None, instances: int = 2, limit: int = 0, redis=None):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.script = script
        self.database = directory / "data" / "predictions.db"
        self.store = store or SqliteFile(self.database)
        self.redis = redis
        self.told = Told()
        self.run_dir = directory / "run"
        self.extra = directory / "extra.conf"
        self.extra.write_text("")
        self.key = secrets.token_hex(24)
        first = free_ports(3 + instances)
        self.plain = f"http://127.0.0.1:{first}"
        self.tls = f"https://127.0.0.1:{first + 1}"
        self.direct = f"http://127.0.0.1:{first + 2}"
        self.instances = instances
        self.environment = {
            **inherited(),
            "ENVIRONMENT": "development",
            "HTTP_PORT": str(first),
            "HTTPS_PORT": str(first + 1),
            "DIRECT_PORT": str(first + 2),
            "INSTANCES": str(instances),
            "DATA_DIR": str(directory / "data"),
            "RUN_DIR": str(self.run_dir),
            "DATABASE_URL": self.store.url,
            "LOG_FILE": str(directory / "appcore.log"),
            "API_KEY": self.key,
            "SECRET_KEY": "a-secret-for-benches-of-more-than-32-bytes",
            "RATE_LIMIT_PER_MINUTE": str(limit),
            "KEY_RATE_LIMIT_PER_MINUTE": str(limit),
            "RETENTION_DAYS": "0",
            "HTTP_CONTRACT": "on",
            "NGINX_EXTRA_SERVER": str(self.extra),
            **({"REDIS_URL": redis.url} if redis else {}),
        }
        self.started = False

    def _script(self, verb: str) -> None:
        log = self.directory / f"{verb}.log"
        with log.open("ab") as out:
            # A session of its own: Ctrl-C reaches the bench, which then stops the service in order.
            # Its working directory is ours too: an .env of the checkout's stays out of it.
            done = subprocess.run(
                [self.script, verb],
                env=self.environment,
                cwd=self.directory,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        if done.returncode != 0:
            tail = log.read_text(errors="replace").strip().splitlines()[-5:]
            raise Failed(f"{self.script} {verb} failed ({done.returncode}): " + " | ".join(tail))

    def start(self) -> None:
        self.started = True  # also when the start fails half-way: stop() is harmless
        self._script("start")

    def stop(self) -> None:
        if self.started:
            self._script("stop")
            self.started = False

    def add_return_location(self) -> None:
        """Starts once to learn the body of /version, then lets nginx answer the same bytes at /bench/return."""
        self.start()
        status, _, body = fetch(self.plain + "/version")
        if status != 200:
            raise Failed(f"/version answers {status}")
        self.stop()
        text = body.decode().replace("'", "\\'")
        self.extra.write_text(
            f"location = /bench/return {{\n\tdefault_type application/json;\n\treturn 200 '{text}';\n}}\n"
        )
        self.start()

    def different_headers(self) -> List[str]:
        """Names of headers that only one of /version and /bench/return sends."""
        ours, nginx = (fetch(self.plain + path)[1] for path in ("/version", "/bench/return"))
        return sorted({h.lower() for h in ours} ^ {h.lower() for h in nginx})

    def workers(self) -> List[int]:
        """Process ids of the workers, from the supervisors' notes."""
        notes = (file.read_text().split() for file in sorted(self.run_dir.glob("appcore-*.pid")))
        return [int(words[words.index("worker") + 1]) for words in notes if "worker" in words]

    def cpu(self) -> Dict[str, float]:
        """Seconds of processor time that nginx, the workers and their servers have used so far."""
        master = int((self.run_dir / "nginx" / "nginx.pid").read_text())
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        used = {"nginx": sum(cpu_of(int(pid)) for pid in children), "worker": sum(map(cpu_of, self.workers()))}
        return {**used, **self.store.cpu(), **(self.redis.cpu() if self.redis else {})}


def cpu_of(pid: int) -> float:
    """Seconds of processor time of all threads of a process (nanoseconds in the first field, proc(5) schedstat)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


class Reference:
    """tests/bench/reference under uvicorn with two workers. With `nodelay`, its listening socket is opened here with
    TCP_NODELAY, which accepted connections inherit: Debian's uvicorn with several workers leaves Nagle's algorithm on.
    `store` as for Service."""

    def __init__(self, directory: Path, nodelay: bool = False, store=None):
        directory.mkdir(parents=True, exist_ok=True)
        self.key = secrets.token_hex(24)
        self.store = store or SqliteFile(directory / "predictions.db")
        self.told = Told()
        self.socket: Optional[socket.socket] = None
        command = [PYTHON, "-m", "uvicorn", "app:app", "--workers", "2", "--no-access-log", "--log-level", "warning"]
        if nodelay:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.bind(("127.0.0.1", 0))
            port = self.socket.getsockname()[1]
            os.set_inheritable(self.socket.fileno(), True)
            command += ["--fd", str(self.socket.fileno())]
        else:
            port = free_ports(1)
            command += ["--host", "127.0.0.1", "--port", str(port)]
        self.plain = f"http://127.0.0.1:{port}"
        environment = {
            **inherited(),
            "API_KEY": self.key,
            "DATABASE_URL": self.store.url,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with (directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=HERE / "reference",
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[self.socket.fileno()] if self.socket else [],
            )

    def cpu(self) -> Dict[str, float]:
        """Seconds of processor time of uvicorn, its workers and its server so far."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {"python": sum(cpu_of(int(pid)) for pid in (self.process.pid, *children)), **self.store.cpu()}

    def wait_ready(self, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if fetch(self.plain + "/version", timeout=2)[0] == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise Failed("the Python reference did not start (Debian packages: python3-fastapi, uvicorn)")

    def stop(self) -> None:
        if self.process.poll() is None:
            # Its group holds nothing but itself and its workers: start_new_session above.
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        if self.socket:
            self.socket.close()


def busy() -> float:
    """Seconds of processor time that all programs of this machine have used, and that its host has taken away."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Meter:
    """Where the processor time goes while something runs: `with Meter(parts) as meter: …; meter.used`, in seconds. `parts`
    gives seconds so far by name; `wrk` and `others` (everything else on the machine) are added."""

    def __init__(self, parts):
        self.parts = parts

    def _read(self) -> Dict[str, float]:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {**self.parts(), "wrk": children.ru_utime + children.ru_stime, "all": busy()}

    def __enter__(self) -> "Meter":
        self.before = self._read()
        return self

    def __exit__(self, *_) -> None:
        self.used = {name: value - self.before[name] for name, value in self._read().items()}
        everything = self.used.pop("all")
        self.used["others"] = max(0.0, everything - sum(self.used.values()))


def wrk(base: str, kind: List[str], connections: int, seconds: float, key: str = "") -> Dict[str, float]:
    """One run of wrk; its result with `errors` added."""
    command = ["wrk", f"-t{min(THREADS, connections)}", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
    command += ["--timeout", "60s", "-s", str(HERE / "load.lua"), base, "--", *kind]
    done = subprocess.run(
        command, env={**os.environ, "API_KEY": key}, capture_output=True, text=True, timeout=seconds + 180
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            result = json.loads(line[len("RESULT ") :])
            result["errors"] = result["status_errors"] + result["socket_errors"] + result["timeouts"]
            return result
    raise Failed(f"wrk failed ({done.returncode}): {(done.stderr or done.stdout).strip()[-300:]}")


def metered(service, base: str, kind: List[str], connections: int, seconds: float) -> Dict[str, float]:
    """wrk(), with microseconds of processor time per request in cpu_us, which a busy machine disturbs least, and in
    `others` the share of the machine that programs took which are not part of the bench."""
    with Meter(service.cpu) as meter:
        result = wrk(base, kind, connections, seconds, service.key)
    per_request = 1e6 / max(1, result["requests"])
    result["others"] = round(meter.used.pop("others") / (result["seconds"] * (os.cpu_count() or 1)), 3)
    result["cpu_us"] = {part: round(used * per_request, 2) for part, used in meter.used.items()}
    return result


def median_run(runs: List[Dict[str, float]]) -> Dict[str, float]:
    """One result out of several: medians, but sums for what is counted and the worst for the maximum."""
    merged = {name: statistics.median(run[name] for run in runs) for name in runs[0] if name != "cpu_us"}
    if "cpu_us" in runs[0]:
        merged["cpu_us"] = {part: statistics.median(run["cpu_us"][part] for run in runs) for part in runs[0]["cpu_us"]}
    for name in ("requests", "seconds", "status_errors", "socket_errors", "timeouts", "errors"):
        merged[name] = sum(run[name] for run in runs)
    merged["others"] = max(run.get("others", 0) for run in runs)
    merged["max_ms"] = max(run["max_ms"] for run in runs)
    return merged


class Goals:
    """Goals beside what was measured; prints them and knows whether all were reached."""

    def __init__(self):
        self.rows: List[dict] = []

    def add(self, name: str, value: Optional[float], relation: str, goal: float, detail: str = "") -> None:
        met = value is not None and (value >= goal if relation == ">=" else value <= goal)
        self.rows.append(
            {"name": name, "value": value, "relation": relation, "goal": goal, "met": met, "detail": detail}
        )

    def print(self) -> None:
        print(f"\n{'goal':<48} {'measured':>10} {'goal':>10}")
        for row in self.rows:
            value = "-" if row["value"] is None else f"{row['value']:.4g}"
            wanted = f"{row['relation']} {row['goal']:g}"
            print(f"{row['name']:<48} {value:>10} {wanted:>10}  {'met' if row['met'] else 'MISSED'}  {row['detail']}")

    @property
    def met(self) -> bool:
        return all(row["met"] for row in self.rows)


def machine() -> Dict[str, object]:
    """What the figures were taken on."""
    model = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True)
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "load_before": os.getloadavg()[0],
        "commit": commit.stdout.strip(),
        "nginx": nginx.stderr.strip().rpartition("/")[2],
        "python": sys.version.split()[0],
        "time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
    }


def appcore(environment: Dict[str, str]) -> str:
    """The binary that service.sh starts in this environment."""
    return environment.get("APPCORE_BIN") or str(ROOT / "build" / "release" / "appcore")


def need(*programs: str) -> None:
    missing = [p for p in programs if not shutil.which(p, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")]
    if missing:
        raise Failed(f"missing: {', '.join(missing)} (Debian packages: wrk, nginx-light, python3-fastapi, uvicorn)")
