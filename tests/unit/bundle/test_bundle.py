"""Artifacts through a file, and files that are none of portkit's making."""

import errno
import io
import json
import os
import random
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portkit.app import resolve_all
from portkit.bundle import Bundle, is_bundle, tar, unpack, write
from portkit.bundle.document import digest_of
from portkit.errors import AppError, ConflictError, PortkitError, SpaceError
from portkit.model import Artifact, Finding, Form, HealthProbe, Severity
from portkit.move import Journal
from portkit.move.fingerprint import fingerprint
from portkit.store import Store
from portkit.wire.content import Plain
from tests.unit.bundle.altered import altered, blob_name, build, parts, refused, unpacked
from tests.unit.bundle.samples import APP, FACTS, SECRET, packed_app


def test_findings_there_and_back(
    near: Store, artifacts: dict[Form, Artifact], tmp_path: Path
) -> None:
    whole = Finding("own", Severity.WARNING, "seen", ("one; part", "two"), "Look.")
    long = Finding("own", Severity.INFO, "m" * 9000, ("e" * 9000,) * 2000)
    path = tmp_path / "noted.portkit"
    write(path, packed_app(artifacts, replace(APP, findings=(whole, long))), near, FACTS)
    with Bundle(path) as bundle:
        first, second, _ = bundle.app.findings  # and what the reader says of its port
    assert first == whole
    assert (len(second.message), len(second.evidence), len(second.evidence[0])) == (
        4096,
        1000,
        4096,
    )


def test_there_and_back(path: Path, artifacts: dict[Form, Artifact], tmp_path: Path) -> None:
    far = Store(tmp_path / "far")
    assert is_bundle(path)
    with Bundle(path) as bundle:
        assert bundle.app.services == APP.services
        assert bundle.app.source == "./shop"
        assert bundle.facts() == FACTS
    assert unpacked(path, far) == artifacts
    for artifact in artifacts.values():
        for blob in artifact.blobs:
            assert far.size(blob.digest) == blob.size
    assert path.stat().st_mode & 0o777 == 0o600
    # The disk's files are the layers' files.
    assert path.stat().st_size < 1.2 * artifacts[Form.IMAGE].logical_bytes
    assert unpacked(path, far) == artifacts


def test_one_form(near: Store, artifacts: dict[Form, Artifact], tmp_path: Path) -> None:
    for form, artifact in artifacts.items():
        path, far = tmp_path / f"{form}.portkit", Store(tmp_path / form)
        write(path, packed_app({form: artifact}), near, FACTS)
        assert unpacked(path, far) == {form: artifact}
        with Bundle(path) as bundle, pytest.raises(AppError, match="does not contain"):
            bundle.artifact(next(each for each in Form if each is not form), far)


def test_any_tool_reads_the_image(path: Path, artifacts: dict[Form, Artifact]) -> None:
    members = parts(path)
    assert json.loads(members["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    image = json.loads(members["index.json"])["manifests"][0]
    manifest = json.loads(members[blob_name(image["digest"])])
    assert manifest["config"]["digest"] == artifacts[Form.IMAGE].digest
    assert {row["mediaType"][-8:] for row in manifest["layers"]} == {"tar+zstd"}
    for name, data in members.items():
        if name.startswith("blobs/"):
            assert blob_name(digest_of(data)) == name


def test_what_is_there_stays(path: Path, near: Store, artifacts: dict[Form, Artifact]) -> None:
    with pytest.raises(ConflictError):
        write(path, packed_app(artifacts), near, FACTS)
    assert [each.name for each in path.parent.glob("*.portkit*")] == ["shop.portkit"]


def test_secrets_are_told_to_nobody(path: Path, tmp_path: Path) -> None:
    def broken(row: dict[str, Any]) -> None:
        row["app"] = row["app"].replace('"image"', '"imag"')

    altered(path, broken)
    with pytest.raises(PortkitError) as caught:
        Bundle(path)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


# hostile inputs 15, 16, 17, 45
def test_every_flipped_byte(path: Path, tmp_path: Path, artifacts: dict[Form, Artifact]) -> None:
    data, chance = path.read_bytes(), random.Random(3)
    names = tar.members(io.BytesIO(data))
    headers = [place[0] - 512 + chance.randrange(512) for place in names.values()]
    small = [
        chance.randrange(place[0], place[0] + place[1])
        for place in names.values()
        for _ in range(4)
    ]
    anywhere = [chance.randrange(len(data)) for _ in range(60)]
    for number, at in enumerate([*headers, *small, *anywhere]):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
        far = Store(tmp_path / f"far{number}")
        try:
            found = unpacked(path, far)
        except PortkitError:
            continue
        # Padding, and what no digest is over and nothing is taken from.
        assert found == artifacts, at


@pytest.mark.parametrize("change", ["cut", "added", "empty", "no end", "text"])
def test_a_tail(path: Path, tmp_path: Path, change: str) -> None:
    data = path.read_bytes()
    new = {"cut": data[:-2000], "added": data + bytes(512), "empty": b"", "no end": data[:-512]}
    path.write_bytes(new.get(change, b"hello " * 1000))
    refused(path, Store(tmp_path / "far"))


# hostile input 13
@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "blobs/sha256/../x", "x", "-rf"])
def test_names(path: Path, tmp_path: Path, name: str) -> None:
    members = parts(path)
    assert "does not belong" in refused(
        build(path, {**members, name: b"1"}), Store(tmp_path / "far")
    )


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.XHDTYPE]
)
def test_kinds(path: Path, tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("oci-layout")
    info.type, info.linkname = kind, "/etc/passwd"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + path.read_bytes())
    assert "not a plain file" in refused(path, Store(tmp_path / "far"))


