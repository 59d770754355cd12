"""What machine code shows: a level that no note tells, and a system call."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from portkit import process
from portkit.needs import code, read
from portkit.needs.elf import ElfError, parse
from tests.elves import elf, layer
from tests.factories import IMAGE, spec

# vmovups (%rax),%ymm0; vfmadd213ps; shlx; vzeroupper
V3 = bytes.fromhex("c5fc1000 c4e275a8c2 c4e279f7c0 c5f877 c3")
# crc32l %ecx,%eax
CRC32 = bytes.fromhex("f20f38f1c1")
POPCNT = bytes.fromhex("f3480fb8c0")
# vmovups (%rax),%zmm0; vaddps %zmm1,%zmm0,%zmm0; vmovups %zmm0,(%rax); vpxord %zmm2,%zmm2,%zmm2
V4 = bytes.fromhex("62f17c481000 62f17c4858c1 62f17c481100 62f16d48efd2")
# movl $"(bad",(%rdi), before lea, sub, cqto and movabs: 62 61 64 48 is how EVEX begins.
BAD = [
    bytes.fromhex("c70728626164" + after)
    for after in ("488d0437", "4829f8", "4899", "48b8" + "00" * 8)
]
PUSH = bytes.fromhex("554889e5 5d c3")  # without SSE
CPUID = bytes.fromhex("31c0 0fa2")
PLAIN = bytes.fromhex("554889e5 f30f10450c f30f58c1 5d c3") * 50


def level(*parts: bytes, alone: bool = True) -> int:
    """What is certain."""
    found, sure = code.level(*parts, alone=alone)
    return found if sure else 0


def level_of(path: Path) -> int:
    """Of a whole program, as a service's needs show it."""
    made = layer(path.with_name("layer"), {"/app": path.read_bytes()})
    (found,) = read([made], IMAGE, [spec(argv=("/app",))])
    (binary,) = (each for each in found.binaries if each.path == "/app")
    return binary.code_level if binary.code_sure else 0


def test_a_level() -> None:
    assert level(PLAIN) == level(b"") == 0
    assert level(V3) == 3
    assert level(V3 + CPUID) == level(V3, CPUID) == 0, "it may take the right one of several"
    assert level(PUSH, V3[:9], V3[9:]) == 3, "of all parts"
    assert level(V3[:9]) == 0, "that may be numbers"
    assert level(PUSH * 8000 + V3) == 0, "few in much code"
    assert level(PLAIN * 400 + CRC32 * 3) == 2
    assert level(CRC32 * 3 + V3) == 3
    assert level(PLAIN + CRC32 * 3 + CPUID) == 0
    assert level(PLAIN + POPCNT * 3) == 0, "models below v2 have it, too"
    assert level(V3 + V4) == 4
    for text in BAD:
        assert code.level(PLAIN + text * 3, alone=True) == (0, False), "text of a disassembler"


def test_what_others_may_choose() -> None:
    """A library may have told the program what the processor can."""
    assert code.level(PLAIN + V3, alone=False) == (0, False), "most of it is for the baseline"
    assert code.level(PLAIN + V3, alone=True) == (3, False)
    assert code.level(PUSH + V3, alone=False) == (3, False), "the rest does not show anything"
    assert code.level(PUSH * 20000 + V3 * 20, alone=False) == (3, True), "the baseline has SSE"
    assert code.level(PLAIN + CRC32 * 3, alone=False) == (2, False), "SSE4.2 beside SSE is usual"


