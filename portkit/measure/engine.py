"""How an App is known to be up where the app itself cannot be asked: the engine is asked.

`look` returns the Life of the Instance now, and raises BootError when it has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from portkit.errors import BootError
from portkit.measure.answer import Answer
from portkit.model import Healthcheck, Life, Method
from portkit.model.health import CHECK_INTERVAL_S, CHECK_RETRIES, CHECK_TIMEOUT_S

ENGINE_POLL_S = 0.1  # each question is a request to the engine, over ssh for most targets
_SETTLE_POLL_S = 0.5  # nothing is measured meanwhile
Look = Callable[[], Life]


def until_healthy(look: Look, *, started: float, timeout_s: float) -> Answer:
    """Wait until the engine says that the App's own healthcheck passes.

    BootError when the engine says that it fails, or says neither within `timeout_s` seconds.
    """
    deadline, tries = time.monotonic() + timeout_s, 0
    while True:
        tries += 1
        life = look()
        health, whose = life.health, f"the healthcheck of {life.service or 'the app'}"
        if health == "healthy":
            return _answer(started, tries, Method.HEALTHCHECK)
        if health == "unhealthy":
            raise BootError(
                f"{whose} fails",
                details=f"its output: {life.said}" if life.said else "",
                resolution="Read its output and its log.",
            )
        if time.monotonic() > deadline:
            raise BootError(
                f"{whose} did not pass within {timeout_s:g} s",
                details=f"the engine reports: {health or 'no healthcheck'}",
                resolution="Read its log. x-portkit.health sets the method and the timeout.",
            )
        time.sleep(ENGINE_POLL_S)


def check_timeout(check: Healthcheck | None, timeout_s: float) -> float:
    """How long to wait for a healthcheck: at least until the engine itself would give up."""
    if check is None:
        return timeout_s
    interval = check.interval_s or CHECK_INTERVAL_S
    once = interval + (check.timeout_s or CHECK_TIMEOUT_S)
    return max(timeout_s, (check.start_period_s or 0.0) + once * (check.retries or CHECK_RETRIES))


def until_running(look: Look, *, started: float, seconds: float, timeout_s: float) -> Answer:
    """Wait until the app has been running for `seconds` without being started again.

    BootError when it is still not so after `timeout_s` and `seconds` together.
    """
    deadline, tries = time.monotonic() + timeout_s + seconds, 0
    mark: tuple[str, int] | None = None
    since = time.monotonic()
    while True:
        tries += 1
        life, now = look(), time.monotonic()
        if not life.started or mark_of(life) != mark:
            since = now
        mark = mark_of(life)
        if life.started and now - since >= seconds:
            return _answer(started, tries, Method.RUNNING)
        if now > deadline:
            raise BootError(
                f"the app did not stay up for {seconds:g} s",
                details=f"started again {life.restarts} times" if life.started else "not started",
                resolution="See its log.",
            )
        time.sleep(ENGINE_POLL_S)


def stays(look: Look, before: Life, seconds: float) -> None:
    """Watch for `seconds` that the app keeps running. BootError when it ends or is restarted."""
    end = time.monotonic() + seconds
    while True:
        life = look()
        if mark_of(life) != mark_of(before):
            raise BootError(
                "the app ended after its first response and was started again",
                details=f"portkit watched it for {seconds:g} s (x-portkit.health.settle)",
                resolution="See its log.",
            )
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, _SETTLE_POLL_S))


def mark_of(life: Life) -> tuple[str, int]:
    """Two values of which one changes whenever the app is started again."""
    return life.started, life.restarts


def _answer(started: float, tries: int, method: Method) -> Answer:
    seconds = time.monotonic() - started
    return Answer(seconds, 0, tries, "", method, "engine", ENGINE_POLL_S)
