"""The lab's network: one bridge on this machine, a veth and a network namespace for each host."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import re
import shlex
import socket
import struct
from pathlib import Path

from portkit import process
from portkit.errors import LabError, ToolError
from portkit.lab.plan import PREFIX, Lab

_NETNS = Path("/run/netns")
_LINKS = Path("/sys/class/net")
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")

# linux/ethtool.h and linux/sockios.h
_SIOCETHTOOL = 0x8946
_OFFLOADS = (0x1F, 0x24, 0x2C)  # ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO

_RATE = re.compile(r"([0-9]{1,6})(k|m|g)bit")
_SCALE = {"k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def parse_rate(rate: str) -> int:
    """Bits a second of "100mbit", "512kbit", "1gbit"."""
    match = _RATE.fullmatch(rate)
    if match is None or int(match.group(1)) == 0:
        raise LabError(
            "the rate is not valid",
            details=f"{rate!r}",
            resolution="Write a whole number and kbit, mbit or gbit, such as 100mbit.",
        )
    return int(match.group(1)) * _SCALE[match.group(2)]


def format_rate(bits: int) -> str:
    """The reverse of parse_rate, in the largest unit that stays whole."""
    for unit in "gmk":
        if bits % _SCALE[unit] == 0 and bits:
            return f"{bits // _SCALE[unit]}{unit}bit"
    return f"{bits}bit"


def parse_qdisc(text: str) -> str | None:
    """The rate in the answer of `tc -j qdisc show`, None when nothing shapes."""
    for qdisc in json.loads(text or "[]"):
        if qdisc.get("kind") == "tbf":
            return format_rate(int(qdisc["options"]["rate"]) * 8)
    return None


def tbf(rate: str) -> list[str]:
    """Arguments of a token bucket: 10 ms of bytes in the bucket, 50 ms in the queue."""
    # Less than what arrives within one tick of the kernel's clock (10 ms at 100 Hz) would keep the
    # link below its rate (tc-tbf(8)).
    burst = max(16 * 1024, parse_rate(rate) // 8 // 100)
    return ["tbf", "rate", rate, "burst", str(burst), "latency", "50ms"]


def rules(lab: Lab) -> list[tuple[str, list[str]]]:
    """(table, rule) of what the lab needs of the firewall, each with the lab's comment."""
    comment = ["-m", "comment", "--comment", lab.tag]
    outside = ["-s", lab.network, "!", "-d", lab.network]
    opened = ["-s", lab.network, "-p", "tcp", "--tcp-flags", "SYN,RST", "SYN"]
    return [
        # Bridged frames go through FORWARD too, and a dockerd here makes its policy DROP.
        ("filter", ["FORWARD", "-i", lab.bridge, *comment, "-j", "ACCEPT"]),
        ("filter", ["FORWARD", "-o", lab.bridge, *comment, "-j", "ACCEPT"]),
        ("nat", ["POSTROUTING", *outside, *comment, "-j", "MASQUERADE"]),
        # The way out may carry less than 1500 bytes.
        ("mangle", ["FORWARD", *opened, *comment, "-j", "TCPMSS", "--clamp-mss-to-pmtu"]),
    ]


def parse_rules(saved: str, tag: str) -> list[tuple[str, list[str]]]:
    """(table, rule without -A) of the rules with this comment in the output of iptables-save."""
    found = []
    table = ""
    for row in saved.splitlines():
        if row.startswith("*"):
            table = row[1:]
        elif row.startswith("-A "):
            words = shlex.split(row)
            if "--comment" in words and words[words.index("--comment") + 1] == tag:
                found.append((table, words[1:]))
    return found


def _ip(*words: str, netns: str = "") -> str:
    return process.run(["ip", *(["-n", netns] if netns else []), *words], timeout=30).text


def _bridges() -> list[str]:
    """Of all labs of this machine."""
    return [path.name for path in _LINKS.glob("pk*") if PREFIX.fullmatch(path.name)]


