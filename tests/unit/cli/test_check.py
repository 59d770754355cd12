"""`portkit check`: a cell for each App, form and host, and how it ends."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result
from portkit_cli import matrix as printed
from portkit_cli import render, sources
from portkit_cli.commands import check as command
from portkit_cli.main import main
from rich.console import Console

from portkit import move as moves
from portkit.app import resolve_all
from portkit.errors import (
    AppError,
    BootError,
    ConflictError,
    EngineError,
    HostError,
    IncompatibleError,
    PredictionError,
    SpaceError,
    UnknownError,
)
from portkit.isolation import HostKernel, answer
from portkit.model import App, Artifact, Finding, Form, Severity, Verdict
from portkit.move import isolate, prove, where
from portkit.move.prepare import Job, Package, Request
from portkit.report import FormReport, Report
from tests.factories import FACTS, IMAGE, facts

ROOT = Path(__file__).parents[3]
SCHEMA = json.loads((ROOT / "docs/check.schema.json").read_text())
CONTAINER = json.loads((ROOT / "fixtures/isolation/container.json").read_text())
BOOT = CONTAINER["boot_id"]
SLOW = Finding("accelerator", Severity.WARNING, "it would be slow", ("no kvm",), "Use KVM.")
FOUND: dict[tuple[str, Form], tuple[Finding, ...]] = {}
NOW: dict[tuple[str, Form], tuple[Finding, ...]] = {}  # when a cell is tried, where it differs


def refused(*rules: str) -> tuple[Finding, ...]:
    return tuple(Finding(rule, Severity.ERROR, f"no {rule}", (), "Mend it.") for rule in rules)


class Source:
    forms = moves.BOTH

    def lacking(self, *_: object) -> tuple[Finding, ...]:
        return ()


@pytest.fixture(autouse=True)
def _hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts without a connection, whose findings are in FOUND; "dead" does not answer."""
    FOUND.clear()
    NOW.clear()

    @contextmanager
    def connect(name: str, *_: object, keep: bool = False) -> Iterator[Any]:
        if name == "dead":
            raise HostError("dead cannot be reached", details="no route")
        yield SimpleNamespace(name=name, kept_s=200.0 if keep and name == "kept" else None)

    def package_apps(apps: Sequence[App], *, forms: Any, **_: object) -> moves.Packages:
        image = Artifact(Form.IMAGE, IMAGE.digest, (IMAGE,), (), 0, 0)
        packages = tuple(
            Package(app, resolve_all(app, [IMAGE]), image, FACTS, (), None)  # type: ignore[arg-type]
            for app in apps
        )
        request = Request(tuple(apps), Source(), tuple(forms), None, None)  # type: ignore[arg-type]
        return moves.Packages(request, packages)

    def judge(packages: moves.Packages, target: Any, **_: object) -> tuple[Report, ...]:
        request = packages.request
        return tuple(report(app, target.name, request.forms) for app in request.apps)

    monkeypatch.setattr(command, "connect", connect)
    monkeypatch.setattr(sources, "connect", connect)
    monkeypatch.setattr(moves, "package_apps", package_apps)
    monkeypatch.setattr(where, "judge_apps", judge)


def report(app: App, host: str, forms: Sequence[Form]) -> Report:
    rows = []
    for form in forms:
        found = FOUND.get((host, form), ())
        rows.append(FormReport(form, None, _verdict(found), found))
    return Report(f"pk-{app.name}", app, FACTS, facts(host=host), 0, 0, (), tuple(rows))


def _verdict(found: Sequence[Finding]) -> Verdict:
    severities = {each.severity for each in found}
    if Severity.ERROR in severities:
        return Verdict.INCOMPATIBLE
    return Verdict.UNKNOWN if Severity.UNKNOWN in severities else Verdict.NATIVE


def portkit(*words: str) -> Result:
    return CliRunner().invoke(main, ["check", *words, "--progress", "quiet"])


