"""Several Apps at once: checked together before the first byte, moved one after the other."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from portkit import move as moves
from portkit.clock import Clock
from portkit.errors import AppError, BootError, ConflictError, IncompatibleError, SpaceError
from portkit.model import (
    App,
    AppSpec,
    Artifact,
    Blob,
    Facts,
    Finding,
    Form,
    Port,
    Service,
    Severity,
    Verdict,
)
from portkit.move import carry
from portkit.move.ground import Ground, keep
from portkit.move.plan import plan_from
from portkit.report import Boot, Report
from portkit.source import OnHost
from portkit.store import Store
from tests.elves import elf, layer
from tests.factories import FACTS, IMAGE, transfer
from tests.unit.fake_host import FakeHost


class FakeSteps:
    """What the steps of a Move do, noted; the App called "bad" does not start."""

    done: ClassVar[list[str]] = []

    def __init__(self, ground: Ground, name: str) -> None:
        self._app, self.name = ground.plan.app, name
        self.needs = self.after = ()
        self.renewed = self.aside = False
        self.undone_at = ""

    def before(self) -> dict[str, Any]:
        return {}

    def do(self) -> dict[str, Any]:
        if self.name == "boot image" and self._app == "bad":
            raise BootError("it did not start", details="its last words")
        if self.name in ("transfer image", "commit"):
            self.done.append(f"{'send' if self.name != 'commit' else self.name} {self._app}")
        return RESULTS.get(self.name, {})

    def undo(self) -> None:
        if self.name == "transfer image":
            self.done.append(f"take back {self._app}")


DISK = Artifact(Form.DISK, "sha256:" + "d" * 64, (IMAGE,), (), 1 << 30, 5000)
RESULTS: dict[str, dict[str, Any]] = {
    "transfer image": {"transfer": asdict(transfer())},
    "boot image": {
        "boot": asdict(Boot("docker", "1", "none", "http://new:8000/", 200)),
        "from_move_s": 1.0,
        "from_boot_s": [0.5],
    },
}


def program_layer(folder: Path) -> bytes:
    """A layer of 1000 bytes with the command of IMAGE in it."""
    data = layer(folder / "layer", {"bin/x": elf(more=bytes(368))}).read_bytes()
    return data[:1000]


class Lot:
    """Apps of the given names, each with a layer of its own and one that all share."""

    def __init__(self, folder: Path, *names: str, target: Facts = FACTS) -> None:
        self.store = Store(folder / "store")
        base, images = self.store.put_bytes(program_layer(folder)), {}
        for name in names:
            config = self.store.put_bytes(name.encode() * 100)
            # Nothing is read behind the block of zeros at which a tar ends.
            own = self.store.put_bytes(bytes(512) + f"{name}!".ljust(88).encode())
            parts = replace(IMAGE, digest=config.digest, diff_ids=(base.digest, own.digest))
            blobs = (config, Blob(base.digest, 1000), own)
            images[name] = Artifact(Form.IMAGE, config.digest, (parts,), blobs, 2000, 2000)
            self.store.save(images[name], f"image {config.digest}")
        self.source = FakeHost("old", replace(FACTS, libvirt_version=None), images)
        self.target = FakeHost("new", target, {})
        self.apps = tuple(app(name, 8000 + number) for number, name in enumerate(names))

    def run(self, *apps: App, **more: Any) -> tuple[Report, ...]:
        source: Any = self.source
        ends: dict[str, Any] = {"source": OnHost(source), "target": self.target}
        return moves.move_apps(
            apps or self.apps, **ends, forms=(Form.IMAGE,), store=self.store, **more
        )

    def run_both(self, *apps: App, **more: Any) -> tuple[Report, ...]:
        """In both forms; what is made of the disks is noted in `FakeSteps.done`."""
        source: Any = self.source
        ends: dict[str, Any] = {"source": OnHost(source), "target": self.target}
        return moves.move_apps(apps or self.apps, **ends, store=self.store, **more)

    def plan(self, *apps: App, **more: Any) -> tuple[Report, ...]:
        source: Any = self.source
        ends: dict[str, Any] = {"source": OnHost(source), "target": self.target}
        return moves.plan_apps(apps or self.apps, **ends, store=self.store, pack_disk=False, **more)


def app(name: str, *ports: int, address: str = "", protocol: str = "tcp") -> App:
    published = tuple(Port(80, port, protocol, address) for port in ports)
    if protocol != "tcp":
        published += (Port(80, 9000 + len(name)),)
    return App(name, (Service(name, image=name, ports=published),), f"./{name}")


@pytest.fixture(autouse=True)
def _journeys(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeSteps.done = []
    monkeypatch.setattr(
        carry, "steps_of", lambda ground: [FakeSteps(ground, name) for name in ground.plan.steps()]
    )


def test_one_after_the_other_each_a_move_of_its_own(tmp_path: Path) -> None:
    lot, told = Lot(tmp_path, "shop", "blog"), []
    reports = lot.run(moved=told.append)
    assert [report.app.name for report in reports] == ["shop", "blog"]
    assert list(reports) == told
    assert len({report.move for report in reports}) == 2
    assert FakeSteps.done == [
        "send shop",
        "commit shop",
        "send blog",
        "commit blog",
    ]
    assert sum(report.target_link_bytes for report in reports) == 2 * lot.target.bytes, "each once"
    assert sum(report.source_link_bytes for report in reports) == 2 * lot.source.bytes
    assert all(report.target_link_bytes > 0 for report in reports)


def test_a_plan_predicts_what_each_app_brings_and_changes_nothing(tmp_path: Path) -> None:
    lot = Lot(tmp_path, "shop", "blog")
    costs = [report.forms[0].predicted for report in lot.plan()]
    assert all(cost and cost.sent_bytes and cost.seconds is None for cost in costs)
    assert [cost and cost.reused_bytes for cost in costs] == [0, 1000], "the layer of both"
    assert set(lot.target.calls) == {"image.list", "store.has", "volume.weigh"}


def test_a_move_of_what_was_planned_is_compared_with_the_prediction(tmp_path: Path) -> None:
    lot, journal = Lot(tmp_path, "shop", "blog"), moves.Journal(tmp_path / "state")
    (before,) = lot.run(lot.apps[0], journal=journal)
    brief = before.forms[0].predicted
    assert brief is not None
    assert brief.sent_bytes
    assert brief.seconds is None, "nothing was measured yet"
    (figure,) = before.predictions
    assert (figure.what, figure.predicted) == ("image: sent", brief.sent_bytes)
    (planned,) = lot.plan(lot.apps[1], journal=journal)
    (report,) = lot.run(lot.apps[1], journal=journal)
    assert report.forms[0].predicted == planned.forms[0].predicted is not None
    kept = plan_from(journal.get(report.move).plan)
    assert kept.predicted == {Form.IMAGE: planned.forms[0].predicted}
    lot.target.rate_limit = 1e6
    (held,) = lot.run(lot.apps[1], journal=journal)
    assert held.forms[0].predicted is not None, "made anew: the other one was without a limit"


def test_what_was_moved_before_one_that_fails_stays(tmp_path: Path) -> None:
    lot, told = Lot(tmp_path, "shop", "bad", "blog"), []
    with pytest.raises(BootError) as caught:
        lot.run(moved=told.append)
    assert caught.value.brief == "bad: it did not start"
    assert caught.value.details == "its last words\nmoved: shop; not moved: bad, blog"
    assert [report.app.name for report in told] == ["shop"]
    assert FakeSteps.done == [
        "send shop",
        "commit shop",
        "send bad",
        "take back bad",
    ]


def test_the_error_of_one_app_is_as_ever(tmp_path: Path) -> None:
    lot = Lot(tmp_path, "bad")
    with pytest.raises(BootError) as caught:
        lot.run()
    assert (caught.value.brief, caught.value.details) == ("it did not start", "its last words")
    with pytest.raises(AppError, match="no App"):
        moves.move_apps((), source=lot.source, target=lot.target)  # type: ignore[arg-type]


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    lot = Lot(tmp_path, "shop", "blog")
    twin = replace(lot.apps[0], source="./other")
    with pytest.raises(ConflictError, match="several Apps have the name shop") as caught:
        lot.run(*lot.apps, twin)
    assert caught.value.details == "./shop, ./other"
    assert lot.source.calls == lot.target.calls == []


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ({}, {}, True),
        ({"address": "10.0.0.1"}, {"address": "0.0.0.0"}, True),
        ({"address": "10.0.0.1"}, {}, True),
        ({"address": "10.0.0.1"}, {"address": "10.0.0.2"}, False),
        ({"protocol": "udp"}, {}, False),
        ({"protocol": "udp"}, {"protocol": "udp"}, True),
    ],
)
def test_one_port_for_two(
    tmp_path: Path, one: dict[str, str], other: dict[str, str], clash: bool
) -> None:
    lot = Lot(tmp_path, "a", "bb")
    pair = app("a", 8080, **one), app("bb", 8080, **other)
    told = {finding.rule for report in lot.plan(*pair) for finding in report.forms[0].findings}
    assert told == ({"port-shared"} if clash else set())
    if not clash:
        assert len(lot.run(*pair)) == 2
        return
    with pytest.raises(ConflictError, match="port 8080 is published by both a and bb"):
        lot.run(*pair)
    assert lot.target.calls == []
    assert FakeSteps.done == []


def test_one_that_cannot_go_holds_all(tmp_path: Path) -> None:
    lot = Lot(tmp_path, "shop", "blog", "wiki")
    wrong = Finding("volume", Severity.ERROR, "it would not travel", ("./data",), "Copy it.")
    with pytest.raises(IncompatibleError) as caught:
        lot.run(lot.apps[0], replace(lot.apps[1], findings=(wrong,)), lot.apps[2])
    assert caught.value.brief == "blog: it would not travel"
    assert caught.value.details == "blog: volume: ./data"
    assert lot.target.calls == []
    assert FakeSteps.done == []


def test_space_is_that_of_all_together(tmp_path: Path) -> None:
    """In the Store 1000 of the base, 400 and 600 of one App's configuration and layer each, and
    the stream of the base beside it."""
    names = ("shop", "blog")
    need = 1000 + 2 * (400 + 600) + 1000
    exact = replace(FACTS, store_free_bytes=need, docker_free_bytes=10 << 30)
    assert len(Lot(tmp_path, *names, target=exact).run()) == 2
    less = Lot(tmp_path, *names, target=replace(exact, store_free_bytes=need - 1))
    FakeSteps.done = []
    with pytest.raises(SpaceError, match="bytes of free disk space") as caught:
        less.run()
    assert f"the Store: {need} bytes needed, {need - 1} free" in caught.value.details
    assert FakeSteps.done == []
    assert len(less.run(less.apps[0])) == 1, "one of them has room"


def test_a_check_counts_disks_that_are_not_made(tmp_path: Path) -> None:
    lot = Lot(tmp_path, "shop", "blog", target=replace(FACTS, store_free_bytes=100 << 20))
    (report,) = lot.plan(lot.apps[0])
    assert [form.verdict for form in report.forms] == [Verdict.NATIVE, Verdict.EMULATED]
    assert [form.artifact is None for form in report.forms] == [False, True]
    for report in lot.plan():
        assert {form.verdict for form in report.forms} == {Verdict.INCOMPATIBLE}


def test_packaged_once_and_judged_for_each_host(tmp_path: Path) -> None:
    lot = Lot(tmp_path, "shop", "blog")
    full = FakeHost("full", replace(FACTS, store_free_bytes=1), {})
    source, targets = OnHost(cast(Any, lot.source)), (lot.target, full, lot.target)
    packages = moves.package_apps(lot.apps, source=source, forms=(Form.IMAGE,), store=lot.store)
    asked = list(lot.source.calls)
    assert (lot.target.calls, full.calls) == ([], [])
    rounds = [moves.judge_apps(packages, cast(Any, each)) for each in targets]
    assert lot.source.calls == asked, "the source is asked nothing more"
    assert lot.target.calls == full.calls * 2
    verdicts = [[report.forms[0].verdict for report in reports] for reports in rounds]
    good, bad = [Verdict.NATIVE] * 2, [Verdict.INCOMPATIBLE] * 2
    assert verdicts == [good, bad, good]
    names = [[phase.name for report in reports for phase in report.phases] for reports in rounds]
    assert names[0][0] == "look at the source"
    assert names[1] == names[2] == ["look at the target"], "packaging is in the first Reports"
    reports = [report for each in rounds for report in each]
    assert len({report.move for report in reports}) == len(reports)
    assert sum(report.source_link_bytes for report in reports) == 2 * lot.source.bytes


@pytest.fixture
def _disks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def disk(self: OnHost, image: Artifact, spec: AppSpec, store: Store, clock: Clock) -> Artifact:
        FakeSteps.done.append(f"make the disk of {spec.app}")
        return DISK

    manifest = keep(DISK, Store(tmp_path / "store"))
    results = {
        "package disk": {"manifest": manifest, "blobs": []},
        "transfer disk": RESULTS["transfer image"],
        "boot disk": RESULTS["boot image"],
    }
    monkeypatch.setattr(OnHost, "disk", disk)
    monkeypatch.setitem(globals(), "RESULTS", RESULTS | results)


@pytest.mark.usefixtures("_disks")
def test_a_disk_is_made_when_its_move_has_begun(tmp_path: Path) -> None:
    (report,) = Lot(tmp_path, "shop").run_both()
    assert FakeSteps.done == ["send shop", "commit shop"], "its step makes it, which is a fake here"
    assert [form.artifact and form.artifact.digest for form in report.forms][1] == DISK.digest


@pytest.mark.usefixtures("_disks")
def test_a_disk_that_may_find_no_room_is_made_before_a_byte_travels(tmp_path: Path) -> None:
    """What it needs is known exactly then, and is told where it is too much."""
    kit = 64 << 20
    lot = Lot(tmp_path, "shop", target=replace(FACTS, store_free_bytes=kit))
    lot.run_both()
    assert FakeSteps.done == ["make the disk of shop", "send shop", "commit shop"]


@pytest.mark.usefixtures("_disks")
def test_a_disk_that_may_find_no_room_here_is_made_before_a_byte_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "free", lambda self: 64 << 20)
    Lot(tmp_path, "shop").run_both()
    assert FakeSteps.done[0] == "make the disk of shop"


@pytest.mark.usefixtures("_disks")
def test_no_room_for_a_disk_is_told_before_a_byte_travels(tmp_path: Path) -> None:
    lot = Lot(tmp_path, "shop", target=replace(FACTS, store_free_bytes=1000))
    with pytest.raises(SpaceError):
        lot.run_both()
    assert FakeSteps.done == ["make the disk of shop"]


@pytest.mark.usefixtures("_disks")
def test_a_disk_whose_size_is_given_is_made_before_a_byte_travels(tmp_path: Path) -> None:
    """The content may not fit."""
    lot = Lot(tmp_path, "shop")
    (service,) = lot.apps[0].services
    sized = replace(service, machine=replace(service.machine, disk_bytes=1 << 30))
    lot.run_both(replace(lot.apps[0], services=(sized,)))
    assert FakeSteps.done[0] == "make the disk of shop"


def test_what_a_failed_move_told_the_connection_is_gone(tmp_path: Path) -> None:
    """The rollback, and the next App's Move, make calls over it."""
    lot = Lot(tmp_path, "bad")
    with pytest.raises(BootError):
        lot.run()
    halt: Any = lot.target.remote
    assert halt.halt.error is None
