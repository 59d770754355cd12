"""What a container has changed, as a layer: from an engine's list and its export."""

import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portkit.package import tarball
from portkit.remote import container_layer, engine, upper
from portkit.wire.frames import RemoteError
from tests.unit.exports import ID, Row, give, row, tar
from tests.unit.fake_engine import FakeEngine, fake_engine


class Sent:
    """A channel that keeps what it gets."""

    def __init__(self) -> None:
        self.data = b""

    def send(self, data: bytes) -> None:
        self.data += data


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as made:
        monkeypatch.setattr(engine, "SOCKET", str(made.socket))
        made.answers[f"GET /containers/{ID}/json"] = (200, {"State": {"Pid": 0}})
        yield made


def call(*left_out: str, container: Any = ID) -> tuple[dict[str, Any], bytes]:
    sent = Sent()
    args = {"container": container, "left_out": list(left_out), "encoding": "raw"}
    answer = container_layer.changes(args, sent)  # type: ignore[arg-type]
    assert answer["size"] == len(sent.data)
    return answer, sent.data


def members(data: bytes) -> list[tarball.Member]:
    return list(tarball.members(io.BytesIO(data)))


def names(*left_out: str) -> list[str]:
    return [member.name for member in members(call(*left_out)[1])]


IMAGE: list[Row] = [
    row(".dockerenv"),
    row("bin", link="usr/bin"),
    row("dev/"),
    row("dev/console"),
    row("etc/", mode=0o750, owner=7),
    row("etc/conf", b"new"),
    row("etc/hosts"),
    row("srv/"),
    row("usr/"),
    row("usr/bin/"),
    row("usr/bin/yes", b"yes"),
]


def test_files_with_their_folders_and_whiteouts(fake: FakeEngine) -> None:
    give(fake, "C /etc/conf\nD /etc/gone\nD /usr/bin/no\nD /top", IMAGE)
    answer, data = call()
    found = members(data)
    assert [member.name for member in found] == [
        "etc/",
        "etc/conf",
        "usr/",
        "usr/bin/",
        ".wh.top",
        "etc/.wh.gone",
        "usr/bin/.wh.no",
    ]
    assert (found[0].mode, found[0].uid) == (0o750, 7)
    assert (answer["changed"], answer["deleted"]) == (1, 3)
    assert b"root" not in data


def test_the_same_changes_are_the_same_bytes(fake: FakeEngine) -> None:
    give(fake, "A /usr/bin/yes\nC /etc/conf\nD /x\nD /y", IMAGE)
    first = call()[1]
    give(fake, "D /y\nC /etc/conf\nD /x\nA /usr/bin/yes", IMAGE)
    assert call()[1] == first


def test_without_changes_nothing_is_exported(fake: FakeEngine) -> None:
    give(fake, None, IMAGE)
    assert call() == (
        {"size": 0, "changed": 0, "deleted": 0}
        | {"missing": [], "odd": [], "untold": 0, "exact": False},
        b"",
    )
    give(fake, "C /dev\nA /dev/x\nC /etc/hosts\nA /srv/data\nA /usr/sbin/docker-init", IMAGE)
    assert call("/srv/data")[1] == b""
    assert not fake.asked("GET", "export")


def test_places_of_mounts_are_left_out(fake: FakeEngine) -> None:
    rows = [row("srv/"), row("srv/app/"), row("srv/app/data/"), row("srv/app/data/f", b"below")]
    give(fake, "C /srv\nA /srv/app\nA /srv/app/data", rows)
    assert names("/srv/app/data/") == ["srv/"]
    give(fake, "C /srv\nA /srv/app\nA /srv/app/data\nA /srv/app/new", [*rows, row("srv/app/new")])
    assert names("/srv/app/data") == ["srv/", "srv/app/", "srv/app/new"]
    closed = [row("srv/"), row("srv/app/", mode=0o700), row("srv/app/data/")]
    give(fake, "C /srv\nA /srv/app\nA /srv/app/data", closed)
    assert names("/srv/app/data") == ["srv/", "srv/app/"]  # somebody has closed it


