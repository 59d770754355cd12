"""An App goes into a bundle and comes out the same; what no compose file may say is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit import app as apps
from portkit.bundle import described
from portkit.errors import AppError
from portkit.model import App, Attachment, Service

ROOT = Path(__file__).parents[3]
IMAGE = "sha256:" + "1" * 64
APPS = sorted((ROOT / "fixtures/apps").glob("*/*.yaml"))
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
MANY = """
services:
  web:
    image: registry:2
    command: ["a $$b", "", "1.10"]
    entrypoint: [run]
    environment: {A: "$$HOME", B: "no", C: "22:22", D: "x=y"}
    user: "0"
    group_add: ["7"]
    working_dir: /srv
    hostname: web
    ports: ["127.0.0.1:8080:80", "53:53/udp", "[::1]:81:81", "90"]
    volumes: [data:/data:ro, /more, {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0o700}}]
    healthcheck: {test: [CMD, x], interval: 1m30s, timeout: 1.5s, retries: 3, start_period: 5us}
    restart: on-failure:3
    stop_signal: SIGINT
    stop_grace_period: 1m
    ulimits: {nofile: {soft: 10, hard: 20}, core: -1}
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    read_only: true
    init: true
    cpus: 0.5
    mem_limit: 64m
    labels: {a.b: c}
    networks: {front: {aliases: [w], ipv4_address: 10.1.0.5, priority: 3}, outer: }
    extra_hosts: ["x:10.0.0.1", "y=::1"]
    dns: 10.0.0.1
    dns_search: a.b
    dns_opt: ["ndots:2"]
    domainname: e.org
    sysctls: {net.core.somaxconn: 5}
    shm_size: 64m
    security_opt: ["no-new-privileges:true"]
    pids_limit: 9
    mem_reservation: 32m
    memswap_limit: -1
    oom_score_adj: -5
    tty: true
    stdin_open: true
    pid: host
    ipc: shareable
    userns_mode: host
    devices: ["/dev/a:/dev/b:r"]
    logging: {driver: local, options: {max-size: 1m}}
    container_name: webby
    expose: [80]
    scale: 2
    platform: linux/amd64
    x-portkit:
      memory: 128m
      cpus: 2
      disk: 3g
      firmware: uefi
      volume: 20g
      health: {scheme: https, path: /x, port: 80, contains: "$$", ca_file: own.pem, timeout: 5s,
               method: healthcheck, running: 1m, settle: 1500ms}
networks:
  front: {internal: true, driver: bridge, enable_ipv6: true, labels: {a: b}, driver_opts: {c: d},
          ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1, ip_range: 10.1.0.0/25}]}}
  outer: {external: true, name: theirs}
volumes: {data: {name: my, driver: local, driver_opts: {type: tmpfs}, labels: {x: y}}}
"""


def back(app: App) -> Service:
    text, ca = described.render(app, IMAGE)
    return described.read(text, ca, app.source).service


@pytest.mark.parametrize("path", APPS, ids=str)
def test_the_fixtures(path: Path) -> None:
    app = apps.load(path)
    if len(app.services) > 1:
        with pytest.raises(AppError, match="one service"):
            back(app)
        return
    service = back(app)
    assert service == replace(app.service, build=None, image=app.service.image or IMAGE)


def test_every_key(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(MANY)
    (tmp_path / "own.pem").write_text("a CA")
    app = apps.load(tmp_path)
    health = replace(app.service.health, ca_file=Path("ca.pem"))
    assert back(app) == replace(app.service, health=health)
    text, ca = described.render(app, IMAGE)
    assert ca == "a CA"
    again = described.read(text, ca, app.source)
    assert (again.networks, again.volumes) == (app.networks, app.volumes)


@given(
    st.lists(TEXT, max_size=4), st.dictionaries(st.from_regex("[A-Z]{1,5}", fullmatch=True), TEXT)
)
def test_any_words(words: list[str], environment: dict[str, str]) -> None:
    service = Service(
        "s",
        image="i",
        command=tuple(words),
        environment=environment,
        networks=(Attachment("default"),),
    )
    assert back(App("a", (service,), "i")) == service


@pytest.mark.parametrize(
    "row",
    [
        {"volumes": [{"type": "volume", "target": "/etc"}]},
        {"volumes": [{"type": "bind", "source": "/var/run/docker.sock", "target": "/x"}]},
        {"ports": [{"target": 0}]},
        {"restart": "-rf"},
        {"image": "../x"},
        {"user": "-rf"},
        {"build": "."},
        {"unknown": 1},
        {"env_file": "/etc/passwd"},
        {"ulimits": {"nofile": 1 << 80}},
    ],
)
def test_a_hostile_description(row: dict[str, object]) -> None:
    text = json.dumps({"name": "a", "services": {"s": {"image": "i", **row}}})
    with pytest.raises(AppError):
        described.read(text, "", "x")


@pytest.mark.parametrize(
    "text",
    [
        "env_file: [{file}]",
        "env_file: [{{path: {file}, format: raw}}]",
        "volumes: [{{type: bind, source: {file}, target: /x}}]",
        "x-portkit: {{health: {{scheme: https, ca_file: {file}}}}}",
        "build: {folder}",
    ],
)
def test_no_file_of_this_machine_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_text("A=hunter2\n")
    row = text.format(file=tmp_path / "secret", folder=tmp_path)
    document = f"name: a\nservices:\n  s:\n    image: i\n    {row}\n"
    with pytest.raises(AppError, match="outside of the document") as caught:
        described.read(document, "a CA", "x")
    assert "hunter2" not in str(caught.value)


def test_a_bind_mount_is_named(tmp_path: Path) -> None:
    """A folder of the host is not part of the App, so no bundle holds it."""
    (tmp_path / "compose.yaml").write_text(
        "services:\n  a:\n    image: x\n    volumes: [/opt/data:/d, v:/v, /srv:/s]\n"
        "volumes: {v: }\n"
    )
    app = apps.load(tmp_path, environ={})
    with pytest.raises(AppError, match="bind mounts") as caught:
        described.render(app, IMAGE)
    assert caught.value.details.splitlines() == [
        f"{tmp_path / 'compose.yaml'}: /opt/data on /d",
        f"{tmp_path / 'compose.yaml'}: /srv on /s",
    ]
    assert "named volume" in caught.value.resolution


def test_what_no_compose_file_may_say_is_no_fault_of_a_file() -> None:
    """An App of the library's caller: there is no document that somebody could correct."""
    app = App("shop", (Service("shop", image="-rf"),), "./shop")
    with pytest.raises(AppError, match="cannot be described in a bundle") as caught:
        described.render(app, IMAGE)
    assert "Correct the file" not in caught.value.resolution


def test_half_a_character() -> None:
    with pytest.raises(AppError, match="half a character"):
        described.read('{"services": "\ud800"}', "", "x")
