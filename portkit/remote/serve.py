"""The loop of the remote half: reads a call, runs its verb, answers; ends with the connection."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from typing import BinaryIO

from portkit.remote import (
    container_layer,
    docker_command,
    engine,
    facts,
    forwards,
    gc,
    images,
    instances,
    kernel,
    listing,
    live,
    moves,
    receive,
    remains,
    staging,
    stops,
    store,
    vm_disks,
    volume_apply,
    volume_aside,
    volume_survey,
    volumes,
)
from portkit.remote.channel import Channel
from portkit.wire import codec, frames
from portkit.wire.frames import RemoteError
from portkit.wire.json_types import JsonObject

VERBS = {
    "facts": facts.gather,
    "store.has": store.has,
    "store.part": receive.offer,
    "store.apply": receive.apply,
    "store.remove": moves.remove,
    "store.gc": gc.collect,
    "store.list": listing.listing,
    "image.list": images.listing,
    "image.save": images.save,
    "image.load": images.load,
    "image.tag": images.tag,
    "image.remove": images.remove,
    "image.build": docker_command.build,
    "image.pull": docker_command.pull,
    "image.containers": images.containers,
    "container.changes": container_layer.changes,
    "instance.create": instances.create,
    "instance.config": instances.configure,
    "instance.stand": instances.stand,
    "instance.remove": instances.remove,
    "instance.remains": remains.listing,
    "instance.log": instances.log,
    "instance.stage": staging.stage,
    "instance.fill": staging.fill,
    "instance.data": staging.holds_data,
    "instance.describe": vm_disks.describe,
    "instance.described": vm_disks.described,
    "instance.expose": vm_disks.expose,
    "instance.adopt": vm_disks.adopt,
    "live.offer": live.offer,
    "live.receive": live.receive,
    "live.tell": live.tell,
    "live.begin": live.begin,
    "live.hand": live.hand,
    "live.process": live.process,
    "live.ended": live.ended,
    "live.end": live.end,
    "move.begin": moves.begin,
    "move.end": moves.end,
    "move.room": moves.room,
    "move.list": moves.listing,
    "forward.begin": forwards.begin,
    "forward.end": forwards.end,
    "forward.list": forwards.listing,
    "kernel.identity": kernel.identity,
    "process.ignored": stops.ignored,
    "volume.scan": volumes.scan,
    "volume.digest": volumes.digest,
    "volume.mounted": volumes.mounted,
    "volume.there": volumes.there,
    "volume.pages": volumes.pages,
    "volume.read": volumes.read,
    "volume.shape": volume_apply.shape,
    "volume.fill": volume_apply.fill,
    "volume.settle": volume_apply.settle,
    "volume.survey": volume_survey.survey,
    "volume.weigh": volume_survey.weigh,
    "volume.aside": volume_aside.aside,
    "volume.back": volume_aside.back,
    "volume.kept": volume_aside.kept,
    "volume.beside": volume_aside.beside,
    "volume.drop": volume_aside.drop,
}


def answer(channel: Channel, call: JsonObject) -> JsonObject:
    """Run one verb; every failure becomes an error row."""
    verb = VERBS.get(call.get("verb", ""))
    if verb is None:
        return {"error": ["TransferError", "portkit's remote half has no such verb", "", ""]}
    if call.get("data"):
        channel.expect_data()
    try:
        with moves.lasting(call["verb"]), channel.beating():
            return {"ok": verb(call["args"], channel)}
    except RemoteError as error:
        row = [error.kind, error.brief, error.details, error.resolution]
    except OSError as error:
        row = _from_os(error)
    except frames.FrameError:
        raise
    except Exception as error:  # noqa: BLE001 - it answers, whatever a call or a file made of it
        # Of the exception only its kind: its text may quote what was in the call.
        said = "%s: %s" % (call["verb"], type(error).__name__)
        row = ["TransferError", "portkit's remote half could not handle a request", said, ""]
    return {"error": [text[:16000] for text in row]}


def _from_os(error: OSError) -> "list[str]":
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ["SpaceError", "the host's disk is full", str(error), "Free some space on the host."]
    if error.errno == errno.EROFS:
        return ["SpaceError", "the host's disk is read-only", str(error), "Make it writable."]
    return ["HostError", "portkit's remote half had to stop", str(error), "Read the details above."]


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer calls until the source ends; FrameError when it is out of protocol."""
    channel = Channel(source, sink)
    while True:
        frame = frames.read_frame(source)
        if frame is None:
            return
        if frame[0] != b"J":
            raise frames.FrameError("a request was expected")
        channel.answer(answer(channel, frames.parse_json(frame[1])))
        channel.drain()  # after the answer: a caller that sends sees it and stops


def main(nonce: str, socket: str) -> int:
    """Serve on standard input and output until the input ends.

    socket: the engine's, "" for the one that is found.
    """
    if socket:
        engine.SOCKET = socket
    source = sys.stdin.buffer
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing that prints by accident may come between the frames
    # So that `finally` below runs: the default action would end the process at once and leave its
    # temporary files.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    # Whatever a verb creates and forgets to protect is private.
    os.umask(0o077)
    sink.write(b"\n" + frames.MAGIC + nonce.encode() + b"\n")
    hello = {"python": sys.version.split()[0], "encodings": list(codec.encodings())}
    hello["uid"] = os.geteuid()  # type: ignore[assignment]
    hello["engine"] = engine.SOCKET
    frames.write_json(sink, hello)
    try:
        serve(source, sink)
        return 0
    except (frames.FrameError, BrokenPipeError) as error:
        sys.stderr.write("portkit: %s\n" % error)
        return 1
    finally:
        for folder in store.TEMPORARY:
            shutil.rmtree(folder, ignore_errors=True)
