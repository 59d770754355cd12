"""An App as a compose document and back.

What comes back goes through the reader of compose files with all its checks: a bundle may be
anybody's. Environment values are in it, they are needed to run.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from decimal import Decimal
from pathlib import Path

from portkit.errors import AppError
from portkit.model import (
    App,
    Attachment,
    HealthProbe,
    Machine,
    Mount,
    Network,
    Port,
    Service,
    Volume,
)

# What YAML wants escaped and JSON does not.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_NAME = "the bundle's App"  # what errors call the document
_CA = "ca.pem"
_DEFAULT = (Attachment("default"),)  # the networks of a service that names none
_CA_LIMIT = 1 << 20


def render(app: App, image: str) -> tuple[str, str]:
    """The document, and the PEM of the health probe's own CA ("" without one).

    image: the id that stands for an image that was built. AppError when the App uses a folder of
    its host, or when the document does not read back as the same App.
    """
    service = app.service
    if binds := [mount for mount in service.volumes if mount.type == "bind"]:
        raise AppError(
            "a bundle cannot hold the App's bind mounts",
            details="\n".join(f"{app.source}: {each.source} on {each.target}" for each in binds),
            resolution="A folder of the host is not part of the App. Put what is in it into the "
            "image, or use a named volume, which begins empty where the App is moved to.",
        )
    row = {key: value for key, value in _service(service, image).items() if value is not None}
    volumes: dict[str, object] = {
        mount.source: {} for mount in service.volumes if mount.type == "volume" and mount.source
    }
    document: dict[str, object] = {
        "name": app.name,
        "services": {service.name: row},
        "volumes": {**volumes, **{each.name: _volume(each) for each in app.volumes}},
    }
    own = [each for each in app.networks if each != Network("default", f"{app.name}_default")]
    if own:
        document["networks"] = {each.name: _network(each) for each in own}
    # JSON is YAML 1.2 as well, and its quoting leaves nothing to a reader's taste: no `no` becomes
    # false.
    text = json.dumps(_escaped(document), ensure_ascii=False, indent=1)
    text = _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    ca = "" if service.health.ca_file is None else _pem(service.health.ca_file)
    # Read back at once: what compose cannot say, or says in another way, is noticed where the App
    # is packed and not where it is opened.
    why = "its description reads back as another one"
    try:
        back = read(text, ca, app.source)
        if back.service == _portable(service, image):
            return text, ca
    except AppError as error:  # its resolution is for somebody who can edit the document
        why = error.details
    raise AppError(
        "the App cannot be described in a bundle",
        details=f"{app.source}: {why}",
        resolution="Move it from host to host.",
    )


def read(text: str, ca: str, source: str) -> App:
    """The App of a document; AppError where a compose file would be refused, and where it names
    anything outside of the bundle.

    ca: a PEM, or "". source: what was packed.
    """
    from portkit.app import compose

    try:
        document = text.encode("utf-8")
    except UnicodeEncodeError:
        raise AppError(
            "the description of the bundle's App is not text",
            details="it holds half a character",
            resolution="Pack the App again.",
        ) from None
    app = compose.read(document, _NAME, (_CA,) if ca else ())
    return replace(app, source=source)


def _portable(service: Service, image: str) -> Service:
    health = service.health
    health = replace(health, ca_file=Path(_CA) if health.ca_file else None)
    networks = service.networks
    if not networks and not service.network_mode:
        networks = _DEFAULT
    # Who packed the App has chosen its profiles, and it needs no other service.
    return replace(
        service,
        build=None,
        image=service.image or image,
        health=health,
        networks=networks,
        profiles=(),
        depends_on=(),
        links=(),
    )


def _pem(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_CA_LIMIT + 1)
    if len(data) > _CA_LIMIT:
        raise AppError("the health probe's CA file is too big", details=str(path))
    return data.decode("ascii", "replace")


def _escaped(value: object) -> object:
    """The same with every `$` doubled: the reader would put variables there."""
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _service(service: Service, image: str) -> dict[str, object]:
    check = service.healthcheck
    return {
        "image": service.image or image,
        "command": service.command,
        "entrypoint": service.entrypoint,
        "environment": dict(service.environment),
        "user": service.user,
        "group_add": service.group_add,
        "working_dir": service.working_dir,
        "hostname": service.hostname,
        "ports": [_port(port) for port in service.ports],
        "volumes": [_mount(mount) for mount in service.volumes],
        "healthcheck": None
        if check is None
        else _told(
            test=check.test or None,
            interval=_seconds(check.interval_s),
            timeout=_seconds(check.timeout_s),
            retries=check.retries,
            start_period=_seconds(check.start_period_s),
        ),
        "restart": service.restart,
        "stop_signal": service.stop_signal,
        "stop_grace_period": _seconds(service.stop_grace_period_s),
        "ulimits": {
            key: {"soft": limit.soft, "hard": limit.hard} for key, limit in service.ulimits.items()
        },
        "cap_add": service.cap_add,
        "cap_drop": service.cap_drop,
        "privileged": service.privileged,
        "read_only": service.read_only,
        "init": service.init,
        "cpus": service.cpus,
        "mem_limit": service.mem_limit_bytes,
        "labels": dict(service.labels),
        **_engine(service),
        **_places(service),
        "x-portkit": _extra(service.health, service.machine),
    }


def _engine(service: Service) -> dict[str, object]:
    return _some(
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
    named = service.networks != _DEFAULT
    return _some(
        networks={each.network: _attachment(each) for each in service.networks if named},
        network_mode=service.network_mode,
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


def _attachment(place: Attachment) -> dict[str, object]:
    return _some(
        aliases=place.aliases,
        ipv4_address=place.ipv4,
        ipv6_address=place.ipv6,
        mac_address=place.mac,
        priority=place.priority,
    )


def _network(network: Network) -> dict[str, object]:
    if network.external:
        return {"name": network.engine_name, "external": True}
    subnets = [_some(**asdict(each)) for each in network.subnets]
    return _some(
        name=network.engine_name,
        internal=network.internal,
        driver=network.driver,
        enable_ipv6=network.enable_ipv6,
        labels=dict(network.labels),
        driver_opts=dict(network.driver_opts),
        ipam={"config": subnets} if subnets else None,
    )


def _volume(volume: Volume) -> dict[str, object]:
    if volume.external:
        return {"name": volume.engine_name, "external": True}
    return _some(
        name=volume.engine_name,
        driver=volume.driver,
        driver_opts=dict(volume.driver_opts),
        labels=dict(volume.labels),
    )


def _told(**values: object) -> dict[str, object]:
    return {key: value for key, value in values.items() if value is not None}


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
    return _told(
        type=mount.type,
        target=mount.target,
        source=mount.source or None,
        read_only=mount.read_only,
        tmpfs=tmpfs if mount.type == "tmpfs" and tmpfs else None,
    )


def _extra(health: HealthProbe, machine: Machine) -> dict[str, object]:
    return _told(
        memory=machine.memory_bytes,
        cpus=machine.cpus,
        disk=machine.disk_bytes,
        firmware=machine.firmware.value,
        volume=machine.volume_bytes,
        health=_told(
            scheme=health.scheme,
            path=health.path,
            port=health.port,
            contains=health.contains,
            ca_file=None if health.ca_file is None else _CA,
            timeout=_seconds(health.timeout_s),
            method=None if health.method is None else health.method.value,
            running=_seconds(health.running_s),
            settle=_seconds(health.settle_s),
        ),
    )
