"""What portkit writes on its own containers and domains; anything else there is not ours."""

from __future__ import annotations

import re

_ID = re.compile(r"pk-[0-9a-f]{12}")
_APP = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def ours(identity: str, app: str) -> bool:
    """Whether a mark's values are ones that portkit would write: a host's word is input."""
    # Anybody can copy a label, and what is taken for ours can be removed by its name.
    return bool(_ID.fullmatch(identity) and _APP.fullmatch(app))
