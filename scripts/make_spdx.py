#!/usr/bin/python3
"""make_spdx.py [--program FILE] [ARTEFACT...]: what the program is made of, as an SPDX 2.3 document on standard output: the
program and the artefacts (a package, an image's archive) with their checksums, and the Debian packages of the libraries that
the program loads, with version, maintainer, licences and the libraries' checksums. The same build gives the same text: its
time is that of the commit."""
import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Set

HOME = Path(__file__).resolve().parents[1]
# Debian's short names that SPDX has under another; + means "or later" in both.
SPDX_NAMES = {
    "expat": "MIT", "mit": "MIT", "isc": "ISC", "zlib": "Zlib", "apache-2.0": "Apache-2.0", "bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause",
    "bsd-4-clause": "BSD-4-Clause", "gpl-2": "GPL-2.0-only", "gpl-2+": "GPL-2.0-or-later", "gpl-3": "GPL-3.0-only", "gpl-3+": "GPL-3.0-or-later",
    "lgpl-2": "LGPL-2.0-only", "lgpl-2+": "LGPL-2.0-or-later", "lgpl-2.1": "LGPL-2.1-only", "lgpl-2.1+": "LGPL-2.1-or-later", "lgpl-3": "LGPL-3.0-only",
    "lgpl-3+": "LGPL-3.0-or-later", "curl": "curl", "postgresql": "PostgreSQL", "cc0-1.0": "CC0-1.0", "mpl-2.0": "MPL-2.0",
}  # fmt: skip


def output(*command: str) -> str:
    done = subprocess.run(command, cwd=HOME, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "LC_ALL": "C"})
    return done.stdout


def digest(path: Path, kind: str) -> str:
    return hashlib.new(kind, path.read_bytes()).hexdigest()


def checksums(path: Path) -> List[Dict[str, str]]:
    return [{"algorithm": kind.upper(), "checksumValue": digest(path, kind)} for kind in ("sha1", "sha256")]


def licences(package: str) -> List[str]:
    """The short names of a machine-readable copyright file."""
    path = Path("/usr/share/doc") / package / "copyright"
    text = path.read_text(errors="replace") if path.exists() else ""
    names: Set[str] = set()
    if "copyright-format/1.0" in text:
        for line in re.findall(r"(?m)^License: *(\S.*)$", text):
            names.update(name for name in re.split(r"\s+(?:and|or|with)\s+|[,()\s]+", line) if name and not name.lower().startswith(("exception", "openssl", "autoconf")))
    return sorted(names)


