"""How it is known that an App is up: the best method that its Form allows, or the one it names."""

import pytest

from portkit.errors import AppError
from portkit.health import choose, runs_check
from portkit.model import Form, Healthcheck, HealthProbe, Method, Port

WEB, DNS = Port(80, 8080), Port(53, 53, "udp")


@pytest.mark.parametrize(
    ("ports", "health", "checks", "image", "disk"),
    [
        ((WEB,), {}, True, Method.PUBLISHED, Method.PUBLISHED),
        ((DNS, WEB), {}, False, Method.PUBLISHED, Method.PUBLISHED),
        ((WEB,), {"port": 81}, False, Method.HOST, Method.RUNNING),
        ((WEB,), {"port": 81}, True, Method.HOST, Method.RUNNING),
        ((), {"port": 81}, False, Method.HOST, Method.RUNNING),
        ((), {}, True, Method.HEALTHCHECK, Method.RUNNING),
        ((DNS,), {}, False, Method.RUNNING, Method.RUNNING),
        ((WEB,), {"method": Method.RUNNING}, True, Method.RUNNING, Method.RUNNING),
        ((WEB,), {"method": Method.HEALTHCHECK}, True, Method.HEALTHCHECK, Method.PUBLISHED),
        ((WEB,), {"method": Method.HEALTHCHECK}, False, Method.PUBLISHED, Method.PUBLISHED),
    ],
)
def test_the_best_that_is_possible(
    ports: tuple[Port, ...], health: dict[str, object], checks: bool, image: Method, disk: Method
) -> None:
    probe = HealthProbe(**health)  # type: ignore[arg-type]
    for form, wanted in ((Form.IMAGE, image), (Form.DISK, disk)):
        way = choose(ports, probe, form, checks_itself=checks)
        assert way.method is wanted, form
        assert way.reasons or wanted is Method.PUBLISHED, "a lesser method is explained"
        assert (way.port is not None) == (wanted is Method.PUBLISHED)


def test_of_several_ports_the_named_one() -> None:
    other = Port(9000, 9001)
    way = choose((DNS, WEB, other), HealthProbe(port=9000), Form.DISK, checks_itself=False)
    assert way.port == other


def test_a_published_port_that_is_named_and_not_there() -> None:
    probe = HealthProbe(method=Method.PUBLISHED)
    with pytest.raises(AppError, match="no published TCP port"):
        choose((DNS,), probe, Form.IMAGE, checks_itself=True)


def test_what_a_healthcheck_that_runs_is() -> None:
    assert runs_check(Healthcheck(("CMD", "true")))
    assert not any(map(runs_check, (None, Healthcheck(), Healthcheck(("NONE",)))))
