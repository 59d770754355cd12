"""What a Kubernetes manifest cannot say of a service, field by field. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from portkit.app.names import engine_user
from portkit.app.resolve import DEFAULT_ULIMITS
from portkit.export import kubernetes_ports
from portkit.export.kubernetes_names import label
from portkit.export.kubernetes_pod import ENVIRONMENT_NAME, user
from portkit.guest.config import signal_number
from portkit.model import AppSpec, Finding, ImageConfig, RunSpec, Severity

_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
Row = tuple[
    Severity, str, str
]  # how much it weighs, the field in compose's words, what becomes of it


def findings(app: AppSpec, service: RunSpec, image: ImageConfig) -> Iterator[Finding]:
    """Those of one service."""
    rows = (*_fields(service), *_process(service, image), *_network(service), *_order(service))
    for severity, field, text in (*rows, *_data(service), *_names(app, service)):
        yield Finding("kubernetes", severity, f"{field}: {text}", (), "", (service.service,))


# A field, whether a service has it, and what becomes of it.
_FIELDS: tuple[tuple[Severity, str, Callable[[RunSpec], object], str], ...] = (
    (
        _ERROR,
        "devices",
        lambda service: service.devices,
        "a pod gets none without a device plugin of the cluster",
    ),
    (
        _WARNING,
        "ulimits",
        lambda service: service.ulimits != DEFAULT_ULIMITS,
        "a pod has those of the node's container runtime",
    ),
    (_WARNING, "init", lambda service: service.init, "the program itself is PID 1"),
    (
        _WARNING,
        "pids_limit",
        lambda service: service.pids_limit,
        "the node's kubelet sets it for every pod",
    ),
    (
        _WARNING,
        "cpuset",
        lambda service: service.cpuset,
        "the node's kubelet chooses the processors of a pod",
    ),
    (
        _WARNING,
        "runtime",
        lambda service: service.runtime,
        "a pod names a RuntimeClass of the cluster",
    ),
    (
        _WARNING,
        "storage_opt",
        lambda service: service.storage_opt,
        "a pod limits its ephemeral storage",
    ),
    (
        _WARNING,
        "memswap_limit",
        lambda service: service.memswap_bytes is not None,
        "swap is the kubelet's to give",
    ),
    (
        _WARNING,
        "oom_score_adj",
        lambda service: service.oom_score_adj,
        "the kubelet sets it",
    ),
    (
        _WARNING,
        "sysctls",
        lambda service: service.sysctls,
        "the kubelet refuses those that it does not take for safe, unless it was told",
    ),
    (
        _WARNING,
        "domainname",
        lambda service: service.domainname,
        "a pod is in the domain of its namespace",
    ),
    (
        _WARNING,
        "userns_mode",
        lambda service: service.userns_mode,
        "left out",
    ),
    (
        _INFO,
        "logging",
        lambda service: service.logging.driver or service.logging.options,
        "the cluster keeps the output",
    ),
    (
        _INFO,
        "container_name",
        lambda service: service.container_name,
        "pods have names of their own",
    ),
    (_INFO, "labels", lambda service: service.labels, "left out: what reads them is not there"),
)


def _fields(service: RunSpec) -> Iterator[Row]:
    for severity, field, has, text in _FIELDS:
        if has(service):
            yield severity, field, text


def _process(service: RunSpec, image: ImageConfig) -> Iterator[Row]:
    if service.user != engine_user(image.user) and user(service) is None:
        yield _ERROR, "user", f"{service.user[:60]!r} is a name, and a pod takes numbers alone"
    names = [group for group in service.group_add if not group.isdecimal()]
    if names:
        yield _ERROR, "group_add", "a pod takes numbers alone"
    if signal_number(service.stop_signal) != signal_number(image.stop_signal or "SIGTERM"):
        yield _WARNING, "stop_signal", "the node sends what the image says"
    odd = [key for key, _ in service.env if not ENVIRONMENT_NAME.fullmatch(key)]
    if odd:
        yield _ERROR, "environment", f"Kubernetes takes no variable called {odd[0][:60]!a}"
    gone = {row.partition("=")[0] for row in image.env} - {key for key, _ in service.env}
    for name in sorted(gone):
        yield _WARNING, "environment", f"the image's {name[:60]} cannot be taken away"
    options = [each for each in service.security_opt if not each.startswith("no-new-privileges")]
    if options:
        yield _WARNING, "security_opt", f"left out: {', '.join(options)[:200]}"
    if service.restart.partition(":")[0] in ("no", "on-failure"):
        text = f"{service.restart}: a Deployment starts it again whenever it has ended"
        yield _INFO, "restart", text
    if service.healthcheck and service.healthcheck.test[:1] not in ((), ("NONE",)):
        yield _INFO, "healthcheck", "it decides whether other services reach the pod"


def _network(service: RunSpec) -> Iterator[Row]:
    if service.network_mode == "none":
        yield _ERROR, "network_mode", "a pod always has a network"
    elif service.network_mode and service.network_mode != "host":
        yield _ERROR, "network_mode", "a pod of its own has a network of its own"
    for word, mode in (("pid", service.pid), ("ipc", service.ipc)):
        if mode and mode not in ("host", "private"):
            yield _ERROR, word, "a pod of its own has namespaces of its own"
    if len(service.networks) > 1 or any(place.network != "default" for place in service.networks):
        yield _WARNING, "networks", "all pods of a cluster reach each other"
    if any(place.ipv4 or place.ipv6 or place.mac for place in service.networks):
        yield _WARNING, "networks", "the cluster chooses addresses"
    if service.links:
        yield _WARNING, "links", "left out: services have the names that all know"
    if any(address == "host-gateway" for _, address in service.extra_hosts):
        yield _ERROR, "extra_hosts", "host-gateway: a pod has no name for its node"
    for severity, text in kubernetes_ports.lacks(service):
        yield severity, "ports", text


def _order(service: RunSpec) -> Iterator[Row]:
    if service.depends_on:
        names = ", ".join(need.service for need in service.depends_on)
        text = f"{names}: pods start at once; this one is restarted until it finds them"
        yield _WARNING, "depends_on", text


def _data(service: RunSpec) -> Iterator[Row]:
    for mount in service.mounts:
        if mount.type == "volume":
            text = "a claim begins empty and belongs to root: the image's files are not copied"
            yield _WARNING, "volumes", f"{mount.target}: {text} there"
        elif mount.type == "bind":
            yield _ERROR, "volumes", f"{mount.target}: a folder of the old host is left out"
        if mount.tmpfs_mode is not None:
            yield _WARNING, "tmpfs", f"{mount.target}: its mode is 0777"


def _names(app: AppSpec, service: RunSpec) -> Iterator[Row]:
    name = label(service.service)
    if app.several and name != service.service:
        yield _WARNING, "name", f"other services reach it as {name}, not as {service.service}"
    own = label(service.hostname.partition(".")[0])
    if own != service.hostname:
        yield _INFO, "hostname", f"{own}, and not {service.hostname}"
