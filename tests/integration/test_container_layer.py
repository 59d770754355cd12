"""What a running container has changed, brought to another engine: the same tree inside."""

from collections.abc import Iterator

import pytest

from portkit import transfer
from portkit.host import connect
from portkit.lab import Lab, load_base
from portkit.package import image
from portkit.package.changes import Changed, changed
from portkit.store import Store
from tests.integration.commands import on

pytestmark = pytest.mark.lab
NAME, MOVE, BASE = "layer-test", "pk-00000000feed", "debian:bookworm-slim"
MOUNTS = ("/srv/app/data", "/srv/scratch", "/etc/below/vol")
# The engine makes the folders on the way to a mount, on either side.
_MOUNTED = "--init -v /srv/app/data -v layer-test:/etc/below/vol --tmpfs /srv/scratch"
RUN = f"docker run -d {_MOUNTED} --name {NAME} -e PASSWORD=of-the-container {BASE} sleep 10000"
GONE = f"docker rm -f -v {NAME}; docker volume rm -f layer-test"
# In the container. All of this overlayfs keeps as it is, and the engine is not asked to compare.
FEW = """
set -e
mkdir -p /run/app/deep; echo 1 > /run/app/deep/pid; echo more >> /etc/profile; rm /etc/motd
chmod 600 /etc/networks; ln -s nowhere /run/link; rmdir /media; chown 7:8 /mnt
mkdir /srv/app/beside; chmod 750 /srv/app
"""
# Every line is one way in which a tree can change.
CHANGE = r"""
set -e
echo new > /etc/new; echo more >> /etc/passwd; chmod 600 /etc/group; chown 7:8 /etc/shells
rm /etc/issue; rm -r /usr/share/common-licenses
rm -r /usr/share/base-files; mkdir -m 711 /usr/share/base-files; echo 1 > /usr/share/base-files/only
mv /usr/share/debconf /usr/share/moved
mv /etc/default /etc/.default; mkdir /etc/default
cp /bin/true /usr/local/bin/as-root; chmod 6755 /usr/local/bin/as-root
ln /etc/debian_version /etc/of-the-image; ln /usr/bin/yes /aaa
echo 1 > /opt/one; ln /opt/one /opt/two; ln -s ../nowhere /opt/dangling; ln -sfn /opt /etc/opt
echo odd > "/opt/$(printf 'a\377b')"; echo odd > '/opt/ü *"$(x)'; echo line > "/opt/a
b"
mkdir -p "/opt/$(printf '%0200d' 0)/$(printf '%0200d' 0)"
echo deep > "/opt/$(printf '%0200d' 0)/$(printf '%0200d' 0)/file"
mkfifo -m 640 /opt/fifo; truncate -s 5M /opt/sparse; : > /opt/empty
rm /etc/alternatives/pager; mkdir /etc/alternatives/pager; rm -r /var/mail; echo file > /var/mail
chmod 1770 /var/tmp; touch -d 2001-02-03T04:05:06 /opt/one /var/local
echo in the volume > /srv/app/data/not-in-the-layer; echo here > /etc/below/beside
"""
# On the host, as the image has no tool for it: attributes, and a file of the same size and time.
ATTRIBUTES = """
import os, sys
root = "/proc/%s/root" % sys.argv[1]
acl = "0200000001000700ffffffff02000500e803000004000500ffffffff10000700ffffffff20000000ffffffff"
os.setxattr(root + "/opt/one", "user.note", b"kept\\xff")
os.setxattr(root + "/opt/empty", "system.posix_acl_access", bytes.fromhex(acl))
os.setxattr(root + "/usr/games", "system.posix_acl_default", bytes.fromhex(acl))
capability = bytes.fromhex("0000000200040000" + "00" * 12)
os.setxattr(root + "/opt/empty", "security.capability", capability)
before = os.stat(root + "/etc/host.conf")
with open(root + "/etc/host.conf", "r+b") as file:
    file.write(b"#")
os.utime(root + "/etc/host.conf", ns=(before.st_atime_ns, before.st_mtime_ns))
"""
SEEN = """
import os, sys
os.chdir("/proc/%s/root" % sys.argv[1])
for folder, folders, files in os.walk("."):
    folders[:] = sorted(set(folders) - {"proc", "sys", "dev"})
    for name in sorted(folders + files):
        path = os.path.join(folder, name)
        for key in sorted(os.listxattr(path, follow_symlinks=False)):
            print(ascii(path), key, os.getxattr(path, key, follow_symlinks=False).hex())
"""
# Every path but those of the engine, with all that a layer can have. A folder's own size and number
# of names are the file system's; it has no time
# of its own either where a mount's place is made in it.
TREE = r"""
cd /; find . -xdev \( -path ./dev -o -path ./proc -o -path ./sys -o -path ./srv/app/data \
  -o -path ./srv/scratch -o -path ./etc/below/vol -o -path ./etc/hosts -o -path ./etc/hostname \
  -o -path ./etc/resolv.conf -o -path ./etc/mtab -o -path ./.dockerenv \
  -o -path ./usr/sbin/docker-init \) -prune \
  -o -type d -printf '%p %m %U %G d\0' -o -printf '%p %m %U %G %y %n %l %s %T@\0' | sort -z
find . -xdev -type f -not -path './etc/host*' -not -path ./etc/resolv.conf -not -path ./.dockerenv \
  -not -path './proc/*' -not -path './sys/*' -not -path './srv/app/data/*' \
  -not -path ./usr/sbin/docker-init -print0 | sort -z | xargs -0 sha256sum -z
"""


