"""Manifests against Kubernetes' published schemas, and no secret outside of a Secret."""

import base64
from dataclasses import replace
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from portkit import yaml_text
from portkit.app.resolve import resolve_all
from portkit.errors import AppError
from portkit.export.kubernetes import ImageName, Manifests, manifests
from portkit.export.kubernetes_names import label
from portkit.model import (
    App,
    Attachment,
    Condition,
    Content,
    ContentFile,
    Dependency,
    Device,
    Healthcheck,
    ImageConfig,
    Mount,
    Port,
    Service,
    Severity,
    Ulimit,
)
from portkit.model.project import ContentKind
from tests.factories import IMAGE

PASSWORD = "correct horse $(battery)"
FILE = ContentFile(data=PASSWORD.encode(), mode=0o640)
WEB = Service(
    "web",
    image="web",
    command=("serve", "$(HOME)", "$$", "$x", "010"),
    environment={"PASSWORD": PASSWORD, "EMPTY": ""},
    user="1000",
    group_add=("44",),
    ports=(Port(80, 8080), Port(53, 53, "udp"), Port(99, 99, "tcp", "127.0.0.1")),
    volumes=(
        Mount("volume", "/data", "data"),
        Mount("volume", "/own"),
        Mount("tmpfs", "/memory", tmpfs_bytes=1 << 20),
    ),
    contents=(
        Content("/etc/key", kind=ContentKind.SECRET, files=(FILE,)),
        Content("/etc/conf", kind=ContentKind.CONFIG, files=(replace(FILE, data=b"plain"),)),
        Content("/etc/inline", data=FILE.data, kind=ContentKind.CONFIG, files=(FILE,)),
        Content("/srv", files=(ContentFile(kind="folder"), replace(FILE, path="a/b"))),
    ),
    healthcheck=Healthcheck(("CMD-SHELL", "true"), 5.0, 2.5, 4, 1.0),
    cap_add=("SYS_TIME",),
    cap_drop=("CHOWN",),
    security_opt=("no-new-privileges:true",),
    read_only=True,
    sysctls={"net.core.somaxconn": "512"},
    extra_hosts=(("db.example", "10.0.0.9"),),
    dns=("10.0.0.2",),
    dns_opt=("ndots:2", "rotate"),
    cpus=0.5,
    mem_limit_bytes=64 << 20,
    mem_reservation_bytes=32 << 20,
    shm_bytes=1 << 20,
    stop_grace_period_s=2.5,
    depends_on=(Dependency("init", Condition.COMPLETED),),
    networks=(Attachment("default", ("www",)),),
)
INIT = Service("init", image="web", volumes=(Mount("volume", "/data", "data"),))


def made(*services: Service, image: ImageConfig = IMAGE) -> Manifests:
    app = App("shop", services, "compose.yaml")
    spec = resolve_all(app, tuple(image for _ in services))
    names = {each.name: ImageName("portkit/shop:1", "Never") for each in services}
    return manifests(spec, {each.name: image for each in services}, names)


def kind(found: Manifests, wanted: str, name: str = "") -> dict[str, Any]:
    rows = (*found.documents, *found.secrets)
    return next(
        row
        for row in rows
        if row["kind"] == wanted and (not name or row["metadata"]["name"] == name)
    )


def test_published_schemas_take_it() -> None:
    found = made(WEB, INIT)
    text = yaml_text.dump(*found.documents, *found.secrets)
    rows = list(yaml.safe_load_all(text))
    assert {row["kind"] for row in rows} == {
        "PersistentVolumeClaim",
        "ConfigMap",
        "Secret",
        "Deployment",
        "Job",
        "Service",
    }
    for row in rows:
        validate(row, "1.30", strict=True)


def test_secrets_are_apart() -> None:
    found = made(WEB, INIT)
    hidden = base64.b64encode(PASSWORD.encode()).decode()
    open_text = yaml_text.dump(*found.documents)
    assert PASSWORD not in open_text
    assert hidden not in open_text
    assert PASSWORD not in repr(found)
    assert hidden not in repr(found)
    assert all(row["kind"] == "Secret" for row in found.secrets)
    data = kind(found, "Secret", "web-environment")["data"]
    assert {k: base64.b64decode(v).decode() for k, v in data.items()} == {
        "PASSWORD": PASSWORD,
        "EMPTY": "",
    }
    assert kind(found, "Secret", "web-file-0")["data"] == {"f0": hidden}
    # A config that stands in the compose file may hold what a variable was.
    assert kind(found, "Secret", "web-file-2")["data"] == {"f0": hidden}
    assert "Secret" not in {row["kind"] for row in found.documents}


def test_the_process_is_the_same() -> None:
    pod = kind(made(WEB, INIT), "Deployment")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    # As Kubernetes expands it: $$( is $(, and $$ is $.
    assert container["command"] == ["serve", "$$(HOME)", "$$$", "$x", "010"]
    assert container["securityContext"] == {
        "runAsUser": 1000,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"add": ["SYS_TIME"], "drop": ["CHOWN"]},
    }
    assert pod["securityContext"]["fsGroup"] == 1000
    assert pod["securityContext"]["supplementalGroups"] == [44]
    assert pod["terminationGracePeriodSeconds"] == 3
    assert container["readinessProbe"]["exec"]["command"] == ["/bin/sh", "-c", "true"]
    assert (pod["enableServiceLinks"], pod["automountServiceAccountToken"]) == (False, False)
    places = {row["mountPath"]: row for row in container["volumeMounts"]}
    assert places["/etc/key"] == {
        "name": "web-file-0",
        "mountPath": "/etc/key",
        "readOnly": True,
        "subPath": "file",
    }
    assert places["/data"]["name"] == "data"
    volumes = {row["name"]: row for row in pod["volumes"]}
    assert volumes["web-file-3"]["secret"]["items"] == [{"key": "f0", "path": "a/b", "mode": 0o640}]


