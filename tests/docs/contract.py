#!/usr/bin/env python3
"""Calls every operation of the document and holds the answers against it.

    contract.py openapi.json CERTIFICATE BASE-URL KEY ADMIN-KEY URL-OF-A-LIMITED-SERVICE

Of each answer: the status is described, the media type and the headers are as described, the body fits the schema, and has
no member that the schema does not name. Every operation is called with success at least once, and what it refuses where a
line below asks for it. One line for each operation: "ok NAME" or "FAIL NAME: WHY".
"""
import http.client
import json
import ssl
import sys
import time
import urllib.parse

import jsonschema

METHODS = ("get", "put", "post", "delete", "patch")


class Document:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.whole = json.load(file)
        self.operations = {}
        for path, item in self.whole["paths"].items():
            for method in METHODS:
                if method in item:
                    self.operations[item[method]["operationId"]] = (method.upper(), path, item[method])
        self.components = closed(self.whole["components"])
        self.validators = {}

    def resolve(self, node):
        while "$ref" in node:
            found = self.whole
            for part in node["$ref"].split("/")[1:]:
                found = found[part]
            node = found
        return node

    def faults(self, schema, value):
        text = json.dumps(schema, sort_keys=True)
        if text not in self.validators:
            whole = dict(closed(schema), components=self.components)
            self.validators[text] = jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())
        return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in self.validators[text].iter_errors(value)]


def closed(node):
    """Objects have the members that are named and no others, unless the schema says so itself."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: value if key in ("example", "examples", "enum") else closed(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node and node.get("type") != "string":
        node["additionalProperties"] = False
    return node


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.type = (headers.get("content-type") or "").split(";")[0].strip()
        self.value = json.loads(body) if self.type == "application/json" else body.decode("utf-8", "replace")


class Service:
    """Calls by operationId, and remembers what was wrong with the answers."""

    def __init__(self, document, base, certificate):
        self.document = document
        self.url = urllib.parse.urlsplit(base)
        self.tls = ssl.create_default_context(cafile=certificate)
        self.called, self.succeeded, self.wrong = {}, set(), {}

    def send(self, method, path, headers, body, first_bytes):
        connection = http.client.HTTPSConnection(self.url.hostname, self.url.port, context=self.tls, timeout=60)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            # A stream has no end: its beginning is read.
            data = response.read1(first_bytes) if first_bytes else response.read()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, data)
        finally:
            connection.close()

    def call(self, name, expect, /, *, json_body=None, form=None, raw=None, query=None, headers=None, first_bytes=0, **path):
        """Sends the operation; `path` fills the variables of its path. The answer's status should be `expect` (None: any)."""
        method, pattern, operation = self.document.operations[name]
        url = pattern
        for variable, value in path.items():
            assert "{" + variable + "}" in url, (name, variable)
            url = url.replace("{" + variable + "}", urllib.parse.quote(str(value), safe=""))
        assert "{" not in url, (name, url)
        if query:
            url += "?" + urllib.parse.urlencode(query)
        headers = dict(headers or {})
        body = None
        if json_body is not None:
            body = json.dumps(json_body).encode()
            headers.setdefault("Content-Type", "application/json")
        elif form is not None:
            body = urllib.parse.urlencode(form).encode()
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        elif raw is not None:
            body = raw
        answer = self.send(method, url, headers, body, first_bytes)
        faults = self.judge(operation, answer)
        if expect is not None and answer.status != expect:
            faults.append(f"{method} {url}: {answer.status} and not {expect}: {answer.body[:200]!r}")
        self.called.setdefault(name, set()).add(answer.status)
        if 200 <= answer.status < 300:
            self.succeeded.add(name)
        self.wrong.setdefault(name, []).extend(f"{answer.status}: {fault}" for fault in faults)
        return answer

    def judge(self, operation, answer):
        responses = operation["responses"]
        response = responses.get(str(answer.status)) or responses.get(f"{answer.status // 100}XX")
        if response is None:
            return [f"the status is not described; it said {answer.body[:200]!r}"]
        response = self.document.resolve(response)
        faults = []
        for name, header in response.get("headers", {}).items():
            header = self.document.resolve(header)
            value = answer.headers.get(name.lower())
            if value is None:
                if header.get("required"):
                    faults.append(f"the header {name} is missing")
                continue
            if header["schema"].get("type") == "integer":
                value = int(value)
            faults += [f"the header {name}: {fault}" for fault in self.document.faults(header["schema"], value)]
        content = response.get("content", {})
        if not content:
            if answer.body:
                faults.append(f"a body that is not described: {answer.body[:200]!r}")
            return faults
        if answer.type not in content:
            return faults + [f"the media type {answer.type!r} is not described"]
        schema = content[answer.type].get("schema", {})
        return faults + self.document.faults(schema, answer.value)


