from pathlib import Path

import pytest

from portkit.errors import LabError
from portkit.lab.plan import MEMBERS, STATE, Lab, current, member


def test_names_fit_into_an_interface_name() -> None:
    lab = Lab(number=9)
    for name in MEMBERS:
        assert len(lab.link(name)) <= 15
        assert len(f"{lab.prefix}i-{name}") <= 15


def test_addresses_are_unique_and_labs_do_not_overlap() -> None:
    labs = [Lab(number=number) for number in range(10)]
    addresses = [lab.address(name) for lab in labs for name in MEMBERS]
    addresses += [lab.gateway for lab in labs]
    assert len(set(addresses)) == len(addresses)
    assert len({lab.mac(name) for lab in labs for name in MEMBERS}) == 10 * len(MEMBERS)
    assert Lab().address("alpha") == "10.77.0.11"
    assert Lab().gateway == "10.77.0.1"


def test_unknown_member() -> None:
    with pytest.raises(LabError) as caught:
        member("omega")
    assert "alpha" in caught.value.details


def test_current_reads_the_environment() -> None:
    assert current({}) == Lab(STATE, 0)
    assert current({"PORTKIT_LAB": "/x", "PORTKIT_LAB_NUMBER": "3"}) == Lab(Path("/x"), 3)
    assert current({"PORTKIT_LAB_NUMBER": "99"}).network == "10.176.0.0/24"


@pytest.mark.parametrize("number", ["", "100", "-1", "01", "x", "²", "1 "])
def test_current_refuses_numbers(number: str) -> None:
    with pytest.raises(LabError):
        current({"PORTKIT_LAB_NUMBER": number})


@pytest.mark.parametrize("state", ["relative", "/a,b", "/a:b", "/a b"])
def test_current_refuses_folders_that_mount_options_cannot_hold(state: str) -> None:
    with pytest.raises(LabError):
        current({"PORTKIT_LAB": state})


def test_clients_are_packages_of_their_own_from_debian_13() -> None:
    assert "docker-buildx" not in MEMBERS["alpha"].packages
    assert [name for name, each in MEMBERS.items() if each.podman] == ["delta"]
    assert not any(package.startswith("docker") for package in MEMBERS["delta"].packages)
    assert {"docker-cli", "docker-buildx"} <= set(MEMBERS["beta"].packages)
