"""A Move of a running App is taken back by its markers alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.errors import ConflictError, HostError
from portkit.model import Form, Instance, Live, LiveContainer, LiveDomain
from portkit.move import by_marker

MOVE = "pk-0123456789ab"
LIVE = Live(
    (
        LiveContainer("a" * 64, "", "on-failure:3", running=True),
        LiveContainer("b" * 64, "", "always", running=False),
    ),
    (),
)


class Source:
    """A host with the marker of a source; it remembers what was done there."""

    endpoint = "ssh://new"

    def __init__(self, about: dict[str, str], role: str = "source") -> None:
        self.role = role
        usual = {"source": "old", "target": "new", "endpoint": "ssh://new", "forms": "image"}
        self.about, self.done = {**usual, **about}, list[str]()
        self.remote, self.name = self, "old"

    def call(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        self.done.append(verb)
        row = {"id": MOVE, "app": "shop", "role": self.role, "live": False, "about": self.about}
        return {"moves": [row]}

    def settle(self) -> tuple[str, ...]:
        self.done.append("settle")
        return ()

    def unfence(self) -> None:
        self.done.append("unfence")

    def start(self) -> None:
        self.done.append("start")


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[Instance]:
    """The Instances on the target."""
    rows: list[Instance] = []

    @contextmanager
    def origin(host: Any, live: Live) -> Iterator[Any]:
        assert live == LIVE
        yield host

    monkeypatch.setattr(by_marker, "origin", origin)

    @contextmanager
    def runner(host: Any, form: Form) -> Iterator[Any]:
        assert (host.endpoint, form) == ("ssh://new", Form.IMAGE), "the forms that the Move has"
        yield SimpleNamespace(instances=lambda: tuple(rows))

    monkeypatch.setattr(by_marker.boot, "runner", runner)
    return rows


@contextmanager
def connect(name: str, _: Any) -> Iterator[Any]:
    assert name == "new"
    yield SimpleNamespace(endpoint="ssh://new")


def rolled_back(source: Any) -> bool:
    return by_marker.rollback_on(MOVE, source, connect=connect)


def test_how_the_containers_were_is_read_again() -> None:
    assert by_marker.ran(by_marker.told(LIVE)) == LIVE
    vm = Live((), (), domain=LiveDomain(MOVE, "on-failure:3", autostart=False, running=True))
    assert by_marker.ran(by_marker.told(vm)) == vm
    assert vm.domain is not None
    live = replace(vm, domain=replace(vm.domain, keeps_running=True))
    assert by_marker.ran(by_marker.told(live)) == live, "it is not powered off on the way back"
    assert by_marker.told(None) == {}
    assert by_marker.ran({"source": "old", "forms": "image"}) is None


@pytest.mark.parametrize(
    "text", ["", "a" * 64, "../x always runs", f"{'a' * 64} rm runs", f"{'a' * 64} always"]
)
def test_what_is_no_container_is_not_touched(text: str) -> None:
    assert by_marker.ran({"container 0": text}) is None
    assert by_marker.ran({"domain": text}) is None


def test_the_source_starts_again_when_the_target_has_nothing(left: list[Instance]) -> None:
    source = Source(by_marker.told(LIVE))
    assert rolled_back(source)
    assert source.done == ["move.list", "settle", "unfence", "start", "move.end"]


def test_what_a_target_with_commands_behind_its_commit_has_written_is_not_lost_unasked(
    left: list[Instance],
) -> None:
    left.append(Instance(MOVE, "shop", Form.IMAGE, "new", "running"))
    target = Source({"hooks": "1"}, role="target")
    with pytest.raises(ConflictError, match="may have written data there") as caught:
        rolled_back(target)
    assert "--discard-writes" in caught.value.resolution
    assert target.done == ["move.list"]


def test_the_source_does_not_start_beside_the_target(left: list[Instance]) -> None:
    left.append(Instance(MOVE, "shop", Form.IMAGE, "new", "exited"))
    source = Source(by_marker.told(LIVE))
    with pytest.raises(ConflictError, match="may run on the target"):
        rolled_back(source)
    assert source.done == ["move.list"], "its marker stays, so that this can be done again"


@pytest.mark.parametrize("endpoint", ["", "local", "ssh://another"])
def test_a_target_that_is_another_host_from_here_proves_nothing(
    left: list[Instance], endpoint: str
) -> None:
    """What is called `local`, or by an alias, on the machine that began the Move."""
    source = Source({**by_marker.told(LIVE), "endpoint": endpoint})
    with pytest.raises(ConflictError, match="does not know the target"):
        rolled_back(source)
    assert source.done == ["move.list"]


def test_a_source_where_nothing_ran_needs_no_target(left: list[Instance]) -> None:
    source = Source({})
    assert rolled_back(source)
    assert source.done == ["move.list", "move.end"]


@contextmanager
def unreachable(*_: Any) -> Iterator[Any]:
    raise HostError("new cannot be reached", resolution="Start it.")
    yield


def test_a_target_that_is_gone_for_good(left: list[Instance]) -> None:
    source = Source(by_marker.told(LIVE))
    with pytest.raises(HostError) as caught:
        by_marker.rollback_on(MOVE, source, connect=unreachable)  # type: ignore[arg-type]
    assert f"portkit rollback {MOVE} --on old --without-target" in caught.value.resolution
    assert "without proof that it is stopped" in caught.value.resolution
    with pytest.raises(ConflictError, match="may have been started on new") as refused:
        _without(source, unreachable)
    assert "--without-target --discard-writes" in refused.value.resolution
    assert source.done == ["move.list"] * 2
    assert _without(source, unreachable, discard_writes=True)
    assert source.done[-4:] == ["settle", "unfence", "start", "move.end"]


@pytest.mark.parametrize(
    ("endpoint", "known"), [("ssh://new", True), ("ssh://another", False), ("local", False)]
)
def test_a_target_that_can_be_reached_is_asked(
    left: list[Instance], endpoint: str, known: bool
) -> None:
    """Whatever else has its name here proves nothing: the user vouches for it."""
    source = Source({**by_marker.told(LIVE), "endpoint": endpoint})
    if known:
        with pytest.raises(ConflictError, match="new can be reached"):
            _without(source, connect, discard_writes=True)
        assert source.done == ["move.list"]
    else:
        assert _without(source, connect, discard_writes=True)
        assert source.done[-1] == "move.end"


@pytest.mark.parametrize("role", ["source", "target"])
def test_a_host_where_no_app_ran_needs_no_other(left: list[Instance], role: str) -> None:
    source = Source({} if role == "source" else by_marker.told(LIVE), role=role)
    with pytest.raises(ConflictError, match="for the source of a running App"):
        _without(source, connect, discard_writes=True)


def _without(source: Any, by: Any, *, discard_writes: bool = False) -> bool:
    return by_marker.rollback_on(
        MOVE, source, discard_writes=discard_writes, without_target=True, connect=by
    )
