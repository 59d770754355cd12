"""A text that tells the App's answer from another application's, whatever that answers."""

import contextlib
import fnmatch
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.errors import AppError, BootError
from portkit.expected import Expected, why_not
from portkit.health import choose
from portkit.measure import probe as probe_room
from portkit.measure import ttfr
from portkit.measure.probe import UnsaidError, ask
from portkit.model import Form, HealthProbe, Method, Port

BODY = b"<h1>shop 7</h1>\nby us\n"
HEAD = [("Server", "nginx/1.25"), ("X-APP", "shop v\xe9"), ("Location", "//Shop:80/")]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("shop 7", True),
        ("<h1>*</h1>", True),
        ("shop*by us", False),  # in two lines
        ("server: nginx/*", True),
        ("Server: nginx/2", False),
        ("x-app: SHOP", False),
        ("*Server: nginx", True),
        ("X*-APP: shop", True),
        ("*: nginx", True),
        ("SERVER", True),
        ("NGINX", False),
        ("Shop:80", True),
        ("*Shop:80", True),
        ("LOCATION*Shop:80", True),
        ("shop:80", False),
        ("Ver: nginx*", True),
        ("*Server: NGINX", False),
        ("* Server: nginx", False),
        ("*SHOP", False),
        ("nginx", True),
        ("*7*7*", False),
        (r"\*", False),
    ],
)
def test_it_is_in_one_line_of_head_or_body(pattern: str, found: bool) -> None:
    expected = Expected(pattern)
    assert (expected.head(HEAD) or expected.body(BODY)) is found


@pytest.mark.parametrize("pattern", ["", " ", "*", "**", "a\nb", "a" * 1001])
def test_a_pattern_that_expects_nothing_is_refused(pattern: str) -> None:
    assert list(why_not(pattern))


def test_a_star_may_be_meant() -> None:
    assert not list(why_not(r"\*"))
    assert Expected(r"1 \* 2").body(b"1 * 2")
    assert not Expected(r"1 \* 2").body(b"1 and 2")


LETTERS = st.text("ab*\n", max_size=12)


@given(pattern=st.text("ab*", max_size=6), body=LETTERS, cuts=st.lists(st.integers(0, 12)))
def test_parts_say_what_the_whole_says(pattern: str, body: str, cuts: list[int]) -> None:
    """However an answer is cut, as a shell's pattern within one of its lines."""
    meant = any(fnmatch.fnmatchcase(line, f"*{pattern}*") for line in body.split("\n"))
    ends = [0, *sorted(cuts), len(body)]
    expected = Expected(pattern)
    pieces = [body[a:b].encode() for a, b in pairwise(ends)]
    assert any(map(expected.body, pieces)) is meant


@given(pattern=st.text(max_size=20), body=st.binary(max_size=200), name=st.text(max_size=5))
def test_nothing_that_answers_breaks_it(pattern: str, body: bytes, name: str) -> None:
    expected = Expected(pattern)
    expected.head([(name, body.decode("latin-1"))])
    expected.body(body)


