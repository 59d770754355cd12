"""What has to be true of the services together: who is chosen, who needs whom, which ports."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from portkit.app import networks
from portkit.app.document import Value
from portkit.app.reader import Reader
from portkit.model import Dependency, Machine, Mount, Service, Severity

# What a service without a limit counts for in the VM's memory: a database with its defaults or a
# worker fits. A host gives a VM only the memory that it has touched.
_UNLIMITED_MEMORY = 256 << 20

ALL = "*"  # the profile that chooses every service
_ALONE = "Choose that profile too (--profile), or set `required: false` for the dependency."


def chosen(profiles: Collection[str], wanted: Collection[str]) -> bool:
    """Whether a service of these profiles is in the App; one of none always is."""
    return not profiles or ALL in wanted or not set(profiles).isdisjoint(wanted)


def needed(
    reader: Reader,
    service: Service,
    value: Value,
    names: Collection[str],
    all_names: Collection[str],
) -> Service:
    """The service without the wishes for services that are not chosen; AppError where it needs
    one. names: of the chosen services; all_names: of every one of the file."""
    kept: list[Dependency] = []
    for each in service.depends_on:
        if each.service in names:
            kept.append(each)
        elif each.service not in all_names:
            why = f"{service.name} depends on {each.service[:80]!r}, which is not a service"
            raise reader.error(value, why)
        elif each.required:
            why = (
                f"{service.name} depends on {each.service}, which belongs to a profile that was "
                "not chosen"
            )
            raise reader.error(value, why, _ALONE)
    return replace(service, depends_on=tuple(kept))


def own(
    reader: Reader, services: Mapping[str, Service], lines: Mapping[str, Value], name: str
) -> dict[str, Service]:
    """The services with `service:` for the containers that are theirs, in place of `container:`;
    AppError for one that is nobody's. name: of the App."""
    containers = {each.container_name or f"{name}-{key}-1": key for key, each in services.items()}
    found = dict(services)
    for key, each in services.items():
        if not each.network_mode.startswith(networks.CONTAINER):
            continue
        whose = containers.get(each.network_mode.removeprefix(networks.CONTAINER))
        if whose is None:
            raise networks.foreign(reader, lines[key], each.network_mode)
        others = [one for one in each.depends_on if one.service != whose]
        told = [one for one in each.depends_on if one.service == whose]
        found[key] = replace(
            each,
            network_mode=f"service:{whose}",
            depends_on=(*others, *(told or [Dependency(whose, restart=True)])),
        )
    return found


def check_circle(
    reader: Reader, services: Mapping[str, Service], lines: Mapping[str, Value]
) -> None:
    """AppError that names a circle of services that depend on each other."""
    done: set[str] = set()
    for first in services:
        # A stack and not calls of this function: hundreds of services may stand in one row.
        path: list[str] = []
        stack = [(first, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                done.add(path.pop())
                continue
            if name in path:
                chain = " -> ".join((*path[path.index(name) :], name))
                why = f"services depend on each other in a circle: {chain[:600]}"
                raise reader.error(lines[name], why)
            if name in done:
                continue
            path.append(name)
            stack.append((name, True))
            stack += [(each.service, False) for each in services[name].depends_on]


def check_ports(
    reader: Reader, services: Mapping[str, Service], lines: Mapping[str, Value]
) -> None:
    """AppError where two services publish one port of the host."""
    bound: dict[tuple[int, str], dict[str, str]] = {}
    for service in services.values():
        for port in service.ports:
            others = bound.setdefault((port.host_port, port.protocol), {})
            for address, other in others.items():
                if other != service.name and (not address or address == port.host_ip):
                    raise _twice(reader, lines[service.name], port.host_port, other, service.name)
                if other != service.name and not port.host_ip:
                    raise _twice(reader, lines[service.name], port.host_port, other, service.name)
            others[port.host_ip] = service.name


def _twice(reader: Reader, value: Value, port: int, one: str, other: str) -> Exception:
    return reader.error(value, f"port {port} is published twice: by {one} and by {other}")


def with_volumes_from(
    reader: Reader,
    services: dict[str, Service],
    asked: Mapping[str, tuple[tuple[str, bool], ...]],
    lines: Mapping[str, Value],
) -> dict[str, Service]:
    """The services with what `volumes_from` gives them. asked: (service, read only) by the name of
    who asks. What a service has itself at a place counts."""
    found = dict(services)
    done: set[str] = set()

    def complete(name: str) -> Service:
        if name in done:
            return found[name]
        done.add(name)
        service = found[name]
        for source, read_only in asked.get(name, ()):
            service = _sharing(reader, service, complete(source), lines[name], read_only)
        found[name] = service
        return service

    for name in asked:
        complete(name)
    return found


def _sharing(
    reader: Reader, service: Service, source: Service, value: Value, read_only: bool
) -> Service:
    taken = {each.target for each in service.volumes}
    taken |= {each.target for each in service.contents}
    mounts: list[Mount] = []
    for mount in source.volumes:
        if mount.target in taken or mount.type == "tmpfs":
            continue
        if not mount.source:
            why = f"volumes_from: {source.name} has an unnamed volume on {mount.target[:80]}"
            raise reader.error(value, why, "Name that volume, so that both services can mount it.")
        mounts.append(replace(mount, read_only=mount.read_only or read_only))
    contents = [
        replace(each, read_only=each.read_only or read_only)
        for each in source.contents
        if each.target not in taken
    ]
    message = (
        f"the volumes that the image of {source.name} declares are not shared with {service.name}"
    )
    reader.note("compose-not-carried", value, message, Severity.INFO)
    return replace(
        service,
        volumes=(*service.volumes, *mounts),
        contents=(*service.contents, *contents),
    )


def front(services: Collection[Service], told: str, asked: Collection[str]) -> str:
    """The service that answers for the App: the one that the top level names, or that says how it
    is asked (`asked`), or the first that publishes a TCP port, or the first."""
    if told:
        return told
    for service in services:
        if service.name in asked:
            return service.name
    for service in services:
        if any(port.protocol == "tcp" for port in service.ports):
            return service.name
    return next(service.name for service in services)


def machine(services: Collection[Service]) -> Machine:
    """Of the VM that holds them all: the sum of what each is given, at least the default."""
    if len(services) == 1:
        return next(iter(services)).machine
    told = [service.machine for service in services]
    default = Machine()
    memory = [
        each.machine.memory_bytes
        if each.mem_limit_bytes or each.machine.memory_bytes != default.memory_bytes
        else _UNLIMITED_MEMORY
        for each in services
    ]
    shares = [each.cpus or 0.0 for each in services]
    cpus = max(-(-int(sum(shares) * 1000) // 1000), *(each.cpus for each in told))
    disks = [each.disk_bytes for each in told if each.disk_bytes is not None]
    return Machine(
        memory_bytes=max(default.memory_bytes, sum(memory)),
        cpus=cpus,
        disk_bytes=sum(disks) or None,
        firmware=max((each.firmware for each in told), key=lambda one: one is not default.firmware),
        volume_bytes=max(each.volume_bytes for each in told),
        cpu_model=next((each.cpu_model for each in told if each.cpu_model), ""),
    )
