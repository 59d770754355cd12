"""The steps that make an Artifact and bring it to the target."""

from __future__ import annotations

from dataclasses import asdict

from portkit import transfer
from portkit.delivery import Transfer
from portkit.errors import PortkitError
from portkit.model import Artifact, Form
from portkit.move.ground import Ground, keep, kept
from portkit.move.marker import mark
from portkit.move.step import FormStep
from portkit.wire.json_types import JsonObject


class MakeDisk(FormStep):
    """The disk, in the Store here. An image makes the same disk each time, so whoever goes on with
    the Move makes it again where it is not there any more. Behind a commit the Move goes on without
    its cargo, and no step needs the disk."""

    def do(self) -> JsonObject:
        ground, cargo = self.ground, self.ground.loaded
        known = ground.results.result(self.name).get("manifest")
        disk = cargo.artifacts.get(self.form) or self._kept(known) or self._made()
        manifest = keep(disk, cargo.store)
        if known not in (None, manifest):
            raise PortkitError(
                "the disk of this Move no longer exists here, and would be made differently now",
                details=f"it was {ground.blobs(self.form)[-1:]}, and would be {disk.digest}",
                resolution="Roll the Move back and start a new one: portkit rollback "
                f"{ground.plan.move}",
            )
        cargo.artifacts[self.form] = disk
        blobs = list(dict.fromkeys(blob.digest for blob in disk.blobs))
        timed = ground.phases()
        # Of a Move that goes on, the phases of the first time stay.
        return {"manifest": manifest, "blobs": blobs, **({"phases": timed} if timed else {})}

    def _kept(self, manifest: str | None) -> Artifact | None:
        """What was made before, if all of it is still in the Store."""
        store = self.ground.loaded.store
        try:
            return None if manifest is None else kept(manifest, store)
        except PortkitError:
            return None

    def _made(self) -> Artifact:
        cargo = self.ground.loaded
        return cargo.source.disk(cargo.image, cargo.spec, cargo.store, self.ground.clock)


def send(ground: Ground, artifact: Artifact) -> Transfer:
    """Bring an Artifact to the target."""
    cargo = ground.loaded
    return transfer.send(
        artifact,
        cargo.store,
        ground.target,
        ground.clock.observer,
        move=ground.plan.move,
        parcels=cargo.source.parcels(cargo.store),
    )


class Send(FormStep):
    """The Artifact into the target's engine or Store, verified there."""

    undone_at = "target"

    def before(self) -> JsonObject:
        if self.form is Form.IMAGE:
            return {}
        # What a disk is made of was not known when the marker was written. From now on no other
        # Move takes any of it away.
        return {"brought": mark(self.ground, "target", self.ground.target)}

    def do(self) -> JsonObject:
        ground = self.ground
        with ground.clock.phase("transfer"):
            sent = send(ground, ground.loaded.artifacts[self.form])
        # By the link's rate, a later prediction tells its time from that of what is done beside.
        return {
            "transfer": asdict(sent),
            "link": ground.target.rate,
            "phases": ground.phases(),
        }

    def undo(self) -> None:
        ground, plan = self.ground, self.ground.plan
        blobs = ground.blobs(self.form)
        transfer.release(
            tuple(plan.holds.values()) if self.form is Form.IMAGE else (),
            ground.target,
            sorted(set(ground.brought()).intersection(blobs)),
            move=plan.move,
            parts=blobs if ground.for_good else (),
        )
