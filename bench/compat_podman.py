"""The cells of the truth table about lab:delta, whose only engine is Podman, and what they are
compared with. A part of bench/compat_cells.py."""

from __future__ import annotations

from bench.compat_kinds import Artifact, Cell, each
from portkit.model import Form

IMAGE, DISK = Form.IMAGE, Form.DISK
DELTA, BOTH = "delta", ("beta", "delta")
_USER = {"user": "1000:1000"}
_CHECK = {"test": ["CMD", "/app", "healthy"], "interval": "1s", "start_period": "5s"}
_SECOND = {"x-portkit": {"memory": "160m"}}

ARTIFACTS = {
    "listen": Artifact(
        "a user who listens on port 80",
        service={**_USER, "command": ["/app", "listen", "80"], "ports": ["8093:80"]},
    ),
    "bubblewrap-user": Artifact(
        "bubblewrap as the command, for another user",
        None,
        {**_USER, "command": ["bwrap", "--ro-bind", "/", "/", "sleep", "infinity"]},
    ),
    "health": Artifact("a healthcheck", service={"healthcheck": _CHECK}),
    "two": Artifact(
        "a project of two services, one after the other",
        service={"depends_on": ["second"]},
        others={"second": _SECOND},
    ),
    "two-healthy": Artifact(
        "two services, the second when the first is healthy",
        service={"depends_on": {"second": {"condition": "service_healthy"}}},
        others={"second": {**_SECOND, "healthcheck": _CHECK}},
    ),
    "two-device": Artifact(
        "two services, one with a device that is not there",
        others={"second": {**_SECOND, "devices": ["/dev/kvm"]}},
    ),
    "links": Artifact(
        "an app that finds another one by a link",
        service={"command": ["/app", "find", "db"], "links": ["second:db"]},
        others={"second": _SECOND},
    ),
    "root-only": Artifact(
        "a program that only root may run, for a user with the usual rights",
        service=_USER,
        mode=0o700,
    ),
    "rights": Artifact("NET_ADMIN for a user", service={**_USER, "cap_add": ["NET_ADMIN"]}),
    "address-space": Artifact(
        "an app whose address space must be limited",
        service={"command": ["/app", "space", str(1 << 36)], "ulimits": {"as": 1 << 36}},
    ),
    "syslog": Artifact("the log driver syslog", service={"logging": {"driver": "syslog"}}),
    "always": Artifact("restart: always", service={"restart": "always"}),
    "tun": Artifact(
        "an app that opens /dev/net/tun",
        service={
            "command": ["/app", "tun"],
            "cap_add": ["NET_ADMIN"],
            "devices": ["/dev/net/tun"],
        },
    ),
    "score": Artifact("an app that must not be killed", service={"oom_score_adj": -500}),
    "locked": Artifact("an app that locks all of its memory", service={"ulimits": {"memlock": -1}}),
    "resource": Artifact("the capability SYS_RESOURCE", service={"cap_add": ["SYS_RESOURCE"]}),
}

_ABSENT = ("no such file or directory", "No such file or directory")
_DENIED = ("Operation not permitted", "operation not permitted", "ermission denied")
CELLS: tuple[Cell, ...] = (
    *each("static", IMAGE, DELTA),
    *each("static", DISK, DELTA, rule="libvirt"),
    *each("glibc", IMAGE, DELTA),
    *each("no-loader", IMAGE, DELTA, source="docker-alpine#219", rule="missing-loader"),
    *each("no-library", IMAGE, DELTA, rule="missing-library", shows=_ABSENT),
    *each("no-mode", IMAGE, DELTA, rule="not-executable", shows=_DENIED),
    *each("no-command", IMAGE, DELTA, rule="missing-command"),
    *each("v4-marked", IMAGE, DELTA, source="kuvasz#346"),
    *each("listen", IMAGE, "alpha", *BOTH),
    *each(
        "io-uring",
        IMAGE,
        DELTA,
        source="moby#46762",
        rule="io-uring-refused",
        symptom="io_uring_setup: Function not implemented",
    ),
    *each("bubblewrap", IMAGE, DELTA, source="bubblewrap#505", rule="sandbox-refused"),
    *each("bubblewrap-user", IMAGE, "beta", source="bubblewrap#505", rule="sandbox-refused"),
    *each("bubblewrap-user", IMAGE, DELTA, source="bubblewrap#505"),
    *each("bubblewrap-user", DISK, "beta", source="bubblewrap#505"),
    *each("sysctl", IMAGE, DELTA),
    *each("sysctl-interface", IMAGE, DELTA),
    *each("sysctl-order", IMAGE, DELTA, rule="sysctl"),
    *each("maps", IMAGE, DELTA, source="elk-docker#89", rule="needs-sysctl"),
    *each("maps-set", IMAGE, DELTA, source="elk-docker#89", rule="sysctl"),
    *each("health", IMAGE, "beta"),
    *each("health", IMAGE, DELTA, rule="podman-health"),
    *each("two", IMAGE, DELTA),
    *each("two", DISK, "beta"),
    *each("two-healthy", IMAGE, DELTA, rule="podman-health"),
    *each("two-device", IMAGE, *BOTH, rule="device", shows=_ABSENT),
    *each("device", IMAGE, DELTA, rule="device"),
    *each("links", IMAGE, "beta"),
    *each("links", IMAGE, DELTA, rule="podman-links", shows=("no db",)),
    *each("root-only", IMAGE, "beta"),
    *each("root-only", IMAGE, DELTA, rule="podman-permission", shows=_DENIED),
    *each("rights", IMAGE, DELTA, rule="podman-capabilities"),
    *each("address-space", IMAGE, "beta"),
    *each("address-space", IMAGE, DELTA, rule="podman-ulimit", shows=("is not limited",)),
    *each("syslog", IMAGE, DELTA, rule="podman-log"),
    *each("always", IMAGE, DELTA, rule="podman-restart"),
    *each("files", IMAGE, DELTA, rule="open-files"),
    *each("shm", IMAGE, DELTA, rule="needs-shared-memory", shows=("/dev/shm is",)),
    *each("cpuset", IMAGE, DELTA, rule="cpuset"),
    *each("runtime", IMAGE, DELTA, rule="runtime"),  # Podman starts it with its own
    *each("outside", IMAGE, DELTA, rule="address-outside"),
    *each("driver", IMAGE, DELTA, rule="network-driver"),
    *each("macvlan", IMAGE, DELTA, rule="podman-dhcp", shows=("unable to obtain lease",)),
    *each("macvlan-subnet", IMAGE, DELTA),
    *each("port", IMAGE, DELTA, ground="port taken", rule="port-free"),
    *each("windows", IMAGE, DELTA, rule="system"),
    *each("tun", IMAGE, "beta", DELTA, source="gluetun#734"),
    *each(
        "static",
        IMAGE,
        DELTA,
        ground="rootless",
        rule="podman-rootless",
        shows=("ping_group_range",),
    ),
    *each(
        "low-port",
        IMAGE,
        DELTA,
        ground="rootless",
        source="Podman, rootless.md",
        rule="port-rootless",
        shows=("privileged port",),
    ),
    *each("score", IMAGE, *BOTH, rule="limits-raised"),
    *each("resource", IMAGE, "beta", rule="capability-absent"),
    *each("resource", IMAGE, DELTA, rule="capability-absent"),
    *each("locked", IMAGE, "beta", rule="limits-raised"),
)
