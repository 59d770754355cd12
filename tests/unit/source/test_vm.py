"""What a VM was made of, as text and back; and a VM at its source while it moves."""

import hashlib
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.app import compose, resolve_all
from portkit.clock import Clock
from portkit.engines.libvirt_source import LibvirtSource
from portkit.errors import AppError, ConflictError, EngineError, HostError
from portkit.model import Artifact, Blob, DataFolder, Form, Live, LiveDomain, LiveVolume, OnTaken
from portkit.source import vm, vm_description
from portkit.source.origin import Machine
from portkit.source.vm import RunningVM, is_vm
from portkit.store import Store
from tests.factories import FACTS, IMAGE, Heard

DIGEST = "sha256:" + "d" * 64
DISK = Artifact(Form.DISK, DIGEST, (IMAGE,), (Blob(DIGEST, 9),), 9, 9)
TEXT = b"""
name: shop
services:
  web:
    image: shop:1
    environment: {PASSWORD: hunter2}
    ports: ["80:80"]
    volumes: ["data:/data"]
    restart: always
volumes: {data: {}}
"""


def written(**changes: Any) -> str:
    app = compose.read(TEXT, "./shop")
    row = json.loads(vm_description.encode(app, [IMAGE.digest], DISK))
    return json.dumps({**row, **changes})


def test_it_reads_back_as_the_same() -> None:
    told = vm_description.decode(written(), "vm:pk-0123456789ab")
    app = compose.read(TEXT, "./shop")
    assert replace(told.app, source="", findings=()) == replace(app, source="", findings=())
    assert told.app.source == "vm:pk-0123456789ab"
    assert told.images == (IMAGE,)
    assert told.disk == DISK


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "portkit.vm/2"},
        {"contents": "!"},
        {"contents": "aGVsbG8="},
        {"images": ["sha256:" + "e" * 64]},
        {"images": "x"},
        {"images": []},
        {"disk": {}},
        {"app": 1},
    ],
)
def test_what_a_host_says_is_checked(changes: dict[str, object]) -> None:
    with pytest.raises(HostError) as caught:
        vm_description.decode(written(**changes), "vm:x")
    assert "hunter2" not in str(vars(caught.value)), "no value of it is in an error"


def test_its_app_is_read_as_anybodys() -> None:
    bound = '{"name":"x","services":{"x":{"image":"x","volumes":["/etc:/in"]}}}'
    with pytest.raises(AppError):
        vm_description.decode(written(app=bound, images=[IMAGE.digest]), "vm:x")


def test_a_vm_is_named_by_its_kind() -> None:
    assert [is_vm(name) for name in ("vm:shop", "vm", "container:vm")] == [True, False, False]


def test_commands_that_will_not_run_are_named() -> None:
    quiet = TEXT.replace(b"restart:", b"x-portkit: {quiesce: {before: [sync]}}\n    restart:")
    source = RunningVM(Host(Engine()), "vm:shop")  # type: ignore[arg-type]
    source._seen = Engine().now
    for text, rules in ((TEXT, ["data-carried"]), (quiet, ["data-carried", "not-quiesced"])):
        found = source.running(compose.read(text, "vm:shop"), FACTS)
        assert [each.rule for each in found] == rules


def test_its_data_is_looked_at_where_it_is() -> None:
    """The folder that `live` makes is for the Move alone."""
    asked = []

    class Asked:
        def call(self, verb: str, args: dict[str, object]) -> dict[str, object]:
            asked.append(verb)
            disks = ["/i/pk/disk.qcow2", "/i/pk/pkv0.raw", "/i/pk/config.raw"]
            return {"text": "", "blobs": "/b", "disks": disks, "resting": []}

    source = RunningVM(SimpleNamespace(name="a", remote=Asked()), "vm:shop")  # type: ignore[arg-type]
    source._seen = Engine().now
    spec: Any = None
    assert source.data(spec) == (DataFolder("/i/pk", ("disk.qcow2", "pkv0.raw")),)
    assert asked == ["instance.described"]


