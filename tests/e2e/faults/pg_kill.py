#!/usr/bin/python3
"""PostgreSQL killed with -9 under load and started again, some times; once it stays away for several seconds."""
from harness import SECONDS, Check, run

from postgres import Postgres, outage, service_on


def main(check: Check) -> None:
    server = Postgres()
    service = service_on(server)
    outage(check, "killed", service, lambda: server.run("kill"), lambda: server.run("start"), seconds=4)
    outage(check, "killed at once again", service, lambda: server.run("kill"), lambda: server.run("start"), seconds=0,
           refuses=False, rounds=max(2, round(SECONDS / 10)))  # fmt: skip


if __name__ == "__main__":
    run(main)
