"""ELF files: what is read of them, and what is refused."""

import io
import shutil
import struct
from pathlib import Path

import pytest

from portkit import process
from portkit.needs.elf import Elf, ElfError, Wanted, parse
from tests.elves import LOADER, elf


def parsed(data: bytes) -> Elf:
    def read(at: int, size: int) -> bytes:
        file = io.BytesIO(data)
        file.seek(at)
        return file.read(size)

    return parse(read)


def test_everything_that_a_file_says() -> None:
    found = parsed(
        elf(
            interpreter=LOADER,
            needed=("libc.so.6", "libz.so.1"),
            rpath="/old",
            runpath="$ORIGIN/../lib",
            soname="own.so.1",
            wanted={"libc.so.6": ("GLIBC_2.34", "GLIBC_2.2.5"), "libz.so.1": ("ZLIB_1.2",)},
            defined=("own.so.1", "OWN_1"),
            kernel=(3, 17, 0),
            level=3,
            flags=0x800,
        )
    )
    assert found.code[0][0] == 0
    assert found == Elf(
        key=(62, 64, True),
        program=True,
        interpreter=LOADER,
        needed=("libc.so.6", "libz.so.1"),
        rpath="/old",
        runpath="$ORIGIN/../lib",
        soname="own.so.1",
        default_folders=False,
        wanted=(
            Wanted("libc.so.6", ("GLIBC_2.34", "GLIBC_2.2.5")),
            Wanted("libz.so.1", ("ZLIB_1.2",)),
        ),
        defined=frozenset({"own.so.1", "OWN_1"}),
        kernel=(3, 17, 0),
        level=3,
        align=4096,
        code=found.code,
        end=found.code[0][1],
        entry=64,
    )
    assert found.machine == "amd64"


@pytest.mark.parametrize(
    ("machine", "bits", "order", "name"),
    [
        (183, 64, "<", "arm64"),
        (40, 32, "<", "arm"),
        (3, 32, "<", "386"),
        (62, 32, "<", "x32"),
        (22, 64, ">", "s390x"),
        (9999, 64, "<", "elf-9999"),
    ],
)
def test_machines(machine: int, bits: int, order: str, name: str) -> None:
    made = elf(machine, bits=bits, order=order, needed=("a",), kernel=(4, 1, 2), level=4)
    found = parsed(made)
    assert (found.machine, found.needed, found.kernel) == (name, ("a",), (4, 1, 2))
    assert found.level == (4 if machine == 62 else 0), "a note of x86 means nothing elsewhere"


def test_a_baseline_note_proves_nothing() -> None:
    assert [parsed(elf(level=level)).level for level in range(5)] == [0, 0, 2, 3, 4]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        b"#!/bin/sh\n" * 20,
        elf()[:60],
        elf()[:70],
        elf()[:4] + b"\3" + elf()[5:],
        elf()[:16] + b"\1" + elf()[17:],  # ET_REL
        elf()[:56] + b"\xff\xff" + elf()[58:],  # program headers
        elf(interpreter="/a" * 3000),
        elf(interpreter=LOADER).replace(b"so.2\0", b"so.2x"),
        elf(needed=("a",)).replace(b"\0\5\0\0\0\0\0\0\0", b"\0\5\0\0\0\0\0\0\xff"),
    ],
)
def test_what_is_damaged(data: bytes) -> None:
    with pytest.raises(ElfError):
        parsed(data)


def test_tables_that_never_end() -> None:
    """Each row says that the next is behind it, up to the end of the file."""
    many = elf(wanted={"l": tuple(f"V_{number}" for number in range(9000))})
    with pytest.raises(ElfError, match="versions"):
        parsed(many)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="a compiler makes the files")
def test_files_of_a_compiler(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text('#include <stdio.h>\nint main(void) { return puts("a") < 0; }\n')
    plain, marked = tmp_path / "plain", tmp_path / "marked"
    process.run(["gcc", "-march=x86-64-v3", "-o", plain, tmp_path / "a.c"])
    process.run(["gcc", "-Wl,-z,x86-64-v3", "-Wl,-rpath,/x", "-o", marked, tmp_path / "a.c"])
    found = parsed(plain.read_bytes())
    assert (found.interpreter, found.needed, found.level) == (LOADER, ("libc.so.6",), 0)
    assert found.kernel == (3, 2, 0)
    assert found.wanted[0].library == "libc.so.6"
    other = parsed(marked.read_bytes())
    assert (other.level, other.runpath) == (3, "/x")


def test_pages_with_which_a_file_can_be_mapped() -> None:
    data = elf()
    assert parse(lambda at, size: data[at : at + size]).page == 0
    # The second field of eight bytes of a program header is the offset, the third the address.
    for address, page in ((0x401000, 0x1000), (0x410000, 0x10000), (0x3000, 0x1000)):
        moved = data[: 64 + 16] + struct.pack("<Q", address) + data[64 + 24 :]
        assert parse(lambda at, size, data=moved: data[at : at + size]).page == page
