"""An object store that speaks as much S3 as Terraform's state needs: objects, versions by If-None-Match, nothing else.
Signatures are not looked at: it listens on loopback for one test."""
import contextlib
import hashlib
import http.server
import threading
from typing import Dict, Iterator


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: Dict[str, bytes]
    lock: threading.Lock

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), Content_Type="application/xml")

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            whole = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_PUT(self) -> None:
        body, key = self.body(), self.path.partition("?")[0]
        with self.lock:
            if self.headers.get("If-None-Match") == "*" and key in self.objects:
                return self.refuse(412, "PreconditionFailed")
            self.objects[key] = body
        return self.answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def do_GET(self) -> None:
        key, _, query = self.path.partition("?")
        if "list-type" in query or key.count("/") == 1:
            return self.answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>", Content_Type="application/xml")
        with self.lock:
            body = self.objects.get(key)
        if body is None:
            return self.refuse(404, "NoSuchKey")
        return self.answer(200, body, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    do_HEAD = do_GET

    def do_DELETE(self) -> None:
        with self.lock:
            self.objects.pop(self.path.partition("?")[0], None)
        self.answer(204)


@contextlib.contextmanager
def object_store() -> Iterator["http.server.ThreadingHTTPServer"]:
    """A store on a port of its own; its objects are in .objects, by /BUCKET/KEY."""
    objects: Dict[str, bytes] = {}
    handler = type("Store", (Handler,), {"objects": objects, "lock": threading.Lock()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.objects = objects  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
