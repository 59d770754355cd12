"""What is spoilt of an image's files, and how its needs are read of them."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random

from portkit.needs import loader, os_release, read
from portkit.needs.elf import parse
from tests.elves import LOADER, elf, glibc, layer
from tests.factories import IMAGE, spec
from tests.fuzz.mutate import spoil_bytes

_WANTED = {"libc.so.6": ("GLIBC_2.34", "GLIBC_2.2.5"), "liba.so": ("A_1",)}
PROGRAM = elf(
    interpreter=LOADER,
    needed=("libc.so.6", "liba.so"),
    runpath="$ORIGIN/../lib:/opt/$LIB",
    wanted=_WANTED,
    kernel=(4, 1, 0),
    level=3,
)
LIBRARY = elf(soname="liba.so", needed=("liba.so",), defined=("liba.so", "A_1"), rpath="/x")
RELEASE = b'ID="rocky"\nVERSION_ID=\'9.4\'\nPRETTY_NAME="x=y"\n# none\n'
SCRIPT = b'#! /bin/sh -e\nset -e\nexec /bin/program "$@"\n'
CACHE = (
    b"ld.so-1.7.0"
    + bytes(53)
    + b"glibc-ld.so.cache1.1"
    + (1).to_bytes(4, "little")
    + bytes(24)
    + b"\3\0\0\0\x48\0\0\0\x50\0\0\0"
    + bytes(12)
    + b"liba.so\0/opt/liba.so\0"
)


def spoil_elf(data: bytes, chance: Random) -> bytes:
    """Mostly a number of its tables, which are short; at times anything."""
    if chance.random() < 0.3:
        return spoil_bytes(data, chance)
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(out) // 4) * 4
        value = chance.choice((0, 1, 2, 16, 255, 4096, len(out), 1 << 31, (1 << 32) - 1, at))
        out[at : at + 4] = value.to_bytes(4, "little")
    return bytes(out)


def one_file(data: bytes, folder: Path) -> object:
    """The file alone."""
    file = io.BytesIO(data)

    def part(at: int, size: int) -> bytes:
        if at > len(data):
            return b""
        file.seek(at)
        return file.read(size)

    return parse(part)


def whole_image(data: bytes, folder: Path) -> object:
    """An image in which the file is program, loader, library, script and list at once."""
    files = {
        "/bin/start": data if data[:2] == b"#!" else SCRIPT,
        "/bin/sh": elf(interpreter=LOADER, needed=("libc.so.6", "liba.so")),
        "/bin/program": data,
        "/lib/liba.so": data,
        **glibc("GLIBC_2.34"),
        "/etc/ld.so.cache": data,
        "/etc/os-release": data,
    }
    path = layer(folder / "layer", files)
    env = (("PATH", "/bin"),)
    (found,) = read([path], IMAGE, [spec(argv=("start", "program"), env=env, cwd="/")])
    assert found.command == "/bin/start", "whatever is wrong, the rest is read"
    return found


def lists(data: bytes, folder: Path) -> object:
    """Texts and tables that are no ELF files."""
    return os_release(data.decode("utf-8", "replace")), loader.read_cache(data)