def exists(link: str) -> bool:
    """Whether this machine has a network link of that name."""
    return (_LINKS / link).exists()


def saved_rules(lab: Lab) -> list[tuple[str, list[str]]]:
    """(table, rule) of this lab's rules that are in the firewall now."""
    return parse_rules(process.run(["iptables-save"], timeout=30).text, lab.tag)


def ensure(lab: Lab) -> None:
    """Bridge, address, firewall rules and forwarding, each only if it is missing."""
    if not exists(lab.bridge):
        if not _bridges():
            # Of a lab that ended with the machine; what it found then says nothing about now.
            _forwarding_mark(lab).unlink(missing_ok=True)
        _ip("link", "add", lab.bridge, "type", "bridge")
    _ip("addr", "replace", f"{lab.gateway}/24", "dev", lab.bridge)
    _ip("link", "set", lab.bridge, "up")
    for table, rule in rules(lab):
        chain, rest = rule[0], rule[1:]
        argv = ["iptables", "--wait", "-t", table]
        # -C asks whether the rule is there; iptables has no "add if it is missing".
        if process.run([*argv, "-C", chain, *rest], check=False, timeout=30).code != 0:
            # First: a rule behind a firewall's REJECT would never be met.
            process.run([*argv, "-I", chain, "1", *rest], timeout=30)
    if _FORWARDING.read_text().strip() == "0":
        _forwarding_mark(lab).touch()
        _FORWARDING.write_text("1\n")


def _forwarding_mark(lab: Lab) -> Path:
    return lab.state / "forwarding-was-off"


def remove(lab: Lab) -> None:
    """Take away what `ensure` made, and what is left of it after any accident."""
    for table, rule in saved_rules(lab):
        process.run(["iptables", "--wait", "-t", table, "-D", *rule], timeout=30)
    if exists(lab.bridge):
        _ip("link", "del", lab.bridge)
    mark = _forwarding_mark(lab)
    if mark.exists() and not _bridges():
        policy = process.run(["iptables", "-S", "FORWARD"], timeout=30).text
        # With DROP, a dockerd of this machine forwards by now and needs what we turned on.
        if "-P FORWARD DROP" not in policy:
            _FORWARDING.write_text("0\n")
        mark.unlink()
    # `ip netns` mounts this folder over itself; an empty one is of use to nobody.
    if _NETNS.is_dir() and not any(_NETNS.iterdir()) and _NETNS.is_mount():
        process.run(["umount", _NETNS], check=False, timeout=30)
        with contextlib.suppress(OSError):
            _NETNS.rmdir()


def attach(lab: Lab, name: str, rate: str | None, linked: bool) -> None:
    """A fresh network namespace for the host, with eth0 on the lab's bridge."""
    detach(lab, name)
    netns, link, inner = lab.netns(name), lab.link(name), f"{lab.prefix}i-{name}"
    if exists(inner):
        _ip("link", "del", inner)
    _ip("netns", "add", netns)
    _ip("link", "add", link, "type", "veth", "peer", "name", inner, "address", lab.mac(name))
    for end in (link, inner):
        _frames_only(end)
    _ip("link", "set", link, "master", lab.bridge)
    _ip("link", "set", inner, "netns", netns, "name", "eth0")
    _ip("link", "set", "lo", "up", netns=netns)
    _ip("addr", "add", f"{lab.address(name)}/24", "dev", "eth0", netns=netns)
    _ip("link", "set", "eth0", "up", netns=netns)
    _ip("route", "add", "default", "via", lab.gateway, netns=netns)
    if rate is not None:
        shape(lab, name, rate)
    set_link(lab, name, linked)