@pytest.mark.parametrize("size", [-1, 1 << 62, 1 << 40])
def test_sizes(path: Path, tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("oci-layout")
    info.size, info.mode = size, 0o600
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + path.read_bytes())
    refused(path, Store(tmp_path / "far"))


def test_a_member_twice_or_unnamed(path: Path, tmp_path: Path) -> None:
    data, far = path.read_bytes(), Store(tmp_path / "far")
    first = tar.header("oci-layout", 0)
    path.write_bytes(first + data)
    assert "twice" in refused(path, far)
    members = parts(build(path, {**parts_of(data, tmp_path), blob_name(digest_of(b"1")): b"1"}))
    assert "nothing in it refers to" in refused(build(path, members), far)


def parts_of(data: bytes, folder: Path) -> dict[str, bytes]:
    (folder / "copy").write_bytes(data)
    return parts(folder / "copy")


def test_a_million_members(tmp_path: Path) -> None:
    path = tmp_path / "x.portkit"
    path.write_bytes(b"".join(tar.header(f"blobs/sha256/{n:064x}", 0) for n in range(9000)))
    assert "more than 8192" in refused(path, Store(tmp_path / "far"))


def test_documents(path: Path, tmp_path: Path) -> None:
    data, far = path.read_bytes(), Store(tmp_path / "far")

    def larger(row: dict[str, Any]) -> None:
        row["layers"][0]["size"] += 1

    def smaller(row: dict[str, Any]) -> None:
        row["layers"][0]["size"] -= 1

    def small_disk(row: dict[str, Any]) -> None:
        row["disk"]["content"]["size"] -= 4096

    def other_digest(row: dict[str, Any]) -> None:
        row["disk"]["content"]["digest"] = "sha256:" + "5" * 64

    def outside(row: dict[str, Any]) -> None:
        row["disk"]["content"]["digest"] = "sha256:../x"

    def wrong_kind(row: dict[str, Any]) -> None:
        row["layers"][0]["digest"] = "md5:" + "5" * 32

    def other_base(row: dict[str, Any]) -> None:
        row["disk"]["content"]["bases"][0]["digest"] = "sha256:" + "6" * 64

    def no_base(row: dict[str, Any]) -> None:
        row["disk"]["content"]["bases"] = []

    def layer_twice(row: dict[str, Any]) -> None:
        row["layers"].append(row["layers"][0])

    def layer_less(row: dict[str, Any]) -> None:
        del row["layers"][0]

    def absent(row: dict[str, Any]) -> None:
        row["layers"][0] |= {"encoding": "absent"}

    def unknown_key(row: dict[str, Any]) -> None:
        row["urls"] = ["http://example.com"]

    def key_twice(row: dict[str, Any]) -> bytes:
        return json.dumps(row).encode()[:-1] + b', "source": "x"}'

    def no_facts(row: dict[str, Any]) -> None:
        row["facts"] = {"cpus": "many"}

    changes = [larger, smaller, small_disk, other_digest, outside, wrong_kind, other_base]
    for change in [*changes, no_base, layer_twice, layer_less, absent, unknown_key, key_twice]:
        path.write_bytes(data)
        refused(altered(path, change), far)
    path.write_bytes(data)
    assert "facts" in refused(altered(path, no_facts), far)
    for text in ("NaN", "Infinity", '"\\ud800"', "1e999"):
        path.write_bytes(data)

        def odd(row: dict[str, Any], text: str = text) -> bytes:
            return json.dumps(row).replace(": 1073741824", f": {text}").encode()

        refused(altered(path, odd), far)


@pytest.mark.parametrize("made_for", ["", "web2"])
def test_bases_are_before_what_is_made_of_them(path: Path, tmp_path: Path, made_for: str) -> None:
    """A blob that is made from itself, or two from each other, would never end."""

    def itself(row: dict[str, Any]) -> None:
        content = row["disk"]["content"]
        content["bases"] = [{"digest": content["digest"], "size": content["size"]}]
        row["made_for"] = made_for

    def each_other(row: dict[str, Any]) -> None:
        first, second = row["layers"]
        for one, other in ((first, second), (second, first)):
            one["encoding"] = "recipe"
            one["bases"] = [{"digest": other["digest"], "size": other["size"]}]
        row["made_for"] = made_for

    data = path.read_bytes()
    for change in (itself, each_other):
        path.write_bytes(data)
        assert "that follows it" in refused(altered(path, change), Store(tmp_path / "far"))


