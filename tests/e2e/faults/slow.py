#!/usr/bin/python3
"""Slow clients and floods: another client is served normally.

slowhttptest with slow headers and slow bodies; a flood from an address that has the default limits (wrk over IPv6 or
another address of this machine); half FastCGI requests on a worker's socket, which must hold no thread."""
import http.client
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import threading
import time

from harness import SECONDS, Check, Load, Service, compare, describe, note, request, run, skip, wait_for

from fcgi_client import Connection, records  # harness has put its folder on the path

NORMAL_P95_S = 8.0  # milliseconds on an idle machine; half requests are closed after ten seconds
OTHER = "127.0.0.3"  # where the client that is served normally comes from


class Visitor:
    """One client with a normal rhythm; a new connection for each request, so that it needs what the others take."""

    def __init__(self, service: Service):
        self.service, self.answers, self.ending = service, [], threading.Event()
        self.thread = threading.Thread(target=self._visit, daemon=True)

    def _visit(self) -> None:
        while not self.ending.is_set():
            # The direct port has no limits of nginx, and is not where the slow ones are: use the clear one as they do.
            self.answers.append(request(self.service.http, "GET", "/version", source=OTHER))
            self.ending.wait(0.7)  # below 100 a minute

    def __enter__(self) -> "Visitor":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self.thread.join(90)

    def comes(self) -> None:
        """Until it has been there some times."""
        wait_for(lambda: len(self.answers) >= 4, 60)

    def judge(self, check: Check, while_what: str) -> None:
        bad = [(a.status, a.body[:80]) for a in self.answers if a.status != 200]
        seconds = sorted(a.seconds for a in self.answers)
        p95 = seconds[int(len(seconds) * 0.95) - 1 if len(seconds) > 1 else 0]
        check(not bad and len(seconds) >= 4, f"{while_what}: another client is served", bad[:3] if bad else f"{len(seconds)} requests")
        check(p95 < NORMAL_P95_S, f"{while_what}: and normally", f"median {statistics.median(seconds) * 1e3:.0f} ms, p95 {p95 * 1e3:.0f} ms")


