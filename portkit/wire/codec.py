"""Streaming compression with what a host has: zstd where libzstd is there, else zlib.

libzstd.so.1 is part of every Debian (dpkg needs it) and comes with rpm, curl and systemd elsewhere.
Python's own zstd is in 3.14 and newer alone, and not used.
"""

from __future__ import annotations

import ctypes
import zlib
from typing import Any, Iterator, Optional, Tuple

# Bytes that libzstd may write at once: what ZSTD_DStreamOutSize() answers.
_OUT = 1 << 17
WINDOW = 27  # 128 MiB, what `zstd --long` makes; a larger one costs the reader its memory


class _InBuffer(ctypes.Structure):
    _fields_ = [("src", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t)]


class _OutBuffer(ctypes.Structure):
    _fields_ = [("dst", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t)]


def _load() -> Optional[Any]:
    try:
        lib = ctypes.CDLL("libzstd.so.1")
    except OSError:
        return None
    # ctypes takes every result for a C int unless it is told otherwise: a pointer or a size_t would
    # lose its upper half.
    for name in ("ZSTD_createDCtx", "ZSTD_createCCtx"):
        getattr(lib, name).restype = ctypes.c_void_p
    for name in ("ZSTD_decompressStream", "ZSTD_compressStream2"):
        getattr(lib, name).restype = ctypes.c_size_t
    for name in ("ZSTD_CCtx_setParameter", "ZSTD_DCtx_setParameter"):
        getattr(lib, name).restype = ctypes.c_size_t
        getattr(lib, name).argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    # libzstd reports errors as sizes near the largest one; this function tells them apart.
    lib.ZSTD_isError.argtypes = [ctypes.c_size_t]
    return lib


_LIB = _load()


def encodings() -> Tuple[str, ...]:
    """What this side can read and write, best first."""
    return ("zstd", "zlib", "raw") if _LIB is not None else ("zlib", "raw")


class Missing(ValueError):
    """zstd is asked for where libzstd is not. Ends agree on `encodings` first, so this is about
    content that is zstd by itself, such as an image's layers."""


def _library() -> Any:
    if _LIB is None:
        raise Missing("this is compressed with zstd, and libzstd.so.1 is not on this machine")
    return _LIB


class _Zstd:
    """One direction of libzstd's streaming API (zstd.h, v1.4 or newer).

    level: to compress; None decompresses, and refuses windows of more than 2^`window` bytes.
    """

    def __init__(self, level: Optional[int], window: int = WINDOW) -> None:
        self._lib = lib = _library()
        self._compress = level is not None
        make = lib.ZSTD_createCCtx if self._compress else lib.ZSTD_createDCtx
        self._context = ctypes.c_void_p(make())
        if level is not None:
            level_key = 100  # ZSTD_c_compressionLevel
            self._check(lib.ZSTD_CCtx_setParameter(self._context, level_key, level))
        else:
            # A frame says how much of its past a reader has to keep. Without a limit, a few bytes
            # from elsewhere could ask for 2 GiB.
            window_key = 100  # ZSTD_d_windowLogMax
            self._check(lib.ZSTD_DCtx_setParameter(self._context, window_key, window))
        self._space = ctypes.create_string_buffer(_OUT)
        self.ended = False

    def __del__(self) -> None:
        # The constructor may have failed before there was one. Python frees nothing that C has set
        # aside.
        if hasattr(self, "_context"):
            free = self._lib.ZSTD_freeCCtx if self._compress else self._lib.ZSTD_freeDCtx
            free(self._context)

    def _check(self, code: int) -> int:
        if self._lib.ZSTD_isError(code):
            raise ValueError("zstd refuses the data")
        return code

    def _step(self, source: _InBuffer, out: _OutBuffer, last: bool) -> int:
        if self._compress:
            directive = 2 if last else 0  # ZSTD_e_end, ZSTD_e_continue
            return self._check(
                self._lib.ZSTD_compressStream2(
                    self._context, ctypes.byref(out), ctypes.byref(source), directive
                )
            )
        return self._check(
            self._lib.ZSTD_decompressStream(self._context, ctypes.byref(out), ctypes.byref(source))
        )

    def feed(self, data: bytes, last: bool = False) -> Iterator[bytes]:
        """What comes out for `data`, in pieces of at most _OUT bytes."""
        # The pointer leads into `data`, which this frame keeps alive until the generator ends.
        source = _InBuffer(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p), len(data), 0)
        while True:
            out = _OutBuffer(ctypes.cast(self._space, ctypes.c_void_p), _OUT, 0)
            left = self._step(source, out, last)
            # 0 means that a frame is complete and written; anything else is a hint of how much is
            # missing.
            self.ended = left == 0
            if out.pos:
                yield ctypes.string_at(self._space, out.pos)
            # A full output may mean that more waits inside of the library, even where all input is
            # taken.
            done = source.pos == len(data) and out.pos < _OUT
            if self.ended if last else done or (self.ended and source.pos == len(data)):
                return


class Decompressor:
    """feed() compressed bytes and take the content; finish() raises when the end is missing.

    What comes out of one feed() may be thousands of times its input: it comes in pieces of at most
    128 KiB, made as they are taken. ValueError for damaged data and for what follows the end.
    """

    def __init__(self, encoding: str, window: int = WINDOW) -> None:
        self._zstd = _Zstd(None, window) if encoding == "zstd" else None
        self._zlib = zlib.decompressobj() if encoding == "zlib" else None
        if encoding not in ("zstd", "zlib", "raw"):
            raise ValueError("unknown encoding")

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The content of the next compressed bytes; take all of it before the next call."""
        if not data:
            return
        if self._zstd is not None:
            yield from self._zstd.feed(data)
        elif self._zlib is not None:
            yield from self._inflate(self._zlib, data)
        else:
            yield data

    @staticmethod
    def _inflate(inflater: Any, data: bytes) -> Iterator[bytes]:
        # zlib would put what follows into `unused_data` and say nothing.
        if inflater.eof:
            raise ValueError("something follows the end of the compressed stream")
        while True:
            try:
                piece = inflater.decompress(data, _OUT)
            except zlib.error as error:
                raise ValueError(str(error)) from error
            if inflater.unused_data:
                raise ValueError("something follows the end of the compressed stream")
            if piece:
                yield piece
            data = inflater.unconsumed_tail
            if not data and len(piece) < _OUT:
                return

    def finish(self) -> None:
        """Check that the end has come; ValueError when it has not."""
        ended = self._zstd.ended if self._zstd is not None else True
        if self._zlib is not None:
            ended = self._zlib.eof
        if not ended:
            raise ValueError("the compressed stream is not complete")


class Compressor:
    """feed() content, get compressed bytes; finish() gives the rest."""

    def __init__(self, encoding: str, level: int = 3) -> None:
        self._zstd = _Zstd(level) if encoding == "zstd" else None
        self._zlib = zlib.compressobj(level) if encoding == "zlib" else None

    def feed(self, data: bytes) -> bytes:
        if self._zstd is not None:
            return b"".join(self._zstd.feed(data))
        return self._zlib.compress(data) if self._zlib is not None else data

    def finish(self) -> bytes:
        if self._zstd is not None:
            return b"".join(self._zstd.feed(b"", last=True))
        return self._zlib.flush() if self._zlib is not None else b""
