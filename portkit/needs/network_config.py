"""What a system's network configuration says of the cards of its old machine. Pure: a guest writes
these texts.

Sources: udev(7), systemd.link(5), systemd.net-naming-scheme(7), interfaces(5), netplan's YAML, the
keyfiles of NetworkManager and the ifcfg files of Red Hat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_ADDRESS = r"(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}"
# What stands before the address of a card: in a rule of udev, ifcfg, netplan, NetworkManager, and
# systemd. A line that gives an address to a card, instead of looking for one, is no hindrance.
_BY_ADDRESS = re.compile(
    r"(?:ATTRS?\{address\}\s*==|\bHWADDR\s*=|\bmacaddress\s*:|(?<![-\w])mac-address\s*="
    rf"|^\s*(?:Permanent)?MACAddress\s*=)\s*[\"']?{_ADDRESS}\b",
    re.IGNORECASE,
)
# Names that stand for the place of a card: its slot, its bus, its number on the board.
_PLACED = r"(?:en[ops][0-9a-z]{1,14}|em[0-9]{1,2}|p[0-9]{1,3}p[0-9]{1,2})"
_BY_NAME = re.compile(
    rf"(?:^\s*(?:auto|allow-hotplug|iface)\s.*\b|\b(?:DEVICE|interface-name|Name)\s*=\s*[\"']?"
    rf"|^\s*)({_PLACED})(?=[\"']?\s*(?::\s*$|$|\sinet|\s))"
)
_MOST = 16


def pinned(texts: Mapping[str, str]) -> tuple[str, ...]:
    """The lines that only fit a card with the address, or in the place, of the old one. texts: by
    the paths of the files."""
    rows = (f"{path}: {line}" for path, text in texts.items() for line in _lines(text))
    return tuple(dict.fromkeys(rows))[:_MOST]


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines()[:1000]:
        stripped = line.strip()
        if not stripped.startswith(("#", ";")) and (
            _BY_ADDRESS.search(line) or _BY_NAME.search(line)
        ):
            yield stripped[:200]
