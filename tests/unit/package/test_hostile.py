"""Archives, layers and answers that are made to do harm."""

import io
import json
import shutil
import socket
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.errors import SpaceError, TransferError, VerifyError
from portkit.host import Host
from portkit.image_config import parse_image_config
from portkit.model import CONFIG_LIMIT, Artifact, Form
from portkit.package import archive, image
from portkit.store import Store
from tests.trees import flatten
from tests.unit.package.archives import CONFIG, LAYERS, OCI, docker, oci, sha, write


def read(tmp_path: Path, members: dict[str, bytes], *more: tarfile.TarInfo) -> Store:
    store = Store(tmp_path / "store")
    archive.read(write(tmp_path / "a", members, *more), store, lambda _: None)
    return store


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


# hostile input 13
@pytest.mark.parametrize(
    "more",
    [
        tarfile.TarInfo("../evil"),
        tarfile.TarInfo("a/../../evil"),
        tarfile.TarInfo("/etc/cron.d/evil"),
        link("1/layer.tar", "/etc/passwd"),
        link("1/layer.tar", "../../../../etc/passwd"),
        link("x", "/etc/shadow", tarfile.LNKTYPE),
    ],
    ids=lambda info: f"{info.name} {info.linkname}",
)
def test_members_that_lead_outside(tmp_path: Path, more: tarfile.TarInfo) -> None:
    members = {name: data for name, data in docker().items() if name != more.name}
    with pytest.raises(VerifyError, match="malformed") as caught:
        read(tmp_path, members, more)
    assert repr(more.name) in caught.value.details
    assert sorted(path.name for path in tmp_path.iterdir()) in (["a"], ["a", "store"])


def tree(folder: Path, *layers: list[tarfile.TarInfo]) -> dict[str, tarfile.TarInfo]:
    paths = []
    for index, infos in enumerate(layers):
        paths.append(folder / str(index))
        with tarfile.open(paths[-1], "w", format=tarfile.PAX_FORMAT) as out:
            for info in infos:
                out.addfile(info, io.BytesIO(b"x" * info.size))
    data = io.BytesIO()
    flatten(paths, data)
    data.seek(0)
    with tarfile.open(fileobj=data) as bundle:
        return {info.name: info for info in bundle}


def test_absolute_names_are_the_trees_own(tmp_path: Path) -> None:
    """hostile input 13: as engines read them; what is written through a link stays inside, too."""
    outside = link("out", "/../../etc")
    lower = [tarfile.TarInfo("/etc/a"), outside, link("up", "../../../..")]
    inside = [tarfile.TarInfo("out/b"), tarfile.TarInfo("up/c"), tarfile.TarInfo("//etc//d")]
    dots = [tarfile.TarInfo("../../e"), tarfile.TarInfo("etc/../../f"), tarfile.TarInfo("no/../g")]
    found = tree(tmp_path, [*lower, *inside, *dots])
    names = {".", "etc", "etc/a", "etc/b", "etc/d", "c", "out", "up", "e", "f", "g"}
    assert set(found) == names
    assert found["out"].linkname == "/../../etc", "the link itself stays as it is"


# hostile input 14
@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o1777, 0o6000])
def test_odd_files_are_kept_exactly(tmp_path: Path, kind: bytes, mode: int) -> None:
    odd, plain, folder = (tarfile.TarInfo(name) for name in ("odd", "plain", "folder"))
    odd.type, folder.type = kind, tarfile.DIRTYPE
    odd.devmajor, odd.devminor = (8, 1) if kind != tarfile.FIFOTYPE else (0, 0)
    for info in (odd, plain, folder):
        info.mode, info.uid = mode, 4_000_000_000
        info.pax_headers = {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}
    before = set(tmp_path.iterdir())
    found = tree(tmp_path, [odd, plain, folder])
    for info in (odd, plain, folder):
        made = found[info.name]
        assert (made.type, made.mode, made.uid) == (info.type, mode, 4_000_000_000)
        assert (made.devmajor, made.devminor) == (info.devmajor, info.devminor)
        assert made.pax_headers["SCHILY.xattr.security.capability"] == "\x01\x00\x00\x02"
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"0"}, "nothing is made here"


def test_no_device_becomes_a_file_of_the_store(tmp_path: Path) -> None:  # hostile input 14
    device = tarfile.TarInfo("2/layer.tar")
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
    store = read(tmp_path, docker(), device)
    for path in store.root.rglob("*"):
        assert path.is_dir() or path.is_file()


