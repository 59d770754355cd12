"""A container becomes a VM, and the VM a container again: with its data, which is read from the
VM's disk without mounting it."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from portkit.lab import Lab
from tests.integration.commands import ask, on, ours, portkit
from tests.integration.counter import PORT, counter, remove

pytestmark = pytest.mark.lab

NAME = "register"
VOLUME = f"/var/lib/docker/volumes/{NAME}-data/_data"
# On the host, where the engine has the volume: one of most things that a volume can hold.
FILL = r"""
import os, sys
os.chdir(sys.argv[1])
os.chmod(".", 0o2751); os.chown(".", 33, 44)
open("plain", "w").write("hello"); os.chown("plain", 70000, 3000000000); os.chmod("plain", 0o6751)
os.setxattr("plain", b"user.note", b"kept"); os.setxattr("plain", b"user.long", b"L" * 2000)
acl = bytes.fromhex("0200000001000700ffffffff02000500e803000004000500ffffffff10000700ffffffff"
                    "20000000ffffffff")
os.setxattr("plain", b"system.posix_acl_access", acl)
os.symlink("plain", "link"); os.lchown("link", 5, 6)
os.makedirs("many/below"); os.setxattr("many/below", b"system.posix_acl_default", acl)
for n in range(400):
    open("many/a name that takes some room %d" % n, "w").write("%d" % n)
for n in range(0, 400, 7):
    os.unlink("many/a name that takes some room %d" % n)
os.link("plain", "many/second")
with open("sparse", "wb") as f:
    f.truncate(3 << 20); f.seek(1 << 20); f.write(b"data" * 5000)
open("large", "wb").write(os.urandom(5 << 20))
for here, folders, files in os.walk(".", topdown=False):
    for n, name in enumerate(files + folders):
        os.utime(os.path.join(here, name), ns=(1, (1500000000 + n) * 10**9 + 123456789),
                 follow_symlinks=False)
"""
# All that is in a folder but the count, as the kernel says it.
SEEN = r"""
import hashlib, json, os, stat, sys
top = sys.argv[1]
found, first = {}, {}
for here, folders, files in os.walk(top):
    for name in ["."] * (here == top) + folders + files:
        path = os.path.join(here, name)
        s = os.lstat(path)
        about = [s.st_mode, s.st_uid, s.st_gid, s.st_mtime_ns]
        about += [[k, os.getxattr(path, k, follow_symlinks=False).hex()]
                  for k in sorted(os.listxattr(path, follow_symlinks=False))]
        if stat.S_ISREG(s.st_mode):
            about += [s.st_size, first.setdefault(s.st_ino, path[len(top):]),
                      hashlib.sha256(open(path, "rb").read()).hexdigest()]
        if stat.S_ISLNK(s.st_mode):
            about.append(os.readlink(path))
        found[path[len(top):]] = about
del found["/count"], found["/."][3]
print(json.dumps(found))
"""


@pytest.fixture
def app(lab: Lab, store: Path) -> Iterator[str]:
    """The container on alpha with its volume. What becomes of it on beta goes afterwards."""
    counter(lab, NAME)
    on(lab, "alpha", f"python3 -c {shlex.quote(FILL)} {VOLUME}")
    yield NAME
    remove(lab, NAME)
    found = on(lab, "beta", "ls /var/lib/portkit/instances", check=False).split()
    for move in [name for name in found if name.startswith("pk-")]:
        words = ("--yes", "--data", "--form", "disk", "--on", "lab:beta")
        portkit("rm", move, *words, store=store, check=False)


def told(lab: Lab, host: str, method: str = "GET") -> str:
    return ask(f"http://{lab.address(host)}:{PORT}/", method).decode().strip()


def seen(lab: Lab, host: str, folder: str) -> dict[str, list[object]]:
    found: dict[str, list[object]] = json.loads(
        on(lab, host, f"python3 -c {shlex.quote(SEEN)} {folder}")
    )
    return found


def move(store: Path, what: str, form: str, source: str, target: str) -> dict[str, object]:
    words = ("--form", form, "--from", f"lab:{source}", "--to", f"lab:{target}")
    report: dict[str, object] = json.loads(
        portkit("move", what, *words, "--output", "json", store=store).text
    )
    return report


def test_its_data_goes_into_a_disk_and_comes_back(lab: Lab, store: Path, app: str) -> None:
    told(lab, "alpha", "POST")
    before = seen(lab, "alpha", VOLUME)
    there = move(store, f"container:{app}", "disk", "alpha", "beta")
    portkit("forget", str(there["move"]), "--delete", store=store)
    assert told(lab, "beta", "POST") == "2", "the VM counts on"
    clean = ours(lab, "alpha")
    back = move(store, f"vm:{app}", "image", "beta", "alpha")
    assert told(lab, "alpha") == "2"
    after = seen(lab, "alpha", VOLUME)
    assert after == before
    assert back["cutover"]["timeline"]["both_answered"] == []  # type: ignore[index]
    (volume,) = back["cutover"]["volumes"]  # type: ignore[index]
    assert volume["entries"] == len(after) + 1
    state = f"virsh domstate portkit-{app}-{str(there['move'])[3:]}"
    assert on(lab, "beta", state).strip() == "shut off"
    # The way back: the VM runs again, and nothing is left of the containers. That its App answers
    # would take another boot; the test of a VM that moves as a disk waits for that.
    portkit("rollback", str(back["move"]), "--discard-writes", store=store)
    assert on(lab, "beta", state).strip() == "running"
    assert ours(lab, "alpha") == clean
