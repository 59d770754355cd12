"""An App in the words of a compose file. Pure; `portkit.app.compose` reads them."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal

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
)


def compose_document(app: App) -> dict[str, object]:
    """Everything that a compose file can say of an App."""
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
        cpuset=service.cpuset,
        runtime=service.runtime,
        storage_opt=dict(service.storage_opt),
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


def _bounds(stated: Stated) -> dict[str, object]:
    """As `portkit.app.stated` reads them."""
    most = stated.sysctls_most
    exactly = {name: f"={most[name]}" for name in stated.sysctls if name in most}
    return {**stated.sysctls, **{name: f"<={number}" for name, number in most.items()}, **exactly}


def _stated(stated: Stated) -> dict[str, object]:
    kernel = stated.kernel
    return _told(
        kernel=None if kernel is None else ".".join(map(str, kernel)),
        cpu=f"x86-64-v{stated.cpu_level}" if stated.cpu_level else None,
        sysctls=_bounds(stated) or None,
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
