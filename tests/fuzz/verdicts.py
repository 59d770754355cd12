"""From what is spoilt to what is said: an image's files, its configuration, a host's own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

from portkit import app as apps
from portkit import compat
from portkit.host.facts import parse_facts
from portkit.image_config import parse_image_config
from portkit.model import Facts, Form, ImageConfig, Needs, RunSpec, Verdict
from portkit.needs import read
from portkit.remote import engine_facts, linux
from portkit.wire import strict_json
from portkit.wire.json_types import JsonObject
from tests.elves import LOADER, elf, glibc, layer
from tests.factories import FACTS, IMAGE, app_spec, spec
from tests.fuzz import needs
from tests.fuzz.mutate import spoil_bytes, spoil_lines

_HOST = Path(__file__).parents[2] / "fixtures/hosts/debian-12"
# What a host prints, each a line of JSON: its name, and its text.
_TEXTS = {
    "cpuinfo": (_HOST / "cpuinfo").read_text()[:4000],
    "runc": (_HOST / "runc-version").read_text(),
    "info": (_HOST / "docker-info.json").read_text(),
    "version": json.dumps(json.loads((_HOST / "docker-version.json").read_text())["Server"]),
    "mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\nproc /proc proc rw 0 0\n",
    "status": "Name:\tx\nCapBnd:\t000001ffffffffff\n",
    "config": "CONFIG_IO_URING=y\nCONFIG_TUN=m\n# CONFIG_IP_NF_IPTABLES is not set\n",
    "modules": "ip_tables 40960 0 - Live 0x0\ntun 1 0 - Live 0x0\n",
    "dep": "kernel/net/ipv4/netfilter/ip_tables.ko.xz: kernel/net/x_tables.ko.xz\n",
    "builtin": "kernel/drivers/net/tun.ko\n",
    "handler": "enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: F\noffset 0\nmagic 7f454c46"
    "0201010000000000000000000200b700\nmask ffffffffffffff00ffffffffffffffff\n",
    "kernel": "6.1.0-28-amd64",
    "sysctl": "65530",
}
OUTPUTS = json.dumps(_TEXTS).encode()
TOLD = json.dumps(asdict(FACTS)).encode()


def judged(image: ImageConfig, service: RunSpec, facts: Facts, own: Needs | None) -> list[str]:
    """The verdict in both Forms: every reader here ends with one, or with an error of ours."""
    service = replace(service, image=image.digest)
    app = {"shop": (app_spec(service), (image,))}
    known = {"shop": {service.service: own}} if own else {}
    said = []
    rows = compat.check_all(app, facts, tuple(Form), needs=known)["shop"]
    for form, found in rows.items():
        verdict = compat.verdict(found, facts, form)
        assert isinstance(verdict, Verdict)
        assert all(row.message for row in found)
        compat.refusal({"shop": found})
        said.append(verdict.value)
    return said


def spoil_outputs(data: bytes, chance: Random) -> bytes:
    """One of the texts, or several."""
    texts = json.loads(data)
    for name in chance.sample(sorted(texts), chance.choice((1, 1, 2, len(texts)))):
        spoil: Callable[[bytes, Random], bytes] = chance.choice((spoil_bytes, spoil_lines))
        texts[name] = spoil(texts[name].encode(), chance).decode("utf-8", "replace")
    return json.dumps(texts).encode()


def of_outputs(data: bytes, folder: Path) -> object:
    """A host whose programs and files say something odd, read by the half of portkit that runs
    there, and then as any answer."""
    texts = json.loads(data)
    model, level = linux.cpu(texts["cpuinfo"])
    handler = linux.handler("arm", texts["handler"])
    told: JsonObject = {
        **json.loads(TOLD),
        "kernel": texts["kernel"],
        "linux": {
            "cpu_model": model,
            "cpu_level": level,
            "cgroup": linux.cgroup(texts["mounts"]),
            "cap_bounding": linux.bounding(texts["status"]),
            "config": linux.config(texts["config"]),
            "modules": linux.loaded(texts["modules"]),
            "loadable": linux.loadable(texts["dep"], texts["builtin"]),
            "sysctls": {"vm.max_map_count": texts["sysctl"]},
            "binfmt": [handler] if handler else [],
        },
        "engine": {
            **engine_facts.of_info(_object(texts["info"])),
            **engine_facts.of_version(_object(texts["version"])),
            **engine_facts.of_runc(texts["runc"]),
        },
    }
    return judged(IMAGE, spec(), parse_facts(told), None)


def _object(text: str) -> JsonObject:
    value = strict_json.loads(text.encode())
    return value if isinstance(value, dict) else {}


def of_facts(data: bytes, folder: Path) -> object:
    """Facts as a host's answer has them."""
    try:
        told = strict_json.loads(data)
    except ValueError:
        told = None
    return judged(IMAGE, spec(), parse_facts(told), None)


def of_config(data: bytes, folder: Path) -> object:
    """An image's configuration."""
    image = parse_image_config(data)
    service = apps.defaults(image)
    return None if service is None else judged(image, service, FACTS, None)


def of_program(data: bytes, folder: Path) -> object:
    """An image whose program and library are the spoilt file."""
    return _of_image({"/bin/program": data, "/lib/liba.so": data}, folder)


def of_release(data: bytes, folder: Path) -> object:
    """An image whose os-release says something odd."""
    program = elf(interpreter=LOADER, needed=("libc.so.6",))
    return _of_image({"/bin/program": program, "/etc/os-release": data}, folder)


def _of_image(files: dict[str, bytes], folder: Path) -> object:
    path = layer(folder / "layer", {**glibc("GLIBC_2.34"), **files})
    service = spec(argv=("/bin/program",), cwd="/")
    (own,) = read([path], IMAGE, [service])
    return judged(IMAGE, service, FACTS, own)


PROGRAMS = (needs.PROGRAM, needs.LIBRARY)
