"""Facts from what a host, an inventory or a bundle says: checked, bounded, printable."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, ValidationError

from portkit.errors import HostError
from portkit.model import Facts
from portkit.text import printable

_Word = Annotated[str, Field(max_length=1024), AfterValidator(printable)]
_Bytes = Annotated[int, Field(ge=0, lt=1 << 63)]
_Port = Annotated[int, Field(ge=0, le=65535)]
_Address = Annotated[str, Field(max_length=64), AfterValidator(printable)]
# JSON knows no tuples.
_Socket = Annotated[tuple[_Address, _Port], Field(strict=False)]


class _Facts(BaseModel):
    """The fields of `Facts` as JSON has them."""

    model_config = ConfigDict(strict=True, extra="ignore")

    host: _Word
    endpoint: _Word
    os_id: _Word
    os_version: _Word
    os_name: _Word
    architecture: _Word
    kernel: _Word
    cpus: Annotated[int, Field(ge=1, le=1 << 16)]
    memory_bytes: _Bytes
    memory_available_bytes: _Bytes
    store_free_bytes: _Bytes
    python: _Word
    docker_version: _Word | None = None
    docker_store: _Word | None = None
    docker_free_bytes: _Bytes | None = None
    docker_buildx: bool = False
    libvirt_version: _Word | None = None
    qemu_version: _Word | None = None
    accelerator: _Word = "tcg"
    accelerator_note: _Word = ""
    loop_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] | None = None
    uefi: bool = False
    missing_tools: Annotated[list[_Word], Field(max_length=100)] = []
    unprivileged_port_start: Annotated[int, Field(ge=0, le=65536)] = 1024
    qemu_user: _Word | None = None
    qemu_group: _Word | None = None
    listening: Annotated[list[_Socket], FailFast()] = []
    listening_udp: Annotated[list[_Socket], FailFast()] = []
    networks: Annotated[list[_Word], FailFast()] = []


def parse_facts(row: object) -> Facts:
    """Facts from JSON; HostError when it is no object or a value cannot be right."""
    try:
        read = _Facts.model_validate(row)
    except ValidationError as error:
        raise HostError(
            "what the host says of itself cannot be right",
            details=_details(error),
            resolution="Check who answers on the host, and python3 and /proc there.",
        ) from None  # pydantic's own error quotes the values
    values = read.model_dump()
    for name in ("missing_tools", "listening", "listening_udp", "networks"):
        values[name] = tuple(values[name])
    return Facts(**values)


def _details(error: ValidationError) -> str:
    rows = error.errors(include_input=False, include_url=False)[:10]
    places = [".".join(str(part)[:80] for part in row["loc"][:4]) for row in rows]
    return "\n".join(
        f"{printable(place)}: {row['msg'][:200]}" for place, row in zip(places, rows, strict=True)
    )
