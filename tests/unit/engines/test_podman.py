"""Podman where Docker is expected, by what Podman 5.4.2 answered (fixtures/hosts)."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portkit.engines import docker_spec, podman
from portkit.engines.docker import Docker
from portkit.engines.docker_client import Inspected, Row, Version, Volumes, read, read_all
from portkit.engines.docker_source import DockerSource
from portkit.engines.docker_state import life
from portkit.errors import EngineError
from portkit.model import CAPABILITIES, RunSpec, Ulimit
from tests.factories import app_spec, spec
from tests.unit.fake_engine import FakeEngine, fake_engine

RECORDED = Path(__file__).parents[3] / "fixtures/hosts/debian-13-podman"


def said(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text())


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as made:
        made.answers["GET /version"] = (200, said("version"))
        yield made


def test_it_is_known() -> None:
    assert read(Version, said("version")).podman
    docker = {"Components": [{"Name": "Engine"}, {"Name": "a podman of somebody's"}]}
    assert not read(Version, docker).podman


def test_its_answers() -> None:
    rows = read_all(Row, said("containers"))
    assert {row.Image.partition(":")[0] for row in rows} == {"portkit/held"}
    assert {port.PublicPort for row in rows for port in row.Ports} >= {8151}
    one = life(read(Inspected, said("container")))
    assert (one.status, one.health) == ("running", "healthy")
    assert one.address.startswith("10.89.")
    assert all(each.Mountpoint for each in read(Volumes, said("volumes")).Volumes)


def adapted(service: RunSpec) -> dict[str, Any]:
    config = docker_spec.host_config(app_spec(service), service, "pk-0123456789ab", [])
    return podman.adapted(config, service)


def test_a_user_without_rights_is_given_none() -> None:
    """What Podman is told to add, such a user really has."""
    found = adapted(spec(user="nobody:nogroup", capabilities=("CAP_CHOWN", "CAP_NET_RAW")))
    assert "cap_add" not in found
    assert len(found["cap_drop"]) == len(CAPABILITIES) - 2
    assert not {"CHOWN", "NET_RAW", "ALL"} & set(found["cap_drop"])
    for user in ("", "0", "0:0", "root"):
        found = adapted(spec(user=user, capabilities=("CAP_CHOWN",)))
        assert (found["cap_drop"], found["cap_add"]) == (["ALL"], ["CHOWN"])
    privileged = adapted(spec(user="nobody", privileged=True))
    assert privileged["privileged"]
    assert "cap_drop" not in privileged


def test_ports_below_1024_as_docker_gives_them() -> None:
    name = "net.ipv4.ip_unprivileged_port_start"
    assert adapted(spec())["sysctls"][name] == "0"
    assert adapted(spec(sysctls={name: "80"}))["sysctls"][name] == "80"
    for mode in ("host", "service:other"):
        service = spec(service="one", network_mode=mode)
        assert "sysctls" not in podman.adapted({}, service)


def test_the_limit_that_it_has_no_word_for() -> None:
    one = spec()
    limits = {**one.ulimits, "as": Ulimit(-1, -1), "nofile": Ulimit(9, 9)}
    names = [each.name for each in adapted(replace(one, ulimits=limits))["ulimits"]]
    assert "as" not in names
    assert "nofile" in names


def state(health: str, *logged: str, status: str = "running") -> Inspected:
    rows = [{"Start": text, "ExitCode": 0} for text in logged]
    row = said("container")
    row["State"].update(Status=status, Health={"Status": health, "Log": rows or None})
    row["Config"]["Healthcheck"]["Interval"] = 4_000_000_000
    return read(Inspected, row)


def test_a_check_that_nobody_makes_is_overdue() -> None:
    now = [0.0]
    checks = podman.Checks(None, lambda: now[0])
    starting = state("starting")
    assert not checks.overdue("c", starting)
    now[0] = 6.9
    assert not checks.overdue("c", starting)
    now[0] = 7.0
    assert checks.overdue("c", starting)
    assert not checks.overdue("c", state("starting", "12:00"))  # it was made: begin anew
    now[0] = 13.9
    assert not checks.overdue("c", state("starting", "12:00"))
    now[0] = 99.0
    assert checks.overdue("c", state("starting", "12:00"))
    for other in (state("healthy"), state("unhealthy"), state("starting", status="exited")):
        assert not checks.overdue("c", other)


@pytest.mark.parametrize("status", [200, 409])  # 409: it has ended meanwhile
def test_an_overdue_check_is_asked_for(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    row = said("container")
    identity = row["Id"]
    row["State"]["Health"] = {"Status": "starting", "Log": None}
    engine.answers[f"GET /containers/{identity}/json"] = (200, row)
    check = f"/v4.0.0/libpod/containers/{identity}/healthcheck"
    engine.answers[f"GET {check}"] = (status, {"Status": "healthy", "message": "no"})
    monkeypatch.setattr(podman.Checks, "overdue", lambda *_: True)
    docker = Docker(engine.socket, "web2")
    try:
        docker._inspect(identity)
        assert docker._checks.made == 1
    finally:
        docker.close()
    assert engine.asked("GET", check)


def test_what_runs_there_is_not_taken_over(engine: FakeEngine) -> None:
    source = DockerSource(engine.socket, "web2")
    with pytest.raises(EngineError, match="container cannot be moved from Podman"):
        source.see("container", "web")
    source.close()
