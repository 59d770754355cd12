"""What a Store leaves for others to see, to guess and to plant: nothing."""

import os
import secrets
import stat
from pathlib import Path

import pytest

from portkit.errors import PortkitError, VerifyError
from portkit.model import Artifact, Form, ImageConfig
from portkit.store import Store
from portkit.wire.sparse import copy_sparse
from tests.unit.umasks import umask


def use(store: Store, folder: Path) -> None:
    """Everything that makes a file or a folder."""
    blob = store.put_bytes(b"hello")
    image = ImageConfig(blob.digest, "amd64", "linux", ())
    store.save(Artifact(Form.IMAGE, blob.digest, (image,), (blob,), 5, 5), "key")
    source = folder / "source"
    source.write_bytes(b"data")
    store.add_file(source)
    copy_sparse(source, store.temporary())
    with store.writer() as writer:
        writer.write(b"half")
        assert stat.S_IMODE(os.fstat(writer._file.fileno()).st_mode) == 0o600


# hostile input 60
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077, 0o377])
def test_modes_under_any_umask(tmp_path: Path, mask: int) -> None:
    store = Store(tmp_path / "store")
    with umask(mask):
        use(store, tmp_path)
    found = [store.root, *store.root.rglob("*")]
    assert len(found) > 8
    for path in found:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_a_lax_folder_is_tightened(tmp_path: Path) -> None:  # hostile input 60
    root = tmp_path / "store"
    (root / "tmp").mkdir(parents=True)
    root.chmod(0o777)
    (root / "tmp").chmod(0o1777)
    Store(root).put_bytes(b"x")
    for path in (root, root / "tmp"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_temporary_names_cannot_be_predicted(tmp_path: Path) -> None:  # hostile input 61
    store = Store(tmp_path / "store")
    names = {store.temporary().name for _ in range(200)}
    assert len(names) == 200
    assert min(map(len, names)) >= 32


def test_what_was_planted_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hostile input 61: even under a name that was guessed, a link or file there is an error."""
    store = Store(tmp_path / "store")
    store.put_bytes(b"x")
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    scratch = store.scratch()
    monkeypatch.setattr(secrets, "token_hex", lambda count: "guessed")
    (scratch / "guessed").symlink_to(victim)
    (store.root / ".guessed").symlink_to(victim)
    with pytest.raises(FileExistsError):
        store.put_bytes(b"evil")
    with pytest.raises(FileExistsError):
        copy_sparse(victim, store.temporary())
    with pytest.raises(FileExistsError):
        store._write_small(store.root / "index.json", b"evil")
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["", "tmp", "blobs", "blobs/sha256"])
@pytest.mark.parametrize("link", [False, True])
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, name: str, link: bool) -> None:
    """hostile input 61: planted before us, or as a link."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    place = tmp_path / "store" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    theirs = tmp_path / "theirs" if link else place
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    if link:
        place.symlink_to(theirs)
    with pytest.raises(PortkitError, match="cannot be trusted") as caught:
        Store(tmp_path / "store").put_bytes(b"x")
    assert str(place) in caught.value.details
    assert list(theirs.iterdir()) == []


def test_a_link_of_our_own_is_fine(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "store").symlink_to(tmp_path / "large")
    assert Store(tmp_path / "store").put_bytes(b"x").size == 1


# hostile input 18
@pytest.mark.parametrize(
    "bad",
    [
        "sha256:../x",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "0" * 64 + "\n",
        "md5:" + "0" * 32,
        "sha512:" + "0" * 64,
        "SHA256:" + "0" * 64,
        "0" * 64,
        "",
        "sha256:",
        "sha256:" + "０" * 64,  # noqa: RUF001
        "sha256:" + "0" * 63 + "/",
    ],
)
def test_digests(tmp_path: Path, bad: str) -> None:
    store = Store(tmp_path / "store")
    for ask in (store.path, store.has, store.size, lambda d: store.read_bytes(d, 9)):
        with pytest.raises(VerifyError, match="not valid"):
            ask(bad)
    with pytest.raises(VerifyError), store.writer() as writer:
        writer.commit(bad)
    assert [p for p in store.root.rglob("*") if p.is_file() and p.name != "oci-layout"] == []


def test_the_size_comes_before_the_digest(tmp_path: Path) -> None:  # hostile input 17
    with Store(tmp_path / "store").writer() as writer:
        writer.write(b"abc")
        with pytest.raises(VerifyError, match="size"):
            writer.commit("sha256:" + "0" * 64, size=4)
        with pytest.raises(VerifyError, match="digest"):
            writer.commit("sha256:" + "0" * 64, size=3)
