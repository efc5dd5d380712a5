#!/usr/bin/python3
"""The database's disk: full, read-only, and the database locked by another program for 10 s. Clear 503s with
Retry-After, nothing acknowledged lost, recovery by itself.

Full and read-only want small file systems of their own, which only root may mount; without them they are skipped."""
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time

from harness import Check, Load, Service, compare, describe, note, run, skip, wait_for

LOCKED_S = 10.0
PATIENCE_S = 60.0  # of a busy machine; figures are printed
probes = itertools.count(1e9, 10)


def unclear(load: Load) -> list:
    """Failures that are no clear 503."""
    return [f for f in load.failed if f.status != 503 or "retry-after" not in f.headers or b'{"detail":"' not in f.body]


@contextlib.contextmanager
def small_disk(service: Service, kind: str):
    """A small file system of its own under the service's data; stopped and unmounted afterwards."""
    os.makedirs(service.data, exist_ok=True)
    image = f"{service.folder}/disk.img"
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "tmpfs", service.data]
    else:
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", image], check=True, capture_output=True)
        command = ["mount", "-t", "ext4", "-o", "loop,errors=remount-ro", image, service.data]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        service.close()
        yield False
        return
    try:
        yield True
    finally:
        service.control("stop")
        subprocess.run(["umount", service.data], check=False)
        service.close()


def remount(service: Service, how: str) -> bool:
    return subprocess.run(["mount", "-o", f"remount,{how}", service.data], capture_output=True).returncode == 0


def device_of(service: Service) -> str:
    with open("/proc/mounts") as file:
        return next((line.split()[0] for line in file if line.split()[1] == service.data), "")


