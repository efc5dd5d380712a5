#!/usr/bin/python3
"""Two machines, one PostgreSQL, one Redis. A machine is a network namespace with an nginx and workers of its own, linked to a
third namespace with the servers. They enforce one limit and know of each other's revocations; one is cut off under load while
the other goes on; then one has a clock that is 5 s ahead. Told is compared with stored throughout. Wants root.

The namespaces have no names: one is gone with the last process in it. What this script starts ends with it, by kill -9 too."""
import contextlib
import ctypes
import datetime
import email.utils
import glob
import http.client
import json
import os
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from typing import Callable, Iterator, List

import harness
from harness import (HOME, SECONDS, Answer, Check, Failed, Load, Service, Skip, Told, at_end, body_of, compare, describe,
                     headers_of, note, run, wait_for)  # fmt: skip

from pg_network import ip
from postgres import RECOVERY_S, SLACK_S, Postgres, bases, exactly_once, probes, recovers, unclear

CLONE_NEWNET = 0x40000000
SERVERS = "10.77.0.1"
REDIS = os.path.join(HOME, "tests/servers/redis.sh")
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"  # of package libfaketime
AHEAD_S = 5
SOON_S = 10.0  # what takes less than a second, on a busy machine
CUT_S = min(max(10.0, SECONDS / 2), 20.0)  # longer than a lost connection goes unnoticed, shorter than Load.RETRY_S
libc = ctypes.CDLL(None, use_errno=True)


# --- the network ---


