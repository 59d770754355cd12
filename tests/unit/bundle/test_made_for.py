"""Bundles without what a host has, to the real remote half."""

import json
import resource
from pathlib import Path
from typing import Any

import pytest

from portkit import inventory, move, transfer
from portkit.bundle import Bundle, write
from portkit.errors import AppError, IncompatibleError, PortkitError
from portkit.host import Host
from portkit.inventory import Inventory
from portkit.model import Artifact, Facts, Form, Severity, Verdict
from portkit.report import FormReport
from portkit.source import InBundle
from portkit.store import Store
from portkit.transfer.bases import LEAST_BASE, Base, likeliest
from portkit.transfer.forward import held
from portkit.transfer.index import Index
from tests.factories import FACTS as CAPABLE
from tests.unit.bundle.samples import FACTS, layer, packed_app
from tests.unit.fake_host import FakeHost
from tests.unit.transfer.far import Far


class Having(FakeHost):
    """A host with those blobs in its Store."""

    def __init__(self, name: str, facts: Facts, have: dict[str, int]) -> None:
        super().__init__(name, facts, {})
        self._have = have

    def call(self, verb: str, args: dict[str, Any], **more: Any) -> dict[str, Any]:
        if verb == "store.has":
            return {"have": {d: self._have[d] for d in args["digests"] if d in self._have}}
        return super().call(verb, args, **more)


def test_it_is_smaller_and_says_what_it_needs(
    path: Path, made: Path, artifacts: dict[Form, Artifact], tmp_path: Path
) -> None:
    lower = artifacts[Form.IMAGE].blobs[1]
    assert made.stat().st_size < path.stat().st_size - lower.size // 2
    with Bundle(made) as bundle:
        assert bundle.needs(Store(tmp_path / "empty")) == {lower.digest: lower.size}
        assert bundle.described(Form.DISK) == artifacts[Form.DISK]


def test_the_disk_is_made_there(
    made: Path, far: Far, host: Host, artifacts: dict[Form, Artifact], tmp_path: Path
) -> None:
    here = Store(tmp_path / "empty")
    lower, upper = artifacts[Form.IMAGE].blobs[1:]
    far.store.put_bytes(layer(1))
    with Bundle(made) as bundle:
        assert held(host, bundle.needs(here)) == {lower.digest}
        assert InBundle(bundle).lacking(host, here) == ()
        artifact = bundle.artifact(Form.DISK, here)
        assert here.has(upper.digest)
        assert not here.has(artifact.digest)
        parcels = bundle.parcels(here)
        assert list(parcels) == [artifact.digest]
        done = transfer.send(artifact, here, host, move="pk-0123456789ab", parcels=parcels)
    assert far.store.size(artifact.digest) == artifact.blobs[-1].size
    assert not far.store.has(upper.digest)  # it went there for the recipe alone
    assert len(done.blobs) == 2
    assert not [name for name in far.files() if name.startswith("parts/")]


def test_what_is_missing_is_told_first(
    made: Path, far: Far, host: Host, artifacts: dict[Form, Artifact], tmp_path: Path
) -> None:
    before = far.files()
    here = Store(tmp_path / "empty")
    with Bundle(made) as bundle, pytest.raises(IncompatibleError) as caught:
        move.move_app(bundle.app, source=InBundle(bundle), target=host, store=here)
    assert artifacts[Form.IMAGE].blobs[1].digest in caught.value.details
    assert "web2" in caught.value.brief
    assert far.files() == before
    assert not here.root.exists()


def test_a_check_tells_it_of_every_host(
    made: Path, artifacts: dict[Form, Artifact], tmp_path: Path
) -> None:
    lower = artifacts[Form.IMAGE].blobs[1]

    def found(name: str, have: dict[str, int], pack_disk: bool) -> list[FormReport]:
        host, here = Having(name, CAPABLE, have), Store(tmp_path / name)
        with Bundle(made) as bundle:
            report = move.plan_app(
                bundle.app,
                source=InBundle(bundle),
                target=host,  # type: ignore[arg-type]
                store=here,
                pack_disk=pack_disk,
            )
        return list(report.forms)

    for form in [*found("a", {}, False), *found("b", {}, True)]:
        assert form.verdict is Verdict.INCOMPATIBLE
        (finding,) = (each for each in form.findings if each.rule == "bundle-lacks")
        assert finding.severity is Severity.ERROR
        assert finding.evidence == (f"{lower.digest}, {lower.size} bytes",)
    for form in found("c", {lower.digest: lower.size}, False):
        assert not [each for each in form.findings if each.rule == "bundle-lacks"]


def test_what_is_here_need_not_be_there(
    made: Path, near: Store, host: Host, artifacts: dict[Form, Artifact]
) -> None:
    with Bundle(made) as bundle:
        assert bundle.needs(near) == {}
        assert bundle.parcels(near) == {}
        assert InBundle(bundle).lacking(host, near) == ()


def test_a_store_of_many_blobs_that_the_host_has(
    near: Store, artifacts: dict[Form, Artifact], tmp_path: Path
) -> None:
    """Not all of them are opened: there may be more than files can be."""
    lower = artifacts[Form.IMAGE].config.diff_ids[0]
    have = [near.put_bytes(bytes([number]) * LEAST_BASE).digest for number in range(100)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(list(Path("/proc/self/fd").iterdir())) + 50
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, limits[1]))
    try:
        path = tmp_path / "web2.portkit"
        write(path, packed_app(artifacts), near, FACTS, have=[lower, *have], made_for="web2")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    with Bundle(path) as bundle:
        assert bundle.document.disk is not None
        bases = {base.digest for base in bundle.document.disk.content.bases}
    assert bases == set(artifacts[Form.IMAGE].config.diff_ids)


def test_one_index_for_a_bundle(
    near: Store, artifacts: dict[Form, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Index] = []

    class Noted(Index):
        def __init__(self, *args: Any) -> None:
            made.append(self)
            super().__init__(*args)

    monkeypatch.setattr("portkit.transfer.bases.Index", Noted)
    have = [artifacts[Form.IMAGE].config.diff_ids[0]]
    write(tmp_path / "x.portkit", packed_app(artifacts), near, FACTS, have=have, made_for="web2")
    assert len(made) == 1


def test_which_bases_are_likely() -> None:
    rows = [Base(f"sha256:{number:064x}", LEAST_BASE) for number in range(30)]
    own = [row.digest for row in rows[:3]]
    assert likeliest(rows, own) == rows[:15]
    small, large = Base("small", LEAST_BASE - 1), Base("large", (4 << 30) + 1)
    assert likeliest([small, large, *rows[:3]], own) == rows[:3]
    assert likeliest([large], ["large"]) == [large]


def test_an_inventory(far: Far, host: Host, tmp_path: Path) -> None:
    blob = far.store.put_bytes(b"blob")
    (far.store.root / "blobs/sha256/x").write_bytes(b"no blob")
    found = inventory.take(host)
    assert found.blobs == {blob.digest: 4}
    assert found.digests == {blob.digest}
    path = tmp_path / "far.json"
    path.write_text(json.dumps(inventory.to_json(found)))
    assert inventory.read(path) == found


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "x"},
        {"host": None},
        {"layers": ["sha256:../x"]},
        {"blobs": {"md5:1": 1}},
        {"blobs": []},
    ],
)
def test_an_inventory_that_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**inventory.to_json(Inventory("h", "amd64")), **change}))
    with pytest.raises(PortkitError):
        inventory.read(path)
    path.write_text("[" * 10_000)
    with pytest.raises(AppError):
        inventory.read(path)
