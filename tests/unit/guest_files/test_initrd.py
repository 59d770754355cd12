"""The files in an initrd, however its archives follow each other."""

import bz2
import ctypes
import gzip
import lzma
import re
from collections.abc import Callable, Iterator

import pytest

from portkit.guest_files import initrd
from portkit.wire.codec import Compressor
from tests.unit.needs.guest_files import cpio

CODE = cpio({"kernel/x86/microcode/GenuineIntel.bin": bytes(999)})
DRIVER = "usr/lib/modules/6.1.0/kernel/drivers/block/virtio_blk.ko"
MAIN = cpio({"init": b"#!/bin/sh\n", "etc/crypttab": b"root UUID=1 none\n", DRIVER: bytes(70_001)})
CRYPTTAB, NONE = re.compile("etc/crypttab"), re.compile("(?!)")
FILES = ["init", "etc/crypttab", DRIVER]


def zstd(data: bytes) -> bytes:
    compressor = Compressor("zstd")
    return compressor.feed(data) + compressor.finish()


def lz4(data: bytes) -> bytes:
    try:
        library = ctypes.CDLL("liblz4.so.1")
    except OSError:
        pytest.skip("no liblz4.so.1")
    space = ctypes.create_string_buffer(len(data) + 4096)
    size = library.LZ4_compress_default(data, space, len(data), len(space))
    return b"\x02\x21\x4c\x18" + size.to_bytes(4, "little") + space.raw[:size]


def pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def xz(data: bytes) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_CRC32)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, xz, bz2.compress, zstd, lz4])
def test_code_for_the_processor_in_front(pack: Callable[[bytes], bytes]) -> None:
    for begin in (b"", CODE, CODE + bytes(2048), CODE + bytes(3)):
        found = initrd.listed(pieces(begin + pack(MAIN)), CRYPTTAB)
        assert found.why == ""
        assert found.names[-3:] == FILES
        assert found.texts == {"etc/crypttab": "root UUID=1 none\n"}


def test_archives_one_after_the_other() -> None:
    more = cpio({"extra": b"1"})
    for pack in (gzip.compress, xz, bz2.compress):
        for data in (pack(MAIN) + more, pack(MAIN) + bytes(5) + pack(more), pack(MAIN + more)):
            found = initrd.listed(pieces(CODE + data), NONE)
            assert (found.why, found.names[1:]) == ("", [*FILES, "extra"])


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (MAIN[:-9000], "cut off"),
        (CODE + gzip.compress(MAIN)[:-60], "cut off"),
        (CODE + zstd(MAIN)[:-10], "not complete"),
        (CODE + b"\x89LZO" + bytes(99), "not known"),
        (CODE + gzip.compress(MAIN)[:99] + b"x" * 99, ""),
        (MAIN.replace(b"00000001", b"0000000x"), ""),
        (b"070701" + b"f" * 104, "long names"),
    ],
)
def test_what_cannot_be_read_is_told(data: bytes, why: str) -> None:
    found = initrd.listed(pieces(data), NONE)
    assert found.why
    assert why in found.why


def test_what_unpacks_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initrd, "_MOST_BYTES", 1 << 20)
    found = initrd.listed(pieces(gzip.compress(cpio({"big": bytes(2 << 20)}))), NONE)
    assert "larger" in found.why
