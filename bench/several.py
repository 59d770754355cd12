"""Five services in one of portkit's VMs, compared with an ordinary Debian VM with Docker in it.

The App is bench/five: two servers in Python, nginx, redis, and in front of them a server whose
answer needs the four others. Each is a separate image, a layer of some kB on one Debian base.

Bytes are counted as in bench/transfer.py, on beta's link. beta has the GuestKit (kernel, initrd,
boot partition) from an earlier Move and nothing else. Row a is the image and the disk together
against the image alone; row b is the disk alone where the image is.

The ordinary VM is that of bench/ordinary.py with Debian's docker.io and apparmor, but without the
other packages that docker.io recommends. When it boots for the first time, the same images are
loaded into its engine, and its containers are created with `docker run --restart always`; dockerd
starts them in the boots that are measured. Both VMs have the same kernel and, except for the
addresses to which ports are forwarded, the same QEMU command line (one emulated CPU, 1 GiB, BIOS,
user-mode network with hostfwd), each time on a fresh qcow2 overlay of a raw disk, and are fully
stopped between the runs. Ours is started as portkit starts it on a host: QEMU loads the kernel and
the initrd, and a small disk says what is to run. The seconds are from just before the start of
QEMU. First each of the five is asked directly until it has answered, one after the other (row d);
then the front is asked for what needs all five (row c), which no VM can answer before that. The
machine was busy with other work during the boots recorded here, so the ratios are more meaningful
than the seconds.

Memory is read a minute after the first answer, when there are no more requests. The bar is on
MemTotal minus MemAvailable of the guest's kernel, which a service of the App reads from
/proc/meminfo in both: the memory that the guest cannot give to anything else. It includes what the
kernel keeps free for itself, which is the same in both. The row for the memory that QEMU holds on
the host has no bar: it also counts every page that the guest has ever read from its disk, as long
as the guest has free pages, and the code that QEMU has translated for an emulated CPU.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import apps, harness, ordinary, sent, vm
from bench.hosts import SOURCE, ground, ssh
from portkit import app as app_room
from portkit import host as hosts
from portkit import process
from portkit.architecture import AMD64
from portkit.clock import Clock
from portkit.guest.boot_partition import direct_line
from portkit.guest.config import encode_app
from portkit.guest.kit import build_kit
from portkit.guest.several import places
from portkit.model import AppSpec, Artifact, ImageConfig
from portkit.source import OnHost

NAME = "several"
REPEAT = 5
BOOTS = 3  # the ordinary VM takes minutes for each
MORE_BYTES = 1_500_000
SECONDS_RATIO, MEMORY_RATIO = 0.30, 0.60
SETTLE_S = 60.0
FIVE = Path(__file__).parent / "five"
# What each says when it is asked directly, but for redis, which is not asked by HTTP.
OWN = {
    "pages": ("/terms.html", "Terms"),
    "catalog": ("/", "teapot"),
    "prices": ("/", "12.50"),
    "front": ("/own", "the front"),
}
REDIS = "cache"
# Debian's engine, 20.10 in bookworm, and what it starts no container without on Debian's kernel.
_DOCKER = ("docker.io", "apparmor")
_IMAGES = "/root/images.tar"
_MADE = "the five containers run"
_UNIT = f"""\
[Unit]
Requires=docker.service
After=docker.service
ConditionPathExists={_IMAGES}

