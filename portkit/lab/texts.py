"""The configuration files of the practice hosts. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from ipaddress import ip_address

from portkit.lab.plan import MEMBERS, Lab, Member

SSHD = """\
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
# There is no PAM session to open without an init system.
UsePAM no
UseDNS no
MaxSessions 64
MaxStartups 64
Subsystem sftp /usr/lib/openssh/sftp-server
"""

QEMU = """\
user = "libvirt-qemu"
group = "libvirt-qemu"
security_driver = "none"
# The owners that libvirt remembers in xattrs outlive a host that was killed, and then stick.
remember_owner = 0
"""


def daemon_json(member: Member) -> str:
    """Docker's daemon.json. The hosts share one kernel log and no journal."""
    # Debian's package would else log to a journal, of which a host without systemd has none.
    config: dict[str, object] = {"log-driver": "json-file"}
    if member.containerd_store:
        config["features"] = {"containerd-snapshotter": True}
    return json.dumps(config, indent=2) + "\n"


def hosts(lab: Lab, name: str) -> str:
    """/etc/hosts. libvirt looks up its own name at every start; unanswered, it costs 10 s."""
    rows = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"{lab.address(name)} {name}"]
    rows += [f"{lab.address(other)} {other}" for other in MEMBERS if other != name]
    return "\n".join(rows) + "\n"


def resolv_conf(machine: str) -> str:
    """What of this machine's resolv.conf a host can use: resolvers that are not on loopback."""
    kept = []
    for row in machine.splitlines():
        words = row.split()
        if len(words) > 1 and words[0] == "nameserver":
            try:
                # A resolver on this machine's loopback (systemd-resolved) cannot be reached from
                # another network namespace.
                if ip_address(words[1]).is_loopback:
                    continue
            except ValueError:
                continue
        if words and words[0] in {"nameserver", "search", "options"}:
            kept.append(" ".join(words))
    return "".join(f"{row}\n" for row in kept)


def ssh_config(lab: Lab) -> str:
    """A configuration for `ssh -F` with one entry lab-NAME a host."""
    blocks = []
    for name in MEMBERS:
        blocks.append(
            f"Host lab-{name}\n"
            f"    HostName {lab.address(name)}\n"
            "    User root\n"
            f"    IdentityFile {lab.identity}\n"
            "    IdentitiesOnly yes\n"
            f"    UserKnownHostsFile {lab.known_hosts}\n"
            "    GlobalKnownHostsFile /dev/null\n"
            "    StrictHostKeyChecking yes\n"
            "    BatchMode yes\n"
            "    ConnectTimeout 10\n"
        )
    return "\n".join(blocks)


def known_hosts(lab: Lab, keys: Iterable[tuple[str, str]]) -> str:
    """Lines for (name, public key file content); comments of the keys are dropped."""
    rows = []
    for name, key in keys:
        kind, blob = key.split()[:2]
        rows.append(f"{lab.address(name)},lab-{name} {kind} {blob}\n")
    return "".join(rows)
