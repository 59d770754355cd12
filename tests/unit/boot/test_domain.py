from types import SimpleNamespace
from typing import Any

import pytest

from portkit.boot.domain import Domains, _kernel
from portkit.engines.domain_xml import Domain, Kernel
from portkit.guest.boot_partition import direct_line
from portkit.model import Artifact, Form, Life, Machine, Mount
from tests.factories import FACTS, IMAGE, app_spec, spec


def test_volumes_are_disks_of_the_size_that_was_asked_for() -> None:
    asked: list[dict[str, Any]] = []

    def call(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        asked.append(args)
        made = {row["name"]: f"/i/{row['name']}.raw" for row in args["volumes"]}
        paths = {"overlay": "o", "base": "b", "config": "c", "serial": "s", "state": "t"}
        return {**paths, "boot": [f"/i/{name}" for name in args["boot"]], "volumes": made}

    runner = Domains.__new__(Domains)
    runner._host = SimpleNamespace(name="web2", remote=SimpleNamespace(call=call))  # type: ignore[assignment]
    domains: list[Domain] = []
    runner._engine = SimpleNamespace(create=domains.append)  # type: ignore[assignment]
    mounts = (Mount("volume", "/a"), Mount("tmpfs", "/t"), Mount("volume", "/b", "b"))
    disk = Artifact(Form.DISK, "sha256:" + "1" * 64, (IMAGE,), (), 0, 0)
    for machine in (Machine(), Machine(volume_bytes=20 << 30)):
        wanted = app_spec(spec(mounts=mounts), machine=machine)
        runner.create(disk, {}, wanted, "pk-0123456789ab", FACTS)
    assert [row["volumes"] for row in asked] == [
        [{"name": f"pkv{number}", "bytes": size << 30} for number in range(2)] for size in (8, 20)
    ]


def test_a_kernel_is_started_where_the_host_made_one_for_it() -> None:
    assert _kernel(["/k", "/i"], True) == Kernel("/k", "/i", direct_line(True))
    assert _kernel([], True) is None


BEGUN = "portkit: starting sh\r\n"
ENDED = "portkit: app exited with code 3\r\n"
AGAIN = "portkit: starting the app again\r\n"
THIS = Life("running", started="this boot")


@pytest.mark.parametrize(
    ("active", "log", "size", "wanted"),
    [
        (True, "", 0, Life("running")),
        (True, "Linux version 6.1\r\n", 19, Life("running")),
        (True, BEGUN + "the app said: portkit: starting \r\n", 50, THIS),
        (True, "of a long log the end alone\r\n", 1 << 20, THIS),
        (True, BEGUN + ENDED, 50, Life("running", started="this boot", restarts=1)),
        (True, BEGUN + ENDED + AGAIN, 80, Life("running", started="this boot", restarts=1)),
        (True, BEGUN + BEGUN, 40, Life("running", started="this boot", restarts=1)),
        (False, "", 0, Life("created")),
        (False, BEGUN + ENDED, 50, Life("exited", 3, restarts=1)),
        (False, BEGUN, 20, Life("exited")),
    ],
)
def test_the_life_of_a_guest_is_in_its_log(active: bool, log: str, size: int, wanted: Life) -> None:
    runner = Domains.__new__(Domains)
    row = {"text": log, "size": size}
    remote = SimpleNamespace(call=lambda verb, args: row)
    runner._host = SimpleNamespace(name="web2", remote=remote)  # type: ignore[assignment]
    runner._engine = SimpleNamespace(  # type: ignore[assignment]
        active=lambda identity: active, about=lambda identity: {"grace": "10"}
    )
    runner._marks = {}
    assert runner.life("pk-0123456789ab") == wanted


def test_a_line_that_was_cut_in_two_is_not_init_s() -> None:
    """What a healthcheck wrote is in init's lines, too."""
    runner = Domains.__new__(Domains)
    row = {"text": "portkit: app exited with code 3\n" + BEGUN, "size": 1 << 20}
    remote = SimpleNamespace(call=lambda verb, args: row)
    runner._host = SimpleNamespace(name="web2", remote=remote)  # type: ignore[assignment]
    assert runner._state_log("pk-0123456789ab")[0] == BEGUN


def test_a_guest_that_panicked_before_its_init_has_ended() -> None:
    runner = Domains.__new__(Domains)
    said = {"state": "", "serial": "Kernel panic - not syncing\r\n"}

    def call(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        text = said[args["name"]]
        return {"text": text[-args["limit"] :], "size": len(text)}

    runner._host = SimpleNamespace(name="web2", remote=SimpleNamespace(call=call))  # type: ignore[assignment]
    runner._engine = SimpleNamespace(  # type: ignore[assignment]
        active=lambda identity: False, about=lambda identity: {}
    )
    runner._marks = {}
    assert runner.life("pk-0123456789ab") == Life("exited")
