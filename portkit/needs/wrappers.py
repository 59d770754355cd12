"""Programs that set something up and then become, or start, the program that their arguments name.

Sources: the manuals of coreutils, util-linux, tini, dumb-init, catatonit, gosu, su-exec, numactl
and s6.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class _Usage:
    """valued: the options whose value is the next word. plain: words before the program. assigns:
    NAME=VALUE may stand before it."""

    valued: frozenset[str] = frozenset()
    plain: int = 0
    assigns: bool = False


def _usage(*valued: str, plain: int = 0) -> _Usage:
    return _Usage(frozenset(valued), plain)


_OF_NUMACTL = (
    "-i --interleave -N --cpunodebind -C --physcpubind -m --membind -p --preferred -P "
    "--preferred-many -w --weighted-interleave"
)
_OF_SETPRIV = (
    "--reuid --regid --ruid --euid --rgid --egid --groups --ambient-caps --inh-caps "
    "--bounding-set --securebits --pdeathsig --selinux-label --apparmor-profile --landlock-access "
    "--landlock-rule --seccomp-filter"
)
_WRAPPERS: Mapping[str, _Usage] = MappingProxyType(
    {
        "catatonit": _usage(),
        "chroot": _usage(plain=1),
        "chrt": _usage("-T", "-P", "-D", plain=1),
        "dumb-init": _usage("-r", "--rewrite"),
        "env": _Usage(frozenset(("-u", "--unset", "-C", "--chdir")), assigns=True),
        "gosu": _usage(plain=1),
        "ionice": _usage("-c", "--class", "-n", "--classdata"),
        "nice": _usage("-n", "--adjustment"),
        "nohup": _usage(),
        "numactl": _usage(*_OF_NUMACTL.split()),
        "runuser": _usage("-u", "--user", "-g", "--group", "-G", "--supp-group", "-w"),
        "s6-setuidgid": _usage(plain=1),
        "setpriv": _usage(*_OF_SETPRIV.split()),
        "setsid": _usage(),
        "stdbuf": _usage("-i", "-o", "-e", "--input", "--output", "--error"),
        "su-exec": _usage(plain=1),
        "taskset": _usage(plain=1),
        "timeout": _usage("-k", "--kill-after", "-s", "--signal", plain=1),
        "tini": _usage("-p", "-e"),
        "tini-static": _usage("-p", "-e"),
    }
)
# Options after which these programs start nothing, or which make them look in other folders.
_NO_START = frozenset(
    ("-h", "--help", "--version", "-V", "-p", "--pid", "-P", "--pgid", "--reset-env", "-d")
)
_SPLITS = ("--split-string=", "-vS", "-S")  # env's option, in front of its text
_CHANGES_USER = frozenset(("chroot", "gosu", "runuser", "s6-setuidgid", "setpriv", "su-exec"))
_RUNS_AS = ("-u", "--user")  # without it runuser starts a shell of that user's


def is_wrapper(name: str) -> bool:
    """Whether a program of this name starts what its arguments name."""
    return name in _WRAPPERS


def changes_user(name: str) -> bool:
    """Whether it starts the program as another user."""
    return name in _CHANGES_USER


def wrapped(name: str, words: Sequence[str]) -> tuple[str, ...]:
    """The program that a wrapper is told to start, with its own arguments; () where there is none,
    or the words cannot be understood. words: the wrapper's arguments."""
    usage = _WRAPPERS[name]
    left = list(words)
    if name == "runuser" and not any(word.split("=")[0] in _RUNS_AS for word in words):
        return ()
    while left and left[0].startswith("-") and left[0] != "-":
        option = left.pop(0)
        if option == "--":
            break
        if name == "env" and (text := _split_option(option, left)) is not None:
            left = [*split(text), *left]
        elif option in usage.valued:
            left = left[1:]
        elif option in _NO_START:
            return ()
    if usage.assigns:
        left = left[1:] if left[:1] == ["-"] else left
        while left and "=" in left[0]:
            if left.pop(0).startswith("PATH="):
                return ()  # it looks for the program in other folders
    if name == "chroot" and left[:1] != ["/"]:
        return ()  # it sees other files
    return tuple(left[usage.plain :])


def _split_option(option: str, left: list[str]) -> str | None:
    """The text of env's option -S, which it splits into words; None for another option."""
    for begin in _SPLITS:
        if option.startswith(begin):
            text = option[len(begin) :]
            return text if text or begin.endswith("=") else (left.pop(0) if left else "")
    return None


def split(text: str) -> list[str]:
    """A text as env's option -S splits it (coreutils, env(1)); nothing where it names variables,
    or quotes do not end."""
    try:
        return [] if "$" in text or "\\" in text else shlex.split(text, comments=True)
    except ValueError:
        return []


def asks_to_split(line: str) -> bool:
    """Whether the arguments of env in the first line of a script, which are one word for it, are
    its option -S."""
    return line.startswith(_SPLITS)
