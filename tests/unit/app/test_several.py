"""Apps of several services."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from portkit import app as apps
from portkit.app import assemble, merge
from portkit.errors import AppError
from portkit.model import (
    App,
    Condition,
    Content,
    Dependency,
    Healthcheck,
    ImageConfig,
    Machine,
    Mount,
    Reading,
    Service,
)
from tests.factories import IMAGE


def test_one_service_answers_for_the_app() -> None:
    service = Service("web")
    app = App("shop", (service,), "./shop")
    assert app.front_service == service


def test_who_answers_for_several_services() -> None:
    app = App("shop", (Service("web"), Service("db")), "./shop", front="db")
    assert app.front_service.name == "db"


def test_files_beside_the_image_are_never_shown() -> None:
    content = Content("/run/secrets/key", data=b"hunter2")
    app = App("shop", (Service("web", contents=(content,)),), "./shop")
    assert "/run/secrets/key" in repr(app)
    assert "hunter2" not in repr(app)


def load(folder: Path, text: str, **choices: Any) -> App:
    (folder / "compose.yaml").write_text(text)
    return apps.load(folder, environ={}, **choices)


def refused(folder: Path, text: str, **choices: Any) -> str:
    with pytest.raises(AppError) as caught:
        load(folder, text, **choices)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "front"),
    [
        ("{a: {image: a}, b: {image: b, ports: [80]}}", "b"),
        ("{a: {image: a}, b: {image: b, ports: [80/udp]}}", "a"),
        ("{a: {image: a, ports: [1]}, b: {image: b, x-portkit: {health: {path: /x}}}}", "b"),
        ("{a: {image: a, ports: [1]}, b: {image: b}}\nx-portkit: {health: {service: b}}", "b"),
        ("{a: {image: a}, b: {image: b}}", "a"),
    ],
)
def test_who_answers_for_the_app(tmp_path: Path, text: str, front: str) -> None:
    assert load(tmp_path, f"services: {text}\n").front_service.name == front


def test_the_top_level_says_how_the_front_is_asked(tmp_path: Path) -> None:
    text = "services: {a: {image: a, ports: [1]}, b: {image: b}}\nx-portkit: {health: {path: /x}}\n"
    app = load(tmp_path, text)
    assert [each.health.path for each in app.services] == ["/x", "/"]
    said = refused(tmp_path, text.replace("path: /x", "service: c"))
    assert "compose.yaml:2: the App has no service 'c'" in said


@pytest.mark.parametrize(
    ("text", "machine"),
    [
        ("{a: {image: a}, b: {image: b}}", Machine()),
        ("{a: {image: a}, b: {image: b}, c: {image: c}}", Machine(3 * 256 << 20)),
        ("{a: {image: a, mem_limit: 1g}, b: {image: b}}", Machine(1280 << 20)),
        ("{a: {image: a, mem_limit: 1g}, b: {image: b, mem_limit: 2g}}", Machine(3 << 30)),
        ("{a: {image: a, cpus: 1.5}, b: {image: b, cpus: 0.7}}", Machine(cpus=3)),
        (
            "{a: {image: a, mem_limit: 1g}, b: {image: b}}\nx-portkit: {memory: 300m, cpus: 2}",
            Machine(300 << 20, 2),
        ),
        ("{a: {image: a, x-portkit: {disk: 1g}}, b: {image: b}}", Machine(disk_bytes=1 << 30)),
    ],
)
def test_the_one_vm_of_all(tmp_path: Path, text: str, machine: Machine) -> None:
    assert load(tmp_path, f"services: {text}\n").machine == machine


def test_two_hundred_services(tmp_path: Path) -> None:
    """A row of them, each with all that stand before it in its depends_on."""
    rows = "".join(
        f"  s{number}:\n    image: x\n    depends_on: [{needs}]\n"
        for number in range(200)
        for needs in [", ".join(f"s{n}" for n in range(number))]
    )
    begun = time.process_time()
    app = load(tmp_path, "services:\n" + rows.replace("    depends_on: []\n", ""))
    assert len(app.services) == 200
    assert len(app.services[-1].depends_on) == 199
    assert time.process_time() - begun < 20
    many = "".join(f"  s{number}: {{image: x}}\n" for number in range(501))
    assert "at most 500" in refused(tmp_path, "services:\n" + many)


def test_a_long_row_of_services_that_extend_each_other(tmp_path: Path) -> None:
    rows = "".join(f"  s{n}: {{extends: s{n + 1}, ports: ['{n}']}}\n" for n in range(1, 200))
    said = refused(tmp_path, f"services:\n{rows}  s200: {{image: x}}\n")
    assert "services extend each other" in said


def test_a_wish_for_a_service_that_is_not_chosen(tmp_path: Path) -> None:
    text = (
        "services:\n  a:\n    image: a\n"
        "    depends_on: {b: {condition: service_healthy, required: false}}\n"
        "  b: {image: b, profiles: [more]}\n"
    )
    assert load(tmp_path, text).services[0].depends_on == ()
    wish = Dependency("b", Condition.HEALTHY, required=False)
    assert load(tmp_path, text, profiles=["more"]).services[0].depends_on == (wish,)
    said = refused(tmp_path, text.replace(", required: false", ""))
    assert "compose.yaml:3: a depends on b, which belongs to a profile that was not chosen" in said
    assert "--profile" in said


def test_what_others_need_of_a_service(tmp_path: Path) -> None:
    text = (
        "services:\n"
        "  a: {image: a, links: ['b:db'], network_mode: none}\n"
        "  b: {image: b, pid: 'service:c'}\n"
        "  c: {image: c, volumes: ['data:/d', './conf:/c', '/t']}\n"
        "  d: {image: d, volumes_from: ['c:ro'], volumes: ['other:/t']}\n"
        "volumes: {data: , other: }\n"
    )
    assert "/t" in refused(tmp_path, text.replace("'other:/t'", "'other:/u'"))
    app = load(tmp_path, text)
    needs = {each.name: [one.service for one in each.depends_on] for each in app.services}
    assert needs == {"a": ["b"], "b": ["c"], "c": [], "d": ["c"]}
    last = app.services[-1]
    assert last.volumes == (Mount("volume", "/t", "other"), Mount("volume", "/d", "data", True))
    assert [(each.target, each.read_only) for each in last.contents] == [("/c", True)]


def test_an_app_is_read_again_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "compose.override.yaml").write_text("services: {a: {environment: {A: b}}}\n")
    (tmp_path / "compose.yaml").write_text("services: {a: {image: x}}\n")
    environ = {"COMPOSE_PROFILES": "p,q", "COMPOSE_PROJECT_NAME": "mine"}
    app = apps.load(tmp_path, environ=environ)
    assert app.services[0].environment == {"A": "b"}
    assert app.reading == Reading(
        files=tuple(str(tmp_path / name) for name in ("compose.yaml", "compose.override.yaml")),
        profiles=("p", "q"),
        name="mine",
    )
    assert apps.load(app.source, environ={}, **asdict(app.reading)) == app
    alone = apps.load(tmp_path / "compose.yaml", environ={})
    assert alone.services[0].environment == {}


def test_files_that_name_each_other(tmp_path: Path) -> None:
    for text, why in (
        ("include: [b.yaml]\n", ":1: "),
        ("include: [{path: 'https://example.org/x.yaml'}]\n", "not from a URL"),
        ("include: [{path: [], future: 1}]\n", "future"),
        ("include: [{path: []}]\n", "needs a path"),
        ("include: b.yaml\n", "must not be a list"),
    ):
        said = refused(tmp_path, text + "services: {a: {image: x}}\n")
        assert "compose.yaml:1: " in said
        assert why in said
    said = refused(tmp_path, "services:\n  a:\n    extends: {file: b.yaml, service: b}\n")
    assert "compose.yaml:3: " in said


def test_files_without_end(tmp_path: Path) -> None:
    for number in range(120):
        (tmp_path / f"{number}.yaml").write_text(f"include: [{number + 1}.yaml]\n")
    said = refused(tmp_path, "include: [0.yaml]\nservices: {a: {image: x}}\n")
    assert "more than 100 files" in said


def test_files_that_grow_when_they_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tenth of the limits, which are reached ten times as soon."""
    monkeypatch.setattr(assemble, "_VALUES", 10_000)
    monkeypatch.setattr(merge, "_LIMIT", 50_000)
    rows = ",".join(f"A{n}" for n in range(300))
    (tmp_path / "big.yaml").write_text(f"services: {{a: {{environment: [{rows}]}}}}\n")
    text = "services:\n  a: {image: x, environment: [B=1]}\n"
    files = ["compose.yaml", *["big.yaml"] * 32]
    assert load(tmp_path, text, files=files[:30]).services[0].environment["A299"] is None
    assert "or 10000 values" in refused(tmp_path, text, files=[*files, *files])
    labels = ",".join(f"a{n}: b" for n in range(2_000))
    services = "".join(f"  s{n}: {{extends: base, labels: {{x: y}}}}\n" for n in range(60))
    text = f"services:\n  base: {{image: x, labels: {{{labels}}}}}\n{services}"
    assert "too large when they are merged" in refused(tmp_path, text)


