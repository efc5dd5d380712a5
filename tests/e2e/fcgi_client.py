"""A FastCGI client for tests that talk to a worker's socket themselves (FastCGI 1.0 specification, Open Market 1996).

Whole requests:

    with Connection("/run/appcore/appcore-1.sock") as c:
        answer = c.request("POST", "/predict", {"X-API-Key": key}, b'{"features":[1.0]}')
        answer.status, answer.headers["content-type"], answer.body

Broken ones are put together from records() and bytes: `c.send(records("GET", "/livez")[:-1])` sends all but the last
record, `c.send(data, step=1, pause=0.01)` dribbles, `c.close(reset=True)` aborts. A connection is kept (FCGI_KEEP_CONN)
unless `keep=False`, so that one carries many requests after each other.

By hand: /usr/bin/python3 tests/e2e/fcgi_client.py SOCKET METHOD PATH [BODY]
"""
import os
import secrets
import socket
import struct
import sys
import time
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple, Union

VERSION = 1
BEGIN_REQUEST, ABORT_REQUEST, END_REQUEST, PARAMS, STDIN, STDOUT, STDERR, DATA, GET_VALUES, GET_VALUES_RESULT = range(1, 11)
UNKNOWN_TYPE = 11
RESPONDER, AUTHORIZER, FILTER = 1, 2, 3
KEEP_CONN = 1
REQUEST_COMPLETE, CANT_MPX_CONN, OVERLOADED, UNKNOWN_ROLE = range(4)
RECORD_MAX = 65535


class Record(NamedTuple):
    kind: int
    request_id: int
    content: bytes


class Answer(NamedTuple):
    status: int
    headers: Dict[str, str]  # names in lower case; of repeated ones the last
    body: bytes
    stderr: bytes
    app_status: int
    protocol_status: int


class Closed(Exception):
    """The worker closed the connection before the answer was whole; `partial` is what came on standard output."""

    def __init__(self, partial: bytes):
        super().__init__(f"connection closed after {len(partial)} bytes of output")
        self.partial = partial


# --- encoding ---


def record(kind: int, content: bytes = b"", request_id: int = 1, padding: int = 0, version: int = VERSION) -> bytes:
    """One record; `content` at most 65,535 bytes."""
    return struct.pack(">BBHHBx", version, kind, request_id, len(content), padding) + content + b"\0" * padding


def stream(kind: int, data: bytes, request_id: int = 1, size: int = RECORD_MAX, end: bool = True) -> List[bytes]:
    """A stream cut into records of at most `size` bytes, with the empty record that ends it."""
    cut = [record(kind, data[i : i + size], request_id) for i in range(0, len(data), size)]
    return cut + [record(kind, b"", request_id)] if end else cut


def pair(name: Union[str, bytes], value: Union[str, bytes]) -> bytes:
    """A name-value pair: lengths up to 127 take one byte, longer ones four with the top bit set."""
    name, value = (x.encode() if isinstance(x, str) else x for x in (name, value))
    lengths = b"".join(bytes([len(x)]) if len(x) < 128 else struct.pack(">I", len(x) | 1 << 31) for x in (name, value))
    return lengths + name + value


def begin(role: int = RESPONDER, keep: bool = True, request_id: int = 1) -> bytes:
    return record(BEGIN_REQUEST, struct.pack(">HB5x", role, KEEP_CONN if keep else 0), request_id)


def params(
    method: str,
    target: str,
    headers: Optional[Dict[str, str]] = None,
    body: bytes = b"",
    extra: Optional[Dict[str, str]] = None,
) -> Dict[str, str]:
    """The parameters as our nginx sends them, the edge identity (EDGE_MSEC, EDGE_ID) among them. In `extra`
    a value of None takes a parameter out."""
    path, _, query = target.partition("?")
    values: Dict[str, Optional[str]] = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "fcgi_client",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "8000",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "40000",
        "REQUEST_SCHEME": "http",
        "REQUEST_METHOD": method,
        "REQUEST_URI": target,
        "DOCUMENT_URI": path,
        "SCRIPT_NAME": path,
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)) if body else "",
        "CONTENT_TYPE": "application/json" if body else "",
        **identity(),
    }
    values["REQUEST_ID"] = values["EDGE_ID"]
    for name, value in (headers or {}).items():
        name = name.upper().replace("-", "_")
        values[name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + name] = value
    values.update(extra or {})
    return {name: value for name, value in values.items() if value is not None}