def until(condition, seconds=120):
    """The condition's first answer that is true."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result or time.monotonic() > end:
            return result
        time.sleep(0.05)


def call_service(service):
    call = service.call
    for name in ("getRoot", "getHealth", "getVersion", "getLive", "getReady", "getHealthV1", "getVersionV1", "getLiveV1",
                 "getReadyV1", "getMetrics", "getEdgeHealth", "getDescription", "getDocs"):
        call(name, 200)
    etag = call("getDescription", 200).headers["etag"]
    call("getDescription", 304, headers={"If-None-Match": etag})


def call_predictions(service, key):
    call, known = service.call, {"X-API-Key": key}
    made = call("predict", 201, json_body={"features": [1, 2, "3", True]}, headers=known).value
    repeated = {"X-API-Key": key, "Idempotency-Key": "contract"}
    call("predict", 201, json_body={"features": [1]}, headers=repeated)
    call("predict", 201, json_body={"features": [1]}, headers=repeated)
    call("predict", 422, json_body={"features": [2]}, headers=repeated)
    call("predict", 422, json_body={"features": ["x", None, 1e300]}, headers=known)
    call("predict", 422, raw=b"{", headers=dict(known, **{"Content-Type": "application/json"}))
    call("predict", 401, json_body={"features": [1]})
    call("predict", 403, json_body={"features": [1]}, headers={"X-API-Key": "none"})
    call("predict", 413, raw=b" " * (1 << 20 | 1), headers=known)
    call("predictV1", 201, json_body={"features": [1.5]}, headers=known)
    call("predictV1", 422, json_body={}, headers=known)
    call("predictV1", 415, raw=b"features", headers=dict(known, **{"Content-Type": "text/plain"}))
    call("listPredictions", 200, query={"limit": 3})
    call("listPredictions", 422, query={"limit": "x"})
    call("getPrediction", 200, prediction_id=made["prediction_id"])
    call("getPrediction", 404, prediction_id="none")
    page = call("listPredictionsV1", 200, query={"limit": 1, "model_name": "mean", "created_from": "2020-01-01T00:00:00Z"}).value
    call("listPredictionsV1", 200, query={"cursor": page["next_cursor"]})
    call("listPredictionsV1", 422, query={"cursor": "none"})
    call("getPredictionV1", 200, prediction_id=made["prediction_id"])
    call("getPredictionV1", 404, prediction_id="none")


def call_models(service, key):
    call, known = service.call, {"X-API-Key": key}
    models = call("listModels", 200)
    call("listModels", 304, headers={"If-None-Match": models.headers["etag"]})
    call("getModel", 404, name="none")
    call("getModelVersion", 404, name="mean", version="none")
    for model in models.value["models"]:
        name = model["name"]
        call("getModel", 200, name=name)
        for version in model["versions"]:
            told = call("getModelVersion", 200, name=name, version=version["version"])
            call("getModelVersion", 304, name=name, version=version["version"], headers={"If-None-Match": told.headers["etag"]})
            call("getInferenceModelVersion", 200, name=name, version=version["version"])
            call("getInferenceModelVersionReady", 200, name=name, version=version["version"])
            one = {"text": "I love it"} if told.value["output"]["type"] == "binary" else {"features": [1, 2, 3]}
            call("predictWithModel", 201, name=name, json_body=one, headers=known)
            call("predictWithModelVersion", 201, name=name, version=version["version"], json_body={"instances": [one, one]},
                 headers=known)
    call("predictWithModel", 201, name="mean", json_body={"features": [1]}, headers=dict(known, **{"Idempotency-Key": "m"}))
    call("predictWithModel", 201, name="mean", json_body={"features": [1]}, headers=dict(known, **{"Idempotency-Key": "m"}))
    call("predictWithModel", 422, name="mean", json_body={"text": "x", "features": [1]}, headers=known)
    call("predictWithModel", 404, name="none", json_body={"features": [1]}, headers=known)
    call("predictWithModel", 415, name="mean", raw=b"x", headers=dict(known, **{"Content-Type": "text/plain"}))
    call("predictWithModelVersion", 401, name="mean", version="v1.0", json_body={})


def call_inference(service, key, admin):
    call, known = service.call, {"Authorization": f"Bearer {key}"}
    tensor = {"name": "features", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}
    for name in ("getInferenceServer", "getInferenceLive", "getInferenceReady"):
        call(name, 200)
    call("getInferenceModel", 200, name="mean")
    call("getInferenceModel", 404, name="none")
    call("getInferenceModelReady", 200, name="mean")
    call("infer", 200, name="mean", json_body={"id": "1", "inputs": [tensor]}, headers=known)
    call("infer", 200, name="mean", headers=known, json_body={
        "inputs": [tensor], "outputs": [{"name": "result", "parameters": {"binary_data": True}}, {"name": "prediction_id"}]})
    call("infer", 400, name="mean", json_body={"inputs": []}, headers=known)
    call("infer", 401, name="mean", json_body={})
    call("infer", 403, name="mean", json_body={}, headers={"X-API-Key": "none"})
    call("infer", 415, name="mean", raw=b"x", headers=dict(known, **{"Content-Type": "text/plain"}))
    call("inferWithVersion", 200, name="mean", version="v1.0", json_body={"inputs": [tensor]}, headers=known)
    call("inferWithVersion", 404, name="mean", version="none", json_body={"inputs": [tensor]}, headers=known)
    call("listRepository", 200, json_body={})
    call("listRepository", 200, json_body={"ready": True})
    call("listRepository", 400, json_body=[])
    named = service.call("listModels", 200).value["models"]
    other = next(model["name"] for model in named if model["name"] != "mean")
    call("unloadModel", 200, name=other, json_body={}, headers={"X-API-Key": admin})
    call("loadModel", 200, name=other, json_body={}, headers={"X-API-Key": admin})
    call("loadModel", 403, name=other, json_body={}, headers=known)
    call("loadModel", 404, name="none", json_body={}, headers={"X-API-Key": admin})


def call_accounts(service, key):
    """A user's token, after everything that accounts do."""
    call = service.call
    person = {"username": "describer", "email": "describer@example.com", "password": "testpass123"}
    call("register", 201, json_body=person)
    call("register", 400, json_body=person)
    call("register", 422, json_body={"username": "x", "email": "bad", "password": 1})
    call("register", 415, raw=b"x", headers={"Content-Type": "text/plain"})
    form = {"username": "describer", "password": "testpass123"}
    call("login", 401, form=dict(form, password="wrong"))
    call("login", 403, form=form, headers={"Sec-Fetch-Site": "cross-site"})
    call("login", 422, form={"username": "a", "grant_type": "x"})
    call("login", 422, json_body=form)
    call("login", 200, form=form)
    long = call("login", 200, form=dict(form, grant_type="password", scope="offline_access")).value
    call("refresh", 200, form={"grant_type": "refresh_token", "refresh_token": long["refresh_token"]})
    call("refresh", 401, form={"refresh_token": long["refresh_token"]})
    call("refresh", 422, form={})
    known = token_of(service)
    for name in ("getMe", "getProtected"):
        call(name, 200, headers=known)
        call(name, 401)
        call(name, 401, headers={"Authorization": "Bearer none"})
        call(name, 401, headers={"X-API-Key": "none"})
        call(name, 403, headers={"X-API-Key": key})
    call("changeMe", 200, json_body={"email": "other@example.com", "current_password": "testpass123"}, headers=known)
    call("changeMe", 422, json_body={"password": "short"}, headers=known)
    call("changeMe", 400, json_body={"password": "testpass124", "current_password": "wrong"}, headers=known)
    call("changeMe", 200, json_body={"password": "testpass123", "current_password": "testpass123"}, headers=known)
    call("changeMe", 401, json_body={})
    call("logout", 204, headers=known)
    call("logout", 401, headers=known)
    return token_of(service)


