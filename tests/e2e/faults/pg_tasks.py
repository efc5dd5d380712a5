#!/usr/bin/python3
"""Tasks for the background on PostgreSQL: workers killed with -9, a worker that is stopped and continued while another
one has its task, and the server killed with -9 again and again, so that nobody knows what became of a commit."""
from typing import List

from harness import SECONDS, Check, Service, every, note, run

import tasks
from postgres import Postgres


class PgQueue(tasks.Queue):
    """As the server has it."""

    def __init__(self, service: Service, server: Postgres):
        super().__init__(service)
        self.server = server

    def sql(self, text: str) -> List[list]:
        return [line.split("\t") for line in self.server.sql(text).splitlines() if "\t" in line or not line.startswith("INSERT ")]

    def blob(self, text: str) -> str:
        return f"convert_to({tasks.quote(text)}, 'UTF8')"


def start(server: Postgres, workers: int) -> Service:
    service = Service(instances=1, DATABASE_URL=server.url(), WORKERS=workers, **tasks.QUIET)
    return service.start()


def empty(server: Postgres) -> None:
    server.sql("DELETE FROM background_tasks; DELETE FROM task_parts; DELETE FROM sentiment_requests")


def in_transaction(server: Postgres) -> int:
    """Of others. The server does not end one that waits for its client in the midst of a pipeline (to it that is no idle
    transaction), so a worker that is stopped there keeps all others from the queue: that is not what is looked at here."""
    return int(server.sql("SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
                          " AND datname = current_database()"))  # fmt: skip


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
    empty(server)
    service = start(server, workers=0)
    tasks.stopped_elsewhere(check, "stopped", PgQueue(service, server), lambda _: in_transaction(server) > 0)


if __name__ == "__main__":
    run(main)
