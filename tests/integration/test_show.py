"""What a real compose started is shown as the file that it was started from."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from portkit import load, process
from portkit.lab import Lab
from portkit.model import App
from tests.integration.commands import HAVE_COMPOSE, on, portkit

pytestmark = pytest.mark.lab
HOST, IMAGE = "gamma", "debian:bookworm-slim"
FILE = """
name: seen
services:
  db:
    image: debian:bookworm-slim
    command: [sleep, "1000"]
    stop_grace_period: 0s
    environment: {WORD: "a$$b", EMPTY: ""}
    volumes: [/anonymous, data:/data]
    networks:
      back: {aliases: [store]}
    healthcheck: {test: "test -d /data", interval: 500ms, timeout: 30s, retries: 9}
    mem_limit: 64m
    cpus: 0.5
    user: "7:8"
    restart: unless-stopped
  web:
    image: debian:bookworm-slim
    entrypoint: [/bin/sh, -c]
    command: ["exec sleep 1000"]
    hostname: www
    stop_signal: SIGKILL
    ports: ["8131:80", "127.0.0.1:8132:81/udp"]
    networks: {back: , front: }
    depends_on:
      db: {condition: service_healthy}
    tmpfs: ["/scratch:size=1m"]
    cap_drop: [ALL]
    read_only: true
    pids_limit: 50
    labels: {own: "yes"}
    sysctls: {net.ipv4.ip_local_port_range: "20000 30000"}
    ulimits: {nofile: {soft: 100, hard: 200}}
  beside:
    image: debian:bookworm-slim
    command: [sleep, "1000"]
    stop_grace_period: 0s
    network_mode: service:web
networks: {front: , back: {internal: true}}
volumes: {data: }
"""


@pytest.fixture
def started(lab: Lab) -> Iterator[None]:
    """The project, as compose started it from that file."""
    # The image comes from alpha: nothing can be pulled here.
    there = on(lab, HOST, f"{HAVE_COMPOSE}; docker image inspect {IMAGE} >/dev/null; echo $?")
    if there.split()[-1] != "0":
        ssh = f"ssh -F {shlex.quote(str(lab.ssh_config))}"
        process.run(
            ["sh", "-c", f"{ssh} lab-alpha docker save {IMAGE} | {ssh} lab-{HOST} docker load"]
        )
    up(lab, FILE)
    yield
    on(lab, HOST, "docker-compose -p seen down -v")
    if there.split()[-1] != "0":
        on(lab, HOST, f"docker rmi {IMAGE}")


def up(lab: Lab, text: str) -> None:
    argv = ["ssh", "-F", lab.ssh_config, f"lab-{HOST}", "docker-compose -p seen -f - up -d --wait"]
    process.run(argv, input=text.encode(), timeout=300)


def fields(app: App) -> set[str]:
    """Every field of every service, in no order: compose starts those at once that need nothing of
    each other."""
    rows = ((each.name, asdict(each)) for each in app.services)
    return {
        f"{name} {key}: {json.dumps(value, sort_keys=True, default=str)}"
        for name, row in rows
        for key, value in row.items()
    }


@pytest.mark.usefixtures("started")
def test_a_project_of_somebody_else(lab: Lab, store: Path, tmp_path: Path) -> None:
    words = ("show", "project:seen", "--on", f"lab:{HOST}")
    shown = portkit(*words, store=store)
    assert shown.stderr.count(b"\n") == 1, "where the host is, and no finding"
    for name, text in (("given", FILE), ("shown", shown.text)):
        (tmp_path / f"{name}.yaml").write_text(text)
    given, found = (load(tmp_path / f"{name}.yaml", environ={}) for name in ("given", "shown"))
    assert fields(found) - fields(given) == fields(given) - fields(found) == set()
    assert sorted(map(repr, found.networks)) == sorted(map(repr, given.networks))
    assert found.volumes == given.volumes
    # And the real compose makes of it what it has made before.
    on(lab, HOST, "docker-compose -p seen down")
    up(lab, shown.text)
    again = portkit(*words, store=store).text
    assert yaml.safe_load(again) == yaml.safe_load(shown.text)
