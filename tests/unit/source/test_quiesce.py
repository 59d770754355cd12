"""Commands in containers before they are stopped, and where they run next."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.engines import docker_exec
from portkit.engines.docker_source import DockerSource
from portkit.errors import EngineError, PortkitError, ToolError
from portkit.model import Live, LiveContainer, Quiesce
from portkit.source.quiesce import Commands, commands
from tests.unit.fake_engine import FakeEngine, fake_engine

DB, WEB = "d" * 64, "e" * 64


class Engine:
    """Runs no command; `fails` counts down for each try of one, which raises `error`."""

    def __init__(self, fails: int = 0, error: type[PortkitError] = ToolError) -> None:
        self.ran: list[tuple[str, Sequence[str]]] = []
        self.fails, self.error = fails, error

    def execute(self, container: str, argv: Sequence[str], within_s: float) -> None:
        assert within_s > 0
        self.ran.append((container[:1], argv))
        if self.fails:
            self.fails -= 1
            raise self.error("a command in the container ended with code 1")


def asked(engine: Any, *, timeout_s: float = 60.0) -> Commands:
    quiesce = Quiesce(("rest",), ("go", "on"), timeout_s)
    rows = (
        LiveContainer(DB, "db", "always", running=True, quiesce=quiesce),
        LiveContainer(WEB, "web", "always", running=True, quiesce=quiesce),
        LiveContainer("f" * 64, "job", "no", running=False, quiesce=quiesce),
        LiveContainer("a" * 64, "cache", "no", running=True),
    )
    return Commands(engine, Live(rows, ()))


def test_in_the_order_of_the_stop_and_of_the_start() -> None:
    engine = Engine()
    asked(engine).before()
    asked(engine).after(lambda seconds: None)
    assert engine.ran == [
        ("e", ("rest",)),
        ("d", ("rest",)),
        ("d", ("go", "on")),
        ("e", ("go", "on")),
    ]


def test_before_the_stop_nothing_is_tried_twice() -> None:
    engine = Engine(fails=1)
    with pytest.raises(ToolError):
        asked(engine).before()
    assert engine.ran == [("e", ("rest",))]


@pytest.mark.parametrize("error", [ToolError, EngineError])
def test_afterwards_it_may_come_too_early(error: type[PortkitError]) -> None:
    """For its command, or for the container, which does not run yet."""
    paused: list[float] = []
    engine = Engine(2, error)
    asked(engine).after(paused.append)
    assert [container for container, _ in engine.ran] == ["d", "d", "d", "e"]
    assert len(paused) == 2
    with pytest.raises(error):
        asked(Engine(9, error), timeout_s=0.0).after(paused.append)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as made:
        made.answers[f"POST /containers/{DB}/exec"] = (201, {"Id": "x1"})
        made.answers["POST /exec/x1/start"] = (200, b"")
        yield made


@pytest.fixture
def docker(engine: FakeEngine) -> Iterator[DockerSource]:
    made = DockerSource(engine.socket, "web1", lambda seconds: None)
    yield made
    made.close()


def test_a_command_that_succeeds(engine: FakeEngine, docker: DockerSource) -> None:
    engine.answers["GET /exec/x1/json"] = (200, {"Running": False, "ExitCode": 0})
    docker.execute(DB, ("/bin/sh", "-c", "sync"), 5.0)
    (asked,) = engine.asked("POST", f"/containers/{DB}/exec")
    assert asked["Cmd"] == ["/bin/sh", "-c", "sync"]
    assert not asked["Tty"]


def test_a_command_that_fails_or_does_not_end(engine: FakeEngine, docker: DockerSource) -> None:
    engine.answers["GET /exec/x1/json"] = (200, {"Running": False, "ExitCode": 3})
    with pytest.raises(ToolError, match="ended with code 3") as caught:
        docker.execute(DB, ("/bin/sh", "-c", "sync"), 5.0)
    assert caught.value.details == "sync"
    engine.answers["GET /exec/x1/json"] = (200, {"Running": True, "ExitCode": None})
    with pytest.raises(ToolError, match=r"did not end within 0\.2 s"):
        docker.execute(DB, ("sleep", "9"), 0.2)


def test_a_container_that_does_not_run(engine: FakeEngine, docker: DockerSource) -> None:
    engine.answers[f"POST /containers/{DB}/exec"] = (409, {"message": "it is not running"})
    with pytest.raises(EngineError, match="run a command in the container"):
        docker.execute(DB, ("sync",), 5.0)


def test_the_end_of_what_it_says_is_kept() -> None:
    class Api:
        def exec_create(self, container: str, argv: list[str]) -> dict[str, str]:
            return {"Id": "x1"}

        def exec_start(self, identity: str, *, stream: bool) -> Iterator[bytes]:
            yield b"x" * 9000
            yield b"the reason"

        def exec_inspect(self, identity: str) -> dict[str, Any]:
            return {"Running": False, "ExitCode": 1}

    with pytest.raises(ToolError) as caught:
        docker_exec.execute(Api(), DB, ["a", "b"], 5.0)
    assert caught.value.details.startswith("a b\nx")
    assert caught.value.details.endswith("the reason")
    assert len(caught.value.details) == len("a b\n") + 4096


def test_whose_containers_they_are(engine: FakeEngine, docker: DockerSource) -> None:
    row = {"Id": WEB, "Labels": {"portkit.service": "web"}, "State": "exited", "Status": ""}
    engine.answers["GET /containers/json"] = (200, [row])
    assert docker.made_by("pk-0123456789ab") == {"web": WEB}
    (path,) = [path for _, path, _ in engine.requests if "/containers/json" in path]
    assert "all=1" in path, "one that has ended is not left out in silence"


def test_a_container_on_the_target_that_has_ended_or_is_gone(engine: FakeEngine) -> None:
    quiesce = Quiesce(after=("go",), timeout_s=0.0)
    one = LiveContainer("a" * 64, "db", "always", running=True, quiesce=quiesce)
    there = Live((one, replace(one, id="b" * 64, service="job", running=False)), ())
    remote = SimpleNamespace(halt=SimpleNamespace(pause=lambda seconds: None))
    host: Any = SimpleNamespace(docker_socket=lambda: engine.socket, name="web2", remote=remote)
    row = {"Id": DB, "Labels": {"portkit.service": "db"}, "State": "exited", "Status": ""}
    engine.answers["GET /containers/json"] = (200, [row])
    engine.answers[f"POST /containers/{DB}/exec"] = (409, {"message": "it is not running"})
    with (
        pytest.raises(EngineError, match="run a command in the container"),
        commands(host, there, move="pk-0123456789ab") as those,
    ):
        those.after(lambda seconds: None)
    engine.answers["GET /containers/json"] = (200, [])
    with (
        pytest.raises(EngineError, match="no longer exists on the target") as caught,
        commands(host, there, move="pk-0123456789ab"),
    ):
        pass
    assert caught.value.details == "db of pk-0123456789ab"
