"""Image archives in the layouts that `docker save` writes."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

LAYERS = (os.urandom(3000), b"x" * 5000)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha(data)}" for data in LAYERS]},
    }
).encode()


OCI = "application/vnd.oci.image"


def docker(layers: tuple[bytes, ...] = LAYERS) -> dict[str, bytes]:
    names = [f"{index}/layer.tar" for index in range(len(layers))]
    rows = [{"Config": "config.json", "RepoTags": None, "Layers": names}]
    found = dict(zip(names, layers, strict=True))
    return {"config.json": CONFIG, **found, "manifest.json": json.dumps(rows).encode()}


def oci(pack: object = None) -> dict[str, bytes]:
    found = {}

    def blob(data: bytes, kind: str) -> dict[str, object]:
        found[f"blobs/sha256/{sha(data)}"] = data
        return {"mediaType": kind, "digest": f"sha256:{sha(data)}", "size": len(data)}

    packed = [data if pack is None else pack(data) for data in LAYERS]  # type: ignore[operator]
    manifest = {
        "config": blob(CONFIG, f"{OCI}.config.v1+json"),
        "layers": [blob(data, f"{OCI}.layer.v1.tar") for data in packed],
    }
    row = blob(json.dumps(manifest).encode(), f"{OCI}.manifest.v1+json")
    about = {"type": "attestation-manifest", "digest": row["digest"]}
    notes = {f"vnd.docker.reference.{key}": value for key, value in about.items()}
    other = {"digest": f"sha256:{'0' * 64}", "platform": {"os": "unknown"}}
    attestation = {**row, **other, "annotations": notes}
    inner = blob(json.dumps({"manifests": [row, attestation]}).encode(), f"{OCI}.index.v1+json")
    index = json.dumps({"manifests": [inner]}).encode()
    return {"oci-layout": b"{}", "index.json": index, **found}


def write(path: Path, members: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as out:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
        for info in more:
            out.addfile(info)
    return path
