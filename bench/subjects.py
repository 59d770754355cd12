"""What the campaigns move while it is written to: a container, or a VM that portkit made.

Each has a volume, the restart policy `always`, and decoys beside it.
"""

from __future__ import annotations

import json
import shlex
import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from bench import hosts
from bench.decoys import LABEL, Decoys
from portkit import lab, process
from portkit.lab.base import TAG

PORT = 8098
CONTAINER, VM = "cut-web", "cut-vm"
_OTHER = "other-vm"
_BOTH = (hosts.SOURCE, hosts.TARGET)
# Each request for /write/N adds a line to the file, and is answered when that is on the disk: a
# guest is cut off with its host. A request for /all is answered with the file.
SERVER = r"""
use IO::Socket::INET; use IO::Handle;
$SIG{TERM} = sub { exit 0 }; $SIG{PIPE} = 'IGNORE';
open(my $log, '>>', '/data/log') or die; $log->autoflush(1);
my $l = IO::Socket::INET->new(LocalPort => 80, Listen => 9, ReuseAddr => 1) or die;
while (my $c = $l->accept) {
  my $r = <$c> // '';
  my ($n) = $r =~ m{/write/(\d+)};
  # On a full disk it acknowledges nothing; Perl's error stays until it is cleared.
  if (defined $n) { $log->clearerr; print $log "$n\n" or next; $log->sync or next }
  print $c "HTTP/1.0 200 OK\r\n\r\nhere " . ($n // '') . "\n";
  if ($r =~ m{/all}) { open(my $f, '<', '/data/log') or die; print $c $_ while <$f>; close $f }
  close $c;
}
"""
_OPTIONS = f"--restart always -p {PORT}:80 -v data:/data"
_SIDES = (
    "docker ps -aq | xargs -r docker inspect -f "
    "'{{.Name}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}} "
    f'{{{{index .Config.Labels "{LABEL}"}}}}\' | sort'
)
_OURS = f"virsh -q list --all --name | grep -E '^portkit-{VM}-[0-9a-f]{{12}}$'"
_MADE = f"^portkit-({VM}|{_OTHER})-[0-9a-f]{{12}}$"
_DOMAINS = (
    f"for n in $({_OURS}); do echo $n "
    "$(virsh dominfo $n | sed -n 's/^State: *//p; s/^Autostart: *//p' | tr ' ' _); done"
)
_START_S = 180.0


def project(name: str, service: Mapping[str, object]) -> str:
    """A compose file with a service of the base image, and a volume for it."""
    services = {"web": {"image": TAG, **service}}
    return json.dumps({"name": name, "services": services, "volumes": {"data": {}}})


def serving(server: str, port: int, settings: Mapping[str, object]) -> dict[str, object]:
    """The service of a server in Perl that keeps its data in that volume. settings: its
    `x-portkit`."""
    return {
        "command": ["perl", "-e", server.replace("$", "$$")],
        "ports": [f"{port}:80"],
        "restart": "always",
        "volumes": ["data:/data"],
        "x-portkit": dict(settings),
    }


class Subject(Protocol):
    """words: as `portkit move` is told of it. patience_s: how long it may take to answer after its
    start. decoys: on both hosts."""

    words: tuple[str, ...]
    patience_s: float
    decoys: Decoys

    def ready(self, run: Run) -> None:
        """It runs at the source, with nothing on the target, and its decoys are there."""

    def restart(self) -> None:
        """It is stopped at the source and started again, as a user does it."""

    def away(self) -> None:
        """What `ready` has put there goes again."""

    def clean(self) -> None:
        """As `away`, whatever went wrong with a Move of it; the decoys stay."""

    def serving(self) -> tuple[str, str]:
        """The host that serves, and what is wrong with who runs and who would start by himself."""

    def written(self, host: str) -> set[int]:
        """The numbers in its file on a host where it runs."""


class Run(Protocol):
    """Runs portkit with these words."""

    def __call__(self, *words: str) -> process.Completed: ...


@dataclass
class Container:
    """A container that a user has started. content_there: its image is on the target already; a
    Move takes a third of the time then."""

    content_there: bool = False
    words: tuple[str, ...] = (f"container:{CONTAINER}", "--form", "image")
    options: str = _OPTIONS
    patience_s: float = 20.0
    decoys: Decoys = field(default_factory=partial(Decoys, CONTAINER))

    def ready(self, run: Run) -> None:
        if self.content_there and not hosts.on(hosts.TARGET, f"docker images -q {TAG}"):
            saved = process.run([*hosts.ssh(hosts.SOURCE), f"docker save {TAG} | gzip -1"])
            process.run([*hosts.ssh(hosts.TARGET), "docker load"], input=saved.stdout)
        run_it = f"docker run -d --name {CONTAINER} {self.options} {TAG}"
        run_it += f" perl -e {shlex.quote(SERVER)}"
        hosts.on(
            hosts.SOURCE,
            f"docker inspect {CONTAINER} >/dev/null 2>&1 || "
            f"{{ docker volume create data >/dev/null; {run_it}; }}",
        )
        self.decoys.put()

    def restart(self) -> None:
        hosts.on(hosts.SOURCE, f"docker restart {CONTAINER}")

    def away(self) -> None:
        self.decoys.away()
        for name in _BOTH:
            hosts.on(name, f"docker rm -f {CONTAINER}; docker volume rm data; true")
        if self.content_there:
            # `clean` may have removed it.
            hosts.on(hosts.TARGET, f"docker images -q {TAG} | xargs -r docker rmi -f")

    def clean(self) -> None:
        for name in _BOTH:
            hosts.on(
                name,
                "docker ps -qa | xargs -r docker rm -f; docker volume ls -q | xargs -r docker "
                "volume rm; rm -rf /var/lib/portkit/moves",
            )
        hosts.on(
            hosts.TARGET,
            "docker images -qa | sort -u | xargs -r docker rmi -f; rm -rf /var/lib/portkit/store",
        )

    def serving(self) -> tuple[str, str]:
        found = {}
        for host in _BOTH:
            rows = [line.split(" ") for line in hosts.on(host, _SIDES).splitlines()]
            found[host] = [
                (name, running == "true", policy)
                for name, running, policy, decoy in rows
                if not decoy
            ]
        source, target = found[hosts.SOURCE], found[hosts.TARGET]
        if source == [(f"/{CONTAINER}", True, "always")]:
            # A Move that waits keeps a container there that never starts by itself.
            well = all(not running and policy == "no" for _, running, policy in target)
            return hosts.SOURCE, "" if well else f"beside the source: {target}"
        well = source == [(f"/{CONTAINER}", False, "no")] and len(target) == 1
        well = well and target[0][1:] == (True, "always")
        return hosts.TARGET, "" if well else f"source: {source}; target: {target}"

    def written(self, host: str) -> set[int]:
        where = "'{{range .Mounts}}{{.Source}}{{end}}'"
        command = f"cat $(docker inspect -f {where} $(docker ps -q --filter publish={PORT}))/log"
        return set(map(int, hosts.on(host, command).split()))


