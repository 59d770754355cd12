"""The type of JSON that comes from the other end of a connection, a file, or an engine."""

from __future__ import annotations

from typing import Any, Dict

# An object whose values have not been looked at. Whoever takes one out checks it or makes a typed
# value of it; nothing passes such an object on to code that believes it.
JsonObject = Dict[str, Any]
