#!/usr/bin/python3
"""scan_secrets.py [--tree] [FOLDER]: looks for secrets in what is there (tracked and new files) and in all that git has
ever known; with --tree only in what is there. 1 when one is found.

Two kinds of rules: tokens that have a form of their own, and values that are given to something called a key, a password
or a token and look random. What is no secret stands in tests/lint/secrets.allow by its hash: the scanner never prints a secret, only
where it is, its first characters and that hash."""
import hashlib
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Tuple

LARGEST = 4 << 20  # bytes of a file; a larger one is data, and is named
RANDOM_BITS = 3.6  # per character, of values that are only called secrets
ALLOWED = "tests/lint/secrets.allow"

# (name, pattern); the secret is the group "s". All are anchored at word borders, so that hashes and texts do not match inside.
TOKENS: List[Tuple[str, str]] = [
    ("private key", r"(?P<s>-----BEGIN (?:[A-Z0-9]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16,})"),
    ("AWS access key", r"\b(?P<s>(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b"),
    ("GitHub token", r"\b(?P<s>gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})"),
    ("GitLab token", r"\b(?P<s>gl(?:pat|dt|rt|cbt)-[A-Za-z0-9_-]{20,})"),
    ("Slack token", r"\b(?P<s>xox[abeoprs]-[A-Za-z0-9-]{20,})"),
    ("Slack address", r"(?P<s>hooks\.slack\.com/services/T[A-Za-z0-9_/]{20,})"),
    ("Google key", r"\b(?P<s>AIza[A-Za-z0-9_-]{35})\b"),
    ("Stripe key", r"\b(?P<s>[rs]k_live_[A-Za-z0-9]{20,})\b"),
    ("npm token", r"\b(?P<s>npm_[A-Za-z0-9]{36})\b"),
    ("Vault token", r"\b(?P<s>hv[sbr]\.[A-Za-z0-9_-]{24,})"),
    ("signed token", r"\b(?P<s>eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,})"),
    ("appcore key", r"\b(?P<s>ak_[0-9a-f]{16}_[A-Za-z0-9_-]{43})(?![A-Za-z0-9_-])"),
]
URL = re.compile(rb"\b[a-z][a-z0-9+.-]*://[^\s:/@\"'<>]*:(?P<s>[^\s:/@\"'<>]{6,})@[A-Za-z0-9\[]")
NAMED = re.compile(
    rb"(?i)(?:password|passwd|secret|api_?key|access_?key|private_?key|auth_?token|access_?token|secret_?key|credential)[a-z0-9_]{0,20}"
    rb"[\"']?\s*(?:=|:|=>|:=)\s*[\"']?(?P<s>[A-Za-z0-9+/_.~-]{16,200}={0,2})"
)
# Values that say themselves that they are none, and what stands for a value.
NO_SECRET = re.compile(rb"(?i)test|example|change|dummy|placeholder|sample|demo|invalid|wrong|0123456789|abcdef|x{4}|another|\.(?:pem|sh|py|txt|json|key)$|^[a-z_]+$|^[A-Z_]+$|^[a-z.]+$|^[0-9.]+$|/run/|^/|::")


class Finding(NamedTuple):
    where: str
    line: int
    rule: str
    secret: bytes

    def digest(self) -> str:
        return hashlib.sha256(self.secret).hexdigest()[:16]


TOKEN_RULES = [(name, re.compile(pattern.encode())) for name, pattern in TOKENS]


def entropy(value: bytes) -> float:
    return -sum(n / len(value) * math.log2(n / len(value)) for n in (value.count(c) for c in set(value)))


def looks_random(value: bytes) -> bool:
    kinds = sum(bool(re.search(pattern, value)) for pattern in (rb"[a-z]", rb"[A-Z]", rb"[0-9]"))
    hexadecimal = re.fullmatch(rb"[0-9a-f]{32,}", value) is not None
    return not NO_SECRET.search(value) and ((kinds >= 2 and bool(re.search(rb"[0-9]", value)) and entropy(value) >= RANDOM_BITS) or (hexadecimal and entropy(value) > 3.0))