def token_of(service):
    tokens = service.call("login", 200, form={"username": "describer", "password": "testpass123"}).value
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def call_keys(service, known):
    call = service.call
    made = call("makeMyKey", 201, json_body={"name": "laptop", "expires_in_days": 90}, headers=known).value
    call("makeMyKey", 201, json_body={"name": "server"}, headers=known)
    call("makeMyKey", 409, json_body={"name": "laptop"}, headers=known)
    call("makeMyKey", 422, json_body={"name": "", "expires_in_days": 0}, headers=known)
    call("makeMyKey", 415, raw=b"x", headers=dict(known, **{"Content-Type": "text/plain"}))
    call("makeMyKey", 401, json_body={})
    call("listMyKeys", 200, headers=known)
    call("getMe", 200, headers={"X-API-Key": made["key"]})
    call("changeMe", 403, json_body={}, headers={"X-API-Key": made["key"]})
    call("makeMyKey", 403, json_body={}, headers={"X-API-Key": made["key"]})
    call("logout", 400, headers={"X-API-Key": made["key"]})
    call("logout", 403, query={"all": "true"}, headers={"X-API-Key": made["key"]})
    call("predict", 403, json_body={"features": [1]}, headers={"X-API-Key": made["key"]})
    call("revokeMyKey", 204, key_id=made["id"], headers=known)
    call("revokeMyKey", 404, key_id="none", headers=known)
    call("getMe", 401, headers={"X-API-Key": made["key"]})
    call("logout", 401, headers={"X-API-Key": made["key"]})


