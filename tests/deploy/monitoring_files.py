"""What is in monitoring/, without running it: numbers and names, alerts and their cases, routes, dashboards."""
import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

import yaml

HOME = Path(__file__).resolve().parents[2]
MONITORING = HOME / "monitoring"
RULES = sorted(p for p in (MONITORING / "rules").glob("*.yml") if not p.stem.endswith("_test"))
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
SEVERITIES = {"critical": "page", "warning": "ticket", "none": "heartbeat"}  # and who gets it
JOB = "practical-production-service"
Check = Callable[..., bool]

# --- PromQL: which series an expression asks for ---

WORDS = {"and", "or", "unless", "by", "on", "ignoring", "without", "offset", "bool", "group_left", "group_right", "inf", "nan"}


def selectors(expr: str) -> Iterator[Tuple[str, str]]:
    """Names of metrics with their matchers ("" when there are none)."""
    quoted: List[str] = []

    def hide(found: "re.Match[str]") -> str:
        quoted.append(found.group(0))
        return f"\x00{len(quoted) - 1}\x00"

    text = re.sub(r'"(?:[^"\\]|\\.)*"', hide, expr)
    text = re.sub(r"\b(by|on|ignoring|without|group_left|group_right)\s*\([^)]*\)", " ", text)
    for found in re.finditer(r"(?<![\w:.\x00])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(\s*\()?", re.sub(r"\[[^\]]*\]", " ", text)):
        name, matchers, call = found.groups()
        if not call and name.lower() not in WORDS:
            yield name, re.sub("\x00(\\d+)\x00", lambda m: quoted[int(m.group(1))], matchers or "")


# --- rules ---