def findings(where: str, text: bytes) -> Iterator[Finding]:
    for rule, pattern in TOKEN_RULES:
        for match in pattern.finditer(text):
            yield Finding(where, text.count(b"\n", 0, match.start()) + 1, rule, match["s"])
    for rule, pattern in (("password in a URL", URL), ("value of a secret", NAMED)):
        for match in pattern.finditer(text):
            if looks_random(match["s"]):
                yield Finding(where, text.count(b"\n", 0, match.start()) + 1, rule, match["s"])


def git(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["git", "-c", f"safe.directory={folder}", *arguments], cwd=folder, input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"git {arguments[0]} fails in {folder}: {done.stderr.decode().strip()}: run this in a checkout.")
    return done.stdout


def tree(folder: Path) -> Iterator[Tuple[str, bytes]]:
    for name in git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split(b"\0"):
        path = folder / name.decode(errors="surrogateescape")
        if name and path.is_file() and not path.is_symlink():
            if path.stat().st_size > LARGEST:
                print(f"not looked into, over {LARGEST >> 20} MiB: {path.relative_to(folder)}")
            else:
                yield str(path.relative_to(folder)), path.read_bytes()


def history(folder: Path) -> Iterator[Tuple[str, bytes]]:
    """Every version of every file that a branch or a tag has had, once."""
    names: Dict[bytes, bytes] = {}
    for line in git(folder, "rev-list", "--objects", "--all").splitlines():
        identity, _, name = line.partition(b" ")
        if name:
            names.setdefault(identity, name)
    sizes = git(folder, "cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", given=b"\n".join(names) + b"\n")
    wanted = [line.split()[0] for line in sizes.splitlines() if line.split()[1] == b"blob" and int(line.split()[2]) <= LARGEST]
    for start in range(0, len(wanted), 500):
        answer = git(folder, "cat-file", "--batch", given=b"\n".join(wanted[start : start + 500]) + b"\n")
        while answer:
            head, _, answer = answer.partition(b"\n")
            identity, _, size = head.split()
            yield f"{names[identity].decode(errors='replace')} (object {identity.decode()[:12]})", answer[: int(size)]
            answer = answer[int(size) + 1 :]


def allowed(folder: Path) -> Dict[str, str]:
    """Lines of HASH WHY."""
    known = {}
    path = folder / ALLOWED
    for line in path.read_text().splitlines() if path.exists() else []:
        if line and not line.startswith("#"):
            digest, _, why = line.partition(" ")
            if not re.fullmatch(r"[0-9a-f]{16}", digest) or not why.strip():
                sys.exit(f"{ALLOWED}: '{line}' is not 16 hexadecimal digits and a reason.")
            known[digest] = why
    return known


def main() -> int:
    arguments = sys.argv[1:]
    tree_only = "--tree" in arguments
    folders = [argument for argument in arguments if argument != "--tree"]
    if len(folders) > 1 or any(folder.startswith("-") for folder in folders):
        sys.exit(__doc__)
    folder = Path(folders[0] if folders else Path(__file__).resolve().parents[1]).resolve()
    known = allowed(folder)
    seen: Dict[Tuple[str, str], Finding] = {}
    files = versions = 0
    for where, text in tree(folder):
        files += 1
        for finding in findings(where, text):
            seen.setdefault((finding.digest(), finding.rule), finding)
    if not tree_only:
        if git(folder, "rev-parse", "--is-shallow-repository").strip() == b"true":
            print("This checkout has not all of the history: only its part is looked into (git fetch --unshallow).")
        for where, text in history(folder):
            versions += 1
            for finding in findings(where, text):
                seen.setdefault((finding.digest(), finding.rule), finding)
    bad = [finding for finding in seen.values() if finding.digest() not in known]
    for finding in sorted(bad):
        shown = finding.secret[:4].decode(errors="replace").replace("\n", " ")
        print(f"FAIL {finding.where}:{finding.line}: {finding.rule}, {shown}… ({len(finding.secret)} characters, {finding.digest()})")
    if bad:
        print(f"Revoke what is real, take it out of the history (git filter-repo), and only then list in {ALLOWED} what is none.")
    print(f"scan-secrets: {files} files and {versions} versions, {len(seen) - len(bad)} allowed, {len(bad)} found")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
