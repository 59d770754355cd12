"""`portkit move` of one App and of several: what is asked for, what is printed."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from portkit_cli import sources
from portkit_cli.commands import move as command
from portkit_cli.main import main

from portkit import move as moves
from portkit.delivery import Prediction
from portkit.errors import BootError, ConflictError
from portkit.model import App, Finding, Form, Service, Severity, Verdict, figure
from portkit.move.walk import StepState
from portkit.report import FormReport, Report
from tests.factories import FACTS, plan, transfer


class FakeHost:
    def __init__(self) -> None:
        self.name = "fake"
        self.remote = self
        self.rate: float | None = None

    def limit(self, rate: float | None) -> None:
        self.rate = rate


@pytest.fixture(autouse=True)
def _hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts without a connection, and Moves that end at once: an App called "bad" does badly."""

    @contextmanager
    def connect(*_: object, **__: object) -> Iterator[FakeHost]:
        yield FakeHost()

    def report(app: App) -> Report:
        return Report(f"pk-{app.name}", app, FACTS, FACTS, 0, 0, (), ())

    def move_apps(apps: Sequence[App], *, moved: Any, **_: object) -> None:
        for app in apps:
            if app.name == "bad":
                raise BootError("bad: it did not start")
            moved(report(app))

    monkeypatch.setattr(command, "connect", connect)
    monkeypatch.setattr(sources, "connect", connect)
    monkeypatch.setattr(moves, "move_apps", move_apps)
    monkeypatch.setattr(moves, "plan_apps", lambda apps, **_: tuple(map(report, apps)))


def portkit(*words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--progress", "quiet"])


def moved(*words: str) -> Any:
    return json.loads(portkit("move", *words, "--to", "web2", "--output", "json").stdout)


def test_one_is_a_document_and_several_are_a_list() -> None:
    assert moved("shop:1")["move"] == "pk-shop"
    assert [row["move"] for row in moved("shop:1", "blog:1")] == ["pk-shop", "pk-blog"]
    assert [row["move"] for row in moved("shop:1", "blog:1", "--dry-run")] == ["pk-shop", "pk-blog"]


def test_a_table_for_each() -> None:
    done = portkit("move", "shop:1", "blog:1", "--to", "web2")
    assert done.exit_code == 0
    assert done.stdout.index("shop: web2") < done.stdout.index("blog: web2")


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        ((70_900_000, 823_300, 7.25), ("~ 70.9 MB", "~ 823.3 kB", "~ 7.2 s")),
        ((None, None, None), ("unknown", "unknown", "unknown")),
    ],
)
def test_a_dry_run_shows_what_is_predicted_and_why(
    monkeypatch: pytest.MonkeyPatch, cost: tuple[Any, Any, Any], shown: tuple[str, ...]
) -> None:
    sent, reused, seconds = cost
    foreseen = Prediction(
        sent_bytes=sent,
        reused_bytes=reused,
        space_bytes=789_400_000,
        seconds=seconds,
        basis=("bytes: compressed here", "time: as before"),
    )
    form = FormReport(Form.IMAGE, None, Verdict.NATIVE, (), predicted=foreseen)
    app = App("shop", (Service("shop"),), "shop")
    report = Report("pk-shop", app, FACTS, FACTS, 0, 0, (), (form,), dry_run=True)
    monkeypatch.setattr(moves, "plan_apps", lambda apps, **_: (report,))
    done = portkit("move", "shop:1", "--to", "web2", "--dry-run")
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("image")]
    assert re.split(r"  +", row.strip())[2:] == [*shown[:2], "~ 789.4 MB", shown[2]]
    assert "predicted image: bytes: compressed here; time: as before" in done.stdout


