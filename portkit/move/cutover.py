"""The steps by which a running App changes its host: its data, its stop, and the way back.

The source is fenced before it is stopped: from then on nothing starts it by itself, also when its
host is restarted. It is never destroyed. Going back, the target is stopped first, with proof; only
then does the source run again, with the data that it was stopped with.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict

from portkit import app as apps
from portkit import boot, process, transfer
from portkit.boot import vm_disks
from portkit.boot.blueprint import Blueprint
from portkit.errors import BootError, EngineError, HostError
from portkit.host import Host
from portkit.model import AppSpec, Artifact, Form, Live, LiveVolume, Severity
from portkit.move import foresee
from portkit.move.artifact_steps import send
from portkit.move.described import describe
from portkit.move.ground import Ground
from portkit.move.marker import mark
from portkit.move.placed import placed
from portkit.move.plan import LAST_SYNC, VERIFY_SOURCE, VOLUMES, WAIT
from portkit.move.step import BaseStep, FormStep
from portkit.move.taken import require_unused
from portkit.move.up import require_known, up_again
from portkit.move.verified import unverifiable
from portkit.move.was import before_fence
from portkit.progress import Observer
from portkit.source.origin import Origin, origin
from portkit.source.silent import MESSAGE, REMEDY
from portkit.volumes import Copy, Folder, Pass, verify_origin, warm
from portkit.wire.json_types import JsonObject

# A pass right before the stop makes the last one shorter; one that takes longer is not worth it.
_QUICK_S = 5.0


def live_of(ground: Ground) -> Live:
    """What runs at the source; only a Move of a running App has these steps."""
    assert ground.plan.live is not None, "the App was not running when the Move was planned"
    return ground.plan.live


class Presync(FormStep):
    """The content of every volume, in passes, while the App goes on running at its source."""

    def do(self) -> JsonObject:
        ground = self.ground
        require_unused(ground)
        with ground.clock.phase("presync"):
            made = {
                volume: [] if volume.image else warm(copy_of(ground, volume, self.form))
                for volume in live_of(ground).travelling
            }
            names = placed(ground, self.form)
        _tell_if_too_fast(ground, made)
        rows = [_told(volume, passes) for volume, passes in made.items()]
        return {"volumes": rows, "placed": names, "phases": ground.phases()}


def _tell_if_too_fast(ground: Ground, made: Mapping[LiveVolume, list[Pass]]) -> None:
    passes = {volume.called: rows for volume, rows in made.items()}
    if words := foresee.too_fast_words(passes, ground.plan.foreseen):
        ground.clock.observer.message(words)


class LastSync(FormStep):
    """What has changed in the volumes since. Every byte is compared by its hash; what a host can
    prove to be as it was is not hashed again now, but by `VerifySource`."""

    def do(self) -> JsonObject:
        ground = self.ground
        require_stopped(ground)
        require_unused(ground)
        if live_of(ground).domain is not None:  # of containers it asks nothing, in the downtime
            with origin_of(ground) as there:
                there.require_copied()
        rows, full = [], disproved(ground)
        with ground.clock.phase("last sync"):
            for volume in live_of(ground).travelling:
                copy = copy_of(ground, volume, self.form)
                rows.append(_told(volume, [copy.run(last=True, full=full)]))
            _put_in_place(ground, self.form)
        return {"volumes": rows, "phases": ground.phases()}


class VerifySource(FormStep):
    """The volumes of the stopped App, all of their content hashed, are what was sent. Until that is
    known, the target does not keep the App; it serves already."""

    def before(self) -> JsonObject:
        return {"verified": False}

    def do(self) -> JsonObject:
        ground = self.ground
        if ground.gone is None:
            require_stopped(ground)
        up_after_restart(ground, self.form)
        sent = ground.results.result(LAST_SYNC)["volumes"]
        # What was hashed as a whole after the stop is verified already.
        if ground.unverified and any(row["passes"][0]["remembered"] for row in sent):
            ground.clock.observer.message("the source was not verified, as the user requested")
            return {"verified": False}
        with ground.clock.phase("verify source"):
            for volume, row in zip(live_of(ground).travelling, sent, strict=True):
                (last,) = row["passes"]
                if last["remembered"]:
                    copy = ground.copies.get(volume.number)
                    try:
                        verify_origin(
                            _at_source(ground, volume),
                            last["digest"],
                            None if copy is None else copy.sent,
                            ground.clock.observer,
                        )
                    except HostError as error:  # such as a folder that was removed there
                        raise unverifiable(ground.plan, volume, error) from error
        return {"verified": True, "phases": ground.phases()}


def disproved(ground: Ground) -> bool:
    """Whether an earlier try ended while the source was verified: what a host says that it can
    prove is not believed then."""
    return ground.results.result(VERIFY_SOURCE).get("verified") is False


def _by_disks(ground: Ground, form: Form) -> bool:
    """Whether a VM moves as a VM, and its disks as files."""
    return form is Form.DISK and live_of(ground).domain is not None


def _put_in_place(ground: Ground, form: Form) -> None:
    """What has come is what the Instance on the target starts with."""
    move = ground.plan.move
    with boot.runner(ground.target, form) as runner:
        if _by_disks(ground, form):
            vm_disks.adopt(ground.target, runner, move)
        else:
            runner.fill(move, [volume.number for volume in live_of(ground).travelling])


class LastLayer(FormStep):
    """What the containers have written into their images since these were packaged. Where there is
    something, the Instance on the target is made anew, of images with that."""

    def do(self) -> JsonObject:
        ground, cargo = self.ground, self.ground.loaded
        images = cargo.source.again(cargo.app, cargo.store, ground.clock)
        same = images is None or images.artifact.digest == cargo.image.digest
        # An earlier try may have booted the Instance, which wrote into its root, or may have broken
        # off while it was made anew.
        if images is None or (same and ground.from_start):
            return {"phases": ground.phases()}
        for note in cargo.source.running(cargo.app, cargo.facts):
            if note.severity is Severity.WARNING:
                ground.clock.observer.message(note.message)
        spec = apps.resolve_all(apps.filled(cargo.app), images.services)
        holds = {
            each.digest: transfer.held_name(each.digest, ground.plan.move)
            for each in images.artifact.images
        }
        made = images.artifact
        if self.form is Form.DISK:
            made = cargo.artifacts[self.form] if same else self._disk(images.artifact, spec)
        blobs = [blob.digest for blob in made.blobs] if self.form is Form.DISK else []
        brought = mark(ground, "target", ground.target, blobs) if blobs else []
        with ground.clock.phase("last layer"):
            send(ground, made)
            with boot.runner(ground.target, self.form) as runner, process.uninterrupted():
                runner.renew(
                    Blueprint(
                        identity=ground.plan.move,
                        artifact=made,
                        held=holds,
                        spec=spec,
                        facts=cargo.facts,
                    )
                )
                if self.form is Form.DISK:
                    describe(ground, spec, made)
        # By now the image's own name holds what the target had of it before.
        kept = {*holds.values(), *ground.plan.holds.values()}
        old = [name for name in ground.results.result(WAIT).get("held", ()) if name not in kept]
        if old:
            transfer.release(old, ground.target, (), move=ground.plan.move)
        # Of an image the Report says what was planned: which service runs which is in the Plan.
        if self.form is Form.DISK:
            cargo.artifacts[self.form] = made
        return {
            "image": images.artifact.digest,
            "blobs": blobs,
            "brought": brought,
            "phases": ground.phases(),
        }

    def _disk(self, image: Artifact, spec: AppSpec) -> Artifact:
        ground, cargo = self.ground, self.ground.loaded
        ground.clock.observer.message(
            "the App has changed files of its image since its disk was made, so the disk is made "
            "and sent again while the App is stopped"
        )
        return cargo.source.disk(image, spec, cargo.store, ground.clock)


class Fence(BaseStep):
    """Nothing starts the App at its source any more; how it was right before is recorded."""

    undone_at = "source"

    def before(self) -> JsonObject:
        require_unused(self.ground)
        with origin_of(self.ground) as there:
            there.require()
            there.require_copied()
            return {"was": asdict(there.seen())}

    def do(self) -> JsonObject:
        ground = self.ground
        front, form = ground.loaded.spec.front, ground.plan.forms[0]
        if not ground.from_start:  # the last pass was long ago, and what follows is downtime
            require_unused(ground)
            made = {each: warm(copy_of(ground, each, form)) for each in live_of(ground).warm}
            _tell_if_too_fast(ground, made)
        if live_of(ground).serves:  # else there is no answer from which a downtime could be counted
            ends, coming = (source_of(ground), ground.target), ground.plan.without_stop
            with origin_of(ground) as there:
                ground.downtime.begin(front, form, *ends, reached=there.reached, coming=coming)
        with origin_of(ground) as there, ground.clock.phase("fence"):
            there.fence()
        with ground.clock.phase("presync"):
            for volume in live_of(ground).warm:
                copy = copy_of(ground, volume, form)
                if copy.seconds is not None and copy.seconds < _QUICK_S:
                    copy.run()
        if _runs(ground):  # else its user has stopped it, or its host was restarted meanwhile
            _await_an_answer(ground)
        return {"phases": ground.phases()}

    def undo(self) -> None:
        with origin_of(self.ground, before=True) as there:
            there.unfence()
            # Its host may have been restarted since, and then started none of it.
            start(self.ground, there)


def _runs(ground: Ground) -> bool:
    """Whether what answers for the App runs at its source."""
    with origin_of(ground) as there:
        seen = there.seen()
    if seen.domain is not None:
        return seen.domain.running
    front = ground.loaded.spec.front.service
    return any(each.running for each in seen.containers if each.service == front)


def _await_an_answer(ground: Ground) -> None:
    """BootError when the App, which runs at its source, does not answer there: on the target it
    would not answer either, and be stopped for as long as it takes to find that out."""
    ground.downtime.await_source(ground.halt)
    if url := ground.downtime.in_vain:
        raise BootError(
            MESSAGE,
            details=f"{url}: no response as expected",
            resolution="It was not stopped. Roll this Move back, and move the App anew when it "
            f"answers. {REMEDY}",
        )


class Stop(BaseStep):
    """The App is stopped at its source, each service before those that it needs."""

    undone_at = "source"

    def do(self) -> JsonObject:
        with (
            origin_of(self.ground) as there,
            self.ground.clock.phase("stop the source"),
            process.uninterrupted(),  # the engine would go on with it
        ):
            there.stop()
        return {"phases": self.ground.phases()}

    def undo(self) -> None:
        self.ground.downtime.goes_back()
        with origin_of(self.ground, before=True) as there:
            settle(self.ground.clock.observer, there)
            start(self.ground, there)


def copy_of(ground: Ground, volume: LiveVolume, form: Form) -> Copy:
    """The Copy of a volume, which knows from pass to pass what the target has."""
    if volume.number not in ground.copies:
        folder = _folders(ground, form).get(volume.number)
        if folder is None:
            raise EngineError(
                "a volume of the App no longer exists on the target",
                details=f"number {volume.number} ({volume.called}) on {ground.target.name}",
                resolution=f"Roll the Move back: portkit rollback {ground.plan.move}",
            )
        ground.copies[volume.number] = Copy(
            _at_source(ground, volume),
            Folder(ground.target, folder),
            ground.clock.observer,
        )
    return ground.copies[volume.number]


def _at_source(ground: Ground, volume: LiveVolume) -> Folder:
    return Folder(source_of(ground), volume.path, volume.image)


def _folders(ground: Ground, form: Form) -> Mapping[int, str]:
    """Where the target has what comes, by the number of the volume."""
    if _by_disks(ground, form):
        return {0: vm_disks.folder_on_target(ground.target, ground.plan.move)}
    # Those that the target had before have no mark of the Move.
    replaced = ground.results.result(VOLUMES).get("folders", {})
    own = {
        each.number: replaced[each.name] for each in live_of(ground).taking if each.name in replaced
    }
    with boot.runner(ground.target, form) as runner:
        return {**runner.volume_folders(ground.plan.move), **own}


def source_of(ground: Ground) -> Host:
    """The host where the App runs."""
    assert ground.source is not None, "a running App is on a host"
    return ground.source


def origin_of(ground: Ground, *, before: bool = False) -> AbstractContextManager[Origin]:
    """The running App at its source. before: as it was right before it was fenced."""
    was = before_fence(ground) if before else None
    return origin(source_of(ground), was or live_of(ground))


def start(ground: Ground, there: Origin) -> None:
    """The App runs at its source again, as far as it is still there."""
    for what in there.start():
        ground.clock.observer.message(
            f"the {what} is no longer on {source_of(ground).name}: it was removed or created "
            "again. Check whether what is there runs"
        )
    ground.downtime.source_started(there.reached)


def settle(observer: Observer, there: Origin) -> None:
    """Nothing of the App is on its way down at its source."""
    for what in there.settle():
        observer.message(
            f"the {what} was asked to power off and is still running; it is left running at its "
            "source"
        )


def up_after_restart(ground: Ground, form: Form) -> None:
    """Start the form on the target where it does not run any more, whatever has ended it: its host
    does not start it by itself yet, and may have been restarted since the boot, or only its engine.
    BootError when it does not stay up, ConflictError as for `start_again`."""
    with boot.runner(ground.target, form) as runner:
        if not runner.life(ground.plan.move).running:
            start_again(ground, form, runner)


def start_again(ground: Ground, form: Form, runner: boot.Runner) -> None:
    """Start what has ended on the target. ConflictError when somebody has started the App at its
    source since."""
    if ground.gone is None:
        with origin_of(ground) as there:
            there.require_stopped()
    require_unused(ground, starts_again=True)
    require_known(ground)
    ground.clock.observer.message(
        f"the App does not run on {ground.target.name} any more; it is started there again"
    )
    up_again(ground, form, runner)


def require_stopped(ground: Ground) -> None:
    """ConflictError when somebody has started the App at its source since this Move stopped it,
    perhaps long ago and in another process."""
    if not ground.from_start:
        with origin_of(ground) as there:
            there.require_stopped()


def _told(volume: LiveVolume, passes: list[Pass]) -> JsonObject:
    return {"volume": volume.number, "name": volume.name, "passes": [asdict(p) for p in passes]}
