"""Inputs of up to a megabyte that take hours when anything in the reading is quadratic: that these
tests end is what they show."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit import app as apps
from portkit.app import document, envfile, words
from portkit.app.environment import interpolate
from portkit.errors import AppError

HEAD = "services:\n  a:\n    image: x\n"


def test_many_ranges_of_ports(tmp_path: Path) -> None:
    rows = "".join(f"      - '{n}-{n + 999}:{n}-{n + 999}'\n" for n in range(1, 60_000, 200))
    (tmp_path / "compose.yaml").write_text(HEAD + "    ports:\n" + rows)
    with pytest.raises(AppError, match="at most 2000 ports"):
        apps.load(tmp_path, environ={})


def test_many_volumes(tmp_path: Path) -> None:
    rows = "".join(f"      - /d{n}\n" for n in range(20_000))
    (tmp_path / "compose.yaml").write_text(HEAD + "    volumes:\n" + rows)
    assert len(apps.load(tmp_path, environ={}).services[0].volumes) == 20_000


@pytest.mark.parametrize("text", ["- a\n", "[],", "a,", "- !x a\n", "- &a\n- *a\n"])
def test_many_values_end_the_reading_early(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before the end of the file: a megabyte of them took ten seconds and 400 MB."""
    monkeypatch.setattr(document, "_COMPOSED", document._COMPOSED // 10)
    head = "x: [" if text.endswith(",") else "x:\n"
    (tmp_path / "compose.yaml").write_text(head + text * (1_000_000 // len(text)))
    with pytest.raises(AppError, match=r"too many values|duplicate anchor"):
        apps.load(tmp_path, environ={})


def test_a_tab_behind_a_value_is_white_space(tmp_path: Path) -> None:
    """As in compose, whose reader is libyaml in Go."""
    (tmp_path / "compose.yaml").write_text("services:\n  a:\n    image: x\t\n    user: u\t# it\n")
    service = apps.load(tmp_path, environ={}).services[0]
    assert (service.image, service.user) == ("x", "u")


@pytest.mark.parametrize(
    ("files", "size", "why"), [(101, 4, "more than 100 env files"), (2, 600_000, "together")]
)
def test_many_env_files(files: int, size: int, why: str, tmp_path: Path) -> None:
    for number in range(files):
        (tmp_path / f"e{number}").write_text(f"A={'x' * (size - 3)}\n")
    rows = "".join(f"      - e{number}\n" for number in range(files))
    (tmp_path / "compose.yaml").write_text(HEAD + "    env_file:\n" + rows)
    with pytest.raises(AppError) as caught:
        apps.load(tmp_path, environ={})
    assert why in caught.value.details


@pytest.mark.parametrize(
    "text",
    [
        "A=" + " " * 1_000_000 + "x",
        "A=x" + " " * 1_000_000 + "y",
        "A='" + "\\" * 1_000_000,
        'A="' + "\\n" * 400_000 + '"',
        "A" * 1_000_000,
        "A=1\n" * 200_000,
        "\n" * 1_000_000 + "=",
        "#\n" * 500_000,
        "export " * 140_000,
        "A='b'" + " " * 1_000_000 + "c",
    ],
    ids=range(10),
)
def test_long_env_files(text: str) -> None:
    with contextlib.suppress(AppError):
        envfile.parse(text.encode(), "e", {"A": "x"})


@pytest.mark.parametrize(
    "text",
    [
        "${A:-" * 200_000,
        "${A:-{" * 100_000 + "}",
        "${B:-x}" * 140_000,
        "$" * 1_000_000,
        "${B}\n" * 100_000,
        "${A:?" + "${B:-x}" * 100_000 + "}",
    ],
    ids=range(6),
)
def test_long_values(text: str) -> None:
    for read in (lambda: interpolate(text, {}), lambda: words.split(text)):
        with contextlib.suppress(ValueError):
            read()


@given(st.text(alphabet="ab'\"\\ $(){}`;|#=:\n\t", max_size=60))
def test_any_command_ends_in_words_or_valueerror(text: str) -> None:
    with contextlib.suppress(ValueError):
        words.split(text)


@given(st.lists(st.text(alphabet="ab \\'\"$;é", max_size=8), max_size=5))
def test_quoted_words_come_back(told: list[str]) -> None:
    text = " ".join('"' + w.replace("\\", "\\\\").replace('"', '\\"') + '"' for w in told)
    assert words.split(text) == (tuple(told), False)


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,6}", fullmatch=True), st.text()))
def test_a_quoted_env_file_comes_back(told: dict[str, str]) -> None:
    told = {key: text.replace("\0", "") for key, text in told.items()}
    rows = []
    for key, text in told.items():
        quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
        rows.append(f'{key}="{quoted}" # c\n')
    assert envfile.parse("".join(rows).encode("utf-8", "ignore"), "e", {}) == {
        key: text.encode("utf-8", "ignore").decode() for key, text in told.items()
    }
