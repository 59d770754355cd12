"""Similarly named things of the user beside an App, which no Move may touch.

For an App `web` with a volume `data`, on each host: containers `web-2`, `web2` (which runs) and
`web-2-web-1`, of compose projects `web-2` and `web2`, one with the label of another Move; images
`web:decoy`, `web-2` and another tag of the App's base; volumes `data2`, `web_data2`, `web-2_data`
with files in them; networks `web_default2`, `web2_default`; domains `portkit-web`, `portkit-web2`,
`portkit-web-notes` and their disk files; folders beside portkit's own. The benchmark compares
everything that the engines report about them, and for each file the hash of its content, its inode
and its attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import hosts
from portkit import process

_WORKER = Path(__file__).with_name("_decoys_worker.py")
# What changes when a host or its engine starts again.
_SINCE = "since: "
LABEL = "decoy"  # of each container


@dataclass
class Decoys:
    """Those of an App, of which `volume` is a volume, on some hosts."""

    app: str
    volume: str = "data"
    names: Sequence[str] = (hosts.SOURCE, hosts.TARGET)
    _known: dict[str, list[str]] = field(default_factory=dict, init=False)

    def put(self) -> None:
        """They are there as they were, or anew."""
        for name in self.names:
            if not self._known or self._seen(name) != self._known[name]:
                self._do(name, "away")
                self._do(name, "make")
        self._known = {name: self._seen(name) for name in self.names}

    def away(self) -> None:
        """None of them is there."""
        for name in self.names:
            self._do(name, "away")

    def changed(self, *, restarted: bool = False) -> str:
        """What of them is not as it was when they were put there; "" when all is. restarted: an
        engine or a host was started again since."""
        found = []
        for name, before in self._known.items():
            after = self._seen(name)
            rows = [f"{name}: - {row}" for row in before if row not in after]
            rows += [f"{name}: + {row}" for row in after if row not in before]
            found += [row for row in rows if not (restarted and _SINCE in row)]
        return f"decoys have changed: {'; '.join(found)[:2000]}" if found else ""

    def _seen(self, name: str) -> list[str]:
        return self._do(name, "seen").splitlines()

    def _do(self, name: str, verb: str) -> str:
        argv = [*hosts.ssh(name), f"python3 - {verb} {self.app} {self.volume}"]
        return process.run(argv, input=_WORKER.read_bytes(), timeout=300).text


@contextmanager
def beside(app: str, volume: str = "data", *, restarted: bool = False) -> Iterator[None]:
    """An App has decoys while the block runs, which does not change them. restarted: as above."""
    decoys = Decoys(app, volume)
    decoys.put()
    try:
        yield
        assert not (changed := decoys.changed(restarted=restarted)), changed
    finally:
        decoys.away()
