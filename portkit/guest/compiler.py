"""C of portkit's own, compiled on this machine for an architecture: static programs, for musl."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from importlib import metadata, resources
from pathlib import Path

from portkit import process
from portkit.architecture import TABLE
from portkit.errors import AppError, ToolError


def compiled(package: str, name: str, architecture: str, cache: Path) -> Path:
    """The program made of all files in `src` of a package of portkit's; compiled again only when
    one of them or the compiler changed.

    name: of the program, for the cache. Raises AppError for an architecture that has no compiler,
    ToolError when the compiler is not installed or fails.
    """
    if architecture not in TABLE:
        raise AppError(
            f"portkit does not include {name} for this architecture",
            details=architecture,
            resolution=f"It is included for {', '.join(TABLE)}.",
        )
    try:
        import ziglang
    except ImportError as error:
        raise ToolError(
            "the compiler is not installed",
            details=str(error),
            resolution="pip install 'portkit[disk]'",
        ) from error
    source = resources.files(package) / "src"
    files = sorted(
        (f for f in source.iterdir() if f.name[-2:] in (".c", ".h")), key=lambda f: f.name
    )
    total = hashlib.sha256(metadata.version("ziglang").encode())
    for file in files:
        total.update(file.name.encode() + b"\0" + file.read_bytes())
    made = cache / f"{name}-{architecture}-{total.hexdigest()[:16]}"
    if made.exists():
        return made
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        out = Path(folder) / name
        zig = Path(ziglang.__file__).parent / "zig"
        argv: list[str | Path] = [zig, "cc", "-target", TABLE[architecture].init]
        argv += ["-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o", out]
        argv += [str(file) for file in files if file.name.endswith(".c")]
        env = {"ZIG_GLOBAL_CACHE_DIR": str(cache / "zig"), "ZIG_LOCAL_CACHE_DIR": folder}
        process.run(argv, env=env, timeout=600)
        shutil.move(out, made)
    return made
