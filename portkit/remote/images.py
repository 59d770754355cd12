"""Images of the host's Docker Engine: list, save, load and read back, tag."""

from __future__ import annotations

import re
from typing import List, Optional
from urllib.parse import quote, urlencode

from portkit.remote import engine, engine_layers, leases, store
from portkit.remote.channel import Channel
from portkit.remote.layers import gather
from portkit.wire import codec, image_archive, labels
from portkit.wire.frames import DATA_LIMIT, RemoteError
from portkit.wire.json_types import JsonObject

_PROJECT, _SERVICE = labels.COMPOSE + "project", labels.COMPOSE + "service"
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]{0,254}")


def checked(reference: object) -> str:
    """A reference that is one, for a URL or a command; AppError otherwise."""
    # It becomes a part of a URL's path: ".." would lead to another object of the engine.
    if (
        not isinstance(reference, str)
        or not _REFERENCE.fullmatch(reference)
        or ".." in reference
        or "//" in reference
    ):
        raise RemoteError("AppError", "an image reference is not valid", repr(reference)[:200])
    return reference


def inspect(reference: str) -> engine.Image:
    """What the engine says of an image; AppError when it has none of that name."""
    try:
        return engine.image(checked(reference))
    except RemoteError as error:
        if ": 404 " not in error.details:
            raise
        raise RemoteError(
            "AppError",
            "the image is not on the source host",
            reference,
            "Build it there, or pull it with --pull missing. `docker images` lists what the host "
            "has.",
        ) from error


def listing(args: JsonObject, channel: Channel) -> JsonObject:
    """Every image (or the one of `reference`): id, tags, diff_ids; the engine's store; and the
    layers that can be read without asking the engine for a whole image."""
    info = engine.get_object("/info")
    rows = [_row(inspect(args["reference"]))] if "reference" in args else every()
    listed = {digest for row in rows for digest in row["diff_ids"]}
    readable = sorted(listed & set(engine_layers.places(info)))
    return {"images": rows, "containerd": engine.containerd_store(info), "readable": readable}


def every() -> List[JsonObject]:
    """A row for each image of the engine."""
    return [_row(inspect(name)) for name in engine.images()]


def _row(image: engine.Image) -> JsonObject:
    return {
        "id": image.id,
        "tags": image.tags,
        "diff_ids": image.diff_ids,
        "size": image.size,
        "architecture": image.architecture,
    }


def save(args: JsonObject, channel: Channel) -> JsonObject:
    """Send `docker save` of an image, compressed."""
    packer = codec.Compressor(args["encoding"], args.get("level", 3))
    path = "/images/%s/get" % quote(checked(args["reference"]), safe="/:@")
    size = 0
    with engine.request("GET", path) as response:
        while True:
            data = response.read(DATA_LIMIT)
            if not data:
                break
            size += len(data)
            channel.send(packer.feed(data))
    channel.send(packer.finish())
    return {"size": size}


def load(args: JsonObject, channel: Channel) -> JsonObject:
    """Load an image whose blobs are in the Store or in the engine, read it back, hold it.

    args: config digest, layers (diffIDs, bottom first), hold (the name to hold it by), move (whose
    it is, or ""), discard (blobs that came for this load alone: the engine has them afterwards;
    here the layers stay for what else this connection brings, and all stay that another Move
    needs).
    """
    config, layers, hold = args["config"], args["layers"], checked(args["hold"])
    info = engine.get_object("/info")
    containerd, start = engine.containerd_store(info), 0
    # An overlay2 engine of Docker's needs no file for layers whose chain it has.
    if not containerd and not engine.podman(info):
        start = image_archive.shared_prefix(layers, [row["diff_ids"] for row in every()])
    files = gather(layers[start:])
    try:
        make = image_archive.oci_layout if containerd else image_archive.docker_archive
        stream, expected = make(store.path_of(config), layers, files, hold)
        # quiet: else its answer has progress for people in it as well.
        with engine.request("POST", "/images/load?quiet=1", body=stream) as response:
            said = response.read(1 << 20).decode("utf-8", "replace")
    finally:
        for source in files.values():
            source.close()
    # The status is 200 as soon as the stream begins; what went wrong later is a line in the answer.
    if '"error"' in said:
        raise engine.failed("the engine did not load the image", said[-2000:])
    _read_back(hold, expected, layers, said)
    with leases.locked():
        names = [store.path_of(digest).name for digest in args.get("discard", ())]
        free = ["sha256:" + name for name in leases.hand_over(str(args.get("move", "")), names)]
        store.retire(digest for digest in free if digest in layers)
        store.remove(digest for digest in free if digest not in layers)
    return {"id": expected}


