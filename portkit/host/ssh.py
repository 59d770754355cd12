"""One OpenSSH master connection to a host, and what is multiplexed over it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import socket
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from portkit import process, runtime
from portkit.errors import HostError, TransferError
from portkit.host.endpoint import Endpoint

_OPTIONS = (
    # Nobody is there to type a password or a passphrase: fail at once where ssh would ask.
    "-oBatchMode=yes",
    # Also where the user's own ssh_config trusts new keys: nobody sees ssh's warning here.
    "-oStrictHostKeyChecking=yes",
    "-oForwardAgent=no",
    "-oForwardX11=no",
    "-oPermitLocalCommand=no",
    "-oRemoteCommand=none",
    "-oRequestTTY=no",
    "-oConnectTimeout=20",
    "-oServerAliveInterval=5",  # a dead link is noticed after 25 s
    "-oServerAliveCountMax=4",
    # ssh would else go on without the forward, and whoever uses it would see a socket that nobody
    # answers.
    "-oExitOnForwardFailure=yes",
    "-oStreamLocalBindUnlink=yes",
    # The master ends with this process: a user's own setting would leave one behind that holds a
    # connection with root's rights.
    "-oControlPersist=no",
)
# ConnectTimeout is for TCP alone; a login may wait for PAM, or for a hardware key to be touched.
_CONNECT_SECONDS = 60.0
_SAID_LIMIT = 4096  # bytes
_PIDFD_GETFD = 438  # the same number on every architecture (Linux 5.6)

# What ssh says, what it means, what to do about it.
_FAILURES = (
    (
        "Could not resolve hostname",
        "the host's name cannot be resolved",
        "Check the name in your command, in ~/.ssh/config and in DNS.",
    ),
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host's key has changed",
        "If you know why it changed, remove the old key (ssh-keygen -R HOST), connect once with "
        "ssh and check the new fingerprint.",
    ),
    (
        "Host key verification failed",
        "the host's key is unknown",
        "Connect once with `ssh HOST`, and accept the key if its fingerprint is right.",
    ),
    (
        "Permission denied",
        "the host refused the login",
        "Check the user name, and that the right key is in your agent or in ~/.ssh.",
    ),
    (
        "Connection refused",
        "nothing answers at the host's ssh port",
        "Check the port, and that sshd runs there.",
    ),
    (
        "timed out",
        "the host does not respond",
        "Check that the host runs and can be reached from this machine.",
    ),
    (
        "No route to host",
        "the host cannot be reached",
        "Check the network between this machine and the host.",
    ),
)


@dataclass(frozen=True)
class Counters:
    """Bytes of a connection so far. source: tcp_info | written | local."""

    sent: int
    received: int
    source: str


def failure(name: str, said: str) -> HostError:
    """The error for an ssh that did not connect, from what it said."""
    for mark, brief, resolution in _FAILURES:
        if mark in said:
            return HostError(f"{brief}: {name}", details=said, resolution=resolution)
    return HostError(
        f"could not connect to {name} by ssh",
        details=said or "ssh printed nothing",
        resolution="Try `ssh HOST true`: portkit uses the same settings.",
    )


class Session:
    """A running master; `close` ends it and everything over it.

    When the master has ended, `start` makes a new one, with the forwards that the old one had.
    """

    def __init__(self, name: str, endpoint: Endpoint) -> None:
        self.name = name
        self._endpoint = endpoint
        # `ssh -G` prints the settings that ssh would use, after ~/.ssh/config with its Match and
        # Include: nothing else reads those rightly.
        self._settings = self._resolve()
        self.folder = runtime.subfolder()
        self._socket = self.folder / "s"
        self._stderr = self.folder / "stderr"
        self._children: list[process.Process] = []
        self._forwards: list[tuple[str, str]] = []
        self._past = self._seen = Counters(0, 0, "tcp_info")  # of masters that ended; of this one
        # Two threads must not both replace a master that has ended.
        self._one = threading.RLock()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        with self._stderr_file() as stderr:
            # cat, not -N: when this process is killed, its input ends and the master with it.
            self._master = process.spawn(
                [*self._ssh("-oControlMaster=yes"), "exec cat"],
                stdin=process.PIPE,
                stdout=stderr,
                stderr=stderr,
            )
        # Over a link that is down, it would not notice the end of its input for a while.
        runtime.record(self._master.pid)
        self._wait()
        self.counters()  # it may end before anyone asks: what counts must not change then

    @property
    def ended(self) -> bool:
        """Whether the master has ended: nothing answers at the forwarded sockets any more."""
        return self._master.poll() is not None

    def _answers(self) -> bool:
        """Whether the master is there: without it ssh would connect by itself, uncounted."""
        if self.ended:
            return False
        return process.run(self._ssh("-O", "check"), timeout=20, check=False).code == 0

    def _reopen(self) -> None:
        """A new master after the old one ended; HostError while the host cannot be reached,
        TransferError when a forward fails."""
        self._end()
        self._past, self._seen = _added(self._past, self._seen), Counters(0, 0, "tcp_info")
        self._socket.unlink(missing_ok=True)
        with self._stderr_file() as stderr:
            stderr.truncate(0)  # what it says from now on is about the new one
        try:
            self._open()
            for local, remote in self._forwards:
                self._forward(local, remote)
        except BaseException:
            # The next `start` asks only whether the master answers, not what it forwards.
            self._end()
            raise

    def _end(self) -> None:
        process.end(self._master)
        runtime.forget(self._master.pid)
        if self._master.stdin is not None:
            self._master.stdin.close()

    def _ssh(self, *options: str) -> list[str]:
        return ["ssh", *_OPTIONS, "-S", str(self._socket), *options, *self._endpoint.arguments()]

    def _resolve(self) -> dict[str, str]:
        done = process.run(["ssh", "-G", *self._endpoint.arguments()], timeout=20, check=False)
        if done.code != 0:
            raise failure(self.name, done.stderr.decode("utf-8", "replace").strip())
        rows = (line.partition(" ") for line in done.text.splitlines())
        return {key: value for key, _, value in rows}

    def _wait(self) -> None:
        deadline = time.monotonic() + _CONNECT_SECONDS
        # The master makes its socket when the login is done, and not before.
        while not self._socket.exists():
            if process.wait(self._master, 0.02) is not None or time.monotonic() > deadline:
                raise failure(self.name, self.said())

    def _stderr_file(self) -> BinaryIO:
        flags = os.O_CREAT | os.O_APPEND | os.O_WRONLY
        return os.fdopen(os.open(self._stderr, flags, 0o600), "ab")

    def said(self) -> str:
        """The end of what ssh wrote to standard error so far."""
        if not self._stderr.exists():
            return ""
        with self._stderr.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _SAID_LIMIT))
            return file.read(_SAID_LIMIT).decode("utf-8", "replace").strip()

    @property
    def hostname(self) -> str:
        """The address behind the alias."""
        return self._settings.get("hostname", self._endpoint.host)

    def describe(self) -> str:
        """The host as a URL, after all settings of ssh: for reports and for the order of locks."""
        port = self._settings.get("port", "22")
        return f"ssh://{self._settings.get('user', '')}@{self.hostname}:{port}"

    def start(self, command: str) -> process.Process:
        """Run a command on the host, with pipes for input and output; ended by `close`."""
        with self._one:
            if self._children and not self._answers():
                self._reopen()
            with self._stderr_file() as stderr:
                # Without the master ssh would connect by itself, past the counters: it cannot then.
                alone = ("-oControlMaster=no", "-oProxyCommand=false")
                argv = [*self._ssh(*alone), command]
                child = process.spawn(argv, stdin=process.PIPE, stderr=stderr)
            self._children.append(child)
            return child

    def forward(self, local: str, remote: str) -> None:
        """Let a local socket (path, or address:port) lead to one on the host."""
        with self._one:
            self._forward(local, remote)
            self._forwards.append((local, remote))

    def _forward(self, local: str, remote: str) -> None:
        argv = self._ssh("-O", "forward", f"-L{local}:{remote}")
        done = process.run(argv, timeout=30, check=False)
        if done.code != 0:
            raise TransferError(
                "ssh could not forward a socket",
                details=f"{self.name}: {remote}\n{done.stderr.decode('utf-8', 'replace').strip()}",
                resolution="Allow AllowTcpForwarding and AllowStreamLocalForwarding in that "
                "host's sshd_config.",
            )

    def bridge(self, local: str, remote: str, *, back: bool = False) -> None:
        """Let a local socket lead to one on the host; back: the host's to the local one. It is not
        made again when the connection has broken: what goes over it has broken as well."""
        way = f"-R{remote}:{local}" if back else f"-L{local}:{remote}"
        with self._one:
            done = process.run(self._ssh("-O", "forward", way), timeout=30, check=False)
        if done.code != 0:
            raise TransferError(
                "ssh could not forward a socket",
                details=f"{self.name}: {remote}\n{done.stderr.decode('utf-8', 'replace').strip()}",
                resolution="Allow AllowStreamLocalForwarding in that host's sshd_config.",
            )

    def unbridge(self, local: str, remote: str, *, back: bool = False) -> None:
        """The end of a `bridge`; no error where it has ended by itself."""
        way = f"-R{remote}:{local}" if back else f"-L{local}:{remote}"
        with self._one:
            process.run(self._ssh("-O", "cancel", way), timeout=30, check=False)

    def forward_port(self, port: int, address: str = "127.0.0.1") -> tuple[str, int]:
        """A local address that leads to that port at an address that the host reaches."""
        with socket.socket() as probe:
            # The kernel gives a free port. Somebody may take it before ssh does: ssh then fails,
            # and the caller sees it.
            probe.bind(("127.0.0.1", 0))
            free = int(probe.getsockname()[1])
        self.forward(f"127.0.0.1:{free}", f"{address}:{port}")
        return "127.0.0.1", free

    def counters(self) -> Counters | None:
        """Bytes of the master's TCP socket; None where a proxy or a permission hides it. Of a
        master that ended or is about to, up to when it was last asked for."""
        # The master then talks to another program through a pipe, and has no TCP socket of its own.
        if self._settings.get("proxycommand", "none") != "none" or "proxyjump" in self._settings:
            return None
        with self._one:
            seen = tcp_counters(self._master.pid) if self._master.poll() is None else None
            if seen is not None:
                self._seen = seen
            elif not self._past.sent + self._seen.sent:  # never seen: it is hidden
                return None
            return _added(self._past, self._seen)

    def close(self) -> None:
        """End what runs over the master, the master, and remove its folder."""
        for child in self._children:
            if child.stdin is not None and not child.stdin.closed:
                # The remote half cleans up at the end of its input.
                with contextlib.suppress(BrokenPipeError):
                    child.stdin.close()
            process.wait(child, 5.0)
            process.end(child)
        if hasattr(self, "_master"):
            self._end()
        shutil.rmtree(self.folder, ignore_errors=True)


def _added(left: Counters, right: Counters) -> Counters:
    return Counters(left.sent + right.sent, left.received + right.received, right.source)


def tcp_counters(pid: int) -> Counters | None:
    """TCP_INFO of the one TCP socket of a process (tcp(7); linux/tcp.h, struct tcp_info); None
    where it cannot be seen, or the process is ending.

    tcpi_bytes_received is at offset 128, tcpi_bytes_sent (Linux 4.19) at 200, both 64 bits.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    # Python has no function for pidfd_getfd(2), which copies a descriptor out of another process.
    # It wants the right to trace that process (ptrace(2)), which its parent has unless Yama forbids
    # it.
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        for entry in list(Path(f"/proc/{pid}/fd").iterdir()):
            try:
                if not str(entry.readlink()).startswith("socket:"):
                    continue
            except FileNotFoundError:  # closed since it was listed
                continue
            copy = libc.syscall(_PIDFD_GETFD, pidfd, int(entry.name), 0)
            if copy < 0 and ctypes.get_errno() == errno.EBADF:
                continue
            if copy < 0:
                return None
            # Closing the copy leaves the master's own descriptor open.
            with socket.socket(fileno=copy) as found:
                inet = found.family in (socket.AF_INET, socket.AF_INET6)
                if inet and found.type == socket.SOCK_STREAM:
                    # The kernel writes as much of the structure as it knows: a short answer is an
                    # older kernel's.
                    info = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    if len(info) >= 208:
                        (received,) = struct.unpack_from("=Q", info, 128)
                        (sent,) = struct.unpack_from("=Q", info, 200)
                        return Counters(sent, received, "tcp_info")
    except OSError:
        return None
    finally:
        os.close(pidfd)
    return None
