#!/usr/bin/python3
"""The package on a whole machine: Debian 12 in qemu, with a kernel of its own and nothing of appcore, nor of what appcore
needs, on its disk. The package is installed as docs/deployment.md says. It serves over HTTPS then and after a reboot under
load, what systemd promises is looked at where a kernel enforces it, and its power is cut under load: what was acknowledged is
there once, and the database has no damage.

CUTS (1) power cuts; SUITE (bookworm), with DEB, a package built for it (build/deb/appcore.deb); KEEP=1 keeps disk and
console; FORGET=1 takes an acknowledged prediction away after a cut, for the test to be seen failing. Times are those of a
machine without hardware acceleration and are printed, not judged."""
import base64
import contextlib
import http.client
import json
import os
import re
import sqlite3
import ssl
import sys
import time
from typing import Dict, List

sys.dont_write_bytecode = True
from container import HOME  # noqa: E402  (it says where harness is)
from harness import Answer, Check, Load, Row, Skip, body_of, compare, headers_of, note, run_and_count, wait_for  # noqa: E402
from machine import Machine, disk_of  # noqa: E402

SUITE = os.environ.get("SUITE") or "bookworm"
CUTS = int(os.environ.get("CUTS") or 1)
DEB = os.environ.get("DEB") or f"{HOME}/build/deb/appcore.deb"
HEALTHY_S, PATIENCE_S = 300.0, 600.0
INSTALLED_S, SLACK = 180.0, 4  # from the command to healthy
WANTED = 60  # predictions acknowledged
API = ["appcore@1.service", "appcore@2.service"]
UNITS = [*API, "appcore-worker@1.service", "appcore-nginx.service"]
DATA = "/var/lib/appcore"
AS_APPCORE = (f"runuser -u appcore -- env DATA_DIR={DATA} RUN_DIR=/run/appcore PIPELINES_DIR=/usr/share/appcore/pipelines "
              "LOG_LEVEL=ERROR appcore")  # fmt: skip
SETTINGS = "\nRATE_LIMIT_PER_MINUTE=0\n"
UNCHECKED = ssl._create_unverified_context()  # the certificate is the machine's own


class Service:
    """appcore in the machine, as Load and compare know it."""

    def __init__(self, machine: Machine):
        self.machine, self.key, self.copies = machine, "", 0

    def connect(self, timeout: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.machine.port[443], timeout=timeout, context=UNCHECKED)

    def ask(self, method: str, path: str, body: bytes = b"", timeout: float = 20.0) -> Answer:
        connection = self.connect(timeout)
        started = time.monotonic()
        try:
            connection.request(method, path, body or None, headers_of(self.key))
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

    def copy(self) -> sqlite3.Connection:
        """The database of now."""
        self.copies += 1
        path = f"{self.machine.folder}/copy{self.copies}.db"
        inside = f"{DATA}/copy{self.copies}.db"
        packed = self.machine.must("sh", "-c", f"{AS_APPCORE} backup {inside} >/dev/null && gzip -1 -c {inside} | base64 -w 0; rm {inside}", timeout=PATIENCE_S)
        with open(f"{path}.gz", "wb") as file:
            file.write(base64.b64decode(packed))
        if os.system(f"gzip -d {path}.gz") != 0:
            raise RuntimeError("the copy of the database cannot be read")
        return sqlite3.connect(path)

    def stored(self) -> Dict[str, Row]:
        with contextlib.closing(self.copy()) as db:
            self.integrity = [row[0] for row in db.execute("PRAGMA integrity_check")] + list(db.execute("PRAGMA foreign_key_check"))
            return {row[0]: Row(*row) for row in db.execute("SELECT id, result, features FROM predictions")}


class SecureLoad(Load):
    def _connect(self) -> http.client.HTTPSConnection:
        return self.service.connect(self.timeout)


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
    machine.put(os.path.realpath(DEB), f"/root/{os.path.basename(os.path.realpath(DEB))}")
    since = time.monotonic()
    done = machine.shell(f"cd /root && {documented('apt-get install')}", timeout=PATIENCE_S, DEBIAN_FRONTEND="noninteractive")
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


def cut(check: Check, machine: Machine, service: Service, n: int, loads: List[Load]) -> None:
    load = under_load(service, 100 * (n + 1))
    with load:
        enough = wait_for(lambda: len(load.told) > WANTED, PATIENCE_S / 2, 0.1)
        time.sleep(0.7 * (n % 3))
        machine.cut()
    check(enough, f"power cut {n + 1} comes under load", f"{len(load.told)} predictions acknowledged before")
    loads.append(load)
    since = time.monotonic()
    machine.boot()
    started(check, machine, service, f"power cut {n + 1}", since)
    if os.environ.get("FORGET"):
        load.told[-1] = load.told[-1]._replace(id="forgotten")
    compare(check, service, *loads)
    check(service.integrity == ["ok"], "the database has no damage", "" if service.integrity == ["ok"] else service.integrity[:3])
    halves = machine.must("sh", "-c", f"find {DATA} /run/appcore /etc/appcore -name '*.new' -o -name '*.tmp' -o -size 0 -type f -name '*.pem'").split()
    check(not halves, "no half written file", halves[:5] if halves else "")


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
            loads = [rebooted(check, machine, service)]
            so_far("rebooted")
            for n in range(CUTS):
                cut(check, machine, service, n, loads)
                so_far(f"cut {n + 1}")
        finally:
            if check.failed or sys.exc_info()[0] or os.environ.get("KEEP"):
                note(machine("systemctl", "--no-pager", "list-units", "--all", "appcore*", timeout=120).stdout)
                note(machine("journalctl", "--no-pager", "-o", "short-monotonic", "-n", "60", "-u", "appcore*", timeout=120).stdout[-6000:])
                note(machine.console()[-2000:])


if __name__ == "__main__":
    run_and_count("vm", main)
