"""An image for arm64 on hosts for amd64: what is said beforehand of both forms, and is seen."""

import io
import json
import tarfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from bench import binfmt
from portkit import process
from portkit.guest import foreign
from portkit.guest.kit import cache_root
from portkit.lab import Lab
from tests.integration.commands import ask, moved, on, portkit

pytestmark = pytest.mark.lab
IMAGE = "portkit-arm64:1"
PORT = 8097
# What the processor is for the program, over HTTP.
START = "mkdir /w && busybox uname -m > /w/index.html && exec busybox httpd -f -p 80 -h /w"
BUSYBOX = "bin/busybox"


def image(program: bytes) -> bytes:
    """What `docker load` takes: `docker import` of Debian 12 knows no architecture but its own."""
    layer = packed({BUSYBOX: program})
    config = {
        "architecture": "arm64",
        "os": "linux",
        "config": {"Cmd": [f"/{BUSYBOX}", "sh", "-c", START]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
    }
    named = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    rows = {"config.json": config, "manifest.json": named}
    return packed({"layer.tar": layer} | {k: json.dumps(row).encode() for k, row in rows.items()})


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.mode, info.size = 0o755, len(data)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture(scope="module")
def app(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an App whose image is Debian's busybox for arm64 and nothing else, in alpha's
    engine."""
    folder = tmp_path_factory.mktemp("arm64")
    folder.chmod(0o755)
    argv = ["apt-get", *foreign.options(cache_root(), "arm64"), "download", "-q", "busybox-static"]
    process.run(argv, cwd=folder, timeout=300)
    (package,) = folder.glob("*.deb")
    process.run(["dpkg-deb", "-x", package, folder / "tree"])
    data = image((folder / "tree" / BUSYBOX).read_bytes())
    argv = ["ssh", "-F", lab.ssh_config, "lab-alpha", "docker load"]
    process.run(argv, input=data, timeout=120)
    (folder / "compose.yaml").write_text(
        f"services:\n  hello:\n    image: {IMAGE}\n    init: true\n    ports: ['{PORT}:80']\n"
    )
    yield folder
    on(lab, "alpha", f"docker rmi -f {IMAGE}")


def handler(lab: Lab, flags: str) -> None:
    on(lab, binfmt.HOST, binfmt.register(flags))


def no_handler(lab: Lab) -> None:
    on(lab, binfmt.HOST, binfmt.REMOVE)


@pytest.fixture
def table(lab: Lab) -> Iterator[None]:
    """The machine's table of handlers is this test's, and is left as it was."""
    with binfmt.alone():
        try:
            yield
        finally:
            no_handler(lab)


def cells(app: Path, store: Path, *hosts: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Of each host and form the verdict, and what speaks of the architecture."""
    words = [word for name in hosts for word in ("--on", f"lab:{name}")]
    words += ["--from", "lab:alpha", "--output", "json"]
    done = portkit("check", str(app), *words, store=store, check=False)
    told: dict[str, Any] = json.loads(done.text)
    rules = ("architecture", "emulator", "emulated")
    return {
        (cell["host"].removeprefix("lab:"), cell["form"]): (
            cell["verdict"],
            " ".join(row["message"] for row in cell["findings"] if row["rule"] in rules),
        )
        for cell in told["cells"]
    }


@pytest.mark.usefixtures("table")
def test_an_image_runs_where_a_handler_reaches_into_containers(
    lab: Lab, store: Path, app: Path
) -> None:
    def run() -> str:
        command = f"docker run --rm {IMAGE} /{BUSYBOX} uname -m 2>&1"
        return on(lab, "alpha", command, check=False)

    none = cells(app, store, "alpha")["alpha", "image"]
    assert none == ("incompatible", "the image is for arm64, the host is amd64")
    assert "exec format error" in run()
    handler(lab, "")
    verdict, why = cells(app, store, "alpha")["alpha", "image"]
    assert verdict == "incompatible"
    assert "lacks flag F" in why
    assert "no such file or directory" in run()
    no_handler(lab)
    handler(lab, "F")
    verdict, why = cells(app, store, "alpha")["alpha", "image"]
    assert verdict == "emulated"
    assert "programs for arm64" in why
    assert "aarch64" in run()
    with moved(app, "gamma", store, "--form", "image") as report:
        (form,) = report["forms"]
        assert form["compat"]["verdict"] == "emulated"
        assert ask(f"http://{lab.address('gamma')}:{PORT}/") == b"aarch64\n"


def test_a_disk_runs_where_qemu_has_the_machine(lab: Lab, store: Path, app: Path) -> None:
    told = cells(app, store, "alpha", "gamma")
    verdict, why = told["alpha", "disk"]
    assert verdict == "incompatible"
    assert "qemu-system-aarch64" in why
    verdict, why = told["gamma", "disk"]
    assert verdict == "emulated"
    assert "qemu-system-aarch64" in why
    with moved(app, "gamma", store, "--form", "disk") as report:
        (form,) = report["forms"]
        assert form["compat"]["verdict"] == "emulated"
        assert form["boot"]["machine"]["loader"] == "direct"
        assert ask(f"http://{lab.address('gamma')}:{PORT}/") == b"aarch64\n"
        portkit("stop", report["move"], "--on", "lab:gamma", store=store)
        rows = json.loads(portkit("ps", "--on", "lab:gamma", "--output", "json", store=store).text)
        (row,) = (row for row in rows if row["id"] == report["move"])
        # A VM that was cut off could not have told how its App ended.
        assert (row["status"], row["exit_code"]) == ("exited", 143)
