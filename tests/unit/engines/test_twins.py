"""Which containers of one name are the App as it is now."""

import pytest

from portkit.engines.described import twins
from portkit.engines.docker_client import Row, read
from portkit.errors import AppError

OLD, NEW = "pk-aaaaaaaaaaaa", "pk-bbbbbbbbbbbb"


def row(text: str) -> Row:
    """text: "ID MOVE SERVICE STATE"; a - is none."""
    identity, move, service, state = text.split()
    made = {"old": OLD, "new": NEW}.get(move)
    labels = {"portkit.move": made, "portkit.app": "web"} if made else {}
    if service != "-":
        labels["com.docker.compose.service"] = service
    return read(Row, {"Id": identity, "State": state, "Labels": labels})


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (("a - web exited", "b - db exited"), "ab"),
        (("a - web running", "b - once exited"), "ab"),
        (("a old - exited", "b new - running"), "b"),
        (("a old web exited", "b old db exited", "c new web running", "d new db exited"), "cd"),
        (("a - web exited", "b - db exited", "c new web running", "d new db exited"), "cd"),
        (("a - web exited", "b new - running"), "b"),
        (("a - web running", "b new - running"), "a"),  # the other one is named as a container
        (("a - web running", "b new db running"), "ab"),  # compose has made one anew
        ((), ""),
    ],
)
def test_those_that_have_moved_away_are_not_the_app(rows: tuple[str, ...], found: str) -> None:
    assert "".join(each.Id for each in twins.current([row(text) for text in rows], "web")) == found


@pytest.mark.parametrize(
    "rows",
    [
        ("a old - exited", "b new - exited"),
        ("a - web exited", "b new - exited"),
        ("a old web exited", "b new web exited"),
        ("a old web running", "b new web running"),
        ("a old - running", "b new - running"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(rows: tuple[str, ...]) -> None:
    with pytest.raises(AppError, match="several containers") as caught:
        twins.current([row(text) for text in rows], "web")
    assert "a (" in caught.value.details
    assert "b (" in caught.value.details


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (("k - web exited", "a - web running"), "a"),  # one more of a service
        (("k - web exited", "a - db created"), "a"),
        (("k new web exited", "a - db running"), "a"),
        (("k new web exited", "a old web exited", "b - web exited"), ""),
        (("k - web exited", "a new - running"), ""),
    ],
)
def test_what_was_added_to_a_project_is_found(rows: tuple[str, ...], found: str) -> None:
    assert "".join(twins.added([row(text) for text in rows], {"k"})) == found
