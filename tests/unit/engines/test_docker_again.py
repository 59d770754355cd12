"""What ends before the commit is started again by portkit, as its engine would do it afterwards."""

from typing import Any

import pytest

from portkit.engines.docker_again import Again
from portkit.engines.docker_client import Inspected, Row
from portkit.engines.docker_state import starts_again
from portkit.model import Life
from portkit.wire import labels

RUNS = {"Status": "running", "StartedAt": "t"}
ENDED = {"Status": "exited", "ExitCode": 1}


class Engine:
    """A container whose process ends at once; when it was started."""

    def __init__(self, policy: str) -> None:
        self.now, self.started = 0.0, list[float]()
        self.again = Again(lambda _: self.started.append(self.now), lambda: self.now)
        about = {labels.RESTART: policy, labels.SERVICE: "web"}
        self.row = Row(Id="c1", Labels=about)

    def life(self, state: dict[str, Any], *, start: bool = True, policy: str = "") -> Life:
        host = {"RestartPolicy": {"Name": policy}}
        seen = Inspected.model_validate({"State": state, "HostConfig": host})
        return self.again.life(self.row, seen, start=start)

    def for_s(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.life(ENDED)
            self.now = round(self.now + 0.1, 1)


def test_it_waits_longer_each_time() -> None:
    engine = Engine("always")
    engine.for_s(7.0)
    pauses = [b - a for a, b in zip(engine.started, engine.started[1:], strict=False)]
    assert engine.started[0] == pytest.approx(0.1)
    # Each is seen to have ended a moment after its start.
    assert pauses == pytest.approx([0.3, 0.5, 0.9, 1.7, 3.3], abs=0.15)
    life = engine.life(ENDED)
    assert (life.status, life.started, life.restarts) == ("running", "", 6)
    assert life.again == "web exited with code 1"
    assert engine.life(RUNS).restarts == 6, "what happens next is compared with that"
    engine.now += 10.0
    engine.life(ENDED)
    assert engine.started[-1] == engine.now
    engine.now += 10.0
    engine.life(ENDED)
    engine.now += 0.1
    engine.life(ENDED)
    assert engine.started[-1] == engine.now, "it had lasted"


def test_nothing_is_started_that_nobody_waits_for_or_that_the_engine_starts() -> None:
    engine = Engine("always")
    for _ in range(3):
        assert engine.life(ENDED, start=False).status == "exited"
        assert engine.life(ENDED, policy="always").status == "exited"
        engine.now += 1.0
    assert not engine.started


@pytest.mark.parametrize(
    ("policy", "code", "times", "wanted"),
    [
        ("always", 0, 9, True),
        ("unless-stopped", 3, 0, True),
        ("on-failure", 0, 0, False),
        ("on-failure", 1, 99, True),
        ("on-failure:2", 1, 1, True),
        ("on-failure:2", 1, 2, False),
        ("no", 1, 0, False),
        ("", 1, 0, False),
    ],
)
def test_the_policies(policy: str, code: int, times: int, wanted: bool) -> None:
    assert starts_again(policy, code, times) is wanted
