"""What becomes of a signal that a process of this host is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

from portkit.remote.channel import Channel
from portkit.wire.json_types import JsonObject

_SURE = (9, 19)  # SIGKILL and SIGSTOP


def ignored(args: JsonObject, channel: Channel) -> JsonObject:
    """Of each process, whether the kernel drops a signal: pid_namespaces(7), the first process of a
    namespace gets only what it has a use for. False for one that is gone, and where it is not sure.

    args: processes (pid and signal, a number). Nothing is sent.
    """
    found = []
    for each in args["processes"]:
        pid = int(each["pid"])
        found.append(drops(_read(pid, "status"), _read(pid, "wchan"), int(each["signal"])))
    return {"ignored": found}


def drops(status: str, waits_in: str, number: int) -> bool:
    """By what /proc has of a process. proc(5): NSpid, its numbers from the outermost namespace to
    its own; SigCgt and SigBlk, a bit for each signal that it catches or blocks. waits_in: the
    kernel's function in which it sleeps.

    A blocked signal is kept until the process takes it, as systemd does. While docker-init takes
    one, by sigtimedwait(2), Linux shows it as not blocked (6.1).
    """
    rows: Dict[str, str] = {}
    for line in status.splitlines():
        name, _, text = line.partition(":")
        rows[name] = text
    numbers = rows.get("NSpid", "").split()
    masks = [rows[name].strip() for name in ("SigCgt", "SigBlk") if name in rows]
    if number in _SURE or len(masks) < 2 or len(numbers) < 2 or numbers[-1] != "1":
        return False
    if waits_in in ("", "0") or "sigtimedwait" in waits_in:
        return False
    return not any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def _read(pid: int, name: str) -> str:
    try:
        return Path("/proc/%d/%s" % (pid, name)).read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
