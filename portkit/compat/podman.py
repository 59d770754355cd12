"""What Podman does otherwise than Docker, although it speaks Docker's API."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat.networks import made
from portkit.compat.rule import Case, Found, UnknownFact, engine_of
from portkit.model import DEFAULT_CAPABILITIES, Lack

_LOGS = ("", "k8s-file", "json-file", "journald", "none", "passthrough")
_PROXY = "/run/podman/nv-proxy.sock"
_BY_ITSELF = ("always", "unless-stopped", "on-failure")


def rootless(case: Case) -> Iterator[Found]:
    """A user's own Podman cannot set what containers of root's have (net.ipv4.ping_group_range, for
    one): groups that the user does not have cannot be named."""
    if engine_of(case.facts).podman and engine_of(case.facts).rootless:
        yield Found(
            "the engine is a user's own Podman, which portkit does not support",
            (f"{case.facts.host}: rootless",),
        )


def limit(case: Case) -> Iterator[Found]:
    """Podman does not support a limit of the address space."""
    asked = case.spec.ulimits.get("as")
    if engine_of(case.facts).podman and asked is not None and (asked.soft, asked.hard) != (-1, -1):
        yield Found("Podman cannot limit the address space", (f"ulimits.as: {asked.hard}",))


def access(case: Case) -> Iterator[Found]:
    """Podman starts the program of a user who is not root without the service's capabilities: a
    file that only root may run is denied, which Docker starts."""
    if not engine_of(case.facts).podman or case.needs is None:
        return
    for row in case.needs.missing:
        if row.what is Lack.ACCESS_BY_RIGHTS:
            yield Found(f'{row.name}: "permission denied"', (f"{row.by}: {row.name}", row.details))


def log(case: Case) -> Iterator[Found]:
    """Podman has fewer log drivers, and creates no container with another one."""
    driver = case.spec.logging.driver
    if engine_of(case.facts).podman and driver not in _LOGS:
        yield Found(f"Podman has no log driver {driver}", (f"logging.driver: {driver}",))


def links(case: Case) -> Iterator[Found]:
    """Podman has no links: a name that only a link defines is not found."""
    if not engine_of(case.facts).podman:
        return
    for other, alias in case.spec.links:
        names = {name for place in case.app.named(other).networks for name in place.aliases}
        if alias not in {other, case.app.named(other).container_name, *names}:
            yield Found(
                f"Podman does not support links: {other} cannot be found as {alias}",
                (f"links: {other}:{alias}",),
            )


def rights(case: Case) -> Iterator[Found]:
    """For a user who is not root, only setuid programs can have a capability that the service
    names. Podman would give it to the user, so portkit does not ask for it."""
    more = [each for each in case.spec.capabilities if each not in DEFAULT_CAPABILITIES]
    user = case.spec.user.partition(":")[0]
    if engine_of(case.facts).podman and more and not case.spec.privileged and not case.spec.is_root:
        yield Found(
            f"setuid programs that user {user} starts do not get {', '.join(more)}",
            (f"user: {user}", f"cap_add: {', '.join(more)}"),
        )


def health(case: Case) -> Iterator[Found]:
    """systemd timers run Podman's healthchecks. portkit runs them itself while the App starts;
    afterwards nothing does."""
    check, engine = case.spec.healthcheck, engine_of(case.facts)
    if not engine.podman or check is None or not check.test or check.test[0] == "NONE":
        return
    if engine.timers is None:
        raise UnknownFact("whether systemd runs there")
    if not engine.timers:
        yield Found(
            "nothing runs the healthcheck regularly: Podman leaves that to systemd, which the "
            "host does not have",
            (f"{case.facts.host}: no /run/systemd/system",),
        )


def dhcp(case: Case) -> Iterator[Found]:
    """Podman takes the addresses of a macvlan network without a subnet from a DHCP server, by a
    program of netavark that listens at a socket of systemd."""
    engine = engine_of(case.facts)
    for each in made(case) if engine.podman else ():
        if each.driver != "macvlan" or any(row.subnet for row in each.subnets):
            continue
        if engine.dhcp is None:
            raise UnknownFact("whether netavark's DHCP proxy listens there")
        if not engine.dhcp:
            yield Found(
                f"Podman asks a DHCP server for the addresses of the network {each.name}, and "
                "netavark's DHCP proxy does not listen on the host",
                (f"networks.{each.name}: no subnet", f"{case.facts.host}: no {_PROXY}"),
            )


def restart(case: Case) -> Iterator[Found]:
    """Podman has no daemon that starts containers when the host boots: a systemd unit does, for
    some policies."""
    policy, engine = case.spec.restart.partition(":")[0], engine_of(case.facts)
    if not engine.podman or policy not in _BY_ITSELF:
        return
    if engine.boots is None:
        raise UnknownFact("what starts containers with the host")
    if policy not in engine.boots:
        which = ", ".join(engine.boots) or "none"
        yield Found(
            f"a container with `restart: {policy}` is not started when the host boots",
            (f"restart: {case.spec.restart}", f"{case.facts.host}: it starts {which}"),
        )
