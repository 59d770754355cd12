"""What machine code shows: instructions that no note tells, and a system call."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portkit import process
from portkit.engines.cpu_models import LEVELS
from portkit.model import Binary
from portkit.needs import code, instructions, read
from portkit.needs.elf import ElfError, parse
from tests.elves import LOADER, elf, glibc, layer
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


SSSE3 = bytes.fromhex("660f3800c1")  # pshufb
_FILE = elf()
ELF = parse(lambda at, size: _FILE[at : at + size])


def runs(
    *parts: bytes, alone: bool = True, library: bool = False
) -> tuple[frozenset[str], frozenset[str]]:
    """What it certainly runs, and what perhaps."""
    read_ = replace(ELF, code=tuple((0, len(part)) for part in parts))
    return code.runs(code.scan(parts, (), read_), alone=alone, library=library)


def certain(*parts: bytes) -> set[str]:
    return set(runs(*parts)[0])


def binary(path: Path, *libraries: Path, **changes: Any) -> Binary:
    """A whole program, as a service's needs show it."""
    files = {"/app": path.read_bytes(), **{f"/lib/{n.name}": n.read_bytes() for n in libraries}}
    files |= {each: elf(soname=each[5:]) for each in ("/lib/libc.so.6", "/lib/libm.so.6")}
    files[LOADER] = elf(soname="ld-linux-x86-64.so.2", defined=("GLIBC_PRIVATE",))
    made = layer(path.with_name("layer"), files)
    (found,) = read([made], IMAGE, [spec(argv=("/app",), cwd="/", **changes)])
    (one,) = (each for each in found.binaries if each.path == "/app")
    return one


def level_of(path: Path, *libraries: Path) -> int:
    """The level that its instructions are of for certain."""
    flags = set(binary(path, *libraries).features)
    return max((at for at, names in enumerate(LEVELS, 2) if names & flags), default=0)


def test_instructions_of_all_code() -> None:
    v3 = {"avx", "fma", "bmi2"}
    assert certain(PLAIN) == certain(b"") == set()
    assert certain(V3 * 3) == v3
    assert certain(V3 * 3 + CPUID) == certain(V3 * 3, CPUID) == set(), "it may take the right one"
    assert certain(PUSH, V3 * 2, V3) == v3, "of all parts"
    assert certain(V3[:9]) == set(), "that may be numbers"
    assert certain(PUSH * 8000 + V3) == set(), "few in much code"
    assert certain(PLAIN * 400 + CRC32 * 3) == {"sse4_2"}
    assert certain(CRC32 * 3 + V3 * 3) == {*v3, "sse4_2"}
    assert certain(PLAIN + CRC32 * 3 + CPUID) == set()
    assert certain(PLAIN + POPCNT * 3) == {"popcnt"}
    assert certain(V3 * 3 + V4) == {*v3, "avx512f"}
    for text in BAD:
        assert runs(PLAIN + text * 3) == (set(), set()), "text of a disassembler"


def test_what_others_may_choose() -> None:
    """A library may have told the program what the processor can."""
    avx, three = {"avx"}, V3[:4] * 3
    assert runs(PLAIN + three, alone=False) == (set(), set()), "most of it is for the baseline"
    assert runs(PLAIN + three, alone=True) == (set(), avx)
    assert runs(PUSH + three, alone=False) == (set(), avx), "the rest does not show anything"
    assert runs(PUSH * 20000 + three * 20, alone=False) == (avx, set()), "the baseline has SSE"
    assert runs(PLAIN + CRC32 * 3, alone=False) == (set(), {"sse4_2"}), "beside SSE that is usual"
    large = PUSH * 50000 + three * 20
    assert runs(large + CPUID) == (set(), avx), "bytes that look like cpuid are in much code"
    assert runs(large + PLAIN * 50 + CPUID) == (set(), set())


def test_what_is_called_of_a_library_is_not_known() -> None:
    assert runs(PLAIN + CRC32 * 3, library=True) == (set(), {"sse4_2"})
    assert runs(PLAIN + CRC32 * 3, library=True, alone=False) == (set(), set())
    assert "avx" in runs(V3 * 9, library=True)[0], "nothing chooses"
    assert "avx" in runs(V3 * 9, library=True, alone=False)[1]


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
    made = {"interpreter": LOADER, "code": V3 * 9}
    alone, told = tmp_path / "alone", tmp_path / "told"
    alone.write_bytes(elf(needed=("libc.so.6", "libm.so.6"), names=("printf",), **made))
    told.write_bytes(elf(**made, **more))
    own = tmp_path / "libown.so"
    own.write_bytes(elf(code=CPUID))
    assert (level_of(alone), level_of(told, own)) == (3, 0)
    own.write_bytes(elf(code=PLAIN))
    found = level_of(told, own)
    assert found == (3 if "libown.so" in more.get("needed", ()) else 0), "it cannot know it"


