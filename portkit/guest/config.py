"""The guest's configuration: what src/config.c reads. Pure.

"PORTKIT1", length and CRC-32 (zlib) of the body as little-endian 32-bit words, then records of a
tag (one byte), a length (32 bits) and that many bytes; zeros up to a multiple of 512. A record S
begins a service among several.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from portkit.errors import AppError
from portkit.guest import several
from portkit.health import runs_check
from portkit.model import (
    CAPABILITIES,
    AppSpec,
    Condition,
    Content,
    Dependency,
    Healthcheck,
    RunSpec,
)
from portkit.model.health import CHECK_INTERVAL_S, CHECK_RETRIES, CHECK_TIMEOUT_S
from portkit.model.run import SHARED

MAGIC = b"PORTKIT1"
LIMIT = 16 << 20  # bytes of the body; src/config.c has the same
_CONTENT_KINDS = ("file", "folder", "link")
Record = tuple[bytes, bytes]  # a tag and its data
_RLIMITS = {  # asm-generic/resource.h
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}
_NUMBER = re.compile(r"[0-9]{1,2}", re.ASCII)
_REAL_TIME = re.compile(r"RT(MIN|MAX)((?:(?<=MIN)\+|(?<=MAX)-)[0-9]{1,2})?", re.ASCII)
_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_MAX_ID = (1 << 31) - 1
_ACCOUNT_LIMIT = 400  # src/app.c keeps 511 bytes
_UNLIMITED = (1 << 64) - 1
# What becomes PID 1 of the guest itself; src/config.c has the same.
_INIT_SYSTEMS = {
    "/sbin/init",
    "/usr/sbin/init",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
}


def encode_config(spec: RunSpec) -> bytes:
    """The bytes of the configuration of one service, which has the whole VM.

    AppError when the configuration is too big or names a limit or signal that Linux does not have.
    """
    (numbered,) = AppSpec(spec.app, (spec,), spec, spec.machine).volume_numbers()
    return _encoded([*_records(spec, numbered), *_additions(spec)])


def encode_app(app: AppSpec) -> bytes:
    """The bytes of the configuration of an App.

    AppError as for `encode_config`.
    """
    if not app.layered:
        return encode_config(app.services[0])
    order = {service.service: number for number, service in enumerate(app.services)}
    records: list[Record] = []
    rows = zip(
        app.services,
        several.places(app),
        app.volume_numbers(),
        app.content_numbers(),
        strict=True,
    )
    for service, place, numbered, contents in rows:
        _check_lengths(service)
        records.append((b"S", _text(service.service, "the name of a service")))
        # As in the engine, who is in the network of another one has its name and its names.
        whose = (
            app.named(service.network_mode.removeprefix(SHARED))
            if (service.shares_network)
            else service
        )
        records += _records(replace(service, hostname=whose.hostname), numbered)
        records += _additions(service)
        records.append((b"R", ":".join(map(str, service.layers)).encode()))
        records.append((b"I", _packed("<II", place.mode, place.number)))
        records.append((b"O", _text(several.hosts(app, whose), "a name of a host")))
        records += [(b"D", _need(need, order)) for need in service.depends_on]
        records.append((b"C", _cgroup(service)))
        for content, number in zip(service.contents, contents, strict=True):
            records += _content(content, number)
    return _encoded(records)


def _encoded(records: Sequence[Record]) -> bytes:
    body = b"".join(tag + struct.pack("<I", len(data)) + data for tag, data in records)
    if len(body) > LIMIT:
        raise AppError(
            "the App's environment, command and files are too large for a disk's configuration",
            details=f"{len(body)} bytes, at most {LIMIT}",
            resolution="Put large values into files of the image.",
        )
    whole = MAGIC + struct.pack("<II", len(body), zlib.crc32(body)) + body
    return whole + bytes(-len(whole) % 512)


def _records(spec: RunSpec, numbered: Sequence[int | None]) -> list[Record]:
    """What every service has. numbered: of each mount the number of its disk."""
    records = [(b"A", _text(word, "the command")) for word in spec.argv]
    records += [(b"E", _variable(key, value)) for key, value in spec.env]
    records += [(b"G", _account(group)) for group in spec.group_add]
    records += [(b"W", _text(spec.cwd, "the working folder")), (b"U", _account(spec.user))]
    records += [(b"H", _text(spec.hostname, "the hostname")), (b"N", _numbers(spec))]
    records += [(b"L", _limit(spec, name)) for name in sorted(spec.ulimits)]
    records += [(b"V", row) for row in _mounts(spec, numbered)]
    return records


def _additions(spec: RunSpec) -> list[Record]:
    """What few services ask for."""
    records: list[Record] = []
    if spec.init:
        records.append((b"P", b""))
    if spec.shm_bytes:
        records.append((b"M", _packed("<Q", spec.shm_bytes)))
    if spec.oom_score_adj:
        records.append((b"J", _packed("<i", spec.oom_score_adj)))
    if resolver := several.resolver(spec):
        records.append((b"X", _text(resolver, "a name server")))
    if spec.no_new_privileges:
        records.append((b"Q", b""))
    for key, value in spec.sysctls.items():
        records.append((b"Y", _text(f"{key}={value}", "a sysctl")))
    return [*records, *_healthcheck(spec.healthcheck)]


def _check_lengths(service: RunSpec) -> None:
    """src/init.h has room for so many of each."""
    for what, rows, most in (
        ("arguments", service.argv, 4095),
        ("variables", service.env, 4095),
        ("groups", service.group_add, 63),
        ("mounts", service.mounts, 256),
        ("files beside its image", service.contents, 256),
        ("sysctls", service.sysctls, 63),
        ("services that it depends on", service.depends_on, 64),
    ):
        if len(rows) > most:
            raise _odd(f"{service.service} has {len(rows)} {what}", f"of which a VM takes {most}")


def _need(need: Dependency, order: Mapping[str, int]) -> bytes:
    condition = tuple(Condition).index(need.condition)
    return _packed("<III", order[need.service], condition, need.required)


def _healthcheck(check: Healthcheck | None) -> list[Record]:
    """The words of the command, and interval, timeout and start period in ms, and retries."""
    if check is None or not runs_check(check):
        return []
    argv = check.test[1:]
    if check.test[0] == "CMD-SHELL":
        argv = ("/bin/sh", "-c", *argv)
    times = (
        check.interval_s or CHECK_INTERVAL_S,
        check.timeout_s or CHECK_TIMEOUT_S,
        check.start_period_s or 0.0,
    )
    numbers = _packed("<IIII", *map(_milliseconds, times), check.retries or CHECK_RETRIES)
    return [*((b"K", _text(word, "the healthcheck")) for word in argv), (b"T", numbers)]


def _content(content: Content, number: int) -> list[Record]:
    """F: number, flags (1 read only), target. Then f for each file: kind (0 file, 1 folder, 2
    link), uid, gid, mode, time, length of its path, path, data."""
    target = _text(content.target, "the place of a file")
    rows = [(b"F", _packed("<II", number, content.read_only) + target)]
    for each in content.files:
        kind = _CONTENT_KINDS.index(each.kind)
        path = os.fsencode(each.path)
        numbers = (kind, each.uid, each.gid, each.mode, max(each.mtime_s, 0), len(path))
        rows.append((b"f", _packed("<IIIIQI", *numbers) + path + each.data))
    return rows


def _cgroup(spec: RunSpec) -> bytes:
    """Memory in bytes, processor time in each 100 ms in microseconds, processes; 0: no limit."""
    quota = round((spec.cpus or 0.0) * 100_000)
    return _packed("<QQI", spec.mem_limit_bytes or 0, quota, max(spec.pids_limit or 0, 0))


def _text(text: str, what: str) -> bytes:
    """UTF-8 without NUL, as it reaches execve; AppError without the text: it may be a password."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise _odd(what, "is not UTF-8") from None
    if b"\0" in data:
        raise _odd(what, "holds a NUL byte")
    return data


