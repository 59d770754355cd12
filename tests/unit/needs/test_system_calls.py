"""Which calls a program has that may be refused: by its names, and by its code."""

from pathlib import Path

import pytest

from portkit.compat import calls as table
from portkit.model import Called
from portkit.needs import read
from portkit.needs.call_numbers import CALLED, NUMBERS
from portkit.needs.system_calls import SMALL_CODE_BYTES, SMALL_STATIC_BYTES, made_on_arm64
from tests.elves import LOADER, elf, glibc, layer
from tests.factories import IMAGE, spec

GO = b"\xff Go buildinf:"
KEYCTL = bytes.fromhex("b8fa000000 31ff 0f05 c3")
MSEAL = bytes.fromhex("b8ce010000 31db e800000000 c3")  # as Go hands it to Syscall6


def called(folder: Path, program: bytes, path: str = "/bin/app") -> tuple[Called, ...]:
    tar = layer(folder / "layer", {**glibc("GLIBC_2.34"), path: program})
    (found,) = read([tar], IMAGE, [spec(argv=(path,), cwd="/")])
    return found.calls


@pytest.mark.parametrize(
    ("program", "names"),
    [
        (elf(interpreter=LOADER, needed=("libc.so.6",), names=("unshare",)), ["unshare"]),
        (elf(interpreter=LOADER, needed=("libc.so.6",), names=("umount",)), []),
        (elf(code=KEYCTL), ["keyctl"]),
        (elf(code=b"\x90" * 9), []),
        (elf(code=MSEAL), []),
        (elf(code=MSEAL + GO), ["mseal"]),
    ],
)
def test_calls(tmp_path: Path, program: bytes, names: list[str]) -> None:
    assert [each.name for each in called(tmp_path, program)] == names


def test_a_small_program_makes_what_it_has(tmp_path: Path) -> None:
    assert called(tmp_path, elf(code=KEYCTL)) == (Called("keyctl", "/bin/app", sure=True),)
    large = elf(code=KEYCTL + bytes(SMALL_STATIC_BYTES))
    assert called(tmp_path, large) == (Called("keyctl", "/bin/app"),)


def test_a_number_for_a_function_counts_in_small_programs(tmp_path: Path) -> None:
    call = bytes.fromhex("bf43010000 e800000000 c3")  # 323
    size = bytes.fromhex("bf10010000 e800000000 c3")  # 272
    known = {"interpreter": LOADER, "needed": ("libc.so.6",), "names": ("syscall",)}
    assert [each.name for each in called(tmp_path, elf(code=call, **known))] == ["userfaultfd"]
    assert called(tmp_path, elf(code=call + bytes(SMALL_CODE_BYTES), **known)) == ()
    assert called(tmp_path, elf(code=size, **known)) == (), "unshare, or the size of something"


def test_shells_have_calls_for_commands_that_nobody_runs(tmp_path: Path) -> None:
    for name in ("busybox", "sh", "bash", "systemd"):
        assert called(tmp_path, elf(code=KEYCTL), f"/bin/{name}") == ()


def test_code_for_arm64() -> None:
    svc, other = bytes.fromhex("010000d4"), bytes.fromhex("1f2003d5")
    number = (0x52800008 | 282 << 5).to_bytes(4, "little")  # mov w8, #282
    assert made_on_arm64(other + number + other + svc, 282, imports_syscall=False)
    assert not made_on_arm64(other + number + other + svc, 283, imports_syscall=False)
    assert not made_on_arm64(number + other * 9 + svc, 282, imports_syscall=False), "far away"
    first = (0x52800000 | 282 << 5).to_bytes(4, "little")  # mov w0, #282
    call = bytes.fromhex("10000094")  # bl
    assert made_on_arm64(first + call, 282, imports_syscall=True)
    assert not made_on_arm64(first + call, 282, imports_syscall=False)


def test_each_call_of_the_table_has_its_numbers() -> None:
    assert set(table.TABLE) <= CALLED
    for numbers in NUMBERS.values():
        assert set(numbers) == CALLED
        assert len(set(numbers.values())) == len(numbers)
