"""The steps of a Move of a VM with its disks, as far as they differ from those of containers."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from portkit import boot
from portkit.clock import Clock
from portkit.errors import ConflictError, PortkitError
from portkit.model import Form, Life, Live, LiveDomain, LiveVolume, OnTaken
from portkit.move import cutover
from portkit.move.ground import Cargo, Ground
from portkit.move.plan import FENCE, LAST_SYNC, PRESYNC, STOP, plan_from
from portkit.move.steps import steps_of
from tests.factories import FACTS, Heard, app_spec, plan, spec

OLD = "pk-00000000000a"


class Lot:
    """A Move of a VM between hosts that only remember what they were told."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        running: bool = True,
        form: Form = Form.DISK,
        live: Live | None = None,
    ) -> None:
        self.did: list[Any] = []
        self.alive = False
        self.engines = self.remote = self
        domain = LiveDomain(OLD, "always", autostart=True, running=running)
        volumes = (LiveVolume(0, "the VM's own disks", "/i/old/disks"),)
        if form is Form.IMAGE:
            volumes = (LiveVolume(0, "data", "/i/old/pkv0.raw", image=True),)
        self.live = live = live or Live((), volumes, domain=domain)
        self.plan = plan(forms=(form,), keep=form, live=live, holds={})
        runner = SimpleNamespace(
            life=lambda *_, **__: Life("running" if self.alive else "created"),
            volume_folders=lambda move: {0: "/docker/data"},
            volume_names=lambda move: {0: "portkit-1-0"},
            content_folder=lambda move: "",
            fill=lambda move, numbers: self.did.append(("fill", numbers)),
        )

        @contextmanager
        def opened(host: object, asked: Form) -> Any:
            assert asked is form
            yield runner

        @contextmanager
        def origin(host: object, live: Live) -> Any:
            assert live.domain is not None
            assert live.domain.id == OLD
            yield self

        monkeypatch.setattr(boot, "runner", opened)
        monkeypatch.setattr(cutover, "origin", origin)
        host: Any = SimpleNamespace(endpoint="h", name="h", remote=self, standing=[])
        source: Any = SimpleNamespace(again=lambda app, store, clock: None)
        nothing: Any = None
        cargo = Cargo(nothing, app_spec(spec()), nothing, {}, FACTS, nothing, source)
        results: Any = SimpleNamespace(result=lambda name: {})
        downtime: Any = SimpleNamespace(
            source_started=lambda reached: None,
            begin=lambda *args, **more: self.did.append("ask both"),
            await_source=lambda halt: None,
            in_vain="",
            goes_back=lambda: None,
        )
        ground = Ground(self.plan, results, host, host, Clock(Heard()), cargo, downtime=downtime)
        self.steps = {step.name: step for step in steps_of(ground)}

    def call(self, verb: str, args: dict[str, Any]) -> dict[str, Any]:
        self.did.append((verb, args))
        return {"folders": ["/i/new/data/disks"]}

    def seen(self) -> Any:
        return self.live

    def __getattr__(self, name: str) -> Any:
        return lambda: self.did.append(name) or ()


