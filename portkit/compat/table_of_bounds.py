"""The rows of the rules about limits and networks that an engine checks (see `table.py`)."""

from __future__ import annotations

from portkit.compat import bounds, engine_setup, networks
from portkit.compat.rule import DISK, IMAGE, Case, Rule, Scope
from portkit.errors import ConflictError
from portkit.model import Severity

BOUNDS: tuple[Rule[Case], ...] = (
    Rule(
        "processors",
        Severity.ERROR,
        Scope.HOST,
        bounds.processors,
        remedy="Ask for fewer with cpus, or use a host that has as many.",
        source="moby, daemon/daemon_unix.go (verifyPlatformContainerResources)",
    ),
    Rule(
        "cpuset",
        Severity.ERROR,
        Scope.HOST,
        bounds.cpuset,
        remedy="Name processors of the host (cpuset), or use cpus, which names none.",
        forms=IMAGE,
        source="moby, daemon/daemon_unix.go (Requested CPUs are not available); cpuset(7)",
    ),
    Rule(
        "runtime",
        Severity.ERROR,
        Scope.HOST,
        bounds.runtime,
        remedy="Install it on the host and name it in the engine's daemon.json (runtimes), or "
        "remove `runtime` from the compose file.",
        forms=IMAGE,
        source="Docker, engine/daemon/alternative-runtimes",
    ),
    Rule(
        "storage-opt",
        Severity.ERROR,
        Scope.HOST,
        bounds.storage,
        remedy="Remove storage_opt, or put the engine's data folder on XFS that is mounted with "
        "pquota.",
        forms=IMAGE,
        source="moby, daemon/graphdriver/overlay2 (--storage-opt is supported only for overlay "
        "over xfs with 'pquota' mount option)",
    ),
    Rule(
        "memory-limits",
        Severity.ERROR,
        Scope.FORM,
        bounds.memory,
        remedy="Correct mem_limit, mem_reservation or memswap_limit in the compose file.",
        forms=IMAGE,
        source="moby, daemon/daemon_unix.go (verifyPlatformContainerResources)",
    ),
    Rule(
        "limits-raised",
        Severity.UNKNOWN,
        Scope.HOST,
        bounds.raised,
        remedy="Remove the limit from ulimits if the app does not need it, use a host that is not "
        "itself a container, or move the disk.",
        forms=IMAGE,
        source="setrlimit(2), EPERM; capabilities(7), CAP_SYS_RESOURCE",
    ),
    Rule(
        "limits-ignored",
        Severity.WARNING,
        Scope.HOST,
        engine_setup.limits,
        remedy="Use an engine with root privileges, or cgroup v2 with these controllers delegated, "
        "or remove the limit.",
        forms=IMAGE,
        source="moby, daemon/daemon_unix.go (verifyPlatformContainerResources); Docker, "
        "engine/security/rootless",
    ),
    Rule(
        "engine-user-namespaces",
        Severity.ERROR,
        Scope.HOST,
        engine_setup.user_namespaces,
        remedy="Set userns_mode: host for the service, or use an engine without userns-remap.",
        forms=IMAGE,
        source="moby, daemon/daemon_unix.go (privileged mode is incompatible with user namespaces)",
    ),
    Rule(
        "apparmor",
        Severity.WARNING,
        Scope.HOST,
        engine_setup.apparmor,
        remedy="Use a host with AppArmor and that profile, or remove the option.",
        forms=IMAGE,
        source="moby, daemon/oci_linux.go (WithApparmor); containers/common, pkg/apparmor",
    ),
    Rule(
        "init-absent",
        Severity.ERROR,
        Scope.HOST,
        engine_setup.init,
        forms=IMAGE,
        source="moby, daemon/config (LookupInitPath); podman-run(1), --init",
    ),
    Rule(
        "address-outside",
        Severity.ERROR,
        Scope.FORM,
        bounds.addresses,
        remedy="Give the network that subnet (ipam), or remove the address.",
        forms=IMAGE,
        source="moby, daemon/network.go (no configured subnet contains the IP address)",
    ),
    Rule(
        "subnet-taken",
        Severity.ERROR,
        Scope.HOST,
        bounds.subnets,
        remedy="Give the network another subnet (ipam), or none: the engine then chooses a free "
        "one.",
        forms=IMAGE,
        error=ConflictError,
        source='moby, libnetwork/ipamapi ("Pool overlaps with other one on this address space")',
    ),
    Rule(
        "network-external",
        Severity.WARNING,
        Scope.HOST,
        networks.external,
        remedy="If a reverse proxy, say, has to reach the App there, move or start it first. "
        "portkit removes the network with this App only if no other container is in it by then.",
        forms=IMAGE,
        source="compose-spec, 06-networks.md (external)",
    ),
    Rule(
        "network-differs",
        Severity.ERROR,
        Scope.HOST,
        networks.differs,
        remedy="Make the two alike: create the network again on one of the hosts (docker network "
        "create), or give it another name where the App runs.",
        forms=IMAGE,
        error=ConflictError,
        source="Docker, reference/cli/docker/network/create (--driver, --internal, --subnet)",
    ),
    Rule(
        "network-outside",
        Severity.WARNING,
        Scope.FORM,
        networks.outside,
        remedy="Publish the ports that they need, or move the image.",
        forms=DISK,
        source="QEMU, System Emulation, Network emulation (user mode network stack)",
    ),
    Rule(
        "network-driver",
        Severity.UNKNOWN,
        Scope.HOST,
        networks.driver,
        remedy="Use the driver bridge for an app on one host.",
        forms=IMAGE,
        source="Docker, engine/network/drivers/overlay; GET /info, Plugins.Network",
    ),
    Rule(
        "network-parent",
        Severity.ERROR,
        Scope.HOST,
        networks.parent,
        remedy="Name an interface of the host (driver_opts: {parent: NAME}), make it there, or use "
        "the driver bridge.",
        forms=IMAGE,
        source="Docker, engine/network/drivers/macvlan and ipvlan; moby, libnetwork/drivers",
    ),
    Rule(
        "log-driver",
        Severity.ERROR,
        Scope.HOST,
        bounds.logging,
        remedy="Use another log driver (json-file, local), or start the system log on the host.",
        forms=IMAGE,
        source="Docker, engine/logging/drivers (journald, syslog)",
    ),
)
