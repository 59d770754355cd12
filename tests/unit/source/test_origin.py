"""How long the stop of an App at its source is going to take."""

from types import SimpleNamespace
from typing import Any

import pytest

from portkit.model import LiveDomain, LiveVolume
from portkit.source.origin import Containers, Machine
from tests.factories import live


@pytest.mark.parametrize(
    ("ignored", "seconds"),
    [
        ((False, False, False), 0.0),
        ((True, False, False), 10.0),
        ((True, True, False), 30.0),  # at the same time
        ((True, True, True), 35.0),  # one turn after the other
    ],
)
def test_those_that_are_stopped_together_are_waited_for_together(
    ignored: tuple[bool, ...], seconds: float
) -> None:
    turns = [[(11, "SIGTERM", 10.0), (12, "SIGQUIT", 30.0)], [], [(13, "SIGRTMIN+3", 5.0)]]
    asked: list[Any] = []

    def call(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        asked.append((verb, [(row["pid"], row["signal"]) for row in args["processes"]]))
        return {"ignored": list(ignored)}

    engine: Any = SimpleNamespace(stops=lambda ids: turns)
    host: Any = SimpleNamespace(remote=SimpleNamespace(call=call))
    assert Containers(engine, host, live()).waits_s() == seconds
    assert asked == [("process.ignored", [(11, 15), (12, 3), (13, 37)])]


def test_folders_that_stayed_behind_are_named() -> None:
    told: list[Any] = []

    def call(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        told.append((verb, args))
        return {"paths": ["/srv/uploads"]}

    def delete(*_: object) -> tuple[str, ...]:
        told.append("deleted")
        return ("volume data: in use",)

    volumes = (
        LiveVolume(0, "data", "/v/data"),
        LiveVolume(1, "", "/srv/uploads"),
        LiveVolume(2, "", "/srv/gone"),
    )
    engine: Any = SimpleNamespace(
        left=lambda *_: ("volume data",), held=lambda _: ("portkit/held:a",), delete=delete
    )
    host: Any = SimpleNamespace(remote=SimpleNamespace(call=call))
    there = Containers(engine, host, live(volumes=volumes))
    assert there.left({}) == (
        "volume data",
        "folder /srv/uploads (portkit does not delete it)",
    )
    assert told == [("volume.there", {"paths": ["/srv/uploads", "/srv/gone"]})]
    told.clear()
    assert there.delete({}) == ("volume data: in use",)
    assert told == ["deleted", ("image.remove", {"reference": "portkit/held:a"})]


def test_what_is_not_there_any_more_has_a_name() -> None:
    gone: Any = SimpleNamespace(lost=tuple, is_there=lambda identity: False)
    host: Any = SimpleNamespace(name="old")
    assert Containers(gone, host, live()).lost() == (f"container {'a' * 12} (web)",)
    domain = LiveDomain("pk-0123456789ab", "always", autostart=True, running=True)
    vm = Machine(gone, host, live(domain=domain), domain)
    assert vm.lost() == ("VM pk-0123456789ab",)
    vm.require_stopped()  # libvirt, which would be asked, does not know it