def make_ext4_fail(service: Service) -> bool:
    """Has the kernel think that the file system is damaged, so that it makes it read-only under open files."""
    device = device_of(service)
    if not device.startswith("/dev/loop"):
        return False
    try:
        with open(f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error", "w") as file:
            file.write("appcore fault test")
    except OSError:
        return False
    return True


def recovers(service: Service) -> float:
    """How long until predictions are stored again, by each instance; -1: not in time."""
    return service.all_store(lambda: next(probes), PATIENCE_S)


def is_unhealthy(service: Service) -> bool:
    return service.get("/health").status == 503


def fill(service: Service, leave: int) -> str:
    path = f"{service.data}/filler"
    free = os.statvfs(service.data).f_bavail * os.statvfs(service.data).f_frsize
    with open(path, "wb") as file:
        with contextlib.suppress(OSError):
            file.write(b"\0" * max(0, free - leave))
    return path


def disk_full(check: Check) -> None:
    service = Service(instances=2)
    with small_disk(service, "tmpfs") as mounted:
        if not mounted:
            skip("disk full: no tmpfs can be mounted here")
            return
        service.start()
        with Load(service, pause=0.01) as load:
            time.sleep(1)
            filler = fill(service, 300_000)
            full = wait_for(lambda: load.failed, PATIENCE_S)
            time.sleep(2)
            wait_for(lambda: is_unhealthy(service), PATIENCE_S)
            health = [service.get("/health") for _ in range(4)]
            ready = service.get("/readyz")
            read = service.get("/predictions?limit=1")
            time.sleep(1)
            in_trouble = len(load.failed)
            os.unlink(filler)
            seconds = recovers(service)
            freed = time.monotonic()
            time.sleep(3)
            late = load.refused_after(freed + 1)
        note(f"disk full: {load.summary()}")
        check(full and in_trouble > 0, "disk full: clients are refused", in_trouble)
        check(not unclear(load), "disk full: with 503, Retry-After and a reason", describe(unclear(load)) or load.failed[0].body.decode() if load.failed else "")
        check(any(a.status == 503 and a.json()["detail"]["status"] == "unhealthy" for a in health), "disk full: /health says so", [(a.status, a.body[:150]) for a in health][:1])
        check(ready.status in (200, 503), "disk full: /readyz answers", ready.status)
        check(read.status == 200, "disk full: what is stored can be read", read.status)
        check(seconds >= 0, "disk full: recovers by itself", f"after {seconds:.1f} s")
        check(not late, "disk full: all is well afterwards", describe(late))
        check(wait_for(lambda: not is_unhealthy(service), PATIENCE_S), "disk full: /health as well")
        compare(check, service, load)


def read_only(check: Check) -> None:
    """An error of the file system makes it read-only under the running workers. It stays so until it is mounted anew,
    so what was acknowledged is looked for after that."""
    what = "read-only"
    service = Service(instances=2)
    if not shutil.which("mke2fs"):
        skip("read-only: mke2fs is not installed")
        return
    with small_disk(service, "ext4") as mounted:
        if not mounted:
            skip("read-only: no ext4 on a loop device can be mounted here")
            return
        service.start()
        with Load(service, pause=0.01) as load:
            time.sleep(1)
            workers = service.workers()
            if not check(make_ext4_fail(service), f"{what}: the disk is"):
                return
            began = time.monotonic()
            time.sleep(3)
            wait_for(lambda: load.refused_after(began) and is_unhealthy(service), PATIENCE_S)
            health, live, read = service.get("/health"), service.get("/livez"), service.get("/predictions?limit=1")
            ended = time.monotonic()
        note(f"{what}: {load.summary()}")
        during = [f for f in load.failed if began <= f.at <= ended]
        check(len(during) > 0, f"{what}: clients are refused", len(during))
        check(not unclear(load), f"{what}: with 503, Retry-After and a reason", describe(unclear(load)) or load.failed[0].body.decode())
        check(not load.told_between(began + 0.5, ended), f"{what}: nothing is acknowledged")
        check(health.status == 503, f"{what}: /health says so", f"{health.status} {health.body[:150].decode()}")
        check(live.status == 200, f"{what}: /livez is 200", live.status)
        check(read.status == 200, f"{what}: what is stored can be read", read.status)
        note(f"{what}: workers before {workers}, now {service.workers()}")
        service.control("stop")
        # Somebody whose mounts are a copy of ours, as those of a container are, may keep the damaged one: so it is another
        # device that is mounted, with a copy of what lies on the first.
        subprocess.run(["blockdev", "--flushbufs", device_of(service)], check=False, capture_output=True)
        subprocess.run(["umount", service.data], check=True)
        after = f"{service.folder}/after.img"
        shutil.copyfile(f"{service.folder}/disk.img", after)
        subprocess.run(["e2fsck", "-p", after], check=False, capture_output=True)
        subprocess.run(["mount", "-t", "ext4", "-o", "loop", after, service.data], check=True)
        service.start()
        compare(check, service, load)
        check(service.predict(1e9).status == 201, f"{what}: mounted anew, it stores again")


@contextlib.contextmanager
def workers_away(service: Service):
    """The workers are killed and start again when the block ends."""
    supervisors = list(service.pids("supervisor").values())
    for pid in supervisors:
        os.kill(pid, signal.SIGSTOP)
    for pid in service.workers().values():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not service.workers(), PATIENCE_S)
    yield
    for pid in supervisors:
        os.kill(pid, signal.SIGCONT)


class Readers:
    """Reads all the time, and remembers what did not succeed."""

    def __init__(self, service: Service):
        self.service, self.asked, self.failed, self.ending = service, 0, [], threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Readers":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.thread.join(90)

    def _read(self) -> None:
        while not self.ending.is_set():
            answer = self.service.get("/predictions?limit=1")
            self.asked += 1
            if answer.status != 200:
                self.failed.append((answer.status, answer.body[:80]))
            time.sleep(0.005)