def test_instructions_of_a_library(tmp_path: Path) -> None:
    """The program is for the baseline, and nothing in the process asks the processor."""
    files = {**glibc(), "/app": elf(interpreter=LOADER, needed=("libx.so",), code=PLAIN)}
    asks = {**files, "/app": elf(interpreter=LOADER, needed=("libx.so",), code=PLAIN + CPUID)}

    def of(files: dict[str, bytes]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        path = layer(tmp_path / "layer", files)
        (found,) = read([path], IMAGE, [spec(argv=("/app",), cwd="/")])
        one = next(each for each in found.binaries if each.path == "/lib/libx.so")
        return one.features, one.perhaps_features

    v3 = {"/lib/libx.so": elf(code=V3 * 9)}
    assert of({**files, **v3}) == (("avx", "bmi2", "fma"), ())
    assert of({**asks, **v3}) == ((), ("avx", "bmi2", "fma"))
    assert of({**files, "/lib/libx.so": elf(code=V3 * 9 + CPUID)}) == ((), ())
    assert of({**files, "/lib/libx.so": elf(code=PLAIN + CRC32 * 3)}) == ((), ("sse4_2",))


def test_what_go_was_told(tmp_path: Path) -> None:
    stated = b"build\tGOARCH=amd64\nbuild\tGOAMD64=v3\n"
    assert code.go_level(b"x" * 99 + stated) == 3
    assert code.go_level(stated.replace(b"v3", b"v1")) == code.go_level(b"GOAMD64=v3\n") == 0
    files = {"/app": elf(code=CPUID + stated), "/lower": elf(code=V3 * 9 + b"build\tGOAMD64=v2\n")}
    path = layer(tmp_path / "layer", files)
    app, lower = read([path], IMAGE, [spec(argv=("/app",)), spec(argv=("/lower",))])
    assert [each.level for each in (*app.binaries, *lower.binaries)] == [3, 2]


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
    has = {each.command: "avx" in each.binaries[0].features for each in found}
    assert has == {"/both": False, "/apart": False, "/neither": True, "/large": False}


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
    path = layer(
        tmp_path / "layer", {"/app": elf(code=V3 * 3 + raw), "/arm": elf(183, code=V3 * 3 + raw)}
    )
    app, arm = read([path], IMAGE, [spec(argv=("/app",)), spec(argv=("/arm",))])
    assert [bool(each.features) for each in (*app.binaries, *arm.binaries)] == [True, False]
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
        libraries = [tmp_path / "libown.so"] if name == "own" else []
        found[name] = level_of(tmp_path / name, *libraries)
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
        found[path.name] = code.runs(code.scan(parts, (), read_), alone=True, library=False)
    assert {name: flags for name, flags in found.items() if any(flags)} == {}


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("aes", "660f38dcc1"),  # aesenc %xmm1,%xmm0
        ("aes", "66440f3adfc101"),  # aeskeygenassist
        ("aes", "c4e279dcc1"),  # vaesenc
        ("vaes", "c4e27ddcc1"),  # of 256 bits
        ("pclmulqdq", "660f3a44c100"),
        ("vpclmulqdq", "c4e37d44c100"),
        ("sha_ni", "0f38cbc1"),  # sha256rnds2
        ("sha_ni", "0f3accc101"),  # sha1rnds4
        ("gfni", "660f38cfc1"),
        ("pni", "f20f7cc1"),  # haddps
        ("pni", "f20f12c1"),  # movddup
        ("ssse3", "660f3800c1"),
        ("sse4_1", "660f3840c1"),
        ("sse4_2", "f2480f38f1c1"),
        ("sse4a", "f20f2b07"),  # movntsd
        ("popcnt", "f3480fb8c0"),
        ("abm", "f3480fbdc0"),  # lzcnt
        ("movbe", "480f38f007"),
        ("adx", "66480f38f6c1"),
        ("adx", "f3480f38f6c1"),
        ("fsgsbase", "f3480faec0"),  # rdfsbase
        ("xop", "8fe878a2c110"),  # vpcmov
        ("fma4", "c4e3f969c120"),
        ("bmi1", "c4e278f2c1"),  # andn
        ("bmi2", "c4e27bf6c1"),  # mulx
        ("bmi2", "c4e37bf0c105"),  # rorx
        ("f16c", "c4e27d13c1"),
        ("fma", "c4e275a8c2"),
        ("avx", "c5fc1000"),
        ("avx2", "c5fdefc0"),
        ("avx512f", "62f17c481000"),
        ("avx_vnni", "c4e27d50c1"),
    ],
)
def test_the_flag_of_an_instruction(flag: str, text: str) -> None:
    one = bytes.fromhex(text) + b"\xc3"
    count = 4 if flag == "sha_ni" else 3  # each of which needs another one close behind
    found = instructions.of(PUSH * 50 + one * count)
    assert {*found.avx, *found.others} - {"avx"} == {flag} - {"avx"}
    assert flag in {*found.avx, *found.others}
    if flag != "fsgsbase":
        few = instructions.of(PUSH * 50 + one * (count - 1))
        assert (few.avx, few.others) == (set(), set()), "that may be numbers"


