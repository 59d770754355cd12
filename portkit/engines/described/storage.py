"""The volumes and mounts of a container, in compose's words."""

from __future__ import annotations

from collections.abc import Mapping

from portkit.engines.described.answers import Asked, Mount
from portkit.engines.described.reading import Reading
from portkit.model import Severity


def storage(reading: Reading) -> dict[str, object]:
    """Volumes, folders of the host, and what is in memory."""
    container = reading.container
    asked = {row.Target: row for row in container.HostConfig.Mounts}
    volumes, memory = [], []
    for mount in sorted(container.Mounts, key=lambda each: each.Destination):
        if mount.Type == "tmpfs":
            continue  # both ways of asking for one are below
        volumes.append(_volume(reading, mount, asked.get(mount.Destination)))
    for target, options in sorted(container.HostConfig.Tmpfs.items()):
        memory.append(f"{target}:{options}" if options else target)
    for target, row in sorted(asked.items()):
        if row.Type == "tmpfs":
            volumes.append({"type": "tmpfs", "target": target, **_in_memory(row.TmpfsOptions)})
            if row.ReadOnly or row.TmpfsOptions.get("Options"):
                reading.lost(f"HostConfig.Mounts {target}", f"further options of {target}")
    for row_of in container.HostConfig.VolumesFrom:
        other = row_of.partition(":")[0]
        if other not in reading.services:
            what = f"that it uses the volumes of {other[:80]}, which is not in the file"
            reading.lost("HostConfig.VolumesFrom", what)
    return {"volumes": [each for each in volumes if each], "tmpfs": memory}


def _in_memory(options: Mapping[str, object]) -> dict[str, object]:
    told = {"size": options.get("SizeBytes"), "mode": options.get("Mode")}
    found = {key: value for key, value in told.items() if value}
    return {"tmpfs": found} if found else {}


_LOST_MODES = frozenset(("z", "Z"))  # labels for SELinux


def _volume(reading: Reading, mount: Mount, asked: Asked | None) -> object:
    target = mount.Destination
    if mount.Type not in ("volume", "bind"):
        reading.lost(f"Mounts {target}", f"a mount of the type {mount.Type[:40]}", Severity.ERROR)
        return None
    # The docker command gives every volume the mode z; it says something only of a folder.
    lost = _LOST_MODES if mount.Type == "bind" else frozenset(("nocopy",))
    for word in sorted(frozenset(mount.Mode.split(",")) & lost):
        reading.lost(f"Mounts {target}", f"the option {word} of {target}")
    told = {**(asked.VolumeOptions if asked else {}), **(asked.BindOptions if asked else {})}
    for key in sorted(key for key, value in told.items() if value and key != "Labels"):
        # Without it, all of the volume would be there.
        weight = Severity.ERROR if key == "Subpath" else Severity.WARNING
        reading.lost(f"HostConfig.Mounts {target}", f"the option {key} of {target}", weight)
    if mount.Propagation not in ("", "rprivate", "private"):
        reading.lost(f"Mounts {target}", f"the propagation {mount.Propagation[:40]} of {target}")
    if mount.Type == "bind":
        source = mount.Source
    else:
        source = reading.volumes.get(mount.Name, mount.Name if mount.is_named else "")
    if not source:
        return {"type": "volume", "target": target, "read_only": True} if not mount.RW else target
    if ":" in source + target:
        row = {"type": mount.Type, "source": source, "target": target}
        return row if mount.RW else {**row, "read_only": True}
    return f"{source}:{target}" + ("" if mount.RW else ":ro")
