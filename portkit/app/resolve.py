"""A Service and its image -> RunSpec: what the process sees, in both forms. Pure.

The rules are Docker's: an entrypoint of the service drops the image's command, the service's
environment comes over the image's, VOLUMEs of the image that nothing else covers are anonymous.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields, replace

from portkit.app import values
from portkit.app.document import encodable
from portkit.app.names import engine_user
from portkit.errors import AppError
from portkit.guest import stack
from portkit.guest.config import signal_number
from portkit.health import runs_check
from portkit.model import (
    CAPABILITIES,
    DEFAULT_CAPABILITIES,
    App,
    AppSpec,
    Condition,
    Healthcheck,
    ImageConfig,
    Mount,
    Port,
    RunSpec,
    Service,
    Surroundings,
    Ulimit,
)

# Where Docker's own depends on how its daemon was started, portkit says it for both forms. Low
# enough for engines that may not raise limits (an engine in a container has no CAP_SYS_RESOURCE).
_UNLIMITED = Ulimit(-1, -1)
DEFAULT_ULIMITS = {
    **dict.fromkeys(("cpu", "fsize", "data", "rss", "as", "locks", "rttime"), _UNLIMITED),
    **dict.fromkeys(("nofile", "nproc", "sigpending"), Ulimit(16384, 16384)),
    **dict.fromkeys(("core", "nice", "rtprio"), Ulimit(0, 0)),
    "stack": Ulimit(8 << 20, -1),
    "memlock": Ulimit(64 << 10, 64 << 10),
    "msgqueue": Ulimit(819200, 819200),
}
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}  # as Docker's words
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOSTNAME = re.compile(rf"(?=.{{1,63}}\Z){_LABEL}(\.{_LABEL})*")


def resolve(app: App, image: ImageConfig) -> RunSpec:
    """What the process of an App's only service sees. AppError when nothing says what to run, or a
    value is bad."""
    (service,) = app.services
    return _resolved(app, service, image, app.name)


def resolve_all(app: App, images: Sequence[ImageConfig]) -> AppSpec:
    """What the processes of all services see. images: of each service, in their order.

    AppError as for `resolve`; of several services it names the one that it is about.
    """
    distinct = tuple({image.digest: image for image in images}.values())
    layers = stack.trees(distinct)
    pairs = tuple(zip(app.services, images, strict=True))
    if len(pairs) == 1:
        service, image = pairs[0]
        only = replace(_resolved(app, service, image, app.name), layers=layers[image.digest])
        return _whole(app, (only,))
    found = []
    for service, image in pairs:
        try:
            made = _resolved(app, service, image, service.name)
        except AppError as error:
            error.details = f"{service.name}: {error.details}"
            raise
        found.append(replace(made, layers=layers[image.digest]))
    return _whole(app, tuple(found))


def _check_needs(services: Sequence[RunSpec]) -> None:
    """As compose refuses it: what has no healthcheck never becomes healthy."""
    known = {each.service: each for each in services}
    for service in services:
        for need in service.depends_on:
            other = known.get(need.service)
            if need.condition is Condition.HEALTHY and other and not runs_check(other.healthcheck):
                raise AppError(
                    f"{service.service} waits for {need.service} to become healthy, but that "
                    "service has no healthcheck",
                    details="neither its image nor the compose file defines one",
                    resolution="Add a `healthcheck:` to it, or wait for service_started instead.",
                )


def _whole(app: App, services: tuple[RunSpec, ...]) -> AppSpec:
    _check_needs(services)
    front = next(each for each in services if each.service == app.front_service.name)
    machine = app.services[0].machine if len(services) == 1 else app.machine
    spec = AppSpec(app.name, services, front, machine, app.networks, app.volumes)
    return replace(spec, volume_names=_volume_names(app, spec)) if app.running else spec


def _volume_names(app: App, spec: AppSpec) -> tuple[str, ...]:
    """Of an App that brings its data: the names by which its users know the volumes."""
    names = {volume.name: volume.engine_name for volume in app.volumes}
    found: dict[int, str] = {}
    for service, numbers in zip(spec.services, spec.volume_numbers(), strict=True):
        for mount, number in zip(service.mounts, numbers, strict=True):
            if number is not None:
                found[number] = names.get(mount.source, "")
    return tuple(found[number] for number in sorted(found))


def _resolved(app: App, service: Service, image: ImageConfig, name: str) -> RunSpec:
    """name: what its host is called, unless it says so itself."""
    _check_platform(service, image)
    hostname = _hostname(service.hostname or name.replace("_", "-").replace(".", "-").strip("-"))
    return RunSpec(
        app=app.name,
        argv=_argv(service, image),
        env=_env(service, image, hostname),
        cwd=_cwd(service.working_dir or image.working_dir or "/"),
        user=engine_user(service.user or image.user),
        group_add=service.group_add,
        hostname=hostname,
        # What a container's process has with Docker's runtime, and so the guest's init sets it too.
        umask=0o022,
        ulimits={**DEFAULT_ULIMITS, **service.ulimits},
        capabilities=_capabilities(service),
        mounts=_mounts(service, image),
        ports=_ports(app, service, image),
        stop_signal=_stop_signal(service, image),
        stop_grace_period_s=service.stop_grace_period_s,
        restart=service.restart,
        health=service.health,
        machine=service.machine,
        healthcheck=_healthcheck(service.healthcheck, image.healthcheck),
        service=service.name,
        image=image.digest,
        **{each.name: getattr(service, each.name) for each in fields(Surroundings)},
    )


def _check_platform(service: Service, image: ImageConfig) -> None:
    """AppError where the image is not the one that the service asks for. Its variant is the
    engine's own concern: an image of another one does not say so."""
    words = service.platform.split("/")
    system, architecture = ("linux", words[0]) if len(words) == 1 else words[:2]
    wanted = _ARCHITECTURES.get(architecture, architecture)
    if service.platform and (system, wanted) != (image.os, image.architecture):
        raise AppError(
            "the image was not built for the platform that the service asks for",
            details=f"{service.name}: it asks for {service.platform[:60]}, the image is for "
            f"{image.os}/{image.architecture}",
            resolution="Pull the right image on the source host: docker pull --platform "
            f"{service.platform[:60]} IMAGE.",
        )


