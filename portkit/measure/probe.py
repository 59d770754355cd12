"""Ask an app over the network until the right answer comes.

This uses http.client over a socket of its own instead of requests. The timeout of requests begins
anew with every byte, so that an app which sends its headers slowly could hold the probe for hours,
and requests cannot limit a whole answer in time and size. It also uses the proxies of the
environment, and cannot check the chain of a certificate without the name in it.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from portkit.errors import BootError
from portkit.measure.answer import POLL_S, Answer
from portkit.model import HealthProbe

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_ALIVE_S = 0.5  # `alive` asks the engine, which costs more than asking the app
# A forwarded port (docker-proxy, QEMU's hostfwd) accepts connections before the app listens behind
# it, and then stays silent. Waiting long for the first answer would measure that silence.
_FIRST_TIMEOUT_S = 0.5
_LONGEST_TIMEOUT_S = 10.0
_ANSWER_LIMIT = 64 << 10  # bytes of one answer, headers included, that are looked at


def url_of(probe: HealthProbe, address: tuple[str, int]) -> str:
    """The health URL for people to read, without its query, which may contain a token."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    path = "" if probe.scheme == "tcp" else probe.path.partition("?")[0]
    return f"{probe.scheme}://{host}:{address[1]}{path}"


def ttfr(
    probe: HealthProbe, address: tuple[str, int], *, started: float, alive: Callable[[], object]
) -> Answer:
    """Ask until an answer with status 2xx or 3xx contains `probe.contains`; tcp: until it connects.

    started: time.monotonic() when the app was started. alive: is called twice a second and raises
    when the Instance has ended. A redirect counts as an answer and is not followed; at most 64 KiB
    of an answer are read. BootError when `probe.patience_s` seconds have passed since this call.
    """
    url, tries, last = url_of(probe, address), 0, "nothing was tried"
    deadline = time.monotonic() + probe.patience_s
    checked, patience = time.monotonic(), _FIRST_TIMEOUT_S
    while True:
        tries += 1
        timeout = max(POLL_S, min(patience, deadline - time.monotonic()))
        try:
            status, last = _ask(probe, address, timeout)
            if status is not None:
                return Answer(time.monotonic() - started, status, tries, url)
        except TimeoutError:
            last = f"no answer within {timeout:.3g} s"
            patience = min(patience * 2, _LONGEST_TIMEOUT_S)
        except ssl.SSLCertVerificationError as error:
            raise BootError(
                "the app answers with a certificate that is not trusted",
                details=f"{url}: {error.verify_message}",
                resolution="Name its CA: x-portkit.health.ca_file.",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            last = str(error)[:500] or type(error).__name__
        now = time.monotonic()
        if now - checked > _ALIVE_S:
            alive()
            checked = now
        if now > deadline:
            raise BootError(
                f"the app did not answer within {probe.patience_s:g} s",
                details=f"{url}: {last}",
                resolution="See its log; x-portkit.health sets path, port, scheme and timeout.",
            )
        time.sleep(POLL_S)


def _ask(probe: HealthProbe, address: tuple[str, int], timeout: float) -> tuple[int | None, str]:
    """Ask once, within `timeout` seconds: the status of a right answer or None; what was seen."""
    deadline = time.monotonic() + timeout
    with socket.create_connection(address, timeout) as plain:
        if probe.scheme == "tcp":
            return 0, "connected"
        connection = http.client.HTTPConnection(*address)
        if probe.scheme == "https":
            # The app is asked at an address. A private CA's certificate rarely names one, so the
            # name in it is only checked for public CAs; the chain is checked always.
            context = ssl.create_default_context(cafile=probe.ca_file)
            context.check_hostname = probe.ca_file is None
            plain.settimeout(_left(deadline))
            with context.wrap_socket(plain, server_hostname=address[0]) as secure:
                return _exchange(probe, connection, secure, deadline)
        return _exchange(probe, connection, plain, deadline)


def _exchange(
    probe: HealthProbe, connection: http.client.HTTPConnection, sock: socket.socket, deadline: float
) -> tuple[int | None, str]:
    # http.client connects by itself only where it has no socket yet.
    connection.sock = _Bounded(sock, deadline)
    connection.request("GET", probe.path, headers={"User-Agent": "portkit"})
    wanted = probe.contains.encode()
    # A new connection for each try: one that is kept would tell nothing about an App that was
    # restarted.
    with connection.getresponse() as response:
        if not 200 <= response.status < 400:
            return None, f"HTTP {response.status}"
        if wanted and not _holds(response, wanted):
            return None, f"HTTP {response.status}, but the answer lacks {probe.contains[:80]!r}"
        return response.status, f"HTTP {response.status}"


def _holds(response: http.client.HTTPResponse, wanted: bytes) -> bool:
    body = b""
    try:
        while part := response.read1(_ANSWER_LIMIT):
            body += part
            if wanted in body:
                return True
    except _TooLongError:
        pass
    return False


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
            raise _TooLongError(f"the answer is over {_ANSWER_LIMIT} bytes")
        self._sock.settimeout(_left(self._deadline))
        count = self._sock.recv_into(view, min(len(view), self._room))
        self._room -= count
        return count
