"""The twelve compose projects (bench/projects.py): they are read, and their outcomes reported."""

import pytest

from bench import projects
from portkit import app as apps
from portkit.model import Severity


@pytest.mark.parametrize("project", projects.FOLDERS)
def test_each_is_read_completely(project: str) -> None:
    app = apps.load(projects.FOLDERS[project], environ={})
    assert app.name == project
    stopped = [each for each in app.findings if each.severity is not Severity.INFO]
    assert stopped == []


def test_there_are_twelve_and_no_two_publish_one_port() -> None:
    loaded = [apps.load(folder, environ={}) for folder in projects.FOLDERS.values()]
    assert len(loaded) == 12
    ports = [port.published for app in loaded for each in app.services for port in each.ports]
    assert len(ports) == len(set(ports))


def test_what_went_wrong_is_a_row_that_misses_its_bar() -> None:
    seconds, sent = {"image": 1.5, "disk": 9.0}, {"image": 2_000_000, "disk": 500_000}
    well = projects.Outcome("shop", seconds, sent)
    assert [(row.row, row.ours) for row in well.rows()] == [
        ("shop, image: to the first answer", (1.5,)),
        ("shop, disk: to the first answer", (9.0,)),
        ("shop, image: sent", (2.0,)),
        ("shop, disk: sent", (0.5,)),
        ("shop: forms it cannot be used in", (0.0,)),
    ]
    broken = projects.Outcome("shop", {}, {}, wrong={"image": "HTTPError: 500"})
    assert [row.met for row in broken.rows()] == [False]
    assert projects.told(ValueError("two\nlines")) == "ValueError: two lines"
