"""Listeners to server-sent events, many or one, for tests and measurements (WHATWG HTML, section 9.2.6).

  listen.py crowd URL TOKENS N --events K [--within S] [--ready FILE]
      Opens N streams (the tokens, one a line, in turn), writes FILE when all are open, waits until each has K events, and
      prints {"open":…,"events":…,"least":…,"most":…,"spread_ms":…}: the spread is that of the last event's arrival.
  listen.py follow URL TOKENS FILE [--last ID]
      One listener who comes back with the last id whenever the stream ends; appends "id status task_id" to FILE for each
      event until it is killed, or is told with 204 that nothing more comes ("204").
  listen.py stall SOCKET TOKEN PATH FILE
      Speaks FastCGI to a worker's socket itself, writes FILE when the head has come, and reads no more until the worker
      closes: then it adds "closed".
  listen.py abort SOCKET TOKEN PATH
      Speaks FastCGI as well: takes its request back (FCGI_ABORT_REQUEST), prints how the worker ends it, and the same for
      bytes that are no record.
"""
import argparse
import asyncio
import json
import os
import select
import sys
import time
import urllib.parse
from typing import List, Optional


class Stream:
    """One stream in clear over HTTP/1.1."""

    def __init__(self, url: str, token: str, last: str = ""):
        parts = urllib.parse.urlsplit(url)
        self.address = (parts.hostname, parts.port or 80)
        self.target = parts.path + ("?" + parts.query if parts.query else "")
        self.token = token
        self.last = last
        self.retry_ms = 100
        self.status = 0
        self.reader: Optional[asyncio.StreamReader] = None
        self.writer: Optional[asyncio.StreamWriter] = None

    async def open(self) -> int:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.address[1], limit=1 << 16)
        last = f"Last-Event-ID: {self.last}\r\n" if self.last else ""
        self.writer.write(
            f"GET {self.target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.token}\r\n{last}\r\n".encode()
        )
        self.status = int((await self.reader.readline()).split()[1])
        while (await self.reader.readline()).strip():
            pass
        return self.status

    async def lines(self):
        """Lines of the body, which comes in chunks; ends with the stream, however it ends."""
        rest = b""
        while True:
            try:
                size = int((await self.reader.readline()).strip() or b"0", 16)
                if size == 0:
                    return
                chunk = await self.reader.readexactly(size + 2)
            except (ConnectionError, asyncio.IncompleteReadError, ValueError):
                return
            *whole, rest = (rest + chunk[:-2]).split(b"\n")
            for line in whole:
                yield line.decode()

    async def events(self):
        last, data = self.last, ""
        async for line in self.lines():
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "id":
                last = value
            elif name == "data":
                data = value
            elif name == "retry":
                self.retry_ms = int(value)
            elif line == "":
                self.last = last
                if data:
                    yield last, json.loads(data)
                data = ""

    def close(self) -> None:
        if self.writer:
            self.writer.close()


async def crowd(args) -> int:
    tokens = open(args.tokens).read().split()
    streams = [Stream(args.url, tokens[i % len(tokens)]) for i in range(args.n)]
    gate = asyncio.Semaphore(64)
    counts: List[int] = [0] * args.n
    arrived: List[float] = [0.0] * args.n

    async def start(stream: Stream) -> int:
        async with gate:
            return await stream.open()

    statuses = await asyncio.gather(*(start(stream) for stream in streams))

    async def read(i: int) -> None:
        async for _ in streams[i].events():
            counts[i] += 1
            arrived[i] = time.monotonic()
            if counts[i] == args.events:
                return

    readers = [asyncio.create_task(read(i)) for i in range(args.n) if statuses[i] == 200]
    if args.ready:
        await asyncio.sleep(0.2)
        with open(args.ready, "w") as file:
            file.write("ready\n")
    await asyncio.wait(readers, timeout=args.within)
    spread = (max(arrived) - min(arrived)) * 1000
    print(
        json.dumps(
            {
                "open": statuses.count(200),
                "events": sum(counts),
                "least": min(counts),
                "most": max(counts),
                "spread_ms": round(spread, 1),
                "last_at": round(max(arrived) - time.monotonic() + time.time(), 3),
            }
        )
    )
    for stream in streams:
        stream.close()
    return 0 if min(counts) >= args.events else 1


async def follow(args) -> int:
    token = open(args.tokens).read().split()[0]
    stream = Stream(args.url, token, args.last)
    with open(args.file, "a", buffering=1) as file:
        while True:
            try:
                status = await stream.open()
            except (OSError, IndexError, ValueError):
                status = 0
            if status == 204:
                file.write("204\n")
                return 0
            if status == 200:
                file.write(f"open {stream.last}\n")
                async for event_id, task in stream.events():
                    file.write(f"{event_id} {task['status']} {task['task_id']}\n")
            elif status not in (0, 429, 502, 503):
                file.write(f"refused {status}\n")
                return 1
            stream.close()
            await asyncio.sleep(min(stream.retry_ms, 200) / 1000)


def stall(args) -> int:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from fcgi_client import Connection, records

    with Connection(args.socket, timeout=30.0) as c:
        c.send(records("GET", args.path, {"Authorization": "Bearer " + args.token}))
        c.receive()
        with open(args.file, "w", buffering=1) as file:
            file.write("open\n")
            poll = select.poll()
            poll.register(c.socket, select.POLLRDHUP)
            poll.poll(60000)
            file.write("closed\n")
    return 0


def abort(args) -> int:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    from fcgi_client import ABORT_REQUEST, END_REQUEST, STDOUT, Connection, record, records

    for last in (record(ABORT_REQUEST), b"no record"):
        with Connection(args.socket, timeout=30.0) as c:
            c.send(records("GET", args.path, {"Authorization": "Bearer " + args.token}))
            c.receive()
            c.send(last)
            kinds = []
            while (got := c.receive()) is not None:
                kinds.append({END_REQUEST: "end", STDOUT: "empty"}.get(got.kind, "other") if not got.content or got.kind != STDOUT else "output")
            print(" ".join(kind for kind in kinds if kind != "output"), "closed")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    modes = parser.add_subparsers(dest="mode", required=True)
    mode = modes.add_parser("crowd")
    mode.add_argument("url")
    mode.add_argument("tokens")
    mode.add_argument("n", type=int)
    mode.add_argument("--events", type=int, default=1)
    mode.add_argument("--within", type=float, default=120.0)
    mode.add_argument("--ready")
    mode = modes.add_parser("follow")
    mode.add_argument("url")
    mode.add_argument("tokens")
    mode.add_argument("file")
    mode.add_argument("--last", default="")
    mode = modes.add_parser("stall")
    for name in ("socket", "token", "path", "file"):
        mode.add_argument(name)
    mode = modes.add_parser("abort")
    for name in ("socket", "token", "path"):
        mode.add_argument(name)
    args = parser.parse_args()
    if args.mode == "abort":
        return abort(args)
    if args.mode == "stall":
        return stall(args)
    return asyncio.run(crowd(args) if args.mode == "crowd" else follow(args))


if __name__ == "__main__":
    sys.exit(main())
