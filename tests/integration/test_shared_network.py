"""Apps in a network that is not theirs alone, such as a reverse proxy's."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit.lab import Lab
from tests.integration.commands import PUBLISHED, ask, moved, on, portkit, write_app
from tests.integration.counter import PORT, SERVER, counter, remove

pytestmark = pytest.mark.lab

NETWORKS = "docker network ls --format '{{.Name}}'"
SECOND = PORT + 1
SOCKET = "/var/run/docker.sock"


@pytest.fixture
def two(lab: Lab) -> Iterator[None]:
    """Two containers in one network on alpha."""
    on(lab, "alpha", "docker network create edge")
    counter(lab, "one", "--network", "edge", "-v", f"{SOCKET}:/run/engine.sock")
    words = ["docker", "run", "-d", "--name", "two", "--network", "edge", "-p", f"{SECOND}:80"]
    words += ["-v", "two-data:/data", "debian:bookworm-slim", "perl", "-e", SERVER]
    on(lab, "alpha", shlex.join(words))
    yield
    for name in ("one", "two"):
        remove(lab, name)
    on(lab, "alpha", "docker network rm edge")


def test_two_apps_of_one_network_move_one_after_the_other(lab: Lab, store: Path, two: None) -> None:
    before = on(lab, "beta", NETWORKS)
    made = []
    told = []
    for name in ("one", "two"):
        words = [f"container:{name}", "--from", "lab:alpha", "--to", "lab:beta"]
        if name == "one":
            refused = portkit("move", *words, store=store, check=False).stderr
            assert f"--same-path {SOCKET}".encode() in refused
            words += ["--same-path", SOCKET]
        report = json.loads(portkit("move", *words, "--output", "json", store=store).text)
        made.append(report["move"])
        told.append([row["rule"] for row in report["forms"][0]["compat"]["findings"]])
    assert ["network-external" in rules for rules in told] == [True, False]
    for port in (PORT, SECOND):
        assert ask(f"http://{lab.address('beta')}:{port}/", "POST", b"") == b"1\n"
    one_there = on(lab, "beta", f"docker ps -q --filter label=portkit.move={made[0]}").strip()
    on(lab, "beta", f"docker exec {one_there} test -S /run/engine.sock")
    two_there = on(lab, "beta", f"docker ps -q --filter label=portkit.move={made[1]}").strip()
    reach = "use IO::Socket::INET; exit !IO::Socket::INET->new('one:80')"
    on(lab, "beta", shlex.join(["docker", "exec", two_there, "perl", "-e", reach]))
    on(lab, "beta", f"docker stop {two_there}")  # the engine would remove its network
    there = ("--on", "lab:beta")
    portkit("rm", "--yes", "--data", made[0], *there, store=store)
    portkit("gc", *there, store=store)
    assert "edge" in on(lab, "beta", NETWORKS).split()
    portkit("start", made[1], *there, store=store)
    portkit("rm", "--yes", "--data", made[1], *there, store=store)
    portkit("gc", *there, store=store)
    assert on(lab, "beta", NETWORKS) == before


def test_a_network_that_a_file_takes_for_granted(lab: Lab, store: Path, tmp_path: Path) -> None:
    """It is made where the target has none, and goes with the App."""
    before = on(lab, "beta", NETWORKS)
    text = json.dumps(SERVER.replace("$", "$$"))
    lines = f"    command: [perl, -e, {text}]\n"
    outer = "    networks: [outer]\nnetworks: {outer: {external: true}}\n"
    folder = write_app(tmp_path / "app", lines + PUBLISHED + outer)
    with moved(folder, "beta", store, "--form", "image") as report:
        rules = [row["rule"] for row in report["forms"][0]["compat"]["findings"]]
        assert "network-external" in rules
        container = on(lab, "beta", f"docker ps -q --filter label=portkit.move={report['move']}")
        joined = "docker inspect -f '{{json .NetworkSettings.Networks}}'"
        assert list(json.loads(on(lab, "beta", f"{joined} {container}"))) == ["outer"]
    assert on(lab, "beta", NETWORKS) == before
