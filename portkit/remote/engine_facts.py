"""What this host's Docker Engine gives to containers, of its own answers and of runc's."""

from __future__ import annotations

import re
import shutil
from typing import List

from portkit.remote import engine
from portkit.wire.json_types import JsonObject


def of_info(info: JsonObject) -> JsonObject:
    """The fields of portkit.model.Engine that /info has. Pure."""
    options = engine.texts(info, "SecurityOptions")
    return {
        "cgroup": _cgroup(engine.text(info, "CgroupVersion")),
        "cgroup_driver": engine.text(info, "CgroupDriver"),
        "security": [_option(text)[:200] for text in options],
        "rootless": any(_option(text).partition(",")[0] == "rootless" for text in options),
        "runtimes": sorted(engine.fields(info, "Runtimes")),
        "d_type": _d_type(info),
    }


def of_version(version: JsonObject) -> JsonObject:
    """The fields that /version has. Pure."""
    components = version.get("Components")
    first = components[0] if isinstance(components, list) and components else {}
    return {
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


def _option(text: str) -> str:
    # "name=seccomp,profile=builtin"; engines before 17.05 left "name=" out.
    return text[len("name=") :] if text.startswith("name=") else text


def _cgroup(text: str) -> int:
    # Engines before 20.10 do not say it, and know version 1 only.
    return int(text) if text in ("1", "2") else 1


def _d_type(info: JsonObject) -> bool:
    rows = info.get("DriverStatus") or []
    pairs = [row for row in rows if isinstance(row, list) and len(row) == 2]
    return ["Supports d_type", "false"] not in pairs
