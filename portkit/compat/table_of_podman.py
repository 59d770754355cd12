"""The rows of the rules about Podman (see `table.py`)."""

from __future__ import annotations

from portkit.compat import podman
from portkit.compat.rule import IMAGE, Case, Rule, Scope
from portkit.model import Severity

PODMAN: tuple[Rule[Case], ...] = (
    Rule(
        "podman-rootless",
        Severity.ERROR,
        Scope.HOST,
        podman.rootless,
        remedy="Let root's Podman answer: systemctl enable --now podman.socket",
        forms=IMAGE,
        source='seen with Podman 5.4.2 ("write to /proc/sys/net/ipv4/ping_group_range: Invalid '
        'argument")',
    ),
    Rule(
        "podman-ulimit",
        Severity.ERROR,
        Scope.HOST,
        podman.limit,
        remedy="Remove ulimits.as and limit the memory instead (mem_limit), or move the disk.",
        forms=IMAGE,
        source="docker/go-units, ulimit.go; seen with Podman 5.4.2",
    ),
    Rule(
        "podman-permission",
        Severity.ERROR,
        Scope.HOST,
        podman.access,
        remedy="Give the user access in the Dockerfile (chmod, chown), or use a host with Docker.",
        forms=IMAGE,
        source='execve(2), EACCES; seen with Podman 5.4.2 ("exec container process")',
    ),
    Rule(
        "podman-log",
        Severity.ERROR,
        Scope.HOST,
        podman.log,
        remedy="Use json-file or journald, or remove logging.driver.",
        forms=IMAGE,
        source="podman-run(1), --log-driver; seen with Podman 5.4.2",
    ),
    Rule(
        "podman-links",
        Severity.ERROR,
        Scope.HOST,
        podman.links,
        remedy="Give the other service this name as an alias in the network: "
        "networks.NAME.aliases.",
        forms=IMAGE,
        source='Podman 5.4.2 ("link is not supported")',
    ),
    Rule(
        "podman-capabilities",
        Severity.WARNING,
        Scope.HOST,
        podman.rights,
        remedy="If the service needs them, run it as root, or use a host with Docker.",
        forms=IMAGE,
        source="capabilities(7), ambient set; podman-run(1), --cap-add; seen with Podman 5.4.2",
    ),
    Rule(
        "podman-dhcp",
        Severity.ERROR,
        Scope.HOST,
        podman.dhcp,
        remedy="Give the network a subnet (ipam.config), or run on the host: "
        "systemctl enable --now netavark-dhcp-proxy.socket",
        forms=IMAGE,
        source='podman-network-create(1), --ipam-driver; seen with Podman 5.4.2 ("unable to obtain '
        'lease")',
    ),
    Rule(
        "podman-health",
        Severity.WARNING,
        Scope.HOST,
        podman.health,
        remedy="Let something on the host run `podman healthcheck run`, or use a host with "
        "systemd.",
        forms=IMAGE,
        source="podman-healthcheck-run(1); seen with Podman 5.4.2",
    ),
    Rule(
        "podman-restart",
        Severity.WARNING,
        Scope.HOST,
        podman.restart,
        remedy="Run on the host: systemctl enable podman-restart.service. If that starts only "
        "`always`, set restart: always.",
        forms=IMAGE,
        source="podman-restart.service of Podman 5.4.2; podman#20418, podman#27619",
    ),
)
