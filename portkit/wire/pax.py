"""The records of a pax extended header, which both ends read.

Source: POSIX.1-2017, pax, "pax Header Block".
"""

from __future__ import annotations

from typing import Iterator, Tuple, Type


def records(data: bytes, malformed: Type[Exception]) -> Iterator[Tuple[str, str, str]]:
    """(key, "=" or "", value) of each record; bytes that are no UTF-8 as lone surrogates.

    malformed: what is raised for a header that is none.
    """
    position = 0
    while position < len(data):
        # "length key=value\n", where the length counts itself.
        space = data.find(b" ", position, position + 8)
        digits = data[position:space] if space > 0 else b""
        length = int(digits) if digits.isdigit() else 0
        record = data[space + 1 : position + length]
        if length < 5 or position + length > len(data) or not record.endswith(b"\n"):
            raise malformed("an extended header is malformed")
        yield record[:-1].decode("utf-8", "surrogateescape").partition("=")
        position += length
