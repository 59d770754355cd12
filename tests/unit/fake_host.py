"""A host that answers what a check asks, and remembers the questions."""

from typing import Any

from portkit.host import Counters
from portkit.model import (
    Artifact,
    Facts,
)


class FakeHost:
    """A host with Facts and images by name; it remembers what it was asked. Each call of
    `counters` finds ten bytes more each way."""

    def __init__(self, name: str, facts: Facts, images: dict[str, Artifact]) -> None:
        self.name, self._facts, self._images = name, facts, images
        self.remote = self
        self.endpoint = name
        self.kept_s: float | None = None
        self.rate: float | None = None
        self.rate_limit: float | None = None
        self.encodings, self.lost = ("zstd", "zlib", "raw"), False
        self.calls: list[str] = []
        self.bytes = self.written = 0

    def facts(self, *, guests: bool = False, sought: object = None) -> Facts:
        return self._facts

    def counters(self) -> Counters:
        self.bytes += 10
        return Counters(self.bytes, self.bytes, "local")

    def call(self, verb: str, args: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.calls.append(verb)
        found = [image for name, image in self._images.items() if name == args.get("reference")]
        rows = [{"id": each.digest, "diff_ids": list(each.config.diff_ids)} for each in found]
        answers: dict[str, dict[str, Any]] = {
            "image.list": {"images": rows, "containerd": False},
            "image.containers": {"running": []},
            "store.has": {"have": {}},
            "move.room": {},
            "volume.weigh": {"bytes": 0},
        }
        return answers[verb]
