#!/usr/bin/env python3
"""The guides against what they speak of. Without arguments, on the repository alone:

    links      every local link and every anchor of README.md and docs/*.md resolves
    alerts     every alert of monitoring/rules has its section in docs/operations.md, to which its runbook_url leads, and vice versa
    names      settings, commands, metrics, units, scripts, make targets, files and ports that the guides name exist

    guides.py SUITE PACKAGE    the commands of the guides, too, in blocks ```sh, in their order, on a machine that has just been
                               booted (container.py) and has nothing but what Debian gives: PACKAGE is `make deb`'s

One line for each check: "ok NAME" or "FAIL NAME: WHY"; the last one counts. A fault that is put in has to be found first."""
import glob
import json
import os
import re
import subprocess
import sys
import time

import yaml

HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUIDES = ["docs/architecture.md", "docs/deployment.md", "docs/operations.md", "docs/backup.md", "docs/upgrade.md", "docs/capacity.md"]
NAMED = ["README.md", "docs/api.md", "docs/models.md", *GUIDES]
RUN = ["docs/deployment.md", "docs/operations.md", "docs/backup.md", "docs/upgrade.md"]
passed = failed = 0


def check(name, problems):
    global passed, failed
    problems = list(dict.fromkeys(problems))
    if problems:
        failed += 1
        print(f"FAIL {name}: " + "; ".join(problems[:12]))
    else:
        passed += 1
        print(f"ok   {name}", flush=True)


def read(path):
    with open(os.path.join(HOME, path), encoding="utf-8") as file:
        return file.read()


def documents():
    return ["README.md", *sorted(os.path.relpath(path, HOME) for path in glob.glob(f"{HOME}/docs/*.md"))]


def without_code(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)


# --- links ---


def slug(heading):
    """As a git host makes them."""
    heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text):
    found = []
    for heading in re.findall(r"^#{1,6} +(.*)$", without_code(text), re.M):
        one, n = slug(heading), 0
        while (one if not n else f"{one}-{n}") in found:
            n += 1
        found.append(one if not n else f"{one}-{n}")
    return found


def broken_links(path, text):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        where = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
        if not os.path.exists(os.path.join(HOME, where)):
            yield f"{target}: there is no {where}"
        elif anchor and anchor not in anchors(text if where == path else read(where)):
            yield f"{target}: {where} has no such heading"


# --- alerts ---


def alerts():
    for path in sorted(glob.glob(f"{HOME}/monitoring/rules/*.yml")):
        if path.endswith("_test.yml"):
            continue
        with open(path, encoding="utf-8") as file:
            for group in yaml.safe_load(file)["groups"]:
                yield from (rule for rule in group["rules"] if "alert" in rule)


def wrong_alerts(text, rules):
    sections = {}
    for part in re.split(r"^### ", text.split("\n## Alerts\n", 1)[-1], flags=re.M)[1:]:
        sections[part.split("\n", 1)[0]] = part
    names = [rule["alert"] for rule in rules]
    for rule in rules:
        if rule["alert"] not in sections:
            yield f"{rule['alert']} has no section"
        elif "- *Look*: " not in sections[rule["alert"]] or "- *Do*: " not in sections[rule["alert"]]:
            yield f"the section {rule['alert']} does not say where to look and what to do"
        where = f"docs/operations.md#{rule['alert'].lower()}"
        if not str(rule.get("annotations", {}).get("runbook_url", "")).endswith(where):
            yield f"the runbook_url of {rule['alert']} is not {where}"
    yield from (f"there is no alert {name}" for name in sections if name not in names)


# --- names ---


