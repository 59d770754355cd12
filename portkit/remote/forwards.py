"""Ports of an App that has moved away, forwarded to where it is now, until somebody ends that.

ROOT/forwards/pk-ID.json    the process that forwards for a Move, and its rows

The process outlives the connection, and ends with the host: it is started by nothing. It has no
rights but those of nobody once it has its ports.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import List, Optional

from portkit.remote import leases
from portkit.remote.channel import Channel
from portkit.wire import processes, strict_json
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

_ENDING_S = 10.0
_REACH_S = 10.0
# Text and not a function: a fork beside the thread of `serve` would be unsafe, and there is no file
# here that another Python could run. Rows: address, port, the target's address, the target's port.
_PROGRAM = r"""
import asyncio, json, os, socket, sys

async def pump(reader, writer):
    try:
        while True:
            data = await reader.read(65536)
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()

def serving(address, port):
    async def serve(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(address, port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        for each in (writer, far_writer):
            each.close()
    return serve

def listening(address, port):
    if address:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family, backlog=128)
    if socket.has_dualstack_ipv6():
        where = ("::", port)
        return socket.create_server(where, family=socket.AF_INET6, backlog=128, dualstack_ipv6=True)
    return socket.create_server(("0.0.0.0", port), backlog=128)

async def main(rows):
    opened = []
    for row in rows:
        try:
            opened.append((listening(row[0], row[1]), row))
        except OSError as error:
            print("port %d: %s" % (row[1], error.strerror), flush=True)
            return 1
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    print("ready", flush=True)
    # Whoever started it has written down which process this is, or has died before.
    if sys.stdin.readline() != "go\n":
        return 1
    for server, row in opened:
        await asyncio.start_server(serving(row[2], row[3]), sock=server)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    await asyncio.Event().wait()

sys.exit(asyncio.run(main(json.loads(sys.argv[1]))))
"""


def begin(args: JsonObject, channel: Channel) -> JsonObject:
    """Forward TCP ports for a Move, in place of what was forwarded for it before.

    args: id, app, rows (of address, "" is every one; port; address and port of the target).
    HostError when the target cannot be reached from here, ConflictError when a port is taken.
    """
    identity, rows = args["id"], [_row(each) for each in args["rows"]]
    path = _path(identity)
    with leases.locked():
        _end(path)
        for row in rows:
            _reach(str(row[2]), int(str(row[3])))
        child = _started(rows)
        told = {
            "id": identity,
            "app": str(args["app"])[:63],
            "pid": child.pid,
            "start": processes.started(child.pid),
            "rows": rows,
        }
        fresh = path.parent / (".%s" % secrets.token_hex(8))
        fresh.write_text(json.dumps(told))
        fresh.replace(path)
        assert child.stdin is not None
        with child.stdin:
            child.stdin.write(b"go\n")
    return {}


def end(args: JsonObject, channel: Channel) -> JsonObject:
    """End what is forwarded for a Move; fine when nothing is. Answers whether something was."""
    with leases.locked():
        return {"removed": _end(_path(args["id"]))}


def listing(args: JsonObject, channel: Channel) -> JsonObject:
    """Every Move for which ports were forwarded here, and whether they still are: a host that was
    restarted forwards nothing."""
    found = [_read(path) for path in sorted((leases.ROOT / "forwards").glob("pk-*.json"))]
    return {
        "forwards": [
            {
                "id": row["id"],
                "app": row["app"],
                "live": _lives(row),
                "ports": [
                    {"port": port, "to": "%s:%d" % (target, number)}
                    for _, port, target, number in row["rows"]
                ],
            }
            for row in found
            if row is not None
        ]
    }


def _row(row: List[object]) -> List[object]:
    address, port, target, target_port = row
    return [str(address), int(str(port)), str(target), int(str(target_port))]


def _path(identity: object) -> Path:
    name = leases.path_of(identity).name
    folder = leases.ROOT / "forwards"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / name


def _reach(address: str, port: int) -> None:
    import socket

    try:
        socket.create_connection((address, port), _REACH_S).close()
    except OSError as error:
        raise RemoteError(
            "HostError",
            "the source cannot reach the App on the target",
            "%s, port %d: %s" % (address, port, error),
            "Check what is between the two hosts, such as a firewall.",
        ) from error


def _started(rows: List[List[object]]) -> "subprocess.Popen[bytes]":
    """The process that will forward, once it has its ports; it waits to be told so, and ends when
    its standard input does."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-c", _PROGRAM, json.dumps(rows)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    assert child.stdout is not None
    with child.stdout:
        said = child.stdout.readline(1000).decode("utf-8", "replace").strip()
    if said != "ready":
        child.kill()
        child.wait()
        raise RemoteError(
            "ConflictError",
            "a port of the App could not be forwarded at its source",
            said or "its process ended",
            "Check what listens there: ss -ltnp.",
        )
    return child


def _read(path: Path) -> Optional[JsonObject]:
    try:
        row = strict_json.loads(path.read_bytes())
        named = isinstance(row, dict) and path.name == "%s.json" % row["id"]
        if not named or not isinstance(row["pid"], int) or row["pid"] <= 1:
            raise ValueError("it is not a file of portkit's")
        return {
            "id": row["id"],
            "app": str(row["app"]),
            "pid": row["pid"],
            "start": row["start"],
            "rows": [_row(each) for each in row["rows"]],
        }
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise RemoteError(
            "HostError",
            "the host's record of forwarded ports cannot be read",
            "%s: %s" % (path, type(error).__name__),
            "Check what is in that file, and end the process that it names.",
        ) from error


def _lives(row: JsonObject) -> bool:
    started = processes.started(row["pid"])
    return started is not None and started == row["start"]


def _end(path: Path) -> bool:
    row = _read(path)
    if row is None:
        return False
    number, deadline = signal.SIGTERM, time.monotonic() + _ENDING_S
    while _lives(row):
        os.kill(row["pid"], number)
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        time.sleep(0.05)
    path.unlink()
    return True
