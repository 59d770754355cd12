"""Names and labels as Kubernetes can have them. Pure."""

from __future__ import annotations

import re

from portkit.model import AppSpec, RunSpec

_NO_LABEL = re.compile(r"[^a-z0-9]+")
_LABEL_LIMIT = 63  # characters; RFC 1035


def label(text: str) -> str:
    """The name of an object: lower case letters, digits and -, beginning with a letter."""
    name = _NO_LABEL.sub("-", text.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"x-{name}".strip("-")
    return name[:_LABEL_LIMIT].rstrip("-")


def selector(app: AppSpec, service: RunSpec) -> dict[str, str]:
    """The labels by which the pods of a service are found."""
    return {
        "app.kubernetes.io/name": label(service.service),
        "app.kubernetes.io/part-of": label(app.app),
    }


def labels(app: AppSpec, service: RunSpec | None = None) -> dict[str, str]:
    """Those of an object that belongs to a service, or to the App as a whole."""
    own = selector(app, service) if service else {"app.kubernetes.io/part-of": label(app.app)}
    return {**own, "app.kubernetes.io/managed-by": "portkit"}


def volume_names(app: AppSpec) -> dict[tuple[str, int], str]:
    """The claim of each volume, by the service and the number of the mount in it; services that
    share a volume share its claim."""
    found: dict[tuple[str, int], str] = {}
    known: dict[int, str] = {}
    for service, numbers in zip(app.services, app.volume_numbers(), strict=True):
        for index, (mount, number) in enumerate(zip(service.mounts, numbers, strict=True)):
            if number is not None:
                own = mount.source or f"{service.service}-{mount.target}"
                wanted = label(own)
                if number not in known and wanted in known.values():
                    wanted = label(f"{wanted[:50]}-{number}")
                found[service.service, index] = known.setdefault(number, wanted)
    return found
