"""What the guest's init writes of its services, read back."""

import pytest

from portkit.boot.console import About, exit_code, life, plain, states
from portkit.model import Life, ServiceState

ALONE = About()
SHOP = About(("db", "migrate", "web"), "web", ("db",))


def said(*lines: str) -> str:
    return "".join(f"portkit: {line}\r\n" for line in lines)


def test_the_exit_code_is_what_init_said_last() -> None:
    log = said("starting a", "app exited with code 3", "starting the app again")
    assert exit_code(log, ALONE) is None, "it runs again"
    assert exit_code(log + said("app exited with code 0"), ALONE) == 0


def test_no_word_no_code() -> None:
    assert exit_code("", ALONE) is None
    assert exit_code("the app said: portkit: app exited with code 3", ALONE) is None


def test_what_firmware_draws_is_gone() -> None:
    assert plain("\x1b[2J\x1b[01;01Hhello\r\n\x1b[=3h") == "hello\n"


STARTED = said("starting db: postgres", "db is healthy", "starting migrate: sh")
UP = STARTED + said("migrate exited with code 0", "starting web: nginx")


@pytest.mark.parametrize(
    ("log", "active", "wanted"),
    [
        ("", False, Life("exited")),
        (said("starting db: x"), True, Life("running", health="starting")),
        (STARTED, True, Life("running", health="healthy")),
        (UP, True, Life("running", started="this boot", health="healthy")),
        (
            UP + said("db is unhealthy: no"),
            True,
            Life("running", started="this boot", health="unhealthy", service="db"),
        ),
        (
            STARTED + said("migrate exited with code 2", "web is not started: migrate exited"),
            True,
            Life("exited", 2, restarts=1, health="", service="migrate"),
        ),
        (UP + said("db exited with code 1"), True, Life("exited", 1, restarts=1, service="db")),
        (
            UP + said("db exited with code 1", "starting db: postgres"),
            True,
            Life("running", started="this boot", restarts=1, health="starting"),
        ),
        (
            said("db rests", "starting web: nginx"),
            True,
            Life("running", started="this boot"),
        ),
        (
            UP + said("web exited with code 1; it is started again"),
            True,
            Life("running", restarts=1, health="healthy", again="web exited with code 1"),
        ),
        (
            UP + said("web exited with code 1; it is started again", "starting web: nginx"),
            True,
            Life("running", started="this boot, start 2", restarts=1, health="healthy"),
        ),
        (UP + said("web exited with code 0"), False, Life("exited", 0)),
        (UP + said("web exited with code 0"), True, Life("exited", 0, service="web")),
    ],
)
def test_several_services_are_one_life(log: str, active: bool, wanted: Life) -> None:
    assert life(log, SHOP, active=active, whole=True) == wanted


def test_a_name_that_is_no_service_is_passed_over() -> None:
    log = UP + said("nobody exited with code 9")
    assert life(log, SHOP, active=True, whole=True) == life(UP, SHOP, active=True, whole=True)


def test_each_service_has_its_state() -> None:
    assert states(UP, SHOP, active=True) == (
        ServiceState("db", "running", None, "healthy"),
        ServiceState("migrate", "exited", 0),
        ServiceState("web", "running"),
    )
    assert states(STARTED, SHOP, active=False) == (
        ServiceState("db", "exited"),
        ServiceState("migrate", "exited"),
        ServiceState("web", "created"),
    )
    assert states(UP, ALONE, active=True) == ()


def test_what_a_healthcheck_said_is_kept() -> None:
    log = UP + said("db is unhealthy: no table")
    assert life(log, SHOP, active=True, whole=True).said == "no table"


def test_a_guest_that_never_said_a_word() -> None:
    assert life("", ALONE, active=False, whole=True, booted=False) == Life("created")
    assert life("", ALONE, active=False, whole=True) == Life("exited")
