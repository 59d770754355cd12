"""What the start of a service reaches in its image: argv[0], the interpreters of scripts, and for
each ELF file its loader and its libraries.

Sources: execve(2); Linux, fs/binfmt_script.c and fs/binfmt_elf.c; Go's exec.LookPath, by which runc
finds argv[0].
"""

from __future__ import annotations

import re
import shlex
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from portkit.model import RunSpec
from portkit.model.needs import Binary, Lack, Missing, Role
from portkit.needs import code, elf, loader
from portkit.needs.elf import Elf, ElfError
from portkit.needs.loader import Object, Search
from portkit.needs.root import Entry, Root, joined

_APE = (b"MZqFpD=", b"jartsr=")  # cosmopolitan, ape/specification.md
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "ksh", "zsh"))
_SCRIPT_LINE = 256  # BINPRM_BUF_SIZE: the kernel reads no more of a script's first line
_SCRIPT_BYTES = 1 << 16  # of a script in which `exec` is looked for
_SCRIPTS = 5  # one that interprets another that ...: the kernel gives up then
_WORDS = 32  # of argv that are looked at
_FILES = 1000  # ELF files of one service
_READS = 500_000  # of all ELF files; a desktop program with 300 libraries takes a fifth of it
_TRIES = 200_000  # of paths for libraries
_EXEC = re.compile(r"^[ \t]*exec[ \t]+([\w./+-]+)", re.MULTILINE)
_DIGITS = re.compile("[0-9]{1,6}")
_SHELL_WORDS = set("|&;<>()$`\\\"'*?[]#~=%{}!\n")


