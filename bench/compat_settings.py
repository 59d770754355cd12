"""The cells of the truth table about what a compose file asks of an engine or a kernel: limits,
settings of the kernel, networks, logs, rights. A part of bench/compat_cells.py."""

from __future__ import annotations

from bench.compat_kinds import Artifact, each
from portkit.model import Form

IMAGE, DISK = Form.IMAGE, Form.DISK
_SUBNET = {"ipam": {"config": [{"subnet": "10.8.0.0/24"}]}}


def _stands_on(parent: str) -> dict[str, object]:
    return {"driver": "macvlan", "driver_opts": {"parent": parent}}


ARTIFACTS = {
    "denied": Artifact(
        "a program that only root may run, for another user",
        service={"user": "1000:1000", "cap_drop": ["ALL"]},
        mode=0o700,
    ),
    "in-the-way": Artifact("a working directory that is a file", service={"working_dir": "/app"}),
    "many-cpus": Artifact("64 processors", service={"cpus": 64}),
    "many-cpus-vm": Artifact("a VM with 256 processors", portkit={"cpus": 256}),
    "cpuset": Artifact("a processor that the host does not have", service={"cpuset": "0,900"}),
    "runtime": Artifact("the runtime of NVIDIA", service={"runtime": "nvidia"}),
    "layer-size": Artifact(
        "a limit of what the container writes", service={"storage_opt": {"size": "10G"}}
    ),
    "reserved": Artifact(
        "more memory reserved than allowed",
        service={"mem_limit": "64m", "mem_reservation": "65m"},
    ),
    "outside": Artifact(
        "an address outside of its network",
        service={"networks": {"own": {"ipv4_address": "10.9.0.9"}}},
        network=_SUBNET,
    ),
    "subnet": Artifact(
        "a subnet that the engine uses already",
        network={"ipam": {"config": [{"subnet": "172.17.4.0/24"}]}},
    ),
    "driver": Artifact("a network driver that nobody has", network={"driver": "weave"}),
    "overlay": Artifact("a network of a swarm", network={"driver": "overlay"}),
    "parent": Artifact("a macvlan on an interface that is not there", network=_stands_on("eth9")),
    "vlan": Artifact("a macvlan on a VLAN, without 802.1q", network=_stands_on("eth0.10")),
    "macvlan": Artifact("a macvlan on eth0", network=_stands_on("eth0")),
    "macvlan-subnet": Artifact("the same with a subnet", network={**_stands_on("eth0"), **_SUBNET}),
    "splunk": Artifact(
        "a log driver without its address", service={"logging": {"driver": "splunk"}}
    ),
    "journald": Artifact(
        "a log driver without a journal", service={"logging": {"driver": "journald"}}
    ),
    "sysctl": Artifact(
        "a sysctl that every namespace has", service={"sysctls": {"net.core.somaxconn": 100}}
    ),
    "sysctl-order": Artifact(
        "a range of ports that ends before it begins",
        service={"sysctls": {"net.ipv4.ip_local_port_range": "5 1"}},
    ),
    "sysctl-module": Artifact(
        "a sysctl of a module that the guest does not load",
        service={"sysctls": {"net.netfilter.nf_conntrack_max": 65536}},
    ),
    "sysctl-control": Artifact(
        "a congestion control that containers may not have",
        service={"sysctls": {"net.ipv4.tcp_congestion_control": "cubic"}},
    ),
    "sysctl-ipc": Artifact(
        "a sysctl of shared memory that is the host's",
        service={"sysctls": {"kernel.shmmax": 1 << 30}, "ipc": "host"},
    ),
    "sysctl-interface": Artifact(
        "a sysctl of one interface", service={"sysctls": {"net.ipv4.conf.eth0.rp_filter": 1}}
    ),
}

_DENIED = ("permission denied", "Permission denied")
_FOLDER = ("not a directory", "Not a directory")
_INVALID = ("invalid argument", "Invalid argument")
CELLS = (
    *each("denied", IMAGE, "beta", rule="permission-denied", shows=_DENIED),
    *each("denied", DISK, "beta", rule="permission-denied", shows=_DENIED),
    *each("in-the-way", IMAGE, "beta", rule="file-in-the-way", shows=_FOLDER),
    *each("in-the-way", DISK, "beta", rule="file-in-the-way"),
    *each("many-cpus", IMAGE, "beta", rule="processors", shows=("ange of CPUs",)),
    *each("many-cpus-vm", DISK, "alpha", rule="processors", shows=("more than 255 vCPUs",)),
    *each("cpuset", IMAGE, "alpha", "beta", rule="cpuset", shows=("CPUs are not available",)),
    *each("runtime", IMAGE, "alpha", "beta", rule="runtime", shows=("runtime",)),
    *each("layer-size", IMAGE, "beta", rule="storage-opt", shows=("over xfs with",)),
    *each("layer-size", IMAGE, "gamma", rule="storage-opt"),
    *each("reserved", IMAGE, "beta", rule="memory-limits", shows=("memory reservation",)),
    *each("outside", IMAGE, "beta", rule="address-outside"),
    *each("subnet", IMAGE, "beta", rule="subnet-taken", shows=("overlaps",)),
    *each("driver", IMAGE, "beta", rule="network-driver", shows=("not found",)),
    *each("overlay", IMAGE, "beta", rule="network-driver", shows=("swarm",)),
    *each("parent", IMAGE, "alpha", "beta", rule="network-parent", shows=("eth9",)),
    *each("vlan", IMAGE, "beta", rule="network-parent", shows=("eth0.10 vlan link",)),
    *each("macvlan", IMAGE, "beta"),
    *each("splunk", IMAGE, "beta", rule="log-driver", shows=("splunk",)),
    *each("journald", IMAGE, "beta", rule="log-driver", shows=("journald",)),
    *each("sysctl", IMAGE, "beta"),
    *each("sysctl", DISK, "beta"),
    *each("sysctl-order", IMAGE, "alpha", "beta", rule="sysctl", shows=_INVALID),
    *each("sysctl-order", DISK, "beta", rule="guest-sysctl"),
    *each("sysctl-module", DISK, "beta", rule="guest-sysctl"),
    *each("sysctl-control", IMAGE, "beta", rule="sysctl", shows=("not permitted",)),
    *each("sysctl-ipc", IMAGE, "beta", rule="sysctl", shows=("ipc namespace",)),
    *each("sysctl-interface", IMAGE, "beta"),
    *each("sysctl-interface", IMAGE, "gamma", rule="sysctl", shows=("driver option",)),
)
