"""An App at its source while it moves: fenced, stopped, started again on the way back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from portkit.boot import remains, vm_disks
from portkit.engines.docker_source import DockerSource
from portkit.engines.libvirt_source import LibvirtSource
from portkit.errors import ConflictError
from portkit.guest.config import signal_number
from portkit.host import Host
from portkit.model import Behind, Live, LiveDomain, Port

# For what a service waits for before it is started again. It ran before, also where a healthcheck
# has failed for weeks, and now nobody serves.
_PATIENCE_S = 60.0


class Origin(Protocol):
    """What a Move does to an App where it comes from. Everything can be done again."""

    def seen(self) -> Live:
        """As it is there now: what of it runs, and what starts it."""

    def reached(self, service: str, port: Port) -> Port | None:
        """Where a port that one of its services publishes is reached now: an engine may have chosen
        the number, and chooses another one at each start. None where nobody knows."""

    def require(self) -> None:
        """EngineError when something of it is not there any more."""

    def lost(self) -> tuple[str, ...]:
        """What of it is not there any more, in words."""

    def in_its_place(self, what: str) -> tuple[str, ...]:
        """What runs there in the place of what is lost, or would start by itself, in words. what:
        as the App was named when it was moved."""

    def require_copied(self) -> None:
        """AppError when it writes elsewhere than into what the Move copies."""

    def fence(self) -> None:
        """From now on nothing starts it by itself, also after its host was restarted."""

    def unfence(self) -> None:
        """As it was before the Move."""

    def waits_s(self) -> float:
        """For how many seconds `stop` will wait in vain, for processes that the signal by which
        they are stopped does not reach."""

    def stop(self) -> None:
        """Stop all of it."""

    def settle(self) -> tuple[str, ...]:
        """See that nothing of it is on its way down, because a Move was killed in `stop`; what does
        not come down in time, and is taken for what runs, in words."""

    def require_stopped(self) -> None:
        """ConflictError when somebody has started it again, or something would. What was removed
        does not start."""

    def start(self) -> tuple[str, ...]:
        """Start again what ran before; what of it is not there any more, in words."""

    def behind(self, back: Mapping[str, str], known: Collection[Behind] = ()) -> tuple[Behind, ...]:
        """What belongs to it beside what the Move's Live names, as long as that is there. back,
        known: as in `left`."""

    def left(self, back: Mapping[str, str], known: Collection[Behind] = ()) -> tuple[str, ...]:
        """What of it is still there, in words. back: volumes that are its own again, by their
        names, with the Move that brought it back: these are not what stayed behind. known: what
        `behind` gave before something of it was removed."""

    def delete(self, back: Mapping[str, str], known: Collection[Behind] = ()) -> tuple[str, ...]:
        """Remove it there, with the data that was taken along; which volumes could not be removed,
        in words. ConflictError while it runs. back, known: as in `left`."""


class Containers:
    """An App of containers. An `Origin`."""

    def __init__(self, engine: DockerSource, host: Host, live: Live) -> None:
        self._engine, self._host, self._live = engine, host, live

    def seen(self) -> Live:
        """As it is there now: which of its containers run, and what starts them."""
        states = self._engine.states([each.id for each in self._live.containers])
        rows = tuple(
            replace(each, restart=restart, running=running, ill=ill)
            for each in self._live.containers
            for restart, running, ill in (states[each.id],)
        )
        return replace(self._live, containers=rows)

    def reached(self, service: str, port: Port) -> Port | None:
        """Where its engine publishes that port now."""
        whose = [each.id for each in self._live.containers if each.service == service]
        return self._engine.reached(whose[0], port) if whose else None

    def require(self) -> None:
        """EngineError when one of its containers is not there any more."""
        self._engine.order([each.id for each in self._live.containers])

    def lost(self) -> tuple[str, ...]:
        """Those of its containers that were removed."""
        names = {each.id: each.service for each in self._live.containers}
        return tuple(
            f"container {each[:12]} ({names[each]})" for each in self._engine.lost([*names])
        )

    def in_its_place(self, what: str) -> tuple[str, ...]:
        """Containers that have its name or its volumes."""
        kind, _, name = what.partition(":")
        own = [each.id for each in self._live.containers]
        volumes = [each.name for each in self._live.travelling if each.name]
        found = self._engine.in_their_place(kind, name, own, volumes)
        return tuple(f"container {each[:12]}" for each in found)

    def require_copied(self) -> None:
        """Nothing: what a container has mounted stays as it is while it exists."""

    def fence(self) -> None:
        """From now on nothing starts it by itself, also after its host was restarted."""
        self._engine.fence([each.id for each in self._live.containers])

    def unfence(self) -> None:
        """As it was before the Move."""
        self._engine.set_restart({each.id: each.restart for each in self._live.containers})

    def waits_s(self) -> float:
        """For how many seconds `stop` will wait in vain: the kernel says which signals a process
        catches."""
        turns = self._engine.stops([each.id for each in self._live.containers])
        rows = [{"pid": pid, "signal": signal_number(name)} for t in turns for pid, name, _ in t]
        answer = iter(self._host.remote.call("process.ignored", {"processes": rows})["ignored"])
        graces = [[grace for _, _, grace in turn if next(answer)] for turn in turns]
        # Those of one turn are stopped at the same time.
        return float(sum(max(turn, default=0.0) for turn in graces))

    def stop(self) -> None:
        """Stop all of it, each service before those that it needs."""
        self._engine.stop_these([each.id for each in self._live.containers])

    def settle(self) -> tuple[str, ...]:
        """Nothing: the engine ends what it has begun, and `start` waits for that."""
        return ()

    def require_stopped(self) -> None:
        """ConflictError when somebody has started it again, or something would."""
        self._engine.require_stopped([each.id for each in self._live.containers])

    def start(self) -> tuple[str, ...]:
        """Start again what ran before; what of it is not there any more, in words."""
        ids = [each.id for each in self._live.containers if each.running]
        gone = self._engine.start_these(ids, _PATIENCE_S)
        return tuple(f"container {identity[:12]}" for identity in gone)

    def behind(self, back: Mapping[str, str], known: Collection[Behind] = ()) -> tuple[Behind, ...]:
        """Its volumes and networks: whose they are, its containers show."""
        return self._engine.behind(self._live, back, known)

    def left(self, back: Mapping[str, str], known: Collection[Behind] = ()) -> tuple[str, ...]:
        """What of it is still there, in words: folders of the host that travelled, too."""
        paths = [each.path for each in self._live.travelling if not each.name]
        there = self._host.remote.call("volume.there", {"paths": paths})["paths"] if paths else ()
        folders = [f"folder {path} (portkit does not delete it)" for path in paths if path in there]
        return (*self._engine.left(self._live, back, known), *folders)

    def delete(self, back: Mapping[str, str], known: Collection[Behind] = ()) -> tuple[str, ...]:
        """Remove its containers, the volumes whose data was taken along and that nothing else
        uses, and the names by which portkit holds its images; volumes that could not be removed, in
        words.

        ConflictError while one of its containers runs.
        """
        held = self._engine.held(self._live)
        stay = self._engine.delete(self._live, back, known)
        for image in held:
            self._host.remote.call("image.remove", {"reference": image})
        return stay


class Machine:
    """An App that is a VM of portkit's. An `Origin`."""

    def __init__(self, engine: LibvirtSource, host: Host, live: Live, domain: LiveDomain) -> None:
        self._engine, self._host, self._live, self._domain = engine, host, live, domain

    def seen(self) -> Live:
        """As it is there now."""
        now = replace(self._engine.seen(self._domain.id), resting=self._domain.resting)
        return replace(self._live, domain=now)

    def reached(self, service: str, port: Port) -> Port | None:
        """There, whatever it is: QEMU publishes what it is told."""
        return port

    def require(self) -> None:
        """EngineError when it is not there any more."""
        self._engine.seen(self._domain.id)

    def lost(self) -> tuple[str, ...]:
        """Itself, where its domain was removed."""
        there = self._engine.is_there(self._domain.id)
        return () if there else (f"VM {self._domain.id}",)

    def in_its_place(self, what: str) -> tuple[str, ...]:
        """Nothing: its id is its alone."""
        return ()

    def require_copied(self) -> None:
        """AppError when it has other disks than portkit has given it: a snapshot, say, makes a file
        of its own for what is written from then on.

        The folder that is copied shows the files that are its disks now; where the VM becomes
        containers, its disks are read themselves."""
        identity = self._domain.id
        row = self._host.remote.call("instance.described", {"id": identity})
        self._engine.require_disks(identity, row["disks"])
        if self._live.warm:
            vm_disks.folder_at_source(self._host, identity)

    def fence(self) -> None:
        """Its autostart is off, and it says of itself that it moves away."""
        self._engine.fence(self._domain.id)

    def unfence(self) -> None:
        """As it was before the Move."""
        self._engine.unfence(self._domain)

    def waits_s(self) -> float:
        """A guest is asked to power off; what it does then is not known."""
        return 0.0

    def stop(self) -> None:
        """Power it off; EngineError where it does not end by itself."""
        self._engine.power_off(self._domain.id)

    def settle(self) -> tuple[str, ...]:
        """Of a fenced one the power button may have been pressed: where it still runs, it is
        powered off to the end. Else it would be taken for one that runs, and end a moment later.
        One whose guest does not end is one that runs."""
        identity = self._domain.id
        if self._domain.keeps_running:  # nobody has pressed the button of one that moves live
            return ()
        if not (self._engine.is_there(identity) and self._engine.moved_away(identity)):
            return ()
        return () if self._engine.ended(identity) else (f"VM {identity}",)

    def require_stopped(self) -> None:
        """ConflictError when somebody has started it again, or something would."""
        if self._engine.is_there(self._domain.id):
            self._engine.require_stopped(self._domain.id)

    def start(self) -> tuple[str, ...]:
        """Start it where it ran before."""
        if not self._domain.running:
            return ()
        if not self._engine.is_there(self._domain.id):
            return (f"VM {self._domain.id}",)
        self._engine.start_again(self._domain.id)
        return ()

    def behind(self, back: Mapping[str, str], known: Collection[Behind] = ()) -> tuple[Behind, ...]:
        """Nothing: all of it is in a folder with the VM's id."""
        return ()

    def left(self, back: Mapping[str, str], known: Collection[Behind] = ()) -> tuple[str, ...]:
        """The VM with its disks, or the disks alone where it could not be removed to the end."""
        if not self._engine.is_there(self._domain.id):
            rows = remains.found(self._host, ())
            disks = [each for each in rows if (each.kind, each.id) == ("instance", self._domain.id)]
            return tuple(f"disks of VM {each.id}" for each in disks)
        state = "running" if self._engine.seen(self._domain.id).running else "stopped"
        return (f"VM {self._domain.id} with its disks: {state}",)

    def delete(self, back: Mapping[str, str], known: Collection[Behind] = ()) -> tuple[str, ...]:
        """Remove it, its disks, and its base where no other VM stands on that."""
        there = self._engine.is_there(self._domain.id)
        if there and self._engine.seen(self._domain.id).running:
            raise ConflictError(
                "the App is running at its source",
                details=f"{self._domain.id} on {self._host.name}",
                resolution="Nothing was deleted. Find out who started it there.",
            )
        self._engine.remove(self._domain.id)
        self._host.remote.call("instance.remove", {"id": self._domain.id})
        return ()


@contextmanager
def origin(host: Host, live: Live) -> Iterator[Origin]:
    """The App of `live` on its host. EngineError when its engine does not answer."""
    if live.domain is None:
        engine = DockerSource(host.docker_socket(), host.name, host.remote.halt.pause)
        try:
            yield Containers(engine, host, live)
        finally:
            engine.close()
        return
    libvirt = LibvirtSource(host.libvirt_uri(), host.name)
    try:
        yield Machine(libvirt, host, live, live.domain)
    finally:
        libvirt.close()
