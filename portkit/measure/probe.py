"""Ask an app over the network until the right answer comes.

This uses http.client over a socket of its own instead of requests. The timeout of requests begins
anew with every byte, so that an app which sends its headers slowly could hold the probe for hours,
and requests cannot limit a whole answer in time and size. It also uses the proxies of the
environment, and cannot check the chain of a certificate without the name in it.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, NamedTuple

from portkit.errors import BootError
from portkit.expected import Expected
from portkit.measure.answer import POLL_S, Answer
from portkit.model import HealthProbe

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ALIVE_S = 0.5  # `alive` asks the engine, which costs more than asking the app
# QEMU's hostfwd accepts connections before the guest has a network. What was sent then is lost, and
# nobody says so, even when the app is up. So as long as there was no sign of life, the app is asked
# anew while earlier questions are still open; waiting for each in turn, up to half of a measured
# time was that silence. More and more seldom, though: an app that is up and busy has to answer them
# all. Behind the first sign of life (a refusal, a wrong answer) one question is open at a time.
_ASK_EVERY_S, _EAGER_S = 0.2, 1.0
_MORE_SELDOM = 0.2  # of the time that has passed
_FIRST_TIMEOUT_S, _LONGEST_TIMEOUT_S = 0.5, 10.0
# A host that needs more time for the first answer needs it for each: on an emulated processor a
# page of WordPress took 11 s, and one that is given up is computed to its end all the same.
_LONGEST_SHARE = 0.1  # of the patience
_MOST_OPEN = 6
# QEMU, ssh and Docker's proxy accept a connection themselves, and close it when the app refuses it.
HELD_S = 1.0
_ANSWER_LIMIT = 64 << 10  # bytes of one answer, headers included, that are looked at


def url_of(probe: HealthProbe, address: tuple[str, int]) -> str:
    """The health URL for people to read, without its query, which may contain a token."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    path = "" if probe.scheme == "tcp" else probe.path.partition("?")[0]
    return f"{probe.scheme}://{host}:{address[1]}{path}"


def ttfr(
    probe: HealthProbe, address: tuple[str, int], *, started: float, alive: Callable[[], object]
) -> Answer:
    """Ask until an answer with status 2xx or 3xx contains `probe.contains` and what `probe.expect`
    expects; tcp: until a connection stays open, or says what is expected.

    started: time.monotonic() when the app was started. alive: is called twice a second and raises
    when the Instance has ended. A redirect counts as an answer and is not followed; at most 64 KiB
    of an answer are read. BootError when `probe.patience_s` seconds have passed since this call.
    """
    deadline, url = time.monotonic() + probe.patience_s, url_of(probe, address)
    with _Questions(probe, address) as questions:
        last, checked = "portkit has not tried yet", time.monotonic()
        while True:
            questions.ask(deadline)
            for said in questions.answers():
                if isinstance(said, Seen) and said.status is not None:
                    seconds, tries = said.moment - started, questions.asked
                    return Answer(seconds, said.status, tries, url, poll_s=questions.gap)
                last = _told(said, url)
            now = time.monotonic()
            if now - checked > _ALIVE_S:
                alive()
                checked = now
            if now > deadline:
                raise BootError(
                    f"the app did not answer within {probe.patience_s:g} s",
                    details=f"{url}: {last}",
                    resolution="Read its log. x-portkit.health sets path, port, scheme and "
                    "timeout.",
                )


class Seen(NamedTuple):
    """What an answer was: its status where it is the right one, else None; when it had come."""

    status: int | None
    text: str
    moment: float


class UnsaidError(TimeoutError):
    """An app did not say what is expected in time: it is asked with more of it."""


def _told(said: Seen | Exception, url: str) -> str:
    """For people. BootError when there is no use in asking again."""
    if isinstance(said, Seen):
        return said.text
    if isinstance(said, ssl.SSLCertVerificationError):
        raise BootError(
            "the app uses a certificate that is not trusted",
            details=f"{url}: {said.verify_message}",
            resolution="Name its CA in x-portkit.health.ca_file.",
        ) from said
    if isinstance(said, UnsaidError):
        return str(said)
    if isinstance(said, TimeoutError):
        return "no answer in time"
    if isinstance(said, OSError | http.client.HTTPException):
        return str(said)[:500] or type(said).__name__
    raise said