def test_a_folder_that_was_deleted_and_made_anew(fake: FakeEngine) -> None:
    """Some engines list it as deleted (containers/storage, pkg/archive/changes.go)."""
    rows = [row("etc/"), row("etc/d/", mode=0o711), row("etc/d/new", b"1"), row("etc/e")]
    give(fake, "C /etc\nD /etc/d", rows)
    answer, data = call()
    assert [member.name for member in members(data)] == [
        "etc/",
        "etc/d/",
        "etc/d/.wh..wh..opq",
        "etc/d/new",
    ]
    assert answer["deleted"] == 0


def test_all_that_is_below_an_added_folder_is_new(fake: FakeEngine) -> None:
    give(fake, "A /a", [row("a/"), row("a/b/"), row("a/b/c", b"1"), row("ab")])
    assert names() == ["a/", "a/b/", "a/b/c"]


def test_a_file_that_came_back_meanwhile_is_no_deletion(fake: FakeEngine) -> None:
    give(fake, "D /etc/conf", IMAGE)
    assert names() == ["etc/", "etc/conf"]


def test_a_hard_link_to_an_unchanged_file(fake: FakeEngine) -> None:
    """Engines list the new name alone. The export has the content under the first of them."""
    rows = [
        row("etc/", mode=0o711),
        row("etc/old", b"content"),
        row("new", hard="etc/old"),
        row("other", hard="etc/old"),
    ]
    give(fake, "A /new", rows)
    found = members(call()[1])
    assert [(member.name, member.kind, member.link) for member in found] == [
        ("etc/", tarball.FOLDER, ""),
        ("etc/old", tarball.FILE, ""),
        ("new", tarball.HARDLINK, "etc/old"),
        ("other", tarball.HARDLINK, "etc/old"),
    ]
    assert len(fake.asked("GET", "export")) == 2


def test_an_unchanged_name_of_a_file_that_is_in_the_layer(fake: FakeEngine) -> None:
    give(fake, "A /aaa", [row("aaa", b"1"), row("usr/"), row("usr/yes", hard="aaa")])
    found = members(call()[1])
    # Where nobody listed its folder, that is made as the image has it.
    assert [(member.name, member.kind) for member in found] == [
        ("aaa", tarball.FILE),
        ("usr/", tarball.FOLDER),
        ("usr/yes", tarball.HARDLINK),
    ]


def test_everything_of_a_file_is_kept(fake: FakeEngine) -> None:
    long = "d/" + "n" * 200
    pax = {"SCHILY.xattr.user.a": "\udcff\0=b", "mtime": "1600000000.25"}
    rows = [
        row("a\udcffb", b"odd", mode=0o4755, owner=70_000),
        row("big", bytes(3_000_000), owner=3_000_000_000),
        row("d/"),
        row(long, b"long", pax=pax),
        row("fifo", kind=tarfile.FIFOTYPE),
        row("l", link="../any/\udcfe"),
        row("ü\nx", b"line"),
    ]
    give(fake, f"A /a\ufffdb\nA /big\nA /{long}\nA /fifo\nA /l", rows)
    fake.answers[f"GET /containers/{ID}/changes"][1].append({"Path": "/ü\nx", "Kind": 1})
    data = call()[1]
    found = {member.name: member for member in members(data)}
    assert set(found) == {info.name for info, _ in rows}
    for info, content in rows:
        member = found[info.name]
        assert (member.mode, member.uid, member.gid) == (info.mode, info.uid, info.gid)
        assert b"".join(tarball.content(io.BytesIO(data), member)) == content
    assert found["l"].link == "../any/\udcfe"
    assert found[long].xattrs == {"SCHILY.xattr.user.a": pax["SCHILY.xattr.user.a"]}
    assert found[long].mtime_ns == 1_600_000_000_250_000_000
    assert found["fifo"].kind == tarball.FIFO


