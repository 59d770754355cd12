"""Apps that were packed into a bundle: there is no host to ask, and nothing runs there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from portkit import compat
from portkit.bundle import Bundle
from portkit.clock import Clock
from portkit.host import Counters, Host
from portkit.model import App, AppSpec, Artifact, Facts, Finding, Form
from portkit.source.images import FromImages, Images
from portkit.store import Store
from portkit.transfer.forward import Parcel, held


class InBundle(FromImages):
    """A Source: an open `portkit.Bundle`. The App to move is the bundle's own, `bundle.app`."""

    host = None

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self.name = str(bundle.path)
        self.forms = bundle.forms

    def facts(self) -> Facts:
        """Of the host where the bundle was packed, as it was then."""
        return self._bundle.facts()

    def counters(self) -> Counters:
        """Nothing travels from a source host."""
        return Counters(0, 0, "bundle")

    def require(self, forms: Sequence[Form]) -> None:
        """AppError when the bundle has not all of these Forms."""
        self._bundle.require(forms)

    def lacking(self, target: Host | None, store: Store) -> tuple[Finding, ...]:
        """What was left out of the bundle and is neither on the target nor in the Store here."""
        needs = self._bundle.needs(store)
        missing = set(needs) - (held(target, needs) if target else set())
        sizes = {digest: needs[digest] for digest in missing}
        name = target.name if target else "a host that cannot be reached"
        return compat.lacking(self._bundle.document.made_for, name, sizes)

    def running(self, app: App, facts: Facts) -> tuple[Finding, ...]:
        """Nothing: a bundle has no host where it could run."""
        return ()

    def images(self, app: App, store: Store, clock: Clock) -> Images:
        """The images, unpacked into the Store; of a bundle with the disk alone, only their
        description."""
        bundle = self._bundle
        with clock.phase("unpack"):
            if Form.IMAGE not in bundle.forms:
                return Images(bundle.described(Form.IMAGE), bundle.images)
            return Images(bundle.artifact(Form.IMAGE, store, clock.observer), bundle.images)

    def disk(self, image: Artifact, spec: AppSpec, store: Store, clock: Clock) -> Artifact:
        """The disk, unpacked into the Store."""
        with clock.phase("unpack disk"):
            return self._bundle.artifact(Form.DISK, store, clock.observer)

    def parcels(self, store: Store) -> Mapping[str, Parcel]:
        """Recipes in the bundle whose bases only the target has."""
        return self._bundle.parcels(store)
