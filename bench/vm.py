"""A VM under plain QEMU: one command line for every disk, so that only the disk differs."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.harness import kib
from portkit import measure, process
from portkit.errors import BootError
from portkit.measure.answer import POLL_S
from portkit.model import HealthProbe

# An ordinary VM boots for a while on emulated CPUs of a busy machine; one with Docker in it, that
# loads its images, for minutes.
_PATIENCE_S = 900.0
_OFF_S = 120.0
_ASKED_S = 30.0


@dataclass(frozen=True)
class Vm:
    """A started VM: its process, its serial console's log, its monitor's socket."""

    process: process.Process
    serial: Path
    monitor: Path
    started: float  # time.monotonic() just before the process was started
    ports: tuple[int, ...]  # on 127.0.0.1, in the order of what they lead to

    def alive(self) -> None:
        """BootError when it is gone, with the console's last words."""
        code = self.process.poll()
        if code is not None:
            raise BootError(f"QEMU ended with code {code}", details=self.console()[-2000:])

    def console(self) -> str:
        return self.serial.read_text(errors="replace") if self.serial.exists() else ""

    def moments(self, marks: Mapping[str, str]) -> dict[str, float]:
        """When each text stood on the console first, in seconds from `started`; they come in this
        order. Looks every few milliseconds."""
        found: dict[str, float] = {}
        deadline = self.started + _PATIENCE_S
        for name, text in marks.items():
            while text not in self.console():
                self.alive()
                if time.monotonic() > deadline:
                    raise BootError(f"the console never said {text!r}", details=self.console())
                time.sleep(0.005)
            found[name] = time.monotonic() - self.started
        return found

    def answer(self, path: str, contains: str, number: int = 0) -> measure.Answer:
        """The first right answer, seconds counted from `started`. number: of its port."""
        probe = HealthProbe(path=path, contains=contains, timeout_s=_PATIENCE_S)
        try:
            return measure.ttfr(
                probe, ("127.0.0.1", self.ports[number]), started=self.started, alive=self.alive
            )
        except BootError as error:
            raise BootError(error.brief, details=self.console()[-2000:]) from error

    def get(self, path: str, number: int = 0) -> str:
        """What it answers; of an app that is known to answer."""
        url = f"http://127.0.0.1:{self.ports[number]}{path}"
        with urllib.request.urlopen(url, timeout=_ASKED_S) as answer:
            return str(answer.read().decode())

    def says(self, question: bytes, contains: bytes, number: int = 0) -> float:
        """Seconds from `started` to the first right answer of an app that is not asked by HTTP."""
        deadline = self.started + _PATIENCE_S
        while True:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.ports[number]), _ASKED_S) as connection,
            ):
                connection.sendall(question)
                if contains in connection.recv(1024):
                    return time.monotonic() - self.started
            self.alive()
            if time.monotonic() > deadline:
                raise BootError(f"nothing said {contains!r}", details=self.console()[-2000:])
            time.sleep(POLL_S)

    def resident_mib(self) -> float:
        """Of the host's memory, what QEMU holds."""
        held = kib(Path(f"/proc/{self.process.pid}/status").read_text(), "VmRSS")
        assert held is not None, "a process that runs has it"
        return held / 1024

    def power_off(self) -> None:
        """Press the ACPI button and wait until it is off."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self.monitor))
            monitor.sendall(b"system_powerdown\n")
            if process.wait(self.process, _OFF_S) is None:
                raise BootError("the VM did not power off", details=self.console()[-2000:])


def command(
    disk: Path,
    form: str,
    *,
    forwards: Mapping[int, str],
    folder: Path,
    memory_mib: int,
    cpus: int,
) -> list[str]:
    """QEMU's command line. form: "raw" or "qcow2". forwards: ports on 127.0.0.1, and the address
    and port in the guest that each leads to; without an address it is the guest's own."""
    rules = "".join(f",hostfwd=tcp:127.0.0.1:{port}-{to}" for port, to in forwards.items())
    options = [
        ("-machine", "q35,accel=tcg"),  # SeaBIOS is its firmware
        ("-cpu", "qemu64"),  # QEMU's own default, said aloud
        ("-smp", str(cpus)),
        ("-m", str(memory_mib)),
        ("-display", "none"),
        ("-drive", f"file={disk},format={form},if=none,id=disk"),
        ("-device", "virtio-blk-pci,drive=disk"),
        ("-netdev", f"user,id=net{rules}"),
        ("-device", "virtio-net-pci,netdev=net"),
        ("-device", "virtio-rng-pci"),
        ("-serial", f"file:{folder / 'serial.log'}"),
        ("-monitor", f"unix:{folder / 'monitor'},server=on,wait=off"),
    ]
    words = [word for option in options for word in option]
    return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", *words]


@contextmanager
def boot(
    disk: Path,
    form: str,
    *,
    forwards: Sequence[str],
    memory_mib: int = 512,
    cpus: int = 1,
    more: Sequence[str] = (),
) -> Iterator[Vm]:
    """A running VM of that disk; stopped, and its files gone, when the block is left. forwards: as
    for `command`, each on some free port. more: words behind QEMU's command line."""
    # Short: a unix socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="pkvm-") as name:
        folder, ports = Path(name), _free_ports(len(forwards))
        argv = command(
            disk,
            form,
            forwards=dict(zip(ports, forwards, strict=True)),
            folder=folder,
            memory_mib=memory_mib,
            cpus=cpus,
        )
        argv += more
        with (folder / "qemu.log").open("wb") as log:
            started = time.monotonic()
            with process.popen(argv, stdout=log, stderr=log) as running:
                yield Vm(running, folder / "serial.log", folder / "monitor", started, ports)


@contextmanager
def overlay(base: Path) -> Iterator[Path]:
    """A throw-away qcow2 on a raw disk."""
    with tempfile.TemporaryDirectory(prefix="overlay-", dir=base.parent) as folder:
        path = Path(folder) / "overlay.qcow2"
        process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, path])
        yield path


def _free_ports(count: int) -> tuple[int, ...]:
    with contextlib.ExitStack() as held:
        servers = [
            held.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", 0))))
            for _ in range(count)
        ]
        return tuple(int(server.getsockname()[1]) for server in servers)
