"""What an App needs held against what a host has: Findings, before a byte moves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portkit.model import Facts, Finding, Form, ImageConfig, RunSpec, Severity, Verdict

_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
_ANY = {"0.0.0.0", "::"}  # noqa: S104 - read from the host


def check(
    spec: RunSpec, image: ImageConfig, facts: Facts, form: Form, *, need_bytes: int = 0
) -> tuple[Finding, ...]:
    """Findings of an App in a Form on a host. need_bytes: what the Artifact takes there."""
    return (
        *_architecture(image, facts, form),
        *_engine(facts, form),
        *_memory(spec, facts, form),
        *_space(facts, form, need_bytes),
        *_ports(spec, facts),
        *_privilege(spec, form),
    )


def verdict(findings: Iterable[Finding], facts: Facts, form: Form) -> Verdict:
    """The one word for them."""
    if any(finding.severity is _ERROR for finding in findings):
        return Verdict.INCOMPATIBLE
    if facts.architecture not in ("amd64", "arm64"):
        return Verdict.UNKNOWN
    if form is Form.DISK and facts.accelerator != "kvm":
        return Verdict.EMULATED
    return Verdict.NATIVE


def _architecture(image: ImageConfig, facts: Facts, form: Form) -> Iterator[Finding]:
    if image.architecture != facts.architecture:
        yield Finding(
            "architecture",
            _ERROR,
            f"the image is for {image.architecture}, the host is {facts.architecture}",
            f"{facts.host}: {facts.architecture}",
            f"Build the image for {facts.architecture}.",
        )


def _engine(facts: Facts, form: Form) -> Iterator[Finding]:
    if form is Form.IMAGE and facts.docker_version is None:
        yield Finding(
            "engine", _ERROR, "no Docker Engine answers on the host", facts.host,
            "Install docker.io there, or start it: systemctl start docker.",
        )  # fmt: skip
    if form is Form.DISK and (facts.libvirt_version is None or facts.qemu_version is None):
        yield Finding(
            "engine", _ERROR, "libvirt with QEMU is not on the host", facts.host,
            "Install libvirt-daemon-system and qemu-system-x86 there.",
        )  # fmt: skip
    if form is Form.DISK and facts.accelerator != "kvm":
        yield Finding(
            "accelerator", _WARNING, "the VM's processor would be emulated, some ten times slower",
            facts.accelerator_note, "Use a host with working KVM where speed matters.",
        )  # fmt: skip


def _memory(spec: RunSpec, facts: Facts, form: Form) -> Iterator[Finding]:
    need = spec.machine.memory_bytes if form is Form.DISK else spec.mem_limit_bytes or 0
    if need > facts.memory_bytes:
        severity = _ERROR if form is Form.DISK else _WARNING
        yield Finding(
            "memory", severity, f"{need} bytes of memory are asked for",
            f"the host has {facts.memory_bytes}", "Ask for less: x-portkit.memory or mem_limit.",
        )  # fmt: skip
    elif need > facts.memory_available_bytes:
        yield Finding(
            "memory", _WARNING, f"{need} bytes of memory are asked for, not all of it is free",
            f"{facts.memory_available_bytes} bytes are available on the host", "Free some there.",
        )  # fmt: skip


def _space(facts: Facts, form: Form, need: int) -> Iterator[Finding]:
    free = facts.store_free_bytes
    if form is Form.IMAGE and facts.docker_free_bytes is not None:
        free = min(free, facts.docker_free_bytes)
    # An image is in the Store and in the engine while it is loaded.
    need = 2 * need if form is Form.IMAGE else need
    if need > free:
        yield Finding(
            "space", _ERROR, f"{need} bytes of disk are needed", f"{free} are free on the host",
            "Make room there.",
        )  # fmt: skip


def _ports(spec: RunSpec, facts: Facts) -> Iterator[Finding]:
    for port in spec.ports:
        if port.protocol != "tcp":
            continue
        wanted = {port.host_ip} | _ANY if port.host_ip else None
        for address, number in facts.listening:
            if number == port.host_port and (wanted is None or address in wanted):
                yield Finding(
                    "port-free", _ERROR, f"port {number} is taken on the host",
                    f"something listens on {address}:{number}",
                    "Publish another port, or stop what listens there.",
                )  # fmt: skip
                break


def _privilege(spec: RunSpec, form: Form) -> Iterator[Finding]:
    if spec.privileged and form is Form.IMAGE:
        yield Finding(
            "privileged", _WARNING, "the container has every right on the host's kernel", "",
            "Name the capabilities that it needs: cap_add.",
        )  # fmt: skip
