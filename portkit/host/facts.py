"""Facts from what a host, an inventory or a bundle says: checked, bounded, printable."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field, ValidationError

from portkit.errors import HostError
from portkit.model import Binfmt, Engine, Facts, Guests, Linux
from portkit.text import printable
from portkit.wire.json_types import JsonObject

_Word = Annotated[str, Field(max_length=1024), AfterValidator(printable)]
_Bytes = Annotated[int, Field(ge=0, lt=1 << 63)]
_Port = Annotated[int, Field(ge=0, le=65535)]
_Address = Annotated[str, Field(max_length=64), AfterValidator(printable)]
# JSON knows no tuples.
_Subnet = Annotated[tuple[_Word, _Address], Field(strict=False)]
_NetworkKind = Annotated[tuple[_Word, _Word, bool], Field(strict=False)]
_Socket = Annotated[tuple[_Address, _Port], Field(strict=False)]


_Text = Annotated[str, Field(max_length=4096), AfterValidator(printable)]
_Words = Annotated[list[_Word], Field(max_length=2000)]
_Table = Annotated[dict[_Word, _Text], Field(max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class _Binfmt(_Part):
    name: _Word
    architecture: _Word
    interpreter: _Word
    flags: _Word = ""


class _Linux(_Part):
    """The fields of `Linux` as JSON has them."""

    cpu_model: _Word = ""
    cpu_level: Annotated[int, Field(ge=0, le=9)] = 0
    cpu_features: _Words | None = None
    page_bytes: _Bytes = 0
    cgroup: Annotated[int, Field(ge=0, le=2)] = 0
    cap_bounding: Annotated[str, Field(pattern=r"^([0-9a-f]{16})?$")] = ""
    vsyscall: bool | None = None
    sysctls: _Table = {}
    net_sysctls: _Words | None = None
    config: _Table = {}
    modules: _Words | None = None
    loadable: _Words | None = None
    devices: _Words | None = None
    hugepages_free: _Bytes | None = None
    hugepage_bytes: _Bytes = 0
    ipv6: bool | None = None
    interfaces: _Words | None = None
    processors: Annotated[str, Field(pattern=r"^[0-9,-]{0,1000}$")] = ""
    binfmt: Annotated[list[_Binfmt], Field(max_length=200)] | None = None
    runs: _Table = {}
    lsm: _Word = ""
    sought: _Words = []
    arm_version: Annotated[int, Field(ge=0, le=9)] = 0


class _Engine(_Part):
    """The fields of `Engine` as JSON has them."""

    name: _Word = ""
    api: _Word = ""
    api_min: _Word = ""
    cgroup: Annotated[int, Field(ge=0, le=2)] = 0
    cgroup_driver: _Word = ""
    rootless: bool | None = None
    security: _Words | None = None
    runtimes: _Words | None = None
    d_type: bool | None = None
    runc: _Word = ""
    libseccomp: _Word = ""
    crun: _Word = ""
    timers: bool | None = None
    dhcp: bool | None = None
    boots: _Words | None = None
    platform: _Word = ""
    network_drivers: _Words | None = None
    swarm: bool | None = None
    backing: _Word = ""
    unable: _Words | None = None
    init: bool | None = None


class _Guests(_Part):
    """The fields of `Guests` as JSON has them."""

    machines: _Words = []
    firmware: _Words = []
    cpu_model: _Word = ""
    cpu_level: Annotated[int, Field(ge=0, le=9)] = 0
    cpu_models: Annotated[dict[_Word, int], Field(max_length=2000)] = {}
    note: _Word = ""
    architectures: _Words = []
    secure: _Words = []
    max_cpus: Annotated[int, Field(ge=0, le=1 << 16)] = 0
    interfaces: _Words = []
    confined_by: _Words = []


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
    addresses: Annotated[list[_Word], Field(max_length=10_000)] | None = None
    networks: Annotated[list[_Word], FailFast()] = []
    subnets: Annotated[list[_Subnet], FailFast(), Field(max_length=2000)] = []
    network_kinds: Annotated[list[_NetworkKind], FailFast(), Field(max_length=2000)] = []
    linux: _Linux = Field(default_factory=_Linux)
    engine: _Engine = Field(default_factory=_Engine)
    guests: _Guests = Field(default_factory=_Guests)
    volumes: Annotated[list[_Word], FailFast()] = []
    emulators: Annotated[list[_Word], Field(max_length=100)] | None = None
    netdevs: Annotated[list[_Word], Field(max_length=100)] | None = None
    swap_bytes: _Bytes | None = None


def parse_facts(row: object) -> Facts:
    """Facts from JSON; HostError when it is no object or a value cannot be right."""
    try:
        read = _Facts.model_validate(row)
    except ValidationError as error:
        raise HostError(
            "the host gave an invalid description of itself",
            details=_details(error),
            resolution="Check which program answers on the host, and its python3 and /proc.",
        ) from None  # pydantic's own error quotes the values
    values = _tuples(read.model_dump())
    linux = values.pop("linux")
    handlers = linux.pop("binfmt")
    binfmt = None if handlers is None else tuple(Binfmt(**row) for row in handlers)
    engine, guests = Engine(**values.pop("engine")), Guests(**values.pop("guests"))
    return Facts(**values, linux=Linux(**linux, binfmt=binfmt), engine=engine, guests=guests)


def _tuples(row: JsonObject) -> JsonObject:
    """JSON's lists as the tuples of frozen values."""
    return {
        key: tuple(value)
        if isinstance(value, list)
        else _tuples(value)
        if isinstance(value, dict)
        else value
        for key, value in row.items()
    }


def _details(error: ValidationError) -> str:
    rows = error.errors(include_input=False, include_url=False)[:10]
    places = [".".join(str(part)[:80] for part in row["loc"][:4]) for row in rows]
    return "\n".join(
        f"{printable(place)}: {row['msg'][:200]}" for place, row in zip(places, rows, strict=True)
    )
