"""Several services of one App on an engine: what it is asked, and in which order."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portkit.engines import docker_client, docker_spec
from portkit.engines.described.answers import Container
from portkit.engines.docker import Docker
from portkit.engines.docker_state import came_up, waves
from portkit.errors import AppError, BootError, ConflictError
from portkit.halt import Halt, Halted
from portkit.model import (
    AppSpec,
    Attachment,
    Condition,
    Content,
    ContentFile,
    Dependency,
    Machine,
    Mount,
    Network,
    RunSpec,
    ServiceState,
    Standing,
)
from portkit.source import running
from tests.factories import IMAGE, spec
from tests.unit.fake_engine import FakeEngine, fake_engine

ID = "pk-0123456789ab"
HELD = {IMAGE.digest: "portkit/held:x"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as made:
        made.answers["GET /networks"] = 200, []
        made.answers["POST /networks/create"] = 201, {"Id": "n1"}
        made.answers["POST /networks/shop_back/connect"] = 200, {}
        made.answers["POST /containers/create"] = 201, {"Id": "c1"}
        volume = {
            "Name": "v",
            "Mountpoint": "/v/_data",
            "Labels": {"portkit.move": "pk-0123456789ab"},
        }
        made.answers["POST /volumes/create"] = 201, volume
        yield made


@pytest.fixture
def docker(engine: FakeEngine) -> Iterator[Docker]:
    made = Docker(engine.socket, "web1")
    yield made
    made.close()


def service(name: str, **changes: Any) -> RunSpec:
    return spec(app="shop", service=name, hostname=name, image=IMAGE.digest, **changes)


def shop(**web: Any) -> AppSpec:
    data = Mount("volume", "/data", "data")
    back = Attachment("back", ("store",), "10.9.0.5")
    rows = (
        service(
            "web",
            depends_on=(Dependency("db", Condition.HEALTHY),),
            networks=(Attachment("front", priority=1), Attachment("back")),
            links=(("db", "old"),),
            **web,
        ),
        service("db", networks=(back,), mounts=(data,), container_name="shop-db"),
        service("copy", network_mode="service:db", mounts=(data,)),
    )
    networks = (
        Network("front", "shop_front"),
        Network("back", "shop_back", internal=True),
        Network("unused", "shop_unused"),
    )
    return AppSpec("shop", rows, rows[0], Machine(), networks)


def test_what_the_engine_is_asked(engine: FakeEngine, docker: Docker) -> None:
    docker.create(HELD, shop(), ID)
    made = engine.asked("POST", "/networks/create")
    assert [(row["Name"], row.get("Internal")) for row in made] == [
        ("shop_front", None),
        ("shop_back", True),
    ]
    assert made[0]["Labels"]["com.docker.compose.network"] == "front"
    assert len(engine.asked("POST", "/volumes/create")) == 1, "they share it"
    db, web, copy = engine.asked("POST", "/containers/create")
    assert db["Labels"]["portkit.service"] == "db"
    assert db["NetworkingConfig"]["EndpointsConfig"] == {
        "shop_back": {
            "Aliases": ["db", "shop-db", "store"],
            "IPAMConfig": {"IPv4Address": "10.9.0.5"},
        }
    }
    assert list(web["NetworkingConfig"]["EndpointsConfig"]) == ["shop_front"]
    assert web["Labels"]["com.docker.compose.project"] == "shop"
    assert web["Labels"]["com.docker.compose.config-hash"], "else compose 2 does not see it"
    assert web["Labels"]["com.docker.compose.depends_on"] == "db:service_healthy:false"
    assert web["Labels"]["portkit.front"]
    assert copy["HostConfig"]["NetworkMode"] == "container:portkit-shop-0123456789ab-db"
    assert {row["HostConfig"]["RestartPolicy"]["Name"] for row in (db, web, copy)} == {"no"}
    ((joined),) = engine.asked("POST", "/networks/shop_back/connect")
    assert joined["EndpointConfig"]["Links"] == ["portkit-shop-0123456789ab-db:old"]


def test_a_network_that_is_another_ones(engine: FakeEngine, docker: Docker) -> None:
    engine.answers["GET /networks"] = 200, [{"Id": "n0", "Name": "shop_front"}]
    with pytest.raises(ConflictError, match="network with that name"):
        docker.create(HELD, shop(), ID)
    assert not engine.asked("POST", "/containers/create")


def test_a_network_that_is_not_the_apps_alone(engine: FakeEngine, docker: Docker) -> None:
    """It is joined where the host has it, and else made without compose's labels; it is removed
    with the App only if nobody else is in it."""
    app = shop()
    networks = (app.networks[0], replace(app.networks[1], external=True))
    app = replace(app, networks=networks)
    engine.answers["GET /networks"] = 200, [{"Id": "n0", "Name": "shop_back"}]
    docker.create(HELD, app, ID)
    assert [row["Name"] for row in engine.asked("POST", "/networks/create")] == ["shop_front"]
    engine.answers["GET /networks"] = 200, []
    docker.create(HELD, app, ID)
    made = engine.asked("POST", "/networks/create")[-1]
    assert (made["Name"], made["Labels"]) == (
        "shop_back",
        {
            "portkit.external": "yes",
            "portkit.move": ID,
            "portkit.app": "shop",
            "portkit.form": "image",
        },
    )
    engine.answers["GET /networks"] = 200, [{"Id": "n2", **made}]
    engine.answers["GET /volumes"] = 200, {"Volumes": []}
    engine.answers["DELETE /networks/n2"] = 204, b""
    beside = {**row("other", "exited"), "NetworkSettings": {"Networks": {"shop_back": {}}}}
    engine.answers["GET /containers/json"] = 200, [beside]
    engine.answers["DELETE /containers/other"] = 204, b""
    docker.remove(ID)
    assert not engine.asked("DELETE", "/networks/n2")
    engine.answers["GET /containers/json"] = 200, []
    docker.remove(ID)
    assert len(engine.asked("DELETE", "/networks/n2")) == 1


def test_one_service_alone_is_on_the_engines_own_network(
    engine: FakeEngine, docker: Docker
) -> None:
    one = service("web", networks=(Attachment("default"),))
    docker.create(HELD, AppSpec("shop", (one,), one, Machine()), ID)
    assert not engine.asked("POST", "/networks/create")
    (body,) = engine.asked("POST", "/containers/create")
    assert "portkit.service" not in body["Labels"]


def test_a_path_of_the_target_is_bound(engine: FakeEngine, docker: Docker) -> None:
    socket = Mount("bind", "/run/docker.sock", "/run/docker.sock", read_only=True)
    docker.create(HELD, shop(mounts=(socket,)), ID)
    _, web, _ = engine.asked("POST", "/containers/create")
    (mount,) = web["HostConfig"]["Mounts"]
    assert (mount["Type"], mount["Source"], mount["ReadOnly"]) == ("bind", "/run/docker.sock", True)


def test_files_come_into_a_volume_of_their_own(engine: FakeEngine, docker: Docker) -> None:
    engine.answers["PUT /containers/c1/archive"] = 200, {}
    engine.answers["DELETE /containers/c1"] = 204, b""
    rows = (ContentFile(kind="folder", mode=0o755), ContentFile("a", mode=0o640, uid=7, data=b"x"))
    app = shop(contents=(Content("/html", read_only=True, files=rows),))
    docker.create(HELD, app, ID)
    bodies = engine.asked("POST", "/containers/create")
    assert bodies[0]["HostConfig"]["Mounts"][0]["Target"] == "/portkit-content"
    (mount,) = bodies[2]["HostConfig"]["Mounts"]
    assert (mount["Type"], mount["Source"], mount["ReadOnly"]) == ("bind", "/v/_data/0", True)
    with tarfile.open(fileobj=io.BytesIO(docker_spec.content_archive(app))) as made:
        told = [(row.name, row.mode, row.uid, row.size) for row in made]
    assert told == [("0", 0o755, 0, 0), ("0/a", 0o640, 7, 1)]


def row(name: str, state: str = "running", status: str = "Up 5 s", **labels: str) -> dict[str, Any]:
    about = {"portkit.move": ID, "portkit.app": "shop", "portkit.service": name, **labels}
    return {"Id": name, "Image": "x", "State": state, "Status": status, "Labels": about}


NEEDS = "com.docker.compose.depends_on"
ROWS = [
    row(
        "web",
        **{
            "portkit.front": "yes",
            NEEDS: "db:service_healthy:false,job:service_completed_successfully:false",
        },
    ),
    row("job", "exited", "Exited (0) 2 s ago", **{NEEDS: "db:service_started:false"}),
    row("db", status="Up 5 s (healthy)"),
]


def states(engine: FakeEngine, **told: dict[str, Any]) -> None:
    engine.answers["GET /containers/json"] = 200, ROWS
    for name, state in told.items():
        row = {"State": state, "Config": {"Tty": False}}
        engine.answers[f"GET /containers/{name}/json"] = 200, row
        engine.answers[f"POST /containers/{name}/start"] = 204, b""
        engine.answers[f"GET /containers/{name}/logs"] = 200, b""


RUNS = {"Status": "running", "StartedAt": "1"}
WELL = {**RUNS, "Health": {"Status": "healthy"}}
DONE = {"Status": "exited", "ExitCode": 0}


def test_they_start_in_the_order_of_their_needs(engine: FakeEngine, docker: Docker) -> None:
    states(engine, web=RUNS, job=DONE, db=WELL)
    docker.start(ID, 5.0)
    started = [path for how, path, _ in engine.requests if how == "POST" and "start" in path]
    assert [path.split("/")[-2] for path in started] == ["db", "job", "web"]


@pytest.mark.parametrize(
    ("db", "job", "brief"),
    [
        (
            {**RUNS, "Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "no\n"}]}},
            DONE,
            "web cannot start: db did not become healthy",
        ),
        (WELL, {"Status": "exited", "ExitCode": 3}, "web cannot start: job failed"),
        ({**RUNS, "Health": {"Status": "starting"}}, DONE, "did not become healthy in time"),
    ],
)
def test_what_one_needs_fails(
    engine: FakeEngine, docker: Docker, db: dict[str, Any], job: dict[str, Any], brief: str
) -> None:
    states(engine, web=RUNS, job=job, db=db)
    with pytest.raises(BootError) as caught:
        docker.start(ID, 0.3)
    assert brief in caught.value.brief
    if "unhealthy" in str(db):
        assert "healthcheck, code 1: no" in caught.value.details
    assert not engine.asked("POST", "/containers/web/start")


def started(engine: FakeEngine) -> list[str]:
    paths = [path for how, path, _ in engine.requests if how == "POST" and "/start" in path]
    return [path.split("/")[-2] for path in paths]


NEW = {"Status": "created"}


def test_one_that_rests_is_neither_started_nor_waited_for(
    engine: FakeEngine, docker: Docker
) -> None:
    states(engine, web=RUNS, job=NEW, db={**RUNS, "Health": {"Status": "starting"}})
    docker.start(ID, 600.0, standing=Standing(("db", "job")))
    assert started(engine) == ["web"]


def test_one_that_was_never_started_stays_so_unless_all_are_asked_for(
    engine: FakeEngine, docker: Docker
) -> None:
    states(engine, web=RUNS, job=DONE, db=WELL)
    db = row("db", "created", "Created")
    web = row("web", "exited", "Exited (0) 1 s ago", **ROWS[0]["Labels"])
    engine.answers["GET /containers/json"] = 200, [web, ROWS[1], db]
    docker.start(ID, 600.0)
    assert started(engine) == ["job", "web"]
    engine.requests.clear()
    docker.start(ID, 600.0, "web")
    assert started(engine) == ["web"]
    engine.requests.clear()
    docker.start(ID, 600.0, standing=Standing())
    assert started(engine) == ["db", "job", "web"]
    engine.answers["GET /containers/json"] = 200, [db]
    engine.requests.clear()
    docker.start(ID, 600.0)
    assert started(engine) == ["db"], "a new Instance is started as a whole"


def test_one_that_a_start_waits_for_is_started_again(engine: FakeEngine, docker: Docker) -> None:
    states(engine, web=RUNS, job=DONE, db={"Status": "exited", "ExitCode": 1})
    db = row("db", **{"portkit.restart": "on-failure"})
    engine.answers["GET /containers/json"] = 200, [*ROWS[:2], db]
    with pytest.raises(BootError, match="db does not run"):
        docker.start(ID, 0.5)
    assert started(engine).count("db") > 1


def test_no_more_is_waited_for_than_there_was_at_the_source(
    engine: FakeEngine, docker: Docker
) -> None:
    sick = {**RUNS, "Health": {"Status": "unhealthy"}}
    states(engine, web=RUNS, job=DONE, db=sick)
    docker.start(ID, 5.0, standing=Standing(ill=("db",)))
    assert started(engine) == ["db", "job", "web"]
    assert docker.life(ID).health == "unhealthy"
    assert docker.life(ID, ("db",)).health == ""


def test_one_that_ends_while_the_app_is_waited_for(engine: FakeEngine, docker: Docker) -> None:
    states(engine, web=RUNS, job=DONE, db={"Status": "exited", "ExitCode": 9})
    db = row("db", "exited", "Exited (9) 1 s ago", **{"portkit.restart": "always"})
    engine.answers["GET /containers/json"] = 200, [*ROWS[:2], db]
    assert docker.life(ID).status == "exited"
    life = docker.life(ID, again=True)
    assert (life.status, life.again) == ("running", "db exited with code 9")


def test_podman_would_start_one_that_rests_with_its_host(
    engine: FakeEngine, docker: Docker, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row("web"), row("worker", "created", "Created")]
    engine.answers["GET /containers/json"] = 200, rows
    for name in ("web", "worker"):
        engine.answers[f"POST /containers/{name}/update"] = 200, {}

    def kept() -> list[str]:
        docker.restart_policies(ID, {"web": "unless-stopped", "worker": "unless-stopped"})
        asked = [engine.asked("POST", f"/containers/{each}/update") for each in ("web", "worker")]
        return [each[-1]["RestartPolicy"]["Name"] for each in asked]

    assert kept() == ["unless-stopped", "unless-stopped"]
    docker.__dict__["_podman"] = True
    assert kept() == ["unless-stopped", "no"]


def test_one_that_runs_is_not_started_again(engine: FakeEngine, docker: Docker) -> None:
    states(engine, web=RUNS, job=DONE, db={"Status": "exited", "ExitCode": 0})
    docker.start(ID, 5.0, "web")
    assert not engine.asked("POST", "/containers/web/start")


def test_one_whose_need_was_stopped(engine: FakeEngine, docker: Docker) -> None:
    states(engine, web=RUNS, job=DONE, db={"Status": "exited", "ExitCode": 137})
    with pytest.raises(BootError) as caught:
        docker.start(ID, 5.0)
    assert caught.value.brief == "web cannot start: db does not run"
    assert "start it first" in caught.value.resolution


def test_the_waiting_ends_when_the_move_gives_up(engine: FakeEngine) -> None:
    states(engine, web=RUNS, job=DONE, db={**RUNS, "Health": {"Status": "starting"}})
    halt = Halt()
    docker = Docker(engine.socket, "web1", halt.pause)
    halt.give_up(BootError("the other lane failed"))
    with pytest.raises(Halted):
        docker.start(ID, 600.0)
    docker.close()


def test_one_service_is_removed_and_nothing_else(engine: FakeEngine, docker: Docker) -> None:
    states(engine, web=RUNS, job=DONE, db=WELL)
    engine.answers["DELETE /containers/job"] = 204, b""
    docker.remove_service(ID, "job")
    deleted = [path.split("?")[0] for how, path, _ in engine.requests if how == "DELETE"]
    assert [path.split("/")[-1] for path in deleted] == ["job"]
    with pytest.raises(AppError, match="no such service"):
        docker.remove_service(ID, "other")


def test_one_instance_with_its_services(engine: FakeEngine, docker: Docker) -> None:
    states(engine)
    (one,) = docker.instances()
    assert (one.status, one.exit_code) == ("running", None)
    assert one.services == (
        ServiceState("db", "running", None, "healthy"),
        ServiceState("job", "exited", 0),
        ServiceState("web", "running"),
    )


def test_their_lives_are_one(engine: FakeEngine, docker: Docker) -> None:
    states(engine, web=RUNS, job=DONE, db=WELL)
    life = docker.life(ID)
    assert (life.status, life.health, life.service) == ("running", "healthy", "")
    sick = {**RUNS, "Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "no\n"}]}}
    states(engine, web=RUNS, job=DONE, db=sick)
    life = docker.life(ID)
    assert (life.status, life.health, life.service, life.said) == (
        "running",
        "unhealthy",
        "db",
        "no",
    )
    states(engine, web=RUNS, job=DONE, db={"Status": "exited", "ExitCode": 9})
    life = docker.life(ID)
    assert (life.status, life.exit_code, life.service) == ("exited", 9, "db")


def test_one_of_them_is_named(engine: FakeEngine, docker: Docker) -> None:
    states(engine, web=RUNS, job=DONE, db=WELL)
    docker.start(ID, 1.0, "db")
    assert not engine.asked("POST", "/containers/web/start")
    with pytest.raises(AppError, match="no such service") as caught:
        docker.logs(ID, 5, "cache")
    assert "db, job, web" in caught.value.details


def test_needs_are_read_back_and_nothing_else() -> None:
    label = docker_spec.needs_label(shop().named("web"))
    assert docker_spec.needs_of({NEEDS: label}) == (Dependency("db", Condition.HEALTHY),)
    assert docker_spec.needs_of({NEEDS: "x,a:b:c,:::,db:service_started"}) == ()


def test_they_stop_when_nothing_needs_them_any_more(engine: FakeEngine, docker: Docker) -> None:
    states(engine, web=RUNS, job=DONE, db=WELL)
    for name in ("web", "job", "db"):
        engine.answers[f"POST /containers/{name}/stop"] = 204, b""
    assert docker.stop(ID, 0.0) is None
    stopped = [path for how, path, _ in engine.requests if how == "POST" and "/stop" in path]
    assert [path.split("/")[-2] for path in stopped] == ["web", "job", "db"]


def test_those_without_needs_stop_at_the_same_time() -> None:
    web, job, db = (docker_client.Row.model_validate(each) for each in ROWS)
    other = docker_client.Row.model_validate(row("other"))
    together = waves([db, other, job, web])
    assert [[each.service for each in wave] for wave in together] == [
        ["other", "web"],
        ["job"],
        ["db"],
    ]


def test_what_one_can_do_without(engine: FakeEngine, docker: Docker) -> None:
    wish = Dependency("db", Condition.HEALTHY, required=False)
    about = docker_spec.service_labels(shop(), service("web", depends_on=(wish,)), ID)
    assert docker_spec.needs_of(about) == (wish,)
    web = row("web", **{NEEDS: "db:service_healthy:false", "portkit.wishes": "db"})
    states(engine, web=RUNS, db={"Status": "exited", "ExitCode": 1})
    engine.answers["GET /containers/json"] = 200, [web, row("db")]
    docker.start(ID, 5.0)
    assert [path for how, path, _ in engine.requests if how == "POST" and "/web/start" in path]


def test_a_container_with_copied_labels_is_not_made_to_start_by_itself(
    engine: FakeEngine, docker: Docker
) -> None:
    engine.answers["GET /containers/json"] = 200, [row("web"), row("stranger")]
    engine.answers["POST /containers/web/update"] = 200, {}
    with pytest.raises(ConflictError, match="labels of another"):
        docker.restart_policies(ID, {"web": "always"})


@pytest.mark.parametrize(
    ("status", "exit_code", "expected"),
    [
        ("running", 0, True),
        ("paused", 0, True),
        ("exited", 0, True),
        ("restarting", 127, False),
        ("restarting", 0, False),
        ("exited", 127, False),
        ("exited", None, False),
        ("created", 0, False),
        ("dead", 0, False),
    ],
)
def test_what_shows_that_an_image_starts(
    status: str, exit_code: int | None, expected: bool
) -> None:
    assert came_up(status, exit_code) is expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Status": "running", "ExitCode": 0, "Restarting": False}, True),
        ({"Status": "restarting", "ExitCode": 127, "Restarting": True}, False),
        ({"Status": "exited"}, False),
    ],
)
def test_a_container_that_ends_again_and_again_shows_nothing(
    state: dict[str, object], expected: bool
) -> None:
    """As `inspect` has it."""
    told = Container.model_fields["State"].annotation
    assert told is not None
    one = Container.model_construct(State=told.model_validate(state))
    assert running._came_up(one) is expected
