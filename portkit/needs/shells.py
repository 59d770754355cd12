"""What a shell runs by itself, without a file.

Sources: POSIX.1-2017, 2.9 and 2.14; dash(1); bash(1), "Shell builtin commands"; BusyBox,
shell/ash.c (FEATURE_SH_STANDALONE) and applets/applets.c.
"""

from __future__ import annotations

_KEYWORDS = (
    "! [ [[ case coproc do done elif else esac fi for function if in select then time until while "
    "{ }"
)
_BUILT_IN = (
    ". : alias bg bind break builtin caller cd chdir command compgen complete compopt continue "
    "declare dirs disown echo enable eval exec exit export false fc fg getopts hash help history "
    "jobs kill let local logout mapfile popd printf pushd pwd read readarray readonly return set "
    "shift shopt source suspend test times trap true type typeset ulimit umask unalias unset "
    "wait"
)
_NAMES = frozenset((*_KEYWORDS.split(), *_BUILT_IN.split()))
_KNOWN = frozenset(("bash", "dash"))
BUSYBOX = "busybox"


def is_built_in(name: str) -> bool:
    """Whether a shell may know the name without a file."""
    return name in _NAMES


def knows_only_these(shell: str) -> bool:
    """Whether a shell, by the name of its own file, has no other commands of its own."""
    return shell in _KNOWN


def is_applet(name: str, busybox: bytes) -> bool:
    """Whether a BusyBox has a command of this name in itself. busybox: its file, or its beginning.
    The names are one list, each ended by a NUL."""
    return b"\0" + name.encode("utf-8", "surrogateescape") + b"\0" in busybox
