"""Which two hosts can move which VM without a stop, and what each refusal says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.engines.live_xml import LiveGuest
from portkit.source.live import LiveHost, obstacles, untried, version

GUEST = LiveGuest(
    uuid="9b7d1cac-5004-4d42-809c-de18cdcb0076",
    architecture="x86_64",
    machine="pc-q35-9.2",
    virtual="qemu",
    cpu_mode="custom",
    cpu="Nehalem",
    uefi=False,
)
OLD = LiveHost("old", "9.0.0", "9.2.4", by_root=True, machines=["pc-q35-9.2"], models=["Nehalem"])
NEW = replace(OLD, name="new", libvirt="11.3.0", qemu="10.0.13")
ANY = replace(GUEST, cpu_mode="maximum", cpu="")
PASSED = replace(GUEST, cpu_mode="host-passthrough", cpu="", virtual="kvm")


def test_a_pair_that_works() -> None:
    assert obstacles(GUEST, OLD, NEW) == ()


@pytest.mark.parametrize(
    ("guest", "source", "target", "reason"),
    [
        (GUEST, NEW, OLD, "is older than"),
        (GUEST, replace(OLD, by_root=False), NEW, "old is not reached by ssh as root"),
        (GUEST, OLD, replace(NEW, by_root=False), "new is not reached by ssh as root"),
        (GUEST, replace(OLD, libvirt="8.10.0"), NEW, "libvirt 8.10.0 on old"),
        (GUEST, OLD, replace(NEW, libvirt=None), "libvirt (none) on new"),
        (GUEST, OLD, replace(NEW, qemu=None), "is unknown"),
        (GUEST, replace(OLD, qemu="7.2.22"), NEW, "may miss some of what the guest writes"),
        (GUEST, OLD, replace(NEW, machines=["pc-q35-10.0"]), "no machine type pc-q35-9.2"),
        (GUEST, OLD, replace(NEW, models=["Westmere"]), "its processor, Nehalem"),
        (ANY, OLD, NEW, "whatever its host provides"),
        (PASSED, replace(OLD, kvm=True), replace(OLD, kvm=True, name="new"), "whatever its host"),
        (replace(GUEST, virtual="kvm"), OLD, NEW, "KVM, which does not work on new"),
        (replace(GUEST, uefi=True), OLD, NEW, "UEFI"),
        (replace(GUEST, architecture="aarch64"), OLD, NEW, "aarch64"),
    ],
)
def test_a_pair_that_does_not(
    guest: LiveGuest, source: LiveHost, target: LiveHost, reason: str
) -> None:
    (found,) = obstacles(guest, source, target)
    assert reason in found.reason
    assert "without --live" in found.resolution


def test_a_real_processor_may_leave_an_older_qemu() -> None:
    kvm = replace(OLD, qemu="7.2.22", kvm=True)
    assert obstacles(replace(GUEST, virtual="kvm"), kvm, replace(NEW, kvm=True)) == ()


def test_what_was_never_tried_is_said() -> None:
    assert untried(OLD, NEW) == ()
    confined = replace(NEW, confined=["apparmor"])
    assert obstacles(GUEST, OLD, confined) == ()
    (found,) = untried(OLD, confined)
    assert "new confines its guests with apparmor" in found.message
    assert "without --live" in found.remedy


def test_the_same_emulator_gives_the_same_processor() -> None:
    assert obstacles(ANY, OLD, replace(OLD, name="new")) == ()


@given(st.text(), st.text())
def test_any_version_that_a_host_says(one: str, other: str) -> None:
    obstacles(GUEST, replace(OLD, qemu=one), replace(NEW, libvirt=other))
    assert version(one) == () or all(number >= 0 for number in version(one))
