"""Whole compose projects between real hosts, in both forms, used as their clients use them."""

import json
import urllib.error
from pathlib import Path

import jsonschema
import pytest

from portkit.lab import Lab
from tests.integration import clients
from tests.integration.commands import (
    SCHEMA,
    ask,
    moved,
    on,
    ours,
    portkit,
    services,
    statuses,
    wait_for,
)

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("target", ["beta", pytest.param("gamma", marks=pytest.mark.campaign)])
def test_a_queue_with_its_worker_and_a_migration(lab: Lab, store: Path, target: str) -> None:
    before, address, there = ours(lab, target), lab.address(target), ("--on", f"lab:{target}")
    with moved("queue", target, store) as report:
        jsonschema.validate(report, SCHEMA)
        move = report["move"]
        assert [row["name"] for row in report["app"]["services"]] == [
            "redis",
            "migrate",
            "worker",
            "web",
        ]
        for form in report["forms"]:
            assert form["ttfr"]["healthy_s"] > 0
        clients.queue(address)()
        running = {
            "redis": "running healthy",
            "migrate": "exited",
            "worker": "running",
            "web": "running",
        }
        assert services(target, move, "image", store) == running
        # What compose on the target says of a project that portkit has started.
        listed = on(lab, target, "docker ps --format '{{.Label \"com.docker.compose.service\"}}'")
        assert sorted(listed.split()) == ["redis", "web", "worker"]
        assert "queue_default" in on(lab, target, "docker network ls --format '{{.Name}}'")
        portkit("rm", "--yes", "queue", "migrate", *there, store=store)
        assert "migrate" not in services(target, move, "image", store)
        portkit("stop", "queue", "web", *there, store=store)
        assert services(target, move, "image", store)["web"].startswith("exited")
        portkit("start", "queue", "web", *there, store=store)
        wait_for(f"http://{address}:8085/schema")
        portkit("stop", "queue", *there, store=store)
        # The VM has the port now.
        portkit("start", "queue", "--form", "disk", *there, store=store)
        wait_for(f"http://{address}:8085/schema", 300.0)
        clients.queue(address)()
        assert services(target, move, "disk", store) == running
        said = portkit("logs", "queue", "worker", "--form", "disk", *there, store=store).text
        assert "Job OK" in said
        assert "Redis version" not in said
        whole = portkit("logs", "queue", "--form", "disk", *there, store=store).text
        assert "portkit: migrate exited with code 0" in whole
        refused = portkit(
            "stop", "queue", "web", "--form", "disk", *there, store=store, check=False
        )
        assert refused.code != 0
        assert b"as a whole" in refused.stderr
        portkit("stop", "queue", "--form", "disk", *there, store=store)
        assert statuses(target, move, store) == {"image": "exited", "disk": "exited"}
    assert ours(lab, target) == before
    assert "queue_" not in on(lab, target, "docker network ls --format '{{.Name}}'")


def test_a_project_with_files_of_its_own(lab: Lab, store: Path) -> None:
    before, address = ours(lab, "gamma"), lab.address("gamma")
    with moved("front", "gamma", store, "--keep", "disk") as report:
        clients.front(address)()
        # An open relay would be: the servers are on a network that nothing outside is in.
        with pytest.raises(urllib.error.URLError):
            ask(f"http://{address}:8000/")
        portkit("stop", "front", "--on", "lab:gamma", store=store)
        portkit("start", "front", "--form", "image", "--on", "lab:gamma", store=store)
        wait_for(f"http://{address}:8086/")
        clients.front(address)()
        inspect = "docker inspect $(docker ps -q --filter label=portkit.service=web)"
        mounts = json.loads(on(lab, "gamma", inspect))[0]["Mounts"]
        assert {row["Destination"]: row["RW"] for row in mounts} == {
            "/etc/nginx/nginx.conf": False,
            "/usr/share/nginx/html": False,
        }
        assert services("gamma", report["move"], "image", store)["two"] == "running healthy"
    assert ours(lab, "gamma") == before


