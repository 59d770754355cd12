"""ELF files made by hand, as small as a kernel and a loader would take them; and layers of them."""

import io
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

LOADER = "/lib64/ld-linux-x86-64.so.2"
_ENTRY = 64  # where it begins, as it says
_TAGS = {"needed": 1, "strtab": 5, "soname": 14, "rpath": 15, "runpath": 29}
_VERDEF, _VERDEFNUM, _VERNEED, _VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF


class _Strings:
    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        at = len(self.data)
        self.data += text.encode() + b"\0"
        return at


def elf(
    machine: int = 62,
    *,
    interpreter: str = "",
    needed: Sequence[str] = (),
    rpath: str = "",
    runpath: str = "",
    soname: str = "",
    wanted: Mapping[str, Sequence[str]] | None = None,
    defined: Sequence[str] = (),
    kernel: tuple[int, int, int] | None = None,
    level: int = 0,
    bits: int = 64,
    order: str = "<",
    flags: int = 0,
    code: bytes = b"",
    codes: Sequence[bytes] = (),
    more: bytes = b"",
    names: Sequence[str] = (),
    asks: Sequence[str] = (),
    has: Sequence[str] = (),
) -> bytes:
    """A file of one segment that is mapped at address 0. codes: of further segments. more: bytes
    behind them. names: of functions, in its table of names. asks, has: of its table of symbols."""
    strings = _Strings()
    for name in names:
        strings.add(name)
    tags = [(_TAGS["needed"], strings.add(name)) for name in needed]
    for name, text in (("rpath", rpath), ("runpath", runpath), ("soname", soname)):
        tags += [(_TAGS[name], strings.add(text))] if text else []
    head, entry = (64, 56) if bits == 64 else (52, 32)
    parts: list[tuple[int, bytes]] = []
    if interpreter:
        parts.append((3, interpreter.encode() + b"\0"))
    if note := _notes(order, bits, kernel, level):
        parts.append((4, note))
    tables = _needs(order, strings, wanted or {}), _defines(order, strings, defined)
    symbols = _symbols(order, bits, strings, asks, has)
    dynamic_ = bool(tags or any(tables) or symbols)
    rows = len(parts) + (2 if dynamic_ else 1) + len(codes)
    at, content, segments = head + rows * entry, b"", []
    for kind, data in parts:
        at += -at % 8
        content = content.ljust(at - head - rows * entry, b"\0") + data
        segments.append((kind, at, len(data)))
        at += len(data)
    if dynamic_:
        for table, tag, count in zip(
            tables,
            (_VERNEED, _VERDEF),
            ((_VERNEEDNUM, len(wanted or {})), (_VERDEFNUM, len(defined))),
            strict=True,
        ):
            if table:
                at += -at % 8
                content = content.ljust(at - head - rows * entry, b"\0") + table
                tags += [(tag, at), count]
                at += len(table)
        for table, tag in symbols:
            at += -at % 8
            content = content.ljust(at - head - rows * entry, b"\0") + table
            tags.append((tag, at))
            at += len(table)
        content += strings.data
        tags += [(_TAGS["strtab"], at), (10, len(strings.data))]
        tags += [(0x6FFFFFFB, flags)] if flags else []
        at += len(strings.data)
        dynamic = b"".join(
            struct.pack(order + ("QQ" if bits == 64 else "II"), *row) for row in (*tags, (0, 0))
        )
        segments.append((2, at, len(dynamic)))
        content += dynamic
        at += len(dynamic)
    segments.append((1, 0, at + len(code)))
    for each in codes:
        segments.append((1, segments[-1][1] + segments[-1][2], len(each)))
    head_ = _head(order, bits, machine, rows) + _table(order, bits, segments)
    return (head_ + content).ljust(at, b"\0") + code + b"".join(codes) + more


