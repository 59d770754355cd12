"""Odd layers: the tree that a disk gets against the one that each engine shows, by attribute."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from portkit import process
from portkit.guest.kit import build_kit
from portkit.lab import Lab
from portkit.model import Artifact, Form
from portkit.needs import appliance
from portkit.package import disk
from portkit.store import Store
from tests.factories import IMAGE
from tests.integration import odd_layers

pytestmark = pytest.mark.lab
_WHEN = odd_layers.MTIME
# The engine's own, or what it puts into every container.
_ENGINES = {"run", "proc", "sys", "dev", "etc", "pause"}
# Engines differ, and so the disk is as the others have it; docs/disk.md says why.
_OTHERWISE = {
    ("alpha", "folder unnamed above"),
    ("beta", "folder unnamed above"),
    ("alpha", "opaque in a folder unnamed"),
    ("beta", "opaque in a folder unnamed"),
    ("gamma", "trusted attribute"),
}
# Refused here, with the reason: engines show different content.
_REFUSED = {name for name in odd_layers.CASES if name.startswith("overlay's ")}


def told(tree: odd_layers.Tree, theirs: odd_layers.Tree) -> odd_layers.Tree:
    """Without what is the engine's. A folder that a layer does not name, and the root, have the
    time at which the engine made them."""
    found = {}
    for name, (mode, uid, gid, mtime, *rest) in tree.items():
        if name.split("/")[0] not in _ENGINES:
            timed = theirs.get(name, [0] * 4)[3] == _WHEN
            found[name] = [mode, uid, gid, mtime if timed else None, *rest]
    return found


@pytest.fixture(scope="module")
def pause(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return odd_layers.pause(tmp_path_factory.mktemp("pause"))


@pytest.mark.parametrize(
    "host", ["alpha", pytest.param("beta", marks=pytest.mark.campaign), "gamma"]
)
def test_as_the_engine_shows_it(lab: Lab, tmp_path: Path, pause: bytes, host: str) -> None:
    ssh = ["ssh", "-F", str(lab.ssh_config), f"lab-{host}"]
    differ = {}
    for name in odd_layers.CASES:
        tars = odd_layers.layers(name, pause)
        ours = odd_layers.made(tmp_path, tars)
        if name in _REFUSED:
            assert isinstance(ours, str), name
            assert "overlayfs' own mark" in ours
            continue
        theirs = odd_layers.seen(ssh, name, tars)
        # What an engine does not take is in none: whatever is made of it hurts nobody.
        if isinstance(theirs, str):
            continue
        assert not isinstance(ours, str), (name, ours)
        if told(ours, theirs) != told(theirs, theirs):
            differ[name] = (told(ours, theirs), told(theirs, theirs))
    assert set(differ) == {name for at, name in _OTHERWISE if at == host}, differ


_READ = """
import guestfs, json, sys
g = guestfs.GuestFS(python_return_dict=True)
g.add_drive_opts(sys.argv[1], format="raw", readonly=True)
g.set_memsize(512)
g.launch()
g.mount_ro(g.list_devices()[0] + "2", "/")
rows = {}
for name in ["."] + g.find("/"):
    path = "/" if name == "." else "/" + name
    st = g.lstatns(path)
    xattrs = {row["attrname"]: bytes(row["attrval"]).hex() for row in g.lgetxattrs(path)}
    rows[name] = [oct(st["st_mode"]), st["st_uid"], st["st_gid"], xattrs]
print(json.dumps(rows))
g.shutdown()
"""


def test_inside_a_disk(lab: Lab, tmp_path: Path, pause: bytes) -> None:
    """What libguestfs reads of it: a closed root, ACLs, other attributes."""
    store, kit = Store(tmp_path / "store"), build_kit()
    tars = [odd_layers.layers("acl", pause)[0]]
    for name in ("acl", "root owned", "user attribute", "root closed"):
        tars += odd_layers.layers(name, pause)[1:]
    layers = tuple(store.put_bytes(data) for data in tars)
    image = replace(IMAGE, diff_ids=tuple(blob.digest for blob in layers))
    total = sum(blob.size for blob in layers)
    artifact = Artifact(Form.IMAGE, image.digest, (image,), layers, total, total)
    made = disk.build(artifact, None, kit, store)
    argv = [sys.executable, "-c", _READ, store.content(made.digest)]
    found = json.loads(
        process.run(argv, env=appliance.environment(kit, tmp_path), timeout=300).stdout
    )
    wanted = odd_layers.made(tmp_path, tars)
    assert not isinstance(wanted, str)
    assert found == {name: [*row[:3], row[6]] for name, row in wanted.items()}
