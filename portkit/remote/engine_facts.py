"""What this host's engine gives to containers, of its own answers and of runc's."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Dict, List, Optional

from portkit.remote import engine
from portkit.wire.json_types import JsonObject

_DHCP_PROXY = "/run/podman/nv-proxy.sock"  # of netavark-dhcp-proxy.socket
_RESTARTS = "podman-restart.service"
_MOST_SUBNETS = 2000
_MOST_NETWORKS = 2000
_MOST_DRIVERS = 2000
_PLUGINS = ("/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins")
_LIMITS = (
    ("MemoryLimit", "memory"),
    ("SwapLimit", "swap"),
    ("CpuCfsQuota", "cpu"),
    ("CPUSet", "cpuset"),
    ("PidsLimit", "pids"),
)
_HELPERS = ("/usr/local/libexec", "/usr/libexec", "/usr/local/lib", "/usr/lib")
_POLICY = re.compile(r"restart-policy=([a-z-]{1,20})")


def of_info(info: JsonObject) -> JsonObject:
    """The fields of portkit.model.Engine that /info has. Pure."""
    options = engine.texts(info, "SecurityOptions")
    return {
        "cgroup": _cgroup(engine.text(info, "CgroupVersion")),
        "cgroup_driver": engine.text(info, "CgroupDriver"),
        "security": [_option(text)[:200] for text in options],
        "rootless": any(_option(text).partition(",")[0] == "rootless" for text in options),
        "runtimes": _runtimes(info),
        "d_type": _d_type(info),
        "network_drivers": _network_drivers(info),
        "swarm": engine.fields(info, "Swarm").get("ControlAvailable") is True,
        "backing": _status(info).get("Backing Filesystem", "")[:80],
        "unable": _unable(info),
    }


def of_version(version: JsonObject) -> JsonObject:
    """The fields that /version has. Pure."""
    components = version.get("Components")
    rows = components if isinstance(components, list) else []
    first = rows[0] if rows else {}
    told = " ".join(engine.text(row, "Version") for row in rows if isinstance(row, dict))
    crun = re.search(r"\bcrun version ([0-9]\S{0,39})", told)
    return {
        "crun": crun.group(1) if crun else "",
        "platform": engine.text(engine.fields(version, "Platform"), "Name")[:80],
        "name": engine.text(first, "Name")[:80] if isinstance(first, dict) else "",
        "api": engine.text(version, "ApiVersion")[:20],
        "api_min": engine.text(version, "MinAPIVersion")[:20],
    }


def of_runc(text: str) -> JsonObject:
    """runc --version: its own and that of libseccomp, which it is linked to. Pure."""
    # A runc that was built without its version prints "runc version spec: 1.0.2".
    runc = re.search(r"^runc version ([0-9]\S{0,39})", text, re.MULTILINE)
    library = re.search(r"^libseccomp: (\S{1,40})$", text, re.MULTILINE)
    return {
        "runc": runc.group(1) if runc else "",
        "libseccomp": library.group(1) if library else "",
    }


def runc_command(path: str) -> List[str]:
    """The command whose output `of_runc` reads; [] where it is not there."""
    binary = shutil.which("runc", path=path)
    return [binary, "--version"] if binary else []


def subnets(networks: List[JsonObject]) -> List[List[str]]:
    """The name of each network in /networks with each of its subnets. Pure."""
    found = []
    for row in networks:
        config = engine.fields(row, "IPAM").get("Config")
        for each in config if isinstance(config, list) else []:
            subnet = engine.text(each, "Subnet") if isinstance(each, dict) else ""
            if subnet:
                found.append([engine.text(row, "Name")[:200], subnet[:64]])
    return sorted(found)[:_MOST_SUBNETS]


def network_kinds(networks: List[JsonObject]) -> List[List[object]]:
    """The name of each network in /networks, its driver, and whether it is internal. Pure."""
    found = [
        [
            engine.text(row, "Name")[:200],
            engine.text(row, "Driver")[:80],
            row.get("Internal") is True,
        ]
        for row in networks
    ]
    return sorted(found)[:_MOST_NETWORKS]


def _runtimes(info: JsonObject) -> List[str]:
    # Podman lists all that it has heard of, wherever they are not.
    if engine.podman(info):
        return [name for name in [engine.text(info, "DefaultRuntime")] if name]
    return sorted(engine.fields(info, "Runtimes"))


def of_podman() -> JsonObject:
    """What Podman leaves to systemd, where it is the engine."""
    timers = os.path.isdir("/run/systemd/system")  # sd_booted(3)
    wants = Path("/etc/systemd/system").glob("*.wants/" + _RESTARTS)
    return {
        "timers": timers,
        "boots": boots(next(wants, None)) if timers else [],
        "dhcp": os.path.exists(_DHCP_PROXY),
    }


def boots(unit: Optional[Path]) -> List[str]:
    """The restart policies that this unit, which systemd starts with the host, looks for."""
    try:
        text = unit.read_text(errors="replace") if unit else ""
    except OSError:  # a link to a unit that was removed
        text = ""
    started = re.findall(r"^ExecStart=.* start .*$", text, re.MULTILINE)
    # The filter of newer ones (podman#27619), which honours both policies.
    if any("should-start-on-boot=true" in line for line in started):
        return ["always", "unless-stopped"]
    return sorted({name for line in started for name in _POLICY.findall(line)})


def _unable(info: JsonObject) -> Optional[List[str]]:
    told = {name: info.get(key) for key, name in _LIMITS}
    if not any(isinstance(value, bool) for value in told.values()):
        return None
    return [name for name, value in told.items() if value is False]


def init(info: JsonObject, path: str) -> Optional[bool]:
    """Whether the program is there that this engine starts before a container's own (Docker,
    LookupInitPath; containers/common, helper_binaries_dir); None where it may be where only the
    engine looks."""
    podman = engine.podman(info)
    name = engine.text(info, "InitBinary") or ("catatonit" if podman else "docker-init")
    own = "podman" if podman else "docker"
    places = os.pathsep.join([*(os.path.join(place, own) for place in _HELPERS), path])
    if os.path.exists(name) if os.path.isabs(name) else shutil.which(name, path=places):
        return True
    # Docker looks for it itself, for its version, and may have another PATH.
    looked = engine.text(engine.fields(info, "InitCommit"), "ID") == "N/A"
    return False if podman or looked else None


def _option(text: str) -> str:
    # "name=seccomp,profile=builtin"; engines before 17.05 left "name=" out.
    return text[len("name=") :] if text.startswith("name=") else text


def _cgroup(text: str) -> int:
    # Engines before 20.10 do not say it, and know version 1 only.
    return int(text) if text in ("1", "2") else 1


def _d_type(info: JsonObject) -> bool:
    return _status(info).get("Supports d_type") != "false"


def _status(info: JsonObject) -> Dict[str, str]:
    """What the storage driver says of itself. Podman's answer is a list of such pairs, too."""
    rows = info.get("DriverStatus") or []
    pairs = [row for row in rows if isinstance(row, list) and len(row) == 2]
    return {str(name): str(value) for name, value in pairs}


def _network_drivers(info: JsonObject) -> Optional[List[str]]:
    names = engine.texts(engine.fields(info, "Plugins"), "Network")
    return sorted({*names, *_plugins()})[:_MOST_DRIVERS] if names else None


def _plugins() -> List[str]:
    """The plugins of the old kind, which an engine finds when somebody asks for one (Docker,
    extend/plugin_api)."""
    return [path.stem for place in _PLUGINS for path in Path(place).glob("*.*")]
