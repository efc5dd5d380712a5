#!/usr/bin/python3
"""Clients of a service on this machine, over TLS, until SIGTERM; then what they were told goes to standard output as JSON.

  load.py KEY-FILE [--fresh N] [--kept N] [--tokens USER PASSWORD] [--base N] [--pause S]

--fresh: a connection for each request. A failure is a failure. --kept: connections that stay; nginx may close one just as
the client sends on it (RFC 9112, section 9.3.1), so these try again with their Idempotency-Key, as clients should. --tokens:
one that logs in again and again and shows every token it still has to whichever instance answers."""
import argparse
import http.client
import json
import random
import signal
import ssl
import threading
import time
from typing import Dict, List, Tuple

RETRY_S = 20.0
TIMEOUT_S = 20.0
ending = threading.Event()
context = ssl._create_unverified_context()
told: List[Tuple[str, float, float]] = []  # id, value, when
failed: List[str] = []
seconds: List[Tuple[float, float]] = []  # when it began, how long it took
retries = [0]
logins = [0]


def connect() -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("127.0.0.1", 443, timeout=TIMEOUT_S, context=context)


def ask(connection: http.client.HTTPSConnection, method: str, path: str, body: object, headers: Dict[str, str]) -> Tuple[int, bytes]:
    try:
        connection.request(method, path, body, headers)
        got = connection.getresponse()
        return got.status, got.read()
    except (OSError, http.client.HTTPException) as why:
        connection.close()
        return 0, repr(why).encode()


def predict(number: int, key: str, kept: bool, pause: float) -> None:
    connection = connect()
    headers = {"X-API-Key": key, "Content-Type": "application/json"}
    n = 0
    while not ending.is_set():
        n += 1
        value = number * 10_000_000 + n + 0.25
        if kept:
            headers["Idempotency-Key"] = f"{time.time_ns()}-{number}-{n}"
        began = time.monotonic()
        while True:
            status, body = ask(connection, "POST", "/predict", json.dumps({"features": [value, value + 1]}), headers)
            # Only a connection that ended before there was an answer is tried again.
            if status != 0 or not kept or time.monotonic() - began > RETRY_S:
                break
            retries[0] += 1
        seconds.append((began, time.monotonic() - began))
        if status == 201:
            told.append((json.loads(body)["prediction_id"], value, time.monotonic()))
        else:
            failed.append(f"{status} {body[:160].decode(errors='replace')}")
        if not kept:
            connection.close()
        ending.wait(pause)
    connection.close()


def use_tokens(user: str, password: str) -> None:
    tokens: List[str] = []
    login_form = f"username={user}&password={password}"
    while not ending.is_set():
        connection = connect()
        status, body = ask(connection, "POST", "/api/v1/auth/login", login_form, {"Content-Type": "application/x-www-form-urlencoded"})
        if status == 200:
            logins[0] += 1
            tokens.append(json.loads(body)["access_token"])
            tokens = tokens[:1] + tokens[1:][-6:]  # the first of all, too
        else:
            failed.append(f"login: {status} {body[:160].decode(errors='replace')}")
        connection.close()
        for token in random.sample(tokens, len(tokens)):
            connection = connect()
            status, body = ask(connection, "GET", "/api/v1/users/me", None, {"Authorization": f"Bearer {token}"})
            connection.close()
            if status != 200:
                failed.append(f"token: {status} {body[:160].decode(errors='replace')}")
        ending.wait(0.3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("key_file")
    parser.add_argument("--fresh", type=int, default=0)
    parser.add_argument("--kept", type=int, default=0)
    parser.add_argument("--tokens", nargs=2)
    parser.add_argument("--base", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.02)
    options = parser.parse_args()
    with open(options.key_file) as file:
        key = file.read().strip()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    threads = [threading.Thread(target=predict, args=(options.base + i, key, i >= options.fresh, options.pause), daemon=True)
               for i in range(options.fresh + options.kept)]  # fmt: skip
    if options.tokens:
        threads.append(threading.Thread(target=use_tokens, args=tuple(options.tokens), daemon=True))
    for thread in threads:
        thread.start()
    while not ending.wait(0.2):
        pass
    for thread in threads:
        thread.join(TIMEOUT_S + RETRY_S)
    print(json.dumps({"told": told, "failed": failed, "seconds": seconds, "retries": retries[0], "logins": logins[0]}))


if __name__ == "__main__":
    main()