def identity(ms: Optional[int] = None, random: Optional[str] = None) -> Dict[str, str]:
    """What nginx gives a request at the edge: the same identity twice is the same request, tried again."""
    ms = int(time.time() * 1000) if ms is None else ms
    return {
        "EDGE_MSEC": f"{ms // 1000}.{ms % 1000:03d}",
        "EDGE_ID": random or secrets.token_hex(16),
    }


def records(
    method: str,
    target: str,
    headers: Optional[Dict[str, str]] = None,
    body: bytes = b"",
    extra: Optional[Dict[str, str]] = None,
    request_id: int = 1,
    keep: bool = True,
    size: int = RECORD_MAX,
) -> List[bytes]:
    """A whole request as the list of its records."""
    encoded = b"".join(pair(*item) for item in params(method, target, headers, body, extra).items())
    return [
        begin(keep=keep, request_id=request_id),
        *stream(PARAMS, encoded, request_id, size),
        *stream(STDIN, body, request_id, size),
    ]


# --- a connection ---


class Connection:
    """A connection to a worker: a Unix socket's path, or (host, port)."""

    def __init__(self, address: Union[str, Tuple[str, int]], timeout: float = 10.0):
        self.socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.socket.settimeout(timeout)
        self.buffer = b""
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self, reset: bool = False) -> None:
        """Closes; with `reset` at once and unread bytes dropped."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data: Union[bytes, Iterable[bytes]], step: int = 0, pause: float = 0.0) -> None:
        """Sends bytes or records; with `step` that many bytes at a time with `pause` seconds between."""
        data = data if isinstance(data, bytes) else b"".join(data)
        if not step:
            return self.socket.sendall(data)
        for i in range(0, len(data), step):
            self.socket.sendall(data[i : i + step])
            time.sleep(pause)

    def _read(self, n: int) -> Optional[bytes]:
        while len(self.buffer) < n:
            try:
                got = self.socket.recv(65536)
            except ConnectionResetError:
                got = b""
            if not got:
                return None
            self.buffer += got
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def receive(self) -> Optional[Record]:
        """The next record; None at the connection's end. TimeoutError after the connection's timeout."""
        header = self._read(8)
        if header is None:
            return None
        _, kind, request_id, length, padding = struct.unpack(">BBHHBx", header)
        content = self._read(length + padding)
        return None if content is None else Record(kind, request_id, content[:length])

    def answer(self, request_id: int = 1) -> Answer:
        """Reads to the end of the request. Raises Closed when the connection ends before."""
        out, err = [], []
        while True:
            got = self.receive()
            if got is None:
                raise Closed(b"".join(out))
            if got.request_id != request_id:
                continue
            if got.kind == STDOUT:
                out.append(got.content)
            elif got.kind == STDERR:
                err.append(got.content)
            elif got.kind == END_REQUEST:
                app_status, protocol_status = struct.unpack(">IB3x", got.content)
                return _parse(b"".join(out), b"".join(err), app_status, protocol_status)

    def request(
        self,
        method: str,
        target: str,
        headers: Optional[Dict[str, str]] = None,
        body: bytes = b"",
        extra: Optional[Dict[str, str]] = None,
        keep: bool = True,
    ) -> Answer:
        self.send(records(method, target, headers, body, extra, keep=keep))
        return self.answer()

    def closed_by_peer(self, within: float) -> bool:
        """True when the worker closes within that many seconds without sending anything more."""
        before = self.socket.gettimeout()
        self.socket.settimeout(within)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) == b""
        except ConnectionResetError:
            return True
        except (TimeoutError, socket.timeout):
            return False
        finally:
            self.socket.settimeout(before)


def _parse(out: bytes, err: bytes, app_status: int, protocol_status: int) -> Answer:
    head, _, body = out.partition(b"\r\n\r\n")
    headers = {}
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    # CGI: no Status header means 200 (RFC 3875, section 6.3.3); no output at all is 0 here.
    status = int(headers.get("status", "200").split()[0]) if out else 0
    return Answer(status, headers, body, err, app_status, protocol_status)


def main() -> int:
    if len(sys.argv) not in (4, 5):
        print(__doc__.strip().splitlines()[-1], file=sys.stderr)
        return 100
    address, method, target = sys.argv[1:4]
    key = os.environ.get("API_KEY")
    with Connection(address) as connection:
        answer = connection.request(
            method, target, {"X-API-Key": key} if key else None, "".join(sys.argv[4:]).encode()
        )
    print(answer.status)
    for name, value in answer.headers.items():
        print(f"{name}: {value}")
    print()
    sys.stdout.flush()
    sys.stdout.buffer.write(answer.body)
    sys.stderr.buffer.write(answer.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
