"""The pod of a service: what its process sees, in the words of Kubernetes. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from portkit.app.names import engine_user
from portkit.app.resolve import DEFAULT_PATH
from portkit.export.kubernetes_files import Files, environment_name
from portkit.export.kubernetes_names import label
from portkit.health import runs_check
from portkit.model import DEFAULT_CAPABILITIES, AppSpec, ImageConfig, RunSpec
from portkit.model.health import CHECK_INTERVAL_S, CHECK_RETRIES, CHECK_TIMEOUT_S
from portkit.wire.json_types import JsonObject

ENVIRONMENT_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_NUMBERS = re.compile(r"([0-9]+)(?::([0-9]+))?")
# Kubernetes puts variables in the place of $(NAME); $$ is a $ (API reference, Container).
_DOLLAR = re.compile(r"\$(?=[$(])")


def environment(service: RunSpec, image: ImageConfig) -> dict[str, str]:
    """What the App says of the environment beyond its image, as far as Kubernetes takes it."""
    own = dict(row.partition("=")[::2] for row in image.env)
    given = {"PATH": DEFAULT_PATH, **own, "HOSTNAME": service.hostname}
    return {
        key: value
        for key, value in service.env
        if given.get(key) != value and ENVIRONMENT_NAME.fullmatch(key)
    }


def user(service: RunSpec) -> tuple[int, int | None] | None:
    """The numbers of user and group; None where a name, or nothing, says who it is."""
    match = _NUMBERS.fullmatch(service.user)
    return (int(match[1]), int(match[2]) if match[2] else None) if match else None


def pod(
    app: AppSpec,
    service: RunSpec,
    image: ImageConfig,
    *,
    environment: Sequence[str],
    files: Files,
    volumes: Mapping[tuple[str, int], str],
) -> JsonObject:
    """Its spec, in which the image has no name yet. environment: names of its variables. volumes:
    the claim of each mount."""
    places, mounts = _volumes(service, volumes)
    container: JsonObject = {
        "name": label(service.service),
        "command": [_DOLLAR.sub("$$", word) for word in service.argv],
        "workingDir": service.cwd,
    }
    if environment:
        container["env"] = [_variable(name, service) for name in environment]
    if service.ports:
        ports = dict.fromkeys((port.target, port.protocol.upper()) for port in service.ports)
        container["ports"] = [{"containerPort": port, "protocol": kind} for port, kind in ports]
    container["securityContext"] = _security(service, image)
    container |= _limits(service) | _check(service)
    if service.tty:
        container["tty"] = True
    if service.stdin_open:
        container["stdin"] = True
    if rows := [*mounts, *files.mounts]:
        container["volumeMounts"] = rows
    made: JsonObject = {
        "hostname": label(service.hostname.partition(".")[0]),
        # Neither is there in compose: variables of other services, and a key to the cluster.
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": math.ceil(service.stop_grace_period_s),
        **_shared(service),
        "containers": [container],
    }
    if rows := [*places, *files.volumes]:
        made["volumes"] = rows
    return made


def _variable(name: str, service: RunSpec) -> JsonObject:
    reference = {"name": environment_name(service), "key": name}
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def _security(service: RunSpec, image: ImageConfig) -> JsonObject:
    made: JsonObject = {}
    numbers = user(service)
    # The image's own user is taken from the image, where it may be a name.
    if numbers and service.user != engine_user(image.user):
        made["runAsUser"] = numbers[0]
        if numbers[1] is not None:
            made["runAsGroup"] = numbers[1]
    if service.read_only:
        made["readOnlyRootFilesystem"] = True
    if service.privileged:
        return {**made, "privileged": True}
    if service.no_new_privileges:
        made["allowPrivilegeEscalation"] = False
    has, default = set(service.capabilities), set(DEFAULT_CAPABILITIES)
    short = [
        [name.removeprefix("CAP_") for name in sorted(x)] for x in (has - default, default - has)
    ]
    if not has:
        made["capabilities"] = {"drop": ["ALL"]}
    elif has != default:
        rows = dict(zip(("add", "drop"), short, strict=True))
        made["capabilities"] = {key: names for key, names in rows.items() if names}
    return made


def _limits(service: RunSpec) -> JsonObject:
    limits: JsonObject = {}
    if service.cpus:
        limits["cpu"] = f"{math.ceil(service.cpus * 1000)}m"
    if service.mem_limit_bytes:
        limits["memory"] = str(service.mem_limit_bytes)
    made: JsonObject = {"limits": limits} if limits else {}
    if service.mem_reservation_bytes:
        made["requests"] = {"memory": str(service.mem_reservation_bytes)}
    return {"resources": made} if made else {}


def _check(service: RunSpec) -> JsonObject:
    """A healthcheck says whether a service is ready; no engine restarts one that fails it."""
    check = service.healthcheck
    if check is None or not runs_check(check):
        return {}
    words = list(check.test[1:])
    if check.test[0] == "CMD-SHELL":
        words = ["/bin/sh", "-c", *words]
    probe: JsonObject = {
        "exec": {"command": words},
        "periodSeconds": max(1, round(check.interval_s or CHECK_INTERVAL_S)),
        "timeoutSeconds": max(1, math.ceil(check.timeout_s or CHECK_TIMEOUT_S)),
        "failureThreshold": check.retries or CHECK_RETRIES,
    }
    if check.start_period_s:
        probe["initialDelaySeconds"] = math.ceil(check.start_period_s)
    return {"readinessProbe": probe}


def _shared(service: RunSpec) -> JsonObject:
    """What belongs to the pod and not to a container."""
    made: JsonObject = {}
    for key, mode in (
        ("hostNetwork", service.network_mode),
        ("hostPID", service.pid),
        ("hostIPC", service.ipc),
    ):
        if mode == "host":
            made[key] = True
    rows = [(host, address) for host, address in service.extra_hosts if address != "host-gateway"]
    if rows:
        made["hostAliases"] = [{"ip": address, "hostnames": [host]} for host, address in rows]
    dns: JsonObject = {}
    if service.dns:
        dns["nameservers"] = list(service.dns)
    if service.dns_search:
        dns["searches"] = list(service.dns_search)
    if service.dns_opt:
        pairs = (text.partition(":") for text in service.dns_opt)
        dns["options"] = [
            {"name": name, **({"value": value} if value else {})} for name, _, value in pairs
        ]
    if dns:
        made["dnsConfig"] = dns
    security: JsonObject = {}
    groups = [int(each) for each in service.group_add if each.isdecimal()]
    if groups:
        security["supplementalGroups"] = groups
    numbers = user(service)
    if numbers and numbers[0] and any(mount.type == "volume" for mount in service.mounts):
        # A claim belongs to root at first; this group may write to it.
        security["fsGroup"] = numbers[0] if numbers[1] is None else numbers[1]
    if service.sysctls:
        security["sysctls"] = [{"name": k, "value": v} for k, v in service.sysctls.items()]
    if security:
        made["securityContext"] = security
    return made


def _volumes(
    service: RunSpec, claims: Mapping[tuple[str, int], str]
) -> tuple[list[JsonObject], list[JsonObject]]:
    """The volumes of a pod and where its container has them: claims and folders in memory."""
    places: dict[str, JsonObject] = {}
    mounts: list[JsonObject] = []
    for index, mount in enumerate(service.mounts):
        row: JsonObject = {"mountPath": mount.target}
        if mount.read_only:
            row["readOnly"] = True
        if mount.type == "volume":
            claim = claims[service.service, index]
            places[claim] = {"name": claim, "persistentVolumeClaim": {"claimName": claim}}
            mounts.append({"name": claim, **row})
        elif mount.type == "tmpfs":
            name = f"memory-{index}"
            places[name] = {"name": name, "emptyDir": _memory(mount.tmpfs_bytes)}
            mounts.append({"name": name, **row})
    if service.shm_bytes:
        places["shm"] = {"name": "shm", "emptyDir": _memory(service.shm_bytes)}
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 - in a container
    return list(places.values()), mounts


def _memory(size: int | None) -> JsonObject:
    return {"medium": "Memory", **({"sizeLimit": str(size)} if size else {})}
