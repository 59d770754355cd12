"""One container out of several: who needs it, and whom it needs."""

from types import SimpleNamespace
from typing import Any

import pytest

from portkit.engines.docker_source import Beside
from portkit.errors import AppError
from portkit.source.siblings import left_alone, require_own


def container(name: str, project: str = "", **modes: str) -> Any:
    host = SimpleNamespace(**{"NetworkMode": "", "PidMode": "", "IpcMode": "", **modes})
    return SimpleNamespace(
        Id=f"id-{name}", name=f"{name}-1", service=name, project=project, HostConfig=host
    )


def beside(name: str, mode: str = "bridge", *needs: str) -> Beside:
    return Beside(name, frozenset({mode, ""}), frozenset(needs))


def test_those_that_need_it_are_named() -> None:
    others = [
        beside("web-1", "shop", "db"),
        beside("cron-1", "shop", "cache"),
        beside("sidecar", "container:id-db"),
        beside("another", "container:db-1"),
    ]
    rows = list(left_alone([container("db", "shop")], others))
    assert [(each.rule, each.evidence) for each in rows] == [
        ("source-needed", ("web-1",)),
        ("source-needed", ("sidecar",)),
        ("source-needed", ("another",)),
    ]
    assert "depends on db-1" in rows[0].message
    assert "shares a namespace of db-1" in rows[1].message
    assert "project:shop" in rows[0].remedy
    (alone,) = left_alone([container("db")], others[2:3])
    assert "sidecar" in alone.remedy


@pytest.mark.parametrize("place", ["NetworkMode", "PidMode", "IpcMode"])
@pytest.mark.parametrize(("project", "way"), [("shop", "project:shop"), ("", "portkit show")])
def test_one_that_needs_another_one_is_not_moved_alone(place: str, project: str, way: str) -> None:
    web = container("web", project, **{place: "container:id-vpn"})
    seen: Any = SimpleNamespace(containers=[web], others={"id-vpn": "vpn-1"})
    with pytest.raises(AppError) as caught:
        require_own(seen)
    assert "vpn-1" in caught.value.details
    assert way in caught.value.resolution
    seen.containers.append(container("vpn", project))
    require_own(seen)
