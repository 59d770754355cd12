"""What is forgotten of a Move, and what that may not take away."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner
from portkit_cli.commands import instances
from portkit_cli.main import main

from portkit import boot
from portkit.boot import taken
from portkit.boot.taken import SetAside
from portkit.errors import ConflictError, EngineError, HostError
from portkit.model import Behind, Form, Instance, LiveVolume, OnTaken
from portkit.move import behind, elsewhere, forward, left_marker
from portkit.move.journal import Entry, Journal, MoveState
from portkit.move.marker import LEFT
from portkit.move.plan import VOLUMES
from portkit.move.walk import StepState
from tests.factories import Heard, live, plan

FIRST, SECOND = "pk-000000000001", "pk-000000000002"
PLACE = f"/v/data/portkit-was-{FIRST}"
BEHIND = (Behind("network", "n1", "shop_default"),)
ASIDE = (SetAside(FIRST, "data", PLACE, 4096),)


class Remote:
    """Of each host. asked: of it, by its name."""

    asked: ClassVar[list[tuple[str, str, object]]] = []

    def __init__(self, name: str) -> None:
        self._name = name

    def call(self, verb: str, args: object) -> None:
        self.asked.append((self._name, verb, args))


@contextmanager
def connect(name: str, *_: object) -> Iterator[Any]:
    facts = SimpleNamespace(docker_version="26.1")
    yield SimpleNamespace(name=name, endpoint=name, remote=Remote(name), facts=lambda: facts)


def moved(
    journal: Journal,
    way: OnTaken | None,
    identity: str = FIRST,
    source: str = "old",
    target: str = "new",
    state: MoveState = MoveState.DONE,
) -> Entry:
    volume = LiveVolume(0, "data", "/v/data/_data", way=way)
    made = plan(
        move=identity,
        source=source,
        target=target,
        forms=(Form.IMAGE,),
        keep=Form.IMAGE,
        live=live(volumes=(volume,)),
    )
    journal.add(identity, app="shop", source=source, target=target, plan=made.to_json())
    if way is OnTaken.OVERRIDE:
        journal.record(identity).note(VOLUMES, StepState.DONE, {"folders": {}})
    journal.settle(identity, state)
    return journal.get(identity)


@pytest.mark.parametrize(
    ("way", "target", "state", "found"),
    [
        (OnTaken.OVERRIDE, "old", MoveState.DONE, {"data": SECOND}),
        (OnTaken.KEEP, "old", MoveState.WAITING, {"data": SECOND}),
        (OnTaken.KEEP, "old", MoveState.ROLLED_BACK, {}),
        (OnTaken.KEEP, "third", MoveState.DONE, {}),
        (None, "old", MoveState.DONE, {}),  # its data went into a new volume
    ],
)
def test_what_a_later_move_has_given_to_the_app_again(
    way: OnTaken | None, target: str, state: MoveState, found: dict[str, str]
) -> None:
    journal = Journal()
    first = moved(journal, None)
    second = moved(journal, way, SECOND, "new", target, state)
    assert behind.came_back(first, journal.moves()) == found
    assert behind.came_back(second, journal.moves()) == {}, "an earlier one gives nothing back"
    older = replace(second, plan={"schema": "portkit.plan/1"})
    assert behind.came_back(first, (older,)) == {}


def at_its_end(monkeypatch: pytest.MonkeyPatch, stay: tuple[str, ...]) -> list[Any]:
    """What a forget did, at a source where these volumes cannot be removed."""
    did: list[Any] = []
    on_target = (Instance(FIRST, "shop", Form.IMAGE, "new", "running"),)
    monkeypatch.setattr(boot, "instances", lambda host: on_target)
    there = SimpleNamespace(
        behind=lambda back, known: known or BEHIND,
        left=lambda back, known: ("container", *back),
        delete=lambda back, known: did.append(("deleted", back)) or stay,
    )
    monkeypatch.setattr(behind, "origin", lambda *_: nullcontext(there))
    monkeypatch.setattr(forward, "forwarded", lambda host: ())
    monkeypatch.setattr(forward, "end", lambda identity, host: did.append("forward"))
    monkeypatch.setattr(taken, "left", lambda host, identity: ASIDE)
    monkeypatch.setattr(taken, "beside", lambda host, places: ASIDE if places else ())
    monkeypatch.setattr(taken, "drop", lambda host, identity: did.append(("dropped", host.name)))
    return did


def test_a_volume_that_stays_does_not_keep_the_move_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal = Journal()
    moved(journal, OnTaken.OVERRIDE)
    did = at_its_end(monkeypatch, ("volume other: in use",))
    monkeypatch.setattr(behind, "_refuse_holding", lambda *_: None)
    with pytest.raises(ConflictError, match="could not be removed") as caught:
        behind.left_behind(FIRST, delete=True, journal=journal, connect=connect)
    assert f"portkit forget {FIRST} --keep" in caught.value.resolution
    assert did == [("deleted", {}), "forward", ("dropped", "new")]
    # A Move that ended without its source has left its marker there.
    assert Remote.asked[-1] == ("old", "move.end", {"id": FIRST, "app": "shop"})


def test_what_is_the_app_s_again_does_not_refuse_to_forget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside the volume is what it had before the second Move, which is not touched."""
    journal = Journal()
    moved(journal, None)
    did = at_its_end(monkeypatch, ())
    with pytest.raises(ConflictError, match="still has data set aside by"):
        behind.left_behind(FIRST, delete=True, journal=journal, connect=connect)
    assert did == []
    moved(journal, OnTaken.OVERRIDE, SECOND, "new", "old")
    left = behind.left_behind(FIRST, delete=True, journal=journal, connect=connect)
    assert left is not None
    assert left.things == ("container", "data")
    assert did == [("deleted", {"data": SECOND}), "forward"]


