"""`import portkit` gives the public API: its names are pinned, documented, and imported lazily."""

import ast
import inspect
import sys
from pathlib import Path

import pytest

import portkit
from portkit import process
from tests.factories import words

FUNCTIONS = words(
    """
    load connect plan_app plan_apps move_app move_apps pack measure_again resume rollback
    rollback_on show to_json write_bundle collect_garbage take_inventory package_apps judge_apps
    check_apps check_disks load_profile matrix_json measure_isolation
    prove_apps read_disk
    """
)
VALUES = words(
    """
    App Artifact Boot Bundle Bus Cell DiskFile DiskFormat DiskMachine Ended Facts Finding Form
    FormReport Host HostKnown InBundle Instance
    Journal Matrix Measured MoveState NullObserver Observed Observer OnHost Outcome PackedApp
    Packages Profile Pull Report Severity Shown Source Store Verdict
    """
)
ERRORS = words(
    """
    PortkitError AppError BootError ConflictError EngineError HookError HostError IncompatibleError
    LabError PredictionError SpaceError ToolError TransferError UnknownError VerifyError
    """
)


def test_the_names() -> None:
    assert set(portkit.__all__) == FUNCTIONS | VALUES | ERRORS | {"__version__"}
    assert set(dir(portkit)) == set(portkit.__all__)


@pytest.mark.parametrize("name", sorted(FUNCTIONS | VALUES | ERRORS))
def test_each_is_there_and_documented(name: str) -> None:
    value = getattr(portkit, name)
    assert inspect.getdoc(value), name
    assert callable(value) == (name in FUNCTIONS) or inspect.isclass(value)


def test_every_error_is_public() -> None:
    from portkit import errors

    kinds = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert kinds == ERRORS


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(portkit.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            home = f"{node.module}:{alias.name}" if alias.asname else node.module
            seen[alias.asname or alias.name] = home
    assert seen == portkit._HOMES


def test_importing_portkit_imports_nothing_of_it() -> None:
    code = "import sys, portkit; print(*(n for n in sys.modules if n.startswith('portkit.')))"
    assert process.run([sys.executable, "-c", code]).text.strip() == ""


def test_packages_keep_their_names() -> None:
    from portkit import app, host, move

    assert all(map(inspect.ismodule, (app, host, move)))


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        portkit.nothing  # noqa: B018