@pytest.mark.parametrize(
    ("app", "path", "target"),
    [
        pytest.param("kinto", ":8087/v1/__heartbeat__", "beta", marks=pytest.mark.campaign),
        pytest.param("kinto", ":8087/v1/__heartbeat__", "gamma", marks=pytest.mark.campaign),
        ("wordpress", ":8089/wp-login.php", "beta"),
    ],
)
def test_an_app_with_its_database(lab: Lab, store: Path, app: str, path: str, target: str) -> None:
    before, address = ours(lab, target), lab.address(target)
    with moved(app, target, store, "--keep", "disk") as report:
        jsonschema.validate(report, SCHEMA)
        for form in ("disk", "image"):  # the VM runs already
            there = ("--form", form, "--on", f"lab:{target}")
            if form == "image":
                portkit("start", app, *there, store=store)
                wait_for(f"http://{address}{path}")
            check = clients.FIXTURES[app](address)
            check()
            portkit("stop", app, *there, store=store)
            # Neither had to be killed: each ended in its grace period, on its own stop signal.
            ended = services(target, report["move"], form, store)
            assert set(ended.values()) <= {"exited", "exited 143"}, ended
            if (form, target) == ("disk", "gamma"):
                continue  # a VM takes long to start, and beta's has shown what it keeps
            portkit("start", app, *there, store=store)
            wait_for(f"http://{address}{path}", 300.0)
            check()
            portkit("stop", app, *there, store=store)
    assert ours(lab, target) == before


BROKEN = """
name: broken
services:
  db:
    image: {image}
    command: [sleep, "1000"]
    stop_grace_period: 0s
  job:
    image: {image}
    command: [sh, -c, "echo the disk is full; exit 3"]
    depends_on: [db]
  web:
    image: {image}
    command: [sleep, "1000"]
    depends_on:
      job: {{condition: service_completed_successfully}}
"""
SICK = """
name: sick
services:
  db:
    image: {image}
    command: [sleep, "1000"]
    stop_grace_period: 0s
    healthcheck: {{test: "echo no table; exit 1", interval: 1s, timeout: 5s, retries: 2}}
  web:
    image: {image}
    command: [sleep, "1000"]
    depends_on:
      db: {{condition: service_healthy}}
"""
JOB, DB = ["job", "the disk is full"], ["db", "no table"]


@pytest.mark.parametrize(
    ("form", "text", "words"),
    [
        pytest.param("image", BROKEN, JOB, id="image-a job that fails"),
        pytest.param("disk", BROKEN, JOB, id="disk-a job that fails", marks=pytest.mark.campaign),
        pytest.param("image", SICK, DB, id="image-never healthy", marks=pytest.mark.campaign),
        pytest.param("disk", SICK, DB, id="disk-never healthy"),
    ],
)
def test_one_that_fails_takes_all_back(
    lab: Lab, store: Path, tmp_path: Path, form: str, text: str, words: list[str]
) -> None:
    (tmp_path / "compose.yaml").write_text(text.format(image="debian:bookworm-slim"))
    before = ours(lab, "beta")
    words_of = ("move", str(tmp_path), "--form", form, "--from", "lab:alpha", "--to", "lab:beta")
    done = portkit(*words_of, store=store, check=False)
    assert done.code != 0
    said = done.stderr.decode()
    for word in words:
        assert word in said, said
    assert ours(lab, "beta") == before


NOSY = """
name: nosy
services:
  web:
    image: debian:bookworm-slim
    stop_grace_period: 0s
    command:
      - sh
      - -c
      - |
        mknod /tmp/disk b 254 0; mknod /tmp/port c 4 65
        dd if=/tmp/disk of=/dev/null count=1 && echo the disk is open
        echo x > /tmp/port && echo the port is open
        unshare --user true && echo namespaces are open
        head -c 4 /dev/urandom | wc -c
        echo all was tried; exec sleep 1000
  db:
    image: debian:bookworm-slim
    stop_grace_period: 0s
    command: [sleep, "1000"]
"""


def test_a_service_cannot_reach_what_others_have_on_the_disks(
    lab: Lab, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "compose.yaml").write_text(NOSY)
    with moved(tmp_path, "beta", store, "--form", "disk"):
        said = portkit("logs", "nosy", "web", "--on", "lab:beta", store=store).text
    assert "all was tried" in said
    assert "open\n" not in said
