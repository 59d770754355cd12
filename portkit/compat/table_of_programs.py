"""The rules about what the programs of an image need.

`source` names what each rests on.
"""

from __future__ import annotations

from portkit.compat import lacks, processor, programs
from portkit.compat.rule import IMAGE, Case, Rule, Scope
from portkit.model import Severity

SYSTEM: Rule[Case] = Rule(
    "system",
    Severity.ERROR,
    Scope.APP,
    programs.windows,
    remedy="Build the image for Linux.",
    source="OCI image-spec v1.1, config.md (os)",
)
PROGRAMS: tuple[Rule[Case], ...] = (
    SYSTEM,
    Rule(
        "emulated",
        Severity.WARNING,
        Scope.HOST,
        programs.emulated,
        remedy="If speed matters, build the image for the host's architecture.",
        source="Linux, admin-guide/binfmt-misc.rst (flag F); QEMU, TCG",
        emulates=True,
    ),
    Rule(
        "program-machine",
        Severity.ERROR,
        Scope.HOST,
        programs.machine,
        source="execve(2), ENOEXEC; System V ABI, e_machine",
    ),
    Rule(
        "missing-command",
        Severity.ERROR,
        Scope.APP,
        lacks.command,
        remedy="Add the file to the image, or set another command.",
        source="execve(2), ENOENT; Linux, fs/binfmt_script.c; Go, os/exec.LookPath",
    ),
    Rule(
        "not-executable",
        Severity.ERROR,
        Scope.APP,
        lacks.executable,
        remedy="Add to the Dockerfile: RUN chmod +x FILE. A script must begin with #! and its "
        "interpreter.",
        source="execve(2), EACCES and ENOEXEC",
    ),
    Rule(
        "permission-denied",
        Severity.ERROR,
        Scope.APP,
        lacks.access,
        remedy="Give the user access in the Dockerfile (chmod, chown), or run the service as "
        "another user.",
        source="path_resolution(7); execve(2), EACCES; capabilities(7); runc, "
        "libcontainer/init_linux.go",
    ),
    Rule(
        "file-in-the-way",
        Severity.ERROR,
        Scope.APP,
        lacks.folder,
        remedy="Set another working_dir (WORKDIR in the Dockerfile).",
        source="chdir(2) and mount(2), ENOTDIR; moby, daemon (SetupWorkingDirectory)",
    ),
    Rule(
        "missing-loader",
        Severity.ERROR,
        Scope.APP,
        lacks.interpreter,
        source="docker-alpine#219; Linux, fs/binfmt_elf.c (PT_INTERP)",
    ),
    Rule(
        "missing-library",
        Severity.ERROR,
        Scope.APP,
        lacks.library,
        remedy="Install the library's package in the image, or link the program statically.",
        source="ld.so(8); musl, ldso/dynlink.c",
    ),
    Rule(
        "symbol-version",
        Severity.ERROR,
        Scope.APP,
        lacks.symbols,
        remedy="Build the program on the release that the image uses, or use an image with a "
        "newer one.",
        source="glibc, elf/dl-version.c",
    ),
    Rule(
        "missing-function",
        Severity.ERROR,
        Scope.APP,
        lacks.functions,
        remedy="Build it for the release of Alpine that the image is of, use an image with glibc, "
        "or add gcompat.",
        source="musl, ldso/dynlink.c (do_relocs)",
    ),
    Rule(
        "missing-user",
        Severity.ERROR,
        Scope.APP,
        lacks.user,
        remedy="Add it in the image (adduser, addgroup), or name a number: user: '1000:1000'.",
        source='moby/sys, user ("no matching entries in passwd file")',
    ),
    Rule(
        "needs-unread",
        Severity.UNKNOWN,
        Scope.APP,
        lacks.unread,
        remedy="Start the app from the same image where it is now, to find out whether it works "
        "there.",
    ),
    Rule(
        "cpu-level",
        Severity.ERROR,
        Scope.HOST,
        processor.level,
        source="pulp-oci-images#772 (x86-64-v2); kuvasz#346 (x86-64-v3); psABI for x86-64, levels; "
        "glibc, sysdeps/x86/dl-isa-level.c; QEMU, changelog of 7.2 (AVX2 of TCG)",
    ),
    Rule(
        "cpu-features",
        Severity.ERROR,
        Scope.HOST,
        processor.features,
        remedy="Use a host or a processor model that has them, or build the program without them.",
        source="Intel SDM, volume 2; AMD APM, volumes 4 and 6 (XOP, FMA4); QEMU, "
        "target/i386/cpu.c and changelog of 8.2 (SHA of TCG)",
    ),
    Rule(
        "kernel-old",
        Severity.ERROR,
        Scope.HOST,
        programs.kernel,
        remedy="Move the disk, which has a kernel of its own, or use a host with a newer kernel.",
        forms=IMAGE,
        source='docker-homebridge#960; glibc, NT_GNU_ABI_TAG ("kernel too old")',
    ),
    Rule(
        "page-size",
        Severity.ERROR,
        Scope.HOST,
        programs.page_size,
        forms=IMAGE,
        source="rauthy#1287; glibc, elf/dl-load.c (alignment of segments)",
    ),
)