def test_networks_that_are_none(tmp_path: Path) -> None:
    head = "services:\n  a: {image: x, networks: {n: {%s}}}\nnetworks:\n  n: {%s}\n"
    for inner, outer, line in (
        ("ipv4_address: '::1'", "", 2),
        ("ipv6_address: 10.0.0.1", "", 2),
        ("mac_address: zork", "", 2),
        ("aliases: ['-rf']", "", 2),
        ("future: 1", "", 2),
        ("", "ipam: {config: [{subnet: 10.0.0.0/99}]}", 4),
        ("", "ipam: {config: [{gateway: zork}]}", 4),
        ("", "name: '../x'", 4),
        ("", "future: 1", 4),
    ):
        assert f"compose.yaml:{line}:" in refused(tmp_path, head % (inner, outer)), (inner, outer)


@pytest.mark.parametrize(
    "row",
    [
        "network_mode: 'container:'",
        "platform: '../x'",
        "network_mode: 'service:'",
        "pid: 'container:x'",
        "ipc: zork",
        "volumes_from: ['container:x']",
        "volumes_from: ['a:rx']",
        "extra_hosts: [x]",
        "extra_hosts: ['x:zork']",
        "extra_hosts: ['-x:10.0.0.1']",
        "dns: zork",
        "links: [':x']",
        "devices: ['a:b:c:d']",
        "devices: ['/dev/a:/dev/b:q']",
        "container_name: '-rf'",
        "expose: [zork]",
        "oom_score_adj: 1001",
        "pids_limit: -2",
        "scale: -1",
        "logging: {future: 1}",
        "depends_on: {a: }",
        "shm_size: zork",
        "deploy: {restart_policy: {condition: zork}}",
        "label_file: nowhere",
    ],
)
def test_what_no_service_may_say(tmp_path: Path, row: str) -> None:
    assert "compose.yaml:4:" in refused(tmp_path, f"services:\n  b:\n    image: x\n    {row}\n")


