"""What the services of an App are to Docker's API, in the words of its SDK. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from portkit import content_archive as archive
from portkit.model import (
    AppSpec,
    Condition,
    ContentFile,
    Dependency,
    Form,
    HealthProbe,
    Mount,
    Network,
    OnTaken,
    Quiesce,
    RunSpec,
)
from portkit.model.run import SHARED
from portkit.wire import labels

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from docker.types import Mount as DockerMount

# Compose's own labels, by which `docker compose ls` and `ps` see the project on the target.
_COMPOSE = labels.COMPOSE
_NEEDS = _COMPOSE + "depends_on"
_CONDITIONS = {condition.value: condition for condition in Condition}


def container_name(app: AppSpec, service: RunSpec, identity: str) -> str:
    """What a container is called on the target: nobody else's name."""
    digits = identity.removeprefix("pk-")
    last = f"-{service.service}" if app.several else ""
    return f"portkit-{app.app}-{digits}{last}"


def volume_names(app: AppSpec, identity: str) -> tuple[str, ...]:
    """What the engine calls each volume of an Instance, by number."""
    kept = dict(enumerate(app.volume_names))
    digits = identity.removeprefix("pk-")
    return tuple(kept.get(n) or f"portkit-{digits}-{n}" for n in range(app.volume_count))


def volume_labels(app: AppSpec, identity: str, number: int) -> dict[str, str]:
    """The labels of a volume: portkit's, and compose's where it keeps its name."""
    mine = {**marks(app, identity), labels.VOLUME: str(number)}
    if not app.brings_data:
        return mine
    mine[labels.DATA] = "moved"
    name = app.volume_names[number]
    row = next((each for each in app.volumes if name and each.engine_name == name), None)
    if row is None:
        return mine
    compose = {_COMPOSE + "project": app.app, _COMPOSE + "volume": row.name}
    return {**row.labels, **compose, **mine}


def content_volume(identity: str) -> str:
    """The volume that holds the files which travel with an App."""
    return f"portkit-{identity.removeprefix('pk-')}-content"


def content_archive(app: AppSpec) -> bytes:
    """A tar of these files, each Content by its number; empty where there are none."""
    found: dict[int, tuple[ContentFile, ...]] = {}
    for service, numbers in zip(app.services, app.content_numbers(), strict=True):
        for content, number in zip(service.contents, numbers, strict=True):
            found.setdefault(number, content.files)
    return archive.pack(found.items())


def marks(app: AppSpec, identity: str) -> dict[str, str]:
    """The labels by which portkit knows what it made."""
    return {labels.MOVE: identity, labels.APP: app.app, labels.FORM: Form.IMAGE.value}


def service_labels(app: AppSpec, service: RunSpec, identity: str) -> dict[str, str]:
    """All labels of a container: its own, portkit's, and of several services compose's."""
    mine = {**marks(app, identity), labels.RESTART: service.restart}
    if not app.several:
        return {**_settings(service), **service.labels, **mine}
    compose = {
        _COMPOSE + "project": app.app,
        _COMPOSE + "service": service.service,
        _COMPOSE + "container-number": "1",
        _COMPOSE + "oneoff": "False",
        # Compose 2 does not see a container without it: `up` would start a second one beside it.
        _COMPOSE + "config-hash": labels.NO_HASH,
        _NEEDS: needs_label(service),
    }
    front = {labels.FRONT: "yes"} if service is app.front else {}
    wishes = " ".join(need.service for need in service.depends_on if not need.required)
    own = {labels.SERVICE: service.service, labels.WISHES: wishes}
    return {**_settings(service), **service.labels, **compose, **mine, **front, **own}


def _settings(service: RunSpec) -> dict[str, str]:
    """What its x-portkit block said, as labels: when it moves on, there is no file any more. A CA
    is a file of this machine."""
    health, usual, quiesce = service.health, HealthProbe(), service.quiesce
    told = {
        "health.scheme": health.scheme if health.scheme != usual.scheme else None,
        "health.path": health.path if health.path != usual.path else None,
        "health.port": health.port,
        "health.contains": health.contains or None,
        "health.expect": health.expect or None,
        "health.timeout": _seconds(health.timeout_s, None),
        "health.method": health.method,
        "health.running": _seconds(health.running_s, usual.running_s),
        "health.settle": _seconds(health.settle_s, usual.settle_s),
        "quiesce.before": json.dumps(quiesce.before) if quiesce.before else None,
        "quiesce.after": json.dumps(quiesce.after) if quiesce.after else None,
        "quiesce.timeout": _seconds(quiesce.timeout_s, Quiesce.timeout_s),
    }
    return {labels.SETTING + key: str(value) for key, value in told.items() if value is not None}


