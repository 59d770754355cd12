"""An App goes into a bundle and comes out the same; what no compose file may say is refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit import app as apps
from portkit.app import filled, resolve_all
from portkit.bundle import described
from portkit.errors import AppError
from portkit.model import (
    App,
    AppSpec,
    Attachment,
    ContentFile,
    ContentKind,
    Machine,
    Port,
    RunSpec,
    Service,
    content_numbers,
)
from tests.factories import IMAGE as CONFIG

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
      cpu_model: Nehalem
      volume: 20g
      health: {scheme: https, path: /x, port: 80, contains: "$$", ca_file: own.pem, timeout: 5s,
               expect: "a: *$$", method: healthcheck, running: 1m, settle: 1500ms}
networks:
  front: {internal: true, driver: bridge, enable_ipv6: true, labels: {a: b}, driver_opts: {c: d},
          ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.1, ip_range: 10.1.0.0/25}]}}
  outer: {external: true, name: theirs}
volumes: {data: {name: my, driver: local, driver_opts: {type: tmpfs}, labels: {x: y}}}
"""


PROJECT = """
name: shop
services:
  web:
    image: web
    ports: ["8080:80"]
    depends_on:
      db: {condition: service_healthy, restart: true}
      once: {condition: service_completed_successfully, required: false}
    links: ["db:store"]
    networks: {front: {aliases: [w]}, back: }
    volumes: ["./html:/html:ro", "data:/data", "./shared:/s"]
    configs: [motto, {source: motto, target: /etc/motto, uid: "5", mode: 0440}]
    secrets: [key]
    profiles: [all]
    x-portkit: {memory: 128m, health: {scheme: https, ca_file: own.pem}}
  db:
    image: db
    healthcheck: {test: "true"}
    networks: [back]
    volumes: ["data:/data", "./shared:/s", "./none:/none", "later:/l"]
    mem_limit: 64m
  job:
    build: .
    network_mode: "service:db"
    pid: "service:db"
    volumes_from: ["web:ro"]
  once: {image: db, network_mode: none}
networks: {front: , back: {internal: true}, outer: {external: true, name: theirs, internal: true}}
volumes: {data: , later: {external: true}}
configs: {motto: {content: "cost $$5"}}
secrets: {key: {file: key}}
x-portkit: {memory: 600m, cpus: 3, health: {service: db}}
"""


def back(app: App, image: str = IMAGE) -> App:
    made = described.render(filled(app), [image] * len(app.services))
    return replace(described.read(made, app.source), findings=())


def project(folder: Path) -> App:
    """PROJECT with its files."""
    (folder / "compose.yaml").write_text(PROJECT)
    (folder / "Dockerfile").write_text("FROM scratch")
    (folder / "own.pem").write_text("a CA")
    (folder / "key").write_text("hunter2")
    for name in ("html/a/b", "shared"):
        (folder / name).mkdir(parents=True)
    (folder / "html/a/b/c").write_bytes(bytes(range(256)))
    (folder / "html/a/b/c").chmod(0o4751)
    (folder / "html/l").symlink_to("../x")
    (folder / os.fsdecode(b"html/\xff\xc3\xa4")).write_text("not UTF-8")
    os.utime(folder / "html/l", (5, 5), follow_symlinks=False)
    os.utime(folder / "html/a", (-5, -5))
    return filled(apps.load(folder, environ={}, profiles=["all"]))


def seen(app: App) -> AppSpec:
    """What the processes see, without where the files of the App were."""
    spec = resolve_all(app, [CONFIG] * len(app.services))
    nowhere = {"source": None, "data": None, "name": "", "kind": ContentKind.BIND}
    nowhere |= {"uid": None, "gid": None, "mode": None}

    def plain(row: RunSpec) -> RunSpec:
        contents = tuple(replace(each, **nowhere) for each in row.contents)
        health = replace(row.health, ca_file=None)
        return replace(row, contents=contents, health=health)

    services = tuple(map(plain, spec.services))
    return replace(spec, services=services, front=plain(spec.front))


@pytest.mark.parametrize("path", APPS, ids=str)
def test_the_fixtures(path: Path) -> None:
    app = filled(apps.load(path))
    found = back(app)
    assert seen(found) == seen(app)
    assert content_numbers(found.services) == content_numbers(app.services)
    assert [each.image for each in found.services] == [each.image or IMAGE for each in app.services]


