"""XML that a host has written, read into a tree of limited size."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree as etree

from portkit.errors import EngineError

_DEPTH = 64  # elements in each other; the deepest recorded has 9


def tree_of(
    xml: str, malformed: Callable[[str], EngineError], *, characters: int, elements: int
) -> etree.Element:
    """Its root. malformed: makes the error that is raised, of what is wrong with it.

    Without a DOCTYPE there are no entities that could expand or name a file, so one is refused:
    libvirt never writes it.
    """
    if len(xml) > characters:
        raise malformed(f"it has more than {characters} characters")
    target = _Builder(malformed, elements)
    parser = etree.XMLParser(target=target, encoding="utf-8")  # noqa: S314 - refuses a DOCTYPE
    try:
        parser.feed(xml.encode())
        parser.close()
        return target.close()
    except (etree.ParseError, ValueError, AssertionError) as error:
        raise malformed(type(error).__name__) from error


class _Builder(etree.TreeBuilder):
    def __init__(self, malformed: Callable[[str], EngineError], elements: int) -> None:
        super().__init__()
        self._malformed, self._elements = malformed, elements
        self._depth = self._count = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> etree.Element:
        """One element begins."""
        self._depth, self._count = self._depth + 1, self._count + 1
        if self._depth > _DEPTH or self._count > self._elements:
            raise self._malformed("too many elements")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> etree.Element:
        """One element ends."""
        self._depth -= 1
        return super().end(tag)

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Refused."""
        raise self._malformed("it has a DOCTYPE, which libvirt never writes")