[Service]
Type=oneshot
ExecStart=/bin/sh -e /root/make-containers
StandardOutput=journal+console
StandardError=journal+console
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
"""


@dataclass(frozen=True)
class Five:
    """The App in both forms. images: that of each service."""

    spec: AppSpec
    images: tuple[ImageConfig, ...]
    image: Artifact
    disk: Artifact

    @property
    def memory_mib(self) -> int:
        """Of the VM, and of the ordinary one."""
        return self.spec.machine.memory_bytes >> 20

    def number(self, service: str) -> int:
        """Its place among the services, and that of its port."""
        return [each.service for each in self.spec.services].index(service)


@dataclass(frozen=True)
class Boot:
    """One boot: seconds until each has answered, and to the first answer that needs all; MiB that
    are used in the guest and by QEMU, a minute later."""

    each: float
    first: float
    used: float
    resident: float


def package() -> Five:
    """bench/five, built on the source host, and its disk."""
    app = app_room.load(FIVE)
    clock = Clock(apps.Teller())
    with hosts.connect(f"lab:{SOURCE}") as host:
        source = OnHost(host)
        images = source.images(app, apps.store(), clock)
        spec = app_room.resolve_all(app_room.filled(app), images.services)
        disk = source.disk(images.artifact, spec, apps.store(), clock)
    return Five(spec, images.services, images.artifact, disk)


# ---------------------------------------------------------------- the ordinary VM


def with_docker(five: Five) -> ordinary.Recipe:
    """The ordinary VM with the images in its engine, and a container of each."""
    return ordinary.Recipe(
        name="docker",
        packages=_DOCKER,
        files={
            "root/make-containers": _script(five),
            "etc/systemd/system/make-containers.service": _UNIT,
        },
        units=("docker", "make-containers"),
        forwards=tuple(f":{port.host_port}" for port in five.spec.ports),
        first=partial(_made, five),
        uploads={_IMAGES: partial(_save, five)},
        disk_bytes=4 << 30,
        memory_mib=five.memory_mib,
    )


def _script(five: Five) -> str:
    """What loads the images, which are named by their ids, and makes the containers; once."""
    network = five.spec.app
    lines = [f"docker load -q -i {_IMAGES}", f"docker network create {network}"]
    for service, image in zip(five.spec.services, five.images, strict=True):
        ports = " ".join(f"-p {port.host_port}:{port.target}" for port in service.ports)
        run = f"docker run -d --restart {service.restart} --network {network}"
        lines.append(f"{run} --name {service.service} {ports} {image.digest}")
    lines += [f"rm {_IMAGES}", "systemctl disable make-containers", f'echo "{_MADE}"']
    return "".join(f"{line}\n" for line in lines)


def _save(five: Five, out: Path) -> None:
    """`docker save` of all images, from the host that has built them."""
    ids = " ".join(dict.fromkeys(image.digest for image in five.images))
    with out.open("wb") as file:
        process.run([*ssh(SOURCE), f"docker save {ids}"], stdout=file, timeout=600)


def _made(five: Five, machine: vm.Vm) -> None:
    seconds = machine.moments({"made": _MADE})["made"]
    harness.tell(f"its containers were made after {seconds:.0f} s")
    _first(five, machine)


# ---------------------------------------------------------------- boots


def direct(five: Five, folder: Path) -> list[str]:
    """What QEMU is told beside the disk, as a host is: kernel, initrd, and the configuration."""
    kit, config = build_kit(), folder / "config"
    config.write_bytes(encode_app(five.spec))
    drive = f"file={config},format=raw,if=none,id=config,readonly=on"
    words = ["-kernel", str(kit.kernel), "-initrd", str(kit.initrd)]
    words += ["-append", direct_line(AMD64, kvm=False), "-drive", drive]
    return [*words, "-device", "virtio-blk-pci,drive=config,serial=pkconfig"]


def addresses(five: Five) -> tuple[str, ...]:
    """Where each published port leads to in our VM: every service has its own address there."""
    pairs = zip(five.spec.services, places(five.spec), strict=True)
    return tuple(f"{place.address}:{port.target}" for each, place in pairs for port in each.ports)


@dataclass(frozen=True)
class Side:
    """One of the two VMs: how it is booted."""

    five: Five
    base: Path
    forwards: tuple[str, ...]
    more: Sequence[str] = ()

    def boot(self) -> Boot:
        """One boot of a fresh overlay of its disk."""
        with (
            vm.overlay(self.base) as disk,
            vm.boot(
                disk,
                "qcow2",
                forwards=self.forwards,
                memory_mib=self.five.memory_mib,
                cpus=self.five.spec.machine.cpus,
                more=self.more,
            ) as machine,
        ):
            return _asked(self.five, machine)


def _asked(five: Five, machine: vm.Vm) -> Boot:
    each, first = _each(five, machine), _first(five, machine)
    time.sleep(SETTLE_S)
    text = machine.get("/memory", five.number("front"))
    total, available = (harness.kib(text, name) for name in ("MemTotal", "MemAvailable"))
    assert total is not None and available is not None, text
    return Boot(each, first, (total - available) / 1024, machine.resident_mib())


def _first(five: Five, machine: vm.Vm) -> float:
    """Seconds to the first answer that needs all five."""
    return machine.answer("/", "5 of 5", five.number("front")).seconds


def _each(five: Five, machine: vm.Vm) -> float:
    """Seconds until each has answered, one after the other; redis last, when there is a network
    and nothing can be silent any more."""
    for service, (path, contains) in OWN.items():
        machine.answer(path, contains, five.number(service))
    return machine.says(b"PING\r\n", b"+PONG", five.number(REDIS))


# ---------------------------------------------------------------- rows


def wire(five: Five) -> list[harness.Row]:
    """Bytes of both forms against those of one, with the kit there."""
    store, kit = apps.store(), sent.kit_of(five.disk)
    sent.prepare(store, kit)
    found = harness.turns(
        {
            "both forms": lambda: sent.sending(store, five.image, five.disk),
            "image": lambda: sent.sending(store, five.image),
        },
        REPEAT,
    )
    both, image = ([float(value.bytes) for value in values] for values in found.values())
    sent.prepare(store, five.image, kit)
    (alone,) = harness.turns({"disk": lambda: sent.sending(store, five.disk)}, REPEAT).values()
    disk = tuple(float(value.bytes) for value in alone)
    return [
        harness.more("a: both forms, kit there, image alone", both, image, MORE_BYTES),
        harness.Row("b: disk, image and kit there", "bytes", disk, (), MORE_BYTES),
    ]


def boots(ours: Side, peer: Side) -> list[harness.Row]:
    """Seconds, and memory a minute later."""
    runs = {"boot, ours": ours.boot, "boot, Docker": peer.boot}
    mine, theirs = harness.turns(runs, BOOTS).values()

    def row(name: str, unit: str, figure: str, limit: float | None) -> harness.Row:
        ours, peer = (tuple(getattr(boot, figure) for boot in side) for side in (mine, theirs))
        return harness.Row(name, unit, ours, peer, limit)

    return [
        row("c: boot to the first answer that needs all five", "s", "first", SECONDS_RATIO),
        row("d: boot until each has answered", "s", "each", SECONDS_RATIO),
        row("e: memory in use in the idle guest", "MiB", "used", MEMORY_RATIO),
        row("f: resident memory of QEMU, idle guest", "MiB", "resident", None),
    ]


def main() -> int:
    with ground(), tempfile.TemporaryDirectory(prefix="bench-") as name:
        five = package()
        recipe = with_docker(five)
        ours = Side(
            five=five,
            base=apps.store().path(five.disk.digest),
            forwards=addresses(five),
            more=direct(five, Path(name)),
        )
        peer = Side(five, ordinary.ordinary_disk(recipe), recipe.forwards)
        rows = wire(five)
        # A long run that is stopped keeps what it has measured.
        harness.save(NAME, rows)
        return harness.finish(NAME, [*rows, *boots(ours, peer)])


if __name__ == "__main__":
    sys.exit(main())
