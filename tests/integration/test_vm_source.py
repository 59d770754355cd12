"""A VM that portkit made moves on with all that is on its disks, and comes back."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.subjects import serving
from portkit.lab import Lab
from tests.integration import commands
from tests.integration.commands import ask, on, ours, portkit, restarted, wait_for

pytestmark = pytest.mark.lab

PORT = 8098
# A request for /add/TEXT appends to a file in the volume and to one in the image's own root.
SERVER = r"""
use IO::Socket::INET;
$SIG{TERM} = sub { exit 0 }; $SIG{PIPE} = 'IGNORE';
my $l = IO::Socket::INET->new(LocalPort => 80, Listen => 9, ReuseAddr => 1) or die;
while (my $c = $l->accept) {
  my $r = <$c>;
  my @places = ('/data/added', '/root/added');
  if ($r =~ m{GET /add/(\w+)}) {
    for my $p (@places) { open my $f, '>>', $p; print $f "$1\n" }
  }
  my $said = $ENV{WORD};
  for my $p (@places) {
    my $owner = (stat $p)[4];
    open my $f, '<', $p; local $/; my $all = <$f>; $all =~ s/\n/,/g; $said .= " $owner:$all";
  }
  print $c "HTTP/1.0 200 OK\r\n\r\n$said"; close $c;
}
"""
WORD = "kept-beside-the-vm"


@pytest.fixture
def machine(lab: Lab, store: Path, tmp_path: Path) -> Iterator[str]:
    """The VM on beta, by its id."""
    service = serving(SERVER, PORT, {"volume": "64m"}) | {"environment": {"WORD": WORD}}
    with commands.machine(
        "diary", service, "beta", folder=tmp_path, store=store, restarted=True
    ) as move:
        yield move


def told(lab: Lab, name: str, path: str = "/") -> str:
    return ask(f"http://{lab.address(name)}:{PORT}{path}").decode()


def domain(lab: Lab, name: str, move: str) -> tuple[str, str]:
    """Whether it runs, and whether it starts with its host."""
    text = on(lab, name, f"virsh dominfo portkit-diary-{move[3:]}")
    rows = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return rows["State"].strip(), rows["Autostart"].strip()


def test_it_moves_with_its_disks_and_comes_back(lab: Lab, store: Path, machine: str) -> None:
    before = ours(lab, "alpha")
    told(lab, "beta", "/add/one")
    assert domain(lab, "beta", machine) == ("running", "enable")
    words = ("--from", "lab:beta", "--to", "lab:alpha", "--output", "json")
    report = json.loads(portkit("move", "vm:diary", *words, store=store).text)
    move = report["move"]
    # What was in the guest's memory alone came along as well: the guest wrote it on its way down.
    assert told(lab, "alpha") == f"{WORD} 0:one, 0:one,"
    assert domain(lab, "alpha", move) == ("running", "enable")
    assert domain(lab, "beta", machine) == ("shut off", "disable")
    assert report["cutover"]["timeline"]["both_answered"] == []
    (disks,) = report["cutover"]["volumes"]
    assert disks["last_sent_bytes"] < disks["sent_bytes"] < disks["bytes"]
    assert on(lab, "alpha", f"ls /var/lib/portkit/instances/{move}/data", check=False) == ""
    assert on(lab, "beta", f"ls /var/lib/portkit/instances/{machine}/disks", check=False) == ""
    restarted(lab, "beta")
    assert domain(lab, "beta", machine) == ("shut off", "disable"), "it stays so"
    told(lab, "alpha", "/add/two")
    again = portkit("move", f"vm:{machine}", *words, store=store, check=False)
    assert b"has moved away before" in again.stderr
    left = portkit("forget", move, store=store).text
    assert f"VM {machine} with its disks: stopped" in left
    portkit("rollback", move, "--discard-writes", store=store)
    wait_for(f"http://{lab.address('beta')}:{PORT}/", 300)
    assert told(lab, "beta") == f"{WORD} 0:one, 0:one,", "as it was stopped"
    assert domain(lab, "beta", machine) == ("running", "enable")
    assert ours(lab, "alpha") == before
