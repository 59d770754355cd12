"""What is recorded of the rounds of a campaign."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import campaign, record
from bench.record import Code, Outcome, Record
from portkit import process

SETS = {"kills": ("a", "b", "c"), "cuts": ("d",)}
NOW = Code("1234567", "tree")


def _outcome(wrong: str = "", tree: str = "tree") -> Outcome:
    return Outcome(wrong, 1.0, "2026-01-01", "1234567", tree)


def test_a_row_is_computed_of_its_rounds() -> None:
    outcomes = {"a": _outcome(), "b": _outcome("both answered"), "d": _outcome("a decoy")}
    part = record.row("kills", SETS["kills"], outcomes)
    assert part.row == "kills, 2 of 3 rounds: those that did not end as they should"
    assert (part.ours, part.met) == ((1.0,), False)
    assert record.row("cuts", SETS["cuts"], {"d": _outcome()}).row.startswith("cuts, all 1 rounds")


def test_what_was_never_played_is_played_before_what_was_played_by_other_code() -> None:
    outcomes = {"a": _outcome(tree="old"), "b": _outcome(), "d": _outcome("lost")}
    assert record.due(["a", "b", "c", "d"], outcomes, "tree") == ["c", "d", "a"]
    assert record.due(["a"], {"a": _outcome(tree="")}, "tree") == ["a"]


def test_parts_add_up_and_a_round_that_is_played_again_replaces_its_record(tmp_path: Path) -> None:
    first, second = (Record("n", SETS, tmp_path) for _ in range(2))
    first.note("a", "lost", 2.0, NOW)
    second.note("d", "", 1.0, NOW)
    first.note("a", "", 3.0, NOW)
    first.note("b", "w" * 1000, 3.0, NOW)
    kills, cuts = first.rows()
    assert (kills.ours, cuts.ours) == ((1.0,), (0.0,))
    assert second.outcomes()["a"].seconds == 3.0
    documents = json.loads((tmp_path / "n.json").read_text())
    assert [each["set"] for each in documents] == ["kills", "cuts"]
    assert documents[0]["row"].startswith("kills, 2 of 3 rounds")
    assert documents[0]["command"] == "make bench-n"


def test_rounds_that_no_longer_exist_are_dropped_and_other_rows_stay(tmp_path: Path) -> None:
    Record("n", {"kills": ("a", "gone")}, tmp_path).note("gone", "lost", 1.0, NOW)
    path = tmp_path / "n.json"
    path.write_text(json.dumps([{"row": "simulated"}, *json.loads(path.read_text())]))
    known = Record("n", SETS, tmp_path)
    assert known.outcomes() == {}
    known.note("a", "", 1.0, NOW)
    assert [each["row"].split(",")[0] for each in json.loads(path.read_text())] == [
        "simulated",
        "kills",
    ]
    assert list(known.outcomes()) == ["a"]


def test_two_processes_do_not_play_the_same_round(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from bench.record import Record\n"
        "known = Record('n', {'kills': ('a', 'b')}, Path(sys.argv[1]))\n"
        "with known.claimed('a') as mine: print(mine, flush=True); sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", script, str(tmp_path)]
    root = Path(__file__).parents[2]
    with process.popen(argv, stdin=process.PIPE, stdout=process.PIPE, cwd=root) as other:
        assert other.stdout and other.stdout.readline() == b"True\n"
        known = Record("n", {"kills": ("a", "b")}, tmp_path)
        known.note("b", "", 1.0, NOW)
        with known.claimed("a") as mine:
            assert not mine
        with known.claimed("b") as mine:
            assert mine
        other.communicate(b"")
    with known.claimed("a") as mine:
        assert mine


@pytest.fixture
def own_sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("own_sigterm")
def test_a_campaign_records_each_round_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROUNDS", "a|b|d")
    known = Record("n", SETS, tmp_path)
    cleaned: list[str] = []

    def play(name: str) -> str:
        if name == "a":
            raise OSError("no host")
        if name == "b":  # another process has played this one meanwhile
            Record("n", SETS, tmp_path).note("d", "", 1.0, NOW)
        assert name != "d"
        return ""

    campaign.campaign(known, ["a", "b", "c", "d"], play, lambda: cleaned.append("once"))
    outcomes = known.outcomes()
    assert {name: outcome.wrong for name, outcome in outcomes.items()} == {
        "a": "OSError: no host",
        "b": "",
        "d": "",
    }
    assert cleaned == ["once"]


def test_code_is_told_from_other_code_by_its_files() -> None:
    found = Code.read()
    assert found.commit
    assert bool(found.tree) != found.commit.endswith("+")
