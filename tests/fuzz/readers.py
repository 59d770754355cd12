"""The table of readers: what is read, what from, how it is spoilt, and what may come out."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from portkit import app as apps
from portkit import inventory
from portkit.bundle import contents, write
from portkit.bundle.described import Described, render
from portkit.bundle.described import read as read_app
from portkit.bundle.document import parse as parse_document
from portkit.bundle.read import Bundle
from portkit.compat import profile
from portkit.engines import docker_client, libvirt_guests
from portkit.engines.domain_xml import MARK, instance_of
from portkit.errors import PortkitError
from portkit.guest.config import encode_config
from portkit.host import answers
from portkit.host.facts import parse_facts
from portkit.image_config import parse_image_config
from portkit.model import Artifact, Blob, Form
from portkit.needs.elf import ElfError
from portkit.package import archive, build, ext4
from portkit.package.flatten import flattened
from portkit.remote import engine
from portkit.store import Store
from portkit.store.manifest import artifact_from, manifest_of
from portkit.wire import codec, frames, recipe, strict_json
from tests.fuzz import needs, verdicts, volumes
from tests.fuzz.mutate import spoil_bytes, spoil_json, spoil_lines, spoil_tar, swell
from tests.unit.bundle.samples import FACTS, packed, packed_app, packed_project, project
from tests.unit.engines.recorded import said, shown

Read = Callable[[bytes, Path], object]
_HOSTS = Path(__file__).parents[2] / "fixtures/hosts"
_CAPABILITIES = (_HOSTS / "debian-12/capabilities.xml").read_text()
_DOMAIN_CAPABILITIES = (_HOSTS / "debian-12/domcapabilities-q35.xml").read_bytes()
_PROFILE = (Path(profile.__file__).parent / "profiles/kubernetes-kubevirt.toml").read_bytes()
# What a verb raises on a host; the loop there makes an answer of it.
_FAR = (frames.RemoteError, OSError)
_INSPECTED = json.dumps(said("28.5")).encode()
_COMPOSE = b"""\
name: shop
services:
  web:
    image: shop:1
    command: ["serve", "--port", "80"]
    entrypoint: /bin/web
    user: "10:20"
    environment: {A: "1", B: "${C:-x}"}
    env_file: [app.env]
    ports: ["8080:80", {target: 53, published: "5353", protocol: udp}]
    volumes: ["data:/data", {type: tmpfs, target: /t, tmpfs: {size: 10m}}]
    ulimits: {nofile: {soft: 10, hard: 20}}
    healthcheck: {test: ["CMD", "true"], interval: 5s, retries: 3}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64m}}}
    restart: on-failure:3
    labels: {a: b}
volumes: {data: {}}
"""
_PROJECT = b"""\
name: shop
include: [{path: more.yaml}]
services:
  web:
    image: web
    depends_on: {db: {condition: service_healthy, restart: true}, job: {condition: service_started}}
    networks: {front: {aliases: [w], ipv4_address: 10.1.0.5}, default: }
    links: ["db:store"]
    extra_hosts: ["x:10.0.0.1", "y=::1"]
    dns: [10.0.0.1]
    configs: [one, {source: one, target: /etc/one, mode: 0440}]
    secrets: [{source: two, uid: "5"}]
    volumes: ["./f:/f:ro", "data:/d", {type: bind, source: ./g, target: /g}]
    sysctls: [net.core.somaxconn=5]
    logging: {driver: local, options: {max-size: 1m}}
    devices: ["/dev/a:/dev/b:r"]
    deploy: {replicas: 1, restart_policy: {condition: any}}
  db: {extends: {file: more.yaml, service: base}, expose: [5432], profiles: [p]}
  job: {extends: db, network_mode: "service:db", volumes_from: ["db:ro"], ports: !reset []}
configs: {one: {content: "x${A:-${B-y}}"}}
secrets: {two: {environment: A}}
networks: {front: {internal: true, ipam: {config: [{subnet: 10.1.0.0/24}]}}}
volumes: {data: {driver_opts: {type: tmpfs}}}
x-portkit: {health: {service: web}, carry: [f]}
"""
_MORE = b"services: {base: {image: base, labels: {a: b}}}\nvolumes: {more: }\n"
_OVER = b"""\
services:
  web: {environment: [A=1], dns: 10.0.0.2, command: !override [x], depends_on: [db]}
  job: {labels: !reset null, tmpfs: /t}