@pytest.mark.parametrize(
    ("way", "aside", "refused"),
    [
        (OnTaken.OVERRIDE, ASIDE, True),
        (OnTaken.OVERRIDE, (), False),
        (OnTaken.KEEP, ASIDE, False),
        (None, ASIDE, False),
    ],
)
def test_the_only_way_to_what_is_set_aside_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, way: OnTaken | None, aside: tuple[SetAside, ...], refused: bool
) -> None:
    journal = Journal()
    moved(journal, way)
    monkeypatch.setattr(
        behind.require_nothing_aside, "__kwdefaults__", {"journal": None, "connect": connect}
    )
    monkeypatch.setattr(taken, "left", lambda host, identity: aside)
    done = CliRunner().invoke(main, ["forget", FIRST, "--keep"])
    assert bool(journal.moves()) is refused
    assert done.exit_code == (ConflictError.exit_code if refused else 0), done.output
    if refused:
        assert f"portkit forget {FIRST} --delete" in done.stderr
        assert PLACE in done.stderr


@pytest.mark.parametrize("known", ["never begun", "put back", "removed"])
def test_a_target_where_nothing_can_be_set_aside_is_not_asked(
    monkeypatch: pytest.MonkeyPatch, known: str
) -> None:
    """It may be gone for good."""
    journal = Journal()
    moved(journal, OnTaken.OVERRIDE)
    did = at_its_end(monkeypatch, ("volume other: in use",))
    monkeypatch.setattr(behind, "_refuse_holding", lambda *_: None)
    if known == "removed":
        with pytest.raises(ConflictError, match="could not be removed"):
            behind.left_behind(FIRST, delete=True, journal=journal, connect=connect)
        assert ("dropped", "new") in did
    else:
        state = StepState.PENDING if known == "never begun" else StepState.UNDONE
        journal.record(FIRST).note(VOLUMES, state)

    def unreachable(name: str, *more: object) -> Any:
        assert name != "new", "the target was asked"
        return connect(name, *more)

    behind.require_nothing_aside(FIRST, journal=journal, connect=unreachable)
    left = behind.left_behind(FIRST, journal=journal, connect=unreachable)
    assert left is not None
    assert left.set_aside == ()


