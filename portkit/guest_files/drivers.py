"""Which drivers an initrd and a kernel have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from portkit.guest_files import initrd

_MOST = 200  # of anything, so that a hostile disk does not fill the memory
_INITRD_BYTES, _PIECE_BYTES = 256 << 20, 3 << 20  # libguestfs reads up to 4 MiB at once
# What an initrd has to open encrypted disks: its crypttab (Debian; dracut and Arch), and keys or
# programs that fetch one. It also has the list of what its kernel has built in.
_INITRD_TEXTS = re.compile(
    r"(?:cryptroot|etc)/crypttab|(?:usr/)?lib/modules/[^/]+/modules\.builtin"
)
_KEYS = (
    "cryptroot/keyfiles/",
    "cryptsetup-keys.d/",
    "crypto_keyfile",
    ".keyfile",
    "clevis-decrypt",
)
# In the names of modules: for disks, and for the network cards that QEMU has.
_DRIVERS = ("virtio", "ahci", "ata_piix", "ata-piix", "e1000", "8139", "vmxnet3")


def unpacked(g: Any, path: str) -> dict[str, Any]:
    """What an initrd has of drivers for disks. whole: it was read up to its end, and has an init:
    code for the processor stands in front of it, in an archive of its own."""
    told = initrd.listed(_pieces(g, path), _INITRD_TEXTS)
    why = told.why or ("" if "init" in told.names else "it has no init")
    return {
        "path": path,
        "whole": not why,
        "why": why,
        "drivers": _named(told.names),
        "crypttab": "\n".join(v for k, v in told.texts.items() if k.endswith("crypttab")),
        "built_in": [
            {"path": f"{path}: /{name}"[-300:], "drivers": _named(said.splitlines())}
            for name, said in told.texts.items()
            if name.endswith(".builtin")
        ][:_MOST],
        "keys": [name[:300] for name in told.names if any(word in name for word in _KEYS)][:_MOST],
    }


def _pieces(g: Any, path: str) -> Iterator[bytes]:
    """A file, as libguestfs gives it."""
    for at in range(0, min(g.filesize(path), _INITRD_BYTES), _PIECE_BYTES):
        yield bytes(g.pread(path, _PIECE_BYTES, at))


def lines(g: Any, path: str) -> dict[str, Any]:
    """Those in a list of modules: modules.builtin, or modules.dep, where a colon follows."""
    data = bytes(g.pread(path, _PIECE_BYTES, 0)).decode("utf-8", "replace")
    return {"path": path, "drivers": _named([row.partition(":")[0] for row in data.splitlines()])}


def _named(names: list[str]) -> list[str]:
    """Those that are asked for."""
    return [name[:300] for name in names if any(word in name for word in _DRIVERS)][:_MOST]
