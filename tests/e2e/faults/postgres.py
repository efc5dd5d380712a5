"""What the fault scripts of PostgreSQL share: servers (tests/servers/postgres.sh), services that store there, and the course
of an outage: clients ask without pause while the server is taken away and given back."""
import itertools
import os
import subprocess
import tempfile
import time
from typing import Callable, List, Optional

from harness import HOME, Check, Load, Service, at_end, compare, describe, note, wait_for

SCRIPT = os.path.join(HOME, "tests/servers/postgres.sh")
RECOVERY_S = 10.0
SLACK_S = 50.0  # of a busy machine
DATABASE = "faults"
bases = itertools.count(0, 1000)  # of the clients' numbers: no two requests send the same features
probes = itertools.count(1e12, 10)


class Postgres:
    """A server of its own, with an empty database."""

    def __init__(self, *options: str, of: Optional["Postgres"] = None, prefix: Optional[List[str]] = None, home: str = ""):
        self.prefix = prefix or []  # before the command: a network namespace
        self.folder = home or tempfile.mkdtemp(prefix="appcore-pg.")
        at_end.append(self.remove)
        if of:
            self.run("replica", of.folder, *options, "--until", str(os.getpid()))
        else:
            self.run("start", *options, "--until", str(os.getpid()))
            self.run("createdb", DATABASE)

    def run(self, command: str, *arguments: str, check: bool = True) -> str:
        done = subprocess.run([*self.prefix, SCRIPT, command, self.folder, *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)  # fmt: skip
        if check and done.returncode != 0:
            raise RuntimeError(f"postgres.sh {command}: {done.stdout}")
        return done.stdout.strip()

    def remove(self) -> None:
        self.run("remove", check=False)

    def url(self) -> str:
        return self.run("url", DATABASE)

    def sql(self, text: str, database: str = DATABASE) -> str:
        return self.run("psql", database, "-A", "-t", "-F", "\t", "-c", text)

    def rows(self) -> List[List[str]]:
        text = self.sql("SELECT id, result, features FROM predictions")
        return [line.split("\t") for line in text.splitlines()]


def service_on(server: Postgres, url: str = "", **settings: object) -> Service:
    service = Service(rows_from=server.rows, DATABASE_URL=url or server.url(), **settings)
    return service.start()


def unclear(failed: list) -> list:
    """Failures that are no clear 503."""
    return [f for f in failed if f.status != 503 or "retry-after" not in f.headers or b'{"detail":"' not in f.body]


def unknown(load: Load) -> list:
    return [f for f in load.failed if b"not known" in f.body]


def recovers(service: Service, seconds: float) -> float:
    """How long until predictions are stored again, by each instance; -1: not in time."""
    return service.all_store(lambda: next(probes), seconds)


def outage(check: Check, what: str, service: Service, take: Callable[[], None], give: Callable[[], None], seconds: float = 3.0,
           refuses: bool = True, recovery_s: float = RECOVERY_S, rounds: int = 1) -> None:  # fmt: skip
    """Clients without and with Idempotency-Key; the latter try again until they succeed."""
    workers = service.workers()
    slowest = 0.0
    base = next(bases)
    with Load(service, clients=8, base=base) as load, Load(service, clients=4, keyed=True, base=base + 100) as keyed:
        for n in range(rounds):
            time.sleep(1.5)
            take()
            began = time.monotonic()
            time.sleep(seconds)
            if refuses and n == 0:
                said = [service.get("/health")]  # what is judged is what was waited for: another instance may be asked next
                wait_for(lambda: load.refused_after(began) and (said[-1].status == 503 or said.append(service.get("/health"))), SLACK_S)
                health, live = said[-1], service.get("/livez")
                check(health.status == 503, f"{what}: /health is 503", f"{health.status} {health.body[:120].decode()}" if health.status != 503 else "")
                check(live.status == 200, f"{what}: /livez is 200", live.status if live.status != 200 else "")
            ended = time.monotonic()
            give()
            took = recovers(service, recovery_s + SLACK_S)
            if took < 0:
                check(False, f"{what}: serves again by itself", f"after {took:.1f} s")
            slowest = max(slowest, took)
            back = time.monotonic()
            time.sleep(1.5)
            during = [f for f in load.failed if began < f.at < ended]
            if refuses and n == 0:
                check(len(during) > 0, f"{what}: clients are refused meanwhile", len(during))
                late = load.refused_after(back + 1)
                check(not late, f"{what}: all is well afterwards", describe(late))
    note(f"{what}: {load.summary()}; keyed: {keyed.summary()}")
    check(slowest <= recovery_s + SLACK_S, f"{what}: serves again (within {recovery_s:.0f} s on an idle machine)", f"{slowest:.1f} s")
    check(not unclear(load.failed), f"{what}: refusals are 503 with Retry-After and a reason", describe(unclear(load.failed)))
    check(not keyed.failed, f"{what}: with an Idempotency-Key everybody succeeds in the end", describe(keyed.failed))
    note(f"{what}: {len(unknown(load))} were told that the outcome is not known")
    compare(check, service, load, keyed)
    exactly_once(check, what, service, keyed)
    check(wait_for(lambda: service.get("/health").status == 200, SLACK_S), f"{what}: /health is 200 again")
    check(service.workers() == workers, f"{what}: the workers are the same", f"{workers} {service.workers()}" if service.workers() != workers else "")


def exactly_once(check: Check, what: str, service: Service, keyed: Load) -> None:
    wanted = {f"[{t.value}, {t.value + 1}]" for t in keyed.told}
    rows = [row for row in service.stored().values() if row.features.replace(",", ", ").replace("  ", " ") in wanted]
    check(len(rows) == len(keyed.told), f"{what}: exactly one row for each key", f"{len(rows)} rows, {len(keyed.told)} answers")
