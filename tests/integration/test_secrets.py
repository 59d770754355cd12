"""A value of the App's environment or of a build argument is seen nowhere while a Move runs: not in
the process list, logs, temporary files, domain XML or on the terminal (hostile input 59)."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit import process
from portkit.lab import Lab

pytestmark = pytest.mark.lab
ROOT = Path(__file__).parents[2]
PORTKIT = ROOT / ".venv/bin/portkit"
SECRET, TOKEN = "hunter2-of-the-app", "hunter2-of-the-build"
COMPOSE = f"""\
services:
  web:
    build: {{context: ., args: {{TOKEN: {TOKEN}}}}}
    environment: {{PASSWORD: {SECRET}}}
    command: ["sh", "-c", "while :; do sleep 1; done"]
"""
DOCKERFILE = 'FROM debian:bookworm-slim\nARG TOKEN\nRUN echo "the token is $TOKEN"\n'
TEMPORARY = (Path("/tmp"), Path("/run/portkit"))


def told(text: bytes) -> bool:
    return SECRET.encode() in text or TOKEN.encode() in text


def command_lines() -> Iterator[bytes]:
    """Of every process on this machine, the lab's hosts included."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield (folder / "cmdline").read_bytes()


def temporary_files(mine: Path) -> Iterator[bytes]:
    """What was written since the test began, but for the test's own."""
    began = (mine / "secrets/Dockerfile").stat().st_mtime
    for root in TEMPORARY:
        # Folders come and go meanwhile: os.walk does not mind.
        for path in (Path(folder, name) for folder, _, names in os.walk(root) for name in names):
            if mine in path.parents:
                continue
            with contextlib.suppress(OSError):
                found = path.lstat()
                small = stat.S_ISREG(found.st_mode) and found.st_size < 1 << 20
                if small and found.st_mtime > began:
                    yield path.read_bytes()


def test_nothing_shows_a_secret(lab: Lab, tmp_path: Path) -> None:
    app = tmp_path / "secrets"
    app.mkdir()
    (app / "compose.yaml").write_text(COMPOSE)
    (app / "Dockerfile").write_text(DOCKERFILE)
    env = {name: value for name, value in os.environ.items() if name.startswith("PORTKIT_")}
    env |= {"PORTKIT_STORE": str(tmp_path / "store"), "PORTKIT_STATE": str(tmp_path / "state")}
    argv = [PORTKIT, "--debug", "move", app, "--from", "lab:alpha", "--to", "lab:beta"]
    log = tmp_path / "log"
    with log.open("wb") as out, process.popen(argv, env=env, stdout=out, stderr=out) as running:
        while process.wait(running, 0.3) is None:
            assert not any(map(told, command_lines()))
            assert not any(map(told, temporary_files(tmp_path)))
        assert running.returncode == 0, log.read_text()[-3000:]
    assert "the token is ***" in log.read_text(), "what the build printed was seen"
    assert not told(log.read_bytes())
    for command in (
        "for name in $(virsh -c qemu:///system list --all --name); do "
        "virsh -c qemu:///system dumpxml --security-info $name; done",
        "cat /var/log/libvirt/qemu/*.log",
        "grep -rhI hunter2 /tmp /var/tmp /var/lib/portkit/store /var/lib/portkit/moves",
    ):
        done = process.run(["ssh", "-F", lab.ssh_config, "lab-beta", command], check=False)
        assert not told(done.stdout)
    journal = b"".join(
        path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()
    )
    assert not told(journal)
    process.run([PORTKIT, "rm", "--yes", "secrets", "--on", "lab:beta"], env=env)
