"""Images for another architecture than the host's: what runs them, and what is missing for it."""

from dataclasses import replace
from typing import Any

from portkit import compat
from portkit.model import (
    Binfmt,
    Facts,
    Finding,
    Firmware,
    Form,
    Guests,
    Linux,
    Machine,
    RunSpec,
    Verdict,
)
from tests.factories import FACTS, IMAGE, app_spec, spec

QEMU = "/usr/libexec/qemu-binfmt/aarch64-binfmt-P"
FIXED = Binfmt("qemu-aarch64", "arm64", QEMU, "POCF")
ARM = replace(IMAGE, architecture="arm64", digest="sha256:" + "a" * 64)
ABLE = replace(FACTS, emulators=("amd64", "arm64"))


def judged(
    facts: Facts, form: Form, *services: RunSpec, **changes: Any
) -> tuple[Verdict, dict[str, Finding]]:
    app = app_spec(*(services or (spec(image=ARM.digest),)), **changes)
    images = {image.digest: image for image in (IMAGE, ARM)}
    found = compat.check(app, images, facts, form)
    return compat.verdict(found, facts, form), {row.rule: row for row in found}


def test_a_disk_is_emulated_where_qemu_and_libvirt_can() -> None:
    for accelerator in ("tcg", "kvm"):
        word, found = judged(replace(ABLE, accelerator=accelerator), Form.DISK)
        assert word is Verdict.EMULATED
        assert "qemu-system-aarch64" in found["emulated"].message
        assert "accelerator" not in found, "it is told once"


def test_a_disk_is_refused_with_the_cause() -> None:
    word, found = judged(replace(ABLE, emulators=("amd64",)), Form.DISK)
    assert word is Verdict.INCOMPATIBLE
    assert "qemu-system-aarch64" in found["emulator"].message
    assert "qemu-system-arm " in found["emulator"].remedy
    late = replace(ABLE, guests=Guests(architectures=("amd64",)))
    word, found = judged(late, Form.DISK)
    assert word is Verdict.INCOMPATIBLE
    assert "libvirtd" in found["emulator"].remedy


def test_what_nobody_looked_for_is_not_known() -> None:
    assert judged(replace(ABLE, emulators=None), Form.DISK)[0] is Verdict.UNKNOWN
    word, found = judged(ABLE, Form.DISK, machine=Machine(firmware=Firmware.UEFI))
    assert word is Verdict.UNKNOWN
    assert "UEFI firmware for arm64" in found["firmware"].message


def test_an_image_is_refused_with_the_cause() -> None:
    def said(**linux: Any) -> Finding:
        word, found = judged(replace(FACTS, linux=Linux(**linux)), Form.IMAGE)
        assert word is Verdict.INCOMPATIBLE
        return found["architecture"]

    assert said(binfmt=()).message == "the image is for arm64, the host is amd64"
    loose = said(binfmt=(replace(FIXED, flags="PO"),))
    assert "lacks flag F" in loose.message
    assert loose.remedy.startswith("Register the handler with flag F")
    gone = said(binfmt=(FIXED,), runs={"arm64": "its emulator is not there"})
    assert gone.message.endswith("does not work: its emulator is not there")


def test_images_for_two_architectures_make_no_disk() -> None:
    rows = (spec(service="web"), spec(service="db", image=ARM.digest))
    assert "amd64 and arm64" in judged(ABLE, Form.DISK, *rows)[1]["kit"].message
