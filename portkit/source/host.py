"""Apps whose images are in the Docker Engine of a host, or are built there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from portkit import app as apps
from portkit import boot, compat
from portkit.clock import Clock
from portkit.guest.kit import build_kit
from portkit.host import Counters, Host
from portkit.model import App, AppSpec, Artifact, Build, Facts, Finding, Form
from portkit.package import disk as disks
from portkit.package import image as images
from portkit.package.build import build
from portkit.source.images import FromImages, Images
from portkit.store import Store
from portkit.transfer.forward import Parcel


class Pull(StrEnum):
    """Which of the images that an App names the source host's engine pulls: none, those that it
    lacks, or all, so that each is the registry's newest."""

    NEVER = "never"
    MISSING = "missing"
    ALWAYS = "always"


class OnHost(FromImages):
    """A Source: the Docker Engine of a connected host, which has the image, builds it or, if `pull`
    allows it, pulls it from a registry."""

    forms: tuple[Form, ...] = (Form.IMAGE, Form.DISK)

    def __init__(self, host: Host, pull: Pull = Pull.NEVER) -> None:
        self.host = host
        self.name = host.name
        self._pull = pull

    def facts(self) -> Facts:
        """What the source host is and has."""
        return self.host.facts()

    def counters(self) -> Counters:
        """Bytes of the connection to the source host."""
        return self.host.counters()

    def require(self, forms: Sequence[Form]) -> None:
        """Every form can be made of an image."""

    def lacking(self, target: Host | None, store: Store) -> tuple[Finding, ...]:
        """Nothing: the engine has all of its images."""
        return ()

    def running(self, app: App, facts: Facts) -> tuple[Finding, ...]:
        """Containers started by compose, by portkit or, for an image's bare name, by anybody; and
        virtual machines that portkit made."""
        args = {
            # Only an image's bare name means every container made from it: for a compose project
            # that would be those of other projects too.
            "reference": next((s.image for s in app.services if s.image == app.source), None),
            "app": app.name,
            "services": [service.name for service in app.services],
        }
        names = list(self.host.remote.call("image.containers", args)["running"])
        if facts.libvirt_version is not None:
            with boot.runner(self.host, Form.DISK) as domains:
                entries = domains.instances()
            names += [each.id for each in entries if each.app == app.name and each.running]
        return compat.running(self.name, names)

    def images(self, app: App, store: Store, clock: Clock) -> Images:
        """The images, built first where the App says so, and fetched into the Store. What several
        services have in common is built and fetched once."""
        return Images.of(self._artifacts(app, store, clock))

    def _artifacts(self, app: App, store: Store, clock: Clock) -> list[Artifact]:
        """The image of each service."""
        built: list[tuple[Build, str]] = []
        fetched: dict[tuple[str, str], Artifact] = {}
        found = []
        for service in app.services:
            reference = service.image
            if service.build is not None:
                reference = next((name for each, name in built if each == service.build), None)
            if service.build is not None and reference is None:
                with clock.phase("build"):
                    reference = build(self.host, service.build, clock.observer)
                built.append((service.build, reference))
            assert reference is not None, "the readers give every service an image or a build"
            wanted = (reference, service.platform)
            if wanted not in fetched:
                if service.build is None and self._pull is not Pull.NEVER:
                    with clock.phase("pull"):
                        always = self._pull is Pull.ALWAYS
                        images.pull(self.host, reference, service.platform, always=always)
                with clock.phase("package image"):
                    fetched[wanted] = images.fetch(self.host, reference, store, clock.observer)
            found.append(fetched[wanted])
        return found

    def disk(self, image: Artifact, spec: AppSpec, store: Store, clock: Clock) -> Artifact:
        """A disk made of the images on this machine."""
        alone = not spec.layered
        with clock.phase("package disk"):
            return disks.build(
                image,
                apps.defaults(image.config) if alone else None,
                build_kit(architecture=image.config.architecture),
                store,
                disk_bytes=spec.machine.disk_bytes,
                layered=spec.layered,
                observer=clock.observer,
            )

    def parcels(self, store: Store) -> Mapping[str, Parcel]:
        """None: everything is in the Store here."""
        return {}