def call_sentiment(service, known):
    call = service.call
    call("analyze", 200, json_body={"text": "I love this product!"}, headers=known)
    repeated = dict(known, **{"Idempotency-Key": "analyze"})
    call("analyze", 200, json_body={"text": "x"}, headers=repeated)
    call("analyze", 200, json_body={"text": "x"}, headers=repeated)
    call("analyze", 422, json_body={"text": "y"}, headers=repeated)
    call("analyze", 422, json_body={}, headers=known)
    call("analyze", 401, json_body={})
    call("analyze", 401, json_body={}, headers={"X-API-Key": "none"})
    call("analyze", 413, raw=b" " * (1 << 20 | 1), headers=dict(known, **{"Content-Type": "application/json"}))
    call("analyze", 415, raw=b"x", headers=dict(known, **{"Content-Type": "text/plain"}))
    call("analyzeBatch", 422, json_body={"texts": [1, "x", None]}, headers=known)
    call("analyzeBatch", 401, json_body={})
    batch = call("analyzeBatch", 202, json_body={"texts": ["I love it", "Waste of money", ""]}, headers=known).value
    done = until(lambda: call("getBatch", 200, task_id=batch["task_id"], headers=known).value["status"] == "completed")
    if not done:
        service.wrong["getBatch"].append("the batch does not end")
    page = call("getBatch", 200, task_id=batch["task_id"], query={"limit": 1}, headers=known).value
    call("getBatch", 200, task_id=batch["task_id"], query={"limit": 1, "cursor": page["next_cursor"]}, headers=known)
    call("getBatch", 404, task_id="none", headers=known)
    call("getBatch", 422, task_id=batch["task_id"], query={"limit": "x"}, headers=known)
    call("listAnalyses", 200, headers=known)
    page = call("listAnalyses", 200, query={"limit": 1}, headers=known)
    call("listAnalyses", 200, query={"cursor": page.headers["x-next-cursor"], "limit": 1}, headers=known)
    call("listAnalyses", 422, query={"cursor": "none"}, headers=known)


