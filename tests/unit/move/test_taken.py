"""Volumes that the target has: what the user chose, what is decided, and what is done."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from portkit_cli.options import running_options

from portkit import app as apps
from portkit import compat
from portkit.boot import taken
from portkit.clock import Clock
from portkit.engines.docker import Docker
from portkit.engines.docker_source import Held
from portkit.engines.docker_volumes import DockerVolumes
from portkit.errors import AppError, ConflictError, IncompatibleError
from portkit.model import App, AppSpec, Form, LiveVolume, Mount, OnTaken, Service, Volume
from portkit.move import behind, carry, cutover, move_app, plan_app, steps
from portkit.move.ground import Ground
from portkit.move.journal import Journal, MoveState
from portkit.move.plan import Pause, plan_from
from portkit.move.steps import steps_of
from portkit.move.taken import require_unused
from portkit.move.walk import StepState
from portkit.source.running import Running, chosen
from tests.factories import FACTS, IMAGE, Heard, live, plan
from tests.unit.fake_engine import FakeEngine, fake_engine

NAMES = ("shop_data", "shop_logs", "shop_mail")
WAYS = st.sampled_from(list(OnTaken))
MOVE = "pk-0123456789ab"


def volumes(names: tuple[str, ...] = NAMES) -> tuple[Volume, ...]:
    return tuple(Volume(name.removeprefix("shop_"), name) for name in names)


def spec(on_taken: dict[str, OnTaken]) -> AppSpec:
    """A running App with three volumes, as the user wants them."""
    there = chosen(volumes(), on_taken)
    mounts = tuple(Mount("volume", f"/{each.name}", each.name) for each in there)
    service = Service("web", image="web", volumes=mounts)
    app = App("shop", (service,), "project:shop", volumes=there, running=True)
    return apps.resolve_all(app, [replace(IMAGE, cmd=("run",))])


CHOICES = st.dictionaries(st.sampled_from(["", "shop_data", "logs", "shop_mail"]), WAYS)


@given(on_taken=CHOICES, there=st.sets(st.sampled_from([*NAMES, "other"])))
def test_what_is_done_with_each_volume(on_taken: dict[str, OnTaken], there: set[str]) -> None:
    """Nothing of the target is used that the user has not named, nor what it does not have; a Move
    goes on only where something was chosen for all that it has."""
    one = spec(on_taken)
    found = one.taking(there)
    refused = set()
    for number, name in enumerate(NAMES):
        asked = on_taken.get(name, on_taken.get(name[5:], on_taken.get("", OnTaken.REFUSE)))
        assert found.volume_names[number] == ("" if asked is OnTaken.CLONE else name)
        used = name in there and asked in (OnTaken.OVERRIDE, OnTaken.KEEP)
        assert found.way(number) is (asked if used else None)
        if name in there and asked is OnTaken.REFUSE:
            refused.add(name)
    facts = replace(FACTS, volumes=tuple(there))
    rows = [
        row
        for row in compat.check(one, {IMAGE.digest: IMAGE}, facts, Form.IMAGE)
        if row.rule == "volume-taken"
    ]
    assert {row.evidence[0] for row in rows if row.severity == "error"} == refused
    loud = {number: way for number, way in enumerate(found.volume_ways) if way is not None}
    told = {row.evidence[0] for row in rows if row.message.isascii() and "THE " in row.message}
    assert told == {NAMES[number] for number in loud}


def test_the_refusal_names_the_three_ways() -> None:
    facts = replace(FACTS, volumes=("shop_data",))
    rows = compat.check(spec({}), {IMAGE.digest: IMAGE}, facts, Form.IMAGE)
    error = compat.refusal({"shop": rows})
    assert isinstance(error, ConflictError)
    said = f"{error.details}\n{error.resolution}"
    assert all(f"--volumes NAME={way}" in said for way in ("override", "clone", "keep"))


def test_what_could_be_kept_and_is_not_there_is_told() -> None:
    rows = compat.check(spec({"data": OnTaken.KEEP}), {IMAGE.digest: IMAGE}, FACTS, Form.IMAGE)
    (row,) = (row for row in rows if row.rule == "volume-taken")
    assert (row.severity, "the App's data is copied" in row.message) == ("warning", True)


def test_a_choice_is_for_a_volume_of_the_app() -> None:
    with pytest.raises(AppError, match="no volume with that name") as caught:
        chosen(volumes(), {"shop_dta": OnTaken.KEEP})
    assert "shop_dta; it has data," in caught.value.details


def test_a_name_that_fits_two_volumes_is_refused() -> None:
    """`data` of the compose file, and an external volume that the engine calls `data`."""
    both = (Volume("data", "shop_data"), Volume("theirs", "data", external=True))
    with pytest.raises(AppError, match="matches two volumes") as caught:
        chosen(both, {"data": OnTaken.OVERRIDE})
    assert "shop_data (data), data (theirs)" in caught.value.details
    found = chosen(both, {"shop_data": OnTaken.OVERRIDE, "theirs": OnTaken.KEEP})
    assert [each.on_taken for each in found] == [OnTaken.OVERRIDE, OnTaken.KEEP]
    one = chosen((Volume("data", "data"), Volume("also", "data")), {"data": OnTaken.KEEP})
    assert [each.on_taken for each in one] == [OnTaken.KEEP] * 2, "it is one volume"


def test_a_vm_takes_no_volume() -> None:
    app = App(
        "shop",
        (Service("web"),),
        "project:shop",
        volumes=chosen(volumes(), {"": OnTaken.KEEP}),
        running=True,
    )
    none: Any = SimpleNamespace(host=None, forms=(Form.IMAGE,))
    with pytest.raises(AppError, match="the VM's own disks"):
        move_app(app, source=none, target=none, forms=(Form.DISK,), keep=Form.DISK)
    with pytest.raises(AppError, match="the VM's own disks"):
        plan_app(app, source=none, target=none, forms=(Form.DISK,))


def test_what_is_kept_is_not_called_carried() -> None:
    mounts = [SimpleNamespace(Type="volume", Name=name) for name in NAMES[:2]]
    there: Any = Running.__new__(Running)
    there._layers, there._seen = {}, SimpleNamespace(containers=[SimpleNamespace(Mounts=mounts)])
    app = App("shop", (), "x", volumes=chosen(volumes(), {"data": OnTaken.KEEP}))
    (row,) = Running.running(there, app, FACTS)
    assert (row.rule, row.evidence) == ("data-carried", ("shop_logs",))


@pytest.mark.parametrize(("there", "refused"), [(["shop_data"], 1), ([], 2)])
def test_what_is_kept_need_not_be_fit_to_travel(there: list[str], refused: int) -> None:
    """NFS that both hosts have, say; where the target lacks it, its data would be copied."""
    nfs = [SimpleNamespace(Name=name, Driver="nfs", Options={}) for name in NAMES[:2]]
    source: Any = Running.__new__(Running)
    source._seen = SimpleNamespace(volumes={each.Name: each for each in nfs})
    source._app = App("shop", (), "x", volumes=chosen(volumes(), {"data": OnTaken.KEEP}))
    source._folders = {f"/v/{name}": name for name in NAMES[:2]}
    others = [Held("0123456789ab", name, f"/v/{name}", True) for name in NAMES[:2]]
    source._looked = SimpleNamespace(silence=(), mounts=(), others=others)
    target: Any = SimpleNamespace(facts=lambda: SimpleNamespace(volumes=there))
    rules = [each.rule for each in Running.lacking(source, target, cast(Any, None))]
    assert rules == ["volume-not-local"] * refused + ["volume-shared"] * refused


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], {}),
        (["clone"], {"": OnTaken.CLONE}),
        (["keep", "a=override", "b=refuse"], {"": "keep", "a": "override", "b": "refuse"}),
        (["a=b=keep"], {"a=b": "keep"}),
        (["=keep"], None),
        (["a=other"], None),
        (["a"], None),
        (["keep", "clone"], None),
        (["a=keep", "a=clone"], None),
    ],
)
def test_the_option(words: list[str], found: dict[str, str] | None) -> None:
    got: list[Any] = []
    command = click.command()(running_options(lambda running: got.append(running.on_taken)))
    arguments = [text for word in words for text in ("--volumes", word)]
    if found is None:
        with pytest.raises(click.UsageError):
            command.main(arguments, standalone_mode=False)
    else:
        command.main(arguments, standalone_mode=False)
        assert got == [found]


# ---------------------------------------------------------------- the Move


def taking() -> Any:
    rows = tuple(
        LiveVolume(number, name, f"/v/{name}", way=way)
        for number, (name, way) in enumerate(
            zip(NAMES, (OnTaken.OVERRIDE, OnTaken.KEEP, None), strict=True)
        )
    )
    there = live(volumes=rows, on_taken={"": OnTaken.OVERRIDE, "shop_logs": OnTaken.KEEP})
    return plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=there)


def test_the_plan_says_it_and_no_older_portkit_takes_it() -> None:
    made = taking()
    document = made.to_json()
    assert document["schema"] == "portkit.plan/6"
    assert plan_from(json.loads(json.dumps(document))) == made
    assert made.steps()[:2] == ("reserve", "volumes")
    assert [each.name for each in made.live.travelling] == ["shop_data", "shop_mail"]
    assert "volumes" not in plan(forms=(Form.IMAGE,), keep=Form.IMAGE, live=live()).steps()


def ground(monkeypatch: pytest.MonkeyPatch, did: list[Any]) -> Ground:
    places = {"shop_data": "/e/shop_data/_data", "shop_logs": "/e/shop_logs/_data"}
    for name in ("set_aside", "put_back"):
        monkeypatch.setattr(
            taken, name, lambda *args, name=name: did.append((name, *args[1:])) or ["/r/pk-x.json"]
        )
    monkeypatch.setattr(
        taken, "places", lambda host, names, kept: {n: places[n] for n in (*names, *kept)}
    )
    rows: dict[str, Any] = {}
    results: Any = SimpleNamespace(result=lambda name: rows.get(name, {}), rows=rows)
    host: Any = SimpleNamespace(endpoint="there", name="there")
    return Ground(taking(), results, host, host, Clock(Heard()))


def test_only_what_is_replaced_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    did: list[Any] = []
    there = ground(monkeypatch, did)
    steps = {step.name: step for step in steps_of(there)}
    step = steps["volumes"]
    assert step.do() == {"folders": {"shop_data": "/e/shop_data/_data"}}
    kept = {"shop_logs": "/e/shop_logs/_data"}
    assert did == [("set_aside", there.plan.move, {"shop_data": "/e/shop_data/_data"}, kept)]
    heard: Any = there.clock.observer
    assert any("/r/pk-x.json cannot be read" in text for text in heard.messages)
    step.undo()
    assert did[1:] == [("put_back", there.plan.move)]
    assert "volumes" in steps["create image"].needs, "given back when no container has them"


def test_what_is_replaced_is_filled_and_what_is_kept_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = ground(monkeypatch, [])
    there.results.rows["volumes"] = {"folders": {"shop_data": "/e/shop_data/_data"}}  # type: ignore[attr-defined]

    @contextmanager
    def runner(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(volume_folders=lambda move: {2: "/e/own/_data"})

    monkeypatch.setattr(cutover.boot, "runner", runner)
    monkeypatch.setattr(cutover, "placed", lambda *_: {})
    monkeypatch.setattr(cutover, "require_unused", lambda ground: None)
    asked: list[Any] = []
    monkeypatch.setattr(cutover, "Copy", lambda origin, target, observer: (origin, target))
    monkeypatch.setattr(
        cutover, "warm", lambda copy: asked.append((copy[0].path, copy[1].path)) or []
    )
    {step.name: step for step in steps_of(there)}["presync"].do()
    assert asked == [("/v/shop_data", "/e/shop_data/_data"), ("/v/shop_mail", "/e/own/_data")]


def test_where_all_is_kept_the_target_is_not_asked_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be gone."""
    made = taking()
    rows = (LiveVolume(0, "shop_logs", "/v/shop_logs", way=OnTaken.KEEP),)
    made = replace(made, live=replace(made.live, volumes=rows))
    journal = Journal()
    journal.add(made.move, app="shop", source="old", target="gone", plan=made.to_json())
    journal.settle(made.move, MoveState.DONE)

    @contextmanager
    def connect(name: str, _: Any) -> Iterator[Any]:
        assert name == "old"
        yield SimpleNamespace(name=name, endpoint=name)

    @contextmanager
    def origin(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(left=lambda back, known: ("container web",))

    monkeypatch.setattr(behind, "origin", origin)
    monkeypatch.setattr(behind.forward, "forwarded", lambda host: ())
    found = behind.left_behind(made.move, journal=journal, connect=connect)
    assert (found.things, found.set_aside) == (("container web",), ())


def test_no_size_is_asked_for_before_it_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def call(verb: str, args: dict[str, Any]) -> dict[str, Any]:
        asked.append((verb, args))
        return {"volumes": []}

    host: Any = SimpleNamespace(remote=SimpleNamespace(call=call))
    taken.put_back(host, MOVE)
    assert asked == [
        ("volume.kept", {"id": MOVE, "sizes": False}),
        ("volume.back", {"id": MOVE}),
    ]


@pytest.mark.parametrize("step", ["presync", "fence", "last sync", "boot image"])
def test_what_began_to_use_a_volume_since_is_noticed(
    monkeypatch: pytest.MonkeyPatch, engine: FakeEngine, step: str
) -> None:
    """Before the data comes for the last time, and before the App is started there."""
    users = [{"Id": "c" * 64, "State": "running"}]
    engine.answers["GET /containers/json"] = (200, users)
    there = ground(monkeypatch, [])
    there.target.docker_socket = lambda: engine.socket  # type: ignore[method-assign]

    @contextmanager
    def runner(*_: object) -> Iterator[Any]:
        yield SimpleNamespace()  # nothing is copied, and nothing started

    monkeypatch.setattr(cutover.boot, "runner", runner)
    there.cargo = SimpleNamespace(spec=SimpleNamespace(front=None))  # type: ignore[assignment]
    monkeypatch.setattr(steps.health, "way_of", lambda *_: None)
    one = {each.name: each for each in steps_of(there)}[step]
    with pytest.raises(ConflictError, match="in use") as caught:
        one.before() if step == "fence" else one.do()
    assert "shop_data on there" in caught.value.details
    plain = replace(there.plan, live=live())
    require_unused(replace(there, plan=plan_from(plain.to_json())))


@pytest.mark.parametrize("way", [OnTaken.OVERRIDE, OnTaken.KEEP])
def test_a_move_that_waits_says_what_is_still_set_aside(
    monkeypatch: pytest.MonkeyPatch, way: OnTaken
) -> None:
    there = ground(monkeypatch, [])
    journal = Journal()
    volume = LiveVolume(0, "shop_data", "/v", way=way)
    chosen_plan = replace(there.plan, live=live(volumes=(volume,)), pauses=(Pause.CUTOVER,))
    there = replace(there, plan=chosen_plan)
    journal.add(MOVE, app="shop", source="old", target="new", plan=chosen_plan.to_json())
    record = journal.record(MOVE)
    record.note("presync", StepState.DONE)
    record.note("wait", StepState.DOING)
    assert carry._stays_unfinished(there, journal, record, "no", served=False)
    heard = there.clock.observer.messages  # type: ignore[attr-defined]
    said = [text for text in heard if "set aside" in text]
    assert len(said) == (way is OnTaken.OVERRIDE)
    assert all("shop_data on new" in text and f"portkit rollback {MOVE}" in text for text in said)


# ---------------------------------------------------------------- the engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as made:
        rows = [
            {"Name": "plain", "Mountpoint": "/v/plain/_data", "Driver": "local", "Options": None},
            {"Name": "nfs", "Mountpoint": "/v/nfs/_data", "Options": {"type": "nfs"}},
            {"Name": "far", "Mountpoint": "", "Driver": "cloud"},
        ]
        made.answers["GET /volumes"] = (200, {"Volumes": rows})
        made.answers["GET /containers/json"] = (200, [])
        yield made


def test_a_volume_is_taken_only_where_it_is_a_plain_folder_that_nobody_uses(
    engine: FakeEngine,
) -> None:
    there = DockerVolumes(engine.socket, "web2")
    try:
        assert there.places(["plain"], ["nfs"]) == {
            "plain": "/v/plain/_data",
            "nfs": "/v/nfs/_data",
        }
        for name in ("nfs", "far"):
            with pytest.raises(IncompatibleError, match="not a plain folder"):
                there.places([name], [])
        with pytest.raises(ConflictError, match="no longer exists"):
            there.places([], ["other"])
        engine.answers["GET /containers/json"] = (200, [{"Id": "c" * 64, "State": "running"}])
        with pytest.raises(ConflictError, match="in use"):
            there.places(["plain"], [])
    finally:
        there.close()


def test_a_volume_of_the_target_is_neither_made_nor_filled_by_the_engine(
    engine: FakeEngine,
) -> None:
    volume = {"Name": "x", "Mountpoint": "/v/_data", "Labels": {"portkit.move": MOVE}}
    engine.answers["POST /volumes/create"] = 201, volume
    engine.answers["POST /containers/create"] = 201, {"Id": "c1"}
    asked = spec({"shop_data": OnTaken.OVERRIDE, "shop_logs": OnTaken.KEEP})
    docker = Docker(engine.socket, "web2")
    try:
        docker.create({IMAGE.digest: "x"}, asked.taking(NAMES[:2]), MOVE)
    finally:
        docker.close()
    assert [body["Name"] for body in engine.asked("POST", "/volumes/create")] == ["shop_mail"]
    (made,) = engine.asked("POST", "/containers/create")
    mounts = {row["Source"]: row.get("VolumeOptions") for row in made["HostConfig"]["Mounts"]}
    assert list(mounts) == list(NAMES)
    assert mounts["shop_logs"] == {"NoCopy": True}
    assert not mounts["shop_data"]
