#!/usr/bin/python3
"""scan.py [--code-only] [--sbom FILE] [--tracker URL] [--program FILE]: known weaknesses of the code and of the packages that the program
depends on (--sbom: of those that an SPDX or CycloneDX document lists, an image's for one). 1 when one is found.

Code: flawfinder, its levels 4 (high) and 5 (critical). Packages: a version that the security suite in this machine's
package lists has a newer one of; and debsecan with the data of Debian's tracker (--tracker: another place with that data):
of high urgency, or with a fix that is not installed. Where no list or tracker can be had, that part is skipped and says so.
What was looked at and is no matter stands in tests/lint/scan.allow with its reason."""
import argparse
import csv
import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Set, Tuple

HOME = Path(__file__).resolve().parents[1]
ALLOWED = HOME / "tests" / "lint" / "scan.allow"
TRACKER_S = 60


class Package(NamedTuple):
    name: str
    version: str
    source: str
    source_version: str


class Allowed:
    """Lines of KIND PATTERN NAME WHY: code FILE FUNCTION, package NAME CVE."""

    def __init__(self) -> None:
        self.rules: List[Tuple[str, str, str]] = []
        for line in ALLOWED.read_text().splitlines() if ALLOWED.exists() else []:
            if line and not line.startswith("#"):
                words = line.split(None, 3)
                if len(words) != 4 or words[0] not in ("code", "package"):
                    sys.exit(f"{ALLOWED.name}: '{line}' is not KIND PATTERN NAME and a reason.")
                self.rules.append((words[0], words[1], words[2]))

    def has(self, kind: str, where: str, name: str) -> bool:
        return any(kind == rule[0] and fnmatch.fnmatchcase(where, rule[1]) and fnmatch.fnmatchcase(name, rule[2]) for rule in self.rules)


def lines_of(*command: str) -> List[str]:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True, env={**os.environ, "LC_ALL": "C"})
    return done.stdout.splitlines()


def scan_code(folders: List[str], allowed: Allowed) -> Optional[List[str]]:
    if not shutil.which("flawfinder"):
        print("skipped: flawfinder is not installed: make deps")
        return None
    done = subprocess.run(["flawfinder", "--minlevel=4", "--quiet", "--dataonly", "--csv", *folders], cwd=HOME, stdout=subprocess.PIPE, text=True)
    found = []
    for row in csv.DictReader(done.stdout.splitlines()):
        if not allowed.has("code", os.path.relpath(HOME / row["File"], HOME), row["Name"]):
            level = {"4": "HIGH", "5": "CRITICAL"}[row["Level"]]
            found.append(f"{row['File']}:{row['Line']}: {level}, {row['Name']}: {row['Warning'].split('.')[0]} ({row['CWEs']})")
    print(f"ok   flawfinder over {' '.join(folders)}" if not found else f"flawfinder: {len(found)} found")
    return found


def closure(program: Path) -> Set[str]:
    """Debian packages of the libraries that the program loads, and of what runs beside it."""
    names: Set[str] = set()
    paths = [str(program)] if program.exists() else []
    files = [match[1] for line in lines_of("ldd", *paths) if (match := re.search(r"(?:=> )?(/\S+) \(0x", line))] if paths else []
    # dpkg may know a library by its path before /usr was one.
    candidates = {name for path in files for real in (path, os.path.realpath(path)) for name in (real, real.replace("/usr/lib", "/lib", 1))}
    if candidates:
        names.update(line.split(":")[0] for line in lines_of("dpkg-query", "-S", *sorted(candidates)))
    return names | {"nginx", "nginx-light", "nginx-core", "nginx-common", "spawn-fcgi", "openssl", "curl", "ca-certificates", "sqlite3"}


def installed(names: Set[str]) -> List[Package]:
    wanted = "${Package}\t${Version}\t${source:Package}\t${source:Version}\t${db:Status-Status}\n"
    rows = [line.split("\t") for line in lines_of("dpkg-query", "-W", "-f", wanted, *sorted(names))]
    return [Package(*row[:4]) for row in rows if len(row) == 5 and row[4] == "installed"]