def _head(order: str, bits: int, machine: int, rows: int) -> bytes:
    wide = bits == 64
    ident = b"\x7fELF" + bytes((bits // 32, 1 if order == "<" else 2, 1)) + bytes(9)
    places = struct.pack(order + ("QQQ" if wide else "III"), _ENTRY, 64 if wide else 52, 0)
    sizes = (64, 56) if wide else (52, 32)
    return (
        ident
        + struct.pack(order + "HHI", 3, machine, 1)
        + places
        + struct.pack(order + "IHHHHHH", 0, *sizes, rows, 0, 0, 0)
    )


def _table(order: str, bits: int, segments: Sequence[tuple[int, int, int]]) -> bytes:
    out = b""
    for kind, at, size in segments:
        if bits == 64:
            out += struct.pack(order + "IIQQQQQQ", kind, 5, at, at, at, size, size, 4096)
        else:
            out += struct.pack(order + "IIIIIIII", kind, at, at, at, size, size, 5, 4096)
    return out


def _notes(order: str, bits: int, kernel: tuple[int, int, int] | None, level: int) -> bytes:
    out = b""
    if kernel:
        out += struct.pack(order + "III4sIIII", 4, 16, 1, b"GNU\0", 0, *kernel)
    if level:
        # As linkers write it: the baseline's bit and those of the levels up to this one.
        row = struct.pack(order + "III", 0xC0008002, 4, (1 << level) - 1)
        row += bytes(-len(row) % (bits // 8))
        out += struct.pack(order + "III4s", 4, len(row), 5, b"GNU\0") + row
    return out


def _needs(order: str, strings: _Strings, wanted: Mapping[str, Sequence[str]]) -> bytes:
    out, left = b"", len(wanted)
    for library, versions in wanted.items():
        left -= 1
        size = 16 + 16 * len(versions)
        file = strings.add(library)
        out += struct.pack(order + "HHIII", 1, len(versions), file, 16, size if left else 0)
        for number, name in enumerate(versions):
            last = number == len(versions) - 1
            out += struct.pack(order + "IHHII", 0, 0, 2, strings.add(name), 0 if last else 16)
    return out


def _defines(order: str, strings: _Strings, defined: Sequence[str]) -> bytes:
    out = b""
    for number, name in enumerate(defined):
        last = number == len(defined) - 1
        out += struct.pack(order + "HHHHIII", 1, 0, number + 1, 1, 0, 20, 0 if last else 28)
        out += struct.pack(order + "II", strings.add(name), 0)
    return out


def _symbols(
    order: str, bits: int, strings: _Strings, asks: Sequence[str], has: Sequence[str]
) -> list[tuple[bytes, int]]:
    """A table of symbols, and one of hashes, which has their number; with their tags."""
    if not asks and not has:
        return []
    table = bytes(24 if bits == 64 else 16)
    for name, section in (*((each, 0) for each in asks), *((each, 1) for each in has)):
        at = strings.add(name)
        if bits == 64:
            table += struct.pack(order + "IBBHQQ", at, 1 << 4, 0, section, 0, 0)
        else:
            table += struct.pack(order + "IIIBBH", at, 0, 0, 1 << 4, 0, section)
    return [(table, 6), (struct.pack(order + "II", 1, 1 + len(asks) + len(has)), 4)]


def glibc(*versions: str, level: int = 0) -> dict[str, bytes]:
    """The loader and the library of a glibc that has these versions of symbols."""
    named = ("libc.so.6", *versions)
    return {
        LOADER: elf(soname="ld-linux-x86-64.so.2", defined=("GLIBC_PRIVATE",)),
        "/lib/libc.so.6": elf(soname="libc.so.6", defined=named, kernel=(3, 2, 0), level=level),
    }


def layer(path: Path, files: Mapping[str, bytes | str], *, mode: int = 0o755) -> Path:
    """A layer. A text is a symlink to it."""
    with tarfile.open(path, "w") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name.lstrip("/"))
            info.mode = mode
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                made.addfile(info)
            else:
                info.size = len(data)
                made.addfile(info, io.BytesIO(data))
    return path
