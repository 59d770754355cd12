"""What the steps of a Move do on its hosts, and record: the disk, the marker, the two boots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit import boot, transfer
from portkit.clock import Clock
from portkit.errors import BootError, PortkitError
from portkit.model import App, Artifact, Form, HealthProbe, Life
from portkit.move import steps
from portkit.move.ground import Cargo, Ground, keep
from portkit.move.steps import steps_of
from portkit.move.walk import Step, StepState
from portkit.progress import NullObserver
from portkit.store import Store
from tests.factories import FACTS, IMAGE, app_spec, live, plan, spec


class Host:
    """Answers `move.begin` as if everything that is needed were lacking."""

    def __init__(self, name: str) -> None:
        self.name = self.endpoint = name
        self.remote = self
        self.standing: list[tuple[str, dict[str, Any]]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.unreadable: list[str] = []

    def call(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((verb, args))
        brought = sorted({*args.get("needs", ()), *(args.get("brought") or ())})
        return {"brought": brought, "unreadable": self.unreadable}


class Record:
    """The journal of one Move."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}

    def result(self, step: str) -> dict[str, Any]:
        return self.rows.get(step, {})

    def state(self, step: str) -> StepState:
        return StepState.DONE if step in self.rows else StepState.PENDING

    def note(self, step: str, state: StepState, result: dict[str, Any] | None = None) -> None:
        self.rows[step] = {**self.result(step), **(result or {})}


