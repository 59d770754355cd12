"""What the benchmarks decide without starting anything."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as etree

import pytest

from bench import (
    check,
    compat_apps,
    compat_cells,
    compat_disk_files,
    compat_disks,
    compat_kinds,
    compat_page,
    compat_rows,
    cutover_rounds,
    downtime,
    emulated,
    harness,
    journeys,
    ordinary,
    predictions,
    several,
    spoilt,
    stateful,
    vm,
)
from bench.writer import Acknowledged, Writer
from portkit import app as app_room
from portkit.compat import RULES
from portkit.guest.kit import GuestKit
from portkit.model import Artifact, Form, ImageConfig


def test_more_bytes_than_the_peer() -> None:
    assert harness.more("a", [110.0], [100.0], 10).met
    assert not harness.more("a", [111.0], [100.0], 10).met


def test_the_cells_of_the_truth_table() -> None:
    names = [cell.name for cell in compat_cells.CELLS]
    assert len(set(names)) == len(names) >= compat_page.LEAST_CELLS
    for cell in compat_cells.CELLS:
        profile = compat_rows.by_profile(cell)
        assert cell.artifact in compat_cells.ARTIFACTS
        assert profile == bool(cell.says), "a public report says what cannot be tried"
        assert cell.ground in ("", *compat_apps.GROUNDS)
        assert not cell.rule or cell.rule in {rule.id for rule in RULES}
        if profile:
            assert compat_rows.kind(cell.host).facts.host == cell.host


def test_the_cells_of_disk_files() -> None:
    names = [cell.name for cell in compat_disks.CELLS]
    assert len(set(names)) == len(names)
    for cell in compat_disks.CELLS:
        assert cell.artifact in compat_disk_files.DISKS
        assert compat_rows.by_profile(cell) == bool(cell.says)
        assert not cell.rule or cell.rule in {rule.id for rule in RULES}
        assert etree.fromstring(compat_disks.domain(cell, "a")).findtext("name") == "a"


@pytest.mark.parametrize(
    ("verdict", "rules", "outcome", "said", "agrees"),
    [
        ("incompatible", ["cpu-level"], "does not run", "", True),
        ("incompatible", ["memory"], "does not run", "", False),
        ("incompatible", ["cpu-level"], "runs", "", False),
        ("native", [], "does not run", "", False),
        ("unknown", ["cpu-level"], "does not run", "", None),
        ("incompatible", ["cpu-level"], "not tried", "", None),
    ],
)
def test_a_cell_agrees_for_its_reason(
    verdict: str, rules: list[str], outcome: str, said: str, agrees: bool | None
) -> None:
    cell = compat_kinds.Cell("v3-marked", Form.DISK, "beta", rule="cpu-level")
    predicted = {"verdict": verdict, "rules": dict.fromkeys(rules, "error")}
    assert compat_rows.agrees(cell, predicted, {"outcome": outcome, "said": said}) is agrees


def test_a_cell_that_failed_for_another_reason_does_not_agree() -> None:
    cell = compat_kinds.Cell("v3-unmarked", Form.DISK, "alpha", rule="cpu-level", shows=("132",))
    predicted = {"verdict": "incompatible", "rules": {"cpu-level": "error"}}
    for reason, agrees in (("exited with code 132", True), ("libvirt refused it", False)):
        seen = {"outcome": "does not run", "said": "", "reason": reason}
        assert compat_rows.agrees(cell, predicted, seen) is agrees


def test_the_results_of_the_truth_table_are_of_its_cells() -> None:
    rows = compat_page.Results.read().rows
    cells = (*compat_cells.CELLS, *compat_disks.CELLS)
    assert set(rows) <= {cell.name for cell in cells}
    for cell in cells:
        if row := rows.get(cell.name):
            assert row["agrees"] is compat_rows.agrees(cell, row["predicted"], row["observed"])


def test_an_app_that_runs_says_what_a_warning_is_about() -> None:
    cell = compat_kinds.Cell("io-uring", Form.IMAGE, "beta", rule="io", symptom="EPERM")
    for rules, said in (({"io": "warning"}, "EPERM"), ({}, "")):
        predicted = {"verdict": "native", "rules": rules}
        assert compat_rows.agrees(cell, predicted, {"outcome": "runs", "said": said}) is True
        other = "" if said else "EPERM"
        assert compat_rows.agrees(cell, predicted, {"outcome": "runs", "said": other}) is False


def test_a_line_of_proc() -> None:
    text = "Name:\tqemu\nVmHWM:\t    99 kB\nVmRSS:\t    42 kB\n"
    assert harness.kib(text, "VmRSS") == 42
    assert harness.kib(text, "MemTotal") is None


def test_the_ports_of_a_vm() -> None:
    line = vm.command(
        Path("disk"),
        "raw",
        forwards={4001: ":80", 4002: "10.0.2.17:6379"},
        folder=Path("/x"),
        memory_mib=1024,
        cpus=1,
    )
    assert line[line.index("-netdev") + 1] == (
        "user,id=net,hostfwd=tcp:127.0.0.1:4001-:80,hostfwd=tcp:127.0.0.1:4002-10.0.2.17:6379"
    )


def _five() -> several.Five:
    app = app_room.load(several.FIVE)
    images = tuple(
        ImageConfig(f"sha256:{number:064}", "amd64", "linux", diff_ids=(), cmd=("serve",))
        for number in range(len(app.services))
    )
    spec = app_room.resolve_all(app, images)
    return several.Five(spec, images, _artifact(images), _artifact(images))


def _artifact(images: tuple[ImageConfig, ...]) -> Artifact:
    return Artifact(Form.IMAGE, "sha256:0", images, (), 0, 0)


def test_five_services_in_both_machines() -> None:
    five = _five()
    recipe = several.with_docker(five)
    script = recipe.files["root/make-containers"]
    runs = [line for line in script.splitlines() if line.startswith("docker run ")]
    assert len(runs) == len(several.addresses(five)) == len(recipe.forwards) == 5
    assert all("--restart always" in line for line in runs)
    assert several.addresses(five)[five.number("front")] == "10.0.2.20:8000"
    assert recipe.forwards[five.number("front")] == ":8100"
    assert {*several.OWN, several.REDIS} == {each.service for each in five.spec.services}


def test_another_ordinary_machine_has_another_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portkit.lab.apt.read", lambda release: [])
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"kernel")
    kit = GuestKit("", "amd64", "6.1", kernel, kernel, kernel, kernel, tmp_path)
    keys = {recipe.key(kit) for recipe in (ordinary.RADICALE, several.with_docker(_five()))}
    assert len(keys) == 2


def _answered(*rows: tuple[str, float, float]) -> Writer:
    writer = Writer({})
    for number, (host, began, ended) in enumerate(rows):
        writer.note(Acknowledged(number, host, began, ended))
    return writer


def test_two_sides_that_answer_in_turns_are_seen() -> None:
    assert _answered(("alpha", 0.0, 0.1), ("beta", 2.0, 2.1), ("alpha", 4.0, 4.1)).both() == ""
    assert "at the same time" in _answered(("alpha", 0.0, 0.3), ("beta", 0.2, 0.4)).both()
    turns = (("alpha", 0.0, 0.1), ("beta", 0.2, 0.3), ("alpha", 0.4, 0.5))
    assert "in turns" in _answered(*turns).both()


def test_the_rounds_of_a_cutover() -> None:
    sizes = [len(every) for every in cutover_rounds.CAMPAIGNS.values()]
    assert sizes == [10 * 3 * 2, 10 * 3 * 3, 4 * 4, 8 * 3 * 2, 9 * 3 * 2, 9 * 3 * 3, 4 * 4]
    names = [str(each) for every in cutover_rounds.CAMPAIGNS.values() for each in every]
    assert len(set(names)) == sum(sizes)
    assert all(
        each.statement() for each in (*cutover_rounds.faults("vm"), *cutover_rounds.reboots())
    )


@pytest.mark.parametrize("other", journeys.OTHERS)
def test_a_journey_has_each_change_of_form_both_ways_and_ends_at_home(other: str) -> None:
    every = journeys.legs(other)
    forms = (journeys.IMAGE, journeys.DISK)
    ways = ((journeys.HOME, other), (other, journeys.HOME))
    wanted = {journeys.Leg(a, x, b, y) for a, b in ways for x in forms for y in forms}
    assert (set(every), len(every)) == (wanted, len(wanted))
    assert [(leg.target, leg.after) for leg in every[:-1]] == [
        (leg.source, leg.before) for leg in every[1:]
    ]
    home = (journeys.HOME, journeys.IMAGE)
    assert (every[0].source, every[0].before) == (every[-1].target, every[-1].after) == home


def test_a_source_that_answers_after_the_target_is_seen() -> None:
    leg = journeys.Leg("alpha", journeys.IMAGE, "beta", journeys.DISK)
    rows = _answered(("alpha", 0.0, 0.1), ("beta", 5.0, 5.1)).acknowledged()
    assert journeys.came_back(rows, leg) == ""
    late = [*rows, Acknowledged(9, "alpha", 5.2, 5.3)]
    assert "answered after" in journeys.came_back(late, leg)


def test_writes_that_are_lost_twice_or_changed_are_seen() -> None:
    known = [Acknowledged(number, "alpha", 0.0, 0.1, f"tag {number}") for number in (1, 2)]
    there = [stateful.Found(n, stateful.text_of(n), f"tag {n}") for n in (1, 2, 3)]
    assert stateful.wrong(known, there) == "", "one that was not acknowledged may be there"
    assert "not there" in stateful.wrong(known, there[1:])
    assert "twice" in stateful.wrong(known, [*there, there[2]])
    other = [there[0], stateful.Found(2, stateful.text_of(3), "tag 2")]
    assert "not as they were: [2]" in stateful.wrong(known, other)
    again = [there[0], stateful.Found(2, stateful.text_of(2), "tag 4")]
    assert "not as they were: [2]" in stateful.wrong(known, again)


def test_errors_of_predictions_are_those_of_a_whole_move_and_have_no_sign() -> None:
    first = [
        {"what": "downtime", "unit": "s", "predicted": 1.0, "measured": 2.0},
        {"what": "image: transfer", "unit": "s", "predicted": 0.0, "measured": 0.5},
        {"what": "data: the first pass", "unit": "s", "predicted": 3.0, "measured": 1.5},
        {"what": "downtime: stop", "unit": "s", "predicted": 1.0, "measured": 2.0},
    ]
    second = [{"what": "downtime", "unit": "s", "predicted": 3.0, "measured": 3.0}]
    moves = {"container, 20mbit": [first, second]}
    found = {row.row: row for row in predictions.errors([first, second])}
    assert found["error of the downtime of a Move"].ours == (50.0, 0.0)
    assert found["error of the seconds of a Move"].ours == (50.0,)
    assert found["error of the seconds of a Move"].met is False
    down, *_ = predictions.beside(moves)
    assert (down.row, down.limit) == ("container, 20mbit: downtime", None)
    assert (down.ours, down.peer) == ((1.0, 3.0), (2.0, 3.0))


def test_phases_before_the_stop_are_no_part_of_the_downtime() -> None:
    rows = [
        {"name": "package changes", "seconds": 5.0},
        {"name": "stop the source", "seconds": 0.25},
        {"name": "package changes", "seconds": 0.5},
        {"name": "boot image", "seconds": 1.0},
        {"name": "settle", "seconds": 3.0},
    ]
    found = downtime.cut_phases(rows)
    assert found == {
        "stop the source": 0.25,
        "package changes": 0.5,
        "last layer": 0.0,
        "last sync": 0.0,
        "boot image": 1.0,
    }


def test_a_host_whose_state_was_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check.hosts, "on", lambda name, script: "volume a\n" * check.LINES)
    with pytest.raises(AssertionError, match="1 lines are not the state of a host"):
        check.state("beta")


def test_what_emulation_costs() -> None:
    pairs = [(name, form) for name in emulated.PROGRAMS for form in Form]
    found = {pair: ((1.0, number + 1.0, 2.0),) for number, pair in enumerate(pairs)}
    rows = {row.row: row for row in emulated.rows(found)}
    assert len(rows) == 10
    row = rows["VM, arm64, against container, amd64: arithmetic and memory"]
    assert (row.ours, row.peer, row.ratio) == ((4.0,), (1.0,), 4.0)
    assert rows["container, arm64 against amd64: the first answer"].ratio == 1.0


def test_cases_that_were_not_reached_are_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    def some(*asked: Any) -> Iterator[tuple[int, str]]:
        asked[4].cases, asked[4].read = spoilt.CASES - 2, 7
        yield 3, "KeyError"

    monkeypatch.setattr(spoilt, "watched", some)
    faults, read, *_ = spoilt.rows("ELF files", "verdict-elf")
    assert (faults.ours, faults.met, read.ours) == ((2,), False, (7,))
