"""Stage 5: the time to the first right answer, on this machine's monotonic clock."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from portkit.errors import BootError
from portkit.model import HealthProbe

POLL_S = 0.02
_ALIVE_S = 0.5
# A port may accept and stay silent before the app listens behind it: short first, then patient.
_FIRST_TIMEOUT_S = 0.5
_LONGEST_TIMEOUT_S = 10.0
_BODY_LIMIT = 1 << 20


@dataclass(frozen=True)
class Answer:
    """The first right answer. seconds: from `started`; status 0 where only TCP was asked."""

    seconds: float
    status: int
    tries: int
    url: str


def url_of(probe: HealthProbe, address: tuple[str, int]) -> str:
    """The health URL as one could type it."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{probe.scheme}://{host}:{address[1]}{'' if probe.scheme == 'tcp' else probe.path}"


def ttfr(
    probe: HealthProbe, address: tuple[str, int], *, started: float, alive: Callable[[], None]
) -> Answer:
    """Ask until a 2xx or 3xx comes that holds the identity; tcp: until a connection stands.

    started: time.monotonic() of the beginning. alive: raises when the Instance is gone; asked
    twice a second. BootError when `probe.timeout_s` have passed since this call.
    """
    url, tries, last = url_of(probe, address), 0, "nothing was tried"
    deadline = time.monotonic() + probe.timeout_s
    checked, timeout = time.monotonic(), _FIRST_TIMEOUT_S
    while True:
        tries += 1
        try:
            status, last = _ask(probe, address, timeout)
            if status is not None:
                return Answer(time.monotonic() - started, status, tries, url)
        except TimeoutError:
            last = f"no answer within {timeout:g} s"
            timeout = min(timeout * 2, _LONGEST_TIMEOUT_S)
        except ssl.SSLCertVerificationError as error:
            raise BootError(
                "the app answers with a certificate that is not trusted",
                details=f"{url}: {error.verify_message}",
                resolution="Name its CA: x-portkit.health.ca_file.",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            last = str(error) or type(error).__name__
        now = time.monotonic()
        if now - checked > _ALIVE_S:
            alive()
            checked = now
        if now > deadline:
            raise BootError(
                f"the app did not answer within {probe.timeout_s:g} s",
                details=f"{url}: {last}",
                resolution="See its log; x-portkit.health sets path, port, scheme and timeout.",
            )
        time.sleep(POLL_S)


def _ask(probe: HealthProbe, address: tuple[str, int], timeout: float) -> tuple[int | None, str]:
    """(status of a right answer or None, what was seen)."""
    if probe.scheme == "tcp":
        with socket.create_connection(address, timeout):
            return 0, "connected"
    if probe.scheme == "https":
        # The probe goes to an address: the chain is checked, the name in it only for public CAs.
        context = ssl.create_default_context(cafile=probe.ca_file)
        context.check_hostname = probe.ca_file is None
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            *address, timeout=timeout, context=context
        )
    else:
        connection = http.client.HTTPConnection(*address, timeout=timeout)
    try:
        connection.request("GET", probe.path, headers={"User-Agent": "portkit"})
        response = connection.getresponse()
        body = response.read(_BODY_LIMIT) if probe.contains else b""
    finally:
        connection.close()
    if not 200 <= response.status < 400:
        return None, f"HTTP {response.status}"
    if probe.contains.encode() not in body:
        return None, f"HTTP {response.status}, but the answer lacks {probe.contains[:80]!r}"
    return response.status, f"HTTP {response.status}"