def program(*arguments):
    return subprocess.run([os.environ.get("APPCORE_BIN", f"{HOME}/build/release/appcore"), *arguments], env={"PATH": os.environ["PATH"]},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout  # fmt: skip


class Known:
    """What there is."""

    def __init__(self):
        tracked = subprocess.run(["git", "-c", f"safe.directory={HOME}", "ls-files", "-co", "--exclude-standard"], cwd=HOME, stdout=subprocess.PIPE, text=True, check=True)
        self.files = set(tracked.stdout.split())
        self.settings = set(json.loads(program("config", "--json")))
        others = "\n".join(read(path) for path in self.files if re.match("(scripts|nginx|monitoring|systemd|debian)/", path))
        self.others = set(re.findall(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b", others))
        self.commands = set(re.findall(r"^  ([a-z]+)  ", program("help"), re.M))
        self.help = {command: program(command, "--help") for command in self.commands if command != "help"}
        self.metrics = set(re.findall(r'"((?:[a-z]+_)+[a-z]+)"', read("lib/shared/metrics.c")))
        rules = "\n".join(read(path) for path in self.files if path.startswith("monitoring/"))
        self.metrics |= set(re.findall(r"record: (\S+)", rules))
        self.units = {os.path.basename(path) for path in self.files if path.startswith("systemd/")}
        self.targets = set(re.findall(r"^([a-z][a-z-]*):", read("Makefile"), re.M))


def code_of(text):
    """Whatever is written as code: in a line and in blocks."""
    for block in re.findall(r"^```[a-z]*\n(.*?)^```$", text, re.M | re.S):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", without_code(text))


def unknown_names(text, known):
    for code in code_of(text):
        for setting in re.findall(r"(?<![A-Za-z0-9_$/.{-])([A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])(?=$|[=`,; \])])", code):
            if setting not in known.settings and re.sub("_FILE$", "", setting) not in known.settings and setting not in known.others:
                yield f"{setting} is no setting"
        for command, verb in re.findall(r"(?:^|[\s(;|&])(?:ctl|appcore) ([a-z]+)(?: +([a-z]+))?", code):
            if command not in known.commands:
                yield f"appcore {command} is no command"
            elif verb and re.search(rf"appcore {command} [a-z]", known.help.get(command, "")) and not re.search(rf"appcore {command} {verb}\b", known.help[command]):
                yield f"appcore {command} {verb} is no command"
        for metric in re.findall(r"\b((?:(?:appcore|http|tasks?|dataflow|predictions?|app)_|queue_depth|(?:job|instance):)[a-z0-9_:]*)\b(?=[\[{)> ]|$)", code):
            base = re.sub("_(bucket|count|sum)$", "", metric)
            if not metric.endswith("_id") and metric not in known.metrics and base not in known.metrics:
                yield f"{metric} is no metric"
        for unit in re.findall(r"\b(appcore(?:-[a-z]+)*@?(?:\d+|N|\*)?\.?(?:service|timer|target)?)(?=$|[\s'`,;*)])", code):
            name, _, kind = unit.rstrip("*").partition(".")
            if kind or "@" in name:
                file = re.sub("@.*", "@", name) + "." + (kind or "service")
                if file not in known.units:
                    yield f"{unit} is no unit"
        for script in re.findall(r"(?<![\w/.-])(?:/usr/share/appcore/)?((?:scripts|tests|nginx|systemd|monitoring|terraform)/[A-Za-z0-9_./@-]*[A-Za-z0-9])", code):
            if script not in known.files and not any(file.startswith(script + "/") for file in known.files):
                yield f"{script} is no file"
        for target in re.findall(r"(?:^|[\s(;|&])make ([a-z][a-z-]+)", code):
            if target not in known.targets:
                yield f"make {target} is no target"


def wrong_ports(text, config):
    """The table of ports in architecture.md."""
    for port, setting in re.findall(r"^\| (\d+)(?: \(\d+\))? \| `([A-Z_]+)` \|", text, re.M):
        if config.get(setting) != int(port):
            yield f"{setting} is {config.get(setting)}, not {port}"


def look_at_names():
    known = Known()
    config = json.loads(program("config", "--json"))
    seeded = "`NO_SUCH_SETTING=1` `appcore nothing` `appcore key nothing` `appcore_no_such_total` `appcore-nothing.service` `scripts/nothing.sh` `make nothing`"
    check("seven names that nobody knows are missed", [] if len(set(unknown_names(seeded, known))) == 7 else [str(list(unknown_names(seeded, known)))])
    for path in NAMED:
        check(f"{path}: names", unknown_names(read(path), known))
    check("docs/architecture.md: ports", wrong_ports(read("docs/architecture.md"), config))


# --- the commands, on a machine ---


def blocks(text):
    return re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)


def run_on_a_machine(suite, package):
    sys.path.insert(0, f"{HOME}/tests/deploy")
    from container import Container, Skip, root_of  # pylint: disable=import-outside-toplevel

    try:
        with Container(root_of(suite, "--bare")) as machine:
            machine.put(package, "/root/appcore.deb")
            # What somebody brings along: a certificate and its key.
            machine.must("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost", "-addext",
                         "subjectAltName=DNS:localhost", "-keyout", "/root/privkey.pem", "-out", "/root/fullchain.pem")  # fmt: skip
            for path in RUN:
                # One shell for a document, as somebody has who follows it. It says where it is by its trace.
                script = "cd /root\nexport DEBIAN_FRONTEND=noninteractive\nset -e\n" + "\n".join(blocks(read(path)))
                began = time.monotonic()
                done = machine("bash", "-xs", input=script, timeout=600)
                took = f"{path}: its commands on a bare Debian ({suite}, {time.monotonic() - began:.0f} s)"
                check(took, [] if done.returncode == 0 else [f"exit code {done.returncode}: " + done.stdout[-1500:]])
                if done.returncode != 0:
                    return
            down = machine.shell("systemctl --failed --plain --no-legend; systemctl is-active appcore.target appcore@1 appcore@2 appcore-worker@1 appcore-nginx | grep -v '^active$'")
            restarts = machine.shell("systemctl show -p NRestarts --value 'appcore@*' 'appcore-worker@*' appcore-nginx | grep -v '^0*$'")
            check("all of it is up after that, and nothing has ended by itself", (down.stdout + restarts.stdout).split())
    except Skip as why:
        print(f"skipped: {why}")


def main():
    check("a broken link and a broken anchor are found",
          [] if len(list(broken_links("README.md", "# A\n[a](none.md) [b](#b) [c](#a)"))) == 2 else ["not both"])  # fmt: skip
    for path in documents():
        check(f"{path}: links", broken_links(path, read(path)))
    headings = anchors(read("README.md"))
    check("README.md: its headings (E-063)", [name for name in ("overview", "architecture", "prerequisites", "quick-start", "contributing") if name not in headings])
    check("README.md leads to every guide (D-009)", [path for path in [*GUIDES, "docs/api.md"] if f"]({path})" not in read("README.md")])
    rules = list(alerts())
    operations = read("docs/operations.md")
    check("an alert without a section, and a section without an alert, are found",
          [] if len(list(wrong_alerts("\n## Alerts\n\n### B\n- *Look*: \n- *Do*: ", [{"alert": "A", "annotations": {"runbook_url": "docs/operations.md#a"}}]))) == 2 else ["not both"])  # fmt: skip
    check(f"docs/operations.md: each of the {len(rules)} alerts has its section", wrong_alerts(operations, rules) if rules else ["there are none"])
    look_at_names()
    if len(sys.argv) == 3:
        run_on_a_machine(sys.argv[1], sys.argv[2])
    print(f"guides: {passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
