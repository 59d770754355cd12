"""Whether a file is a kernel, by its content."""

from __future__ import annotations

from typing import Any

# What a kernel may begin with that says nothing of Linux: ELF and PE; gzip and zstd.
_BEGINS = (b"\x7fELF", b"MZ", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_HEAD_BYTES, _RELEASE_BYTES = 4096, 100


def head(g: Any, path: str) -> bytes:
    """The part of a file that shows what it is."""
    return bytes(g.pread(path, _HEAD_BYTES, 0))


def flaw(g: Any, path: str) -> str:
    """Why a file cannot be what a boot loader starts, by its content; "" where it can."""
    data = head(g, path)
    if is_bzimage(data):
        setup, paragraphs = data[0x1F1] or 4, int.from_bytes(data[0x1F4:0x1F8], "little")
        whole = (setup + 1) * 512 + paragraphs * 16
        return f"is cut off: it should have {whole} bytes" if g.filesize(path) < whole else ""
    return "" if is_other(data) or data.startswith(_BEGINS) else "is no kernel"


def is_bzimage(data: bytes) -> bool:
    """Whether a file that begins so is a kernel for x86 (Linux, arch/x86/boot.rst)."""
    return data[0x202:0x206] == b"HdrS"


def is_other(data: bytes) -> bool:
    """A kernel of another processor or wrapping: Linux, arch/arm64/booting.rst, arch/riscv/boot-
    image-header.rst, arch/arm/boot/compressed/head.S, drivers/firmware/efi/libstub/zboot-header.S;
    U-Boot's legacy image; and a unified kernel image (UAPI.5)."""
    return (
        data[0x38:0x3C] in (b"ARM\x64", b"RSC\x05")
        or data[0x24:0x28] == b"\x18\x28\x6f\x01"
        or data[4:8] == b"zimg"
        or data[:4] == b"\x27\x05\x19\x56"
        or (data[:2] == b"MZ" and b".linux\0\0" in data)
    )


def release(g: Any, path: str) -> str:
    """Of a kernel for x86 what uname(2) will say, which is in its header; "" of others."""
    data = head(g, path)
    at = int.from_bytes(data[0x20E:0x210], "little")
    if not is_bzimage(data) or not at:
        return ""
    text = bytes(g.pread(path, _RELEASE_BYTES, at + 0x200)).partition(b"\0")[0]
    return text.partition(b" ")[0].decode("ascii", "replace")