def test_every_key(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(MANY)
    (tmp_path / "own.pem").write_text("a CA")
    app = apps.load(tmp_path)
    (service,) = app.services
    trusting = replace(service, health=replace(service.health, ca_file=Path("ca-0.pem")))
    assert back(app).services == (trusting,)
    made = described.render(app, [IMAGE])
    assert made.cas == ("a CA",)
    again = described.read(made, app.source)
    assert (again.networks, again.volumes) == (app.networks, app.volumes)


def test_a_whole_project(tmp_path: Path) -> None:
    app = project(tmp_path)
    found = back(app)
    assert seen(found) == seen(app)
    assert (found.front, found.machine) == ("db", app.machine)
    assert content_numbers(found.services) == content_numbers(app.services)
    web, db, job, _ = found.services
    # What is shared is shared; what only looks the same is not.
    assert web.contents[1].source == db.contents[0].source
    assert len({each.source for each in web.contents}) == 5
    assert [each.read_only for each in job.contents] == [True] * 5
    assert job.network_mode == "service:db"


def test_it_goes_through_two_bundles(tmp_path: Path) -> None:
    once = back(project(tmp_path))
    (tmp_path / "ca-0.pem").write_text("a CA")
    services = tuple(
        replace(each, health=replace(each.health, ca_file=tmp_path / "ca-0.pem"))
        if each.health.ca_file
        else each
        for each in once.services
    )
    assert back(replace(once, services=services)) == once


def test_two_hundred_services() -> None:
    services = tuple(
        Service(f"s{n}", image="x", networks=(Attachment("default"),), ports=(Port(n + 1),))
        for n in range(200)
    )
    app = App("big", services, "./big", front="s7", machine=Machine(cpus=9))
    assert back(app).services == services
    assert (back(app).front, back(app).machine.cpus) == ("s7", 9)


def test_files_of_the_app_are_in_no_text(tmp_path: Path) -> None:
    made = described.render(project(tmp_path), [IMAGE] * 4)
    assert "hunter2" not in made.text + repr(made)
    assert any(row.data == b"hunter2" for rows in made.contents for row in rows)


def test_files_that_nothing_names(tmp_path: Path) -> None:
    made = described.render(project(tmp_path), [IMAGE] * 4)
    more = replace(made, contents=(*made.contents, (ContentFile(data=b"x"),)))
    with pytest.raises(AppError, match="does not mention files") as caught:
        described.read(more, "x")
    assert "contents/" in caught.value.details


@pytest.mark.parametrize("name", ["contents/9", "contents/../0", "contents/00", "/contents/0"])
def test_files_that_did_not_come_along(name: str) -> None:
    row = {"image": "i", "volumes": [{"type": "bind", "source": name, "target": "/x"}]}
    text = json.dumps({"name": "a", "services": {"s": row}})
    with pytest.raises(AppError, match="outside of the compose file"):
        described.read(described.Described(text, (), ((ContentFile(),),)), "x")


@pytest.mark.parametrize("target", ["/", "/etc", "/run/docker.sock", "x", "/a\nb"])
def test_files_at_a_place_that_no_app_may_have(target: str) -> None:
    row = {"image": "i", "volumes": [{"type": "bind", "source": "contents/0", "target": target}]}
    text = json.dumps({"name": "a", "services": {"s": row}})
    with pytest.raises(AppError):
        described.read(described.Described(text, (), ((ContentFile(),),)), "x")


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
    assert back(App("a", (service,), "i")).services == (service,)


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
        described.read(described.Described(text), "x")


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
    with pytest.raises(AppError, match="outside of the compose file") as caught:
        described.read(described.Described(document, ("a CA",)), "x")
    assert "hunter2" not in str(caught.value)


def test_a_bind_mount_is_named(tmp_path: Path) -> None:
    """A folder of the host is not part of the App, so no bundle holds it."""
    (tmp_path / "compose.yaml").write_text(
        "services:\n  a:\n    image: x\n    volumes: [/opt/data:/d, v:/v, /srv:/s]\n"
        "volumes: {v: }\n"
    )
    app = apps.load(tmp_path, environ={})
    with pytest.raises(AppError, match="bind mounts") as caught:
        described.render(app, [IMAGE])
    assert caught.value.details.splitlines() == [
        f"{tmp_path / 'compose.yaml'}: /opt/data on /d",
        f"{tmp_path / 'compose.yaml'}: /srv on /s",
    ]
    assert "named volume" in caught.value.resolution


def test_what_no_compose_file_may_say_is_no_fault_of_a_file() -> None:
    """An App of the library's caller: there is no document that somebody could correct."""
    app = App("shop", (Service("shop", image="-rf"),), "./shop")
    with pytest.raises(AppError, match="cannot be described in a bundle") as caught:
        described.render(app, [IMAGE])
    assert "Correct the file" not in caught.value.resolution


def test_half_a_character() -> None:
    with pytest.raises(AppError, match="half of a surrogate pair"):
        described.read(described.Described('{"services": "\ud800"}'), "x")
