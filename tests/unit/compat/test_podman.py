"""The rules about Podman: each finds its cause, and none speaks of a Docker Engine."""

from typing import Any

import pytest

from portkit import app as apps
from portkit import compat
from portkit.compat.rule import engine_name
from portkit.compat.table_of_podman import PODMAN
from portkit.model import (
    App,
    Attachment,
    Engine,
    Facts,
    Form,
    Healthcheck,
    Lack,
    Logging,
    Missing,
    Needs,
    Network,
    Port,
    Service,
    Severity,
    Subnet,
    Ulimit,
)
from tests.factories import IMAGE, facts

CHECK = Healthcheck(("CMD", "true"))


def host(**engine: Any) -> Facts:
    told = {"name": "Podman Engine", "timers": True, "boots": ("always",), **engine}
    return facts(docker_version="5.4.2", engine=Engine(**told))


def found(at: Facts, form: Form = Form.IMAGE, **service: Any) -> dict[str, Severity]:
    app = App("a", (Service("a", **service), Service("b", image="b")), "compose.yaml")
    spec = apps.resolve_all(app, [IMAGE, IMAGE])
    rows = compat.check(spec, {IMAGE.digest: IMAGE}, at, form)
    ids = {rule.id for rule in PODMAN} | {"port-user"}
    return {row.rule: row.severity for row in rows if row.rule in ids}


CASES: list[tuple[dict[str, Any], str, Severity]] = [
    ({"ulimits": {"as": Ulimit(1 << 30, 1 << 30)}}, "podman-ulimit", Severity.ERROR),
    ({"logging": Logging("syslog")}, "podman-log", Severity.ERROR),
    ({"links": (("b", "database"),)}, "podman-links", Severity.ERROR),
    ({"user": "web", "cap_add": ("CAP_NET_ADMIN",)}, "podman-capabilities", Severity.WARNING),
    ({"restart": "unless-stopped"}, "podman-restart", Severity.WARNING),
    ({"restart": "on-failure:3"}, "podman-restart", Severity.WARNING),
]


@pytest.mark.parametrize(("service", "rule", "severity"), CASES)
def test_each_finds_its_cause(service: dict[str, Any], rule: str, severity: Severity) -> None:
    assert found(host(), **service) == {rule: severity}
    assert found(facts(), **service) == {}, "Docker"
    assert found(host(), Form.DISK, **service) == {}


@pytest.mark.parametrize(
    "service",
    [
        {"ulimits": {"as": Ulimit(-1, -1), "nofile": Ulimit(9, 9)}},
        {"logging": Logging("json-file")},
        {"links": (("b", "b"),)},
        {"user": "root", "cap_add": ("CAP_NET_ADMIN",)},
        {"user": "web", "privileged": True},
        {"restart": "always"},
        {"healthcheck": CHECK},
        # Podman's 5.4 is no Docker older than 20.10.
        {"user": "web", "ports": (Port(80, 8080),)},
    ],
)
def test_what_is_the_same_as_with_docker(service: dict[str, Any]) -> None:
    assert found(host(), **service) == {}


def test_without_systemd() -> None:
    at = host(timers=False, boots=())
    wanted = {"podman-health": Severity.WARNING, "podman-restart": Severity.WARNING}
    assert found(at, healthcheck=CHECK, restart="always") == wanted
    assert found(at, healthcheck=Healthcheck(("NONE",))) == {}


def test_unknown_is_said() -> None:
    at = host(timers=None, boots=None)
    # Of a rule that only warns, not to know is no more than a note.
    wanted = {"podman-health": Severity.INFO, "podman-restart": Severity.INFO}
    assert found(at, healthcheck=CHECK, restart="always") == wanted


def test_the_engine_is_called_by_its_name() -> None:
    assert engine_name(host()) == "Podman 5.4.2"
    assert engine_name(facts()) == "Docker 26.1"


def test_a_program_that_only_the_capabilities_let_the_user_start() -> None:
    app = App("a", (Service("a"),), "compose.yaml")
    spec = apps.resolve_all(app, [IMAGE])
    lack = Missing(Lack.ACCESS_BY_RIGHTS, "user 8 may not run /app", "argv[0]", "mode 0700")
    own = {"a": Needs("linux", "amd64", missing=(lack,))}
    for at, wanted in ((host(), {"podman-permission"}), (facts(docker_version="26.1"), set())):
        rows = compat.check(spec, {IMAGE.digest: IMAGE}, at, Form.IMAGE, needs=own)
        assert {row.rule for row in rows if row.severity is Severity.ERROR} == wanted


def test_a_users_own_podman() -> None:
    assert found(host(rootless=True)) == {"podman-rootless": Severity.ERROR}
    assert found(host(rootless=False)) == found(host(rootless=True), Form.DISK) == {}
    assert found(facts(engine=Engine(rootless=True))) == {}, "Docker"


def test_a_macvlan_without_a_subnet_needs_dhcp() -> None:
    def told(at: Facts, *subnets: Subnet, driver: str = "macvlan") -> set[tuple[str, Severity]]:
        own = Network("own", "a_own", driver=driver, subnets=subnets)
        app = App(
            "a", (Service("a", networks=(Attachment("own"),)),), "compose.yaml", networks=(own,)
        )
        rows = compat.check(apps.resolve_all(app, [IMAGE]), {IMAGE.digest: IMAGE}, at, Form.IMAGE)
        return {(row.rule, row.severity) for row in rows if row.rule == "podman-dhcp"}

    assert told(host(dhcp=False)) == {("podman-dhcp", Severity.ERROR)}
    assert told(host()) == {("podman-dhcp", Severity.UNKNOWN)}
    assert told(host(dhcp=True)) == set()
    assert told(host(dhcp=False), Subnet("10.8.0.0/24")) == set()
    assert told(host(dhcp=False), driver="bridge") == set()
    assert told(facts()) == set(), "Docker"
