"""The truth table: what portkit predicts of hard artifacts and hosts, and what happens there.

Artifacts of a few KB (a program for a later processor, without its loader, that checks a limit of
the kernel, ...) are judged for the lab's hosts, some of which are spoilt first: a port is taken, an
engine is dead, IPv6 is off. All predictions are written down before anything is started. Then each
cell is a Move that keeps nothing, also where it is predicted to fail. Kinds of hosts that the lab
cannot be are judged by a profile, and compared with what a public report says of them. Disk files
that portkit did not make are in bench/compat_disks.py, and are started by libvirt.

    make bench-compat                         all cells
    CELLS='v3-marked beta' make bench-compat  of an artifact or a host; the others stay
    CELLS=open make bench-compat              those that were not tried yet, or do not agree
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from bench import compat_page, harness
from bench.apps import Teller
from bench.compat_cells import ARTIFACTS, CELLS, KINDS, PROFILES, PROGRAMS, Artifact, Cell
from portkit import app as apps
from portkit import image_config, lab, process
from portkit import move as moves
from portkit.compat import profile
from portkit.host import connect
from portkit.model import Blob, Form, Verdict
from portkit.move import prove
from portkit.move.observed import Outcome
from portkit.move.prepare import Package, Request
from portkit.source import OnHost
from portkit.store import Store

HERE = Path(__file__).parent / "truth"
SOURCE = "alpha"
# Has the containerd image store, which keeps an index.
KEEPER = "gamma"
NUMBER = "8"
TRIES = {"method": "running", "running": "2s", "settle": "0s"}
Json = dict[str, Any]


# ---------------------------------------------------------------- artifacts


def program(name: str, folder: Path) -> bytes:
    """One of PROGRAMS, compiled."""
    made, told = folder / name, PROGRAMS[name]
    if not made.exists():
        zig = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-musl", "-static"]
        compiler = ["gcc", "-O1"] if told.dynamic else [*zig, "-Os", "-s"]
        process.run([*compiler, "-o", made, *told.flags, HERE / "probe.c"], timeout=900)
    return made.read_bytes()


def layer(artifact: Artifact, folder: Path) -> bytes:
    """The only layer of an artifact's image."""
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
        process.run([*ssh(KEEPER), build], input=context, timeout=300)
    else:
        change = "docker import --change 'CMD [\"/app\"]' - " + image["image"]
        process.run([*ssh(SOURCE), change], input=layer(artifact, folder), timeout=300)
    more = {"memory": "160m", "health": TRIES, **artifact.portkit}
    service = {**image, "stop_grace_period": "1s", **artifact.service, "x-portkit": more}
    (where / "compose.yaml").write_text(yaml.safe_dump({"services": {name: service}}))
    return where


def packaged(names: Sequence[str], folder: Path, source: OnHost) -> dict[str, Package]:
    """The Apps with their images in the Store here."""
    loaded = [apps.load(written(name, ARTIFACTS[name], folder)) for name in names]
    found = moves.package_apps(
        loaded, source=source, observer=Teller(), store=Store(folder / "store")
    )
    rows = {each.app.name: each for each in found.packages}
    return {
        name: for_system(row, ARTIFACTS[name].system, found.request.store)
        for name, row in rows.items()
    }


def for_system(package: Package, system: str, store: Store) -> Package:
    """The same with an image that says it is for another system: an engine of Linux makes none."""
    (old,) = package.image.images
    if old.os == system:
        return package
    config = json.loads(store.read_bytes(old.digest, 1 << 20)) | {"os": system}
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


def ssh(name: str) -> list[str]:
    return ["ssh", "-F", str(lab.ssh_config()), f"lab-{name}"]


def on(host: str, command: str, *, check: bool = True) -> str:
    return process.run([*ssh(host), command], timeout=300, check=check).text.strip()


def swapped(begin: str, end: str) -> Any:
    @contextmanager
    def ground(host: str) -> Iterator[None]:
        said = on(host, begin)
        try:
            yield
        finally:
            on(host, end.replace("SAID", said))

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
    "Store of 1 MiB": swapped(
        "mkdir -p /var/lib/portkit/store && mount -t tmpfs -o size=1m tmpfs /var/lib/portkit/store",
        "umount /var/lib/portkit/store",
    ),
    "IPv6 off": swapped(
        "sysctl -n net.ipv6.conf.all.disable_ipv6 && sysctl -qw net.ipv6.conf.all.disable_ipv6=1",
        "sysctl -qw net.ipv6.conf.all.disable_ipv6=SAID",
    ),
}


@contextmanager
def spoilt(host: str, ground: str) -> Iterator[None]:
    if not ground:
        yield
        return
    with GROUNDS[ground](host):
        yield


def by_profile(cell: Cell) -> bool:
    """Whether its host is known from documents only."""
    return cell.host in PROFILES or cell.host in KINDS


