"""What tells a host's kernel from that of an App."""

import os
from pathlib import Path
from typing import Any

from portkit.host import answers
from portkit.remote import kernel


def test_this_very_kernel_and_namespaces() -> None:
    channel: Any = None
    row = kernel.identity({}, channel)
    assert row["release"] == os.uname().release
    assert row["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert row["since"].isdigit()
    assert row["since"] == kernel.identity({}, channel)["since"]
    assert row["namespaces"]["pid"] == str(Path("/proc/self/ns/pid").readlink())
    assert not any("children" in name for name in row["namespaces"])
    assert answers.wrong("kernel.identity", row) == ""
    assert answers.wrong("kernel.identity", {**row, "namespaces": ["pid"]})
