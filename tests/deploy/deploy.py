#!/usr/bin/python3
"""Deploys on a machine that boots for it (a container with systemd), under load: what works is rolled out, what does not is
taken back, and no client notices.

  deploy.py PACKAGE [NAME...]     all of it, or the parts of these names, with packages made of PACKAGE"""
import contextlib
import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from typing import Callable, Dict, List, Optional

from container import Container, root_of
from harness import HOME, Check, Skip, at_end, note, run_and_count, wait_for
from versions import Versions

SCRIPTS = ["deploy.sh", "deploy_lib.sh", "rollback.sh", "rotate_secret.sh", "health_check.sh"]
SUITE = "bookworm"
STATE = "/var/lib/appcore-deploy"
CREDENTIALS = "/etc/appcore/credentials"
GOAL_S, SLACK = 30.0, 4.0  # from a new package to all of it, on a machine that has nothing else to do
ADDS = {"up": "ALTER TABLE predictions ADD COLUMN colour TEXT;\n", "down": "ALTER TABLE predictions DROP COLUMN colour;\n"}
ADDS_MORE = {"up": "CREATE TABLE deploy_notes (id INTEGER PRIMARY KEY, text TEXT);\n", "down": "DROP TABLE deploy_notes;\n"}
FAILS = {"up": "CREATE TABLE deploy_half (id INTEGER PRIMARY KEY);\nINSERT INTO no_such_table VALUES (1);\n", "down": "DROP TABLE deploy_half;\n"}
NO_WAY_BACK = {"up": "CREATE TABLE deploy_once (id INTEGER PRIMARY KEY);\n", "down": "-- irreversible: it is for the test\n"}


def newest() -> int:
    return max(int(name[:4]) for name in os.listdir(f"{HOME}/lib/store/migrations") if name[:4].isdigit())


def migrations(*texts: Dict[str, str]) -> Dict[str, str]:
    """As those that come after all that there are."""
    first = newest() + 1
    return {f"{first + i:04d}_deploy{i}.{way}.sql": text[way] for i, text in enumerate(texts) for way in ("up", "down")}


class Load:
    def __init__(self, report: Dict[str, object]):
        self.told: List[List[object]] = report["told"]
        self.failed: List[str] = report["failed"]
        self.seconds: List[List[float]] = report["seconds"]
        self.retries, self.logins = report["retries"], report["logins"]

    def p99(self, since: float = 0.0, until: float = float("inf")) -> float:
        took = sorted(s for at, s in self.seconds if since <= at <= until)
        return took[int(0.99 * (len(took) - 1))] if took else 0.0

    def summary(self) -> str:
        return f"{len(self.told)} stored, {len(self.failed)} failed, {self.retries} tried again on another connection, p99 {1000 * self.p99():.0f} ms"


class Loaded:
    """A load that goes on in a block; what came of it is in .load afterwards. No two send the same."""

    bases = itertools.count(0, 100)

    def __init__(self, machine: Container, *options: str):
        self.machine, self.options, self.load = machine, options or ("--fresh", "3", "--kept", "3"), None
        self.errors = tempfile.TemporaryFile("w+")
        self.key = tempfile.NamedTemporaryFile("w")
        self.key.write(machine.read(f"{CREDENTIALS}/api_key"))
        self.key.flush()

    def __enter__(self) -> "Loaded":
        self.context = self.machine.beside(sys.executable, os.path.join(HOME, "tests/deploy/load.py"), self.key.name, *self.options, "--base", str(next(self.bases)),
                                           stdout=subprocess.PIPE, stderr=self.errors, text=True)  # fmt: skip
        self.process = self.context.__enter__()
        time.sleep(1.0)
        return self

    def __exit__(self, *why: object) -> None:
        self.process.terminate()
        try:
            out = self.process.communicate(timeout=90)[0]
        finally:
            self.context.__exit__(*why)
        if not why[0]:
            self.load = Load(json.loads(out))


