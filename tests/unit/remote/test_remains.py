"""What killed Moves left: seen where it is, and removed only where nothing needs it."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portkit.remote import engine, gc, images, instances, leases, remains
from portkit.store import Store
from portkit.wire.frames import RemoteError
from tests.unit.fake_engine import FakeEngine, fake_engine

LEFT, RUNS, MOVES = "pk-0123456789ab", "pk-111111111111", "pk-222222222222"
HELD = "portkit/held:" + "0" * 32


@pytest.fixture
def host(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """A folder, a volume and a held image of each of three Moves: one that was killed, one whose
    Instance runs, one that is at work."""
    monkeypatch.setattr(gc, "_PROC", root / "proc")
    for name in ("proc", "moves"):
        (root / name).mkdir()
    Store(root / "store").put_bytes(b"makes it")
    marker = {"id": MOVES, "app": "shop", "role": "target", "needs": [], "brought": []}
    marker.update({"hold": "", "about": {}, "ports": []})
    (leases.ROOT / f"{MOVES}.json").write_text(json.dumps(marker))
    volumes, networks = [], []
    for identity in (LEFT, RUNS, MOVES):
        folder = instances.ROOT / identity
        folder.mkdir(parents=True)
        (folder / "app").write_text("shop")
        (folder / "config.raw").write_text("secret")
        data = root / f"volume-{identity}"
        data.mkdir()
        labels = {"portkit.move": identity, "portkit.app": "shop"}
        volumes.append({"Name": f"v-{identity}", "Labels": labels, "Mountpoint": str(data)})
        networks.append({"Id": f"i-{identity}", "Name": f"n-{identity}", "Labels": labels})
    (root / f"volume-{RUNS}" / "data").write_text("x")
    with fake_engine(root) as made:
        monkeypatch.setattr(engine, "SOCKET", str(made.socket))
        tags = [f"{HELD}-{identity[3:]}" for identity in (LEFT, RUNS, MOVES)]
        runs = {"Id": "c", "Labels": {"portkit.move": RUNS}, "Image": tags[1]}
        digest = "sha256:" + "1" * 64
        image = {"Id": digest, "RepoTags": [*tags, "theirs:1"]}
        made.answers |= {
            "GET /info": (200, {}),
            "GET /containers/json": (200, [runs]),
            "GET /volumes": (200, {"Volumes": volumes}),
            "GET /networks": (200, networks),
            "GET /images/json": (200, [image]),
            f"GET /images/{digest}/json": (200, image),
            f"DELETE /volumes/v-{LEFT}": (204, {}),
            f"DELETE /networks/i-{LEFT}": (403, {"message": "it has active endpoints"}),
            f"DELETE /images/{tags[0]}": (200, []),
        }
        yield made


def test_a_torn_marker_keeps_what_its_move_has(host: FakeEngine) -> None:
    (leases.ROOT / f"{MOVES}.json").write_text("{")
    assert {row["id"] for row in remains.listing({"domains": [RUNS]}, None)["remains"]} == {LEFT}
    assert not images.untag(f"{HELD}-{MOVES[3:]}")
    with pytest.raises(RemoteError, match="marker of a Move on the host cannot be read"):
        gc.collect({"dry_run": False, "all": True, "domains": [RUNS]}, None)
    assert images.untag(f"{HELD}-{LEFT[3:]}")


def kinds(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(row["kind"], row["id"], row["app"]) for row in rows]


def test_what_is_found(host: FakeEngine) -> None:
    wanted = [("instance", LEFT, "shop"), ("volume", LEFT, "shop"), ("network", LEFT, "shop")]
    wanted.append(("image", LEFT, ""))
    assert kinds(remains.listing({"domains": [RUNS]}, None)["remains"]) == wanted
    assert kinds(remains.find(None)) == wanted[1:], "without libvirt no folder is judged"


def test_a_network_of_several_stays_while_a_container_is_in_it(host: FakeEngine) -> None:
    """Also one that does not run, of which the engine takes no notice."""
    _, (row, *_) = host.answers["GET /networks"]
    row["Labels"] = {**row["Labels"], "portkit.external": "yes"}
    _, (runs,) = host.answers["GET /containers/json"]
    for joined in (True, False):
        places = {"Networks": {row["Name"]: {}} if joined else {}}
        host.answers["GET /containers/json"] = 200, [{**runs, "NetworkSettings": places}]
        found = [kind for kind, *_ in kinds(remains.find(None))]
        assert ("network" in found) is not joined


def test_a_dead_engine_hides_nothing_else(
    host: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.answers["GET /containers/json"] = (500, {"message": "broken"})
    assert kinds(remains.find([RUNS])) == [("instance", LEFT, "shop")]
    monkeypatch.setattr(engine, "SOCKET", "/nonexistent")
    assert kinds(remains.find([RUNS])) == [("instance", LEFT, "shop")]


def collect(monkeypatch: pytest.MonkeyPatch, **more: Any) -> list[str]:
    now = time.time() + 7200
    monkeypatch.setattr(gc.time, "time", lambda: now)
    args = {"dry_run": False, "all": False, "domains": [RUNS], **more}
    row = gc.collect(args, None)
    return [f"{each['kind']} {each['name']}" for each in row["removed"] if each["kind"] != "blob"]


def test_gc_removes_them(host: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [f"instance {LEFT}", f"volume v-{LEFT}", f"network n-{LEFT}"]
    wanted += [f"image {HELD}-{LEFT[3:]}"]
    assert collect(monkeypatch, dry_run=True) == wanted
    assert not host.asked("DELETE", "")
    assert collect(monkeypatch) == wanted
    assert sorted(path.name for path in instances.ROOT.glob("pk-*")) == [RUNS, MOVES]
    assert len(host.asked("DELETE", "")) == 3


def test_gc_keeps_a_volume_with_data(
    host: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / f"volume-{LEFT}" / "rows").write_text("theirs")
    assert f"volume v-{LEFT}" not in collect(monkeypatch)


def test_gc_keeps_a_folder_that_is_in_use(
    host: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its domain may be of a libvirt that was not asked."""
    fd = gc._PROC / "7/fd"
    fd.mkdir(parents=True)
    (gc._PROC / "7/cmdline").write_bytes(b"qemu-system-x86_64\0")
    (fd / "3").symlink_to(instances.ROOT / LEFT / "config.raw")
    assert f"instance {LEFT}" not in collect(monkeypatch)
    assert f"instance {LEFT}" not in collect(monkeypatch, domains=None)


