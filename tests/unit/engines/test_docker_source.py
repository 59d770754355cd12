"""What a Move does to containers that somebody else made, at their engine."""

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

from portkit.engines.docker_file import Unfit
from portkit.engines.docker_source import DockerSource
from portkit.errors import ConflictError, EngineError
from portkit.model import Live, LiveContainer, LiveVolume, OnTaken
from tests.unit.fake_engine import FakeEngine, fake_engine

DB, WEB = "d" * 64, "e" * 64
BOTH = (DB, WEB)
MOVE = "pk-0123456789ab"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as made:
        yield made


@pytest.fixture
def docker(engine: FakeEngine) -> Iterator[DockerSource]:
    made = DockerSource(engine.socket, "web1", lambda seconds: None)
    yield made
    made.close()


def have(engine: FakeEngine, **states: str) -> None:
    """Containers of a project: web waits for db to be healthy. Each as "running always"."""
    rows = []
    for identity, service in ((DB, "db"), (WEB, "web")):
        if service not in states:
            continue
        status, policy = states[service].split()[:2]
        needs = "db:service_healthy:false" if service == "web" else ""
        labels = {"com.docker.compose.service": service, "com.docker.compose.depends_on": needs}
        rows.append({"Id": identity, "Labels": labels, "State": status, "Status": ""})
        name, _, count = policy.partition(":")
        health = {"Status": "unhealthy"} if "ill" in states[service] else None
        told: dict[str, Any] = {
            "State": {"Status": status, "ExitCode": 0, "Health": health},
            "HostConfig": {"RestartPolicy": {"Name": name, "MaximumRetryCount": int(count or 0)}},
        }
        engine.answers[f"GET /containers/{identity}/json"] = (200, told)
        engine.answers[f"POST /containers/{identity}/start"] = (204, b"")
        engine.answers[f"POST /containers/{identity}/update"] = (200, {"Warnings": None})
    engine.answers["GET /containers/json"] = (200, rows)


def started(engine: FakeEngine) -> list[str]:
    return [path.split("/")[3][:1] for how, path, _ in engine.requests if path.endswith("/start")]


def test_how_they_are_is_read(engine: FakeEngine, docker: DockerSource) -> None:
    have(engine, db="running on-failure:3", web="exited no")
    assert docker.states(BOTH) == {DB: ("on-failure:3", True, False), WEB: ("no", False, False)}


def test_how_they_would_be_stopped(engine: FakeEngine, docker: DockerSource) -> None:
    have(engine, db="running always", web="running always")
    told: dict[str, Any] = engine.answers[f"GET /containers/{DB}/json"][1]  # type: ignore[assignment]
    told["State"]["Pid"] = 41
    told["Config"] = {"StopSignal": "SIGQUIT", "StopTimeout": 30}
    (other,) = [each for each in docker.stops(BOTH) if each]
    assert other == [(41, "SIGQUIT", 30)], "the other one has no process any more"
    engine.answers[f"GET /containers/{WEB}/json"][1]["State"]["Pid"] = 42  # type: ignore[index, call-overload]
    assert docker.stops(BOTH) == [[(42, "SIGTERM", 10)], [(41, "SIGQUIT", 30)]]


def test_what_ran_beside_an_ill_service_is_started_again(
    engine: FakeEngine, docker: DockerSource
) -> None:
    """It ran like that before, and now nobody serves."""
    have(engine, db="running always ill", web="exited no")
    assert docker.start_these(BOTH, 0.0) == ()
    assert started(engine) == ["e"]


def test_what_is_gone_does_not_hold_up_the_others(engine: FakeEngine, docker: DockerSource) -> None:
    have(engine, db="exited no")
    assert docker.start_these(BOTH, 0.0) == (WEB,)
    assert started(engine) == ["d"]
    docker.set_restart({DB: "no", WEB: "always"})
    assert len(engine.asked("POST", "/update")) == 1
    with pytest.raises(EngineError, match="no longer exists"):
        docker.fence(BOTH)


@pytest.mark.parametrize("web", ["running no", "exited always", "restarting no"])
def test_one_that_somebody_started_again_is_noticed(
    engine: FakeEngine, docker: DockerSource, web: str
) -> None:
    have(engine, db="exited no", web=web)
    with pytest.raises(ConflictError, match="started the App at its source again"):
        docker.require_stopped(BOTH)
    have(engine, db="exited no", web="exited no")
    docker.require_stopped(BOTH)