def document(*words: str) -> Any:
    found = json.loads(portkit(*words, "--output", "json").stdout)
    jsonschema.validate(found, SCHEMA)
    return found


def test_a_cell_for_each_app_form_and_host() -> None:
    found = document("shop:1", "blog:1", "--on", "web1", "--on", "dead", "--profile", "rhel-9")
    assert [row["name"] for row in found["hosts"]] == ["web1", "dead", "rhel-9"]
    assert [row["basis"] for row in found["hosts"]] == ["asked", "unreachable", "documentation"]
    cells = [(row["app"], row["form"], row["host"], row["verdict"]) for row in found["cells"]]
    assert len(set(cells)) == 12
    assert ("blog", "disk", "rhel-9", "native") in cells
    assert ("shop", "image", "dead", "unknown") in cells
    assert all(row["reason"] for row in found["cells"])


def test_what_documents_do_not_say_is_not_in_the_facts() -> None:
    (host,) = document("shop:1", "--profile", "rhel-9")["hosts"]
    assert "memory_bytes" in host["unknown"]
    assert "memory_bytes" not in host["facts"]
    assert host["facts"]["qemu_version"]
    assert host["documentation"]["documents"][0]["address"]


@pytest.mark.parametrize(
    ("found", "code", "strict"),
    [
        ({}, 0, 0),
        ({("web1", Form.DISK): ("libvirt",)}, 0, IncompatibleError.exit_code),
        ({("web1", Form.DISK): ("libvirt",), ("web1", Form.IMAGE): ("docker",)}, 0, 9),
        ({("web1", "all"): ("space",), ("web2", "all"): ("space",)}, SpaceError.exit_code, 6),
        ({("web1", "all"): ("port-free",), ("web2", "all"): ("running",)}, 10, 10),
        ({("web1", "all"): ("space",), ("web2", "all"): ("port-free",)}, 9, 9),
        ({("web1", "all"): ("bind-not-carried",), ("web2", "all"): ("docker",)}, 9, 9),
    ],
)
def test_how_it_ends(found: dict[Any, tuple[str, ...]], code: int, strict: int) -> None:
    for (host, form), rules in found.items():
        for each in Form if form == "all" else (form,):
            FOUND[host, each] = (SLOW, *refused(*rules))
    words = ("shop:1", "--on", "web1", "--on", "web2")
    assert portkit(*words).exit_code == code
    assert portkit(*words, "--strict").exit_code == strict


def test_an_app_that_can_run_nowhere_fails_beside_one_that_can() -> None:
    FOUND["web1", Form.IMAGE] = refused("port-free")
    assert portkit("shop:1", "--on", "web1", "--form", "image").exit_code == ConflictError.exit_code
    assert portkit("shop:1", "--on", "web1", "--form", "disk").exit_code == 0


def test_not_known() -> None:
    assert portkit("shop:1", "--profile", "freebsd-14").exit_code == UnknownError.exit_code
    FOUND["web1", Form.IMAGE] = FOUND["web1", Form.DISK] = refused("docker")
    words = ("shop:1", "--on", "web1", "--profile", "freebsd-14")
    assert portkit(*words).exit_code == UnknownError.exit_code
    assert portkit(*words, "--strict").exit_code == IncompatibleError.exit_code


def test_a_host_that_is_alone_and_dead_is_an_error() -> None:
    assert portkit("shop:1", "--on", "dead").exit_code == HostError.exit_code
    assert portkit("shop:1", "--on", "dead", "--on", "web1").exit_code == 0
    assert portkit("shop:1", "--on", "dead", "--on", "web1", "--strict").exit_code == 14


def test_neither_host_nor_profile_is_a_wrong_usage() -> None:
    done = portkit("shop:1")
    assert done.exit_code == 2
    assert "portkit check ./shop --on web1" in done.stderr
    assert portkit("--on", "web1").exit_code == 2


