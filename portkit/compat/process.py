"""What the App's process is given: its rights, and what a guest does not do for it."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat.rule import Case, Found
from portkit.health import way_of
from portkit.model import DEFAULT_CAPABILITIES, Method
from portkit.model.run import NO_NEW_PRIVILEGES, security_option


def privileged(case: Case) -> Iterator[Found]:
    """A privileged container can do everything on the host; in a VM it only owns the VM."""
    if case.spec.privileged:
        yield Found("the container has full privileges on the host's kernel")


def capabilities(case: Case) -> Iterator[Found]:
    """The App asks for more capabilities than an engine gives to every container."""
    more = [name for name in case.spec.capabilities if name not in DEFAULT_CAPABILITIES]
    if more and not case.spec.privileged:  # that has a rule of its own
        yield Found("the app gets capabilities beyond the engine's default", tuple(more))


def health(case: Case) -> Iterator[Found]:
    """Whether the app itself can be probed for its first answer."""
    if case.spec is not case.app.front:
        return
    way = way_of(case.spec, case.form)
    means = {
        Method.HOST: "portkit asks it at an address that only the host can reach",
        Method.HEALTHCHECK: "its own healthcheck decides when it is up",
        Method.RUNNING: "portkit considers it up once it has run for "
        f"{case.spec.health.running_s:g} s",
    }
    if way.method is not Method.PUBLISHED:
        yield Found(
            f"portkit does not ask the app on a published port: {means[way.method]}", way.reasons
        )


def joined(case: Case) -> Iterator[Found]:
    """In a VM, all services are on one network. Names are only those of the networks that they
    share, but an address can be reached from every service."""
    names = {each.network for service in case.app.services for each in service.networks}
    if len(names) > 1:
        yield Found("in the VM, all services share one network", tuple(sorted(names)))


def internal(case: Case) -> Iterator[Found]:
    """In a VM, a network that the file keeps internal reaches the outside."""
    names = sorted(network.name for network in case.app.networks if network.internal)
    if names:
        yield Found(
            "in the VM, services of an internal network can reach the outside", tuple(names)
        )


def host_network(case: Case) -> Iterator[Found]:
    """In a VM, the host's network is that of the VM, which can only be reached through published
    ports."""
    if case.spec.network_mode == "host":
        yield Found("in the VM, \"the host's network\" is the VM's own network")


def fixed_addresses(case: Case) -> Iterator[Found]:
    """In a VM, every service has another address than the one in the file."""
    told = tuple(f"{each.network}: {each.ipv4}" for each in case.spec.networks if each.ipv4)
    if told:
        yield Found("in the VM, the service has another address than the file gives it", told)


def host_paths(case: Case) -> Iterator[Found]:
    """A VM has nothing of its host's files."""
    paths = tuple(mount.source for mount in case.spec.mounts if mount.type == "bind")
    if paths:
        yield Found("a VM cannot mount a path of its host", paths)


def engine_only(case: Case) -> Iterator[Found]:
    """Settings that only a container engine applies to a process, and the guest does not."""
    spec = case.spec
    asked = {
        "tty": spec.tty,
        "stdin_open": spec.stdin_open,
        "devices": spec.devices,
        "pid": spec.pid,
        "ipc": spec.ipc not in ("", "private"),
        "userns_mode": spec.userns_mode,
        "security_opt": [
            each for each in spec.security_opt if security_option(each)[0] != NO_NEW_PRIVILEGES
        ],
        "logging": spec.logging.driver,
        "domainname": spec.domainname,
        "mem_reservation": spec.mem_reservation_bytes,
        "memswap_limit": spec.memswap_bytes,
        "cpuset": spec.cpuset,
        "runtime": spec.runtime,
        "storage_opt": spec.storage_opt,
    }
    names = tuple(name for name, value in asked.items() if value)
    if names:
        yield Found("a VM ignores what the file asks of a container engine", names)
