"""What the guest's DHCP client makes of replies: anybody in its network can send them.

It is compiled for this machine with the compiler's checks of memory and of undefined behaviour,
which end it at the first byte that it reads where it may not.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portkit import process

HERE = Path(__file__).parent
CARD, ID, ADDRESS = bytes((2, 0, 0, 0, 0, 1)), 0x01020304, 0x0A00A8C0
OFFER, ACK = 2, 5
MASK, ROUTER, NAMES, SECONDS, KIND, SERVER, END = 1, 3, 6, 51, 53, 54, 255
FOREVER = 0xFFFFFFFF
HEAD = 240  # bytes before the options
MOST = HEAD + 312  # what the client receives at most; the kernel cuts off the rest
# address, mask, router, server, seconds, servers of names
Lease = tuple[int, int, int, int, int, tuple[int, ...]]
UNTOUCHED: Lease = (ADDRESS, 0, 0, 0, 0, ())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("dhcp") / "replies"
    checks = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
    warnings = ["-Wall", "-Wextra", "-Wno-unused-function"]
    process.run(["gcc", *checks, *warnings, "-o", made, HERE / "dhcp_replies.c"], timeout=120)
    return made


@pytest.fixture(scope="module")
def client(compiled: Path) -> Iterator[process.Process]:
    with process.popen([compiled], stdin=process.PIPE, stdout=process.PIPE) as running:
        yield running
        assert running.stdin is not None
        running.stdin.close()
        assert running.wait(10) == 0


def frame(reply: bytes, wanted: int) -> bytes:
    return struct.pack("<HB", len(reply), wanted) + reply


def reply(options: bytes, *, op: int = 2, number: int = ID, yours: int = ADDRESS) -> bytes:
    head = struct.pack("<4BIHHIIII", op, 1, 6, 0, number, 0, 0, 0, yours, 0, 0)
    return head + CARD + bytes(10 + 192) + bytes((99, 130, 83, 99)) + options


def option(kind: int, data: bytes) -> bytes:
    return bytes((kind, len(data))) + data


def understood(line: bytes) -> tuple[bool, Lease]:
    taken, address, mask, router, server, seconds, *names = line.split()
    numbers = [int(each, 16) for each in (address, mask, router, server)]
    lease = (*numbers, int(seconds), tuple(int(each, 16) for each in names))
    return taken == b"1", lease


def told(client: process.Process, data: bytes, wanted: int) -> tuple[bool, Lease]:
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(frame(data, wanted))
    client.stdin.flush()
    with process.deadline(client, 20):
        line = client.stdout.readline()
    assert line, "it ended: it read what it may not"
    return understood(line)


def expected(data: bytes, wanted: int) -> tuple[bool, Lease]:
    """The same, written down another way."""
    found: dict[int, list[bytes]] = {}
    rest = data[HEAD:]
    while rest and rest[0] != END:
        if not rest[0]:
            rest = rest[1:]
        elif len(rest) < 2 or len(rest) < 2 + rest[1]:
            break
        else:
            found.setdefault(rest[0], []).append(rest[2 : 2 + rest[1]])
            rest = rest[2 + rest[1] :]

    def first(kind: int, least: int) -> bytes | None:
        return next((each for each in found.get(kind, []) if len(each) >= least), None)

    def number(kind: int) -> int:
        value = first(kind, 4)
        return int.from_bytes(value[:4], "little") if value else 0

    if len(data) <= HEAD or data[0] != 2 or data[4:8] != ID.to_bytes(4, "little"):
        return False, UNTOUCHED
    yours = int.from_bytes(data[16:20], "little")
    same = data[236:240] == bytes((99, 130, 83, 99)) and data[28:34] == CARD
    kind = first(KIND, 1)
    if not (same and yours and kind and kind[0] == wanted):
        return False, UNTOUCHED
    if wanted == ACK and yours != ADDRESS:
        return False, UNTOUCHED
    span, servers = first(SECONDS, 4), first(NAMES, 4) or b""
    seconds = int.from_bytes(span[:4], "big") if span else FOREVER
    names = [int.from_bytes(servers[at : at + 4], "little") for at in range(0, len(servers) - 3, 4)]
    lease = (yours, number(MASK), number(ROUTER), number(SERVER), seconds, tuple(names[:3]))
    return True, lease


_KINDS = st.sampled_from((0, MASK, ROUTER, NAMES, SECONDS, KIND, SERVER, 12, 52, END))
_OPTIONS = st.lists(
    st.one_of(
        st.builds(option, _KINDS, st.binary(max_size=20)),
        st.sampled_from((option(KIND, bytes((OFFER,))), option(KIND, bytes((ACK,))))),
        st.sampled_from((b"\0", b"\xff", b"\6\xff", b"\6", option(NAMES, bytes(252)))),
        st.binary(max_size=8),
    ),
    max_size=12,
).map(b"".join)
_REPLIES = st.one_of(
    st.builds(reply, _OPTIONS),
    st.builds(
        reply,
        _OPTIONS.map(lambda rest: option(KIND, bytes((OFFER,))) + rest),
        yours=st.integers(0, 2**32 - 1),
    ),
    st.builds(reply, _OPTIONS, op=st.integers(0, 255), number=st.integers(0, 2**32 - 1)),
    st.binary(max_size=HEAD + 20),
)


@given(_REPLIES, st.integers(0, MOST), st.sampled_from((OFFER, ACK)))
@settings(max_examples=300, deadline=None)
def test_any_reply_is_taken_or_left(
    client: process.Process, data: bytes, length: int, wanted: int
) -> None:
    for cut in (data[:MOST], data[:length]):
        assert told(client, cut, wanted) == expected(cut, wanted)


def test_what_a_server_says(client: process.Process) -> None:
    names = b"".join(bytes((10, 0, 0, each)) for each in range(1, 6))
    options = b"".join(
        (
            b"\0\0",
            option(KIND, bytes((ACK,))),
            option(MASK, b"\xff\xff\xff\0"),
            option(ROUTER, bytes((10, 0, 0, 1))),
            option(SECONDS, (3600).to_bytes(4, "big")),
            option(NAMES, names),
            option(SERVER, bytes((10, 0, 0, 9))),
            b"\xff",
        )
    )
    taken, lease = told(client, reply(options), ACK)
    servers = (0x0100000A, 0x0200000A, 0x0300000A)
    assert (taken, lease) == (True, (ADDRESS, 0x00FFFFFF, 0x0100000A, 0x0900000A, 3600, servers))


def test_those_that_lie_hold_nobody_up(compiled: Path) -> None:
    """Of many replies in the socket the first right one is taken, however many came before."""
    lies = [reply(option(KIND, b"\2"), number=7), b"", b"x" * 300, reply(b"\6\xff" * 150)]
    right = reply(option(KIND, bytes((OFFER,))), yours=0x0B00A8C0)
    data = b"".join(frame(each, OFFER) for each in (*lies * 2, right))
    out = process.run([compiled, "all"], input=data, timeout=60).stdout
    assert understood(out) == (True, (0x0B00A8C0, 0, 0, 0, FOREVER, ()))


def test_where_all_lie_it_gives_up(compiled: Path) -> None:
    data = b"".join(frame(reply(option(KIND, b"\2"), number=7), OFFER) for _ in range(5))
    out = process.run([compiled, "all"], input=data, timeout=60).stdout
    assert understood(out) == (False, UNTOUCHED)