def call_tasks(service, known):
    call = service.call
    added = call("addTask", 202, json_body={"kind": "echo", "payload": {"a": [1, "x"]}, "priority": 1}, headers=known).value
    until(lambda: call("getTask", 200, task_id=added["task_id"], headers=known).value["status"] == "completed")
    repeated = dict(known, **{"Idempotency-Key": "task"})
    later = call("addTask", 202, json_body={"kind": "sentiment", "payload": {"text": "x"}, "delay_seconds": 3600}, headers=repeated).value
    call("addTask", 202, json_body={"kind": "sentiment", "payload": {"text": "x"}, "delay_seconds": 3600}, headers=repeated)
    call("addTask", 422, json_body={"kind": "none", "priority": "x", "more": 1}, headers=known)
    call("addTask", 403, json_body={"kind": "backup"}, headers=known)
    call("addTask", 401, json_body={})
    call("addTask", 415, raw=b"x", headers=dict(known, **{"Content-Type": "text/plain"}))
    page = call("listTasks", 200, query={"limit": 1}, headers=known).value
    call("listTasks", 200, query={"cursor": page["next_cursor"], "status": "completed", "kind": "echo"}, headers=known)
    call("listTasks", 403, query={"all": "true"}, headers=known)
    call("listTasks", 422, query={"status": "none"}, headers=known)
    call("getTask", 404, task_id="none", headers=known)
    call("listenToTask", 200, task_id=later["task_id"], headers=known, first_bytes=64)
    ended = call("listenToTask", 200, task_id=added["task_id"], headers=known).value
    event = dict(line.split(": ", 1) for line in ended.splitlines() if ": " in line)
    faults = service.document.faults({"$ref": "#/components/schemas/Task"}, json.loads(event["data"]))
    service.wrong["listenToTask"] += [f"an event: {fault}" for fault in faults]
    call("listenToTask", 204, task_id=added["task_id"], headers=dict(known, **{"Last-Event-ID": event["id"]}))
    call("listenToTask", 404, task_id="none", headers=known)
    call("listenToTasks", 200, query={"last_event_id": "0-" + added["task_id"]}, headers=known, first_bytes=64)
    call("listenToTasks", 422, query={"last_event_id": "none"}, headers=known)
    call("listenToTasks", 401)
    call("cancelTask", 200, task_id=later["task_id"], headers=known)
    call("cancelTask", 409, task_id=added["task_id"], headers=known)
    call("cancelTask", 404, task_id="none", headers=known)


