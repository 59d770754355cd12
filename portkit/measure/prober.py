"""Ask both sides of a cutover all through it, so that its downtime is measured and not inferred."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from portkit.measure import probe as probes
from portkit.measure.recorder import SOURCE, TARGET, Attempt, Recorder
from portkit.model import HealthProbe, Timeline

# Between two requests to a side that answers or refuses. A restart of a container takes half a
# second, of which this is a tenth; twenty requests a second are no load for an app's health path.
POLL_S = 0.05
# QEMU's user-mode network accepts connections before the guest has a network, and what was sent
# then is lost. So while a request is open, others follow, more and more seldom: an app that is
# only slow has to answer them all.
_ASK_AGAIN_S = 0.2
_MORE_SELDOM = 0.2  # of the time that has passed without an answer
_MOST_OPEN = 8
# The first of the open requests waits for an app that needs long for each answer, as on an emulated
# processor; the others are there to notice that there is a network now.
_LONG_S, _SHORT_S = 10.0, 1.0
# An app that is asked by TCP alone counts when it keeps the connection for so long: what forwards a
# port closes it at once where the app refuses it, through ssh after a way there and back. What the
# app closes sooner because it ends is no success, so it must not be longer than that takes.
_HELD_S = {"direct": 0.2, "ssh": 1.0}
_ENDING_S = 1.0  # for the threads that ask; they wait for nothing then
_REASON_LENGTH = 200


@dataclass(frozen=True)
class Side:
    """Where one side is asked, and how. ready: whether a success may count yet; for an app that is
    asked by TCP alone, behind something that accepts connections before the app does. coming: a VM
    moves there while it runs: its network accepts connections from the beginning, and how long it
    has been silent does not say how slow it is."""

    probe: HealthProbe
    address: tuple[str, int]
    vantage: str = "direct"
    ready: Callable[[], bool] = lambda: True
    coming: bool = False


class Prober:
    """Asks the sides "source" and "target" from `start` to `stop`, each on threads of its own.

    It raises nothing but what is wrong with its own use, whatever the sides do. began: the moment
    of time.monotonic() that is 0 in its Timeline.
    """

    def __init__(self, sides: Mapping[str, Side] | None = None, *, poll_s: float = POLL_S) -> None:
        self.began = 0.0
        self._sides = dict(sides or {})
        self._poll_s = poll_s
        self._askers: dict[str, _Asker] = {}
        self._recorder = Recorder()
        self._lock = threading.Lock()
        self._timeline: Timeline | None = None
        if not self._sides.keys() <= {SOURCE, TARGET}:
            raise ValueError(f"the sides must be {SOURCE} and {TARGET}")

    def __enter__(self) -> Prober:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to ask; returns at once."""
        self.began = time.monotonic()
        for name, side in self._sides.items():
            self.ask(name, side)

    def ask(self, name: str, side: Side) -> None:
        """Ask one more side, whose address was not known before, from now on."""
        if name not in (SOURCE, TARGET) or name in self._askers:
            raise ValueError(f"{name} is not a side, or is probed already")
        self._askers[name] = _Asker(name, side, self._poll_s, self._record)
        self._sides[name] = side
        self._askers[name].start()

    @contextmanager
    def quiet(self, name: str) -> Iterator[None]:
        """Do not ask a side while the block runs, which starts its container.

        A request that comes after the engine has published the port and before the container has
        its network asks for an address (ARP) that nobody has yet; Linux repeats that after a second
        and holds everything else for the container back until then. So asking makes the start of a
        container a second slower (seen with Docker 26.1).
        """
        asker = self._askers.get(name)
        if asker is not None:
            asker.pause(paused=True)
        try:
            yield
        finally:
            if asker is not None:
                asker.pause(paused=False)

    def moved(self, name: str, side: Side) -> None:
        """A side is asked elsewhere from now on."""
        self._sides[name] = side
        self._askers[name].moved(side)

    def answered(self, name: str) -> bool:
        """Whether a side has answered rightly since it was first asked; the source of a Move that
        has turned back: since then."""
        return name in self._askers and self._askers[name].answered

    def saw(self, name: str, moment: float) -> None:
        """Somebody else has got a right answer of a side, at that moment of time.monotonic(). A
        side that has been silent for long is asked seldom; from now on it is asked often again."""
        self._askers[name].saw(moment)

    def back(self) -> None:
        """The Move turns back: the target has been stopped, and the source is about to start."""
        with self._lock:
            self._recorder.back(time.monotonic() - self.began)
        if SOURCE in self._askers:
            self._askers[SOURCE].answered = False

    def stop(self) -> Timeline:
        """End within about a second; a second call returns the same. Requests without an answer by
        now are not counted."""
        if self._timeline is not None:
            return self._timeline
        for asker in self._askers.values():
            asker.stop()
        ended_s = time.monotonic() - self.began
        for asker in self._askers.values():
            asker.join()
        with self._lock:
            self._timeline = self._recorder.timeline(
                ended_s=ended_s,
                poll_s=max((asker.widest for asker in self._askers.values()), default=self._poll_s),
                vantage={name: side.vantage for name, side in self._sides.items()},
            )
        return self._timeline

    def _record(self, name: str, question: _Question) -> None:
        attempt = Attempt(
            side=name,
            sent_s=question.sent - self.began,
            answered_s=question.answered - self.began,
            ok=question.ok,
            reason=question.reason,
        )
        with self._lock:
            self._recorder.add(attempt)


@dataclass
class _Question:
    """One request, on moments of time.monotonic(). patient: whether it waits long. lost: a later
    one was answered before it. sockets: those that it uses."""

    sent: float
    patient: bool
    lost: bool = False
    sockets: list[socket.socket] = field(default_factory=list)
    done: bool = False
    ok: bool = False
    answered: float = 0.0
    reason: str = ""