def test_a_container_of_the_apps_own(tmp_path: Path) -> None:
    text = (
        "name: shop\nservices:\n  a: {image: a, network_mode: 'container:vpn'}\n"
        "  b: {image: b, container_name: vpn}\n"
    )
    first = load(tmp_path, text).services[0]
    assert first.network_mode == "service:b"
    assert first.depends_on == (Dependency("b", restart=True),)
    made = text.replace("container:vpn", "container:shop-b-1").replace(", container_name: vpn", "")
    assert load(tmp_path, made).services[0].network_mode == "service:b"
    said = refused(tmp_path, text.replace("name: vpn", "name: other"))
    assert (
        "compose.yaml:3: the network mode 'container:vpn' joins something that is not part" in said
    )
    said = refused(tmp_path, text.replace("name: vpn", "name: vpn, depends_on: [a]"))
    assert "in a circle" in said


@pytest.mark.parametrize(
    ("platform", "fits"),
    [
        ("linux/amd64", True),
        ("linux/x86_64", True),
        ("amd64", True),
        ("linux/amd64/v2", True),
        ("linux/arm64", False),
        ("windows/amd64", False),
        ("", True),
    ],
)
def test_the_image_is_for_the_platform(tmp_path: Path, platform: str, fits: bool) -> None:
    image = ImageConfig("sha256:" + "0" * 64, "amd64", "linux", (), cmd=("x",))
    app = load(tmp_path, f"services: {{a: {{image: x, platform: '{platform}'}}}}\n")
    assert app.findings == ()
    if fits:
        assert apps.resolve(app, image).argv == ("x",)
        return
    with pytest.raises(AppError, match="not built for the platform") as caught:
        apps.resolve(app, image)
    assert f"--platform {platform}" in caught.value.resolution


