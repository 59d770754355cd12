"""What the isolation probe prints is read; what anybody else prints there is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit.errors import BootError
from portkit.isolation import answer
from portkit.isolation.seen import HostKernel, compared
from portkit.move.isolate import listened

# Of Docker 26.1.5 on Debian 13, a container with the engine's defaults.
CONTAINER = json.loads(
    (Path(__file__).parents[3] / "fixtures/isolation/container.json").read_text()
)


def line(row: object = CONTAINER) -> str:
    return f"{answer.MARK} {json.dumps(row)}\n"


def test_the_newest_whole_answer_is_taken() -> None:
    newer = {**CONTAINER, "release": "newer"}
    broken = line().replace('"uid_map"', "[  3.1] random: crng init done")
    log = "\n".join(("booting", line(), broken, line(newer).replace("\n", "\r\n"), line()[:500]))
    found = answer.find(log)
    assert found is not None
    assert (found.release, found.syscalls["clone3"]) == ("newer", 38)


def test_nothing_yet() -> None:
    assert answer.find("") is None
    assert answer.find(line([CONTAINER])) is None, "no object"
    assert answer.find(line()[:-1]) is None, "it is not known whether that is all of it"
    assert answer.find("hello\n" + line().removeprefix(answer.MARK)) is None


HOSTILE: dict[str, Callable[[dict[str, Any]], object]] = {
    "a field is missing": lambda row: {k: v for k, v in row.items() if k != "syscalls"},
    "escape codes": lambda row: {**row, "release": "\x1b[2J6.1"},
    "another alphabet": lambda row: {**row, "mac": "\u202eunconfined"},
    "half a character": lambda row: {**row, "mac": "\ud800"},
    "a long text": lambda row: {**row, "boot_id": "x" * 513},
    "a long name": lambda row: {**row, "status": {"y" * 513: "0"}},
    "a number as text": lambda row: {**row, "syscalls": {"mount": "1"}},
    "a truth value": lambda row: {**row, "syscalls": {"mount": True}},
    "a fraction": lambda row: {**row, "syscalls": {"mount": 1.5}},
    "a huge number": lambda row: {**row, "writes": {"/proc/x": 1 << 64}},
    "a negative number": lambda row: {**row, "writes": {"/proc/x": -4}},
    "many names": lambda row: {**row, "devices": {"count": 1, "names": ["x"] * 65}},
    "many calls": lambda row: {**row, "syscalls": {str(n): 1 for n in range(65)}},
    "very many values": lambda row: {**row, "more": [0] * 2000},
    "deep": lambda row: {**row, "more": json.loads("[" * 200 + "]" * 200)},
    "nothing": lambda row: {},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_answers_are_refused(what: str) -> None:
    with pytest.raises(BootError, match="malformed") as caught:
        answer.find(line(HOSTILE[what](CONTAINER)))
    assert "\x1b" not in str(caught.value)


def test_a_key_twice_and_too_many_bytes_are_refused() -> None:
    twice = line().replace('{"release"', '{"release": "a", "release"')
    for text in (twice, f"{answer.MARK} {{{' ' * (24 << 10)}}}\n"):
        with pytest.raises(BootError):
            answer.find(text)


def test_cut_anywhere_it_is_refused_or_not_there_yet() -> None:
    whole = line()
    for end in range(len(answer.MARK) + 2, len(whole) - 1, 37):
        with pytest.raises(ValueError):
            answer.read(whole[len(answer.MARK) + 1 : end])


def test_only_of_one_kernel_are_namespaces_compared() -> None:
    seen = answer.read(json.dumps(CONTAINER))
    same = compared(seen, HostKernel("x", CONTAINER["boot_id"], CONTAINER["namespaces"]))
    assert (same.own_kernel, "pid" in same.shared) == (False, True)
    other = compared(seen, HostKernel("x", "another", CONTAINER["namespaces"]))
    assert (other.own_kernel, other.shared) == (True, ())
    unseen = answer.read(json.dumps({**CONTAINER, "boot_id": None}))
    assert compared(unseen, HostKernel("x", "another", {})).own_kernel is None


class Runner:
    """A log that grows by one text with each reading; it runs as long as there are more."""

    def __init__(self, *logs: str) -> None:
        self.left = list(logs)

    def logs(self, identity: str, tail: int) -> str:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]

    def life(self, *_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(running=len(self.left) > 1)


def heard(*logs: str) -> Any:
    return listened(Runner(*logs), "pk-1", clock=lambda: 0.0, sleep=lambda _: None)  # type: ignore[arg-type]


def test_it_listens_until_a_line_is_whole() -> None:
    mangled = line({**CONTAINER, "syscalls": 5})
    assert heard("", "booting", mangled, line(), "").release == CONTAINER["release"]
    with pytest.raises(BootError, match="malformed"):
        heard("", mangled, "")
    with pytest.raises(BootError, match="printed nothing"):
        heard("", "no such file or directory")


def test_it_does_not_listen_for_ever() -> None:
    times = iter((0.0, 1.0, 500.0))
    with pytest.raises(BootError, match="printed nothing"):
        listened(
            Runner("", "", "", ""),  # type: ignore[arg-type]
            "pk-1",
            clock=lambda: next(times),
            sleep=lambda _: None,
        )
