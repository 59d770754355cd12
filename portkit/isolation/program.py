"""The probe laid over an App: its image with one more layer, and a service that runs nothing else.

Everything else of the service stays: its user, capabilities, security options, namespaces, mounts
and limits are what is measured.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

from portkit.errors import AppError
from portkit.guest.compiler import compiled
from portkit.guest.kit import cache_root
from portkit.model import (
    App,
    Artifact,
    Form,
    Healthcheck,
    HealthProbe,
    ImageConfig,
    Logging,
    Method,
    Service,
)
from portkit.model.run import SHARED
from portkit.package.changes import with_layer
from portkit.store import Store

_PATH = "portkit-isolation"  # in the root of the image


def probing(app: App) -> App:
    """The App with the probe in place of the service that answers for it, and no other service.

    It publishes nothing and waits for nothing: it says all that it has to say in its log.
    AppError where that service lives in a namespace of another one.
    """
    service = app.front_service
    modes = (service.network_mode, service.pid, service.ipc)
    if any(mode.startswith(SHARED) for mode in modes):
        raise AppError(
            f"{service.name} shares a namespace of another service",
            details="the isolation of a service is measured without the other services",
            resolution="Name another service in x-portkit.health.service.",
        )
    return replace(app, services=(_probe(service, app),), front="")


def _probe(service: Service, app: App) -> Service:
    return replace(
        service,
        entrypoint=(f"/{_PATH}",),
        command=(),
        ports=(),
        expose=(),
        depends_on=(),
        links=(),
        healthcheck=Healthcheck(test=("NONE",)),
        restart="no",
        # The probe ends at once; the App's own signal may be one that it does not know.
        stop_signal="SIGTERM",
        logging=Logging(),  # another driver may not give the log back
        health=HealthProbe(method=Method.RUNNING, running_s=0.0, settle_s=0.0),
        machine=service.machine if len(app.services) == 1 else app.machine,
    )


def layered(
    image: Artifact, config: ImageConfig, store: Store, cache: Path | None = None
) -> Artifact:
    """One of the images of an Artifact with the probe as one more layer, in the Store.

    AppError for an architecture without a probe, ToolError when it cannot be compiled.
    """
    program = compiled("portkit.isolation", "isolation", config.architecture, cache or cache_root())
    known = {blob.digest: blob for blob in image.blobs}
    blobs = tuple(known[digest] for digest in (config.digest, *config.diff_ids))
    total = sum(blob.size for blob in set(blobs))
    alone = Artifact(Form.IMAGE, config.digest, (config,), blobs, total, total)
    layer = store.put_bytes(_tar(program.read_bytes()))
    return with_layer(alone, layer, "isolation probe", store)


def _tar(program: bytes) -> bytes:
    """The same bytes for the same program: an image with it is sent once."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo(_PATH)
        member.mode, member.size = 0o755, len(program)
        tar.addfile(member, io.BytesIO(program))
    return out.getvalue()
