#!/usr/bin/python3
"""The systemd units, tried under a systemd of its own: `make install` into a copy of this machine's root that lives in
memory, booted as a container without a network. A worker is up when systemd says so, an idle one is left alone, and a
stopped one, the only instance, is ended by the watchdog and comes back. A worker for tasks that is killed comes back and
does what it had begun; one that is stopped hands it back.

Wants root and systemd-nspawn, and a kernel that lets overlays be mounted; otherwise it is skipped."""
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from typing import Any, Dict, Iterator, List

from harness import HOME, Check, Skip, note, run, wait_for

BOOT_S = 120.0
PATIENCE_S = 120.0  # of a busy machine
WATCHDOG_S = 5.0  # of appcore@.service
UNITS = ["appcore@1.service", "appcore-nginx.service", "appcore-migrate.service", "appcore.target",
         "appcore-worker@1.service"]  # fmt: skip
WORKER = UNITS[4]
DATA = "/var/lib/appcore"
AS_APPCORE = ["runuser", "-u", "appcore", "--", "env", f"DATA_DIR={DATA}", f"DATABASE_URL=sqlite:///{DATA}/predictions.db",
              "RUN_DIR=/run/appcore", "/usr/local/bin/appcore"]  # fmt: skip
KEY = "units-test-key-0123456789"
PREDICT = ["curl", "-sk", "-m", "60", "-w", " %{http_code}", "https://localhost/predict", "-H", f"X-API-Key: {KEY}",
           "-H", "Content-Type: application/json", "-d", '{"features":[1,2]}']  # fmt: skip


def call(command: List[str], timeout: float = 180.0) -> subprocess.CompletedProcess:
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)


def must(command: List[str]) -> None:
    done = call(command)
    if done.returncode != 0:
        raise Skip(f"{' '.join(command[:4])}: {done.stdout.strip()[-200:]}")


