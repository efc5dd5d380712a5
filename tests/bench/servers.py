"""The private servers of a run, PostgreSQL and Redis, started by tests/servers."""
import os
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List

from harness import PYTHON, ROOT, Failed, appcore, cpu_of

SCRIPTS = ROOT / "tests" / "servers"


class Server:
    """A server of tests/servers in a directory of its own. It ends with this process, however that ends."""

    def __init__(self, name: str, directory: Path, options: List[str]):
        self.name = name
        self.directory = directory
        # Started by root it runs as another user, whose way to its files leads through these. Without it they would lie
        # in /tmp, on another disk perhaps than SQLite's.
        directory.mkdir()
        for folder in (directory.parent, directory):
            folder.chmod(0o711)
        self.call("start", *options, "--until", str(os.getpid()))

    def call(self, verb: str, *words: str) -> str:
        # A session of its own: Ctrl-C reaches the bench, which then ends the server in order.
        done = subprocess.run(
            [SCRIPTS / f"{self.name}.sh", verb, self.directory, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,
        )
        if done.returncode != 0:
            raise Failed(f"{self.name}.sh {verb}: " + " | ".join(done.stderr.strip().splitlines()[-5:]))
        return done.stdout.strip()

    def main(self) -> int:
        """The process id of the server."""
        raise NotImplementedError

    def cpu(self) -> Dict[str, float]:
        """Seconds of processor time that it and its processes have used so far, those that have ended included."""
        main = self.main()
        used = cpu_of(main)
        for pid in Path(f"/proc/{main}/task/{main}/children").read_text().split():
            try:
                used += cpu_of(int(pid))
            except OSError:
                pass  # has ended: it is among the following
        ended = Path(f"/proc/{main}/stat").read_text().rpartition(")")[2].split()[13:15]  # cutime, cstime
        return {self.name: used + sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")}

    def remove(self) -> None:
        self.call("remove")


class Postgres(Server):
    """PostgreSQL as installed: its own default settings, so every commit is on the disk before it is answered."""

    def __init__(self, directory: Path):
        # The script saves memory otherwise.
        super().__init__("postgres", directory, ["--set", "shared_buffers=128MB"])
        shown = self.call("psql", "postgres", "-Atc", "SELECT name, setting FROM pg_settings")
        self.settings = dict(line.split("|", 1) for line in shown.splitlines() if "|" in line)
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            if self.settings[name] != "on":
                raise Failed(f"PostgreSQL has {name} = {self.settings[name]}")

    def main(self) -> int:
        return int((self.directory / "server" / "data" / "postmaster.pid").read_text().split()[0])


class PostgresDatabase:
    """A new database on a server."""

    def __init__(self, server: Postgres, name: str):
        self.server = server
        self.name = name
        server.call("createdb", name)
        self.url = server.call("url", name)

    def rows(self) -> int:
        return int(self.server.call("psql", self.name, "-Atc", "SELECT count(*) FROM predictions"))

    def cpu(self) -> Dict[str, float]:
        return self.server.cpu()


class Redis(Server):
    def __init__(self, directory: Path):
        super().__init__("redis", directory, [])
        self.url = self.call("url")

    def main(self) -> int:
        return int((self.directory / "server" / "pid").read_text())


def need(postgres: bool, redis: bool) -> None:
    """One sentence when packages of make deps-postgres are missing; nothing has been started by then."""
    missing = []
    if postgres and "POSTGRES_BIN" not in os.environ and not any(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        missing.append("PostgreSQL")
    if postgres and subprocess.run([PYTHON, "-c", "import asyncpg"], capture_output=True).returncode != 0:
        missing.append("python3-asyncpg")
    if redis and not shutil.which("redis-server"):
        missing.append("redis-server")
    if missing:
        raise Failed(f"missing: {', '.join(missing)}: run make deps-postgres")
    if redis:
        done = subprocess.run([appcore(dict(os.environ)), "config", "--json"], capture_output=True, text=True, cwd="/")
        if '"REDIS_URL"' not in done.stdout:
            raise Failed("--redis: this appcore knows no REDIS_URL")