def test_what_cannot_be_in_a_layer_is_named(fake: FakeEngine) -> None:
    rows = [row("run/"), row("run/.wh.x", b"1"), row("run/ok")]
    give(fake, "A /run/sock\nA /run/.wh.x\nA /run/ok\nD /run/a\ufffd", rows)
    answer, data = call()
    assert [member.name for member in members(data)] == ["run/", "run/ok"]
    assert (answer["missing"], answer["odd"]) == (["run/sock"], ["run/.wh.x", "run/a\ufffd"])
    give(fake, "".join(f"A /sock{number}\n" for number in range(25)), rows)
    answer, _ = call()
    assert (len(answer["missing"]), answer["untold"]) == (20, 5)


BAD: dict[str, list[Row]] = {
    "leads out": [row("etc/"), row("etc/../../x", b"1")],
    "no name below": [row("/etc/conf", b"1")],
    "longer than": [row("etc/"), row("etc/" + "n" * 300)],
    "is in it twice": [row("etc/"), row("etc/conf", b"1"), row("etc/conf", b"2")],
    "owner is out of range": [row("etc/conf", owner=(1 << 32) - 1)],
    "unknown kind": [row("etc/conf", kind=b"Z")],
    "sparse": [row("etc/conf", pax={"GNU.sparse.major": "1"})],
    "a time": [row("etc/conf", pax={"mtime": "1e9"})],
    "extended header has": [row("etc/conf", pax={"SCHILY.xattr.user.a": "x" * (2 << 20)})],
    "hard links in it changed": [row("new", hard="etc/conf")],
}


@pytest.mark.parametrize("why", BAD)
def test_a_tar_that_no_engine_makes(fake: FakeEngine, why: str) -> None:
    give(fake, "C /etc/conf\nA /new", BAD[why])
    with pytest.raises(RemoteError) as caught:
        call()
    assert caught.value.kind == "EngineError"
    assert why in caught.value.details


@pytest.mark.parametrize("cut", [1, 511, 513, 700, 1024, 1600, 2560])
def test_a_tar_that_ends_early(fake: FakeEngine, cut: int) -> None:
    give(fake, "C /etc/conf", IMAGE)
    data = tar([row("etc/"), row("etc/conf", b"x" * 600), row("more")])
    fake.answers[f"GET /containers/{ID}/export"] = (200, data[:cut])
    with pytest.raises(RemoteError, match="malformed"):
        call()


def test_a_damaged_header(fake: FakeEngine) -> None:
    give(fake, "C /etc/conf", IMAGE)
    data = bytearray(tar(IMAGE))
    data[600] ^= 1
    fake.answers[f"GET /containers/{ID}/export"] = (200, bytes(data))
    with pytest.raises(RemoteError, match="malformed"):
        call()


LISTS: tuple[Any, ...] = (
    {"Path": "/a"},
    [{"Path": "/a"}],
    [{"Path": "/a", "Kind": 3}],
    [{"Path": "/a", "Kind": True}],
    [{"Path": "a", "Kind": 1}],
    [{"Path": "/../a", "Kind": 1}],
    [{"Path": "/" + "a" * 300, "Kind": 1}],
    [{"Path": 5, "Kind": 1}],
    [5],
    b"no json",
)


@pytest.mark.parametrize("listed", LISTS, ids=lambda listed: repr(listed)[:40])
def test_a_list_that_no_engine_makes(fake: FakeEngine, listed: Any) -> None:
    give(fake, None, IMAGE)
    fake.answers[f"GET /containers/{ID}/changes"] = (200, listed)
    with pytest.raises(RemoteError) as caught:
        call()
    assert caught.value.kind == "EngineError"


def test_arguments_are_checked(fake: FakeEngine) -> None:
    for container in ("name", "../x", ID + "/x", "", 5, None, ID.upper()):
        with pytest.raises(RemoteError, match="id is not valid"):
            call(container=container)
    give(fake, None, IMAGE)
    for place in ("relative", ""):
        with pytest.raises(RemoteError, match="mount points"):
            call(place)
    assert not fake.asked("GET", "export")


