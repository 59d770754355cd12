"""Contents that have much in common, and bundles of files, for recipes."""

import io
import random
import tarfile

from hypothesis import strategies as st

from portkit.transfer.cuts import BLOCK

# Blocks of few kinds, so that the two have much in common, at equal and at shifted places.
block = st.sampled_from(
    [bytes(BLOCK), b"a" * BLOCK, random.Random(1).randbytes(BLOCK), random.Random(2).randbytes(700)]
)


contents = st.lists(block | st.binary(max_size=60), max_size=12).map(b"".join)


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    out = io.BytesIO()
    form = draw(st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT]))
    with tarfile.open(fileobj=out, mode="w", format=form) as bundle:
        for number in range(draw(st.integers(0, 6))):
            long = draw(st.booleans()) and form != tarfile.USTAR_FORMAT
            info = tarfile.TarInfo(f"{'long/' * 40 if long else ''}{number}")
            info.mtime = draw(st.integers(0, 2))
            if draw(st.booleans()):
                info.type = draw(st.sampled_from([tarfile.DIRTYPE, tarfile.SYMTYPE]))
                info.linkname = "x" * draw(st.sampled_from([1, 150 if long else 2]))
                bundle.addfile(info)
                continue
            if form == tarfile.PAX_FORMAT and draw(st.booleans()):
                info.pax_headers = {"SCHILY.xattr.user.a": "b"}
            content = draw(contents)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return out.getvalue()


def bundle_of(files: dict[str, bytes], mtime: int = 0) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as bundle:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), mtime
            bundle.addfile(info, io.BytesIO(content))
    return out.getvalue()


def some_files(count: int) -> dict[str, bytes]:
    chance = random.Random(count)
    return {f"{n:04}": chance.randbytes(chance.randrange(1, 30_000)) for n in range(count)}