def test_one_that_was_removed_does_not_run(engine: FakeEngine, docker: DockerSource) -> None:
    have(engine, web="exited no")
    docker.require_stopped(BOTH)
    assert docker.lost(BOTH) == (DB,)
    have(engine, web="running no")
    with pytest.raises(ConflictError, match="started the App at its source again"):
        docker.require_stopped(BOTH)


@pytest.mark.parametrize("kind", ["container", "project"])
def test_what_runs_in_the_place_of_what_was_removed(
    engine: FakeEngine, docker: DockerSource, kind: str
) -> None:
    for db, web, found in (
        ("exited no", "exited no", set()),
        ("exited always", "exited no", {DB}),
        ("running no", "exited no", {DB}),
    ):
        have(engine, db=db, web=web)
        assert set(docker.in_their_place(kind, "shop.1", ["f" * 64], [])) == found
    assert docker.in_their_place(kind, "shop.1", BOTH, []) == (), "these are the App's own"
    queries = [parse_qs(path.partition("?")[2]) for _, path, _ in engine.requests]
    asked = [json.loads(query["filters"][0]) for query in queries if "filters" in query]
    named = {"container": {"name": [r"^/?shop\.1$"]}}
    named["project"] = {"label": ["com.docker.compose.project=shop.1"]}
    assert named[kind] in asked


def test_a_volume_that_was_made_anew_is_not_deleted(
    engine: FakeEngine, docker: DockerSource
) -> None:
    """It has the name of the one that was moved, and other data."""
    have(engine, db="exited no", web="exited no")
    for identity in BOTH:
        engine.answers[f"DELETE /containers/{identity}"] = (204, b"")
    rows = [
        {"Name": "data", "Mountpoint": "/v/data", "CreatedAt": "2026-02-02T00:00:00Z"},
        {"Name": "logs", "Mountpoint": "/v/logs", "CreatedAt": "2026-01-01T00:00:00Z"},
    ]
    engine.answers["GET /volumes"] = (200, {"Volumes": rows})
    engine.answers["DELETE /volumes/logs"] = (204, b"")
    containers = tuple(LiveContainer(each, "", "always", running=True) for each in BOTH)
    volumes = tuple(
        LiveVolume(number, name, f"/v/{name}", "2026-01-01T00:00:00Z")
        for number, name in enumerate(("data", "logs"))
    )
    live = Live(containers, volumes)
    left = [thing for thing in docker.left(live, {}) if thing.startswith("volume")]
    assert left == [
        "volume data (it may be another volume with that name; portkit does not delete it)",
        "volume logs",
    ]
    docker.delete(live, {})
    deleted = [path.rpartition("/")[2] for how, path, _ in engine.requests if how == "DELETE"]
    assert "logs" in deleted
    assert "data" not in deleted


def test_a_volume_that_a_container_of_the_app_still_has_is_its_own(
    engine: FakeEngine, docker: DockerSource
) -> None:
    """Whatever its time is: Docker 20.10 gives that of the last change in its folder."""
    have(engine, web="exited no")
    (_, (row,)) = engine.answers["GET /containers/json"]
    row["Mounts"] = [{"Type": "volume", "Name": "data"}, {"Type": "bind", "Source": "/srv"}]
    engine.answers[f"DELETE /containers/{WEB}"] = (204, b"")
    changed = {"Name": "data", "Mountpoint": "/v/data", "CreatedAt": "2026-02-02T00:00:00Z"}
    engine.answers["GET /volumes"] = (200, {"Volumes": [changed]})
    engine.answers["DELETE /volumes/data"] = (204, b"")
    volumes = (
        LiveVolume(0, "data", "/v/data", "2026-01-01T00:00:00Z"),
        LiveVolume(1, "", "/srv", ""),
    )
    live = Live((LiveContainer(WEB, "web", "always", running=True),), volumes)
    assert "volume data" in docker.left(live, {})
    docker.delete(live, {})
    assert engine.asked("DELETE", "/volumes/data")


def test_a_volume_whose_data_did_not_travel_is_not_deleted(
    engine: FakeEngine, docker: DockerSource
) -> None:
    """The App was started on what the target had: what is here is nowhere else."""
    have(engine, web="exited no")
    engine.answers[f"DELETE /containers/{WEB}"] = (204, b"")
    engine.answers["GET /volumes"] = (200, {"Volumes": [{"Name": "data", "CreatedAt": "now"}]})
    volume = LiveVolume(0, "data", "/v/data", "now", way=OnTaken.KEEP)
    live = Live((LiveContainer(WEB, "web", "always", running=True),), (volume,))
    kept = "volume data (its data exists nowhere else; portkit does not delete it)"
    assert kept in docker.left(live, {})
    docker.delete(live, {})
    assert not engine.asked("DELETE", "/volumes")


