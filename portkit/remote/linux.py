"""What this host's kernel and processor give to programs, read without changing anything.

Each fact is a file or a short trial, and a pure parser of it. None means that it could not be read.
"""

from __future__ import annotations

import errno
import gzip
import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Pattern, Set, Tuple

from portkit.remote import net_sysctls
from portkit.remote.linux_names import MODULES, OPTIONS, SYSCTLS
from portkit.wire.json_types import JsonObject

_BINFMT = Path("/proc/sys/fs/binfmt_misc")
_TRIAL_SECONDS = 10.0
_TEXT_LIMIT = 1 << 20
_MOST_ASKED = 200
_SETTING = re.compile(r"[a-z]{1,20}(\.[A-Za-z0-9_:@-]{1,80}){1,6}")
_MODULE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DEVICE = re.compile(r"/dev/[A-Za-z0-9_.:@+/-]{1,200}")
_MOST_DEVICES = _MOST_MODULES = _MOST_INTERFACES = 2000
# psABI for x86-64, "Micro-architecture levels", in the words of /proc/cpuinfo (pni is SSE3, abm
# has LZCNT).
_LEVELS = (
    ("cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3"),
    ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"),
    ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
)
# Beyond the levels, and two flags of the baseline: who has these has looked for all.
_BESIDE = "adx aes avx512_vnni avx_vnni fma4 fsgsbase gfni lm pclmulqdq rdrand rdseed sha_ni"
FEATURES = frozenset((_BESIDE + " sse2 sse4a vaes vpclmulqdq xop").split()).union(*_LEVELS)
# e_machine and class of an ELF file, in Go's words.
_MACHINES = {
    (3, 1): "386",
    (62, 2): "amd64",
    (40, 1): "arm",
    (183, 2): "arm64",
    (243, 2): "riscv64",
    (22, 2): "s390x",
    (21, 2): "ppc64le",
    (258, 2): "loong64",
}
# Programs that do nothing but exit(2) with 0, in the machine's own code.
_EXITS = {
    "386": (3, 0, bytes.fromhex("b801000000 31db cd80")),
    "amd64": (62, 0, bytes.fromhex("b83c000000 31ff 0f05")),
    "arm": (40, 0x05000000, bytes.fromhex("0170a0e3 0000a0e3 000000ef")),
    "arm64": (183, 0, bytes.fromhex("a80b80d2 000080d2 010000d4")),
    "riscv64": (243, 0, bytes.fromhex("9308d005 13050000 73000000")),
}


def gather(asked: object = None) -> JsonObject:
    """The fields of portkit.model.Linux. asked: names of sysctls, modules and devices beside those
    that are looked for in every case."""
    sysctls = names(asked, "sysctls", _SETTING)
    modules = [name.replace("-", "_") for name in names(asked, "modules", _MODULE)]
    paths = names(asked, "devices", _DEVICE)
    about = _text("/proc/cpuinfo")
    model, level = cpu(about)
    memory = _text("/proc/meminfo")
    return {
        "cpu_model": model,
        "cpu_level": level if os.uname().machine == "x86_64" else 0,
        "cpu_features": features(about),
        "page_bytes": os.sysconf("SC_PAGE_SIZE"),
        "cgroup": cgroup(_text("/proc/self/mounts")),
        "cap_bounding": bounding(_text("/proc/self/status")),
        "vsyscall": "[vsyscall]" in _text("/proc/self/maps"),
        "sysctls": {name: value for name in (*SYSCTLS, *sysctls) for value in _sysctl(name)},
        "net_sysctls": net_sysctls.gather(),
        "config": config(_config()),
        "modules": loaded(_maybe("/proc/modules")),
        "loadable": _loadable(Path("/lib/modules") / os.uname().release, modules),
        "devices": sorted({*devices(_walk(Path("/dev"), 2)), *filter(os.path.exists, paths)}),
        "hugepages_free": _number(memory, r"^HugePages_Free:\s+(\d{1,15})$"),
        "hugepage_bytes": _number(memory, r"^Hugepagesize:\s+(\d{1,12}) kB$") * 1024,
        "interfaces": interfaces(_maybe("/proc/net/dev")),
        "processors": processors(_text("/proc/self/status")),
        "ipv6": os.path.exists("/proc/net/if_inet6"),
        "binfmt": _handlers(),
        "runs": {name: trial(name) for name in _EXITS},
        "arm_version": arm_version(os.uname().machine),
        "lsm": (_maybe("/sys/kernel/security/lsm") or "").strip(),
        "sought": sorted({*SYSCTLS, *MODULES, *sysctls, *modules, *paths}),
    }