class Document:
    def __init__(self, version: str, commit: str, when: str) -> None:
        self.packages: List[Dict[str, Any]] = []
        self.files: List[Dict[str, Any]] = []
        self.relations: List[Dict[str, str]] = []
        self.unlisted: Dict[str, str] = {}
        self.head = {
            "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"appcore-{version}",
            "documentNamespace": f"https://spdx.org/spdxdocs/appcore-{version}-{commit}",
            "creationInfo": {"created": when, "creators": ["Tool: appcore-make_spdx", "Organization: appcore"]},
        }  # fmt: skip

    def relate(self, one: str, how: str, other: str) -> None:
        self.relations.append({"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other})

    def expression(self, package: str) -> str:
        parts = []
        for name in licences(package):
            known = SPDX_NAMES.get(name.lower())
            if not known:
                known = "LicenseRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)
                self.unlisted.setdefault(known, f"{name}: /usr/share/doc/{package}/copyright has its text.")
            if known not in parts:
                parts.append(known)
        return " AND ".join(parts) or "NOASSERTION"

    def text(self) -> str:
        unlisted = [{"licenseId": name, "extractedText": text, "name": name[11:]} for name, text in sorted(self.unlisted.items())]
        whole = {**self.head, "packages": self.packages, "files": self.files, "relationships": self.relations, "hasExtractedLicensingInfos": unlisted}
        return json.dumps(whole, indent=1, ensure_ascii=False)


def identity(kind: str, name: str) -> str:
    return f"SPDXRef-{kind}-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)


def add_libraries(document: Document, program: Path) -> None:
    suite = "".join(re.findall(r"(?m)^VERSION_CODENAME=(.*)$", Path("/etc/os-release").read_text()))
    paths = sorted(set(re.findall(r"(/\S+) \(0x", output("ldd", str(program)))))
    # dpkg may know a library by its path before /usr was one. One question for all: each takes a while.
    names = {path: {known.replace("/usr/lib", "/lib", 1) for known in (path, os.path.realpath(path))} | {path, os.path.realpath(path)} for path in paths}
    lines = output("dpkg-query", "-S", *sorted(set().union(*names.values()))).splitlines() if paths else []
    owners = {known: owner.split(",")[0] for owner, _, known in (line.partition(": ") for line in lines)}
    wanted = "${Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\t${Maintainer}\t${Homepage}\t${binary:Package}\n"
    facts = {row[7]: row[:7] for row in (line.split("\t") for line in output("dpkg-query", "-W", "-f", wanted, *sorted(set(owners.values()))).splitlines())} if owners else {}
    for path in paths:
        real = os.path.realpath(path)
        owner = next((owners[known] for known in sorted(names[path]) if known in owners), "")
        if owner not in facts:
            sys.exit(f"{path} is from no package that dpkg knows: its licence and supplier can't be told.")
        name, version, architecture, source, source_version, maintainer, homepage = facts[owner]
        ref = identity("Package", name)
        if all(package["SPDXID"] != ref for package in document.packages):
            escaped = version.replace("+", "%2B").replace(":", "%3A")
            upstream = source_version.replace("+", "%2B").replace(":", "%3A")
            document.packages.append({
                "SPDXID": ref, "name": name, "versionInfo": version, "supplier": f"Organization: Debian ({maintainer})", "downloadLocation": "NOASSERTION",
                "filesAnalyzed": False, "homepage": homepage or "NOASSERTION", "licenseConcluded": "NOASSERTION", "licenseDeclared": document.expression(name),
                "copyrightText": f"See /usr/share/doc/{name}/copyright", "sourceInfo": f"source package {source} {source_version}",
                "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                    "referenceLocator": f"pkg:deb/debian/{name}@{escaped}?arch={architecture}&distro={suite}&upstream={source}%40{upstream}"}],
            })  # fmt: skip
            document.relate(identity("Package", "appcore"), "DEPENDS_ON", ref)
        file_ref = identity("File", real)
        if all(file["SPDXID"] != file_ref for file in document.files):
            document.files.append({"SPDXID": file_ref, "fileName": real, "checksums": checksums(Path(real)), "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION"})
            document.relate(file_ref, "OTHER", ref)
            document.relations[-1]["comment"] = "a library of this package that the program loads"
            document.relate(identity("File", "appcore"), "DYNAMIC_LINK", file_ref)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=HOME / "build" / "release" / "appcore")
    parser.add_argument("artefacts", nargs="*", type=Path)
    given = parser.parse_args()
    for path in [given.program, *given.artefacts]:
        if not path.is_file():
            sys.exit(f"There is no {path}: build it first (make, make deb).")
    header = (HOME / "lib" / "base" / "version.h").read_text()
    version = re.findall(r'APPCORE_VERSION\s+"([^"]+)"', header)[0]
    commit = output("git", "-c", f"safe.directory={HOME}", "rev-parse", "HEAD").strip() or "unknown"
    seconds = os.environ.get("SOURCE_DATE_EPOCH") or output("git", "-c", f"safe.directory={HOME}", "show", "-s", "--format=%ct", "HEAD").strip() or "0"
    document = Document(version, commit, datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))
    own = identity("Package", "appcore")
    document.packages.append({
        "SPDXID": own, "name": "appcore", "versionInfo": version, "supplier": "Organization: appcore", "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION", "sourceInfo": f"git commit {commit}",
        "checksums": [{"algorithm": "SHA256", "checksumValue": digest(given.program, "sha256")}], "primaryPackagePurpose": "APPLICATION",
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": f"pkg:generic/appcore@{version}?vcs_revision={commit}"}],
    })  # fmt: skip
    document.relate("SPDXRef-DOCUMENT", "DESCRIBES", own)
    for path, ref in [(given.program, identity("File", "appcore")), *((path, identity("File", path.name)) for path in given.artefacts)]:
        document.files.append({"SPDXID": ref, "fileName": f"./{path.name}", "checksums": checksums(path), "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION"})
        document.relate(own, "CONTAINS", ref)
    add_libraries(document, given.program.resolve())
    print(document.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
