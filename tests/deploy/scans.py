#!/usr/bin/python3
"""What looks for secrets and weaknesses finds those that are planted for it, and what lists the parts of the program lists
them (E-017, E-026): scripts/scan_secrets.py, scripts/scan.py, scripts/make_spdx.py."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Callable, Dict, List

HOME = Path(__file__).resolve().parents[2]
SCRIPTS = HOME / "scripts"
LIMIT_S = 300.0
passed = failed = 0
# Put together here: the scanner looks into this file, too.
LETTERS = "q7Rz2Lm9Xw4Tb8Vn3Kc6Yp1Hd5Gf0JsAeUoQi"
PLANTED: Dict[str, str] = {
    "private key": "-----BEGIN " + "RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA" + LETTERS + "\n",
    "AWS access key": "id = " + "AKIA" + "Q2W3E4R5T6Y7U2I3",
    "GitHub token": "token: " + "ghp_" + LETTERS[:36],
    "GitLab token": "glpat" + "-" + LETTERS[:20],
    "Slack token": "xoxb" + "-" + "1234567890-" + LETTERS[:24],
    "Google key": "AIza" + LETTERS[:35],
    "signed token": "eyJ" + LETTERS[:20] + ".eyJ" + LETTERS[5:30] + "." + LETTERS[3:33],
    "appcore key": "ak_" + "12ab34cd56ef7890" + "_" + (LETTERS * 2)[:43],
    "password in a URL": "postgresql://appcore:" + LETTERS[:14] + "@db.internal/appcore",
    "value of a secret": "SECRET_KEY=" + LETTERS[4:34],
}


def check(what: str, good: bool, detail: object = "") -> None:
    global passed, failed
    if good:
        passed += 1
        print(f"ok   {what}")
    else:
        failed += 1
        print(f"FAIL {what}: {str(detail).strip()[-1200:]}")


def call(*command: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(word) for word in command], cwd=HOME, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S)  # fmt: skip


class Checkout:
    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.git("init", "-q", "-b", "main")
        self.write("readme", "nothing to see\n")
        self.commit()

    def git(self, *words: str) -> None:
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false", *words], cwd=self.folder, check=True, stdout=subprocess.DEVNULL)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text)

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a change")

    def scan(self, *options: str) -> "subprocess.CompletedProcess[str]":
        return call("/usr/bin/python3", "-B", SCRIPTS / "scan_secrets.py", *options, self.folder)


def secrets() -> None:
    with tempfile.TemporaryDirectory(prefix="appcore-scans.") as folder:
        checkout = Checkout(folder)
        done = checkout.scan()
        check("a checkout without a secret passes", done.returncode == 0 and "0 found" in done.stdout, done.stdout)
        for rule, text in PLANTED.items():
            checkout.write("settings", text)
            done = checkout.scan("--tree")
            check(f"a planted {rule} is found, where it stands, and not printed", done.returncode == 1 and f"FAIL settings:1: {rule}," in done.stdout and LETTERS[6:18] not in done.stdout, done.stdout)
        checkout.write("settings", "import os\n" * 4 + PLANTED["AWS access key"])
        done = checkout.scan("--tree")
        check("with its line", "FAIL settings:5: " in done.stdout, done.stdout)
        checkout.commit()
        checkout.write("settings", "API_KEY=change-me-before-production-1\nSECRET_KEY_FILE=/run/secrets/secret_key\npassword = read_password(terminal)\n")
        checkout.commit()
        done = checkout.scan("--tree")
        check("examples and names of files are none", done.returncode == 0, done.stdout)
        done = checkout.scan()
        check("one that was taken away is found in the history", done.returncode == 1 and "(object " in done.stdout and "AWS access key" in done.stdout, done.stdout)
        digest = done.stdout.split("FAIL ")[1].split(")")[1].rpartition(" ")[2] if "FAIL " in done.stdout else ""
        checkout.write("tests/lint/secrets.allow", f"{digest} it opens nothing\n")
        done = checkout.scan()
        check("one that is allowed passes", done.returncode == 0 and "1 allowed" in done.stdout, done.stdout)
        checkout.write("tests/lint/secrets.allow", f"{digest}\n")
        done = checkout.scan()
        check("but not without a reason", done.returncode == 1 and "a reason" in done.stdout, done.stdout)


def code() -> None:
    if not shutil.which("flawfinder"):
        print("skipped: flawfinder is not installed: make deps")
        return
    with tempfile.TemporaryDirectory(prefix="appcore-scans.") as folder:
        (Path(folder) / "bad.c").write_text('#include <stdio.h>\nint main(void)\n{\n\tchar line[9];\n\tgets(line);\n\treturn system(line);\n}\n')
        done = call("/usr/bin/python3", "-B", SCRIPTS / "scan.py", "--code-only", "--code", folder)
        check("a planted weakness of the code is found", done.returncode == 1 and "CRITICAL, gets" in done.stdout and "HIGH, system" in done.stdout, done.stdout)
    done = call("/usr/bin/python3", "-B", SCRIPTS / "scan.py", "--code-only")
    check("the code has none", done.returncode == 0 and "1 scanned" in done.stdout, done.stdout)


def sbom_of(folder: str, version: str) -> str:
    path = f"{folder}/sbom.json"
    Path(path).write_text(json.dumps({"spdxVersion": "SPDX-2.3", "packages": [{"name": "openssl", "versionInfo": version, "externalRefs": [
        {"referenceType": "purl", "referenceLocator": f"pkg:deb/debian/openssl@{version}?arch=amd64"}]}]}))  # fmt: skip
    return path


def packages() -> None:
    if not shutil.which("dpkg-query"):
        print("skipped: this is no Debian: its packages are not known")
        return
    with tempfile.TemporaryDirectory(prefix="appcore-scans.") as folder:
        nowhere = f"file://{folder}/nowhere/"
        done = call("/usr/bin/python3", "-B", SCRIPTS / "scan.py", "--sbom", sbom_of(folder, "0.9"), "--tracker", nowhere)
        if "no security suite" in done.stdout:
            print("skipped: the package lists have no security suite")
        else:
            check("a package that is older than the security suite's is found", done.returncode == 1 and "FAIL openssl 0.9: HIGH" in done.stdout, done.stdout)
            done = call("/usr/bin/python3", "-B", SCRIPTS / "scan.py", "--sbom", sbom_of(folder, "99"), "--tracker", nowhere)
            check("a newer one is none", done.returncode == 0 and "0 found" in done.stdout, done.stdout)
        check("a tracker that can't be read is told", not shutil.which("debsecan") or "skipped: Debian's security tracker can't be read" in done.stdout, done.stdout)
        if shutil.which("debsecan"):
            suite = next(line.partition("=")[2] for line in Path("/etc/os-release").read_text().splitlines() if line.startswith("VERSION_CODENAME="))
            for flags, found in ((" HR ", 1), (" LRF", 1), (" L  ", 0)):
                data = f"VERSION 1\nCVE-2026-0001,,planted\n\nopenssl,0,{flags},100,\n\nopenssl,openssl\n\n"
                (Path(folder) / suite).write_bytes(zlib.compress(data.encode()))
                done = call("/usr/bin/python3", "-B", SCRIPTS / "scan.py", "--sbom", sbom_of(folder, "99"), "--tracker", f"file://{folder}/")
                check(f"the tracker's word for {flags!r} is {'a finding' if found else 'none'}", done.returncode == found and ("CVE-2026-0001" in done.stdout) == bool(found), done.stdout)
        else:
            print("skipped: debsecan is not installed: make deps")
        Path(f"{folder}/empty.json").write_text("{}")
        done = call("/usr/bin/python3", "-B", SCRIPTS / "scan.py", "--sbom", f"{folder}/empty.json")
        check("a list of nothing is no proof", done.returncode == 1 and "lists no Debian packages" in done.stdout, done.stdout)


def parts() -> None:
    program = HOME / "build" / "release" / "appcore"
    if not program.exists() or not shutil.which("dpkg-query"):
        print("skipped: the program is not built (make), or this is no Debian")
        return
    done = call("/usr/bin/python3", "-B", SCRIPTS / "make_spdx.py", HOME / "Makefile")
    check("the list is the same twice", done.returncode == 0 and done.stdout == call("/usr/bin/python3", "-B", SCRIPTS / "make_spdx.py", HOME / "Makefile").stdout, done.stdout)
    document = json.loads(done.stdout)
    elements: List[str] = ["SPDXRef-DOCUMENT"] + [item["SPDXID"] for item in document["packages"] + document["files"]]
    referred = [relation[end] for relation in document["relationships"] for end in ("spdxElementId", "relatedSpdxElement")]
    check("it is one of SPDX 2.3, each element once, each relation between two of them",
          document["spdxVersion"] == "SPDX-2.3" and len(set(elements)) == len(elements) and set(referred) <= set(elements), set(referred) - set(elements))  # fmt: skip
    names = {package["name"]: package for package in document["packages"]}
    check("it has the program and its libraries, with version, supplier, licence and checksums",
          {"appcore", "libc6", "libsodium23"} <= set(names) and all(package["versionInfo"] and package["supplier"] and package["licenseDeclared"] for package in names.values())
          and all(len(file["checksums"]) == 2 for file in document["files"]) and "ISC" in names["libsodium23"]["licenseDeclared"], sorted(names))  # fmt: skip
    refs = [word for package in document["packages"] for word in package["licenseDeclared"].split() if word.startswith("LicenseRef-")]
    check("each licence that SPDX does not list is explained", set(refs) == {item["licenseId"] for item in document["hasExtractedLicensingInfos"]})
    check("an artefact is in it", any(file["fileName"] == "./Makefile" for file in document["files"]))


def main() -> int:
    for part in (secrets, code, packages, parts):
        run: Callable[[], None] = part
        run()
        sys.stdout.flush()
    print(f"scans: {passed} passed, {failed} failed")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