def test_what_is_going_to_be_removed_is_in_the_journal_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is left when it fails on the way is known to the next try, which finds it there no more
    by itself."""
    journal = Journal()
    moved(journal, None)
    at_its_end(monkeypatch, ())
    monkeypatch.setattr(behind, "_refuse_holding", lambda *_: None)
    asked: list[Any] = []

    def delete(back: object, known: object) -> tuple[str, ...]:
        asked.append(("delete", known))
        if len(asked) == 3:
            raise EngineError("the engine was restarted")
        return ()

    there = SimpleNamespace(
        behind=lambda back, known: BEHIND if not known else (),
        left=lambda back, known: asked.append(("left", known)) or (),
        delete=delete,
    )
    monkeypatch.setattr(behind, "origin", lambda *_: nullcontext(there))
    behind.left_behind(FIRST, journal=journal, connect=connect)
    with pytest.raises(EngineError):
        behind.left_behind(FIRST, delete=True, journal=journal, connect=connect)
    behind.left_behind(FIRST, delete=True, journal=journal, connect=connect)
    known = list(BEHIND)
    assert asked == [("left", []), ("left", []), ("delete", known), ("left", known), asked[-1]]
    assert asked[-1] == ("delete", known)


@pytest.mark.parametrize("data", [True, False])
def test_rm_names_the_volumes_that_stay(monkeypatch: pytest.MonkeyPatch, data: bool) -> None:
    did: list[Any] = []
    one = Instance(FIRST, "shop", Form.IMAGE, "new", "running")
    runner = SimpleNamespace(remove=lambda identity, keep_data: did.append(keep_data))
    monkeypatch.setattr(instances, "connect", connect)
    monkeypatch.setattr(boot, "instances", lambda host: (one,))
    monkeypatch.setattr(boot, "runner", lambda *_: nullcontext(runner))
    monkeypatch.setattr(taken, "left", lambda host, identity: ASIDE if not did else ())
    words = ["rm", FIRST, "--on", "new", "--yes", *(["--data"] if data else [])]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert did == [not data]
    assert ("volume data stays, because the host had it before" in done.stdout) is data
    assert (f"portkit forget {FIRST} --delete" in done.stdout) is data


@contextmanager
def old_alone(name: str, *more: object) -> Iterator[Any]:
    if name != "old":
        raise HostError(f"{name} cannot be reached", resolution="Start it.")
    with connect(name, *more) as host:
        yield host


@contextmanager
def nowhere(name: str, *_: object) -> Iterator[Any]:
    raise HostError(f"{name} cannot be reached", resolution="Start it.")
    yield


@pytest.mark.parametrize(
    ("instance", "volumes", "reached", "last"),
    [
        (True, (), True, False),
        (False, (0,), True, False),  # portkit rm leaves it
        (False, (), True, True),
        (True, (0,), False, True),
    ],
)
def test_the_last_copy_is_not_deleted_unasked(
    monkeypatch: pytest.MonkeyPatch,
    instance: bool,
    volumes: tuple[int, ...],
    reached: bool,
    last: bool,
) -> None:
    journal = Journal()
    moved(journal, None)
    did = at_its_end(monkeypatch, ())
    monkeypatch.setattr(behind, "_refuse_holding", lambda *_: None)
    if not instance:
        monkeypatch.setattr(boot, "instances", lambda host: ())
    names = SimpleNamespace(volume_names=lambda move: dict.fromkeys(volumes, "data"))
    monkeypatch.setattr(boot, "runner", lambda *_: nullcontext(names))
    by: Any = connect if reached else old_alone
    if last:
        with pytest.raises(ConflictError, match="may be the last copy") as caught:
            behind.left_behind(FIRST, delete=True, journal=journal, connect=by)
        assert f"portkit forget {FIRST} --keep" in caught.value.resolution
        assert f"portkit forget {FIRST} --delete --last-copy" in caught.value.resolution
        assert did == []
    behind.left_behind(FIRST, delete=True, last_copy=last, journal=journal, connect=by)
    assert did == [("deleted", {}), "forward"]


@pytest.mark.parametrize("way", [OnTaken.OVERRIDE, OnTaken.KEEP])
def test_a_volume_that_the_target_had_before_is_known_by_its_name(
    monkeypatch: pytest.MonkeyPatch, way: OnTaken
) -> None:
    """What was kept has nothing of the App's."""
    journal, asked = Journal(), list[str]()
    entry = moved(journal, way)
    monkeypatch.setattr(boot, "instances", lambda host: ())
    runner = SimpleNamespace(volume_names=lambda move: {})
    monkeypatch.setattr(boot, "runner", lambda *_: nullcontext(runner))
    monkeypatch.setattr(taken, "present", lambda host, names: asked.extend(names) or {"data"})
    chosen = behind.plan_from(entry.plan)
    if way is OnTaken.OVERRIDE:
        elsewhere.require_elsewhere(entry, chosen, journal.moves(), Heard(), connect)
        assert asked == ["data"]
    else:
        with pytest.raises(ConflictError, match="last copy"):
            elsewhere.require_elsewhere(entry, chosen, journal.moves(), Heard(), connect)


