"""What the remote half may answer: a schema for each verb. A host's word is input, not fact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError

from portkit.wire.frames import JSON_LIMIT
from portkit.wire.json_types import JsonObject

_Word = Annotated[str, Field(max_length=4096)]
_Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
_KEYS = JSON_LIMIT // 75  # digests that a frame has room for
_Bytes = Annotated[int, Field(ge=0, lt=1 << 63)]


def _few(value: object) -> object:
    # All that could be wrong in it would be listed; of a list the first is.
    if isinstance(value, dict) and len(value) > _KEYS:
        raise ValueError(f"it has more than {_KEYS} keys")
    return value


# Fields that are not named here are ignored: a newer host may tell more.
class _Answer(BaseModel):
    model_config = ConfigDict(strict=True)


class _Have(_Answer):
    have: Annotated[dict[_Digest, _Bytes], BeforeValidator(_few)]


class _Size(_Answer):
    size: _Bytes


class _Part(_Answer):
    size: _Bytes
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Image(_Answer):
    id: _Digest
    tags: Annotated[list[_Word], FailFast()]
    diff_ids: Annotated[list[_Word], FailFast()]
    size: _Bytes
    architecture: _Word


class _Images(_Answer):
    images: Annotated[list[_Image], FailFast()]
    containerd: bool
    readable: Annotated[list[_Digest], FailFast()] = []


class _Changes(_Answer):
    exact: bool
    size: _Bytes
    changed: _Bytes
    deleted: _Bytes
    missing: Annotated[list[_Word], FailFast()]
    odd: Annotated[list[_Word], FailFast()]
    untold: _Bytes


class _Identity(_Answer):
    id: _Digest


class _Tagged(_Answer):
    tagged: bool


class _Removed(_Answer):
    removed: bool


class _Running(_Answer):
    running: Annotated[list[_Word], FailFast()]


class _Folder(_Answer):
    dir: _Word
    base: _Word
    overlay: _Word
    config: _Word
    serial: _Word
    state: _Word
    boot: Annotated[list[_Word], FailFast()]
    volumes: Annotated[dict[_Word, _Word], BeforeValidator(_few)]


class _Offered(_Answer):
    root: bool
    volumes: Annotated[dict[_Word, _Bytes], BeforeValidator(_few)]


class _Sockets(_Answer):
    # In ssh's -L, anything else could lead somewhere else.
    folder: Annotated[str, Field(pattern=r"^/run/portkit/live/pk-[0-9a-f]{12}$")]


class _Process(_Answer):
    pid: _Bytes
    started: _Word


class _Ended(_Answer):
    ended: bool


class _Kernel(_Answer):
    release: _Word
    boot_id: _Word
    since: _Word
    engine_since: _Word
    namespaces: Annotated[dict[_Word, _Word], BeforeValidator(_few)]


class _Ignored(_Answer):
    ignored: Annotated[list[bool], FailFast()]


class _Remain(_Answer):
    kind: Literal["instance", "volume", "network", "image"]
    id: Annotated[str, Field(pattern=r"^(pk-[0-9a-f]{12})?$")]
    app: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,62})?$")]
    name: _Word
    empty: bool


class _Remains(_Answer):
    remains: Annotated[list[_Remain], FailFast()]


class _Log(_Answer):
    text: Annotated[str, Field(max_length=1 << 20)]
    size: _Bytes


class _Garbage(_Answer):
    kind: Literal["blob", "base", "part", "tmp", "instance", "volume", "network", "image"]
    name: Annotated[str, Field(max_length=256)]
    bytes: _Bytes


class _Collected(_Answer):
    removed: Annotated[list[_Garbage], FailFast()]
    count: _Bytes
    bytes: _Bytes
    kept_bytes: _Bytes
    busy: _Bytes


class _There(_Answer):
    paths: Annotated[list[_Word], FailFast()]


class _Mounted(_Answer):
    mounts: Annotated[list[_Word], FailFast()]


class _Staged(_Answer):
    folders: Annotated[list[_Word], FailFast()]


class _Described(_Answer):
    text: Annotated[str, Field(max_length=3 << 19)]
    blobs: _Word
    # What the system is on, the volumes and, as the last, the configuration.
    disks: Annotated[list[_Word], Field(min_length=2), FailFast()]
    resting: Annotated[list[_Word], Field(max_length=256), FailFast()]


class _Moved(_Answer):
    moved: bool


class _Begun(_Answer):
    brought: Annotated[list[_Digest], FailFast()]
    unreadable: Annotated[list[_Word], FailFast()]


class _Marker(_Answer):
    id: Annotated[str, Field(pattern=r"^pk-[0-9a-f]{12}$")]
    app: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    role: Literal["source", "target"]
    about: Annotated[dict[_Word, _Word], BeforeValidator(_few)]
    hold: Annotated[str, Field(max_length=1 << 16)]  # names, with spaces between them
    brought: Annotated[list[_Digest], FailFast()]
    live: bool


class _Moves(_Answer):
    moves: Annotated[list[_Marker], FailFast()]


class _Leads(_Answer):
    port: Annotated[int, Field(ge=1, le=65535)]
    to: _Word


class _Forward(_Answer):
    id: _Word
    app: _Word
    live: bool
    ports: Annotated[list[_Leads], FailFast()]


class _Forwards(_Answer):
    forwards: Annotated[list[_Forward], FailFast()]


class _Scanned(_Answer):
    entries: _Bytes
    vanished: _Bytes
    provable: bool
    remembered: _Bytes


class _Look(_Answer):
    entries: _Bytes
    bytes: _Bytes
    whole: bool
    walk_ms: _Bytes
    blocks: _Bytes
    sampled_bytes: _Bytes
    read_ms: _Bytes
    packed_bytes: _Bytes
    packed_wire_bytes: _Bytes
    pack_us: _Bytes
    changed_pages: _Bytes
    window_ms: _Bytes
    grown_bytes: _Bytes


class _Surveyed(_Answer):
    folders: list[_Look]


class _Digested(_Answer):
    digest: _Digest


class _Read(_Answer):
    bytes: _Bytes
    vanished: _Bytes


class _Filled(_Answer):
    bytes: _Bytes


class _WasThere(_Answer):
    id: Annotated[str, Field(pattern=r"^pk-[0-9a-f]{12}$")]
    name: Annotated[str, Field(max_length=255)]
    path: _Word
    bytes: _Bytes


class _Unreadable(_Answer):
    unreadable: Annotated[list[_Word], FailFast()]


class _Aside(_Answer):
    volumes: Annotated[list[_WasThere], FailFast()]


# `facts` has a schema of its own: portkit.host.facts.
_SCHEMAS: dict[str, type[_Answer]] = {
    "facts": _Answer,
    "store.has": _Have,
    "store.part": _Part,
    "store.apply": _Size,
    "store.remove": _Answer,
    "store.gc": _Collected,
    "store.list": _Have,
    "image.list": _Images,
    "image.save": _Size,
    "image.load": _Identity,
    "image.tag": _Tagged,
    "image.remove": _Removed,
    "image.build": _Identity,
    "image.pull": _Answer,
    "image.containers": _Running,
    "container.changes": _Changes,
    "instance.create": _Folder,
    "instance.config": _Answer,
    "instance.stand": _Answer,
    "instance.remove": _Removed,
    "instance.remains": _Remains,
    "instance.log": _Log,
    "instance.stage": _Staged,
    "instance.fill": _Answer,
    "instance.data": _Moved,
    "instance.describe": _Answer,
    "instance.described": _Described,
    "instance.expose": _Staged,
    "instance.adopt": _Answer,
    "live.offer": _Offered,
    "live.receive": _Answer,
    "live.tell": _Answer,
    "live.begin": _Sockets,
    "live.hand": _Answer,
    "live.process": _Process,
    "live.ended": _Ended,
    "live.end": _Removed,
    "move.begin": _Begun,
    "move.end": _Removed,
    "move.room": _Answer,
    "move.list": _Moves,
    "forward.begin": _Answer,
    "forward.end": _Removed,
    "forward.list": _Forwards,
    "kernel.identity": _Kernel,
    "process.ignored": _Ignored,
    "volume.scan": _Scanned,
    "volume.digest": _Digested,
    "volume.pages": _Answer,
    "volume.read": _Read,
    "volume.shape": _Answer,
    "volume.fill": _Filled,
    "volume.settle": _Answer,
    "volume.survey": _Surveyed,
    "volume.weigh": _Filled,
    "volume.aside": _Unreadable,
    "volume.back": _Answer,
    "volume.kept": _Aside,
    "volume.beside": _Aside,
    "volume.drop": _Answer,
    "volume.mounted": _Mounted,
    "volume.there": _There,
}


# Whether an answer is about what was asked, where that has a number or a name: for the arguments of
# a verb, and an answer that has its schema.
_FITS: dict[str, Callable[[JsonObject, JsonObject], bool]] = {
    "process.ignored": lambda args, row: len(row["ignored"]) == len(args["processes"]),
    "instance.create": lambda args, row: (
        {each["name"] for each in args["volumes"]} <= set(row["volumes"])
        and len(row["boot"]) == len(args.get("boot", ()))
    ),
    "instance.stage": lambda args, row: not args.get("disks") or len(row["folders"]) == 1,
    "instance.expose": lambda args, row: len(row["folders"]) == 1,
    "live.begin": lambda args, row: row["folder"].endswith("/" + args["id"]),
    "volume.survey": lambda args, row: len(row["folders"]) == len(args["folders"]),
}


def unasked(verb: str, args: JsonObject, row: JsonObject) -> str:
    """That an answer with the schema of its verb is not about what was asked; "" when it is."""
    fits = _FITS.get(verb)
    return "" if fits is None or fits(args, row) else f"{verb}: it has other rows than were asked"


def wrong(verb: str, row: JsonObject) -> str:
    """What in the answer to a verb is not as it should be; "" when all is well."""
    schema = _SCHEMAS.get(verb)
    if schema is None:
        return f"{verb} has no schema"
    try:
        schema.model_validate(row)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part)[:80] for part in first["loc"][:4])
        return f"{verb}: {place}: {first['msg']}"[:500]
    return ""
