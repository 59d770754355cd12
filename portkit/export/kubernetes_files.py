"""Files of an App, and its environment, as ConfigMaps and Secrets. Pure.

A compose config that is a file is a ConfigMap. Every other file, and the whole environment, may
hold a password that nothing marks as one, and is in a Secret.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from portkit.export.kubernetes_names import label, labels
from portkit.model import AppSpec, Content, ContentFile, Finding, RunSpec, Severity, content_bytes
from portkit.model.project import ContentKind
from portkit.wire.json_types import JsonObject

# Kubernetes' own is 1 MiB of an object; base64 makes of three bytes four.
_LIMIT = 700 << 10
_SINGLE = "file"  # the path of a file that is mounted alone


@dataclass(frozen=True)
class Files:
    """The files of one service: objects that hold them, and how its pod mounts them."""

    config_maps: tuple[JsonObject, ...] = ()
    secrets: tuple[JsonObject, ...] = field(default=(), repr=False)
    volumes: tuple[JsonObject, ...] = ()
    mounts: tuple[JsonObject, ...] = ()
    findings: tuple[Finding, ...] = ()


def environment_secret(app: AppSpec, service: RunSpec, values: Mapping[str, str]) -> JsonObject:
    """The Secret with the environment of a service."""
    data = {name: _base64(value.encode()) for name, value in values.items()}
    return _secret(app, service, environment_name(service), data)


def environment_name(service: RunSpec) -> str:
    """The name of that Secret."""
    return label(f"{service.service}-environment")


def placed(app: AppSpec, service: RunSpec) -> Files:
    """What holds the files of a service."""
    parts = [_placed(app, service, number, each) for number, each in enumerate(service.contents)]
    return Files(
        tuple(row for part in parts for row in part.config_maps),
        tuple(row for part in parts for row in part.secrets),
        tuple(row for part in parts for row in part.volumes),
        tuple(row for part in parts for row in part.mounts),
        tuple(row for part in parts for row in part.findings),
    )


def _placed(app: AppSpec, service: RunSpec, number: int, content: Content) -> Files:
    name = label(f"{service.service}-file-{number}")
    files = [each for each in content.files if each.kind == "file"]
    size = content_bytes(content.files)
    if size > _LIMIT:
        message = f"{content.target}: {size} bytes of files are more than Kubernetes keeps"
        remedy = "Put them into the image."
        return Files(findings=(_lack(service, Severity.ERROR, message, remedy),))
    mount: JsonObject = {"name": name, "mountPath": content.target}
    if not files:
        volume = {"name": name, "emptyDir": {}}
        message = f"{content.target}: the folder begins empty, and ends with the pod"
        note = _lack(service, Severity.WARNING, message, "Make it a volume of the App.")
        return Files(volumes=(volume,), mounts=(mount,), findings=(note,))
    alone = len(files) == 1 and not files[0].path
    items = [
        {"key": f"f{index}", "path": each.path or _SINGLE, "mode": each.mode & 0o777}
        for index, each in enumerate(files)
    ]
    data = {f"f{index}": _base64(each.data) for index, each in enumerate(files)}
    mount = {**mount, "readOnly": True, **({"subPath": _SINGLE} if alone else {})}
    notes = tuple(_lacks(service, content))
    # What stands in the compose file itself may have been filled in from the environment.
    if content.kind is ContentKind.CONFIG and content.data is None:
        about = {"name": name, "labels": labels(app, service)}
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "binaryData": data}
        volume = {"name": name, "configMap": {"name": name, "items": items}}
        return Files((config,), (), (volume,), (mount,), notes)
    volume = {"name": name, "secret": {"secretName": name, "items": items}}
    return Files((), (_secret(app, service, name, data),), (volume,), (mount,), notes)


def _lacks(service: RunSpec, content: Content) -> list[Finding]:
    found = []
    if not content.read_only and content.kind is ContentKind.BIND:
        message = f"{content.target}: the service can read the files, and not change them"
        found.append(_lack(service, Severity.WARNING, message))
    if any(each.kind == "link" for each in content.files):
        message = f"{content.target}: symbolic links in it are left out"
        found.append(_lack(service, Severity.WARNING, message, "Put the folder into the image."))
    if any(_is_owned(each) for each in content.files):
        message = f"{content.target}: the files belong to root"
        found.append(_lack(service, Severity.WARNING, message))
    return found


def _is_owned(each: ContentFile) -> bool:
    return bool(each.uid or each.gid)


def _lack(service: RunSpec, severity: Severity, message: str, remedy: str = "") -> Finding:
    return Finding("kubernetes", severity, message, (), remedy, (service.service,))


def _secret(app: AppSpec, service: RunSpec, name: str, data: Mapping[str, str]) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels(app, service)},
        "type": "Opaque",
        "data": dict(data),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