@pytest.mark.parametrize("other", ["portkit/held:a-1", "debian"])
def test_an_image_that_an_earlier_move_brought_is_portkit_s_to_remove(
    engine: FakeEngine, docker: DockerSource, other: str
) -> None:
    have(engine, db="exited no", web="exited no")
    (_, (db, web)) = engine.answers["GET /containers/json"]
    db["Image"], web["Image"] = other, "portkit/held:a-1"
    engine.answers["GET /volumes"] = (200, {"Volumes": []})
    live = Live((LiveContainer(WEB, "web", "always", running=True),), ())
    shared = other == web["Image"]
    assert docker.held(live) == (() if shared else (web["Image"],))
    stays = " (portkit does not delete it)" if shared else ""
    assert docker.left(live, {})[-1] == f"image {web['Image']}{stays}"
    assert docker.held(Live((LiveContainer(DB, "db", "always", running=True),), ())) == ()


def test_nothing_is_deleted_while_it_runs(engine: FakeEngine, docker: DockerSource) -> None:
    have(engine, db="exited no", web="running no")
    live = Live((LiveContainer(WEB, "web", "always", running=True),), ())
    with pytest.raises(ConflictError, match="is running at its source"):
        docker.delete(live, {})
    assert not engine.asked("DELETE", "/")


def back_again(engine: FakeEngine, *, other: bool) -> Live:
    """The App has moved away and back, into the volume that its old container still has."""
    have(engine, db="running always", web="exited no")
    (_, rows) = engine.answers["GET /containers/json"]
    rows[:] = [{**row, "Mounts": [{"Name": "data"}]} for row in rows[0 if other else 1 :]]
    engine.answers[f"DELETE /containers/{WEB}"] = (204, b"")
    engine.answers["GET /volumes"] = (200, {"Volumes": [{"Name": "data", "CreatedAt": "then"}]})
    volume = LiveVolume(0, "data", "/v/data", "then")
    return Live((LiveContainer(WEB, "web", "always", running=True),), (volume,))


def test_a_volume_that_another_container_has_is_not_deleted(
    engine: FakeEngine, docker: DockerSource
) -> None:
    live = back_again(engine, other=True)
    said = f"volume data (it is in use by container {DB[:12]}; portkit does not delete it)"
    assert said in docker.left(live, {})
    assert docker.delete(live, {}) == ()
    assert engine.asked("DELETE", f"/containers/{WEB}")
    assert not engine.asked("DELETE", "/volumes")


def test_a_volume_that_is_the_app_s_again_is_not_deleted(
    engine: FakeEngine, docker: DockerSource
) -> None:
    """Nothing has it but the old container; it may be the only copy."""
    live = back_again(engine, other=False)
    back = {"data": "pk-000000000002"}
    (_, said, *_) = docker.left(live, back)
    assert "the App uses it again, since Move pk-000000000002; portkit does not delete it" in said
    assert docker.delete(live, back) == ()
    assert not engine.asked("DELETE", "/volumes")


def test_a_volume_that_cannot_be_removed_does_not_hold_up_the_rest(
    engine: FakeEngine, docker: DockerSource
) -> None:
    live = back_again(engine, other=False)
    engine.answers["DELETE /volumes/data"] = (409, {"message": "volume is in use"})
    (stay,) = docker.delete(live, {})
    assert stay == "volume data: web1: volume is in use"
    assert engine.asked("DELETE", f"/containers/{WEB}")


def in_networks(engine: FakeEngine, *, other: tuple[str, ...] = ()) -> Live:
    """web has ended, in a network of compose's, one of its own Move's, and two of somebody else.

    other: the networks that another container is in, which does not run either.
    """
    have(engine, db="exited no", web="exited no")
    (_, rows) = engine.answers["GET /containers/json"]
    db, web = rows
    places = dict.fromkeys(("shop_default", "shop_own", "lan", "blog_default"))
    mine = {"portkit.move": MOVE, "portkit.app": "shop", "com.docker.compose.project": "shop"}
    web |= {"Labels": {**web["Labels"], **mine}, "NetworkSettings": {"Networks": places}}
    db["NetworkSettings"] = {"Networks": dict.fromkeys(other)}
    engine.answers["GET /networks"] = (
        200,
        [
            {"Id": "1", "Name": "shop_default", "Labels": {"com.docker.compose.project": "shop"}},
            {"Id": "2", "Name": "shop_own", "Labels": {"portkit.move": MOVE}},
            {"Id": "3", "Name": "lan", "Labels": None},
            {"Id": "4", "Name": "blog_default", "Labels": {"com.docker.compose.project": "blog"}},
            {"Id": "5", "Name": "shop_later", "Labels": {"com.docker.compose.project": "shop"}},
        ],
    )
    files = f"portkit-{MOVE[3:]}-content"
    volumes = [{"Name": name} for name in (files, "portkit-ffffffffffff-content")]
    engine.answers["GET /volumes"] = (200, {"Volumes": volumes})
    for path in (f"containers/{WEB}", "networks/1", "networks/2", f"volumes/{files}"):
        engine.answers[f"DELETE /{path}"] = (204, b"")
    return Live((LiveContainer(WEB, "web", "always", running=True),), ())


