"""The journal: private, whole after a kill, and clear when it cannot be read."""

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from portkit import process
from portkit.delivery import Prediction
from portkit.errors import ConflictError, PortkitError, SpaceError
from portkit.model import Artifact, Form, Reading
from portkit.move import unfinished
from portkit.move.history import PastTransfer
from portkit.move.journal import Journal, MoveState
from portkit.move.plan import plan_from
from portkit.move.walk import StepState
from tests.factories import IMAGE, plan

ID = "pk-0123456789ab"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    made = Journal(tmp_path / "state")
    made.add(ID, app="shop", source="old", target="new", plan={"repeat": 1})
    return made


def test_a_move_and_its_steps(journal: Journal) -> None:
    (entry,) = journal.moves()
    assert (entry.id, entry.app, entry.source, entry.target) == (ID, "shop", "old", "new")
    assert entry.state is MoveState.RUNNING
    assert entry.plan == {"repeat": 1}
    steps = journal.record(ID)
    assert steps.state("reserve") is StepState.PENDING
    steps.note("reserve", StepState.DOING, {"named": True})
    steps.note("reserve", StepState.DONE, {"brought": ["sha256:1"]})
    again = Journal(journal.folder).record(ID)
    assert again.state("reserve") is StepState.DONE
    assert again.result("reserve") == {"named": True, "brought": ["sha256:1"]}
    assert [(name, state) for name, state, _ in again.entries()] == [("reserve", StepState.DONE)]


def test_the_newest_transfer_whose_speed_means_something(journal: Journal) -> None:
    assert journal.measured(Form.IMAGE, "new") is None
    told = {"pk-fast": (8_000_000, 2.0, None), "pk-held": (9_000_000, 90.0, 1e5)}
    told |= {"pk-small": (900, 0.5, None)}
    for move, (sent, seconds, limit) in told.items():
        journal.add(move, app="shop", source="old", target="new", plan={"limit": limit})
        row = {"transfer": {"sent_bytes": sent, "seconds": seconds}}
        journal.record(move).note("transfer image", StepState.DONE, row)
    assert journal.measured(Form.IMAGE, "new") == PastTransfer("pk-fast", 8_000_000, 2.0)
    assert journal.measured(Form.DISK, "new") is None
    assert journal.measured(Form.IMAGE, "another") is None


def test_of_a_transfer_the_link_and_the_content_are_known(journal: Journal) -> None:
    blobs = [{"literal": 5, "copied": 2, "sent": 3}, {"copied": 100, "sent": 0}]
    sent = {"sent_bytes": 2_000_000, "seconds": 3.0, "blobs": blobs}
    journal.add("pk-sent", app="shop", source="old", target="new", plan={})
    steps = journal.record("pk-sent")
    for told, link in ((1e6, 1e6), ("fast", None), (float("nan"), None), (-1, None)):
        row = {"transfer": sent, "link": told}
        steps.note("transfer image", StepState.DONE, row)
        past = journal.measured(Form.IMAGE, "new")
        assert past == PastTransfer("pk-sent", 2_000_000, 3.0, link, 7)
        assert past.beside_byte_s == (1 / 7 if link else None)


def test_of_some_transfers_the_one_over_the_most_similar_link_counts(journal: Journal) -> None:
    for number, link in enumerate((1e6, 10e6, 11e6, 1e7)):
        move = f"pk-00000000000{number}"
        plan = {"predicted": {"image": {"link_rate": link}}}
        journal.add(move, app="shop", source="old", target="new", plan=plan)
        row = {"transfer": {"sent_bytes": 2_000_000, "seconds": 3.0}, "link": 5e9}
        journal.record(move).note("transfer image", StepState.DONE, row)
    for asked, link in ((1.1e6, 1e6), (1.0, 1e6), (10.5e6, 1e7), (None, 1e7)):
        past = journal.measured(Form.IMAGE, "new", asked)
        assert past is not None
        assert past.link == link


