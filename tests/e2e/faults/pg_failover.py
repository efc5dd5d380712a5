#!/usr/bin/python3
"""A primary and its synchronous replica, both in the URL with target_session_attrs=read-write. The primary is killed and the
replica promoted; then the new primary is demoted (it refuses writes, its sessions live on) and its own replica takes over.
What was acknowledged is on the last one."""
from urllib.parse import urlsplit

from harness import Check, Service, note, run, wait_for

from postgres import DATABASE, Postgres, outage, service_on


def both(one: Postgres, two: Postgres) -> str:
    first, second = urlsplit(one.url()), urlsplit(two.url())
    return f"postgresql://{first.netloc},{second.hostname}:{second.port}/{DATABASE}?target_session_attrs=read-write"


def replicate(of: Postgres, *options: str) -> Postgres:
    """Its commits wait for the replica from now on."""
    replica = Postgres(*options, of=of)
    of.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    of.sql("SELECT pg_reload_conf()")
    wait_for(lambda: of.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "1", 60)
    return replica


def take_over(replica: Postgres) -> None:
    replica.run("promote")


def main(check: Check) -> None:
    primary = Postgres()
    replica = replicate(primary)
    service: Service = service_on(primary, url=both(primary, replica))
    service.rows_from = replica.rows
    outage(check, "failover", service, lambda: primary.run("kill"), lambda: take_over(replica))

    # The old primary comes back as a replica of the new one, at its old address.
    port = str(urlsplit(primary.url()).port)
    primary.remove()
    second = replicate(replica, "--port", port)
    note("the old primary is a replica now")

    def demote() -> None:
        replica.sql("ALTER SYSTEM SET default_transaction_read_only = on")
        replica.sql("SELECT pg_reload_conf()")

    service.rows_from = second.rows
    outage(check, "demoted", service, demote, lambda: take_over(second))


if __name__ == "__main__":
    run(main)
