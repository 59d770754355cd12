"""docs/protocol.md says what the code does."""

import re
from pathlib import Path

from portkit.host import calls, pipes
from portkit.remote import channel, engine, serve
from portkit.wire import frames, strict_json

PAGE = (Path(__file__).parents[3] / "docs/protocol.md").read_text()


def test_every_verb_is_documented_and_no_other() -> None:
    assert set(re.findall(r"^\| `([a-z]+(?:\.[a-z]+)?)` \|", PAGE, re.MULTILINE)) == set(
        serve.VERBS
    )


def test_every_frame_and_limit_is_documented() -> None:
    for kind in frames._LIMITS:
        assert f"| `{kind.decode()}` |" in PAGE
    for what, value in (
        ("4 MiB", frames.JSON_LIMIT == 4 << 20),
        ("1 MiB", frames.DATA_LIMIT == 1 << 20),
        ("120 s", pipes.SILENCE_S == 120),
        ("every 5 s", channel.BEAT_S == 5),
        ("600 s", calls._LIMIT_S == 600),
        ("16 MiB, 120 s", (engine._JSON_LIMIT, engine._GET_S) == (16 << 20, 120)),
        (
            "500,000 values, in a frame 100,000; 100 levels",
            (strict_json.MAX_VALUES, strict_json.MAX_CHECKED, strict_json.MAX_DEPTH)
            == (500_000, 100_000, 100),
        ),
        ("64 MiB |", calls._TALK_BYTES == 64 << 20),
        ("each 1000 bytes", pipes._SLOWEST_BYTES_PER_S == 1000),
    ):
        assert value, what
        assert what in PAGE


def test_calls_with_a_limit_of_their_own_are_verbs() -> None:
    assert set(calls._LIMITS_S) <= set(serve.VERBS)
