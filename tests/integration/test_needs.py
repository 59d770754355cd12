"""What `portkit check` says of an image beforehand is what happens when it is run."""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench import binfmt
from portkit import process
from portkit.lab import Lab
from portkit.remote import linux
from tests.elves import LOADER
from tests.integration.commands import portkit

pytestmark = pytest.mark.lab
SOURCE = '#include <unistd.h>\nint main(void) { return write(1, "here\\n", 5) != 5; }\n'
# It ends well where it may ask for its keyring (keyctl).
KEYS = "#include <unistd.h>\nint main(void) { return syscall(250, 0, -3, 1) < 0; }\n"
ASKED = """
services:
  a:
    image: IMAGE
    devices: [/dev/serial/by-id/no-such]
    x-portkit:
      needs:
        sysctls: {kernel.sched_rr_timeslice_ms: 1000000000, kernel.no_such: 1}
        devices: [/dev/pts/ptmx]
"""
# The hosts of the lab have the processor of this machine.
HAS_V4 = linux.cpu(Path("/proc/cpuinfo").read_text())[1] >= 4
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"


@dataclass(frozen=True)
class Case:
    """files: of the image, with the machine's own loader and C library where they are named.
    rule: that refuses it, "" for none. says: what `docker run` says; it ends well where that is "".
    """

    name: str
    program: str
    own: tuple[str, ...]
    rule: str
    says: str


CASES = (
    Case("whole", "plain", (LOADER, LIBC), "", ""),
    Case("no-loader", "plain", (), "missing-loader", "no such file or directory"),
    Case("no-library", "plain", (LOADER,), "missing-library", "libc.so.6: cannot open shared"),
    Case("arm64", "arm64", (), "program-machine", "exec format error"),
    Case(
        "level-4",
        "marked",
        (LOADER, LIBC),
        "" if HAS_V4 else "cpu-level",
        "" if HAS_V4 else "CPU ISA level is lower than required",
    ),
)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("programs")
    (folder / "a.c").write_text(SOURCE)
    process.run(["gcc", "-o", "plain", "a.c"], cwd=folder)
    process.run(["gcc", "-Wl,-z,x86-64-v4", "-o", "marked", "a.c"], cwd=folder)
    made = {name: (folder / name).read_bytes() for name in ("plain", "marked")}
    return {**made, "arm64": linux.program("arm64")}


def alpha(lab: Lab, command: str, data: bytes | None = None) -> tuple[int, str]:
    argv = ["ssh", "-F", lab.ssh_config, "lab-alpha", command + " 2>&1"]
    done = process.run(argv, input=data, timeout=120, check=False)
    return done.code, done.text


def root(case: Case, programs: dict[str, bytes]) -> bytes:
    """The only layer of the image."""
    files = {"/app": programs[case.program]}
    files |= {path: Path(path).read_bytes() for path in case.own}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name.lstrip("/"))
            info.mode, info.size = 0o755, len(data)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture(scope="module")
def images(lab: Lab, programs: dict[str, bytes]) -> Iterator[dict[str, str]]:
    """The name of each case's image in alpha's engine."""
    names = {case.name: f"portkit-needs-{case.name}:1" for case in CASES}
    change = """--change 'CMD ["/app"]'"""
    for case in CASES:
        imported = f"docker import {change} - {names[case.name]}"
        code, text = alpha(lab, imported, root(case, programs))
        assert code == 0, text
    yield names
    alpha(lab, f"docker rmi -f {' '.join(names.values())}")


