"""Podman as the only engine of a host: the image form moves there as it does to Docker."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit import lab as lab_room
from portkit.lab import Lab
from tests.integration.commands import ROOT, ask, moved, on, portkit, services, wait_for

pytestmark = pytest.mark.lab
GATE = "fixtures/apps/gate"
ON, TO = ("--on", "lab:delta"), ("--to", "lab:delta")
# Everything that a Move could leave.
LEFT = (
    "podman ps -aq; podman volume ls -q; podman images -q --filter reference='*/portkit/held';"
    " podman network ls --format '{{.Name}}' | grep -v '^podman$';"
    " ls /var/lib/portkit/store/tmp /var/lib/portkit/store/blobs/sha256 | grep -v :"
)
COUNTED = (
    "use IO::Socket::INET; $SIG{TERM} = sub { exit 0 }; $SIG{PIPE} = 'IGNORE';"
    " my $l = IO::Socket::INET->new(LocalPort => 80, Listen => 9, ReuseAddr => 1) or die;"
    " while (my $c = $l->accept) { <$c>; open my $f, '<', '/data/word' or die; my $w = <$f>;"
    ' print $c "HTTP/1.0 200 OK\\r\\n\\r\\n$w"; close $c }'
)


@pytest.fixture(scope="module")
def delta(lab: Lab) -> str:
    lab_room.up(["delta"], lab=lab)
    return lab.address("delta")


def left(lab: Lab) -> str:
    return on(lab, "delta", LEFT, check=False).strip()


def test_it_is_told_beforehand(lab: Lab, delta: str, store: Path) -> None:
    words = ("check", GATE, "--from", "lab:alpha", *ON, "--output", "json")
    report = json.loads(portkit(*words, store=store).text)
    cells = {cell["form"]: cell for cell in report["cells"]}
    assert cells["image"]["verdict"] == "native"
    assert "Podman 5." in cells["image"]["reason"]
    assert cells["disk"]["verdict"] == "incompatible"
    rules = {row["rule"] for row in cells["image"]["findings"]}
    assert {"podman-health", "podman-restart"} <= rules
    assert not {"podman-ulimit", "podman-log", "podman-links", "port-user"} & rules


def test_a_project(lab: Lab, delta: str, store: Path, tmp_path: Path) -> None:
    before, url = left(lab), f"http://{delta}:8151/"
    with moved("gate", "delta", store, "--form", "image") as report:
        move, (form,) = report["move"], report["forms"]
        assert form["boot"]["engine"] == "podman"
        # The gate waits for the counter's healthcheck, which no systemd repeats there.
        assert form["ttfr"]["healthy_s"] > 0
        assert ask(url, "POST") == b"count 1\n"
        gate = "$(podman ps -q --filter label=portkit.service=gate)"
        rights = on(lab, "delta", f"podman exec {gate} grep CapEff /proc/1/status")
        assert int(rights.split()[1], 16) == 0, "its user is nobody"
        assert services("delta", move, "image", store) == {
            "counter": "running",
            "gate": "running",
        }
        assert "gate | listening on 80" in portkit("logs", "gate", *ON, store=store).text
        portkit("stop", "gate", *ON, store=store)
        portkit("start", "gate", *ON, store=store)
        wait_for(url)
        assert ask(url) == b"count 1\n"
        again = ("move", GATE, "--from", "lab:alpha", "--to", "lab:delta", "--form", "image")
        refused = portkit(*again, store=store, check=False)
        assert b"network-taken" in refused.stderr
        portkit("gc", *ON, store=store)
        # Its layer is there, in Podman's own folders: nothing of it is sent again.
        twin = (ROOT / GATE / "compose.yaml").read_text().replace("8151", "8153")
        (tmp_path / "compose.yaml").write_text(twin.replace("name: gate", "name: twin"))
        with moved(tmp_path, "delta", store, "--form", "image") as second:
            assert second["forms"][0]["transfer"]["sent_bytes"] < 100_000
            assert ask(f"http://{delta}:8153/") == b"count 0\n"
            assert ask(url) == b"count 1\n"
    assert left(lab) == before


@pytest.fixture
def counted(lab: Lab) -> Iterator[str]:
    """A container with data that somebody runs on alpha."""
    words = ["docker", "run", "-d", "--name", "worded", "--restart", "always", "-p", "8152:80"]
    words += ["-v", "worded-data:/data", "debian:bookworm-slim"]
    words += ["sh", "-c", 'echo moved > /data/word; exec perl -e "$0"', COUNTED]
    on(lab, "alpha", shlex.join(words))
    wait_for(f"http://{lab.address('alpha')}:8152/")
    yield "worded"
    on(lab, "alpha", "docker rm -f worded; docker volume rm worded-data", check=False)


def test_what_runs_on_docker_moves_with_its_data(
    lab: Lab, delta: str, store: Path, counted: str
) -> None:
    before = left(lab)
    words = ("move", "container:worded", "--from", "lab:alpha", *TO, "--output", "json")
    report = json.loads(portkit(*words, store=store).text)
    try:
        assert ask(f"http://{delta}:8152/") == b"moved\n"
        state = "docker inspect -f '{{.State.Status}} {{.HostConfig.RestartPolicy.Name}}' worded"
        assert on(lab, "alpha", state).strip() == "exited no"
        there = f"portkit-worded-{report['move'].removeprefix('pk-')}"
        back = ("move", f"container:{there}", "--from", "lab:delta", "--to", "lab:beta")
        refused = portkit(*back, store=store, check=False)
        assert b"a running container cannot be moved from Podman" in refused.stderr
        # An undone Move: the App runs where it ran, with its policy.
        portkit("rollback", report["move"], "--discard-writes", store=store)
        wait_for(f"http://{lab.address('alpha')}:8152/")
        assert on(lab, "alpha", state).strip() == "running always"
    finally:
        portkit("rm", "--yes", report["move"], *ON, store=store, check=False)
        on(lab, "delta", "podman volume rm -f worded-data", check=False)
    assert left(lab) == before
