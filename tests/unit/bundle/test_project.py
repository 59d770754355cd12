"""A whole project through a bundle: several images, networks, volumes, and files of its own."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portkit.app import filled
from portkit.bundle import Bundle, write
from portkit.bundle.contents import encode
from portkit.bundle.document import digest_of
from portkit.clock import Clock
from portkit.errors import AppError, VerifyError
from portkit.model import ContentFile, Finding, Form, PackedApp, Severity, content_numbers
from portkit.progress import NullObserver
from portkit.source import InBundle
from portkit.store import Store
from portkit.wire import codec
from tests.unit.bundle.altered import altered, blob_name, build, parts, refused, unpacked
from tests.unit.bundle.samples import FACTS, SECRET, packed_project


@pytest.fixture
def shop(near: Store) -> PackedApp:
    return packed_project(near)


@pytest.fixture
def path(tmp_path: Path, near: Store, shop: PackedApp) -> Path:
    found = tmp_path / "shop.portkit"
    write(found, shop, near, FACTS)
    return found


def test_there_and_back(path: Path, shop: PackedApp, tmp_path: Path) -> None:
    far = Store(tmp_path / "far")
    assert unpacked(path, far) == shop.artifacts
    assert all(far.has(blob.digest) for each in shop.artifacts.values() for blob in each.blobs)
    with Bundle(path) as bundle:
        app = bundle.app
        assert bundle.images == shop.images
    # They were read: what is on this machine has no part in it any more.
    assert filled(app) == app
    assert (app.networks, app.volumes) == (shop.app.networks, shop.app.volumes)
    assert (app.front, app.machine) == (shop.app.front, shop.app.machine)
    for here, there in zip(shop.app.services, app.services, strict=True):
        assert here.depends_on == there.depends_on
        assert [(each.target, each.read_only, each.files) for each in here.contents] == [
            (each.target, each.read_only, each.files) for each in there.contents
        ]
    # The two that had the same folder have the same one there.
    assert (
        content_numbers(app.services)
        == content_numbers(shop.app.services)
        == (
            (0, 1),
            (),
            (0,),
        )
    )


def test_what_images_share_is_in_it_once(path: Path, shop: PackedApp) -> None:
    members = parts(path)
    rows = json.loads(members["index.json"])["manifests"]
    names = [row["annotations"]["org.opencontainers.image.ref.name"] for row in rows[:2]]
    assert names == ["shop-web", "shop-db"]
    first, second = (json.loads(members[blob_name(row["digest"])])["layers"] for row in rows[:2])
    assert first[0] == second[0]
    assert first[1] != second[1]
    # Any tool finds the files of the App as well.
    (files,) = json.loads(members[blob_name(rows[-1]["digest"])])["layers"]
    assert files["mediaType"].endswith("tar+zstd")
    decoder = codec.Decompressor("zstd")
    assert SECRET.encode() in b"".join(decoder.feed(members[blob_name(files["digest"])]))


def test_the_source_gives_each_service_its_image(
    path: Path, shop: PackedApp, tmp_path: Path
) -> None:
    with Bundle(path) as bundle:
        clock, far = Clock(NullObserver()), Store(tmp_path / "far")
        images = InBundle(bundle).images(bundle.app, far, clock)
    assert images.services == shop.images
    assert images.artifact == shop.artifacts[Form.IMAGE]


def test_the_disk_alone(near: Store, shop: PackedApp, tmp_path: Path) -> None:
    path, far = tmp_path / "disk.portkit", Store(tmp_path / "far")
    disk = shop.artifacts[Form.DISK]
    write(path, replace(shop, artifacts={Form.DISK: disk}), near, FACTS)
    assert unpacked(path, far) == {Form.DISK: disk}
    with Bundle(path) as bundle:
        images = InBundle(bundle).images(bundle.app, far, Clock(NullObserver()))
    assert images.services == shop.images
    assert images.artifact.digest == shop.artifacts[Form.IMAGE].digest
    assert images.artifact.stored_bytes > disk.stored_bytes


def test_for_a_host_that_has_the_shared_layer(near: Store, shop: PackedApp, tmp_path: Path) -> None:
    shared = shop.images[0].diff_ids[0]
    made = tmp_path / "web2.portkit"
    write(made, shop, near, FACTS, have=[shared], made_for="web2")
    with Bundle(made) as bundle:
        assert bundle.needs(Store(tmp_path / "empty")) == {shared: near.size(shared)}
        assert bundle.described(Form.IMAGE) == shop.artifacts[Form.IMAGE]


def test_files_are_in_no_store_and_no_document(path: Path, tmp_path: Path) -> None:
    far = Store(tmp_path / "far")
    with Bundle(path) as bundle:
        assert SECRET not in bundle.document.model_dump_json()
        assert SECRET not in repr(bundle.app) + repr(bundle.document)
        for form in bundle.forms:
            bundle.artifact(form, far)
    assert not any(SECRET.encode() in p.read_bytes() for p in far.root.rglob("*") if p.is_file())


def test_a_bundle_of_the_version_before(path: Path, tmp_path: Path) -> None:
    """It may be whole, so nobody is sent to copy it again."""
    members = parts(path)
    members["index.json"] = members["index.json"].replace(b"bundle.v2", b"bundle.v1")
    with pytest.raises(AppError, match="another version") as caught:
        Bundle(build(path, members))
    assert "Pack the App again" in caught.value.resolution


def with_files(path: Path, data: bytes, **more: object) -> Path:
    """The bundle with other files of the App, all digests right but what `more` says."""
    packer = codec.Compressor("zstd")
    packed = packer.feed(data) + packer.finish()
    before: list[str] = []

    def other(row: dict[str, Any]) -> None:
        before.append(blob_name(row["carried"]["packed"]))
        row["carried"] |= {"digest": digest_of(data), "size": len(data)}
        row["carried"] |= {"packed": digest_of(packed), "packed_size": len(packed), **more}

    members = parts(altered(path, other))
    del members[before[0]]
    return build(path, {**members, blob_name(digest_of(packed)): packed})


def test_other_files(path: Path) -> None:
    with Bundle(path) as bundle:
        html, key = (each.files for each in bundle.app.services[0].contents)
    other = (replace(key[0], data=b"another"),)
    with Bundle(with_files(path, encode([html, other]))) as bundle:
        assert bundle.app.services[0].contents[1].files == other


DIGEST = "sha256:" + "5" * 64
TWO = encode([(ContentFile(),)] * 2)


# hostile inputs 13 to 17
@pytest.mark.parametrize(
    ("data", "more", "words"),
    [
        (b"no tar", {}, "the App's files: "),
        (encode([(ContentFile(),)]), {}, "outside of the compose file"),
        (encode([(ContentFile(),)] * 3), {}, "does not mention files"),
        (TWO, {"size": 10241}, "differs from what it declares"),
        (TWO, {"size": 10}, "more than it declares"),
        (TWO, {"size": 1 << 30}, "more than 67108864 bytes"),
        (TWO, {"digest": DIGEST}, "differs from what it declares"),
        (TWO, {"digest": "sha256:../x"}, "carried.digest"),
        (TWO, {"packed_size": 9}, "the declared size"),
        (TWO, {"encoding": "absent"}, "more than 67108864 bytes"),
        (TWO, {"encoding": "recipe"}, "more than 67108864 bytes"),
        (
            TWO,
            {"bases": [{"digest": "sha256:" + "5" * 64, "size": 1}]},
            "needs none",
        ),
    ],
)
def test_files_that_do_not_fit(
    path: Path, tmp_path: Path, data: bytes, more: dict[str, object], words: str
) -> None:
    with pytest.raises((AppError, VerifyError)) as caught:
        unpacked(with_files(path, data, **more), Store(tmp_path / "far"))
    assert words in str(caught.value)
    assert not (tmp_path / "far").exists()


def test_files_that_are_a_bomb(path: Path, tmp_path: Path) -> None:
    """Far more zeros than are declared: reading ends at the size."""
    with pytest.raises(VerifyError, match="damaged") as caught:
        Bundle(with_files(path, bytes(1 << 28), size=1 << 16))
    assert "more than it declares" in caught.value.details


def test_documents(path: Path, tmp_path: Path) -> None:
    data, far = path.read_bytes(), Store(tmp_path / "far")

    def no_image(row: dict[str, Any]) -> None:
        del row["images"]["other"]

    def image_of_nobody(row: dict[str, Any]) -> None:
        row["images"]["more"] = row["images"]["web"]

    def unknown_image(row: dict[str, Any]) -> None:
        row["images"]["web"] = "sha256:" + "5" * 64

    def a_layer_as_an_image(row: dict[str, Any]) -> None:
        row["images"]["web"] = row["layers"][0]["packed"]

    def one_image_for_all(row: dict[str, Any]) -> None:
        row["images"] = dict.fromkeys(row["images"], row["images"]["web"])

    def no_images(row: dict[str, Any]) -> None:
        row["images"] = {}

    def no_service(row: dict[str, Any]) -> None:
        app = json.loads(row["app"])
        del app["services"]["other"]
        row["app"] = json.dumps(app)

    def no_files(row: dict[str, Any]) -> None:
        row["carried"] = None

    def a_layer_less(row: dict[str, Any]) -> None:
        row["layers"].pop(0)

    def many_layers(row: dict[str, Any]) -> None:
        row["layers"] *= 2000

    for change in (no_image, image_of_nobody, unknown_image, a_layer_as_an_image):
        path.write_bytes(data)
        refused(altered(path, change), far)
    for change in (one_image_for_all, no_images, no_service, no_files, a_layer_less, many_layers):
        path.write_bytes(data)
        refused(altered(path, change), far)
    assert not far.root.exists()


def test_more_descriptions_of_images_than_are_read(
    path: Path, near: Store, shop: PackedApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may have megabytes, and there may be hundreds of them."""
    monkeypatch.setattr("portkit.bundle.document.SMALL", 500)
    assert "at most 500" in refused(path, Store(tmp_path / "far"))
    other = tmp_path / "other.portkit"
    with pytest.raises(AppError, match="too large for a bundle"):
        write(other, shop, near, FACTS)
    assert not other.exists()


def test_more_than_a_document_holds(near: Store, shop: PackedApp, tmp_path: Path) -> None:
    """What could not be read is not written."""
    noted = Finding("own", Severity.INFO, "seen", ("a", "b", "c"))
    for findings in ((noted,) * 10_001, (replace(noted, message="m" * 4096),) * 3000):
        path = tmp_path / "x.portkit"
        app = replace(shop.app, findings=findings)
        with pytest.raises(AppError, match="too large for a bundle"):
            write(path, replace(shop, app=app), near, FACTS)
        assert not path.exists()
