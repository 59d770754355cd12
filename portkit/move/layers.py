"""What the containers have changed in their images, while a Move waits: it is sent again, so that
the last layer, which is sent while the App is stopped, differs little from what is there."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from portkit import transfer
from portkit.model import Artifact, Basis, Form, Part
from portkit.move.ground import MAKE_DISK, Ground
from portkit.move.history import seconds_of
from portkit.progress import Quiet

# Between two looks: each reads all that was changed, and a layer that has changed is packed whole.
_LEAST_S, _TIMES = 30.0, 10.0


@dataclass
class Layers:
    """The images of a Move's containers as they are on the target by now. held: the names by which
    the target's engine holds those that were brought since the images were packaged. looked_s,
    brought_s: what the last look took, and the last bringing. changes: whether the last look has
    found something new."""

    ground: Ground
    form: Form
    held: list[str] = field(default_factory=list)
    looked_s: float | None = None
    brought_s: float = 0.0
    changes: bool = False
    _last: Artifact | None = None
    _next: float = 0.0

    def keep_up(self) -> None:
        """Bring what has changed since, where it is time for that."""
        began = time.monotonic()
        if began < self._next:
            return
        cargo = self.ground.loaded
        quiet = Quiet(self.ground.clock.observer)
        images = cargo.source.again(cargo.app, cargo.store, self.ground.clock.aside(quiet))
        if images is None:  # a VM, whose disks are volumes
            self._next = float("inf")
            return
        self.looked_s = time.monotonic() - began
        before = self._last or cargo.image
        self.changes = images.artifact.digest != before.digest
        if self.changes and self.form is Form.IMAGE:
            self._bring(images.artifact, quiet)
        took = time.monotonic() - began
        self._next = time.monotonic() + max(_LEAST_S, _TIMES * took)

    def _bring(self, images: Artifact, quiet: Quiet) -> None:
        ground, cargo, move = self.ground, self.ground.loaded, self.ground.plan.move
        began = time.monotonic()
        transfer.send(images, cargo.store, ground.target, quiet, move=move)
        self.brought_s = time.monotonic() - began
        # Not before: what was there is what the new layers are described against.
        names = [transfer.held_name(each.digest, move) for each in images.images]
        old = [each for each in self.held if each not in names]
        if old:
            transfer.release(old, ground.target, (), move=move)
        self.held = [each for each in names if each not in ground.plan.holds.values()]
        if self._last is not None:
            needed = {blob.digest for blob in (*images.blobs, *cargo.image.blobs)}
            old = [blob.digest for blob in self._last.blobs if blob.digest not in needed]
            cargo.store.discard(old)
        self._last = images

    def foreseen(self) -> Part | None:
        """What the last layer would take now; None where that is not known better than before."""
        if self.looked_s is None:
            return None
        seconds, why = self.looked_s, "as long as the last look at what the containers have changed"
        if self.form is Form.IMAGE and self.changes:
            seconds += self.brought_s
            why += " and sending that"
        elif self.changes:
            made_s = seconds_of(self.ground.results.result(MAKE_DISK))
            seconds += made_s or 0.0
            why += ", and making the disk again"
        return Part(seconds, Basis.MEASURED, why, seconds)
