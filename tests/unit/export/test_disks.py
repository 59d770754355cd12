"""Disks for other hypervisors: qemu-img's own check and comparison, and the same bytes again."""

import hashlib
import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from portkit import process
from portkit.errors import AppError, ToolError, VerifyError
from portkit.export import disks
from portkit.model import App, Artifact, Form, Mount, Port, Service, Severity
from portkit.progress import NullObserver
from portkit.store import Store
from tests.factories import IMAGE

SIZE = (3 << 20) + 512  # not a whole number of any format's blocks
KINDS = (*disks.FORMATS.values(), disks.STREAM)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    path = tmp_path / "raw"
    with path.open("wb") as file:
        file.truncate(SIZE)
        file.seek(1 << 20)
        file.write(bytes(range(256)) * 256)
    return path


def digest_of(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def about(path: Path) -> dict[str, object]:
    told = process.run(["qemu-img", "info", "--output", "json", path]).text
    found: dict[str, object] = json.loads(told)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.name}{len(kind.words)}")
def test_it_is_the_same_disk(kind: disks.DiskFormat, raw: Path, tmp_path: Path) -> None:
    made = [tmp_path / f"{name}{kind.suffix}" for name in ("one", "two")]
    for path in made:
        disks.convert(raw, kind, path, name="disk", digest=digest_of(raw))
    assert about(made[0])["format"] == kind.name
    assert stat.S_IMODE(made[0].stat().st_mode) == 0o600
    process.run(["qemu-img", "convert", "-O", "raw", made[0], tmp_path / "back"])
    assert (tmp_path / "back").read_bytes()[:SIZE] == raw.read_bytes()
    # VHDX has identifiers under checksums of its own, and is left as qemu-img writes it.
    assert kind.name == "vhdx" or digest_of(made[0]) == digest_of(made[1])


@pytest.mark.parametrize(
    ("kind", "variant"),
    [(disks.FORMATS["vmdk"], "monolithicSparse"), (disks.STREAM, "streamOptimized")],
)
def test_variants_of_vmdk(kind: disks.DiskFormat, variant: str, raw: Path, tmp_path: Path) -> None:
    disks.convert(raw, kind, tmp_path / "made", name="disk.vmdk", digest=digest_of(raw))
    told = about(tmp_path / "made")["format-specific"]
    assert isinstance(told, dict)
    assert told["data"]["create-type"] == variant
    assert b'SPARSE "disk.vmdk"\n' in (tmp_path / "made").read_bytes()


def test_a_disk_that_differs_is_found(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(path: Path, kind: disks.DiskFormat, name: str, digest: bytes) -> None:
        process.run(["qemu-io", "-f", "vdi", "-c", "write -P 7 2M 64k", path])

    monkeypatch.setattr(disks, "_identify", spoil)
    with pytest.raises(ToolError):
        made = tmp_path / "made"
        disks.convert(raw, disks.FORMATS["vdi"], made, name="made", digest=digest_of(raw))


@pytest.mark.parametrize("name", ["vmdk", "vdi"])
def test_a_file_of_another_layout(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1000))
    with pytest.raises(VerifyError, match="as requested"):
        disks._identify(tmp_path / "file", disks.FORMATS[name], "file", bytes(32))


def test_their_processor(tmp_path: Path) -> None:
    image = replace(IMAGE, architecture="arm64")
    artifact = Artifact(Form.IMAGE, image.digest, (image,), (), 0, 0)
    made = _app(Service("shop", image="x")), artifact, disks.FORMATS["vhdx"]
    with pytest.raises(AppError, match="only for amd64"):
        disks.disk_for(*made, Store(tmp_path), NullObserver())


def told(service: Service, **changes: object) -> set[str]:
    image = replace(IMAGE, **changes)  # type: ignore[arg-type]
    return {each.message.partition(":")[0] for each in disks.findings(_app(service), image)}


def _app(service: Service) -> App:
    return App("shop", (service,), "compose.yaml")


def test_what_a_disk_does_not_know() -> None:
    plain = Service("shop", image="x")
    assert told(plain) == set()
    assert told(replace(plain, environment={"A": "1"}, command=("y",))) == {
        "environment",
        "command",
    }
    assert told(replace(plain, hostname="here")) == {"hostname"}
    assert told(replace(plain, restart="always", read_only=True)) == {"restart", "read_only"}
    assert told(replace(plain, volumes=(Mount("volume", "/data", "data"),))) == {"volumes"}
    assert told(replace(plain, ports=(Port(80),))) == {"ports"}
    assert told(replace(plain, volumes=(Mount("tmpfs", "/run"),))) == {"tmpfs"}
    limited = replace(plain, mem_limit_bytes=1 << 30, cpus=0.5, domainname="example")
    assert told(limited) == {"mem_limit", "cpus", "domainname"}
    (found,) = disks.findings(_app(plain), replace(IMAGE, cmd=()))
    assert found.severity is Severity.ERROR