def test_an_unknown_profile_names_the_known() -> None:
    done = portkit("shop:1", "--profile", "mail")
    assert done.exit_code == AppError.exit_code
    assert "kubernetes-kubevirt" in done.stderr
    assert "--compose-profile" in done.stderr


def test_profiles_are_listed() -> None:
    assert "Windows 11 with WSL 2" in portkit("--profile", "list").stdout
    rows = json.loads(portkit("--profile", "list", "--output", "json").stdout)
    assert {"name", "title", "read"} == set(rows[0])


def test_how_old_the_facts_are() -> None:
    assert "kept from 3 minutes ago" in portkit("shop:1", "--on", "kept").stdout
    assert "asked now." in portkit("shop:1", "--on", "kept", "--fresh").stdout
    assert document("shop:1", "--on", "kept")["hosts"][0]["kept_s"] == 200.0
    assert [printed.age(seconds) for seconds in (0, 1, 3600, 200_000)] == [
        "0 seconds",
        "1 second",
        "1 hour",
        "2 days",
    ]


def test_80_columns_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(printed, "stdout", lambda: Console(width=80, highlight=False))
    FOUND["web1.a-data-centre.example.org", Form.DISK] = (SLOW, *refused("libvirt"))
    words = ["shop:1", "--on", "web1.a-data-centre.example.org", "--on", "web2"]
    for name in ("macos-apple-silicon", "windows-server-hyper-v", "freebsd-14"):
        words += ["--profile", name]
    lines = portkit(*words).stdout.splitlines()
    assert max(map(len, lines)) <= 80
    head = lines[1]
    assert head.split() == ["host", "form", "verdict", "why"]
    column = head.index("verdict")
    rows = [line for line in lines if line[head.index("form") :][:5] in ("image", "disk ")]
    assert " ".join(line[column:].split()[0] for line in rows) == (
        "native incompatible native native emulated incompatible incompatible incompatible "
        "unknown unknown"
    )
    assert sum("by documentation" in line for line in lines[:40]) >= 3


def test_a_finding_is_printed_once_with_its_cells() -> None:
    for host in ("web1", "web2"):
        FOUND[host, Form.DISK] = (SLOW,)
    lines = portkit("shop:1", "--on", "web1", "--on", "web2").stdout.splitlines()
    (line,) = [each for each in lines if each.startswith("warning accelerator")]
    assert line.endswith("it would be slow (no kvm). Use KVM. [web1 (disk), web2 (disk)]")


def test_what_a_host_says_is_printed_without_control_characters() -> None:
    FOUND["web1", Form.IMAGE] = (Finding("docker", Severity.ERROR, "no\x1b[31m", ("\x07",), "x"),)
    assert "\x1b" not in portkit("shop:1", "--on", "web1").stdout
    assert render.clean("\x1b[1m") == "[1m"


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[tuple[str, Form], Exception]:
    """The errors of the Moves that try a cell; without one, the App is up."""
    monkeypatch.setenv("PORTKIT_STATE", str(tmp_path))
    errors: dict[tuple[str, Form], Exception] = {}

    def carry_out(
        packed: Any, job: Job, journal: Any, keep: Form | None, *_: Any, **__: Any
    ) -> None:
        assert keep is None, "it stays nowhere"
        (form,) = job.forms
        if error := errors.get((job.target.name, form)):
            raise error

    monkeypatch.setattr(prove, "carry_out", carry_out)

    def judge(_: Any, job: Job, **__: object) -> tuple[Any, ...]:
        (form,) = job.forms
        cell = (job.target.name, form)
        return (SimpleNamespace(findings={form: NOW.get(cell, FOUND.get(cell, ()))}),)

    @contextmanager
    def runner(host: Any, form: Form) -> Iterator[Any]:
        if isinstance(errors.get((host.name, form)), EngineError):
            raise errors[host.name, form]
        yield SimpleNamespace(instances=tuple)

    monkeypatch.setattr(prove.prepare, "judge", judge)
    monkeypatch.setattr(prove.boot, "runner", runner)
    return errors