def groups() -> Iterator[Tuple[Path, Dict[str, Any]]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield path, rule


def alerts() -> List[Dict[str, Any]]:
    return [rule for _, rule in groups() if "alert" in rule]


def recorded() -> Set[str]:
    return {rule["record"] for _, rule in groups() if "record" in rule}


def cases() -> Tuple[Set[str], Set[str]]:
    """Alerts that a case has firing, and that one has not."""
    fires: Set[str] = set()
    silent: Set[str] = set()
    for path in sorted((MONITORING / "rules").glob("*_test.yml")):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("promql_expr_test", []):
                name = re.search(r'alertname="(\w+)"', case["expr"])
                (fires if case["exp_samples"] else silent).add(name.group(1) if name else "?")
            for case in test.get("alert_rule_test", []):
                (fires if case.get("exp_alerts") else silent).add(case["alertname"])
    return fires, silent


def check_rules(check: Check) -> None:
    names = [rule["alert"] for rule in alerts()]
    check(len(names) == len(set(names)), f"{len(names)} alerts, each with a name of its own")
    fires, silent = cases()
    check(not set(names) - fires, "each has a case in which it fires", sorted(set(names) - fires) or "")
    check(not set(names) - silent, "and one in which it does not", sorted(set(names) - silent) or "")
    unknown = (fires | silent) - set(names)
    check(not unknown, "there are no cases of other alerts", sorted(unknown) or "")
    wrong = []
    for rule in alerts():
        notes = rule.get("annotations", {})
        if set(notes) != {"summary", "description", "runbook_url"} or rule.get("labels", {}).get("severity") not in SEVERITIES:
            wrong.append(rule["alert"])
        elif notes["runbook_url"] != f"docs/operations.md#{rule['alert'].lower()}":
            wrong.append(rule["alert"])
    check(not wrong, "each says how bad it is, what it means, and where to read on", wrong or "")


def check_runbook(check: Check, skip: Callable[[str], None]) -> None:
    path = HOME / "docs" / "operations.md"
    if not path.exists():
        skip("docs/operations.md is not there: nothing to compare the alerts with")
        return
    text = path.read_text()
    anchors = {re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-") for line in text.splitlines() if line.startswith("#")}
    anchors |= set(re.findall(r'(?:id|name)="([^"]+)"', text))
    missing = [rule["alert"] for rule in alerts() if rule["alert"].lower() not in anchors]
    check(not missing, "docs/operations.md has a section for each alert", missing or "")


def check_prometheus(check: Check) -> None:
    own = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    (job,) = own["scrape_configs"]
    said = (own["global"], job["job_name"], job["metrics_path"], job["scrape_interval"])
    wanted = ({"scrape_interval": "15s", "evaluation_interval": "15s"}, JOB, "/metrics", "5s")
    check(said == wanted, "intervals, job and path (A-111)", said if said != wanted else "")
    check(job["static_configs"] == [{"targets": ["127.0.0.1:8000"]}], "the target is nginx's listener (A-111)")
    files = [f"rules/{p.name}" for p in RULES]
    check(sorted(own["rule_files"]) == files, "all rules are read")
    compose = yaml.safe_load((MONITORING / "prometheus.compose.yml").read_text())
    for config in (own, compose):
        del config["scrape_configs"][0]["static_configs"]
        del config["alerting"]["alertmanagers"][0]["static_configs"]
    check(own == compose, "among containers it is the same but for the targets")


def check_routes(check: Check) -> None:
    path = str(MONITORING / "alertmanager.yml")
    wrong = []
    for rule in alerts():
        severity = rule["labels"]["severity"]
        asked = ["amtool", "config", "routes", "test", f"--config.file={path}", f"alertname={rule['alert']}", f"severity={severity}"]
        got = subprocess.run(asked, capture_output=True, text=True).stdout.split()
        if got != [SEVERITIES[severity]]:
            wrong.append(f"{rule['alert']}: {got}")
    check(not wrong, "each alert goes to who should have it (E-047)", wrong or "")
    text = Path(path).read_text()
    secrets = re.findall(r"^\s*(?:\w*password|\w*_key|credentials|bearer_token)\s*:", text, re.M)
    check(not secrets, "no secret stands in alertmanager.yml", secrets or "")
    names = {rule["alert"] for rule in alerts()}
    told = set()
    for inhibit in yaml.safe_load(text)["inhibit_rules"]:
        for matcher in inhibit["source_matchers"] + inhibit["target_matchers"]:
            label, words = re.match(r'(\w+) *[!=~]+ *"(.*)"', matcher).groups()
            told |= set(words.split("|")) if label == "alertname" else set()
    check(not told - names, "what inhibits, and what is inhibited, exists", sorted(told - names) or "")


# --- dashboards ---


def panels(board: Dict[str, Any]) -> Iterator[Dict[str, Any]]:
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", [])


def overlap(a: Dict[str, int], b: Dict[str, int]) -> bool:
    return a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]


def faults_of(board: Dict[str, Any]) -> List[str]:
    faults = []
    known = {v["name"] for v in board["templating"]["list"]} | {"__rate_interval", "__auto", "__range"}
    ids = [p["id"] for p in panels(board)]
    if len(ids) != len(set(ids)):
        faults.append("two panels have one id")
    for a, b in combinations(board["panels"], 2):
        if overlap(a["gridPos"], b["gridPos"]):
            faults.append(f"{a['title']} and {b['title']} overlap")
    for panel in panels(board):
        at = panel["gridPos"]
        if at["x"] < 0 or at["w"] < 1 or at["x"] + at["w"] > 24 or at["h"] < 1:
            faults.append(f"{panel['title']} is not within 24 columns")
        if panel["type"] == "row":
            continue
        refs = [t["refId"] for t in panel["targets"]]
        if not refs or len(refs) != len(set(refs)):
            faults.append(f"{panel['title']} has no queries, or two of one letter")
        for source in [panel["datasource"], *(t["datasource"] for t in panel["targets"])]:
            if source["uid"] not in ("${datasource}", "${loki}"):
                faults.append(f"{panel['title']} has the data source {source['uid']} of one installation")
        for target in panel["targets"]:
            strange = set(re.findall(r"\$\{?(\w+)", target["expr"])) - known
            if strange:
                faults.append(f"{panel['title']} asks for variables that there are not: {sorted(strange)}")
    return faults


def check_dashboards(check: Check) -> None:
    boards = {path: json.loads(path.read_text()) for path in DASHBOARDS}
    uids = [b["uid"] for b in boards.values()]
    check(len(boards) >= 6 and len(set(uids)) == len(uids) and all(u == f"appcore-{p.stem}" for p, u in zip(boards, uids)),
          f"{len(boards)} dashboards, each with a uid that its file is named by", uids)  # fmt: skip
    for path, board in boards.items():
        faults = faults_of(board)
        check(not faults, f"{path.name}: {len(list(panels(board)))} panels, ids, places, sources and variables", faults or "")
    titles = {p["title"] for p in panels(boards[MONITORING / "grafana" / "dashboards" / "service.json"])}
    wanted = {"Request rate by answer", "Error rate", "Latency p50, p95, p99", "Queue depth"}
    check(wanted <= titles, "the dashboard of the service has rate, errors, latency and queue depth (E-043)", sorted(wanted - titles) or "")
    titles = {p["title"] for p in panels(boards[MONITORING / "grafana" / "dashboards" / "slo.json"])}
    wanted = {"Availability, 30 days", "Error budget remaining", "Burn rate"}
    check(wanted <= titles, "that of service levels has availability, budget and burn rate (E-048)", sorted(wanted - titles) or "")
    for path in (MONITORING / "grafana" / "provisioning").rglob("*.yml"):
        check(yaml.safe_load(path.read_text())["apiVersion"] == 1, f"provisioning/{path.parent.name}/{path.name} is read")


def dashboard_queries() -> Iterator[Tuple[str, str]]:
    """A name and the query, of all panels that ask Prometheus; variables as a viewer has them at first."""
    for path in DASHBOARDS:
        for panel in panels(json.loads(path.read_text())):
            for target in panel.get("targets", []):
                if target["datasource"]["type"] != "prometheus":
                    continue
                expr = target["expr"].replace("$job", JOB).replace("$instance", ".*").replace("$__rate_interval", "30s")
                yield f"{path.stem}: {panel['title']} {target['refId']}", expr


# --- everything that promtool and amtool check ---


def tool_runs() -> List[Tuple[str, List[str]]]:
    tests = [str(p) for p in sorted((MONITORING / "rules").glob("*_test.yml"))]
    return [
        ("promtool accepts prometheus.yml (A-111)", ["promtool", "check", "config", str(MONITORING / "prometheus.yml")]),
        ("promtool accepts prometheus.compose.yml", ["promtool", "check", "config", str(MONITORING / "prometheus.compose.yml")]),
        ("promtool accepts the rules", ["promtool", "check", "rules", *map(str, RULES)]),
        ("amtool accepts alertmanager.yml (E-047)", ["amtool", "check-config", str(MONITORING / "alertmanager.yml")]),
        ("all cases of the rules hold (E-044, E-045, E-046)", ["promtool", "test", "rules", *tests]),
    ]