@dataclass
class Asked(Container):
    """The same, in a Move with all that a user can ask for: it waits before the cutover and before
    the commit, replaces a volume that the target has, and runs commands in the container and
    here. (A forward would let both hosts answer.)"""

    words: tuple[str, ...] = (
        f"container:{CONTAINER}",
        "--form",
        "image",
        "--hold",
        "--confirm",
        "--volumes",
        "override",
        "--after-commit",
        "true",
    )
    options: str = (
        f"{_OPTIONS} --label x-portkit.quiesce.before=true --label x-portkit.quiesce.after=true"
    )

    def ready(self, run: Run) -> None:
        super().ready(run)
        place = "$(docker volume inspect -f '{{.Mountpoint}}' data)"
        hosts.on(hosts.TARGET, f"docker volume create data >/dev/null; echo own > {place}/own")


@dataclass
class Vm:
    """The same server, or another one, in a VM that portkit made at the source. settings: of its
    service's `x-portkit`. content_there: on the target there is another VM of the same image,
    switched off, and so the disk that both begin from."""

    server: str = SERVER
    settings: Mapping[str, object] = field(default_factory=lambda: {"volume": "64m"})
    content_there: bool = False
    words: tuple[str, ...] = (f"vm:{VM}", "--form", "disk")
    patience_s: float = _START_S
    decoys: Decoys = field(default_factory=partial(Decoys, VM))

    def ready(self, run: Run) -> None:
        self.decoys.put()
        others = f"virsh -q list --all --name | grep '^portkit-{_OTHER}-' || true"
        if self.content_there and not hosts.on(hosts.TARGET, others):
            self._make(run, hosts.TARGET, _OTHER, {"command": ["sleep", "inf"]})
            stopped = run("stop", _OTHER, "--on", f"lab:{hosts.TARGET}")
            if stopped.code != 0:
                raise RuntimeError(f"the other VM was not stopped: {stopped.stderr[-1500:]!r}")
        if not hosts.on(hosts.SOURCE, _DOMAINS).strip():
            self._make(run, hosts.SOURCE, VM, serving(self.server, PORT, self.settings))

    def _make(self, run: Run, host: str, name: str, service: Mapping[str, object]) -> None:
        with tempfile.TemporaryDirectory(prefix="portkit-subject-") as folder:
            (Path(folder) / "compose.yaml").write_text(project(name, service))
            words = ("--form", "disk", "--from", f"lab:{hosts.SOURCE}", "--to")
            made = run("move", folder, *words, f"lab:{host}", "--progress", "plain")
        if made.code != 0:
            raise RuntimeError(f"the VM was not made: {made.stderr[-1500:]!r}")

    def domain(self) -> str:
        """What libvirt calls it at the source."""
        return hosts.on(hosts.SOURCE, _OURS).strip()

    def restart(self) -> None:
        gone = 'while [ "$(virsh domstate $n)" = running ]; do virsh shutdown $n; sleep 1; done'
        hosts.on(hosts.SOURCE, f"n=$({_OURS}); {gone}; virsh start $n")

    def away(self) -> None:
        self.clean()
        self.decoys.away()

    def clean(self) -> None:
        for name in _BOTH:
            hosts.on(
                name,
                f"for n in $(virsh -q list --all --name | grep -E '{_MADE}'); do "
                "virsh destroy $n; virsh undefine --nvram $n; done >/dev/null 2>&1; "
                "rm -rf /var/lib/portkit/moves /var/lib/portkit/instances/* /var/lib/portkit/store",
            )

    def serving(self) -> tuple[str, str]:
        found = {}
        for host in _BOTH:
            rows = [line.split()[1:] for line in hosts.on(host, _DOMAINS).splitlines()]
            found[host] = [tuple(row) for row in rows]
        source, target = found[hosts.SOURCE], found[hosts.TARGET]
        on, off = ("running", "enable"), ("shut_off", "disable")
        if source == [on]:
            # A Move that waits may keep a VM there that never starts by itself.
            return hosts.SOURCE, "" if set(target) <= {off} else f"beside the source: {target}"
        well = (source, target) == ([off], [on])
        return hosts.TARGET, "" if well else f"source: {source}; target: {target}"

    def written(self, host: str) -> set[int]:
        url = f"http://{lab.host(host).address}:{PORT}/all"
        with urllib.request.urlopen(url, timeout=60) as answer:
            return {int(word) for word in answer.read().split()[1:] if word.isdigit()}