def _variable(key: str, value: str) -> bytes:
    return _text(f"{key}={value}", f"the variable {key[:80]!a}")


def _account(text: str) -> bytes:
    """user[:group], each a name or a number. Docker takes numbers up to 2^31 - 1."""
    if len(text) > _ACCOUNT_LIMIT:
        raise _odd("a user or group", f"has {len(text)} characters, at most {_ACCOUNT_LIMIT}")
    for part in text.split(":"):
        if _DIGITS.fullmatch(part) and int(part) > _MAX_ID:
            raise _odd(f"the user or group {part[:20]}", f"is above {_MAX_ID}")
    return _text(text, "a user or group")


def _packed(layout: str, *numbers: int) -> bytes:
    try:
        return struct.pack(layout, *numbers)
    except struct.error:
        raise _odd("a number of the configuration", "is out of range") from None


def _odd(what: str, why: str) -> AppError:
    return AppError(
        "the App cannot be run from a disk",
        details=f"{what} {why}",
        resolution="Change it in the App or in the image.",
    )


def is_init_system(spec: RunSpec) -> bool:
    """Whether the App brings its own world up, and may reboot it."""
    return spec.argv[0] in _INIT_SYSTEMS


def signal_number(name: str) -> int:
    """The number of SIGTERM, TERM, 15, SIGRTMIN+3 or SIGRTMAX-2, as Linux counts; AppError for
    others."""
    text = name.upper().removeprefix("SIG")
    match = _REAL_TIME.fullmatch(text)
    number = 0
    if match:
        number = {"MIN": 34, "MAX": 64}[match[1]] + int(match[2] or 0)
    elif _NUMBER.fullmatch(text):
        number = int(text)
    elif f"SIG{text}" in signal.Signals.__members__:
        number = signal.Signals[f"SIG{text}"]
    if not 0 < number < 65:
        raise AppError("the stop signal is unknown", details=repr(name[:80]))
    return number


