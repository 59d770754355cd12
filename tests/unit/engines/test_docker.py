"""The engine's API behind a socket of our own: what is sent, and what is made of the answers."""

import json
import logging
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portkit import app as apps
from portkit.engines.docker import Docker
from portkit.errors import ConflictError, EngineError, PortkitError
from portkit.model import App, AppSpec, ImageConfig, Life, Service
from tests.unit.fake_engine import FakeEngine, fake_engine

ID = "pk-0123456789ab"
SECRET = "hunter2"
IMAGE = ImageConfig("sha256:" + "0" * 64, "amd64", "linux", (), cmd=("x",))
HELD = {IMAGE.digest: "x"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as made:
        yield made


@pytest.fixture
def docker(engine: FakeEngine) -> Iterator[Docker]:
    made = Docker(engine.socket, "web1")
    yield made
    made.close()


def spec() -> AppSpec:
    service = Service("a", environment={"PASSWORD": SECRET}, labels={"portkit.move": "pk-forged"})
    return apps.resolve_all(App("a", (service,), "x"), [IMAGE])


def row(**labels: str) -> dict[str, Any]:
    return {"Id": "c1", "Image": "x", "Labels": labels, "Ports": []}


# hostile input 47
@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (
            500,
            "driver failed: Bind for 0.0.0.0:80 failed: port is already allocated",
            ConflictError,
        ),
        (500, "listen tcp4 0.0.0.0:80: bind: address already in use", ConflictError),
        (500, "failed to bind host port 0.0.0.0:80/tcp: address already in use", ConflictError),
        (
            409,
            'Conflict. The container name "/x" is already in use by container "c"',
            ConflictError,
        ),
        (500, "another image", EngineError),
        (400, "", EngineError),
    ],
)
def test_what_is_taken_is_a_conflict(
    engine: FakeEngine, docker: Docker, status: int, said: str, kind: type[PortkitError]
) -> None:
    engine.answers["POST /containers/create"] = status, {"message": said}
    with pytest.raises(PortkitError) as caught:
        docker.create(HELD, spec(), ID)
    assert type(caught.value) is kind
    assert caught.value.resolution
    assert said in caught.value.details


def test_a_value_is_in_the_request_and_nowhere_else(
    engine: FakeEngine, docker: Docker, caplog: pytest.LogCaptureFixture
) -> None:
    """hostile input 59: not in logs at debug level, not in an error or its traceback."""
    engine.answers["POST /containers/create"] = 500, {"message": "no"}
    with caplog.at_level(logging.DEBUG), pytest.raises(EngineError) as caught:
        docker.create(HELD, spec(), ID)
    (body,) = engine.asked("POST", "/containers/create")
    assert f"PASSWORD={SECRET}" in body["Env"]
    assert caplog.records
    assert SECRET not in caplog.text
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_this_machines_docker_settings_do_not_travel(
    tmp_path: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hostile input 59: proxies of config.json, which may hold a password, stay here."""
    (tmp_path / "config.json").write_text(
        json.dumps({"proxies": {"default": {"httpProxy": f"http://me:{SECRET}@192.0.2.1"}}})
    )
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")  # hostile input 30
    engine.answers["POST /containers/create"] = 201, {"Id": "c1"}
    docker = Docker(engine.socket, "web1")
    docker.create(HELD, spec(), ID)
    docker.close()
    (body,) = engine.asked("POST", "/containers/create")
    assert not [word for word in body["Env"] if "proxy" in word.lower()]
    assert body["Labels"]["portkit.move"] == ID, "an App's own labels do not replace ours"


def test_forged_labels_are_not_ours(engine: FakeEngine, docker: Docker) -> None:
    """hostile input 28: escape codes and markup in a label never get to a terminal."""
    rows = [
        row(**{"portkit.move": "\x1b[2Jpk-0123456789ab", "portkit.app": "a"}),
        row(**{"portkit.move": ID, "portkit.app": "[red]\x1b[31m"}),
        row(**{"portkit.move": "../x", "portkit.app": "a"}),
        row(**{"portkit.move": "", "portkit.app": "a"}),
        row(**{"portkit.move": ID}),
        row(**{"portkit.move": ID, "portkit.app": "shop"}),
    ]
    engine.answers["GET /containers/json"] = 200, rows
    engine.answers["GET /containers/c1/json"] = 200, {"State": {"Status": "running"}}
    assert [(one.id, one.app) for one in docker.instances()] == [(ID, "shop")]


def test_of_a_huge_log_the_end_is_kept(engine: FakeEngine, docker: Docker) -> None:
    """hostile input 28"""
    frame = b"\x01\0\0\0" + (1 << 16).to_bytes(4, "big") + b"x" * (1 << 16)
    last = b"\x02\0\0\0" + (4).to_bytes(4, "big") + b"last"
    engine.answers["GET /containers/json"] = 200, [row(**{"portkit.move": ID})]
    engine.answers["GET /containers/c1/json"] = 200, {"Config": {"Tty": False}}
    engine.answers["GET /containers/c1/logs"] = 200, frame * 40 + last
    text = docker.logs(ID, 10)
    assert len(text) == 1 << 20
    assert text.endswith("xlast")
    engine.answers["GET /containers/c1/logs"] = 200, frame * 1100
    assert len(docker.logs(ID, 10)) == 1 << 20


STATE = {"Status": "running", "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00.1Z"}
NETWORKS = {"Networks": {"none": None, "bridge": {"IPAddress": "172.17.0.2"}}}
UP = Life("running", started=str(STATE["StartedAt"]))


@pytest.mark.parametrize(
    ("state", "more", "wanted"),
    [
        ({}, {}, UP),
        ({"Health": {"Status": "starting"}}, {}, replace(UP, health="starting")),
        ({"Health": {"Status": "none"}}, {"NetworkSettings": None}, UP),
        ({}, {"RestartCount": 2}, replace(UP, restarts=2)),
        ({"Status": "restarting"}, {"RestartCount": 2}, Life("running", restarts=2)),
        ({"Status": "exited", "ExitCode": 3}, {}, Life("exited", 3)),
        ({"Status": "created"}, {}, Life("created")),
        ({}, {"NetworkSettings": {"Networks": {"b": {"IPAddress": ""}}}}, UP),
        ({}, {"NetworkSettings": NETWORKS}, replace(UP, address="172.17.0.2")),
    ],
)
def test_the_life_of_a_container(
    engine: FakeEngine, docker: Docker, state: dict[str, Any], more: dict[str, Any], wanted: Life
) -> None:
    engine.answers["GET /containers/json"] = 200, [row(**{"portkit.move": ID})]
    engine.answers["GET /containers/c1/json"] = 200, {"State": {**STATE, **state}, **more}
    assert docker.life(ID) == wanted


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"State": None},
        {"State": {**STATE, "Status": "exited", "ExitCode": "x"}},
        {"State": {**STATE, "Health": 7}},
        {"State": STATE, "RestartCount": [1]},
        {"State": STATE, "NetworkSettings": {"Networks": [1]}},
        {"State": STATE, "NetworkSettings": {"Networks": {"b": {"IPAddress": "-oProxy"}}}},
    ],
)
def test_a_malformed_description_of_a_container(
    engine: FakeEngine, docker: Docker, answer: Any
) -> None:
    engine.answers["GET /containers/json"] = 200, [row(**{"portkit.move": ID})]
    engine.answers["GET /containers/c1/json"] = 200, answer
    with pytest.raises(EngineError, match="malformed"):
        docker.life(ID)


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="reach the engine") as caught:
        Docker(tmp_path / "nothing.sock", "web1")
    assert "web1" in caught.value.details
