"""Which of an App's ports its source forwards to the target."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from portkit.errors import AppError
from portkit.host import Host
from portkit.model import App, Port
from portkit.move import forward
from portkit.move.plan import Plan

LOCAL = Port(5432, 5432, "tcp", "127.0.0.1")


class Remote:
    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def call(self, verb: str, args: Any) -> dict[str, Any]:
        self.asked.append((verb, args))
        return {}


def host(name: str, address: str) -> Any:
    return SimpleNamespace(name=name, endpoint=name, address=lambda: address, remote=Remote())


def test_ports_of_the_host_itself_are_not_forwarded() -> None:
    source, target = host("a", "192.0.2.1"), host("b", "192.0.2.2")
    ports = (Port(80, 8080), LOCAL, Port(9, 9, "tcp", "::1"), Port(53, 53, "udp"))
    plan = SimpleNamespace(move="pk-000000000000", app="shop", ports=ports, live=None)
    forward.begin(cast(Plan, plan), cast(Host, source), cast(Host, target))
    assert [args["rows"] for _, args in source.remote.asked] == [[["", 8080, "192.0.2.2", 8080]]]


def test_a_port_that_the_engine_chose_is_forwarded_under_that_number() -> None:
    source, target = host("a", "192.0.2.1"), host("b", "192.0.2.2")
    live = SimpleNamespace(chosen={"80/tcp": 49153})
    ports = (Port(80), Port(81))
    plan = SimpleNamespace(move="pk-000000000000", app="shop", ports=ports, live=live)
    forward.begin(cast(Plan, plan), cast(Host, source), cast(Host, target))
    ((_, args),) = source.remote.asked
    assert [row[1::2] for row in args["rows"]] == [[49153, 80], [81, 81]]


@pytest.mark.parametrize(("ports", "fits"), [((LOCAL,), False), ((LOCAL, Port(80)), True)])
def test_an_app_that_only_its_own_host_reaches(ports: tuple[Port, ...], fits: bool) -> None:
    app = cast(App, SimpleNamespace(running=True, services=[SimpleNamespace(ports=ports)]))
    source, target = cast(Host, host("a", "192.0.2.1")), cast(Host, host("b", "192.0.2.2"))
    if fits:
        forward.refuse([app], source, target)
        return
    with pytest.raises(AppError) as raised:
        forward.refuse([app], source, target)
    assert "127.0.0.1" in raised.value.details
