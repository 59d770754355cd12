"""What a HOST argument means. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from portkit.errors import HostError
from portkit.remote.engine import SOCKETS

# What may stand in a host or user name: nothing that ssh or a shell could take for something else.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
_IPV6 = re.compile(r"[0-9a-fA-F:.]{2,45}(%[A-Za-z0-9._-]{1,16})?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")

_PORT = "a port must be a number from 1 to 65535"


@dataclass(frozen=True)
class Endpoint:
    """Where a host is. host "" is this machine; config: an ssh_config to use instead of ~/.ssh;
    engine: the socket of the engine to use there, "" for the one that is found."""

    host: str
    user: str | None = None
    port: int | None = None
    config: Path | None = None
    engine: str = ""

    @property
    def local(self) -> bool:
        """Whether it is this machine, which is reached without ssh."""
        return not self.host

    def arguments(self) -> list[str]:
        """ssh's options for it, and the destination last, behind no option of its own."""
        words = ["-F", str(self.config)] if self.config else []
        words += ["-p", str(self.port)] if self.port is not None else []
        # "--": a name cannot be taken for an option, whatever it begins with.
        return [*words, *(["-l", self.user] if self.user else []), "--", self.host]


def parse(name: str) -> Endpoint:
    """Endpoint of "local", an alias, `[user@]host[:port]`, `ssh://...`; HostError for others."""
    if name == "local":
        return Endpoint("")
    if any(ord(character) <= 32 or ord(character) == 127 for character in name):
        # urlsplit would drop some of them without a word.
        raise _malformed(name, "it contains white space or a control character")
    if name.startswith("ssh://"):
        return _from_url(name)
    if "://" in name:
        raise HostError(
            "portkit reaches an engine only by ssh",
            details=f"{name[:200]!r}: an engine's TCP port is open to everyone who can reach it",
            resolution="Name the host for ssh: [user@]host[:port].",
        )
    user, at, rest = name.rpartition("@")
    host, port = _split_port(rest, name)
    return _checked(name, host, user if at else None, port)


def _from_url(name: str) -> Endpoint:
    try:
        parts = urlsplit(name)
        port = parts.port
    except ValueError as error:
        raise _malformed(name, str(error)) from error
    if port == 0:  # urlsplit lets it pass, and it would read as "none was given"
        raise _malformed(name, _PORT)
    if parts.query or parts.fragment or parts.password:
        raise _malformed(name, "ssh://[user@]host[:port] has no query or password")
    # As Podman's connections and DOCKER_HOST have it: ssh://host/run/podman/podman.sock.
    engine = engine_socket(parts.path)
    if parts.path not in ("", "/") and not engine:
        known = " or ".join(SOCKETS)
        raise _malformed(name, f"only an engine's socket may follow the host: {known}")
    return replace(_checked(name, parts.hostname or "", parts.username, port), engine=engine)


def engine_socket(path: str) -> str:
    """The socket of an engine that a path names; "" when it is none of those that are known."""
    full = "/var" + path if path.startswith("/run/docker") else path
    return full if full in SOCKETS else ""


def _split_port(text: str, name: str) -> tuple[str, int | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _malformed(name, "write an IPv6 address as [ADDRESS]:PORT")
        text, port = host, rest[1:]
    # More colons are an IPv6 address without a port.
    elif text.count(":") == 1:
        text, port = text.split(":")
        if not port:
            raise _malformed(name, "the port is missing after the colon")
    else:
        port = ""
    if not port:
        return text, None
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise _malformed(name, _PORT)
    return text, int(port)


def _checked(name: str, host: str, user: str | None, port: int | None) -> Endpoint:
    if not (_NAME.fullmatch(host) or (":" in host and _IPV6.fullmatch(host))):
        raise _malformed(name, f"{host!r} is not a host name")
    if user is not None and not _USER.fullmatch(user):
        raise _malformed(name, f"{user!r} is not a user name")
    return Endpoint(host, user, port)


def _malformed(name: str, why: str) -> HostError:
    return HostError(
        "the name of the host is not valid",
        details=f"{name[:200]!r}: {why}",
        resolution="Use local, an ssh alias, [user@]host[:port], ssh://... or lab:NAME.",
    )
