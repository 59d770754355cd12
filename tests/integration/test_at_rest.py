"""What does not run at the source does not run on the target, in either form."""

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
