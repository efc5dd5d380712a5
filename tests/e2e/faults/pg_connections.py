#!/usr/bin/python3
"""All connections of the server are taken by others: a running service goes on with those it has; one whose connections are
ended as well refuses clearly, and serves by itself once there is room."""
import subprocess
import time

from harness import Check, Load, compare, describe, run, wait_for

from postgres import DATABASE, Postgres, bases, outage, service_on

LIMIT = 48
OURS_MOST = 2 * 12 + 2 + 4  # two instances, and a worker with two threads (docs/scale-out.md)
OURS = f"pg_stat_activity WHERE datname = '{DATABASE}' AND usename = 'appcore'"


class Hog:
    """Another role, which takes every connection that is free."""

    def __init__(self, server: Postgres):
        self.server, self.held = server, []
        server.sql("CREATE ROLE hog LOGIN PASSWORD 'hog'")
        self.url = "postgresql://hog:hog@" + server.run("url", "postgres").split("@")[1]

    def take(self) -> None:
        for _ in range(10):  # one that is refused has had a place for a moment, which another one missed
            self.held += [subprocess.Popen(["psql", "-X", "-q", "-c", "SELECT pg_sleep(300)", self.url], stdin=subprocess.DEVNULL,
                                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(8)]  # fmt: skip
            wait_for(lambda: sum(p.poll() is None for p in self.held) == self.connections(), 20, 0.2)
            refused = [p for p in self.held if p.poll() is not None]
            self.held = [p for p in self.held if p.poll() is None]
            if len(refused) == 8:
                break

    def connections(self) -> int:
        try:
            return int(self.server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'hog' AND query LIKE '%pg_sleep%'"))
        except RuntimeError:  # no room for the administrator either, for a moment
            return -1

    def give(self) -> None:
        for process in self.held:
            process.kill()
            process.wait()
        self.held = []
        self.server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'hog'")


def main(check: Check) -> None:
    server = Postgres("--connections", str(LIMIT))
    service = service_on(server)
    hog = Hog(server)

    def take() -> None:
        server.sql("ALTER ROLE appcore CONNECTION LIMIT 0")
        server.sql(f"SELECT pg_terminate_backend(pid) FROM {OURS}")
        wait_for(lambda: server.sql(f"SELECT count(*) FROM {OURS}").strip() == "0", 60, 0.1)  # until then they have their places
        hog.take()
        server.sql("ALTER ROLE appcore CONNECTION LIMIT -1")

    try:
        with Load(service, base=next(bases)) as load:
            time.sleep(1)
            hog.take()
            used = int(server.sql(f"SELECT count(*) FROM {OURS}"))
            check(0 < used <= OURS_MOST, "two instances and a worker need few connections", used)
            check(len(hog.held) + used >= LIMIT - 3, "others take the rest", f"{len(hog.held)} and {used} of {LIMIT}")
            time.sleep(2)
            hog.give()
        check(not load.failed and load.told, "no free connection: a running service goes on", describe(load.failed))
        compare(check, service, load)
        outage(check, "connection limit", service, take, hog.give)
    finally:
        hog.give()


if __name__ == "__main__":
    run(main)
