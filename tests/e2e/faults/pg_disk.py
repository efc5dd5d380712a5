#!/usr/bin/python3
"""The disk of the PostgreSQL server is full, and has room again: its files lie on a small disk of their own. A server that cannot
write its log ends itself; an administrator starts it again. Wants root."""
import contextlib
import os
import subprocess
import tempfile

from harness import Check, Skip, at_end, run

from postgres import Postgres, outage, service_on

SIZE_MB = 256


def main(check: Check) -> None:
    if os.geteuid() != 0:
        raise Skip("only root may mount small disks")
    folder = tempfile.mkdtemp(prefix="appcore-pg.")
    os.chmod(folder, 0o755)
    disk = f"{folder}/server"
    os.mkdir(disk)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", disk], capture_output=True, text=True)
    if done.returncode != 0:
        raise Skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    at_end.append(lambda: os.path.isdir(folder) and os.rmdir(folder))
    at_end.append(lambda: os.path.isdir(disk) and os.rmdir(disk))
    at_end.append(lambda: subprocess.run(["umount", disk], capture_output=True))
    server = Postgres("--set", "max_wal_size=64MB", "--set", "min_wal_size=32MB", "--set", "wal_recycle=off", home=folder)
    service = service_on(server)
    filler = f"{disk}/filler"

    def fill() -> None:
        room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        with open(filler, "wb") as file, contextlib.suppress(OSError):
            for _ in range(room // 65536 + 1):
                file.write(b"\0" * 65536)

    def clear() -> None:
        os.unlink(filler)
        server.run("start", check=False)  # refuses when it runs

    outage(check, "disk full", service, fill, clear, seconds=6, recovery_s=15)


if __name__ == "__main__":
    run(main)