def test_an_engine_without_the_container(fake: FakeEngine) -> None:
    del fake.answers[f"GET /containers/{ID}/json"]
    with pytest.raises(RemoteError) as caught:
        call()
    assert "404" in caught.value.details


def upper_folder(fake: FakeEngine, tmp_path: Path) -> Path:
    """Where the engine says that the container's own files are."""
    folder = tmp_path / "docker/overlay2/x/diff"
    folder.mkdir(parents=True)
    fake.answers["GET /info"] = (200, {"DockerRootDir": str(tmp_path / "docker")})
    told = {"GraphDriver": {"Name": "overlay2", "Data": {"UpperDir": str(folder)}}}
    fake.answers[f"GET /containers/{ID}/json"] = (200, told)
    return folder


def delete(path: Path) -> None:
    """As overlayfs keeps it."""
    try:
        os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))
    except PermissionError:
        pytest.skip("this user may not make devices")


def test_a_file_of_the_same_size_and_time(fake: FakeEngine, tmp_path: Path) -> None:
    """The engine does not list it, but it has been written to."""
    folder = upper_folder(fake, tmp_path)
    (folder / "etc").mkdir()
    (folder / "etc/conf").write_bytes(b"new")
    (folder / "etc/hosts").write_bytes(b"the engine's")
    give(fake, None, IMAGE)
    answer, data = call()
    assert [member.name for member in members(data)] == ["etc/", "etc/conf"]
    assert answer["exact"] is True


def test_the_engine_is_not_asked_about_a_container_without_changes(
    fake: FakeEngine, tmp_path: Path
) -> None:
    """Its comparison takes long, and the app may be stopped meanwhile."""
    folder = upper_folder(fake, tmp_path)
    for place in ("data", "dev", "srv\N{EURO SIGN}"):
        (folder / place).mkdir()
    answer, data = call("/data", "/srv\N{EURO SIGN}/")
    assert (answer["exact"], data) == (True, b"")
    assert fake.asked("GET", "/changes") == fake.asked("GET", "/export") == []


def test_what_overlayfs_keeps_is_the_list(fake: FakeEngine, tmp_path: Path) -> None:
    """The engine would compare all files of the image, while the app may be stopped."""
    folder = upper_folder(fake, tmp_path)
    for name in ("data", "etc", "srv", "usr"):
        (folder / name).mkdir()
    (folder / "etc/conf").write_bytes(b"new")
    delete(folder / "top")
    delete(folder / "etc/gone")
    give(fake, None, IMAGE)
    answer, data = call("/data", "/srv/place")
    assert [member.name for member in members(data)] == [
        "etc/",
        "etc/conf",
        "srv/",
        "usr/",
        ".wh.top",
        "etc/.wh.gone",
    ]
    assert (answer["changed"], answer["deleted"]) == (4, 2)
    assert fake.asked("GET", "/changes") == fake.asked("GET", "/export") == []


def test_attributes_and_times_that_no_export_has(fake: FakeEngine, tmp_path: Path) -> None:
    folder = upper_folder(fake, tmp_path)
    for name in ("etc", "usr"):
        (folder / name).mkdir()
    when = 1_600_000_000_123_456_789
    (folder / "etc/conf").write_bytes(b"new")
    (folder / "etc/link").symlink_to("conf")
    try:
        os.setxattr(folder / "etc/conf", "user.note", b"\xff=\0")
        os.setxattr(folder / "usr", "user.note", b"of a folder")
    except OSError:
        pytest.skip("this file system has no attributes")
    os.utime(folder / "etc/conf", ns=(when, when))
    give(fake, "C /etc/conf", [*IMAGE[4:6], row("etc/link", link="conf"), row("usr/")])
    found = {member.name: member for member in members(call()[1])}
    assert list(found) == ["etc/", "etc/conf", "etc/link", "usr/"]
    assert found["etc/conf"].xattrs == {"SCHILY.xattr.user.note": "\udcff=\0"}
    assert found["etc/conf"].mtime_ns == when
    assert found["usr/"].xattrs == {"SCHILY.xattr.user.note": "of a folder"}