"""
_ENV = b"A=1\nexport B='x y' # c\nC=\"q\\n${A}\"\n# comment\nD=${B:-d}\nE\n"


@dataclass(frozen=True)
class Reader:
    """seeds: sound inputs. allowed: what may be raised, beside PortkitError."""

    name: str
    read: Read
    spoil: Callable[[bytes, Random], bytes]
    seeds: tuple[bytes, ...]
    allowed: tuple[type[Exception], ...] = ()

    def case(self, seed: str) -> bytes:
        """The input of a seed, always the same."""
        chance = Random(f"{self.name} {seed}")
        data = self.spoil(chance.choice(self.seeds), chance)
        return swell(data, chance) if chance.random() < 0.01 else data

    def run(self, data: bytes, folder: Path) -> bool:
        """Read it; False where one of the errors that are allowed came out. Others are raised."""
        try:
            self.read(data, folder)
        except (PortkitError, *self.allowed):
            return False
        return True


def _tar(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.pax_headers = {"SCHILY.xattr.user.a": "b"}
            made.addfile(info, io.BytesIO(data))
        for name, kind in (("d", tarfile.DIRTYPE), ("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, next(iter(members)) if kind != tarfile.DIRTYPE else ""
            made.addfile(info)
    return out.getvalue()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


_LAYER = _tar({"a/b": b"x" * 700, "a/.wh.c": b"", "bin/run": b"y" * 5000})
_CONFIG = json.dumps(
    {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Cmd": ["/f"],
            "Env": ["A=1"],
            "User": "1",
            "StopSignal": "SIGTERM",
            "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5_000_000_000},
        },
        "rootfs": {"type": "layers", "diff_ids": [_digest(_LAYER)]},
    }
).encode()
_INDEX = json.dumps(
    {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": _digest(_CONFIG),
                "size": 5,
                "annotations": {"dev.portkit.key": "key"},
            }
        ],
    }
).encode()
_MANIFEST = json.dumps([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["1/layer.tar"]}])
_ARCHIVE = {"c.json": _CONFIG, "1/layer.tar": _LAYER, "manifest.json": _MANIFEST.encode()}


def _spoil_archive(data: bytes, chance: Random) -> bytes:
    """The tar, or one of its JSON members."""
    if chance.random() < 0.5:
        return spoil_tar(data, chance)
    name = chance.choice(("c.json", "manifest.json"))
    return _tar({**_ARCHIVE, name: spoil_json(_ARCHIVE[name], chance)})


def _archive(data: bytes, folder: Path) -> object:
    (folder / "image.tar").write_bytes(data)
    return archive.read(folder / "image.tar", Store(folder / "store"), lambda _: None)


def _index(data: bytes, folder: Path) -> object:
    store = Store(folder / "store")
    store.put_bytes(b"")
    (store.root / "index.json").write_bytes(data)
    return store.find("key")


def _artifact() -> bytes:
    image = parse_image_config(_CONFIG)
    blob = Blob(image.digest, 5)
    made = Artifact(Form.IMAGE, image.digest, (image,), (blob,), 5, 5)
    return json.dumps(manifest_of(made)).encode()


def _guest(data: bytes, folder: Path) -> object:
    """What an image's configuration becomes in a guest."""
    spec = apps.defaults(parse_image_config(data))
    return None if spec is None else encode_config(spec)


def _layer(data: bytes, folder: Path) -> object:
    (folder / "layer.tar").write_bytes(data)
    with flattened([folder / "layer.tar"]) as tree, (folder / "out.ext4").open("w+b") as out:
        out.truncate(64 << 20)
        try:
            ext4.write(ext4.plan(tree), out, 0, 64 << 20, uuid=bytes(16), label=b"")
        except (ext4.NoRoom, ValueError):  # `disk.build` makes errors of the product of these
            return None
        return out.tell()


