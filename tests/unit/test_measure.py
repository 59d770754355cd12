"""The probe against real sockets of this process."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from portkit.errors import BootError
from portkit.measure import ttfr, url_of
from portkit.model import HealthProbe


class Handler(BaseHTTPRequestHandler):
    answers: list[tuple[int, bytes]]

    def do_GET(self) -> None:
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fine() -> None: ...


def test_waits_for_the_right_answer(server: HTTPServer) -> None:
    Handler.answers = [(503, b""), (200, b"another app"), (200, b"this is shop 7")]
    probe = HealthProbe(path="/ok", contains="shop", timeout_s=10)
    address = ("127.0.0.1", server.server_port)
    answer = ttfr(probe, address, started=time.monotonic(), alive=fine)
    assert (answer.status, answer.tries) == (200, 3)
    assert answer.url == f"http://127.0.0.1:{server.server_port}/ok"


def test_a_redirect_is_an_answer_and_tcp_asks_nothing(server: HTTPServer) -> None:
    Handler.answers = [(302, b"")]
    address = ("127.0.0.1", server.server_port)
    assert ttfr(HealthProbe(), address, started=0, alive=fine).status == 302
    assert ttfr(HealthProbe(scheme="tcp"), address, started=0, alive=fine).status == 0


def test_says_what_it_last_saw(server: HTTPServer) -> None:
    Handler.answers = [(500, b"")]
    probe = HealthProbe(timeout_s=0.1)
    with pytest.raises(BootError) as caught:
        ttfr(probe, ("127.0.0.1", server.server_port), started=0, alive=fine)
    assert "HTTP 500" in caught.value.details


def test_an_app_that_died_is_not_waited_for() -> None:
    def dead() -> None:
        raise BootError("exited")

    with pytest.raises(BootError, match="exited"):
        ttfr(HealthProbe(timeout_s=30), ("127.0.0.1", 1), started=0, alive=dead)


def test_urls() -> None:
    assert url_of(HealthProbe(scheme="https", path="/x"), ("::1", 443)) == "https://[::1]:443/x"
    assert url_of(HealthProbe(scheme="tcp"), ("a", 1)) == "tcp://a:1"