def names(asked: object, kind: str, form: Pattern[str]) -> List[str]:
    """Those of one kind that somebody asks for, as far as they can be such names."""
    told = asked.get(kind) if isinstance(asked, dict) else None
    rows = told if isinstance(told, list) else []
    fit = {row for row in rows if isinstance(row, str) and form.fullmatch(row)}
    return sorted(name for name in fit if ".." not in name)[:_MOST_ASKED]


def cpu(text: str) -> Tuple[str, int]:
    """The model and the x86-64 level of /proc/cpuinfo; 0 where it names no flags of x86."""
    model = re.search(r"^model name\s*:\s*(.{1,200})$", text, re.MULTILINE)
    # Processors of one machine may differ: a program may run on any of them.
    name = model.group(1).strip() if model else ""
    return name, min(map(level_of, _flags(text)), default=0)


def arm_version(machine: str) -> int:
    """Of a machine for 32-bit ARM as uname(2) calls it, such as armv7l; 0 of others."""
    match = re.match(r"armv(\d)", machine)
    return int(match.group(1)) if match else 0


def features(text: str) -> Optional[List[str]]:
    """Those of FEATURES that each processor of /proc/cpuinfo has; None where it names no flags of
    x86."""
    rows = _flags(text)
    return sorted(FEATURES.intersection(*rows)) if rows else None


def _flags(text: str) -> List[Set[str]]:
    return [set(row.split()) for row in re.findall(r"^flags\s*:(.*)$", text, re.MULTILINE)]


def level_of(flags: Iterable[str]) -> int:
    """The x86-64 level of a processor with these flags: 1 is the baseline."""
    flags = set(flags)
    for level, wanted in enumerate(_LEVELS, 1):
        if not flags.issuperset(wanted):
            return level
    return len(_LEVELS) + 1


def cgroup(mounts: str) -> int:
    """2 where /sys/fs/cgroup is the unified hierarchy; 1 where it holds others, also beside it; 0
    where nothing is mounted there."""
    kinds = {}
    for row in mounts.splitlines():
        columns = row.split(" ")
        if len(columns) > 2 and columns[1].startswith("/sys/fs/cgroup"):
            kinds[columns[1]] = columns[2]
    if "cgroup" in kinds.values():
        return 1
    return 2 if kinds.get("/sys/fs/cgroup") == "cgroup2" else 0


def bounding(status: str) -> str:
    """The capabilities that a process here, and so an engine, can pass on at most (CapBnd of
    /proc/PID/status), in hex; "" where it is not told."""
    match = re.search(r"^CapBnd:\s+([0-9a-f]{16})$", status, re.MULTILINE)
    return match.group(1) if match else ""


def processors(status: str) -> str:
    """Those that a process here, and so an engine, may use, such as 0-3,8."""
    match = re.search(r"^Cpus_allowed_list:\s+([0-9,-]{1,1000})$", status, re.MULTILINE)
    return match.group(1) if match else ""


def interfaces(text: Optional[str]) -> Optional[List[str]]:
    """The names in /proc/net/dev."""
    if text is None:
        return None
    rows = [row.split(":", 1)[0].strip() for row in text.splitlines() if ":" in row]
    return sorted(rows)[:_MOST_INTERFACES]


def config(text: Optional[str]) -> Dict[str, str]:
    """What a kernel's configuration says of OPTIONS: y, m, or n. Nothing where there is none."""
    if text is None:
        return {}
    told = dict(re.findall(r"^CONFIG_(\w{1,60})=([ym])$", text, re.MULTILINE))
    return {name: told.get(name, "n") for name in OPTIONS}


def loaded(text: Optional[str]) -> Optional[List[str]]:
    """The names in /proc/modules."""
    if text is None:
        return None
    return sorted({row.split(" ", 1)[0] for row in text.splitlines() if row})[:_MOST_MODULES]


def loadable(dep: str, builtin: str, more: Iterable[str] = ()) -> List[str]:
    """Those of MODULES, and of some more, that modules.dep or modules.builtin name."""
    rows = [row.split(":", 1)[0] for row in (dep + "\n" + builtin).splitlines()]
    names = {os.path.basename(row).split(".ko", 1)[0].replace("-", "_") for row in rows}
    return sorted(names & MODULES.union(more))


def devices(paths: Iterable[str]) -> List[str]:
    """Without terminals, loops and the like, which every host has many of."""
    dull = re.compile(r"/dev/(tty\w*|vcs\w*|loop\d+|ram\d+|pts|fd|shm|mqueue|std\w+)(/.*)?")
    return sorted(path for path in paths if not dull.fullmatch(path))[:_MOST_DEVICES]


