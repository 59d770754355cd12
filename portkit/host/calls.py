"""The near end of the remote half: starts it over any pair of pipes and makes its calls."""

from __future__ import annotations

import contextlib
import json
import secrets
import select
import time
import zlib
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

from portkit import errors
from portkit.errors import HostError, PortkitError, TransferError
from portkit.host.limit import Bucket
from portkit.process import Process, wait
from portkit.progress import Observer
from portkit.text import printable
from portkit.wire import frames

# Reads its length, then the loader: a command line short enough for any shell.
BOOT = "import sys,zlib;b=sys.stdin.buffer;exec(zlib.decompress(b.read(int(b.readline()))))"
_BANNER_LIMIT = 64 * 1024
_GREETING_S = 60.0  # a login that asks something waits for ever
_MESSAGE_LIMIT = 2000
_ERROR_LIMIT = 16_000  # characters of each part of an error
_ENDING_S = 120.0
_LOADER = """
import importlib.machinery, json, sys
SOURCES = json.loads(%s)
class Room:
    def find_spec(self, name, path=None, target=None):
        if name in SOURCES:
            package = any(other.startswith(name + ".") for other in SOURCES)
            return importlib.machinery.ModuleSpec(name, self, is_package=package)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        name = module.__spec__.name
        exec(compile(SOURCES[name], "<remote %%s>" %% name, "exec"), module.__dict__)
if sys.version_info < (3, 9):
    sys.exit("portkit: python3 of this host is older than 3.9: " + sys.version)
sys.meta_path.insert(0, Room())
from portkit.remote import serve
sys.exit(serve.main(%r))
"""


def loader(nonce: str) -> bytes:
    """The program that is sent: its length in a line, then deflated Python with every module."""
    sources = {"portkit": ""}
    for package in ("portkit.wire", "portkit.remote"):
        sources[package] = ""
        for file in resources.files(package).iterdir():
            if file.name.endswith(".py") and file.name != "__init__.py":
                name = file.name.removesuffix(".py")
                sources[f"{package}.{name}"] = file.read_text(encoding="utf-8")
    code = zlib.compress((_LOADER % (json.dumps(json.dumps(sources)), nonce)).encode())
    return f"{len(code)}\n".encode() + code