class _Questions:
    """Questions to the app, some of which may be open at the same time."""

    def __init__(self, probe: HealthProbe, address: tuple[str, int]) -> None:
        self.asked = 0
        self.gap = POLL_S  # seconds between the last two: no time is more exact
        self._probe, self._address = probe, address
        self._pool = ThreadPoolExecutor(_MOST_OPEN)
        self._open: dict[Future[Seen], list[socket.socket]] = {}
        self._last: Future[Seen] | None = None
        self._lives = False  # there was a sign of life
        self._patience = _FIRST_TIMEOUT_S
        self._longest = max(_LONGEST_TIMEOUT_S, probe.patience_s * _LONGEST_SHARE)
        self._begun = self._next = time.monotonic()

    def __enter__(self) -> _Questions:
        return self

    def __exit__(self, *_: object) -> None:
        """Nobody waits for the answers that are still to come; the app is told so."""
        for sockets in self._open.values():
            for each in sockets:
                with contextlib.suppress(OSError):  # it has been closed in the meantime
                    each.shutdown(socket.SHUT_RDWR)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ask(self, deadline: float) -> None:
        """Ask once more, if it is time to."""
        now = time.monotonic()
        if now < self._next or len(self._open) == _MOST_OPEN:
            return
        if self._lives and self._last in self._open:
            return
        waited = now - self._begun
        eager = min(max(_EAGER_S, waited / 2), self._longest)
        timeout = self._patience if self._lives else eager
        sockets: list[socket.socket] = []
        until = now + max(min(timeout, deadline - now), POLL_S)
        wait_s = max(_ASK_EVERY_S, waited * _MORE_SELDOM)
        self.gap = wait_s if self._open and not self._lives else POLL_S
        self._next = now + wait_s
        self._last = self._pool.submit(ask, self._probe, self._address, until, sockets)
        self._open[self._last] = sockets
        self.asked += 1

    def answers(self) -> list[Seen | Exception]:
        """What has come of the questions; waits for some moments if nothing has."""
        left = min(max(self._next - time.monotonic(), POLL_S), _ALIVE_S)
        if not self._open:
            time.sleep(left)
            return []
        done = wait(self._open, timeout=left, return_when=FIRST_COMPLETED).done
        seen: list[Seen | Exception] = []
        for each in done:
            del self._open[each]
            said = each.exception() or each.result()
            if not isinstance(said, Exception | Seen):
                raise said
            seen.append(said)
            if not isinstance(said, TimeoutError):
                self._lives = True
            elif self._lives and each is self._last:
                self._patience = min(self._patience * 2, self._longest)
        if done and self._lives:
            self._next = time.monotonic() + POLL_S
        # The first right answer counts.
        right = [said for said in seen if isinstance(said, Seen) and said.status is not None]
        return [min(right, key=lambda said: said.moment)] if right else seen


def ask(
    probe: HealthProbe,
    address: tuple[str, int],
    deadline: float,
    sockets: list[socket.socket],
    *,
    name: str = "",
    held_s: float = HELD_S,
) -> Seen:
    """Ask once, until the deadline (time.monotonic()); OSError or HTTPException without an answer.

    sockets: gets the ones that are used. name: of the host, where the address is its number.
    held_s: how long a connection has to stay open where nothing else is asked; what is expected of
    it may come until the deadline.
    """
    name = name or address[0]
    with socket.create_connection(address, _left(deadline)) as plain:
        sockets.append(plain)
        if plain.getsockname() == plain.getpeername():
            # Who asks a free port of its own host again and again is given that very port as its
            # own in the end, and TCP connects it to itself.
            raise ConnectionRefusedError("nothing listens there")
        if probe.scheme == "tcp" and probe.expect:
            return _greeted(plain, deadline, probe.expect)
        if probe.scheme == "tcp":
            return _held(plain, deadline, held_s)
        connection = http.client.HTTPConnection(name, address[1])
        if probe.scheme == "https":
            # The app is asked at an address. A private CA's certificate rarely names one, so the
            # name in it is only checked for public CAs; the chain is checked always.
            context = ssl.create_default_context(cafile=probe.ca_file)
            context.check_hostname = probe.ca_file is None
            plain.settimeout(_left(deadline))
            # It takes the plain socket over, so it is the one that can be shut down from now on.
            with context.wrap_socket(
                plain, server_hostname=name, do_handshake_on_connect=False
            ) as secure:
                sockets.append(secure)
                secure.do_handshake()
                return _exchange(probe, connection, secure, deadline)
        return _exchange(probe, connection, plain, deadline)