def test_the_networks_and_files_of_the_app_go_with_it(
    engine: FakeEngine, docker: DockerSource
) -> None:
    """Else it could not come back; what it only has joined is somebody else's."""
    live = in_networks(engine)
    files = f"volume portkit-{MOVE[3:]}-content"
    assert docker.left(live, {})[1:] == (files, "network shop_default", "network shop_own")
    assert docker.delete(live, {}) == ()
    deleted = [path.partition("?")[0] for how, path, _ in engine.requests if how == "DELETE"]
    assert [path.split("/", 2)[2] for path in deleted] == [
        f"containers/{WEB}",
        f"volumes/portkit-{MOVE[3:]}-content",
        "networks/1",
        "networks/2",
    ]


def gone(engine: FakeEngine) -> None:
    """The containers were removed, and then the engine failed."""
    rows = engine.answers["GET /containers/json"][1]
    rows[:] = [row for row in rows if row["Id"] != WEB]
    engine.requests.clear()


def test_what_a_try_has_not_removed_the_next_one_does(
    engine: FakeEngine, docker: DockerSource
) -> None:
    """The containers, which show what is the App's, are gone by then."""
    live = in_networks(engine)
    known = docker.behind(live, {})
    gone(engine)
    files = f"volume portkit-{MOVE[3:]}-content"
    assert docker.left(live, {}) == ()
    assert docker.left(live, {}, known) == (files, "network shop_default", "network shop_own")
    assert docker.delete(live, {}, known) == ()
    for path in (f"volumes/portkit-{MOVE[3:]}-content", "networks/1", "networks/2"):
        assert engine.asked("DELETE", f"/{path}")
    assert not engine.asked("DELETE", "/networks/3")
    assert not engine.asked("DELETE", "/networks/4")


def test_what_is_in_use_by_then_stays(engine: FakeEngine, docker: DockerSource) -> None:
    live = in_networks(engine)
    known = docker.behind(live, {})
    gone(engine)
    files = f"portkit-{MOVE[3:]}-content"
    (other,) = engine.answers["GET /containers/json"][1]
    other["NetworkSettings"] = {"Networks": {"shop_default": {}}}
    other["Mounts"] = [{"Name": files}]
    why = f"(it is in use by container {DB[:12]}; portkit does not delete it)"
    assert docker.left(live, {}, known)[:2] == (
        f"volume {files} {why}",
        f"network shop_default {why}",
    )
    assert docker.delete(live, {}, known) == ()
    assert engine.asked("DELETE", "/networks/2")
    assert not engine.asked("DELETE", "/networks/1")
    assert not engine.asked("DELETE", "/volumes")


@pytest.mark.parametrize(("later", "goes"), [("2026-02-02", True), ("2026-03-03", False)])
def test_a_volume_of_the_app_is_still_its_own_when_its_containers_are_gone(
    engine: FakeEngine, docker: DockerSource, later: str, goes: bool
) -> None:
    """Docker 20.10 gives the time of the last change in its folder."""
    have(engine, web="exited no")
    (_, (row,)) = engine.answers["GET /containers/json"]
    row["Mounts"] = [{"Name": "data"}]
    engine.answers["GET /volumes"] = (
        200,
        {"Volumes": [{"Name": "data", "CreatedAt": "2026-02-02"}]},
    )
    engine.answers["DELETE /volumes/data"] = (204, b"")
    volume = LiveVolume(0, "data", "/v/data", "2026-01-01")
    live = Live((LiveContainer(WEB, "web", "always", running=True),), (volume,))
    known = docker.behind(live, {})
    gone(engine)
    assert docker.behind(live, {})[0].why, "without what was seen before, it may be another one"
    engine.answers["GET /volumes"][1]["Volumes"][0]["CreatedAt"] = later
    docker.delete(live, {}, known)
    assert bool(engine.asked("DELETE", "/volumes/data")) is goes