def copies(lot: Lot, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(self: object, origin: Any, target: Any, *rest: object, **more: object) -> None:
        lot.did.append((origin.path, target.path))

    from portkit.volumes import Pass

    values = dict.fromkeys(Pass.__dataclass_fields__, 0)
    done = Pass(**{**values, "last": True, "digest": "sha256:1", "skipped": ()})  # type: ignore[arg-type]
    monkeypatch.setattr(cutover.Copy, "__init__", made)
    monkeypatch.setattr(cutover.Copy, "run", lambda self, **more: done)
    monkeypatch.setattr(cutover.Copy, "seconds", None, raising=False)


def test_the_folder_of_its_disks_is_copied_and_put_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lot = Lot(monkeypatch)
    copies(lot, monkeypatch)
    lot.steps[LAST_SYNC].do()
    move = lot.plan.move
    assert lot.did == [
        "require_copied",
        ("instance.stage", {"id": move, "disks": True}),
        ("/i/old/disks", "/i/new/data/disks"),
        ("instance.adopt", {"id": move}),
    ]


def test_one_that_has_other_disks_by_now_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    lot = Lot(monkeypatch)
    lot.seen = lambda: lot.plan.live
    lot.steps[FENCE].before()
    assert lot.did == ["require", "require_copied"]


def test_the_disks_of_a_target_that_runs_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    lot = Lot(monkeypatch)
    copies(lot, monkeypatch)
    lot.alive = True
    with pytest.raises(ConflictError, match="cannot be replaced"):
        lot.steps[LAST_SYNC].do()


def test_one_that_is_on_its_way_down_is_down_before_it_starts_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lot = Lot(monkeypatch)
    lot.steps[STOP].undo()
    assert lot.did == ["settle", "start"]


@pytest.mark.parametrize("running", [True, False])
def test_the_downtime_of_what_did_not_run_is_not_measured(
    running: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lot = Lot(monkeypatch, running=running)
    copies(lot, monkeypatch)
    lot.steps[FENCE].do()
    assert lot.did[: running + 1] == [*["ask both"] * running, "fence"]


def test_an_older_portkit_does_not_take_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    lot = Lot(monkeypatch)
    document = lot.plan.to_json()
    assert document["schema"] == "portkit.plan/5"
    assert plan_from(document) == lot.plan
    assert plan().to_json()["schema"] == "portkit.plan/4"
    with pytest.raises(PortkitError, match="another version"):
        plan_from({**document, "schema": "portkit.plan/99"})


def test_what_it_wrote_is_on_its_disks_and_no_image_is_made_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lot = Lot(monkeypatch)
    assert lot.steps["last layer"].do() == {"phases": []}
    assert lot.did == []


def becoming_containers(monkeypatch: pytest.MonkeyPatch) -> Lot:
    """The same VM on its way into containers: its volumes are in disks."""
    lot = Lot(monkeypatch, form=Form.IMAGE)
    copies(lot, monkeypatch)
    return lot


def test_of_containers_only_the_stopped_vm_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lot = becoming_containers(monkeypatch)
    row = lot.steps[PRESYNC].do()
    assert row["volumes"] == [{"volume": 0, "name": "data", "passes": []}]
    assert lot.did == []
    row = lot.steps[LAST_SYNC].do()
    assert lot.did == [
        "require_copied",
        ("/i/old/pkv0.raw", "/docker/data"),
        ("fill", [0]),
    ]
    assert [len(each["passes"]) for each in row["volumes"]] == [1]


def test_its_plan_is_not_taken_for_that_of_a_vm_that_stays_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lot = becoming_containers(monkeypatch)
    document = lot.plan.to_json()
    assert document["schema"] == "portkit.plan/8"
    assert plan_from(document) == lot.plan
    # Who knows of volumes that are taken may still take disks for folders.
    assert lot.plan.live is not None
    volumes = tuple(replace(each, way=OnTaken.KEEP) for each in lot.plan.live.volumes)
    taking = replace(lot.plan, live=replace(lot.plan.live, volumes=volumes))
    assert taking.to_json()["schema"] == "portkit.plan/8"
    assert plan_from(taking.to_json()) == taking


def test_the_disk_of_a_volume_that_is_kept_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    lot = becoming_containers(monkeypatch)
    live = lot.plan.live
    assert live is not None
    kept = replace(live, volumes=tuple(replace(each, way=OnTaken.KEEP) for each in live.volumes))
    lot = Lot(monkeypatch, form=Form.IMAGE, live=kept)
    copies(lot, monkeypatch)
    monkeypatch.setattr(cutover, "require_unused", lambda ground: None)
    assert lot.steps[LAST_SYNC].do()["volumes"] == []
    assert lot.did == ["require_copied", ("fill", [])]
