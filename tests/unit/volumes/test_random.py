"""Folders that random hands change, pass after pass, are the same in the end of each."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import pytest

from portkit.wire import tree
from tests.unit.volumes.folders import Pair, seen

NAMES = ("a", "b", "c.d", "-e")


def files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]


def place(root: Path, chance: Random) -> Path:
    folders = [root, *(p for p in sorted(root.rglob("*")) if p.is_dir() and not p.is_symlink())]
    return chance.choice(folders[:6]) / chance.choice(NAMES)


def clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def make(path: Path, root: Path, chance: Random) -> None:
    """Something new at a place where something else may be."""
    clear(path)
    kind = chance.randrange(5)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        path.symlink_to(chance.choice(NAMES))
    elif kind == 2 and (found := files(root)):
        os.link(chance.choice(found), path)
    else:
        size = chance.choice((0, 1, 5000, tree.BLOCK, 2 * tree.BLOCK + 9))
        path.write_bytes(chance.choice((os.urandom(size), bytes(size))))


def alter(path: Path, chance: Random) -> None:
    """A file that is there becomes another one."""
    kind, size = chance.randrange(6), path.stat().st_size
    if kind == 0:
        os.truncate(path, chance.randrange(3 * tree.BLOCK))
    elif kind == 1:
        path.chmod(chance.choice((0o600, 0o755, 0o4711, 0)))
    elif kind == 2:
        os.setxattr(path, "user." + chance.choice("ab"), os.urandom(chance.randrange(9)))
    elif kind == 3:
        os.utime(path, ns=(0, chance.randrange(1 << 60)))
    else:
        with path.open("r+b") as file:
            file.seek(chance.randrange(size + tree.BLOCK))
            file.write(os.urandom(chance.choice((1, 4096, 30000))))


@pytest.mark.parametrize("seed", range(4))
def test_any_changes(pair: Pair, seed: int) -> None:
    chance = Random(seed)
    copy = pair.copy()
    for number in range(12):
        # What the target's folder has of others' is no obstacle.
        for root in (pair.origin, pair.origin, pair.target)[: 2 + (number % 4 == 0)]:
            for _ in range(chance.randrange(8)):
                make(place(root, chance), root, chance)
            for path in files(root):
                if chance.random() < 0.3:
                    alter(path, chance)
        last = number % 3 == 2
        done = copy.run(last=last)
        if last or number % 4:
            assert seen(pair.origin) == seen(pair.target), (seed, number)
        assert done.entries == len(seen(pair.origin))