def _project(data: bytes, folder: Path) -> None:
    """A project of several files; the data is spoilt in one or several of them."""
    names = ("compose.yaml", "more.yaml", "compose.override.yaml")
    for name, text in zip(names, (*data.split(b"\n---\n"), b"", b"")[:3], strict=True):
        (folder / name).write_bytes(text)
    (folder / "f").write_bytes(b"f")
    apps.load(folder, environ={"A": "a"}, profiles=["*"])


def _app(compose: bytes, env: bytes) -> Read:
    def read(data: bytes, folder: Path) -> object:
        (folder / "compose.yaml").write_bytes(compose or data)
        (folder / "app.env").write_bytes(env or data)
        return apps.load(folder, environ={"C": "c"})

    return read


def _bundles() -> tuple[bytes, ...]:
    """One of a single service, and one of a project with files of its own."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        store, paths = Store(Path(name) / "store"), [Path(name) / f"{n}.portkit" for n in "ab"]
        for path, app in zip(
            paths, (packed_app(packed(store)), packed_project(store)), strict=True
        ):
            write(path, app, store, FACTS)
        return tuple(path.read_bytes() for path in paths)


def _bundle(data: bytes, folder: Path) -> object:
    path = folder / "shop.portkit"
    path.write_bytes(data)
    with Bundle(path) as bundle:
        store = Store(folder / "store")
        return [bundle.artifact(form, store) for form in (Form.IMAGE, Form.DISK)], bundle.facts


def _described() -> Described:
    app = project()
    return render(app, ["sha256:" + "1" * 64] * len(app.services))


def _bundled_app(told: Described) -> Read:
    """The App of a bundle whose description is somebody else's."""

    def read(data: bytes, folder: Path) -> object:
        text = data.decode("utf-8", "surrogateescape")
        app = apps.filled(read_app(replace(told, text=text), "x"))
        assert all(each.files for service in app.services for each in service.contents)
        return app

    return read


def _document(bundle: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(bundle)) as members:
        for member in members:
            file = members.extractfile(member)
            data = file.read() if file else b""
            try:
                parse_document(data)
            except (PortkitError, ValueError):
                continue
            return data
    raise AssertionError("a bundle has a document")


def _inventory(data: bytes, folder: Path) -> object:
    (folder / "web2.json").write_bytes(data)
    return inventory.read(folder / "web2.json")


