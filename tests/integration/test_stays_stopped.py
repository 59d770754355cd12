"""A source whose App has moved away stays stopped when its host restarts, whatever restart policy
it had (hostile input 54), and a rollback gives it back as it was."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit.lab import Lab
from tests.integration.commands import on, portkit, restarted
from tests.integration.counter import SERVER, counter, remove

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
POLICIES = ("always", "unless-stopped", "on-failure")


@pytest.fixture
def project(lab: Lab) -> Iterator[str]:
    """A compose project on alpha, with a service of each policy."""
    name, project = "stays", "--label com.docker.compose.project=stays"
    for policy in POLICIES:
        service = f"{project} --label com.docker.compose.service={policy} --restart {policy}"
        service += " --stop-signal KILL"
        more = f"--label com.docker.compose.container-number=1 --name {name}-{policy}-1"
        run = shlex.join(["debian:bookworm-slim", "perl", "-e", SERVER])
        on(lab, "alpha", f"docker run -d {service} {more} {run}")
    yield name
    names = " ".join(f"{name}-{policy}-1" for policy in POLICIES)
    on(lab, "alpha", f"docker rm -f {names}", check=False)


@pytest.fixture
def one(lab: Lab) -> Iterator[str]:
    """A container on alpha that has failed when it was stopped: Docker starts it with its host."""
    counter(lab, "stays-alone", "--restart", "on-failure", "--stop-signal", "KILL")
    yield "stays-alone"
    remove(lab, "stays-alone")


def seen(lab: Lab, *names: str) -> dict[str, str]:
    shown = "{{.Name}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}}"
    rows = on(lab, "alpha", f"docker inspect -f '{shown}' {' '.join(names)}").splitlines()
    return dict(row.lstrip("/").split(" ", 1) for row in rows)


def test_containers(lab: Lab, store: Path, project: str, one: str) -> None:
    names = (one, *(f"{project}-{policy}-1" for policy in POLICIES))
    before = seen(lab, *names)
    assert sorted(set(before.values())) == [f"true {policy}" for policy in sorted(POLICIES)]
    moves = []
    for what in (f"project:{project}", f"container:{one}"):
        words = ("move", what, "--from", "lab:alpha", "--to", "lab:beta", "--output", "json")
        moves.append(json.loads(portkit(*words, store=store).text)["move"])
    try:
        restarted(lab, "alpha")
        assert seen(lab, *names) == dict.fromkeys(names, "false no")
    finally:
        for move in moves:
            portkit("rollback", move, "--discard-writes", store=store)
    assert seen(lab, *names) == before