def test_one_that_was_not_the_app_s_is_not_by_being_seen(
    engine: FakeEngine, docker: DockerSource
) -> None:
    have(engine, web="exited no")
    engine.answers["GET /volumes"] = (200, {"Volumes": [{"Name": "data", "CreatedAt": "now"}]})
    volume = LiveVolume(0, "data", "/v/data", "then")
    live = Live((LiveContainer(WEB, "web", "always", running=True),), (volume,))
    known = docker.behind(live, {})
    assert known[0].why
    gone(engine)
    docker.delete(live, {}, known)
    assert not engine.asked("DELETE", "/volumes")


def test_a_network_that_another_container_is_in_stays(
    engine: FakeEngine, docker: DockerSource
) -> None:
    live = in_networks(engine, other=("shop_default",))
    said = f"network shop_default (it is in use by container {DB[:12]}; portkit does not delete it)"
    assert said in docker.left(live, {})
    assert docker.delete(live, {}) == ()
    assert engine.asked("DELETE", "/networks/2")
    assert not engine.asked("DELETE", "/networks/1")


def test_a_network_that_cannot_be_removed_is_told(engine: FakeEngine, docker: DockerSource) -> None:
    live = in_networks(engine)
    engine.answers["DELETE /networks/1"] = (403, {"message": "has active endpoints"})
    (stay,) = docker.delete(live, {})
    assert stay == "network shop_default: web1: has active endpoints"
    assert engine.asked("DELETE", "/networks/2")


def archived(engine: FakeEngine, path: str, member: tarfile.TarInfo, **about: object) -> None:
    """What the engine says of a path in the container `WEB`, and its content."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(member, io.BytesIO(b"UTC\n"[: member.size]))
    asked = f"GET /containers/{WEB}/archive?path={quote(path, safe='')}"
    engine.answers[asked] = 200, packed.getvalue()
    stat = base64.b64encode(json.dumps(about).encode()).decode()
    engine.headers[asked] = {"X-Docker-Container-Path-Stat": stat}


def test_what_others_have_mounted(engine: FakeEngine, docker: DockerSource) -> None:
    mounts = [
        {"Type": "volume", "Name": "data", "Source": "", "RW": False},
        {"Type": "bind", "Source": "/srv/files/"},
        {"Type": "tmpfs"},
    ]
    rows = [{"Id": each, "Mounts": mounts} for each in (WEB, "other")]
    engine.answers["GET /containers/json"] = 200, rows
    volume = {"Name": "data", "Mountpoint": "/v/data/_data"}
    engine.answers["GET /volumes"] = 200, {"Volumes": [volume]}
    assert docker.held_by_others([WEB]) == (
        ("other", "data", "/v/data/_data", False),
        ("other", "", "/srv/files/", True),
        ("other", "", "", True),
    )


@pytest.mark.parametrize("followed", [True, False])
def test_a_file_that_is_mounted_where_the_image_has_a_symlink(
    engine: FakeEngine, docker: DockerSource, followed: bool
) -> None:
    """As /etc/localtime of Debian's images."""
    link, file = tarfile.TarInfo("localtime"), tarfile.TarInfo("UTC")
    link.type, link.linkname = tarfile.SYMTYPE, "/usr/share/zoneinfo/Etc/UTC"
    file.size = 4
    leads = {"linkTarget": link.linkname} if followed else {}
    archived(engine, "/etc/localtime", link, mode=0o777 | 1 << 27, **leads)
    archived(engine, link.linkname, file, mode=0o644)
    if followed:
        read = docker.file_at(WEB, "/etc/localtime")
        assert read is not None and read.data == b"UTC\n"
        return
    assert docker.file_at(WEB, "/etc/localtime") == Unfit("not a regular file")


def test_what_is_no_file_that_travels(engine: FakeEngine, docker: DockerSource) -> None:
    """It is told beside all else that is found of the App."""
    member = tarfile.TarInfo("it")
    for mode, kind in ((1 << 24, "a socket"), (1 << 26, "a device"), (1 << 25, "a FIFO")):
        archived(engine, "/run/it", member, mode=mode | 0o660)
        assert docker.file_at(WEB, "/run/it") == Unfit(kind)
    archived(engine, "/run/it", member, mode=0o644)
    asked = f"GET /containers/{WEB}/archive?path=%2Frun%2Fit"
    engine.answers[asked] = 200, bytes(2 << 20)
    assert docker.file_at(WEB, "/run/it") == Unfit("a file of more than 1 MiB")
