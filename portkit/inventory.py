"""What a host has, as a file: a bundle that is made for it leaves that out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from portkit.errors import AppError, EngineError
from portkit.host import Host
from portkit.text import printable
from portkit.wire import strict_json
from portkit.wire.json_types import JsonObject

SCHEMA = "portkit.inventory/1"
_LIMIT = strict_json.LIMIT


@dataclass(frozen=True)
class Inventory:
    """layers: diffIDs in the host's engine. blobs: digest to size, of its Store. machines,
    cpu_model, cpu_level: what guests of its libvirt can be; see `portkit.model.Guests`."""

    host: str
    architecture: str
    docker_version: str | None = None
    docker_store: str | None = None
    libvirt_version: str | None = None
    qemu_version: str | None = None
    machines: tuple[str, ...] = ()
    cpu_model: str = ""
    cpu_level: int = 0
    layers: tuple[str, ...] = ()
    blobs: dict[str, int] = field(default_factory=dict)

    @property
    def digests(self) -> frozenset[str]:
        """Everything that need not be carried there."""
        return frozenset(self.layers) | frozenset(self.blobs)


def take(host: Host) -> Inventory:
    """Record what a host has; nothing on it is changed."""
    facts = host.facts(guests=True)
    try:
        rows = host.remote.call("image.list", {})["images"]
    except EngineError:  # none runs there
        rows = []
    return Inventory(
        host=host.name,
        architecture=facts.architecture,
        docker_version=facts.docker_version,
        docker_store=facts.docker_store,
        libvirt_version=facts.libvirt_version,
        qemu_version=facts.qemu_version,
        machines=facts.guests.machines,
        cpu_model=facts.guests.cpu_model,
        cpu_level=facts.guests.cpu_level,
        # Sorted, so that two inventories of one host can be compared as files.
        layers=tuple(sorted({digest for row in rows for digest in row["diff_ids"]})),
        blobs=dict(sorted(host.remote.call("store.list", {})["have"].items())),
    )


def to_json(inventory: Inventory) -> JsonObject:
    """The document that `read` takes."""
    return {"schema": SCHEMA, **asdict(inventory)}


def read(path: Path) -> Inventory:
    """The inventory in a file; AppError when it is none."""
    from pydantic import TypeAdapter, ValidationError

    from portkit.model import check_digest

    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
        if len(data) > _LIMIT:
            raise ValueError("it is too big")
        row = strict_json.loads(data, most=strict_json.MAX_CHECKED)
        if not isinstance(row, dict) or row.pop("schema", None) != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
        found = TypeAdapter(Inventory).validate_python(row)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0] if isinstance(error, ValidationError) else str(error)
        raise AppError(
            "the inventory cannot be read",
            details=printable(f"{path}: {why}", 500),
            resolution="Create it with: portkit inventory HOST > FILE",
        ) from error
    for digest in found.digests:
        check_digest(digest)
    return found
