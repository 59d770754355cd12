"""The Plan of a Move, from what was packaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from portkit import transfer
from portkit.model import (
    App,
    Form,
    Live,
)
from portkit.move.fingerprint import fingerprint
from portkit.move.ground import keep
from portkit.move.journal import Journal
from portkit.move.plan import (
    Plan,
)
from portkit.move.prepare import Job, Packed
from portkit.wire import labels


def plan_of(packed: Packed, job: Job, journal: Journal, stays: Form | None, repeat: int) -> Plan:
    """What is going to be done, in the words of the journal."""
    image = packed.artifacts.get(Form.IMAGE)
    services = {service.service: service.image for service in packed.spec.services}
    held = () if image is None else (each.digest for each in image.images)
    live = job.source.live(packed.spec)
    holds = {digest: transfer.held_name(digest, packed.move) for digest in held}
    return Plan(
        move=packed.move,
        app=packed.app.name,
        app_source=absolute(packed.app.source),
        source=None if job.source.host is None else job.source.name,
        target=job.target.name,
        forms=tuple(packed.artifacts),
        keep=stays,
        repeat=repeat,
        limit=job.target.rate_limit,
        image=keep(packed.image, job.store),
        blobs=tuple(dict.fromkeys(blob.digest for blob in image.blobs)) if image else (),
        ports=packed.spec.ports,
        services=services,
        holds=holds,
        tags=_tags(packed.app, services, holds, live),
        fingerprint=fingerprint(journal, packed.spec),
        findings={form: tuple(packed.findings[form]) for form in packed.artifacts},
        reading=packed.app.reading,
        live=live,
    )


def _tags(
    app: App, services: Mapping[str, str], holds: Mapping[str, str], live: Live | None
) -> dict[str, str]:
    """The names that users know the images by. One that was named by its id or digest has none that
    could be given to it on the target; nor has one that a container has changed."""
    changed = {each.service for each in live.containers if each.changed} if live else ()
    return {
        service.image: holds[services[service.name]]
        for service in app.services
        if holds
        and service.image
        and "sha256:" not in service.image
        and not service.image.startswith(labels.HELD)
        and service.name not in changed
    }


def absolute(source: str) -> str:
    """An App's source as it can be read again from any folder: a path is made absolute."""
    path = Path(source)
    try:
        return str(path.absolute()) if path.exists() else source
    except (OSError, ValueError):
        return source
