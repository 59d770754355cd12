"""The cells of the truth table that are about Apps: how these are made, judged and tried."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from bench import binfmt, compat_page, hosts
from bench.apps import Teller
from bench.compat_cells import ARTIFACTS, PROGRAMS
from bench.compat_kinds import Artifact, Cell
from bench.compat_rows import Json, by_profile, kind, now, predicted, record
from portkit import app as apps
from portkit import image_config, process
from portkit import move as moves
from portkit.host import connect
from portkit.model import Blob, Form, Verdict
from portkit.move import prove
from portkit.move.observed import HARMFUL
from portkit.move.prepare import Package, Request
from portkit.source import OnHost
from portkit.store import Store

HERE = Path(__file__).parent / "truth"
# Has the containerd image store, which keeps an index.
KEEPER = "gamma"
ENGINES = {"delta": "podman"}
TRIES = {"method": "running", "running": "2s", "settle": "0s"}


# ---------------------------------------------------------------- artifacts


def program(name: str, folder: Path) -> bytes:
    """One of PROGRAMS, compiled."""
    made, told = folder / name, PROGRAMS[name]
    if not made.exists():
        static = ["-static"] if told.target.endswith("musl") else []
        zig = [sys.executable, "-m", "ziglang", "cc", "-target", told.target, *static]
        compiler = ["gcc", "-O1"] if told.dynamic else [*zig, "-Os", "-s"]
        process.run([*compiler, "-o", made, *told.flags, HERE / "probe.c"], timeout=900)
    return made.read_bytes()


def layer(artifact: Artifact, folder: Path) -> bytes:
    """The only layer of an artifact's image."""
    if artifact.files is not None:
        return tarred(artifact.files(), artifact.mode)
    told = artifact.program or ""
    data = told.encode() if told.startswith(("#!", "MZ")) else program(told, folder)
    files = {"/app": data, **{path: Path(path).read_bytes() for path in artifact.own}}
    if artifact.bulk:
        files["/noise"] = os.urandom(artifact.bulk)
    return tarred(files, artifact.mode)