class Remote:
    """Calls to the remote half over a process's pipes. One call at a time.

    encodings: what it can compress with, best first. written, read: bytes through the pipes.
    A call that was broken off (Ctrl-C) leaves the pipes in mid-frame: the next one starts the
    remote half anew, so that cleaning up still works. So does one after the connection broke:
    lost says that it did.

    standing: calls (verb and arguments) that hold for as long as the connection does, such as a
    lock; they are made again on each new one.
    """

    def __init__(
        self, start: Callable[[], Process], observer: Observer, stderr: Callable[[], str]
    ) -> None:
        self._start = start
        self._observer = observer
        self._stderr = stderr
        self.written = 0
        self.read_bytes = 0
        self.lost = False
        self.limit: Bucket | None = None  # of what goes with calls
        self.standing: list[tuple[str, dict[str, Any]]] = []
        self._connect()

    def _connect(self) -> None:
        process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        # Unbuffered: `select` has to see all that has come.
        self._in: Any = getattr(process.stdin, "raw", process.stdin)
        self._out: Any = getattr(process.stdout, "raw", process.stdout)
        self._process = process
        self._busy = False
        self.encodings: tuple[str, ...] = ()
        nonce = secrets.token_hex(16)
        self._greet(nonce)
        offered = self._row(self._frame()[1]).get("encodings")
        offered = offered if isinstance(offered, list) else []
        self.encodings = tuple(e for e in ("zstd", "zlib", "raw") if e in offered)
        if not self.encodings:
            raise TransferError(
                "the remote half offers no encoding",
                details=repr(offered)[:500],
                resolution="Check what python3 is on the host.",
            )
        self.lost = False

    def _greet(self, nonce: str) -> None:
        """Send the program; skip what the host's shell says before it answers."""
        with contextlib.suppress(BrokenPipeError):  # why it ended is still to be read
            self._push(loader(nonce))
        wanted = b"\n" + frames.MAGIC + nonce.encode() + b"\n"
        seen = b""
        deadline = time.monotonic() + _GREETING_S
        while not seen.endswith(wanted):
            left = max(0.0, deadline - time.monotonic())
            if not select.select([self._out], [], [], left)[0]:
                why = f"the remote half did not start within {_GREETING_S:g} s"
                raise self._broken(why, seen[-2000:])
            byte = self._out.read(1)
            if not byte or len(seen) > _BANNER_LIMIT:
                raise self._broken("the remote half did not start", seen[-2000:])
            seen += byte
        self.read_bytes += len(seen)

    def _broken(self, brief: str, said: bytes = b"") -> PortkitError:
        self.lost = True
        wait(self._process, 3.0)  # what it has to say may still be on its way
        details = "\n".join((said.decode("utf-8", "replace"), self._stderr()))
        details = printable(details.strip(), _ERROR_LIMIT)
        if "sudo:" in details:
            return HostError(
                "root is needed on the host and sudo asks for a password",
                details=details,
                resolution="Log in as root, or allow sudo without a password there.",
            )
        if "python3" in details and not self.encodings:
            return HostError(
                "the host has no python3 that is new enough",
                details=details,
                resolution="Install python3 (3.9 or newer) there.",
            )
        return TransferError(
            brief, details=details or "the connection ended", resolution="Try again."
        )

    def _row(self, payload: bytes) -> dict[str, Any]:
        try:
            return frames.parse_json(payload)
        except frames.FrameError as error:
            raise self._broken(f"the remote half is out of protocol: {error}") from error

    def _push(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = self._in.write(view)
            self.written += count
            view = view[count:]

    def _write(self, data: bytes) -> None:
        try:
            self._push(data)
        except BrokenPipeError as error:
            raise self._broken("the connection to the host broke") from error

    def _frame(self) -> tuple[bytes, bytes]:
        try:
            frame = frames.read_frame(self._out)
        except frames.FrameError as error:
            raise self._broken(f"the remote half is out of protocol: {error}") from error
        if frame is None:
            raise self._broken("the connection to the host broke")
        self.read_bytes += 5 + len(frame[1])
        return frame

    def _send_frame(self, kind: bytes, payload: bytes = b"") -> None:
        self._write(kind + len(payload).to_bytes(4, "big") + payload)

    def call(
        self,
        verb: str,
        args: dict[str, Any],
        *,
        send: Iterable[bytes] | None = None,
        receive: Callable[[bytes], None] | None = None,
    ) -> dict[str, Any]:
        """Run a verb on the host; its result.

        send: data that goes with the call. receive: takes the data that comes back.
        Raises the class of portkit.errors that the host names; TransferError when the
        connection breaks.
        """
        if self._busy or self.lost:
            with contextlib.suppress(OSError):
                self._in.close()
            # What it was doing (an engine's load) must not come to its end after the next call.
            wait(self._process, _ENDING_S)
            self._connect()
            for held in self.standing:
                self._run(*held, None, None)
        return self._run(verb, args, send, receive)

    def _run(
        self,
        verb: str,
        args: dict[str, Any],
        send: Iterable[bytes] | None,
        receive: Callable[[bytes], None] | None,
    ) -> dict[str, Any]:
        row = {"verb": verb, "args": args, "data": send is not None}
        payload = json.dumps(row, separators=(",", ":")).encode()
        if len(payload) > frames.JSON_LIMIT:
            raise TransferError("a call to the host is too big", details=verb)
        self._busy = True
        self._send_frame(b"J", payload)
        answer = None if send is None else self._send_data(send)
        while answer is None:
            answer = self._next(receive)
        self._busy = False
        return self._result(verb, answer)

    def _send_data(self, send: Iterable[bytes]) -> dict[str, Any] | None:
        """Send until the end, or until the host answers early: then it has refused."""
        pieces = send if self.limit is None else self.limit.passing(send)
        for data in pieces:
            for start in range(0, len(data), frames.DATA_LIMIT):
                self._send_frame(b"D", data[start : start + frames.DATA_LIMIT])
            if select.select([self._out], [], [], 0)[0]:
                answer = self._next(None)
                if answer is not None:
                    self._send_frame(b"A")
                    return answer
        self._send_frame(b"E")
        return None

    def _next(self, receive: Callable[[bytes], None] | None) -> dict[str, Any] | None:
        """The answer, or None after data or a line of progress."""
        kind, payload = self._frame()
        if kind == b"D" and receive is not None:
            receive(payload)
            return None
        if kind != b"J":
            raise self._broken("the remote half is out of protocol: unexpected data")
        row = self._row(payload)
        if row.get("event") == "message":
            self._observer.message(printable(str(row.get("text", "")), _MESSAGE_LIMIT))
            return None
        return row

    def _result(self, verb: str, row: dict[str, Any]) -> dict[str, Any]:
        from portkit.host import answers  # pydantic

        if isinstance(row.get("ok"), dict):
            if why := answers.wrong(verb, row["ok"]):
                raise TransferError(
                    "the host's answer makes no sense",
                    details=why,
                    resolution="Try again; if it stays, look who answers on the host.",
                )
            return dict(row["ok"])
        told = row.get("error")
        if not isinstance(told, list) or len(told) != 4:
            raise self._broken(f"the remote half is out of protocol: no answer to {verb}")
        kind, *parts = (printable(str(part), _ERROR_LIMIT) for part in told)
        brief, details, resolution = parts
        found = getattr(errors, kind, None)
        if not (isinstance(found, type) and issubclass(found, PortkitError)):
            found = HostError
        raise found(brief, details=details, resolution=resolution)
