"""The configuration disk, read back by a reader that knows only its description."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.errors import AppError
from portkit.guest.config import LIMIT, encode_config, is_init_system, signal_number
from portkit.guest.initrd import cpio
from portkit.model import Mount, Ulimit
from tests.factories import spec


def records(data: bytes) -> list[tuple[bytes, bytes]]:
    magic, length, checksum = struct.unpack_from("<8sII", data)
    body = data[16 : 16 + length]
    assert magic == b"PORTKIT1"
    assert zlib.crc32(body) == checksum
    assert not any(data[16 + length :])
    assert len(data) % 512 == 0
    found = []
    while body:
        size = int.from_bytes(body[1:5], "little")
        found.append((body[:1], body[5 : 5 + size]))
        body = body[5 + size :]
    return found


WORD = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))


@given(st.lists(WORD, min_size=1), st.dictionaries(WORD, WORD))
def test_words_come_back_as_they_were(argv: list[str], env: dict[str, str]) -> None:
    found = records(encode_config(spec(argv=tuple(argv), env=tuple(env.items()))))
    assert [value.decode() for tag, value in found if tag == b"A"] == argv
    assert [value.decode() for tag, value in found if tag == b"E"] == [
        f"{key}={value}" for key, value in env.items()
    ]


def test_parents_are_mounted_first_and_volumes_numbered() -> None:
    mounts = (Mount("volume", "/a/b"), Mount("tmpfs", "/a", tmpfs_bytes=7), Mount("volume", "/c"))
    rows = [value for tag, value in records(encode_config(spec(mounts=mounts))) if tag == b"V"]
    assert [(struct.unpack_from("<iIQ", row), row[16:]) for row in rows] == [
        ((-1, 0, 7), b"/a"),
        ((1, 0, 0), b"/c"),
        ((0, 0, 0), b"/a/b"),
    ]


def test_a_mode_and_read_only_are_flags() -> None:
    mounts = (Mount("tmpfs", "/a", tmpfs_mode=0o1770), Mount("volume", "/b", read_only=True))
    rows = [value for tag, value in records(encode_config(spec(mounts=mounts))) if tag == b"V"]
    assert [struct.unpack_from("<iI", row)[1] for row in rows] == [2 | 0o1770 << 16, 1]


def test_an_init_is_asked_for() -> None:
    assert (b"P", b"") in records(encode_config(spec(init=True)))
    assert b"P" not in {tag for tag, _ in records(encode_config(spec()))}


def test_an_init_system_is_known_by_its_name() -> None:
    assert is_init_system(spec(argv=("/sbin/init",)))
    assert not is_init_system(spec(argv=("/usr/bin/init",)))


def test_the_restart_policy_changes_no_size() -> None:
    """It is written in place at the commit, while the guest may read it."""
    before = encode_config(spec(restart="no"))
    after = encode_config(spec(restart="on-failure:3"))
    assert len(before) == len(after)
    assert before != after


def test_signals_by_every_name() -> None:
    assert [signal_number(name) for name in ("SIGTERM", "term", "15", "SIGRTMIN+3")] == [
        15,
        15,
        15,
        37,
    ]
    with pytest.raises(AppError):
        signal_number("SIGNOTHING")


def test_too_much_is_refused() -> None:
    with pytest.raises(AppError, match="too large"):
        encode_config(spec(argv=("x" * (LIMIT + 1),)))


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True), st.binary()))
def test_an_initrd_holds_its_files(files: dict[str, bytes]) -> None:
    tops = {name for name in files if "/" not in name}
    files = {
        name: data
        for name, data in files.items()
        if name.partition("/")[0] not in tops or "/" not in name
    }
    data = cpio({name: (0o644, content) for name, content in files.items()})
    assert len(data) % 512 == 0
    found, at = {}, 0
    while True:
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        at += -(-(110 + fields[11]) // 4) * 4
        if name == "TRAILER!!!":
            break
        if fields[1] & 0o170000 == 0o100000:
            found[name] = data[at : at + fields[6]]
        at += -(-fields[6] // 4) * 4
    assert found == files


@pytest.mark.parametrize(
    "changed",
    [
        {"argv": ("a\ud800",)},
        {"argv": ("a\0b",)},
        {"env": (("PASSWORD", "hunter2\udcff"),)},
        {"env": (("P\ud800", "hunter2"),)},
        {"cwd": "/\udcff"},
        {"user": "9" * 5000},
        {"user": str(1 << 31)},
        {"user": f"1:{1 << 31}"},
        {"user": "n" * 500},
        {"group_add": ("9" * 5000,)},
        {"hostname": "\udcff"},
        {"stop_signal": "9" * 5000},
        {"stop_signal": "SIGRTMIN+99999999999"},
        {"restart": "on-failure:x"},
        {"stop_grace_period_s": float("nan")},
        {"stop_grace_period_s": -1.0},
        {"ulimits": {"nofile": Ulimit(1 << 64, 1 << 64)}},
        {"mounts": (Mount("tmpfs", "/a", tmpfs_bytes=1 << 64),)},
        {"mounts": (Mount("tmpfs", "/a", tmpfs_mode=1 << 16),)},
        {"mounts": (Mount("tmpfs", "/\udcff"),)},
    ],
    ids=str,
)
def test_what_no_guest_can_take(changed: dict[str, object]) -> None:
    with pytest.raises(AppError) as caught:
        encode_config(spec(**changed))
    assert "hunter2" not in str(caught.value)
    str(caught.value).encode()


def test_large_numbers_that_have_a_meaning() -> None:
    made = encode_config(spec(restart="on-failure:" + "9" * 5000, stop_grace_period_s=1e300))
    (numbers,) = (value for tag, value in records(made) if tag == b"N")
    assert struct.unpack_from("<IIIII", numbers)[2::2] == (0xFFFFFFFF, 0xFFFFFFFF)
    assert encode_config(spec(user="2147483647:2147483647"))


ODD = st.text(st.characters(), max_size=20)


@given(st.tuples(ODD, ODD), ODD, ODD, ODD, ODD, st.integers(), st.floats())
def test_any_spec_is_encoded_or_refused(
    pair: tuple[str, str], word: str, user: str, name: str, restart: str, number: int, grace: float
) -> None:
    changed = {
        "argv": (word,),
        "env": (pair,),
        "user": user,
        "group_add": (name,),
        "stop_signal": name,
        "restart": restart,
        "stop_grace_period_s": grace,
        "ulimits": {"nofile": Ulimit(number, number)},
        "mounts": (Mount("tmpfs", word, tmpfs_bytes=abs(number)),),
    }
    try:
        records(encode_config(spec(**changed)))
    except AppError as error:
        str(error).encode()
