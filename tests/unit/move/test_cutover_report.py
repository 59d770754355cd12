"""What a Report says of how a running App changed its host."""

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from portkit_cli import render

from portkit import boot, report
from portkit.boot.domain import Domains
from portkit.clock import Clock
from portkit.model import (
    Basis,
    Content,
    Foreseen,
    Form,
    Live,
    LiveDomain,
    LiveVolume,
    OnTaken,
    Part,
)
from portkit.move import foresee, pause
from portkit.move.ground import Cargo, Ground
from portkit.move.placed import placed
from portkit.move.plan import LAST_SYNC, PRESYNC, plan_from
from portkit.move.reported import cutover_report, no_files, phases_of
from tests.factories import FACTS, Heard, app_spec, live, plan, spec

STEPS = (
    "boot image",
    "create image",
    "fence",
    "last layer",
    "last sync",
    "presync",
    "stop",
    "verify source",
)


def phases(chosen: Live | None) -> list[str]:
    """Each step has one phase, of the step's name."""

    def result(name: str) -> dict[str, object]:
        row = {"name": name, "start_s": 1.0, "seconds": 2.0}
        return {"phases": [row]} if name in STEPS else {}

    steps: Any = SimpleNamespace(result=result)
    made = plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=chosen)
    return [phase.name for phase in phases_of(Form.IMAGE, made, steps)]


def test_what_a_cutover_now_would_cost_is_said_while_it_waits() -> None:
    assert "copy for 4.0 s" in foresee.would_cost(None, 4.0)[1], "of an older Move"
    part = Part(1.0, Basis.ASSUMED, "a guess", 1.0)
    known = Foreseen(
        data_bytes=part,
        wire_bytes=part,
        first_s=part,
        stop_s=part,
        layer_s=part,
        last_s=part,
        boot_s=part,
        rest_s=part,
    )
    seconds, said = foresee.would_cost(known, 4.0)
    assert seconds == 8.0
    assert "a downtime of about 8.0 s" in said
    assert "last pass 4.00 s (measured)" in said
    made = plan(foreseen=known)
    assert plan_from(made.to_json()) == made


def test_what_a_cutover_would_cost_is_not_repeated_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard, now = Heard(), 1000.0
    ground: Any = SimpleNamespace(clock=Clock(heard), plan=plan(foreseen=None))
    monkeypatch.setattr(pause.time, "monotonic", lambda: now)
    cost = pause._Cost(ground)
    for seconds in (4.0, 4.1, 3.9, 9.0, 9.2, 1.0, 1.4):
        cost.tell(seconds)
    assert [text.split()[6] for text in heard.messages] == ["4.0", "9.0", "1.0"]
    now += 61.0
    cost.tell(1.1)
    assert len(heard.messages) == 4, "a sign of life"


CUT = ["presync", "fence", "stop", "last layer", "last sync"]


@pytest.mark.parametrize(
    ("chosen", "between", "after"), [(live(), CUT, ["verify source"]), (None, [], [])]
)
def test_the_phases_of_the_cutover_are_between_create_and_boot(
    chosen: Live | None, between: list[str], after: list[str]
) -> None:
    assert phases(chosen) == ["create image", *between, "boot image", *after]


# ---------------------------------------------------------------- by what things are found

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/report.schema.json").read_text())
DOCKER = "/var/lib/docker/volumes"
DISKS = [
    "/i/pk/disk.qcow2",
    "/i/pk/pkv0.raw",
    "/i/pk/pkv10.raw",
    "/i/pk/pkv1.raw",
    "/i/pk/config.raw",
]
VOLUMES = (
    LiveVolume(0, "shop_data", f"{DOCKER}/shop_data/_data"),
    LiveVolume(1, "", "/srv/shop/files"),
    LiveVolume(2, "shop_old", f"{DOCKER}/shop_old/_data", way=OnTaken.OVERRIDE),
    LiveVolume(3, "shop_cache", f"{DOCKER}/shop_cache/_data", way=OnTaken.KEEP),
    LiveVolume(4, "shop_kept", f"{DOCKER}/shop_kept/_data"),
)
DONE = {"entries": 3, "bytes": 9, "sent_bytes": 9, "seconds": 0.5, "skipped": []}


def ground(form: Form, chosen: Live) -> Ground:
    """A Move whose target tells what it has."""
    contents = (Content("/etc/shop.conf", Path("/srv/shop.conf")), Content("/run/x", data=b"x"))
    cargo: Any = Cargo(
        None,  # type: ignore[arg-type]
        app_spec(spec(contents=contents)),
        None,  # type: ignore[arg-type]
        {},
        FACTS,
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
    )
    remote = SimpleNamespace(call=lambda verb, args: {"disks": DISKS})
    host: Any = SimpleNamespace(endpoint="h", name="h", remote=remote)
    made = plan(forms=(form,), keep=form, live=chosen)
    results: Any = SimpleNamespace(result=lambda name: {})
    return Ground(made, results, host, None, Clock(Heard()), cargo)


