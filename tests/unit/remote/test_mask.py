"""What a build prints says no value of a build argument."""

import json

from hypothesis import given
from hypothesis import strategies as st

from portkit.remote.mask import masker

VALUES = st.text(min_size=4, max_size=30).filter(lambda text: len(text.strip()) >= 4)


@given(VALUES, st.text(max_size=10), st.text(max_size=10))
def test_a_value_is_hidden_wherever_it_stands(value: str, before: str, after: str) -> None:
    masked = masker({"TOKEN": value})
    for said in (value, json.dumps(value)):
        if value not in before + after:
            assert value not in masked(f"a {said} z").replace("***", "")


def test_lines_of_a_long_value() -> None:
    masked = masker(
        {"KEY": "-----BEGIN-----\nMIIEow\n", "OTHER": "hunter2", "PART": "hunter2-long"}
    )
    assert masked("#5 RUN echo MIIEow") == "#5 RUN echo ***"
    assert masked("KEY=-----BEGIN-----") == "KEY=***"
    assert masked("hunter2-long hunter2") == "*** ***"


def test_a_short_value_is_hidden_behind_its_name_only() -> None:
    masked = masker({"PIN": "123", "EMPTY": ""})
    assert masked("#1 RUN |1 PIN=123 /bin/sh") == "#1 RUN |1 *** /bin/sh"
    assert masked("#123 1234 PIN=1234") == "#123 1234 PIN=1234"
    assert masker({})("as it is") == "as it is"
