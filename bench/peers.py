"""What engineers use today to bring the same content to another host, with one command each."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.hosts import SOURCE, TARGET, on, ssh, to_target
from portkit import lab, process

_REGISTRY = """\
version: 0.1
storage: {filesystem: {rootdirectory: /var/lib/bench/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:5000"}
"""
_FOLDER = "/var/lib/bench"
_REPOSITORY = "localhost:5000/app"


def save_zstd_load(image: str) -> None:
    """`docker save | zstd -T2 -3 | ssh TARGET "zstd -d | docker load"`, from the source host."""
    far = f"{to_target()} 'zstd -dc | docker load'"
    on(SOURCE, f"set -o pipefail 2>/dev/null; docker save {image} | zstd -T2 -3 -c | {far}")


def save_load(image: str) -> None:
    """`docker save | ssh TARGET docker load`, from the source host."""
    on(SOURCE, f"docker save {image} | {to_target()} docker load")


def carry(image: str) -> None:
    """The whole image as a file on the target: what loading costs there without any link."""
    on(TARGET, f"mkdir -p {_FOLDER}")
    on(SOURCE, f"docker save {image} | {to_target()} 'cat > {_FOLDER}/image.tar'")


def load() -> None:
    """`docker load` of that file, on the target."""
    on(TARGET, f"docker load -q -i {_FOLDER}/image.tar")


def unload(image: str) -> None:
    on(TARGET, f"docker rmi {image}")


def convert(raw: Path) -> Path:
    """The disk as `qemu-img convert -c` makes it (zlib clusters), beside it; made once."""
    made = raw.with_suffix(".qcow2")
    if not made.exists():
        part = made.with_suffix(".part")
        process.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, part])
        part.rename(made)
    return made


def scp(file: Path) -> None:
    on(TARGET, f"mkdir -p {_FOLDER}; rm -f {_FOLDER}/copy")
    config = str(lab.ssh_config())
    process.run(["scp", "-q", "-F", config, file, f"lab-{TARGET}:{_FOLDER}/copy"], timeout=3600)


# ---------------------------------------------------------------- registry


@contextmanager
def registry(image: str) -> Iterator[None]:
    """docker-registry on the target, a tunnel to it on the source, and an image pushed already."""
    on(TARGET, f"mkdir -p {_FOLDER}/registry; rm -rf {_FOLDER}/*/*")
    process.run([*ssh(TARGET), f"cat > {_FOLDER}/config.yml"], input=_REGISTRY.encode())
    served = [*ssh(TARGET), "-tt", f"exec docker-registry serve {_FOLDER}/config.yml"]
    forward = "-N -o ExitOnForwardFailure=yes -L 5000:127.0.0.1:5000"
    tunnel = [*ssh(SOURCE), "-tt", f"exec {to_target()} {forward}"]
    with _held(served), _held(tunnel):
        on(SOURCE, f"for n in $(seq 100); do {_ASK} && exit; sleep 0.2; done; exit 1")
        push(image)
        on(TARGET, f"rm -rf {_FOLDER}/kept; cp -a {_FOLDER}/registry {_FOLDER}/kept")
        yield


# The hosts have no curl.
_ASK = (
    "python3 -c 'import urllib.request as u; u.urlopen(\"http://localhost:5000/v2/\", timeout=2)' "
    "2>/dev/null"
)


@contextmanager
def _held(argv: list[str]) -> Iterator[None]:
    with process.popen(argv, stdin=process.PIPE, stdout=process.DEVNULL, stderr=process.DEVNULL):
        yield


def forget_push() -> None:
    """The registry as it was after the first push."""
    on(TARGET, f"rm -rf {_FOLDER}/registry/*; cp -a {_FOLDER}/kept/* {_FOLDER}/registry/")


def push(image: str) -> None:
    """`docker tag` and `docker push` through the tunnel: layer by layer, known ones are skipped."""
    on(SOURCE, f"docker tag {image} {_REPOSITORY} && docker push -q {_REPOSITORY}")


# ---------------------------------------------------------------- disks


def place(raw: Path) -> None:
    """The old disk on the target, to be updated; sent once."""
    on(TARGET, f"mkdir -p {_FOLDER}")
    process.run(["rsync", "-S", "-e", _rsh(), raw, f"lab-{TARGET}:{_FOLDER}/old.raw"])


def renew() -> None:
    on(
        TARGET,
        f"cp --sparse=always {_FOLDER}/old.raw {_FOLDER}/disk.raw; rm -f {_FOLDER}/new.raw; sync",
    )


def rsync(raw: Path) -> None:
    """`rsync -z --inplace` of a raw disk over the old one."""
    to = f"lab-{TARGET}:{_FOLDER}/disk.raw"
    process.run(["rsync", "-z", "--inplace", "-I", "-e", _rsh(), raw, to], timeout=3600)


def _rsh() -> str:
    return f"ssh -F {lab.ssh_config()}"


def chunked(raws: dict[str, Path], folder: Path) -> None:
    """`casync make`: the disks as chunks in one store, NAME.caibx each."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, raw in raws.items():
        index = folder / f"{name}.caibx"
        process.run(["casync", "make", f"--store={folder}/store", index, raw], timeout=3600)


@contextmanager
def web(folder: Path) -> Iterator[str]:
    """A folder over HTTP at this machine's address in the lab; its URL."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer((lab.current().gateway, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{lab.current().gateway}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None: ...


def casync(url: str, name: str) -> None:
    """`casync extract` on the target: the old disk is the seed, missing chunks come over HTTP."""
    on(
        TARGET,
        f"cd {_FOLDER} && casync extract --store={url}/store --seed=old.raw "
        f"--seed-output=no {url}/{name}.caibx new.raw",
    )
