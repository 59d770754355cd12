"""The prober: its figures by hand and by property, its threads against real servers."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.measure import SOURCE, TARGET, Prober, Side
from portkit.measure import probe as probe_module
from portkit.measure.prober import _Asker
from portkit.measure.recorder import Attempt, Recorder, longest_gap
from portkit.model import HealthProbe, Overlap, Timeline
from tests.ports import free_port


def recorded(attempts: Sequence[Attempt], back_s: float | None = None) -> Timeline:
    recorder = Recorder()
    for attempt in attempts:
        if back_s is not None and attempt.sent_s >= back_s:
            recorder.back(back_s)
        recorder.add(attempt)
    return recorder.timeline(ended_s=100.0)


def good(side: str, *sent: float, took: float = 0.25) -> list[Attempt]:
    return [Attempt(side, moment, moment + took, ok=True) for moment in sent]


def bad(side: str, *sent: float) -> list[Attempt]:
    return [Attempt(side, moment, moment + 0.25, ok=False, reason="refused") for moment in sent]


def test_a_cutover() -> None:
    seen = recorded(
        [*good(SOURCE, 0, 1, 2), *bad(SOURCE, 3, 4), *bad(TARGET, 0, 1, 2, 3, 4), *good(TARGET, 5)]
    )
    assert (seen.downtime_s, seen.down_from_s) == (3.0, 2.25)
    assert (seen.requests, seen.failed, seen.last_success_s) == (11, 7, 5.25)
    assert seen.both_answered == ()
    spans = [(span.from_s, span.to_s, span.requests, span.ok) for span in seen.spans[SOURCE]]
    assert spans == [(0, 2, 3, True), (3, 4, 2, False)]
    assert seen.spans[TARGET][0].reason == "refused"


@pytest.mark.parametrize("attempts", [[], bad(SOURCE, 1, 2), good(SOURCE, 1)])
def test_without_two_successes_there_is_no_downtime(attempts: list[Attempt]) -> None:
    assert recorded(attempts).downtime_s is None


def test_a_source_that_never_answered_leaves_the_downtime_unknown() -> None:
    """As an app on a slow processor, which needs longer for an answer than it was asked."""
    seen = recorded([*bad(SOURCE, 0, 1), *good(TARGET, 30, 31)])
    assert (seen.downtime_s, seen.down_from_s, seen.last_success_s) == (None, None, 31.25)
    again = [*bad(SOURCE, 0, 1), *good(TARGET, 30), *good(SOURCE, 40, 41)]
    assert recorded(again, back_s=35).downtime_s is None


def test_a_target_that_never_answered_leaves_the_downtime_unknown() -> None:
    attempts = [*good(SOURCE, 0, 1), *bad(SOURCE, 2), *bad(TARGET, 0, 1, 2)]
    seen = recorded(attempts)
    assert (seen.downtime_s, seen.last_success_s) == (None, 1.25)
    back = recorded([*attempts, *good(SOURCE, 9)], back_s=8)
    assert (back.downtime_s, back.down_from_s) == (8.0, 1.25)


def test_an_outage_that_lasts_is_not_hidden() -> None:
    seen = recorded([*good(SOURCE, 0, 1), *bad(SOURCE, 2, 3)])
    assert (seen.downtime_s, seen.last_success_s, seen.ended_s) == (1.0, 1.25, 100.0)


def test_a_source_that_answers_behind_the_target_proves_that_both_served() -> None:
    seen = recorded([*good(SOURCE, 0, 1, 5), *good(TARGET, 3, 4)])
    assert seen.both_answered == (Overlap(TARGET, SOURCE, 3.25, 5),)


def test_answers_whose_order_is_open_prove_nothing() -> None:
    """The source may have answered at 2.0 and stopped, and the target have started at 2.1."""
    seen = recorded([*good(SOURCE, 0, 2, took=1), *good(TARGET, 1.5, took=1)])
    assert seen.both_answered == ()


def test_a_move_that_turns_back() -> None:
    """The source answers again behind the target, as it should; now the target must be silent."""
    attempts = [*good(SOURCE, 0), *good(TARGET, 2), *good(SOURCE, 5, 6)]
    assert len(recorded(attempts).both_answered) == 1
    assert recorded(attempts, back_s=3).both_answered == ()
    late = [*attempts, *good(TARGET, 7)]
    assert recorded(late, back_s=3).both_answered == (Overlap(SOURCE, TARGET, 5.25, 7),)


MOMENTS = st.lists(st.floats(0, 1000, allow_nan=False), min_size=2, max_size=60).map(sorted)


@given(MOMENTS)
def test_no_pause_is_longer_than_the_longest(moments: list[float]) -> None:
    gap = longest_gap(moments)
    assert gap is not None
    assert gap.seconds == max(b - a for a, b in pairwise(moments))
    assert gap.from_s in moments
    assert gap.seconds <= moments[-1] - moments[0]


@given(MOMENTS, st.lists(st.sampled_from((SOURCE, TARGET)), min_size=60, max_size=60))
def test_what_is_forgotten_changes_no_figure(moments: list[float], sides: list[str]) -> None:
    attempts = [
        Attempt(side, moment, moment, ok=True) for side, moment in zip(sides, moments, strict=False)
    ]
    small, large = Recorder(most_moments=3, most_spans=4), Recorder()
    for attempt in attempts:
        small.add(attempt)
        large.add(attempt)
    seen, wanted = small.timeline(ended_s=0), large.timeline(ended_s=0)
    assert (seen.downtime_s, seen.last_success_s) == (wanted.downtime_s, wanted.last_success_s)
    assert seen.both_answered == wanted.both_answered


@given(st.lists(st.booleans(), max_size=200))
def test_spans_are_few_and_add_up(results: list[bool]) -> None:
    recorder = Recorder(most_spans=8)
    for moment, ok in enumerate(results):
        recorder.add(Attempt(SOURCE, moment, moment, ok))
    seen = recorder.timeline(ended_s=0)
    spans = seen.spans.get(SOURCE, ())
    assert len(spans) <= 8
    assert sum(span.requests for span in spans) == len(results) == seen.requests
    assert sum(span.failed for span in spans) == results.count(False) == seen.failed
    ends = [moment for span in spans for moment in (span.from_s, span.to_s)]
    assert ends == sorted(ends)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


class Slow(Handler):
    def do_GET(self) -> None:
        time.sleep(1.5)
        with contextlib.suppress(OSError):
            super().do_GET()


class Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that hangs up early is none."""


