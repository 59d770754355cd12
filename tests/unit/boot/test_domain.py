from types import SimpleNamespace
from typing import Any

import pytest

from portkit.architecture import AMD64
from portkit.boot.blueprint import Blueprint
from portkit.boot.domain import Domains, _kernel
from portkit.engines.domain_xml import Domain, Kernel
from portkit.engines.libvirt import Power
from portkit.errors import ConflictError
from portkit.guest.boot_partition import direct_line
from portkit.model import AppSpec, Artifact, Form, Instance, Life, Machine, Mount
from tests.factories import FACTS, IMAGE, app_spec, spec

MOVE = "pk-0123456789ab"


def blueprint(wanted: AppSpec) -> Blueprint:
    """Of a disk."""
    disk = Artifact(Form.DISK, "sha256:" + "1" * 64, (IMAGE,), (), 0, 0)
    return Blueprint(identity=MOVE, artifact=disk, held={}, spec=wanted, facts=FACTS)


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
    for machine in (Machine(), Machine(volume_bytes=20 << 30)):
        wanted = app_spec(spec(mounts=mounts), machine=machine)
        runner.create(blueprint(wanted))
    assert [row["volumes"] for row in asked] == [
        [{"name": f"pkv{number}", "bytes": size << 30} for number in range(2)] for size in (8, 20)
    ]


def test_a_kernel_is_started_where_the_host_made_one_for_it() -> None:
    line = direct_line(AMD64, kvm=True)
    assert _kernel(["/k", "/i"], AMD64, kvm=True) == Kernel("/k", "/i", line)
    assert _kernel([], AMD64, kvm=True) is None


BEGUN = "portkit: starting sh\r\n"
ENDED = "portkit: app exited with code 3\r\n"
AGAIN = "portkit: starting the app again\r\n"
SECOND = Life("running", started="this boot, start 2", restarts=1)
THIS = Life("running", started="this boot")


@pytest.mark.parametrize(
    ("active", "log", "size", "wanted"),
    [
        (True, "", 0, Life("running")),
        (True, "Linux version 6.1\r\n", 19, Life("running")),
        (True, BEGUN + "the app said: portkit: starting \r\n", 50, THIS),
        (True, "of a long log the end alone\r\n", 1 << 20, THIS),
        (True, BEGUN + ENDED, 50, Life("running", started="this boot", restarts=1)),
        (
            True,
            BEGUN + ENDED + AGAIN,
            80,
            Life("running", started="this boot, start 2", restarts=1),
        ),
        (True, BEGUN + BEGUN, 40, Life("running", started="this boot, start 2", restarts=1)),
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
        power=lambda identity: Power.ON if active else Power.OFF,
        about=lambda identity: {"grace": "10"},
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
        power=lambda identity: Power.OFF, about=lambda identity: {}
    )
    runner._marks = {}
    assert runner.life("pk-0123456789ab") == Life("exited")


@pytest.mark.parametrize(
    ("power", "wanted"),
    [
        (Power.OFF, Life("created")),
        (Power.ENDED, Life("exited")),
        (Power.STUCK, Life("running", stuck=True)),
    ],
)
def test_a_guest_that_could_write_nothing(power: Power, wanted: Life) -> None:
    """Not even on its console, where the disk of its host is full."""
    runner = Domains.__new__(Domains)
    remote = SimpleNamespace(call=lambda verb, args: {"text": "", "size": 0})
    runner._host = SimpleNamespace(name="web2", remote=remote)  # type: ignore[assignment]
    runner._engine = SimpleNamespace(  # type: ignore[assignment]
        power=lambda identity: power, about=lambda identity: {}
    )
    runner._marks = {}
    assert runner.life("pk-0123456789ab") == wanted


class Recorded:
    """A Domains whose host and engine only remember what they were told."""

    def __init__(self, *, moved: bool = False, running: bool = False) -> None:
        self.did: list[tuple[Any, ...]] = []
        self.moved = moved
        there = Instance(MOVE, "shop", Form.DISK, "web2", "running" if running else "exited")
        self.runner = Domains.__new__(Domains)
        self.runner._host = SimpleNamespace(name="web2", remote=self)  # type: ignore[assignment]
        self.runner._engine = SimpleNamespace(  # type: ignore[assignment]
            remove=lambda identity: self.did.append(("undefine", identity)),
            create=lambda domain: self.did.append(("define", domain.base)),
            instances=lambda: (there,),
        )

    def call(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        self.did.append((verb, args.get("again"), args.get("volumes")))
        paths = dict.fromkeys(("overlay", "base", "config", "serial", "state"), "f")
        volumes = {"pkv0": "/i/pkv0.raw"}
        return {**paths, "boot": [], "moved": self.moved, "volumes": volumes, "folders": ["/i/0"]}


def test_a_vm_with_data_that_came_along_is_not_removed_beside_its_data() -> None:
    holds = Recorded(moved=True)
    with pytest.raises(ConflictError, match="contain the data") as caught:
        holds.runner.remove(MOVE, keep_data=True)
    assert "--data" in caught.value.resolution
    assert [verb for verb, *_ in holds.did] == ["instance.data"], "it was only asked"
    for lot, keep_data in ((Recorded(moved=True), False), (Recorded(), True)):
        lot.runner.remove(MOVE, keep_data=keep_data)
        assert [verb for verb, *_ in lot.did][-2:] == ["undefine", "instance.remove"]


def test_its_volumes_are_made_of_folders_while_it_does_not_run() -> None:
    lot = Recorded()
    assert lot.runner.volume_folders(MOVE) == {0: "/i/0"}
    lot.runner.fill(MOVE, (0, 2))
    assert lot.did[-1] == ("instance.fill", None, [0, 2])
    runs = Recorded(running=True)
    for act in (
        lambda: runs.runner.fill(MOVE, [0]),
        lambda: runs.runner.renew(blueprint(app_spec(spec()))),
    ):
        with pytest.raises(ConflictError, match="of a running VM"):
            act()
    assert runs.did == []


def test_another_disk_is_put_below_what_has_arrived() -> None:
    lot = Recorded()
    wanted = app_spec(spec(mounts=(Mount("volume", "/a"),)))
    lot.runner.renew(blueprint(wanted))
    (undefined, (verb, again, _), defined) = lot.did
    assert (undefined[0], verb, again, defined[0]) == (
        "undefine",
        "instance.create",
        True,
        "define",
    )