class _Asker:
    """Asks one side. Its questions are reported in the order in which they were sent: the answers
    of an app that has just come up arrive before lost questions are given up."""

    def __init__(
        self, name: str, side: Side, poll_s: float, report: Callable[[str, _Question], None]
    ) -> None:
        self.widest = poll_s  # the longest time that was left between two questions
        self._name, self._side = name, side
        self._poll_s, self._report = poll_s, report
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = self._paused = False
        self._questions: deque[_Question] = deque()  # not reported yet
        self._last_sent = float("-inf")
        self._silent_since: float | None = None  # the first question behind the last answer
        self.answered = False  # rightly, at least once
        self._addresses: deque[tuple[str, int]] = deque()
        self._thread = threading.Thread(target=self._run, name=f"prober {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def pause(self, *, paused: bool) -> None:
        """Ask nothing, or go on."""
        self._paused = paused
        self._wake.set()

    def moved(self, side: Side) -> None:
        """Ask there from now on."""
        with self._lock:
            self._side = side
            self._addresses.clear()
        self._wake.set()

    def stop(self) -> None:
        """Nothing is asked any more; open connections are closed."""
        with self._lock:
            self._stopping = True
            for question in self._questions:
                for each in question.sockets:
                    with contextlib.suppress(OSError):  # it has been closed in the meantime
                        each.shutdown(socket.SHUT_RDWR)
            for question in self._questions:
                if question.done:
                    self._report(self._name, question)
            self._questions.clear()
        self._wake.set()

    def join(self) -> None:
        self._thread.join(_ENDING_S)

    def _run(self) -> None:
        while not self._stopping:
            if not self._addresses:
                self._resolve()
            self._wake.clear()
            due = self._due()
            now = time.monotonic()
            if self._paused:
                due = max(due, now + self._poll_s)
            if due > now:
                # Woken by an answer, after which another question may be due sooner.
                self._wake.wait(min(due - now, _ASK_AGAIN_S))
            else:
                self._ask(now)

    def _resolve(self) -> None:
        """Once: what a name leads to may change with the cutover, and a lookup takes its time."""
        with contextlib.suppress(OSError):  # the questions meet it, too
            rows = socket.getaddrinfo(*self._side.address, type=socket.SOCK_STREAM)
            self._addresses.extend((str(row[4][0]), int(row[4][1])) for row in rows)

    def _due(self) -> float:
        """When the next question is due."""
        with self._lock:
            if sum(not each.done for each in self._questions) >= _MOST_OPEN:
                return float("inf")
            if self._silent_since is None:
                return self._last_sent + self._poll_s
            silent = 0.0 if self._side.coming else time.monotonic() - self._silent_since
            return self._last_sent + max(_ASK_AGAIN_S, silent * _MORE_SELDOM)

    def _ask(self, now: float) -> None:
        with self._lock:
            if self._stopping:
                return
            if self._last_sent > float("-inf"):
                self.widest = max(self.widest, now - self._last_sent)
            self._last_sent = now
            if self._silent_since is None:
                self._silent_since = now
            waits = any(each.patient and not each.done for each in self._questions if not each.lost)
            question = _Question(now, patient=not waits)
            self._questions.append(question)
        thread = threading.Thread(target=self._answer, args=(question,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there is no room for one more
            self._finish(question, reason="this machine cannot start another thread", sign=False)

    def _answer(self, question: _Question) -> None:
        side = self._side
        deadline = question.sent + (_LONG_S if question.patient else _SHORT_S)
        try:
            ready = side.ready()
            address = self._addresses[0] if self._addresses else side.address
            seen = probes.ask(
                side.probe,
                address,
                deadline,
                question.sockets,
                name=side.address[0],
                held_s=_HELD_S.get(side.vantage, probes.HELD_S),
            )
        except Exception as error:  # noqa: BLE001 - whatever a host answers, it is no success
            if not self.answered:
                self._addresses.rotate(-1)  # a name may have an address that nobody listens on
            sign = not isinstance(error, TimeoutError)
            self._finish(question, reason=_reason(error), sign=sign)
            return
        if seen.status is None:
            self._finish(question, reason=seen.text)
        elif not ready:
            self._finish(question, reason="not ready yet")
        else:
            self._finish(question, moment=seen.moment)

    def _finish(
        self, question: _Question, *, moment: float = 0.0, reason: str = "", sign: bool = True
    ) -> None:
        """sign: whether somebody was there, if only to refuse."""
        with self._lock:
            question.ok, question.reason = not reason, reason[:_REASON_LENGTH]
            question.answered = moment or time.monotonic()
            question.done = True
            self.answered |= question.ok
            if sign:
                self._silent_since = None
                for each in self._questions:
                    each.lost |= each.sent < question.sent
            self._report_first()
        self._wake.set()

    def _report_first(self) -> None:
        """Those before which nothing is open. The lock is held."""
        while self._questions and self._questions[0].done:
            self._report(self._name, self._questions.popleft())

    def saw(self, moment: float) -> None:
        """Somebody else has got a right answer at that moment."""
        seen = _Question(moment, patient=False, done=True, ok=True, answered=moment)
        with self._lock:
            if self._stopping:
                return
            earlier = sum(each.sent <= moment for each in self._questions)
            self._questions.insert(earlier, seen)
            self.answered, self._silent_since = True, None
            self._report_first()
        self._wake.set()


def _reason(error: Exception) -> str:
    """Without the text of http.client's errors, which may have the path, and so a token, in it."""
    if isinstance(error, probes.UnsaidError):
        return str(error)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    text = error.strerror if isinstance(error, OSError) else None
    return text or type(error).__name__
