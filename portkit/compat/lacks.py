"""What an image lacks for its own start: files, rights, users.

What a script or a wrapper may run is only said to be unknown, as nobody can tell without a trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from portkit.compat.rule import Case, Found
from portkit.model import Lack, Missing, Severity

# The driver's own libraries, which the container runtime of NVIDIA puts in.
OF_A_DRIVER = ("libcuda.so", "libnvidia-", "libnvcuvid.so")
# What cures a file that cannot be started, by a part of the reason.
_CURES = {
    "no x": "Add to the Dockerfile: RUN chmod +x FILE.",
    "neither an ELF": "Begin the script with #! and its interpreter, or name a program.",
    "byte order mark": "Save the script as UTF-8 without a byte order mark.",
    "is empty": "Add the file's content to the image.",
    "folder": "Name the program in that folder as the command.",
    "cut off": "Copy the file into the image again: it is incomplete.",
    "shared library": "Name a program as the command, or link this one as a program.",
    "linker": "Link the object file to a program.",
    "memory dump": "Name a program as the command.",
    "BusyBox": "Install coreutils in the image, or name the program itself in the first line.",
    "its loader": "Use a program for the image's own architecture, or install the C library of its "
    "own.",
    "names nothing": "Name an interpreter behind #!.",
    "again and again": "Name an interpreter behind #! that is a program.",
}


# What cures a loader that is not there, by how its name begins.
_SECOND = (
    "Install the C library for programs of {bits}: {debian} (Debian, after dpkg --add-architecture "
    "{name}){other}. Or use a program for the image's own architecture."
)
_LOADERS = {
    "ld-musl": "Use an Alpine image, build the program for glibc, or link it statically.",
    "ld-uClibc": "Build the program for the image's C library, link it statically, or use an image "
    "with uClibc (busybox:uclibc, for example).",
    "ld-linux.so.2": _SECOND.format(
        bits="32 bits",
        debian="libc6:i386",
        name="i386",
        other=", glibc.i686 (Fedora, Red Hat), or libc6-i386",
    ),
    "ld-linux-armhf": _SECOND.format(bits="ARM", debian="libc6:armhf", name="armhf", other=""),
    "ld-linux.so.3": _SECOND.format(bits="ARM", debian="libc6:armel", name="armel", other=""),
}
_LOADERS["ld64-uClibc"] = _LOADERS["ld-uClibc"]
_OF_GLIBC = (
    "Use an image with glibc (Debian, for example), link the program statically, or add gcompat to "
    "an Alpine image."
)


def command(case: Case) -> Iterator[Found]:
    """The command, or the interpreter in the first line of a script, is not in the image."""
    for row in _missing(case, Lack.COMMAND):
        remedy = ""
        if row.name.endswith("\r"):
            remedy = "Give the script Unix line endings: dos2unix."
        who = "the command" if row.by == "argv[0]" else row.by
        yield _found(
            row,
            f'{who} asks for {row.name!a}, which is not in the image: "no such file or directory"',
            remedy,
        )


def executable(case: Case) -> Iterator[Found]:
    """A file exists and cannot be started: "exec format error", or "permission denied"."""
    for row in _missing(case, Lack.EXECUTABLE):
        remedy = next((text for part, text in _CURES.items() if part in row.details), "")
        yield _found(row, f"{row.name} cannot be started: {row.details}", remedy)


def access(case: Case) -> Iterator[Found]:
    """The service's user may not run or read a file that its start needs: "permission denied". In
    the engine's last step that user still has the service's capabilities; in the program, and in
    all that the program starts, only root has them."""
    for row in _missing(case, Lack.ACCESS):
        yield _found(row, f'{row.name}: "permission denied"')


def folder(case: Case) -> Iterator[Found]:
    """A file of the image is where the service needs a folder: its working directory, or the place
    for a volume."""
    for row in _missing(case, Lack.FOLDER):
        if row.by == "working_dir":
            yield _found(row, f"the working directory {row.name} cannot be entered: {row.details}")
        else:
            yield _found(
                row,
                f"no {row.by} can be put on {row.name}: {row.details}",
                "Put it on a folder, or remove the file from the image.",
            )


def interpreter(case: Case) -> Iterator[Found]:
    """The loader that an ELF file names is missing: "no such file or directory", though the file
    exists."""
    for row in _missing(case, Lack.LOADER):
        yield _found(
            row,
            f"{row.by} needs the loader {row.name}, which is not in the image: "
            '"no such file or directory", though the file is there',
            _loader_remedy(row.name),
        )


def _loader_remedy(name: str) -> str:
    base = name.rpartition("/")[2]
    return next((text for begin, text in _LOADERS.items() if base.startswith(begin)), _OF_GLIBC)


def library(case: Case) -> Iterator[Found]:
    """The loader cannot find a library that a program or another library needs."""
    for row in _missing(case, Lack.LIBRARY):
        if not row.name.startswith(OF_A_DRIVER):  # rule `gpu`
            yield _found(
                row,
                f"{row.by} needs {row.name}, which the loader does not find in the image: "
                '"cannot open shared object file"',
            )


def symbols(case: Case) -> Iterator[Found]:
    """A library in the image is older than a program needs: "version `GLIBC_2.38' not found"."""
    for row in _missing(case, Lack.VERSION):
        yield _found(
            row, f"{row.by} needs {row.name}, which the image does not contain ({row.details})"
        )


def functions(case: Case) -> Iterator[Found]:
    """musl's loader finds no library with a function that a program or a library asks for: "Error
    relocating: symbol not found"."""
    for row in _missing(case, Lack.SYMBOL):
        yield _found(
            row,
            f'{row.by} asks for {row.name}, which no library in the image has: "Error relocating: '
            'symbol not found"',
        )


def user(case: Case) -> Iterator[Found]:
    """The user or group that the service is to run as is not in the image: "no matching entries in
    passwd file"."""
    for row in _missing(case, Lack.USER):
        whom = "run as" if row.by == "/etc/passwd" else "have the group"
        yield _found(row, f"the service is to {whom} {row.name!a}, which is not in {row.by}")


def unread(case: Case) -> Iterator[Found]:
    """Some part of the image could not be examined, so that more may be missing than portkit has
    found."""
    if case.needs is not None and case.needs.unread:
        yield Found(
            "portkit could not read everything that the image needs", case.needs.unread[:20]
        )


def _missing(case: Case, what: Lack) -> Sequence[Missing]:
    return [row for row in (case.needs.missing if case.needs else ()) if row.what is what][:20]


def _found(row: Missing, message: str, remedy: str = "") -> Found:
    evidence = (f"{row.by}: {row.name}", row.details) if row.details else (f"{row.by}: {row.name}",)
    if row.sure:
        return Found(message, evidence, remedy)
    return Found(f"if it is run, {message}", evidence, remedy, Severity.UNKNOWN)
