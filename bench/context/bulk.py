"""Makes files of 4 MiB that compress about as well as programs do: bulk.py make FOLDER MEBIBYTES"""

import random
import sys
from pathlib import Path

FILE_MIB = 4
_PIECE = 1 << 16
# Of each piece so many bytes are noise, the rest repeats: together 0.42 of their size in zstd -3.
_NOISE = int(0.4 * _PIECE)


def make(folder: Path, mebibytes: int) -> None:
    chance = random.Random(mebibytes)
    folder.mkdir(parents=True)
    for number in range(mebibytes // FILE_MIB):
        with (folder / f"{number:05}").open("wb") as file:
            for _ in range(FILE_MIB * (1 << 20) // _PIECE):
                noise = chance.randbytes(_NOISE)
                words = b"%016x " % chance.getrandbits(64)
                file.write(noise + (words * (_PIECE // len(words) + 1))[: _PIECE - _NOISE])
    (folder / "index.html").write_text("bulk\n")


if __name__ == "__main__":
    make(Path(sys.argv[2]), int(sys.argv[3]))
