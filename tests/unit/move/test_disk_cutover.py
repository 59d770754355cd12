"""The steps that only the disk form of a running App needs: its volumes' disks, and a new disk."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit import boot, transfer
from portkit.app import compose
from portkit.clock import Clock
from portkit.model import Artifact, Form, ImageConfig
from portkit.move import cutover
from portkit.move import plan as plans
from portkit.move.ground import Cargo, Ground
from portkit.move.steps import steps_of
from portkit.source import vm_description
from portkit.source.images import Images
from portkit.store import Store
from tests.factories import FACTS, IMAGE, Heard, app_spec, live, plan, spec


class Lot:
    """A Move of a running App as a disk, on hosts that only remember what they were told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[tuple[Any, ...]] = []
        self.heard = Heard()
        self.rows: dict[str, dict[str, Any]] = {}
        self.store = Store(folder / "store")
        changed = replace(IMAGE, digest="sha256:" + "c" * 64)
        self.images = [
            self.made(Form.IMAGE, b"as it was packaged", IMAGE),
            self.made(Form.IMAGE, b"changed since", changed),
        ]
        self.disk = self.made(Form.DISK, b"the disk with the change", changed)
        self.described = ""
        runner = SimpleNamespace(
            volume_folders=lambda move: {0: "/i/data/0"},
            fill=lambda move, numbers: self.did.append(("fill", numbers)),
            renew=lambda new: self.did.append(("renew", new.artifact, new.identity)),
        )

        @contextmanager
        def opened(host: object, form: Form) -> Any:
            assert form is Form.DISK
            yield runner

        monkeypatch.setattr(boot, "runner", opened)
        monkeypatch.setattr(
            transfer, "send", lambda made, *args, **more: self.did.append(("send", made))
        )
        new: Any = SimpleNamespace(endpoint="new", name="new", remote=self, standing=[])
        self.standing: list[Any] = []
        source: Any = SimpleNamespace(
            again=lambda app, store, clock: Images.of([self.now]),
            disk=lambda image, spec, store, clock: self.disk,
            parcels=lambda store: {},
            running=lambda app, facts: (),
        )
        read = compose.read(b'{"name":"ledger","services":{"x":{"image":"x"}}}', "container:ledger")
        app = replace(read, running=True)
        cargo = Cargo(app, app_spec(spec()), self.images[0], {}, FACTS, self.store, source)
        results: Any = SimpleNamespace(result=lambda name: self.rows.get(name, {}))
        chosen = plan(forms=(Form.DISK,), keep=Form.DISK, live=live(), blobs=(), holds={})
        ground = Ground(chosen, results, new, new, Clock(self.heard), cargo)
        self.ground = ground
        self.steps = {step.name: step for step in steps_of(ground)}
        self.now = self.images[0]

    def made(self, form: Form, data: bytes, image: ImageConfig) -> Artifact:
        blob = self.store.put_bytes(data)
        return Artifact(form, blob.digest, (image,), (blob,), len(data), len(data))

    def call(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        self.did.append((verb, args.get("needs")))
        self.described = args.get("text", self.described)
        return {"brought": args.get("needs", []), "unreadable": []}


@pytest.fixture
def lot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lot:
    return Lot(tmp_path, monkeypatch)


def test_the_disks_are_made_after_the_last_pass_and_before_the_boot(
    lot: Lot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: object, *, last: bool = False, full: bool = False) -> Any:
        lot.did.append(("copy", last))
        return lot_pass()

    monkeypatch.setattr(cutover.Copy, "__init__", lambda self, *args: None)
    monkeypatch.setattr(cutover.Copy, "run", run)
    lot.steps[plans.LAST_SYNC].do()
    assert lot.did == [("copy", True), ("fill", [0])]
    names = list(lot.steps)
    assert names.index("create disk") < names.index(plans.PRESYNC)
    assert names.index(plans.LAST_SYNC) < names.index("boot disk")
    assert plans.LAST_SYNC in lot.steps["boot disk"].needs


def lot_pass() -> Any:
    from portkit.volumes import Pass

    values = dict.fromkeys(Pass.__dataclass_fields__, 0)
    return Pass(**{**values, "last": True, "digest": "sha256:1", "skipped": ()})  # type: ignore[arg-type]


def test_nothing_is_made_anew_where_the_containers_changed_nothing(lot: Lot) -> None:
    assert lot.steps[plans.LAST_LAYER].do() == {"phases": []}
    assert lot.did == []


def test_a_disk_that_lacks_the_last_changes_is_made_and_sent_once_more(lot: Lot) -> None:
    lot.now = lot.images[1]
    row = lot.steps[plans.LAST_LAYER].do()
    blobs = [lot.disk.digest]
    move = lot.ground.plan.move
    # The marker first: no other Move may take the new disk away, and a rollback knows of it.
    assert lot.did == [
        ("move.begin", blobs),
        ("send", lot.disk),
        ("renew", lot.disk, move),
        ("instance.describe", None),
    ]
    assert (row["image"], row["blobs"], row["brought"]) == (lot.now.digest, blobs, blobs)
    assert "again while the App is stopped" in lot.heard.messages[0]
    # What its VM is made of now, or it could not be moved on.
    assert vm_description.decode(lot.described, "vm:x").images == lot.now.images
    lot.rows[plans.LAST_LAYER] = row
    assert set(lot.ground.blobs(Form.DISK)) == set(blobs)
    assert lot.ground.brought() == blobs
    assert lot.ground.loaded.artifacts[Form.DISK] is lot.disk
    lot.did.clear()
    lot.steps[plans.LAST_LAYER].do()
    # A second try boots what the first one has not written to.
    assert ("renew", lot.disk, move) in lot.did
