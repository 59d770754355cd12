"""A packed disk under plain QEMU, which knows nothing of portkit."""

import json
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portkit import process
from portkit.lab import Lab
from tests.integration.commands import ROOT, ask, portkit, wait_for
from tests.ports import free_port

pytestmark = pytest.mark.lab
OVMF = Path("/usr/share/OVMF")


@pytest.fixture(scope="module")
def packed(lab: Lab, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    app = str(ROOT / "fixtures/apps/probe")
    portkit("pack", app, "--from", "lab:alpha", "--form", "disk", "-o", str(folder), store=store)
    return folder / "probe.qcow2"


@contextmanager
def qemu(disk: Path, folder: Path, port: int, *more: str) -> Iterator[process.Process]:
    """The disk as it is, changes thrown away; its serial console is in `folder`."""
    argv = ["-M", "q35", "-drive", f"file={disk},if=virtio,format=qcow2,snapshot=on"]
    argv += ["-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{port}-:8077"]
    with machine(folder, *argv, *more) as guest:
        yield guest


@contextmanager
def machine(folder: Path, *more: str) -> Iterator[process.Process]:
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", "384", "-display", "none"]
    argv += ["-monitor", "stdio", "-serial", f"file:{folder}/serial.log", *more]
    with process.popen(argv, stdin=process.PIPE, stdout=process.DEVNULL) as guest:
        yield guest


def firmware(kind: str, folder: Path) -> list[str]:
    if kind == "bios":
        return []
    shutil.copy(OVMF / "OVMF_VARS_4M.fd", folder / "vars.fd")
    code = f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd"
    return ["-drive", code, "-drive", f"if=pflash,format=raw,file={folder}/vars.fd"]


def test_its_encoding(packed: Path) -> None:
    about = json.loads(process.run(["qemu-img", "info", "--output", "json", packed]).text)
    assert about["cluster-size"] == 256 << 10
    assert about["format-specific"]["data"]["compat"] == "1.1"  # qemu-img's name of version 3
    assert about["format-specific"]["data"]["compression-type"] == "zstd"


@pytest.mark.parametrize("kind", ["bios", pytest.param("uefi", marks=pytest.mark.campaign)])
def test_it_boots_on_its_own(packed: Path, tmp_path: Path, kind: str) -> None:
    port = free_port()
    with qemu(packed, tmp_path, port, *firmware(kind, tmp_path)) as guest:
        wait_for(f"http://127.0.0.1:{port}/", 120)
        told = json.loads(ask(f"http://127.0.0.1:{port}/"))
        assert guest.stdin is not None
        guest.stdin.write(b"system_powerdown\n")
        guest.stdin.flush()
        assert guest.wait(60) == 0
    # What the image itself says, and nothing of compose.yaml.
    assert told["argv"] == ["python3", "-I", "/usr/local/bin/probe.py"]
    assert (told["uid"][0], told["cwd"], told["hostname"]) == (3000, "/srv/probe", "portkit")
    assert "OVER=image" in told["environment"]
    serial = (tmp_path / "serial.log").read_text(errors="replace")
    assert "portkit: app exited with code 0" in serial


def test_it_is_judged_by_its_file_alone(packed: Path, store: Path, tmp_path: Path) -> None:
    """portkit check of a disk that was hurt: headers by our own reading, the rest by libguestfs."""
    raw = tmp_path / "hurt.raw"
    process.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", packed, raw], timeout=120)
    process.run(["mdel", "-i", f"{raw}@@1048576", "::/vmlinuz"], timeout=60)
    # With a loader, nobody knows that it has no kernel of its own.
    process.run(["mdeltree", "-i", f"{raw}@@1048576", "::/EFI"], timeout=60)
    with raw.open("r+b") as file:
        file.write(bytes(440))
    words = ("check", str(raw), "--on", "lab:alpha", "--output", "json")
    done = portkit(*words, store=store, check=False)
    assert done.code == 9, done.stderr
    (cell,) = json.loads(done.text)["cells"]
    errors = {row["rule"] for row in cell["findings"] if row["severity"] == "error"}
    assert errors == {"disk-kernel", "disk-bios"}
    assert (cell["app"], cell["form"], cell["verdict"]) == ("hurt.raw", "disk", "incompatible")


def test_an_appliance_boots_on_what_vmware_has(lab: Lab, store: Path, tmp_path: Path) -> None:
    """Its disk behind VMware's SCSI, its network on VMware's card, its address from a server in a
    network that is not QEMU's usual one. QEMU has both devices; no VMware was asked."""
    app = str(ROOT / "fixtures/apps/probe")
    words = ("--form", "disk", "--disk-format", "ova", "-o", str(tmp_path))
    portkit("pack", app, "--from", "lab:alpha", *words, store=store)
    with tarfile.open(tmp_path / "probe.ova") as tar:
        assert tar.getnames() == ["probe.ovf", "probe.mf", "probe-disk1.vmdk"]
        disk = tar.extractfile("probe-disk1.vmdk")
        assert disk is not None
        with (tmp_path / "probe-disk1.vmdk").open("wb") as out:
            shutil.copyfileobj(disk, out)
    read = process.run(["virt-v2v", "-i", "ova", tmp_path / "probe.ova", "--print-source"]).text
    about = dict(row.strip().partition(": ")[::2] for row in read.splitlines() if ": " in row)
    assert (about["source name"], about["memory"]) == ("probe", f"{384 << 20} (bytes)")
    assert {"0 [ide]", 'Bridge "NAT" [vmxnet3]'} <= {row.strip() for row in read.splitlines()}
    port = free_port()
    argv = ["-M", "q35", "-device", "pvscsi,id=scsi", "-device", "scsi-hd,drive=root,bus=scsi.0"]
    drive = f"file={tmp_path}/probe-disk1.vmdk,id=root,if=none,format=vmdk,snapshot=on"
    network = "user,model=vmxnet3,net=192.168.76.0/24,dhcpstart=192.168.76.40"
    forward = f"hostfwd=tcp:127.0.0.1:{port}-192.168.76.40:8077"
    with machine(tmp_path, *argv, "-drive", drive, "-nic", f"{network},{forward}"):
        wait_for(f"http://127.0.0.1:{port}/", 180)
        told = json.loads(ask(f"http://127.0.0.1:{port}/"))
    assert told["argv"] == ["python3", "-I", "/usr/local/bin/probe.py"]
    assert "portkit: address 192.168.76.40" in (tmp_path / "serial.log").read_text(errors="replace")


def test_the_image_is_loaded(lab: Lab, store: Path, tmp_path: Path) -> None:
    """`docker load` takes the tar, and what it has then is the image of the same digest."""
    app = str(ROOT / "fixtures/apps/probe")
    words = ("pack", app, "--from", "lab:alpha", "--form", "image", "-o", str(tmp_path))
    digest = portkit(*words, store=store).text.split()[-1]
    name = f"portkit/probe:{digest.removeprefix('sha256:')[:12]}"

    def beta(command: str, data: bytes | None = None, check: bool = True) -> str:
        argv = ["ssh", "-F", lab.ssh_config, "lab-beta", command]
        return process.run(argv, input=data, timeout=120, check=check).text

    before = beta("docker images -aq --no-trunc | sort")
    try:
        loaded = beta("docker load", (tmp_path / "probe.tar").read_bytes())
        assert f"Loaded image: {name}" in loaded
        assert beta(f"docker image inspect -f '{{{{.Id}}}}' {name}").strip() == digest
    finally:
        beta(f"docker rmi {name}", check=False)
    assert beta("docker images -aq --no-trunc | sort") == before
