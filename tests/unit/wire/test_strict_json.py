"""JSON from elsewhere: read, or a ValueError that quotes nothing of it."""

import json
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.wire import strict_json

SECRET = "hunter2"
PLAIN = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | PLAIN,
    lambda inner: st.lists(inner) | st.dictionaries(PLAIN, inner),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_json_is_read(value: object) -> None:
    assert strict_json.loads(json.dumps(value).encode()) == value
    assert strict_json.loads(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "data",
    [
        b'{"P": "hunter2", "P": "hunter2"}',
        b'["hunter2", NaN]',
        b'["hunter2", -Infinity]',
        b'["hunter2", "\\ud800"]',
        b'["hunter2", "\\uDFFF\\ud800"]',
        b'{"hunter2 \\udc00": 1}',
        '["hunter2", "\ud800"]'.encode("utf-8", "surrogatepass"),
        '["hunter2"]'.encode("utf-16"),
        b'["hunter2", "\xff"]',
        b'["hunter2"',
        b'["hunter2"] ["hunter2"]',
        b'["hunter2", ' + b"[" * 100_000,
        b'["hunter2", ' + b"9" * 10_000 + b"]",
        b'["hunter2"' + b",{}" * 600_000 + b"]",
        b'["hunter2", ' + b"[" * 100 + b"]" * 101,
        b'["hunter2", ' + b"9" * 401 + b"]",
        b'["hunter2"' + b" " * strict_json.LIMIT + b"]",
    ],
    ids=range(17),
)
def test_refused_without_a_word_of_it(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[^{]*$") as caught:
        strict_json.loads(data)
    assert SECRET not in f"{caught.value!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_whole_pair_is_a_character() -> None:
    assert strict_json.loads(b'"\\ud83d\\ude00"') == "\U0001f600"


@given(st.binary(max_size=300))
def test_noise(data: bytes) -> None:
    try:
        strict_json.loads(data)
    except ValueError:
        return


def test_halves_where_they_are_allowed() -> None:
    """Names of files travel to a host as Python keeps bytes that are not UTF-8."""
    assert strict_json.loads(b'{"\\udcff": 1}', halves=True) == {"\udcff": 1}


def _many(number: int, shape: str) -> bytes:
    return b"[" + b",".join(shape.replace("N", str(i)).encode() for i in range(number)) + b"]"


@pytest.mark.parametrize(
    "make",
    [
        lambda: '["\N{PARTY POPPER}'.encode().ljust(strict_json.LIMIT - 2, b"x") + b'"]',
        lambda: '["\N{PARTY POPPER}'.encode() + b"\\n" * (strict_json.LIMIT // 2 - 4) + b'"]',
        lambda: _many(strict_json.MAX_VALUES // 2 - 1, '{"kN":1N}'),
        lambda: _many(strict_json.MAX_VALUES - 2, '"\N{PARTY POPPER}aaaaaaaaN"'),
        lambda: _many(strict_json.MAX_VALUES - 2, "1N.5"),
    ],
    ids=["one wide text", "escapes", "objects", "wide texts", "numbers"],
)
def test_what_is_at_the_limits_costs_below_200_mib(make: Callable[[], bytes]) -> None:
    data = make()
    assert len(data) <= strict_json.LIMIT
    tracemalloc.start()
    try:
        strict_json.loads(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 << 20