@contextmanager
def saying(said: bytes, late_s: float = 0.0) -> Iterator[tuple[str, int]]:
    """A server that says the same to everybody, at once or late."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    one, _ = listener.accept()
                except OSError:
                    return
                with one:
                    try:
                        time.sleep(late_s)
                        one.sendall(said)
                        one.settimeout(5)
                        while one.recv(4096):
                            pass
                    except OSError:
                        pass  # who asked has gone

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[:2]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def fine() -> None: ...


PAGE = b"HTTP/1.1 200 OK\r\nX-App: shop 7\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize(
    ("said", "probe"),
    [
        (PAGE, HealthProbe(expect="x-app: shop *")),
        (PAGE, HealthProbe(expect="h*o", contains="ell")),
        (b"SSH-2.0-OpenSSH\r\n", HealthProbe(scheme="tcp", expect="SSH-2.0-*")),
    ],
)
def test_the_app_is_known_by_what_it_answers(said: bytes, probe: HealthProbe) -> None:
    with saying(said) as address:
        assert ttfr(probe, address, started=0, alive=fine).status in (0, 200)


LATE_S = 1.2  # longer than a connection has to stay open where nothing is expected


def test_who_greets_late_is_up() -> None:
    probe = HealthProbe(scheme="tcp", expect="SSH-*")
    with saying(b"SSH-2.0-OpenSSH\r\n", LATE_S) as address:
        deadline = time.monotonic() + 30
        assert ask(probe, address, deadline, [], held_s=0.05).status == 0
        with pytest.raises(UnsaidError, match="does not contain"):
            ask(probe, address, time.monotonic() + 0.1, [])


def test_who_greets_late_after_a_sign_of_life_is_up() -> None:
    """A refusal is a sign of life, after which a question is given half a second at first."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))  # refuses until it listens

    def greet(one: socket.socket) -> None:
        with one, contextlib.suppress(OSError):  # who asked has gone
            one.sendall(b"SSH-2.0-OpenSSH\r\n")

    def serve() -> None:
        with contextlib.suppress(OSError):  # the end
            while True:
                threading.Timer(LATE_S, greet, [listener.accept()[0]]).start()

    server = threading.Thread(target=serve, daemon=True)

    def come_up() -> None:
        if not server.ident:
            listener.listen()
            server.start()

    with listener:
        probe = HealthProbe(scheme="tcp", expect="SSH-*", timeout_s=30)
        assert ttfr(probe, listener.getsockname()[:2], started=0, alive=come_up).status == 0
        listener.shutdown(socket.SHUT_RDWR)
        server.join(5)


LONG = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (1 << 20)
HEADS = b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000


@pytest.mark.parametrize(
    ("said", "probe", "words"),
    [
        (PAGE, HealthProbe(expect="X-App: blog"), "does not contain 'X-App: blog'"),
        (
            PAGE,
            HealthProbe(expect="shop", contains="shop"),
            "does not contain 'shop'",
        ),  # only in the head
        (LONG, HealthProbe(expect="shop"), "does not contain 'shop'"),
        (HEADS, HealthProbe(expect="shop"), "more than 100 headers"),
        (b"220 mail\r\n", HealthProbe(scheme="tcp", expect="SSH-*"), "does not contain"),
        (b"", HealthProbe(scheme="tcp", expect="SSH-*"), "does not contain"),
        (b"y" * (1 << 20), HealthProbe(scheme="tcp", expect="SSH-*"), "does not contain"),
    ],
)
def test_another_application_is_not_taken_for_it(
    said: bytes, probe: HealthProbe, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is up as soon as an answer was found to be another one's."""
    found, told = [], probe_room._told
    clock = SimpleNamespace(sleep=time.sleep)
    clock.monotonic = lambda: time.monotonic() + 3600 * any(words in text for text in found)

    def tell(*answer: Any) -> str:
        found.append(told(*answer))
        return found[-1]

    monkeypatch.setattr(probe_room, "_told", tell)
    monkeypatch.setattr(probe_room, "time", clock)
    with saying(said) as address, pytest.raises(BootError) as caught:
        ttfr(replace(probe, timeout_s=60), address, started=0, alive=fine)
    assert words in caught.value.details


def test_it_is_refused_where_nothing_is_asked() -> None:
    health = HealthProbe(expect="shop")
    assert choose([Port(80)], health, Form.DISK, checks_itself=True).method is Method.PUBLISHED
    with pytest.raises(AppError, match="cannot ask the App"):
        choose([], health, Form.DISK, checks_itself=True)
    named = HealthProbe(expect="shop", method=Method.RUNNING)
    with pytest.raises(AppError, match="cannot ask the App"):
        choose([Port(80)], named, Form.IMAGE, checks_itself=False)