@contextlib.contextmanager
def root_copy() -> Iterator[str]:
    """This machine's root; what is written to it stays in memory."""
    folder = tempfile.mkdtemp(prefix="appcore-units.")
    root, memory = f"{folder}/root", f"{folder}/memory"
    os.mkdir(root)
    os.mkdir(memory)
    try:
        must(["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", memory])
        os.mkdir(f"{memory}/upper")
        os.mkdir(f"{memory}/work")
        must(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={memory}/upper,workdir={memory}/work", root])
        yield root
    finally:
        for mounted in (root, memory):
            if os.path.ismount(mounted):
                call(["umount", mounted])
        if not os.path.ismount(root) and not os.path.ismount(memory):
            shutil.rmtree(folder, ignore_errors=True)


class Machine:
    def __init__(self, root: str):
        self.log = tempfile.TemporaryFile("w+")
        self.nspawn = subprocess.Popen(
            ["systemd-nspawn", "-q", "-D", root, f"--machine=appcore-units-{os.getpid()}", "--boot", "--register=no",
             "--keep-unit", "--link-journal=no", "--private-network", "--resolv-conf=off", "--timezone=off",
             "--console=pipe", "--", "systemd.unit=basic.target"],
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)  # fmt: skip
        self.init = ""

    def find_init(self) -> bool:
        with contextlib.suppress(OSError):
            with open(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children") as file:
                self.init = file.read().strip().partition(" ")[0]
        return bool(self.init)

    def boot(self) -> None:
        def is_up() -> bool:
            return self.find_init() and self("systemctl", "is-active", "basic.target").stdout.strip() == "active"

        if not wait_for(lambda: self.nspawn.poll() is not None or is_up(), BOOT_S, 0.2) or self.nspawn.poll() is not None:
            self.log.seek(0)
            raise Skip(f"systemd does not boot here: {' '.join(self.log.read().split())[-200:]}")

    def __call__(self, *command: str) -> subprocess.CompletedProcess:
        return call(["nsenter", "-t", self.init, "-a", *command])

    def show(self, what: str, unit: str = UNITS[0]) -> str:
        return self("systemctl", "show", "--value", "-p", what, unit).stdout.strip()

    def off(self) -> None:
        self.nspawn.terminate()  # powers off in good order
        try:
            self.nspawn.wait(90)
        except subprocess.TimeoutExpired:
            self.nspawn.kill()
            self.nspawn.wait()
        self.log.close()


def install(check: Check, root: str) -> None:
    done = call(["make", "-C", HOME, "install", f"DESTDIR={root}"], 600)
    check(done.returncode == 0, "make install", done.stdout[-300:] if done.returncode else "")
    os.makedirs(f"{root}/etc/appcore", exist_ok=True)
    with open(f"{root}/etc/appcore/appcore.env", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(f"API_KEY={KEY}\nSECRET_KEY=a-secret-for-tests-of-more-than-32-bytes\nTASK_LEASE_SECONDS=2\n")


def watchdog(check: Check, machine: Machine) -> None:
    began = time.monotonic()
    done = machine("systemctl", "start", UNITS[0], UNITS[1])
    check(done.returncode == 0, "one instance and nginx start", done.stdout.strip() or f"{time.monotonic() - began:.1f} s")
    answer = machine(*PREDICT).stdout
    check(answer.endswith(" 201"), "a started worker serves at once", answer)
    pid = machine.show("MainPID")
    name = machine("cat", f"/proc/{pid}/comm").stdout.strip()
    check(name == "appcore", "systemd knows the worker itself", name)
    time.sleep(WATCHDOG_S + 2)
    check(machine.show("NRestarts") == "0", "an idle worker gives signs of life", machine.show("NRestarts"))

    machine("kill", "-STOP", pid)
    stopped = time.monotonic()
    back = wait_for(lambda: machine.show("MainPID") not in ("0", pid) and machine.show("ActiveState") == "active", PATIENCE_S, 0.1)
    check(back, "a stopped worker is replaced", f"after {time.monotonic() - stopped:.1f} s")
    answer = machine(*PREDICT).stdout
    check(answer.endswith(" 201"), "and serves", answer)


def tasks(check: Check, machine: Machine) -> None:
    def add(seconds: int) -> str:
        return machine(*AS_APPCORE, "task", "add", "sleep", "--payload", json.dumps({"seconds": seconds})).stdout.strip()

    def task(id: str) -> Dict[str, Any]:
        shown = machine(*AS_APPCORE, "task", "show", id).stdout
        try:
            return json.loads(shown)
        except ValueError:
            return {"status": shown.strip(), "done": 0}

    done = machine("systemctl", "start", WORKER)
    check(done.returncode == 0, "a worker for tasks starts", done.stdout.strip())
    quick = add(0)
    check(wait_for(lambda: task(quick)["status"] == "completed", PATIENCE_S, 0.1), "and does a task", task(quick)["status"])

    long = add(12)
    began = wait_for(lambda: task(long)["status"] == "processing" and task(long)["done"] > 0, PATIENCE_S, 0.1)
    pid = machine.show("MainPID", WORKER)
    machine("kill", "-KILL", pid)
    killed = time.monotonic()
    back = wait_for(lambda: machine.show("MainPID", WORKER) not in ("0", pid) and machine.show("ActiveState", WORKER) == "active", PATIENCE_S, 0.1)
    check(began and back, "killed amid a task, it is started again", f"after {time.monotonic() - killed:.1f} s")
    check(wait_for(lambda: task(long)["status"] == "completed", PATIENCE_S, 0.1), "and the task is done", task(long)["status"])

    endless = add(3600)
    wait_for(lambda: task(endless)["done"] > 0, PATIENCE_S, 0.1)
    asked = time.monotonic()
    machine("systemctl", "stop", WORKER)
    took = time.monotonic() - asked
    # Killed it would be "timeout".
    check(machine.show("Result", WORKER) == "success", "stopped amid a task, it ends in time",
          f"{machine.show('Result', WORKER)} after {took:.1f} s")  # fmt: skip
    left = task(endless)
    check(left["status"] == "pending" and left["done"] > 0, "and hands the task back", f"{left['status']}, {left['done']} done")
    machine(*AS_APPCORE, "task", "cancel", endless)
    check(task(endless)["status"] == "cancelled", "which can be cancelled", task(endless)["status"])


def read_only(check: Check, machine: Machine) -> None:
    """The data's disk is read-only while the worker starts: its mounts are its own, and stay so until the next start."""
    machine("systemctl", "stop", UNITS[0], UNITS[2])
    machine("mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", DATA)
    machine("systemctl", "start", UNITS[0])
    answer = machine(*PREDICT).stdout
    check(answer.endswith(" 201"), "a new disk: it is used", answer)
    machine("systemctl", "stop", UNITS[0], UNITS[2])
    machine("mount", "-o", "remount,ro", DATA)
    done = machine("systemctl", "start", UNITS[0])
    check(done.returncode == 0, "read-only: migrations and worker start", done.stdout)
    answer = machine(*PREDICT).stdout
    check(answer.endswith(" 503") and "nothing was changed" in answer, "read-only: writes are refused", answer)
    answer = machine("curl", "-sk", "-H", f"X-API-Key: {KEY}", "-w", " %{http_code}", "https://localhost/predictions").stdout
    check(answer.endswith(" 200") and "created_at" in answer, "read-only: what is stored is read", answer)
    machine("mount", "-o", "remount,rw", DATA)
    began = time.monotonic()
    back = wait_for(lambda: machine(*PREDICT).stdout.endswith(" 201"), PATIENCE_S, 0.5)
    check(back, "read-only: writable again, it recovers by itself", f"after {time.monotonic() - began:.0f} s")


def stopping(check: Check, machine: Machine, root: str) -> None:
    """A write that waits for the turn keeps the worker busy for longer than the watchdog waits, not for longer than it
    has for stopping."""
    with open(f"{root}/var/lib/appcore/predictions.db-turn") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        client = subprocess.Popen(["nsenter", "-t", machine.init, "-a", *PREDICT], stdout=subprocess.PIPE, text=True)
        waits = ["sh", "-c", "curl -sk -m 20 https://localhost/metrics | grep -qE '^appcore_queue_length[^ ]* [1-9]'"]
        wait_for(lambda: client.poll() is not None or machine(*waits).returncode == 0, 20, 0.1)
        machine("systemctl", "stop", UNITS[0])
        answer = client.communicate(timeout=PATIENCE_S)[0]
    result = machine.show("Result")
    check(answer.endswith(" 503"), "stopped while another process holds the turn: the client is told", answer)
    check(result != "watchdog", "and the watchdog leaves the stopping worker alone", result)


def main(check: Check) -> None:
    if os.geteuid() != 0:
        raise Skip("only root may boot systemd in a container")
    for tool in ("systemd-nspawn", "nsenter", "systemd-analyze"):
        if not shutil.which(tool):
            raise Skip(f"{tool} is not installed")
    with root_copy() as root:
        install(check, root)
        machine = Machine(root)
        try:
            machine.boot()
            machine("systemd-sysusers")
            machine("systemd-tmpfiles", "--create", "appcore.conf")
            done = machine("systemd-analyze", "verify", *UNITS)
            check(done.returncode == 0 and not done.stdout.strip(), "systemd-analyze verify", done.stdout.strip())
            watchdog(check, machine)
            tasks(check, machine)
            stopping(check, machine, root)
            read_only(check, machine)
        finally:
            if os.environ.get("KEEP"):
                note(machine("journalctl", "--no-pager", "-o", "cat", "-u", "appcore*").stdout)
            machine.off()


if __name__ == "__main__":
    run(main)
