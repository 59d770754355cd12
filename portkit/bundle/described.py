"""An App as a compose document and back.

What comes back goes through the reader of compose files with all its checks: a bundle may be
anybody's. Environment values are in it, they are needed to run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from portkit import files
from portkit.app import environment
from portkit.bundle.compose_words import compose_document
from portkit.bundle.contents import Files
from portkit.errors import AppError
from portkit.model import (
    App,
    Attachment,
    Content,
    Network,
    Service,
    Volume,
    content_bytes,
    content_numbers,
)

# What YAML wants escaped and JSON does not.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_NAME = "the bundle's App"  # what errors call the document
_DEFAULT = Attachment("default")  # the network of a service that names none
_CA_LIMIT = 1 << 20


@dataclass(frozen=True)
class Described:
    """An App without anything of this machine.

    text: the compose document. cas: PEM of each CA that a health probe trusts. contents: the files
    of each Content. The document names both by their number.
    """

    text: str = field(repr=False)
    cas: tuple[str, ...] = ()
    contents: tuple[Files, ...] = field(default=(), repr=False)


def ca_name(number: int) -> str:
    """What the document calls a CA."""
    return f"ca-{number}.pem"


def content_name(number: int) -> str:
    """What the document calls a Content."""
    return f"contents/{number}"


def render(app: App, images: Sequence[str]) -> Described:
    """An App with the content of its files, described.

    images: of each service the id that stands for its image where that was built. AppError when the
    App uses a folder of its host, or when the document does not read back as the same App.
    """
    _check_binds(app)
    cas = list(dict.fromkeys(s.health.ca_file for s in app.services if s.health.ca_file))
    numbers = content_numbers(app.services)
    pairs = zip(app.services, numbers, strict=True)
    contents = {n: each.files for s, row in pairs for each, n in zip(s.contents, row, strict=True)}
    portable = _portable(app, images, numbers, {path: ca_name(n) for n, path in enumerate(cas)})
    # JSON is YAML 1.2 as well, and its quoting leaves nothing to a reader's taste: no `no` becomes
    # false.
    text = json.dumps(environment.escaped(compose_document(portable)), ensure_ascii=False, indent=0)
    text = _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    pems = tuple(_pem(path) for path in cas)
    made = Described(text, pems, tuple(contents[n] for n in range(len(contents))))
    # Read back at once: what compose cannot say, or says in another way, is noticed where the App
    # is packed and not where it is opened.
    why = "its description differs when it is read back"
    try:
        if replace(read(made, app.source), findings=()) == portable:
            return made
    except AppError as error:  # its resolution is for somebody who can edit the document
        why = error.details
    raise AppError(
        "the App cannot be described in a bundle",
        details=f"{app.source}: {why}",
        resolution="Move it from host to host, without a bundle.",
    )


def read(told: Described, source: str) -> App:
    """The App of a document; AppError where a compose file would be refused, and where it names
    anything outside of the bundle, or leaves out what came with it.

    source: what was packed.
    """
    from portkit.app import compose

    try:
        document = told.text.encode("utf-8")
    except UnicodeEncodeError:
        raise AppError(
            "the description of the bundle's App is not text",
            details="it contains half of a surrogate pair",
            resolution="Pack the App again.",
        ) from None
    contents = {content_name(number): rows for number, rows in enumerate(told.contents)}
    cas = map(ca_name, range(len(told.cas)))
    app = compose.read(document, _NAME, cas, contents)
    used = {str(each.source) for service in app.services for each in service.contents}
    if unused := set(contents) - used:
        raise AppError(
            "the description of the bundle's App does not mention files that came with it",
            details=", ".join(sorted(unused))[:400],
            resolution="Pack the App again.",
        )
    return replace(app, source=source)


def trusting(app: App, cas: Sequence[str], folder: Path) -> App:
    """The App with its CAs as files in a folder of this process."""
    for number, pem in enumerate(cas):
        files.write(folder / ca_name(number), pem.encode())
    return replace(app, services=tuple(_trusting(each, folder) for each in app.services))


def _trusting(service: Service, folder: Path) -> Service:
    """The service with the CA of its health probe where that is now."""
    health = service.health
    if health.ca_file is None:
        return service
    return replace(service, health=replace(health, ca_file=folder / health.ca_file))


def _check_binds(app: App) -> None:
    binds = [mount for each in app.services for mount in each.volumes if mount.type == "bind"]
    if binds:
        raise AppError(
            "a bundle cannot contain the App's bind mounts",
            details="\n".join(f"{app.source}: {each.source} on {each.target}" for each in binds),
            resolution="A folder of the host is not part of the App. Move its files along "
            "(--carry PATH), put them into the image, or use a named volume, which is "
            "empty on the target.",
        )


# ---------------------------------------------------------------- what is the same elsewhere


def _portable(
    app: App, images: Sequence[str], numbers: Sequence[Sequence[int]], cas: Mapping[Path, str]
) -> App:
    """The App as it will read back."""
    rows = zip(app.services, images, numbers, strict=True)
    services = tuple(_service_of(*row, cas) for row in rows)
    networks = {each.name: each for each in app.networks}
    volumes = {each.name: each for each in app.volumes}
    # An image's bare name or a Dockerfile declares none.
    used = dict.fromkeys(place.network for each in services for place in each.networks)
    mounts = [mount for each in services for mount in each.volumes if mount.type == "volume"]
    kept = dict.fromkeys(mount.source for mount in mounts if mount.source)
    return App(
        name=app.name,
        services=services,
        source=app.source,
        networks=tuple(networks.get(n) or Network(n, f"{app.name}_{n}") for n in used),
        volumes=tuple(volumes.get(n) or Volume(n, f"{app.name}_{n}") for n in kept),
        front=app.front_service.name,
        machine=app.machine if len(services) > 1 else services[0].machine,
    )


def _service_of(
    service: Service, image: str, numbers: Sequence[int], cas: Mapping[Path, str]
) -> Service:
    health = service.health
    if health.ca_file:
        health = replace(health, ca_file=Path(cas[health.ca_file]))
    networks = service.networks or (() if service.network_mode else (_DEFAULT,))
    pairs = zip(service.contents, numbers, strict=True)
    # Who packed the App has chosen its profiles.
    return replace(
        service,
        build=None,
        image=service.image or image,
        health=health,
        networks=networks,
        profiles=(),
        contents=tuple(_content(*pair) for pair in pairs),
    )


def _content(content: Content, number: int) -> Content:
    """The same files under the same place: where they were, and as what, nobody asks any more."""
    name = content_name(number)
    return Content(
        content.target,
        source=Path(name),
        name=name,
        read_only=content.read_only,
        size_bytes=content_bytes(content.files),
        files=content.files,
    )


def _pem(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_CA_LIMIT + 1)
    if len(data) > _CA_LIMIT:
        raise AppError("the CA file of x-portkit.health is too large", details=str(path))
    return data.decode("ascii", "replace")
