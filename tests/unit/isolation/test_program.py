"""The probe in the place of an App's service: everything that isolates stays as it is."""

from dataclasses import fields

import pytest

from portkit.errors import AppError
from portkit.isolation.program import probing
from portkit.model import App, Method, Port, Service, Surroundings

OWN = {
    "labels",
    "privileged",
    "read_only",
    "init",
    "cpus",
    "mem_limit_bytes",
    "pids_limit",
    "sysctls",
    "security_opt",
    "devices",
    "network_mode",
    "networks",
    "pid",
    "ipc",
    "userns_mode",
    "shm_bytes",
}
WEB = Service(
    name="web",
    image="shop:1",
    command=("serve",),
    user="33:33",
    cap_add=("NET_ADMIN",),
    cap_drop=("ALL",),
    security_opt=("seccomp=unconfined",),
    privileged=True,
    pids_limit=9,
    pid="host",
    ports=(Port(target=80, published=80),),
    restart="always",
)


def test_only_the_front_service_is_probed() -> None:
    app = App("shop", (Service(name="db", image="db:1"), WEB), "./shop", front="web")
    (probe,) = probing(app).services
    assert probe.name == "web"
    assert probe.entrypoint == ("/portkit-isolation",)
    assert (probe.command, probe.ports, probe.restart) == ((), (), "no")
    assert probe.health.method is Method.RUNNING
    for name in OWN | {"user", "cap_add", "cap_drop", "volumes", "ulimits", "working_dir"}:
        assert getattr(probe, name) == getattr(WEB, name), name
    assert {each.name for each in fields(Surroundings)} >= OWN


@pytest.mark.parametrize("name", ["network_mode", "pid", "ipc"])
def test_a_service_in_a_namespace_of_another_one(name: str) -> None:
    front = Service(name="web", image="shop:1", **{name: "service:db"})  # type: ignore[arg-type]
    with pytest.raises(AppError, match="namespace of another service"):
        probing(App("shop", (front,), "./shop"))
