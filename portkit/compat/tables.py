"""Packet filters in an image, against the tables that the host's kernel has."""

from __future__ import annotations

from collections.abc import Iterator

from portkit.compat import guest
from portkit.compat.rule import Case, Found, UnknownFact, linux_of
from portkit.compat.stated import has_module
from portkit.compat.versions import version
from portkit.model import Form, Linux, Severity, Software

_SIX = "ip6tables"
_NFT_KERNEL = (3, 13)  # the first Linux with nf_tables


def legacy(case: Case) -> Iterator[Found]:
    """iptables-legacy inside an image needs the old tables in the kernel, and a container cannot
    load the module that has them. New releases have only nf_tables, and a VM has neither."""
    found = case.needs.software_named("iptables-legacy") if case.needs else None
    if found is None or "CAP_NET_ADMIN" not in case.spec.capabilities:
        return
    six = _SIX in found.path or any(_SIX in word for word in case.spec.argv)
    name = "ip6_tables" if six else "ip_tables"
    if case.form is Form.DISK:
        yield from _in_the_vm(case, found, name, "can't initialize iptables table")
        return
    linux = linux_of(case.facts)
    there = _is_there(linux, name)
    if there is None:
        yield from _not_known(found, name)
    if there is not False:
        return
    loadable = has_module(linux, name)
    yield Found(
        f"the host's kernel has {'not loaded' if loadable else 'no'} {name}: \"can't initialize "
        'iptables table"',
        (found.path, f"{case.facts.host}: Linux {case.facts.kernel}"),
        f"Load it on the host: modprobe {name}. Or use iptables-nft in the image."
        if loadable
        else "Use iptables-nft in the image.",
        severity=Severity.ERROR if found.sure else None,
    )


def _not_known(found: Software, name: str) -> Iterator[Found]:
    if not found.sure:
        raise UnknownFact(f"whether its kernel has {name}")
    yield Found(
        f"not known about the host: whether its kernel has loaded {name}",
        (found.path,),
        severity=Severity.UNKNOWN,
    )


def _in_the_vm(case: Case, found: Software, name: str, says: str) -> Iterator[Found]:
    if not guest.has_module(case, name):
        yield Found(
            f'the VM\'s kernel has no {name}: "{says}"',
            (found.path,),
            "Move the image.",
            severity=Severity.ERROR if found.sure else None,
        )


def _is_there(linux: Linux, name: str) -> bool | None:
    """Whether a container finds these tables: built in, or loaded already. None: nobody knows."""
    option = {"ip_tables": "IP_NF_IPTABLES", "ip6_tables": "IP6_NF_IPTABLES"}[name]
    if "y" in (linux.config.get(option), linux.config.get(f"{option}_LEGACY")):
        return True
    if name in (linux.modules or ()):
        return True
    if has_module(linux, name) is False:
        return False
    # It is a module, if it is there; and a host that says which are loaded has not loaded it.
    known = linux.config.get(option) == "m" or name in (linux.loadable or ())
    return False if known and linux.modules is not None else None


def nft(case: Case) -> Iterator[Found]:
    """nftables, and iptables that writes its rules there, need nf_tables in the kernel, which loads
    it by itself if it can. A VM has none."""
    found = case.needs.software_named("nftables") if case.needs else None
    if found is None or "CAP_NET_ADMIN" not in case.spec.capabilities:
        return
    if case.form is Form.DISK:
        yield from _in_the_vm(case, found, "nf_tables", "Failed to initialize nft")
        return
    old = () < version(case.facts.kernel) < _NFT_KERNEL
    has = False if old else has_module(linux_of(case.facts), "nf_tables")
    if has is None:
        yield from _not_known(found, "nf_tables")
    if has is False:
        yield Found(
            'the host\'s kernel has no nf_tables: "Failed to initialize nft"',
            (found.path, f"{case.facts.host}: Linux {case.facts.kernel}"),
            severity=Severity.ERROR if found.sure else None,
        )
