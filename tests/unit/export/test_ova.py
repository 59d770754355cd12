"""An OVA is what DSP0243 says: the order of its members, their checksums, its elements."""

import hashlib
import tarfile
from pathlib import Path
from xml.etree import ElementTree as etree

import pytest

from portkit.errors import AppError
from portkit.export import ova
from portkit.model import Machine

MACHINE = Machine(memory_bytes=(384 << 20) + 1, cpus=3)


def appliance(size: int) -> ova.Appliance:
    return ova.Appliance("shop", MACHINE, "shop-disk1.vmdk", 9 << 20, size)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "disk").write_bytes(b"vmdk" * 999)
    ova.write(appliance(4 * 999), tmp_path / "disk", tmp_path / "shop.ova")
    return tmp_path / "shop.ova"


def test_members_and_checksums(made: Path) -> None:
    with tarfile.open(made) as tar:
        assert tar.getnames() == ["shop.ovf", "shop.mf", "shop-disk1.vmdk"]
        data = {each.name: tar.extractfile(each).read() for each in tar.getmembers()}  # type: ignore[union-attr]
    rows = dict(row.split("= ") for row in data["shop.mf"].decode().splitlines())
    del data["shop.mf"]
    assert rows == {f"SHA256({k})": hashlib.sha256(v).hexdigest() for k, v in data.items()}
    assert made.read_bytes()[257:263] == b"ustar\0"
    assert made.stat().st_size % 512 == 0


def test_the_same_again(made: Path, tmp_path: Path) -> None:
    ova.write(appliance(4 * 999), tmp_path / "disk", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == made.read_bytes()


def test_the_descriptor() -> None:
    root = etree.fromstring(ova.descriptor(appliance(1234)))
    space = {"o": ova._OVF, "r": ova._RASD}
    assert [child.tag.partition("}")[2] for child in root] == [
        "References",
        "DiskSection",
        "NetworkSection",
        "VirtualSystem",
    ]
    file, disk = root.find("o:References/o:File", space), root.find("o:DiskSection/o:Disk", space)
    assert file is not None
    assert disk is not None
    assert file.get(f"{{{ova._OVF}}}size") == "1234"
    assert disk.get(f"{{{ova._OVF}}}fileRef") == file.get(f"{{{ova._OVF}}}id")
    assert disk.get(f"{{{ova._OVF}}}capacity") == str(9 << 20)
    items = root.findall(".//o:Item", space)
    by_kind = {item.findtext("r:ResourceType", "", space): item for item in items}
    assert by_kind["3"].findtext("r:VirtualQuantity", "", space) == "3"
    assert by_kind["4"].findtext("r:VirtualQuantity", "", space) == "388"  # a multiple of 4 MiB
    controller = by_kind["5"].findtext("r:InstanceID", "", space)
    assert by_kind["17"].findtext("r:Parent", "", space) == controller
    assert by_kind["17"].findtext("r:HostResource", "", space) == "ovf:/disk/disk1"
    for item in items:  # the schema is a sequence
        names = [child.tag for child in item]
        assert names == sorted(names)


def test_a_size_that_no_header_holds(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="too big for an OVA"):
        ova.write(appliance(8 << 30), tmp_path / "disk", tmp_path / "out")
    assert not (tmp_path / "out").exists()
