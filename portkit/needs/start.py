"""What the start of a service reaches in its image: argv[0], the interpreters of scripts, and what
shells and wrappers may run; `portkit.needs.linked` has the loaders and libraries of each.

Sources: execve(2) and execvp(3); Linux, fs/binfmt_script.c; Go's exec.LookPath, by which runc finds
argv[0].
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence

from portkit.model import RunSpec
from portkit.model.needs import Lack, Missing
from portkit.needs import commands, elf, elf_header, loader, shells, wrappers
from portkit.needs.linked import NO_MODE_X, Linked
from portkit.needs.rights import READ, RUN
from portkit.needs.root import Entry, Root

_APE = (b"MZqFpD=", b"jartsr=")  # cosmopolitan, ape/specification.md
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "ksh", "zsh"))
_FOLDERS = ("volume", "tmpfs")  # types of mounts that are a folder
_MARK = b"\xef\xbb\xbf"  # of UTF-8, which editors of Windows write
_SETUID = 0o6000
_BUSYBOX_BYTES = 4 << 20
_SCRIPT_LINE = 256  # BINPRM_BUF_SIZE: the kernel reads no more of a script's first line
_SCRIPT_BYTES = 1 << 16  # of a script in which `exec` is looked for
_SCRIPTS = 5  # one that interprets another that ...: the kernel gives up then
_TEXT = 4096  # characters of what a shell is told to run
_MOST_SCRIPTS = 200  # that are read: they may name each other in any number of ways
_WORDS = 32  # of argv that are looked at


class Start(Linked):
    """One walk over an image; what it found is in its fields."""

    def __init__(self, root: Root, spec: RunSpec) -> None:
        super().__init__(root, spec)
        self._seen: set[str] = set()  # scripts may name each other in any number of ways
        self._scripts_left = _MOST_SCRIPTS
        self.command = ""
        self.as_other = False  # a program before has become another user

    def walk(self) -> None:
        """Everything from argv on."""
        self._folders_needed()
        entry = self._command(self._spec.argv, sure=True)
        if entry is not None:
            self.command = entry.path

    def _folders_needed(self) -> None:
        """The working directory and those that volumes are put on. Engines and the guest create
        them where nothing is there."""
        folder = self._spec.cwd or "/"
        if (file := self._root.in_the_way(folder)) and not self.covered(file):
            self.lack(Missing(Lack.FOLDER, folder, "working_dir", f"{file} is a file"))
        for mount in self._spec.mounts:
            file = self._root.in_the_way(mount.target) if mount.type in _FOLDERS else ""
            if file:
                self.lack(Missing(Lack.FOLDER, mount.target, mount.type, f"{file} is a file"))

    def _command(
        self, argv: Sequence[str], *, sure: bool, depth: int = 0, asked: bool = True
    ) -> Entry | None:
        """depth: 0 for the service's own, which the engine starts, or its init (`init: true`) by
        execvp(3); the others a shell starts. asked: that it is not there is a lack."""
        found = self._looked_up(argv[0])
        if found is None:
            if asked:
                self._lacks_command(argv[0], sure=sure)
            return None
        by_engine = depth == 0 and not self._spec.init
        self._file(found, "argv[0]", argv[1:], sure=sure, depth=depth, by_engine=by_engine)
        self._by_name(argv, found, sure=sure, depth=depth, asked=asked)
        return found

    def _by_name(
        self, argv: Sequence[str], found: Entry, *, sure: bool, depth: int, asked: bool
    ) -> None:
        """What a program starts that is known by its name, as its arguments tell."""
        name = argv[0].rpartition("/")[2]
        if name == shells.BUSYBOX and len(argv) > 1:
            self._by_name(argv[1:], found, sure=sure, depth=depth, asked=asked)
        elif name in _SHELLS:
            self._shell(commands.told(argv[1:]), found, sure=sure, depth=depth)
        elif wrappers.is_wrapper(name):
            self._wrapped(name, argv[1:], sure=sure, depth=depth, asked=asked)
        elif self._is_loader(found) and len(argv) > 1 and not argv[1].startswith("-"):
            self._by_loader(argv[1], found, sure=sure)
        elif depth <= 1:
            for word in argv[1:_WORDS]:
                # A wrapper (an entrypoint script, another init) may run what its arguments name.
                other = self._looked_up(word) if word and not word.startswith("-") else None
                if other is not None and self._executable(other):
                    self._file(other, found.path, sure=False, depth=depth + 1)

    def _is_loader(self, entry: Entry) -> bool:
        read = self.files.get(entry.path)
        return read is not None and bool(loader.kind_of(entry.path, read))

    def _wrapped(
        self, name: str, words: Sequence[str], *, sure: bool, depth: int, asked: bool
    ) -> None:
        """What a wrapper becomes, or starts."""
        argv = wrappers.wrapped(name, words)
        if argv and argv[0] and depth < _SCRIPTS:
            # Whether the other user may run it is not looked at.
            self.as_other = self.as_other or (sure and wrappers.changes_user(name))
            self._command(argv, sure=sure, depth=depth + 1, asked=asked)

    def _by_loader(self, name: str, load: Entry, *, sure: bool) -> None:
        """A program that a loader is told to start, which need not have the mode x."""
        entry = self._root.file(self.beside(name))
        if entry is None:
            self._lacks_command(f"./{name}" if "/" not in name else name, sure=sure)
        elif not self.covered(entry.path):
            self.loaded(entry, load, sure=sure)

    def _shell(self, told: commands.Told, shell: Entry, *, sure: bool, depth: int) -> None:
        """What a shell is told to run: only one plain command is run for certain."""
        if depth > _SCRIPTS:
            return
        if told.script:
            self._by_shell(told, sure=sure, depth=depth)
        rows = commands.commands(told.text[:_TEXT], self._env, told.arguments)
        for row in rows[:_WORDS]:
            words = row.words[1:] if row.words[0] == "exec" else row.words
            alone = len(rows) == 1 and row.known and not row.moves
            if not words or not words[0]:
                continue
            found, login = self._looked_up(words[0]), told.login and "/" not in words[0]
            if found is None and "/" not in words[0]:
                if alone and not shells.is_built_in(words[0]):
                    known = self._knows_only_files(shell, words[0]) and not login
                    self._lacks_command(words[0], sure=sure and known)
            elif found is not None or alone:
                certain = sure and alone and not login
                self._command(words, sure=certain, depth=depth + 1, asked=alone)

    def _by_shell(self, told: commands.Told, *, sure: bool, depth: int) -> None:
        """A script that a shell is told to read, which need not have the mode x."""
        name = told.script
        entry = self._root.file(self.beside(name)) or self._looked_up(name)
        if entry is None:
            self._lacks_command(name if "/" in name else f"./{name}", sure=sure)
        elif self.covered(entry.path):
            self.unread[f"{entry.path} may be covered by a volume"] = None
        else:
            self._may(entry, READ, "argv[0]", sure=sure)
            self._execs(entry, told.arguments, sure=sure, depth=depth)

    def _knows_only_files(self, shell: Entry, name: str) -> bool:
        """Whether a shell has no command of this name in itself; functions come from its
        environment."""
        own = shell.path.rpartition("/")[2]
        if any(each.startswith(("BASH_FUNC_", "BASH_ENV", "ENV")) for each in self._env):
            return False
        if shells.BUSYBOX in own:
            return not shells.is_applet(name, self._root.read(shell, 0, _BUSYBOX_BYTES))
        return shells.knows_only_these(own)

    def _lacks_command(self, name: str, *, sure: bool) -> None:
        place = self.beside(name)
        there = self._root.find(place) if "/" in name else None
        if there is not None and there.node.folder and not self.covered(place):
            self.lack(Missing(Lack.EXECUTABLE, name, "argv[0]", "it is a folder", sure))
            return
        if "/" in name and self.covered(place):
            self.unread[f"{name} may be on a volume"] = None
        elif self._hidden and "/" not in name and self._path_is_covered():
            self.unread[f"{name} may be on a volume that is in PATH"] = None
        else:
            self.lack(Missing(Lack.COMMAND, name, "argv[0]", self._why_absent(name), sure))

    def _why_absent(self, name: str) -> str:
        """Where a command was looked for, or what is there in its place."""
        if "/" in name:
            place = self._root.resolved(self.beside(name))
            link = place != posixpath.normpath(self.beside(name))
            return f"it leads to {place}, which is not there" if link else ""
        for folder in self._folders():
            if entry := self._root.file(f"{folder}/{name}"):
                return f"{entry.path} is there, but {NO_MODE_X}"
        return f"PATH is {self._env.get('PATH', '')}"

    def _path_is_covered(self) -> bool:
        return any(self.covered(folder) for folder in self._folders())

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
        self,
        entry: Entry,
        by: str,
        arguments: Sequence[str] = (),
        *,
        sure: bool,
        depth: int,
        by_engine: bool = False,
    ) -> None:
        """arguments: of a script. by_engine: the engine starts it. Else a shell does, or a wrapper
        by execvp(3), which give a file that the kernel refuses with ENOEXEC to the shell."""
        if self.covered(entry.path):
            self.unread[f"{entry.path} may be covered by a volume"] = None
            return
        if not self._executable(entry):
            self.lack(Missing(Lack.EXECUTABLE, entry.path, by, NO_MODE_X, sure))
            return
        self._may(entry, RUN, by, sure=sure, by_engine=by_engine)
        if not sure and entry.path in self._seen:
            return
        self._seen.add(entry.path)
        head = self._root.read(entry, 0, _SCRIPT_LINE)
        if head.startswith(b"#!"):
            self._script(entry, head, arguments, sure=sure, depth=depth, by_engine=by_engine)
        elif head.startswith(elf.MAGIC):
            if why := elf_header.refused(head[:64], self._root.member(entry).size):
                self.lack(Missing(Lack.EXECUTABLE, entry.path, by, why, sure))
                return
            self.program(entry, sure=sure, by_engine=by_engine)
        elif not by_engine:
            self._execs(entry, arguments, sure=sure, depth=depth)
        elif head.startswith(_APE):
            # A shell script and a program for several systems at once; hosts may have a handler.
            why = "the kernel knows its format (APE) only by a handler"
            self.lack(Missing(Lack.EXECUTABLE, entry.path, by, why, sure=False))
        else:
            why = "it is neither an ELF file nor a script with #!" if head else "it is empty"
            if head.startswith(_MARK + b"#!"):
                why = "it has a byte order mark in front of its #!, which must be its first bytes"
            self.lack(Missing(Lack.EXECUTABLE, entry.path, by, why, sure))

    def _may(
        self, entry: Entry, what: int, by: str, *, sure: bool, by_engine: bool = False
    ) -> None:
        """Note where the service's user may not run or read a file."""
        if not sure or self.as_other:
            return
        self.may(entry, what, by, by_engine=by_engine)
        self.as_other = bool(self._root.member(entry).mode & _SETUID)

    def _script(
        self,
        entry: Entry,
        head: bytes,
        arguments: Sequence[str],
        *,
        sure: bool,
        depth: int,
        by_engine: bool,
    ) -> None:
        line = head[2:].partition(b"\n")[0].decode("utf-8", "surrogateescape")
        words = re.split("[ \t]+", line.strip(" \t"), maxsplit=1) if line.strip(" \t") else []
        if not words or depth >= _SCRIPTS:
            why = (
                "its #! names nothing" if not words else "its #! leads to another, again and again"
            )
            self.lack(Missing(Lack.EXECUTABLE, entry.path, "argv[0]", why, sure))
            return
        # A line that ends as on Windows asks for a file whose name ends with a carriage return.
        found = self._root.file(self.beside(words[0]))
        if found is None:
            if self.covered(self.beside(words[0])):
                self.unread[f"{words[0]} may be on a volume"] = None
            else:
                self.lack(Missing(Lack.COMMAND, words[0], entry.path, "", sure))
            return
        self._file(found, entry.path, sure=sure, depth=depth + 1, by_engine=by_engine)
        self._may(entry, READ, entry.path, sure=sure)
        name, more = words[0].rpartition("/")[2], words[1].strip(" \t") if words[1:] else ""
        if name == "env" and more:
            self._told_env(more, found, entry, sure=sure, depth=depth)
            name = more.removeprefix("-S").split()[0].rpartition("/")[2] if more != "-S" else ""
        if name in _SHELLS or (name == shells.BUSYBOX and more.split()[:1] in (["sh"], ["ash"])):
            self._execs(entry, arguments, sure=sure, depth=depth)

    def _told_env(self, word: str, env: Entry, entry: Entry, *, sure: bool, depth: int) -> None:
        """The kernel gives all that stands behind the interpreter as one word. entry: the
        script."""
        if not word.startswith("-"):
            self._by_env(word, entry, sure=sure, depth=depth)
        elif wrappers.asks_to_split(word) and shells.BUSYBOX in env.path:
            why = f"its #! gives the option -S to {env.path}, which BusyBox does not have"
            self.lack(Missing(Lack.EXECUTABLE, entry.path, "argv[0]", why, sure))
        elif argv := wrappers.wrapped("env", [word]):
            self._by_env(argv[0], entry, sure=sure, depth=depth)

    def _by_env(self, name: str, entry: Entry, *, sure: bool, depth: int) -> None:
        other = self._looked_up(name)
        if other is not None:
            self._file(other, entry.path, sure=sure, depth=depth + 1)
        elif self.covered(self.beside(name)) if "/" in name else self._path_is_covered():
            self.unread[f"{name} may be on a volume"] = None
        else:
            where = f"PATH is {self._env.get('PATH', '')}"
            self.lack(Missing(Lack.COMMAND, name, entry.path, where, sure))

    def _execs(self, entry: Entry, arguments: Sequence[str], *, sure: bool, depth: int) -> None:
        """What a shell script may become, or end with."""
        self._scripts_left -= 1
        if depth >= _SCRIPTS or self._scripts_left < 0:
            return
        text = self._root.read(entry, 0, _SCRIPT_BYTES).decode("utf-8", "replace")
        rows = list(commands.of_a_script(text, self._env, arguments))
        moves = commands.changes_folder(text)
        asked = not commands.sets_its_arguments(text)
        for row, certain in rows[:_WORDS]:
            named = row.words == (*arguments,)  # the App's own command, passed on
            if moves and "/" in row.words[0] and not row.words[0].startswith("/"):
                continue
            certain = certain and commands.makes_no_file(text)
            if shells.is_built_in(row.words[0]) and "/" not in row.words[0]:
                continue
            self._command(
                row.words, sure=sure and certain and named, depth=depth + 1, asked=asked and named
            )