def test_a_dry_run_ends_as_the_move_would(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = Finding("port-free", Severity.ERROR, "port 80 is taken", ("it listens",), "Free it.")
    form = FormReport(Form.IMAGE, None, Verdict.INCOMPATIBLE, (taken,))
    app = App("shop", (Service("shop"),), "shop")
    report = Report("pk-shop", app, FACTS, FACTS, 0, 0, (), (form,), dry_run=True)
    monkeypatch.setattr(moves, "plan_apps", lambda apps, **_: (report,))
    done = portkit("move", "shop:1", "--to", "web2", "--dry-run")
    assert done.exit_code == ConflictError.exit_code
    assert "error port-free: port 80 is taken (it listens). Free it." in done.stdout


def test_the_downtime_that_was_predicted_stands_beside_the_measured_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    figures = (
        figure("image: sent", "bytes", 1.0, "of a form, which has a line of its own", 1.0),
        figure("data: sent in the first pass", "bytes", 3e6, "measured: by a trial", 2e6),
        figure("downtime: stop", "s", 0.4, "assumed: a guess"),
    )
    app = App("shop", (Service("shop"),), "shop")
    report = Report("pk-shop", app, FACTS, FACTS, 0, 0, (), (), predictions=figures)
    monkeypatch.setattr(moves, "plan_apps", lambda apps, **_: (report,))
    lines = portkit("move", "shop:1", "--to", "web2", "--dry-run").stdout.splitlines()
    assert [line for line in lines if "predicted" in line] == [
        "data: sent in the first pass: predicted ~ 3.0 MB; measured 2.0 MB (+50 %) "
        "[measured: by a trial]",
        "downtime: stop: predicted ~ 0.40 s [assumed: a guess]",
    ]


def test_show_prints_what_was_predicted_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTKIT_STATE", str(tmp_path))
    cost = Prediction(
        sent_bytes=70_900_000, reused_bytes=1, space_bytes=1, seconds=7.25, basis=("x",)
    )
    made = plan(predicted={Form.IMAGE: cost})
    journal = moves.Journal()
    journal.add("pk-shop", app="shop", source="a", target="web2", plan=made.to_json())
    for form, sent in (("image", 71_200_000), ("disk", 2_000)):
        row = {"transfer": {"sent_bytes": sent, "reused_bytes": 5, "seconds": 8.0}}
        journal.record("pk-shop").note(f"transfer {form}", StepState.DONE, row)
    text = CliRunner().invoke(main, ["show", "pk-shop"]).stdout
    assert "image: predicted ~ 70.9 MB, ~ 7.2 s; measured 71.2 MB, 8.0 s" in text
    assert "disk: measured 2.0 kB, 8.0 s" in text
    document = CliRunner().invoke(main, ["show", "pk-shop", "--output", "json"]).stdout
    image, disk = json.loads(document)["transfers"]
    assert (image["predicted"]["seconds"], image["measured"]["seconds"]) == (7.25, 8.0)
    assert (disk["predicted"], disk["measured"]["sent_bytes"]) == (None, 2_000)


def test_a_move_shows_what_was_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = Prediction(sent_bytes=None, reused_bytes=1, space_bytes=1, seconds=None, basis=("x",))
    form = FormReport(
        Form.IMAGE, None, Verdict.NATIVE, (), transfer=transfer(), predicted=cost, state="ready"
    )
    app = App("shop", (Service("shop"),), "shop")
    report = Report("pk-shop", app, FACTS, FACTS, 0, 0, (), (form,))
    monkeypatch.setattr(moves, "move_apps", lambda apps, *, moved, **_: moved(report))
    done = portkit("move", "shop:1", "--to", "web2")
    assert "image: predicted unknown, time unknown; measured " in done.stdout


def test_what_was_moved_is_told_when_a_later_one_fails() -> None:
    done = portkit("move", "shop:1", "bad:1", "blog:1", "--to", "web2", "--output", "json")
    assert done.exit_code == BootError.exit_code
    assert [row["move"] for row in json.loads(done.stdout)] == ["pk-shop"]
    assert "bad: it did not start" in done.stderr
    assert portkit("move", "bad:1", "--to", "web2", "--output", "json").stdout == ""


def test_a_bundle_goes_alone(tmp_path: Path) -> None:
    bundle = tmp_path / "shop.portkit"
    bundle.write_bytes(b"")
    done = portkit("move", "blog:1", str(bundle), "--to", "web2")
    assert done.exit_code == 2
    assert "a bundle is moved alone" in done.stderr


def test_no_app_is_a_wrong_usage() -> None:
    assert portkit("move", "--to", "web2").exit_code == 2
