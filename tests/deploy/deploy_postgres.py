#!/usr/bin/python3
"""Deploys of a service whose database is on a PostgreSQL server, under load, in a container that boots with both: what
deploy.py does with SQLite, where the server makes a difference: backup, migrations, ways back.

    deploy_postgres.py PACKAGE [NAME...]     all of it, or the parts of these names, with packages made of PACKAGE"""
import json
import time
from typing import Callable, Dict, List

from container import root_of
from deploy import ADDS, ADDS_MORE, CREDENTIALS, FAILS, NO_WAY_BACK, SUITE, Loaded, Site, all_of, first, forward, migrations, newest
from harness import Check, run_and_count, wait_for
from versions import Versions

PASSWORD = "a-password:of@its/own"
URL = "postgresql://appcore:a-password%3Aof%40its%2Fown@127.0.0.1:5432/appcore"


class ServerSite(Site):
    def sql(self, text: str, *options: str) -> str:
        return self.machine.must("runuser", "-u", "postgres", "--", "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *options, input=text).strip()

    def make_server(self) -> None:
        self.machine.must("systemctl", "start", "postgresql.service")
        if not wait_for(lambda: self.machine("runuser", "-u", "postgres", "--", "pg_isready", "-q").returncode == 0, 60, 0.2):
            raise RuntimeError("PostgreSQL does not start in the container")
        self.sql(f"CREATE ROLE appcore LOGIN PASSWORD '{PASSWORD}';\n"
                 "CREATE DATABASE appcore OWNER appcore ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0;\n")  # fmt: skip
        self.machine("install", "-d", "-m", "0700", CREDENTIALS)
        self.machine.write(f"{CREDENTIALS}/database_url", URL + "\n", 0o600)

    def stored(self) -> Dict[str, str]:
        rows = self.sql("SELECT json_build_array(id, features) FROM predictions", "-d", "appcore")
        return dict(json.loads(row) for row in rows.splitlines())

    def backups(self) -> List[str]:
        return self.machine.shell("ls /var/backups/appcore/deploy-*.backup 2>/dev/null").stdout.split()


def server(site: ServerSite) -> None:
    site.make_server()
    first(site)
    tables = site.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'schema_migrations'", "-d", "appcore")
    site.check(tables == "1" and not site.machine.shell("ls /var/lib/appcore/*.db 2>/dev/null").stdout, "its data is on the server, and on no disk beside it", tables)


def upgrade(site: ServerSite) -> None:
    forward(site)
    newest_one = site.backups()[-1:]
    listed = site.machine.shell(f"pg_restore --list {' '.join(newest_one)} | grep -c 'TABLE DATA'").stdout.strip()
    site.check(newest_one != [] and listed.isdigit() and int(listed) > 5, "its backup is one that pg_restore reads", listed)
    done = site.machine("systemctl", "start", "appcore-backup.service")
    site.check(done.returncode == 0, "the hourly backup is made, too", site.machine.shell("journalctl -u appcore-backup -o cat --no-pager -n 3").stdout.strip() if done.returncode else "")


def without_backup(site: ServerSite) -> None:
    """What makes the backup is missing, or does not get through: refused before anything changes, with what to do."""
    package = site.put(site.packages["3.0"])
    before = site.backups()

    def refuses(name: str, says: str, *arguments: str) -> None:
        done = site.script("deploy.sh", package, *arguments)
        text = done.stdout.strip().splitlines()
        good = done.returncode == 100 and bool(text) and all(word in text[-1] for word in (says, "pg_dump", "--no-backup", "Nothing was changed."))
        site.check(good and site.serves() == "installed 2.0", f"{name}: refused", f"{done.returncode}: {text[-1:]}")

    site.machine.must("mv", "/usr/bin/pg_dump", "/usr/bin/pg_dump.away")
    refuses("no pg_dump", "install postgresql-client")
    refuses("and so does --check", "install postgresql-client", "--check")
    site.machine.write("/usr/bin/pg_dump", "#!/bin/sh\necho 'pg_dump: error: aborting because of server version mismatch' >&2\nexit 1\n", 0o755)
    refuses("a pg_dump that is too old", "server version mismatch")
    site.check(site.backups() == before, "nothing of a backup is left", site.backups())
    site.deploys("with --no-backup", 0, "3.0.* serves: ", "3.0", "--no-backup", package, schema=newest() + 2)
    site.deploys("and back", 0, "2.0.* serves: ", "2.0", "--no-backup", script="rollback.sh", schema=newest() + 1)
    site.check(site.backups() == before, "no backup was made", site.backups())
    site.machine.must("mv", "/usr/bin/pg_dump.away", "/usr/bin/pg_dump")


def broken(site: ServerSite) -> None:
    schema = newest() + 1
    site.deploys("a version that dies, with a migration", 1, "ended soon|does not|not ready", "2.0", site.put(site.packages["dies"]), schema=schema)
    site.deploys("a migration that fails", 1, "A migration failed.*2.0.* serves again", "2.0", site.put(site.packages["half"]), schema=schema)
    half = site.sql("SELECT count(*) FROM pg_tables WHERE tablename IN ('deploy_half', 'deploy_notes')", "-d", "appcore")
    site.check(half == "0", "nothing of it, nor of the migration before it, is left", half)


def back(site: ServerSite) -> None:
    site.deploys("a further version", 0, "3.0.* serves: ", "3.0", site.put(site.packages["3.0"]), schema=newest() + 2)
    site.deploys("back to the one before", 0, "2.0.* serves: ", "2.0", script="rollback.sh", schema=newest() + 1)


def no_way_back(site: ServerSite) -> None:
    site.deploys("a broken version with a migration without a way back", 1, r"The schema stays at[\s\S]*2\.0.* serves again", "2.0",
                 "--allow-irreversible", site.put(site.packages["once-broken"]), schema=newest() + 2)  # fmt: skip


def server_away(site: ServerSite) -> None:
    package = site.put(site.packages["3.0"])
    site.machine.must("systemctl", "stop", "postgresql@*", "postgresql.service")
    done = site.script("deploy.sh", package)
    site.machine.must("systemctl", "start", "postgresql.service")
    last = done.stdout.strip().splitlines()[-1:]
    site.check(done.returncode == 100 and "can't be reached" in done.stdout and "Nothing was changed" in done.stdout, "a server that is away: refused", last)
    ok = site.machine("bash", "/root/scripts/health_check.sh", "http://127.0.0.1:8001", "60", "0.5")
    site.check(ok.returncode == 0 and site.serves() == "installed 2.0", "2.0 serves when it is back", site.serves())


def new_password(site: ServerSite) -> None:
    """Another role, which may do what the first one may."""
    site.sql(f"CREATE ROLE appcore_next LOGIN PASSWORD '{PASSWORD}2' IN ROLE appcore")
    bad = site.machine("bash", "/root/scripts/rotate_secret.sh", "database_url", "--from", "-", "--health-seconds", "10", input=URL.replace("own@", "wrong@") + "\n", timeout=200)
    site.check(bad.returncode in (1, 100), "a password that the server refuses: refused", bad.stdout.strip()[-300:])
    site.machine.write("/root/url", URL.replace("appcore:", "appcore_next:").replace("own@", "own2@") + "\n", 0o600)
    with Loaded(site.machine) as loaded:
        done = site.script("rotate_secret.sh", "database_url", "--from", "/root/url")
        time.sleep(0.5)
    site.note_load("a new database_url", loaded)
    roles = site.sql("SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = 'appcore' AND application_name LIKE 'appcore%'")
    site.check(done.returncode == 0 and roles == "appcore_next", "all of it connects with the new one", f"{done.returncode}: {done.stdout.strip()[-200:]}; {roles}")
    site.deploys("a deploy after it", 0, "3.0.* serves: ", "3.0", site.put(site.packages["3.0"]), schema=newest() + 2)
    site.deploys("and back", 0, "2.0.* serves: ", "2.0", script="rollback.sh", schema=newest() + 1)


PARTS: List[Callable[[ServerSite], None]] = [server, upgrade, without_backup, broken, server_away, back, new_password, no_way_back]


def packages(base: str, folder: str) -> Dict[str, str]:
    versions = Versions(base, folder)
    return {
        "1.0": versions.make("1.0"),
        "2.0": versions.make("2.0", migrations(ADDS)),
        "dies": versions.make("2.4", migrations(ADDS, ADDS_MORE), "dies"),
        "half": versions.make("2.5", migrations(ADDS, ADDS_MORE, FAILS)),
        "3.0": versions.make("3.0", migrations(ADDS, ADDS_MORE)),
        "once-broken": versions.make("3.9", migrations(ADDS, NO_WAY_BACK), "start"),
    }


def main(check: Check) -> None:
    all_of(check, lambda: root_of(SUITE, "postgresql"), ServerSite, packages, PARTS)


if __name__ == "__main__":
    run_and_count("deploy_postgres", main)
