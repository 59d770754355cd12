"""Hosts: where things run. Everything to one host goes over one ssh connection.

`connect` gives a Host for an ssh alias, `[user@]host[:port]`, `ssh://...`, `lab:NAME`, or `local`.
Nothing is installed on a host: the remote half is sent over the connection and ends with it.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from portkit import process, runtime
from portkit.architecture import TABLE, Architecture
from portkit.errors import EngineError, HostError
from portkit.host import endpoint as endpoints
from portkit.host.calls import Remote
from portkit.host.limit import Bucket
from portkit.host.program import BOOT
from portkit.host.ssh import Counters, Session
from portkit.model import Facts, Guests, Sought
from portkit.progress import NullObserver, Observer
from portkit.remote.engine import SOCKETS
from portkit.remote.facts import KEPT, LIBVIRT_SOCKETS
from portkit.wire.json_types import JsonObject

__all__ = ["Counters", "Host", "connect"]

# python3 as root, whoever logs in; -n: sudo must never ask.
_AS_ROOT = (
    # -I: neither PYTHONPATH nor the user's site-packages nor the working folder are searched for
    # modules.
    'if [ "$(id -u)" = 0 ]; then exec python3 -I -c "$1"; fi; exec sudo -n python3 -I -c "$1"'
)


class Host:
    """A connected host. `connect` makes it.

    name: as the user gave it. endpoint: what the name resolved to. remote: calls to the host's
    remote half. rate: of the link to the host, in bytes a second, once a transfer has measured it.
    rate_limit: the highest rate that portkit uses; None means no limit. kept_s: the age in seconds
    of the results that `facts` reused; None if everything was read anew.
    """

    def __init__(
        self, name: str, session: Session | None, remote: Remote, *, keep: bool = False
    ) -> None:
        self.name = name
        self.kept_s: float | None = None
        self._keep = keep
        self.remote = remote
        self.rate: float | None = None
        self.rate_limit: float | None = None
        self._session = session
        self.endpoint = session.describe() if session else "local"
        self._sockets: dict[str, Path] = {}
        self._libvirt: str | None = None

    def facts(self, *, guests: bool = False, sought: Sought | None = None) -> Facts:
        """What the host is and has now; nothing is changed. HostError if its response is not valid.

        guests: also ask libvirt, if it runs, which guests it supports. sought: what else to look
        for, by name.
        """
        row = self._said({"ask": sought.row()} if sought else {})
        told = row.pop("libvirt_socket", None)
        # A host's word: in ssh's -L, anything else could lead somewhere else.
        if told is not None and told not in LIBVIRT_SOCKETS:
            raise HostError(
                "the host gave an invalid description of itself",
                details=f"it reports {str(told)[:100]!r} as libvirt's socket",
                resolution="Check which program answers on the host.",
            )
        self._libvirt = told
        from portkit.host.facts import parse_facts  # pydantic

        facts = parse_facts({**row, "host": self.name, "endpoint": self.endpoint})
        known = TABLE.get(facts.architecture)
        if not guests or known is None or told is None or facts.libvirt_version is None:
            return facts
        try:
            return replace(facts, guests=self._guests(known))
        except EngineError as error:  # a rule says so where it matters: it is for disks alone
            return replace(facts, guests=Guests(note=error.brief))

    def _guests(self, architecture: Architecture) -> Guests:
        from portkit.engines.libvirt import Libvirt

        libvirt = Libvirt(self.libvirt_uri(), self.name)
        try:
            return libvirt.guests(architecture)
        finally:
            libvirt.close()

    def _said(self, args: JsonObject) -> JsonObject:
        """What the host says of itself; a trial that it made before is not repeated if it may be
        kept and the host says that it still holds."""
        if not self._keep:
            return self.remote.call("facts", args)
        from portkit.host.kept import Kept

        kept = Kept()
        known, names = kept.read(self.endpoint), (*KEPT, "kept_mark")
        whole = all(name in known for name in names)
        row = self.remote.call("facts", {**args, "kept": known} if whole else args)
        if row.pop("was_kept", False) and whole:
            self.kept_s = max(time.time() - known["at"], 0.0)
        else:
            kept.write(self.endpoint, {name: row[name] for name in names if name in row})
        return row

    def docker_socket(self) -> Path:
        """A unix socket on this machine that leads to the host's Docker Engine or Podman."""
        told = self.remote.engine
        # A host's word, as libvirt's socket is.
        if told not in SOCKETS:
            raise HostError(
                "the host gave an invalid description of itself",
                details=f"it reports {told!r} as the engine's socket",
                resolution="Check which program answers on the host.",
            )
        return self._forwarded("docker", told)

    def libvirt_uri(self) -> str:
        """A libvirt URI that leads to the host's system daemon; EngineError where none runs."""
        if self._libvirt is None:
            self.facts()
        if self._libvirt is None:
            raise EngineError(
                f"libvirt is not running on {self.name}",
                details="neither libvirt-sock nor virtqemud-sock is in /var/run/libvirt",
                resolution="Install libvirt-daemon-system there and start libvirtd.",
            )
        if self._session is None:
            return f"qemu+unix:///system?socket={self._libvirt}"
        return f"qemu+unix:///system?socket={self._forwarded('libvirt', self._libvirt)}"

    def _forwarded(self, name: str, remote: str) -> Path:
        if self._session is None:
            return Path(remote)
        self._renewed(self._session)
        if name not in self._sockets:
            local = self._session.folder / name
            self._session.forward(str(local), remote)
            self._sockets[name] = local
        return self._sockets[name]

    def _renewed(self, session: Session) -> None:
        """A connection that has ended since the last call, days ago perhaps, is made anew with its
        forwards, and so are the locks that it held."""
        if session.ended:
            self.remote.renew()

    @property
    def by_ssh(self) -> bool:
        """Whether it is reached by ssh; else it is this machine itself."""
        return self._session is not None

    @contextmanager
    def joined(self, other: Host, folder: str, names: Sequence[str]) -> Iterator[None]:
        """Sockets in a folder here lead to those of the same names on another host, both reached
        by ssh, through this machine, within the block. They need not be there yet on the other."""
        here, there = self._session, other._session
        if here is None or there is None:
            raise HostError("both hosts must be reached by ssh", details=self.name)
        with ExitStack() as opened:
            for name in names:
                local, remote = str(there.folder / f"live-{name}"), f"{folder}/{name}"
                Path(local).unlink(missing_ok=True)
                there.bridge(local, remote)
                opened.callback(there.unbridge, local, remote)
                here.bridge(local, remote, back=True)
                opened.callback(here.unbridge, local, remote, back=True)
            yield

    def counters(self) -> Counters:
        """Bytes sent to and received from the host so far, including ssh's own if they can be
        counted."""
        if self._session is None:
            return Counters(0, 0, "local")
        seen = self._session.counters()
        return seen or Counters(self.remote.written, self.remote.read_bytes, "written")

    def limit(self, rate: float | None) -> None:
        """Limit what is sent to the host to that many bytes a second; None removes the limit."""
        self.rate_limit = rate
        self.remote.limit = None if rate is None else Bucket(rate)

    def address(self) -> str:
        """The address of the host's published ports, unless a jump host or firewall is in
        between."""
        return "127.0.0.1" if self._session is None else self._session.hostname

    def forward(self, port: int, address: str = "127.0.0.1") -> tuple[str, int]:
        """(address, port) on this machine that leads through ssh to a port at an address that the
        host reaches."""
        if self._session is None:
            return address, port
        self._renewed(self._session)
        return self._session.forward_port(port, address)


