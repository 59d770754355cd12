"""JSON from elsewhere: read, or a ValueError that quotes nothing of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit import strict_json

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
    ],
    ids=range(14),
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