def test_which_env_files_count(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {a: {image: 'x:${A}-${B:-none}'}}\n")
    (tmp_path / ".env").write_text("A=dot\n")
    (tmp_path / "one.env").write_text("A=one\nB=1\n")
    (tmp_path / "two.env").write_text("A=two\n")
    for environ, image in (
        ({}, "x:dot-none"),
        ({"COMPOSE_ENV_FILES": "one.env,two.env"}, "x:two-1"),
        ({"COMPOSE_ENV_FILES": "one.env", "A": "mine"}, "x:mine-1"),
        ({"COMPOSE_DISABLE_ENV_FILE": "true"}, "x:-none"),
    ):
        assert apps.load(tmp_path, environ=environ).services[0].image == image
    with pytest.raises(AppError, match="cannot be read"):
        apps.load(tmp_path, environ={"COMPOSE_ENV_FILES": "three.env"})


@pytest.mark.parametrize(
    ("policy", "restart"),
    [
        ("{}", "no"),
        ("{delay: 5s}", "no"),
        ("{condition: none}", "no"),
        ("{condition: any}", "always"),
        ("{condition: unless-stopped}", "unless-stopped"),
        ("{condition: on-failure}", "on-failure"),
        ("{condition: on-failure, max_attempts: 3}", "on-failure:3"),
        ("{condition: any, max_attempts: 3}", "always"),
    ],
)
def test_the_restart_policy_of_deploy(tmp_path: Path, policy: str, restart: str) -> None:
    """As compose 2.40 creates the containers; it wins over `restart`."""
    text = f"services: {{a: {{image: x, restart: always, deploy: {{restart_policy: {policy}}}}}}}\n"
    assert load(tmp_path, text).services[0].restart == restart


def test_a_compose_file_that_is_a_link(tmp_path: Path) -> None:
    """The project's folder is that of the link, as with compose."""
    common, shop = tmp_path / "common", tmp_path / "shop"
    for folder in (common, shop):
        folder.mkdir()
        (folder / "a.env").write_text(f"WHERE={folder.name}\n")
    (common / "compose.yaml").write_text("services: {a: {image: x, env_file: a.env}}\n")
    (shop / "compose.yaml").symlink_to("../common/compose.yaml")
    for source in (shop, shop / "compose.yaml"):
        app = apps.load(source, environ={})
        assert (app.name, app.services[0].environment) == ("shop", {"WHERE": "shop"})


def test_what_has_no_healthcheck_never_becomes_healthy() -> None:
    web = Service("web", depends_on=(Dependency("db", Condition.HEALTHY),))
    with pytest.raises(AppError, match="web waits for db to become healthy"):
        apps.resolve_all(App("shop", (web, Service("db")), "./shop"), [IMAGE, IMAGE])
    check = Healthcheck(("CMD", "true"))
    found = apps.resolve_all(
        App("shop", (web, Service("db", healthcheck=check)), "./shop", front="db"), [IMAGE, IMAGE]
    )
    assert (found.front.service, found.services[0].hostname) == ("db", "web")


def test_a_finding_says_which_service_it_is_about(tmp_path: Path) -> None:
    text = "services: {a: {image: a}, b: {image: b, ports: ['8000-8001:80']}}\n"
    (found,) = load(tmp_path, text).findings
    assert (found.rule, found.services) == ("port-chosen", ("b",))
