"""What a process, or an extension that it may load, asks for in vain."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from portkit import process
from portkit.model.needs import Needs
from portkit.needs import read, symbols
from portkit.needs.elf import ElfError
from tests.elves import LOADER, elf, glibc, layer
from tests.factories import IMAGE, spec

MUSL = "/lib/ld-musl-x86_64.so.1"
LIBC = elf(soname="libc.musl-x86_64.so.1", has=("puts", "fopen", "malloc"))
PYTHON = "/usr/bin/python3.12"
PACKAGES = "/usr/lib/python3.12/site-packages"


def needs(folder: Path, files: dict[str, Any], *argv: str, **changes: Any) -> Needs:
    path = layer(folder / "layer", files)
    (found,) = read([path], IMAGE, [spec(argv=argv or ("/app",), cwd="/", **changes)])
    return found


def rows(found: Needs) -> list[tuple[str, str, str, bool]]:
    return [(row.what.value, row.name, row.by, row.sure) for row in found.missing]


def test_functions_that_musl_does_not_have(tmp_path: Path) -> None:
    def lacks(*asks: str, library: bytes = elf(has=("own",)), **changes: Any) -> object:
        program = elf(interpreter=MUSL, needed=("libx.so",), asks=asks)
        files = {"/app": program, MUSL: LIBC, "/lib/libx.so": library}
        return rows(needs(tmp_path, files, **changes))

    assert lacks("puts", "own") == []
    assert lacks("fopen64") == [], "musl takes fopen for it"
    assert lacks("__fprintf_chk") == [("symbol", "__fprintf_chk", "/app", True)]
    assert lacks("a", "b", "c", "d") == [("symbol", "a, b, c and 1 more", "/app", True)]
    other = elf(has=("own",), asks=("gnu_get_libc_version",))
    assert lacks("own", library=other) == [("symbol", "gnu_get_libc_version", "/lib/libx.so", True)]
    assert lacks("a", env=(("LD_PRELOAD", "/lib/more.so"),)) == []


def test_functions_that_gcompat_has(tmp_path: Path) -> None:
    stub = elf(more=b"--preload\0/lib/libgcompat.so.0\0")
    files = {
        "/app": elf(interpreter=LOADER, needed=("libc.so.6",), asks=("puts", "__fprintf_chk", "a")),
        LOADER: stub,
        MUSL: LIBC,
        "/lib/libgcompat.so.0": elf(needed=("libucontext.so.1",), has=("__fprintf_chk",)),
        "/lib/libucontext.so.1": elf(has=("a",)),
    }
    assert rows(needs(tmp_path, files)) == []
    files["/lib/libucontext.so.1"] = elf()
    assert rows(needs(tmp_path, files)) == [("symbol", "a", "/app", True)]
    del files["/lib/libucontext.so.1"]
    assert rows(needs(tmp_path, files)) == [], "it may be in another folder"


def test_extensions_of_another_glibc(tmp_path: Path) -> None:
    own = glibc("GLIBC_2.36")
    python = {PYTHON: elf(interpreter=LOADER, needed=("libc.so.6",)), **own}

    def lacks(name: str, data: bytes, **more: bytes) -> object:
        return rows(needs(tmp_path, {**python, f"{PACKAGES}/{name}": data, **more}, PYTHON))

    later = elf(wanted={"libc.so.6": ("GLIBC_2.38",)}, needed=("libc.so.6",))
    path = f"{PACKAGES}/a/b.cpython-312-x86_64-linux-gnu.so"
    assert lacks("a/b.cpython-312-x86_64-linux-gnu.so", later) == [
        ("version", "GLIBC_2.38", path, False)
    ]
    assert lacks("a/b.cpython-311-x86_64-linux-gnu.so", later) == [], "another Python's"
    assert lacks("a/b.so", elf(wanted={"libc.so.6": ("GLIBC_2.36",)})) == []
    assert lacks("a/b.so", elf(183)) == [("library", "b.so", PYTHON, False)]
    assert lacks("a/b.so", b"INPUT(libb.so.1)") == []
    cpp = elf(wanted={"libstdc++.so.6": ("GLIBCXX_3.4.32",)}, needed=("libstdc++.so.6",))
    old = {"/usr/lib/libstdc++.so.6": elf(soname="libstdc++.so.6", defined=("GLIBCXX_3.4.30",))}
    assert lacks("c.so", cpp, **old) == [("version", "GLIBCXX_3.4.32", f"{PACKAGES}/c.so", False)]
    assert lacks("c.so", cpp) == [], "what it may find is not known"
    elsewhere = {**python, "/opt/c.so": later}
    assert rows(needs(tmp_path, elsewhere, PYTHON)) == []
    node = {"/usr/bin/node": python[PYTHON], **own}
    addon = {"/srv/node_modules/x/build/x.node": later, "/srv/node_modules/y/arm64.node": elf(183)}
    assert rows(needs(tmp_path, {**node, **addon}, "/usr/bin/node")) == [
        ("version", "GLIBC_2.38", "/srv/node_modules/x/build/x.node", False)
    ], "packages of node bring files for many machines"


def test_extensions_of_glibc_under_musl(tmp_path: Path) -> None:
    python = {PYTHON: elf(interpreter=MUSL, has=("Py_Main",)), MUSL: LIBC}

    def lacks(data: bytes) -> object:
        return rows(needs(tmp_path, {**python, f"{PACKAGES}/a.so": data}, PYTHON))

    path = f"{PACKAGES}/a.so"
    assert lacks(elf(needed=("libc.so.6",), asks=("puts", "Py_Main"))) == []
    asks = elf(needed=("libc.so.6",), asks=("puts", "__memcpy_chk"))
    assert lacks(asks) == [("symbol", "__memcpy_chk", path, False)]
    loader = elf(needed=("libc.so.6", "ld-linux-x86-64.so.2"))
    assert lacks(loader) == [("library", "ld-linux-x86-64.so.2", path, False)]
    assert lacks(elf(needed=("libother.so",), asks=("other",))) == []


def test_the_level_of_an_extension(tmp_path: Path) -> None:
    files = {PYTHON: elf(interpreter=LOADER, needed=("libc.so.6",)), **glibc("GLIBC_2.36")}
    files[f"{PACKAGES}/a.so"] = elf(level=3)
    found = needs(tmp_path, files, PYTHON)
    (one,) = (each for each in found.binaries if each.path == f"{PACKAGES}/a.so")
    assert (one.level, one.sure) == (3, False)


def test_a_damaged_table_of_symbols() -> None:
    data = elf(asks=("puts",))
    for cut in range(64, len(data), 3):
        part = data[:cut]
        try:
            symbols.read(lambda at, size, part=part: part[at : at + size])
        except ElfError:
            continue


@pytest.mark.skipif(shutil.which("gcc") is None, reason="a compiler makes the file")
@pytest.mark.parametrize("style", ["gnu", "sysv"])
def test_symbols_of_a_compiler(tmp_path: Path, style: str) -> None:
    (tmp_path / "a.c").write_text(
        "#include <stdio.h>\n"
        "__attribute__((weak)) void perhaps(void);\n"
        'int own(void) { if (perhaps) perhaps(); return puts("x"); }\n'
    )
    argv = ["gcc", "-shared", "-fPIC", f"-Wl,--hash-style={style}", "-o", "a.so", "a.c"]
    process.run(argv, cwd=tmp_path)
    data = (tmp_path / "a.so").read_bytes()
    found = symbols.read(lambda at, size: data[at : at + size])
    assert (found.asks, found.has) == ({"puts"}, {"own"})
