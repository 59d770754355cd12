"""Containers that somebody else made, as compose files: recorded answers of Docker 20.10 and 28.5.

fixtures/inspected has what both engines answered about the same four containers, which were started
by `docker run` with every option that an engine keeps.
"""

import json
from typing import Any, cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from portkit.app import compose, environment
from portkit.engines.described import look as docker_look
from portkit.engines.described import project as docker_project
from portkit.engines.described.service import duration
from portkit.engines.docker_client import Malformed
from portkit.errors import AppError
from portkit.model import Port
from tests.unit.engines.recorded import FOLDER, Recorded, Said, said, shown

ENGINES = ("20.10", "28.5")


def service(answers: Said, name: str) -> dict[str, Any]:
    document = cast(dict[str, Any], shown(answers, name).document)
    return cast(dict[str, Any], document["services"][name])


@pytest.mark.parametrize("engine", ENGINES)
def test_every_option_of_docker_run(engine: str) -> None:
    found = shown(said(engine), "odd-one")
    assert found.document == yaml.safe_load((FOLDER / "odd-one.yaml").read_text())
    (chosen,) = found.findings
    assert "the engine chose the port of 99/tcp: 32768" in chosen.message


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_container_changed_is_told(engine: str) -> None:
    found = shown(said(engine), "changed")
    assert found.document["services"] == {
        "changed": {
            "image": "debian:bookworm-slim",
            "container_name": "changed",
            "command": said(engine)["inspect_container changed"]["Config"]["Cmd"],
            "network_mode": "bridge",
        }
    }
    (changed,) = found.findings
    assert changed.rule == "container-changed"
    assert set(changed.evidence[0].split(", ")) == {"/etc/mine", "/etc/issue", "/opt/a/b/c"}


@pytest.mark.parametrize("engine", ENGINES)
def test_what_a_file_cannot_say_is_named(engine: str) -> None:
    found = shown(said(engine), "beside")
    told = [(each.severity.value, *each.evidence, each.services) for each in found.findings]
    assert told == [
        ("warning", "HostConfig.NetworkMode", ("beside",)),
        ("warning", "HostConfig.AutoRemove", ("beside",)),
    ]
    assert service(said(engine), "beside")["network_mode"] == "container:other"


def test_the_network_of_another_container_of_the_file() -> None:
    answers = said("28.5")
    beside, other = (answers[f"inspect_container {name}"] for name in ("beside", "other"))
    for each, number in ((other, "1"), (beside, "2")):
        each["Config"]["Labels"] = {
            "com.docker.compose.project": "shop",
            "com.docker.compose.service": each["Name"][1:],
            "com.docker.compose.container-number": number,
        }
    answers["inspect_container " + beside["Id"]] = beside
    answers["inspect_container " + other["Id"]] = other

    class Listing(Recorded):
        def containers(self, **_: object) -> Any:
            return [{"Id": each["Id"], "Labels": {}} for each in (beside, other)]

    seen = docker_look.project(cast(Any, Listing(answers)), "shop")
    assert seen is not None
    services = cast(dict[str, Any], docker_project.project(seen, "shop").document["services"])
    assert services["beside"]["network_mode"] == "service:other"


MADE = {"portkit.move": "pk-0123456789ab", "portkit.app": "shop", "portkit.form": "image"}


def _made_by_portkit(labels: dict[str, str]) -> Recorded:
    """`changed`, as portkit has put it on a host."""
    answers = said("28.5")
    row = answers["inspect_container changed"]
    row["Name"], row["Config"]["Labels"] = "/portkit-shop-0123456789ab", labels
    for name in (row["Id"], row["Name"][1:]):
        answers[f"inspect_container {name}"] = row

    class Listing(Recorded):
        def containers(self, filters: dict[str, str], **_: object) -> Any:
            key, _, value = filters["label"].partition("=")
            return [{"Id": row["Id"], "Labels": labels}] if labels.get(key) == value else []

    return Listing(answers)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("container", "portkit-shop-0123456789ab"),
        ("container", "shop"),
        ("project", "shop"),
    ],
)
def test_an_app_keeps_its_name_wherever_portkit_has_put_it(kind: str, name: str) -> None:
    """Its container has another name after each Move."""
    seen = getattr(docker_look, kind)(_made_by_portkit(MADE), name)
    assert [each.app for each in seen.containers] == ["shop"]
    document = docker_project.project(seen, seen.containers[0].app).document
    assert (document["name"], list(cast(dict[str, Any], document["services"]))) == (
        "shop",
        ["shop"],
    )


