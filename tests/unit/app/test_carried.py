"""The files that travel with an App: read as they are, or not at all."""

import os
from pathlib import Path

import pytest

from portkit.app import carried as room
from portkit.app.carried import filled
from portkit.errors import AppError
from portkit.model import App, Content, ContentFile, Service


def app(*contents: Content) -> App:
    return App("shop", (Service("web", contents=contents), Service("db")), "./shop")


def files(*contents: Content) -> list[tuple[ContentFile, ...]]:
    return [content.files for content in filled(app(*contents)).services[0].contents]


def test_a_folder_with_all_that_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "html"
    folder.mkdir(mode=0o750)
    (folder / "index.html").write_text("hello")
    (folder / "index.html").chmod(0o640)
    os.utime(folder / "index.html", (5, 5))
    (folder / "link").symlink_to("./../outside")
    ((rows),) = files(Content("/html", source=folder))
    assert [(row.path, row.kind, row.mode, row.data) for row in rows] == [
        ("", "folder", 0o750, b""),
        ("index.html", "file", 0o640, b"hello"),
        ("link", "link", 0o777, b"./../outside"),
    ]
    assert rows[1].mtime_s == 5
    assert (rows[1].uid, rows[1].gid) == (os.getuid(), os.getgid())


def test_what_is_no_file_here() -> None:
    told, empty = files(
        Content("/run/secrets/key", data=b"hunter2", uid=7, mode=0o400), Content("/data")
    )
    assert told == (ContentFile(mode=0o400, uid=7, data=b"hunter2"),)
    assert empty == (ContentFile(kind="folder", mode=0o755),)
    assert files(Content("/motto", data=b"x"))[0][0].mode == 0o444
    assert "hunter2" not in repr(filled(app(Content("/k", data=b"hunter2"))))


def test_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LIMIT", 1000)
    (tmp_path / "a").write_bytes(bytes(600))
    assert files(Content("/a", source=tmp_path / "a"))
    with pytest.raises(AppError, match="too large"):
        filled(app(Content("/a", source=tmp_path / "a"), Content("/b", data=bytes(600))))


def test_one_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_text("before")
    real = os.fstat
    calls = 0

    def fstat(descriptor: int) -> os.stat_result:
        nonlocal calls
        calls += 1
        if calls == 2:
            path.write_text("behind")
            os.utime(path, (7, 7))
        return real(descriptor)

    monkeypatch.setattr(room.os, "fstat", fstat)
    with pytest.raises(AppError, match="changed"):
        filled(app(Content("/a", source=path)))


@pytest.mark.parametrize("kind", ["gone", "fifo", "below a fifo"])
def test_what_cannot_travel(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a"
    if kind != "gone":
        os.mkfifo(path)
    with pytest.raises(AppError) as caught:
        filled(app(Content("/a", source=tmp_path if kind == "below a fifo" else path)))
    assert str(path) in caught.value.details


def test_a_folder_where_something_comes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("a")
    os.utime(tmp_path, (5, 5))
    data = room._Reader._data

    def then(reader: room._Reader, content: Content, path: Path) -> bytes:
        (tmp_path / "b").write_text("b")
        return data(reader, content, path)

    monkeypatch.setattr(room._Reader, "_data", then)
    with pytest.raises(AppError, match="a folder of the App changed"):
        filled(app(Content("/a", source=tmp_path)))
