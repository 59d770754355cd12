"""An engine on a unix socket that answers as it is told and remembers what it was asked."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

VERSION = {"ApiVersion": "1.41", "Version": "20.10.24"}


class FakeEngine:
    """answers: {"GET /containers/json": (status, JSON value or bytes)}; the path without query, or
    with the query of one request.

    requests: (method, path with query, JSON of the body or None), in order.
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.answers: dict[str, tuple[int, Any]] = {"GET /version": (200, VERSION)}
        self.headers: dict[str, dict[str, str]] = {}  # of answers, by the same keys
        self.location = ""  # that answers redirect to
        self.requests: list[tuple[str, str, Any]] = []

    def asked(self, method: str, part: str) -> list[Any]:
        """The bodies of the requests of that method whose path holds `part`."""
        return [body for how, path, body in self.requests if how == method and part in path]


@contextmanager
def fake_engine(folder: Path) -> Iterator[FakeEngine]:
    engine = FakeEngine(folder / "engine.sock")

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            data = self.rfile.read(length)
            whole = self.path
            if whole.startswith("/v1."):
                whole = whole[whole.index("/", 1) :]
            path = whole.partition("?")[0]
            told = "json" in self.headers.get("Content-Type", "")
            body = json.loads(data) if data and told else data or None
            engine.requests.append((self.command, self.path, body))
            usual = engine.answers.get(f"{self.command} {path}", (404, {"message": "no"}))
            status, value = engine.answers.get(f"{self.command} {whole}", usual)
            answer = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            kind = "octet-stream" if isinstance(value, bytes) else "json"
            self.send_header("Content-Type", f"application/{kind}")
            if engine.location:
                self.send_header("Location", engine.location)
            for name, text in engine.headers.get(f"{self.command} {whole}", {}).items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = do_PUT = respond

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None: ...

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hangs up early is none."""

    with Server(str(engine.socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield engine
        finally:
            server.shutdown()
            thread.join()
