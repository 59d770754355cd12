"""What libguestfs needs of the environment: it looks into disks that others made, and ours."""

from __future__ import annotations

import os
from pathlib import Path

from portkit import process
from portkit.guest.kit import GuestKit, build_kit, cache_root

_KERNELS, _MODULES = Path("/boot"), Path("/lib/modules")


def environment(kit: GuestKit | None, folder: Path) -> dict[str, str]:
    """For a process that uses libguestfs. kit: whose kernel its appliance gets, so that a machine
    need not have one. folder: for its own files. Raises ToolError when depmod fails."""
    cache = cache_root() / "appliance"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = {
        "LIBGUESTFS_BACKEND": "direct",
        # A KVM that opens and does nothing would hang it.
        "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg",
        "LIBGUESTFS_CACHEDIR": str(cache),
        "TMPDIR": str(folder),
    }
    if kit is None:
        return found
    if not (kit.modules / "modules.dep").exists():
        # The package's own installation would make it; supermin reads it.
        process.run(["depmod", "-b", kit.modules.parents[2], kit.release], timeout=120)
    return {
        **found,
        "SUPERMIN_KERNEL": str(kit.kernel),
        "SUPERMIN_KERNEL_VERSION": kit.release,
        "SUPERMIN_MODULES": str(kit.modules),
    }


def kernel() -> GuestKit | None:
    """The kit, where this machine has no kernel of its own for the appliance. Raises what
    `build_kit` raises."""
    for path in _KERNELS.glob("vmlinuz-*"):
        release = path.name.removeprefix("vmlinuz-")
        if os.access(path, os.R_OK) and (_MODULES / release).is_dir():
            return None
    return build_kit()
