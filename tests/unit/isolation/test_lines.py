"""What was seen, in words: each line has a meaning, and the words follow from what was seen."""

from dataclasses import replace
from pathlib import Path

import pytest

from portkit.isolation import MEANINGS, Isolation, lines
from portkit.isolation.answer import read
from portkit.isolation.lines import outer
from portkit.isolation.seen import KILLED, UNTRIED

FOLDER = Path(__file__).parents[3] / "fixtures/isolation"
CONTAINER = read((FOLDER / "container.json").read_text())
VM = read((FOLDER / "vm.json").read_text())


def test_each_line_has_a_meaning_and_nothing_is_said_of_what_was_not_seen() -> None:
    for seen in (CONTAINER, VM):
        assert list(lines(Isolation(seen, own_kernel=True))) == list(MEANINGS)
    assert lines(Isolation(reason="the engine is dead")) == {}


def test_a_container_and_a_vm() -> None:
    one = lines(Isolation(CONTAINER, own_kernel=False, shared=("time", "user")))
    assert one["kernel"].endswith(", the host's")
    assert one["shares"] == "time, user"
    assert one["processes"] == "1: portkit-isolati"
    assert one["user"] == "0, 0 outside"
    assert one["capabilities"] == "14 of 14"
    assert one["seccomp"] == "a filter"
    assert one["writable"].startswith("0 of ")
    assert one["calls absent"] == "1: clone3"
    assert "mount" in one["calls refused"]
    two = lines(Isolation(VM, own_kernel=True))
    assert two["kernel"].endswith(", its own")
    assert two["shares"] == "nothing: another kernel"
    assert two["MAC"] == "unconfined"
    assert two["user"] == "0, in its own kernel"


def test_rights_that_amount_to_the_kernel_are_named() -> None:
    status = {**CONTAINER.status, "CapEff": f"{1 << 21 | 1 << 12 | 1:x}", "CapBnd": "1ffffffffff"}
    told = lines(Isolation(replace(CONTAINER, status=status)))
    assert told["capabilities"] == "3 of 41: SYS_ADMIN, NET_ADMIN"
    assert lines(Isolation(replace(CONTAINER, status={})))["capabilities"] == "?"


def test_calls_are_told_by_their_errors() -> None:
    tried = {"a": 1, "b": 13, "c": 22, "d": 38, "e": 0, "f": KILLED, "g": UNTRIED}
    told = lines(Isolation(replace(CONTAINER, syscalls=tried)))
    assert told["calls let in"] == "2: c, e"
    assert told["calls refused"] == "3: a, b, f"
    assert told["calls absent"] == "1: d"


@pytest.mark.parametrize(
    ("uid", "uid_map", "outside"),
    [
        ("0", "         0          0 4294967295", "0"),
        ("0", "0 100000 65536", "100000"),
        ("5", "0 1000 1\n1 100000 65536", "100004"),
        ("70000", "0 100000 65536", "unknown"),
        ("0", "", "unknown"),
        ("x", "0 0 1", "unknown"),
        ("0", "0 -1 1", "unknown"),
    ],
)
def test_the_user_outside(uid: str, uid_map: str, outside: str) -> None:
    assert outer(uid, uid_map) == outside


def test_what_is_in_proc() -> None:
    whole = replace(CONTAINER.processes, names=("systemd", "sshd"), count=60, kernel_threads=40)
    told = lines(Isolation(replace(CONTAINER, processes=whole)))
    assert told["processes"] == "60, 40 of them threads of the kernel: systemd, sshd"


def test_a_memory_limit_is_in_mebibytes() -> None:
    limits = replace(CONTAINER.limits, memory=str(128 << 20))
    assert lines(Isolation(replace(CONTAINER, limits=limits)))["memory limit"] == "128 MiB"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max", "none"),
        (None, "none"),
        ("max 100000", "none"),
        ("-1", "none"),
        ("", ""),
        ("50000 100000", "50000 100000"),
        ("9223372036854771712", "none"),
    ],
)
def test_limits(text: str | None, told: str) -> None:
    limits = replace(CONTAINER.limits, cpu=text)
    assert lines(Isolation(replace(CONTAINER, limits=limits)))["CPU limit"] == told