class Network:
    """A network namespace: of the thread that enters it, and of what that starts."""

    def __init__(self) -> None:
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        if libc.unshare(CLONE_NEWNET) != 0:
            raise Skip(f"no network namespace can be made: {os.strerror(ctypes.get_errno())}")
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"
        libc.setns(before, CLONE_NEWNET)
        os.close(before)
        self.ip("link", "set", "lo", "up")

    def enter(self) -> None:
        if libc.setns(self.fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            self.enter()
            yield
        finally:
            libc.setns(before, CLONE_NEWNET)
            os.close(before)

    def ip(self, *arguments: str) -> None:
        with self.inside():
            ip(*arguments)

    def prefix(self) -> List[str]:
        """Before a command: it runs inside."""
        return ["nsenter", f"--net={self.path}"]


def connect(servers: Network, machine: Network, number: int) -> None:
    """A link: its end at the machine is `uplink`, the other one `machine<number>`, a port of the servers' bridge."""
    servers.ip("link", "add", f"machine{number}", "type", "veth", "peer", "name", "uplink", "netns", machine.path)
    servers.ip("link", "set", f"machine{number}", "master", "bridge", "up")
    machine.ip("addr", "add", f"10.77.0.{10 + number}/24", "dev", "uplink")
    machine.ip("link", "set", "uplink", "up")


def make_networks() -> List[Network]:
    """Of the servers, and two of machines."""
    networks = [Network(), Network(), Network()]
    networks[0].ip("link", "add", "bridge", "type", "bridge")
    networks[0].ip("addr", "add", f"{SERVERS}/24", "dev", "bridge")
    networks[0].ip("link", "set", "bridge", "up")
    for number in (1, 2):
        connect(networks[0], networks[number], number)
    return networks


def start_redis(network: Network) -> str:
    """Its URL."""
    folder = tempfile.mkdtemp(prefix="appcore-redis.")

    def redis(command: str, *arguments: str) -> str:
        done = subprocess.run([*network.prefix(), REDIS, command, folder, *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)  # fmt: skip
        if done.returncode != 0 and command != "remove":
            raise RuntimeError(f"redis.sh {command}: {done.stdout}")
        return done.stdout.strip()

    at_end.append(lambda: redis("remove"))
    redis("start", "--set", f"bind=127.0.0.1 {SERVERS}", "--until", str(os.getpid()))
    return redis("url").replace("127.0.0.1", SERVERS)


# --- a machine ---


class Machine(Service):
    """Its addresses are those of its own loopback: who asks goes inside."""

    def __init__(self, network: Network, server: Postgres, redis_url: str, library: str = "", **settings: object):
        self.network = network
        super().__init__(rows_from=server.rows, DATABASE_URL=server.url(), REDIS_URL=redis_url, **settings)
        # Whoever kills this script does not stop the service: this does.
        watcher = (
            'alive() { [ -e "/proc/$1" ] && ! grep -q "^State:.[ZX]" "/proc/$1/status"; }\n'
            'while alive "$1" 2>/dev/null && [ -e "$2" ]; do sleep 0.3; done\n'
            '[ ! -e "$2" ] || { cd "$2" && "$3" stop; cd / && rm -rf "$2"; }'
        )
        subprocess.Popen(["bash", "-c", watcher, "watcher", str(os.getpid()), self.folder, os.path.join(HOME, "scripts/service.sh")],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        if library:
            self._put_ahead(library)

    def _put_ahead(self, library: str) -> None:
        """nginx and the workers, and nothing else that service.sh starts, have the library loaded."""
        programs = os.path.join(self.folder, "programs")
        os.mkdir(programs)
        path = self.settings["PATH"] + ":/usr/sbin:/sbin"
        for program in (self.binary, shutil.which("nginx", path=path) or "nginx"):
            script = os.path.join(programs, os.path.basename(program))
            with open(script, "w") as file:
                file.write(f'#!/bin/sh\nFAKETIME=+{AHEAD_S}s LD_PRELOAD={shlex.quote(library)} exec {shlex.quote(program)} "$@"\n')
            os.chmod(script, 0o755)
        self.binary = self.settings["APPCORE_BIN"] = os.path.join(programs, "appcore")
        self.settings["PATH"] = f"{programs}:{path}"

    def control(self, verb: str) -> subprocess.CompletedProcess:
        with self.network.inside():
            return super().control(verb)

    def get(self, *arguments, **options) -> Answer:
        with self.network.inside():
            return super().get(*arguments, **options)

    def predict(self, *arguments, **options) -> Answer:
        with self.network.inside():
            return super().predict(*arguments, **options)

    def key_command(self, *arguments: str) -> str:
        done = subprocess.run([*self.network.prefix(), self.binary, "key", *arguments], cwd=self.folder, env=self.settings,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"appcore key {arguments[0]}: {done.stderr}")
        return done.stdout

    def new_key(self, name: str, rate: int = 0) -> str:
        return json.loads(self.key_command("create", "--name", name, "--rate", str(rate), "--json"))["key"]

    def all_say(self, key: str, status: int) -> bool:
        """Every worker does, of that key."""
        with self.network.inside():
            return all(ask(self.direct + i, key).status == status for i in range(1, self.instances + 1))

    def health(self) -> dict:
        answer = self.get("/health")
        return answer.json() if answer.body[:1] == b"{" else {}

    def uses_redis(self) -> bool:
        return '"redis":"ok"' in json.dumps(self.health(), separators=(",", ":"))

    def opened(self) -> float:
        """How often a worker's breaker before Redis opened: meanwhile the machine counts for itself."""
        lines = self.get("/metrics").body.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("appcore_redis_breaker_opened_total"))

    def clock(self) -> float:
        """How far it is ahead, by what its nginx and by what its workers say, whichever is less."""
        before = time.time()
        answer = self.predict(next(probes))
        nginx = email.utils.parsedate_to_datetime(answer.headers["date"])
        row = self.get(f"/predictions/{answer.json()['prediction_id']}").json()
        worker = datetime.datetime.fromisoformat(row["created_at"].replace("Z", "+00:00"))
        return min(nginx.timestamp(), worker.timestamp()) - before


def ask(port: int, key: str, **headers: str) -> Answer:
    return harness.request(port, "POST", "/predict", body_of(next(probes)), {**headers_of(key), **headers})


class Clients(Load):
    """Of a machine, inside it. Few: the servers and both machines share two cores with them."""

    def __init__(self, machine: Machine, keyed: bool = False):
        super().__init__(machine, clients=2, keyed=keyed, base=next(bases), pause=0.005)
        self.network = machine.network

    def _client(self, number: int) -> None:
        self.network.enter()
        super()._client(number)


class Asked:
    """What clients that count their requests were told, for compare()."""

    keyed = False

    def __init__(self) -> None:
        self.told: List[Told] = []
        self.failed: List[Failed] = []

    def ask(self, connection: http.client.HTTPConnection, key: str) -> int:
        value = next(probes)
        connection.request("POST", "/predict", body_of(value), headers_of(key))
        got = connection.getresponse()
        body = got.read()
        if got.status == 201:
            answer = json.loads(body)
            self.told.append(Told(time.monotonic(), value, answer["prediction_id"], answer["result"]))
        else:
            self.failed.append(Failed(time.monotonic(), value, got.status, {}, body))
        return got.status


def at_once(*work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=one, daemon=True) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)


# --- the checks ---

names = (f"key-{n}" for n in range(1_000_000))


def one_limit(check: Check, what: str, machines: List[Machine], limit: int) -> List[Asked]:
    """Clients of both machines ask twice as often as the key may. Where Redis is late each counts for itself for a moment: then
    it is tried again."""
    tries: List[Asked] = []
    for _ in range(5):
        opened = [m.opened() for m in machines]
        began = time.monotonic()
        asked = ask_twice_as_often(machines, limit)
        tries.append(asked)
        allowed = len(asked.told)
        detail = f"{allowed} of {allowed + len(asked.failed)} in {time.monotonic() - began:.1f} s"
        now = [m.opened() for m in machines]
        if now != opened:
            detail += f"; a breaker opened: {opened} {now}"
        if 0.98 * limit <= allowed <= 1.02 * limit:
            break
    others = [f for one in tries for f in one.failed if f.status != 429]
    check(0.98 * limit <= allowed <= 1.02 * limit, f"{what}: a limit of {limit} holds over both machines within 2 %", detail)
    check(not others, f"{what}: the others are told 429", describe(others))
    return tries


def ask_twice_as_often(machines: List[Machine], limit: int) -> Asked:
    asked = Asked()
    key = machines[0].new_key(next(names), limit)
    # Asking would use it up: a worker that knows the one which was made after it knows it, too.
    after = machines[0].new_key(next(names))
    wait_for(lambda: all(m.all_say(after, 201) for m in machines), 60)

    def client(machine: Machine) -> None:
        machine.network.enter()
        connection = http.client.HTTPConnection("127.0.0.1", machine.direct, timeout=60)
        for _ in range(limit // 2):
            asked.ask(connection, key)
        connection.close()

    at_once(*[lambda m=m: client(m) for m in machines for _ in range(2)])
    return asked


def revocation(check: Check, what: str, here: Machine, there: Machine) -> None:
    name = next(names)
    key = here.new_key(name)
    if not check(wait_for(lambda: there.all_say(key, 201), 60), f"{what}: the other machine knows a new key"):
        return
    began = time.monotonic()
    here.key_command("revoke", name)
    told = time.monotonic()
    took = {"the other machine refuses": -1.0, "it refuses itself": -1.0}
    while min(took.values()) < 0 and time.monotonic() < told + 60:
        for machine, which in zip((there, here), took):
            if took[which] < 0 and machine.all_say(key, 403):
                took[which] = time.monotonic() - told
    for which, seconds in took.items():
        check(0 <= seconds <= SOON_S, f"{what}: what it revokes {which} (within a second on an idle machine)", f"{seconds:.2f} s (the command {told - began:.2f} s)")


def same_key(check: Check, what: str, machines: List[Machine], n: int) -> None:
    """Both machines are asked the same under the same Idempotency-Key at the same moment, n times."""
    answers: List[List[Answer]] = [[] for _ in range(n)]
    values = [next(probes) for _ in range(n)]
    barrier = threading.Barrier(len(machines))

    def client(machine: Machine) -> None:
        machine.network.enter()
        for i in range(n):
            barrier.wait(120)
            headers = {**headers_of(machine.key), "Idempotency-Key": f"{what}-{os.getpid()}-{i}"}
            answers[i].append(harness.request(machine.direct, "POST", "/predict", body_of(values[i]), headers))

    at_once(*[lambda m=m: client(m) for m in machines])
    statuses = sorted({a.status for both in answers for a in both})
    check(all(len(both) == len(machines) for both in answers) and statuses in ([201], [201, 409]),
          f"{what}: {n} Idempotency-Keys on both at once: 201, or 409 while the other is at it", statuses)  # fmt: skip
    again = [m.predict(values[i], headers={"Idempotency-Key": f"{what}-{os.getpid()}-{i}"}) for i in range(n) for m in machines]
    ids = [{a.json()["prediction_id"] for a in [*answers[i], *again[2 * i : 2 * i + 2]] if a.status == 201} for i in range(n)]
    check(all(a.status == 201 for a in again) and all(len(one) == 1 for one in ids), f"{what}: one answer for each, on both")
    features = [json.loads(row.features) for row in machines[0].stored().values()]
    rows = [features.count([value, value + 1]) for value in values]
    check(rows == [1] * n, f"{what}: one row for each", rows if rows != [1] * n else "")


def cut_off(check: Check, servers: Network, lost: Machine, other: Machine) -> List[Load]:
    workers = lost.workers(), other.workers()
    name = next(names)
    read = f"/predictions/{lost.predict(next(probes)).json()['prediction_id']}"
    key = other.new_key(name)
    check(wait_for(lambda: lost.all_say(key, 201), 60), "cut: both know a key")
    with Clients(lost) as load, Clients(lost, keyed=True) as keyed, Clients(other) as load2, Clients(other, keyed=True) as keyed2:
        time.sleep(2)
        servers.ip("link", "set", "machine1", "down")
        began = time.monotonic()
        time.sleep(1)
        other.key_command("revoke", name)
        time.sleep(CUT_S - 3)
        health, live, reading = lost.get("/health"), lost.get("/livez"), lost.get(read)
        time.sleep(max(0.0, began + CUT_S - time.monotonic()))
        ended = time.monotonic()
        servers.ip("link", "set", "machine1", "up")
        took = recovers(lost, RECOVERY_S + SLACK_S)
        back = time.monotonic()
        refused = wait_for(lambda: lost.all_say(key, 403), 60)
        knows = time.monotonic() - back
        time.sleep(2)
    note(f"cut off: {load.summary()}; keyed: {keyed.summary()}")
    note(f"the other: {load2.summary()}; keyed: {keyed2.summary()}")
    # The one that is cut off.
    during = [f for f in load.failed if began < f.at < ended]
    told = load.told_between(began + 1, ended) + keyed.told_between(began + 1, ended)
    check(len(during) > 0 and not told, "cut off: clients are refused meanwhile, none is told that it is stored",
          f"{len(during)} refused, {len(told)} told")  # fmt: skip
    bad = unclear(load.failed)
    check(not bad, "cut off: refusals are 503 with Retry-After and a reason", describe(bad))
    states = health.status, live.status
    check(states == (503, 200), "cut off: /health is 503, /livez 200", states if states != (503, 200) else "")
    check(reading.status == 503 and "retry-after" in reading.headers, "cut off: a read is 503 with Retry-After",
          f"{reading.status} after {reading.seconds:.2f} s")  # fmt: skip
    check(0 <= took <= RECOVERY_S + SLACK_S, f"cut off: serves again by itself (within {RECOVERY_S:.0f} s on an idle machine)", f"{took:.1f} s")
    late = load.refused_after(back + 1)
    check(not late, "cut off: all is well afterwards", describe(late))
    check(refused and knows <= SOON_S, "cut off: a key that was revoked meanwhile is refused soon after its return", f"{knows:.2f} s")
    check(not keyed.failed, "cut off: with an Idempotency-Key everybody succeeds in the end", describe(keyed.failed))
    check(wait_for(lost.uses_redis, 60), "cut off: it uses Redis again")
    # The other one.
    failed = load2.failed + keyed2.failed
    good = not failed and keyed2.retries == 0
    check(good, "cut: the other machine goes on without a failed request", describe(failed) or f"{keyed2.retries} retries")
    silence = max(load2.longest_silence(began - 1, back), keyed2.longest_silence(began - 1, back))
    check(silence < CUT_S - 2, "cut: nor does it pause", f"{silence:.2f} s")
    now = lost.workers(), other.workers()
    check(now == workers, "cut: the workers are the same", f"{workers} {now}" if now != workers else "")
    exactly_once(check, "cut off", lost, keyed)
    exactly_once(check, "the other", other, keyed2)
    return [load, keyed, load2, keyed2]


def under_load(check: Check, what: str, machines: List[Machine]) -> List[Load]:
    with contextlib.ExitStack() as stack:
        loads = [stack.enter_context(Clients(m, keyed=keyed)) for m in machines for keyed in (False, True)]
        time.sleep(SECONDS / 5)
    failed = [f for load in loads for f in load.failed]
    check(not failed and not any(load.retries for load in loads), f"{what}: no request fails on either machine",
          describe(failed) or f"{sum(len(load.told) for load in loads)} stored")  # fmt: skip
    for machine, load in zip(machines, loads[1::2]):
        exactly_once(check, what, machine, load)
    return loads


def main(check: Check) -> None:
    if os.geteuid() != 0:
        raise Skip("only root may make network namespaces")
    missing = [program for program in ("ip", "nsenter", "redis-server") if not shutil.which(program)]
    if missing:
        raise Skip(f"{', '.join(missing)} is missing: make deps-postgres")
    servers, one, two = make_networks()
    server = Postgres("--listen", SERVERS, "--host", SERVERS, prefix=servers.prefix())
    redis_url = start_redis(servers)
    machines = [Machine(network, server, redis_url).start() for network in (one, two)]
    check(all(wait_for(m.uses_redis, 60) for m in machines), "two machines use one PostgreSQL and one Redis")
    asked: List = [one for limit in (100, 500) for one in one_limit(check, "both", machines, limit)]
    revocation(check, "the first", *machines)
    revocation(check, "the second", *reversed(machines))
    same_key(check, "both", machines, 20)
    asked += cut_off(check, servers, *machines)
    compare(check, machines[0], *asked)

    libraries = glob.glob(FAKETIME)
    if not libraries:
        raise Skip("a clock that is ahead: libfaketime is missing (make deps-postgres)")
    machines[1].close()
    machines[1] = Machine(two, server, redis_url, library=libraries[0]).start()
    clocks = [min(m.clock() for _ in range(5)) for m in machines]  # an answer that comes late adds to it
    check(clocks[0] < 1 and clocks[1] > AHEAD_S - 1.5, f"ahead: the clock of the second machine's nginx and workers is {AHEAD_S} s ahead",
          f"{clocks[0]:.1f} s and {clocks[1]:.1f} s")  # fmt: skip
    check(wait_for(machines[1].uses_redis, 60), "ahead: it uses Redis")
    later: List = [one for limit in (100, 500) for one in one_limit(check, "ahead", machines, limit)]
    revocation(check, "the one behind", *machines)
    revocation(check, "the one ahead", *reversed(machines))
    same_key(check, "ahead", machines, 20)
    later += under_load(check, "ahead", machines)
    compare(check, machines[0], *asked, *later)


if __name__ == "__main__":
    run(main)