def broken_oci(change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    """An OCI layout whose manifest went through `change`, digests made anew around it."""
    members = {n: d for n, d in oci().items() if n != "index.json"}
    (name,) = [n for n, d in members.items() if d.startswith(b'{"config"')]
    manifest = json.loads(members.pop(name))
    change(manifest)
    data = json.dumps(manifest).encode()
    row = {
        "mediaType": f"{OCI}.manifest.v1+json",
        "digest": f"sha256:{sha(data)}",
        "size": len(data),
    }
    index = json.dumps({"manifests": [row]}).encode()
    return {**members, f"blobs/sha256/{sha(data)}": data, "index.json": index}


# hostile inputs 17, 18
@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda m: m["config"].update(size=m["config"]["size"] + 1), "descriptor says"),
        (lambda m: m["config"].update(size=-1), "descriptor says"),
        (lambda m: m["config"].update(size="1" * 1000), "descriptor says"),
        (lambda m: m["config"].pop("size"), "descriptor says"),
        (lambda m: m["layers"][0].update(size=7), "descriptor says"),
        (lambda m: m["config"].update(digest="sha256:../../../etc/passwd"), "digest is not valid"),
        (lambda m: m["config"].update(digest="md5:" + "0" * 32), "digest is not valid"),
        (lambda m: m["config"].update(digest="sha256:" + "0" * 63), "digest is not valid"),
        (lambda m: m["config"].update(digest=5), "digest is not valid"),
        (lambda m: m["layers"][0].update(digest="sha256:/etc/passwd"), "digest is not valid"),
        (lambda m: m.update(config=[1]), "JSON object"),
        (lambda m: m.update(layers={"a": 1}), "no layers"),
        (lambda m: m.update(layers=[5]), "JSON object"),
    ],
)
def test_descriptors(tmp_path: Path, change: Callable[[Any], object], word: str) -> None:
    with pytest.raises(VerifyError) as caught:
        read(tmp_path, broken_oci(change))
    assert word in str(caught.value)
    assert len(caught.value.details) < 1000


def test_the_size_comes_before_the_digest(tmp_path: Path) -> None:  # hostile input 17
    members = oci()
    (name,) = [n for n, d in members.items() if d.startswith(b'{"config"')]
    for data, word in ((b"x", "descriptor says"), (b"x" * len(members[name]), "match its digest")):
        with pytest.raises(VerifyError) as caught:
            read(tmp_path, {**members, name: data})
        assert word in caught.value.details


def test_a_config_that_is_not_what_its_name_says(tmp_path: Path) -> None:  # hostile input 17
    for name in (sha(CONFIG + b"x") + ".json", "blobs/sha256/" + sha(CONFIG + b"x")):
        members = {n: d for n, d in docker().items() if n != "config.json"}
        rows = json.loads(members["manifest.json"])
        rows[0]["Config"] = name
        members.update({name: CONFIG, "manifest.json": json.dumps(rows).encode()})
        with pytest.raises(VerifyError, match="malformed"):
            read(tmp_path, members)


# hostile input 19
@pytest.mark.parametrize("make", [docker, lambda layers: {**oci(), "x/layer.tar": layers[0]}])
def test_a_diff_id_that_is_not_the_layers_hash(
    tmp_path: Path, make: Callable[[tuple[bytes, ...]], dict[str, bytes]]
) -> None:
    members = make((LAYERS[0] + b"!", LAYERS[1]))
    members.pop(f"blobs/sha256/{sha(LAYERS[0])}", None)
    with pytest.raises(VerifyError) as caught:
        read(tmp_path, members)
    assert sha(LAYERS[0]) in caught.value.details
    store = Store(tmp_path / "store")
    assert not store.has(f"sha256:{sha(LAYERS[0])}")
    assert not store.has(f"sha256:{sha(LAYERS[0] + b'!')}"), "what nobody asked for is not kept"