class Site:
    """The machine, and what is known of what it was told."""

    def __init__(self, check: Check, machine: Container):
        self.check, self.machine = check, machine
        self.during = 0.0  # p99 of the last deploy under load, in seconds
        self.told: List[List[object]] = []
        self.packages: Dict[str, str] = {}

    def put(self, package: str) -> str:
        target = f"/root/{os.path.basename(package)}"
        self.machine.put(package, target)
        return target

    def script(self, name: str, *arguments: str, timeout: float = 300.0, **environment: str) -> subprocess.CompletedProcess:
        return self.machine("bash", f"/root/scripts/{name}", *arguments, timeout=timeout, **environment)

    def serves(self) -> str:
        """The version that is installed, and that all instances and workers run."""
        units = self.machine.shell("systemctl list-units --plain --no-legend 'appcore@*' 'appcore-worker@*' | cut -d ' ' -f 1").stdout.split()
        for unit in units:
            pid = self.machine.show("MainPID", unit)
            same = self.machine("cmp", "-s", f"/proc/{pid}/exe", "/usr/bin/appcore").returncode == 0
            if not same or self.machine.show("ActiveState", unit) != "active":
                return f"{unit} runs another program, or none"
        if len(units) != 3:
            return f"{len(units)} units"
        return self.machine("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "appcore").stdout.partition("~deb")[0]

    def appcore(self, *arguments: str) -> str:
        return self.machine("bash", "/usr/share/appcore/scripts/ctl.sh", *arguments, timeout=120).stdout.strip()

    def schema(self) -> int:
        found = re.match(r"(\d+) of", self.appcore("migrate", "current"))
        return int(found.group(1)) if found else -1

    def history(self) -> List[Dict[str, object]]:
        return [json.loads(line) for line in self.machine.read(f"{STATE}/history.jsonl").splitlines()]

    def note_load(self, name: str, loaded: Loaded) -> None:
        load = loaded.load
        self.told += load.told
        note(f"{name}: {load.summary()}")
        self.check(bool(load.told) and not load.failed, f"{name}: no request fails", "; ".join(sorted(set(load.failed))[:3]))

    def compare(self) -> None:
        """All that was acknowledged is stored, once, whatever has been deployed since."""
        stored = self.stored()
        missing = [t for t in self.told if t[0] not in stored or json.loads(stored[t[0]]) != [t[1], t[1] + 1]]
        self.check(bool(self.told) and not missing, f"each of {len(self.told)} acknowledged predictions is stored", missing[:2] or "")
        values = [features for features in stored.values() if len(json.loads(features)) == 2]
        self.check(len(set(values)) == len(values), "none is there twice", len(values) - len(set(values)))

    def stored(self) -> Dict[str, str]:
        """Features by the predictions' ids."""
        self.machine("rm", "-f", "/var/lib/appcore/look")
        self.appcore("backup", "/var/lib/appcore/look")
        with tempfile.NamedTemporaryFile() as copy:
            # SQLite would take the link /proc/N/root for what it says.
            with open(f"/proc/{self.machine.init}/root/var/lib/appcore/look", "rb") as look:
                shutil.copyfileobj(look, copy)
            copy.flush()
            with contextlib.closing(sqlite3.connect(copy.name)) as db:
                stored = dict(db.execute("SELECT id, features FROM predictions"))
        self.machine("rm", "-f", "/var/lib/appcore/look")
        return stored

    # what a deploy is expected to come to

    def deploys(self, name: str, code: int, says: str, serves: str, *arguments: str, script: str = "deploy.sh", load: bool = True, schema: Optional[int] = None) -> str:
        with contextlib.ExitStack() as stack:
            loaded = stack.enter_context(Loaded(self.machine)) if load else None
            began = time.monotonic()
            done = self.script(script, *arguments)
            took = time.monotonic() - began
            if loaded:
                time.sleep(0.5)
        if loaded:
            self.note_load(name, loaded)
            self.during = loaded.load.p99(began, began + took)
        last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
        self.check(done.returncode == code and re.search(says, done.stdout) is not None, f"{name}: it says so", f"{done.returncode}, {took:.1f} s: {last[:300]}")
        if os.environ.get("VERBOSE") or done.returncode != code:
            note(done.stdout)
        now = self.serves()
        self.check(now == f"installed {serves}", f"{name}: {serves} serves", now)
        if schema is not None:
            self.check(self.schema() == schema, f"{name}: the schema is at {schema}", self.schema())
        return done.stdout


# --- the parts ---


def first(site: Site) -> None:
    began = time.monotonic()
    done = site.script("deploy.sh", site.put(site.packages["1.0"]))
    site.check(done.returncode == 0, "a new machine: the package is installed", f"{time.monotonic() - began:.1f} s, {done.stdout.strip()[-300:]}")
    site.machine.shell("printf 'RATE_LIMIT_PER_MINUTE=0\\nUSER_RATE_LIMIT_PER_MINUTE=0\\n' >>/etc/appcore/appcore.env")
    for unit in ("appcore@1", "appcore@2"):
        site.machine("systemctl", "restart", unit)
    site.machine("systemctl", "reload", "appcore-nginx")
    site.check(site.serves() == "installed 1.0", "and serves", site.serves())


def forward(site: Site) -> None:
    with Loaded(site.machine) as quiet:
        time.sleep(3)
    package = site.put(site.packages["2.0"])
    site.deploys("an upgrade with a migration", 0, "2.0.* serves: ", "2.0", package, schema=newest() + 1)
    site.note_load("before it", quiet)
    before = quiet.load.p99()
    note(f"p99 during : before = {1000 * site.during:.0f} ms : {1000 * before:.0f} ms = {site.during / max(before, 1e-6):.1f} (goal 2 at most on an idle machine)")
    steps = site.history()[-1]
    note(f"steps: {', '.join('{name} {seconds:.2f} s'.format(**step) for step in steps['steps'])}")
    took = float(steps["seconds"])
    site.check(took < GOAL_S * SLACK, f"in time (goal {GOAL_S:.0f} s on an idle machine)", f"{took:.1f} s")
    site.check(steps["outcome"] == "deployed" and steps["sha"] and "2.0" in steps["to"] and "1.0" in steps["from"], "the history knows",
               {k: steps[k] for k in ("kind", "outcome", "from", "to", "sha", "by")})  # fmt: skip
    again = site.machine.shell("ls /var/backups/appcore/deploy-*1.0*.backup && bash /root/scripts/deploy.sh --versions").stdout
    site.check("1.0" in again and "installed" in again, "a backup was made, and both versions are kept", again.strip().replace("\n", "; ") if "installed" not in again else "")


def refused(site: Site) -> None:
    """What cannot be deployed is refused before anything is changed."""
    good = site.put(site.packages["2.0"])
    before = len(site.history())

    def refuses(name: str, says: str, *arguments: str) -> None:
        done = site.script("deploy.sh", *arguments)
        text = done.stdout.strip()
        site.check(done.returncode == 100 and re.search(says, text) is not None, f"{name}: refused", f"{done.returncode}: {text[-250:]}")

    refuses("no such file", "There is no /root/none.deb", "/root/none.deb")
    site.machine.shell(f"head -c 100000 {good} >/root/cut.deb; cp /etc/passwd /root/text.deb; mkdir -p /root/other/DEBIAN;"
                       "printf 'Package: other\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@y>\\nDescription: x\\n' >/root/other/DEBIAN/control; dpkg-deb -b /root/other /root/other.deb")  # fmt: skip
    refuses("a damaged package", "damaged", "/root/cut.deb")
    refuses("no package", "not a Debian package", "/root/text.deb")
    refuses("another program's package", "not appcore", "/root/other.deb")
    refuses("another architecture", "was built for riscv64", site.put(site.packages["riscv64"]))
    refuses("another release of Debian", "was built for Debian 99", site.put(site.packages["deb99"]))
    refuses("libraries that nobody has", "libnothing9", site.put(site.packages["libnothing"]))
    refuses("an older schema", "rollback.sh", site.put(site.packages["1.0"]))
    refuses("a migration without a way back", "--allow-irreversible", site.put(site.packages["once"]))
    refuses("an unknown option", "--help", "--fast", good)
    site.machine.shell("cp -p /etc/appcore/appcore.env /root/env; echo 'INSTANCES=many' >>/etc/appcore/appcore.env")
    refuses("settings with a mistake", "INSTANCES", good)
    site.machine.shell("cp -p /root/env /etc/appcore/appcore.env; echo 'HTTPS_PORT=4443' >>/etc/appcore/appcore.env")
    with site.machine.beside(sys.executable, "-c", "import socket,time; s=socket.socket(); s.bind(('0.0.0.0',4443)); s.listen(); time.sleep(600)"):
        wait_for(lambda: site.machine.shell("ss -ltn | grep -q :4443").returncode == 0, 20, 0.1)
        refuses("a port in use", "Port 4443 is taken by another program", good)
    drop_in = "/run/systemd/system/appcore@2.service.d"
    site.machine.shell(f"cp -p /root/env /etc/appcore/appcore.env; mkdir -p {drop_in}; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n' >{drop_in}/x.conf;"
                       "systemctl daemon-reload; systemctl restart appcore@2")  # fmt: skip
    refuses("a service that is not healthy", "not healthy as it is", good)
    site.machine.shell(f"rm -r {drop_in}; systemctl daemon-reload; systemctl reset-failed appcore@2; systemctl restart appcore@2")
    site.machine.shell(f"mount -t tmpfs -o size=1m tmpfs {STATE}/packages")
    site.machine.shell("mkdir -p /root/small; mount -t tmpfs -o size=1m,mode=0711 tmpfs /root/small")
    done = site.machine("bash", "/root/scripts/deploy.sh", good, APPCORE_BACKUP_DIR="/root/small/backups", timeout=120)
    site.machine.shell(f"umount {STATE}/packages; umount /root/small")
    site.check(done.returncode == 100 and "free some" in done.stdout, "no room for the backup: refused", done.stdout.strip()[-200:])
    site.check(site.serves() == "installed 2.0", "2.0 serves as before", site.serves())
    new = site.history()[before:]
    site.check(len(new) >= 12 and all(line["outcome"] == "refused" and line["why"] for line in new), "the history says why", len(new))


def at_once(site: Site) -> None:
    package = site.put(site.packages["2.0"])
    running = subprocess.Popen(site.machine.inside("bash", "/root/scripts/deploy.sh", package), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for(lambda: site.machine.shell(f"grep -q deploy {STATE}/turn").returncode == 0, 30, 0.02)
        second = site.script("deploy.sh", package)
        third = site.script("rotate_secret.sh", "api_key")
        said = running.communicate(timeout=300)[0]
    finally:
        running.kill()
    site.check(second.returncode == 100 and "under way" in second.stdout, "two at once: the second is refused", second.stdout.strip())
    site.check(third.returncode == 100 and "under way" in third.stdout, "and so is a change of a secret", third.stdout.strip()[:100])
    site.check(running.returncode == 0 and site.serves() == "installed 2.0", "the first goes on, here with the version that is there", said.strip()[-100:])


def broken(site: Site) -> None:
    """Versions that cannot serve are taken back by themselves."""
    schema = newest() + 1
    site.deploys("a version that does not start", 1, "appcore@1.* does not start: .*it is broken.*2.0.* serves again", "2.0", site.put(site.packages["start"]), schema=schema)
    site.deploys("one that never says that it serves", 1, "does not start", "2.0", "--health-seconds", "15", site.put(site.packages["hangs"]), schema=schema)
    site.deploys("one that dies soon after, with a migration", 1, "ended soon|does not|not ready", "2.0", site.put(site.packages["dies"]), schema=schema)
    site.check(site.history()[-1]["outcome"] == "rolled back", "the history knows", site.history()[-1]["outcome"])


def half_way(site: Site) -> None:
    schema = newest() + 1
    package = site.put(site.packages["half"])
    site.deploys("a migration that fails, on a copy of the data", 100, "On a copy of the data a migration fails", "2.0", package, schema=schema)
    site.deploys("the same without a rehearsal", 1, "A migration failed.*2.0.* serves again", "2.0", "--no-rehearsal", package, schema=schema)
    tables = site.appcore("migrate", "history", "--json")
    site.check(f'"number":{schema + 1}' not in tables.replace(" ", ""), "nothing of the migrations before it is left", tables[-120:])


def full_disk(site: Site) -> None:
    """The disk of the program's files is full when the package is unpacked."""
    package = site.put(site.packages["3.0"])
    site.machine.shell("cp -a /usr/share/appcore /root/share; mount -t tmpfs -o size=2m tmpfs /usr/share/appcore && cp -a /root/share/. /usr/share/appcore/; dd if=/dev/zero of=/usr/share/appcore/filler bs=4k")
    site.deploys("a disk that is full", 1, "cannot be installed.*2.0.* serves again", "2.0", package, schema=newest() + 1)
    site.machine.shell("umount /usr/share/appcore")


def back(site: Site) -> None:
    site.deploys("a further version", 0, "3.0.* serves: ", "3.0", site.put(site.packages["3.0"]), schema=newest() + 2)
    site.deploys("back to the one before", 0, "2.0.* serves: ", "2.0", script="rollback.sh", schema=newest() + 1)
    dropped = site.machine.shell("ls /etc/systemd/system/appcore@.service.d 2>/dev/null").stdout
    site.check(not dropped.strip(), "and nothing is left of the way back", dropped.strip())
    none = site.script("rollback.sh", "9.9")
    site.check(none.returncode == 100 and "--versions" in none.stdout, "a version that is not kept: refused", none.stdout.strip())


def no_way_back(site: Site) -> None:
    """A migration that cannot be taken back, in a version that fails: the old one serves with the new schema, also after a
    restart, and the next version takes over from there."""
    site.deploys("a broken version with a migration without a way back", 1, r"The schema stays at[\s\S]*2\.0.* serves again", "2.0",
                 "--allow-irreversible", site.put(site.packages["once-broken"]), schema=newest() + 2)  # fmt: skip
    site.machine("systemctl", "restart", "appcore@1")
    ok = site.machine("bash", "/root/scripts/health_check.sh", "http://127.0.0.1:8001", "20", "0.5")
    site.check(ok.returncode == 0, "and serves again after a restart", ok.stdout.strip().splitlines()[-1:])
    site.deploys("the version that goes with it", 0, " serves: ", "4.0", site.put(site.packages["once"]), schema=newest() + 2)
    dropped = site.machine.shell("ls /etc/systemd/system/appcore@.service.d 2>/dev/null").stdout
    site.check(not dropped.strip(), "after which nothing is left of that", dropped.strip())


def cut_short(site: Site) -> None:
    """deploy.sh itself is told to end, or killed, amid its work."""
    package = site.put(site.packages["5.0"])
    with Loaded(site.machine) as loaded:
        running = subprocess.Popen(site.machine.inside("bash", "/root/scripts/deploy.sh", "--settle-seconds", "4", package), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        wait_for(lambda: site.machine.shell(f"grep -q restart {STATE}/under-way").returncode == 0, 60, 0.02)
        site.machine.shell("kill -TERM $(sed -n 's/.*, pid \\([0-9]*\\),.*/\\1/p' " + STATE + "/turn)")
        said = running.communicate(timeout=200)[0]
    site.note_load("interrupted", loaded)
    site.check(running.returncode == 1 and "interrupted. 4.0" in said and site.serves() == "installed 4.0", "interrupted, it goes back", said.strip().splitlines()[-1:])
    running = subprocess.Popen(site.machine.inside("bash", "/root/scripts/deploy.sh", "--settle-seconds", "4", package), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(lambda: site.machine.shell(f"grep -q restart {STATE}/under-way").returncode == 0, 60, 0.02)
    site.machine.shell("kill -9 $(sed -n 's/.*, pid \\([0-9]*\\),.*/\\1/p' " + STATE + "/turn)")
    running.wait(60)
    running.stdout.close()
    site.deploys("a deploy after one that was killed", 0, "was cut short.*\n(.*\n)*.* serves: ", "5.0", package, schema=newest() + 2)
    site.deploys("and back", 0, "4.0.* serves: ", "4.0", script="rollback.sh", schema=newest() + 2)


def secrets(site: Site) -> None:
    """Nobody notices, but for those that have an old credential after the overlap (E-068)."""
    password = "a-Password-for-tests-1"
    site.machine.write("/var/lib/appcore/pass", password + "\n", 0o600, "appcore:appcore")
    made = site.appcore("user", "create", "--username", "deployer", "--email", "deployer@example.org", "--password-file", "/var/lib/appcore/pass")
    old_key = site.machine.read(f"{CREDENTIALS}/api_key").strip()
    before = site.machine.read(f"{CREDENTIALS}/secret_key")

    def predict_with(key: str) -> str:
        return site.machine.shell("curl -sk -m 20 -o /dev/null -w '%{http_code}' https://localhost/predict -H 'Content-Type: application/json'"
                                  " -H \"X-API-Key: $KEY\" -d '{\"features\":[1]}'", KEY=key).stdout.strip()  # fmt: skip

    with Loaded(site.machine, "--fresh", "3", "--kept", "2", "--tokens", "deployer", password) as loaded:
        done = site.script("rotate_secret.sh", "secret_key")
        site.check(done.returncode == 0, "secret_key: changed", done.stdout.strip().splitlines()[-1])
        early = site.script("rotate_secret.sh", "secret_key", "--finish")
        key = site.script("rotate_secret.sh", "API_KEY")
        site.check(key.returncode == 0, "api_key: changed", key.stdout.strip().splitlines()[-1])
    site.note_load("both changed", loaded)
    site.check(loaded.load.logins > 1, "tokens of both secrets were shown", f"{loaded.load.logins} logins; {made[-100:]}")
    new_key = site.machine.read(f"{CREDENTIALS}/api_key").strip()
    site.check(early.returncode == 100 and "minutes" in early.stdout, "an overlap that is too short is refused", early.stdout.strip())
    site.check(before != site.machine.read(f"{CREDENTIALS}/secret_key") and new_key != old_key, "both are new")
    site.check(predict_with(old_key) == "201" and predict_with(new_key) == "201", "the old key and the new one are good", (predict_with(old_key), predict_with(new_key)))
    with Loaded(site.machine, "--fresh", "3", "--kept", "2") as loaded:
        done = site.script("rotate_secret.sh", "api_key", "--finish")
        last = site.script("rotate_secret.sh", "secret_key", "--finish", "--now")
    site.note_load("the overlap ends", loaded)
    site.check(done.returncode == 0 and last.returncode == 0, "the overlap ends", done.stdout.strip().splitlines()[-1] + last.stdout.strip()[-100:])
    site.check(predict_with(old_key) in ("401", "403") and predict_with(new_key) == "201", "then the old key is good no longer", predict_with(old_key))
    everything = site.machine.shell(f"journalctl --no-pager -o cat; cat {STATE}/history.jsonl; systemctl show 'appcore@*'").stdout + done.stdout + key.stdout
    site.check(new_key not in everything and old_key not in everything, "no key stands in a log, the history or a unit")
    bad = site.machine("bash", "/root/scripts/rotate_secret.sh", "secret_key", "--from", "-", "--health-seconds", "10", input="short\n", timeout=200)
    site.check(bad.returncode == 100 and "shorter than 32" in bad.stdout, "a secret that the program refuses: refused", bad.stdout.strip().splitlines()[-1])
    site.check(predict_with(new_key) == "201" and site.machine("ls", "-A", CREDENTIALS).stdout.split() == ["api_key", "secret_key"], "and nothing is left of it",
               site.machine("ls", "-A", CREDENTIALS).stdout.split())  # fmt: skip


def over_ssh(site: Site) -> None:
    """Through a real sshd: of the machine, to itself. (B-020: each instance is asked on its own port.)"""
    if site.machine.shell("command -v sshd").returncode != 0:
        raise Skip("no sshd in the root tree")
    site.machine.shell("mkdir -p /run/sshd /root/.ssh && chmod 700 /root/.ssh && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519 && cp /root/.ssh/id_ed25519.pub /root/.ssh/authorized_keys"
                       " && /usr/sbin/sshd -p 2222 && for i in $(seq 100); do ssh-keyscan -p 2222 127.0.0.1 >/root/.ssh/known_hosts 2>/dev/null; [ -s /root/.ssh/known_hosts ] && break; sleep 0.2; done")  # fmt: skip
    version = "3.0" if "2.0" in site.serves() else "5.0"  # one that comes after what the parts before have left
    package = site.put(site.packages[version])
    with Loaded(site.machine) as loaded:
        done = site.script("deploy.sh", package, "--host", "root@127.0.0.1", "--by", "o'neill", SSH="ssh -p 2222 -o BatchMode=yes")
    site.note_load("over ssh", loaded)
    site.check(done.returncode == 0 and "serves: " in done.stdout and site.serves() == f"installed {version}", "over ssh: it is deployed", done.stdout.strip()[-200:])
    site.check(str(site.history()[-1]["by"]).startswith("o'neill from 127.0.0.1"), "the history knows who", site.history()[-1]["by"])
    site.check(not site.machine.shell("ls -d /var/tmp/appcore-deploy.*").stdout.startswith("/var/tmp"), "nothing is left behind there")
    far = site.script("deploy.sh", package, "--host", "root@127.0.0.1", SSH="ssh -p 2223 -o BatchMode=yes")
    site.check(far.returncode == 111 and "cannot be reached" in far.stdout, "a host that is not reached", far.stdout.strip()[-120:])


PARTS: List[Callable[[Site], None]] = [first, forward, refused, at_once, broken, half_way, full_disk, back, no_way_back, cut_short, secrets, over_ssh]


def packages(base: str, folder: str) -> Dict[str, str]:
    versions = Versions(base, folder)
    return {
        "1.0": versions.make("1.0"),
        "riscv64": versions.make("2.0", migrations(ADDS), Architecture="riscv64"),
        "deb99": versions.make("2.0", migrations(ADDS), suffix="~deb99"),
        "libnothing": versions.make("2.1", migrations(ADDS), Depends="libnothing9 (>= 1.0), libc6"),
        "2.0": versions.make("2.0", migrations(ADDS)),
        "start": versions.make("2.2", migrations(ADDS), "start"),
        "hangs": versions.make("2.3", migrations(ADDS), "hangs"),
        "dies": versions.make("2.4", migrations(ADDS, ADDS_MORE), "dies"),
        "half": versions.make("2.5", migrations(ADDS, ADDS_MORE, FAILS)),
        "3.0": versions.make("3.0", migrations(ADDS, ADDS_MORE)),
        "once-broken": versions.make("3.9", migrations(ADDS, NO_WAY_BACK), "start"),
        "once": versions.make("4.0", migrations(ADDS, NO_WAY_BACK)),
        "5.0": versions.make("5.0", migrations(ADDS, NO_WAY_BACK)),
    }


def all_of(check: Check, root: Callable[[], str], kind: Callable[[Check, Container], Site], make: Callable[[str, str], Dict[str, str]], parts: List[Callable]) -> None:
    """The parts that are asked for, and always the first two."""
    if len(sys.argv) < 2 or not os.path.exists(sys.argv[1]):
        raise Skip("say which package: build/deb/appcore.deb")
    wanted = sys.argv[2:]
    tree = os.environ.get("DEPLOY_ROOT") or root()
    os.makedirs(os.path.join(HOME, "build"), exist_ok=True)
    folder = tempfile.mkdtemp(prefix="deploy-versions.", dir=os.path.join(HOME, "build"))
    at_end.append(lambda: shutil.rmtree(folder, ignore_errors=True))
    made = make(sys.argv[1], folder)
    with Container(tree) as machine:
        site = kind(check, machine)
        site.packages = made
        for name in SCRIPTS:
            machine.put(f"scripts/{name}", f"/root/scripts/{name}")
        for i, part in enumerate(parts):
            if wanted and part.__name__ not in wanted and i >= 2:
                continue
            began = time.monotonic()
            try:
                part(site)
            except Skip as why:
                note(f"skipped: {part.__name__}: {why}")
            note(f"{part.__name__}: {time.monotonic() - began:.0f} s")
        site.compare()
        if os.environ.get("KEEP"):
            note(machine("journalctl", "--no-pager", "-o", "cat", "-n", "300").stdout)


def main(check: Check) -> None:
    all_of(check, lambda: root_of(SUITE, "openssh-server"), Site, packages, PARTS)


if __name__ == "__main__":
    run_and_count("deploy", main)
