"""The Python code in README.md, docs/ and examples/ runs, against stand-ins for the hosts."""

import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import portkit
from portkit.model import Method
from portkit.report import Boot
from tests.factories import FACTS, transfer

ROOT = Path(__file__).parents[3]
PAGES = sorted({ROOT / "README.md", *(ROOT / "docs").rglob("*.md")})


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


class FakeHost:
    def limit(self, rate: float | None) -> None:
        """As `portkit.Host.limit`."""

    def facts(self, *, guests: bool = False, sought: object = None) -> portkit.Facts:
        return FACTS


class FakeBundle:
    def __init__(self, path: Path) -> None:
        self.app = app(path.stem)

    def __enter__(self) -> "FakeBundle":
        return self

    def __exit__(self, *_: object) -> None: ...


def app(source: str) -> portkit.App:
    return portkit.App(Path(source).name, (), source)


def report(moved: portkit.App, *, measured: bool) -> portkit.Report:
    finding = portkit.Finding("health", portkit.Severity.INFO, "a message", (), "a remedy")
    sent = transfer(counter="ssh") if measured else None
    boot = Boot("docker", "26.1", "none", "http://new/", 200, Method.PUBLISHED)
    forms = tuple(
        portkit.FormReport(
            form, None, portkit.Verdict.NATIVE, (finding,), (), sent, boot, 1.0, (0.5,)
        )
        for form in portkit.Form
    )
    return portkit.Report("pk-0123456789ab", moved, FACTS, FACTS, 0, 0, (), forms)


def move_apps(apps: list[portkit.App], **more: Any) -> tuple[portkit.Report, ...]:
    found = tuple(report(each, measured=True) for each in apps)
    for each in found:
        more["moved"](each)
    return found


FAKES: dict[str, Callable[..., Any]] = {
    "load": app,
    "move_app": lambda one, **_: report(one, measured=True),
    "plan_app": lambda one, **_: report(one, measured=False),
    "move_apps": move_apps,
    "package_apps": lambda apps, **_: apps,
    "pack": lambda one, **_: portkit.PackedApp(one, (), {}),
    "write_bundle": lambda path, *_: [path],
    "check_apps": lambda packages, *_: portkit.Matrix((), (), (), ()),
    "read_disk": lambda path, *_, **__: path,
    "check_disks": lambda disks, *_, **__: portkit.Matrix((), (), (), ()),
    "judge_apps": lambda apps, *_, **__: [report(one, measured=False) for one in apps],
}


@contextmanager
def connect(name: str, *_: object, **__: object) -> Iterator[FakeHost]:
    yield FakeHost()


@pytest.fixture(autouse=True)
def _no_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call has to fit the real function's parameters; then a stand-in answers."""

    def fitting(name: str) -> Callable[..., Any]:
        real = inspect.signature(getattr(portkit, name))

        def call(*values: Any, **more: Any) -> Any:
            real.bind(*values, **more)
            return FAKES[name](*values, **more)

        return call

    for name in FAKES:
        monkeypatch.setattr(portkit, name, fitting(name))
    monkeypatch.setattr(portkit, "connect", connect)
    monkeypatch.setattr(portkit, "Bundle", FakeBundle)
    monkeypatch.setattr(portkit, "InBundle", lambda bundle: bundle)
    monkeypatch.setattr(portkit, "OnHost", lambda host: host)
    monkeypatch.setattr(portkit, "to_json", lambda one: {"forms": []})


def test_there_is_code_to_run() -> None:
    assert blocks(ROOT / "README.md")
    assert blocks(ROOT / "docs/library.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_on_a_page_runs(page: Path) -> None:
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), names)


def test_the_planning_example(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("plan", ROOT / "examples/plan.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    example.main("old", "new", ["./shop"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1:3] for line in lines] == [["image", "native"], ["disk", "native"]]
