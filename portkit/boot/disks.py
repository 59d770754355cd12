"""Where the disks of an Instance are on its host."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from portkit.host import Host

_VOLUME = re.compile(r"/pkv(\d{1,3})\.raw\Z")


def made_with(host: Host, identity: str) -> Sequence[str]:
    """The disks that an Instance was made with. The last is its configuration, which the target of
    a Move makes anew."""
    disks: list[str] = host.remote.call("instance.described", {"id": identity})["disks"]
    return disks


def of_volumes(disks: Sequence[str]) -> dict[int, str]:
    """Those of them that are volumes, by number."""
    named = [(_VOLUME.search(path), path) for path in disks]
    return {int(match[1]): path for match, path in named if match}


def home(host: Host, identity: str) -> str:
    """The folder in which an Instance has its disks."""
    return str(PurePosixPath(made_with(host, identity)[0]).parent)
