"""The downtime of a cutover, measured: both hosts are asked all through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace

from portkit import health, measure
from portkit import watch as watching
from portkit.errors import PortkitError
from portkit.halt import Halt
from portkit.host import Host
from portkit.measure import SOURCE, TARGET, Prober, Side
from portkit.model import Form, Method, Port, RunSpec, Timeline

# Long enough for some answers of the source before it is stopped.
_BEFORE_S = 0.5
# For the first one: an app on an emulated processor may need seconds for each answer.
_FIRST_S = 30.0
_LOOK_S = 0.1
# For the first answer of a source that was started again; a VM on an emulated processor needs more.
_AGAIN_S = 60.0


# Where a published port of a service is reached at the source; None where nobody knows.
Reached = Callable[[str, Port], Port | None]


@dataclass(frozen=True)
class _AtSource:
    """Where the source is asked. port: as on the target. at: as it is there now."""

    front: RunSpec
    host: Host
    port: Port
    at: Port


@dataclass
class Downtime:
    """The prober of one Move's process. None is at work before `begin`, and where the App cannot
    be asked through a published port."""

    _prober: Prober | None = None
    _target_started: bool = False
    _url: str = ""
    _back_s: float | None = None  # a moment of time.monotonic()
    _own: _AtSource | None = None

    def begin(
        self,
        front: RunSpec,
        form: Form,
        source: Host,
        target: Host,
        *,
        reached: Reached,
        coming: bool = False,
    ) -> None:
        """Ask both hosts from now on. reached: as `Origin.reached`. coming: the VM moves to the
        target while it runs."""
        way = health.way_of(front, form)
        if way.port is None or self._prober is not None:
            return
        at = reached(front.service, way.port)
        if at is None:  # whoever answers at another port of the source is not the App
            return
        self._own = _AtSource(front, source, way.port, at)
        own = self._side(front, source, at, ready=True)
        self._url = measure.url_of(front.health, own.address)
        self._prober = Prober(
            {
                SOURCE: own,
                TARGET: replace(
                    self._side(front, target, way.port, ready=front.health.scheme != "tcp"),
                    coming=coming,
                ),
            }
        )
        self._prober.start()

    def await_source(self, halt: Halt) -> None:
        """Pause until the source has answered since `begin`, for at most half a minute: from an
        answer of it the downtime is counted."""
        if self._prober is None:
            return
        began = self._prober.began
        halt.pause(max(0.0, began + _BEFORE_S - time.monotonic()))
        while not self._prober.answered(SOURCE) and time.monotonic() < began + _FIRST_S:
            halt.pause(_LOOK_S)

    @property
    def in_vain(self) -> str:
        """The URL at which the source has not answered since `begin`; "" where it has, or nobody
        asks."""
        asked = self._prober is not None and not self._prober.answered(SOURCE)
        return self._url if asked else ""

    def _side(self, front: RunSpec, host: Host, port: Port, *, ready: bool) -> Side:
        place = watching.published_place(host, port)
        # An engine's proxy, or QEMU, accepts connections before the App does.
        return Side(
            front.health, place.address, place.vantage, lambda: ready or self._target_started
        )

    @contextmanager
    def target_starting(self) -> Iterator[None]:
        """The App is started on the target within. Behind it, a connection there may be its own."""
        # A request that comes between the publishing of a port and the network of its container
        # holds everything that follows up for a second (seen with Docker 26.1).
        quiet = nullcontext() if self._prober is None else self._prober.quiet(TARGET)
        with quiet:
            yield
        self._target_started = True

    def target_runs(self) -> None:
        """The App runs on the target, which was not started: it goes on there."""
        self._target_started = True

    def answered(self, answer: measure.Answer, started: float) -> None:
        """The App on the target has answered whoever waits for it, after it was started at that
        moment of time.monotonic()."""
        if self._prober is not None and answer.method is Method.PUBLISHED:
            self._prober.saw(TARGET, started + answer.seconds)

    def goes_back(self) -> None:
        """The target has been stopped, and the source is about to start again."""
        if self._prober is not None:
            self._prober.back()
            self._back_s = time.monotonic()

    def source_started(self, reached: Reached) -> None:
        """The source runs again, and its engine may have chosen another port. reached: as
        `Origin.reached`."""
        own = self._own
        if self._prober is None or own is None:
            return
        at = None
        with suppress(PortkitError):  # the App runs, and only how it is measured depends on this
            at = reached(own.front.service, own.port)
        if at is not None and at != own.at:
            self._own = replace(own, at=at)
            self._prober.moved(SOURCE, self._side(own.front, own.host, at, ready=True))

    def await_source_again(self) -> str:
        """In words, for how long the App of a Move that has gone back did not answer, once its
        source answers again; "" where it has not gone back, or nobody was asked."""
        if self._prober is None or self._back_s is None:
            return ""
        while not self._prober.answered(SOURCE):
            if time.monotonic() > self._back_s + _AGAIN_S:
                return f"the App has not answered at its source for {_AGAIN_S:.0f} s"
            time.sleep(_LOOK_S)
        seconds = self._prober.stop().downtime_s
        since = "" if seconds is None else f"; no host answered for {seconds:.2f} s"
        return f"the App answers at its source again{since}"

    def end(self) -> Timeline | None:
        """What was seen; None where nobody was asked."""
        return None if self._prober is None else self._prober.stop()
