"""The first Move of an app in both forms: from the command until both forms have been measured.

`portkit move fixtures/apps/radicale --keep none` between two practice hosts that are up, at 100
Mbit/s, with an empty Store on this machine and no app's content on the target. The image was built
before, and the GuestKit is in its cache. The peer is the same command of an earlier commit of
portkit, whose disks libguestfs wrote.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from bench import apps, earlier, harness
from bench.hosts import SHAPED, SOURCE, TARGET, clear, ground
from portkit import lab
from portkit.guest.kit import build_kit

NAME = "first"
REPEAT = 5
LIMIT = 0.40
_ROOT = Path(__file__).parents[1]
_MOVE = "from portkit_cli.main import main; main()"


def seconds(tree: Path, *, prepare: bool) -> float:
    """One Move by the program of that tree; prepare: as `earlier.run`."""
    clear()
    with tempfile.TemporaryDirectory(prefix="first-", dir=apps.store().root.parent) as name:
        own = {"PORTKIT_STORE": f"{name}/store", "PORTKIT_STATE": f"{name}/state"}
        env = {**own, "PORTKIT_LAB_NUMBER": os.environ["PORTKIT_LAB_NUMBER"]}
        words = ["move", str(tree / "fixtures/apps/radicale"), "--keep", "none"]
        words += ["--from", f"lab:{SOURCE}", "--to", f"lab:{TARGET}", "--progress", "quiet"]
        start = time.monotonic()
        earlier.run(tree, _MOVE, words, env, prepare=prepare)
        return time.monotonic() - start


def main() -> int:
    apps.store().root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ground(), tempfile.TemporaryDirectory(prefix="bench-") as name:
        build_kit()
        apps.image_of("radicale")
        lab.shape(TARGET, SHAPED)
        with earlier.tree(Path(name)) as before:
            found = harness.turns(
                {
                    "first, ours": lambda: seconds(_ROOT, prepare=False),
                    "first, earlier": lambda: seconds(before, prepare=True),
                },
                REPEAT,
            )
    ours, peer = found.values()
    row = f"first Move of radicale, both forms, {earlier.COMMIT}"
    return harness.finish(NAME, [harness.Row(row, "s", ours, peer, LIMIT)])


if __name__ == "__main__":
    sys.exit(main())
