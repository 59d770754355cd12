"""What a boot loader is told to start, and what of that is not on the disk. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from portkit import boot_text
from portkit.boot_text import ABSENT, SYSTEMD_BOOT, Entry, Text, Told
from portkit.model.disk import BootConfig
from portkit.text import printable

_WORD = 300


def read(texts: Sequence[Text], files: Mapping[str, str]) -> list[BootConfig]:
    """Of the configurations in one file system, what each starts; nothing for one that only refers
    to another. files: all that were looked up, each with what keeps it from being a kernel."""
    every = [(each, boot_text.parse(each)) for each in texts]
    found = [
        _judged(text.loader, text.path, told, files)
        for text, told in every
        if text.loader != SYSTEMD_BOOT and not told.stub
    ]
    specified = [(text, told) for text, told in every if text.loader == SYSTEMD_BOOT]
    entries = [entry for _, told in specified for entry in told.entries]
    sure = all(told.sure for _, told in specified)
    if entries or not sure:
        path = f"{specified[0][0].folder}/*.conf"
        found.append(_judged(SYSTEMD_BOOT, path, Told(tuple(entries), sure=sure), files))
    return found


def _judged(loader: str, path: str, told: Told, files: Mapping[str, str]) -> BootConfig:
    """What is not known to be there or not there was not looked up."""
    known = all(name in files for each in told.entries for name in each.files)
    alone = all(files.get(name) == ABSENT for name in told.others)
    return BootConfig(
        loader=loader,
        path=printable(path, _WORD),
        entries=tuple(_lacks(each, files) for each in told.entries),
        first=told.first,
        sure=told.sure and known and alone,
    )


def _lacks(entry: Entry, files: Mapping[str, str]) -> tuple[str, ...]:
    """What an entry lacks. Only the content of a kernel of Linux is judged."""
    rows = []
    for number, path in enumerate(entry.files):
        why = files.get(path, "")
        if why and (why == ABSENT or (number == 0 and entry.linux)):
            rows.append(printable(f"{path}, which {why}", _WORD))
    return tuple(rows)