def _frames_only(link: str) -> None:
    """No segmentation offload: every packet on the link is a frame that counters can count."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in _OFFLOADS:
            value = struct.pack("II", command, 0)
            buffer = bytearray(value)
            address = _address_of(buffer)
            # struct ifreq: the link's name in 16 bytes, then a pointer to the command's own
            # structure.
            request = struct.pack("16sP", link.encode(), address)
            fcntl.ioctl(any_socket, _SIOCETHTOOL, request)


def _address_of(buffer: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


def detach(lab: Lab, name: str) -> None:
    """Remove the host's link and network namespace, whatever of them there is."""
    if exists(lab.link(name)):
        _ip("link", "del", lab.link(name))
    if (_NETNS / lab.netns(name)).exists():
        # Fails where `ip netns add` was killed half-way: then there is only a plain file.
        process.run(["ip", "netns", "del", lab.netns(name)], check=False, timeout=30)
        (_NETNS / lab.netns(name)).unlink(missing_ok=True)


def shape(lab: Lab, name: str, rate: str | None) -> None:
    """Limit both directions of the host's link to `rate`, or to nothing."""
    for where, device in (([], lab.link(name)), (["-n", lab.netns(name)], "eth0")):
        qdisc = ["tc", *where, "qdisc"]
        if rate is not None:
            process.run([*qdisc, "replace", "dev", device, "root", *tbf(rate)], timeout=30)
        else:
            # There may be none.
            process.run([*qdisc, "del", "dev", device, "root"], check=False, timeout=30)


def rate_of(lab: Lab, name: str) -> str | None:
    """How the host's link is shaped; None when it is not, or is not there."""
    if not exists(lab.link(name)):
        return None
    shown = process.run(["tc", "-j", "qdisc", "show", "dev", lab.link(name)], timeout=30)
    return parse_qdisc(shown.text)


def set_link(lab: Lab, name: str, up: bool) -> None:
    """Plug the host's cable in, or pull it."""
    _ip("link", "set", lab.link(name), "up" if up else "down")


def linked(lab: Lab, name: str) -> bool:
    """Whether the host's link is up (not cut). True when it is not there at all."""
    try:
        flags = int((_LINKS / lab.link(name) / "flags").read_text(), 16)
    except FileNotFoundError:
        return True
    return bool(flags & 1)  # IFF_UP


def counters(lab: Lab, name: str) -> tuple[int, int]:
    """(received, sent) bytes of the host since it started, Ethernet headers included."""
    statistics = _LINKS / lab.link(name) / "statistics"
    try:
        # Our end sends what the host receives.
        sent_to = int((statistics / "tx_bytes").read_text())
        received_from = int((statistics / "rx_bytes").read_text())
    except FileNotFoundError as error:
        raise LabError(
            f"{name} has no link",
            details=str(statistics),
            resolution=f"Start it: portkit lab up {name}",
        ) from error
    return sent_to, received_from


def answers(address: str, port: int, banner: bytes, seconds: float) -> bool:
    """Whether something at address:port begins to talk with `banner`."""
    try:
        with socket.create_connection((address, port), timeout=seconds) as connection:
            # A port may accept while nothing behind it speaks: sshd has started only when it
            # greets.
            connection.settimeout(seconds)
            return connection.recv(len(banner)) == banner
    except OSError:
        return False


def found(lab: Lab) -> list[str]:
    """What of the lab's network is there: links, namespaces, rules."""
    # Not one of lab 12 where this is lab 1.
    own = (path.name for path in _LINKS.glob(f"{lab.prefix}*"))
    mine = (lab.bridge, f"{lab.prefix}-", f"{lab.prefix}i-")
    seen = [f"link {name}" for name in own if name == mine[0] or name.startswith(mine[1:])]
    seen += [f"network namespace {path.name}" for path in _NETNS.glob(f"{lab.prefix}-*")]
    try:
        seen += [f"rule {table} {shlex.join(rule)}" for table, rule in saved_rules(lab)]
    except ToolError as error:
        seen.append(f"unknown rules: {error.brief}")
    return seen
