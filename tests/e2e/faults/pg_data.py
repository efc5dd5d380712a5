#!/usr/bin/python3
"""Pipelines on PostgreSQL: as data.py has it, and the server killed with -9 in the midst of a run, so that nobody knows
what became of a commit."""
from typing import List

from harness import Check, Service, run, wait_for

import data
from postgres import Postgres
from tasks import Worker


class PgData(data.Data):
    """As the server has it."""

    def __init__(self, service: Service, server: Postgres):
        super().__init__(service)
        self.server = server

    def sql(self, text: str) -> List[list]:
        if not text.startswith("SELECT"):
            self.server.sql(text)
            return []
        return [line.split("\t") for line in self.server.sql(text).splitlines()]


def server_killed(check: Check, of: PgData) -> None:
    what, rows, kills = "server killed", data.Rows(first=2 * 10**7), 0
    run_id, reached = of.ingest(of.put("server.csv", rows.text)), 0
    with Worker(of.service, BATCH_SIZE=20):
        while kills < 2 and wait_for(lambda: of.is_midway(run_id, reached) or of.run(run_id)["state"] == "completed", data.PATIENCE_S, 0.01):
            if of.run(run_id)["state"] == "completed":
                break
            reached = of.run(run_id)["rows_read"]
            of.server.run("kill")
            kills += 1
            of.server.run("start")
        of.ended(run_id)
    check(kills > 0, f"{what}: in the midst of the run", f"{kills} times")
    data.compare(check, what, of, run_id, rows)


def main(check: Check) -> None:
    server = Postgres()
    service = Service(instances=1, WORKERS=0, DATABASE_URL=server.url(), **data.SETTINGS)
    of = PgData(service, server)
    service.settings["PIPELINES_DIR"] = of.pipelines
    service.start()
    data.each(check, of, [*data.SHARED, server_killed])
    service.close()


if __name__ == "__main__":
    run(main)
