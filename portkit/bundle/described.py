"""An App as a compose document and back.

What comes back goes through the reader of compose files with all its checks: a bundle may be
anybody's. Environment values are in it, they are needed to run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from portkit import files
from portkit.app import environment
from portkit.bundle.contents import Files
from portkit.errors import AppError
from portkit.model import (
    App,
    Attachment,
    Content,
    Dependency,
    HealthProbe,
    Machine,
    Mount,
    Network,
    Port,
    Quiesce,
    Service,
    Stated,
    Volume,
    content_bytes,
    content_numbers,
)

# What YAML wants escaped and JSON does not.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_NAME = "the bundle's App"  # what errors call the document
_DEFAULT = Attachment("default")  # the network of a service that names none
_CA_LIMIT = 1 << 20


@dataclass(frozen=True)
class Described:
    """An App without anything of this machine.

    text: the compose document. cas: PEM of each CA that a health probe trusts. contents: the files
    of each Content. The document names both by their number.
    """

    text: str = field(repr=False)
    cas: tuple[str, ...] = ()
    contents: tuple[Files, ...] = field(default=(), repr=False)


def ca_name(number: int) -> str:
    """What the document calls a CA."""
    return f"ca-{number}.pem"


def content_name(number: int) -> str:
    """What the document calls a Content."""
    return f"contents/{number}"


def render(app: App, images: Sequence[str]) -> Described:
    """An App with the content of its files, described.

    images: of each service the id that stands for its image where that was built. AppError when the
    App uses a folder of its host, or when the document does not read back as the same App.
    """
    _check_binds(app)
    cas = list(dict.fromkeys(s.health.ca_file for s in app.services if s.health.ca_file))
    numbers = content_numbers(app.services)
    pairs = zip(app.services, numbers, strict=True)
    contents = {n: each.files for s, row in pairs for each, n in zip(s.contents, row, strict=True)}
    portable = _portable(app, images, numbers, {path: ca_name(n) for n, path in enumerate(cas)})
    # JSON is YAML 1.2 as well, and its quoting leaves nothing to a reader's taste: no `no` becomes
    # false.
    text = json.dumps(environment.escaped(_document(portable)), ensure_ascii=False, indent=0)
    text = _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    pems = tuple(_pem(path) for path in cas)
    made = Described(text, pems, tuple(contents[n] for n in range(len(contents))))
    # Read back at once: what compose cannot say, or says in another way, is noticed where the App
    # is packed and not where it is opened.
    why = "its description differs when it is read back"
    try:
        if replace(read(made, app.source), findings=()) == portable:
            return made
    except AppError as error:  # its resolution is for somebody who can edit the document
        why = error.details
    raise AppError(
        "the App cannot be described in a bundle",
        details=f"{app.source}: {why}",
        resolution="Move it from host to host, without a bundle.",
    )


def read(told: Described, source: str) -> App:
    """The App of a document; AppError where a compose file would be refused, and where it names
    anything outside of the bundle, or leaves out what came with it.

    source: what was packed.
    """
    from portkit.app import compose

    try:
        document = told.text.encode("utf-8")
    except UnicodeEncodeError:
        raise AppError(
            "the description of the bundle's App is not text",
            details="it contains half of a surrogate pair",
            resolution="Pack the App again.",
        ) from None
    contents = {content_name(number): rows for number, rows in enumerate(told.contents)}
    cas = map(ca_name, range(len(told.cas)))
    app = compose.read(document, _NAME, cas, contents)
    used = {str(each.source) for service in app.services for each in service.contents}
    if unused := set(contents) - used:
        raise AppError(
            "the description of the bundle's App does not mention files that came with it",
            details=", ".join(sorted(unused))[:400],
            resolution="Pack the App again.",
        )
    return replace(app, source=source)


def trusting(app: App, cas: Sequence[str], folder: Path) -> App:
    """The App with its CAs as files in a folder of this process."""
    for number, pem in enumerate(cas):
        files.write(folder / ca_name(number), pem.encode())
    return replace(app, services=tuple(_trusting(each, folder) for each in app.services))


def _trusting(service: Service, folder: Path) -> Service:
    """The service with the CA of its health probe where that is now."""
    health = service.health
    if health.ca_file is None:
        return service
    return replace(service, health=replace(health, ca_file=folder / health.ca_file))


def _check_binds(app: App) -> None:
    binds = [mount for each in app.services for mount in each.volumes if mount.type == "bind"]
    if binds:
        raise AppError(
            "a bundle cannot contain the App's bind mounts",
            details="\n".join(f"{app.source}: {each.source} on {each.target}" for each in binds),
            resolution="A folder of the host is not part of the App. Move its files along "
            "(--carry PATH), put them into the image, or use a named volume, which is "
            "empty on the target.",
        )


# ---------------------------------------------------------------- what is the same elsewhere


def _portable(
    app: App, images: Sequence[str], numbers: Sequence[Sequence[int]], cas: Mapping[Path, str]
) -> App:
    """The App as it will read back."""
    rows = zip(app.services, images, numbers, strict=True)
    services = tuple(_service_of(*row, cas) for row in rows)
    networks = {each.name: each for each in app.networks}
    volumes = {each.name: each for each in app.volumes}
    # An image's bare name or a Dockerfile declares none.
    used = dict.fromkeys(place.network for each in services for place in each.networks)
    mounts = [mount for each in services for mount in each.volumes if mount.type == "volume"]
    kept = dict.fromkeys(mount.source for mount in mounts if mount.source)
    return App(
        name=app.name,
        services=services,
        source=app.source,
        networks=tuple(networks.get(n) or Network(n, f"{app.name}_{n}") for n in used),
        volumes=tuple(volumes.get(n) or Volume(n, f"{app.name}_{n}") for n in kept),
        front=app.front_service.name,
        machine=app.machine if len(services) > 1 else services[0].machine,
    )


def _service_of(
    service: Service, image: str, numbers: Sequence[int], cas: Mapping[Path, str]
) -> Service:
    health = service.health
    if health.ca_file:
        health = replace(health, ca_file=Path(cas[health.ca_file]))
    networks = service.networks or (() if service.network_mode else (_DEFAULT,))
    pairs = zip(service.contents, numbers, strict=True)
    # Who packed the App has chosen its profiles.
    return replace(
        service,
        build=None,
        image=service.image or image,
        health=health,
        networks=networks,
        profiles=(),
        contents=tuple(_content(*pair) for pair in pairs),
    )


def _content(content: Content, number: int) -> Content:
    """The same files under the same place: where they were, and as what, nobody asks any more."""
    name = content_name(number)
    return Content(
        content.target,
        source=Path(name),
        name=name,
        read_only=content.read_only,
        size_bytes=content_bytes(content.files),
        files=content.files,
    )


def _pem(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_CA_LIMIT + 1)
    if len(data) > _CA_LIMIT:
        raise AppError("the CA file of x-portkit.health is too large", details=str(path))
    return data.decode("ascii", "replace")


# ---------------------------------------------------------------- in compose's words


def _document(app: App) -> dict[str, object]:
    document: dict[str, object] = {
        "name": app.name,
        "services": {each.name: _service(each) for each in app.services},
        "networks": {each.name: _network(each) for each in app.networks},
        "volumes": {each.name: _volume(each) for each in app.volumes},
    }
    if len(app.services) > 1:  # of one service, its own says it
        document["x-portkit"] = {**_machine(app.machine), "health": {"service": app.front}}
    return document


def _service(service: Service) -> dict[str, object]:
    return {
        **_process(service),
        **_engine(service),
        **_places(service),
        "x-portkit": {
            **_machine(service.machine),
            "health": _health(service.health),
            "needs": _stated(service.stated),
            **_quiesce(service.quiesce),
        },
    }


def _process(service: Service) -> dict[str, object]:
    check = service.healthcheck
    mounts = [*map(_mount, service.volumes), *map(_bind, service.contents)]
    return _told(
        image=service.image,
        command=service.command,
        entrypoint=service.entrypoint,
        user=service.user,
        working_dir=service.working_dir,
        hostname=service.hostname,
        stop_signal=service.stop_signal,
        stop_grace_period=_seconds(service.stop_grace_period_s),
        healthcheck=None
        if check is None
        else _told(
            test=check.test or None,
            interval=_seconds(check.interval_s),
            timeout=_seconds(check.timeout_s),
            retries=check.retries,
            start_period=_seconds(check.start_period_s),
        ),
        **_some(
            environment=dict(service.environment),
            group_add=service.group_add,
            volumes=mounts,
            depends_on={each.service: _need(each) for each in service.depends_on},
        ),
    )


def _engine(service: Service) -> dict[str, object]:
    return _some(
        restart=service.restart,
        labels=dict(service.labels),
        ulimits={
            key: {"soft": limit.soft, "hard": limit.hard} for key, limit in service.ulimits.items()
        },
        cap_add=service.cap_add,
        cap_drop=service.cap_drop,
        privileged=service.privileged,
        read_only=service.read_only,
        init=service.init,
        cpus=service.cpus,
        mem_limit=service.mem_limit_bytes,
        sysctls=dict(service.sysctls),
        shm_size=service.shm_bytes,
        security_opt=service.security_opt,
        pids_limit=service.pids_limit,
        mem_reservation=service.mem_reservation_bytes,
        memswap_limit=service.memswap_bytes,
        oom_score_adj=service.oom_score_adj,
        tty=service.tty,
        stdin_open=service.stdin_open,
        devices=[asdict(each) for each in service.devices],
        logging=_some(driver=service.logging.driver, options=dict(service.logging.options)),
        container_name=service.container_name,
        platform=service.platform,
        scale=None if service.scale == 1 else service.scale,
    )


def _places(service: Service) -> dict[str, object]:
    return _some(
        ports=[_port(port) for port in service.ports],
        networks={each.network: _attachment(each) for each in service.networks},
        network_mode=service.network_mode,
        links=[f"{name}:{known}" for name, known in service.links],
        extra_hosts=[f"{name}={address}" for name, address in service.extra_hosts],
        dns=service.dns,
        dns_search=service.dns_search,
        dns_opt=service.dns_opt,
        domainname=service.domainname,
        pid=service.pid,
        ipc=service.ipc,
        userns_mode=service.userns_mode,
        expose=service.expose,
    )


def _some(**values: object) -> dict[str, object]:
    """What is not empty: an empty key would be told as one that is not carried out."""
    return {key: value for key, value in values.items() if value}


def _told(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}


def _need(need: Dependency) -> dict[str, object]:
    return {"condition": need.condition.value, "required": need.required, "restart": need.restart}


def _attachment(place: Attachment) -> dict[str, object]:
    return _some(
        aliases=place.aliases,
        ipv4_address=place.ipv4,
        ipv6_address=place.ipv6,
        mac_address=place.mac,
        priority=place.priority,
    )


def _network(network: Network) -> dict[str, object]:
    subnets = [_some(**asdict(each)) for each in network.subnets]
    return _some(
        name=network.engine_name,
        external=network.external,
        internal=network.internal,
        driver=network.driver,
        enable_ipv6=network.enable_ipv6,
        labels=dict(network.labels),
        driver_opts=dict(network.driver_opts),
        ipam={"config": subnets} if subnets else None,
    )


def _volume(volume: Volume) -> dict[str, object]:
    return _some(
        name=volume.engine_name,
        external=volume.external,
        driver=volume.driver,
        driver_opts=dict(volume.driver_opts),
        labels=dict(volume.labels),
    )


def _seconds(value: float | None) -> str | None:
    # Every digit, no exponent.
    return None if value is None else f"{Decimal(repr(value)):f}s"


def _port(port: Port) -> dict[str, object]:
    return _told(
        target=port.target,
        published=port.published,
        protocol=port.protocol,
        host_ip=port.host_ip or None,
    )


def _mount(mount: Mount) -> dict[str, object]:
    tmpfs = _told(size=mount.tmpfs_bytes, mode=mount.tmpfs_mode)
    return _some(
        type=mount.type,
        target=mount.target,
        source=mount.source,
        read_only=mount.read_only,
        tmpfs=tmpfs if mount.type == "tmpfs" else None,
    )


def _bind(content: Content) -> dict[str, object]:
    return _some(
        type="bind",
        target=content.target,
        source=content.name,
        read_only=content.read_only,
    )


def _machine(machine: Machine) -> dict[str, object]:
    return _told(
        memory=machine.memory_bytes,
        cpus=machine.cpus,
        disk=machine.disk_bytes,
        firmware=machine.firmware.value,
        cpu_model=machine.cpu_model or None,
        volume=machine.volume_bytes,
    )


def _quiesce(quiesce: Quiesce) -> dict[str, object]:
    if not quiesce:  # an older portkit knows no such key
        return {}
    told = _told(
        before=list(quiesce.before) or None,
        after=list(quiesce.after) or None,
        timeout=_seconds(quiesce.timeout_s),
    )
    return {"quiesce": told}


def _stated(stated: Stated) -> dict[str, object]:
    kernel = stated.kernel
    return _told(
        kernel=None if kernel is None else ".".join(map(str, kernel)),
        cpu=f"x86-64-v{stated.cpu_level}" if stated.cpu_level else None,
        sysctls=dict(stated.sysctls) or None,
        modules=list(stated.modules) or None,
        devices=list(stated.devices) or None,
        huge_pages=stated.huge_page_bytes or None,
        shared_memory=stated.shm_bytes or None,
        open_files=stated.open_files or None,
        ipv6=stated.ipv6 or None,
    )


def _health(health: HealthProbe) -> dict[str, object]:
    return _told(
        scheme=health.scheme,
        path=health.path,
        port=health.port,
        contains=health.contains,
        expect=health.expect or None,
        ca_file=None if health.ca_file is None else str(health.ca_file),
        timeout=_seconds(health.timeout_s),
        method=None if health.method is None else health.method.value,
        running=_seconds(health.running_s),
        settle=_seconds(health.settle_s),
    )