@pytest.mark.parametrize(
    ("source", "state", "found"),
    [
        ("new", MoveState.DONE, True),
        ("new", MoveState.WAITING, False),
        ("new", MoveState.ROLLED_BACK, False),
        ("other", MoveState.DONE, False),
    ],
)
def test_one_that_has_moved_on_is_elsewhere(source: str, state: MoveState, found: bool) -> None:
    journal = Journal()
    first = moved(journal, None)
    second = moved(journal, None, SECOND, source, "third", state)
    assert elsewhere.moved_on(first, journal.moves()) == (second if found else None)
    assert elsewhere.moved_on(second, journal.moves()) is None


def left(journal: Journal, role: str, state: MoveState) -> None:
    moved(journal, None, state=state)
    journal.record(FIRST).note("release", StepState.DONE, {LEFT: [role]})


@pytest.mark.parametrize("keep", [True, False])
def test_a_marker_that_was_left_is_removed(keep: bool) -> None:
    journal, heard = Journal(), Heard()
    left(journal, "source", MoveState.DONE)
    told: dict[str, Any] = {"keep": keep, "journal": journal, "observer": heard}
    if keep:
        left_marker.remove_markers(FIRST, **told, connect=nowhere)
        assert f"remove /var/lib/portkit/moves/{FIRST}.json there" in heard.messages[0]
    else:
        with pytest.raises(HostError, match="old cannot be reached") as caught:
            left_marker.remove_markers(FIRST, **told, connect=nowhere)
        assert f"portkit forget {FIRST} --keep" in caught.value.resolution
    Remote.asked.clear()
    for _ in range(2):
        left_marker.remove_markers(FIRST, **told, connect=connect)
    assert Remote.asked == [("old", "move.end", {"id": FIRST, "app": "shop"})], "once"


@pytest.mark.parametrize("there", [True, False])
def test_what_a_rollback_has_left_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Its marker says what it is, or how the App is started again."""
    journal, heard = Journal(), Heard()
    left(journal, "target", MoveState.ROLLED_BACK)
    rows = {"moves": [{"id": FIRST}] if there else []}
    monkeypatch.setattr(Remote, "call", lambda self, verb, args: rows)
    told: dict[str, Any] = {"journal": journal, "observer": heard}
    if there:
        with pytest.raises(ConflictError, match="something of this Move is still") as caught:
            left_marker.remove_markers(FIRST, **told, connect=connect)
        assert f"portkit rollback {FIRST} --on new" in caught.value.resolution
        left_marker.remove_markers(FIRST, keep=True, **told, connect=nowhere)
        assert f"portkit rollback {FIRST} --on new" in heard.messages[0]
    else:
        left_marker.remove_markers(FIRST, **told, connect=connect)
        assert journal.record(FIRST).result("release") == {LEFT: []}


def test_a_move_that_stopped_nothing_forgets_its_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one with commands behind its commit, whose source was lost by then."""
    journal = Journal()
    made = plan(move=FIRST, forms=(Form.IMAGE,), keep=Form.IMAGE)
    journal.add(FIRST, app="shop", source="old", target="new", plan=made.to_json())
    journal.record(FIRST).note("release", StepState.DONE, {LEFT: ["source"]})
    journal.settle(FIRST, MoveState.DONE)
    monkeypatch.setitem(left_marker.remove_markers.__kwdefaults__, "connect", connect)
    Remote.asked.clear()
    done = CliRunner().invoke(main, ["forget", FIRST])
    assert done.exit_code == 0, done.output
    assert Remote.asked == [("old", "move.end", {"id": FIRST, "app": "shop"})]
    assert not journal.moves()