def test_the_cutovers_of_moves_that_ended_well_newest_first(journal: Journal) -> None:
    plan = {"live": {"containers": []}, "forms": ["image"]}
    for number in range(4):
        move = f"pk-00000000000{number}"
        journal.add(move, app=f"app{number}", source="old", target="new", plan=plan)
        row = {"phases": [{"seconds": number}]}
        journal.record(move).note("stop", StepState.DONE, row)
        state = MoveState.ROLLED_BACK if number == 2 else MoveState.DONE
        journal.settle(move, state)
    journal.settle(ID, MoveState.DONE)  # it stopped nothing
    assert [(past.app, past.stop_s) for past in journal.pasts()] == [
        ("app3", 3.0),
        ("app1", 1.0),
        ("app0", 0.0),
    ]


def test_the_last_prediction_for_the_same_content(journal: Journal) -> None:
    made = Artifact(Form.IMAGE, "sha256:" + "1" * 64, (IMAGE,), (), 1, 1)
    cost = Prediction(
        sent_bytes=1, reused_bytes=None, space_bytes=3, seconds=0.5, basis=("bytes: x",)
    )
    assert journal.foreseen("shop", "new", made, None) == {}
    old = replace(cost, sent_bytes=9)
    journal.foresee("shop", "new", made, None, {Form.IMAGE: old, Form.DISK: old})
    journal.foresee("shop", "new", made, None, {Form.IMAGE: cost})
    again = Journal(journal.folder)
    assert again.foreseen("shop", "new", made, None) == {Form.IMAGE: cost, Form.DISK: old}
    for app, target, image, limit in (
        ("blog", "new", made, None),
        ("shop", "old", made, None),
        ("shop", "new", replace(made, digest="sha256:" + "2" * 64), None),
        ("shop", "new", made, 1e6),
    ):
        assert again.foreseen(app, target, image, limit) == {}


def test_a_journal_from_before_predictions_were_kept(journal: Journal) -> None:
    with sqlite3.connect(journal.folder / "moves.sqlite3") as database:
        database.execute("drop table predictions")
    made = Artifact(Form.IMAGE, "sha256:" + "1" * 64, (IMAGE,), (), 1, 1)
    assert journal.foreseen("shop", "new", made, None) == {}


def test_everything_is_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        journal = Journal(tmp_path / "state")
        journal.add(ID, app="shop", source="old", target="new", plan={})
        journal.fingerprint("x")
        with journal.held(ID):
            found = [path for path in journal.folder.rglob("*") if path.is_file()]
            assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    finally:
        os.umask(before)
    assert stat.S_IMODE(journal.folder.stat().st_mode) == 0o700


def test_who_died_is_unfinished(journal: Journal) -> None:
    with journal.held(ID):
        assert journal.get(ID).live
        with pytest.raises(ConflictError, match="another portkit is working"), journal.held(ID):
            pass
        with pytest.raises(ConflictError, match="another Move of shop is running"):
            unfinished.refuse(journal, "shop", "new")
    assert journal.get(ID).unfinished
    with pytest.raises(ConflictError, match="is unfinished") as caught:
        unfinished.refuse(journal, "shop", "new")
    assert f"portkit resume {ID}" in caught.value.resolution
    assert f"portkit rollback {ID}" in caught.value.resolution
    unfinished.refuse(journal, "shop", "elsewhere")
    unfinished.refuse(journal, "blog", "new")
    journal.settle(ID, MoveState.ROLLED_BACK)
    unfinished.refuse(journal, "shop", "new")


def test_a_killed_holder_holds_nothing(journal: Journal) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from portkit.move.journal import Journal\n"
        f"with Journal(Path(sys.argv[1])).held({ID!r}):\n"
        " os.kill(os.getpid(), signal.SIGKILL)"
    )
    argv = [os.sys.executable, "-c", code, str(journal.folder)]  # type: ignore[attr-defined]
    assert process.run(argv, check=False, env=dict(os.environ)).code == -9
    assert journal.get(ID).unfinished
    with journal.held(ID):
        assert journal.get(ID).live