@contextmanager
def serving(port: int, handler: type[BaseHTTPRequestHandler] = Handler) -> Iterator[None]:
    with Server(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def side(port: int, scheme: str = "http") -> Side:
    return Side(HealthProbe(scheme=scheme), ("127.0.0.1", port))


@pytest.mark.parametrize("scheme", ["http", "tcp"])
def test_an_app_that_goes_away_and_comes_back_elsewhere(scheme: str) -> None:
    first, second = free_port(), free_port()
    with serving(first):
        prober = Prober({SOURCE: side(first, scheme), TARGET: side(second, scheme)})
        prober.start()
        time.sleep(2.5)
    gone = time.monotonic()
    time.sleep(0.7)
    back = time.monotonic()
    with serving(second):
        time.sleep(2.5)
        seen = prober.stop()
    assert seen.downtime_s is not None
    assert seen.down_from_s is not None
    # Behind the last success the server closes its door, which takes some moments.
    assert 0.7 <= seen.downtime_s < 2.0
    assert seen.down_from_s <= gone - prober.began
    assert back - prober.began <= seen.down_from_s + seen.downtime_s
    assert seen.both_answered == ()
    assert seen.spans[SOURCE][0].requests > 3
    assert [span.ok for span in seen.spans[TARGET]] == [False, True]
    assert seen.failed > 3
    assert seen.vantage == {SOURCE: "direct", TARGET: "direct"}
    assert seen.poll_s >= 0.05


def test_a_connection_that_an_app_kept_until_it_ended_counts() -> None:
    """An app that is asked by TCP alone is up until it closes, not until a second before."""
    port = free_port()
    with serving(port):
        prober = Prober({SOURCE: side(port, "tcp")})
        prober.start()
        time.sleep(1.5)
        gone = time.monotonic() - prober.began
    seen = prober.stop()
    assert seen.last_success_s is not None
    assert seen.last_success_s > gone - 0.7
    assert seen.spans[SOURCE][0].requests >= 5


def test_both_that_serve_are_seen() -> None:
    first, second = free_port(), free_port()
    with (
        serving(first),
        serving(second),
        Prober({SOURCE: side(first), TARGET: side(second)}) as prober,
    ):
        time.sleep(0.5)
        (overlap,) = prober.stop().both_answered
    assert (overlap.first, overlap.then) == (TARGET, SOURCE)


def test_a_slow_side_is_waited_for_and_holds_nobody_up() -> None:
    first, second = free_port(), free_port()
    with serving(first), serving(second, Slow), Prober({SOURCE: side(first)}) as prober:
        prober.ask(TARGET, side(second))
        time.sleep(3)
        seen = prober.stop()
    assert sum(span.requests - span.failed for span in seen.spans[TARGET]) >= 1
    assert seen.spans[SOURCE][0].requests > 20
    assert [span.ok for span in seen.spans[SOURCE]] == [True]


@contextmanager
def silent() -> Iterator[int]:
    """Accepts every connection and says nothing, as QEMU before the guest has a network."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield int(listener.getsockname()[1])


def test_lost_questions_do_not_hide_an_app_that_is_up() -> None:
    held = []
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        port = listener.getsockname()[1]
        with Prober({TARGET: side(port)}) as prober:
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                held.append(listener.accept()[0])
            up = time.monotonic()
            while time.monotonic() < up + 1.0:
                with listener.accept()[0] as client:
                    client.recv(4096)
                    client.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            seen = prober.stop()
    for each in held:
        each.close()
    assert seen.last_success_s is not None
    assert seen.last_success_s - (up - prober.began) > 0.5


@pytest.mark.parametrize(("coming", "pause_s"), [(False, 20.0), (True, 0.2)])
def test_a_vm_that_is_on_its_way_is_asked_as_often_as_before(coming: bool, pause_s: float) -> None:
    side = Side(HealthProbe(), ("127.0.0.1", 1), coming=coming)
    asker = _Asker(TARGET, side, 0.05, lambda name, question: None)
    asker._last_sent = time.monotonic()
    asker._silent_since = asker._last_sent - 100.0
    assert asker._due() - asker._last_sent == pytest.approx(pause_s, abs=0.15 * pause_s)


def test_a_move_that_turns_back_waits_for_an_answer_from_then_on() -> None:
    port = free_port()
    with serving(port), Prober({SOURCE: side(port)}) as prober:
        time.sleep(0.3)
        assert prober.answered(SOURCE)
        with prober.quiet(SOURCE):
            time.sleep(0.2)
            prober.back()
            assert not prober.answered(SOURCE)
        time.sleep(0.5)
        assert prober.answered(SOURCE)


def test_an_answer_that_somebody_else_got_counts() -> None:
    """A VM that boots for minutes is asked ever more seldom, and may be up in between."""
    first = free_port()
    with silent() as port, Prober({TARGET: side(port)}) as prober:
        with serving(first):
            prober.ask(SOURCE, side(first))
            time.sleep(0.5)
        asker = prober._askers[TARGET]
        asker._silent_since = time.monotonic() - 1000.0  # the next question is due in minutes
        up = time.monotonic()
        prober.saw(TARGET, up)
        assert prober.answered(TARGET)
        time.sleep(0.5)
        assert asker._last_sent > up
        seen = prober.stop()
    assert seen.last_success_s == pytest.approx(up - prober.began, abs=0.001)
    assert seen.downtime_s is not None
    assert seen.both_answered == ()


def test_it_ends_at_once_whatever_a_side_does() -> None:
    with silent() as port:
        prober = Prober({SOURCE: side(port), TARGET: side(free_port())})
        prober.start()
        time.sleep(0.5)
        seen = prober.stop()
    assert seen.downtime_s is None
    assert prober.stop() is seen
    names = {f"prober {SOURCE}", f"prober {TARGET}"}
    assert not names & {thread.name for thread in threading.enumerate()}


def test_a_success_counts_only_when_the_caller_says_so() -> None:
    port, ready = free_port(), threading.Event()
    with (
        serving(port),
        Prober({TARGET: Side(HealthProbe(), ("127.0.0.1", port), ready=ready.is_set)}) as prober,
    ):
        time.sleep(0.3)
        ready.set()
        time.sleep(0.3)
        seen = prober.stop()
    assert [span.ok for span in seen.spans[TARGET]] == [False, True]
    assert seen.spans[TARGET][0].reason == "not ready yet"


def test_a_side_is_left_in_peace_while_it_starts() -> None:
    first, second = free_port(), free_port()
    with serving(first), serving(second), Prober({SOURCE: side(first)}) as prober:
        prober.ask(TARGET, side(second))
        time.sleep(0.3)
        with prober.quiet(TARGET):
            time.sleep(0.2)
            begun = time.monotonic() - prober.began
            time.sleep(0.5)
            ended = time.monotonic() - prober.began
        with prober.quiet("none"):
            time.sleep(0.4)
        seen = prober.stop()
    assert seen.poll_s >= 0.6, "and it is said that it was not asked"
    (target,) = seen.spans[TARGET]
    assert target.from_s < begun
    assert target.to_s > ended
    assert seen.spans[SOURCE][0].requests > target.requests + 5


def test_nothing_that_a_probe_raises_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("the path with its token")

    monkeypatch.setattr(probe_module, "ask", broken)
    with Prober({SOURCE: side(free_port())}) as prober:
        time.sleep(0.2)
        seen = prober.stop()
    assert seen.failed == seen.requests > 1
    assert seen.spans[SOURCE][0].reason == "ValueError"


def test_a_side_that_is_elsewhere_now() -> None:
    """An engine chooses another port when it starts a container again."""
    there = free_port()
    with serving(there), Prober({SOURCE: side(free_port())}) as prober:
        time.sleep(0.2)
        assert not prober.answered(SOURCE)
        prober.moved(SOURCE, side(there))
        deadline = time.monotonic() + 5
        while not prober.answered(SOURCE) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert prober.answered(SOURCE)


def test_a_name_that_nobody_knows_is_a_failure() -> None:
    with Prober({SOURCE: Side(HealthProbe(), ("nowhere.invalid", 80))}) as prober:
        time.sleep(0.5)
        seen = prober.stop()
    assert seen.failed == seen.requests


def test_there_are_two_sides() -> None:
    with pytest.raises(ValueError, match="source and target"):
        Prober({"elsewhere": side(1)})
