"""debian:bookworm-slim for machines without a registry. For the lab only: it holds this machine's
package sources and certificate authorities, so that `docker build --network host` works in it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from portkit import process
from portkit.errors import EngineError
from portkit.lab import apt, roots
from portkit.lab.control import host, locked
from portkit.lab.plan import Lab, current
from portkit.progress import NullObserver, Observer

RELEASE = "bookworm"
TAG = "debian:bookworm-slim"

# What Debian's own slim images leave out.
_SLIM = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/groff/*",
    "/usr/share/lintian/*",
)
# A fixed time, so that the same files give the same tar.
_EPOCH = 1_700_000_000
_LOCAL = Path("/usr/local/share/ca-certificates")
_PIP = b"[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n"


def base_image(
    release: str = RELEASE, *, lab: Lab | None = None, observer: Observer | None = None
) -> Path:
    """A tarball of a small Debian root, made once. In it: apt sources, this machine's certificate
    authorities, /etc/pip.conf."""
    lab = lab or current()
    observer = observer or NullObserver()
    with locked(lab):
        lab.roots.mkdir(mode=0o700, exist_ok=True)
        sources = apt.read(release)
        files = trusted(roots.machine_bundle(), _LOCAL)
        key = roots.recipe(release, _SLIM, sources, b"".join(files.values()))

        def build(part: Path) -> None:
            observer.message(f"making the Debian {release} base image (once)")
            options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _SLIM]
            roots.mmdebstrap(release, part, sources, options=["--format=tar", *options])
            _append(part, files)

        return roots.cached(lab, f"base-{release}-{key}.tar", build)


def trusted(bundle: bytes, local: Path) -> dict[str, bytes]:
    """The files that make apt, pip and others in the image trust what this machine trusts.

    bundle: of the machine, empty if it keeps none. local: the authorities that were added to it.
    """
    if not bundle:
        return {}
    # The package ca-certificates writes the bundle anew when it is installed, with those of _LOCAL.
    added = {f"{_LOCAL}/{path.name}"[1:]: path.read_bytes() for path in sorted(local.glob("*.crt"))}
    # pip has certificate authorities of its own.
    return {str(roots.CA_BUNDLE): bundle, "etc/pip.conf": _PIP, **added}


def _append(path: Path, files: dict[str, bytes]) -> None:
    """Add files to an uncompressed tar."""
    with tarfile.open(path, "a:") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode, info.mtime = len(data), 0o644, _EPOCH
            archive.addfile(info, io.BytesIO(data))


def load_base(name: str, *, lab: Lab | None = None, observer: Observer | None = None) -> str:
    """Import debian:bookworm-slim on a host of the lab unless the tag is there. Returns the tag."""
    lab = lab or current()
    tarball = base_image(lab=lab, observer=observer)
    ssh = ["ssh", "-F", str(host(name, lab=lab).ssh_config), f"lab-{name}"]
    seen = process.run([*ssh, f"docker image inspect {TAG} >/dev/null"], check=False, timeout=60)
    if seen.code == 0:
        return TAG
    command = f"docker import --change 'CMD [\"bash\"]' - {TAG}"
    with tarball.open("rb") as stream, process.popen([*ssh, command], stdin=stream) as importing:
        _, errors = importing.communicate(timeout=300)
        if importing.returncode != 0:
            raise EngineError(
                f"{TAG} could not be imported on {name}",
                details=errors.decode("utf-8", "replace").strip(),
                resolution=f"Read /var/log/dockerd.log there: portkit lab ssh {name}",
            )
    return TAG
