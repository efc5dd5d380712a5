#!/usr/bin/python3
"""PostgreSQL restarted under load as an administrator does (fast: sessions are ended), and stopped (SIGSTOP) for longer than
anybody waits: connections stay open and nothing is answered."""
from harness import SECONDS, Check, run

from postgres import Postgres, outage, service_on


def main(check: Check) -> None:
    server = Postgres()
    service = service_on(server)
    outage(check, "restarted", service, lambda: server.run("restart"), lambda: None, seconds=0, refuses=False,
           rounds=max(2, round(SECONDS / 10)))  # fmt: skip
    outage(check, "stopped", service, lambda: server.run("stop"), lambda: server.run("start"), seconds=3)
    outage(check, "silent", service, lambda: server.run("pause"), lambda: server.run("resume"), seconds=15, recovery_s=15)


if __name__ == "__main__":
    run(main)
