"""Debian roots made once by mmdebstrap and kept, each under the hash of its recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from portkit import process
from portkit.errors import LabError, ToolError
from portkit.lab import apt, cgroups
from portkit.lab.plan import PREFIX, Lab, Member
from portkit.progress import Observer

INSIDE = Path(__file__).parent / "inside"
JOIN = INSIDE / "join.sh"
CA_BUNDLE = Path("etc/ssl/certs/ca-certificates.crt")

# Change it when this module puts something else into a root.
_VERSION = 1

_TEMPORARY = "tmp"
_DEADLINE_S = 1200.0
_APT_OPTIONS = (
    # A snapshot or a mirror that lags has lists that are out of date; testing's always are there.
    'Acquire::Check-Valid-Until "false"',
    'Acquire::Languages "none"',
    'APT::Install-Recommends "false"',
)


def machine_bundle() -> bytes:
    """The certificate authorities that this machine trusts; empty when it keeps no bundle."""
    path = "/" / CA_BUNDLE
    return path.read_bytes() if path.is_file() else b""


def recipe(
    release: str,
    packages: Sequence[str],
    sources: Sequence[apt.Source],
    bundle: bytes,
    version: int = _VERSION,
    options: Sequence[str] = (),
) -> str:
    """The key of a root: 16 hex digits over everything that goes into it."""
    lines = [source.line() for source in sources]
    authorities = hashlib.sha256(bundle).hexdigest()
    # Not the packages' versions: a root is kept until its recipe changes, even if Debian has newer
    # ones.
    value = [version, release, list(packages), lines, authorities, list(_APT_OPTIONS), *options]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _build_group(folder: Path) -> str:
    """mmdebstrap's own cgroup: it goes on when we are killed, and must be found."""
    return f"portkit-lab-build-{hashlib.sha256(bytes(folder)).hexdigest()[:8]}"


def mmdebstrap(
    release: str,
    target: Path,
    sources: Sequence[apt.Source],
    *,
    packages: Sequence[str] = (),
    options: Sequence[str] = (),
) -> None:
    """Make a minbase root. LabError carries the end of mmdebstrap's output."""
    # minbase: apt and what is essential; the packages that a host needs are named.
    argv = ["mmdebstrap", "--mode=root", "--variant=minbase"]
    argv += [f"--aptopt={option}" for option in _APT_OPTIONS]
    argv += [f"--include={','.join(packages)}"] if packages else []
    argv += [*options, release, str(target), *(source.line() for source in sources)]
    # On the same file system as the root, which may be the only one with room.
    temporary = target.parent / _TEMPORARY
    temporary.mkdir(exist_ok=True)
    group = _build_group(target.parent)
    cgroups.create(group)
    try:
        process.run(
            # Killed, it leaves its mounts behind, unless they are in a namespace of their own.
            ["sh", JOIN, group, "unshare", "--mount", "--propagation", "private", *argv],
            env={"TMPDIR": str(temporary)},
            timeout=_DEADLINE_S,
        )
    except ToolError as error:
        raise LabError(
            f"the root file system of Debian {release} could not be made",
            details=error.details,
            resolution="Check that `apt-get update` works on this machine, then try again.",
        ) from error
    finally:
        cgroups.kill(group)
        cgroups.remove(group)
        discard(temporary)


def cached(lab: Lab, name: str, build: Callable[[Path], None]) -> Path:
    """roots/`name`, built beside it and renamed when whole. The caller holds the lab's lock."""
    path = lab.roots / name
    if not path.exists():
        sweep(lab)
        part = path.with_name(f"{name}.part")
        build(part)
        # A root that has its name is whole, whatever happened while it was made.
        part.rename(path)
    return path


def sweep(lab: Lab) -> None:
    """End and remove what a killed build left. The caller holds the lab's lock: no other builds."""
    group = _build_group(lab.roots)
    cgroups.kill(group)
    cgroups.remove(group)
    for part in [*lab.roots.glob("*.part"), lab.roots / _TEMPORARY]:
        discard(part)


def discard(path: Path) -> None:
    """Remove a file or a whole tree, never crossing into what is mounted there."""
    if path.is_dir() and not path.is_symlink():
        process.run(["rm", "-rf", "--one-file-system", "--", path])
    else:
        path.unlink(missing_ok=True)


def root(lab: Lab, member: Member, observer: Observer) -> Path:
    """The cached root of a member, made now if it is not there."""
    sources = apt.read(member.release)
    bundle = machine_bundle()
    options = _paths(member)
    key = recipe(member.release, member.packages, sources, bundle, options=options)

    def build(part: Path) -> None:
        observer.message(f"making the Debian {member.release} root of {member.name} (once)")
        mmdebstrap(member.release, part, sources, packages=member.packages, options=options)
        if bundle:
            (part / CA_BUNDLE).write_bytes(bundle)
        # Keys made by the package are the same for every host of this root: each gets its own.
        for stale in (part / "etc/ssh").glob("ssh_host_*"):
            stale.unlink()

    return cached(lab, f"{member.release}-{key}", build)


def _paths(member: Member) -> list[str]:
    """mmdebstrap's options for what is left out of packages; dpkg takes the last that matches."""
    rows = [f"path-exclude={path}" for path in member.left_out]
    rows += [f"path-include={path}" for path in member.kept]
    return [f"--dpkgopt={row}" for row in rows]


def purge(lab: Lab) -> None:
    """Forget every cached root and base image; LabError while another lab stands on them."""
    others = [
        path.name
        for path in lab.state.glob("pk*")
        if PREFIX.fullmatch(path.name) and path != lab.folder
    ]
    if others:
        raise LabError(
            "the cached root file systems are in use by another lab",
            details=f"{lab.state}: {', '.join(sorted(others))}",
            resolution="Take that lab down first: PORTKIT_LAB_NUMBER=N portkit lab down",
        )
    discard(lab.roots)
