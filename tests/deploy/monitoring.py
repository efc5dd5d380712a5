#!/usr/bin/python3
"""Monitoring as it runs: a service under load of every kind, Prometheus that scrapes it with the rules of monitoring/, and
Alertmanager that tells a receiver of this test's own. All on loopback, in folders of their own; what was started here is
ended here, by its process id."""
import contextlib
import gzip
import http.client
import json
import math
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

HERE = Path(__file__).resolve().parent
HOME = HERE.parents[1]
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
sys.path.insert(0, str(HOME / "tests" / "e2e" / "faults"))

import yaml  # noqa: E402
from harness import Service, Skip, free_ports, request, wait_for  # noqa: E402

import monitoring_files as files  # noqa: E402

PATIENCE_S = 120.0  # for whatever should happen by itself; it takes a fraction of that
TOKEN = "a-token-of-the-receiver"

# Queries of dashboards that are empty as long as nothing is wrong, or something is not used (Redis).
MAY_BE_EMPTY = {
    "models: Errors of models A",
    "models: Models that cannot be loaded A",
    "service: Commits that fail, lines and series that are dropped A",
    "service: Redis A",
    "slo: Where errors come from A",
    "slo: Alerts A",
    "pipelines: Records a second, of runs A",
}
# The same of the rules' selectors.
MAY_MATCH_NOTHING = {
    'http_requests_total{endpoint!~".*/(health|livez|readyz|live|ready)|.*/health/.*",status_code=~"5.."}',
    'appcore_model_predictions_total{status="error"}',
    "appcore_model_load_failing",
    "appcore_commit_failures_total",
    'appcore_requests_rejected_total{reason=~"queue_full|store"}',
    "appcore_redis_breaker_state",
    "appcore_health_check_timestamp_seconds",
    'appcore_tasks{status="dead"}',
    'appcore_tasks{status="processing"}',
    'appcore_tasks{kind="pipeline_run",status="processing"}',
    'tasks_completed_total{status=~"failed|dead"}',
    'appcore_pipeline_runs_total{state="failed"}',
    "job:appcore_model_errors:ratio_rate5m",
}

passed = failed = 0


def check(good: bool, name: str, detail: object = "") -> bool:
    global passed, failed
    passed += good
    failed += not good
    print(f"{'ok  ' if good else 'FAIL'} monitoring {name}{': ' + str(detail)[:900] if detail != '' else ''}", flush=True)
    return good


def skip(what: str) -> None:
    print(f"skip monitoring {what}", flush=True)


# --- programs ---


class Program:
    """A process of this test's own."""

    def __init__(self, name: str, folder: Path, command: List[str]) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-600:]


def ask(port: int, path: str, **query: str) -> Any:
    text = path + ("?" + urllib.parse.urlencode(query) if query else "")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", text)
        return json.loads(connection.getresponse().read() or b"null")
    finally:
        connection.close()


def answers(port: int, path: str) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False


# --- who is told of alerts ---