@pytest.mark.parametrize(
    "more",
    [
        {"needed": ("libown.so",)},
        {"needed": ("libc.so.6",), "names": ("dlopen",)},
        {"needed": ("libc.so.6",), "names": ("has_avx2",)},
        {"needed": ("libc.so.6",), "names": ("__x86_get_cpuid_feature_leaf",)},
        {"codes": (b"/proc/cpuinfo\0",)},
    ],
)
def test_who_may_tell_a_program_what_the_processor_can(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    alone, told = tmp_path / "alone", tmp_path / "told"
    alone.write_bytes(elf(code=V3 * 9, needed=("libc.so.6", "libm.so.6"), names=("printf",)))
    told.write_bytes(elf(code=V3 * 9, **more))
    assert (level_of(alone), level_of(told)) == (3, 0)


def test_what_go_was_told(tmp_path: Path) -> None:
    stated = b"build\tGOARCH=amd64\nbuild\tGOAMD64=v3\n"
    assert code.go_level(b"x" * 99 + stated) == 3
    assert code.go_level(stated.replace(b"v3", b"v1")) == code.go_level(b"GOAMD64=v3\n") == 0
    files = {"/app": elf(code=CPUID + stated), "/lower": elf(code=V3 * 9 + b"build\tGOAMD64=v2\n")}
    path = layer(tmp_path / "layer", files)
    app, lower = read([path], IMAGE, [spec(argv=("/app",)), spec(argv=("/lower",))])
    assert [each.code_level for each in (*app.binaries, *lower.binaries)] == [3, 3]


def test_code_in_several_segments(tmp_path: Path) -> None:
    """A program whose functions for AVX2 are in another segment than what chooses between them, as
    BOLT makes it; and one with more code than is read."""
    files = {
        "/both": elf(code=V3 * 9 + CPUID),
        "/apart": elf(code=V3 * 9, codes=(CPUID,)),
        "/neither": elf(code=V3 * 9, codes=(PUSH,)),
        "/large": elf(code=CRC32 * 3 + bytes(code.CODE_BYTES), codes=(CPUID,)),
    }
    path = layer(tmp_path / "layer", files)
    found = read([path], IMAGE, [spec(argv=(name,)) for name in files])
    levels = {each.command: each.binaries[0].code_level for each in found}
    assert levels == {"/both": 0, "/apart": 0, "/neither": 3, "/large": 0}


def test_a_system_call() -> None:
    raw = bytes.fromhex("b8a9010000 31ff 0f05 c3")
    assert code.calls(PLAIN + raw, 425, imports_syscall=False)
    assert not code.calls(PLAIN + raw, 426, imports_syscall=False)
    status = bytes.fromhex("bfa9010000 e800000000 c3")  # a status of HTTP, perhaps
    assert not code.calls(status, 425, imports_syscall=False)
    assert code.calls(status, 425, imports_syscall=True)
    wrapper = bytes.fromhex("f30f1efa 4889f8 4889f7 0f05 c3")
    assert code.calls(
        bytes.fromhex("bfa9010000 e801000000 c3") + wrapper, 425, imports_syscall=False
    )


def test_a_system_call_through_musl() -> None:
    """As clang makes its syscall(3)."""
    call = bytes.fromhex("bfa9010000 be04000000 31c0 e801000000 c3")
    begin = bytes.fromhex(
        "55 4889e5 4881ecd0000000 4889f8 488dbd30ffffff 48897708 48895710 48894f18"
    )
    stores = bytes.fromhex("4c894720 4c894f28")
    end = bytes(200) + bytes.fromhex("0f05 c3")
    assert code.calls(call + begin + stores + end, 425, imports_syscall=False)
    assert not code.calls(call + begin + end, 425, imports_syscall=False), "another function"
    assert not code.calls(call + begin + stores + bytes(700), 425, imports_syscall=False)


def test_programs_in_an_image(tmp_path: Path) -> None:
    raw = bytes.fromhex("b8a9010000 0f05")
    path = layer(tmp_path / "layer", {"/app": elf(code=V3 + raw), "/arm": elf(183, code=V3 + raw)})
    app, arm = read([path], IMAGE, [spec(argv=("/app",)), spec(argv=("/arm",))])
    assert [each.code_level for each in (*app.binaries, *arm.binaries)] == [3, 0]
    assert [row.name for row in app.software] == ["io_uring"]
    assert arm.software == ()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="a compiler makes the files")
def test_code_of_a_compiler(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(
        "float sum(float *a, float *b, int n) {\n"
        "  float s = 0;\n"
        "  for (int i = 0; i < n; i++) s += a[i] * b[i];\n"
        "  return s;\n"
        "}\n"
        "#ifdef __SSE4_2__\n"
        "unsigned sums(unsigned n, unsigned m) {\n"
        "  n = __builtin_ia32_crc32si(n, m), n = __builtin_ia32_crc32si(n, m + 1);\n"
        "  return __builtin_ia32_crc32si(n, m + 2);\n"
        "}\n"
        "#endif\n"
        "int main(int c, char **v) { float a[9] = {c}, b[9] = {c}; return sum(a, b, c) > 9; }\n"
    )
    levels = {}
    wide = "-mprefer-vector-width=512"
    for name in ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"):
        argv = ["gcc", "-O3", "-ffast-math", f"-march={name}", wide, "-o", name, "a.c"]
        process.run(argv, cwd=tmp_path)
        levels[name] = level_of(tmp_path / name)
    assert levels == {"x86-64": 0, "x86-64-v2": 2, "x86-64-v3": 3, "x86-64-v4": 4}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="a compiler makes the file")