def test_a_label_that_portkit_would_not_write_names_no_app() -> None:
    forged = _made_by_portkit({**MADE, "portkit.move": "mine"})
    assert docker_look.container(cast(Any, forged), "shop") is None
    seen = docker_look.container(cast(Any, forged), "portkit-shop-0123456789ab")
    assert seen is not None
    assert seen.containers[0].app == "portkit-shop-0123456789ab"


@pytest.mark.parametrize(
    ("state", "came_back", "found"),
    [
        ("exited", ("running",), "back-0"),
        ("created", ("restarting",), "back-0"),
        ("running", ("running",), "changed"),
        ("exited", ("exited",), "changed"),
        ("exited", ("running", "exited"), "back-0"),
        ("exited", ("running", "running"), "changed"),
        ("exited", (), "changed"),
    ],
)
def test_an_app_that_came_back_is_not_what_it_left_there(
    state: str, came_back: tuple[str, ...], found: str
) -> None:
    """The old container still has the name."""
    answers = said("28.5")
    old = answers["inspect_container changed"]
    old["State"] = {"Status": state, "ExitCode": 0}
    rows = []
    for number, status in enumerate(came_back):
        labels = {"portkit.move": f"pk-00000000000{number}", "portkit.app": "changed"}
        row = json.loads(json.dumps(old))
        row |= {"Id": str(number) * 64, "Name": f"/back-{number}", "State": {"Status": status}}
        row["Config"]["Labels"] = labels
        answers["inspect_container " + row["Id"]] = row
        rows.append({"Id": row["Id"], "State": status, "Labels": labels})
    answers["containers"] = rows
    seen = docker_look.container(cast(Any, Recorded(answers)), "changed")
    assert seen is not None
    assert [each.name for each in seen.containers] == [found]


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("DeviceRequests", [{"Driver": "nvidia", "Count": -1}], "HostConfig.DeviceRequests"),
        ("BlkioWeight", 300, "HostConfig.BlkioWeight"),
        ("Annotations", {"a": "b"}, "HostConfig.Annotations"),
        ("SomethingNew", "on", "HostConfig.SomethingNew"),
        ("MaskedPaths", [], "HostConfig.MaskedPaths"),
        ("Links", ["/elsewhere:/changed/db"], "Links"),
        ("VolumesFrom", ["elsewhere:ro"], "HostConfig.VolumesFrom"),
        ("Cgroup", "container:0123456789ab", "HostConfig.Cgroup"),
        ("SecurityOpt", ['seccomp={"defaultAction": "SCMP_ACT_ALLOW"}'], "HostConfig.SecurityOpt"),
    ],
)
def test_nothing_is_lost_silently(field: str, value: object, rule: str) -> None:
    answers = said("28.5")
    answers["inspect_container changed"]["HostConfig"][field] = value
    assert rule in [each.evidence[0] for each in shown(answers, "changed").findings]


def test_nothing_beside_it_is_lost_silently() -> None:
    answers = said("28.5")
    container = answers["inspect_container odd-one"]
    container["Config"]["NetworkDisabled"] = True
    container["NetworkSettings"]["Networks"]["odd-net"]["IPAMConfig"]["New"] = "x"
    bind = next(row for row in container["Mounts"] if row["Type"] == "bind")
    bind["Mode"] = "ro,Z"
    memory = next(row for row in container["HostConfig"]["Mounts"] if row["Type"] == "tmpfs")
    memory["ReadOnly"] = True
    places = [each.evidence[0] for each in shown(answers, "odd-one").findings]
    assert places == [
        "Config.NetworkDisabled",
        "HostConfig.PortBindings.99/tcp",
        "Networks.odd-net.IPAMConfig.New",
        "Mounts /thing",
        "HostConfig.Mounts /mem",
    ]