class Lot:
    """A Move of both forms on two hosts that are not there."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.store = Store(folder / "store")
        self.old, self.new = Host("old"), Host("new")
        self.record = Record()
        self.contents = [b"kernel", b"initrd", b"boot", b"raw disk"]
        self.made = 0
        image = self.store.put_bytes(b"layer")
        self.image = Artifact(Form.IMAGE, image.digest, (IMAGE,), (image,), 5, 5)
        about = {"image": keep(self.image, self.store), "blobs": (image.digest,), **changes}
        self.plan = plan(**about)
        self.process()

    def process(self) -> None:
        """Another process goes on with it: nothing but the journal and the Store is known."""
        source: Any = SimpleNamespace(disk=self._disk, parcels=lambda store: {})
        wanted = app_spec(spec(health=HealthProbe(running_s=0, settle_s=0)))
        made = {Form.IMAGE: self.image}
        cargo = Cargo(App("shop", (), "."), wanted, self.image, made, FACTS, self.store, source)
        old: Any = self.old
        new: Any = self.new
        results: Any = self.record
        self.ground = Ground(self.plan, results, new, old, Clock(NullObserver()), cargo)
        self.steps = {step.name: step for step in steps_of(self.ground)}

    def _disk(self, image: Artifact, wanted: Any, store: Store, clock: Clock) -> Artifact:
        self.made += 1
        with clock.phase("package disk"):
            blobs = tuple(map(store.put_bytes, self.contents))
        return Artifact(Form.DISK, blobs[-1].digest, (IMAGE,), blobs, 8, 8)

    def do(self, *names: str) -> None:
        for name in names:
            step: Step = self.steps[name]
            if self.record.state(name) is StepState.PENDING:
                self.record.note(name, StepState.DOING, step.before())
            self.record.note(name, StepState.DONE, step.do())

    def begin(self, name: str) -> None:
        self.record.note(name, StepState.DOING, self.steps[name].before())

    @property
    def disk(self) -> list[str]:
        return list(self.record.result("package disk")["blobs"])


@pytest.fixture
def lot(tmp_path: Path) -> Lot:
    return Lot(tmp_path)


def test_what_a_disk_is_made_of_is_recorded(lot: Lot) -> None:
    lot.do("package disk")
    row = lot.record.result("package disk")
    assert len(row["blobs"]) == 4
    assert [phase["name"] for phase in row["phases"]] == ["package disk"]
    assert lot.ground.loaded.artifacts[Form.DISK].digest == row["blobs"][-1]
    assert lot.old.calls == lot.new.calls == [], "no host is asked"


def test_whoever_goes_on_takes_the_disk_that_was_made(lot: Lot) -> None:
    lot.do("package disk")
    before = lot.record.result("package disk")
    lot.process()
    lot.do("package disk")
    assert lot.made == 1
    assert lot.record.result("package disk") == before, "and its phases are those of the first time"


def test_a_disk_that_is_gone_is_made_again(lot: Lot) -> None:
    lot.do("package disk")
    before = lot.record.result("package disk")
    lot.store.path(lot.disk[-1]).unlink()
    lot.process()
    lot.do("package disk")
    assert lot.made == 2
    assert lot.record.result("package disk")["manifest"] == before["manifest"]


def test_another_disk_than_the_one_that_travelled_is_refused(lot: Lot) -> None:
    """The kernel of the kit was updated since."""
    lot.do("package disk")
    lot.store.path(lot.disk[-1]).unlink()
    lot.contents[0] = b"another kernel"
    lot.process()
    with pytest.raises(PortkitError, match="no longer exists here") as caught:
        lot.do("package disk")
    assert f"portkit rollback {lot.plan.move}" in caught.value.resolution


def test_the_marker_grows_by_the_disk_before_it_travels(lot: Lot) -> None:
    lot.do("reserve")
    image = list(lot.plan.blobs)
    assert lot.record.result("reserve")["brought"] == image
    assert lot.new.standing[0][1]["needs"] == image
    assert lot.new.standing[0][1]["brought"] is None, "nothing may listen at its ports yet"
    lot.do("package disk")
    lot.begin("transfer disk")
    (standing,) = lot.new.standing
    assert standing[1]["needs"] == sorted([*image, *lot.disk]), "also for a new connection"
    assert standing[1]["about"] == lot.new.calls[0][1]["about"]
    assert set(lot.record.result("transfer disk")["brought"]) == {*image, *lot.disk}
    assert [verb for verb, _ in lot.old.calls] == ["move.begin"], "the source needs no more"


def test_a_marker_that_cannot_be_read_is_told_once(
    lot: Lot, monkeypatch: pytest.MonkeyPatch
) -> None:
    lot.new.unreadable = ["/moves/pk-ba9876543210.json"]
    told: list[str] = []
    monkeypatch.setattr(NullObserver, "message", lambda _, text: told.append(text))
    lot.do("reserve", "package disk")
    lot.begin("transfer disk")
    (text,) = told
    assert "new: /moves/pk-ba9876543210.json cannot be read" in text


def test_who_goes_on_marks_all_of_it(lot: Lot) -> None:
    lot.do("reserve", "package disk")
    lot.begin("transfer disk")
    lot.process()
    lot.do("reserve")
    args = lot.new.calls[-1][1]
    assert args["needs"] == args["brought"] == sorted([*lot.plan.blobs, *lot.disk])


def test_each_form_takes_away_what_it_brought(lot: Lot, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[tuple[tuple[str, ...], list[str]]] = []

    def release(hold: tuple[str, ...], host: Any, brought: list[str], **_: Any) -> None:
        gone.append((hold, brought))

    monkeypatch.setattr(transfer, "release", release)
    lot.do("reserve")
    lot.steps["transfer disk"].undo()
    assert gone == [((), [])], "a disk that was not made yet brought nothing"
    lot.do("package disk")
    lot.begin("transfer disk")
    lot.process()
    lot.steps["transfer disk"].undo()
    lot.steps["transfer image"].undo()
    assert gone[1:] == [
        ((), sorted(lot.disk)),
        (tuple(lot.plan.holds.values()), list(lot.plan.blobs)),
    ]


def test_a_bundle_has_no_source_to_mark(tmp_path: Path) -> None:
    lot = Lot(tmp_path, source=None)
    lot.do("reserve")
    assert lot.new.calls[0][1]["about"]["source"] == "a bundle"


# ---------------------------------------------------------------- boots


class Engine:
    """A Runner whose one Instance runs as soon as it is started; what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.running = False

    def start(self, _: str, **__: object) -> None:
        assert not self.running
        self.told.append("start")
        self.running = True

    def stop(self, *_: object) -> None:
        self.told.append("stop")
        self.running = False

    def life(self, *_: object, **__: object) -> Life:
        return Life("running" if self.running else "created", started="t1")

    def logs(self, *_: object) -> str:
        return "its last words"

    def commit(self, *_: object) -> None:
        assert self.running
        self.told.append("commit")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()

    @contextmanager
    def runner(*_: object) -> Iterator[Engine]:
        yield made

    monkeypatch.setattr(boot, "runner", runner)
    return made


