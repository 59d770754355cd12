"""What .dockerignore leaves of a context, as moby/patternmatcher has it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portkit.package import ignore


def left(tmp_path: Path, text: str, *files: str) -> set[str]:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = set(ignore.names(tmp_path, ignore.patterns(text)))
    return {name for name in found if (tmp_path / name).is_file()}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", "a.py b/a.py b/c/a.pyc README readme"),
        ("*.py", "b/a.py b/c/a.pyc README readme"),
        ("**/*.py", "b/c/a.pyc README readme"),
        ("**/*.py?", "a.py b/a.py README readme"),
        ("b", "a.py README readme"),
        ("/b/", "a.py README readme"),
        ("b/../b/./c", "a.py b/a.py README readme"),
        ("../b", "a.py b/a.py b/c/a.pyc README readme"),
        ("b\n!b/c/*", "a.py b/c/a.pyc README readme"),
        ("!b/c/*\nb", "a.py README readme"),
        ("*\n!a.py", "a.py"),
        ("**\n!**/c", ""),
        ("b/**\n!b/c", "a.py b/c/a.pyc README readme"),
        ("README", "a.py b/a.py b/c/a.pyc readme"),
        ("[a-b]*", "README readme"),
        ("[^a-b]*", "a.py b/a.py b/c/a.pyc"),
        ("\\a.py", "b/a.py b/c/a.pyc README readme"),
        ("# a.py\n  \r\nb  \r\n", "a.py README readme"),
        ("**/c/**", "a.py b/a.py README readme"),
        ("b/**/a.*", "a.py README readme"),
        ("b**", "a.py README readme"),
    ],
)
def test_patterns(tmp_path: Path, text: str, kept: str) -> None:
    files = ("a.py", "b/a.py", "b/c/a.pyc", "README", "readme")
    assert left(tmp_path, text, *files) == set(kept.split())


@pytest.mark.parametrize("text", ["!", "a[", "[]", "[z-a]", "a\\", "a**b", "x" * 5000])
def test_malformed(text: str) -> None:
    with pytest.raises((ValueError, re.error)):
        ignore.patterns(text)


def test_too_many() -> None:
    with pytest.raises(ValueError, match="more than 2000"):
        ignore.patterns("\n".join(map(str, range(2001))))
    assert len(ignore.patterns("a\n!a\na\n" * 5000)) == 2, "the same again counts once"


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "l").symlink_to(tmp_path)
    assert list(ignore.names(tmp_path, [])) == ["l"]


@pytest.mark.parametrize(
    "text",
    [
        "*a" * 100 + "b",
        "**/" * 100 + "b",
        "**/*a*a*a*a*a*a/" * 20 + "b",
        "**/a/" * 50 + "b",
        "*" * 4000 + "b",
        "*?" * 100 + "b",
    ],
    ids=range(6),
)
def test_that_this_ends_is_what_it_shows(text: str) -> None:
    """Tried at every place, these take longer than the age of the world."""
    (row,) = ignore.patterns(text)
    for name in ("a" * 255, "/".join(["a"] * 2000), "/".join(["a" * 250] * 16)):
        assert not row.matches.fullmatch(name)


def as_moby(pattern: str) -> str:
    """Its own translation, for letters that mean themselves."""
    found, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**", at):
            at += 2
            at += pattern.startswith("/", at)
            found += ".*" if at == len(pattern) else "(.*/)?"
            continue
        found += {"*": "[^/]*", "?": "[^/]"}.get(pattern[at], pattern[at])
        at += 1
    return found


@given(
    st.lists(st.sampled_from(["a", "b", "*", "?", "/", "/**/", "**/"]), min_size=1, max_size=8),
    st.lists(st.sampled_from("aab/"), min_size=1, max_size=10),
)
def test_the_same_as_mobys_expressions(parts: list[str], letters: list[str]) -> None:
    path = "/".join(filter(None, "".join(letters).split("/")))
    try:
        rows = ignore.patterns("".join(parts))
    except ValueError:  # a ** in the middle of a name
        return
    for row in rows:
        there = re.fullmatch(as_moby(row.text), path) is not None
        assert (row.matches.fullmatch(path) is not None) == there, (row.text, path)