def _numbers(spec: RunSpec) -> bytes:
    kind, _, count = spec.restart.partition(":")
    restart = {"always": 1, "unless-stopped": 1, "on-failure": 2}.get(kind, 0)
    mask = sum(1 << number for number, name in enumerate(CAPABILITIES) if name in spec.capabilities)
    return _packed(
        "<IIIIIIIQ",
        spec.umask,
        signal_number(spec.stop_signal),
        _milliseconds(spec.stop_grace_period_s),
        restart,
        _count(count),
        spec.read_only,
        spec.privileged,
        mask,
    )


def _milliseconds(seconds: float) -> int:
    if not seconds >= 0:  # not a number, too
        raise _odd("the stop_grace_period", "is negative")
    return int(min(seconds * 1000, 0xFFFFFFFF))


def _count(text: str) -> int:
    """How often a failed App is started again; 0 is without end, and so is what 32 bits lack."""
    if text and not _DIGITS.fullmatch(text):
        raise _odd("the restart policy", "has no number after its colon")
    return min(int(text[:12] or 0), 0xFFFFFFFF)


def _limit(spec: RunSpec, name: str) -> bytes:
    if name not in _RLIMITS:
        raise AppError("a limit is unknown", details=name[:80], resolution="See getrlimit(2).")
    limit = spec.ulimits[name]
    pair = [_UNLIMITED if value < 0 else value for value in (limit.soft, limit.hard)]
    return _packed("<IQQ", _RLIMITS[name], *pair)


def _mounts(spec: RunSpec, numbered: Sequence[int | None]) -> list[bytes]:
    rows = []
    # Parents first: a volume below another one is mounted into it.
    pairs = zip(spec.mounts, numbered, strict=True)
    for mount, number in sorted(pairs, key=lambda row: row[0].target.count("/")):
        flags = int(mount.read_only)
        if mount.tmpfs_mode is not None:
            flags |= 2 | mount.tmpfs_mode << 16
        head = _packed("<iIQ", -1 if number is None else number, flags, mount.tmpfs_bytes or 0)
        rows.append(head + _text(mount.target, "a mount's place"))
    return rows