def _build(ignored: bool) -> Read:
    """A build context whose .dockerignore or Dockerfile is somebody else's."""

    def read(data: bytes, folder: Path) -> object:
        (folder / (".dockerignore" if ignored else "Dockerfile")).write_bytes(data)
        for name in ("app.py", "a" * 40, "b/c/d/e"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        if ignored:
            return build._names(folder, "Dockerfile")
        return build._BUILDKIT.search(build._dockerfile(folder, "Dockerfile"))

    return read


class _Base:
    size = 1000

    def pread(self, length: int, offset: int) -> bytes:
        return bytes(1000)[offset : offset + length]

    def close(self) -> None: ...


def _recipe(data: bytes, folder: Path) -> object:
    descriptor = os.open(folder / "made", os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600)
    try:
        target = recipe.Target(descriptor, 1 << 20)
        return recipe.apply(iter([data]), [_Base()], target)
    finally:
        os.close(descriptor)


def _frames(data: bytes, folder: Path) -> object:
    stream = io.BytesIO(data)
    while frame := frames.read_frame(stream):
        if frame[0] == b"J":
            frames.parse_json(frame[1], lone_surrogates=False)
    return None


def _decoded(encoding: str) -> Read:
    def read(data: bytes, folder: Path) -> object:
        decoder = codec.Decompressor(encoding)
        total = 0
        for piece in decoder.feed(data):
            total += len(piece)
            if total > 64 << 20:
                return total
        decoder.finish()
        return total

    return read


def _answers(data: bytes, folder: Path) -> object:
    rows = frames.parse_json(data, lone_surrogates=False)
    return [answers.wrong(verb, row if isinstance(row, dict) else {}) for verb, row in rows.items()]


def _engine(data: bytes, folder: Path) -> object:
    value = strict_json.loads(data)
    kinds = (docker_client.Row, docker_client.Inspected, docker_client.Volumes)
    for kind in kinds:
        try:
            docker_client.read(kind, value)
        except docker_client.Malformed:
            continue
    row = value if isinstance(value, dict) else {}
    return engine.Image(row), engine.containerd_store(row), engine.root(row)


def _inspected(data: bytes, folder: Path) -> object:
    """What an engine says of somebody's container, as a compose file."""
    answered = strict_json.loads(data)
    if not isinstance(answered, dict) or not {"info", "inspect_container odd-one"} <= set(answered):
        return None  # no engine answers nothing at all
    try:
        return shown(answered, "odd-one")
    except docker_client.Malformed:
        return None


_INVENTORY = json.dumps(
    inventory.to_json(
        inventory.Inventory(
            host="web2",
            architecture="amd64",
            docker_version="26.1",
            docker_store="overlay2",
            libvirt_version=None,
            qemu_version=None,
            layers=("sha256:" + "1" * 64,),
            blobs={"sha256:" + "2" * 64: 5},
        )
    )
).encode()
_IGNORE = b"# not these\n*.pyc\n**/node_modules\n!keep/[a-c]*.txt\nb/c/\n/app.py\n"
_DOCKERFILE = (
    b"FROM scratch AS one\n\nRUN  --mount=type=cache x\nCOPY --link a b\nRUN <<EOF\nx\nEOF\n"
)
_ANSWERS = {
    "store.has": {"have": {"sha256:" + "1" * 64: 5}},
    "image.list": {
        "images": [
            {
                "id": "sha256:" + "1" * 64,
                "tags": ["x:1"],
                "diff_ids": ["sha256:" + "1" * 64],
                "size": 1,
                "architecture": "amd64",
            }
        ],
        "containerd": False,
        "readable": [],
    },
    "instance.log": {"text": "x", "size": 1},
    "store.gc": {"removed": [], "count": 0, "bytes": 0, "kept_bytes": 0, "busy": 0},
}
_ENGINE = {
    "Id": "sha256:" + "1" * 64,
    "RepoTags": ["x:1"],
    "RootFS": {"Layers": ["sha256:" + "1" * 64]},
    "Size": 5,
    "Architecture": "amd64",
    "DriverStatus": [["a", "b"]],
    "DockerRootDir": "/var/lib/docker",
    "Labels": {"portkit.move": "pk-0123456789ab"},
    "Ports": [{"PublicPort": 80}],
    "State": {"Status": "running", "ExitCode": 0, "Health": {"Status": "healthy"}},
    "NetworkSettings": {"Networks": {"a": {"IPAddress": "10.0.0.1"}}},
    "Volumes": [{"Name": "v", "Labels": None}],
}
_XML = (
    f'<domain><metadata><i:instance xmlns:i="{MARK}" id="pk-0123456789ab" app="a" ports=":80"/>'
    "</metadata><name>x</name></domain>"
).encode()


def _packed(encoding: str) -> bytes:
    packer = codec.Compressor(encoding)
    return packer.feed(_LAYER * 3) + packer.finish()


def _operations() -> bytes:
    writer = recipe.Writer()
    return (
        writer.zero(5000) + writer.literal(100) + b"x" * 100 + writer.copy(0, 5, 9) + writer.end()
    )


def _guests(data: bytes, _: Path) -> object:
    told = data.decode("utf-8", "surrogateescape")
    return libvirt_guests.guests(_CAPABILITIES, told, machine="x86_64")


def readers() -> dict[str, Reader]:
    """Every reader of what others made, by name."""
    bundles, described = _bundles(), _described()
    told = json.dumps(asdict(FACTS)).encode()
    frame = io.BytesIO()
    frames.write_json(frame, {"ok": {"a": [1, "x"]}})
    frames.write_frame(frame, b"D", b"data")
    wire = (frames.FrameError, ValueError)
    rows: Iterable[Reader] = (
        Reader("image-config", lambda d, _: parse_image_config(d), spoil_json, (_CONFIG,)),
        Reader("frames", _frames, spoil_bytes, (frame.getvalue(),), wire),
        Reader("answers", _answers, spoil_json, (json.dumps(_ANSWERS).encode(),), wire),
        Reader(
            "engine",
            _engine,
            spoil_json,
            (json.dumps(_ENGINE).encode(),),
            (frames.RemoteError, ValueError),
        ),
        Reader("inspected", _inspected, spoil_json, (_INSPECTED,), (ValueError,)),
        Reader(
            "domain-xml",
            lambda d, _: instance_of(d.decode("utf-8", "surrogateescape")),
            spoil_bytes,
            (_XML,),
        ),
        Reader("libvirt-guests", _guests, spoil_bytes, (_DOMAIN_CAPABILITIES,)),
        Reader("profile", lambda d, _: profile.parse(d, "ours"), spoil_lines, (_PROFILE,)),
        Reader("store-index", _index, spoil_json, (_INDEX,)),
        Reader("artifact", lambda d, _: artifact_from(d), spoil_json, (_artifact(),)),
        Reader("guest-config", _guest, spoil_json, (_CONFIG,)),
        Reader("inventory", _inventory, spoil_json, (_INVENTORY,)),
        Reader("dockerignore", _build(True), spoil_lines, (_IGNORE,)),
        Reader("dockerfile", _build(False), spoil_lines, (_DOCKERFILE,)),
        Reader("archive", _archive, _spoil_archive, (_tar(_ARCHIVE),)),
        Reader("layer", _layer, spoil_tar, (_LAYER,)),
        *(
            Reader(f"codec-{name}", _decoded(name), spoil_bytes, (_packed(name),), (ValueError,))
            for name in codec.encodings()
        ),
        Reader("env-file", _app(_COMPOSE, b""), spoil_lines, (_ENV,)),
        Reader("compose", _app(b"", _ENV), spoil_lines, (_COMPOSE,)),
        Reader("project", _project, spoil_lines, (b"\n---\n".join((_PROJECT, _MORE, _OVER)),)),
        Reader("recipe", _recipe, spoil_bytes, (_operations(),), (ValueError,)),
        Reader("bundle", _bundle, spoil_tar, bundles),
        Reader(
            "bundle-document",
            lambda d, _: parse_document(d),
            spoil_json,
            tuple(map(_document, bundles)),
        ),
        Reader("bundle-app", _bundled_app(described), spoil_json, (described.text.encode(),)),
        Reader(
            "bundle-files",
            lambda d, _: contents.decode(d),
            spoil_tar,
            (contents.encode(described.contents),),
            (ValueError,),
        ),
        Reader("facts", lambda d, _: parse_facts(_loads(d)), spoil_json, (told,)),
        Reader("elf", needs.one_file, needs.spoil_elf, (needs.PROGRAM, needs.LIBRARY), (ElfError,)),
        Reader(
            "needs",
            needs.whole_image,
            needs.spoil_elf,
            (needs.PROGRAM, needs.LIBRARY, needs.SCRIPT, needs.CACHE),
        ),
        Reader("volume-index", volumes.index, spoil_bytes, (volumes.INDEX,), (ValueError,)),
        Reader("volume-wants", volumes.wants, spoil_bytes, (volumes.WANTS,), (ValueError,)),
        *(
            Reader(f"volume-{verb}", volumes.applied(verb), spoil_bytes, (seed,), _FAR)
            for verb, seed in (
                ("shape", volumes.SHAPE),
                ("fill", volumes.FILL),
                ("settle", volumes.SETTLE),
            )
        ),
        Reader("os-release", needs.lists, spoil_lines, (needs.RELEASE, needs.CACHE)),
        Reader("verdict-elf", verdicts.of_program, needs.spoil_elf, verdicts.PROGRAMS),
        Reader("verdict-os-release", verdicts.of_release, spoil_lines, (needs.RELEASE,)),
        Reader("verdict-config", verdicts.of_config, spoil_json, (_CONFIG,)),
        Reader("verdict-facts", verdicts.of_facts, spoil_json, (verdicts.TOLD,)),
        Reader(
            "verdict-outputs",
            verdicts.of_outputs,
            verdicts.spoil_outputs,
            (verdicts.OUTPUTS,),
            (ValueError,),
        ),
    )
    return {row.name: row for row in rows}


def _loads(data: bytes) -> Any:
    try:
        return strict_json.loads(data)
    except ValueError:
        return None
