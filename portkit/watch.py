"""A started Instance is watched until it is up, and until it has stayed up for a while.

How that is known is a `portkit.health.Way`: the app is asked, or the engine is.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import assert_never

from portkit import boot, measure
from portkit.errors import BootError
from portkit.health import Way
from portkit.host import Host
from portkit.model import Healthcheck, HealthProbe, Life, Method, Port

_LAST_LINES = 30
_ADDRESS_POLL_S = 0.05


Address = tuple[str, int]


@dataclass(frozen=True)
class Place:
    """Where an app is asked. address: from here. there: as the host's users write it. vantage: how
    it is reached from here: direct or ssh."""

    address: Address
    there: Address
    vantage: str


@dataclass
class Watch:
    """One Instance, how it is known to be up, and where it is asked. before: what the engine said
    at the last first answer."""

    runner: boot.Runner
    identity: str
    target: Host
    health: HealthProbe
    way: Way
    check: Healthcheck | None = None
    place: Place | None = None
    before: Life | None = None

    def first_answer(self, started: float) -> measure.Answer:
        """The first right answer of what was started at `started`, in seconds of
        time.monotonic(); BootError holds the app's last words."""
        with self._last_words():
            answer = self._wait(started)
            # Taken after the answer: what happens from then on is compared with this.
            self.before = self._life("after its first answer")
            return answer

    def settle(self) -> None:
        """It goes on running for `settle_s` seconds, without a new start, and answers again."""
        if not self.health.settle_s:
            return
        assert self.before is not None, "it answered"
        with self._last_words():
            # Twice, before and after the second answer: an App that ends while it answers would
            # pass otherwise.
            measure.stays(self._still, self.before, self.health.settle_s)
            self._wait(time.monotonic(), again=True)
            measure.stays(self._still, self.before, 0.0)

    def _wait(self, started: float, *, again: bool = False) -> measure.Answer:
        look = self._still if again else self._starting
        match self.way.method:
            case Method.PUBLISHED | Method.HOST:
                if self.way.method is Method.HOST and not again:
                    self.place = inner_place(self.target, self._address(), self.way.inner)
                assert self.place is not None, "`watch` found it"
                place = self.place
                found = measure.ttfr(self.health, place.address, started=started, alive=look)
                url = measure.url_of(self.health, place.there)
                return replace(found, url=url, method=self.way.method, vantage=place.vantage)
            case Method.HEALTHCHECK:
                patience = measure.check_timeout(self.check, self.health.timeout_s)
                return measure.until_healthy(look, started=started, timeout_s=patience)
            case Method.RUNNING:
                seconds = 0.0 if again else self.health.running_s
                timeout = self.health.timeout_s
                return measure.until_running(
                    look, started=started, seconds=seconds, timeout_s=timeout
                )
            case _:
                assert_never(self.way.method)

    def _address(self) -> str:
        """The container's own address; a network has one as soon as it is started."""
        deadline = time.monotonic() + self.health.timeout_s
        while not (address := self._starting().address):
            if time.monotonic() > deadline:
                raise BootError(
                    "the container has no address that its host reaches",
                    details=f"port {self.way.inner} was to be asked there",
                    resolution="Publish the port, or set x-portkit.health.method.",
                )
            time.sleep(_ADDRESS_POLL_S)
        return address

    def _starting(self) -> Life:
        return self._life("before it answered")

    def _still(self) -> Life:
        return self._life("after its first answer")

    def _life(self, when: str) -> Life:
        life = self.runner.life(self.identity)
        if life.status != "exited":
            return life
        if life.exit_code is None:
            raise BootError(f"the guest ended {when}")
        raise BootError(f"the app exited with code {life.exit_code} {when}")

    @contextmanager
    def _last_words(self) -> Iterator[None]:
        try:
            yield
        except BootError as error:
            said = self.runner.logs(self.identity, _LAST_LINES).strip()
            parts = (error.details, "its last words:", said) if said else (error.details,)
            raise BootError(
                error.brief,
                details="\n".join(part for part in parts if part),
                resolution=error.resolution or "See its last words above, and portkit check.",
            ) from error


def watch(
    runner: boot.Runner,
    identity: str,
    target: Host,
    health: HealthProbe,
    way: Way,
    check: Healthcheck | None = None,
) -> Watch:
    """A Watch; where a published port is asked is found out now, before a clock runs."""
    place = None if way.port is None else published_place(target, way.port)
    return Watch(runner, identity, target, health, way, check, place)


def published_place(target: Host, port: Port) -> Place:
    """Where a published port is asked: directly, or through ssh where a firewall is in the way."""
    loopback = port.host_ip.startswith("127.") or port.host_ip == "::1"
    address = port.host_ip if port.host_ip and not loopback else target.address()
    direct = (address, port.host_port)
    # Found out before the App starts, while nothing listens: the host refuses a connection that
    # reaches it.
    if target.name == "local" or (not loopback and _reachable(address, port.host_port)):
        return Place(direct, direct, "direct")
    through = target.forward(port.host_port)
    return Place(through, through, "ssh")


def inner_place(target: Host, address: str, port: int) -> Place:
    """A port at an address that only the target reaches."""
    vantage = "direct" if target.name == "local" else "ssh"
    return Place(target.forward(port, address), (address, port), vantage)


def _reachable(address: str, port: int) -> bool:
    """A refusal comes from the host itself: nothing is in the way. Silence is a firewall."""
    try:
        with socket.create_connection((address, port), 2.0):
            return True
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