def test_what_the_engine_has_no_more() -> None:
    answers = said("28.5")
    del answers["inspect_network odd-net"]
    del answers["inspect_volume odd-data"]
    del answers["diff " + answers["inspect_container odd-one"]["Id"]]
    found = shown(answers, "odd-one")
    assert [each.message for each in found.findings if each.severity == "error"] == [
        "the network odd-net no longer exists on the host",
        "the volume odd-data no longer exists on the host",
    ]
    assert "container-changed" in [each.rule for each in found.findings]
    assert "odd-one" in cast(dict[str, Any], found.document["services"])


def test_many_changes_are_no_fault() -> None:
    answers = said("28.5")
    identity = answers["inspect_container changed"]["Id"]
    answers["diff " + identity] = [{"Kind": 1, "Path": f"/f{number}"} for number in range(20_001)]
    (found,) = shown(answers, "changed").findings
    assert "could not be listed" in found.message


def test_what_it_depends_on_is_in_the_file_or_told() -> None:
    answers = said("28.5")
    labels = {"com.docker.compose.depends_on": "db:service_healthy:false"}
    answers["inspect_container changed"]["Config"]["Labels"] = labels
    found = shown(answers, "changed")
    assert "depends_on" not in service(answers, "changed")
    assert "it depends on db" in found.findings[0].message


@pytest.mark.parametrize(("recorded", "told"), [({}, True), ({"depends_on": ""}, False)])
def test_a_tool_that_records_no_order_of_services(recorded: dict[str, str], told: bool) -> None:
    answers = said("28.5")
    two = [answers[f"inspect_container {name}"] for name in ("changed", "other")]
    for each in two:
        compose = {"project": "shop", "service": each["Name"][1:], **recorded}
        rows = {f"com.docker.compose.{key}": value for key, value in compose.items()}
        each["Config"]["Labels"] = rows
        answers["inspect_container " + each["Id"]] = each
    seen = docker_look.these(cast(Any, Recorded(answers)), [each["Id"] for each in two])
    assert seen is not None
    findings = docker_project.project(seen, "shop").findings
    notes = [each for each in findings if "depend" in each.message]
    assert [each.services for each in notes] == ([("changed", "other")] if told else [])


def network(name: str, **more: object) -> Said:
    return {"Name": name, "Driver": "bridge", "IPAM": {"Config": []}, **more}


def of_compose(project: str, word: str, name: str) -> dict[str, str]:
    return {"com.docker.compose.project": project, f"com.docker.compose.{word}": name}


def joined(answers: Said, *networks: Said) -> Said:
    """Of the container `changed`, in these networks."""
    container = answers["inspect_container changed"]
    container["HostConfig"]["NetworkMode"] = networks[0]["Name"]
    container["NetworkSettings"]["Networks"] = {each["Name"]: {} for each in networks}
    answers.update({f"inspect_network {each['Name']}": each for each in networks})
    return cast(Said, shown(answers, "changed").document["networks"])


def test_networks_of_two_projects_stay_two() -> None:
    own = network("changed_default", Labels=of_compose("changed", "network", "default"))
    other = network("proxy_default", Labels=of_compose("proxy", "network", "default"))
    assert joined(said("28.5"), own, other) == {
        "default": {},
        "proxy_default": {"name": "proxy_default"},
    }


def published(status: str) -> docker_look.Container:
    """The container `changed` with -P -p 81, as it runs and as it is stopped."""
    answers = said("28.5")
    container = answers["inspect_container changed"]
    container["State"] = {"Status": status}
    container["HostConfig"]["PublishAllPorts"] = True
    container["HostConfig"]["PortBindings"] = {
        "81/tcp": [{"HostIp": "", "HostPort": ""}],
        "82/tcp": [{"HostIp": "", "HostPort": "8082"}],
    }
    exposed = ("80/tcp", "81/tcp", "82/tcp")
    container["Config"]["ExposedPorts"] = {key: {} for key in exposed}
    numbers = (("::", "49200"), ("0.0.0.0", "49153"))
    rows = [{"HostIp": address, "HostPort": number} for address, number in numbers]
    bound = exposed if status == "running" else ()
    container["NetworkSettings"]["Ports"] = dict.fromkeys(bound, rows)
    seen = docker_look.container(cast(Any, Recorded(answers)), "changed")
    assert seen is not None
    document = cast(dict[str, Any], docker_project.project(seen, "changed").document)
    assert document["services"]["changed"]["ports"] == ["80", "81", "8082:82"]
    assert "expose" not in document["services"]["changed"]
    return seen.containers[0]