def defaults(image: ImageConfig) -> RunSpec | None:
    """What the image alone asks for: a disk boots on it when no Instance says otherwise.

    None for an image that names no command."""
    if not image.entrypoint + image.cmd:
        return None
    return resolve(App("portkit", (Service("portkit"),), "portkit"), image)


def _argv(service: Service, image: ImageConfig) -> tuple[str, ...]:
    """As moby merges both (daemon/commit.go): an entrypoint drops the image's command, an empty
    one, which is not none, drops the image's entrypoint alone."""
    entrypoint, command = service.entrypoint, service.command or ()
    if not entrypoint:
        command = command or image.cmd
    if entrypoint is None:
        entrypoint = image.entrypoint
    argv = (() if entrypoint == ("",) else entrypoint) + command
    if not argv:
        raise AppError(
            "there is no command to run",
            details=f"{service.name}: neither the image nor the service has a command",
            resolution="Add a `command:` to the service.",
        )
    return argv


def _stop_signal(service: Service, image: ImageConfig) -> str:
    text = service.stop_signal or image.stop_signal or "SIGTERM"
    signal_number(text)  # of an image it may be anything
    return text


def _healthcheck(own: Healthcheck | None, image: Healthcheck | None) -> Healthcheck | None:
    """As moby merges both (daemon/commit.go): what is empty or 0 is as the image says."""
    if own is None or image is None:
        return own or image
    return Healthcheck(
        test=own.test or image.test,
        interval_s=own.interval_s or image.interval_s,
        timeout_s=own.timeout_s or image.timeout_s,
        retries=own.retries or image.retries,
        start_period_s=own.start_period_s or image.start_period_s,
    )