def listed(path: str) -> List[Package]:
    """Debian packages of an SPDX 2.3 or CycloneDX document: those whose purl says so."""
    document = json.loads(Path(path).read_text())
    packages = []
    for item in document.get("packages", []) + document.get("components", []):
        purl = item.get("purl", "") or next((ref["referenceLocator"] for ref in item.get("externalRefs", []) if ref.get("referenceType") == "purl"), "")
        version = item.get("versionInfo") or item.get("version")
        if purl.startswith("pkg:deb/") and version:
            upstream = re.search(r"[?&]upstream=([^&@]+)(?:%40|@)?([^&]*)", purl)
            source = upstream[1] if upstream else next((p["value"] for p in item.get("properties", []) if p["name"].endswith("source")), item["name"])
            packages.append(Package(item["name"], version, source, upstream[2].replace("%2B", "+").replace("%3A", ":") if upstream and upstream[2] else version))
    if not packages:
        sys.exit(f"{path} lists no Debian packages (purl pkg:deb/...): make it with make sbom.")
    return packages


def scan_updates(packages: List[Package], allowed: Allowed) -> Optional[List[str]]:
    """Whatever the security suite has a newer version of has an advisory."""
    newest: Dict[str, str] = {}
    for line in lines_of("apt-cache", "madison", *[package.name for package in packages]):
        name, version, origin = (part.strip() for part in line.split("|", 2))
        if "-security" in origin:
            if name not in newest or compare(version, "gt", newest[name]):
                newest[name] = version
    if not any("-security" in line for line in lines_of("apt-cache", "policy")):
        print("skipped: the package lists have no security suite: apt-get update")
        return None
    found = [f"{package.name} {package.version}: HIGH, the security suite has {newest[package.name]}"
             for package in packages
             if package.name in newest and compare(newest[package.name], "gt", package.version) and not allowed.has("package", package.name, newest[package.name])]  # fmt: skip
    print(f"ok   {len(packages)} packages have no newer version in the security suite" if not found else f"updates: {len(found)} found")
    return found


def compare(one: str, how: str, other: str) -> bool:
    return subprocess.run(["dpkg", "--compare-versions", one, how, other]).returncode == 0


def scan_tracker(packages: List[Package], tracker: Optional[str], allowed: Allowed) -> Optional[List[str]]:
    if not shutil.which("debsecan"):
        print("skipped: debsecan is not installed: make deps")
        return None
    suite = next((line.partition("=")[2] for line in Path("/etc/os-release").read_text().splitlines() if line.startswith("VERSION_CODENAME=")), "")
    with tempfile.NamedTemporaryFile("w", suffix=".status") as status:
        for package in packages:
            status.write(f"Package: {package.name}\nStatus: install ok installed\nSource: {package.source} ({package.source_version})\nVersion: {package.version}\n\n")
        status.flush()
        command = ["debsecan", "--suite", suite, "--status", status.name, "--format", "summary", *(["--source", tracker] if tracker else [])]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=TRACKER_S)
        except subprocess.TimeoutExpired:
            print(f"skipped: Debian's security tracker does not answer within {TRACKER_S} s")
            return None
    if done.returncode != 0:
        print(f"skipped: Debian's security tracker can't be read: {' '.join(done.stderr.split())[:120]}")
        return None
    found, minor = [], 0
    for line in done.stdout.splitlines():
        bug, name, notes = (line.split(None, 2) + ["", ""])[:3]
        if ("high urgency" in notes or "fixed" in notes) and not allowed.has("package", name, bug):
            found.append(f"{name}: HIGH, {bug} {notes}".rstrip())
        else:
            minor += 1
    print(f"ok   debsecan: none of high urgency or with a fix that is missing, {minor} others" if not found else f"debsecan: {len(found)} found")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code-only", action="store_true")
    parser.add_argument("--sbom", metavar="FILE")
    parser.add_argument("--tracker", metavar="URL")
    parser.add_argument("--program", metavar="FILE", default=str(HOME / "build" / "release" / "appcore"))
    parser.add_argument("--code", metavar="FOLDER", nargs="+", default=["lib", "fcgi-app"])
    given = parser.parse_args()
    allowed = Allowed()
    if given.sbom and not os.path.exists(given.sbom):
        sys.exit(f"There is no {given.sbom}: make sbom writes one.")
    parts: List[Optional[List[str]]] = []
    if not given.sbom:
        parts.append(scan_code(given.code, allowed))
    if given.code_only:
        pass
    elif given.sbom or shutil.which("dpkg-query"):
        packages = listed(given.sbom) if given.sbom else installed(closure(Path(given.program)))
        parts += [scan_updates(packages, allowed), scan_tracker(packages, given.tracker, allowed)]
    else:
        print("skipped: this is no Debian: its packages are not known")
    found = [finding for part in parts for finding in part or []]
    for finding in found:
        print(f"FAIL {finding}")
    print(f"scan: {sum(part is not None for part in parts)} scanned, {sum(part is None for part in parts)} skipped, {len(found)} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
