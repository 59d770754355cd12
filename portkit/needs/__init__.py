"""What an image needs of a host, read from the layers in the Store: nothing is started or mounted.

Each layer's headers are read once; then only the files that the start of the service reaches.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from portkit.errors import VerifyError
from portkit.model import ImageConfig, RunSpec
from portkit.model.needs import Lack, Missing, Needs, Role
from portkit.needs import extensions, loader, relocations
from portkit.needs.distribution import checked_level, level_of, name_of, os_release
from portkit.needs.linked import numbers
from portkit.needs.root import Root
from portkit.needs.software import software
from portkit.needs.start import Start
from portkit.needs.system_calls import calls
from portkit.needs.threads import makes_threads
from portkit.package.flatten import flattened
from portkit.store import Store

_TEXT_BYTES = 1 << 16
_LOADER_BYTES = 4 << 20
# glibc's loader has this text only where it was compiled for more than the baseline
# (sysdeps/x86_64/dl-hwcap-check.h).
_CHECKS = b"CPU does not support x86-64-v"
_MUSL_PACKAGE = re.compile(r"^P:musl\nV:([0-9.]{1,20})", re.MULTILINE)
_APK_BYTES = 16 << 20
_PEOPLE_BYTES = 1 << 20


def read(layers: Sequence[Path], image: ImageConfig, specs: Sequence[RunSpec]) -> tuple[Needs, ...]:
    """What each of the services `specs` needs, whose image has these layers (tars, bottom first).

    Layers that cannot be read are not an error: what is not known is in `unread`.
    """
    try:
        with flattened(layers) as tree:
            root = Root(tree)
            return tuple(_needs(root, spec, image) for spec in specs)
    except VerifyError as error:
        why = (f"{error.brief}: {error.details}",)
        needs = Needs(image.os, image.architecture, image.variant, unread=why)
        return tuple(needs for _ in specs)


def of_services(
    store: Store, images: Sequence[ImageConfig], services: Sequence[RunSpec]
) -> dict[str, Needs]:
    """What the services of an App need, by name; without those whose image has no layers in the
    Store here, as of a bundle that has the disk alone."""
    found: dict[str, Needs] = {}
    for image in images:
        own = [each for each in services if each.image == image.digest]
        if own and image.diff_ids and all(store.has(digest) for digest in image.diff_ids):
            layers = [store.content(digest) for digest in image.diff_ids]
            names = [each.service for each in own]
            found.update(zip(names, read(layers, image, own), strict=True))
    return found


def _needs(root: Root, spec: RunSpec, image: ImageConfig) -> Needs:
    walk = Start(root, spec)
    walk.walk()
    relocations.look(root, walk)
    extensions.look(root, walk)
    _find_user(root, walk, spec)
    release = os_release(root.text("/etc/os-release", _TEXT_BYTES))
    kinds = [kind for kind in walk.loaders.values() if kind in (loader.GLIBC, loader.MUSL)]
    kind = kinds[0] if kinds else ""
    level, by = _built_level(root, walk, release)
    return Needs(
        os=image.os,
        architecture=image.architecture,
        variant=image.variant,
        command=walk.command,
        binaries=tuple(walk.binaries.values()),
        missing=tuple(walk.missing),
        libc=kind,
        libc_version=_version(root, walk, kind),
        built_level=level,
        built_by=by,
        distribution=name_of(release),
        software=software(root, walk),
        threads=makes_threads(root, walk),
        calls=calls(root, walk),
        unread=tuple(walk.unread),
    )


def _find_user(root: Root, walk: Start, spec: RunSpec) -> None:
    """Engines and the guest look names up in the image's own files; a number needs no entry."""
    user, _, group = spec.user.partition(":")
    groups = (group, *spec.group_add)
    for name, path in ((user, "/etc/passwd"), *((each, "/etc/group") for each in groups)):
        if not name or name.isdecimal() or walk.covered(path):
            continue
        rows = root.text(path, _PEOPLE_BYTES).splitlines()
        if name not in {row.strip().partition(":")[0] for row in rows}:
            walk.lack(Missing(Lack.USER, name, path, "", True))


def _built_level(root: Root, walk: Start, release: dict[str, str]) -> tuple[int, str]:
    """The level that glibc's loader ends below, in every program that it loads."""
    for path, kind in walk.loaders.items():
        entry = root.file(path)
        if kind != loader.GLIBC or entry is None or walk.files[path].machine != "amd64":
            continue
        known = level_of(release)
        if _CHECKS in root.read(entry, 0, _LOADER_BYTES):
            level = checked_level([root.read(entry, *place) for place in walk.files[path].code])
            known = max(known, (level, f"{path} checks for x86-64-v{level}, as its code shows"))
        if known[0]:
            return known
    return 0, ""


def _version(root: Root, walk: Start, kind: str) -> tuple[int, ...]:
    if kind == loader.MUSL:
        match = _MUSL_PACKAGE.search(root.text("/lib/apk/db/installed", _APK_BYTES))
        return numbers(match[1]) if match else ()
    names = {
        version
        for path, each in walk.files.items()
        if walk.binaries[path].role is Role.LIBRARY and each.soname == "libc.so.6"
        for version in each.defined
        if version.startswith("GLIBC_")
    }
    return max((numbers(name) for name in names), default=())
