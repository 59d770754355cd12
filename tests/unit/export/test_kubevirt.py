"""A containerDisk and its VirtualMachine, against the fields that KubeVirt publishes."""

import hashlib
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from kubernetes_validate import validate

from portkit import process
from portkit.app.resolve import resolve_all
from portkit.export import kubevirt
from portkit.export.kubernetes import ImageName
from portkit.model import App, Firmware, Machine, Port, Service
from tests.factories import IMAGE

ROOT = Path(__file__).parents[3]
TYPES = json.loads((ROOT / "fixtures/kubevirt/fields.json").read_text())["types"]
NAME = ImageName("registry.example/shop-disk:1", "IfNotPresent")
SIMPLE = {"string": str, "number": int, "boolean": bool, "object": dict}


def documents(service: Service) -> tuple[dict[str, Any], ...]:
    app = App("shop", (service,), "compose.yaml")
    return kubevirt.machine(resolve_all(app, (IMAGE,)), NAME, "amd64")


def fits(kind: str, value: object, path: str) -> None:
    if several := re.fullmatch(r"Array<(.+)>", kind):
        assert isinstance(value, list), path
        for each in value:
            fits(several[1], each, path)
    elif kind in TYPES:
        assert isinstance(value, dict), path
        for name, each in value.items():
            assert name in TYPES[kind], f"{path}.{name}"
            fits(TYPES[kind][name], each, f"{path}.{name}")
    elif kind in SIMPLE:
        assert isinstance(value, SIMPLE[kind]), f"{path}: {kind}"


@pytest.mark.parametrize("firmware", list(Firmware))
def test_a_virtual_machine(firmware: Firmware) -> None:
    service = Service(
        "shop",
        image="x",
        ports=(Port(80, 8080), Port(90, 90, "tcp", "127.0.0.1")),
        restart="always",
        machine=Machine(memory_bytes=300 << 20, cpus=2, firmware=firmware),
    )
    machine, published = documents(service)
    fits("V1VirtualMachine", machine, "")
    validate(published, "1.30", strict=True)
    domain = machine["spec"]["template"]["spec"]["domain"]
    # Without this KubeVirt refuses it: its EFI has secure boot, which needs SMM.
    told = {Firmware.UEFI: {"efi": {"secureBoot": False}}, Firmware.BIOS: {"bios": {}}}
    assert domain["firmware"]["bootloader"] == told[firmware]
    assert domain["memory"]["guest"] == str(300 << 20)
    assert domain["devices"]["interfaces"][0]["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert [port["port"] for port in published["spec"]["ports"]] == [8080]
    labels = machine["spec"]["template"]["metadata"]["labels"]
    assert published["spec"]["selector"].items() <= labels.items()


def test_a_number_is_published_once() -> None:
    ports = tuple(Port(80, 80, "tcp", address) for address in ("10.0.0.1", "10.0.0.2"))
    service = Service("shop", image="x", ports=ports)
    _, published = documents(service)
    assert [row["name"] for row in published["spec"]["ports"]] == ["tcp-80"]
    found = kubevirt.findings(resolve_all(App("shop", (service,), "x"), (IMAGE,)))
    assert "80: was published at one address" in found[1].message


@pytest.mark.parametrize(
    ("restart", "strategy"), [("no", "Once"), ("on-failure:3", "RerunOnFailure")]
)
def test_when_it_runs_again(restart: str, strategy: str) -> None:
    (machine,) = documents(Service("shop", image="x", restart=restart))
    assert machine["spec"]["runStrategy"] == strategy


def test_the_image_of_a_disk(tmp_path: Path) -> None:
    raw, made = tmp_path / "raw", [tmp_path / "one", tmp_path / "two"]
    raw.write_bytes(bytes(1 << 20) + b"x" * 4096)
    digests = [kubevirt.write_image(raw, "amd64", "shop", "portkit/s:1", path) for path in made]
    assert made[0].read_bytes() == made[1].read_bytes()
    with tarfile.open(made[0]) as tar:
        data = {each.name: tar.extractfile(each).read() for each in tar.getmembers()}  # type: ignore[union-attr]
    (row,) = json.loads(data["manifest.json"])
    assert row["RepoTags"] == ["portkit/s:1"]
    config, layer = data[row["Config"]], data[row["Layers"][0]]
    assert digests[0] == "sha256:" + hashlib.sha256(config).hexdigest()
    assert json.loads(config)["rootfs"]["diff_ids"] == [
        "sha256:" + hashlib.sha256(layer).hexdigest()
    ]
    with tarfile.open(fileobj=io.BytesIO(layer)) as inner:
        folder, disk = inner.getmembers()
        (tmp_path / "disk.qcow2").write_bytes(inner.extractfile(disk).read())  # type: ignore[union-attr]
    assert (folder.name, folder.isdir(), disk.name) == ("disk", True, "disk/shop.qcow2")
    # The user of QEMU there, which has to read it.
    assert (disk.uid, disk.gid, disk.mode) == (107, 107, 0o440)
    process.run(["qemu-img", "compare", "-F", "raw", tmp_path / "disk.qcow2", raw])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk.qcow2", "one", "raw", "two"]
