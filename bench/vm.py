"""A VM under plain QEMU: one command line for whatever disk, so that only the disk differs."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from portkit import measure, process
from portkit.errors import BootError
from portkit.model import HealthProbe

# An ordinary VM boots for a while on emulated CPUs of a busy machine.
_PATIENCE_S = 240.0
_OFF_S = 120.0


@dataclass(frozen=True)
class Vm:
    """A started VM: its process, its serial console's log, its monitor's socket."""

    process: process.Process
    serial: Path
    monitor: Path
    started: float  # time.monotonic() just before the process was started
    port: int

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

    def answer(self, path: str, contains: str) -> measure.Answer:
        """The first right answer, seconds counted from `started`."""
        probe = HealthProbe(path=path, contains=contains, timeout_s=_PATIENCE_S)
        try:
            return measure.ttfr(
                probe, ("127.0.0.1", self.port), started=self.started, alive=self.alive
            )
        except BootError as error:
            raise BootError(error.brief, details=self.console()[-2000:]) from error

    def power_off(self) -> None:
        """Press the ACPI button and wait until it is off."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.connect(str(self.monitor))
            monitor.sendall(b"system_powerdown\n")
            if process.wait(self.process, _OFF_S) is None:
                raise BootError("the VM did not power off", details=self.console()[-2000:])


def command(
    disk: Path, form: str, *, port: int, guest_port: int, folder: Path, cpus: int
) -> list[str]:
    """QEMU's command line. form: "raw" or "qcow2". port: on 127.0.0.1, leads to guest_port."""
    options = [
        ("-machine", "q35,accel=tcg"),  # SeaBIOS is its firmware
        ("-cpu", "qemu64"),  # QEMU's own default, said aloud
        ("-smp", str(cpus)),
        ("-m", "512"),
        ("-display", "none"),
        ("-drive", f"file={disk},format={form},if=none,id=disk"),
        ("-device", "virtio-blk-pci,drive=disk"),
        ("-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:{guest_port}"),
        ("-device", "virtio-net-pci,netdev=net"),
        ("-device", "virtio-rng-pci"),
        ("-serial", f"file:{folder / 'serial.log'}"),
        ("-monitor", f"unix:{folder / 'monitor'},server=on,wait=off"),
    ]
    words = [word for option in options for word in option]
    return ["qemu-system-x86_64", "-nodefaults", "-no-user-config", *words]


@contextmanager
def boot(
    disk: Path, form: str, *, guest_port: int, cpus: int = 1, more: Sequence[str] = ()
) -> Iterator[Vm]:
    """A running VM of that disk; stopped, and its files gone, when the block is left. more: words
    behind QEMU's command line."""
    # Short: a unix socket's path has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="pkvm-") as name:
        folder, port = Path(name), _free_port()
        argv = command(disk, form, port=port, guest_port=guest_port, folder=folder, cpus=cpus)
        argv += more
        with (folder / "qemu.log").open("wb") as log:
            started = time.monotonic()
            with process.popen(argv, stdout=log, stderr=log) as running:
                yield Vm(running, folder / "serial.log", folder / "monitor", started, port)


@contextmanager
def overlay(base: Path) -> Iterator[Path]:
    """A throw-away qcow2 on a raw disk."""
    with tempfile.TemporaryDirectory(prefix="overlay-", dir=base.parent) as folder:
        path = Path(folder) / "overlay.qcow2"
        process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, path])
        yield path


def _free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])