@pytest.mark.parametrize(
    ("changes", "step", "told"),
    [
        ({}, "boot image", ["start", "stop"]),
        ({}, "boot disk", ["start", "stop"]),
        ({"repeat": 2}, "boot image", ["start", "stop", "start", "stop"]),
        ({"keep": Form.DISK}, "boot image", ["start", "stop"]),
        ({"keep": Form.DISK}, "boot disk", ["start"]),
        ({"keep": Form.DISK, "repeat": 2}, "boot disk", ["start", "stop", "start"]),
        ({"forms": (Form.IMAGE,)}, "boot image", ["start"]),
        ({"forms": (Form.IMAGE,), "keep": None}, "boot image", ["start", "stop"]),
    ],
)
def test_one_form_runs_at_a_time(
    tmp_path: Path, engine: Engine, changes: dict[str, Any], step: str, told: list[str]
) -> None:
    lot = Lot(tmp_path, **changes)
    if Form.DISK in lot.plan.forms:
        lot.do("package disk")
    lot.do(step)
    assert engine.told == told


def test_the_image_to_keep_is_started_again_for_good(lot: Lot, engine: Engine) -> None:
    lot.do("start image")
    assert engine.told == ["start"]
    assert lot.record.result("start image")["phases"][0]["name"] == "start image"
    lot.do("start image")
    assert engine.told == ["start"], "one that was killed had started it already"


def test_whoever_goes_on_starts_what_the_hosts_restart_has_ended(
    tmp_path: Path, engine: Engine
) -> None:
    lot = Lot(tmp_path, forms=(Form.IMAGE,), tags={})
    again = replace(lot.ground, from_start=False)
    lot.steps = {step.name: step for step in steps_of(again)}
    lot.do("commit")
    assert engine.told == ["start", "commit"]
    lot.do("commit")
    assert engine.told == ["start", "commit", "commit"], "it ran"


def test_the_start_of_the_host_is_asked_for_before_the_app_serves(
    tmp_path: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost answer would leave the boot half done, and the Move would be rolled back."""
    lot = Lot(tmp_path, forms=(Form.IMAGE,), live=live())

    def up_since(*_: object) -> str:
        engine.told.append("since")
        return "b 1"

    monkeypatch.setattr(steps, "up_since", up_since)
    monkeypatch.setattr(steps, "require_unused", lambda _: None)
    lot.do("boot image")
    assert engine.told == ["since", "start"]
    assert lot.record.result("boot image")["up_since"] == "b 1"


def test_an_app_that_has_ended_is_not_committed(tmp_path: Path, engine: Engine) -> None:
    lot = Lot(tmp_path, forms=(Form.IMAGE,), tags={})
    with pytest.raises(BootError, match="ended after its first answer"):
        lot.do("commit")
    assert engine.told == []


def test_a_vm_says_how_it_was_started(lot: Lot, engine: Engine) -> None:
    lot.do("package disk", "boot disk", "boot image")
    told = lot.record.result("boot disk")["boot"]["machine"]
    assert told["loader"] == "direct"
    assert not told["mitigations"], "FACTS has no KVM"
    assert lot.record.result("boot image")["boot"]["machine"] is None
