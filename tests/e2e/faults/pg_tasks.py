#!/usr/bin/python3
"""Tasks for the background on PostgreSQL: workers killed with -9; a worker that is stopped in the midst of a transaction,
so that it keeps all others from the queue until its session is ended, and continued while another one has its task, with
the server and with PgBouncer before it; and the server killed with -9 again and again, so that nobody knows what became
of a commit."""
import os
import subprocess
import tempfile
from typing import List

from harness import SECONDS, Check, Service, at_end, every, note, run, wait_for

import tasks
from postgres import SCRIPT, DATABASE, Postgres


class PgQueue(tasks.Queue):
    """As the server has it."""

    def __init__(self, service: Service, server: Postgres):
        super().__init__(service)
        self.server = server

    def sql(self, text: str) -> List[list]:
        return [line.split("\t") for line in self.server.sql(text).splitlines() if "\t" in line or not line.startswith("INSERT ")]

    def blob(self, text: str) -> str:
        return f"convert_to({tasks.quote(text)}, 'UTF8')"


class Pooler:
    """PgBouncer in transaction mode before a server."""

    def __init__(self, server: Postgres):
        self.folder = tempfile.mkdtemp(prefix="appcore-pooler.")
        at_end.append(lambda: self.run("remove"))
        self.run("start", server.folder, "--until", str(os.getpid()))
        self.url = self.run("url", DATABASE)

    def run(self, *command: str) -> str:
        script = os.path.join(os.path.dirname(SCRIPT), "pgbouncer.sh")
        return subprocess.run([script, command[0], self.folder, *command[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              text=True, timeout=60, check=True).stdout.strip()  # fmt: skip


def start(server: Postgres, workers: int, url: str = "") -> Service:
    service = Service(instances=1, DATABASE_URL=url or server.url(), WORKERS=workers, **tasks.QUIET)
    return service.start()


def empty(server: Postgres) -> None:
    server.sql("DELETE FROM background_tasks; DELETE FROM task_parts; DELETE FROM sentiment_requests")


def in_transaction(server: Postgres) -> bool:
    """Somebody holds what others need, and waits for its client."""
    return server.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND wait_event_type = 'Client'"
                      " AND pid <> pg_backend_pid() AND datname = current_database()") != "0"  # fmt: skip


def stopped(check: Check, what: str, server: Postgres, url: str) -> None:
    service = start(server, workers=0, url=url)
    empty(server)
    queue = PgQueue(service, server)
    tasks.stopped_elsewhere(check, what, queue, lambda _: not in_transaction(server))
    ended = wait_for(lambda: not in_transaction(server), 60, 0.1)
    check(ended, f"{what}: no session is left behind")
    service.close()


def server_killed(check: Check, server: Postgres, queue: PgQueue) -> None:
    what = "server killed"
    batches = [queue.batch(2 * tasks.TEXTS) for _ in range(2)]
    kills = 0
    for _ in every(1.5, max(6.0, SECONDS / 4)):
        queue.echo(50)
        queue.single(5)
        server.run("kill")
        kills += 1
        server.run("start")
        if queue.one(batches[-1])["status"] == "completed":
            batches.append(queue.batch(2 * tasks.TEXTS))
    settled = queue.settles()
    revived = tasks.revive(queue)
    note(f"{what}: {kills} times; {len(queue.added)} tasks, of them batches {len(batches)}; {revived} had to be tried again")
    check(settled, f"{what}: all tasks come to an end", f"{queue.open()} did not" if not settled else "")
    tasks.compare(check, what, queue)


def main(check: Check) -> None:
    server = Postgres()
    service = start(server, workers=2)
    tasks.kill_workers(check, "killed workers", queue := PgQueue(service, server), SECONDS / 4)
    tasks.counted_once(check, "killed workers", queue)
    empty(server)
    server_killed(check, server, PgQueue(service, server))
    service.close()
    stopped(check, "stopped in a transaction", server, "")
    stopped(check, "stopped in a transaction, PgBouncer", server, Pooler(server).url)


if __name__ == "__main__":
    run(main)
