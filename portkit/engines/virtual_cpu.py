"""What processor a VM of portkit's has, as `domain_xml` asks for it. Pure."""

from __future__ import annotations

import re

# QEMU 7.2 is the first whose emulation has AVX2, BMI2 and FMA ("TCG: x86", changelog of 7.2);
# none has AVX-512. Without the version, what every QEMU that libvirt still takes can do.
_WITH_AVX2 = (7, 2)


def x86_level(*, kvm: bool, host_level: int, qemu: str | None) -> int:
    """The x86-64 level inside a VM; 0 where it is not known.

    kvm: the VM has the host's own processor (host-passthrough), else all that QEMU's emulation can
    do (maximum).
    """
    if kvm:
        return host_level
    version = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", qemu or "")
    if version is None:
        return 0
    return 3 if (int(version[1]), int(version[2])) >= _WITH_AVX2 else 2