@pytest.mark.parametrize("data", [b"", b"torn", b"SQLite format 3\0" + bytes(200)])
def test_torn_or_empty(journal: Journal, data: bytes) -> None:
    path = journal.folder / "moves.sqlite3"
    path.write_bytes(data)
    if not data:
        assert journal.moves() == (), "an empty file is an empty journal"
        return
    with pytest.raises(PortkitError, match="journal of Moves cannot be used") as caught:
        journal.moves()
    assert "rollback ID --on HOST" in caught.value.resolution
    assert path.read_bytes() == data, "nothing is thrown away"


def test_of_another_version(journal: Journal) -> None:
    with journal.file.opened() as database:
        database.execute("pragma user_version = 99")
    with pytest.raises(PortkitError, match="cannot be used") as caught:
        journal.moves()
    assert "version 99" in caught.value.details


def test_only_what_has_ended_is_forgotten(journal: Journal) -> None:
    with pytest.raises(ConflictError):
        journal.forget(ID)
    journal.settle(ID, MoveState.DONE)
    journal.forget(ID)
    assert journal.moves() == ()
    with pytest.raises(PortkitError, match="no such Move"):
        journal.get(ID)


def test_a_fingerprint_is_keyed(journal: Journal, tmp_path: Path) -> None:
    assert journal.fingerprint("a") == Journal(journal.folder).fingerprint("a")
    assert journal.fingerprint("a") != journal.fingerprint("b")
    assert journal.fingerprint("a") != Journal(tmp_path / "other").fingerprint("a")


def test_a_plan_comes_back_as_it_was() -> None:
    read = Reading(
        files=("/a/b.yaml",), profiles=("p",), name="n", carry=("/c",), health={"path": "/a"}
    )
    for made in (
        plan(reading=read),
        plan(forms=(Form.DISK,), keep=None, source=None, blobs=()),
    ):
        assert plan_from(made.to_json()) == made


def test_a_plan_of_another_version_is_not_gone_on_with() -> None:
    old = {**plan().to_json(), "schema": "portkit.plan/1"}
    with pytest.raises(PortkitError, match="another version") as caught:
        plan_from(old)
    assert "portkit rollback ID --on HOST" in caught.value.resolution
    with pytest.raises(PortkitError, match="another version"):
        plan_from({**plan().to_json(), "blobs": 3})


def test_two_lanes_write_at_once(journal: Journal) -> None:
    steps = journal.record(ID)

    def write(name: str) -> None:
        for number in range(10):
            steps.note(name, StepState.DOING, {f"n{number}": number})

    threads = [threading.Thread(target=write, args=(name,)) for name in ("main", "aside")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(steps.result(name)) for name in ("main", "aside")] == [10, 10]


@pytest.fixture
def little(tmp_path: Path) -> Iterator[Path]:
    """A file system with two MiB."""
    folder = tmp_path / "little"
    folder.mkdir()
    process.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", folder])
    yield folder
    process.run(["umount", folder])


def filled(folder: Path) -> None:
    """Not a byte of room is left."""
    with (folder / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_the_way_back_is_recorded_on_a_full_disk(little: Path) -> None:
    journal = Journal(little)
    journal.add(ID, app="shop", source="old", target="new", plan={"repeat": 1})
    steps = journal.record(ID)
    filled(little)
    names = ("commit", "boot image", "last sync", "stop", "fence")
    for name in names:
        steps.note(name, StepState.DOING, {"volumes": ["x" * 2000]})
    for name in names:
        steps.note(name, StepState.UNDONE)
    journal.settle(ID, MoveState.WAITING, "the disk is full")
    assert {steps.state(name) for name in names} == {StepState.UNDONE}
    assert not (little / "reserve").exists()
    filled(little)
    with pytest.raises(SpaceError, match="journal of Moves is full"):
        journal.file.reserve()
    with pytest.raises(SpaceError):
        journal.add("pk-0123456789ac", app="a", source="old", target="new", plan={})