def _seconds(value: float | None, usual: float | None) -> str | None:
    return None if value is None or value == usual else f"{value:.3f}s"


def needs_label(service: RunSpec) -> str:
    """What a service depends on, as compose writes it: name:condition:restart, with commas."""
    rows = [f"{n.service}:{n.condition}:{str(n.restart).lower()}" for n in service.depends_on]
    told = {need.service for need in service.depends_on}
    rows += [f"{name}:{Condition.STARTED}:false" for name in service.needs if name not in told]
    return ",".join(rows)


def needs_of(labels_of: Mapping[str, str]) -> tuple[Dependency, ...]:
    """`needs_label` read back; what is none is left out, for anybody can write a label."""
    found = []
    wishes = labels_of.get(labels.WISHES, "").split()
    for row in labels_of.get(_NEEDS, "").split(","):
        told, _, restart = row.rpartition(":")
        name, _, condition = told.partition(":")
        if condition in _CONDITIONS:
            need = Dependency(name, _CONDITIONS[condition], name not in wishes, restart == "true")
            found.append(need)
    return tuple(found)


def container(app: AppSpec, service: RunSpec, identity: str) -> dict[str, Any]:
    """The arguments of `create_container` beside image, host_config and networking_config."""
    return {
        "name": container_name(app, service, identity),
        # The whole argv as the entrypoint and no command: the image's own CMD would be appended
        # otherwise.
        "entrypoint": list(service.argv),
        "environment": [f"{key}={value}" for key, value in service.env],
        "working_dir": service.cwd,
        "user": service.user,
        # With another's network comes its name.
        "hostname": None if service.shares_network else service.hostname,
        "domainname": service.domainname or None,
        "ports": [(port.target, port.protocol) for port in service.ports],
        "labels": service_labels(app, service, identity),
        "stop_signal": service.stop_signal,
        "stop_timeout": math.ceil(service.stop_grace_period_s),
        "healthcheck": _healthcheck(service),
        "tty": service.tty,
        "stdin_open": service.stdin_open,
        # Else ~/.docker/config.json of this machine gets into the app's environment.
        "use_config_proxy": False,
    }


def host_config(
    app: AppSpec,
    service: RunSpec,
    identity: str,
    numbers: Sequence[int | None],
    contents: Sequence[str] = (),
) -> dict[str, Any]:
    """The arguments of `create_host_config`.

    numbers: of each mount, which volume it is. contents: of each Content, where the host has it.
    """
    from docker.types import LogConfig

    capabilities = [name.removeprefix("CAP_") for name in service.capabilities]
    log = service.logging
    found = {
        # All are dropped and those that are wanted are added, so that the engine's own default
        # does not matter.
        "cap_drop": None if service.privileged else ["ALL"],
        "cap_add": None if service.privileged else capabilities,
        "privileged": service.privileged,
        "mounts": [
            *_mounts(service.mounts, numbers, volume_names(app, identity), app),
            *_contents(service, contents),
        ],
        "read_only": service.read_only,
        "init": service.init,
        "group_add": list(service.group_add),
        "security_opt": list(service.security_opt),
        "userns_mode": service.userns_mode,
        "devices": [f"{each.source}:{each.target}:{each.permissions}" for each in service.devices],
        "log_config": LogConfig(type=log.driver, config=dict(log.options)) if log.driver else None,
        # Until `commit` nothing may start it: a host that restarts in the middle of a Move must
        # not bring the App up on its own.
        "restart_policy": {"Name": "no"},
        **_limits(service),
        **_networking(app, service, identity),
    }
    # What is not told is left to the engine.
    return {key: value for key, value in found.items() if value not in (None, "", [], {})}


def _limits(service: RunSpec) -> dict[str, Any]:
    from docker.types import Ulimit

    limits = [
        Ulimit(name=name, soft=limit.soft, hard=limit.hard)
        for name, limit in sorted(service.ulimits.items())
    ]
    return {
        "ulimits": limits,
        "mem_limit": service.mem_limit_bytes,
        "mem_reservation": service.mem_reservation_bytes,
        "memswap_limit": service.memswap_bytes,
        "nano_cpus": None if service.cpus is None else int(service.cpus * 1e9),
        "pids_limit": service.pids_limit,
        "shm_size": service.shm_bytes,
        "oom_score_adj": service.oom_score_adj,
        "sysctls": dict(service.sysctls),
        "cpuset_cpus": service.cpuset,
        "runtime": service.runtime,
        "storage_opt": dict(service.storage_opt),
    }


