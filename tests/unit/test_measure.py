"""The probe against real sockets of this process."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit import process
from portkit.errors import BootError
from portkit.measure import probe as probe_module
from portkit.measure import ttfr, url_of
from portkit.model import HealthProbe
from tests.ports import free_port


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


def test_a_slow_answer_is_waited_for_where_all_is_slow(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "_FIRST_TIMEOUT_S", 0.02)
    monkeypatch.setattr(probe_module, "_LONGEST_TIMEOUT_S", 0.02)
    monkeypatch.setattr(probe_module, "_EAGER_S", 0.02)
    monkeypatch.setattr(Handler, "do_GET", _slowly(Handler.do_GET, 0.3))
    Handler.answers = [(200, b"")]
    address = ("127.0.0.1", server.server_port)
    assert ttfr(HealthProbe(timeout_s=20), address, started=0, alive=fine).status == 200
    with pytest.raises(BootError, match="within 1 s"):  # a tenth of that is no patience
        ttfr(HealthProbe(timeout_s=1), address, started=0, alive=fine)


def _slowly(do: Callable[[Handler], None], seconds: float) -> Callable[[Handler], None]:
    def slow(self: Handler) -> None:
        time.sleep(seconds)
        with contextlib.suppress(OSError):  # it was given up
            do(self)

    return slow


def test_a_connection_that_is_closed_at_once_is_no_answer() -> None:
    """As by what forwards a port to an app that does not listen yet."""
    begun, held = time.monotonic(), []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def forward() -> None:
            while time.monotonic() - begun < 0.5:
                listener.accept()[0].close()
            held.append(listener.accept()[0])

        thread = threading.Thread(target=forward)
        thread.start()
        probe = HealthProbe(scheme="tcp", timeout_s=20)
        answer = ttfr(probe, listener.getsockname(), started=begun, alive=fine)
        thread.join()
        held[0].close()
    assert 0.5 <= answer.seconds < 5
    assert answer.tries > 1


def test_a_connection_to_itself_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """TCP connects a socket that asks for the port that it was given, without any server."""
    address = ("127.0.0.1", free_port())

    def to_itself(*_: object) -> socket.socket:
        one = socket.socket()
        one.bind(address)
        one.connect(address)
        return one

    monkeypatch.setattr(socket, "create_connection", to_itself)
    with pytest.raises(ConnectionRefusedError, match="nothing listens"):
        probe_module.ask(HealthProbe(scheme="tcp"), address, time.monotonic() + 5, [])


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


@contextmanager
def listening(talk: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """A listener that does to every connection what `talk` says; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken, _ = listener.accept()
                    with taken, contextlib.suppress(OSError):
                        taken.settimeout(5)
                        talk(taken)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def raw_server(
    talk: Callable[[socket.socket], None],
) -> AbstractContextManager[tuple[str, int]]:
    """The same, once a request has come."""

    def answer(taken: socket.socket) -> None:
        taken.recv(4096)
        talk(taken)

    return listening(answer)


HEAD = b"HTTP/1.1 200 OK\r\n"


def drip(what: bytes, then: bytes = b"") -> Callable[[socket.socket], None]:
    """Say `what`, then `then` again and again, slowly."""

    def talk(taken: socket.socket) -> None:
        taken.sendall(what)
        if not then:
            taken.recv(1)
            return
        end = time.monotonic() + 10
        while time.monotonic() < end:
            time.sleep(0.02)
            taken.sendall(then)

    return talk


def flood(what: bytes, then: bytes) -> Callable[[socket.socket], None]:
    def talk(taken: socket.socket) -> None:
        taken.sendall(what)
        for _ in range(1 << 20):
            taken.sendall(then)

    return talk


