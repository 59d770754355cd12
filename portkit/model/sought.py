"""What a host is asked for by name, beside what it says of itself anyway."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sought:
    """Names of settings below /proc/sys, of modules of the kernel, and of files in /dev."""

    sysctls: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()

    def row(self) -> dict[str, list[str]]:
        """As the remote half takes it."""
        return {
            "sysctls": list(self.sysctls),
            "modules": list(self.modules),
            "devices": list(self.devices),
        }
