"""By what an App that has changed is noticed."""

from dataclasses import dataclass, field, make_dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from portkit import app as apps
from portkit.model import App, Service
from portkit.move.fingerprint import _stated, fingerprint
from portkit.move.journal import Journal
from tests.factories import IMAGE


@dataclass(frozen=True)
class One:
    """As an earlier portkit has it."""

    name: str
    rows: tuple[int, ...] = ()


@given(name=st.text(), rows=st.lists(st.integers()).map(tuple), more=st.none() | st.integers())
def test_a_field_that_came_later_counts_where_it_is_used(
    name: str, rows: tuple[int, ...], more: int | None
) -> None:
    later = make_dataclass(
        "One",
        [
            ("name", str),
            ("rows", tuple, ()),
            ("more", object, None),
            ("also", dict, field(default_factory=dict)),
        ],
    )
    before, now = (_stated({"a": [one]}) for one in (One(name, rows), later(name, rows, more)))
    assert (before == now) is (more is None)


def test_what_the_processes_see_counts() -> None:
    journal = Journal()
    app = App("shop", (Service("web", image="web"),), "x")
    spec = apps.resolve_all(app, [replace(IMAGE, cmd=("run",))])
    one = spec.services[0]
    changed = [
        replace(spec, front=replace(one, argv=("run", "it"))),
        replace(spec, services=(replace(one, env=(("A", "1"),)),)),
        replace(spec, services=(replace(one, image="sha256:other"),)),
        replace(spec, app="stop"),
    ]
    prints = {fingerprint(journal, each) for each in (spec, *changed)}
    assert len(prints) == len(changed) + 1
    assert fingerprint(journal, replace(spec)) == fingerprint(journal, spec)
