"""apply(recipe) is the original, whatever it is made against; what is not whole is refused."""

import hashlib
import io
import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portkit.transfer import recipe
from portkit.transfer.cuts import BLOCK, segments
from portkit.transfer.index import Index
from portkit.wire import recipe as ops
from portkit.wire.content import Plain
from tests.unit.transfer.contents import block, bundle_of, contents, some_files, tars

settings.register_profile(
    "disk", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)
files_on_disk = settings(settings.get_profile("disk"))


@contextmanager
def opened(contents: Sequence[bytes | Path]) -> Iterator[list[io.BufferedReader]]:
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, content in enumerate(contents):
            path = Path(folder) / str(number) if isinstance(content, bytes) else content
            if isinstance(content, bytes):
                path.write_bytes(content)
            files.append(path.open("rb"))
        yield files
        for file in files:
            file.close()


def made(target: bytes | Path, bases: Sequence[bytes | Path], drop: bool = False) -> list[bytes]:
    """The recipe, applied and compared; its pieces."""
    with opened([target, *bases]) as files, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        numbers = [file.fileno() for file in files]
        index = Index(numbers[1:], folder)
        try:
            script = recipe.scan(numbers[0], numbers[1:], index, folder)
        finally:
            index.close()
        dropped = set(script.copied) if drop else set()
        pieces = list(recipe.render(script, numbers[0], dropped))
        used = [files[1 + number] for number in script.used(dropped)]
        assert script.literal + script.zero + sum(script.copied.values()) == script.size
        content = os.pread(numbers[0], script.size, 0)
        assert applied(pieces, used, script.size) == content
        script.close()
    return pieces


def applied(pieces: Sequence[bytes], bases: Sequence[io.BufferedReader], size: int) -> bytes:
    with tempfile.TemporaryFile() as out:
        target = ops.Target(out.fileno(), size)
        read = [Plain(Path(f"/proc/self/fd/{base.fileno()}")) for base in bases]
        try:
            ops.apply(iter(pieces), read, target)
        finally:
            for each in read:
                each.close()
        content = os.pread(out.fileno(), size + 1, 0)
        assert target.digest() == "sha256:" + hashlib.sha256(content).hexdigest()
    return content


@files_on_disk
@given(contents, st.lists(contents, max_size=3), st.booleans())
def test_any_bytes(target: bytes, bases: list[bytes], drop: bool) -> None:
    made(target, bases, drop)


def damaged(data: bytes, at: int, value: int) -> bytes:
    at %= max(1, len(data))
    return data[:at] + bytes([value]) + data[at + 1 :]


@files_on_disk
@given(tars(), tars(), st.integers(0, 1 << 20), st.integers(0, 255))
def test_any_tars(target: bytes, base: bytes, at: int, value: int) -> None:
    made(target, [base])
    made(damaged(target, at, value), [base, damaged(base, at, value)])


@files_on_disk
@given(st.lists(st.tuples(st.integers(0, 60), block), max_size=6), st.integers(0, 1 << 18))
def test_sparse_disks(writes: list[tuple[int, bytes]], size: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        disk, base = Path(name) / "disk", Path(name) / "base"
        for path, part in ((disk, writes), (base, writes[::2])):
            with path.open("wb") as file:
                file.truncate(size)
                for block, data in part:
                    file.seek(block * BLOCK)
                    file.write(data)
        made(disk, [base, b"".join(data for _, data in writes)])


def size_of(pieces: Sequence[bytes]) -> int:
    return sum(map(len, pieces))


def test_a_layer_with_new_times_costs_its_headers() -> None:
    files = some_files(60)
    pieces = made(bundle_of(files, 7), [bundle_of(files)])
    assert size_of(pieces) < 60 * 600 + 11_000


def test_moved_files_are_found() -> None:
    files = some_files(60)
    turned = dict(reversed(files.items()))
    assert size_of(made(bundle_of(turned), [bundle_of(files)])) < 60 * 600 + 11_000


def test_a_disk_is_found_in_a_layer_and_a_layer_in_a_disk() -> None:
    files = some_files(60)
    padded = [data + bytes(-len(data) % BLOCK) for data in files.values()]
    disk = bytes(3 * BLOCK) + b"".join(padded[20:] + padded[:20])
    assert size_of(made(disk, [bundle_of(files)])) < 60 * 25
    assert size_of(made(bundle_of(files), [disk])) < 60 * 600 + 11_000


def test_equal_content_is_one_copy() -> None:
    data = random.Random(3).randbytes(1 << 20)
    assert size_of(made(data, [data])) < 10
    assert size_of(made(data + b"tail", [b"x" * BLOCK + data])) < 20


def test_zeros_and_holes_cost_nothing() -> None:
    assert size_of(made(bytes(5 << 20), [])) < 10
    with tempfile.TemporaryFile() as file:
        file.truncate(1 << 40)
        assert len(list(segments(file.fileno()))) == 1


def test_many_small_files_fit_the_index() -> None:
    files = {str(n): str(n).encode() * 40 for n in range(5000)}
    assert size_of(made(bundle_of(files, 1), [bundle_of(files)])) < 5000 * 550 + 12_000


RECIPES = {
    "an unknown operation": b"\x05",
    "nothing": b"",
    "no end": b"\x01\x0a",
    "a number without its end": b"\x01\x8a",
    "an endless number": b"\x01" + b"\xff" * 40,
    "something behind the end": b"\x01\x0a\x00\x00",
    "an empty zero": b"\x01\x00\x01\x0a\x00",
    "an empty literal": b"\x02\x00\x01\x0a\x00",
    "an empty copy": b"\x03\x00\x00\x01\x0a\x00",
    "too little": b"\x01\x09\x00",
    "too much zero": b"\x01\x0b\x00",
    "too much literal": b"\x02\x0bhello world\x00",
    "too little literal": b"\x02\x0ahello\x00",
    "zeros without end": b"\x01" + ops.number(1 << 62) + b"\x00",
    "a copy behind its base": b"\x03\x02\x0a\x00",
    "a copy far behind": b"\x03" + ops.number(1 << 62) + b"\x0a\x00",
    "a copy before its base": b"\x03\x01\x0a\x00",
    "a base that is not there": b"\x04\x01\x00\x0a\x00",
    "a base far away": b"\x04" + ops.number(1 << 62) + b"\x00\x0a\x00",
}


@pytest.mark.parametrize("name", RECIPES)
def test_refused(name: str) -> None:
    with opened([b"0123456789"]) as bases, pytest.raises(ops.RecipeError):
        applied([RECIPES[name]], bases, 10)


@files_on_disk
@given(st.binary(max_size=40))
def test_noise_is_refused_or_whole(data: bytes) -> None:
    with opened([b"0123456789"]) as bases:
        try:
            content = applied([data], bases, 10)
        except ops.RecipeError:
            return
    assert len(content) == 10


@files_on_disk
@given(contents.filter(bool), contents, st.data())
def test_a_truncated_recipe_is_refused(target: bytes, base: bytes, data: st.DataObject) -> None:
    recipe_bytes = b"".join(made(target, [base], drop=True))
    cut = data.draw(st.integers(0, len(recipe_bytes) - 1))
    with pytest.raises(ops.RecipeError):
        applied([recipe_bytes[:cut]], [], len(target))
