"""The files of an App in a bundle: there and back, and what no tar of somebody else's may bring."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.bundle.contents import LIMIT, decode, encode
from portkit.content_archive import pack
from portkit.model import ContentFile

NAMES = st.binary(min_size=1, max_size=255).filter(
    lambda name: not set(name) & {0, 0x2F} and name not in (b".", b"..")
)
MODES, IDS = st.integers(0, 0o7777), st.integers(0, (1 << 32) - 2)
FOLDER = ContentFile(kind="folder", mode=0o755)
KEY = ContentFile(mode=0o400, uid=70000, gid=5, mtime_s=9, data=b"hunter2")


@st.composite
def trees(draw: st.DrawFn) -> tuple[ContentFile, ...]:
    """The files of a Content, each with its folder before it."""

    def row(path: str, kind: str, data: bytes) -> ContentFile:
        times = draw(st.integers(-(1 << 33), 1 << 34))
        return ContentFile(path, kind, draw(MODES), draw(IDS), draw(IDS), times, data)

    kinds = {"file": st.binary(max_size=600), "link": NAMES, "folder": st.just(b"")}
    first = draw(st.sampled_from(("file", "folder")))
    rows = {"": row("", first, draw(kinds[first]))}
    for name in draw(st.lists(NAMES, max_size=5)) if first == "folder" else ():
        above = draw(st.sampled_from([path for path, r in rows.items() if r.kind == "folder"]))
        path = f"{above}/{name.decode('utf-8', 'surrogateescape')}".lstrip("/")
        kind = draw(st.sampled_from(sorted(kinds)))
        rows.setdefault(path, row(path, kind, draw(kinds[kind])))
    return tuple(rows.values())


@given(st.lists(trees(), max_size=3))
def test_there_and_back(contents: list[tuple[ContentFile, ...]]) -> None:
    assert decode(encode(contents)) == tuple(contents)


@given(st.lists(trees(), min_size=1, max_size=2), st.data())
def test_a_byte_that_is_another(contents: list[tuple[ContentFile, ...]], data: Any) -> None:
    """What it still reads is what portkit would write for it."""
    packed = bytearray(encode(contents))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = decode(bytes(packed))
    except ValueError:
        return
    assert encode(found) == packed


def refused(*rows: ContentFile) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        decode(pack([(0, rows)]))
    with pytest.raises(ValueError, match=r"."):
        encode([rows])
    return str(caught.value)


# hostile inputs 13 and 14
@pytest.mark.parametrize(
    "path", ["..", "../x", "a/../../x", "./a", "a/.", "a/", "a//b", "/etc/x", "/"]
)
def test_paths(path: str) -> None:
    refused(FOLDER, ContentFile("a", "folder"), ContentFile(path, data=b"x"))


def test_what_is_below_a_link_or_a_file() -> None:
    link, file = ContentFile("a", "link", data=b"/etc"), ContentFile("a")
    for above in (link, file):
        assert "in a folder that does not exist" in refused(
            FOLDER, above, ContentFile("a/passwd", data=b"x")
        )
    assert "in a folder that does not exist" in refused(FOLDER, ContentFile("b/c"))
    assert "in a folder that does not exist" in refused(KEY, ContentFile("b"))


def test_a_content_is_no_link() -> None:
    """The engine of the target mounts it, and would follow the link there."""
    assert "is a link" in refused(ContentFile(kind="link", data=b"/etc/shadow"))
    assert "is a link" in refused(ContentFile("a", data=b"x"))


def test_each_once() -> None:
    assert "twice" in refused(FOLDER, ContentFile("a"), ContentFile("a", data=b"x"))
    assert "twice" in refused(KEY, KEY)


def test_lengths() -> None:
    assert "longer" in refused(FOLDER, ContentFile("a" * 256))
    deep = [ContentFile("/".join(["a" * 250] * n), "folder") for n in range(1, 18)]
    assert "longer" in refused(FOLDER, *deep)
    assert "too long a target" in refused(FOLDER, ContentFile("a", "link", data=b"x" * 5000))


@pytest.mark.parametrize(
    "change",
    [
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.LNKTYPE, "linkname": "0"},
        {"type": tarfile.GNUTYPE_SPARSE},
        {"name": "1"},
        {"name": "00"},
        {"name": "x"},
        {"name": "../0"},
        {"name": "/0"},
        {"name": "0/"},
        {"uname": "root"},
        {"mtime": 1.5},
        {"uid": (1 << 32) - 1},
        {"gid": 1 << 32},
        {"pax_headers": {"SCHILY.xattr.security.capability": "x"}},
        {"pax_headers": {"comment": "x"}},
        {"pax_headers": {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}},
    ],
    ids=str,
)
def test_headers(change: dict[str, Any]) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        info = tarfile.TarInfo("0")
        for key, value in change.items():
            setattr(info, key, value)
        made.addfile(info)
    with pytest.raises(ValueError, match=r"."):
        decode(out.getvalue())


def test_sparse_zeros_are_not_made() -> None:
    """A header can promise terabytes in a few bytes."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "0"}
    records["GNU.sparse.realsize"] = str(1 << 42)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        info = tarfile.TarInfo("0")
        info.pax_headers, info.size = records, 512
        made.addfile(info, io.BytesIO(b"0\n".ljust(512, b"\0")))
    with pytest.raises(ValueError, match="not a file, folder or link"):
        decode(out.getvalue())


@pytest.mark.parametrize("tail", [b"x", bytes(512), bytes(10240)])
def test_tails(tail: bytes) -> None:
    data = pack([(0, (KEY,))])
    with pytest.raises(ValueError, match="not packed as portkit packs them"):
        decode(data + tail)
    with pytest.raises(ValueError, match=r"."):
        decode(data[:600])


def test_order() -> None:
    for numbers in ([1], [0, 2], [1, 0], [0, 1, 0]):
        with pytest.raises(ValueError, match=r"."):
            decode(pack([(number, (KEY,)) for number in numbers]))


def test_a_million_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portkit.bundle.contents._MOST", 100)
    rows = [ContentFile(f"{number}") for number in range(100)]
    assert len(decode(pack([(0, (FOLDER, *rows[1:]))]))[0]) == 100
    with pytest.raises(ValueError, match="more than 100 files"):
        decode(pack([(0, (FOLDER, *rows))]))


def test_more_than_fits() -> None:
    with pytest.raises(ValueError, match=f"at most {LIMIT}"):
        encode([(ContentFile(data=bytes(LIMIT)),)])


def test_nothing_is_written_by_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    decode(encode([(FOLDER, ContentFile("a", data=b"x")), (KEY,)]))
    assert list(tmp_path.iterdir()) == []