def test_ports_that_the_engine_chooses_read_the_same_when_it_is_stopped() -> None:
    running, stopped = published("running"), published("exited")
    assert running.reached(Port(80)) == Port(80, 49153)
    assert running.reached(Port(81)) == Port(81, 49153)
    assert running.reached(Port(82, 8082)) == stopped.reached(Port(82, 8082)) == Port(82, 8082)
    assert stopped.reached(Port(80)) is None


def test_a_network_that_is_not_the_apps_alone_is_external_when_it_moves() -> None:
    """It has all that makes one that is like it, where the target has none."""
    answers = said("28.5")
    own = network("changed_default", Labels=of_compose("changed", "network", "default"))
    proxy = network("proxy", Internal=True)
    left = network("front", Labels={"portkit.external": "yes", **of_compose("changed", "x", "y")})
    joined(answers, own, proxy, left)
    seen = docker_look.container(cast(Any, Recorded(answers)), "changed")
    assert seen is not None
    document = cast(Said, docker_project.project(seen, "changed", moves=True).document)
    assert document["networks"] == {
        "default": {},
        "front": {"name": "front", "external": True, "driver": "bridge"},
        "proxy": {"name": "proxy", "external": True, "driver": "bridge", "internal": True},
    }
    app = compose.read(json.dumps(document).encode(), "container:changed")
    assert sorted(each.engine_name for each in app.networks if each.external) == ["front", "proxy"]


def test_a_network_without_labels_that_is_called_as_compose_would_call_it() -> None:
    answers = said("28.5")
    joined(answers, network("changed_default"), network("other"))
    seen = docker_look.container(cast(Any, Recorded(answers)), "changed")
    assert seen is not None
    document = cast(Said, docker_project.project(seen, "changed", moves=True).document)
    app = compose.read(json.dumps(document).encode(), "container:changed")
    names = sorted(each.engine_name for each in app.networks if each.external)
    assert names == ["changed_default", "other"]


def test_volumes_whose_keys_would_be_one_stay_two() -> None:
    answers = said("28.5")
    container = answers["inspect_container changed"]
    container["Mounts"] = [
        {"Type": "volume", "Name": name, "Destination": f"/{name}"}
        for name in ("data", "changed_data")
    ]
    answers.update({f"inspect_volume {name}": {"Name": name} for name in ("data", "changed_data")})
    document = cast(dict[str, Any], shown(answers, "changed").document)
    volumes = document["services"]["changed"]["volumes"]
    assert len(document["volumes"]) == 2
    assert len({row.partition(":")[0] for row in volumes}) == 2


@pytest.mark.parametrize(
    ("driver", "subnet", "told"),
    [
        ("bridge", "172.20.0.0/16", False),
        ("bridge", "192.168.16.0/20", False),
        ("bridge", "10.9.0.0/24", True),
        ("bridge", "172.20.5.0/24", True),
        ("macvlan", "192.168.16.0/20", True),
    ],
)
def test_subnets_that_were_chosen(driver: str, subnet: str, told: bool) -> None:
    row = network("lan", Driver=driver, IPAM={"Config": [{"Subnet": subnet}]})
    found = joined(said("28.5"), row)
    assert ("ipam" in found["lan"]) is told


@pytest.mark.parametrize(
    ("binding", "text"),
    [
        ({"HostIp": "", "HostPort": "8080"}, "8080:80"),
        ({"HostIp": "0.0.0.0", "HostPort": "8080"}, "0.0.0.0:8080:80"),
        ({"HostIp": "::1", "HostPort": "8080"}, "[::1]:8080:80"),
        ({"HostIp": "", "HostPort": ""}, "80"),
        ({"HostIp": "127.0.0.1", "HostPort": "0"}, "127.0.0.1::80"),
    ],
)
def test_ports_as_they_were_asked_for(binding: Said, text: str) -> None:
    answers = said("28.5")
    answers["inspect_container changed"]["HostConfig"]["PortBindings"] = {"80/tcp": [binding]}
    assert service(answers, "changed")["ports"] == [text]


def test_a_network_whose_name_begins_as_another_mode() -> None:
    answers = said("28.5")
    answers["inspect_container changed"]["Config"]["Hostname"] = "www"
    joined(answers, network("hosting"))
    assert service(answers, "changed")["hostname"] == "www"