def call_data(service, known):
    call = service.call
    call("listPipelines", 200, headers=known)
    call("getPipeline", 200, name="dataflow", headers=known)
    call("getPipeline", 404, name="none", headers=known)
    run = call("startRun", 202, json_body={"pipeline": "dataflow", "file": "contract.csv"}, headers=known).value["run_id"]
    call("startRun", 422, json_body={"pipeline": "none", "file": "../x", "more": 1}, headers=known)
    call("startRun", 401, json_body={})
    until(lambda: call("getRun", 200, run_id=run, headers=known).value["state"] == "completed")
    call("getRun", 404, run_id="none", headers=known)
    page = call("listRuns", 200, query={"limit": 1, "state": "completed", "pipeline": "dataflow"}, headers=known).value
    if [item["run_id"] for item in page["runs"]] != [run]:
        service.wrong["listRuns"].append(f"the run is not listed: {page}")
    call("listRuns", 422, query={"state": "none"}, headers=known)
    errors = call("listRunErrors", 200, run_id=run, headers=known).value["errors"]
    if len(errors) != 1:
        service.wrong["listRunErrors"].append(f"one row was refused: {errors}")
    call("listRunErrors", 200, run_id=run, query={"format": "csv"}, headers=known)
    call("listRunErrors", 404, run_id="none", headers=known)
    call("listRunErrors", 422, run_id=run, query={"limit": 0}, headers=known)
    call("listenToRun", 200, run_id=run, headers=known)
    call("listenToRun", 404, run_id="none", headers=known)
    for name in ("pauseRun", "resumeRun", "cancelRun"):
        call(name, 409, run_id=run, headers=known)
        call(name, 404, run_id="none", headers=known)
    # One that nobody works on (contract.sh).
    waiting = f"01a1fbae-7d4e-7c3a-9a51-{call('getMe', 200, headers=known).value['id']:012d}"
    call("pauseRun", 200, run_id=waiting, headers=known)
    call("cancelRun", 200, run_id=waiting, headers=known)
    call("resumeRun", 200, run_id=waiting, headers=known)
    again = call("retryRun", 202, run_id=run, headers=known).value["run_id"]
    call("retryRun", 404, run_id="none", headers=known)
    until(lambda: call("getRun", 200, run_id=again, headers=known).value["state"] in ("completed", "failed"))
    call("listRecords", 422, query={"pipeline": "dataflow", "value.gte": "much"}, headers=known)
    call("listRecords", 404, query={"pipeline": "none"}, headers=known)
    page = call("listRecords", 200, query={"pipeline": "dataflow", "value.lt": 3, "sort": "-value", "limit": 1}, headers=known).value
    if [record["id"] for record in page["records"]] != ["1"]:
        service.wrong["listRecords"].append(f"a condition chose {page}")
    call("listRecords", 401, query={"pipeline": "dataflow"})
    call("getRecord", 200, key="1", query={"pipeline": "dataflow"}, headers=known)
    call("getRecord", 404, key="none", headers=known)
    call("getAggregates", 200, query={"pipeline": "dataflow", "field": "value", "by": "category"}, headers=known)
    call("getAggregates", 422, query={"pipeline": "dataflow", "quantiles": "2"}, headers=known)
    for form in ("csv", "jsonl", "json"):
        call("exportRecords", 200, query={"pipeline": "dataflow", "format": form}, headers=known)
    call("exportRecords", 422, query={"pipeline": "dataflow", "format": "xml"}, headers=known)
    for name, headers in (("", {}), ("DataFlow", known)):
        call("listData" + name, 200, query={"status": "failed"}, headers=headers)
        call("listData" + name, 422, query={"page": 0}, headers=headers)
        call("getData" + name, 200, record_id="1", headers=headers)
        call("getData" + name, 404, record_id="none", headers=headers)
        call("processData" + name, 200, headers=headers)
    call("getDataDataFlow", 403, record_id="1")
    call("getDataDataFlow", 401, record_id="1", headers={"Authorization": "Bearer none"})
    for name in ("getDataFlowHealth", "getSystemHealth", "getDatabaseHealth"):
        call(name, 200)