class Start:
    """One walk over an image; what it found is in its fields."""

    def __init__(self, root: Root, spec: RunSpec) -> None:
        self._root, self._spec = root, spec
        self._env = dict(spec.env)
        targets = [each.target for each in spec.mounts]
        targets += [each.target for each in spec.contents]
        resolved = [root.resolved(target) for target in targets]
        self._hidden = {target.rstrip("/") for target in (*targets, *resolved)}
        self._searches: dict[tuple[str, str], Search] = {}
        self._elves: dict[str, Elf | None] = {}
        self._reads, self._tries = _READS, _TRIES
        self._seen: set[str] = set()  # scripts may name each other in any number of ways
        self.command = ""
        self.binaries: dict[str, Binary] = {}
        self.missing: dict[Missing, None] = {}
        self.unread: dict[str, None] = {}
        self.loaders: dict[str, str] = {}  # path, and whose it is
        self.files: dict[str, Elf] = {}
        self.io_uring: list[str] = []  # programs whose code calls it

    def walk(self) -> None:
        """Everything from argv on."""
        entry = self._command(self._spec.argv, sure=True)
        if entry is not None:
            self.command = entry.path

    @property
    def argv(self) -> tuple[str, ...]:
        """The service's command."""
        return self._spec.argv

    @property
    def variables(self) -> Mapping[str, str]:
        """The process's environment."""
        return self._env

    def covers(self, path: str) -> bool:
        """Whether a volume or a file of the App may be over it."""
        return self._covered(self.beside(path))

    def beside(self, path: str) -> str:
        """A path as the process sees it from its working directory."""
        return joined(self._spec.cwd or "/", path)

    # ------------------------------------------------------------ commands

    def _command(self, argv: Sequence[str], *, sure: bool, depth: int = 0) -> Entry | None:
        """depth: 0 for the service's own, which the engine starts, or its init (`init: true`) by
        execvp(3); the others a shell starts."""
        found = self._looked_up(argv[0])
        if found is None:
            self._lacks_command(argv[0], sure=sure)
            return None
        self._file(found, "argv[0]", sure=sure, depth=depth, by_shell=depth > 0 or self._spec.init)
        name = argv[0].rpartition("/")[2]
        if name in _SHELLS and len(argv) > 2 and argv[1] == "-c":
            self._shell(argv[2], sure=sure, depth=depth)
        elif depth == 0:
            for word in argv[1:_WORDS]:
                # A wrapper (`tini --`, an entrypoint script) may run what its arguments name.
                other = self._looked_up(word) if word and not word.startswith("-") else None
                if other is not None and self._executable(other):
                    self._file(other, found.path, sure=False, depth=1, by_shell=True)
        return found

    def _shell(self, text: str, *, sure: bool, depth: int) -> None:
        """What a shell is told to run: only one plain command is run for certain."""
        plain = not set(text) & _SHELL_WORDS
        try:
            words = shlex.split(text[:4096])
        except ValueError:
            return
        if words[:1] == ["exec"]:
            words = words[1:]
        if not words or depth > _SCRIPTS:
            return
        if plain and self._looked_up(words[0]) is None and "/" not in words[0]:
            return  # perhaps one of the shell's own commands
        if plain:
            self._command(words, sure=sure, depth=depth + 1)
            return
        for word in words[:_WORDS]:
            other = self._looked_up(word) if "/" in word or word == words[0] else None
            if other is not None and self._executable(other):
                self._file(other, "sh -c", sure=False, depth=depth + 1, by_shell=True)

    def _lacks_command(self, name: str, *, sure: bool) -> None:
        place = self.beside(name)
        if "/" in name and self._covered(place):
            self.unread[f"{name} may be on a volume"] = None
        elif self._hidden and "/" not in name and self._path_is_covered():
            self.unread[f"{name} may be on a volume that is in PATH"] = None
        else:
            where = "" if "/" in name else f"PATH is {self._env.get('PATH', '')}"
            self._lack(Missing(Lack.COMMAND, name, "argv[0]", where, sure))

    def _path_is_covered(self) -> bool:
        return any(self._covered(folder) for folder in self._folders())

    def _covered(self, path: str) -> bool:
        """Whether a volume or a file of the App is over it, or over what symlinks make of it."""
        return any(
            not each or one == each or one.startswith(each + "/")
            for one in ((path, self._root.resolved(path)) if self._hidden else ())
            for each in self._hidden
        )

    def _folders(self) -> Iterator[str]:
        for folder in self._env.get("PATH", "").split(":")[:64]:
            yield self.beside(folder or ".")

    def _looked_up(self, name: str) -> Entry | None:
        if "/" in name:
            return self._root.file(self.beside(name))
        for folder in self._folders():
            entry = self._root.file(f"{folder}/{name}") if name not in ("", ".", "..") else None
            if entry is not None and self._executable(entry):
                return entry
        return None

    def _executable(self, entry: Entry) -> bool:
        return bool(self._root.member(entry).mode & 0o111)

    def _file(
        self, entry: Entry, by: str, *, sure: bool, depth: int, by_shell: bool = False
    ) -> None:
        """by_shell: a shell starts it, or a wrapper by execvp(3), which give a file that the kernel
        refuses with ENOEXEC to the shell."""
        if self._covered(entry.path):
            self.unread[f"{entry.path} may be covered by a volume"] = None
            return
        if not self._executable(entry):
            self._lack(Missing(Lack.EXECUTABLE, entry.path, by, "its mode has no x", sure))
            return
        if not sure and entry.path in self._seen:
            return
        self._seen.add(entry.path)
        head = self._root.read(entry, 0, _SCRIPT_LINE)
        if head.startswith(b"#!"):
            self._script(entry, head, sure=sure, depth=depth)
        elif head.startswith(elf.MAGIC):
            self._program(entry, by, sure=sure)
        elif by_shell:
            self._execs(entry, depth)
        elif head.startswith(_APE):
            # A shell script and a program for several systems at once; hosts may have a handler.
            why = "the kernel knows its format (APE) only by a handler"
            self._lack(Missing(Lack.EXECUTABLE, entry.path, by, why, sure=False))
        else:
            why = "it is neither an ELF file nor a script with #!" if head else "it is empty"
            self._lack(Missing(Lack.EXECUTABLE, entry.path, by, why, sure))

    def _script(self, entry: Entry, head: bytes, *, sure: bool, depth: int) -> None:
        line = head[2:].partition(b"\n")[0].decode("utf-8", "surrogateescape")
        words = re.split("[ \t]+", line.strip(" \t"), maxsplit=1) if line.strip(" \t") else []
        if not words or depth >= _SCRIPTS:
            why = (
                "its #! names nothing" if not words else "its #! leads to another, again and again"
            )
            self._lack(Missing(Lack.EXECUTABLE, entry.path, "argv[0]", why, sure))
            return
        # A line that ends as on Windows asks for a file whose name ends with a carriage return.
        found = self._root.file(self.beside(words[0]))
        if found is None:
            if self._covered(self.beside(words[0])):
                self.unread[f"{words[0]} may be on a volume"] = None
            else:
                self._lack(Missing(Lack.COMMAND, words[0], entry.path, "", sure))
            return
        self._file(found, entry.path, sure=sure, depth=depth + 1)
        name = words[0].rpartition("/")[2]
        if name == "env" and len(words) > 1 and not words[1].startswith("-"):
            self._by_env(words[1].strip(" \t"), entry, sure=sure, depth=depth)
        elif name in _SHELLS:
            self._execs(entry, depth)

    def _by_env(self, name: str, entry: Entry, *, sure: bool, depth: int) -> None:
        other = self._looked_up(name)
        if other is not None:
            self._file(other, entry.path, sure=sure, depth=depth + 1, by_shell=True)
        elif self._covered(self.beside(name)) if "/" in name else self._path_is_covered():
            self.unread[f"{name} may be on a volume"] = None
        else:
            where = f"PATH is {self._env.get('PATH', '')}"
            self._lack(Missing(Lack.COMMAND, name, entry.path, where, sure))

    def _execs(self, entry: Entry, depth: int) -> None:
        """What a shell script may become by `exec`."""
        if depth >= _SCRIPTS:
            return
        text = self._root.read(entry, 0, _SCRIPT_BYTES).decode("utf-8", "replace")
        for word in _EXEC.findall(text)[:_WORDS]:
            other = self._looked_up(word)
            if other is not None and self._executable(other):
                self._file(other, entry.path, sure=False, depth=depth + 1, by_shell=True)

    # ------------------------------------------------------------ ELF

    def _elf(self, entry: Entry) -> Elf | None:
        if entry.path not in self._elves:
            try:
                read = elf.parse(lambda at, size: self._bytes(entry, at, size))
            except ElfError as error:
                read = None
                self.unread[f"{entry.path}: {error}"] = None
            self._elves[entry.path] = read
        return self._elves[entry.path]

    def _bytes(self, entry: Entry, at: int, size: int) -> bytes:
        self._reads -= 1
        if self._reads < 0:
            raise ElfError(f"more than {_READS} reads of ELF files")
        return self._root.read(entry, at, size)

    def _program(self, entry: Entry, by: str, *, sure: bool) -> None:
        before = self.binaries.get(entry.path)
        if before is not None and (before.sure or not sure):
            return
        read = self._elf(entry)
        if read is None:
            return
        self._keep(entry, Role.PROGRAM, read, sure=sure)
        if sure and read.machine == "amd64":
            self._look_at_code(entry, read)
        if not read.interpreter:
            return
        found = self._root.file(self.beside(read.interpreter))
        if found is None:
            if self._covered(self.beside(read.interpreter)):
                self.unread[f"{read.interpreter} may be on a volume"] = None
            else:
                self._lack(Missing(Lack.LOADER, read.interpreter, entry.path, "", sure))
            return
        load = self._elf(found)
        if load is None:
            return
        self._keep(found, Role.LOADER, load, sure=sure)
        self.loaders[found.path] = loader.kind_of(found.path, load)
        if self.loaders[found.path]:
            self._libraries(Object(entry.path, read), found, sure=sure)
        else:
            self.unread[f"{found.path} is a loader whose rules are not known"] = None

    def _look_at_code(self, entry: Entry, read: Elf) -> None:
        binary, budget = self.binaries[entry.path], code.CODE_BYTES
        level = self._go_level(entry, read)
        binary = replace(binary, code_level=level)
        for offset, size in read.code:
            data = self._root.read(entry, offset, min(size, budget))
            budget -= len(data)
            level = max(binary.code_level, code.level(data))
            binary = replace(binary, code_level=level)
            if code.calls(data, code.IO_URING_SETUP, imports_syscall=read.imports_syscall):
                self.io_uring.append(entry.path)
        self.binaries[entry.path] = binary

    def _go_level(self, entry: Entry, read: Elf) -> int:
        budget = code.CODE_BYTES  # segments of a file that is meant to harm may be one another's
        for offset, size in (*read.data, *read.code):
            data = self._root.read(entry, offset, min(size, budget))
            budget -= len(data)
            if level := code.go_level(data):
                return level
        return 0

    def _libraries(self, program: Object, load: Entry, *, sure: bool) -> None:
        """Breadth first, as loaders do: a library that is loaded under a name is not looked for
        again."""
        kind = self.loaders[load.path]
        search = self._search(kind, program.elf.machine, load.path)
        known = {load.path.rpartition("/")[2]: self._elf(load)}
        known[program.elf.interpreter.rpartition("/")[2]] = self._elf(load)
        pending = deque([program])
        while pending:
            each = pending.popleft()
            for name in each.elf.needed:
                if name in known or (kind == loader.MUSL and loader.of_musl(name)):
                    continue
                if len(self.binaries) >= _FILES:
                    self.unread[f"more than {_FILES} files"] = None
                    return
                found = self._library(name, each, search, sure=sure)
                known[name] = found.elf if found else None
                if found:
                    known.setdefault(found.elf.soname, found.elf)
                    pending.append(found)
            if kind == loader.GLIBC:
                self._versions(each, known, sure=sure and search.sure)

    def _search(self, kind: str, machine: str, load: str) -> Search:
        key = (machine, load)
        if key not in self._searches:
            cwd = self._spec.cwd or "/"
            self._searches[key] = Search(self._root, kind, machine, load, self._env, cwd)
        return self._searches[key]

    def _library(self, name: str, by: Object, search: Search, *, sure: bool) -> Object | None:
        other = ""
        for path in search.places(name, by):
            self._tries -= 1
            if self._tries < 0:
                self.unread[f"libraries in more than {_TRIES} places"] = None
                return None
            entry = self._root.file(path)
            if entry is None:
                if self._covered(path):
                    self.unread[f"{name} may be on a volume"] = None
                    return None
                continue
            read = self._elf(entry)
            if read is None:
                return None
            if read.key == by.elf.key:  # else the loader goes on
                self._keep(entry, Role.LIBRARY, read, sure=sure, kind=search.kind)
                return Object(path, read, (*by.parents, by))
            other = f"{entry.path} is for {read.machine}"
        self._lack(Missing(Lack.LIBRARY, name, by.path, other, sure and search.sure))
        return None

    def _versions(self, each: Object, known: dict[str, Elf | None], *, sure: bool) -> None:
        """glibc's loader ends where a library lacks a version; musl's does not look at them."""
        for wanted in each.elf.wanted:
            library = known.get(wanted.library)
            # A library without any version is taken, with a warning.
            if library is None or not library.defined:
                continue
            for version in wanted.versions:
                if version not in library.defined:
                    has = f"{wanted.library} has {_newest(library.defined, version)}"
                    self._lack(Missing(Lack.VERSION, version, each.path, has, sure))

    def _keep(self, entry: Entry, role: Role, read: Elf, *, sure: bool, kind: str = "") -> None:
        before = self.binaries.get(entry.path)
        if before is None or (sure and not before.sure):
            self.files[entry.path] = read
            # Kernels, and musl, look at where segments are; glibc also at what they state.
            stated = role is Role.LIBRARY and kind == loader.GLIBC
            self.binaries[entry.path] = Binary(
                path=entry.path,
                role=role,
                machine=read.machine,
                bits=read.key[1],
                level=read.level,
                kernel=read.kernel,
                align=read.align if stated else read.page,
                sure=sure,
            )

    def _lack(self, missing: Missing) -> None:
        if not missing.sure and replace(missing, sure=True) in self.missing:
            return
        if missing.sure:
            self.missing.pop(replace(missing, sure=False), None)
        self.missing[missing] = None


def _newest(defined: frozenset[str], like: str) -> str:
    """The newest version of the same kind (GLIBC_2.38: another of GLIBC_)."""
    kind = like.rpartition("_")[0] + "_"
    rows = [each for each in defined if each.startswith(kind) and numbers(each)]
    return max(rows, key=numbers, default="none of them")


def numbers(version: str) -> tuple[int, ...]:
    """(2, 38) of GLIBC_2.38; () where it does not end with a number."""
    text = version.rpartition("_")[2]
    parts = text.split(".")
    return tuple(map(int, parts)) if all(map(_DIGITS.fullmatch, parts)) else ()
