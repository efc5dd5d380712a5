"""The reference that `make bench` compares with: the same API as a Python team would write it in good faith.

FastAPI and uvicorn from Debian's packages, two workers, one row per request, committed before the answer; by
DATABASE_URL in SQLite (WAL mode, synchronous=FULL) or in PostgreSQL (asyncpg). Where the idiom leaves a choice, the
faster one was measured and taken (README.md): endpoints are `async def`. On SQLite they use one connection per worker,
because two writers waiting for SQLite's lock beat eighty threads doing so; on PostgreSQL a pool per worker, so that
Python works for other requests while one waits for its commit. Request id, log line and counter are one ASGI
middleware, because the decorator form costs a task group and a stream per request.
"""
import hmac
import json
import logging
import os
import sqlite3
import sys
import time
import uuid
from collections import Counter
from datetime import datetime, timezone
from typing import Any, Dict, List, Optional

from fastapi import Depends, FastAPI, HTTPException, Query, Response, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, Field

API_KEY = os.environ.get("API_KEY", "dev-key-change-in-production")
DATABASE_URL = os.environ.get("DATABASE_URL", "sqlite:///data/predictions.db")
MODEL_VERSION = "v1.0"
COLUMNS = "id, features, result, model_version, created_at"

SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    id TEXT PRIMARY KEY,
    features TEXT NOT NULL,
    result DOUBLE PRECISION NOT NULL,
    model_version TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_predictions_created_at ON predictions (created_at);
"""

started = time.monotonic()
requests_total: Counter = Counter()


# --- log: one JSON object per line ---


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "timestamp": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        return json.dumps(line)


log = logging.getLogger("reference")
log.setLevel(logging.INFO)
log.propagate = False
_handler = logging.StreamHandler(sys.stdout)
_handler.setFormatter(JsonFormatter())
log.addHandler(_handler)


# --- store ---

Row = Dict[str, Any]


class SqliteStore:
    """One connection per worker process."""

    async def open(self) -> None:
        self.db = sqlite3.connect(
            DATABASE_URL[len("sqlite:///") :], timeout=30, isolation_level=None, check_same_thread=False
        )
        self.db.row_factory = sqlite3.Row
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.executescript(SCHEMA)

    async def close(self) -> None:
        self.db.close()

    async def ping(self) -> None:
        self.db.execute("SELECT 1").fetchone()

    async def add(self, *values) -> None:
        # Without an open transaction, one statement is one transaction: it has been committed when execute() returns.
        self.db.execute(f"INSERT INTO predictions ({COLUMNS}) VALUES (?, ?, ?, ?, ?)", values)

    async def get(self, prediction_id: str) -> Optional[Row]:
        row = self.db.execute(f"SELECT {COLUMNS} FROM predictions WHERE id = ?", (prediction_id,)).fetchone()
        return dict(row) if row else None

    async def latest(self, limit: int) -> List[Row]:
        rows = self.db.execute(f"SELECT {COLUMNS} FROM predictions ORDER BY created_at DESC LIMIT ?", (limit,))
        return [dict(row) for row in rows]


class PostgresStore:
    """asyncpg's pool (10 connections) per worker process; it prepares each statement once per connection."""

    async def open(self) -> None:
        import asyncpg  # only here: SQLite's users have no need of it

        self.pool = await asyncpg.create_pool(DATABASE_URL)
        # One worker at a time: IF NOT EXISTS does not keep two from making the same table.
        await self.pool.execute(f"BEGIN; SELECT pg_advisory_xact_lock(1); {SCHEMA} COMMIT")

    async def close(self) -> None:
        await self.pool.close()

    async def ping(self) -> None:
        await self.pool.fetchval("SELECT 1")

    async def add(self, *values) -> None:
        # Without an open transaction, one statement is one transaction: it has been committed when execute() returns.
        await self.pool.execute(f"INSERT INTO predictions ({COLUMNS}) VALUES ($1, $2, $3, $4, $5)", *values)

    async def get(self, prediction_id: str) -> Optional[Row]:
        row = await self.pool.fetchrow(f"SELECT {COLUMNS} FROM predictions WHERE id = $1", prediction_id)
        return dict(row) if row else None

    async def latest(self, limit: int) -> List[Row]:
        rows = await self.pool.fetch(f"SELECT {COLUMNS} FROM predictions ORDER BY created_at DESC LIMIT $1", limit)
        return [dict(row) for row in rows]


store = SqliteStore() if DATABASE_URL.startswith("sqlite:") else PostgresStore()


# --- shapes ---


class PredictRequest(BaseModel):
    features: List[float] = Field(..., min_items=1)


class PredictResponse(BaseModel):
    prediction_id: str
    result: float
    model_version: str
    created_at: str


# --- application ---

app = FastAPI(title="Practical Production Service", version="0.1.0")
header = APIKeyHeader(name="X-API-Key", auto_error=False)


@app.on_event("startup")
async def startup() -> None:
    await store.open()


@app.on_event("shutdown")
async def shutdown() -> None:
    await store.close()


async def require_key(key: Optional[str] = Security(header)) -> str:
    if not key:
        raise HTTPException(401, "Missing API key. Include X-API-Key header.")
    if not hmac.compare_digest(key.encode(), API_KEY.encode()):
        raise HTTPException(403, "Invalid API key.")
    return "default-user"


@app.get("/health")
async def health():
    await store.ping()
    return {
        "status": "healthy",
        "timestamp": datetime.now(timezone.utc).isoformat(),
        "checks": {"model_loaded": True, "uptime_seconds": round(time.monotonic() - started, 2)},
    }


@app.get("/version")
async def version():
    return {"version": "0.1.0", "api_version": "v1", "model_version": MODEL_VERSION}


@app.post("/predict", status_code=201, response_model=PredictResponse)
async def predict(body: PredictRequest, user: str = Depends(require_key)):
    response = PredictResponse(
        prediction_id=str(uuid.uuid4()),
        result=sum(body.features) / len(body.features),
        model_version=MODEL_VERSION,
        created_at=datetime.now(timezone.utc).isoformat(),
    )
    await store.add(
        response.prediction_id,
        json.dumps(body.features),
        response.result,
        response.model_version,
        response.created_at,
    )
    return response


@app.get("/predictions")
async def list_predictions(limit: int = Query(10, ge=0, le=1000)):
    return await store.latest(limit)


@app.get("/predictions/{prediction_id}")
async def get_prediction(prediction_id: str):
    row = await store.get(prediction_id)
    if row is None:
        raise HTTPException(404, "Prediction not found")
    return row


@app.get("/metrics")
async def metrics():
    lines = ["# HELP http_requests_total Total HTTP requests", "# TYPE http_requests_total counter"]
    for (method, endpoint, status), n in sorted(requests_total.items()):
        lines.append(
            f'http_requests_total{{method="{method}",endpoint="{endpoint}",status_code="{status}"}} {float(n)}'
        )
    return Response("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")


class Observe:
    """Request id, counter and log line of every request."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begun = time.perf_counter()
        status = 500
        request_id = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1") or str(uuid.uuid4())

        async def send_with_id(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode("latin-1")))
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - begun
            method, path = scope["method"], scope["path"]
            route = scope.get("route")
            requests_total[method, route.path if route else "unknown", status] += 1
            log.info(
                "%s %s → %d (%.3fs)",
                method,
                path,
                status,
                seconds,
                extra={
                    "fields": {
                        "request_id": request_id,
                        "method": method,
                        "path": path,
                        "status_code": status,
                        "duration_ms": round(seconds * 1000, 2),
                    }
                },
            )


app.add_middleware(Observe)
