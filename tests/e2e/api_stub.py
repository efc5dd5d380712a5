"""An API for data_http.sh: pages in three ways, and everything an API should not do.

api_stub.py PORTFILE LOG [STATE]: listens on a free port of 127.0.0.1, writes it to PORTFILE, appends a line per request
to LOG: path, and which of the headers it came with. Files in the folder STATE switch what it does."""
import gzip
import json
import os
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

PORT_FILE, LOG, STATE = sys.argv[1:4]
LOCK = threading.Lock()
COUNTS = {}
BOMB = gzip.compress(b"[" + b" " * (40 << 20) + b"]", 1)


def items(first, n):
    return [{"id": "i%d" % i, "value": i, "updated": "2026-01-%02dT00:00:00Z" % (1 + i % 28)} for i in range(first, first + n)]


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, status=200, **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self, body, length):
        """Says that there are `length` bytes, sends the body, and hangs up."""
        self.send_response(200)
        if length:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        name = url.path[1:]
        with LOCK:
            n = COUNTS[name] = COUNTS.get(name, 0) + 1
            with open(LOG, "a") as log:
                log.write("%s auth=%s key=%s match=%s\n" % (self.path, self.headers.get("Authorization"),
                                                           self.headers.get("X-API-Key"), self.headers.get("If-None-Match")))
        on = lambda what: os.path.exists(os.path.join(STATE, what))
        here = "http://127.0.0.1:%d" % self.server.server_port
        if name == "plain":
            return self.answer({"data": items(1, 3)[:2] + [{"value": 7}] + items(3, 1)})
        if name == "link":
            page = int(query.get("page", 1))
            link = '</link?page=%d>; rel="next", </link?page=1>; rel=first' % (page + 1)
            more = {"Link": link} if page < 3 else {"Link": '</link?page=2>; rel="prev"'}
            return self.answer(items(100 * page, 10), **more)
        if name == "cursor":
            at = int(query.get("after", 0))
            return self.answer({"items": items(at, 5), "meta": {"next": at + 5 if at < 10 else None}})
        if name == "page":
            page = int(query["p"])
            if on("slow") and page == 2:
                time.sleep(30)
            return self.answer({"items": items(1000 * page, 4 if page < 3 else 2 if page == 3 else 0)})
        if name == "etag":
            if self.headers.get("If-None-Match") == '"v1"':
                self.send_response(304)
                self.send_header("ETag", '"v1"')
                self.end_headers()
                return None
            return self.answer(items(1, 4), ETag='"v1"')
        if name == "since":
            all_items = items(1, 6) + (items(7, 2) if on("more") else [])
            return self.answer([item for item in all_items if item["updated"] > query.get("after", "")])
        if name == "flaky":  # 503, 429, half a page by its length, half a page without one, then all
            if n == 1:
                return self.answer(b"", 503)
            if n == 2:
                return self.answer(b"", 429, Retry_After="1")
            if n == 3:
                return self.cut(b'[{"id":"half","value":1}', 5000)
            if n == 4:
                return self.cut(b'[{"id":"half","value":1},{"id":"h', 0)
            return self.answer(items(1, 2))
        if name == "hang":
            time.sleep(20)
            return None
        if name == "trickle":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.2)
            except OSError:
                return None
        if name == "endless":
            self.send_response(200)
            self.end_headers()
            try:
                self.wfile.write(b'[{"id":"')
                while True:
                    self.wfile.write(b"a" * 65536)
            except OSError:
                return None
        if name == "bomb":
            return self.answer(BOMB, Content_Encoding="gzip")
        if name == "away":
            return self.answer(b"", 302, Location="http://127.0.0.2:%d/taken" % self.server.server_port)
        if name == "taken":
            return self.answer(items(1, 1))
        if name == "private":
            return self.answer(b"", 302, Location="http://10.1.2.3/secret")
        if name == "file":
            return self.answer(b"", 302, Location="file:///etc/passwd")
        if name == "round":
            return self.answer(b"", 302, Location=here + "/round")
        if name == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return None
        if name == "broken":
            return self.answer(items(1, 1)) if on("mended") else self.answer(b"", 500)
        return self.answer({"detail": "no such path"}, 404)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


server = Server(("0.0.0.0", 0), Api)
with open(PORT_FILE + ".new", "w") as out:
    out.write(str(server.server_port))
os.rename(PORT_FILE + ".new", PORT_FILE)
server.serve_forever()