PROVE = ("shop:1", "--on", "web1", "--on", "web2", "--prove")


def seen(found: Any) -> dict[str, tuple[str, bool | None]]:
    rows = ((f"{row['host']} {row['form']}", row["observed"]) for row in found["cells"])
    return {cell: (row["outcome"], row["agrees"]) for cell, row in rows}


def test_what_was_seen_stands_beside_what_was_predicted(
    trials: dict[tuple[str, Form], Exception],
) -> None:
    FOUND["web2", Form.IMAGE] = refused("cpu-level")
    trials["web2", Form.IMAGE] = BootError("the app exited with code 132", details="SIGILL")
    found = document(*PROVE, "--profile", "rhel-9")
    assert seen(found) == {
        "web1 image": ("runs", True),
        "web1 disk": ("runs", True),
        "web2 image": ("does not run", True),
        "web2 disk": ("runs", True),
        "rhel-9 image": ("not tried", None),
        "rhel-9 disk": ("not tried", None),
    }
    reasons = [row["observed"]["reason"] for row in found["cells"]]
    assert reasons[2] == "the app exited with code 132: SIGILL"
    assert "by documentation" in reasons[4]
    assert portkit(*PROVE).exit_code == 0
    assert "seen: the app exited with code 132: SIGILL" in portkit(*PROVE).stdout


def test_a_disagreement_in_either_direction_has_its_own_exit_code(
    trials: dict[tuple[str, Form], Exception],
) -> None:
    trials["web1", Form.DISK] = BootError("the guest ended before it answered")
    assert portkit(*PROVE).exit_code == PredictionError.exit_code
    assert "not as predicted: the guest ended" in portkit(*PROVE).stdout
    trials.clear()
    FOUND["web1", Form.IMAGE] = refused("cpu-level")
    assert seen(document(*PROVE))["web1 image"] == ("runs", False)
    assert portkit(*PROVE).exit_code == PredictionError.exit_code


def test_what_would_harm_others_is_not_tried(trials: dict[tuple[str, Form], Exception]) -> None:
    FOUND["web1", Form.IMAGE] = refused("space")
    FOUND["web2", Form.IMAGE] = refused("volume-taken")
    found = seen(document(*PROVE))
    assert found["web1 image"] == found["web2 image"] == ("not tried", None)
    assert portkit(*PROVE).exit_code == 0, "disks run"