def _networking(app: AppSpec, service: RunSpec, identity: str) -> dict[str, Any]:
    """Networks, names and ports, and the namespaces that a service shares."""
    bindings: dict[str, list[tuple[str, int] | int]] = {}
    for port in service.ports:
        where = (port.host_ip, port.host_port) if port.host_ip else port.host_port
        bindings.setdefault(f"{port.target}/{port.protocol}", []).append(where)
    return {
        "port_bindings": bindings,
        "network_mode": _network_mode(app, service, identity),
        "extra_hosts": [f"{name}:{address}" for name, address in service.extra_hosts],
        "dns": list(service.dns),
        "dns_search": list(service.dns_search),
        "dns_opt": list(service.dns_opt),
        "pid_mode": _shared(app, service.pid, identity),
        "ipc_mode": _shared(app, service.ipc, identity),
    }


def _shared(app: AppSpec, mode: str, identity: str) -> str:
    """A mode as the engine knows it: of another service it is that of its container."""
    if not mode.startswith(SHARED):
        return mode
    return f"container:{container_name(app, app.named(mode.removeprefix(SHARED)), identity)}"


def _network_mode(app: AppSpec, service: RunSpec, identity: str) -> str | None:
    if service.network_mode:
        return _shared(app, service.network_mode, identity)
    networks = app.joined(service)
    return networks[0].engine_name if networks else None


def endpoint(app: AppSpec, service: RunSpec, network: Network, identity: str) -> dict[str, Any]:
    """The arguments of `create_endpoint_config` for its place in a network."""
    place = next(each for each in service.networks if each.network == network.name)
    names = dict.fromkeys((service.service, service.container_name, *place.aliases))
    links = {
        container_name(app, app.named(other), identity): alias for other, alias in service.links
    }
    found = {
        "aliases": [name for name in names if name],
        "links": links,
        "ipv4_address": place.ipv4,
        "ipv6_address": place.ipv6,
    }
    return {key: value for key, value in found.items() if value}


def network(row: Network) -> dict[str, Any]:
    """The arguments of `create_network`, but for labels."""
    from docker.types import IPAMConfig, IPAMPool

    pools = [
        IPAMPool(
            subnet=each.subnet or None,
            gateway=each.gateway or None,
            iprange=each.ip_range or None,
        )
        for each in row.subnets
    ]
    return {
        "name": row.engine_name,
        "driver": row.driver or "bridge",
        "options": dict(row.driver_opts) or None,
        "ipam": IPAMConfig(pool_configs=pools) if pools else None,
        "internal": row.internal,
        "enable_ipv6": row.enable_ipv6,
        "check_duplicate": True,
    }


def network_labels(app: AppSpec, row: Network) -> dict[str, str]:
    """Compose's labels of a network, or that it is not the App's alone."""
    if row.external:
        return {labels.EXTERNAL: "yes"}
    return {_COMPOSE + "project": app.app, _COMPOSE + "network": row.name}


def _mounts(
    mounts: Sequence[Mount], numbers: Sequence[int | None], names: Sequence[str], app: AppSpec
) -> list[DockerMount]:
    from docker.types import Mount as DockerMount

    found = []
    for mount, number in zip(mounts, numbers, strict=True):
        if mount.type == "bind":
            row = DockerMount(mount.target, mount.source, "bind", read_only=mount.read_only)
            found.append(row)
            continue
        if number is None:
            size, mode = mount.tmpfs_bytes, mount.tmpfs_mode
            found.append(DockerMount(mount.target, None, "tmpfs", tmpfs_size=size, tmpfs_mode=mode))
            continue
        # An engine copies what the image has there into a volume that is empty, unless it is told.
        kept = app.way(number) is OnTaken.KEEP
        found.append(
            DockerMount(
                mount.target, names[number], "volume", read_only=mount.read_only, no_copy=kept
            )
        )
    return found


def _contents(service: RunSpec, paths: Sequence[str]) -> list[DockerMount]:
    """Files of the App over those of the image, as a bind mount does it."""
    from docker.types import Mount as DockerMount

    return [
        DockerMount(content.target, path, "bind", read_only=content.read_only)
        for content, path in zip(service.contents, paths, strict=True)
    ]


def _healthcheck(spec: RunSpec) -> dict[str, Any] | None:
    check = spec.healthcheck
    if check is None:
        return None
    row: dict[str, Any] = {"test": list(check.test)}
    for key, seconds in (
        ("interval", check.interval_s),
        ("timeout", check.timeout_s),
        ("start_period", check.start_period_s),
    ):
        if seconds is not None:
            # The API counts in nanoseconds, as Go does.
            row[key] = int(seconds * 1e9)
    if check.retries is not None:
        row["retries"] = check.retries
    return row
