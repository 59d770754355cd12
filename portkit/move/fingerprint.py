"""By what a Move that goes on notices that its App has changed since it was planned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

from portkit.files import content
from portkit.model import AppSpec
from portkit.move.journal import Journal

_CA_LIMIT = 1 << 20  # bytes of a PEM file


def fingerprint(journal: Journal, spec: AppSpec) -> str:
    """A keyed hash of what the processes will see: an App that changed since is noticed."""
    # A CA's file is only named in the spec.
    files = [each.health.ca_file for each in spec.services if each.health.ca_file is not None]
    authorities = [hashlib.sha256(content(path, _CA_LIMIT)).hexdigest() for path in files]
    row = [_stated(spec), authorities]
    return journal.fingerprint(json.dumps(row, sort_keys=True, default=_told))


def _stated(value: object) -> object:
    """A value for JSON, without those fields of a dataclass that have their defaults: a field that
    a later portkit adds does not change the fingerprint of an App that does not use it."""
    if is_dataclass(value) and not isinstance(value, type):
        found = {each: getattr(value, each.name) for each in fields(value)}
        stated = {each.name: _stated(one) for each, one in found.items() if one != _default(each)}
        return {"": type(value).__name__, **stated}
    if isinstance(value, Mapping):
        return {key: _stated(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_stated(one) for one in value]
    return value


def _default(field: Field[Any]) -> object:
    """MISSING, which is equal to no value, where there is none."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def _told(value: object) -> str:
    """What JSON has no word for. Of a path its name: a bundle's CA is in another folder each time,
    and what is in the files of an App is in the spec itself."""
    return value.name if isinstance(value, Path) else str(value)
