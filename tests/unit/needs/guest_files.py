"""File systems of a guest, as libguestfs shows them to the worker."""

import fnmatch
import json
from collections.abc import Mapping
from typing import Any

from portkit.needs import inside, inside_worker

PARTITION = "/dev/sda2"


class Disk:
    """As far as the worker asks libguestfs for files."""

    def __init__(self, *paths: str, **content: bytes) -> None:
        """content: of more files, by their paths."""
        self.paths = sorted({*paths, *content})
        self.content = content
        self.sizes: dict[str, int] = {}

    def mount_vfs(self, options: str, kind: str, device: str, folder: str) -> None:
        assert (options, folder) == ("ro", "/")

    def mount_ro(self, device: str, folder: str) -> None:
        assert (device.partition(":")[0], folder) == ("btrfsvol", "/")

    def umount_all(self) -> None:
        pass

    def glob_expand(self, pattern: str) -> list[str]:
        return [path for path in self.paths if fnmatch.fnmatchcase(path, pattern)]

    def is_file(self, path: str, **_: bool) -> bool:
        return path in self.paths

    def realpath(self, path: str) -> str:
        return path

    def pread(self, path: str, count: int, offset: int) -> bytes:
        return self.content.get(path, bytes(count))[offset : offset + count]

    def filesize(self, path: str) -> int:
        short = path.endswith((".cfg", ".conf")) or "initr" in path
        known = len(self.content.get(path, b"")) if short else 1 << 20
        return self.sizes.get(path, known)

    def is_dir(self, path: str, **_: bool) -> bool:
        return path == "/" or any(each.startswith(f"{path}/") for each in self.paths)

    def ls(self, path: str) -> list[str]:
        begin = path.rstrip("/") + "/"
        rows = (each.removeprefix(begin) for each in self.paths if each.startswith(begin))
        return sorted({row.partition("/")[0] for row in rows})

    def lstatnslist(self, path: str, names: list[str]) -> list[dict[str, int]]:
        whole = [f"{path.rstrip('/')}/{name}" for name in names]
        return [
            {
                "st_mode": 0o100644 if each in self.paths else 0o040755,
                "st_size": self.filesize(each),
            }
            for each in whole
        ]


def cpio(files: Mapping[str, bytes]) -> bytes:
    """An archive as the kernel unpacks it (Linux, early-userspace/buffer-format.rst)."""
    out = bytearray()
    for name, data in (*files.items(), ("TRAILER!!!", b"")):
        fields = [0] * 13
        fields[1], fields[4], fields[6], fields[11] = 0o100644, 1, len(data), len(name) + 1
        out += b"070701" + b"".join(b"%08x" % number for number in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def bzimage(paragraphs: int = 0x1000, release: bytes = b"") -> bytes:
    """The head of a kernel for x86, whose whole is 512 * 5 + paragraphs * 16 bytes."""
    head = bytearray(4096)
    head[0x1F1], head[0x202:0x206] = 4, b"HdrS"
    head[0x1F4:0x1F8] = paragraphs.to_bytes(4, "little")
    if release:
        head[0x20E:0x210] = (0xC00 - 0x200).to_bytes(2, "little")
        head[0xC00 : 0xC00 + len(release) + 20] = release + b" (me@here) #1 SMP\0\0\0"
    return bytes(head)


def configured(*devices: tuple[str, Disk]) -> inside.Inside:
    """What the worker and the pure side say together of file systems. GRUB's second look is
    included, mounting is not."""
    found: dict[str, Any] = {"systems": [], "places": [], "files": {}, "unread": []}
    for device, disk in devices:
        assert inside_worker.look(disk, device, "ext4", found)
    for device, disk in devices:
        inside_worker.look_for_grub(disk, device, "ext4", found)
    return inside.inside(json.loads(inside_worker.printed(found)))