@pytest.fixture
def containers(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = SimpleNamespace(
        volume_names=lambda move: {
            0: "portkit-0123456789ab-0",
            1: "portkit-0123456789ab-1",
            4: "shop_kept",
        },
        content_folder=lambda move: f"{DOCKER}/portkit-0123456789ab-content/_data",
    )

    @contextmanager
    def opened(host: object, form: Form) -> Any:
        assert form is Form.IMAGE
        yield runner

    monkeypatch.setattr(boot, "runner", opened)


def reported(there: dict[str, Any], chosen: Live) -> report.Cutover:
    """As the journal keeps what the steps of a Move recorded."""
    rows = [{"volume": each.number, "name": each.name} for each in chosen.travelling]
    results = {
        PRESYNC: {"volumes": [{**row, "passes": [DONE]} for row in rows], **there},
        LAST_SYNC: {"volumes": [{**row, "passes": [DONE]} for row in rows]},
    }
    kept = json.loads(json.dumps(results))
    steps: Any = SimpleNamespace(result=lambda name: kept.get(name, {}))
    found = cutover_report(plan(forms=(Form.IMAGE,), live=chosen), steps)
    assert found is not None
    part = {**SCHEMA["properties"]["cutover"], "$defs": SCHEMA["$defs"]}
    jsonschema.validate(report.plain(found), part)
    return found


@pytest.mark.usefixtures("containers")
def test_what_came_is_named_as_the_target_knows_it() -> None:
    chosen = live(volumes=VOLUMES)
    found = reported({"placed": placed(ground(Form.IMAGE, chosen), Form.IMAGE)}, chosen)
    lines = list(render._cutover(found))
    assert [line.partition(": 9 bytes")[0] for line in lines[:4]] == [
        "volume shop_data (on the target: volume portkit-0123456789ab-0)",
        "folder /srv/shop/files (on the target: volume portkit-0123456789ab-1)",
        "volume shop_old",
        "volume shop_kept",
    ]
    place = f"{DOCKER}/portkit-0123456789ab-content/_data/0"
    assert lines[4] == f"file /srv/shop.conf: on the target {place}"
    assert [(each.path, each.target_name) for each in found.volumes[1:3]] == [
        ("/srv/shop/files", "portkit-0123456789ab-1"),
        (f"{DOCKER}/shop_old/_data", "shop_old"),
    ]


def test_what_is_no_file_is_a_finding() -> None:
    chosen = live(volumes=VOLUMES[:2])
    found = reported({}, chosen)
    assert no_files(found) is no_files(None) is None
    socket, *others = found.volumes
    note = no_files(replace(found, volumes=(replace(socket, skipped=("socket run/s",)), *others)))
    assert note is not None
    assert note.rule == "no-files"
    assert note.evidence == ("shop_data: socket run/s",)
    assert "shop_data: socket run/s" in note.message


def test_in_a_vm_a_volume_is_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = live(volumes=(*VOLUMES[:2], replace(VOLUMES[4], number=10)))
    there = ground(Form.DISK, chosen)
    domains = object.__new__(Domains)
    domains._host = there.target

    @contextmanager
    def opened(host: object, form: Form) -> Any:
        yield domains

    monkeypatch.setattr(boot, "runner", opened)
    found = reported({"placed": placed(there, Form.DISK)}, chosen)
    assert [each.target_name for each in found.volumes] == [
        "/i/pk/pkv0.raw",
        "/i/pk/pkv1.raw",
        "/i/pk/pkv10.raw",
    ]
    assert (
        "folder /srv/shop/files (on the target: /i/pk/pkv1.raw): " in [*render._cutover(found)][1]
    )
    assert found.files == (report.FileReport("/srv/shop.conf", "/etc/shop.conf"),)


def test_a_vms_own_disks_are_found_in_its_folder() -> None:
    domain = LiveDomain("pk-0", "no", autostart=False, running=True)
    chosen = Live((), (LiveVolume(0, "disks of the VM", "/i/old/disks"),), domain=domain)
    found = reported({"placed": placed(ground(Form.DISK, chosen), Form.DISK)}, chosen)
    assert [each.target_name for each in found.volumes] == ["/i/pk"]


def test_a_move_that_an_earlier_portkit_began_names_what_it_knows() -> None:
    chosen = live(volumes=VOLUMES[:2])
    lines = list(render._cutover(reported({}, chosen)))
    assert [line.partition(":")[0] for line in lines[:2]] == [
        "volume shop_data",
        "folder /srv/shop/files",
    ]
