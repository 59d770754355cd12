"""What libguestfs needs of the environment: it looks into disks that others made, and ours."""

from __future__ import annotations

from pathlib import Path

from portkit import process
from portkit.guest.kit import GuestKit, cache_root


def environment(kit: GuestKit, folder: Path) -> dict[str, str]:
    """The kit's kernel for its appliance, so that a machine need not have one; folder: for its own
    files. Raises ToolError when depmod fails."""
    cache = cache_root() / "appliance"
    cache.mkdir(mode=0o700, exist_ok=True)
    if not (kit.modules / "modules.dep").exists():
        # The package's own installation would make it; supermin reads it.
        process.run(["depmod", "-b", kit.modules.parents[2], kit.release], timeout=120)
    return {
        "LIBGUESTFS_BACKEND": "direct",
        # A KVM that opens and does nothing would hang it.
        "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg",
        "LIBGUESTFS_CACHEDIR": str(cache),
        "TMPDIR": str(folder),
        "SUPERMIN_KERNEL": str(kit.kernel),
        "SUPERMIN_KERNEL_VERSION": kit.release,
        "SUPERMIN_MODULES": str(kit.modules),
    }