def _read_back(hold: str, expected: str, layers: List[str], said: str) -> None:
    row = inspect(hold)
    # The engine checks each layer against the configuration while it loads. This makes sure that it
    # is this image which has the name.
    if row.id == expected and row.diff_ids == layers:
        return
    untag(hold)
    raise RemoteError(
        "VerifyError",
        "the engine loaded another image than the one that was sent",
        "has %s, should have %s\n%s" % (row.id, expected, said[-1000:]),
        "Try again; nothing was started.",
    )


def tag(args: JsonObject, channel: Channel) -> JsonObject:
    """Name an image where the name is free or already its own; never move a name."""
    reference, wanted = checked(args["reference"]), checked(args["tag"])
    target = inspect(reference).id
    try:
        current = inspect(wanted).id
    except RemoteError as error:
        if error.kind != "AppError":
            raise
        name, _, label = (
            wanted.rpartition(":") if ":" in wanted.split("/")[-1] else (wanted, "", "")
        )
        # The API has no way to set a name only where it is free: between the look above and this
        # call somebody else may take it. The window is one request.
        query = urlencode({"repo": name, "tag": label or "latest"})
        with engine.request("POST", "/images/%s/tag?%s" % (quote(target, safe=":"), query)):
            return {"tagged": True}
    return {"tagged": current == target}


def remove(args: JsonObject, channel: Channel) -> JsonObject:
    """Take a name away; the image goes with its last name, and stays while a container needs it.

    args: reference, move (whose name it is: what a Move at work holds, no other takes away),
    same_as (take it away only while it names the same image as this one).
    """
    return {"removed": untag(args["reference"], args.get("move"), args.get("same_as"))}


def untag(reference: object, move: Optional[str] = None, same_as: Optional[str] = None) -> bool:
    """`remove` with its arguments by name; whether the name was taken away."""
    name = checked(reference)
    with leases.locked():
        for marker in leases.markers():
            if name in marker["hold"].split() and marker["id"] != move:
                return False
        # The name by which a Move holds an image ends with the Move's id.
        ends = tuple("-" + each[len("pk-") :] for each in leases.unreadable() if each != move)
        if name.startswith(labels.HELD) and name.endswith(ends):
            return False
    if same_as and not _same(name, same_as):
        return False
    try:
        with engine.request("DELETE", "/images/%s" % quote(name, safe="/:@")):
            return True
    except RemoteError as error:
        if ": 404 " in error.details or ": 409 " in error.details:  # gone; in use
            return False
        raise


def _same(left: str, right: str) -> bool:
    """Whether two names are of one image; False when one of them is gone."""
    try:
        return inspect(left).id == inspect(right).id
    except RemoteError as error:
        if error.kind != "AppError":
            raise
        return False


def containers(args: JsonObject, channel: Channel) -> JsonObject:
    """Names of the running containers that are an App: by the labels of compose or of portkit,
    and, for an image's bare name, those that were made from it.

    args: reference (None: only what has labels counts), app, services (their names).
    """
    wanted = args["reference"]
    identity = None if wanted is None else inspect(wanted).id
    names = []
    for each in engine.get_rows("/containers/json"):
        given = engine.fields(each, "Labels")
        project = given.get(_PROJECT)
        mine = project == args["app"] and given.get(_SERVICE) in args["services"]
        mine = mine or given.get(labels.APP) == args["app"]
        if mine or (wanted and (each.get("ImageID") == identity or each.get("Image") == wanted)):
            names += [name.lstrip("/") for name in engine.texts(each, "Names")[:1]]
    return {"running": names}