def bad_at_start(check: Check, what: str, spoil, mend) -> None:
    """Workers that start when their disk is full or read-only: what is stored is read, nothing is written, and when the
    disk is good again so are they. They are killed before, as a mount with files open for writing does not become
    read-only; for the same reason there are none for tasks."""
    service = Service(instances=2, WORKERS=0)
    with small_disk(service, "tmpfs") as mounted:
        if not mounted:
            skip(f"{what}: no tmpfs can be mounted here")
            return
        service.start()
        with Load(service, pause=0.01) as load:
            time.sleep(1)
            with workers_away(service):
                spoilt = wait_for(lambda: spoil(service), PATIENCE_S)
            check(spoilt, f"{what}: the disk is")
            wait_for(lambda: all(service.get("/livez", service.direct + i).status == 200 for i in (1, 2)), PATIENCE_S)
            time.sleep(2)
            workers = service.workers()
            with Readers(service) as readers:
                began = time.monotonic()
                health, live = service.get("/health"), service.get("/livez")
                migrated = subprocess.run([service.binary, "migrate", "up"], cwd=service.folder, env=service.settings, capture_output=True, text=True)
                time.sleep(2)
                wait_for(lambda: load.refused_after(began), PATIENCE_S)
                ended = time.monotonic()
                check(service.workers() == workers, f"{what}: the workers stay", workers)
                check(mend(service), f"{what}: the disk is good again")
                seconds = recovers(service)
                freed = time.monotonic()
                time.sleep(3)
            late = load.refused_after(freed + 2)
        note(f"{what}: {load.summary()}")
        during = Load.__new__(Load)
        during.failed = [f for f in load.failed if began <= f.at <= ended]
        check(len(during.failed) > 0 and not unclear(during), f"{what}: writes are refused with 503, Retry-After and a reason", describe(unclear(during) or during.failed[:1]))
        check(not load.told_between(began, ended), f"{what}: nothing is acknowledged")
        check(health.status == 503 and live.status == 200, f"{what}: /health says so, /livez is 200", (health.status, live.status))
        check(migrated.returncode == 0, f"{what}: a schema that is up to date needs no write", migrated.stderr.strip())
        check(readers.asked > 5 and not readers.failed, f"{what}: what is stored can be read, also while they recover", readers.failed[:2] or readers.asked)
        check(seconds >= 0, f"{what}: recovers by itself", f"after {seconds:.1f} s")
        check(not late, f"{what}: all is well afterwards", describe(late))
        check(wait_for(lambda: not is_unhealthy(service), PATIENCE_S), f"{what}: /health as well")
        compare(check, service, load)


def read_only_at_start(check: Check) -> None:
    bad_at_start(check, "read-only at start", lambda service: remount(service, "ro"), lambda service: remount(service, "rw"))


def full_at_start(check: Check) -> None:
    def mend(service: Service) -> bool:
        os.unlink(f"{service.data}/filler")
        return True

    bad_at_start(check, "full at start", lambda service: bool(fill(service, 0)), mend)


def locked(check: Check) -> None:
    service = Service(instances=2).start()
    with Load(service) as load:
        time.sleep(1)
        sqlite = subprocess.Popen(["sqlite3", f"{service.data}/predictions.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        sqlite.stdin.write(".timeout 60000\nPRAGMA wal_autocheckpoint=0;\nBEGIN EXCLUSIVE;\n.print locked\n")
        sqlite.stdin.flush()
        while sqlite.stdout.readline().strip() != "locked":
            pass
        began = time.monotonic()
        time.sleep(LOCKED_S / 2)
        read = service.get("/predictions?limit=1")
        live = service.get("/livez")
        time.sleep(LOCKED_S / 2)
        wait_for(lambda: load.failed, PATIENCE_S)
        ended = time.monotonic()
        sqlite.stdin.write("ROLLBACK;\n.quit\n")
        sqlite.stdin.close()
        sqlite.wait(60)
        seconds = recovers(service)
        freed = time.monotonic()
        time.sleep(2)
        late = load.refused_after(freed + 1)
        stored = load.told_between(began, ended)
    note(f"locked for {ended - began:.0f} s: {load.summary()}")
    check(len(load.failed) > 0, "locked: who waited too long is refused", len(load.failed))
    check(not unclear(load), "locked: with 503, Retry-After and a reason", describe(unclear(load)) or load.failed[0].body.decode() if load.failed else "")
    check(not stored, "locked: nothing was acknowledged meanwhile", len(stored) if stored else "")
    check(read.status == 200 and live.status == 200, "locked: reading goes on", (read.status, live.status))
    check(seconds >= 0, "locked: recovers by itself", f"after {seconds:.1f} s")
    check(not late, "locked: all is well afterwards", describe(late))
    check(wait_for(lambda: not is_unhealthy(service), PATIENCE_S), "locked: /health as well")
    compare(check, service, load)


def main(check: Check) -> None:
    locked(check)
    if os.geteuid() != 0:
        skip("disk full, read-only: only root may mount small disks")
        return
    disk_full(check)
    read_only(check)
    read_only_at_start(check)
    full_at_start(check)


if __name__ == "__main__":
    run(main)
