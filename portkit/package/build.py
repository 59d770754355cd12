"""A build context -> an image on a host's engine."""

from __future__ import annotations

import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from portkit.errors import AppError
from portkit.files import content
from portkit.host import Host
from portkit.model import Build, GitUrl
from portkit.package import ignore
from portkit.progress import NullObserver, Observer
from portkit.wire import beneath, codec

# Only BuildKit knows these: mounts and networks of RUN, links and modes of COPY, here-documents.
_BUILDKIT = re.compile(
    r"^[^\S\n]*(RUN\s+--(mount|network|security)|(COPY|ADD)\s+--(link|chmod|exclude|parents)"
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
# And these the git that the old builder's docker command starts: GIT_SSH_COMMAND is a program.
_GITS_OWN = re.compile(r"GIT_\w+|SSH_\w+|CURL_\w+")
_LIMIT = 1 << 20  # bytes of a Dockerfile
_IGNORE_LIMIT = 1 << 18
_INLINE = ".portkit.Dockerfile"  # the name of one that stands in the compose file itself
_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def build(host: Host, what: Build, observer: Observer | None = None) -> str:
    """Build on the host's engine, from a context on this machine or a git repository that the host
    fetches; the image's id there.

    .dockerignore is honoured. AppError when the context has no such Dockerfile, EngineError with
    the build's last lines when it failed or needs BuildKit and the host has none.
    """
    observer = observer or NullObserver()
    _check_arguments(what)
    if isinstance(what.context, GitUrl):
        return _from_repository(host, what, what.context, observer)
    return _from_folder(host, what, what.context, observer)


def _from_folder(host: Host, what: Build, context: Path, observer: Observer) -> str:
    name, text = (
        (_INLINE, what.inline)
        if what.inline is not None
        else (what.dockerfile, _dockerfile(context, what.dockerfile))
    )
    names = _names(context, name)
    # On the disk: a context may be gigabytes, and its size goes before it.
    with tempfile.TemporaryFile() as bundle:
        _write(bundle, context, names, name, what.inline)
        observer.message(f"build context: {len(names)} entries, {bundle.tell()} bytes")
        return _call(host, what, bundle, context="-", dockerfile=name, text=text)


def _from_repository(host: Host, what: Build, url: GitUrl, observer: Observer) -> str:
    """What is sent is the Dockerfile, if it is not the repository's own."""
    parts = what.dockerfile.split("/")
    # buildx takes an absolute name, and "-", for a file of the host where it runs.
    if what.inline is None and (parts[0] == "" or ".." in parts or parts[0].startswith("-")):
        raise AppError(
            "the Dockerfile is not in the repository",
            details=f"{what.dockerfile[:200]!r} leads out of it",
            resolution="Name it with build.dockerfile, relative to the repository or its folder.",
        )
    observer.message(f"the source host fetches the build context: {url.text}")
    name, text = (what.dockerfile, "") if what.inline is None else ("-", what.inline)
    data = io.BytesIO(text.encode())
    return _call(host, what, data, context=url.text, dockerfile=name, text=text)


def _call(
    host: Host, what: Build, data: BinaryIO, *, context: str, dockerfile: str, text: str
) -> str:
    """data: what the docker command reads. text: of the Dockerfile, as far as it is known here."""
    needs = _BUILDKIT.search(text)
    encoding = host.remote.encodings[0]
    size = data.seek(0, 2)
    data.seek(0)

    def chunks() -> Iterator[bytes]:
        packer = codec.Compressor(encoding)
        for chunk in iter(lambda: data.read(1 << 20), b""):
            yield packer.feed(chunk)
        yield packer.finish()

    args = {
        "encoding": encoding,
        "size": size,
        "context": context,
        "dockerfile": dockerfile,
        "args": dict(what.args),
        "target": what.target,
        "network": what.network,
        "needs_buildkit": needs[0].strip() if needs else "",
    }
    return str(host.remote.call("image.build", args, send=chunks())["id"])


def _dockerfile(context: Path, name: str) -> str:
    """Its text; AppError where there is none."""
    path = context / name
    try:
        return content(path.resolve(), _LIMIT).decode("utf-8", "replace")
    except OSError as error:  # not there, a name too long, no permission
        why = str(error.strerror)
    except (ValueError, RuntimeError) as error:  # no regular file, links in a loop
        why = str(error)
    raise AppError(
        "the Dockerfile cannot be read",
        details=f"{str(path)[:300]}: {why}",
        resolution="Name it with build.dockerfile, relative to the context.",
    )


def _names(context: Path, dockerfile: str) -> list[str]:
    """What of the context goes to the engine; AppError when .dockerignore is malformed."""
    kept = [ignore.exactly(name) for name in (".dockerignore", dockerfile)]
    try:
        try:
            text = content((context / ".dockerignore").resolve(), _IGNORE_LIMIT)
        except FileNotFoundError:
            text = b""
        rows = ignore.patterns(text.decode("utf-8-sig"))
        return sorted(ignore.names(context, [*rows, *kept]))
    except (OSError, ValueError, RuntimeError, re.error) as error:  # no UTF-8, a pattern as [z-a]
        raise AppError(
            "the build context cannot be read",
            details=f"{str(context)[:300]}, with its .dockerignore: {str(error)[:200]}",
            resolution="Correct .dockerignore: at most 256 KiB of UTF-8, a pattern in each line.",
        ) from error


def _check_arguments(what: Build) -> None:
    git = isinstance(what.context, GitUrl)
    for name in what.args:
        own = _CLIENTS_OWN.fullmatch(name) or (git and _GITS_OWN.fullmatch(name))
        if own or not _ARGUMENT.fullmatch(name):
            raise AppError(
                "the name of a build argument is not allowed",
                details=f"{name[:80]!r} is not a name, or one that docker or its git reads",
                resolution="Use another name in build.args and in the Dockerfile.",
            )


def _write(
    bundle: BinaryIO, context: Path, names: list[str], dockerfile: str, inline: str | None
) -> None:
    """A tar of the context. The client tells a tar from a Dockerfile by its first 512 bytes and
    does not know PAX there (docker 20.10), so: GNU format, the Dockerfile first."""
    with tarfile.open(fileobj=bundle, mode="w", format=tarfile.GNU_FORMAT) as out:
        if inline is not None:
            names = [name for name in names if name != dockerfile]
            _add_text(out, dockerfile, inline.encode())
        for name in sorted(names, key=lambda name: (name != dockerfile, name)):
            info = out.gettarinfo(str(context / name), name)
            if info is None:
                raise AppError(
                    "the build context contains something that cannot be sent as a tar",
                    details=f"{context / name} is not a file, folder, link or device",
                    resolution="Remove it, or list it in .dockerignore.",
                )
            # The engine builds as root and Docker's own client does the same.
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = int(info.mtime)
            if not info.isreg():
                out.addfile(info)
                continue
            with _opened(context, name) as file:
                _add(out, context / name, info, file)


def _add_text(out: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    out.addfile(info, io.BytesIO(data))


def _opened(context: Path, name: str) -> BinaryIO:
    """The file that was listed; AppError when there is something else by now, such as a link that
    leads out of the context."""
    try:
        return os.fdopen(beneath.open_file(str(context), name), "rb")
    except OSError as error:
        raise _changed(context / name, error) from error


def _add(out: tarfile.TarFile, path: Path, info: tarfile.TarInfo, file: BinaryIO) -> None:
    found = os.fstat(file.fileno())
    info.size, info.mode = found.st_size, found.st_mode & 0o7777
    try:
        out.addfile(info, file)
    except OSError as error:  # tarfile's own, for a file that became shorter
        raise _changed(path, error) from error


def _changed(path: object, error: OSError) -> AppError:
    return AppError(
        "the build context changed while it was read",
        details=f"{path}: {error.strerror or error}",
        resolution="Try again when nothing writes to it.",
    )