def kind(name: str) -> profile.Profile:
    """One of PROFILES, or of portkit's own."""
    if name in KINDS:
        return profile.load(name)
    title, plain, more = PROFILES[name]
    text = (
        f'title = "{title}"\nread = 2026-11-29\n[facts]\narchitecture = "amd64"\n{plain}\n{more}\n'
    )
    text += f'[[documents]]\ntitle = "{title}"\naddress = "bench/compat_cells.py"\nsays = "this"\n'
    return profile.parse(text.encode(), name)


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
        if host in PROFILES or host in KINDS:
            matrix = moves.check_apps(given, {}, [kind(host)])
        else:
            with spoilt(host, ground):
                matrix = moves.check_apps(given, {host: connect(f"lab:{host}", Teller())})
        known = {(cell.app, cell.form): cell for cell in matrix.cells}
        for cell in own:
            said = known[cell.artifact, cell.form]
            weighs = [row for row in said.findings if row.severity != "info"]
            found[cell.name] = {
                "at": now(),
                "verdict": said.verdict.value,
                "reason": said.reason,
                "rules": {row.rule: row.severity.value for row in weighs},
                "remedies": [row.remedy for row in weighs if row.severity == "error"],
            }
    return found


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def tried(
    cell: Cell, package: Package, request: Request, predicted: Json, journal: moves.Journal
) -> Json:
    """What happened, with the time."""
    begun = time.monotonic()
    one = replace(request, apps=(package.app,), forms=(cell.form,))
    verdict = Verdict(predicted["verdict"])
    with spoilt(cell.host, cell.ground):
        with connect(f"lab:{cell.host}", Teller()) as host:
            seen = prove.trial(package, one.to(host), journal, verdict)
        said = symptom(cell) if cell.symptom else ""
    return {
        "at": now(),
        "outcome": seen.outcome.value,
        "reason": seen.reason,
        "said": said,
        "seconds": round(time.monotonic() - begun, 1),
    }


def symptom(cell: Cell) -> str:
    """What the app says under the host's own engine."""
    image = f"truth-{cell.artifact}:1"
    data = process.run([*ssh(SOURCE), f"docker save {image}"], timeout=300).stdout
    process.run([*ssh(cell.host), "docker load -q"], input=data, timeout=300)
    said = on(cell.host, f"timeout 10 docker run --rm {image}", check=False)
    if cell.host != SOURCE:
        on(cell.host, f"docker rmi -f {image}")
    return " ".join(said.split())


def agrees(cell: Cell, predicted: Json, observed: Json) -> bool | None:
    """Whether a cell is as predicted, and for the reason that it has to have; None where nothing
    was predicted, or it could not be tried."""
    verdict, has_rule = predicted["verdict"], cell.rule in predicted["rules"]
    if verdict == "unknown" or observed["outcome"] == Outcome.UNTRIED:
        return None
    runs = observed["outcome"] in (Outcome.RUNS, "degraded")
    right = runs == (verdict != "incompatible")
    if cell.shows and not any(words in observed["reason"] for words in cell.shows):
        return False
    if cell.symptom:
        return right and has_rule == (cell.symptom in observed["said"])
    return right and (has_rule or not cell.rule)


def row(cell: Cell, predicted: Json, observed: Json | None) -> Json:
    """As it stands in the results."""
    return {
        "cell": cell.name,
        "artifact": ARTIFACTS[cell.artifact].about,
        "form": cell.form.value,
        "host": kind(cell.host).title if by_profile(cell) else cell.host,
        "ground": cell.ground,
        "by": "profile" if by_profile(cell) else "trial",
        "source": cell.source,
        "predicted": predicted,
        "observed": observed,
        "agrees": None if observed is None else agrees(cell, predicted, observed),
    }


def documented(cell: Cell) -> Json:
    """What a public report says: there is no such host here."""
    return {"at": "", "outcome": cell.says, "reason": cell.source, "said": "", "seconds": 0.0}


def play(cells: Sequence[Cell], folder: Path, results: compat_page.Results) -> None:
    """Predict all of a source, write that down, and only then try."""
    for host in (SOURCE, KEEPER):
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
        predicted = predict(cells, packages, request)
        for cell in cells:
            results.put(row(cell, predicted[cell.name], None))
        for cell in cells:
            said = predicted[cell.name]
            if by_profile(cell):
                seen = documented(cell)
            else:
                seen = tried(cell, packages[cell.artifact], request, said, journal)
            results.put(row(cell, said, seen))
            harness.tell(f"{cell.name}: {said['verdict']}, {seen['outcome']}, {seen['seconds']} s")


def main() -> int:
    os.environ.setdefault("PORTKIT_LAB_NUMBER", NUMBER)
    wanted = os.environ.get("CELLS", "").split()
    results = compat_page.Results.read()
    settled = {name for name, row in results.rows.items() if row["agrees"]}
    names = {*wanted} - {"open"}
    from bench import compat_disks  # which needs this module

    def chosen(cells: Sequence[Any]) -> list[Any]:
        rows = [cell for cell in cells if not names or {cell.artifact, cell.host} & names]
        return [cell for cell in rows if "open" not in wanted or cell.name not in settled]

    disks = chosen(compat_disks.CELLS)
    up = any(host.running for host in lab.status())
    if not wanted:
        compat_page.PATH.unlink(missing_ok=True)
    try:
        lab.up((SOURCE, "beta", "gamma"), Teller())
        lab.load_base(SOURCE, observer=Teller())
        with tempfile.TemporaryDirectory(prefix="portkit-truth-") as name:
            play(chosen(CELLS), Path(name), results)
            if disks:
                with connect(f"lab:{SOURCE}", Teller()) as source:
                    compat_disks.play(disks, Path(name) / "disks", results, OnHost(source))
    finally:
        if not up:
            lab.down()
    compat_page.main()
    return 0 if results.met() else 1


if __name__ == "__main__":
    sys.exit(main())