def test_only_what_qemu_opens_is_its_users(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `base` and `kit` name is removed by root: nobody else may write them."""
    monkeypatch.setattr(instances, "qemu_owner", lambda: (os.getuid(), os.getgid()))
    monkeypatch.setattr(instances, "run_tool", lambda argv, *_: Path(argv[-1]).touch())
    given: list[str] = []
    monkeypatch.setattr(instances.os, "chown", lambda path, *_: given.append(Path(path).name))
    blob = Store(root / "store").put_bytes(b"disk")
    volumes = [{"name": "pkv0", "bytes": 4096}]
    args = {"id": LEFT, "app": "shop", "disk": blob.digest, "config": "eA==", "volumes": volumes}
    folder = Path(instances.create({**args, "kit": [blob.digest]}, None)["dir"])
    assert sorted(given)[1:] == ["config.raw", "disk.qcow2", "pkv0.raw", "serial.log", "state.log"]
    assert instances.app_of(folder) == "shop"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("magic", "mounted", "stays"),
    [(0xEF53, 0, False), (0xEF53, 1_700_000_000, True), (0, 0, True)],
)
def test_data_of_a_vm_is_for_a_person_to_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, magic: int, mounted: int, stays: bool
) -> None:
    """libvirt may have lost the domain of a VM that was in use; its volumes are not garbage."""
    monkeypatch.setattr(instances, "ROOT", tmp_path)
    folder = tmp_path / LEFT
    folder.mkdir()
    block = bytearray(2048)
    block[1024 + 0x2C : 1024 + 0x30] = mounted.to_bytes(4, "little")
    block[1024 + 0x38 : 1024 + 0x3A] = magic.to_bytes(2, "little")
    (folder / "pkv0.raw").write_bytes(block)
    (row,) = remains._folders(set())
    assert row["empty"] is not stays
    assert gc._kept(row, folder, time.time() + 1e6, 0.0, set()) is stays
