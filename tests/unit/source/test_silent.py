"""A running App is asked at its source before its Move begins."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.model import Finding, HealthProbe, Method, Port, Service
from portkit.source import silent

HTTP = b"HTTP/1.0 200 OK\r\n\r\nfine"
BROKEN = b"HTTP/1.0 500 No\r\n\r\n"
REDIS = b"-ERR unknown command\r\n"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silent, "_PATIENCE_S", 0.5)


@contextmanager
def server(says: bytes) -> Iterator[int]:
    """A port that says the same to everybody who has said something, and then hangs up."""

    def serve() -> None:
        while True:
            try:
                one, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(one,), daemon=True).start()

    def answer(one: socket.socket) -> None:
        with one:
            try:
                if one.recv(1000):
                    one.sendall(says)
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def seen(
    port: int | None,
    *,
    at: int | None = None,
    status: str = "running",
    health: str = "",
    published: bool = True,
    **said: Any,
) -> list[Finding]:
    """The findings of an App that publishes a port of this machine. at: the number that the engine
    has chosen for it, where `port` is None."""
    host: Any = SimpleNamespace(name="local", address=lambda: "127.0.0.1")
    ports = (Port(1, port),) if published else ()
    front = Service("db", image="x", ports=ports, health=HealthProbe(**said))
    check = SimpleNamespace(Test=["CMD", "true"]) if health else None
    one: Any = SimpleNamespace(
        service="db",
        State=SimpleNamespace(Status=status, Health=SimpleNamespace(Status=health)),
        Config=SimpleNamespace(Healthcheck=check),
        reached=lambda asked: asked if port else at and Port(1, at),
        unhealthy=health == "unhealthy",
    )
    return list(silent.silent(host, front, [one]))


def test_one_that_answers_has_no_finding() -> None:
    with server(HTTP) as port:
        assert seen(port) == []
        assert len(seen(port, contains="else")) == 1
    with server(REDIS) as port:
        assert seen(port, scheme="tcp") == []


def test_a_port_that_the_engine_chose_is_asked_there() -> None:
    with server(HTTP) as port:
        assert seen(None, at=port) == []
    assert len(seen(None, at=port)) == 1
    assert seen(None) == [], "who answers elsewhere is not the App"


def test_one_that_speaks_no_http_is_told_how_to_ask_it() -> None:
    with server(REDIS) as port:
        (found,) = seen(port)
        assert (found.rule, found.services) == ("source-silent", ("db",))
        assert f"http://127.0.0.1:{port}/" in found.evidence[0]
        assert "--health scheme=tcp" in found.remedy
        assert "method=healthcheck" not in found.remedy
        assert "method=healthcheck" in seen(port, health="healthy")[0].remedy
        assert "method=healthcheck" not in seen(port, health="unhealthy")[0].remedy


def test_what_would_not_help_is_not_named() -> None:
    with server(REDIS) as port:
        expecting = seen(port, health="healthy", expect="HELLO")[0].remedy
        # By TCP too it would have to say that, and a healthcheck says nothing.
        assert "scheme=tcp" not in expecting
        assert "method=healthcheck" not in expecting
    (nobody,) = seen(port)
    assert "scheme=tcp" not in nobody.remedy
    assert "--health path=/ready" in nobody.remedy


def test_who_is_not_going_to_be_asked_is_not_asked() -> None:
    with server(BROKEN) as port:
        assert len(seen(port)) == 1
        assert seen(port, status="exited") == [], "that is another finding"
        assert seen(port, health="healthy", method=Method.HEALTHCHECK) == []
        assert len(seen(port, method=Method.HEALTHCHECK)) == 1, "it has no healthcheck"
        assert seen(port, method=Method.RUNNING) == []


def test_one_that_only_its_engine_can_ask() -> None:
    for method in (Method.HEALTHCHECK, None):
        asked: Any = {"published": method is not None, "method": method}
        (found,) = seen(1, health="unhealthy", **asked)
        assert (found.rule, "method=running" in found.remedy) == ("source-silent", True)
        assert seen(1, health="starting", **asked) == []
    assert seen(1, health="unhealthy", published=False, method=Method.RUNNING) == []
