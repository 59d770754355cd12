"""What a volume held is set aside and put back: killed anywhere, it is never lost."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit import process
from portkit.remote import leases, volume_aside
from portkit.wire import labels
from portkit.wire.frames import RemoteError

MOVE = "pk-0123456789ab"
OTHER = "pk-ba9876543210"
NONE: Any = None


def marker(move: str, *keeps: str, role: str = "target") -> dict[str, Any]:
    return {"id": move, "role": role, "about": {labels.KEEPS + name: "yes" for name in keeps}}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(leases, "ROOT", tmp_path / "moves")
    yield tmp_path


def volume(root: Path, name: str) -> Path:
    data = root / "volumes" / name / "_data"
    (data / "deep").mkdir(parents=True)
    (data / "theirs").write_text(name)
    os.link(data / "theirs", data / "again")
    os.utime(data, (1, 2))
    data.chmod(0o751)
    return data


def state(data: Path) -> list[tuple[Any, ...]]:
    found = []
    for path in sorted([data, *data.rglob("*")]):
        row = path.lstat()
        found.append((str(path), row.st_ino, row.st_mode, row.st_nlink, row.st_size, row.st_mtime))
    return found


def rows_of(*volumes: Path) -> list[dict[str, str]]:
    return [{"name": each.parent.name, "path": str(each)} for each in volumes]


def aside(*volumes: Path, keeps: tuple[Path, ...] = (), move: str = MOVE) -> Any:
    args = {"id": move, "volumes": rows_of(*volumes), "keeps": rows_of(*keeps)}
    return volume_aside.aside(args, NONE)


def back(move: str = MOVE) -> None:
    volume_aside.back({"id": move}, NONE)


@contextmanager
def mounted(there: Path, at: Path) -> Iterator[None]:
    """Bound, as from the same file system: what st_dev does not tell."""
    at.mkdir(exist_ok=True)
    process.run(["mount", "--bind", there, at])
    try:
        yield
    finally:
        process.run(["umount", at])


@pytest.fixture
def photos(root: Path) -> Path:
    """What somebody else has."""
    found = root / "srv photos"
    found.mkdir()
    (found / "one.jpg").write_text("theirs")
    return found


def kept() -> list[str]:
    rows = volume_aside.kept({"id": MOVE, "sizes": True}, NONE)["volumes"]
    assert all(row["bytes"] > 0 for row in rows)
    names = volume_aside.kept({"id": MOVE, "sizes": False}, NONE)["volumes"]
    assert names == [{**row, "bytes": 0} for row in rows]
    return [row["name"] for row in rows]


def test_it_comes_back_as_it_was(root: Path) -> None:
    one, two = volume(root, "one"), volume(root, "two")
    was = state(one), state(two)
    aside(one, two)
    assert list(one.iterdir()) == list(two.iterdir()) == []
    assert (one.stat().st_mode & 0o7777, kept()) == (0o751, ["one", "two"])
    rows = volume_aside.beside({"volumes": rows_of(one, two)}, NONE)["volumes"]
    assert [(row["id"], row["name"]) for row in rows] == [(MOVE, "one"), (MOVE, "two")]
    (one / "the App's").write_text("x")
    aside(one, two)
    assert (one / "the App's").exists(), "whoever goes on with the Move finds what has come"
    back()
    assert (state(one), state(two)) == was
    assert kept() == []
    back()
    assert state(one) == was[0]
    assert [each.name for each in one.parent.iterdir()] == ["_data"]


def test_when_it_is_forgotten_it_is_gone(root: Path) -> None:
    one = volume(root, "one")
    aside(one)
    (one / "the App's").write_text("x")
    volume_aside.drop({"id": MOVE}, NONE)
    assert kept() == []
    assert [each.name for each in one.parent.iterdir()] == ["_data"]
    back()
    assert (one / "the App's").exists(), "there is nothing to put back"


def test_what_somebody_removed_is_told_once(root: Path) -> None:
    one, two = volume(root, "one"), volume(root, "two")
    was = state(two)
    aside(one, two)
    shutil.rmtree(one.parent)  # as the engine does with the volume
    with pytest.raises(RemoteError, match="no longer exists") as caught:
        back()
    assert str(one) in caught.value.details
    assert str(two) not in caught.value.details
    assert state(two) == was
    back()
    assert not list((leases.ROOT / "aside").iterdir())


def test_a_volume_that_was_made_anew_has_what_it_has_now(root: Path) -> None:
    """Between two tries; what it had before is gone with it."""
    one = volume(root, "one")
    aside(one)
    shutil.rmtree(one.parent)
    fresh = state(volume(root, "one"))
    aside(one)
    assert list(one.iterdir()) == []
    back()
    assert state(one) == fresh


@pytest.mark.parametrize("path", ["/etc", "relative/_data", "/a/../b/_data", "/a//_data"])
def test_only_the_content_of_a_volume_is_renamed(root: Path, path: str) -> None:
    with pytest.raises(RemoteError, match="no volume stores its content there"):
        volume_aside.aside(
            {"id": MOVE, "volumes": [{"name": "x", "path": path}], "keeps": []}, NONE
        )


def test_a_link_is_refused(root: Path) -> None:
    one = volume(root, "one")
    link = root / "volumes" / "link" / "_data"
    link.parent.mkdir()
    link.symlink_to(one)
    with pytest.raises(RemoteError, match="cannot be set aside"):
        aside(link)
    assert sorted(each.name for each in one.iterdir()) == ["again", "deep", "theirs"]


@pytest.mark.parametrize("below", [".", "photos"])
def test_where_something_is_mounted_nothing_is_set_aside(
    root: Path, photos: Path, below: str
) -> None:
    one, two = volume(root, "one"), volume(root, "two")
    was = state(one)
    with mounted(photos, two / below), pytest.raises(RemoteError) as caught:
        aside(one, two)
    assert caught.value.kind == "IncompatibleError"
    assert str(two / below) in caught.value.details
    assert "two=clone" in caught.value.resolution
    assert (state(one), kept()) == (was, [])


@pytest.mark.parametrize("below", [".", "photos"])
def test_what_was_mounted_since_is_not_removed(root: Path, photos: Path, below: str) -> None:
    """And the other volumes have theirs."""
    one, two = volume(root, "one"), volume(root, "two")
    was = state(one), state(two)
    aside(one, two)
    with mounted(photos, one / below):
        with pytest.raises(RemoteError) as caught:
            back()
        assert caught.value.kind == "ConflictError"
        assert str(one / below) in caught.value.details
        assert "umount" in caught.value.resolution
        assert (one / below / "one.jpg").exists(), "it is where it was"
        assert state(two) == was[1]
    assert (photos / "one.jpg").read_text() == "theirs"
    back()
    assert (state(one), state(two)) == was


def test_what_is_mounted_in_what_was_set_aside_is_not_removed(root: Path, photos: Path) -> None:
    one = volume(root, "one")
    aside(one)
    with mounted(photos, one.parent / f"portkit-was-{MOVE}" / "deep"):
        with pytest.raises(RemoteError, match="something is mounted in"):
            volume_aside.drop({"id": MOVE}, NONE)
        assert kept() == ["one"]
    assert (photos / "one.jpg").exists()
    volume_aside.drop({"id": MOVE}, NONE)
    assert kept() == []


def test_a_mount_is_seen_over_a_link(root: Path, photos: Path) -> None:
    """/var/lib/docker is often one."""
    one = volume(root, "one")
    (root / "link").symlink_to(root / "volumes")
    with (
        mounted(photos, one / "deep"),
        pytest.raises(RemoteError, match="cannot be set aside"),
    ):
        aside(root / "link" / "one" / "_data")


def test_a_volume_whose_new_content_cannot_be_removed_holds_up_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = volume(root, "one"), volume(root, "two")
    was = state(one), state(two)
    aside(one, two)
    remove, stuck = shutil.rmtree, True

    def fails(folder: str) -> None:
        if stuck and Path(folder).parent == one.parent:
            raise OSError(errno.EBUSY, "busy", folder)
        remove(folder)

    monkeypatch.setattr(shutil, "rmtree", fails)
    for _ in range(2):
        with pytest.raises(RemoteError, match="cannot be removed") as caught:
            back()
        assert caught.value.kind == "HostError"
        assert (state(one), state(two)) == was
    stuck = False
    back()
    assert [each.name for each in one.parent.iterdir()] == ["_data"]


def test_of_two_moves_the_newer_goes_back_first(root: Path) -> None:
    newer = "pk-bbbbbbbbbbbb"
    one, two = volume(root, "one"), volume(root, "two")
    was = state(one), state(two)
    aside(one, two)
    (one / "of the older").write_text("x")
    aside(one, move=newer)
    for call in (lambda: aside(one, two), back):
        with pytest.raises(RemoteError, match="other data") as caught:
            call()
        assert (caught.value.kind, newer in caught.value.resolution) == ("ConflictError", True)
    assert state(two) == was[1]
    assert list(one.iterdir()) == []
    back(newer)
    assert [each.name for each in one.iterdir()] == ["of the older"]
    back()
    assert (state(one), state(two)) == was


def test_what_a_newer_move_is_about_to_take_is_not_removed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = volume(root, "one")
    aside(one)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            aside(one, move="pk-bbbbbbbbbbbb")
    with pytest.raises(RemoteError, match="other data"):
        back()
    back("pk-bbbbbbbbbbbb")
    back()
    assert (one / "theirs").exists()


def test_what_somebody_put_in_the_place_is_not_removed(root: Path) -> None:
    one = volume(root, "one")
    was = state(one)
    aside(one)
    one.rename(one.parent / "theirs")
    one.mkdir()
    (one / "by hand").write_text("x")
    with pytest.raises(RemoteError, match="other data") as caught:
        back()
    assert "of no Move" in caught.value.details
    assert (one / "by hand").exists()
    one.rename(one.parent / "by hand")
    back()
    assert state(one) == was


@pytest.mark.parametrize("identity", ["../x", "pk-0123456789aB", "pk-0123456789ab/"])
def test_an_id_is_no_path(root: Path, identity: str) -> None:
    for verb in (volume_aside.back, volume_aside.kept, volume_aside.drop):
        with pytest.raises(RemoteError):
            verb({"id": identity, "sizes": False}, NONE)


class Killed(BaseException):
    """SIGKILL: nothing of the process runs after it."""


class Fuel:
    """Kills the process before one of its changes to the file system."""

    def __init__(self) -> None:
        self.left = 1000

    def before(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **more: Any) -> Any:
            if self.left == 0:
                raise Killed
            self.left -= 1
            return change(*args, **more)

        return changed


@settings(max_examples=50)
@given(
    calls=st.lists(
        st.tuples(st.sampled_from(["aside", "back", "write"]), st.integers(0, 14)), max_size=8
    )
)
def test_killed_anywhere_it_is_not_lost(calls: list[tuple[str, int]]) -> None:
    fuel = Fuel()
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = Path(folder)
        patch.setattr(leases, "ROOT", root / "moves")
        volumes = [volume(root, "one"), volume(root, "two")]
        was = [state(each) for each in volumes]
        for name in ("rename", "replace", "mkdir", "unlink"):
            patch.setattr(Path, name, fuel.before(getattr(Path, name)))
        patch.setattr(shutil, "rmtree", fuel.before(shutil.rmtree))
        for call, left in calls:
            fuel.left = left
            try:
                if call == "aside":
                    aside(*volumes)
                    assert all((each.parent / f"portkit-was-{MOVE}").exists() for each in volumes)
                elif call == "back":
                    back()
                    assert [state(each) for each in volumes] == was
                elif all((each.parent / f"portkit-was-{MOVE}").exists() for each in volumes):
                    for each in filter(Path.exists, volumes):
                        (each / "the App's").write_text("x")
            except Killed:
                pass
            for each, rows in zip(volumes, was, strict=True):
                there = [place.lstat().st_ino for place in each.parent.iterdir()]
                assert rows[0][1] in there, "what it had is gone"
        fuel.left = 1000
        back()
        assert [state(each) for each in volumes] == was
        assert kept() == []


def test_what_an_open_move_has_taken_is_refused_to_another(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, free = volume(root, "data"), volume(root, "free")
    aside(data)
    before = state(data)
    monkeypatch.setattr(leases, "markers", lambda: [marker(MOVE)])
    for volumes, keeps in (((free, data), ()), ((free,), (data,)), ((), (data,))):
        with pytest.raises(RemoteError, match="has not ended") as caught:
            aside(*volumes, keeps=keeps, move=OTHER)
        assert MOVE in caught.value.resolution
    assert state(data) == before
    assert (free / "theirs").exists()
    monkeypatch.setattr(leases, "markers", list)  # it has ended
    aside(keeps=(data,), move=OTHER)
    assert volume_aside.kept({"id": OTHER, "sizes": False}, NONE)["volumes"] == []
    aside(data, move=OTHER)
    assert list(data.iterdir()) == []


def test_what_the_app_of_an_open_move_starts_on_is_not_set_aside(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, free = volume(root, "data"), volume(root, "free")
    monkeypatch.setattr(leases, "markers", lambda: [marker(MOVE, "data")])
    aside(keeps=(data,))
    aside(free, keeps=(data,), move=OTHER)
    back(OTHER)
    with pytest.raises(RemoteError, match="has not ended"):
        aside(data, move=OTHER)
    assert (data / "theirs").exists()
    monkeypatch.setattr(leases, "markers", lambda: [marker(MOVE, "data", role="source")])
    aside(data, move=OTHER)


def damaged(move: str) -> Path:
    path = leases.ROOT / "aside" / f"{move}.json"
    path.write_text("{")
    return path


def test_a_record_that_cannot_be_read_holds_up_no_other_move(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, free = volume(root, "data"), volume(root, "free")
    aside(data)
    path = damaged(MOVE)
    monkeypatch.setattr(leases, "markers", lambda: [marker(MOVE)])
    before = state(free)
    assert aside(free, move=OTHER) == {"unreadable": [str(path)]}
    assert aside(free, move=OTHER) == {"unreadable": [str(path)]}, "it can be called again"
    back(OTHER)
    assert state(free) == before
    aside(keeps=(free,), move=OTHER)
    for volumes, keeps in (((data,), ()), ((), (data,))):
        with pytest.raises(RemoteError, match="cannot be read") as caught:
            aside(*volumes, keeps=keeps, move=OTHER)
        assert str(path) in caught.value.details
    for call in (back, kept):
        with pytest.raises(RemoteError, match="cannot be read") as caught:
            call()
        assert str(path) in caught.value.details
    (found,) = volume_aside.beside({"volumes": rows_of(data, free)}, NONE)["volumes"]
    assert (found["id"], found["name"]) == (MOVE, "data")


@pytest.mark.parametrize("state_of", ["begun", "done"])
def test_what_a_newer_move_has_or_takes_stays_where_its_record_cannot_be_read(
    root: Path, state_of: str
) -> None:
    one = volume(root, "one")
    aside(one)
    if state_of == "done":
        aside(one, move=OTHER)
        (one / "newer").write_text("x")
    else:
        (leases.ROOT / "aside" / f"{OTHER}.json").write_text("{")
        (one.parent / f"portkit-new-{OTHER}").mkdir()
    path = damaged(OTHER)
    before = state(one)
    with pytest.raises(RemoteError, match="cannot be read") as caught:
        back()
    assert str(path) in caught.value.details
    assert state(one) == before


def test_what_an_older_move_has_set_aside_holds_up_no_way_back(root: Path) -> None:
    one = volume(root, "one")
    aside(one)
    was = state(one)
    aside(one, move=OTHER)
    damaged(MOVE)
    back(OTHER)
    assert state(one) == was
