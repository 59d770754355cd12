"""How long a first answer is waited for reaches the one who waits, the progress and the report."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from portkit import boot
from portkit.clock import Clock
from portkit.halt import Halt
from portkit.model import App, Artifact, Form, HealthProbe, Instance, Life, Service
from portkit.move import measure_again
from portkit.move.downtime import Downtime
from portkit.move.steps import Start
from tests.factories import IMAGE, Heard, app_spec, facts, plan, spec

SLOW = facts(accelerator="tcg", loop_s=0.06)
SLOWER = facts(accelerator="kvm", loop_s=0.15)
NAMED = HealthProbe(timeout_s=7, running_s=0, settle_s=0)
UNNAMED = HealthProbe(running_s=0, settle_s=0)
CASES = [(UNNAMED, SLOW, 300), (UNNAMED, SLOWER, 300), (NAMED, SLOW, 7), (NAMED, SLOWER, 7)]


class Engine:
    """A Runner whose one Instance runs as soon as it is started."""

    def start(self, _: str, **__: object) -> None: ...
    def stop(self, *_: object) -> None: ...

    def life(self, *_: object, **__: object) -> Life:
        return Life("running", started="t1")


@pytest.fixture(autouse=True)
def _engine(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def runner(*_: object) -> Iterator[Engine]:
        yield Engine()

    here = Instance("pk-1", "web", Form.DISK, "web2", "running")
    monkeypatch.setattr(boot, "runner", runner)
    monkeypatch.setattr(boot, "instances", lambda *_: (here,))


@pytest.mark.parametrize(("health", "there", "seconds"), CASES)
def test_of_a_move(health: HealthProbe, there: Any, seconds: float) -> None:
    heard = Heard()
    ground: Any = SimpleNamespace(
        plan=plan(forms=(Form.DISK,), keep=Form.DISK),
        target=SimpleNamespace(name="web2"),
        clock=Clock(heard),
        loaded=SimpleNamespace(
            spec=app_spec(spec(health=health)),
            facts=there,
            artifacts={Form.DISK: Artifact(Form.DISK, "sha256:1", (IMAGE,), (), 0, 0)},
            while_up=None,
        ),
        halt=Halt(),
        downtime=Downtime(),
        from_start=True,
        phases=list,
        results=SimpleNamespace(result=lambda step: {}),
    )
    made = Start(ground, "boot disk", form=Form.DISK).do()["boot"]
    assert made["timeout_s"] == seconds
    assert [made["timeout_reason"] in text for text in heard.messages] == [True] * (seconds > 60)


@pytest.mark.parametrize(("health", "there", "seconds"), CASES)
def test_of_a_measurement(health: HealthProbe, there: Any, seconds: float) -> None:
    heard = Heard()
    target: Any = SimpleNamespace(name="web2", facts=lambda: there)
    app = App("web", (Service("web", health=health),), "compose.yaml")
    found = measure_again(app, target, observer=heard)
    assert found.timeout_s == seconds
    assert [found.timeout_reason in text for text in heard.messages] == [True] * (seconds > 60)
