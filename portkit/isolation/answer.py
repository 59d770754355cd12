"""What the probe printed, found in an App's log and read. Pure: the log is input, not fact."""

from __future__ import annotations

import re
from dataclasses import asdict

from portkit.errors import BootError
from portkit.isolation.seen import Seen
from portkit.wire import strict_json

MARK = "portkit-isolation/1"  # src/probe.h
_ANSWER = re.compile(rf"{re.escape(MARK)} (\{{[^\r\n]*\}})\r?\n")
_BYTES = 24 << 10  # probe.c's own limit of a line
_VALUES = 1000  # it has some 150
_ENTRIES = 64  # of one list or object; the most that it has are 24
_TEXT = 512  # characters; the longest are the limit of what it reads from a file
_NAME = re.compile(r"[\x20-\x7e]*")


def find(log: str) -> Seen | None:
    """The newest whole answer in the end of a log; None where there is none yet.

    BootError where there are answers and none of them is one that the probe gives: it is not the
    probe that speaks there, or its words were mangled.
    """
    complaint = ""
    for found in reversed(_ANSWER.findall(log)):
        try:
            return read(found)
        except ValueError as error:
            complaint = str(error)
    if complaint:
        raise BootError(
            "the isolation probe's response is malformed",
            details=complaint,
            resolution="Run `portkit logs` to see who writes there, and try again.",
        )
    return None


def read(text: str) -> Seen:
    """One answer. ValueError, which does not quote it, for what the probe does not print."""
    from pydantic import TypeAdapter, ValidationError  # slow to import

    data = text.encode("utf-8", "surrogatepass")
    if len(data) > _BYTES:
        raise ValueError(f"it has more than {_BYTES} bytes")
    strict_json.loads(data, most=_VALUES)
    try:
        seen = TypeAdapter(Seen).validate_json(data, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"][:4])
        raise ValueError(f"{place}: {first['msg']}"[:500]) from None
    _check(asdict(seen))
    return seen


def _check(value: object) -> None:
    if isinstance(value, str):
        if len(value) > _TEXT or not _NAME.fullmatch(value.replace("\n", " ")):
            raise ValueError(
                "a text is too long, or contains characters that the probe does not print"
            )
    elif isinstance(value, int):
        if not -3 <= value < 1 << 63:
            raise ValueError("a number is out of range")
    elif isinstance(value, dict):
        _check_each([*value, *value.values()], 2 * _ENTRIES)
    elif isinstance(value, list | tuple):
        _check_each(value, _ENTRIES)


def _check_each(values: list[object] | tuple[object, ...], most: int) -> None:
    if len(values) > most:
        raise ValueError(f"a list has more than {most} entries")
    for each in values:
        _check(each)
