"""How it is known that an App is up: the best method that its Form allows, or the one it names."""

import pytest

from portkit.errors import AppError
from portkit.health import choose, deadline, runs_check
from portkit.model import Form, Healthcheck, HealthProbe, Method, Port, Verdict

WEB, DNS = Port(80, 8080), Port(53, 53, "udp")


@pytest.mark.parametrize(
    ("ports", "health", "checks", "image", "disk"),
    [
        ((WEB,), {}, True, Method.PUBLISHED, Method.PUBLISHED),
        ((DNS, WEB), {}, False, Method.PUBLISHED, Method.PUBLISHED),
        ((WEB,), {"port": 81}, False, Method.HOST, Method.RUNNING),
        ((WEB,), {"port": 81}, True, Method.HOST, Method.HEALTHCHECK),
        ((), {"port": 81}, False, Method.HOST, Method.RUNNING),
        ((), {}, True, Method.HEALTHCHECK, Method.HEALTHCHECK),
        ((DNS,), {}, False, Method.RUNNING, Method.RUNNING),
        ((WEB,), {"method": Method.RUNNING}, True, Method.RUNNING, Method.RUNNING),
        ((WEB,), {"method": Method.HEALTHCHECK}, True, Method.HEALTHCHECK, Method.HEALTHCHECK),
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


@pytest.mark.parametrize(
    ("verdict", "loop_s", "seconds", "grown", "said"),
    [
        (Verdict.NATIVE, None, 60, False, ()),
        (Verdict.UNKNOWN, 0.03, 60, False, ()),
        (Verdict.NATIVE, 0.08, 60, False, ()),
        (Verdict.NATIVE, 0.12, 240, True, ("times 4 because the host is that much slower",)),
        (Verdict.EMULATED, None, 300, True, ("times 5 because the VM's processor is emulated",)),
        (Verdict.EMULATED, 0.03, 300, True, ("emulated",)),
        (Verdict.EMULATED, 0.12, 600, True, ("times 5", "times 4", "at most 600 s")),
        (Verdict.NATIVE, 3600.0, 600, True, ("slower", "at most 600 s")),
    ],
)
def test_the_default_deadline_fits_the_host(
    verdict: Verdict, loop_s: float | None, seconds: float, grown: bool, said: tuple[str, ...]
) -> None:
    found = deadline(HealthProbe(), verdict, loop_s)
    assert (found.seconds, found.grown) == (seconds, grown)
    assert found.reason.startswith("the default of 60 s")
    assert all(words in found.reason for words in said)
    assert ("times" in found.reason) == grown


@pytest.mark.parametrize("timeout_s", [0.5, 60, 3600])
def test_a_timeout_that_the_app_names_is_obeyed_everywhere(timeout_s: float) -> None:
    found = deadline(HealthProbe(timeout_s=timeout_s), Verdict.EMULATED, 10.0)
    assert (found.seconds, found.reason) == (timeout_s, "x-portkit.health.timeout")
    assert not found.grown
