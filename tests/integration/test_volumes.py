"""A docker volume between two hosts in passes, while somebody writes to it, compared by find,
sha256sum and getfattr."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from portkit.errors import VerifyError
from portkit.host import Host, connect
from portkit.lab import Lab
from portkit.progress import NullObserver
from portkit.volumes import Copy, Folder, another
from tests.integration.commands import on

pytestmark = pytest.mark.lab

VOLUME = "pk-test-volume"
HAVE_TOOLS = (
    "which getfattr setfacl > /dev/null || { apt-get -q update &&"
    " apt-get -q -y install --no-install-recommends attr acl; } >&2"
)
FILL = r"""
set -e
mkdir -p deep/er 'odd names' empty; echo hello > deep/er/file; chown 1234:4321 deep/er/file
head -c 20000000 /dev/urandom > big; ln big deep/same; ln -s ../nowhere deep/link
chown -h 5:6 deep/link; cp /bin/true setuid; chmod 6755 setuid
cp /bin/true able; setcap cap_net_bind_service+ep able
truncate -s 300M sparse; printf data | dd of=sparse bs=1 seek=100000000 conv=notrunc 2>/dev/null
for name in ' ' -rf "$(printf 'new\nline')" "$(printf '\377\376')" é; do
  echo "$name" > "odd names/$name"; done
touch -d 2001-02-03T04:05:06.123456789 big deep/er empty; touch -h -d 1999-01-01 deep/link
setfacl -m u:1000:rw deep/er/file; setfacl -d -m g:99:rx deep; chmod 3770 empty
setfattr -n user.note -v 0x00ff big; setfattr -h -n trusted.t -v 1 deep/link
mkfifo pipe
"""
# Appends, rewrites pages of a database, replaces files by rename, and removes some: no two rounds
# leave the folder the same.
WRITE = r"""
import os, random, sys, time
os.chdir(sys.argv[1])
os.makedirs("spool", exist_ok=True)
n = 0
while True:
    n += 1
    with open("log", "a") as file:
        file.write("line %d\n" % n)
    with open("big", "r+b") as file:
        file.seek(random.randrange(4000) * 4096)
        file.write(os.urandom(4096))
    with open("spool/new", "wb") as file:
        file.write(os.urandom(random.randrange(200000)))
    os.rename("spool/new", "spool/%d" % n)
    if n > 20:
        os.unlink("spool/%d" % (n - 20))
    time.sleep(0.01)
"""
# The size of a folder, and how many entries it had once, are its host's.
LIST = r"""
cd %s; export LC_ALL=C
find . -type d -printf '%%p %%y %%m %%U %%G %%T@\n' | sort
find . ! -type d ! -type p -printf '%%p %%y %%m %%U %%G %%s %%T@ %%l %%n\n' | sort
find . -type f -print0 | sort -z | xargs -0 sha256sum
find . ! -type p -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex
"""


def place(lab: Lab, name: str) -> str:
    inspect = f"docker volume inspect -f '{{{{.Mountpoint}}}}' {VOLUME}"
    return on(lab, name, f"docker volume create {VOLUME} > /dev/null && {inspect}").strip()


@contextmanager
def writer(lab: Lab, folder: str) -> Iterator[None]:
    """Somebody writes on alpha for a block, and has ended after it."""
    on(lab, "alpha", f"cat > /root/pk-writer.py <<'END'\n{WRITE}\nEND")
    start = f"nohup python3 /root/pk-writer.py {folder} > /dev/null 2>&1 & echo $!"
    pid = on(lab, "alpha", start).strip()
    try:
        yield
    finally:
        on(lab, "alpha", f"kill {pid}; while kill -0 {pid} 2> /dev/null; do sleep 0.05; done")


@pytest.fixture
def hosts(lab: Lab) -> Iterator[tuple[Host, Host]]:
    for name in ("alpha", "beta"):
        on(lab, name, HAVE_TOOLS)
    try:
        on(lab, "alpha", f"cd {place(lab, 'alpha')} && {FILL.strip()}")
        with connect("lab:alpha") as alpha, connect("lab:beta") as beta:
            yield alpha, beta
    finally:
        for name in ("alpha", "beta"):
            on(lab, name, f"docker volume rm -f {VOLUME}")
        on(lab, "alpha", "rm -f /root/pk-writer.py")


def test_a_volume_that_is_written_to(lab: Lab, hosts: tuple[Host, Host]) -> None:
    here, there = place(lab, "alpha"), place(lab, "beta")
    on(lab, "beta", f"mkdir {there}/old && echo old > {there}/old/file && ln -s /etc {there}/deep")
    copy = Copy(Folder(hosts[0], here), Folder(hosts[1], there), NullObserver())
    with writer(lab, here):
        passes = [copy.run()]
        assert passes[0].skipped == (("pipe", "FIFO"),)
        assert passes[0].deleted == 2  # what was in it, and not the symlink that is a folder now
        for host in hosts:  # the links break while nothing is under way
            host.remote._process.kill()
        passes.append(copy.run())
        while another(passes):
            passes.append(copy.run())
        # A page here and there, and some small files: not the big file again.
        assert 0 < passes[-1].sent_bytes < 10_000_000
        with pytest.raises(VerifyError, match="still writes"):
            copy.run(last=True)
    last = copy.run(last=True)
    assert last.sent_bytes < 10_000_000
    listed = on(lab, "alpha", LIST % here)
    assert listed == on(lab, "beta", LIST % there)
    for what in ("posix_acl_access", "posix_acl_default", "security.capability", "trusted.t"):
        assert what in listed
    assert " f 6755 0 0 " in listed
    assert int(on(lab, "beta", f"du -k {there}/sparse").split()[0]) < 1000
    again = copy.run(last=True)
    assert (again.changed_entries, again.sent_bytes, again.digest) == (0, 0, last.digest)


def test_the_rate_limit_is_kept(lab: Lab, hosts: tuple[Host, Host]) -> None:
    here, there = place(lab, "alpha"), place(lab, "beta")
    hosts[1].limit(10e6)
    done = Copy(Folder(hosts[0], here), Folder(hosts[1], there), NullObserver()).run(last=True)
    assert done.wire_bytes > 20_000_000  # random bytes do not shrink
    assert done.send_s > 1.9
    assert on(lab, "alpha", LIST % here) == on(lab, "beta", LIST % there)
