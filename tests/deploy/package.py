#!/usr/bin/python3
"""The Debian package, as an operator meets it: built, looked at by lintian and systemd-analyze, installed in a machine
without anything, upgraded while somebody asks, broken in all the ways that settings can be, removed, purged.

    package.py [SUITE]      bookworm (default) or trixie; the package of another Debian than this one is built in a root of it
    PACKAGE=FILE            that package instead of a new one

Wants root, systemd-nspawn and mmdebstrap for the machine; without them only the package itself is looked at."""
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Callable, Iterator, List

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from container import Container, root_of  # noqa: E402
from harness import HOME, Check, note, run_and_count, wait_for  # noqa: E402

EXPOSURE_MAX = 1.5
SUITE = (sys.argv[1:] or [os.environ.get("SUITE") or "bookworm"])[0]
CREDENTIALS = "/etc/appcore/credentials"
ENV_FILE = "/etc/appcore/appcore.env"
UNITS = ["appcore@1.service", "appcore@2.service", "appcore-worker@1.service", "appcore-nginx.service"]
# What is no secret has these modes.
MODES = {
    "./etc/appcore/appcore.env": "-rw-r-----",
    "./etc/logrotate.d/appcore": "-rw-r--r--",
    "./usr/bin/appcore": "-rwxr-xr-x",
    "./usr/lib/sysusers.d/appcore.conf": "-rw-r--r--",
    "./usr/lib/systemd/system/appcore@.service": "-rw-r--r--",
    "./usr/lib/systemd/system/appcore-worker@.service": "-rw-r--r--",
    "./usr/lib/systemd/system/appcore-nginx.service": "-rw-r--r--",
    "./usr/lib/systemd/system/appcore-migrate.service": "-rw-r--r--",
    "./usr/lib/systemd/system/appcore-backup.service": "-rw-r--r--",
    "./usr/lib/systemd/system/appcore-backup.timer": "-rw-r--r--",
    "./usr/lib/systemd/system/appcore-health.service": "-rw-r--r--",
    "./usr/lib/systemd/system/appcore-health.timer": "-rw-r--r--",
    "./usr/lib/systemd/system/appcore.target": "-rw-r--r--",
    "./usr/lib/tmpfiles.d/appcore.conf": "-rw-r--r--",
    "./usr/share/appcore/nginx/nginx.conf.in": "-rw-r--r--",
    "./usr/share/appcore/scripts/backup.sh": "-rwxr-xr-x",
    "./usr/share/appcore/web/openapi.json": "-rw-r--r--",
    "./usr/share/man/man1/appcore.1.gz": "-rw-r--r--",
}