def test_no_move_is_begun_where_the_engine_is_dead(
    trials: dict[tuple[str, Form], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    FOUND["web1", Form.IMAGE] = refused("docker")
    trials["web1", Form.IMAGE] = EngineError("no answer")
    monkeypatch.setattr(prove, "carry_out", lambda *_, **__: pytest.fail("it was begun"))
    found = document("shop:1", "--on", "web1", "--form", "image", "--prove")
    assert seen(found) == {"web1 image": ("does not run", True)}


def test_a_port_that_is_taken_is_a_reason_and_another_move_is_none(
    trials: dict[tuple[str, Form], Exception],
) -> None:
    FOUND["web1", Form.IMAGE] = refused("port-free")
    for host in ("web1", "web2"):
        trials[host, Form.IMAGE] = ConflictError("port 8080 is taken")
    found = seen(document(*PROVE))
    assert found["web1 image"] == ("does not run", True)
    assert found["web2 image"] == ("not tried", None)


def test_a_trial_that_is_not_possible_says_nothing_of_the_app(
    trials: dict[tuple[str, Form], Exception],
) -> None:
    trials["web1", Form.DISK] = HostError("web1 cannot be reached")
    trials["web2", Form.DISK] = ConflictError("another Move of shop is running")
    found = document(*PROVE)
    assert seen(found)["web1 disk"] == seen(found)["web2 disk"] == ("not tried", None)
    assert "web1 cannot be reached" in found["cells"][1]["observed"]["reason"]


def test_what_would_harm_others_by_now_is_not_tried(
    trials: dict[tuple[str, Form], Exception],
) -> None:
    NOW["web1", Form.IMAGE] = refused("network-taken")
    trials["web1", Form.IMAGE] = AssertionError("it is not tried")
    assert seen(document(*PROVE))["web1 image"] == ("not tried", None)


def test_a_trial_tells_what_was_not_known(trials: dict[tuple[str, Form], Exception]) -> None:
    unknown = (Finding("clone3-refused", Severity.UNKNOWN, "perhaps", (), ""),)
    FOUND["web1", Form.IMAGE] = unknown
    words = ("shop:1", "--on", "web1", "--form", "image")
    assert portkit(*words).exit_code == UnknownError.exit_code
    assert seen(document(*words, "--prove")) == {"web1 image": ("runs", None)}
    assert portkit(*words, "--prove").exit_code == 0
    trials["web1", Form.IMAGE] = BootError("threads fail")
    assert portkit(*words, "--prove").exit_code == IncompatibleError.exit_code


def test_only_a_host_can_be_tried() -> None:
    assert portkit("shop:1", "--profile", "rhel-9", "--prove").exit_code == 2


def isolated(monkeypatch: pytest.MonkeyPatch, **said: Any) -> None:
    """Each form's probe says that, or the trial fails with it."""

    def trial(package: Package, job: Job, *_: Any, while_up: Any) -> moves.Observed:
        (form,) = job.forms
        if isinstance(said[form], str):
            return moves.Observed(moves.Outcome.FAILS, said[form])
        line = f"{answer.MARK} {json.dumps(said[form])}\n"
        while_up(SimpleNamespace(logs=lambda *_: line), "pk-1")
        return moves.Observed(moves.Outcome.RUNS)

    monkeypatch.setattr(isolate, "trial", trial)
    monkeypatch.setattr(isolate, "probed", lambda package, request: package)
    monkeypatch.setattr(isolate, "_kernel", lambda host: HostKernel("6.1", BOOT, {}))


def test_isolation_is_a_table_with_the_forms_beside_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    isolated(monkeypatch, image=CONTAINER, disk={**CONTAINER, "boot_id": "another"})
    words = ("shop:1", "--on", "web1", "--on", "dead", "--isolation")
    found = document(*words)
    jsonschema.validate(found, SCHEMA)
    told = [cell["isolation"] for cell in found["cells"]]
    assert [each["own_kernel"] for each in told] == [False, True, None, None]
    assert told[2]["reason"] == "the host was not reached"
    shown = portkit(*words).stdout
    (kernel,) = (line for line in shown.splitlines() if CONTAINER["release"] in line)
    assert kernel.index("the host's") < kernel.index("its own")
    assert "Whose kernel serves the app's system calls" in " ".join(shown.split())


def test_a_probe_that_did_not_run_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    isolated(monkeypatch, image=CONTAINER, disk="the guest ended")
    words = ("shop:1", "--on", "web1", "--isolation")
    image, disk = (cell["isolation"] for cell in document(*words)["cells"])
    assert image["seen"]["release"] == CONTAINER["release"]
    assert (disk["seen"], disk["own_kernel"]) == (None, None)
    assert disk["reason"] == "the probe did not run: the guest ended"
    done = portkit(*words)
    assert "isolation of shop (disk) on web1: the probe did not run" in done.stdout
    assert done.exit_code == 0, "it is measured, not judged"


def test_isolation_is_of_hosts_that_can_be_asked_and_of_apps_made_of_images() -> None:
    assert portkit("shop:1", "--profile", "rhel-9", "--isolation").exit_code == 2
    (cell,) = document("shop:1", "--on", "web1", "--form", "image")["cells"]
    assert cell["isolation"] is None
