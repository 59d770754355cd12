"""A started Instance is watched until it is up, and until it has stayed up for a while.

How that is known is a `portkit.health.Way`: the app is asked, or the engine is.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import assert_never

from portkit import boot, measure
from portkit.errors import BootError, PortkitError, SpaceError
from portkit.halt import Halt
from portkit.health import Deadline, Way
from portkit.host import Host
from portkit.model import Healthcheck, HealthProbe, Life, Method, Port
from portkit.progress import NullObserver, Observer
from portkit.text import printable

_LAST_LINES = 30
_ENDING = 3.0  # the part of the deadline for which what ends is started again
_AGAIN = 2  # answers after the first one, until an App is up
_ADDRESS_POLL_S = 0.05
_AGAIN_POLL_S = 0.2  # what is waited for is started by such a look
_NEWS_S = 10.0  # between two looks at what a silent app wrote: each reads its log on the host
_NEWS_LENGTH = 200


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
    """One Instance, how it is known to be up, and where it is asked. health: as the App has it; how
    long is waited is the deadline's. before: what the engine said at the last first answer. halt:
    ends the wait when another lane of the Move has failed. unasked: services whose healthchecks do
    not count."""

    runner: boot.Runner
    identity: str
    target: Host
    health: HealthProbe
    way: Way
    deadline: Deadline
    place: Place | None = None
    observer: Observer = field(default_factory=NullObserver)
    before: Life | None = None
    halt: Halt = field(default_factory=Halt)
    unasked: Collection[str] = ()
    _again: str = field(default="", init=False)
    _ends_since: float = field(default=0.0, init=False)
    _start: str | None = field(default=None, init=False)
    _news: str = field(default="", init=False)
    _next_news: float = field(default=0.0, init=False)

    def first_answer(self, started: float) -> measure.Answer:
        """The first right answer of what was started at `started`, in seconds of
        time.monotonic(); BootError holds the app's last words."""
        self._news, self._next_news, self._again = "", time.monotonic() + _NEWS_S, ""
        self._ends_since = 0.0
        with self._last_words():
            answer = self._wait(started)
            self._still_up()
            return answer

    def all_healthy(self, started: float, checks: Sequence[Healthcheck]) -> float | None:
        """Seconds from `started` until every healthcheck of the App's services passes; None where
        none of them has one. BootError when one fails, or passes too late.

        checks: of the services; they may give themselves more time than the deadline is."""
        with self._last_words():
            if not self._life("before all services were healthy").health:
                return None
            timeout = self.deadline.seconds
            timeout = max(timeout, *(measure.check_timeout(each, timeout) for each in checks), 0.0)
            found = measure.until_healthy(self._starting, started=started, timeout_s=timeout)
            self._still_up()
        return round(found.seconds, 3)

    def settle(self) -> None:
        """It goes on running for `settle_s` seconds, without a new start, and answers again several
        times meanwhile."""
        if not self.health.settle_s:
            return
        assert self.before is not None, "it answered"
        with self._last_words():
            for _ in range(_AGAIN):
                measure.stays(self._still, self.before, self.health.settle_s / _AGAIN)
                self._wait(time.monotonic(), again=True)
            # Behind the last answer, too: an App that ends while it answers would pass otherwise.
            measure.stays(self._still, self.before, 0.0)

    def _wait(self, started: float, *, again: bool = False) -> measure.Answer:
        look = self._still if again else self._starting
        match self.way.method:
            case Method.PUBLISHED | Method.HOST:
                if self.way.method is Method.HOST and not again:
                    self.place = inner_place(self.target, self._address(), self.way.inner)
                assert self.place is not None, "`watch` found it"
                if self.health.scheme == "tcp" and not again:
                    # QEMU accepts connections before the guest has a network, and is silent then.
                    measure.until_running(
                        look, started=started, seconds=0.0, timeout_s=self.deadline.seconds
                    )
                place = self.place
                probe = replace(self.health, timeout_s=self.deadline.seconds)
                found = measure.ttfr(probe, place.address, started=started, alive=look)
                url = measure.url_of(self.health, place.there)
                return replace(found, url=url, method=self.way.method, vantage=place.vantage)
            case Method.HEALTHCHECK:
                timeout = self.deadline.seconds
                return measure.until_healthy(look, started=started, timeout_s=timeout)
            case Method.RUNNING:
                seconds = 0.0 if again else self.health.running_s
                timeout = self.deadline.seconds
                return measure.until_running(
                    look, started=started, seconds=seconds, timeout_s=timeout
                )
            case _:
                assert_never(self.way.method)

    def _address(self) -> str:
        """The container's own address; a network has one as soon as it is started."""
        deadline = time.monotonic() + self.deadline.seconds
        while not (address := self._starting().address):
            if time.monotonic() > deadline:
                raise BootError(
                    "the container has no address that its host can reach",
                    details=f"port {self.way.inner} was to be asked there",
                    resolution="Publish the port, or set x-portkit.health.method.",
                )
            time.sleep(_ADDRESS_POLL_S)
        return address

    def _still_up(self) -> None:
        """What has answered still runs, and nothing else waits to be started again. What happens
        from then on is compared with what the engine says now."""
        deadline = time.monotonic() + self.deadline.seconds
        while True:
            asked = self._start  # as it was before the answer
            life = self._starting()
            if life.again and not life.started:
                raise BootError(f"{life.again} after its first answer")
            if not life.again and life.started == asked:
                break
            if time.monotonic() > deadline:
                what = self._again or "the app ended after each answer"
                raise BootError(f"{what}, however often it was started again")
            if life.started == asked:
                time.sleep(_AGAIN_POLL_S)
            else:  # perhaps it has ended since: then this start would not have answered
                self._wait(time.monotonic())
        self.before = life

    def _starting(self) -> Life:
        life = self._life("before it answered", again=True)
        if life.again:
            self._ended(life.again)
        self._start = life.started
        if time.monotonic() >= self._next_news:
            self._next_news = time.monotonic() + _NEWS_S
            self._tell_news()
        return life

    def _ended(self, what: str) -> None:
        """Something has ended and is about to be started again. BootError when that goes on for too
        long: an App that always fails is down until it is taken back."""
        if what != self._again:
            self.observer.message(f"{what}; it is started again, as its restart policy says")
        now = time.monotonic()
        self._again, self._ends_since = what, self._ends_since or now
        if now - self._ends_since > self.deadline.seconds / _ENDING:
            raise BootError(
                f"{what}, however often it was started again",
                resolution="See its log. If it needs longer, raise x-portkit.health.timeout: a "
                "third of that is how long an app may go on ending.",
            )

    def _tell_news(self) -> None:
        """The last line that it wrote, where that is another one than before."""
        said = ""
        # An app that is fine must not fail because its log cannot be read, as with some drivers.
        with contextlib.suppress(PortkitError):
            said = self.runner.logs(self.identity, _LAST_LINES)
        # Lines first: a carriage return ends one, and is not printable.
        lines = [printable(line).strip() for line in said.splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        if last and last != self._news:
            self.observer.message(f"not up yet; the app's last line: {last[:_NEWS_LENGTH]}")
            self._news = last

    def _still(self) -> Life:
        return self._life("after its first answer")

    def _life(self, when: str, *, again: bool = False) -> Life:
        self.halt.check()
        life = self.runner.life(self.identity, self.unasked, again=again)
        if life.stuck:
            raise no_room(self.identity, self.target, when)
        if life.status != "exited":
            return life
        if life.exit_code is None:
            raise BootError(f"the guest ended {when}")
        who = life.service or "the app"
        raise BootError(f"{who} exited with code {life.exit_code} {when}")

    @contextmanager
    def _last_words(self) -> Iterator[None]:
        try:
            yield
        except BootError as error:
            said = self.runner.logs(self.identity, _LAST_LINES).strip()
            again = f"{self._again}, and was started again" if self._again else ""
            parts = (error.details, again, *(("its last output:", said) if said else ()))
            raise BootError(
                error.brief,
                details="\n".join(part for part in parts if part),
                resolution=error.resolution or "Read its last output above, and run portkit check.",
            ) from error


def no_room(identity: str, target: Host, when: str) -> SpaceError:
    """The error for a guest that its host has stopped, since its disk is full."""
    return SpaceError(
        f"the guest stood still {when}: what it wrote to its disks had no room",
        details=f"{identity} on {target.name}",
        resolution=f"Make room on {target.name}: df -h /var/lib/portkit. Then let the VM go on, if "
        "it is still there: virsh resume.",
    )


def watch(
    runner: boot.Runner,
    identity: str,
    target: Host,
    health: HealthProbe,
    way: Way,
    deadline: Deadline,
    *,
    check: Healthcheck | None = None,
    observer: Observer | None = None,
    halt: Halt | None = None,
    unasked: Collection[str] = (),
) -> Watch:
    """A Watch; where a published port is asked is found out now, before a clock runs.

    check: the app's own, whose engine may give it more time than the deadline; a timeout that the
    App names is obeyed all the same. observer: is told of a deadline that is longer than usual,
    and of what the app writes while it does not answer. halt: ends the wait. unasked: services
    whose healthchecks do not count.
    """
    observer = observer or NullObserver()
    if way.method is Method.HEALTHCHECK and health.timeout_s is None:
        patience = measure.check_timeout(check, deadline.seconds)
        if patience > deadline.seconds:
            deadline = Deadline(patience, "until the engine gives the app's healthcheck up")
    if deadline.grown:
        observer.message(
            f"waiting up to {deadline.seconds:g} s for the first response: {deadline.reason}"
        )
    place = None if way.port is None else published_place(target, way.port)
    halt = halt or Halt()
    return Watch(
        runner,
        identity,
        target,
        health,
        way,
        deadline,
        place,
        observer,
        halt=halt,
        unasked=unasked,
    )


def published_place(target: Host, port: Port) -> Place:
    """Where a published port is asked: directly, or through ssh where a firewall is in the way."""
    address = port.host_ip if port.host_ip and not port.is_local else target.address()
    direct = (address, port.host_port)
    # Found out before the App starts, while nothing listens: the host refuses a connection that
    # reaches it.
    if target.name == "local" or (not port.is_local and _reachable(address, port.host_port)):
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
