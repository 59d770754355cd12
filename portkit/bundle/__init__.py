"""Offline bundles: an App with its Artifacts in one file that a Move starts from (docs/bundle.md).

write(path, app, artifacts, store, facts)     at one end
with Bundle(path) as bundle: bundle.app, bundle.artifact(form, store)      at the other
"""

from __future__ import annotations

from portkit.bundle.read import Bundle, is_bundle
from portkit.bundle.write import write

__all__ = ["Bundle", "is_bundle", "write"]
