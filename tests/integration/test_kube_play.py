"""The manifests of `pack --kubernetes`, as they are, under the one reader of them that needs no
cluster: `podman kube play`."""

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from portkit import lab as lab_room
from portkit import process
from portkit.lab import Lab
from tests.integration.commands import ROOT, ask, on, portkit, wait_for

pytestmark = pytest.mark.lab
IMAGE = "debian:bookworm-slim"
Rows = list[dict[str, Any]]
Play = Callable[..., None]
# What a host lists, and how it is removed: a volume for each secret that is mounted stays behind,
# and the image of pods' first process.
KINDS = {
    "podman ps -aq": "podman rm -f",
    "podman secret ls -q": "podman secret rm",
    "podman volume ls -q": "podman volume rm",
    "podman network ls -q": "podman network rm",
    "podman images -aq --no-trunc": "podman rmi -f",
}
WORDS = ["two  words", "", "$HOME", "$(WORD)", "${WORD}"]
VALUES = {"WORD": " a  b ", "EMPTY": "", "LETTERS": "é", "QUOTED": "'x' \"y\" $(WORD)"}
# Answers with its argv, its environment, who it is, and what it may write to.
TELL = """\
use IO::Socket::INET; use Sys::Hostname; use Cwd;
$SIG{TERM} = sub { exit 0 }; $SIG{PIPE} = 'IGNORE';
my $l = IO::Socket::INET->new(LocalPort => 8000, Listen => 9, ReuseAddr => 1) or die "$!";
while (my $c = $l->accept) {
  <$c>;
  open my $s, "<", "/proc/self/status"; my ($rights) = grep { /^CapEff/ } <$s>;
  open my $k, "<", "/run/secrets/key"; my $key = <$k>;
  my @may = map { open(my $f, ">", "$_/x") ? 1 : 0 } qw(/srv /memory);
  my @all = (@ARGV, map { $ENV{$_} } qw(WORD EMPTY LETTERS QUOTED));
  print $c "HTTP/1.0 200 OK\\r\\n\\r\\n", join("\\0", @all, "$> ".($)+0), cwd(), hostname(), $key,
    hex((split " ", $rights)[1]), "@may");
  close $c;
}
"""


@pytest.fixture(scope="module")
def delta(lab: Lab) -> str:
    lab_room.up(["delta"], lab=lab)
    return lab.address("delta")


def project(folder: Path) -> Path:
    """One service, without rights, that has a variable, a secret and a folder in memory."""
    service = {
        "image": IMAGE,
        "command": ["perl", "-e", "eval $ENV{TELL}; die $@ if $@", *WORDS],
        "user": "3000:3001",
        "working_dir": "/srv",
        "hostname": "told-host",
        "environment": {**VALUES, "TELL": TELL},
        "ports": ["8161:8000"],
        "read_only": True,
        "cap_drop": ["ALL"],
        "tmpfs": ["/memory:size=1m"],
        "secrets": ["key"],
    }
    (folder / "key").write_text("dear")
    told = {"name": "told", "services": {"told": service}, "secrets": {"key": {"file": "./key"}}}
    text = yaml.safe_dump(told, allow_unicode=True).replace("$", "$$")
    (folder / "compose.yaml").write_text(text)
    return folder


def packed(app: Path, store: Path, folder: Path) -> Rows:
    """The documents that were written, secrets first."""
    words = ("--form", "image", "--kubernetes", "-o", str(folder))
    portkit("pack", str(app), "--from", "lab:alpha", *words, store=store)
    files = (folder / f"{app.name}.{kind}.yaml" for kind in ("secrets", "kubernetes"))
    return [row for file in files for row in yaml.safe_load_all(file.read_text())]


def delta_runs(lab: Lab, command: str, data: bytes = b"") -> str:
    argv = ["ssh", "-F", lab.ssh_config, "lab-delta", command]
    return process.run(argv, input=data, timeout=120).text


def listed(lab: Lab, kind: str) -> set[str]:
    return set(on(lab, "delta", kind).split())


@pytest.fixture
def play(lab: Lab, delta: str) -> Iterator[Play]:
    """Plays documents on delta; what they made is removed afterwards, the last first."""
    before, done = {kind: listed(lab, kind) for kind in KINDS}, []

    def played(rows: Rows, *options: str) -> None:
        data = yaml.safe_dump_all(rows).encode()
        done.append(data)
        delta_runs(lab, shlex.join(["podman", "kube", "play", *options, "-"]), data)

    yield played
    for data in reversed(done):
        delta_runs(lab, "podman kube down --force -", data)
    for kind, remove in KINDS.items():
        if new := listed(lab, kind) - before[kind]:
            on(lab, "delta", shlex.join([*remove.split(), *new]))


def test_a_pod_sees_what_the_app_asks_for(
    lab: Lab, delta: str, store: Path, tmp_path: Path, play: Play
) -> None:
    app = tmp_path / "told"
    app.mkdir()
    rows = packed(project(app), store, tmp_path / "files")
    delta_runs(lab, "podman load -q", (tmp_path / "files/told.tar").read_bytes())
    play(rows, "--publish", "8161:8000")
    wait_for(f"http://{delta}:8161/")
    said = ask(f"http://{delta}:8161/").decode().split("\0")
    own = ["3000 3001", "/srv", "told-host", "dear", "0", "0 1"]
    assert said == [*WORDS, *VALUES.values(), *own]


def of_service(rows: Rows, name: str) -> Rows:
    """Without Services, which Podman does not read, and with the claims of all for the first."""

    def mine(row: dict[str, Any]) -> bool:
        own = row["metadata"]["labels"].get("app.kubernetes.io/name", "counter")
        return row["kind"] != "Service" and own == name

    return [row for row in rows if mine(row)]


@pytest.mark.campaign
def test_two_pods_with_a_claim(
    lab: Lab, delta: str, store: Path, tmp_path: Path, play: Play
) -> None:
    """Podman has no Services: the names that they would give are given by hand."""
    rows = packed(ROOT / "fixtures/apps/gate", store, tmp_path)
    delta_runs(lab, "podman load -q", (tmp_path / "gate.tar").read_bytes())
    on(lab, "delta", "podman network create kube")
    play(of_service(rows, "counter"), "--network", "kube:alias=numbers")
    publish = ("--publish", "8151:80")
    play(of_service(rows, "gate"), "--network", "kube", *publish)
    url = f"http://{delta}:8151/"
    wait_for(url)
    assert ask(url, "POST") == b"count 1\n"
    delta_runs(lab, "podman pod restart counter-pod")
    wait_for(url)
    assert ask(url) == b"count 1\n"
