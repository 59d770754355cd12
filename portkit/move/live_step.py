"""The step by which a running VM changes its host without a stop, and what a crash in it leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass

from portkit import boot, health, process
from portkit.engines.libvirt_live import Condition, LibvirtLive
from portkit.engines.live_migration import DISKS, MEMORY, Moved, Way, migrate
from portkit.engines.live_xml import disks_of_guest, for_target
from portkit.errors import ConflictError, EngineError
from portkit.host import Host
from portkit.move.booted import booted
from portkit.move.ground import Ground
from portkit.move.live import Act, Doing, Seen, Side, acts, side
from portkit.move.step import FormStep
from portkit.move.up import up_again, up_since, watch_over
from portkit.move.was import standing
from portkit.source.live import refuse
from portkit.wire.json_types import JsonObject

_TEXT = 1 << 19  # characters of each log that come along: a call has at most 4 MiB


@dataclass(frozen=True)
class Both:
    """Both ends of a Move of a VM. vm: its id at the source, move: at the target."""

    source: LibvirtLive
    target: LibvirtLive
    vm: str
    move: str

    def seen(self) -> tuple[Seen, Seen]:
        """Both, once libvirt has done on its own what it does after a client is gone."""
        self.source.await_sent(self.vm)
        self.target.await_received(self.move)
        there = self.target.condition(self.move, came=True)
        return _seen(self.source.condition(self.vm)), _seen(there)

    def found(self) -> Side:
        """Who has the guest."""
        return side(*self.seen())

    def side(self) -> Side:
        """Who has the guest; ConflictError where that is both."""
        found = self.found()
        if found is Side.BOTH:
            raise ConflictError(
                "the VM runs at its source, and runs or has run on the target: it was started "
                "outside of the Move",
                details=f"{self.vm} at its source, {self.move} on the target",
                resolution="Find out which one has the data that you need. To keep the source's, "
                "and lose what was written on the target: portkit rollback "
                f"{self.move} --discard-writes\nTo keep the target's, end the VM at "
                f"its source (virsh destroy), then: portkit resume {self.move}",
            )
        return found

    def only(self, wanted: Side) -> None:
        """No more than the wanted side runs; it does, unless it is off."""
        source, target = self.seen()
        expected = side(source, target)
        if wanted is Side.TARGET and source.doing is Doing.RUNS:
            raise EngineError(
                "the VM runs at its source, so it is not started on the target",
                details=self.vm,
                resolution="Run the same command again.",
            )
        for act in acts(source, target, wanted):
            match act:
                case Act.MARK:
                    self.target.mark_arrived(self.move)
                case Act.FORGET:
                    self.target.forget_arrived(self.move)
                case Act.CUT_SOURCE:
                    self.source.cut(self.vm)
                case Act.CUT_TARGET:
                    self.target.cut(self.move)
                    # In between somebody may have let it run there.
                    if expected is Side.SOURCE and self.side() is not expected:
                        raise EngineError(
                            "the VM has just started to run on the target",
                            details=self.move,
                            resolution="Run the same command again.",
                        )
                case Act.RESUME_SOURCE:
                    self.source.proceed(self.vm)
                case Act.RESUME_TARGET:
                    self.target.proceed(self.move)


def _seen(now: Condition) -> Seen:
    if not now.there:
        doing = Doing.ABSENT
    elif not now.on:
        doing = Doing.OFF
    elif now.runs:
        doing = Doing.RUNS
    else:
        doing = Doing.PAUSED if now.paused else Doing.HALTED
    return Seen(doing, arrived=now.arrived, left=now.left)


@contextmanager
def both(ground: Ground) -> Iterator[Both]:
    """Both ends, connected."""
    live, source = ground.plan.live, source_of(ground)
    assert live is not None, "only a running App can move live"
    assert live.domain is not None, "only a VM can move live"
    with (
        closing(LibvirtLive(source.libvirt_uri(), source.name)) as here,
        closing(LibvirtLive(ground.target.libvirt_uri(), ground.target.name)) as there,
    ):
        yield Both(here, there, live.domain.id, ground.plan.move)


def on_target(ground: Ground) -> bool:
    """Whether the guest runs on the target, or may have run there. ConflictError where it runs at
    its source as well, unless the user has said that what the target wrote is lost."""
    if ground.missing:
        return _may_be_on_target(ground)
    with both(ground) as ends:
        return (ends.found() if ground.for_good else ends.side()) is not Side.SOURCE


class MoveLive(FormStep):
    """The VM goes on running, on the target; it is off at its source, where its disks stay."""

    def do(self) -> JsonObject:
        ground = self.ground
        moved: Moved | None = None
        since = up_since(ground.target, self.form)
        if rest := standing(ground).resting:  # and they stay so when it boots again
            args = {"id": ground.plan.move, "resting": rest, "ill": ()}
            ground.target.remote.call("instance.stand", args)
        with both(ground) as ends:
            if ends.side() is Side.SOURCE:
                ends.only(Side.SOURCE)
                moved = self._migrate(ends)
            ends.only(Side.TARGET)
        ground.downtime.target_runs()
        return {**self._up(), "up_since": since, "live": moved and asdict(moved)}

    def _migrate(self, ends: Both) -> Moved:
        ground, source = self.ground, source_of(self.ground)
        if not ends.source.condition(ends.vm).runs:
            raise EngineError(
                "the VM is no longer running at its source",
                details=f"{ends.vm} on {source.name}",
                resolution=f"Roll the Move back: portkit rollback {ground.plan.move}. Then start "
                "the VM there, or move it without --live.",
            )
        if not ends.target.condition(ends.move).there:
            raise EngineError(
                "the VM's domain no longer exists on the target",
                details=f"{ends.move} on {ground.target.name}",
                resolution=f"Roll the Move back: portkit rollback {ground.plan.move}. Then move "
                "it again. The VM keeps running at its source.",
            )
        refuse(source, ends.vm, ground.target, but=ends.move)
        here, there = ends.source.description(ends.vm), ends.target.description(ends.move)
        xml = for_target(here, there)
        said = _said(source, ends.vm)
        _receive(source, ground.target, ends, said)
        ends.target.redefine(ends.move, xml.define)
        name = ends.target.raw(ends.move).name()
        with ground.clock.phase("move live"), _sockets(source, ground.target, ends.move) as folder:
            way = Way(folder, disks_of_guest(here), name, xml)
            told = ground.clock.observer.bytes
            qemu = source.remote.call("live.process", {"name": ends.source.raw(ends.vm).name()})
            moved = migrate(
                ends.source,
                ends.target,
                ends.vm,
                way,
                lambda done, total: told("memory and disks", done, total or None),
                lambda: bool(source.remote.call("live.ended", qemu)["ended"]),
            )
        _tell(source, ground.target, ends, said)
        ground.clock.observer.message(
            f"the VM runs on {ground.target.name}: {moved.disk_bytes / 1e6:.1f} MB of disks and "
            f"{moved.memory_bytes / 1e6:.1f} MB of memory in {moved.seconds:.1f} s; it stood still "
            f"for about {moved.downtime_s:.2f} s"
        )
        return moved

    def _up(self) -> JsonObject:
        """It answers on the target, as after a boot."""
        ground, cargo = self.ground, self.ground.loaded
        way = health.way_of(cargo.spec.front, self.form)
        with boot.runner(ground.target, self.form) as runner:
            if not runner.life(ground.plan.move).running:
                ground.clock.observer.message(
                    f"the VM has ended on {ground.target.name}, so it is started there again from "
                    "its disks"
                )
                up_again(ground, self.form, runner)
            watch = watch_over(ground, self.form, runner, way)
            began = time.monotonic()
            answer = watch.first_answer(began)
            ground.downtime.answered(answer, began)
            with ground.clock.phase("settle"):
                watch.settle()
        timeline = ground.downtime.end()
        return {
            "timeline": timeline and asdict(timeline),
            "boot": asdict(booted(self.form, cargo, answer, way, watch.deadline, None)),
            "from_move_s": None,
            "from_boot_s": [],
            "phases": ground.phases(),
        }

    def undo(self) -> None:
        """The guest runs at its source, or is off there, and is off on the target. ConflictError
        where it may have run on the target, unless the user has said that this is lost."""
        ground = self.ground
        ground.downtime.goes_back()
        if ground.missing:
            _undo_at_one(ground)
            return
        with both(ground) as ends, process.uninterrupted():
            if (ends.found() if ground.for_good else ends.side()) is not Side.SOURCE:
                if not ground.for_good:
                    raise _ran_there(ground)
                ground.clock.observer.message(
                    f"what the App wrote on {ground.target.name} since it runs there is lost"
                )
                if ends.target.condition(ends.move).there:  # else somebody has removed it
                    with boot.runner(ground.target, self.form) as runner:
                        runner.withdraw(ground.plan.move)
                        if runner.life(ground.plan.move).running:
                            runner.stop(ground.plan.move)
            ends.only(Side.SOURCE)
        for host in (source_of(ground), ground.target):
            host.remote.call("live.end", {"id": ground.plan.move})  # of a process that was killed


@contextmanager
def _one(ground: Ground, role: str) -> Iterator[tuple[LibvirtLive, str, Seen]]:
    """One end, where the other one is gone for good; the VM's id there, and how it is once libvirt
    has done on its own what it does then."""
    live = ground.plan.live
    assert live is not None and live.domain is not None, "only a VM can move live"
    host = source_of(ground) if role == "source" else ground.target
    identity = live.domain.id if role == "source" else ground.plan.move
    with closing(LibvirtLive(host.libvirt_uri(), host.name)) as end:
        if role == "source":
            end.await_sent(identity)
        else:
            end.await_received(identity)
        yield end, identity, _seen(end.condition(identity, came=role == "target"))


def _may_be_on_target(ground: Ground) -> bool:
    """As `on_target`, by what one end alone shows. A guest that runs at its source has not run on
    the target because of the Move; of one that stands still there, or is off, nobody can tell."""
    if "source" not in ground.missing:
        with _one(ground, "source") as (_, _, seen):
            return seen.doing is not Doing.RUNS
    if "target" not in ground.missing:
        with _one(ground, "target") as (_, _, seen):
            return side(Seen(Doing.ABSENT), seen) is Side.TARGET
    return True


def _undo_at_one(ground: Ground) -> None:
    """The guest goes on at its source, which takes its way back to be the only one; what has come
    of it to the target is ended there."""
    absent = Seen(Doing.ABSENT)
    for role, host in ground.ends:
        with _one(ground, role) as (end, identity, seen), process.uninterrupted():
            found = (seen, absent) if role == "source" else (absent, seen)
            for act in acts(*found, Side.SOURCE):
                match act:
                    case Act.RESUME_SOURCE:
                        end.proceed(identity)
                    case Act.CUT_TARGET:
                        end.cut(identity)
                    case Act.FORGET:
                        end.forget_arrived(identity)
                    case Act.MARK | Act.CUT_SOURCE | Act.RESUME_TARGET:
                        raise AssertionError(f"{act} does not lead to the source")
        host.remote.call("live.end", {"id": ground.plan.move})


def source_of(ground: Ground) -> Host:
    """The host where the VM was."""
    assert ground.source is not None, "a running App is on a host"
    return ground.source


def _ran_there(ground: Ground) -> ConflictError:
    move, target = ground.plan.move, ground.plan.target
    return ConflictError(
        f"the VM runs on {target} and may have written data there",
        details=f"{move}: {ground.plan.source} does not have that data",
        resolution=f"To keep it there: portkit resume {move}\nTo go back and lose that data: "
        f"portkit rollback {move} --discard-writes",
    )


@contextmanager
def _sockets(source: Host, target: Host, move: str) -> Iterator[str]:
    """A folder on both hosts in which QEMU's sockets are, those of the target being reached at the
    source. No port is opened anywhere."""
    try:
        folders = {
            host.remote.call("live.begin", {"id": move})["folder"] for host in (source, target)
        }
        (folder,) = folders
        with source.joined(target, folder, (MEMORY, DISKS)):
            source.remote.call("live.hand", {"id": move})
            yield str(folder)
    finally:
        for host in (source, target):
            if not host.remote.lost:
                host.remote.call("live.end", {"id": move})


def _said(source: Host, vm: str) -> dict[str, tuple[str, int]]:
    """What the guest has said since its boot: the end of each log, and the log's size."""
    found = {}
    for name in ("serial", "state"):
        args = {"id": vm, "limit": _TEXT, "offset": 0, "name": name}
        row = source.remote.call("instance.log", args)
        found[name] = (str(row["text"]), int(row["size"]))
    return found


def _receive(source: Host, target: Host, ends: Both, said: dict[str, tuple[str, int]]) -> None:
    volumes = source.remote.call("live.offer", {"id": ends.vm})["volumes"]
    logs = {name: text for name, (text, _) in said.items()}
    target.remote.call("live.receive", {"id": ends.move, "volumes": volumes, **logs})


def _tell(source: Host, target: Host, ends: Both, said: dict[str, tuple[str, int]]) -> None:
    """What it said at its source while it moved comes along."""
    rows = {}
    for name, (_, size) in said.items():
        args = {"id": ends.vm, "limit": _TEXT, "offset": size, "name": name}
        rows[name] = str(source.remote.call("instance.log", args)["text"])
    if any(rows.values()):
        target.remote.call("live.tell", {"id": ends.move, **rows})