def _held(plain: socket.socket, deadline: float, held_s: float) -> Seen:
    """Connected, and not closed in the next moments."""
    moment = time.monotonic()
    plain.settimeout(min(held_s, _left(deadline)))
    with contextlib.suppress(TimeoutError):  # it waits for us to speak
        if not plain.recv(1):
            raise ConnectionResetError("the connection was closed at once")
    return Seen(0, "connected", moment)


def _greeted(plain: socket.socket, deadline: float, text: str) -> Seen:
    """Connected, and the text that is expected is in what it says of itself until the deadline: an
    app that looks up who has connected takes seconds to greet."""
    expected, room = Expected(text), _ANSWER_LIMIT
    lacking = f"connected, but its response does not contain {text[:80]!r}"
    while room > 0:
        try:
            plain.settimeout(_left(deadline))
            data = plain.recv(room)
        except TimeoutError:
            raise UnsaidError(lacking) from None
        if not data and room == _ANSWER_LIMIT:
            raise ConnectionResetError("the connection was closed at once")
        if not data:
            break
        room -= len(data)
        if expected.body(data):
            return Seen(0, "connected", time.monotonic())
    return Seen(None, lacking, 0)


def _exchange(
    probe: HealthProbe, connection: http.client.HTTPConnection, sock: socket.socket, deadline: float
) -> Seen:
    # http.client connects by itself only where it has no socket yet.
    connection.sock = _Bounded(sock, deadline)
    connection.request("GET", probe.path, headers={"User-Agent": "portkit"})
    # A new connection for each try: one that is kept would tell nothing about an App that was
    # restarted.
    with connection.getresponse() as response:
        if not 200 <= response.status < 400:
            return Seen(None, f"HTTP {response.status}", 0)
        if lacking := _lacking(probe, response):
            return Seen(
                None,
                f"HTTP {response.status}, but the response does not contain {lacking[:80]!r}",
                0,
            )
        return Seen(response.status, f"HTTP {response.status}", time.monotonic())


def _lacking(probe: HealthProbe, response: http.client.HTTPResponse) -> str:
    """Which of the texts of the right answer is not in this one; "" where none is missing."""
    wanted, body = probe.contains.encode(), b""
    expected = Expected(probe.expect)
    known = not probe.expect or expected.head(response.getheaders())
    with contextlib.suppress(_TooLongError):
        while (wanted or not known) and (part := response.read1(_ANSWER_LIMIT)):
            if wanted:
                body += part
                wanted = b"" if wanted in body else wanted
            known = known or expected.body(part)
    if wanted:
        return probe.contains
    return "" if known else probe.expect


class _TooLongError(OSError):
    pass


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Bounded:
    """A socket for http.client that limits a whole answer in time and in size.

    The timeout of a socket begins anew with every byte, so that an app which sends one byte now and
    then, or "100 Continue" again and again, would never reach it.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._sock.settimeout(_left(self._deadline))
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._sock, self._deadline))

    def close(self) -> None:
        """Nothing: whoever made the socket closes it."""


class _Reader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._room = _ANSWER_LIMIT

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer)
        if self._room <= 0:
            raise _TooLongError(f"the response has more than {_ANSWER_LIMIT} bytes")
        self._sock.settimeout(_left(self._deadline))
        count = self._sock.recv_into(view, min(len(view), self._room))
        self._room -= count
        return count
