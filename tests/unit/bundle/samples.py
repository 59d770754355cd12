"""An App, and its Artifacts in both forms."""

import io
import json
import random
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from portkit.image_config import parse_image_config
from portkit.model import (
    App,
    Artifact,
    Attachment,
    Condition,
    Content,
    ContentFile,
    Dependency,
    Form,
    Machine,
    Mount,
    Network,
    PackedApp,
    Port,
    Service,
    Volume,
)
from portkit.package.image import joined
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


def image_of(store: Store, datas: list[bytes], word: str = "/f0") -> Artifact:
    """An image of those layers."""
    layers = [store.put_bytes(data) for data in datas]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": [word]},
        "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in layers]},
    }
    text = json.dumps(config).encode()
    blob, parsed = store.put_bytes(text), parse_image_config(text)
    total = blob.size + sum(each.size for each in layers)
    return Artifact(Form.IMAGE, blob.digest, (parsed,), (blob, *layers), total, total)


def _both(store: Store, image: Artifact, datas: list[bytes]) -> dict[Form, Artifact]:
    disk = store.put_bytes(disk_of(datas))
    kit = "sha256:" + "2" * 64
    made = Artifact(Form.DISK, disk.digest, image.images, (disk,), disk.size, 100_000, kit)
    return {Form.IMAGE: image, Form.DISK: made}


def packed(store: Store, seeds: tuple[int, ...] = (1, 2)) -> dict[Form, Artifact]:
    datas = [layer(seed) for seed in seeds]
    return _both(store, image_of(store, datas), datas)


def packed_app(artifacts: Mapping[Form, Artifact], app: App = APP) -> PackedApp:
    """An App whose services all run the image of the Artifacts."""
    (image,) = next(iter(artifacts.values())).images
    return PackedApp(app, (image,) * len(app.services), artifacts)


def project() -> App:
    """Three services with files, one of which two of them share."""
    page = ContentFile("index", mode=0o640, uid=5, gid=6, mtime_s=7, data=b"the page")
    html = Content(
        "/html",
        source=Path("/srv/html"),
        name="./html",
        read_only=True,
        size_bytes=8,
        files=(ContentFile(kind="folder", mode=0o755), page),
    )
    key = Content("/run/secrets/key", data=SECRET.encode(), files=(ContentFile(data=b"hunter2"),))
    back = (Attachment("back"),)
    web = Service(
        "web",
        image="shop:1",
        ports=(Port(80),),
        networks=back,
        contents=(html, key),
        depends_on=(Dependency("db", Condition.HEALTHY),),
    )
    db = Service("db", image="db:1", networks=back, volumes=(Mount("volume", "/d", "data"),))
    other = replace(web, name="other", ports=(), image=None, contents=(replace(html, target="/h"),))
    return App(
        "shop",
        (web, db, other),
        "./shop",
        networks=(Network("back", "shop_back", internal=True),),
        volumes=(Volume("data", "shop_data"),),
        front="web",
        machine=Machine(memory_bytes=256 << 20),
    )


def packed_project(store: Store) -> PackedApp:
    """Its images have their lowest layer in common; the third service runs that of the first."""
    base, own, other = (layer(seed) for seed in (1, 2, 3))
    web, db = image_of(store, [base, own]), image_of(store, [base, other], "/db")
    images = (web.config, db.config, web.config)
    artifacts = _both(store, joined([web, db, web]), [base, own, other])
    return PackedApp(project(), images, artifacts)