def test_foreign_layers_are_never_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hostile input 23: their urls are read by nobody; without the layer there is no image."""
    asked = []
    monkeypatch.setattr(socket.socket, "connect", lambda *args: asked.append(args))
    kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    foreign = {"urls": ["http://192.0.2.1/layer"], "mediaType": kind}
    members = broken_oci(lambda m: m["layers"][0].update(foreign))
    without = {n: d for n, d in members.items() if n != f"blobs/sha256/{sha(LAYERS[0])}"}
    with pytest.raises(VerifyError, match="malformed"):
        read(tmp_path, without)
    assert read(tmp_path, members).has(f"sha256:{sha(LAYERS[0])}")
    assert asked == []


JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("digest"), inner),
    max_leaves=5,
)


@given(st.sampled_from(["config", "layers", "config.digest", "config.size"]), JSON)
def test_any_json_in_a_manifest_is_judged(key: str, value: object) -> None:
    """hostile inputs 17, 18: whatever stands where a descriptor should."""
    import tempfile

    def change(manifest: dict[str, Any]) -> None:
        outer, _, inner = key.partition(".")
        if inner:
            manifest[outer][inner] = value
        else:
            manifest[outer] = value

    with tempfile.TemporaryDirectory() as folder:
        try:
            read(Path(folder), broken_oci(change))
        except VerifyError:
            return
    assert key == "layers"  # an empty list: layers are found by their content


class Source:
    """A remote half that has one image, and sends what it is told to."""

    encodings = ("raw",)

    def __init__(self, bundle: bytes, images: list[dict[str, Any]], *, containerd: bool) -> None:
        self._bundle = bundle
        self._listed = {"images": images, "containerd": containerd}
        self.calls: list[str] = []

    def call(
        self, verb: str, args: dict[str, Any], *, receive: Any = None, most: int = 0
    ) -> dict[str, Any]:
        self.calls.append(verb)
        if verb == "image.list":
            return self._listed
        receive(self._bundle)
        return {"size": len(self._bundle)}


def fetch(tmp_path: Path, *, containerd: bool = False, **changed: Any) -> Artifact:
    row = {"id": f"sha256:{sha(CONFIG)}", "tags": [], "size": 1, "architecture": "amd64"}
    row["diff_ids"] = [f"sha256:{sha(data)}" for data in LAYERS]
    bundle = write(tmp_path / "a", docker()).read_bytes()
    images = changed.pop("images", [{**row, **changed}])
    remote: Any = Source(bundle, images, containerd=containerd)
    return image.fetch(Host("local", None, remote), "x", Store(tmp_path / "store"))


def test_what_was_fetched_is_what_was_named(tmp_path: Path) -> None:
    """hostile inputs 17, 28: the engine's word on id and layers is held against what came."""
    assert fetch(tmp_path).digest == f"sha256:{sha(CONFIG)}"
    with pytest.raises(VerifyError, match="changed"):
        fetch(tmp_path, id="sha256:" + "1" * 64)
    with pytest.raises(VerifyError, match="changed"):
        fetch(tmp_path, id="sha256:" + "2" * 64, diff_ids=[f"sha256:{sha(LAYERS[1])}"])
    assert fetch(tmp_path, id="sha256:" + "3" * 64, containerd=True).form is Form.IMAGE
    for images in ([], [{}, {}]):
        with pytest.raises(TransferError):
            fetch(tmp_path, images=images)
    assert list((tmp_path / "store/tmp").glob("*/*")) == []


def test_an_image_that_has_no_room_here_is_not_fetched(tmp_path: Path) -> None:
    """hostile input 40"""
    free = shutil.disk_usage(tmp_path).free
    for containerd, size in ((False, free * 3 // 4), (True, free * 2)):
        with pytest.raises(
            SpaceError, match="the Store of this machine does not have enough space"
        ):
            fetch(tmp_path, size=size, containerd=containerd)
    assert list((tmp_path / "store/tmp").glob("*/*")) == []
    assert fetch(tmp_path, size=free * 3 // 4, containerd=True).form is Form.IMAGE


def test_a_config_over_4_mib() -> None:  # hostile input 21
    with pytest.raises(VerifyError, match="malformed"):
        parse_image_config(CONFIG[:-1] + b" " * (CONFIG_LIMIT + 1) + b"}")


def test_attributes_of_an_archives_own_members_are_not_kept(tmp_path: Path) -> None:
    """10,000 members may have a megabyte of them each."""
    more = []
    for number in range(40):
        info = tarfile.TarInfo(f"x{number}")
        info.pax_headers = {"SCHILY.xattr.user.x": "x" * 500_000}
        more.append(info)
    path = write(tmp_path / "a", docker(), *more)
    tracemalloc.start()
    try:
        archive.read(path, Store(tmp_path / "store"), lambda _: None)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