def call(command: List[str], timeout: float = 120.0, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(command, cwd=HOME, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout)  # fmt: skip


def release_of_this_machine() -> str:
    with contextlib.suppress(OSError), open("/etc/os-release") as file:
        return next((line.strip().partition("=")[2] for line in file if line.startswith("VERSION_CODENAME=")), "")
    return ""


# --- the package ---


def build_here(check: Check) -> str:
    before = call(["git", "-c", f"safe.directory={HOME}", "status", "--porcelain"]).stdout
    began = time.monotonic()
    done = call(["make", "--no-print-directory", "deb"], 1800)
    package = os.path.join(HOME, done.stdout.strip().rpartition("\n")[2])
    check(done.returncode == 0 and os.path.isfile(package), "make deb", done.stdout[-400:] if done.returncode else f"{time.monotonic() - began:.0f} s")
    after = call(["git", "-c", f"safe.directory={HOME}", "status", "--porcelain"]).stdout
    check(before == after, "and leaves nothing in the tree", after if before != after else "")
    return package


def build_in_root(check: Check) -> str:
    """In a root of the other Debian, from what git knows."""
    with open(f"{HOME}/debian/control") as file:
        needed = re.search(r"Build-Depends:(.*?)\n\S", file.read(), re.S).group(1)
    names = [re.sub(r"\s*\(.*?\)|\|.*|:any", "", name).strip() for name in needed.replace("\n", " ").split(",")]
    root = root_of(SUITE, "build-essential", "debhelper", "git", *(n for n in names if not n.startswith("debhelper")))
    files = subprocess.run("git -c safe.directory=. ls-files -z | tar --create --null --no-recursion --files-from=- --file=-",
                           shell=True, cwd=HOME, stdout=subprocess.PIPE, check=True).stdout  # fmt: skip
    commit = call(["git", "-c", f"safe.directory={HOME}", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
    began = time.monotonic()
    release = {"bookworm": 12, "trixie": 13}[SUITE]
    with Container(root, memory="2g") as machine:
        machine("sh", "-c", "mkdir /src && tar -x -C /src -f -", input=files)
        as_git = "git init -q && git add -A && git -c user.name=a -c user.email=a@example commit -q -m tree"
        done = machine("sh", "-c", f"cd /src && {as_git} && DEB_VERSION=0.1.0~0.g{commit}~deb{release} scripts/make_deb.sh", timeout=1500)
        name = done.stdout.strip().rpartition("\n")[2]
        check(done.returncode == 0, f"make deb on {SUITE}", done.stdout[-600:] if done.returncode else f"{time.monotonic() - began:.0f} s")
        target = f"{HOME}/build/deb/{os.path.basename(name)}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(f"/proc/{machine.init}/root/src/{name}", target)
        return target


def look(check: Check, package: str) -> None:
    fields = dict(line.split(": ", 1) for line in call(["dpkg-deb", "-f", package]).stdout.splitlines() if ": " in line)
    check(re.fullmatch(r"[0-9][A-Za-z0-9.+~]*", fields["Version"]) is not None and ".g" in fields["Version"], "the version has the commit", fields["Version"])
    check("libfcgi0" in fields["Depends"] and "nginx" in fields["Depends"], "it depends on what it links and runs", fields["Depends"])
    held = {line.split()[-1]: line.split()[0] for line in call(["dpkg-deb", "-c", package]).stdout.splitlines()}
    wrong = {path: held.get(path) for path, mode in MODES.items() if held.get(path) != mode}
    check(not wrong, "contents and modes", wrong or f"{len(held)} files and folders")
    loose = [path for path, mode in held.items() if not mode.startswith("l") and ("w" in mode[4:] or "s" in mode)]
    check(not loose, "nothing that others may write, or that is set-uid", loose or "")
    conffiles = call(["dpkg-deb", "-I", package, "conffiles"]).stdout.split()
    check(sorted(conffiles) == ["/etc/appcore/appcore.env", "/etc/logrotate.d/appcore"], "conffiles", conffiles)
    if shutil.which("lintian"):
        done = call(["lintian", "--fail-on", "error", "--tag-display-limit", "0", package], 300)
        found = [line for line in done.stdout.splitlines() if re.match(r"[EW]: ", line)]
        check(done.returncode == 0, "lintian has no error", f"{len(found)} warnings" if done.returncode == 0 else done.stdout)
        for line in found:
            note(line)
    else:
        note("lintian is not installed: skipped")


def repack(package: str, folder: str, version: str = "", **fields: str) -> str:
    """The same package with other fields; what the files say stays."""
    tree = tempfile.mkdtemp(dir=folder)
    call(["dpkg-deb", "-R", package, tree])
    with open(f"{tree}/DEBIAN/control") as file:
        text = file.read()
    for name, value in {**({"Version": version} if version else {}), **fields}.items():
        text = re.sub(rf"(?m)^{name}: .*$", f"{name}: {value}", text)
    with open(f"{tree}/DEBIAN/control", "w") as file:
        file.write(text)
    target = f"{folder}/{os.path.basename(tree)}.deb"
    call(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, target])
    shutil.rmtree(tree)
    return target


# --- the machine ---


class Appcore:
    """appcore in a machine."""

    def __init__(self, machine: Container, check: Check):
        self.machine, self.check = machine, check

    def sh(self, text: str, timeout: float = 120.0) -> str:
        return self.machine("sh", "-c", text, timeout=timeout).stdout.strip()

    def show(self, what: str, unit: str) -> str:
        return self.sh(f"systemctl show --value -p {what} {unit}")

    def journal(self, unit: str) -> str:
        return self.sh(f"journalctl --no-pager -o cat -n 60 -u {unit}")

    def predict(self) -> str:
        return self.sh(f"curl -sk -m 10 -w ' %{{http_code}}' https://localhost/predict -H \"X-API-Key: $(cat {CREDENTIALS}/api_key)\" "
                       "-H 'Content-Type: application/json' -d '{\"features\":[1,2]}'")  # fmt: skip

    def count(self) -> int:
        return int(self.sh("runuser -u appcore -- env ENVIRONMENT=production DATA_DIR=/var/lib/appcore RUN_DIR=/run/appcore API_KEY=0123456789abcdef "
                           "appcore check --json") .partition('"predictions":')[2].partition(",")[0].strip(" }") or -1)  # fmt: skip

    def serves(self, name: str) -> None:
        answer = self.predict()
        self.check(answer.endswith(" 201"), name, answer)

    def tells(self, name: str, text: str, unit: str) -> None:
        """Until the unit's journal says so: lines come a moment later."""
        self.check(wait_for(lambda: text in self.journal(unit), 30, 0.2), name, text if text in self.journal(unit) else self.journal(unit)[-500:])


def analyze(app: Appcore) -> None:
    units = app.sh("ls /usr/lib/systemd/system/appcore*").split()
    done = app.machine("systemd-analyze", "verify", *(u.replace("@.", "@1.") for u in units))
    # Roots of tests have no manual.
    said = [line for line in done.stdout.splitlines() if "appcore" in line and "Command 'man " not in line]
    app.check(not said, "systemd-analyze verify", said or f"{len(units)} units")
    for unit in units:
        if not unit.endswith(".service"):
            continue
        done = app.machine("systemd-analyze", "security", "--offline=true", f"--threshold={int(EXPOSURE_MAX * 10)}", "--no-pager", unit)
        level = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
        figure = float(level.group(1)) if level else 10.0
        app.check(done.returncode == 0 and figure <= EXPOSURE_MAX, f"{os.path.basename(unit)} is hardened", figure)


def install(app: Appcore) -> None:
    began = time.monotonic()
    done = app.machine("dpkg", "-i", "/root/appcore.deb", timeout=300)
    app.check(done.returncode == 0, "it installs", done.stdout[-500:] if done.returncode else f"{time.monotonic() - began:.1f} s")
    app.check(f"{CREDENTIALS}/api_key" in done.stdout and app.sh(f"cat {CREDENTIALS}/api_key") not in done.stdout, "it says where the secrets are, not what they are")
    up = wait_for(lambda: all(app.show("ActiveState", unit) == "active" for unit in UNITS), 120, 0.2)
    app.sh("systemctl stop appcore-backup.timer")  # at the full hour it would make one that the test has not asked for
    app.check(up, "and starts all of it", app.sh("systemctl --no-pager --failed --no-legend") if not up else f"{time.monotonic() - began:.1f} s")
    app.serves("it answers over HTTPS")
    app.check(app.sh("systemctl is-enabled appcore.target") == "enabled", "and will after a reboot")
    users = app.sh("ps -eo user:20,comm | grep -E 'appcore|nginx' | sort -u").splitlines()
    app.check(bool(users) and not any(line.startswith("root") for line in users), "no process of it is root", [" ".join(u.split()) for u in users])
    modes = app.sh(f"stat -c '%n %a %U:%G' /etc/appcore {CREDENTIALS} {CREDENTIALS}/* {ENV_FILE} /etc/appcore/tls/key.pem /var/lib/appcore /var/log/appcore /var/backups/appcore")
    wanted = (f"/etc/appcore 755 root:root\n{CREDENTIALS} 700 root:root\n{CREDENTIALS}/api_key 600 root:root\n{CREDENTIALS}/secret_key 600 root:root\n"
              f"{ENV_FILE} 640 root:appcore\n/etc/appcore/tls/key.pem 600 appcore-web:appcore\n/var/lib/appcore 700 appcore:appcore\n"
              "/var/log/appcore 750 appcore-web:appcore\n/var/backups/appcore 700 appcore:appcore")  # fmt: skip
    app.check(modes == wanted, "folders and files are whose they should be", modes if modes != wanted else "")


def secrets(app: Appcore) -> None:
    """A secret stands in its file and nowhere else."""
    for name in ("api_key", "secret_key"):
        value = app.sh(f"cat {CREDENTIALS}/{name}")
        app.check(len(value) >= 43 and app.sh(f"grep -c . {CREDENTIALS}/{name}") == "1", f"{name} is long and one line", len(value))
        places = {
            "systemctl show": "systemctl show 'appcore*' 'appcore@1' 'appcore@2' 'appcore-worker@1'",
            "systemctl cat": "systemctl cat 'appcore*'",
            "environments": "cat /proc/[0-9]*/environ | tr '\\0' '\\n'",
            "command lines": "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'",
            "journal": "journalctl --no-pager -o json",
            "configurations and logs": "cat /etc/appcore/appcore.env /run/appcore-nginx/conf/* /var/log/appcore/*",
        }
        seen = [place for place, command in places.items() if value in app.sh(command)]
        app.check(not seen, f"{name} is in no unit, environment, command line or log", seen or "")
    others = app.sh("for u in nobody appcore appcore-web; do runuser -u $u -- cat /etc/appcore/credentials/api_key 2>&1; done")
    app.check(others.count("Permission denied") == 3, "nobody but root reads them", others)
    sees = app.sh("nsenter -t $(cat /run/appcore-nginx/nginx.pid) -m ls /var/lib/appcore")
    app.check(sorted(sees.split()) == ["archive", "exports", "uploads"], "nginx sees three folders of the data", sees)
    found = app.sh("ls /proc/$(systemctl show --value -p MainPID appcore-worker@1)/root/run/credentials/appcore-worker@1.service")
    app.check("api_key" not in found and "secret_key" not in found, "a worker for tasks has no key of callers", found.replace("\n", " "))


def upgrade(app: Appcore, newer: str) -> None:
    app.machine("sh", "-c", f"echo 'LOG_LEVEL=WARNING' >>{ENV_FILE}; echo '# mine' >>/etc/logrotate.d/appcore")
    kept = app.sh(f"cat {ENV_FILE} {CREDENTIALS}/* /etc/appcore/tls/*")
    before = [app.show("MainPID", unit) for unit in UNITS[:3]]
    stored = app.count()
    app.machine.put(newer, "/root/newer.deb")
    key = app.sh(f"cat {CREDENTIALS}/api_key")
    asker = ("import json,ssl,sys,time,http.client\nkey=sys.stdin.readline().strip()\nn=bad=0\nend=time.monotonic()+120\nprint('begun',flush=True)\n"
             "import signal\nsignal.signal(signal.SIGTERM,lambda *_: (_ for _ in ()).throw(SystemExit))\ntry:\n while time.monotonic()<end:\n"
             "  c=http.client.HTTPSConnection('127.0.0.1',443,timeout=20,context=ssl._create_unverified_context())\n"
             "  try:\n   c.request('POST','/predict','{\"features\":[1,2]}',{'X-API-Key':key,'Content-Type':'application/json'})\n   s=c.getresponse().status\n"
             "  except OSError as e:\n   s=repr(e)\n  n+=1\n  if s!=201 and s!=429: bad+=1; print('got',s,flush=True)\n  c.close()\n  time.sleep(0.1)\n"
             "finally:\n print(json.dumps([n,bad]),flush=True)\n")  # fmt: skip
    with app.machine.beside("/usr/bin/python3", "-c", asker, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as load:
        load.stdin.write(key + "\n")
        load.stdin.flush()
        load.stdout.readline()
        time.sleep(0.5)
        began = time.monotonic()
        done = app.machine("dpkg", "-i", "--force-confold", "/root/newer.deb", timeout=300)
        took = time.monotonic() - began
        time.sleep(0.5)
        load.terminate()
        said = load.stdout.read().strip().splitlines()
    asked, bad = json.loads(said[-1])
    app.check(done.returncode == 0, "it upgrades", done.stdout[-400:] if done.returncode else f"{took:.1f} s")
    app.check(asked > 0 and bad == 0, "without a failed request", f"{asked} asked, {bad} failed {said[:3] if bad else ''}")
    after = [app.show("MainPID", unit) for unit in UNITS[:3]]
    app.check(all(a != b and a != "0" for a, b in zip(before, after)), "every instance and worker is a new one", f"{before} {after}")
    app.check(app.sh(f"cat {ENV_FILE} {CREDENTIALS}/* /etc/appcore/tls/*") == kept and "# mine" in app.sh("cat /etc/logrotate.d/appcore"), "settings and secrets are kept")
    app.check(app.count() >= stored + asked // 2, "and the data", f"{stored} before, {app.count()} after")
    pids = after
    done = app.machine("dpkg", "-i", "--force-confold", "/root/newer.deb", timeout=300, APPCORE_NO_RESTART="1")
    app.check([app.show("MainPID", unit) for unit in UNITS[:3]] == pids, "APPCORE_NO_RESTART leaves what runs alone", done.stdout[-200:])


def backups(app: Appcore) -> None:
    app.serves("something to back up")
    done = app.machine("systemctl", "start", "appcore-backup.service")
    files = app.sh("ls /var/backups/appcore").split()
    app.check(done.returncode == 0 and len(files) == 1, "a backup", files or app.journal("appcore-backup"))
    restored = app.sh("cd /tmp && rm -rf r && mkdir r && chmod 777 r && cp /var/backups/appcore/*.backup r/b && chown appcore r/b && runuser -u appcore -- "
                      "env DATABASE_URL=sqlite:////tmp/r/x.db DATA_DIR=/tmp/r RUN_DIR=/tmp/r appcore restore r/b && "
                      "runuser -u appcore -- env DATABASE_URL=sqlite:////tmp/r/x.db DATA_DIR=/tmp/r RUN_DIR=/tmp/r appcore check --json")  # fmt: skip
    app.check("restored" in restored and '"predictions":' in restored, "can be restored", restored[-300:])
    seen = wait_for(lambda: "appcore_backup_timestamp_seconds 1" in app.sh("curl -s http://127.0.0.1:8000/metrics"), 60, 0.5)
    app.check(seen, "its time is a metric", app.sh("curl -s http://127.0.0.1:8000/metrics | grep -E '^appcore_(backup|certificate|health)'"))
    certificate = app.sh("curl -s http://127.0.0.1:8000/metrics | sed -n 's/^appcore_certificate_expiry_timestamp_seconds //p'")
    wanted = app.sh('date -ud "$(openssl x509 -in /etc/appcore/tls/cert.pem -noout -enddate | cut -d= -f2)" +%s')
    app.check(float(certificate or 0) == float(wanted), "so is the certificate's end", f"{certificate} of {wanted}")

    # Nothing runs, so nothing is written meanwhile.
    app.sh("systemctl stop appcore.target 'appcore@*' 'appcore-worker@*'; rm -f /var/backups/appcore/*.backup")
    again = "sleep 1.1; systemctl start appcore-backup.service; ls -i /var/backups/appcore | cut -d ' ' -f 1 | sort | uniq | wc -l; ls /var/backups/appcore | wc -l"
    app.sh("[ $(date +%M%S) -lt 5940 ] || sleep 62")  # both of one hour
    app.sh(again)
    app.sh("systemctl edit --runtime --stdin appcore-backup <<E\n[Service]\nEnvironment=BACKUP_HOURLY=2 BACKUP_DAILY=2\nE\n"
           "mkdir -p /run/systemd/system/appcore-backup.service.d && printf '[Service]\\nEnvironment=BACKUP_HOURLY=2 BACKUP_DAILY=2\\n' "
           ">/run/systemd/system/appcore-backup.service.d/t.conf; systemctl daemon-reload")  # fmt: skip
    app.sh("cd /var/backups/appcore; for t in 20260101T000000 20260102T000000 20260103T000000 20260103T010000 20260103T013000; do "
           "runuser -u appcore -- sh -c \"echo x >appcore-${t}Z.backup; touch -d 2026-01-01 appcore-${t}Z.backup\"; done")  # fmt: skip
    counts = app.sh(again).split()
    app.check(counts[:1] != [] and app.journal("appcore-backup").count("second name") == 1, "an unchanged database is not copied again", app.journal("appcore-backup")[-200:])
    left = app.sh("ls /var/backups/appcore").split()
    app.check([name for name in left if "-2026010" in name] == ["appcore-20260103T013000Z.backup"] and len(left) == 2,
              "and only those stay that are wanted", left)  # fmt: skip
    app.sh("rm -r /run/systemd/system/appcore-backup.service.d; systemctl daemon-reload; systemctl start appcore.target")


def health(app: Appcore) -> None:
    # All of it has just been started; where the machine is busy, the check's quarter of a minute may be over before it serves.
    well = wait_for(lambda: app.machine("systemctl", "start", "appcore-health.service").returncode == 0, 120, 0.5)
    app.check(well, "the health check finds it well", app.journal("appcore-health")[-400:] if not well else "")
    seen = wait_for(lambda: "appcore_health_check_timestamp_seconds 1" in app.sh("curl -s http://127.0.0.1:8000/metrics"), 60, 0.5)
    app.check(seen, "its time is a metric")
    app.sh("systemctl stop appcore@1 appcore@2")
    done = app.machine("systemctl", "start", "appcore-health.service")
    app.check(done.returncode != 0 and app.sh("systemctl is-failed appcore-health") == "failed", "a service without instances is found ill")
    app.tells("which the journal says", "Service failed health check", "appcore-health")
    app.sh("systemctl start appcore@1 appcore@2")
    app.serves("it serves again")


def rotates(app: Appcore) -> None:
    app.sh("curl -sk https://localhost/health >/dev/null; sleep 1.5; logrotate -f /etc/logrotate.d/appcore 2>&1")
    app.sh("curl -sk https://localhost/health >/dev/null")
    fresh = wait_for(lambda: app.sh("cat /var/log/appcore/access.log") != "", 30, 0.5)
    app.check(fresh and "access.log.1" in app.sh("ls /var/log/appcore"), "logs are rotated, and nginx writes on", app.sh("ls -l /var/log/appcore"))


@contextlib.contextmanager
def changed(app: Appcore, path: str, command: str) -> Iterator[None]:
    app.sh(f"cp -a {path} /root/kept && {command}")
    try:
        yield
    finally:
        app.sh(f"cp -a /root/kept {path}; systemctl reset-failed 'appcore*'")


def mistakes(app: Appcore) -> None:
    """Each is one sentence; the other instance serves on."""

    def refused(name: str, text: str, unit: str) -> None:
        app.machine("systemctl", "restart", unit)
        app.tells(name, text, unit)
        app.check(wait_for(lambda: app.show("ActiveState", unit) == "failed", 30, 0.2), "and it is not tried again", app.show("ActiveState", unit))
        app.serves("the others serve")

    def comes_back(name: str) -> None:
        app.check(wait_for(lambda: app.predict().endswith(" 201"), 60, 0.5), name)

    with changed(app, ENV_FILE, f"echo 'LOG_LEVEL=LOUD' >>{ENV_FILE}"):
        refused("a wrong value", 'LOG_LEVEL is "LOUD": it wants one of: DEBUG INFO WARNING ERROR CRITICAL.', UNITS[0])
    app.sh(f"systemctl start {UNITS[0]}")
    with changed(app, ENV_FILE, f"echo 'RATE_LIMIT_PER_MINUT=5' >>{ENV_FILE}"):
        refused("a misspelt name", "there is no setting RATE_LIMIT_PER_MINUT; is RATE_LIMIT_PER_MINUTE meant?", UNITS[0])
    app.sh(f"systemctl start {UNITS[0]}")
    for secret, sentence in (("api_key", "API_KEY is not set: production wants one"), ("secret_key", "SECRET_KEY is not set")):
        with changed(app, f"{CREDENTIALS}/{secret}", f"sleep 0.1; cp {CREDENTIALS}/api_key /root/api_key; rm {CREDENTIALS}/{secret}"):
            app.machine("systemctl", "restart", UNITS[0])
            app.tells(f"no {secret}", sentence, UNITS[0])
        app.sh(f"systemctl start {UNITS[0]}")
    app.serves("with its secrets it serves")

    cert, tls_key = "/etc/appcore/tls/cert.pem", "/etc/appcore/tls/key.pem"
    with changed(app, tls_key, f"openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2>/dev/null >{tls_key} || openssl ecparam -name prime256v1 -genkey -noout >{tls_key}"):
        done = app.machine("systemctl", "reload", UNITS[3])
        app.check(done.returncode != 0, "a key that is another certificate's: the reload fails")
        app.tells("and says what to do", f"{tls_key} is not the key of {cert}", UNITS[3])
        app.serves("with the old one it serves on")
        app.machine("systemctl", "restart", UNITS[3])
        app.check(not app.predict().endswith(" 201"), "nor does it start with it")
        app.sh(f"cp -a /root/kept {tls_key}")
        comes_back("mended, it starts by itself")
    with changed(app, tls_key, f"chown root:root {tls_key} && chmod 600 {tls_key}"):
        app.machine("systemctl", "reload", UNITS[3])
        app.tells("a key that nginx may not read", f"{tls_key} cannot be read by appcore-web: chgrp appcore-web {tls_key} && chmod 640 {tls_key}", UNITS[3])
    expired = (f"rm -f {cert}.selfsigned; faketime -f -400d true 2>/dev/null; openssl req -x509 -new -key {tls_key} -subj /CN=localhost -days 1 -out {cert} "
               "-set_serial 1 && openssl x509 -in /etc/appcore/tls/cert.pem -noout -enddate")  # fmt: skip
    with changed(app, cert, expired):
        app.machine("systemctl", "reload", UNITS[3])
        app.tells("a certificate that ends within a day", "has expired or does so within a day: renew it.", UNITS[3])
        app.serves("is used all the same")
    app.sh(f"systemctl reload {UNITS[3]}")

    app.sh(f"systemctl stop {UNITS[3]}")
    with app.machine.beside("/usr/bin/python3", "-m", "http.server", "80", "--bind", "0.0.0.0", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        wait_for(lambda: app.machine("curl", "-s", "-o", "/dev/null", "http://127.0.0.1/").returncode == 0, 30, 0.2)
        app.machine("systemctl", "start", UNITS[3])
        app.tells("a port that somebody else has", "Port 80 is in use (ss -ltnp names the program): end that, or choose another port with HTTP_PORT", UNITS[3])
    comes_back("when it is free, it starts by itself")


def other_architecture(app: Appcore, package: str) -> None:
    app.machine.put(package, "/root/other.deb")
    done = app.machine("dpkg", "-i", "/root/other.deb")
    app.check(done.returncode != 0 and "does not match system" in done.stdout, "a package for another machine is refused", done.stdout.strip()[-200:])
    app.serves("and the installed one serves")


def reboot(app: Appcore) -> None:
    stored = app.count()
    app.machine.reboot()
    up = wait_for(lambda: app.predict().endswith(" 201"), 120, 0.5)
    app.check(up and app.count() > stored, "after a reboot it serves with its data", f"{stored} before, {app.count()} after")


def remove(app: Appcore) -> None:
    done = app.machine("dpkg", "-r", "appcore", timeout=180)
    left = app.sh("ps -eo comm | grep -E 'appcore|nginx'")
    app.check(done.returncode == 0 and left == "", "removed, nothing runs", left or done.stdout[-200:] if left or done.returncode else "")
    app.check("LOG_LEVEL=WARNING" in app.sh(f"cat {ENV_FILE}") and app.sh(f"ls {CREDENTIALS}") != "", "settings and secrets are there")
    done = app.machine("dpkg", "-i", "/root/appcore.deb", timeout=300)
    app.check(done.returncode == 0 and wait_for(lambda: app.predict().endswith(" 201"), 60, 0.5), "installed again, it serves with them")
    app.machine("systemctl", "start", "appcore-backup.service")
    done = app.machine("dpkg", "-P", "appcore", timeout=180)
    said = done.stdout
    app.check(done.returncode == 0 and "rm -rf /var/lib/appcore /var/backups/appcore && userdel appcore" in said, "purged, it says what data is left", said.strip().splitlines()[-2:])
    left = app.sh("ls -d /etc/appcore /var/log/appcore /run/appcore /usr/share/appcore /usr/bin/appcore /usr/lib/systemd/system/appcore* "
                  "/etc/systemd/system/*/appcore* /var/lib/systemd/deb-systemd-helper-enabled/*/appcore* 2>/dev/null")  # fmt: skip
    app.check(left == "", "and nothing else is", left)
    command = next((line.strip() for line in said.splitlines() if line.strip().startswith("rm -rf")), "false")
    done = app.machine("sh", "-c", command)
    left = app.sh("ls -d /var/lib/appcore /var/backups/appcore 2>/dev/null; getent passwd appcore appcore-web; getent group appcore appcore-web")
    app.check(done.returncode == 0 and left == "", "what it says removes that, too", f"{done.stdout} {left}".strip())


def without_systemd(app: Appcore) -> None:
    """In a folder where nothing runs, as images are made."""
    done = app.machine("sh", "-c", "mkdir /r && mount --bind / /r && mount -t tmpfs tmpfs /r/run && mount -t proc proc /r/proc && "
                       "chroot /r dpkg -i /root/appcore.deb && chroot /r systemctl is-enabled appcore.target && chroot /r dpkg -P appcore", timeout=300)  # fmt: skip
    app.check(done.returncode == 0 and "enabled" in done.stdout, "where no systemd runs it installs, is enabled, and is purged", done.stdout[-300:])
    left = app.sh("ls -d /var/lib/appcore /var/backups/appcore /etc/appcore 2>/dev/null; getent passwd appcore appcore-web")
    app.check(left == "", "of one that never served nothing is left", left)
    app.sh("umount /r/proc /r/run /r; rmdir /r")


def main(check: Check) -> None:
    package = os.environ.get("PACKAGE") or (build_here(check) if SUITE == release_of_this_machine() else build_in_root(check))
    look(check, package)
    root = root_of(SUITE)
    folder = tempfile.mkdtemp(prefix="appcore-package.")
    try:
        version = call(["dpkg-deb", "-f", package, "Version"]).stdout.strip()
        newer = repack(package, folder, version=f"{version}.1")
        other = repack(package, folder, Architecture="arm64" if call(["dpkg", "--print-architecture"]).stdout.strip() == "amd64" else "amd64")
        steps: List[Callable[[Appcore], None]] = [
            analyze_after_install, secrets, lambda app: upgrade(app, newer), backups, health, rotates, mistakes,
            lambda app: other_architecture(app, other), reboot, remove, without_systemd]  # fmt: skip
        with Container(root) as machine:
            machine.put(package, "/root/appcore.deb")
            app = Appcore(machine, check)
            for step in steps:
                step(app)
            if os.environ.get("KEEP"):
                note(app.sh("journalctl --no-pager -o cat"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def analyze_after_install(app: Appcore) -> None:
    install(app)
    analyze(app)


if __name__ == "__main__":
    run_and_count("package", main)
