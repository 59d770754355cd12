"""Where an App comes from: one protocol, with a file for each kind of source.

`OnHost` takes images from, or builds them on, a host's engine; `Running` takes the containers that
run there, with their data, and `RunningVM` a VM of portkit's; `InBundle` takes what was packed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from portkit.clock import Clock
from portkit.host import Counters, Host
from portkit.model import App, AppSpec, Artifact, DataFolder, Facts, Finding, Form, Live
from portkit.source.bundle import InBundle
from portkit.source.host import OnHost, Pull
from portkit.source.images import Images
from portkit.source.running import Running, is_running
from portkit.source.vm import RunningVM, is_vm
from portkit.store import Store
from portkit.transfer.forward import Parcel

__all__ = [
    "Images",
    "InBundle",
    "OnHost",
    "Pull",
    "Running",
    "RunningVM",
    "Source",
    "is_running",
    "is_vm",
]


class Source(Protocol):
    """What a Move needs from the place that an App comes from."""

    @property
    def name(self) -> str:
        """As the user gave it."""

    @property
    def host(self) -> Host | None:
        """The host that gets a marker while an App is moved from it; None if there is no such
        host."""

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms that it can provide."""

    def facts(self) -> Facts:
        """The facts of the host where the images are, or were when they were packed."""

    def counters(self) -> Counters:
        """The bytes on the connection to the source so far."""

    def require(self, forms: Sequence[Form]) -> None:
        """Raise AppError if the source cannot provide one of the forms."""

    def lacking(self, target: Host | None, store: Store) -> tuple[Finding, ...]:
        """What is neither in the source nor on the target nor in this machine's Store. target: None
        for a host that cannot be asked."""

    def running(self, app: App, facts: Facts) -> tuple[Finding, ...]:
        """The App if it runs at the source: moving it as well would give its data two owners."""

    def images(self, app: App, store: Store, clock: Clock) -> Images:
        """The images of the App's services, in this machine's Store; built if the App says so."""

    def again(self, app: App, store: Store, clock: Clock) -> Images | None:
        """For a running App that has been stopped: the images with what its containers have written
        into them since; None if the images do not change."""

    def disk(self, image: Artifact, spec: AppSpec, store: Store, clock: Clock) -> Artifact:
        """The images as a disk, in this machine's Store."""

    def live(self, spec: AppSpec) -> Live | None:
        """What runs there and has to be stopped, and its data; None if nothing is taken over."""

    def data(self, spec: AppSpec) -> tuple[DataFolder, ...] | None:
        """Where the data is that would be taken over; nothing there is changed or stopped. () if
        nothing is taken over; None if its cost is not predicted."""

    def parcels(self, store: Store) -> Mapping[str, Parcel]:
        """Blobs, by digest, that are not on this machine but can be made on the target from what it
        has."""