def slow_http(check: Check, service: Service, seconds: int) -> None:
    if not shutil.which("slowhttptest"):
        skip("slowhttptest is not installed")
        return
    kinds = {
        "slow headers": ["-H", "-i", "2"],
        "slow bodies": ["-B", "-i", "2", "-s", "8192", "-t", "POST"],
    }
    for what, options in kinds.items():
        process = subprocess.Popen(
            ["slowhttptest", *options, "-c", "400", "-r", "200", "-l", str(seconds + 60), "-x", "16", "-p", "3",
             "-u", f"http://127.0.0.1:{service.http}/predict"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            with Visitor(service) as visitor:
                time.sleep(seconds / 2)
                with socket.socket() as probe:  # they are really there
                    probe.connect(("127.0.0.1", service.http))
                connections = open("/proc/net/tcp").read().count(f":{service.http:04X} 0100007F:")
                time.sleep(seconds / 2)
                visitor.comes()
            visitor.judge(check, what)
            note(f"{what}: {connections} connections at once")
        finally:
            process.terminate()
            process.wait()


def flood(check: Check, service: Service, seconds: int) -> None:
    """wrk cannot choose its address, so it comes over another one than the visitor: ::1, or the machine's own."""
    if not shutil.which("wrk"):
        skip("wrk is not installed")
        return
    host = "[::1]" if os.path.exists("/proc/net/if_inet6") else socket.gethostbyname(socket.gethostname())
    process = subprocess.Popen(["wrk", "-t1", "-c64", f"-d{seconds}s", f"https://{host}:{service.https}/version"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    try:
        with Visitor(service) as visitor:
            output, _ = process.communicate(timeout=seconds + 120)
            visitor.comes()
        visitor.judge(check, "a flood")
    finally:
        process.kill()
        process.wait()
    total = next((int(line.split()[0]) for line in output.splitlines() if " requests in " in line), 0)
    refused = next((int(line.split(":")[-1]) for line in output.splitlines() if "Non-2xx" in line), 0)
    note(f"the flood: {total} requests, {refused} refused")
    check(total > 300 and refused >= total - 250, "a flood: all but its share is refused", f"{refused} of {total}")
    # The same from Python, from an address of its own and a wall of connections.
    context = ssl._create_unverified_context()
    statuses, stop = [], time.monotonic() + seconds / 2

    def hammer(source: str) -> None:
        while True:  # once at the least
            connection = http.client.HTTPSConnection("127.0.0.1", service.https, timeout=60, context=context, source_address=(source, 0))
            try:
                for _ in range(50):
                    connection.request("GET", "/version")
                    answer = connection.getresponse()
                    answer.read()
                    statuses.append(answer.status)
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            if time.monotonic() >= stop:
                return

    threads = [threading.Thread(target=hammer, args=("127.0.0.2",), daemon=True) for _ in range(8)]
    with Visitor(service) as visitor:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        visitor.comes()
    visitor.judge(check, "a flood from 127.0.0.2")
    check(statuses.count(200) <= 110 and statuses.count(429) > 0, "a flood from 127.0.0.2: limited to its share", f"{statuses.count(200)} of {len(statuses)}")


def threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def half_requests(check: Check, service: Service) -> None:
    """On the worker's own socket: connections that send nothing, half a header, half the parameters, half a body."""
    whole = b"".join(records("POST", "/predict", {"X-API-Key": service.key}, b'{"features":[1]}'))
    head = b"".join(records("GET", "/version"))
    pid = service.workers()[1]
    threads = threads_of(pid)
    kinds = {"nothing": b"", "half a header": head[:5], "half the parameters": head[: len(head) // 2], "all but the end": head[:-12]}
    opened = []
    try:
        for what, data in kinds.items():
            for _ in range(50):
                connection = Connection(service.socket(1), timeout=60)
                connection.send(data)
                opened.append(connection)
            started = time.monotonic()
            with Connection(service.socket(1), timeout=60) as probe:
                answer = probe.request("GET", "/version")
            seconds = time.monotonic() - started
            check(answer.status == 200 and seconds < NORMAL_P95_S, f"50 connections with {what}: another is answered", f"{seconds * 1e3:.0f} ms")
        check(wait_for(lambda: threads_of(pid) <= threads, 30), "they hold no thread", f"{threads_of(pid)} of {threads}")
        # Bodies that do not come are read by the slow threads, bounded by a time; the rest of the service goes on.
        for _ in range(20):
            connection = Connection(service.socket(1), timeout=60)
            connection.send(whole[:-20])
            opened.append(connection)
        started = time.monotonic()
        with Connection(service.socket(1), timeout=60) as probe:
            answer = probe.request("POST", "/predict", {"X-API-Key": service.key, "Content-Type": "application/json"}, b'{"features":[2]}')
        seconds = time.monotonic() - started
        check(answer.status == 201 and seconds < NORMAL_P95_S, "20 with half a body: another prediction is stored", f"{seconds * 1e3:.0f} ms")
        partial = [c for c in opened[50:200]]
        closed = wait_for(lambda: all(c.closed_by_peer(0.01) for c in partial[::15]), 60, 0.2)
        check(closed, "half requests are closed after a while")
        check(not opened[0].closed_by_peer(0.05), "idle connections may stay")
    finally:
        for connection in opened:
            connection.close()
    check(wait_for(lambda: request(service.direct + 1, "GET", "/version").status == 200, 60), "the worker is well afterwards")
    check(service.workers().get(1) == pid, "and the same")


def main(check: Check) -> None:
    seconds = max(5, round(SECONDS / 6))
    service = Service(instances=2, RATE_LIMIT_PER_MINUTE=100).start()
    slow_http(check, service, seconds)
    flood(check, service, seconds)
    service.close()
    service = Service(instances=2).start()
    with Load(service, clients=4) as load:
        half_requests(check, service)
    note(f"beside half requests: {load.summary()}")
    check(not load.failed, "beside half requests: no request fails", describe(load.failed))
    compare(check, service, load)


if __name__ == "__main__":
    run(main)
