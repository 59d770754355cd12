"""A running container becomes a VM, with the data of its volume, and comes back."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.decoys import beside
from portkit.lab import Lab
from tests.integration.commands import ask, on, ours, portkit, wait_for

pytestmark = pytest.mark.lab

NAME, VOLUME, PORT = "ledger", "ledger-data", 8099
# Of each entry of its volume: owner, mode, time, content or target, and one attribute. A request
# for /add/TEXT appends to a file. On its stop it writes into its image where it is told to.
SERVER = r"""
use IO::Socket::INET; use POSIX; $| = 1; $SIG{PIPE} = 'IGNORE';
$SIG{TERM} = sub { if ($ENV{NOTES}) { open my $f, '>', '/root/stopped'; print $f "in time\n" }
                   exit 0 };
my $l = IO::Socket::INET->new(LocalPort => 80, Listen => 9, ReuseAddr => 1) or die;
while (my $c = $l->accept) {
  my $r = <$c>;
  if ($r =~ m{GET /add/(\w+)}) { open my $f, '>>', '/data/added'; print $f "$1\n" }
  my $said = -e '/root/stopped' ? "stopped\n" : "";
  opendir my $d, '/data';
  for my $name ('', sort grep { !/^\.\.?$/ } readdir $d) {
    my $path = "/data/$name";
    my @s = lstat $path;
    my $more = '';
    if (-l $path) { $more = readlink $path }
    elsif (-f $path) { open my $f, '<', $path; local $/; $more = <$f>; $more =~ s/\n/,/g }
    my $note = "\0" x 64; my $key = 'user.note';
    my $size = -l $path ? 0 : syscall(191, $path, $key, $note, 64);
    $note = $size > 0 ? substr($note, 0, $size) : '';
    my $when = $name eq 'added' || $name eq '' ? '' : $s[9];
    $said .= join(' ', "<$name>", $s[4], $s[5], sprintf('%o', $s[2]), $when, $more, $note) . "\n";
  }
  print $c "HTTP/1.0 200 OK\r\n\r\n$said"; close $c;
}
"""
# On the host, where the engine has the volume.
DATA = """
import os, sys
os.chdir(sys.argv[1])
os.chmod(".", 0o2751); os.chown(".", 33, 44)
open("plain", "w").write("hello"); os.chown("plain", 70000, 3000000000); os.chmod("plain", 0o4640)
os.setxattr("plain", b"user.note", b"kept")
os.utime("plain", (1500000000, 1500000000))
os.symlink("plain", "link"); os.lchown("link", 5, 6)
os.utime("link", (1400000000, 1400000000), follow_symlinks=False)
"""


@pytest.fixture
def app(lab: Lab, request: pytest.FixtureRequest) -> Iterator[str]:
    """The container on alpha, and its volume; its URL there."""
    notes = getattr(request, "param", "")
    code = shlex.quote(SERVER)
    on(
        lab,
        "alpha",
        f"docker volume create {VOLUME} && docker run -d --name {NAME} --restart always "
        f"-e NOTES={notes} -p {PORT}:80 -v {VOLUME}:/data debian:bookworm-slim perl -e {code}",
    )
    place = f"/var/lib/docker/volumes/{VOLUME}/_data"
    on(lab, "alpha", f"python3 -c {shlex.quote(DATA)} {place}")
    with beside(NAME, VOLUME):
        yield f"http://{lab.address('alpha')}:{PORT}"
    on(lab, "alpha", f"docker rm -f {NAME}; docker volume rm {VOLUME}", check=False)


WANTED = (
    "<> 33 44 42751   \n"
    "{added}"
    "<link> 5 6 120777 1400000000 plain \n"
    "<plain> 70000 3000000000 104640 1500000000 hello kept\n"
)


def wanted(*added: str) -> str:
    """What the App says; in `added` there are these lines."""
    line = f"<added> 0 44 100644  {','.join(added)}, \n" if added else ""
    return WANTED.format(added=line)


def said(url: str, path: str = "/") -> str:
    return ask(url + path).decode()


@pytest.mark.parametrize(
    "app",
    [
        pytest.param("", id="quiet", marks=pytest.mark.campaign),
        pytest.param("1", id="writes into its image"),
    ],
    indirect=True,
)
def test_it_becomes_a_vm_with_its_data_and_comes_back(
    lab: Lab, store: Path, app: str, request: pytest.FixtureRequest
) -> None:
    before = ours(lab, "beta")
    wait_for(app)
    said(app, "/add/one")
    assert said(app) == wanted("one")
    there = f"http://{lab.address('beta')}:{PORT}"
    words = ("--form", "disk", "--from", "lab:alpha", "--to", "lab:beta", "--output", "json")
    report = json.loads(portkit("move", f"container:{NAME}", *words, store=store).text)
    move = report["move"]
    now = said(there)
    assert now.removeprefix("stopped\n") == wanted("one")
    # What it wrote into its image when it was stopped came along, on a disk that was made for it.
    assert now.startswith("stopped\n") == request.node.callspec.id.startswith("writes")
    assert said(there, "/add/two").endswith(wanted("one", "two"))
    assert on(lab, "beta", f"ls /var/lib/portkit/instances/{move}/data", check=False) == ""
    kept = portkit("rm", "--yes", move, "--on", "lab:beta", store=store, check=False)
    assert kept.code != 0
    assert b"--data" in kept.stderr
    assert said(there).endswith(wanted("one", "two")), "it still runs"
    portkit("rollback", move, "--discard-writes", store=store)
    wait_for(app)
    assert said(app).endswith(wanted("one")), "with the data that it was stopped with"
    inspect = "docker inspect -f '{{.HostConfig.RestartPolicy.Name}} {{.State.Status}}'"
    assert on(lab, "alpha", f"{inspect} {NAME}").strip() == "always running"
    assert ours(lab, "beta") == before