def handler(name: str, text: str) -> Optional[JsonObject]:
    """A file below binfmt_misc as a field of portkit.model.Binfmt; None where it is off or not for
    ELF files (kernel's admin-guide/binfmt-misc.rst)."""
    rows = dict(row.partition(" ")[::2] for row in text.splitlines())
    magic = rows.get("magic", "")
    if "enabled" not in rows or not re.fullmatch("7f454c46[0-9a-f]{32,400}", magic):
        return None
    data = bytes.fromhex(magic[: len(magic) // 2 * 2])
    order = "little" if data[5] == 1 else "big"
    machine = int.from_bytes(data[18:20], order)  # type: ignore[arg-type]
    return {
        "name": name,
        "architecture": _MACHINES.get((machine, data[4]), "elf-%d" % machine),
        "interpreter": rows.get("interpreter", "")[:1000],
        "flags": rows.get("flags:", "")[:20],
    }


def trial(name: str) -> str:
    """Whether a program for that machine runs here: "yes", or why not. It is in memory only."""
    if not hasattr(os, "memfd_create"):
        return "unknown"
    try:
        # An emulator that the kernel starts has to open the file: it must not close on exec.
        file = os.memfd_create("portkit-trial", 0)
    except OSError:
        return "unknown"
    try:
        os.write(file, program(name))
        # Its own path, not the link's: a security module may forbid the one and not the other.
        done = subprocess.run(
            ["/proc/self/fd/%d" % file],
            pass_fds=[file],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TRIAL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return "it hangs"
    except OSError as error:
        if error.errno == errno.ENOENT:  # the file itself is there: it is the handler's program
            return "its emulator is not there"
        # EACCES and others say nothing of the machine.
        return "no" if error.errno == errno.ENOEXEC else "unknown"
    finally:
        os.close(file)
    return "yes" if done.returncode == 0 else "it ends with %d" % done.returncode


def program(name: str) -> bytes:
    """The smallest ELF file of that machine that ends well."""
    machine, flags, code = _EXITS[name]
    wide = machine in (62, 183, 243)
    head, entry, base = (64, 56, 0x400000) if wide else (52, 32, 0x10000)
    size = head + entry + len(code)
    ident = b"\x7fELF" + bytes((2 if wide else 1, 1, 1)) + bytes(9)
    form = "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH"
    start = base + head + entry
    fields = (2, machine, 1, start, head, 0, flags, head, entry, 1, 0, 0, 0)
    if wide:
        row = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    else:
        row = struct.pack("<IIIIIIII", 1, 0, base, base, size, size, 5, 0x1000)
    return ident + struct.pack(form, *fields) + row + code


def _sysctl(name: str) -> Iterable[str]:
    # The kernel refuses to read one into a large buffer (fs/proc/proc_sysctl.c).
    text = _maybe("/proc/sys/" + name.replace(".", "/"), 4096)
    return [] if text is None else [text.strip()[:200]]


def _handlers() -> Optional[List[JsonObject]]:
    """None where binfmt_misc is not mounted: there may be handlers all the same."""
    if not (_BINFMT / "status").exists():
        return None
    if (_maybe(str(_BINFMT / "status")) or "").strip() != "enabled":
        return []
    names = sorted(path.name for path in _BINFMT.iterdir())
    rows = [handler(name, _text(str(_BINFMT / name))) for name in names[:200]]
    return [row for row in rows if row is not None]


def _config() -> Optional[str]:
    try:
        with gzip.open("/proc/config.gz", "rt", encoding="ascii", errors="replace") as file:
            return file.read(4 * _TEXT_LIMIT)
    except OSError:
        return _maybe("/boot/config-" + os.uname().release)


def _loadable(folder: Path, more: Iterable[str]) -> Optional[List[str]]:
    dep, builtin = _maybe(str(folder / "modules.dep")), _maybe(str(folder / "modules.builtin"))
    return None if dep is None and builtin is None else loadable(dep or "", builtin or "", more)


def _walk(folder: Path, depth: int) -> List[str]:
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name)[:_MOST_DEVICES]:
                if entry.is_dir(follow_symlinks=False) and depth > 1:
                    found += _walk(Path(entry.path), depth - 1)
                else:
                    found.append(entry.path)
    except OSError:
        return []
    return found


def _number(text: str, pattern: str) -> int:
    match = re.search(pattern, text, re.MULTILINE)
    return int(match.group(1)) if match else 0


def _text(path: str) -> str:
    return _maybe(path) or ""


def _maybe(path: str, limit: int = 4 * _TEXT_LIMIT) -> Optional[str]:
    try:
        with open(path, "rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return None