def call_files(service, known):
    call = service.call
    made = call("createExport", 202, json_body={"pipeline": "dataflow", "format": "csv"}, headers=known).value["export_id"]
    call("createExport", 422, json_body={"pipeline": "dataflow", "format": "xml"}, headers=known)
    call("createExport", 401, json_body={"pipeline": "dataflow"})
    until(lambda: call("getExport", 200, export_id=made, headers=known).value["state"] == "completed")
    call("getExport", 404, export_id="none", headers=known)
    call("downloadExport", 200, export_id=made, headers=known)
    call("downloadExport", 404, export_id="none", headers=known)
    piece = known | {"Content-Type": "application/offset+octet-stream"}
    upload = call("createUpload", 201, json_body={"name": "a.csv", "bytes": 6}, headers=known).value["upload_id"]
    call("createUpload", 422, json_body={"name": "../a.csv", "bytes": 6}, headers=known)
    call("createUpload", 401, json_body={"name": "a.csv", "bytes": 6})
    call("continueUpload", 204, upload_id=upload, raw=b"abc", headers=piece | {"Upload-Offset": "0"})
    call("continueUpload", 409, upload_id=upload, raw=b"abc", headers=piece | {"Upload-Offset": "0"})
    call("continueUpload", 404, upload_id="none", raw=b"abc", headers=piece | {"Upload-Offset": "0"})
    call("getUpload", 200, upload_id=upload, headers=known)
    call("getUpload", 404, upload_id="none", headers=known)
    call("deleteUpload", 204, upload_id=upload, headers=known)
    call("deleteUpload", 404, upload_id="none", headers=known)
    whole = call("uploadFile", 201, raw=b"id,value\n1,2\n", query={"name": "b.csv"}, headers=known).value["upload_id"]
    call("uploadFile", 422, raw=b"id", query={"name": "../b.csv"}, headers=known)
    for name in ("downloadFile", "downloadFileV1"):
        answer = call(name, 200, file_id=whole, headers=known)
        if answer.body != b"id,value\n1,2\n":
            service.wrong[name].append(f"another file comes back: {answer.body!r}")
        call(name, 404, file_id="none", headers=known)


def call_limited(service):
    """A service that allows next to nothing."""
    call = service.call
    person = {"username": "limited", "email": "limited@example.com", "password": "testpass123"}
    for name, arguments, good in (("getVersion", {}, 200), ("register", {"json_body": person}, 201),
                                  ("getInferenceServer", {}, 200)):
        statuses = [call(name, None, **arguments).status for _ in range(4)]
        if statuses[0] not in (good, 429) or statuses[-1] != 429:
            service.wrong[name].append(f"a limit of one gives {statuses}")
    form = {"username": "limited", "password": "wrong"}
    if not until(lambda: call("login", None, form=form).status == 429):
        service.wrong["login"].append("failures are not limited")


def prove(document):
    """What the checks are for has to be found in answers that are made up."""
    service = Service(document, "https://localhost:1", None)
    operation = document.operations["predict"][2]
    good = {"prediction_id": "01a1fbae-7d4e-7c3a-9a51-1b2f6f0c9d11", "result": 1.0, "model_version": "v", "created_at": "t"}
    json_type = {"content-type": "application/json", "x-request-id": "1"}

    def judged(status, value, headers=json_type):
        return bool(service.judge(operation, Answer(status, headers, json.dumps(value).encode())))

    made_up = [judged(201, good), not judged(201, dict(good, more=1)), not judged(201, dict(good, result="1")),
               not judged(201, {}), not judged(418, {}), not judged(201, good, dict(json_type, **{"content-type": "text/plain"})),
               not judged(201, good, {"content-type": "application/json"}), not judged(429, {"detail": "x"}),
               judged(401, {"detail": "x"}), not judged(401, {"error": "x"}), not judged(401, [])]
    print("FAIL a made-up answer is not judged as it should be" if any(made_up) else "ok made-up answers are refused")


def main(path, certificate, base, key, admin, limited):
    document = Document(path)
    prove(document)
    service = Service(document, base, certificate)
    call_service(service)
    call_predictions(service, key)
    call_models(service, key)
    call_inference(service, key, admin)
    known = call_accounts(service, key)
    call_keys(service, known)
    call_sentiment(service, known)
    call_tasks(service, known)
    call_data(service, known)
    call_files(service, known)
    service.url = urllib.parse.urlsplit(limited)
    call_limited(service)
    bad = 0
    for name in document.operations:
        wrong = service.wrong.get(name, [])
        if name not in service.succeeded:
            wrong = wrong + ["it was not called with success"]
        bad += bool(wrong)
        print(f"FAIL {name}: {'; '.join(wrong)[:700]}" if wrong else
              f"ok {name}: {', '.join(map(str, sorted(service.called[name])))}")
    return bad > 0


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
