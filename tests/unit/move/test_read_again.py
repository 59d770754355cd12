"""From what a Move goes on: what it has stopped, whatever else has the App's name at the source."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from portkit import boot
from portkit.errors import AppError, EngineError
from portkit.model import Form, Instance, Live, LiveContainer, LiveDomain, Reading
from portkit.move.plan import Plan, plan_from
from portkit.move.read_again import source_of
from portkit.progress import NullObserver
from portkit.source import vm
from tests.factories import live, plan
from tests.unit.fake_engine import FakeEngine, fake_engine

STALE, NOW, MORE = "a" * 64, "b" * 64, "c" * 64
INSPECTED = Path(__file__).parents[3] / "fixtures/inspected/docker-28.5.json"


def put(engine: FakeEngine, *ids: str, several: bool) -> None:
    """Containers of the App `web`, all of them stopped; each but MORE was made by a Move. several:
    its services, of which there is one, are compose's."""
    said = json.loads(INSPECTED.read_text())
    row = said["inspect_container changed"]
    rows = []
    for each in ids:
        labels = {"portkit.move": f"pk-{each[:12]}", "portkit.app": "web"} if each != MORE else {}
        if several:
            labels |= {"com.docker.compose.project": "web", "com.docker.compose.service": "front"}
        rows.append({"Id": each, "State": "exited", "Labels": labels})
        told = {
            "Id": each,
            "Name": f"/portkit-web-{each[:12]}",
            "Created": each,
            "State": {"Status": "exited", "ExitCode": 0},
            "Config": {**row["Config"], "Labels": labels, "Env": [f"WHICH={each[:1]}"]},
        }
        engine.answers[f"GET /containers/{each}/json"] = (200, {**row, **told})
        engine.answers[f"GET /containers/{each}/changes"] = (200, [])
    image = said["inspect_image " + row["Image"]]
    for name in (row["Image"], row["Config"]["Image"]):
        engine.answers[f"GET /images/{name}/json"] = (200, image)
    engine.answers["GET /info"] = (200, {})
    engine.answers["GET /containers/json"] = (200, rows)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as made:
        yield made


def read(engine: FakeEngine, app: str, container: str) -> str:
    """Which container the Move of an App goes on from."""

    @contextmanager
    def connect(name: str, *_: object) -> Iterator[Any]:
        yield SimpleNamespace(name=name, docker_socket=lambda: engine.socket)

    row = LiveContainer(container, "web", "always", running=True)
    one = plan(app_source=app, forms=(Form.IMAGE,), live=live(containers=(row,), volumes=()))
    with source_of(one, NullObserver(), connect) as (found, _):
        (service,) = found.services
        return str(service.environment["WHICH"])


@pytest.mark.parametrize("app", ["container:web", "project:web"])
@pytest.mark.parametrize("several", [False, True])
def test_a_stale_twin_is_not_what_moves(engine: FakeEngine, app: str, several: bool) -> None:
    """One that an earlier Move has left behind, while the other one is stopped by this Move."""
    put(engine, STALE, NOW, several=several)
    assert read(engine, app, NOW) == "b"
    assert read(engine, app, STALE) == "a"


def test_the_user_s_health_check_is_not_forgotten(engine: FakeEngine) -> None:
    put(engine, NOW, several=False)

    @contextmanager
    def connect(name: str, *_: object) -> Iterator[Any]:
        yield SimpleNamespace(name=name, docker_socket=lambda: engine.socket)

    row = LiveContainer(NOW, "web", "always", running=True)
    one = plan(
        app_source="container:web",
        forms=(Form.IMAGE,),
        live=live(containers=(row,), volumes=()),
        reading=Reading(health={"scheme": "tcp"}),
    )
    with source_of(plan_from(one.to_json()), NullObserver(), connect) as (found, _):
        assert found.front_service.health.scheme == "tcp"
        assert found.reading == one.reading, "for a Move that is planned anew"


@pytest.mark.parametrize("app", ["container:web", "project:web"])
def test_one_that_was_made_anew_is_not_what_moved(engine: FakeEngine, app: str) -> None:
    put(engine, NOW, several=False)
    with pytest.raises(EngineError, match="no longer exists"):
        read(engine, app, STALE)


def test_what_was_added_to_the_project_is_not_left_behind(engine: FakeEngine) -> None:
    put(engine, STALE, MORE, several=True)
    assert read(engine, "project:web", STALE) == "a", "a stale one of somebody's own"
    put(engine, MORE, several=True)
    rows = engine.answers["GET /containers/json"][1]
    rows.append({**rows[0], "Id": NOW})
    with pytest.raises(AppError, match="has changed since the Move began") as caught:
        read(engine, "project:web", MORE)
    assert NOW[:12] in caught.value.details


def domain_plan(identity: str) -> Plan:
    domain = LiveDomain(identity, "always", autostart=True, running=True)
    return plan(app_source="vm:web", forms=(Form.DISK,), live=Live((), (), domain=domain))


@pytest.mark.parametrize("identity", ["pk-aaaaaaaaaaaa", "pk-bbbbbbbbbbbb"])
def test_a_stale_twin_of_a_vm_is_not_what_moves(
    monkeypatch: pytest.MonkeyPatch, identity: str
) -> None:
    class Asked(Exception):
        pass

    def seen(which: str) -> LiveDomain:
        raise Asked(which)

    rows = [
        Instance(f"pk-{letter * 12}", "web", Form.DISK, "old", "exited", None, "")
        for letter in "ab"
    ]
    engine = SimpleNamespace(seen=seen, instances=lambda: rows)
    monkeypatch.setattr(vm, "_engine", lambda host: nullcontext(engine))
    monkeypatch.setattr(boot, "instances", lambda host: rows)

    def connect(name: str, *_: object) -> Any:
        return nullcontext(SimpleNamespace(name=name))

    with (
        pytest.raises(Asked, match=identity),
        source_of(domain_plan(identity), NullObserver(), connect),
    ):
        raise AssertionError("it is asked before")
