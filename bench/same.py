"""One image and one kit in five circumstances: how many different disks result.

On this machine; in another folder, time zone and umask; with another date and hash seed; on Debian
13; on testing. The last two run in roots of those releases, with their own Python and sfdisk.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path

from bench import apps, harness
from portkit import process
from portkit.guest.kit import GuestKit, cache_root
from portkit.lab import apt, roots
from portkit.model import Artifact
from portkit.store import Store

RELEASES = ("trixie", "testing")
_PACKAGES = ("python3", "fdisk", "tzdata", "ca-certificates")
_ROOT = Path(__file__).parents[1]
_TIMEOUT_S = 1200.0
# Everything that it gets is in one folder: code, kit, Store.
_BUILD = """
import sys
from pathlib import Path
here = Path(sys.argv[1])
sys.path[:0] = [str(here / "code"), str(here / "site")]
from portkit import app as apps
from portkit.guest.kit import GuestKit
from portkit.package import disk
from portkit.store import Store
store = Store(here / "store")
paths = {name: here / "kit" / name for name in ("kernel", "initrd", "boot", "loader", "modules")}
kit = GuestKit(digest=sys.argv[2], architecture="amd64", release=sys.argv[3], **paths)
image = store.find(sys.argv[4])
print(disk.build(image, apps.defaults(image.config), kit, store).digest)
"""


def row(picture: Artifact, kit: GuestKit, folder: Path) -> harness.Row:
    """Different digests of five packings; the bar is one."""
    runs: dict[str, Callable[[], str]] = {
        "here": lambda: _here(picture, kit, folder / "a", {}),
        "another folder, time zone and umask": lambda: _here(
            picture, kit, folder / "some where/else", {"TZ": "Asia/Kathmandu"}, umask="077"
        ),
        "another date and hash seed": lambda: _here(
            picture, kit, folder / "b", {"PYTHONHASHSEED": "7"}, date="2031-03-04 05:06:07"
        ),
    }
    for release in RELEASES:
        runs[f"Debian {release}"] = partial(_there, picture, kit, release)
    digests = []
    for name, run in runs.items():
        digests.append(run())
        harness.tell(f"same: {name}: {digests[-1]}")
    return harness.Row(
        "same: one image and kit, five circumstances", "disks", (float(len(set(digests))),), (), 1
    )


def _here(
    picture: Artifact,
    kit: GuestKit,
    folder: Path,
    env: Mapping[str, str],
    *,
    umask: str = "022",
    date: str = "",
) -> str:
    _fill(folder, picture, kit)
    shell = f'umask {umask}; exec "$@"'
    argv = ["sh", "-c", shell, "sh", *(["faketime", date] if date else [])]
    argv += [sys.executable, "-c", _BUILD, str(folder), kit.digest, kit.release, apps.KEY]
    try:
        return process.run(argv, env=env, cwd=folder, timeout=_TIMEOUT_S).text.strip()
    finally:
        shutil.rmtree(folder)


def _there(picture: Artifact, kit: GuestKit, release: str) -> str:
    root = _root(release)
    with tempfile.TemporaryDirectory(dir=root, prefix="same-") as name:
        folder = Path(name)
        _fill(folder, picture, kit)
        version = process.run(
            ["chroot", root, "python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            timeout=60,
        ).text.strip()
        wanted = ["crc32c", "pydantic", "platformdirs", "PyYAML", "zstandard"]
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        pip += ["--target", str(folder / "site"), "--only-binary=:all:"]
        process.run([*pip, "--python-version", version, *wanted], timeout=_TIMEOUT_S)
        inside = f"/{folder.name}"
        argv = ["chroot", root, "python3", "-c", _BUILD, inside]
        argv += [kit.digest, kit.release, apps.KEY]
        return process.run(argv, timeout=_TIMEOUT_S).text.strip()


def _root(release: str) -> Path:
    """A root of that release, from the cache where nothing changed."""
    sources = apt.read(release)
    mark = hashlib.sha256(repr((_PACKAGES, [s.line() for s in sources])).encode()).hexdigest()
    made = cache_root() / "bench" / f"same-{release}-{mark[:12]}"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        roots.mmdebstrap(release, part, sources, packages=_PACKAGES, options=["--format=directory"])
        part.rename(made)
    return made


def _fill(folder: Path, picture: Artifact, kit: GuestKit) -> None:
    """Code, kit and a Store that has the image."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(_ROOT / "portkit", folder / "code/portkit")
    (folder / "kit").mkdir()
    for field in fields(kit):
        path = getattr(kit, field.name)
        if isinstance(path, Path) and path.is_file():
            process.run(["cp", "--sparse=always", path, folder / "kit" / field.name], timeout=60)
    apps.put(picture, Store(folder / "store"))
