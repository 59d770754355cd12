"""The stopped source of a Move once more: all of its content is hashed, off the downtime.

The last pass believes hashes of a host that can prove that a file has not changed since it was read
(docs/volumes.md, "The last pass"). What such a proof does not see is found here, before the target
keeps the App.
"""

from __future__ import annotations

from portkit.errors import PortkitError, VerifyError
from portkit.progress import Observer
from portkit.transfer.resume import Link, Retries
from portkit.volumes.index import Index, first_difference, first_path
from portkit.volumes.side import Folder, Side, Trust, encoding_of

_AGAIN = "Run the Move's cutover again, which hashes all content while the App is stopped."


def verify_origin(
    folder: Folder, digest: str, sent: Index | None, observer: Observer, *, nodes: bool = False
) -> int:
    """Hash all that is in a folder; how many bytes that were.

    digest: of the last pass from there. sent: what that pass has seen, where this process made it:
    it tells which file differs, and how. nodes: as in that pass. VerifyError when the folder is not
    what was sent; TransferError when the connection stays broken.
    """
    observer.phase("volume:verify")
    remote = folder.host.remote
    side = Side(folder, encoding_of(folder.host))
    retries = Retries(Link(remote, pause=remote.pause), observer)

    def told(count: int) -> None:
        observer.bytes("volume:verify", count, None)

    while True:
        try:
            found = side.scan(Trust.NOTHING, margin_ms=None, content=told).index
        except PortkitError as error:
            if not remote.lost:
                raise
            retries.after(error)
        else:
            break
    if found.travelling(nodes=nodes)[0].digest != digest:
        raise _differs(folder, sent, found, nodes)
    return found.bytes


def _differs(folder: Folder, sent: Index | None, found: Index, nodes: bool) -> VerifyError:
    where = f"{folder.path} on {folder.host.name}"
    if sent is None:
        return VerifyError(
            "a volume at the source differs from what was sent to the target",
            details=f"the content of {where}, hashed once more, has another digest",
            resolution=_AGAIN,
        )
    before, now = (each.travelling(nodes=nodes)[0] for each in (sent, found))
    path = first_path(before, now) or b""
    rows = [each.rows.get(path) for each in (before, now)]
    silent = all(rows) and len({(row.mtime_ns, row.ctime_ns) for row in rows if row}) == 1
    why = "its times do not show when" if silent else "it was changed after the App was stopped"
    return VerifyError(
        "a volume at the source differs from what was sent to the target",
        details=f"{first_difference(before, now)} in {where}: {why}",
        resolution=_AGAIN if silent else "Stop what writes there, and try again.",
    )
