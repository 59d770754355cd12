"""Names that go into engines: checked, or made from what there is. Pure."""

from __future__ import annotations

import re

from portkit.errors import AppError

_APP = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:@-]{0,254}")
# As useradd allows, and names of domains (DOMAIN\\user, user@domain).
_ACCOUNT = re.compile(r"\w[\w.@\\$-]{0,127}(:\w[\w.@\\$-]{0,127})?", re.ASCII)
_SERVICE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}")


def app_name(text: str) -> str:
    """The name if it is one that compose allows for a project; AppError otherwise."""
    if not _APP.fullmatch(text):
        raise AppError(
            "the App's name is not valid",
            details=f"{text[:80]!r} may only contain lower-case letters, digits, - and _",
            resolution="Set another name with `name:` in compose.yaml, or with --project-name.",
        )
    return text


def made_name(text: str) -> str:
    """A name from a folder's or an image's, as compose makes a project's name."""
    # compose-go's NormalizeProjectName; 63 is the limit of a DNS label, as the name may become a
    # hostname.
    made = re.sub(r"[^a-z0-9_-]", "", text.lower()).lstrip("_-")[:63]
    return made or "app"


def service_name(text: str) -> str:
    """ValueError when a service's name is malformed."""
    if not _SERVICE.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a service's name")
    return text


def image_reference(text: str) -> str:
    """ValueError when it cannot be an image's name or id.

    Source: distribution/reference; only a registry's name may have capital letters.
    """
    name = text.partition("@")[0]
    registry, slash, path = name.partition("/")
    is_registry = re.search(r"[.:A-Z]", registry) or registry == "localhost"
    repository = (path if slash and is_registry else name).partition(":")[0]
    odd = ".." in text or "//" in text or text.endswith("/") or repository != repository.lower()
    if odd or not _REFERENCE.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not an image's name")
    return text


def account(text: str) -> str:
    """A user or group, by name or number, or USER:GROUP; ValueError when it is malformed."""
    if not _ACCOUNT.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not a user or group")
    return text


def engine_user(text: str) -> str:
    """USER or USER:GROUP of what an engine takes too: `USER:`, and `:GROUP` of root."""
    text = text.removesuffix(":")
    return "0" + text if text.startswith(":") else text
