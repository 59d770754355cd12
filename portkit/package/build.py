"""A build context -> an image on a host's engine."""

from __future__ import annotations

import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from portkit.errors import AppError
from portkit.host import Host
from portkit.model import Build
from portkit.progress import NullObserver, Observer
from portkit.wire import codec

# Only BuildKit knows these: mounts and networks of RUN, links and modes of COPY, here-documents.
_BUILDKIT = re.compile(
    r"^\s*(RUN\s+--(mount|network|security)|(COPY|ADD)\s+--(link|chmod|exclude|parents)"
    r"|(RUN|COPY|ADD)\s[^#\n]*<<-?\s*[\"']?[A-Za-z_])",
    re.IGNORECASE | re.MULTILINE,
)
# The docker command reads these itself: as build arguments they would make it something else.
_CLIENTS_OWN = re.compile(
    r"PATH|HOME|TMPDIR|LD_\w+|GLIBC_TUNABLES|GODEBUG|SSL_CERT_\w+|SSH_AUTH_SOCK|XDG_\w+"
    r"|DOCKER_(HOST|CONTEXT|CONFIG|CERT_PATH|TLS\w*|API_VERSION|CONTENT_TRUST\w*|BUILDKIT"
    r"|DEFAULT_PLATFORM|CLI_\w+|CUSTOM_HEADERS|AUTH_CONFIG)"
    r"|BUILDX_(BUILDER|CONFIG|GIT_\w+|NO_DEFAULT_\w+|METADATA_\w+)"
    r"|BUILDKIT_(HOST|PROGRESS|COLORS)|OTEL_EXPORTER_\w+"
)
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def build(host: Host, what: Build, observer: Observer | None = None) -> str:
    """Build on the host's engine, from a context on this machine; the image's id there.

    .dockerignore is honoured. AppError when the context has no such Dockerfile, EngineError with
    the build's last lines when it failed or needs BuildKit and the host has none.
    """
    from docker.utils.build import exclude_paths

    observer = observer or NullObserver()
    _check_arguments(what)
    dockerfile = what.context / what.dockerfile
    if not dockerfile.is_file():
        raise AppError(
            "the Dockerfile is not there",
            details=str(dockerfile),
            resolution="Name it with build.dockerfile, relative to the context.",
        )
    needs = _BUILDKIT.search(dockerfile.read_text("utf-8", "replace"))
    ignore = what.context / ".dockerignore"
    patterns = ignore.read_text("utf-8").splitlines() if ignore.is_file() else []
    names = sorted(exclude_paths(str(what.context), patterns, dockerfile=what.dockerfile))
    with tempfile.TemporaryFile() as bundle:
        _write(bundle, what.context, names, what.dockerfile)
        size = bundle.seek(0, 2)
        bundle.seek(0)
        observer.message(f"build context: {len(names)} entries, {size} bytes")
        encoding = host.remote.encodings[0]

        def chunks() -> Iterator[bytes]:
            packer = codec.Compressor(encoding)
            for data in iter(lambda: bundle.read(1 << 20), b""):
                yield packer.feed(data)
            yield packer.finish()

        args = {
            "encoding": encoding,
            "size": size,
            "dockerfile": what.dockerfile,
            "args": dict(what.args),
            "target": what.target,
            "network": what.network,
            "needs_buildkit": needs[0].strip() if needs else "",
        }
        return str(host.remote.call("image.build", args, send=chunks())["id"])


def _check_arguments(what: Build) -> None:
    for name in what.args:
        if not _ARGUMENT.fullmatch(name) or _CLIENTS_OWN.fullmatch(name):
            raise AppError(
                "a build argument cannot have that name",
                details=f"{name[:80]!r} is no name, or one that the docker command itself reads",
                resolution="Give it another name in build.args and in the Dockerfile.",
            )


def _write(bundle: BinaryIO, context: Path, names: list[str], dockerfile: str) -> None:
    """A tar of the context. The client tells a tar from a Dockerfile by its first 512 bytes and
    does not know PAX there (docker 20.10), so: GNU format, the Dockerfile first."""
    with tarfile.open(fileobj=bundle, mode="w", format=tarfile.GNU_FORMAT) as out:
        for name in sorted(names, key=lambda name: (name != dockerfile, name)):
            info = out.gettarinfo(str(context / name), name)
            if info is None:
                raise AppError(
                    "the build context holds what no tar can hold",
                    details=f"{context / name} is neither file, folder, link nor device",
                    resolution="Remove it, or name it in .dockerignore.",
                )
            # The engine builds as root and Docker's own client does the same.
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = int(info.mtime)
            if not info.isreg():
                out.addfile(info)
                continue
            with (context / name).open("rb") as file:
                out.addfile(info, file)
