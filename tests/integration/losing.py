"""portkit, with an accident at the end of a VM's live migration: MODE and portkit's own words.

killed: it is killed when libvirt has moved the VM, before it runs on the target.
answer: the target's last answer is lost, as by a link that is cut right then.
"""

import os
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import Any

from portkit_cli.main import main

from portkit.engines.libvirt_live import LibvirtLive

# Of a call of libvirt's: its length with this, program, version, procedure, type (0: a call, 1: its
# answer), serial, status (virnetprotocol.x).
_HEADER = struct.Struct(">IIIIIII")
# The calls of a migration with typed parameters (remote_protocol.x). A target has two of them:
# prepare and finish.
_MIGRATES = range(295, 312)


def _exactly(one: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = one.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


class Losing:
    """A socket that leads to libvirt's, and is closed instead of the second such answer."""

    def __init__(self, real: str) -> None:
        self.path = real + ".losing"
        self._real, self._calls = real, list[int]()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            mine, _ = self._server.accept()
            its = socket.socket(socket.AF_UNIX)
            its.connect(self._real)
            for pair in ((mine, its), (its, mine)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while True:
                head = _exactly(source, _HEADER.size)
                size, _, _, procedure, kind, _, _ = _HEADER.unpack(head)
                rest = _exactly(source, size - _HEADER.size)
                if procedure in _MIGRATES and kind == 1:
                    self._calls.append(procedure)
                    if len(self._calls) == 2:
                        print(f"lost the answer of {procedure}", file=sys.stderr, flush=True)
                        return
                target.sendall(head + rest)
        except (EOFError, OSError):
            return
        finally:
            for each in (source, target):
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue


def lose_answer() -> None:
    """From now on the target's last answer does not come."""
    opened, made = LibvirtLive.__init__, dict[str, Losing]()

    def begin(self: LibvirtLive, uri: str, host: str) -> None:
        real = uri.partition("?socket=")[2]
        if host == TARGET:
            losing = made.get(real) or made.setdefault(real, Losing(real))
            uri = uri.replace(real, losing.path)
        opened(self, uri, host)

    patched: Any = LibvirtLive
    patched.__init__ = begin


TARGET = "lab:epsilon"

if __name__ == "__main__":
    mode = sys.argv.pop(1)
    sys.argv[0] = str(Path(sys.executable).with_name("portkit"))
    if mode == "killed":
        engine: Any = LibvirtLive
        engine.begin = lambda *_: os._exit(9)
    else:
        lose_answer()
    main()