# hostile input 35: no answer, however slow or long, keeps the probe beyond its deadline
@pytest.mark.parametrize(
    "talk",
    [
        drip(b"", b"H"),
        drip(HEAD, b"A: b\r\n"),
        drip(HEAD + b"\r\n", b"x"),
        drip(HEAD + b"Content-Length: 5\r\n\r\nab"),
        drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        flood(HEAD, b"X" * 65536),
        flood(HEAD, b"A: " + b"b" * 1000 + b"\r\n"),
        flood(HEAD + b"\r\n", b"x" * 65536),
        flood(HEAD + b"Content-Length: 999999999999\r\n\r\n", b"x" * 65536),
    ],
    ids=[
        "status drips",
        "headers drip",
        "body drips",
        "body stops",
        "chunks drip",
        "endless continue",
        "long line",
        "endless headers",
        "endless body",
        "huge body",
    ],
)
def test_slow_and_endless_answers_end_at_the_deadline(
    talk: Callable[[socket.socket], None],
) -> None:
    probe = HealthProbe(contains="never said", timeout_s=0.3)
    with raw_server(talk) as address:
        begun = time.monotonic()
        with pytest.raises(BootError, match=r"within 0\.3 s"):
            ttfr(probe, address, started=begun, alive=fine)
        assert time.monotonic() - begun < 20, "it ended by its deadline, not by the server"


def test_only_64_kib_of_an_answer_are_read() -> None:  # hostile input 35
    def talk(taken: socket.socket) -> None:
        taken.sendall(HEAD + b"\r\n" + b"x" * offset + b"here")

    probe = HealthProbe(contains="here", timeout_s=0.2)
    offset = 60_000
    with raw_server(talk) as address:
        assert ttfr(probe, address, started=0, alive=fine).status == 200
        offset = 66_000
        with pytest.raises(BootError, match="did not answer"):
            ttfr(probe, address, started=0, alive=fine)


def test_a_redirect_is_not_followed(server: HTTPServer) -> None:  # hostile input 35
    asked = []
    Handler.answers = [(200, b"the right text")]

    def talk(taken: socket.socket) -> None:
        asked.append(1)
        where = f"http://127.0.0.1:{server.server_port}/".encode()
        taken.sendall(
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + where + b"\r\n\r\n"
        )

    with raw_server(talk) as address:
        probe = HealthProbe(contains="the right text", timeout_s=0.2)
        with pytest.raises(BootError, match="did not answer"):
            ttfr(probe, address, started=0, alive=fine)
    assert asked


def test_a_forwarded_port_that_was_silent() -> None:
    """QEMU's hostfwd accepts before the guest listens, and what it took then is lost: the app is
    asked anew while the first questions are open, and these are closed when it has answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        lost: list[socket.socket] = []
        open_then: list[bool] = []

        def serve() -> None:
            for _ in range(2):
                lost.append(server.accept()[0])
            with server.accept()[0] as third:
                third.recv(4096)
                request = lost[0].recv(65536)
                lost[0].setblocking(False)
                try:
                    open_then.append(bool(request) and lost[0].recv(1) != b"")
                except BlockingIOError:
                    open_then.append(True)
                third.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=serve)
        thread.start()
        answer = ttfr(HealthProbe(timeout_s=60), server.getsockname(), started=0, alive=fine)
        thread.join()
        assert (answer.status, answer.tries, open_then) == (200, 3, [True])
        assert answer.poll_s > 0.02, "the report says how exact the time is"
        for each in lost:
            each.settimeout(60)
            while each.recv(65536):
                pass
            each.close()


def test_between_questions_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that refuses is the normal state of an app that starts: it must cost no processor."""
    slept: list[float] = []
    with probe_module._Questions(HealthProbe(), ("127.0.0.1", 1)) as questions:
        questions._next = time.monotonic() + 60
        monkeypatch.setattr(probe_module.time, "sleep", slept.append)
        questions.ask(time.monotonic() + 60)
        assert questions.answers() == []
    assert questions.asked == 0
    assert len(slept) == 1
    assert 0 < slept[0] <= 0.5, "`alive` is asked twice a second"


def test_one_question_at_a_time_behind_the_first_sign_of_life() -> None:
    """An app that is up and busy has to answer all that it is asked, one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address, far = silent.getsockname(), time.monotonic() + 600
        with probe_module._Questions(HealthProbe(), address) as questions:
            for _ in range(3):
                questions._next = 0
                questions.ask(far)
            assert questions.asked == 3
            questions._lives = True
            questions._next = 0
            questions.ask(far)
            assert questions.asked == 3


def test_tls_that_is_given_up_is_closed() -> None:
    """Python waits at its end for whoever still reads."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        probe = HealthProbe(scheme="https", timeout_s=600)

        def gone() -> None:
            if lost:
                raise BootError("it has ended")

        lost: list[socket.socket] = []
        thread = threading.Thread(target=lambda: lost.append(server.accept()[0]))
        thread.start()
        with pytest.raises(BootError, match="it has ended"):
            ttfr(probe, server.getsockname(), started=0, alive=gone)
        thread.join()
        lost[0].settimeout(5)  # the question itself would stay open for longer
        while lost[0].recv(65536):
            pass
        lost[0].close()


