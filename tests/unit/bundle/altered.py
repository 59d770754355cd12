"""Bundles that somebody has changed, with digests that are right."""

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from portkit.bundle import Bundle, tar
from portkit.bundle.document import digest_of
from portkit.errors import PortkitError, VerifyError
from portkit.model import Artifact, Form
from portkit.store import Store


def parts(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as bundle:
        return {member.name: bundle.extractfile(member).read() for member in bundle}  # type: ignore[union-attr]


def build(path: Path, members: dict[str, bytes]) -> Path:
    rows = [
        tar.header(name, len(data)) + data + tar.padding(len(data))
        for name, data in members.items()
    ]
    path.write_bytes(b"".join(rows) + tar.end())
    return path


def altered(path: Path, change: Any) -> Path:
    """The bundle with another document, all digests right."""
    members = parts(path)
    index = json.loads(members["index.json"])
    row = index["manifests"][-1]
    manifest = json.loads(members.pop(blob_name(row["digest"])))
    document = json.loads(members.pop(blob_name(manifest["config"]["digest"])))
    data = change(document)
    data = data if isinstance(data, bytes) else json.dumps(document).encode()
    manifest["config"] |= {"digest": digest_of(data), "size": len(data)}
    members[blob_name(digest_of(data))] = data
    told = json.dumps(manifest).encode()
    row |= {"digest": digest_of(told), "size": len(told)}
    members[blob_name(digest_of(told))] = told
    members["index.json"] = json.dumps(index).encode()
    return build(path, members)


def blob_name(digest: str) -> str:
    return "blobs/sha256/" + digest[7:]


def unpacked(path: Path, store: Store) -> dict[Form, Artifact]:
    with Bundle(path) as bundle:
        return {form: bundle.artifact(form, store) for form in bundle.forms}


def refused(path: Path, store: Store, kind: type[PortkitError] = VerifyError) -> str:
    with pytest.raises(kind) as caught:
        unpacked(path, store)
    assert not list((store.root / "tmp").glob("*/*"))
    return caught.value.details