def test_a_few_paths_are_asked_for_one_by_one(
    fake: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that is the same layer as out of an export."""
    folder = upper_folder(fake, tmp_path)
    for name in ("etc", "usr", "usr/bin", "srv", "srv/deep"):
        (folder / name).mkdir()
    (folder / "etc/conf").write_bytes(b"new")
    (folder / "srv/deep/file").write_bytes(b"below")
    delete(folder / "usr/bin/no")
    deep = [row("srv/deep/"), row("srv/deep/file", b"below")]
    give(fake, None, [*IMAGE[:8], *deep, *IMAGE[8:]])
    few = call()
    assert not fake.asked("GET", "export")
    monkeypatch.setattr(container_layer, "_FEW", 0)
    assert call() == few
    assert fake.asked("GET", "export")
    assert [member.name for member in members(few[1])] == [
        "etc/",
        "etc/conf",
        "srv/",
        "srv/deep/",
        "srv/deep/file",
        "usr/",
        "usr/bin/",
        "usr/bin/.wh.no",
    ]


@pytest.mark.parametrize("odd", ["hard link", "opaque", "redirect"])
def test_what_only_an_export_can_tell(fake: FakeEngine, tmp_path: Path, odd: str) -> None:
    folder = upper_folder(fake, tmp_path)
    (folder / "etc").mkdir()
    (folder / "etc/conf").write_bytes(b"new")
    if odd == "hard link":
        (folder / "same").hardlink_to(folder / "etc/conf")
    else:
        try:
            os.setxattr(folder / "etc", f"trusted.overlay.{odd}", b"y")
        except OSError:
            pytest.skip("this user may not set such attributes")
    give(fake, "C /etc\nC /etc/conf", IMAGE)
    call()
    assert fake.asked("GET", "export")
    assert not fake.asked("GET", "archive")


def test_links_in_that_folder_lead_nowhere(fake: FakeEngine, tmp_path: Path) -> None:
    """What is behind them is the host's."""
    folder, other = upper_folder(fake, tmp_path), tmp_path / "host"
    (other / "sub").mkdir(parents=True)
    (other / "conf").write_bytes(b"secret")
    (folder / "etc").symlink_to(other)
    own = upper.Upper(str(folder))
    assert list(own.written()) == ["etc"]
    assert own.time_ns("etc/conf") is None
    assert own.attributes("etc/conf") == {}
    assert own.time_ns("../host/conf") is None


@pytest.mark.parametrize("place", ["/etc", "{root}/../host", "relative", "{root}"])
def test_an_engine_that_names_a_folder_of_the_host(
    fake: FakeEngine, tmp_path: Path, place: str
) -> None:
    upper_folder(fake, tmp_path)
    (tmp_path / "host").mkdir()
    folder = place.replace("{root}", str(tmp_path / "docker"))
    told = {"GraphDriver": {"Data": {"UpperDir": folder}}}
    assert upper.find(told) is None


MOUNTS = (
    "22 1 8:1 / /mnt rw - overlay overlay rw,lowerdir=/l,upperdir=/wrong,workdir=/w\n"
    "23 1 0:9 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a:/b,upperdir=/u/1/fs,"
    "workdir=/u/1/work\n24 23 0:3 / /proc rw - proc proc rw\n"
)


def test_the_folder_is_found_among_the_mounts_of_a_process() -> None:
    assert upper.upper_of(MOUNTS) == "/u/1/fs"
    for text in ("", "x", "1 2 3 / / rw", "23 1 0:9 / / rw - ext4 /dev/x rw,upperdir=/a", "a - b"):
        assert upper.upper_of(text) == ""
    assert upper.upper_of(MOUNTS.replace("/u/1/fs", "/u\\0401")) == ""
    for pid in (0, 1, -5, True, "7", None, 1 << 60):
        assert upper.find({"State": {"Pid": pid}}) is None
