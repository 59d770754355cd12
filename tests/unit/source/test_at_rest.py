"""What does not run at the source is said before a Move."""

from types import SimpleNamespace
from typing import Any

from portkit.model import Severity
from portkit.source.hindrances import ailing, at_rest


def seen(**containers: str) -> Any:
    """Containers with a state each; one may share the network of another: "running of db"."""
    rows = []
    for name, told in containers.items():
        state, _, other = told.partition(" of ")
        host = SimpleNamespace(
            NetworkMode=f"container:id-{other}" if other else "x", PidMode="", IpcMode=""
        )
        rows.append(
            SimpleNamespace(
                Id=f"id-{name}",
                service=name,
                name=f"shop-{name}-1",
                State=SimpleNamespace(Status=state.removesuffix(" unhealthy")),
                unhealthy=state.endswith(" unhealthy"),
                HostConfig=host,
            )
        )
    return SimpleNamespace(containers=rows)


def told(front: str, **containers: str) -> list[tuple[str, Severity, tuple[str, ...]]]:
    rows = at_rest(seen(**containers), front)
    return [(each.rule, each.severity, each.services) for each in rows]


def test_a_service_that_is_stopped_is_named() -> None:
    assert told("web", web="running", worker="exited", job="created", db="restarting") == [
        ("source-rests", Severity.INFO, ("worker",)),
        ("source-rests", Severity.INFO, ("job",)),
    ]


def test_the_one_that_answers_has_to_run() -> None:
    rows = told("web", web="exited", db="running")
    assert rows == [("source-front-rests", Severity.ERROR, ("web",))]
    assert told("web", web="exited", db="exited") == [], "that it is stopped is another finding"


def test_one_cannot_share_the_network_of_one_that_is_stopped() -> None:
    rows = told("web", web="running of vpn", vpn="exited", other="exited of vpn")
    assert ("source-shares-stopped", Severity.ERROR, ("web",)) in rows
    assert len(rows) == 3


def test_what_is_broken_there_is_said_before_anything_is_stopped() -> None:
    rows = list(ailing(seen(web="running unhealthy", db="running", loop="restarting")))
    assert [(each.rule, each.severity, each.services) for each in rows] == [
        ("source-unhealthy", Severity.WARNING, ("web",)),
        ("source-restarting", Severity.ERROR, ("loop",)),
    ]
    assert "docker stop shop-loop-1" in rows[1].remedy
