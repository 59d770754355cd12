"""What `docker compose config` writes, in the words of portkit's model, to be compared."""

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from portkit.app import values
from portkit.model import (
    App,
    Attachment,
    Build,
    Condition,
    Content,
    ContentKind,
    Dependency,
    Device,
    GitUrl,
    Healthcheck,
    HealthProbe,
    Logging,
    Machine,
    Mount,
    Network,
    Port,
    Service,
    Subnet,
    Ulimit,
    Volume,
)


def plain(value: Any) -> Any:
    """An answer without what `config` escapes: it doubles every $ of a value."""
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value.replace("$$", "$") if isinstance(value, str) else value


def words(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def seconds(value: str | None) -> float | None:
    return None if value is None else values.duration(value)


def build(row: dict[str, Any] | None) -> Build | None:
    if row is None:
        return None
    context = row.get("context", "/shop")
    return Build(
        GitUrl(context) if GitUrl.is_remote(context) else Path(context),
        row.get("dockerfile", "Dockerfile"),
        inline=row.get("dockerfile_inline"),
        args=row.get("args", {}),
        target=row.get("target"),
        network=row.get("network"),
    )


def port(row: dict[str, Any]) -> Port:
    published = row.get("published")
    address = row.get("host_ip", "")
    return Port(
        row["target"],
        None if published is None else int(published.partition("-")[0]),
        row.get("protocol", "tcp").lower(),
        "" if address == "0.0.0.0" else address,
    )


def mount(row: dict[str, Any]) -> Mount:
    told = row.get("tmpfs", {})
    return Mount(
        row["type"],
        row["target"],
        row.get("source", "") if row["type"] == "volume" else "",
        row.get("read_only", False),
        int(told["size"]) if "size" in told else None,
        told.get("mode"),
    )


def tmpfs(text: str) -> Mount:
    target, _, options = text.partition(":")
    target = os.path.normpath(target)  # the engine does, not compose
    told = dict(word.partition("=")[::2] for word in options.split(",") if word)
    size, mode = told.get("size"), told.get("mode")
    return Mount(
        "tmpfs",
        target,
        tmpfs_bytes=None if size is None else values.size(size),
        tmpfs_mode=None if mode is None else int(mode, 8),
    )


def healthcheck(row: dict[str, Any] | None) -> Healthcheck | None:
    if row is None:
        return None
    if row.get("disable"):
        return Healthcheck(("NONE",))
    return Healthcheck(
        tuple(row.get("test", ())),
        *(seconds(row.get(key)) for key in ("interval", "timeout")),
        row.get("retries"),
        seconds(row.get("start_period")),
    )


def ulimit(row: int | dict[str, int]) -> Ulimit:
    return (
        Ulimit(row, row) if isinstance(row, int) else Ulimit(row.get("soft", 0), row.get("hard", 0))
    )


def _network(name: str, row: dict[str, Any] | None) -> Attachment:
    row = row or {}
    return Attachment(
        name,
        tuple(row.get("aliases", ())),
        row.get("ipv4_address", ""),
        row.get("ipv6_address", ""),
        row.get("mac_address", ""),
        int(row.get("priority", 0)),
    )


def _dependencies(row: dict[str, Any]) -> tuple[Dependency, ...]:
    found = {
        name: Dependency(
            name, Condition(each["condition"]), each["required"], each.get("restart", False)
        )
        for name, each in row.get("depends_on", {}).items()
    }
    return tuple(found[name] for name in sorted(found))


def _mounted(kind: ContentKind, row: dict[str, Any]) -> Content:
    folder = "/run/secrets/" if kind is ContentKind.SECRET else "/"
    target = row.get("target", row["source"])
    return Content(
        target if target.startswith("/") else folder + target,
        kind=kind,
        name=row["source"],
        read_only=True,
        uid=int(row["uid"]) if "uid" in row else None,
        gid=int(row["gid"]) if "gid" in row else None,
        mode=int(row["mode"], 8) if "mode" in row else None,
    )


def _engine(row: dict[str, Any]) -> dict[str, Any]:
    limits = row.get("deploy", {}).get("resources", {}).get("limits", {})
    least = row.get("deploy", {}).get("resources", {}).get("reservations", {})
    policy = row.get("deploy", {}).get("restart_policy")
    pids = limits.get("pids", row.get("pids_limit", 0))
    log = row.get("logging", {})
    return {
        "cpus": limits.get("cpus", row.get("cpus")),
        "mem_limit_bytes": _memory(limits.get("memory", row.get("mem_limit", 0))),
        "mem_reservation_bytes": _memory(least.get("memory", row.get("mem_reservation", 0))),
        "memswap_bytes": int(row.get("memswap_limit", 0)) or None,
        "pids_limit": pids if pids > 0 else None,
        "restart": row.get("restart", "no") if policy is None else _policy(policy),
        "security_opt": tuple(dict.fromkeys(row.get("security_opt") or ())),
        "sysctls": {name: text or "" for name, text in (row.get("sysctls") or {}).items()},
        "shm_bytes": int(row.get("shm_size", 0)) or None,
        "oom_score_adj": row.get("oom_score_adj", 0),
        "devices": tuple(Device(**each) for each in row.get("devices") or ()),
        "logging": Logging(log.get("driver", ""), log.get("options") or {}),
        "container_name": row.get("container_name", ""),
        "profiles": tuple(row.get("profiles", ())),
        "platform": row.get("platform", ""),
        "scale": row.get("scale", row.get("deploy", {}).get("replicas", 1)),
    }


def _memory(value: str | int) -> int | None:
    return int(value) if int(value) > 0 else None


def _policy(row: dict[str, Any]) -> str:
    words = {"": "no", "any": "always", "none": "no"}
    text = words.get(row.get("condition", ""), row.get("condition", ""))
    count = row.get("max_attempts", 0)
    return f"{text}:{count}" if text == "on-failure" and count else text


def _places(row: dict[str, Any]) -> dict[str, Any]:
    hosts = [each.partition("=")[::2] for each in row.get("extra_hosts", ())]
    return {
        "depends_on": _dependencies(row),
        "networks": tuple(
            _network(name, each) for name, each in sorted((row.get("networks") or {}).items())
        ),
        "network_mode": row.get("network_mode", ""),
        "links": tuple(
            (link.partition(":")[0], link.rpartition(":")[2]) for link in row.get("links", ())
        ),
        "extra_hosts": tuple(sorted({(name, address) for name, address in hosts})),
        "dns": tuple(row.get("dns") or ()),
        "dns_search": tuple(row.get("dns_search") or ()),
        "dns_opt": tuple(row.get("dns_opt") or ()),
        "domainname": row.get("domainname", ""),
        "pid": row.get("pid", ""),
        "ipc": row.get("ipc", ""),
        "userns_mode": row.get("userns_mode", ""),
        "expose": tuple(str(each) for each in row.get("expose", ())),
        "contents": (
            *(_mounted(ContentKind.CONFIG, each) for each in row.get("configs") or ()),
            *(_mounted(ContentKind.SECRET, each) for each in row.get("secrets") or ()),
        ),
    }


def service(row: dict[str, Any], name: str = "a") -> Service:
    """What portkit calls that what compose has written."""
    return Service(
        name,
        image=row.get("image", None if "build" in row else "x"),
        build=build(row.get("build")),
        command=words(row.get("command")),
        entrypoint=words(row.get("entrypoint")),
        environment=row.get("environment", {}),
        user=row.get("user"),
        group_add=tuple(row.get("group_add", ())),
        working_dir=row.get("working_dir"),
        hostname=row.get("hostname"),
        ports=tuple(port(each) for each in row.get("ports", ())),
        volumes=(
            *(mount(each) for each in row.get("volumes", ())),
            *(tmpfs(each) for each in row.get("tmpfs", ())),
        ),
        healthcheck=healthcheck(row.get("healthcheck")),
        stop_signal=row.get("stop_signal"),
        stop_grace_period_s=values.duration(row.get("stop_grace_period", "10s")),
        ulimits={name: ulimit(each) for name, each in row.get("ulimits", {}).items()},
        cap_add=tuple(row.get("cap_add", ())),
        cap_drop=tuple(row.get("cap_drop", ())),
        privileged=row.get("privileged", False),
        read_only=row.get("read_only", False),
        init=row.get("init", False),
        labels=row.get("labels", {}),
        tty=row.get("tty", False),
        stdin_open=row.get("stdin_open", False),
        **_engine(row),
        **_places(row),
    )


def networks(rows: dict[str, Any]) -> dict[str, Network]:
    """The networks of the top level, by their names."""
    return {
        name: Network(
            name,
            row["name"],
            external=row.get("external", False),
            internal=row.get("internal", False),
            driver=row.get("driver", ""),
            subnets=tuple(
                Subnet(each.get("subnet", ""), each.get("gateway", ""), each.get("ip_range", ""))
                for each in row.get("ipam", {}).get("config") or ()
            ),
            enable_ipv6=row.get("enable_ipv6", False),
            labels=row.get("labels", {}),
            driver_opts=row.get("driver_opts") or {},
        )
        for name, row in rows.items()
    }


def volumes(rows: dict[str, Any]) -> dict[str, Volume]:
    """The volumes of the top level, by their names."""
    return {
        name: Volume(
            name,
            row["name"],
            external=row.get("external", False),
            driver=row.get("driver", ""),
            driver_opts=row.get("driver_opts") or {},
            labels=row.get("labels", {}),
        )
        for name, row in rows.items()
    }


def comparable(ours: Service, folder: Path, name: str = "a") -> Service:
    """A reading with the folder that compose was asked in, without what is portkit's own, the
    content of files, and the sources of bind mounts; what compose sorts is sorted."""

    def at(path: str) -> str:
        return path.replace(str(folder), "")

    made = ours.build
    if made is not None and isinstance(made.context, Path):
        made = replace(made, context=Path(at(str(made.context))))
    return replace(
        ours,
        name=name,
        build=made,
        volumes=_mounts(ours),
        contents=tuple(
            replace(each, source=None, data=None, size_bytes=0, read_only=True)
            for each in ours.contents
            if each.kind is not ContentKind.BIND
        ),
        networks=tuple(sorted(ours.networks, key=lambda each: each.network)),
        depends_on=tuple(sorted(ours.depends_on, key=lambda each: each.service)),
        extra_hosts=tuple(sorted(ours.extra_hosts)),
        health=HealthProbe(),
        machine=Machine(),
    )


def _mounts(ours: Service) -> tuple[Mount, ...]:
    """The mounts, and the files that travel in place of bind mounts: those of `volumes` first."""
    binds = [
        Mount("bind", each.target, read_only=each.read_only)
        for each in ours.contents
        if each.kind is ContentKind.BIND
    ]
    rest = [replace(each, source="") if each.type == "bind" else each for each in ours.volumes]
    return tuple(sorted([*rest, *binds], key=lambda each: each.target))


def sorted_mounts(theirs: Service) -> Service:
    """What compose has read, its mounts in the order of `comparable`."""
    return replace(theirs, volumes=tuple(sorted(theirs.volumes, key=lambda each: each.target)))


def _without_replaced(theirs: Service, row: dict[str, Any]) -> Service:
    """Without the bind mounts that nothing stands for: the kernel's random numbers, and a time zone
    that this machine has not."""
    pairs = {each["target"]: each.get("source", "") for each in row.get("volumes", ())}
    gone = {
        target
        for target, source in pairs.items()
        if {source, target} == {"/dev/random", "/dev/urandom"}
        or (source == "/etc/localtime" and not Path(source).exists())
    }
    kept = tuple(each for each in theirs.volumes if each.target not in gone)
    return replace(theirs, volumes=kept)


def differing(ours: Service, theirs: Service) -> dict[str, tuple[Any, Any]]:
    """The fields that are not the same."""
    pairs = {
        field.name: (getattr(ours, field.name), getattr(theirs, field.name))
        for field in fields(Service)
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def whole(app: App, answer: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What differs between an App and compose's whole answer, by the place."""
    found: dict[str, Any] = {}
    if app.name != answer["name"]:
        found["name"] = (app.name, answer["name"])
    ours = {each.name: each for each in app.services}
    theirs = answer["services"]
    if set(ours) != set(theirs):
        return {**found, "services": (sorted(ours), sorted(theirs))}
    for name, each in ours.items():
        other = _without_replaced(sorted_mounts(service(theirs[name], name)), theirs[name])
        if other.network_mode.startswith("container:"):  # of a service: we say which
            needs = comparable(each, folder, name).depends_on
            other = replace(other, network_mode=each.network_mode, depends_on=needs)
        # A wish for a service that is not chosen is one for nothing.
        other = replace(
            other, depends_on=tuple(one for one in other.depends_on if one.service in ours)
        )
        here = differing(comparable(each, folder, name), other)
        if "volumes_from" in theirs[name]:
            here.pop("volumes", None)
        found.update({f"{name}.{key}": pair for key, pair in here.items()})
    theirs_volumes = volumes(answer.get("volumes", {}))
    # One that the top level does not declare, which compose refuses, is made as if it did.
    declared = [
        each
        for each in app.volumes
        if each.name in theirs_volumes or each != Volume(each.name, f"{app.name}_{each.name}")
    ]
    for key, own, other in (
        ("networks", app.networks, networks(answer.get("networks", {}))),
        ("volumes", declared, theirs_volumes),
    ):
        named = {each.name: each for each in own}
        if named != other:
            found[key] = (named, other)
    return found
