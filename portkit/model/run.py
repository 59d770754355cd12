"""What the processes of an App see, in both Forms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from pathlib import Path

from portkit.model.health import Healthcheck, HealthProbe
from portkit.model.project import Attachment, Content, ContentKind, Network, OnTaken, Volume
from portkit.model.service import Machine, Mount, Port, Surroundings, Ulimit

NO_NEW_PRIVILEGES = "no-new-privileges"  # in security_opt
_UNTOLD = (Attachment("default"),)  # of a service that names no network
SHARED = "service:"  # of network_mode, before the name of the service whose network it is


@dataclass(frozen=True)
class RunSpec(Surroundings):
    """What the app's process sees, the same in both forms: a Service merged with its image.

    Both engines are given this one value, so that the Forms cannot differ by accident.

    argv: never empty. env: in order, each name once. user: "uid[:gid]" or names, which are looked
    up in the image's own /etc/passwd and /etc/group; "" is root. umask: as in umask(2).
    capabilities: upper case, with CAP_. stop_signal: a name or a number, as in compose.
    service: its name. image: the digest of its image's configuration. layers: among those of the
    App's images, as `portkit.guest.stack` numbers them, the topmost first.
    """

    app: str
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = field(repr=False)
    cwd: str
    user: str
    group_add: tuple[str, ...]
    hostname: str
    umask: int
    ulimits: Mapping[str, Ulimit]
    capabilities: tuple[str, ...]
    mounts: tuple[Mount, ...]
    ports: tuple[Port, ...]
    stop_signal: str
    stop_grace_period_s: float
    restart: str
    health: HealthProbe
    machine: Machine
    healthcheck: Healthcheck | None = None
    service: str = ""
    image: str = ""
    layers: tuple[int, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the services that have to be there before it: what it depends on, and the one
        whose network it shares."""
        modes = (self.network_mode, self.pid, self.ipc)
        shared = [mode.removeprefix(SHARED) for mode in modes if mode.startswith(SHARED)]
        return tuple(dict.fromkeys((*(each.service for each in self.depends_on), *shared)))

    @property
    def no_new_privileges(self) -> bool:
        """Whether neither setuid bits nor file capabilities may give it more rights: the last word
        of `security_opt` about that counts, as in the engine."""
        asked = map(security_option, self.security_opt)
        told = [value for name, value in asked if name == NO_NEW_PRIVILEGES]
        return bool(told) and told[-1].lower() in ("", "1", "t", "true")

    @property
    def is_root(self) -> bool:
        """Whether its user is root, as it is written: a name may stand for 0, too."""
        return self.user.partition(":")[0] in ("", "0", "root")

    @property
    def shares_network(self) -> bool:
        """Whether it is in the network of another service."""
        return self.network_mode.startswith(SHARED)


@dataclass(frozen=True)
class AppSpec:
    """What the processes of all services of an App see, and what these share.

    services: as in the App. networks, volumes: those that a service uses. front: the service that
    answers for the App. machine: of the VM that holds all of them. volume_names: what the target's
    engine calls each volume, by number, where the App brings its data; "" is a name of the Move's
    own, as all have where this is (). volume_ways: for which of them the target's own volume is
    used, and how, by number; none where this is ().
    """

    app: str
    services: tuple[RunSpec, ...]
    front: RunSpec
    machine: Machine
    networks: tuple[Network, ...] = ()
    volumes: tuple[Volume, ...] = ()
    volume_names: tuple[str, ...] = ()
    volume_ways: tuple[OnTaken | None, ...] = ()

    def way(self, number: int) -> OnTaken | None:
        """How the target's own volume is used for that one; None where a new one is made."""
        return self.volume_ways[number] if self.volume_ways else None

    def taking(self, there: Collection[str]) -> AppSpec:
        """The same for a host that has these volumes: what the user chose counts for those."""
        asked = {each.engine_name: each.on_taken for each in self.volumes if each.engine_name}
        used = (OnTaken.OVERRIDE, OnTaken.KEEP)
        ways = (asked.get(name) if name in there else None for name in self.volume_names)
        found = tuple(way if way in used else None for way in ways)
        return replace(self, volume_ways=found if any(found) else ())

    @property
    def brings_data(self) -> bool:
        """Whether its volumes are filled with the data of an App that ran elsewhere."""
        return bool(self.volume_names)

    @property
    def several(self) -> bool:
        """Whether it has more than one service."""
        return len(self.services) > 1

    @property
    def layered(self) -> bool:
        """As the function `layered`."""
        return layered(self.services)

    @property
    def ports(self) -> tuple[Port, ...]:
        """What all services publish."""
        return tuple(port for service in self.services for port in service.ports)

    def joined(self, service: RunSpec) -> tuple[Network, ...]:
        """The networks that a service is attached to, the one with the highest priority first. None
        for an App of one service that asks for nothing: it is on the engine's own bridge."""
        known = {network.name: network for network in self.networks}
        usual = known.get(_UNTOLD[0].network)
        asks = usual is not None and usual.external
        if not self.several and service.networks == _UNTOLD and not asks:
            return ()
        rows = sorted(service.networks, key=lambda each: -each.priority)
        return tuple(known[row.network] for row in rows if row.network in known)

    def named(self, service: str) -> RunSpec:
        """The service of that name; KeyError when there is none."""
        return {each.service: each for each in self.services}[service]

    def volume_numbers(self) -> tuple[tuple[int | None, ...], ...]:
        """For each service and each of its mounts the number of the volume; None for what is none.

        Services that name one volume share it.
        """
        number = _numbering()
        return tuple(
            tuple(
                number(mount.source or object()) if mount.type == "volume" else None
                for mount in service.mounts
            )
            for service in self.services
        )

    def content_numbers(self) -> tuple[tuple[int, ...], ...]:
        """As the function `content_numbers`."""
        return content_numbers(self.services)

    @property
    def volume_count(self) -> int:
        """How many volumes the App has."""
        found = {number for row in self.volume_numbers() for number in row if number is not None}
        return len(found)

    @property
    def in_order(self) -> tuple[RunSpec, ...]:
        """The services, each after those that it needs to be there."""
        known = {service.service: service for service in self.services}
        needs = {name: [n for n in each.needs if n in known] for name, each in known.items()}
        return tuple(known[name] for name in TopologicalSorter(needs).static_order())


def layered(services: Collection[Surroundings]) -> bool:
    """Whether each service has a root of its own in the VM, laid over the layers of its image:
    where there are several, where files of the App are put over an image's, and where a service has
    another network than the VM's, or a limit within it."""
    return len(services) > 1 or any(
        service.contents or service.network_mode or service.pids_limit for service in services
    )


def content_numbers(services: Iterable[Surroundings]) -> tuple[tuple[int, ...], ...]:
    """For each service and each of its Contents a number; services that have the same files of the
    project share them, as they do where both bind them, also a folder that begins empty."""
    number = _numbering()
    return tuple(
        tuple(number(_place_of(content)) for content in service.contents) for service in services
    )


def _place_of(content: Content) -> object:
    """Where its files are on this machine, or would be; of what is nowhere something of its own."""
    empty = content.kind is ContentKind.BIND and content.data is None
    return content.source or (Path(content.name) if empty and content.name else object())


def security_option(text: str) -> tuple[str, str]:
    """The name and the value of an entry of `security_opt`, which has `:` or `=` between them."""
    name, _, value = text.replace("=", ":", 1).partition(":")
    return name, value


def _numbering() -> Callable[[object], int]:
    """Numbers from 0 on: the same for the same thing."""
    known: dict[object, int] = {}
    return lambda thing: known.setdefault(thing, len(known))
