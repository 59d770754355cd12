"""What the remote half removes from its Store, and what it never does."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from portkit.remote import gc, images, instances, store
from portkit.store import Store
from portkit.wire import claims
from portkit.wire.frames import RemoteError

HOUR = 3600.0


@pytest.fixture
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(gc, "_PROC", root / "proc")
    (root / "proc").mkdir()

    def no_engine() -> Any:
        raise RemoteError("EngineError", "no engine")

    monkeypatch.setattr(images, "every", no_engine)
    return Store(store.ROOT)


def collect(monkeypatch: pytest.MonkeyPatch, later: float = 2 * HOUR, **more: bool) -> list[str]:
    """What goes when so many seconds have passed."""
    now = time.time() + later
    monkeypatch.setattr(gc.time, "time", lambda: now)
    row = gc.collect({"dry_run": False, "all": False, **more}, None)
    assert row["count"] == len(row["removed"])
    return [f"{each['kind']} {each['name']}" for each in row["removed"]]


def test_what_nothing_needs(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = here.put_bytes(b"x" * 10_000)
    for name in ("parts", "tmp/dead"):
        (here.root / name).mkdir(parents=True)
    (here.root / "parts" / "p").write_bytes(b"1")
    (here.root / "tmp/dead/file").write_bytes(b"1")
    assert collect(monkeypatch, 10) == []
    told = [f"part {'p'}", "tmp dead", f"blob {blob.digest[7:]}"]
    assert collect(monkeypatch, dry_run=True) == told
    assert here.has(blob.digest)
    assert collect(monkeypatch) == told
    assert not here.has(blob.digest)
    assert collect(monkeypatch) == []


def test_all_takes_what_is_young(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = here.put_bytes(b"young")
    assert collect(monkeypatch, 1, all=True) == [f"blob {blob.digest[7:]}"]


def test_a_clock_that_was_set_back_removes_nothing(
    here: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.put_bytes(b"from the future")
    assert collect(monkeypatch, -365 * 24 * HOUR, all=True) == []


def test_bases_of_instances_stay(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    used, unused = here.put_bytes(b"used"), here.put_bytes(b"unused")
    base = instances.ROOT / "base"
    (instances.ROOT / "pk-0123456789ab").mkdir(parents=True)
    base.mkdir()
    for blob in (used, unused):
        os.link(here.path(blob.digest), base / f"{blob.digest[7:]}.raw")
    (instances.ROOT / "pk-0123456789ab/base").write_text(f"{used.digest[7:]}.raw")
    name = unused.digest[7:]
    assert collect(monkeypatch) == [f"base {name}.raw", f"blob {name}"]
    assert here.has(used.digest)
    assert [path.name for path in base.iterdir()] == [f"{used.digest[7:]}.raw"]


def test_held_images_stay(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    config, layer, other = (here.put_bytes(data) for data in (b"config", b"layer", b"other"))
    rows = [
        {"tags": [f"portkit/held:{config.digest[7:39]}"], "diff_ids": [layer.digest]},
        {"tags": ["somebody:1"], "diff_ids": [other.digest]},
    ]
    monkeypatch.setattr(images, "every", lambda: rows)
    assert collect(monkeypatch) == [f"blob {other.digest[7:]}"]


def test_what_this_host_packed_stays(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, other = here.put_bytes(b"layer"), here.put_bytes(b"other")
    manifest = here.put_bytes(json.dumps({"blobs": [layer.digest]}).encode())
    index = here.root / "index.json"
    index.write_text(json.dumps({"manifests": [{"digest": manifest.digest}]}))
    assert collect(monkeypatch) == [f"blob {other.digest[7:]}"]
    index.write_text("{")  # nobody can tell what it named
    assert collect(monkeypatch) == []


def process(number: int, *words: str, opened: Path | None = None) -> None:
    folder = gc._PROC / str(number)
    (folder / "fd").mkdir(parents=True)
    (folder / "cmdline").write_bytes("\0".join(words).encode() + b"\0")
    if opened:
        (folder / "fd/3").symlink_to(opened)


def test_a_connection_at_work(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from portkit.host.program import BOOT

    blob = here.put_bytes(b"blob")
    (here.root / "tmp/dead").mkdir()
    process(7, "sh", "-c", "exec python3 -I -c $1", "sh", BOOT)
    process(8, "sudo", "-n", "python3", "-I", "-c", BOOT)
    assert gc._others() == []
    process(9, "/usr/bin/python3", "-I", "-c", BOOT)
    assert gc._others() == [9]
    assert collect(monkeypatch, all=True) == []
    assert collect(monkeypatch, 25 * HOUR, all=True) == ["tmp dead"]
    assert here.has(blob.digest)


def test_a_folder_whose_owner_runs_stays_whatever_its_age(
    here: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.put_bytes(b"makes the Store")
    mine, lock = claims.make(here.root / "tmp")
    assert f"tmp {mine.name}" not in collect(monkeypatch, 1000 * HOUR, all=True)
    os.close(lock)
    assert collect(monkeypatch, 1000 * HOUR, all=True) == [f"tmp {mine.name}"]


def test_open_files_stay(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = here.put_bytes(b"blob")
    written = here.root / "tmp/one/two"
    written.parent.mkdir()
    written.write_bytes(b"")
    process(7, "qemu-system-x86_64", opened=here.path(blob.digest))
    process(8, "python3", "portkit", opened=written)
    assert collect(monkeypatch, all=True) == []


def test_links_are_not_followed(
    here: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_bytes(b"1")
    here.put_bytes(b"1")
    (here.root / "tmp/link").symlink_to(tmp_path / "precious")
    assert "tmp link" in collect(monkeypatch)
    assert (tmp_path / "precious/file").exists()
