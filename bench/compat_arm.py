"""The cells of the truth table about programs for arm64 on hosts for amd64. The hosts share one
table of handlers, so a cell has the handler that it is about. A part of bench/compat_cells.py."""

from __future__ import annotations

from bench.compat_kinds import Artifact, Cell, Program, each
from portkit.model import Form

IMAGE, DISK = Form.IMAGE, Form.DISK
NONE, PLAIN, FIXED = "no handler for arm64", "a handler without flag F", "a handler with flag F"

PROGRAMS = {
    "arm": Program(target="aarch64-linux-musl"),
    "arm-glibc": Program(target="aarch64-linux-gnu"),
}
ARTIFACTS = {
    "arm": Artifact("a static program for arm64", "arm", architecture="arm64"),
    "arm-uefi": Artifact(
        "the same, its disk for UEFI", "arm", architecture="arm64", portkit={"firmware": "uefi"}
    ),
    "arm-no-loader": Artifact(
        "a program for arm64 and glibc, in an image without its loader",
        "arm-glibc",
        architecture="arm64",
    ),
    "arm-as-amd": Artifact("a program for arm64 in an image that says amd64", "arm"),
    "amd-as-arm": Artifact("a program for amd64 in an image that says arm64", architecture="arm64"),
}

_FORMAT = ("exec format error", "Exec format error", "cannot execute")
_ABSENT = ("no such file or directory", "No such file or directory")
CELLS: tuple[Cell, ...] = (
    *each("arm", IMAGE, "alpha", "beta", "delta", ground=NONE, rule="architecture"),
    *each("arm", IMAGE, "beta", ground=PLAIN, rule="architecture", shows=_ABSENT),
    *each("arm", IMAGE, "alpha", "beta", "gamma", "delta", ground=FIXED, rule="emulated"),
    *each("arm-no-loader", IMAGE, "gamma", ground=FIXED, rule="missing-loader"),
    *each("arm-as-amd", IMAGE, "beta", ground=NONE, rule="program-machine", shows=_FORMAT),
    *each("arm-as-amd", IMAGE, "beta", ground=FIXED),
    *each("amd-as-arm", IMAGE, "beta", "gamma", "delta", ground=NONE, rule="architecture"),
    *each("arm", DISK, "alpha", rule="emulator"),
    *each("arm", DISK, "gamma", rule="emulated"),
    *each("arm-uefi", DISK, "gamma", rule="emulated"),
    *each("arm-no-loader", DISK, "gamma", rule="missing-loader", shows=_ABSENT),
    *each("arm-as-amd", DISK, "beta", rule="program-machine", shows=_FORMAT),
)