def _env(service: Service, image: ImageConfig, hostname: str) -> tuple[tuple[str, str], ...]:
    # Docker's daemon puts these two first, whoever gave them.
    merged: dict[str, str | None] = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    for row in image.env:
        key, _, value = row.partition("=")
        if not key or not encodable(row) or "\0" in row:  # the engine's error would quote the value
            raise AppError(
                "the image's environment contains an entry that no process can receive",
                details=f"{key.encode(errors='replace')[:80]!r}: it has no name, or is not UTF-8",
                resolution="Build the image with another ENV.",
            )
        merged[key] = value
    merged.update(service.environment)
    return tuple((key, value) for key, value in merged.items() if value is not None)


def _cwd(path: str) -> str:
    if not path.startswith("/"):
        raise AppError("the working folder is not absolute", details=path[:200])
    return path


def _hostname(text: str) -> str:
    if not _HOSTNAME.fullmatch(text):
        raise AppError(
            "the hostname is malformed",
            details=repr(text[:80]),
            resolution="Set `hostname:` of the service to at most 63 letters, digits, - and .",
        )
    return text


def _capabilities(service: Service) -> tuple[str, ...]:
    known = set(CAPABILITIES)
    current = set(DEFAULT_CAPABILITIES)
    if service.privileged:
        return CAPABILITIES
    add = [capability(name) for name in service.cap_add]
    drop = [capability(name) for name in service.cap_drop]
    # As moby's TweakCapabilities: ALL first, whichever list it stands in.
    if "ALL" in add:
        current = set(known)
    if "ALL" in drop:
        current = set()
    current |= set(add) - {"ALL"}
    current -= set(drop) - {"ALL"} - set(add)
    return tuple(name for name in CAPABILITIES if name in current)


def capability(name: str) -> str:
    """CAP_NAME of a capability's name, or ALL; AppError when Linux has none of it."""
    full = name.upper()
    if full == "ALL":
        return full
    full = full if full.startswith("CAP_") else "CAP_" + full
    if full not in CAPABILITIES:
        raise AppError(
            "a capability is unknown",
            details=name[:80],
            resolution="capabilities(7) lists the valid names.",
        )
    return full


def _mounts(service: Service, image: ImageConfig) -> tuple[Mount, ...]:
    covered = {mount.target.rstrip("/") for mount in service.volumes}
    own = dict.fromkeys(_own_volume(path) for path in image.volumes)
    return service.volumes + tuple(mount for mount in own if mount.target not in covered)


def _own_volume(path: str) -> Mount:
    try:
        return values.checked_mount(Mount("volume", path))
    except ValueError as error:
        raise AppError(
            "the image declares a volume at a path that portkit does not allow",
            details=str(error),
            resolution="Rebuild the image without that VOLUME.",
        ) from error


def _ports(app: App, service: Service, image: ImageConfig) -> tuple[Port, ...]:
    """The published ports; a Dockerfile or image alone publishes what it EXPOSEs."""
    ports = service.ports
    # A compose file or a container that publishes nothing means it; a Dockerfile or an image alone
    # has no way to say more than EXPOSE.
    if not ports and not app.running and not app.source.endswith((".yaml", ".yml")):
        ports = tuple(dict.fromkeys(_exposed(text) for text in image.exposed_ports))
    return tuple(Port(p.target, p.host_port, p.protocol, p.host_ip) for p in ports)


def _exposed(text: str) -> Port:
    number, _, kind = text.partition("/")
    try:
        if kind not in ("", "tcp", "udp"):
            raise ValueError(f"{text[:40]!r} is not a tcp or udp port")
        return Port(values.port(number), None, kind or "tcp")
    except ValueError as error:
        raise AppError(
            "the image EXPOSEs an invalid port",
            details=str(error),
            resolution="Write a compose.yaml with the `ports` to publish.",
        ) from error
