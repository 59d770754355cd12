"""Content by its sha256."""

from __future__ import annotations

import re
from dataclasses import dataclass

from portkit.errors import VerifyError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def check_digest(text: str) -> str:
    """Return `text` if it is "sha256:" and 64 lower-case hex digits; VerifyError otherwise.

    Digests become names of files, so nothing else may pass.
    """
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise VerifyError(
            "a digest is not valid",
            details=f"found {str(text)[:100]!r}, expected sha256: and 64 hex digits",
            resolution="Make the artifact again: it was altered, or made by another tool.",
        )
    return text


@dataclass(frozen=True)
class Blob:
    """Content in a Store: digest ("sha256:...") and size in bytes of the raw content."""

    digest: str
    size: int
