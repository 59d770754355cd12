"""Whether a program makes threads: by the functions that it names, and by what it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from portkit.needs import read
from tests.elves import LOADER, elf, glibc, layer
from tests.factories import IMAGE, spec

GO = b"\xff Go buildinf:"


def program(*names: str, code: bytes = b"") -> bytes:
    return elf(interpreter=LOADER, needed=("libc.so.6",), names=names, code=code)


def threads(
    folder: Path, files: Mapping[str, bytes], argv: Sequence[str] = ("/bin/app",), **more: object
) -> bool | None:
    path = layer(folder / "layer", {**glibc("GLIBC_2.34"), **files})
    (found,) = read([path], IMAGE, [spec(argv=tuple(argv), cwd="/", **more)])
    assert found.libc_version == (2, 34)
    return found.threads


def test_a_program_that_names_no_such_function_makes_none(tmp_path: Path) -> None:
    assert threads(tmp_path, {"/bin/app": program("puts", "socket")}) is False


@pytest.mark.parametrize(
    "name", ["pthread_create", "posix_spawn", "system", "dlopen", "execvp", "own_system"]
)
def test_one_that_does_may(tmp_path: Path, name: str) -> None:
    """The last one: a linker writes a name that another one ends with no second time."""
    assert threads(tmp_path, {"/bin/app": program(name)}) is None


@pytest.mark.parametrize("name", ["redis-server", "node", "java"])
def test_some_always_do(tmp_path: Path, name: str) -> None:
    files = {f"/bin/{name}": program("pthread_create")}
    assert threads(tmp_path, files, (f"/bin/{name}",)) is True
    assert threads(tmp_path, files, (name,), env=(("PATH", "/bin"),)) is True
    none = {f"/bin/{name}": program("puts")}
    assert threads(tmp_path, none, (f"/bin/{name}",)) is False, "it is another one of that name"


def test_go_does_where_it_has_c_in_it(tmp_path: Path) -> None:
    assert threads(tmp_path, {"/bin/app": program("pthread_create", code=GO)}) is True
    assert threads(tmp_path, {"/bin/app": program("pthread_create", code=b"Go")}) is None


def test_a_library_may(tmp_path: Path) -> None:
    files = {
        "/bin/app": elf(interpreter=LOADER, needed=("libc.so.6", "liba.so")),
        "/lib/liba.so": elf(soname="liba.so", names=("pthread_create",)),
    }
    assert threads(tmp_path, files) is None
    assert threads(tmp_path, {**files, "/lib/liba.so": elf(soname="liba.so")}) is False


def test_what_cannot_be_seen_may(tmp_path: Path) -> None:
    quiet = {"/bin/app": program("puts"), "/bin/start": b"#!/bin/app\n"}
    assert threads(tmp_path, quiet, ("/bin/start",)) is None
    preloaded = (("LD_PRELOAD", "/lib/other.so"),)
    assert threads(tmp_path, quiet, env=preloaded) is None
    assert threads(tmp_path, {**quiet, "/etc/ld.so.preload": b"/lib/other.so\n"}) is None
    damaged = {"/bin/app": elf(interpreter=LOADER, needed=("libc.so.6", "liba.so"))}
    assert threads(tmp_path, {**damaged, "/lib/liba.so": b"\x7fELF"}) is None
