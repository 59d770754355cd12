"""What a container has changed of its image's files, as one more layer of the image."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from portkit.errors import AppError, SpaceError, VerifyError
from portkit.host import Host
from portkit.model import CONFIG_LIMIT, Artifact, Blob
from portkit.package import tarball
from portkit.package.flatten import flattened
from portkit.package.tar_fields import TarError
from portkit.package.tarball import Member
from portkit.package.tree import Node, Tree
from portkit.progress import NullObserver, Observer
from portkit.store import Store
from portkit.text import printable
from portkit.wire import codec, strict_json
from portkit.wire.json_types import JsonObject

# Docker's limit of layers of an image (moby, layer/layer_store.go, maxLayerDepth).
_MOST_LAYERS = 125


@dataclass(frozen=True)
class Changed:
    """An image with what a container has changed.

    artifact: the image as it was where nothing has changed. digest: of the new layer; "" where
    there is none. size_bytes: of that layer. paths: files and folders that were added, changed or
    deleted. missing: some of those that a layer cannot have, as the host writes them: sockets,
    names that a layer reads as a deletion, and what went away meanwhile. untold: how many more.
    exact: False where the host's engine alone was asked: then files whose size and time are as
    before, and attributes other than capabilities, are not in the layer.
    """

    artifact: Artifact
    digest: str = ""
    size_bytes: int = 0
    paths: int = 0
    missing: tuple[str, ...] = ()
    untold: int = 0
    exact: bool = True


def changed(
    host: Host,
    container: str,
    artifact: Artifact,
    store: Store,
    *,
    name: str,
    mounts: Sequence[str] = (),
    observer: Observer | None = None,
) -> Changed:
    """The image of `artifact` with the changes of a container of it, all in the Store.

    container: its id. name: what people call it, for the image's history. mounts: the paths in it
    at which something is mounted; what is there belongs to no layer. The app is not stopped: a file
    that it writes meanwhile may be half written. Raises VerifyError for a layer that no engine
    makes, SpaceError where it has no room in the Store, EngineError with the engine's words.
    """
    observer = observer or NullObserver()
    if len(artifact.images) != 1:
        raise AppError(
            "a container has one image",
            details=f"{name}: {len(artifact.images)} images",
            resolution="Take the changes of each container on its own image.",
        )
    layer, told = _receive(host, container, store, mounts, observer)
    missing = tuple(dict.fromkeys(map(printable, (*told["missing"], *told["odd"]))))
    nothing = Changed(artifact, missing=missing, untold=told["untold"], exact=told["exact"])
    if layer is None or _is_as_before(artifact, layer, mounts, store):
        return nothing
    made = with_layer(artifact, layer, f"changes of container {name}", store)
    paths = told["changed"] + told["deleted"]
    observer.message(f"{name} has changed {paths} files of its image ({layer.size} bytes)")
    return replace(nothing, artifact=made, digest=layer.digest, size_bytes=layer.size, paths=paths)


def _receive(
    host: Host, container: str, store: Store, mounts: Sequence[str], observer: Observer
) -> tuple[Blob | None, JsonObject]:
    """The layer, taken into the Store, or None where nothing came; and the host's answer."""
    encoding = host.remote.encodings[0] if host.name != "local" else "raw"
    decoder = codec.Decompressor(encoding)
    with store.writer() as writer:
        room = _room(store)

        def take(data: bytes) -> None:
            for part in decoder.feed(data):
                if writer.size + len(part) > room:
                    raise SpaceError(
                        "the Store does not have enough space for what the container has changed",
                        details=f"more than {room} bytes",
                        resolution="Free some space there, or give the app a volume for its data.",
                    )
                writer.write(part)
            observer.bytes("fetch", writer.size, writer.size)

        args = {"container": container, "left_out": list(mounts), "encoding": encoding}
        # What is compressed is hardly larger than what it is made of.
        told = host.remote.call("container.changes", args, receive=take, most=2 * room)
        if told["size"] == 0 and writer.size == 0:
            return None, told
        decoder.finish()
        return writer.commit(size=told["size"]), told


