"""The built wheel, in a clean environment, gives a working command."""

import sys
import zipfile
from pathlib import Path

from portkit import process

ROOT = Path(__file__).parents[2]


def test_the_wheel_works_alone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT]
    process.run(build, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    tops = {name for name in tops if not name.endswith(".data")}  # man pages, after `make man`
    assert tops == {"portkit", "portkit_cli"}
    for needed in (
        "portkit/compat/profiles/rhel-9.toml",
        "portkit/guest/src/init.c",
        "portkit/lab/inside/enter.sh",
        "portkit/py.typed",
    ):
        assert needed in names
    venv = tmp_path / "venv"
    process.run([sys.executable, "-m", "venv", venv], timeout=120)
    process.run([venv / "bin/pip", "install", "-q", wheel], timeout=600)
    told = process.run([venv / "bin/portkit", "--version"], cwd=tmp_path).text
    assert told.startswith("portkit, version")
    # Without libvirt it says so, and how to get them.
    done = process.run([venv / "bin/portkit", "doctor"], cwd=tmp_path, check=False, timeout=120)
    assert done.code == 1
    assert "portkit[disk]" in done.text
