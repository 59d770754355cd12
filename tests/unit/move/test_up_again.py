"""What has ended on the target before it is kept is started there again, or is reported."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from portkit import boot
from portkit.clock import Clock
from portkit.errors import (
    BootError,
    ConflictError,
    EngineError,
    HostError,
    PortkitError,
    SpaceError,
)
from portkit.model import Form, Life, LiveContainer, Quiesce
from portkit.move import cutover, pause, steps, up
from portkit.move.ground import Ground
from portkit.move.plan import Pause
from tests.factories import Heard, live, plan


@dataclass
class Restarted:
    """A target on which the App does not run, of a Move whose own process has booted it there."""

    monkeypatch: pytest.MonkeyPatch
    since: str  # of the host, which was booted at "1"
    engine_since: str = field(default="b 7", kw_only=True)  # of its engine, the same
    ends: bool = False  # also when it is started again
    source: PortkitError | None = None  # what is said of whether the source runs
    did: list[str] = field(default_factory=list)
    heard: Heard = field(default_factory=Heard)
    life: Life = field(default_factory=lambda: Life("exited", 0))

    def step(self, name: str, **told: Any) -> Any:
        quiesce = Quiesce(before=("checkpoint",))
        one = LiveContainer("a" * 64, "web", "no", running=True, quiesce=quiesce)
        chosen = plan(
            forms=(Form.IMAGE,),
            keep=Form.IMAGE,
            live=live(containers=(one,), volumes=()),
            pauses=(Pause.COMMIT,),
        )

        @contextmanager
        def runner(*_: object) -> Iterator[Any]:
            yield SimpleNamespace(
                life=lambda *_, **__: self.life,
                logs=lambda *_: "",
                commit=lambda *_: self.did.append("commit"),
            )

        @contextmanager
        def origin(*_: object) -> Iterator[Any]:
            if self.source is not None:
                raise self.source
            yield SimpleNamespace(require_stopped=lambda: self.did.append("stopped"))

        def up(*_: object) -> None:
            self.did.append("up")
            self.life = Life("exited", 1) if self.ends else Life("running")

        self.monkeypatch.setattr(boot, "runner", runner)
        self.monkeypatch.setattr(cutover, "origin", origin)
        self.monkeypatch.setattr(cutover, "up_again", up)
        self.monkeypatch.setattr(pause, "wait_for", lambda *_: None)
        rows = {
            "boot image": {"up_since": "b 1 b 7"},
            "last sync": {"volumes": []},
            "commit": {},
        }
        results: Any = SimpleNamespace(result=lambda name: rows.get(name, {}), **told)
        remote = SimpleNamespace(call=self.call)
        host: Any = SimpleNamespace(endpoint="there", name="there", remote=remote)
        spec: Any = SimpleNamespace(front=None, services=())
        cargo: Any = SimpleNamespace(spec=spec)
        ground = Ground(chosen, results, host, host, Clock(self.heard), cargo)
        return {each.name: each for each in steps.steps_of(ground)}[name]

    def call(self, verb: str, args: object) -> Any:
        assert verb == "kernel.identity"
        return {"boot_id": "b", "since": self.since, "engine_since": self.engine_since}


@pytest.mark.parametrize("since", ["1", "2"])
@pytest.mark.parametrize("step", ["unquiesce", "verify source", "commit"])
def test_what_its_host_or_engine_has_ended_is_started_again_by_the_process_that_booted_it(
    monkeypatch: pytest.MonkeyPatch, step: str, since: str
) -> None:
    there = Restarted(monkeypatch, since)
    there.step(step).do()
    assert there.did[:2] == ["stopped", "up"]
    assert there.heard.messages == [
        "the App does not run on there any more; it is started there again"
    ]


def test_what_ends_again_at_once_is_not_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    there = Restarted(monkeypatch, since="1", ends=True)
    with pytest.raises(BootError, match="ended after its first answer"):
        there.step("commit").do()
    assert there.did == ["stopped", "up"]


def test_while_a_move_waits_to_be_kept_its_app_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host was restarted, and could not be reached for a while."""
    there, looks = Restarted(monkeypatch, since="2"), iter(range(10))
    waits = there.step("confirm", told=lambda pause: next(looks) > 4)
    real = pause.up_since
    errors: list[Exception] = [HostError("no route"), HostError("no route", details="old")]

    def look(host: Any, form: Form) -> str:
        if errors:
            raise errors.pop()
        return real(host, form)

    monkeypatch.setattr(pause, "up_since", look)
    waits.do()
    assert there.did == ["stopped", "up"]
    assert [text for text in there.heard.messages if "no route" in text] == [
        "whether the App serves on new is not known: no route (old)"
    ]


def test_what_the_restart_of_the_engine_alone_has_ended_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there, looks = Restarted(monkeypatch, since="1"), iter(range(10))
    there.engine_since = "b 8"
    there.step("confirm", told=lambda _: next(looks) > 4).do()
    assert there.did == ["stopped", "up"]


def test_the_engines_start_says_nothing_of_a_vm() -> None:
    row = {"boot_id": "b", "since": "1", "engine_since": "b 7"}
    host: Any = SimpleNamespace(remote=SimpleNamespace(call=lambda *_: row))
    assert up.up_since(host, Form.IMAGE) == "b 1 b 7"
    assert up.up_since(host, Form.DISK) == "b 1"


def test_a_guest_that_stands_still_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of its host is full."""
    there, looks = Restarted(monkeypatch, since="1"), iter(range(10))
    there.life = Life("running", stuck=True)
    there.step("confirm", told=lambda _: next(looks) > 4).do()
    (told,) = [text for text in there.heard.messages if "stood still" in text]
    assert "Make room on there" in told
    with pytest.raises(SpaceError, match="stood still after its first answer"):
        there.step("commit").do()
    assert there.did == []


def test_of_what_ends_in_another_way_the_user_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody has stopped it, or it has ended by itself."""
    there, looks = Restarted(monkeypatch, since="1"), iter(range(10))
    there.step("confirm", told=lambda pause: next(looks) > 4).do()
    assert there.did == []
    (told,) = [text for text in there.heard.messages if "has ended" in text]
    assert told.startswith("the App has ended on new with code 0, so nobody serves")
    assert "no restart policy starts it" in told


def test_what_ends_after_it_was_started_again_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its host was restarted once. Somebody stops it afterwards, starts it, and stops it again."""
    there = Restarted(monkeypatch, since="2")
    ended, up = Life("exited", 0), Life("running")
    lives = [ended, up, ended, ended, up, up, ended]
    waits = there.step("confirm", told=lambda _: not lives)
    monkeypatch.setattr(pause, "wait_for", lambda *_: setattr(there, "life", lives.pop(0)))
    waits.do()
    assert there.did == ["stopped", "up"]
    heard = there.heard.messages[1:]
    assert ["has ended" in text for text in heard] == [False, True, True]


@pytest.mark.parametrize("error", [EngineError("no answer"), ConflictError("it runs there")])
def test_while_the_source_may_run_nothing_is_started_on_the_target(
    monkeypatch: pytest.MonkeyPatch, error: PortkitError
) -> None:
    there, looks = Restarted(monkeypatch, since="2", source=error), iter(range(10))
    waits = there.step("confirm", told=lambda _: next(looks) > 4)
    if isinstance(error, ConflictError):
        with pytest.raises(ConflictError):
            waits.do()
    else:
        waits.do()
        assert "whether the App serves on new is not known: no answer" in there.heard.messages
    assert "up" not in there.did