def _room(store: Store) -> int:
    """Bytes that are free where the Store is."""
    return shutil.disk_usage(store.root).free


def _is_as_before(artifact: Artifact, layer: Blob, mounts: Sequence[str], store: Store) -> bool:
    """Whether all that it has are folders of the image, unchanged but for their time, and folders
    as an engine makes them on the way to a mount.

    An engine that makes places for mounts changes the time of the folders around them, and lists
    these; they are not told from folders that somebody has changed before they are compared.
    VerifyError when it is malformed.
    """
    folders: dict[str, Member] = {}
    others = False
    try:
        with store.content(layer.digest).open("rb") as file:
            # All of it is read, also to see that it is a tar.
            for member in tarball.members(file):
                if member.kind != tarball.FOLDER:
                    others = True
                elif not others:
                    folders[member.name.strip("/")] = member
    except TarError as error:
        raise VerifyError(
            "the layer of the container's changes is malformed",
            details=str(error),
            resolution="Try again. If the error persists, check which program answers on the host.",
        ) from None
    if others:
        return False
    on_the_way = {
        str(folder).strip("/") for each in mounts for folder in PurePosixPath(each).parents
    }
    with flattened([store.content(each) for each in artifact.diff_ids]) as tree:
        return all(
            _is_in(tree, path, member)
            or (path in on_the_way and _is_an_engines(tree, path, member))
            for path, member in folders.items()
        )


def _is_in(tree: Tree, path: str, member: Member) -> bool:
    node = _found(tree, path)
    before = tree.member(node) if node is not None and node.folder else None
    return before is not None and _beside_time(before) == _beside_time(member)


def _is_an_engines(tree: Tree, path: str, member: Member) -> bool:
    return _found(tree, path) is None and _beside_time(member) == (0o755, 0, 0, {})


def _found(tree: Tree, path: str) -> Node | None:
    node: Node | None = tree.root
    for step in path.split("/"):
        node = None if node is None else node.children.get(step)
    return node


def _beside_time(member: Member) -> tuple[int, int, int, dict[str, str]]:
    return member.mode, member.uid, member.gid, dict(member.xattrs)


def with_layer(artifact: Artifact, layer: Blob, what: str, store: Store) -> Artifact:
    """An image with one more layer, which is in the Store; so is what is returned.

    what: the layer is, for the image's history. AppError when engines take no more layers.
    """
    from portkit.image_config import parse_image_config  # pydantic is slow to import

    data = appended(store.read_bytes(artifact.digest, CONFIG_LIMIT), layer.digest, what)
    image, config = parse_image_config(data), store.put_bytes(data)
    blobs = (config, *artifact.blobs[1:], layer)
    total = sum({blob.digest: blob.size for blob in blobs}.values())
    made = replace(
        artifact,
        digest=image.digest,
        images=(image,),
        blobs=blobs,
        logical_bytes=total,
        stored_bytes=total,
    )
    store.save(made, f"image {image.digest}")
    return made


def appended(config: bytes, diff_id: str, what: str) -> bytes:
    """An image's configuration with one more layer; the same for the same layer, whenever it is
    made. Nothing of the container is in it: its environment and its command stay the image's.

    AppError when engines take no more layers.
    """
    document = strict_json.loads(config, most=strict_json.MAX_CHECKED)
    layers = document["rootfs"]["diff_ids"]
    if len(layers) >= _MOST_LAYERS:
        raise AppError(
            "the image has as many layers as engines accept",
            details=f"{what}: {len(layers)} layers, and these would be one more",
            resolution="Rebuild the image with fewer layers, or with the changes in it.",
        )
    history = document.get("history")
    # Where the history does not fit the layers already, one more entry would be of another layer.
    if isinstance(history, list) and _made_layers(history) == len(layers):
        entry = {"created_by": f"portkit: {printable(what)}"}
        if isinstance(document.get("created"), str):
            entry["created"] = document["created"]
        history.append(entry)
    layers.append(diff_id)
    return json.dumps(document, separators=(",", ":")).encode()


def _made_layers(history: Sequence[object]) -> int:
    return sum(isinstance(row, dict) and not row.get("empty_layer") for row in history)