def test_text_in_code_is_no_instruction(tmp_path: Path) -> None:
    functions = "".join(
        f"__attribute__((noinline)) char *put{n}(char *to, long more)\n"
        f'{{ memcpy(to, "{first}bad", 4); return to + more * {n}; }}\n'
        for n, first in enumerate("({ [<", 1)
    )
    calls = " + ".join(f"(put{n}(some, count) - some)" for n in range(1, 6))
    (tmp_path / "a.c").write_text(
        f"#include <string.h>\nstatic char some[99];\n{functions}"
        f"int main(int count, char **word) {{ return {calls} > 9; }}\n"
    )
    process.run(["gcc", "-O2", "-o", "a", "a.c"], cwd=tmp_path)
    looks_like = (tmp_path / "a").read_bytes().count(b"bad\x48")
    assert looks_like >= 3, "the compiler has to make what looks like EVEX"
    assert level_of(tmp_path / "a") == 0


_LOOP = """\
AVX2 void fast(TYPE *a, TYPE *b) { for (int i = 0; i < 64; i++) a[i] += b[i] * 3; }
void slow(TYPE *a, TYPE *b) { for (int i = 0; i < 64; i++) a[i] += b[i] * 3; }
int main(int c, char **v) {
  static TYPE a[64], b[64];
  if (ASK) fast(a, b); else slow(a, b);
  return a[c] > 9;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="a compiler makes the files")
@pytest.mark.parametrize("kind", ["int", "float"])
def test_programs_that_ask_a_library(tmp_path: Path, kind: str) -> None:
    """They are for the baseline, whatever functions for AVX2 they have beside."""
    (tmp_path / "has.c").write_text('int f(void) { return __builtin_cpu_supports("avx2"); }\n')
    process.run(["gcc", "-shared", "-fPIC", "-o", "libown.so", "has.c"], cwd=tmp_path)
    asking = {
        "own": ("int f(void);", "f()"),
        "glibc": ("#include <sys/platform/x86.h>", "CPU_FEATURE_ACTIVE(AVX2)"),
        "nothing": ("", "c"),
    }
    found = {}
    for name, (begin, ask) in asking.items():
        march = "x86-64-v3" if name == "nothing" else "x86-64"
        (tmp_path / "a.c").write_text(
            f'{begin}\n#define AVX2 __attribute__((target("avx2,fma")))\n'
            f"#define TYPE {kind}\n#define ASK {ask}\n{_LOOP}"
        )
        more = ["./libown.so"] if name == "own" else []
        argv = ["gcc", "-O3", f"-march={march}", "-o", name, "a.c", *more]
        process.run(argv, cwd=tmp_path)
        found[name] = level_of(tmp_path / name)
    assert found == {"own": 0, "glibc": 0, "nothing": 3}


@pytest.mark.skipif(shutil.which("gcc") is None, reason="a compiler makes the files")
@pytest.mark.parametrize("march", ["x86-64", "x86-64-v3"])
def test_a_program_without_floating_point(tmp_path: Path, march: str) -> None:
    (tmp_path / "a.c").write_text(
        "#include <stdlib.h>\n"
        "static long mix(unsigned long x, int by) { return (x << by) ^ (x >> (by + 3)); }\n"
        "int main(int count, char **word) {\n"
        "  unsigned long some = count, by = count;\n"
        "  for (int i = 0; i < 99; i++) some = mix(some, by + i) & ~(some - 1);\n"
        "  return (some >> by) + (some << (by + 1)) > rand();\n"
        "}\n"
    )
    process.run(["gcc", "-O2", f"-march={march}", "-o", "a", "a.c"], cwd=tmp_path)
    assert level_of(tmp_path / "a") == (3 if march == "x86-64-v3" else 0)


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="others are built for more")
def test_programs_of_this_machine_are_for_the_baseline() -> None:
    """Debian is built for the baseline: no program of it may be taken for more."""
    found = {}
    for path in sorted(Path("/usr/bin").iterdir())[:400]:
        data = path.read_bytes()[: 8 << 20] if path.is_file() else b""
        try:
            read_ = parse(lambda at, size, data=data: data[at : at + size])
        except ElfError:
            continue
        parts = [data[at : at + size] for at, size in read_.code]
        found[path.name], _ = code.level(*parts, alone=True)
    assert {name for name, level in found.items() if level} == set()


def test_instructions_that_no_level_includes() -> None:
    for name, text in (
        ("aes", "660f38dcc1"),  # aesenc %xmm1,%xmm0
        ("aes", "66440f3adfc101"),  # aeskeygenassist
        ("aes", "c4e279dcc1"),  # vaesenc
        ("pclmulqdq", "660f3a44c100"),
        ("sha_ni", "0f38cbc1"),  # sha256rnds2
        ("sha_ni", "0f3accc101"),  # sha1rnds4
    ):
        one = bytes.fromhex(text)
        assert code.features(PLAIN + one * 3) == (name,), text
        assert code.features(PLAIN + one * 2) == (), "that may be numbers"
        assert code.features(PLAIN + one * 3, CPUID) == (), "it asks the processor"
    assert code.features(V3 * 9, V4 * 9, CRC32 * 9) == ()
