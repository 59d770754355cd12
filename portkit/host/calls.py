"""The near end of the remote half: starts it over any pair of pipes and makes its calls."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from portkit import errors
from portkit.errors import HostError, PortkitError, TransferError
from portkit.halt import Halt
from portkit.host.limit import Bucket
from portkit.host.pipes import Pipes, Silent
from portkit.host.program import loader
from portkit.process import Process, end, wait
from portkit.progress import Observer
from portkit.text import printable
from portkit.wire import codec, frames
from portkit.wire.json_types import JsonObject

# Bytes of what a login may print (motd, profiles) before the remote half begins.
_BANNER_LIMIT = 64 * 1024
_GREETING_S = 60.0  # a login that asks something waits for ever
_MESSAGE_LIMIT = 2000
_ERROR_LIMIT = 16_000  # characters of each part of an error
_ENDING_S = 120.0
# How long a call may take, however many signs of life come: most only look something up.
_LIMIT_S = 600.0
_LIMITS_S = {
    "image.save": 86400.0,
    "container.changes": 86400.0,
    "image.load": 86400.0,
    "image.build": 86400.0,
    "image.pull": 86400.0,
    "store.part": 3600.0,  # what has come of a large blob is copied and hashed
    "store.apply": 7 * 86400.0,  # a large disk over a slow link
    "store.gc": 3600.0,
    "instance.create": 86400.0,  # a disk that was there is hashed, and volumes are filled
    "instance.fill": 86400.0,
    "move.end": 3600.0,  # a million files that the disks of a VM were made of are removed
    "volume.scan": 86400.0,  # terabytes are hashed
    "volume.digest": 86400.0,
    "volume.pages": 3600.0,
    "volume.read": 86400.0,  # half a GiB over a slow link
    "volume.fill": 86400.0,
    "volume.shape": 3600.0,  # a million files
    "volume.settle": 3600.0,  # written to a slow disk
    "volume.back": 3600.0,  # a million files are removed, or counted
    "volume.kept": 3600.0,
    "volume.drop": 3600.0,
    "move.begin": 3600.0,  # waits for what an engine has begun for a broken connection
}
_TALK_BYTES = 64 << 20  # of progress in one call: a long build has some MB


class _Taking:
    """What comes with one call beside its answer, held to its limits."""

    def __init__(self, receive: Callable[[bytes], None] | None, most: int) -> None:
        self._receive = receive
        self._left = most
        self._talk = _TALK_BYTES

    def data(self, payload: bytes) -> str:
        """Take data; what is wrong with it, "" when nothing is."""
        if self._receive is None:
            return "unexpected data"
        self._left -= len(payload)
        if self._left < 0:
            return "the host sent more data than it announced"
        self._receive(payload)
        return ""

    def talk(self, payload: bytes) -> str:
        """Count progress; what is wrong with it, "" when nothing is."""
        # 64 for what a frame costs to read: empty ones without end are held to the limit too.
        self._talk -= len(payload) + 64
        return "endless progress" if self._talk < 0 else ""


class Remote:
    """Calls to the remote half over a process's pipes. One call at a time: another thread waits.

    encodings: what it can compress with, best first. written, read: bytes through the pipes.
    A call that was broken off (Ctrl-C) leaves the pipes in mid-frame: the next one starts the
    remote half anew, so that cleaning up still works. So does one after the connection broke:
    lost says that it did.

    engine: the socket of the host's engine as the host says it, which a new connection uses again.

    standing: calls (verb and arguments) that hold for as long as the connection does, such as a
    lock; they are made again on each new one.

    halt: ends a call, and a pause between two, when a lane of the Move at work gives up.
    """

    def __init__(
        self,
        start: Callable[[], Process],
        observer: Observer,
        stderr: Callable[[], str],
        engine: str = "",
        name: str = "",
    ) -> None:
        """engine: the socket that is to be used there, "" for the one that is found. name: of the
        host, which errors say."""
        self.engine = engine
        self._name = name
        self._start = start
        self._observer = observer
        self._stderr = stderr
        self._past_written = self._past_read = 0
        self.lost = False
        self.limit: Bucket | None = None  # of what goes with calls
        self.standing: list[tuple[str, JsonObject]] = []
        self.halt = Halt()
        self._one = threading.Lock()
        self._connect()

    def _connect(self) -> None:
        self._process = self._start()
        self._pipes = Pipes(self._process, lambda: self.halt.check())
        # Until it has greeted: an exception now leaves nothing that a call could go on with.
        self._busy = True
        self.encodings: tuple[str, ...] = ()
        # What a login prints can be anything but a number that was made just now.
        nonce = secrets.token_hex(16)
        self._greet(nonce)
        hello = self._row(self._frame()[1])
        self.engine = self.engine or str(hello.get("engine", ""))[:200]
        offered = hello.get("encodings")
        offered = offered if isinstance(offered, list) else []
        # What both ends can do, in this end's order of preference.
        self.encodings = tuple(e for e in codec.encodings() if e in offered)
        if not self.encodings:
            raise TransferError(
                "portkit's remote half on the host offers no encoding",
                details=repr(offered)[:500],
                resolution="Check the python3 on the host.",
            )
        self.lost = self._busy = False

    def pause(self, seconds: float) -> None:
        """Wait before a call is tried again."""
        self.halt.pause(seconds)

    @property
    def written(self) -> int:
        """Bytes that were sent to it, over all connections."""
        return self._past_written + self._pipes.written

    @property
    def read_bytes(self) -> int:
        """Bytes that came from it, over all connections."""
        return self._past_read + self._pipes.read_bytes

    def _greet(self, nonce: str) -> None:
        """Send the program; skip what the host's shell says before it answers."""
        deadline = time.monotonic() + _GREETING_S
        # Why it ended, or reads nothing, is still to be read.
        with contextlib.suppress(BrokenPipeError, Silent):
            self._pipes.push(loader(nonce, self.engine), _GREETING_S)
        wanted = b"\n" + frames.MAGIC + nonce.encode() + b"\n"
        seen = b""
        while not seen.endswith(wanted):
            if not self._pipes.has_news(deadline - time.monotonic()):
                why = f"portkit's remote half on the host did not start within {_GREETING_S:g} s"
                raise self._broken(why, seen[-2000:])
            byte = self._pipes.read(1)
            if not byte or len(seen) > _BANNER_LIMIT:
                raise self._broken("portkit's remote half on the host did not start", seen[-2000:])
            seen += byte

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """What goes wrong with the pipes as an error of ours."""
        try:
            yield
        except Silent as error:
            end(self._process)  # it would not end by itself
            raise self._broken("the host stopped responding") from error
        except frames.FrameError as error:
            raise self._broken(f"the remote half is out of protocol: {error}") from error

    def _broken(self, brief: str, said: bytes = b"") -> PortkitError:
        self.lost = True
        wait(self._process, 3.0)  # what it has to say may still be on its way
        details = "\n".join((said.decode("utf-8", "replace"), self._stderr()))
        details = printable(details.strip(), _ERROR_LIMIT)
        if "sudo:" in details:
            return HostError(
                "portkit needs root on the host, and sudo asks for a password",
                details=self._named(details),
                resolution="Log in as root, or allow sudo without a password on the host.",
            )
        if "python3" in details and not self.encodings:
            return HostError(
                "the host has no python3 of a supported version",
                details=self._named(details),
                resolution="Install python3 3.9 or newer on the host.",
            )
        details = details or "the connection ended"
        return TransferError(brief, details=self._named(details), resolution="Try again.")

    def _named(self, details: str) -> str:
        """With the host's name before it: the remote half does not know by which name it was
        reached, and speaks of "the host"."""
        return ": ".join(part for part in (self._name, details) if part)

    def _row(self, payload: bytes) -> JsonObject:
        with self._speaking():
            return frames.parse_json(payload, lone_surrogates=False)

    def _frame(self) -> tuple[bytes, bytes]:
        with self._speaking():
            frame = self._pipes.frame()
        if frame is None:
            raise self._broken("the connection to the host broke")
        return frame

    def _send_frame(self, kind: bytes, payload: bytes = b"") -> None:
        try:
            with self._speaking():
                self._pipes.push(kind + len(payload).to_bytes(4, "big") + payload)
        except BrokenPipeError as error:
            raise self._broken("the connection to the host broke") from error

    def call(
        self,
        verb: str,
        args: JsonObject,
        *,
        send: Iterable[bytes] | None = None,
        receive: Callable[[bytes], None] | None = None,
        most: int = 0,
    ) -> JsonObject:
        """Run a verb on the host; its result.

        send: data that goes with the call. receive: takes the data that comes back, at most
        `most` bytes. Raises the class of portkit.errors that the host names; TransferError when
        the connection breaks, or the host is silent, never ends, or sends more than that.
        """
        with self._one:
            self.halt.check()
            self._whole()
            return self._run(verb, args, send, _Taking(receive, most))

    def renew(self) -> None:
        """Make the connection anew after it was found to have ended, with all that holds for it."""
        with self._one:
            self.halt.check()
            self.lost = True
            self._whole()

    def _whole(self) -> None:
        """Make the connection anew where the last call left none that can be used."""
        # Busy: an exception, Ctrl-C say, ended the last call in the middle, and what comes next
        # from the pipe belongs to that one.
        if self._busy or self.lost:
            self._pipes.close()
            # What it was doing (an engine's load) must not come to its end after the next call.
            if wait(self._process, _ENDING_S) is None:
                end(self._process)
            self._past_written, self._past_read = self.written, self.read_bytes
            self._connect()
            # A new process on the host holds none of the locks that the old one had.
            for held in self.standing:
                self._run(*held, None, _Taking(None, 0))

    def _run(
        self,
        verb: str,
        args: JsonObject,
        send: Iterable[bytes] | None,
        taking: _Taking,
    ) -> JsonObject:
        row = {"verb": verb, "args": args, "data": send is not None}
        payload = json.dumps(row, separators=(",", ":")).encode()
        # The other end would refuse it, and the connection would be lost.
        if len(payload) > frames.JSON_LIMIT:
            raise TransferError("a request to the host is too large", details=verb)
        deadline = time.monotonic() + _LIMITS_S.get(verb, _LIMIT_S)
        self._busy = True
        self._send_frame(b"J", payload)
        answer = None if send is None else self._send_data(send, taking)
        while answer is None:
            answer = self._next(taking)
            if answer is None and time.monotonic() > deadline:
                end(self._process)
                raise self._broken(f"the host did not finish {verb} in time")
        self._busy = False
        return self._result(verb, args, answer)

    def _send_data(self, send: Iterable[bytes], taking: _Taking) -> JsonObject | None:
        """Send until the end, or until the host answers early: then it has refused."""
        pieces = send if self.limit is None else self.limit.passing(send)
        for data in pieces:
            for start in range(0, len(data), frames.DATA_LIMIT):
                self._send_frame(b"D", data[start : start + frames.DATA_LIMIT])
            # A host that has refused answers while this end is still sending. Unread, its answer
            # would be met only at the end of a large blob.
            while self._pipes.has_news():
                answer = self._next(taking)
                if answer is not None:
                    self._send_frame(b"A")
                    return answer
        self._send_frame(b"E")
        return None

    def _next(self, taking: _Taking) -> JsonObject | None:
        """The answer, or None after data, a line of progress or a sign of life."""
        kind, payload = self._frame()
        if kind == b"D":
            if why := taking.data(payload):
                raise self._broken(f"the remote half is out of protocol: {why}")
            return None
        if kind != b"J":
            raise self._broken("the remote half is out of protocol: unexpected data")
        row = self._row(payload)
        if "event" not in row:
            return row
        if why := taking.talk(payload):
            raise self._broken(f"the remote half is out of protocol: {why}")
        if row["event"] == "message":
            self._observer.message(printable(str(row.get("text", "")), _MESSAGE_LIMIT))
        return None

    def _result(self, verb: str, args: JsonObject, row: JsonObject) -> JsonObject:
        from portkit.host import answers  # pydantic

        if isinstance(row.get("ok"), dict):
            answer = dict(row["ok"])
            if why := answers.wrong(verb, answer) or answers.unasked(verb, args, answer):
                raise TransferError(
                    "unexpected response from the host",
                    details=self._named(why),
                    resolution="Try again. If the error persists, check which program answers on "
                    "the host.",
                )
            return answer
        told = row.get("error")
        if not isinstance(told, list) or len(told) != 4:
            raise self._broken(f"the remote half is out of protocol: no answer to {verb}")
        kind, *parts = (printable(str(part), _ERROR_LIMIT) for part in told)
        brief, details, resolution = parts
        # The host names a class; only classes of ours are taken, whatever it says.
        found = getattr(errors, kind, None)
        if not (isinstance(found, type) and issubclass(found, PortkitError)):
            found = HostError
        raise found(brief, details=self._named(details), resolution=resolution)