def connect(
    name: str, observer: Observer | None = None, *, keep: bool = False
) -> AbstractContextManager[Host]:
    """Connect to a host for a `with` block; the connection ends with the block.

    name: "local", an ssh alias, `[user@]host[:port]`, `ssh://...` or `lab:NAME`. keep: use the
    result of a trial that the host made for an earlier connection, as long as it is still valid. A
    malformed name raises HostError at the call, before anything is started. Entering the block
    raises HostError if the host is unknown, unreachable or not trusted, or has no python3 or no
    root, and LabError for a practice host that is not running.
    """
    return _connected(name, _endpoint(name), observer or NullObserver(), keep)


@contextmanager
def _connected(
    name: str, endpoint: endpoints.Endpoint, observer: Observer, keep: bool
) -> Iterator[Host]:
    with ExitStack() as stack:
        if endpoint.local:
            engine = _local_engine(os.environ.get("DOCKER_HOST", ""))
            yield Host(name, None, _local(stack, observer, engine), keep=keep)
            return
        session = Session(name, endpoint)
        stack.callback(session.close)
        observer.message(f"{name} is {session.describe()}")
        command = "exec " + shlex.join(["sh", "-c", _AS_ROOT, "sh", BOOT])
        engine = endpoint.engine
        remote = Remote(lambda: session.start(command), observer, session.said, engine, name)
        yield Host(name, session, remote, keep=keep)


def _endpoint(name: str) -> endpoints.Endpoint:
    if not name.startswith("lab:"):
        return endpoints.parse(name)
    from portkit import lab

    host = lab.host(name.removeprefix("lab:"))
    if not host.running:
        raise HostError(
            f"{name} is not running",
            details=f"the lab host {host.name} is not running",
            resolution=f"Start it: portkit lab up {host.name}",
        )
    return endpoints.Endpoint(f"lab-{host.name}", config=host.ssh_config)


def _local_engine(told: str) -> str:
    """Which engine of this machine DOCKER_HOST names; "" for the one that is found. HostError for
    all others: portkit would not take the engine that the user has in mind."""
    if not told:
        return ""
    socket = endpoints.engine_socket(told.removeprefix("unix://"))
    if told.startswith("unix://") and socket:
        return socket
    raise HostError(
        "portkit reaches an engine only through its system's unix socket or by ssh",
        details=f"DOCKER_HOST is {told[:200]!r}; supported are {', '.join(SOCKETS)}",
        resolution="Unset DOCKER_HOST to use this machine's engine, or name the other host.",
    )


def _local(stack: ExitStack, observer: Observer, engine: str) -> Remote:
    # Not this environment's Python below sudo: root should not run what an ordinary user can write
    # to.
    argv = [sys.executable, "-I", "-c", BOOT]
    if os.geteuid() != 0:
        argv = ["sudo", "-n", "python3", "-I", "-c", BOOT]
    stderr = stack.enter_context(tempfile.TemporaryFile(dir=runtime.folder()))  # noqa: SIM115 - the stack closes it

    def start() -> process.Process:
        child = stack.enter_context(process.popen(argv, stdin=process.PIPE, stderr=stderr))
        stack.callback(_finish, child)
        return child

    def said() -> str:
        stderr.seek(0)
        return stderr.read(4096).decode("utf-8", "replace").strip()

    return Remote(start, observer, said, engine, "local")


def _finish(child: process.Process) -> None:
    """Let the remote half end by itself: it removes its temporary files then."""
    if child.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
    process.wait(child, 5.0)
