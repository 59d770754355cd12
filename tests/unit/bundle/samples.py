"""An App, and its Artifacts in both forms."""

import io
import json
import random
import tarfile

from portkit.image_config import parse_image_config
from portkit.model import App, Artifact, Attachment, Form, Port, Service
from portkit.store import Store
from tests.factories import facts

SECRET = "hunter2"
FACTS = facts(host="old", endpoint="ssh://old", docker_version=None, libvirt_version=None)
APP = App(
    "shop",
    (
        Service(
            "web",
            image="shop:1",
            environment={"PASSWORD": SECRET},
            ports=(Port(80),),
            networks=(Attachment("default"),),
        ),
    ),
    "./shop",
)


def layer(seed: int, files: int = 6) -> bytes:
    chance = random.Random(seed)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as bundle:
        for number in range(files):
            info = tarfile.TarInfo(f"f{number}")
            info.size = 9000
            bundle.addfile(info, io.BytesIO(chance.randbytes(info.size)))
    return out.getvalue()


def disk_of(layers: list[bytes]) -> bytes:
    """Something new, the layers' files at blocks of their own, a hole."""
    parts = [b"boot".ljust(4096, b"!")]
    for data in layers:
        with tarfile.open(fileobj=io.BytesIO(data)) as bundle:
            for member in bundle:
                content = bundle.extractfile(member)
                assert content is not None
                parts.append(content.read().ljust(12288, b"\0"))
    return b"".join(parts) + bytes(1 << 20)


def packed(store: Store, seeds: tuple[int, ...] = (1, 2)) -> dict[Form, Artifact]:
    datas = [layer(seed) for seed in seeds]
    layers = [store.put_bytes(data) for data in datas]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/f0"]},
        "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in layers]},
    }
    text = json.dumps(config).encode()
    blob, parsed = store.put_bytes(text), parse_image_config(text)
    total = blob.size + sum(each.size for each in layers)
    disk = store.put_bytes(disk_of(datas))
    return {
        Form.IMAGE: Artifact(Form.IMAGE, blob.digest, (parsed,), (blob, *layers), total, total),
        Form.DISK: Artifact(
            Form.DISK, disk.digest, (parsed,), (disk,), disk.size, 100_000, "sha256:" + "2" * 64
        ),
    }