def cells(name: str, store: Path) -> dict[str, tuple[str, list[str]]]:
    """Verdict and the refusing rules of each form."""
    words = ("check", name, "--from", "lab:alpha", "--on", "lab:alpha", "--output", "json")
    told: dict[str, Any] = json.loads(portkit(*words, store=store, check=False).text)
    return {
        cell["form"]: (
            cell["verdict"],
            [row["rule"] for row in cell["findings"] if row["severity"] == "error"],
        )
        for cell in told["cells"]
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_said_beforehand_happens(
    lab: Lab, store: Path, images: dict[str, str], case: Case
) -> None:
    with binfmt.alone():
        found = cells(images[case.name], store)
        code, text = alpha(lab, f"docker run --rm {images[case.name]}")
    refused = [case.rule] if case.rule else []
    assert found["image"] == ("incompatible" if refused else "native", refused), text
    assert (code == 0) == (not refused), text
    assert case.says in text
    if refused:
        assert found["disk"] == ("incompatible", refused), "it is so in a VM"


def test_a_call_that_the_engine_refuses(lab: Lab, store: Path, tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("#define _GNU_SOURCE\n" + KEYS)
    process.run(["gcc", "-static", "-o", "keys", "a.c"], cwd=tmp_path)
    case, name = Case("keys", "keys", (), "", ""), "portkit-needs-keys:1"
    layer = root(case, {"keys": (tmp_path / "keys").read_bytes()})
    code, text = alpha(lab, f"""docker import --change 'CMD ["/app"]' - {name}""", layer)
    assert code == 0, text
    try:
        assert cells(name, store)["image"][0] == "unknown"
        assert alpha(lab, f"docker run --rm {name}")[0] == 1
        assert alpha(lab, f"docker run --rm --security-opt seccomp=unconfined {name}")[0] == 0
    finally:
        alpha(lab, f"docker rmi -f {name}")


def test_a_host_is_asked_for_what_the_app_names(
    lab: Lab, store: Path, images: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "compose.yaml").write_text(ASKED.replace("IMAGE", images["whole"]))
    words = ("check", str(tmp_path), "--from", "lab:alpha", "--on", "lab:alpha", "--form", "image")
    told = json.loads(portkit(*words, "--output", "json", store=store, check=False).text)
    found = {f"{row['severity']}:{row['rule']}" for row in told["cells"][0]["findings"]}
    assert {"error:device", "error:needs-sysctl", "unknown:needs-sysctl"} <= found
    assert "unknown:device" not in found


def test_the_processor_of_the_vm_is_another(
    lab: Lab, store: Path, images: dict[str, str], tmp_path: Path
) -> None:
    """Whatever the host's has: QEMU's emulation has no x86-64-v4, and glibc's loader looks."""
    verdicts = {name: cells(images[name], store)["disk"] for name in ("whole", "level-4")}
    assert verdicts == {"whole": ("emulated", []), "level-4": ("incompatible", ["cpu-level"])}
    folders = {name: tmp_path / name for name in verdicts}
    for name, folder in folders.items():
        folder.mkdir()
        words = ("pack", images[name], "--from", "lab:alpha", "--form", "disk", "-o", str(folder))
        portkit(*words, store=store)
    serials = {name: boot(folder) for name, folder in folders.items()}
    assert "portkit: app exited with code 0" in serials["whole"]
    assert "here" in serials["whole"]
    assert "CPU ISA level is lower than required" in serials["level-4"]
    assert "portkit: app exited with code 127" in serials["level-4"]


def boot(folder: Path) -> str:
    """What the serial console of the disk there said, until the app ended and the VM with it."""
    (disk,) = folder.glob("*.qcow2")
    argv: list[str | Path] = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", "max"]
    argv += ["-m", "256", "-display", "none", "-nic", "none", "-no-reboot"]
    argv += ["-serial", f"file:{folder}/serial.log"]
    argv += ["-drive", f"file={disk},if=virtio,format=qcow2,snapshot=on"]
    process.run(argv, timeout=60)
    return (folder / "serial.log").read_text(errors="replace")


@pytest.mark.campaign
def test_attestations_are_named_and_stay_behind(lab: Lab, store: Path, tmp_path: Path) -> None:
    """An index of BuildKit's, in the image store that keeps it, goes to one that could not."""
    (tmp_path / "run").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY run /run\nCMD ["/run"]\n')
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as out:
        for name in ("Dockerfile", "run"):
            out.add(tmp_path / name, name)
    build = "docker build -q --provenance=true -t attested:1 -"
    argv = ["ssh", "-F", lab.ssh_config, "lab-gamma"]
    process.run([*argv, build], input=packed.getvalue(), timeout=120)
    try:
        words = ("attested:1", "--from", "lab:gamma", "--on", "lab:beta", "--form", "image")
        # There is no shell in it: it is about what the image came in alone.
        said = portkit("check", *words, "--output", "json", store=store, check=False)
        (cell,) = json.loads(said.text)["cells"]
        rows = {row["rule"]: row for row in cell["findings"]}
        assert rows["attestations"]["severity"] == "warning"
        assert "(overlay2) holds one manifest" in rows["attestations"]["message"]
    finally:
        process.run([*argv, "docker rmi -f attested:1"], check=False)
