"""No more is demanded of an App on the target than it did at its source, in either form."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit.lab import Lab
from tests.integration.commands import on, portkit, restarted, services, wait_for
from tests.integration.counter import SERVER

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]
PORT = 8142
LATE = 8143
JOB = "echo it ran >> /data/runs"


@pytest.fixture
def project(lab: Lab) -> Iterator[str]:
    """A compose project on alpha: a server that needs a job, which ended long ago, and a worker,
    which its user has stopped."""
    common = "docker run -d -v rests-data:/data --label com.docker.compose.project=rests"
    common += " --stop-timeout 1 --label com.docker.compose.container-number=1"
    image, sleep = "debian:bookworm-slim", ["sleep", "1000"]
    needs = "job:service_completed_successfully:false,worker:service_started:false"
    for name, more, command in (
        ("job", "", ["sh", "-c", JOB]),
        ("worker", "--restart always", sleep),
        ("web", f"--restart always -p {PORT}:80", ["perl", "-e", SERVER]),
    ):
        label = f"--label com.docker.compose.depends_on={needs if name == 'web' else ''}"
        label += f" --label com.docker.compose.service={name} --name rests-{name}-1"
        on(lab, "alpha", f"{common} {label} {more} {image} {shlex.join(command)}")
    wait_for(f"http://{lab.address('alpha')}:{PORT}/")
    on(lab, "alpha", "docker wait rests-job-1; docker stop rests-worker-1")
    yield "rests"
    names = " ".join(f"rests-{name}-1" for name in ("job", "worker", "web"))
    on(lab, "alpha", f"docker rm -f {names}; docker volume rm rests-data", check=False)


@pytest.mark.parametrize("form", ["image", "disk"])
def test_what_rests_stays_so_until_it_is_started(
    lab: Lab, store: Path, project: str, form: str
) -> None:
    words = ("--from", "lab:alpha", "--to", "lab:beta", "--form", form, "--output", "json")
    report = json.loads(portkit("move", f"project:{project}", *words, store=store).text)
    move, there = report["move"], ("--on", "lab:beta")
    try:
        (made,) = report["forms"]
        told = [each for each in made["compat"]["findings"] if each["rule"] == "source-rests"]
        assert sorted(each["services"][0] for each in told) == ["job", "worker"]
        resting = {"job": "created", "worker": "created", "web": "running"}
        assert services("beta", move, form, store) == resting
        restarted(lab, "beta")
        wait_for(f"http://{lab.address('beta')}:{PORT}/", 300.0)
        assert services("beta", move, form, store) == resting
        if form == "image":
            runs = "docker run --rm -v rests-data:/data debian:bookworm-slim cat /data/runs"
            assert on(lab, "beta", runs) == "it ran\n", "on the live data"
        portkit("stop", move, *there, store=store)
        portkit("start", move, *there, store=store)
        wait_for(f"http://{lab.address('beta')}:{PORT}/", 300.0)
        woken = {"job": "exited", "worker": "running", "web": "running"}
        assert services("beta", move, form, store) == woken
    finally:
        portkit("rm", "--yes", "--data", move, *there, store=store)


# It ends until its database accepts connections, which that does after some seconds.
WEB = "use IO::Socket::INET; IO::Socket::INET->new('db:5432') or exit 1; " + SERVER
DB = (
    "use IO::Socket::INET; $SIG{TERM} = sub { exit 0 }; sleep 4; "
    "my $l = IO::Socket::INET->new(LocalPort => 5432, Listen => 9, ReuseAddr => 1) or die; "
    "while (my $c = $l->accept) { close $c }"
)


@pytest.fixture
def late(lab: Lab) -> Iterator[str]:
    """A compose project on alpha that relies on its restart policies, with a service whose
    healthcheck has always failed."""
    common = "docker run -d --restart always --label com.docker.compose.project=late"
    common += " --stop-timeout 1 --network late_default"
    common += " --label com.docker.compose.container-number=1"
    labels = "--label com.docker.compose.project=late --label com.docker.compose.network=default"
    on(lab, "alpha", f"docker network create {labels} late_default")
    sick = "--health-cmd 'echo no; false' --health-interval 1s --health-retries 1"
    for name, more, command in (
        ("db", "--network-alias db", ["perl", "-e", DB]),
        ("sick", sick, ["sleep", "1000"]),
        ("web", f"-p {LATE}:80", ["perl", "-e", WEB]),
    ):
        label = f"--label com.docker.compose.service={name} --name late-{name}-1"
        needs = "sick:service_healthy:false" if name == "web" else ""
        label += f" --label com.docker.compose.depends_on={needs}"
        words = shlex.join(["debian:bookworm-slim", *command])
        on(lab, "alpha", f"{common} {label} {more} {words}")
    wait_for(f"http://{lab.address('alpha')}:{LATE}/")
    yield "late"
    names = " ".join(f"late-{name}-1" for name in ("db", "sick", "web"))
    on(lab, "alpha", f"docker rm -f {names}; docker network rm late_default", check=False)


@pytest.mark.parametrize("form", ["image", "disk"])
def test_one_that_relies_on_its_restart_policies(
    lab: Lab, store: Path, late: str, form: str
) -> None:
    words = ("--from", "lab:alpha", "--to", "lab:beta", "--form", form, "--output", "json")
    done = portkit("move", f"project:{late}", *words, store=store)
    report = json.loads(done.text)
    move, told = report["move"], report["forms"][0]["compat"]["findings"]
    try:
        assert "source-unhealthy" in [each["rule"] for each in told]
        assert b"web exited with code 1; it is started again" in done.stderr
        wait_for(f"http://{lab.address('beta')}:{LATE}/")
        there = services("beta", move, form, store)
        assert (there["web"], there["sick"]) == ("running", "running unhealthy")
    finally:
        portkit("rm", "--yes", "--data", move, "--on", "lab:beta", store=store)
