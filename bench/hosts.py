"""The benchmarks' own practice hosts: alpha, where images are built, and beta, the target.

They form a lab of their own (number 8), so that nothing of the user's is on the hosts. If it was up
before, it stays up; otherwise it is taken down at the end.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.apps import Teller
from portkit import lab, process, runtime
from portkit.host import Host, connect

SOURCE, TARGET = os.environ.get("HOSTS", "alpha beta").split()
NUMBER = "8"
SHAPED = "100mbit"
_HERE = ("rsync", "casync")
KEY = "/root/.ssh/bench"
_SETTLE_S = 0.5  # the last acknowledgements and the connection's end
_HOUR = 3600.0


@dataclass(frozen=True)
class Cost:
    """What went over the target's link, both ways, headers included; seconds until it was done."""

    bytes: int
    seconds: float


@dataclass(frozen=True)
class _Kept:
    """A master connection. socket: while it is not there, ssh connects by itself."""

    socket: Path
    master: process.Process


_kept: dict[str, _Kept] = {}


@contextmanager
def practice(*names: str) -> Iterator[None]:
    """These hosts of the benchmark's lab (alpha and beta where none is named), with
    debian:bookworm-slim on alpha. A lab that is up stays up."""
    os.environ.setdefault("PORTKIT_LAB_NUMBER", NUMBER)
    found = any(host.running for host in lab.status())
    try:
        lab.up(names or (SOURCE, TARGET), Teller())
        lab.load_base(SOURCE, observer=Teller())
        yield
    finally:
        if not found:
            lab.down()


@contextmanager
def ground() -> Iterator[lab.Lab]:
    """alpha and beta as above, with the peers' programs."""
    with practice():
        _install()
        _trust()
        yield lab.current()


def environment(folder: Path) -> dict[str, str]:
    """What a portkit that moves something between the hosts is told of this machine: a journal of
    its own in the folder."""
    return {
        "PORTKIT_STATE": str(folder / "state"),
        "PORTKIT_STORE": os.environ.get("PORTKIT_STORE", str(folder / "store")),
        **{n: v for n, v in os.environ.items() if n.startswith(("PORTKIT_LAB", "PYTHONPATH"))},
    }


def on(name: str, command: str, *, timeout: float = _HOUR, check: bool = True) -> str:
    """Run a shell command on a host; its output. check: ToolError when it fails."""
    return process.run([*ssh(name), command], timeout=timeout, check=check).text


def ssh(name: str) -> list[str]:
    """Over the connection that is kept, where one is."""
    kept = [f"-oControlPath={_kept[name].socket}"] if name in _kept else []
    return ["ssh", "-F", str(lab.ssh_config()), *kept, f"lab-{name}"]


@contextmanager
def kept_connections() -> Iterator[None]:
    """Within, commands on the hosts need no login of their own."""
    try:
        for name in (SOURCE, TARGET):
            _keep(name)
        yield
    finally:
        for name in list(_kept):
            process.end(_kept.pop(name).master)


def renew_connection(name: str) -> None:
    """The one that is kept, if one is: the host was rebooted, or its link was cut."""
    if name in _kept:
        process.end(_kept.pop(name).master)
        _keep(name)


def _keep(name: str) -> None:
    path = runtime.subfolder() / "s"
    *words, alias = ssh(name)
    argv = [*words, "-oControlMaster=yes", f"-oControlPath={path}", "-N", alias]
    _kept[name] = _Kept(path, process.spawn(argv))


def to_target() -> str:
    """From the source to the target, without this machine in between."""
    return f"ssh -i {KEY} -o BatchMode=yes root@{lab.host(TARGET).address}"


def _install() -> None:
    """The peers: on the hosts and, for what starts from a file here, on this machine."""
    get = "apt-get update -qq && apt-get install -y -qq --no-install-recommends"
    for name, tools in ((SOURCE, ()), (TARGET, (*_HERE, "docker-registry"))):
        have = "".join(f" && command -v {tool}" for tool in tools)
        on(name, f"(true{have}) >/dev/null || ({get} {' '.join(tools)} >/dev/null)")
    if not all(map(shutil.which, _HERE)):
        process.run(["sh", "-c", f"{get} {' '.join(_HERE)}"])


def _trust() -> None:
    """alpha may log in to beta, with the lab's own key."""
    key = lab.current().identity.read_bytes()
    store = f"umask 077; mkdir -p /root/.ssh; cat > {KEY}"
    process.run([*ssh(SOURCE), store], input=key, timeout=60)
    known = lab.current().known_hosts.read_bytes()
    process.run([*ssh(SOURCE), "cat > /root/.ssh/known_hosts"], input=known, timeout=60)


@contextmanager
def shaped(rate: str | None = SHAPED) -> Iterator[None]:
    """The target's link at that rate, while the block runs."""
    lab.shape(TARGET, rate)
    try:
        yield
    finally:
        lab.shape(TARGET, None)


def cost(action: Callable[[], object], rate: str | None = SHAPED) -> Cost:
    """What an action costs on the target's link."""
    with shaped(rate):
        before, begun = sum(lab.counters(TARGET)), time.monotonic()
        action()
        seconds = time.monotonic() - begun
        time.sleep(_SETTLE_S)
        return Cost(sum(lab.counters(TARGET)) - before, seconds)


def target() -> AbstractContextManager[Host]:
    """A new connection to the target, as each command makes one."""
    return connect(f"lab:{TARGET}")


def clear() -> None:
    """Nothing of any app on the target, neither in its engine nor in its Store."""
    on(
        TARGET,
        "docker ps -qa | xargs -r docker rm -f; docker images -qa | sort -u | xargs -r docker rmi "
        "-f; docker image prune -af; rm -rf /var/lib/portkit/store",
    )
    os.sync()  # what was written must not be written to the disk in someone else's time
