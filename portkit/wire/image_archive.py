"""What `docker load` reads: a docker-archive (overlay2) or an OCI layout (containerd store).

Seen to work: engines on overlay2 accept a docker-archive that names every layer and lacks the
files of the lowest ones that they have; the containerd store wants every blob of an OCI layout.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Sequence, Tuple, Union

from portkit.wire.content import Content, pieces

Member = Tuple[str, Union[bytes, Content]]


def shared_prefix(layers: Sequence[str], known: Iterable[Sequence[str]]) -> int:
    """How many of the lowest layers some image of the engine has, in the same order."""
    best = 0
    for diff_ids in known:
        count = 0
        for ours, theirs in zip(layers, diff_ids):
            if ours != theirs:
                break
            count += 1
        best = max(best, count)
    return best


def docker_archive(
    config: Path, layers: Sequence[str], files: Dict[str, Content], hold: str
) -> Tuple[Iterator[bytes], str]:
    """The stream of an archive as `docker save` made it before 25, and the id to expect."""
    digest = "sha256:" + config.name
    # The names are free; HEX/layer.tar is what engines have always written.
    names = [layer[7:] + "/layer.tar" for layer in layers]
    rows = [{"Config": config.name + ".json", "RepoTags": [hold], "Layers": names}]
    members: List[Member] = [(config.name + ".json", config.read_bytes())]
    # An image may have a layer twice (two instructions that change nothing); an archive has its
    # file once.
    for layer in dict.fromkeys(layers):
        if layer in files:
            members.append((layer[7:] + "/layer.tar", files[layer]))
    members.append(("manifest.json", json.dumps(rows).encode()))
    return _tar(members), digest


def oci_layout(
    config: Path, layers: Sequence[str], files: Dict[str, Content], hold: str
) -> Tuple[Iterator[bytes], str]:
    """The stream of an OCI image layout (image-spec 1.1), and the manifest digest to expect."""
    descriptors = [
        {
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": layer,
            "size": files[layer].size,
        }
        for layer in layers
    ]
    # portkit writes this manifest itself: where an image came by `docker save`, the registry's own
    # is not known, and its layers would be compressed ones.
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": "sha256:" + config.name,
                "size": config.stat().st_size,
            },
            "layers": descriptors,
        }
    )
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    row = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest,
        "size": len(manifest),
        "annotations": {
            # The first is containerd's own and holds the whole name; the second is the image-
            # spec's.
            "io.containerd.image.name": "docker.io/" + hold,
            "org.opencontainers.image.ref.name": hold.rpartition(":")[2],
        },
    }
    index = _json({"schemaVersion": 2, "manifests": [row]})
    members: List[Member] = [
        ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
        ("index.json", index),
        ("blobs/sha256/" + digest[7:], manifest),
        ("blobs/sha256/" + config.name, config.read_bytes()),
    ]
    members += [("blobs/sha256/" + each[7:], files[each]) for each in dict.fromkeys(layers)]
    return _tar(members), digest


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _tar(members: Sequence[Member]) -> Iterator[bytes]:
    """A tar of the members, made while it is read."""
    for name, content in members:
        info = tarfile.TarInfo(name)
        if isinstance(content, bytes):
            info.size = len(content)
            # PAX: a ustar header ends at 8 GiB.
            yield info.tobuf(tarfile.PAX_FORMAT) + content
        else:
            info.size = content.size
            yield info.tobuf(tarfile.PAX_FORMAT)
            yield from pieces(content)
        yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)
