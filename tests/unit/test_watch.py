"""An App is up when it has answered, has stayed up, and answers again."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from portkit import watch as watching
from portkit.errors import BootError, EngineError, SpaceError
from portkit.health import Way, deadline
from portkit.measure import check_timeout
from portkit.model import Healthcheck, HealthProbe, Life, Method, Port, Verdict
from portkit.watch import watch
from tests.factories import Heard

QUICK = HealthProbe(scheme="tcp", timeout_s=0.3, running_s=0.2, settle_s=0.3)
PATIENT = replace(QUICK, timeout_s=60.0)  # where it does answer, however slow the machine is
UP = Life("running", started="t1")


class FakeRunner:
    """An engine that says one thing after the other, and then the last one for ever."""

    def __init__(self, *lives: Life) -> None:
        self.lives = list(lives)

    def life(self, *_: object, **__: object) -> Life:
        return self.lives.pop(0) if len(self.lives) > 1 else self.lives[0]

    def logs(self, *_: object) -> str:
        return "its own words"


class FakeHost:
    name = "web2"

    def address(self) -> str:
        return "127.0.0.1"

    def forward(self, port: int, address: str = "127.0.0.1") -> tuple[str, int]:
        return address, port


@contextmanager
def listening() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def watched(
    runner: FakeRunner, way: Way, probe: HealthProbe = QUICK, **more: Any
) -> watching.Watch:
    host: Any = FakeHost()
    limit = deadline(probe, Verdict.NATIVE, None)
    return watch(runner, "pk-1", host, probe, way, limit, **more)  # type: ignore[arg-type]


def running(*lives: Life, probe: HealthProbe = QUICK) -> watching.Watch:
    return watched(FakeRunner(*lives), Way(Method.RUNNING), probe)


def failed(act: Callable[[], object]) -> BootError:
    with pytest.raises(BootError) as caught:
        act()
    assert "its own words" in caught.value.details
    return caught.value


def test_running_for_some_seconds() -> None:
    begun = time.monotonic()
    answer = running(Life("created"), Life("running"), UP).first_answer(begun)
    assert answer.method is Method.RUNNING
    assert (answer.url, answer.status, answer.vantage) == ("", 0, "engine")
    assert answer.seconds >= QUICK.running_s


def test_a_new_start_begins_the_seconds_anew() -> None:
    lives = [replace(UP, restarts=number) for number in range(50)]
    error = failed(lambda: running(*lives).first_answer(time.monotonic()))
    assert "did not stay up for 0.2 s" in error.brief
    error = failed(lambda: running(Life("running")).first_answer(time.monotonic()))
    assert error.details.startswith("not started")


@pytest.mark.parametrize("method", Method)
def test_one_that_ended_before_is_told(method: Method) -> None:
    with listening() as port:
        pass  # it is closed now: nothing answers there
    way = Way(method, port=Port(port, host_ip="127.0.0.1") if method is Method.PUBLISHED else None)
    probe = replace(QUICK, timeout_s=5)
    ended = watched(FakeRunner(Life("exited", 3)), way, probe)
    error = failed(lambda: ended.first_answer(time.monotonic()))
    assert error.brief == "the app exited with code 3 before it answered"


def test_the_healthcheck_of_the_app() -> None:
    lives = [replace(UP, health=word) for word in ("starting", "starting", "healthy")]
    way = Way(Method.HEALTHCHECK)
    answer = watched(FakeRunner(*lives), way).first_answer(time.monotonic())
    assert (answer.method, answer.tries, answer.vantage) == (Method.HEALTHCHECK, 3, "engine")
    sick = watched(FakeRunner(replace(UP, health="unhealthy")), way)
    assert "the healthcheck of the app fails" in failed(lambda: sick.first_answer(0)).brief
    slow = watched(FakeRunner(replace(UP, health="starting")), way)
    assert "did not pass within 0.3 s" in failed(lambda: slow.first_answer(0)).brief


def test_a_healthcheck_has_the_time_that_its_engine_gives_it() -> None:
    assert check_timeout(None, 60) == 60
    assert check_timeout(Healthcheck(("CMD", "x")), 60) == 180
    quick = Healthcheck(("CMD", "x"), interval_s=1, timeout_s=2, retries=5, start_period_s=4)
    assert (check_timeout(quick, 60), check_timeout(quick, 1)) == (60, 19)


@pytest.mark.parametrize(("named", "seconds"), [(None, 180), (1.0, 1)])
def test_a_named_timeout_is_obeyed_also_where_the_engine_would_wait_longer(
    named: float | None, seconds: float
) -> None:
    probe = replace(QUICK, timeout_s=named)
    check = Healthcheck(("CMD", "x"))
    seen = watched(FakeRunner(UP), Way(Method.HEALTHCHECK), probe, check=check)
    assert seen.deadline.seconds == seconds


class Talking(FakeRunner):
    """An app that does not run yet, whose log grows each time that it is read."""

    said: tuple[str | Exception, ...] = ()

    def logs(self, *_: object) -> str:
        first, *rest = self.said
        self.said = (*rest,) or (first,)
        if isinstance(first, Exception):
            raise first
        return first


def test_progress_shows_what_the_app_writes_before_it_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    starting, heard = [replace(UP, health="starting")] * 5, Heard()
    runner = Talking(*starting, replace(UP, health="healthy"))
    long = "x" * 1000
    runner.said = (
        "",
        "one\ntwo\x1b]0;title\x07\n\n",
        EngineError("no log", resolution="-"),
        "one\ntwo\x1b]0;title\x07\nold\rnew\n \n",
        f"old\rnew\n{long}\n",
    )
    monkeypatch.setattr("portkit.watch._NEWS_S", 0.0)
    patient = replace(QUICK, timeout_s=60)
    seen = watched(runner, Way(Method.HEALTHCHECK), patient, observer=heard)
    seen.first_answer(time.monotonic())
    lines = [text.removeprefix("not up yet; the app's last line: ") for text in heard.messages]
    assert lines == ["two]0;title", "new", "x" * 200]


def test_an_app_that_answers_soon_is_not_quoted() -> None:
    heard = Heard()
    seen = watched(FakeRunner(Life("created"), UP), Way(Method.RUNNING), observer=heard)
    seen.first_answer(time.monotonic())
    assert heard.messages == []


def test_a_longer_deadline_is_told_and_waited_for() -> None:
    heard, host = Heard(), FakeHost()
    probe = replace(QUICK, timeout_s=None)
    grown = deadline(probe, Verdict.EMULATED, None)
    runner: Any = FakeRunner(UP)
    seen = watch(runner, "pk-1", host, probe, Way(Method.RUNNING), grown, observer=heard)  # type: ignore[arg-type]
    assert seen.deadline.seconds == 300
    (text,) = heard.messages
    assert text.startswith("waiting up to 300 s for the first response: ")
    assert grown.reason in text


def test_an_address_that_only_the_host_reaches() -> None:
    with listening() as port:
        runner = FakeRunner(UP, replace(UP, address="127.0.0.1"))
        seen = watched(runner, Way(Method.HOST, inner=port), PATIENT)
        answer = seen.first_answer(time.monotonic())
        assert (answer.method, answer.vantage) == (Method.HOST, "ssh")
        assert answer.url == f"tcp://127.0.0.1:{port}"
        seen.settle()
    nowhere = watched(FakeRunner(UP), Way(Method.HOST, inner=1))
    assert "no address" in failed(lambda: nowhere.first_answer(0)).brief


@pytest.fixture
def answered() -> Iterator[tuple[watching.Watch, FakeRunner]]:
    """A Watch of an App that has answered once on its port, and goes on listening."""
    runner = FakeRunner(UP)
    with listening() as port:
        seen = watched(runner, Way(Method.PUBLISHED, port=Port(port, host_ip="")), PATIENT)
        seen.first_answer(time.monotonic())
        yield seen, runner


def test_it_stays_up_and_answers_again(answered: tuple[watching.Watch, FakeRunner]) -> None:
    seen, _ = answered
    begun = time.monotonic()
    seen.settle()
    assert time.monotonic() - begun >= QUICK.settle_s


@pytest.mark.parametrize(
    ("later", "brief"),
    [
        (Life("exited", 3), "the app exited with code 3 after its first answer"),
        (Life("exited"), "the guest ended after its first answer"),
        (replace(UP, restarts=1), "the app ended after its first response and was started again"),
        (Life("running", started="t2"), "ended after its first response and was started again"),
        (Life("running"), "ended after its first response and was started again"),
    ],
)
def test_one_that_answers_and_ends_is_not_up(
    answered: tuple[watching.Watch, FakeRunner], later: Life, brief: str
) -> None:
    seen, runner = answered
    runner.lives = [UP, later]
    assert brief in failed(seen.settle).brief


def test_one_that_does_not_answer_again_is_not_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with listening() as port:
        seen = watched(FakeRunner(UP), Way(Method.PUBLISHED, port=Port(port)))
        seen.first_answer(time.monotonic())
    assert "did not answer within" in failed(seen.settle).brief


def test_nothing_is_waited_for_where_settle_is_zero() -> None:
    runner = FakeRunner(UP)
    seen = watched(runner, Way(Method.RUNNING), replace(QUICK, settle_s=0))
    seen.first_answer(time.monotonic())
    runner.lives = [Life("exited", 3)]
    seen.settle()


def test_a_guest_whose_host_has_no_room_is_not_waited_for() -> None:
    stuck = replace(UP, stuck=True)
    with pytest.raises(SpaceError, match="stood still before it answered") as caught:
        running(UP, stuck, probe=PATIENT).first_answer(time.monotonic())
    assert "web2" in caught.value.resolution


def test_what_ends_and_is_started_again_is_told_and_waited_for() -> None:
    heard = Heard()
    gone = replace(UP, again="db exited with code 1")
    lives = [gone, gone, replace(UP, restarts=1)]
    way = Way(Method.HEALTHCHECK)
    healthy = [replace(each, health="healthy") for each in lives]
    watch = watched(FakeRunner(*healthy), way, observer=heard)
    watch.first_answer(time.monotonic())
    assert watch.before is not None
    assert (watch.before.again, watch.before.restarts) == ("", 1)
    said = "db exited with code 1; it is started again, as its restart policy says"
    assert heard.messages == [said]
    never = watched(FakeRunner(replace(gone, health="healthy")), way)
    error = failed(lambda: never.first_answer(time.monotonic()))
    assert error.brief == "db exited with code 1, however often it was started again"
    ended = replace(UP, started="", again="the app exited with code 3")
    silent = running(ended)
    error = failed(lambda: silent.first_answer(time.monotonic()))
    assert "the app exited with code 3, and was started again" in error.details


def test_what_goes_on_ending_is_given_up_before_the_deadline() -> None:
    ended = replace(UP, started="", again="the app exited with code 3")
    watch = watched(FakeRunner(ended), Way(Method.RUNNING), replace(QUICK, timeout_s=30.0))
    watch.deadline = replace(watch.deadline, seconds=1.5)
    began = time.monotonic()
    error = failed(lambda: watch.first_answer(began))
    assert error.brief == "the app exited with code 3, however often it was started again"
    assert "x-portkit.health.timeout" in error.resolution
    assert time.monotonic() - began >= 0.5


def test_one_that_ends_with_its_first_answer_is_not_up_although_it_is_started_again() -> None:
    healthy = replace(UP, health="healthy")
    ended = replace(healthy, started="", again="the app exited with code 3")
    way = Way(Method.HEALTHCHECK)
    at_once = watched(FakeRunner(healthy, ended), way)
    error = failed(lambda: at_once.first_answer(time.monotonic()))
    assert error.brief == "the app exited with code 3 after its first answer"
    # By the next look it has been started again: that start has to answer, too.
    second = replace(healthy, started="t2", restarts=1)
    watch = watched(FakeRunner(healthy, second), way)
    watch.first_answer(time.monotonic())
    assert watch.before == second

    class Flapping(FakeRunner):
        def life(self, *_: object, **__: object) -> Life:
            return replace(healthy, started=str(time.monotonic()))

    error = failed(lambda: watched(Flapping(), way).first_answer(time.monotonic()))
    assert "started again" in error.brief