def test_tls_that_never_shakes_hands() -> None:  # hostile input 35
    with raw_server(drip(b"\x16", b"\x03")) as address:
        begun = time.monotonic()
        with pytest.raises(BootError):
            ttfr(HealthProbe(scheme="https", timeout_s=0.3), address, started=0, alive=fine)
        assert time.monotonic() - begun < 20, "it ended by its deadline, not by the server"


@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=200), st.booleans())
def test_any_answer_ends_in_an_answer_or_an_error(data: bytes, right: bool) -> None:
    """hostile input 35: whatever bytes come, the result is typed."""

    def talk(taken: socket.socket) -> None:
        taken.sendall((HEAD if right else b"") + data)

    with raw_server(talk) as address:
        try:
            ttfr(HealthProbe(contains="x", timeout_s=0.05), address, started=0, alive=fine)
        except BootError:
            return


def test_an_app_that_flaps_is_asked_until_its_end(server: HTTPServer) -> None:
    """hostile input 48: right once and it counts; wrong for ever and the deadline ends it."""
    address = ("127.0.0.1", server.server_port)
    Handler.answers = [(503, b""), (500, b""), (503, b""), (200, b""), (503, b"")]
    assert ttfr(HealthProbe(timeout_s=5), address, started=0, alive=fine).tries == 4
    begun = time.monotonic()
    with pytest.raises(BootError, match=r"within 0\.2 s"):
        ttfr(HealthProbe(timeout_s=0.2), address, started=0, alive=fine)
    assert time.monotonic() - begun < 20


def openssl(folder: Path, *words: str) -> None:
    process.run(["openssl", *words], cwd=folder, timeout=60)


def certified(folder: Path) -> Path:
    """A CA of our own, ca.pem, and an app's certificate by it, app.pem; for no name we ask at."""
    folder.mkdir()
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    ca = ("-x509", "-subj", "/CN=our own CA", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(folder, *new, *ca)
    openssl(folder, *new, "-subj", "/CN=app.example", "-keyout", "app.key", "-out", "app.csr")
    sign = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1")
    openssl(folder, "x509", "-req", "-in", "app.csr", *sign, "-out", "app.pem")
    return folder


def tls_server(folder: Path) -> AbstractContextManager[tuple[str, int]]:
    """An app that speaks TLS with app.pem of the folder; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "app.pem", folder / "app.key")

    def talk(taken: socket.socket) -> None:
        with context.wrap_socket(taken, server_side=True) as secure:
            secure.recv(4096)
            secure.sendall(HEAD + b"Content-Length: 4\r\n\r\nshop")

    return listening(talk)


def test_https_by_a_ca_of_ones_own(tmp_path: Path) -> None:
    ours, theirs = certified(tmp_path / "ours"), certified(tmp_path / "theirs")
    with tls_server(ours) as address:
        probe = HealthProbe(scheme="https", contains="shop", timeout_s=60)
        trusting = replace(probe, ca_file=ours / "ca.pem")
        answer = ttfr(trusting, address, started=time.monotonic(), alive=fine)
        assert (answer.status, answer.url) == (200, f"https://127.0.0.1:{address[1]}/")
        for wrong in (None, theirs / "ca.pem"):
            begun = time.monotonic()
            with pytest.raises(BootError, match="certificate that is not trusted") as caught:
                ttfr(replace(probe, ca_file=wrong), address, started=begun, alive=fine)
            assert "certificate" in caught.value.details
            assert answer.url in caught.value.details
            assert "x-portkit.health.ca_file" in caught.value.resolution
            assert time.monotonic() - begun < 30, "it is told before its deadline"
        # The port alone is asked: no certificate matters.
        assert ttfr(HealthProbe(scheme="tcp"), address, started=0, alive=fine).status == 0