def test_a_base_twice(path: Path, tmp_path: Path) -> None:
    def repeated(row: dict[str, Any]) -> None:
        row["disk"]["content"]["bases"] *= 100

    assert "a base twice" in refused(altered(path, repeated), Store(tmp_path / "far"))


def test_too_many_bases(path: Path, tmp_path: Path) -> None:
    def many(row: dict[str, Any]) -> None:
        rows = [{"digest": f"sha256:{number:064x}", "size": 1} for number in range(600)]
        row["disk"]["content"]["bases"] += rows
        row["made_for"] = "web2"

    assert "at most 512" in refused(altered(path, many), Store(tmp_path / "far"))


def test_a_disk_of_a_petabyte(path: Path, tmp_path: Path) -> None:
    def huge(row: dict[str, Any]) -> None:
        row["disk"]["content"]["size"] = 1 << 44

    assert "disk.content.size" in refused(altered(path, huge), Store(tmp_path / "far"))


@pytest.mark.parametrize("told", [None, "1t"])
def test_a_disk_of_zeros(told: str | None, path: Path, tmp_path: Path) -> None:
    """A few bytes of a bundle can stand for terabytes of zeros, which would all be hashed."""
    size = (8 if told else 1) << 40

    def huge(row: dict[str, Any]) -> None:
        row["disk"]["content"]["size"] = size
        app = json.loads(row["app"])
        app["services"]["web"]["x-portkit"]["disk"] = told
        if told is None:
            del app["services"]["web"]["x-portkit"]["disk"]
        row["app"] = json.dumps(app)

    far = Store(tmp_path / "far")
    assert f"its disk has {size} bytes" in refused(altered(path, huge), far)
    assert not any(each.is_file() for each in far.root.rglob("blobs/*/*"))


def test_a_disk_that_announces_more_than_there_is_room_for(
    near: Store, artifacts: dict[Form, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is put together by a recipe."""
    path = tmp_path / "shop.portkit"
    write(path, packed_app(artifacts), near, FACTS)
    with Bundle(path) as bundle:
        assert bundle.document.disk is not None
        assert bundle.document.disk.content.encoding == "recipe"
        free = sum(each.size for each in bundle.document.layers) + 1000
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    far = Store(tmp_path / "far")
    with Bundle(path) as bundle, pytest.raises(SpaceError):
        bundle.artifact(Form.DISK, far)
    assert [each.name for each in far.root.rglob("blobs/*/*")] == [
        bundle.document.images["web"][7:]
    ]


def test_a_size_that_no_file_has(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ftruncate(*_: int) -> None:
        raise OSError(errno.EFBIG, "File too large")

    monkeypatch.setattr(os, "ftruncate", ftruncate)
    assert "cannot be created on this machine" in refused(path, Store(tmp_path / "far"))


def test_no_file_stays_open(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base that cannot be opened leaves those before it closed."""
    opened: list[Any] = []

    class Counted(Plain):
        def __init__(self, place: Path) -> None:
            if opened:
                raise OSError(errno.EMFILE, "Too many open files")
            super().__init__(place)
            self.closed = False
            opened.append(self)

        def close(self) -> None:
            super().close()
            self.closed = True

    monkeypatch.setattr(unpack, "Plain", Counted)
    with pytest.raises(OSError, match="Too many"):
        unpacked(path, Store(tmp_path / "far"))
    assert [each.closed for each in opened] == [True]


# hostile input 15: what unpacks to more than was declared ends there
def test_a_bomb(path: Path, tmp_path: Path) -> None:
    def bomb(row: dict[str, Any]) -> None:
        for content in [*row["layers"], row["disk"]["content"]]:
            content["size"] = 10
        row["disk"]["data_bytes"] = 10

    far = Store(tmp_path / "far")
    refused(altered(path, bomb), far)
    assert sum(each.stat().st_size for each in far.root.rglob("*") if each.is_file()) < 10_000


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.portkit")
    assert not is_bundle(tmp_path / "x.portkit")


def test_an_app_with_a_ca_is_the_same_each_time(
    near: Store, artifacts: dict[Form, Artifact], tmp_path: Path
) -> None:
    """A Move is resumed where the App is what it was; the CA's file is then in another folder."""
    (tmp_path / "ca").write_text("a CA")
    health = HealthProbe(scheme="https", ca_file=tmp_path / "ca")
    app = replace(APP, services=(replace(APP.services[0], health=health),))
    path, journal = tmp_path / "own.portkit", Journal(tmp_path / "journal")
    write(path, packed_app(artifacts, app), near, FACTS)
    prints, places = set(), set()
    for _ in range(2):
        with Bundle(path) as bundle:
            spec = resolve_all(bundle.app, bundle.images)
            place = spec.front.health.ca_file
            assert place is not None
            assert place.read_text() == "a CA"
            prints.add(fingerprint(journal, spec))
            place.write_text("another CA")
            assert fingerprint(journal, spec) not in prints
        assert not place.exists()
        places.add(place)
    assert (len(prints), len(places)) == (1, 2)
