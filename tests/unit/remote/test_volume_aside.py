"""What a volume held is set aside and put back: killed anywhere, it is never lost."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit.remote import leases, volume_aside
from portkit.wire.frames import RemoteError

MOVE = "pk-0123456789ab"
NONE: Any = None


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


def aside(*volumes: Path) -> None:
    rows = [{"name": each.parent.name, "path": str(each)} for each in volumes]
    volume_aside.aside({"id": MOVE, "volumes": rows}, NONE)


def back() -> None:
    volume_aside.back({"id": MOVE}, NONE)


def kept() -> list[str]:
    rows = volume_aside.kept({"id": MOVE}, NONE)["volumes"]
    assert all(row["bytes"] > 0 for row in rows)
    return [row["name"] for row in rows]


def test_it_comes_back_as_it_was(root: Path) -> None:
    one, two = volume(root, "one"), volume(root, "two")
    was = state(one), state(two)
    aside(one, two)
    assert list(one.iterdir()) == list(two.iterdir()) == []
    assert (one.stat().st_mode & 0o7777, kept()) == (0o751, ["one", "two"])
    rows = volume_aside.kept({"id": ""}, NONE)["volumes"]
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
    with pytest.raises(RemoteError, match="not there any more") as caught:
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
    with pytest.raises(RemoteError, match="no volume has its content there"):
        volume_aside.aside({"id": MOVE, "volumes": [{"name": "x", "path": path}]}, NONE)


def test_a_link_and_what_is_mounted_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = volume(root, "one")
    link = root / "volumes" / "link" / "_data"
    link.parent.mkdir()
    link.symlink_to(one)
    with pytest.raises(RemoteError, match="cannot be set aside"):
        aside(link)
    monkeypatch.setattr(os.path, "ismount", lambda path: True)
    with pytest.raises(RemoteError, match="cannot be set aside"):
        aside(one)
    assert sorted(each.name for each in one.iterdir()) == ["again", "deep", "theirs"]


@pytest.mark.parametrize("identity", ["../x", "pk-0123456789aB", "pk-0123456789ab/"])
def test_an_id_is_no_path(root: Path, identity: str) -> None:
    for verb in (volume_aside.back, volume_aside.kept, volume_aside.drop):
        with pytest.raises(RemoteError):
            verb({"id": identity}, NONE)


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