class Receiver:
    """What came to webhooks (by path, with the header of who sent it) and as mail."""

    def __init__(self) -> None:
        self.hooks: List[Tuple[str, str, Dict[str, Any]]] = []
        self.mails: List[str] = []
        outer = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.hooks.append((self.path, self.headers.get("Authorization", ""), json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Mail(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 test")
                for line in self.rfile:
                    word = line.split(None, 1)[0].upper() if line.split() else b""
                    if word == b"DATA":
                        self.say("354 go on")
                        lines = []
                        for line in self.rfile:
                            if line.rstrip(b"\r\n") == b".":
                                break
                            lines.append(line)
                        outer.mails.append(b"".join(lines).decode(errors="replace"))
                    self.say("221 bye" if word == b"QUIT" else "250 ok")
                    if word == b"QUIT":
                        return

            def say(self, text: str) -> None:
                self.wfile.write(text.encode() + b"\r\n")

        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), Hook), socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)]
        self.http_port, self.mail_port = (s.server_address[1] for s in self.servers)
        for server in self.servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def close(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def told(self, path: str, alert: str, status: str = "firing") -> Optional[Tuple[str, Dict[str, Any]]]:
        for at, token, body in list(self.hooks):
            for one in body.get("alerts", []):
                if at == path and one["labels"]["alertname"] == alert and one["status"] == status:
                    return token, one
        return None


# --- configurations: those of monitoring/, for this machine's ports and with less patience ---


def prometheus_config(folder: Path, target: int, alertmanager: int) -> Path:
    config = yaml.safe_load((files.MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager}"]
    config["scrape_configs"][0]["scrape_interval"] = "1s"
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{target}"]
    config["rule_files"] = [str(files.MONITORING / name) for name in config["rule_files"]]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def hasten(route: Dict[str, Any]) -> None:
    for name, value in (("group_wait", "0s"), ("group_interval", "1s")):
        if name in route:
            route[name] = value
    for child in route.get("routes", []):
        hasten(child)


def alertmanager_config(folder: Path, receiver: Receiver) -> Path:
    config = yaml.safe_load((files.MONITORING / "alertmanager.yml").read_text())
    hasten(config["route"])
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    config["global"].update(smtp_smarthost=f"127.0.0.1:{receiver.mail_port}", smtp_require_tls=False, smtp_auth_password_file=str(token))
    for one in config["receivers"]:
        for hook in one.get("webhook_configs", []):
            hook["url"] = f"http://127.0.0.1:{receiver.http_port}/{one['name']}"
            hook["http_config"]["authorization"]["credentials_file"] = str(token)
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    return path


# --- a service, and load of every kind ---


def command(service: Service, *words: str) -> str:
    done = subprocess.run([service.binary, *words], cwd=service.folder, env=service.settings, capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode != 0:
        raise RuntimeError(f"appcore {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def make_model(folder: Path, offset: int) -> Path:
    """A number and a colour, with what they were like in training: for drift."""
    import hashlib

    folder.mkdir(parents=True)
    text = json.dumps({"format": "appcore linear 1", "coefficients": [[1, 0, 0]], "intercepts": [offset]})
    number = {"name": "a", "type": "number", "missing": "allow", "distribution": {"edges": [10], "shares": [0.5, 0.5], "missing": 0}}
    colour = {"name": "colour", "type": "category", "categories": ["red", "white"], "distribution": {"shares": [0.5, 0.5]}}
    manifest = {
        "appcore": 1, "kind": "linear", "file": "model.json", "hash": hashlib.blake2b(text.encode(), digest_size=32).hexdigest(),
        "inputs": [number, colour], "output": {"type": "regression"},
        "preprocessing": [{"step": "impute", "inputs": ["a"], "values": [0]}, {"step": "one_hot", "input": "colour"}],
    }  # fmt: skip
    (folder / "model.json").write_text(text)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


class Load:
    """One round of everything, again and again until it is ended."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.statuses: Dict[str, int] = {}
        self.ending = threading.Event()
        self.rounds = 0
        self.bearer: Dict[str, str] = {}
        self.thread = threading.Thread(target=self._run, daemon=True)

    def ask(self, method: str, path: str, body: Any = None, headers: Optional[Dict[str, str]] = None, form: bool = False) -> Any:
        sent = dict(headers or {})
        data = None
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded" if form else "application/json"
            data = urllib.parse.urlencode(body).encode() if form else body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = request(self.service.direct, method, path, data, sent)
        key = f"{method} {path.split('?')[0]} {answer.status}"
        self.statuses[key] = self.statuses.get(key, 0) + 1
        return answer

    def login(self, password: str) -> Any:
        return self.ask("POST", "/api/v1/auth/login", {"username": "watcher", "password": password}, form=True)

    def begin(self) -> None:
        self.ask("POST", "/api/v1/auth/register", {"username": "watcher", "email": "watcher@example.com", "password": "testpass123"})
        answer = self.login("testpass123")
        if answer.status != 200:
            raise RuntimeError(f"no login: {answer.status} {answer.body!r}")
        self.bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        self.thread.start()

    def round(self, n: int) -> None:
        key = {"X-API-Key": self.service.key}
        for i in range(10):
            self.ask("POST", "/predict", {"features": [n, i]}, key)
            self.ask("POST", "/api/v1/models/wine/predict", {"instances": [[5 + i, "red"], [11, "white"]]}, key)
            self.ask("GET", f"/predictions?limit={i}")
        self.ask("GET", "/health")
        self.ask("GET", "/nope")
        self.ask("POST", "/predict", {"features": "no"}, key)
        self.ask("POST", "/predict", {"features": [1]}, {"X-API-Key": "wrong"})
        self.ask("POST", "/predict", b"x" * 1_200_000, key)  # refused by nginx itself
        for i in range(4):
            self.ask("POST", "/api/v1/tasks", {"kind": "echo", "payload": i}, self.bearer)
        if n % 3 == 0:
            self.login("testpass123")
            self.login("wrong")
            texts = [f"I love this product {i}" for i in range(200)]
            self.ask("POST", "/api/v1/sentiment/analyze/batch", {"texts": texts}, self.bearer)
            self.ingest(n)

    def ingest(self, n: int) -> None:
        """A file with good rows and bad ones, made elsewhere and moved in."""
        raw = Path(self.service.data) / "raw"
        raw.mkdir(exist_ok=True)
        rows = [f"n{n}-{i},{i},many" for i in range(2000)] + [f"bad{n}-{i},no-number,many" for i in range(20)]
        path = Path(self.service.folder) / f"{n}.csv"
        path.write_text("id,value,category\n" + "\n".join(rows) + "\n")
        os.utime(path, (time.time() - 60, time.time() - 60))
        path.rename(raw / path.name)
        self.ask("POST", "/data/process")

    def _run(self) -> None:
        while not self.ending.wait(0.2):
            self.round(self.rounds)
            self.rounds += 1

    def end(self) -> None:
        self.ending.set()
        if self.thread.is_alive():
            self.thread.join(60)


@contextlib.contextmanager
def listener(service: Service, bearer: Dict[str, str]) -> Iterator[None]:
    """Somebody who listens to events meanwhile."""
    connection = http.client.HTTPConnection("127.0.0.1", service.direct, timeout=30)
    try:
        connection.request("GET", "/api/v1/events", headers=bearer)
        connection.getresponse()
        yield
    finally:
        connection.close()


def new_service() -> Service:
    service = Service(
        WORKERS=1, TASK_THREADS=2, PIPELINES_DIR=HOME / "pipelines", SCHEDULE_INGEST="off", MODEL_DRIFT_WINDOW="1h",
        USER_RATE_LIMIT_PER_MINUTE=0, DATA_ACCESS="open", USER_TASKS_PENDING=0, USER_TASKS_BYTES=0,
    )  # fmt: skip
    service.start()
    for version, offset in (("1", 0), ("2", 5)):
        command(service, "model", "add", str(make_model(Path(service.folder) / "made" / version, offset)), "--name", "wine", "--version", version)
    command(service, "model", "activate", "wine", "1")
    command(service, "model", "shadow", "wine", "2")
    command(service, "task", "add", "backup")
    return service


# --- the checks ---


class Watch:
    """Prometheus and what it says."""

    def __init__(self, port: int) -> None:
        self.port = port

    def query(self, expr: str) -> List[Dict[str, Any]]:
        answer = ask(self.port, "/api/v1/query", query=expr)
        if answer["status"] != "success":
            raise ValueError(f"{expr}: {answer.get('error')}")
        return answer["data"]["result"]

    def has_numbers(self, expr: str) -> bool:
        return any(not math.isnan(float(row["value"][1])) for row in self.query(expr))

    def firing(self) -> List[str]:
        return [a["labels"]["alertname"] for a in ask(self.port, "/api/v1/alerts")["data"]["alerts"] if a["state"] == "firing"]

    def rules(self) -> List[Dict[str, Any]]:
        return [rule for group in ask(self.port, "/api/v1/rules")["data"]["groups"] for rule in group["rules"]]


def check_targets(watch: Watch, port: int) -> None:
    found: List[Dict[str, Any]] = []

    def all_up() -> bool:
        found[:] = ask(watch.port, "/api/v1/targets")["data"]["activeTargets"]
        return bool(found) and all(t["health"] == "up" for t in found)

    wait_for(all_up, PATIENCE_S)
    said = [(t["labels"]["job"], t["scrapeUrl"], t["health"]) for t in found]
    check(said == [(files.JOB, f"http://127.0.0.1:{port}/metrics", "up")], "all targets are up (A-112, E-042)", said)


def check_exposition(service: Service) -> Dict[str, str]:
    """Families and their types."""
    text = service.get("/metrics").body
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    check(done.returncode == 0 and not done.stdout + done.stderr, "promtool has nothing to say of the metrics of a busy service", (done.stdout + done.stderr).decode())
    return {line.split()[2]: line.split()[3] for line in text.decode().splitlines() if line.startswith("# TYPE ")}


def check_names(families: Dict[str, str]) -> None:
    known = set(families) | files.recorded() | {"up", "ALERTS"}
    for name, kind in families.items():
        if kind == "histogram":
            known |= {f"{name}_bucket", f"{name}_count", f"{name}_sum"}
    asked = [(rule.get("alert") or rule["record"], rule["expr"]) for _, rule in files.groups()] + list(files.dashboard_queries())
    strange = sorted({f"{where}: {name}" for where, expr in asked for name, _ in files.selectors(expr) if name not in known})
    check(not strange, f"what {len(asked)} rules and queries ask for exists", strange or "")


def check_rules_run(watch: Watch) -> None:
    def evaluated() -> bool:
        return all(rule["health"] == "ok" for rule in watch.rules())

    wait_for(evaluated, PATIENCE_S)
    sick = [f"{rule['name']}: {rule.get('lastError')}" for rule in watch.rules() if rule["health"] != "ok"]
    check(not sick, f"{len(watch.rules())} rules are evaluated", sick or "")


def empty_selectors(watch: Watch) -> List[str]:
    empty = []
    for _, rule in files.groups():
        for name, matchers in files.selectors(rule["expr"]):
            selector = name + matchers
            if selector not in MAY_MATCH_NOTHING and selector not in empty and not watch.query(f"count({selector})"):
                empty.append(selector)
    return empty


def empty_queries(watch: Watch) -> List[str]:
    return [name for name, expr in files.dashboard_queries() if name not in MAY_BE_EMPTY and not watch.has_numbers(expr)]


def check_queries(watch: Watch) -> None:
    empty = [] if wait_for(lambda: not empty_selectors(watch), PATIENCE_S, 1) else empty_selectors(watch)
    check(not empty, "whatever the rules select is there", empty or "")
    empty = [] if wait_for(lambda: not empty_queries(watch), PATIENCE_S, 1) else empty_queries(watch)
    names = [name for name, _ in files.dashboard_queries()]
    check(not empty, f"{len(names)} queries of the dashboards return data (E-043, E-048)", empty or "")
    check(MAY_BE_EMPTY <= set(names), "those that may be empty exist", sorted(MAY_BE_EMPTY - set(names)) or "")
    for _, expr in files.dashboard_queries():
        watch.query(expr)  # those, too, are good PromQL


def check_silent_worker(watch: Watch, service: Service, receiver: Receiver) -> None:
    """A worker that is stopped is ended by its peers: a ticket, by mail. The rule has no `for`."""
    os.kill(service.workers()[1], signal.SIGSTOP)
    told = wait_for(lambda: any("WorkersKilled" in mail for mail in receiver.mails), PATIENCE_S)
    check(told, "a worker was silent: a ticket comes by mail (E-047)", "" if told else [watch.firing(), len(receiver.mails)])
    mail = next((m for m in receiver.mails if "WorkersKilled" in m), "")
    check("To: operations@example.org" in mail, "to whoever looks after tickets", mail[:300] if "operations@" not in mail else "")


def check_dead_pool(watch: Watch, service: Service, receiver: Receiver) -> None:
    """No instance, as the rule has it (for: 30s): a page, and when they are back, word of that."""
    supervisors = service.pids("supervisor")
    for pid in supervisors.values():
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not service.workers(), PATIENCE_S)
    statuses = [request(service.direct, "GET", "/version", headers={"X-Request-ID": "dead-1"}).status for _ in range(20)]
    check(set(statuses) == {502}, "without instances nginx answers 502", sorted(set(statuses)))
    began = time.monotonic()
    wait_for(lambda: receiver.told("/page", "NoInstances"), PATIENCE_S)
    told = receiver.told("/page", "NoInstances")
    if check(told is not None, "no instance is left: a page (E-047)", f"after {time.monotonic() - began:.0f} s" if told else watch.firing()):
        token, alert = told
        check(token == f"Bearer {TOKEN}", "with the token from its file")
        notes = alert["annotations"]
        check(notes["runbook_url"] == "docs/operations.md#noinstances" and notes["summary"].startswith("No instance serves on 127.0.0.1:"),
              "which says where, and where to read on", notes["summary"])  # fmt: skip
    service.start()
    check(wait_for(lambda: receiver.told("/page", "NoInstances", "resolved"), PATIENCE_S), "when they are back, that is told as well")
    pages = sorted({a["labels"]["alertname"] for at, _, body in receiver.hooks if at == "/page" for a in body["alerts"]})
    check(all(rule["labels"]["severity"] == "critical" for rule in files.alerts() if rule["alert"] in pages), "nobody was paged for less", pages)


# --- scripts/logs.sh ---


def logs(service: Service, *words: str, **environment: str) -> subprocess.CompletedProcess:
    asked = [str(HOME / "scripts" / "logs.sh"), *words]
    where = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(asked, cwd=where.pop("PWD", service.folder), env=where, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def lines_of(service: Service, *words: str, **environment: str) -> List[Dict[str, Any]]:
    done = logs(service, *words, "--json", **environment)
    return [json.loads(line) for line in done.stdout.splitlines()]


def sources_of(found: List[Dict[str, Any]]) -> List[str]:
    return sorted({line["source"].split("-")[0] + ("-" + line["source"].split("-")[1] if line["source"].startswith("nginx") else "") for line in found})


def until(service: Service, wanted: List[str], *words: str, **environment: str) -> List[Dict[str, Any]]:
    """Lines are written once a second, a task's when it is done."""
    wait_for(lambda: sources_of(lines_of(service, *words, **environment)) == wanted, PATIENCE_S, 0.5)
    return lines_of(service, *words, **environment)


def check_logs(service: Service, load: Load) -> None:
    key = {"X-API-Key": service.key}
    answer = load.ask("POST", "/predict", {"features": [1]}, {**key, "X-Request-ID": "find.me-1"})
    load.ask("POST", "/predict", {"features": [1]}, {**key, "X-Request-ID": "find-me-12"})
    found = until(service, ["API", "nginx-access"], "find.me-1")
    check(len(found) == 2 and sources_of(found) == ["API", "nginx-access"], "logs.sh finds a request at nginx and in its instance", found)
    text = logs(service, "find.me-1").stdout.splitlines()
    check(len(text) == 2 and all('"find.me-1"' in line for line in text), "and nothing else", text)
    times = [line.split()[0] for line in text]
    check(times == sorted(times), "in the order of time", times)
    by_prediction = until(service, ["API", "nginx-access"], answer.json()["prediction_id"])
    check(by_prediction == found, "by the id of the prediction it finds the same")
    edge = next(line["line"]["edge_id"] for line in found if "edge_id" in line["line"])
    check(lines_of(service, edge) == found, "by the id of the edge, too")
    batch = load.ask("POST", "/api/v1/sentiment/analyze/batch", {"texts": ["good", "bad"]}, {**load.bearer, "X-Request-ID": "batch-1"})
    found = until(service, ["API", "WORKER", "nginx-access"], "batch-1")
    task = batch.json()["task_id"]
    done = [line["line"]["message"] for line in found if line["line"].get("task_id") == task]
    check(sources_of(found) == ["API", "WORKER", "nginx-access"] and len(done) == 1 and "sentiment_batch: completed" in done[0],
          "a request that made a task is followed into its worker", done or found)  # fmt: skip
    check(lines_of(service, task) == found, "and the task back to its request")
    found = until(service, ["nginx-access", "nginx-error"], "dead-1")
    check(sources_of(found) == ["nginx-access", "nginx-error"], "what nginx says of a request that nobody answered is found with it", sources_of(found))
    check_logs_refuse(service)
    check_logs_journal(service, load)


def check_logs_refuse(service: Service) -> None:
    hostile = ["", "a b", "$(id)", "`id`", "a;b", "../x", "a/b", 'a"b', "a\nb", "a'b", "*", "é", "x" * 129, "--nonsense", "-n"]
    codes = {word[:12]: logs(service, word).returncode for word in hostile}
    check(set(codes.values()) == {100}, "what is no id is refused", {k: c for k, c in codes.items() if c != 100} or "")
    sentences = {word[:12]: logs(service, word).stderr for word in hostile[1:]}
    wrong = {k: s for k, s in sentences.items() if s.count("\n") != 1}
    check(not wrong, "with one sentence", wrong or "")
    done = logs(service, "no-such-id")
    check(done.returncode == 1 and done.stderr.count("\n") == 1 and not done.stdout, "an id that nobody had: so it says", done.stderr.strip())
    check(logs(service, "--since", "yesterdayish").returncode == 100, "a time that is none is refused")
    found = lines_of(service, "--since", "10m")
    times = [line["time"] for line in found]
    check(len(found) > 100 and times == sorted(times), "all lines of ten minutes, in the order of time", len(found))
    check({"API", "WORKER", "nginx-access"} <= set(sources_of(found)), "of all sources", sources_of(found))


def check_logs_journal(service: Service, load: Load) -> None:
    """As on a machine with units: the journal (a stand-in that prints what the instances wrote) and files that were rotated."""
    folder = Path(service.folder) / "machine"
    (folder / "bin").mkdir(parents=True)
    run = Path(service.folder) / "run"
    with (folder / "journal").open("w") as out:
        for path in sorted((run / "log").glob("*.log")):
            for line in path.read_text(errors="replace").splitlines():
                out.write(f"{time.time():.6f} host appcore[1]: {line}\n")
    stub = folder / "bin" / "journalctl"
    stub.write_text(f"#!/bin/sh\ncat '{folder}/journal'\n")
    stub.chmod(0o755)
    text = (run / "nginx" / "access.log").read_bytes()
    (folder / "access.log").write_text("")
    (folder / "access.log.1.gz").write_bytes(gzip.compress(text))
    (folder / "run" / "log").mkdir(parents=True)  # as in /, where it is the journal's
    where = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "NGINX_LOG_DIR": str(folder), "PWD": str(folder)}
    found = lines_of(service, "batch-1", "--since", "1d", **where)
    check(sources_of(found) == ["API", "WORKER", "nginx-access"], "from the journal and a file that was rotated and compressed", found or logs(service, "batch-1", **where).stderr)
    piped = subprocess.run([str(HOME / "scripts" / "logs.sh"), "batch-1", "--file", "-", "--json"], cwd="/", env={"PATH": os.environ["PATH"]},
                           input=(run / "nginx" / "access.log").read_text(), capture_output=True, text=True)  # fmt: skip
    check([json.loads(line)["source"] for line in piped.stdout.splitlines()] == ["nginx-access"], "from standard input", piped.stderr)


def live(folder: Path) -> None:
    receiver = Receiver()
    programs: List[Program] = []
    service = new_service()
    load = Load(service)
    try:
        load.begin()
        first = free_ports(2)
        programs.append(
            Program("alertmanager", folder, ["prometheus-alertmanager", f"--config.file={alertmanager_config(folder, receiver)}",
                    f"--storage.path={folder}/alertmanager", f"--web.listen-address=127.0.0.1:{first + 1}", "--cluster.listen-address="]))  # fmt: skip
        programs.append(
            Program("prometheus", folder, ["prometheus", f"--config.file={prometheus_config(folder, service.direct, first + 1)}",
                    f"--storage.tsdb.path={folder}/prometheus", f"--web.listen-address=127.0.0.1:{first}", "--log.level=warn"]))  # fmt: skip
        watch = Watch(first)
        ready = wait_for(lambda: answers(first, "/-/ready") and answers(first + 1, "/-/ready"), PATIENCE_S)
        if not check(ready, "Prometheus and Alertmanager start", "" if ready else [p.tail() for p in programs]):
            return
        with listener(service, load.bearer):
            check_targets(watch, service.direct)
            check_rules_run(watch)
            wait_for(lambda: load.rounds >= 4, PATIENCE_S)
            check_names(check_exposition(service))
            check(wait_for(lambda: receiver.told("/heartbeat", "Watchdog"), PATIENCE_S), "the sign of life arrives")
            check_silent_worker(watch, service, receiver)
        load.end()
        check_dead_pool(watch, service, receiver)
        load = again(load)
        with listener(service, load.bearer):
            check_logs(service, load)
            check_queries(watch)
        load.end()
        bad = {k: n for k, n in load.statuses.items() if k.endswith((" 0", " 500", " 502", " 503"))}
        check(not bad, f"load of {load.rounds} rounds, {sum(load.statuses.values())} requests, {len(load.statuses)} kinds of answers", bad or "")
    finally:
        load.end()
        for program in reversed(programs):
            program.stop()
        service.close()
        receiver.close()


def again(load: Load) -> Load:
    """The same load goes on."""
    fresh = Load(load.service)
    fresh.bearer, fresh.rounds, fresh.statuses = load.bearer, load.rounds, load.statuses
    fresh.thread.start()
    return fresh


def main() -> int:
    def end(*_: object) -> None:
        raise SystemExit(130)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    began = time.monotonic()
    missing = [p for p in ("prometheus", "promtool", "prometheus-alertmanager", "amtool") if not shutil.which(p)]
    if missing:
        print(f"skipped: {', '.join(missing)} missing; run: make deps-monitoring")
        print("monitoring: 0 passed, 0 failed")
        return 0
    # promtool's cases take a processor some seconds: meanwhile the rest goes on.
    runs = [(name, subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)) for name, words in files.tool_runs()]
    folder = Path(tempfile.mkdtemp(prefix="appcore-monitoring."))
    try:
        files.check_rules(check)
        files.check_runbook(check, skip)
        files.check_prometheus(check)
        files.check_routes(check)
        files.check_dashboards(check)
        live(folder)
        for name, process in runs:
            output, _ = process.communicate(timeout=300)
            check(process.returncode == 0, name, "" if process.returncode == 0 else output[-800:])
    except Skip as why:
        check(False, str(why))
    finally:
        for _, process in runs:
            if process.poll() is None:
                process.kill()
                process.wait()
        if os.environ.get("KEEP"):
            print(f"     monitoring kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"monitoring: {passed} passed, {failed} failed ({time.monotonic() - began:.0f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
