"""Which engine an error names: the one that has answered."""

import docker.errors
import pytest
import requests

from portkit.engines.docker_errors import errors
from portkit.errors import EngineError


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("Docker/26.1.5+dfsg1 (linux)", "Docker"),
        ("Libpod/5.4.2 (linux)", "Podman"),
        ("", "the container engine"),
        ("nginx", "the container engine"),
    ],
)
def test_a_refusal(server: str, name: str) -> None:
    response = requests.Response()
    response.headers["Server"] = server
    with (
        pytest.raises(EngineError, match=rf"^{name} could not start it"),
        errors("web2", "start it"),
    ):
        raise docker.errors.APIError("no", response, "no such runtime")


def test_no_answer() -> None:
    with (
        pytest.raises(EngineError, match=r"^the container engine could not start it"),
        errors("web2", "start it"),
    ):
        raise requests.ConnectionError("refused")
