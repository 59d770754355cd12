"""The reader of tars: as Python's own writer wrote them, as limits say, and never anything else."""

import io
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.errors import SpaceError, VerifyError
from portkit.package import archive, ext4, tarball
from portkit.package import tree as trees
from portkit.package.flatten import flattened
from portkit.store import Store
from tests.trees import flatten
from tests.unit.package.archives import CONFIG, LAYERS, docker, oci, sha, write
from tests.unit.package.layers import folders

GIB = 1 << 30
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)


def read(data: bytes) -> list[tarball.Member]:
    return list(tarball.members(io.BytesIO(data)))


def tar(*infos: tarfile.TarInfo, format: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as bundle:
        for info in infos:
            bundle.addfile(info, io.BytesIO(b"x" * info.size))
    return out.getvalue()


@given(
    TEXT,
    TEXT,
    st.integers(0, 0o7777),
    st.integers(0, (1 << 32) - 2),
    st.integers(0, 5000),
    st.integers(0, 1 << 33),
    st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    st.dictionaries(st.from_regex("[a-z.]{1,20}", fullmatch=True), TEXT),
)
def test_what_python_writes(
    name: str,
    link: str,
    mode: int,
    uid: int,
    size: int,
    mtime: int,
    format: int,
    xattrs: dict[str, str],
) -> None:
    info = tarfile.TarInfo(f"n{name}")
    info.mode, info.uid, info.size, info.mtime = mode, uid, size, mtime
    info.pax_headers = {f"{tarball.XATTR}{key}": value for key, value in xattrs.items() if value}
    other = tarfile.TarInfo("l")
    other.type, other.linkname = tarfile.SYMTYPE, link
    data = tar(info, other, format=format)
    first, second = read(data)
    assert (first.name, first.mode, first.uid, first.size) == (f"n{name}", mode, uid, size)
    assert first.mtime_ns == mtime * 10**9
    assert b"".join(tarball.content(io.BytesIO(data), first)) == b"x" * size
    assert (second.kind, second.link) == (tarball.SYMLINK, link)
    assert tarball.member_at(io.BytesIO(data), second.header) == second
    if format == tarfile.PAX_FORMAT:
        assert first.xattrs == info.pax_headers


def test_sparse_files_of_gnu_tar(tmp_path: Path) -> None:
    """All four formats that GNU tar writes."""
    from portkit import process

    with (tmp_path / "s").open("wb") as file:
        for number in range(40):
            file.seek(number * 100_000)
            file.write(b"data%d" % number)
        file.truncate(5_000_000)
    content = (tmp_path / "s").read_bytes()
    for version in ("gnu", "0.0", "0.1", "1.0"):
        how = ["--format=gnu"] if version == "gnu" else ["--format=pax"]
        how += [] if version == "gnu" else [f"--sparse-version={version}"]
        out = tmp_path / f"{version}.tar"
        process.run(["tar", "-S", *how, "-C", tmp_path, "-cf", out, "s"])
        with out.open("rb") as file:
            (member,) = tarball.members(file)
            assert member.pieces is not None, version
            assert (member.name, member.size) == ("s", 5_000_000), version
            assert b"".join(tarball.content(file, member)) == content, version


def extended(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, len(data) if size is None else size
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def record(key: str, value: str) -> bytes:
    length = len(f" {key}={value}\n".encode())
    total = length + len(str(length))
    total += len(str(total)) - len(str(length))
    return f"{total} {key}={value}\n".encode()


PLAIN = tar(tarfile.TarInfo("a"))[:512]
HOSTILE: dict[str, bytes] = {
    "a pax header of a gigabyte": extended(b"x", b"", GIB) + PLAIN,
    "a long name of a gigabyte": extended(b"L", b"", GIB) + PLAIN,
    "a negative size": extended(b"x", record("size", "-5")) + PLAIN,
    "a huge size": extended(b"x", record("size", "9" * 18)) + PLAIN,
    "a number of many digits": extended(b"x", record("size", "9" * 5000)) + PLAIN,
    "a uid out of range": extended(b"x", record("uid", str(1 << 32))) + PLAIN,
    "a time of words": extended(b"x", record("mtime", "inf")) + PLAIN,
    "a record without an end": extended(b"x", b"30 path=a") + PLAIN,
    "a record of length 0": extended(b"x", b"0 path=a\n") + PLAIN,
    "a NUL in a path": extended(b"x", record("path", "a\0b")) + PLAIN,
    "many extended headers": extended(b"x", record("path", "a")) * 50 + PLAIN,
    "a checksum that is wrong": PLAIN.replace(b"ustar", b"vstar"),
    "half a header": PLAIN + PLAIN[:300].ljust(400, b"!"),
    "a sparse file of exabytes": extended(
        b"x",
        record("GNU.sparse.major", "1")
        + record("GNU.sparse.minor", "0")
        + record("GNU.sparse.realsize", "9" * 18),
    )
    + extended(b"0", b"1\n0\n1\n".ljust(512, b"\0") + b"x"),
    "a map of a billion pieces": extended(
        b"x", record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0")
    )
    + extended(b"0", b"1000000000\n".ljust(512, b"\0")),
    "a map without an end": extended(
        b"x", record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0")
    )
    + extended(b"0", b"9" * 100_000),
    "an unknown kind": extended(b"Z", b""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "layer"
    path.write_bytes(HOSTILE[name] + bytes(0 if "half" in name else 1024))
    if name != "a sparse file of exabytes":
        with pytest.raises(tarball.TarError):
            read(path.read_bytes())
    with pytest.raises(VerifyError, match="a layer of the image is malformed") as caught:
        flatten([path], io.BytesIO())
    assert len(caught.value.details) < 1000
    with pytest.raises(VerifyError, match="archive of the image is malformed"):
        archive.read(path, Store(tmp_path / "store"), lambda _: None)


def test_global_headers_say_nothing_of_a_member() -> None:
    data = extended(b"g", record("uid", "77") + record("path", "evil")) + PLAIN + bytes(1024)
    (member,) = read(data)
    assert (member.name, member.uid) == ("a", 0)


def test_memory_for_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a tree takes is bounded by the number of nodes: 600,000 of them are under 300 MiB."""
    monkeypatch.setattr(trees, "_KEPT", 0)
    path = tmp_path / "layer"
    path.write_bytes(folders(map("{:050}".format, range(4000))))
    tracemalloc.start()
    try:
        with flattened([path]) as tree:
            assert ext4.plan(tree).entries == 4001
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / 4000 < 500, "bytes a folder; a file takes half"


def test_more_members_than_a_tree_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from portkit.package import flatten as room

    monkeypatch.setattr(room, "_NODES", 100)
    path = tmp_path / "layer"
    path.write_bytes(folders(map("{:050}".format, range(101))))
    with pytest.raises(VerifyError, match="more than 100 files"):
        flatten([path], io.BytesIO())
    deep = tarfile.TarInfo("/".join("d" * 102))
    path.write_bytes(tar(deep))
    with pytest.raises(VerifyError, match="more than 100 files"):
        flatten([path], io.BytesIO())


@pytest.mark.parametrize("name", ["a/" * 20_000, "n" * 256, "a/" * 10 + "é" * 128])
def test_names_that_no_engine_can_make(tmp_path: Path, name: str) -> None:
    path = tmp_path / "layer"
    path.write_bytes(tar(tarfile.TarInfo(f"{name}/x")))
    with pytest.raises(VerifyError, match="longer than"):
        flatten([path], io.BytesIO())


def test_holes_cost_nothing(tmp_path: Path) -> None:
    """Files of gigabytes in which nothing is."""
    one = extended(
        b"x",
        record("GNU.sparse.major", "1")
        + record("GNU.sparse.minor", "0")
        + record("GNU.sparse.realsize", str(400 << 30)),
    ) + extended(b"0", b"0\n".ljust(512, b"\0"))
    path = tmp_path / "layer"
    path.write_bytes(one * 3 + bytes(1024))
    with flattened([path]) as tree:
        assert ext4.plan(tree).content < 1 << 20


def test_a_bomb_is_held_against_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip
    from types import SimpleNamespace

    asked: list[Path] = []

    def usage(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(free=1000, total=1 << 40, used=0)

    monkeypatch.setattr(archive.shutil, "disk_usage", usage)
    store = Store(tmp_path / "store")
    with pytest.raises(SpaceError, match="Store"):
        archive.read(write(tmp_path / "a", oci(gzip.compress)), store, lambda _: None)
    assert set(asked) == {store.root}


def also_index(change: Callable[[dict[str, bytes]], None]) -> dict[str, bytes]:
    """A docker-archive that is an OCI layout as well, as newer engines write it."""
    members = {**oci(), **docker()}
    change(members)
    return members


def other_image(members: dict[str, bytes]) -> None:
    other = CONFIG.replace(b"linux", b"Linux")
    members["config.json"] = other


ALSO_BAD: dict[str, dict[str, bytes]] = {
    "an index without an entry for it": also_index(other_image),
    "an index beside manifest.json is no JSON": {**docker(), "index.json": b"{"},
    "layers beside manifests": {
        **oci(),
        "index.json": oci()["index.json"].replace(b"{", b'{"layers": [], ', 1),
    },
    "a key twice in manifest.json": {
        **docker(),
        "manifest.json": docker()["manifest.json"].replace(
            b'{"Config"', b'{"Config": "a", "Config"'
        ),
    },
    "a digest of md5 in the index": {
        **oci(),
        "index.json": oci()["index.json"].replace(
            b'{"manifests": [', b'{"manifests": [{"digest": "md5:' + b"0" * 32 + b'"}, '
        ),
    },
    "a digest with a path in the index": {
        **oci(),
        "index.json": oci()["index.json"].replace(
            b'{"manifests": [', b'{"manifests": [{"digest": "sha256:../../x"}, '
        ),
    },
    "a blob of md5": {**docker(), f"blobs/md5/{'0' * 32}": b"x"},
    "a blob with a path": {**docker(), "blobs/sha256/x/y": b"x"},
    "a config that is no name": {**docker(), "manifest.json": b'[{"Config": 5}]'},
}


@pytest.mark.parametrize("name", ALSO_BAD)
def test_malformed_archives(tmp_path: Path, name: str) -> None:
    with pytest.raises(VerifyError):
        archive.read(write(tmp_path / "a", ALSO_BAD[name]), Store(tmp_path / "s"), lambda _: None)


def test_both_layouts_of_one_image(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    archive.read(write(tmp_path / "a", also_index(lambda _: None)), store, lambda _: None)
    assert store.has(f"sha256:{sha(LAYERS[1])}")


@given(st.binary(max_size=2000), st.integers(0, 3000))
def test_noise(data: bytes, position: int) -> None:
    whole = bytearray(tar(tarfile.TarInfo("a"), tarfile.TarInfo("b" * 150)))
    whole[position : position + len(data)] = data
    for each in (data, bytes(whole)):
        try:
            read(each)
        except tarball.TarError as error:
            str(error).encode()
