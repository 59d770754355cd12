"""What can go wrong with a container engine, as errors of portkit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from portkit.engines.patience import CALL_S, Late
from portkit.errors import ConflictError, EngineError, PortkitError

_CHECK = "Check that the engine runs there: docker info, or podman info."


def engine_of(response: Any) -> str:
    """Which engine gave an answer of HTTP, by its own word: Libpod/5.4.2, Docker/26.1.5."""
    server = "" if response is None else str(response.headers.get("Server", ""))
    if server.startswith("Libpod/"):
        return "Podman"
    return "Docker" if server.startswith("Docker/") else "the container engine"


@contextmanager
def errors(host: str, what: str) -> Iterator[None]:
    """Errors of the SDK and of an engine's answers as what the engine could not do on that host. An
    answer says whose it is."""
    import docker.errors
    import requests

    from portkit.engines.docker_client import Malformed

    try:
        yield
    except Malformed as error:
        raise _malformed(host, what, str(error)) from error
    except Late as error:
        raise EngineError(
            f"the container engine could not {what} in time",
            details=f"{host}: no answer within {CALL_S:g} s",
            resolution=_CHECK,
        ) from error
    except docker.errors.APIError as error:
        said = str(error.explanation or error)[:2000]
        kind, resolution = _meaning(said)
        raise kind(
            f"{engine_of(error.response)} could not {what}",
            details=f"{host}: {said}",
            resolution=resolution,
        ) from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EngineError(
            f"the container engine could not {what}",
            details=f"{host}: {str(error)[:2000]}",
            resolution=_CHECK,
        ) from error
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        # The SDK's own, for an answer that is none: it looks into it first.
        raise _malformed(host, what, type(error).__name__) from error


def _malformed(host: str, what: str, why: str) -> EngineError:
    return EngineError(
        f"the container engine could not {what}: its response is malformed",
        details=f"{host}: {why}",
        resolution="Check which program answers there: docker info, or podman info.",
    )


def _meaning(said: str) -> tuple[type[PortkitError], str]:
    """The class of an engine's refusal and what can be done; words of Docker 20.10 to 29."""
    if "port is already allocated" in said or "address already in use" in said:
        return ConflictError, "Free the port, or publish another one."
    if "is already in use by container" in said:
        return ConflictError, "Remove or rename the container that has that name."
    return EngineError, "Read the engine's message above."