@pytest.mark.parametrize("runs", [True, False])
def test_one_that_is_off_shows_nothing_of_its_image(
    runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Described:
        def call(self, verb: str, args: dict[str, object]) -> dict[str, object]:
            disks = ["/i/disk.qcow2", "/i/config.raw"]
            return {"text": written(), "blobs": "/b", "disks": disks, "resting": ["worker"]}

    engine = Engine(running=runs)
    monkeypatch.setattr(vm, "_engine", lambda host: nullcontext(engine))
    monkeypatch.setattr(vm.boot, "instances", lambda host: [])
    host: Any = SimpleNamespace(name="old", remote=Described())
    source = RunningVM(host, "vm:shop")
    monkeypatch.setattr(source, "_identity", lambda engine: engine.now.id)
    app = source.app()
    assert (app.running, app.seen_up) == (True, runs)


class Engine:
    """One VM, in libvirt's place."""

    def __init__(self, *, running: bool = True) -> None:
        self.now = LiveDomain("pk-0123456789ab", "always", autostart=True, running=running)
        self.fenced, self.there, self.did = False, True, list[str]()
        self.folders = list[str]()  # of disks that no VM has
        self.deaf = False  # its guest does not heed the power button
        self.paths = {"/i/disk.qcow2", "/i/config.raw"}

    def seen(self, identity: str) -> LiveDomain:
        if not self.there:
            raise EngineError("the domain no longer exists")
        return self.now

    def is_there(self, identity: str) -> bool:
        return self.there

    def disks(self, identity: str) -> tuple[str, ...]:
        return tuple(self.paths)

    def require_disks(self, identity: str, given: list[str]) -> None:
        LibvirtSource.require_disks(self, identity, given)  # type: ignore[arg-type]

    _host = "old"

    def moved_away(self, identity: str) -> bool:
        return self.fenced

    def power_off(self, identity: str) -> None:
        if not self.ended(identity):
            raise EngineError("the VM does not power off")

    def ended(self, identity: str) -> bool:
        self.did.append("power off")
        self.now = replace(self.now, running=self.deaf)
        return not self.deaf

    def start_again(self, identity: str) -> None:
        self.did.append("start")
        self.now = replace(self.now, running=True)

    def remove(self, identity: str) -> None:
        self.did.append("remove")


class Host:
    name = "old"

    def __init__(self, engine: Engine) -> None:
        self.remote, self._engine = self, engine

    def call(self, verb: str, args: object) -> dict[str, Any]:
        self._engine.did.append(verb)
        rows = [
            {"kind": "instance", "id": each, "app": "", "name": ""} for each in self._engine.folders
        ]
        return {
            "remains": rows,
            "disks": ["/i/disk.qcow2", "/i/config.raw"],
            "folders": ["/i/disks"],
        }


def machine(engine: Engine, *, ran: bool = True, keeps: bool = False) -> Machine:
    before = LiveDomain("pk-0123456789ab", "always", True, ran, keeps_running=keeps)
    made: Any = Machine
    volumes = (LiveVolume(0, "disks of the VM", "/i/disks"),)
    return made(engine, Host(engine), Live((), volumes, domain=before), before)  # type: ignore[no-any-return]


def test_one_that_may_be_on_its_way_down_is_brought_down_before_it_starts() -> None:
    engine = Engine()
    engine.fenced = True
    one = machine(engine)
    one.settle()
    assert one.start() == ()
    assert engine.did == ["power off", "start"]


def test_one_that_moves_live_is_not_powered_off() -> None:
    engine = Engine()
    engine.fenced = True
    one = machine(engine, keeps=True)
    assert one.settle() == ()
    one.start()
    assert engine.did == ["start"]


def test_one_whose_guest_does_not_end_is_one_that_runs() -> None:
    engine = Engine()
    engine.fenced = engine.deaf = True
    one = machine(engine)
    with pytest.raises(EngineError, match="does not power off"):
        one.stop()
    assert one.settle() == ("VM pk-0123456789ab",)
    assert one.start() == ()
    assert engine.now.running


def test_one_that_no_move_has_touched_is_not_stopped() -> None:
    engine = Engine()
    one = machine(engine)
    one.settle()
    assert engine.did == []


def test_one_that_did_not_run_before_is_not_started() -> None:
    engine = Engine(running=False)
    assert machine(engine, ran=False).start() == ()
    assert engine.did == []


def test_one_that_is_gone_is_told() -> None:
    engine = Engine()
    engine.there = False
    one = machine(engine)
    one.settle()
    assert one.start() == ("VM pk-0123456789ab",)
    assert one.left({}) == ()
    with pytest.raises(EngineError):
        one.require()
    assert engine.did == ["instance.remains"]


def test_what_a_try_to_delete_it_has_left_the_next_one_removes() -> None:
    """libvirt has forgotten it, and its disks are still there."""
    engine = Engine()
    engine.there, engine.folders = False, ["pk-0123456789ab", "pk-ffffffffffff"]
    one = machine(engine)
    assert one.left({}) == ("disks of VM pk-0123456789ab",)
    assert one.delete({}) == ()
    assert engine.did == ["instance.remains", "remove", "instance.remove"]


def test_the_folder_that_is_copied_shows_the_disks_of_now() -> None:
    engine = Engine()
    machine(engine).require_copied()
    assert engine.did == ["instance.described", "instance.expose"]


@pytest.mark.parametrize("now", [{"/i/disk.qcow2.snap"}, {"/i/disk.qcow2", "/i/config.raw", "/x"}])
def test_one_that_writes_elsewhere_since_is_not_copied(now: set[str]) -> None:
    """As after an external snapshot while the Move waited."""
    engine = Engine()
    engine.paths = now
    with pytest.raises(AppError, match="other disks"):
        machine(engine).require_copied()
    assert engine.did == ["instance.described"]


def test_one_that_runs_is_not_deleted() -> None:
    engine = Engine()
    with pytest.raises(ConflictError, match="is running at its source"):
        machine(engine).delete({})
    engine.power_off("")
    one = machine(engine)
    assert one.left({}) == ("VM pk-0123456789ab with its disks: stopped",)
    one.delete({})
    assert engine.did == ["power off", "remove", "instance.remove"]


BLOB_A, BLOB_B = b"a configuration", b"a layer"


def of_image(store: Store, *, stocked: bool = True) -> RunningVM:
    """A VM that becomes containers; its image is in the Store or nowhere."""
    digests = [f"sha256:{hashlib.sha256(blob).hexdigest()}" for blob in (BLOB_A, BLOB_B)]
    if stocked:
        assert [store.put_bytes(blob).digest for blob in (BLOB_A, BLOB_B)] == digests
    config = replace(IMAGE, digest=digests[0], diff_ids=(digests[1], digests[1]))
    engine = Engine()
    source = RunningVM(Host(engine), "vm:shop")  # type: ignore[arg-type]
    source._seen = engine.now
    app = compose.read(TEXT, "vm:shop")
    source._told = vm_description.Description(app, (), (config,), DISK)
    source._disks = {0: "/i/pkv0.raw"}
    source.require([Form.IMAGE])
    return source


def test_as_an_image_it_is_what_its_disk_was_made_of(tmp_path: Path) -> None:
    store = Store(tmp_path)
    source = of_image(store)
    images = source.images(compose.read(TEXT, "vm:shop"), store, Clock(Heard()))
    sizes = [blob.size for blob in images.artifact.blobs]
    assert sizes == [len(BLOB_A), len(BLOB_B), len(BLOB_B)]
    assert images.artifact.stored_bytes == len(BLOB_A) + len(BLOB_B), "the same layer counts once"
    spec = resolve_all(compose.read(TEXT, "vm:shop"), images.services)
    live = source.live(spec)
    assert live is not None
    assert live.volumes == (LiveVolume(0, "data", "/i/pkv0.raw", image=True),)
    assert live.warm == ()
    assert live.domain is not None
    kept = source.live(replace(spec, volume_ways=(OnTaken.KEEP,)))
    assert kept is not None
    assert kept.travelling == (), "its disk is not read"
    found = source.running(compose.read(TEXT, "vm:shop"), FACTS)
    assert [each.rule for each in found] == ["data-carried", "system-disk-left"]
    source._disks = {0: "/i/pkv0.raw", 1: "/i/pkv1.raw"}
    with pytest.raises(HostError, match="other disks"):
        source.live(spec)


def test_an_image_that_is_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    source = of_image(store, stocked=False)

    def fetch(*args: object) -> None:
        raise AppError("there is no such image")

    monkeypatch.setattr(vm.image, "fetch", fetch)
    with pytest.raises(AppError, match="cannot be found") as caught:
        source.images(compose.read(TEXT, "vm:shop"), store, Clock(Heard()))
    assert hashlib.sha256(BLOB_A).hexdigest() in caught.value.details
    assert "docker load" in caught.value.resolution


def test_it_is_moved_in_one_form() -> None:
    source = RunningVM(Host(Engine()), "vm:shop")  # type: ignore[arg-type]
    with pytest.raises(AppError, match="in only one form"):
        source.require([Form.IMAGE, Form.DISK])
    going_on = RunningVM(Host(Engine()), "vm:shop", keeps_running=True)  # type: ignore[arg-type]
    with pytest.raises(AppError, match="keeps running"):
        going_on.require([Form.IMAGE])
    source.require([Form.IMAGE])


def test_disks_that_are_read_themselves_are_not_shown() -> None:
    engine = Engine()
    one = machine(engine)
    one._live = replace(one._live, volumes=(LiveVolume(0, "data", "/i/pkv0.raw", image=True),))
    one.require_copied()
    assert engine.did == ["instance.described"]