def test_thousands_of_variables_take_no_time() -> None:
    answers = said("28.5")
    container = answers["inspect_container changed"]
    image = [f"I{number}=1" for number in range(10_000)]
    container["Config"]["Env"] = [f"O{number}=1" for number in range(9_000)] + image
    answers["inspect_image " + container["Image"]]["Config"]["Env"] = image
    assert len(service(answers, "changed")["environment"]) == 9_000


@pytest.mark.parametrize(
    ("own", "image", "told"),
    [
        (["A=1", "PATH=/bin"], ["PATH=/bin"], {"A": "1"}),
        (["PATH=/bin"], ["PATH=/bin"], {}),
        (["PATH=/x", "B=2"], ["PATH=/bin", "B=2"], {"PATH": "/x"}),
        (["A=a=b$"], [], {"A": "a=b$"}),
        (["B=2", "A=1"], ["A=1", "B=2"], {"B": "2"}),
        ([], ["A=1"], {}),
    ],
)
def test_variables_that_were_set(own: list[str], image: list[str], told: dict[str, str]) -> None:
    answers = said("28.5")
    container = answers["inspect_container changed"]
    container["Config"]["Env"] = own
    answers["inspect_image " + container["Image"]]["Config"]["Env"] = image
    assert service(answers, "changed").get("environment", {}) == told


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "told"),
    [
        (["/run"], ["a"], {}),
        (["/run"], ["b"], {"command": ["b"]}),
        (["/run"], None, {"entrypoint": ["/run"]}),
        (["/other"], ["a"], {"entrypoint": ["/other"], "command": ["a"]}),
        (["/other"], [], {"entrypoint": ["/other"]}),
        (None, ["b"], {"entrypoint": [], "command": ["b"]}),
    ],
)
def test_an_entrypoint_takes_the_command_away(
    entrypoint: list[str] | None, cmd: list[str] | None, told: dict[str, object]
) -> None:
    answers = said("28.5")
    container = answers["inspect_container changed"]
    container["Config"].update({"Entrypoint": entrypoint, "Cmd": cmd})
    image = answers["inspect_image " + container["Image"]]["Config"]
    image.update({"Entrypoint": ["/run"], "Cmd": ["a"]})
    found = service(answers, "changed")
    assert {key: found[key] for key in ("entrypoint", "command") if key in found} == told


def test_an_image_whose_name_is_another_ones_now() -> None:
    answers = said("28.5")
    answers["inspect_image debian:bookworm-slim"]["Id"] = "sha256:" + "0" * 64
    container = answers["inspect_container changed"]
    assert service(answers, "changed")["image"] == container["Image"]
    del answers["inspect_image debian:bookworm-slim"]
    assert service(answers, "changed")["image"] == container["Image"]


def test_portkit_reads_the_file() -> None:
    told = dict(shown(said("28.5"), "odd-one").document)
    document = cast(dict[str, Any], environment.escaped(told))
    document["services"]["odd-one"]["volumes"] = ["odd-data:/data"]
    app = compose.read(json.dumps(document).encode(), "odd.yaml")
    (found,) = app.services
    assert found.environment["A"] == "x$y"
    assert (found.mem_limit_bytes, found.stop_signal, found.restart) == (
        100 << 20,
        "SIGINT",
        "on-failure:3",
    )


def test_nothing_of_that_name() -> None:
    assert docker_look.container(cast(Any, Recorded({"containers": []})), "nobody") is None


@given(st.data())
def test_odd_answers_are_a_typed_error_or_a_file(data: st.DataObject) -> None:
    answers = said("28.5")
    container = answers["inspect_container odd-one"]
    part = data.draw(st.sampled_from(["Config", "HostConfig", "NetworkSettings"]))
    key = data.draw(st.sampled_from(sorted(container[part])))
    container[part][key] = data.draw(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.lists(st.text() | st.none())
        | st.dictionaries(st.text(), st.none() | st.text() | st.integers())
    )
    try:
        json.dumps(shown(answers, "odd-one").document)
    except (Malformed, AppError):
        return


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(30 * 10**9, "30s"), (1_500_000_000, "1500ms"), (1500, "1500ns"), (2000, "2us")],
)
def test_durations(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text