def test_a_comparison_behind_a_number_is_no_hash() -> None:
    """As zig makes it: vpextrb $15, before cmp %cl,%al."""
    looks_like = bytes.fromhex("c4e37914c90f 38c8 0f46c1") + PUSH * 20
    assert instructions.of(looks_like * 9).others == set()


def test_random_numbers_are_read_in_one_place() -> None:
    for flag, text in (("rdrand", "0fc7f0 8907 b801000000 0f42c1"), ("rdseed", "480fc7f8 0f92c0")):
        assert instructions.of(PUSH * 50 + bytes.fromhex(text)).others == {flag}
    assert instructions.of(PUSH * 50 + bytes.fromhex("f30fc7f8 0f92c0") * 9).others == set(), (
        "rdpid"
    )
    assert instructions.of(PUSH * 50 + bytes.fromhex("0fc7f0 c3")).others == set(), (
        "it asks no carry"
    )


STATIC_TIME = bytes.fromhex("4883ec08 48c7c0000460ff ffd0 4883c408 c3")  # mov, call *%rax


def test_a_static_program_that_calls_a_vsyscall(tmp_path: Path) -> None:
    def software(program: bytes) -> list[str]:
        path = layer(tmp_path / "layer", {"/app": program, **glibc()})
        (found,) = read([path], IMAGE, [spec(argv=("/app",), cwd="/")])
        return [each.name for each in found.software]

    assert software(elf(code=STATIC_TIME)) == ["vsyscall"]
    assert software(elf(code=PLAIN)) == []
    assert software(elf(3, bits=32, code=STATIC_TIME)) == []
    dynamic = elf(interpreter=LOADER, needed=("libc.so.6",), code=STATIC_TIME)
    assert software(dynamic) == [], "the version of its C library tells"


def test_jemalloc_in_a_program_or_a_library(tmp_path: Path) -> None:
    text = b"<jemalloc>: Unsupported system page size\n"
    loader = "/lib/ld-linux-aarch64.so.1"
    files = {
        "/app": elf(183, interpreter=loader, needed=("libj.so",)),
        loader: elf(183, soname="ld-linux-aarch64.so.1", defined=("GLIBC_PRIVATE",)),
        "/lib/libj.so": elf(183, code=text),
        "/own": elf(183, code=text),
        "/x86": elf(code=text),
    }
    path = layer(tmp_path / "layer", files)
    found = read([path], IMAGE, [spec(argv=(each,), cwd="/") for each in ("/app", "/own", "/x86")])
    places = [[(row.name, row.path) for row in each.software] for each in found]
    assert places == [[("jemalloc", "/lib/libj.so")], [("jemalloc", "/own")], []]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="a compiler makes the files")
def test_threads_of_a_static_program(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(
        "#include <pthread.h>\n"
        "static void *run(void *word) { return word; }\n"
        "int main(void) { pthread_t one; return pthread_create(&one, 0, run, 0); }\n"
    )
    process.run(["gcc", "-static", "-pthread", "-o", "a", "a.c"], cwd=tmp_path)
    path = layer(tmp_path / "layer", {"/app": (tmp_path / "a").read_bytes()})
    (found,) = read([path], IMAGE, [spec(argv=("/app",), cwd="/")])
    assert "clone3" in [each.name for each in found.calls]
    assert found.threads is None