def tarred(files: Mapping[str, bytes], mode: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in files.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            info.size, info.mode = len(content), mode
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def written(name: str, artifact: Artifact, folder: Path) -> Path:
    """The folder of an App, whose image is in the source's engine or is built there."""
    where = folder / "apps" / name
    where.mkdir(parents=True)
    image: Json = {"image": f"truth-{name}:1"}
    if artifact.program is None:
        build = {"context": str(HERE), "dockerfile": artifact.dockerfile, "network": "host"}
        image = {"build": build}
    elif artifact.attested:
        text = b'FROM scratch\nADD layer.tar /\nCMD ["/app"]\n'
        context = tarred({"Dockerfile": text, "layer.tar": layer(artifact, folder)}, 0o644)
        build = f"docker build --quiet --provenance=true --tag {image['image']} -"
        process.run([*hosts.ssh(KEEPER), build], input=context, timeout=300)
    else:
        change = "docker import --change 'CMD [\"/app\"]' - " + image["image"]
        process.run([*hosts.ssh(hosts.SOURCE), change], input=layer(artifact, folder), timeout=300)
    more = {"memory": "160m", "health": TRIES, **artifact.portkit}
    service = {**image, "stop_grace_period": "1s", **artifact.service, "x-portkit": more}
    document: Json = {"services": {name: service}}
    for other, settings in artifact.others.items():
        document["services"][other] = {**image, "stop_grace_period": "1s", **settings}
    if artifact.network:
        document["networks"] = {"own": dict(artifact.network)}
        service.setdefault("networks", ["own"])
    (where / "compose.yaml").write_text(yaml.safe_dump(document))
    return where


def packaged(names: Sequence[str], folder: Path, source: OnHost) -> dict[str, Package]:
    """The Apps with their images in the Store here."""
    loaded = [apps.load(written(name, ARTIFACTS[name], folder)) for name in names]
    found = moves.package_apps(
        loaded, source=source, observer=Teller(), store=Store(folder / "store")
    )
    rows = {each.app.name: each for each in found.packages}
    return {
        name: for_platform(row, ARTIFACTS[name], found.request.store) for name, row in rows.items()
    }


def for_platform(package: Package, artifact: Artifact, store: Store) -> Package:
    """The same with an image that says it is for another system or processor: Debian 12's engine
    imports none."""
    (old,) = package.image.images
    if (old.os, old.architecture) == (artifact.system, artifact.architecture):
        return package
    told = {"os": artifact.system, "architecture": artifact.architecture}
    config = json.loads(store.read_bytes(old.digest, 1 << 20)) | told
    blob = store.put_bytes(json.dumps(config).encode())
    new = image_config.parse_image_config(store.read_bytes(blob.digest, 1 << 20))
    blobs = tuple(
        Blob(blob.digest, blob.size) if each.digest == old.digest else each
        for each in package.image.blobs
    )
    image = replace(package.image, digest=blob.digest, images=(new,), blobs=blobs)
    services = tuple(replace(each, image=blob.digest) for each in package.spec.services)
    return replace(package, image=image, spec=replace(package.spec, services=services))


# ---------------------------------------------------------------- hosts


def swapped(begin: str, end: str) -> Any:
    @contextmanager
    def ground(host: str) -> Iterator[None]:
        said = hosts.on(host, begin).strip()
        try:
            yield
        finally:
            hosts.on(host, end.replace("SAID", said))

    return ground


_LISTEN = "import socket; s = socket.create_server(('', 8091)); s.listen(); s.accept()"
GROUNDS = {
    "port taken": swapped(
        f'setsid python3 -c "{_LISTEN}" > /dev/null 2>&1 < /dev/null & echo $!; sleep 1',
        "kill SAID",
    ),
    # What listens at the socket is there still; for everybody else it is dead.
    "Docker dead": swapped(
        "mv /run/docker.sock /run/docker.aside", "mv /run/docker.aside /run/docker.sock"
    ),
    "libvirt dead": swapped(
        "mv /run/libvirt/libvirt-sock /run/libvirt/aside",
        "mv /run/libvirt/aside /run/libvirt/libvirt-sock",
    ),
    "rootless": swapped(
        (HERE / "rootless.sh").read_text(),
        "kill -- -SAID; cd /run/podman && rm -f podman.sock && mv aside podman.sock",
    ),
    "Store of 1 MiB": swapped(
        "mkdir -p /var/lib/portkit/store && mount -t tmpfs -o size=1m tmpfs /var/lib/portkit/store",
        "umount /var/lib/portkit/store",
    ),
    "IPv6 off": swapped(
        "sysctl -n net.ipv6.conf.all.disable_ipv6 && sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=SAID",
    ),
}


def handler(flags: str | None) -> Any:
    """The kernel's handler for programs of arm64, with these flags; None: there is none."""

    @contextmanager
    def ground(host: str) -> Iterator[None]:
        with binfmt.alone():
            hosts.on(binfmt.HOST, binfmt.REMOVE)
            try:
                if flags is not None:
                    hosts.on(binfmt.HOST, binfmt.register(flags))
                yield
            finally:
                hosts.on(binfmt.HOST, binfmt.REMOVE)

    return ground


GROUNDS |= {
    "no handler for arm64": handler(None),
    "a handler without flag F": handler(""),
    "a handler with flag F": handler("F"),
}


@contextmanager
def spoilt(host: str, ground: str) -> Iterator[None]:
    if not ground:
        yield
        return
    with GROUNDS[ground](host):
        yield


# ---------------------------------------------------------------- cells


def predict(
    cells: Sequence[Cell], packages: Mapping[str, Package], request: Request
) -> dict[str, Json]:
    """What portkit says of each cell, with the time."""
    found: dict[str, Json] = {}
    for host, ground in dict.fromkeys((cell.host, cell.ground) for cell in cells):
        own = [cell for cell in cells if (cell.host, cell.ground) == (host, ground)]
        chosen = tuple(packages[name] for name in dict.fromkeys(cell.artifact for cell in own))
        forms = tuple(form for form in Form if any(cell.form is form for cell in own))
        asked = replace(request, apps=tuple(each.app for each in chosen), forms=forms)
        given = moves.Packages(asked, chosen)
        if by_profile(own[0]):
            matrix = moves.check_apps(given, {}, [kind(host)])
        else:
            with spoilt(host, ground):
                matrix = moves.check_apps(given, {host: connect(f"lab:{host}", Teller())})
        known = {(cell.app, cell.form): cell for cell in matrix.cells}
        found |= {cell.name: predicted(known[cell.artifact, cell.form]) for cell in own}
    return found


def tried(
    cell: Cell, package: Package, request: Request, said: Json, journal: moves.Journal
) -> Json:
    """What happened, with the time. said: what was predicted."""
    begun = time.monotonic()
    one = replace(request, apps=(package.app,), forms=(cell.form,))
    verdict = Verdict(said["verdict"])
    # What a trial on a user's host would harm: here the full disk is a small one of its own.
    harmful = {rule: why for rule, why in HARMFUL.items() if rule != cell.rule}
    with spoilt(cell.host, cell.ground), patch.dict(HARMFUL, harmful, clear=True):
        with connect(f"lab:{cell.host}", Teller()) as host:
            seen = prove.trial(package, one.to(host), journal, verdict)
        words = symptom(cell) if cell.symptom else ""
    return {
        "at": now(),
        "outcome": seen.outcome.value,
        "reason": seen.reason,
        "said": words,
        "seconds": round(time.monotonic() - begun, 1),
    }


def symptom(cell: Cell) -> str:
    """What the app says under the host's own engine."""
    image, engine = f"truth-{cell.artifact}:1", ENGINES.get(cell.host, "docker")
    data = process.run([*hosts.ssh(hosts.SOURCE), f"docker save {image}"], timeout=300).stdout
    process.run([*hosts.ssh(cell.host), f"{engine} load -q"], input=data, timeout=300)
    said = hosts.on(cell.host, f"timeout 10 {engine} run --rm {image}", check=False)
    if cell.host != hosts.SOURCE:
        hosts.on(cell.host, f"{engine} rmi -f {image}")
    return " ".join(said.split())


def play(cells: Sequence[Cell], folder: Path, results: compat_page.Results) -> None:
    """Predict all of a source, write that down, and only then try."""
    for host in (hosts.SOURCE, KEEPER):
        own = [cell for cell in cells if ARTIFACTS[cell.artifact].attested == (host == KEEPER)]
        if own:
            play_from(host, own, folder, results)


def play_from(host: str, cells: Sequence[Cell], folder: Path, results: compat_page.Results) -> None:
    """Those whose artifacts are on that host."""
    names = tuple(dict.fromkeys(cell.artifact for cell in cells))
    with connect(f"lab:{host}", Teller()) as source:
        origin = OnHost(source)
        packages = packaged(names, folder, origin)
        request = Request((), origin, (), Store(folder / "store"), Teller())
        journal = moves.Journal(folder / "journal")
        found = predict(cells, packages, request)

        def seen(cell: Cell, said: Json) -> Json:
            return tried(cell, packages[cell.artifact], request, said, journal)

        about = {name: ARTIFACTS[name].about for name in names}
        record(cells, found, results, about=about, seen=seen)