def test_a_job_and_names() -> None:
    found = made(WEB, INIT)
    job = kind(found, "Job")
    assert job["metadata"]["name"] == "init"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    services = {row["metadata"]["name"]: row for row in found.documents if row["kind"] == "Service"}
    assert set(services) == {"web", "www", "init", "web-published"}
    assert services["www"]["spec"]["clusterIP"] == "None"
    ports = [(p["port"], p["targetPort"]) for p in services["web-published"]["spec"]["ports"]]
    assert ports == [(8080, 80), (53, 53)]  # and not the one of the host alone
    claims = [r["metadata"]["name"] for r in found.documents if "Claim" in r["kind"]]
    assert claims == ["data", "web-own"]


def test_two_services_of_one_name() -> None:
    with pytest.raises(AppError, match="the same name in Kubernetes"):
        made(Service("a_b", image="x"), Service("a.b", image="x"))


@pytest.mark.parametrize(
    ("services", "twice"),
    [
        ([replace(WEB, depends_on=()), Service("web-published", image="x")], "Service web-pub"),
        ([replace(WEB, name="w" * 60, depends_on=())], "Secret w"),
    ],
)
def test_no_object_takes_the_place_of_another(services: list[Service], twice: str) -> None:
    with pytest.raises(AppError, match="two objects") as caught:
        made(*services)
    assert caught.value.details.startswith(twice)


def test_ports_of_one_number_at_several_addresses() -> None:
    ports = tuple(Port(target, 80, "tcp", f"10.0.0.{target}") for target in (8, 8, 9))
    found = made(Service("x", image="x", restart="always", ports=ports))
    (row,) = kind(found, "Service")["spec"]["ports"]
    assert (row["port"], row["targetPort"]) == (80, 8)
    assert [(each.severity, each.message[:17]) for each in found.findings] == [
        (Severity.WARNING, "ports: 80: was pu"),
        (Severity.ERROR, "ports: 80: led to"),
    ]


@pytest.mark.parametrize("text", ["y", "n", "Y", "N", "yes", "null", "0x1", "1_0", "", "a: b"])
def test_no_reader_takes_a_text_for_something_else(text: str) -> None:
    """Of these, PyYAML itself reads y and n as texts; YAML 1.1 and kubectl as booleans."""
    assert yaml_text.dump({"a": text})[3] in "\"'"


def test_an_image_says_its_user_itself() -> None:
    image = replace(IMAGE, user="www-data", env=("A=1",))
    container = kind(made(Service("x", image="x"), image=image), "Deployment")
    assert "runAsUser" not in str(container)
    assert "env" not in container["spec"]["template"]["spec"]["containers"][0]
    assert not made(Service("x", image="x"), image=image).secrets


@pytest.mark.parametrize(
    ("service", "field", "severity"),
    [
        ({"user": "www"}, "user", Severity.ERROR),
        ({"group_add": ("audio",)}, "group_add", Severity.ERROR),
        ({"devices": (Device("/dev/kvm", "/dev/kvm"),)}, "devices", Severity.ERROR),
        ({"network_mode": "none"}, "network_mode", Severity.ERROR),
        ({"environment": {"1A": "x"}}, "environment", Severity.ERROR),
        ({"environment": {"OF_IMAGE": None}}, "environment", Severity.WARNING),
        ({"ulimits": {"nofile": Ulimit(1, 1)}}, "ulimits", Severity.WARNING),
        ({"stop_signal": "SIGINT"}, "stop_signal", Severity.WARNING),
        ({"init": True}, "init", Severity.WARNING),
        ({"security_opt": ("seccomp:unconfined",)}, "security_opt", Severity.WARNING),
        ({"volumes": (Mount("volume", "/d", "d"),)}, "volumes", Severity.WARNING),
        ({"ports": (Port(1, 1, "tcp", "127.0.0.1"),)}, "ports", Severity.WARNING),
        ({"networks": (Attachment("back"),)}, "networks", Severity.WARNING),
        ({"contents": (Content("/x", files=()),)}, "/x", Severity.WARNING),
        ({"ports": (Port(1, 1, "tcp", "10.0.0.9"),)}, "ports", Severity.WARNING),
        ({"labels": {"a": "b"}}, "labels", Severity.INFO),
        ({"hostname": "web1.example"}, "hostname", Severity.INFO),
    ],
)
def test_what_it_cannot_say(service: dict[str, Any], field: str, severity: Severity) -> None:
    image = replace(IMAGE, env=("OF_IMAGE=1",))
    plain = Service("x", image="x", restart="always")
    assert made(plain, image=image).findings == ()
    found = made(replace(plain, **service), image=image).findings
    assert [(each.message.partition(":")[0], each.severity) for each in found] == [
        (field, severity)
    ]
    assert found[0].services == ("x",)


def test_files_that_no_object_holds() -> None:
    big = replace(FILE, data=bytes(800 << 10))
    found = made(replace(WEB, contents=(Content("/big", files=(big,)),)), INIT)
    assert any(
        each.severity is Severity.ERROR and each.message.startswith("/big: 819200 bytes")
        for each in found.findings
    )
    assert "web-file-0" not in yaml_text.dump(*found.documents, *found.secrets)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web", "web"),
        ("My_App.1", "my-app-1"),
        ("1st", "x-1st"),
        ("__", "x"),
        ("a" * 62 + "-b", "a" * 62),
    ],
)
def test_labels(text: str, name: str) -> None:
    assert label(text) == name
