"""Runs on a host: makes the decoys of an App, prints what can be seen of them, or removes them.

argv: make, seen or away; the App's name; the name of one of its volumes. Uses only the standard
library.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VERB, APP, VOLUME = sys.argv[1:4]
OTHER = "pk-0123456789ab"  # a Move of somebody else's
RESTS, RUNS = f"{APP}-2", f"{APP}2"
SERVICE = f"{RESTS}-web-1"
IMAGES = (f"{APP}:decoy", f"{RESTS}:latest", "debian:decoy", "portkit/decoy:latest")
NETWORKS = (f"{APP}_default2", f"{RUNS}_default")
VOLUMES = (f"{VOLUME}2", f"{APP}_data2", f"{RESTS}_data")
DOMAINS = (f"portkit-{APP}", f"portkit-{RUNS}", f"portkit-{APP}-notes")
VOLUMES_ROOT = Path("/var/lib/docker/volumes")
FOLDERS = (
    Path(f"/root/decoy-{APP}"),
    Path(f"/var/lib/portkit-{APP}"),
    Path(f"/var/lib/portkit/decoy-{APP}"),
    Path(f"/var/lib/portkit/instances-{APP}"),
    Path(f"/tmp/portkit-{APP}"),
)
# It is never started.
DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices><disk type='file' device='disk'>
<driver name='qemu' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>
</devices></domain>"""
# They change when the engine or its host starts again, whoever made it.
FLEETING = ("State", "NetworkSettings", "RestartCount", "ResolvConfPath")


def run(*words: str, check: bool = True, given: bytes | None = None) -> bytes:
    """The output of a program."""
    return subprocess.run(
        words, check=check, input=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ).stdout


def disk_of(domain: str) -> Path:
    """The file of its disk, named as those of the App's VM are."""
    return Path("/var/lib/libvirt/images") / f"{domain.removeprefix('portkit-')}.img"


def make() -> None:
    """All decoys, where none is."""
    names = run("sh", "-c", "echo /bin/sleep; ldd /bin/sleep | grep -o '/[^ ]*'").decode().split()
    image = run("tar", "-chP", *names)
    for name in IMAGES:
        run("docker", "import", "-", name, given=image)
    for name in NETWORKS:
        run("docker", "network", "create", name)
    project = "com.docker.compose.project="
    for name in VOLUMES:
        about = ("--label", project + RESTS, "--label", "com.docker.compose.volume=data")
        run("docker", "volume", "create", *about, name)
        fill(VOLUMES_ROOT / name / "_data")
    always = ("--restart", "always", "--label", "decoy=yes")
    mounted = [word for name in VOLUMES for word in ("-v", f"{name}:/{name}")]
    web = ("--label", project + RESTS, "--label", "com.docker.compose.service=web")
    moved = ("--label", f"portkit.move={OTHER}", "--label", f"portkit.app={RESTS}")
    run("docker", "create", "--name", RESTS, *always, *mounted, *moved, IMAGES[0], "/none")
    run("docker", "create", "--name", SERVICE, *always, *web, IMAGES[1], "/none")
    for name in (RESTS, SERVICE):
        run("docker", "cp", "-", f"{name}:/", given=run("tar", "-c", "-C", "/etc", "hostname"))
    words = ("--name", RUNS, "--network", NETWORKS[1], *always, "--label", project + RUNS)
    run("docker", "run", "-d", *words, IMAGES[2], "/bin/sleep", "infinity")
    for folder in FOLDERS:
        folder.mkdir(parents=True, exist_ok=True)
        fill(folder)
    for name in DOMAINS:
        disk_of(name).write_text("mine\n")
        text = DOMAIN.format(name=name, disk=disk_of(name))
        run("virsh", "define", "/dev/stdin", given=text.encode())


def fill(folder: Path) -> None:
    """Some files in a new folder, of an owner of their own."""
    for name, mode in (("log", 0o640), ("disk.qcow2", 0o600), ("data.raw", 0o4755)):
        path = folder / name
        path.write_text(f"{name} of mine\n")
        os.chown(path, 33, 44)
        path.chmod(mode)
    os.setxattr(folder / "log", b"user.mine", b"kept")
    (folder / "link").symlink_to("log")


def away() -> None:
    """None of them is there any more; whatever of them was."""
    for name in (RESTS, SERVICE, RUNS):
        run("docker", "rm", "-f", name, check=False)
    for kind, names in (("volume", VOLUMES), ("network", NETWORKS), ("image", IMAGES)):
        for name in names:
            run("docker", kind, "rm", name, check=False)
    for folder in FOLDERS:
        shutil.rmtree(folder, ignore_errors=True)
    for name in DOMAINS:
        run("virsh", "undefine", name, check=False)
        disk_of(name).unlink(missing_ok=True)


def seen() -> Iterator[str]:
    """A line for each thing that is to be seen of them."""
    for kind, names in (
        ("container", (RESTS, SERVICE, RUNS)),
        ("image", IMAGES),
        ("network", NETWORKS),
        ("volume", VOLUMES),
    ):
        for name in names:
            text = run("docker", kind, "inspect", name, check=False)
            for found in json.loads(text or b"[]"):
                yield from described(f"{kind} {name}", name, found)
    for name in DOMAINS:
        for verb in ("dumpxml", "dominfo"):
            text = run("virsh", verb, name, check=False)
            yield f"domain {name} {verb}: {text.decode().splitlines()}"
    places = (VOLUMES_ROOT / name for name in VOLUMES)
    for path in (*places, *FOLDERS, *map(disk_of, DOMAINS)):
        yield from tree(path)


def described(what: str, name: str, found: dict[str, Any]) -> Iterator[str]:
    """What the engine says of one, and what is in it."""
    if "State" in found:
        yield f"{what} running: {found['State']['Running']}"
        yield f"since: {name} {found['State']['StartedAt']}"
        yield f"{what} networks: {sorted(found['NetworkSettings']['Networks'])}"
        files = run("docker", "export", name)
        yield f"{what} files: {hashlib.sha256(files).hexdigest()}"
        found["Mounts"].sort(key=lambda mount: mount["Name"])  # each time in another order
    for key, value in found.items():
        if key not in (*FLEETING, "Containers"):  # a network's come and go with their starts
            yield f"{what} {key}: {json.dumps(value, sort_keys=True)}"


def tree(path: Path) -> Iterator[str]:
    """A line for each entry, with its content's hash and all that the file system has of it."""
    inside = sorted(path.rglob("*")) if path.is_dir() else []
    for each in (path, *inside):
        try:
            at = each.lstat()
        except FileNotFoundError:
            yield f"file {each}: none"
            continue
        row = [at.st_ino, oct(at.st_mode), at.st_uid, at.st_gid, at.st_nlink, at.st_mtime_ns]
        for name in sorted(os.listxattr(each, follow_symlinks=False)):
            row.append((name, os.getxattr(each, name, follow_symlinks=False)))
        if stat.S_ISLNK(at.st_mode):
            row.append(each.readlink())
        if stat.S_ISREG(at.st_mode):
            row.append(hashlib.sha256(each.read_bytes()).hexdigest())
        yield f"file {each}: {row}"


if __name__ == "__main__":
    if VERB == "seen":
        print("\n".join(seen()))
    else:
        {"make": make, "away": away}[VERB]()
