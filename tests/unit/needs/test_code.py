"""What machine code shows: a level that no note tells, and a system call."""

import shutil
from pathlib import Path

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
CPUID = bytes.fromhex("31c0 0fa2")
PLAIN = bytes.fromhex("554889e5 f30f10450c f30f58c1 5d c3") * 50


def test_a_level() -> None:
    assert code.level(PLAIN) == code.level(b"") == 0
    assert code.level(PLAIN + V3) == 3
    assert code.level(PLAIN + V3 + CPUID) == 0, "it may take the right one of several"
    assert code.level(PLAIN + V3, CPUID) == 0, "in another segment, too"
    assert code.level(PLAIN, V3[:9], V3[9:]) == 3, "of all parts"
    assert code.level(V3[:9]) == 0, "that may be numbers"
    assert code.level(PLAIN * 400 + V3) == 0, "few in much code"
    assert code.level(PLAIN * 400 + CRC32 * 3) == 2
    assert code.level(PLAIN + CRC32 * 3 + V3) == 3
    assert code.level(PLAIN + CRC32 * 3 + CPUID) == 0
    assert code.level(PLAIN + POPCNT * 3) == 0, "models below v2 have it, too"
    assert code.level(PLAIN + V3 + V4) == 4
    for text in BAD:
        assert code.level(PLAIN + text * 3) == 0, "text of a disassembler, as an immediate value"


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
        "/neither": elf(code=V3 * 9, codes=(PLAIN,)),
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
        data = (tmp_path / name).read_bytes()
        found = parse(lambda at, size, data=data: data[at : at + size])
        levels[name] = max(code.level(data[at : at + size]) for at, size in found.code)
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
    data = (tmp_path / "a").read_bytes()
    assert data.count(b"bad\x48") >= 3, "the compiler has to make what looks like EVEX"
    found = parse(lambda at, size: data[at : at + size])
    assert [code.level(data[at : at + size]) for at, size in found.code] == [0]


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
        found[path.name] = max(
            (code.level(data[at : at + size]) for at, size in read_.code), default=0
        )
    assert {name for name, level in found.items() if level} == set()