def inside(lab: Lab, host: str, what: str, script: str) -> str:
    """What a script prints in a container, its zeros as lines."""
    quoted = script.replace("'", "'\\''")
    return on(lab, host, f"docker {what} sh -c '{quoted}' | tr '\\n\\0' '~\\n'")


def beside(lab: Lab, host: str, script: str) -> str:
    """What a script of Python prints on the host, which gets the container's process."""
    pid = f"$(docker inspect -f '{{{{.State.Pid}}}}' {NAME})"
    return on(lab, host, f"python3 - {pid} << 'END'\n{script}\nEND\n")


@pytest.fixture(scope="module", params=["alpha", "gamma"])
def source(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    name = str(request.param)
    load_base(name)
    on(lab, name, GONE, check=False)
    on(lab, name, RUN)
    yield name
    on(lab, name, GONE, check=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


def taken(host_name: str, container: str, store: Store) -> Changed:
    with connect(f"lab:{host_name}") as host:
        base = image.fetch(host, BASE, store)
        return changed(host, container, base, store, name=NAME, mounts=MOUNTS)


def assert_the_same_on_beta(lab: Lab, source: str, found: Changed, store: Store) -> str:
    """Return the tree as the container sees it."""
    held = transfer.held_name(found.artifact.digest, MOVE)
    with connect("lab:beta") as target:
        transfer.send(found.artifact, store, target, move=MOVE)
        try:
            on(lab, "beta", f"docker run -d {_MOUNTED} --name {NAME} {held} sleep 10000")
            there = inside(lab, "beta", f"exec {NAME}", TREE) + beside(lab, "beta", SEEN)
        finally:
            on(lab, "beta", GONE, check=False)
            target.remote.call("image.remove", {"reference": held})
    here = inside(lab, source, f"exec {NAME}", TREE) + beside(lab, source, SEEN)
    assert there.splitlines() == here.splitlines()
    return here


def test_the_same_tree_elsewhere(lab: Lab, source: str, store: Store) -> None:
    container = on(lab, source, f"docker inspect -f '{{{{.Id}}}}' {NAME}").strip()
    untouched = taken(source, container, store)
    assert (untouched.digest, untouched.paths) == ("", 0), "places of mounts are no changes"

    inside(lab, source, f"exec {NAME}", FEW)
    found = taken(source, container, store)
    assert found.exact
    assert "./run/app/deep/pid 644 " in assert_the_same_on_beta(lab, source, found, store)

    inside(lab, source, f"exec {NAME}", CHANGE)
    beside(lab, source, ATTRIBUTES)
    found = taken(source, container, store)
    assert (found.missing, found.exact) == ((), True)
    assert taken(source, container, store).digest == found.digest, "the same bytes once more"
    data = store.content(found.digest).read_bytes()
    assert b"not-in-the-layer" not in data
    assert b"of-the-container" not in data + store.content(found.artifact.digest).read_bytes()
    here = assert_the_same_on_beta(lab, source, found, store)
    assert " 6755 0 0 f 1 " in here
    assert "/aaa 755 0 0 f 2 " in here
    assert "'./usr/games' system.posix_acl_default 02" in here
    assert "~" in here, "the name with a line break"


def test_a_socket_is_named(lab: Lab, source: str, store: Store) -> None:
    script = 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("/opt/sock"))'
    on(lab, source, f"docker exec {NAME} perl -e '{script}'")
    container = on(lab, source, f"docker inspect -f '{{{{.Id}}}}' {NAME}").strip()
    assert taken(source, container, store).missing == ("opt/sock",)
