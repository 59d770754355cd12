"""What Podman does otherwise than Docker behind its socket for Docker's clients.

Seen with Podman 5.4.2.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from portkit.model import CAPABILITIES, RunSpec

if TYPE_CHECKING:  # it loads the SDK, which may be absent where nobody needs it
    from portkit.engines.docker_client import Inspected

# Podman reads limits as words of its command line, which have no RLIMIT_AS (docker/go-units,
# ulimit.go). It starts containers without such a limit; the rule podman-ulimit refuses others.
_NO_LIMITS = ("as",)
# What Docker sets in a network of a container's own (moby, daemon/oci_linux.go), and Podman does
# not: without the first, a user without rights cannot listen below 1024.
_SYSCTLS = {
    "net.ipv4.ip_unprivileged_port_start": "0",
    "net.ipv4.ping_group_range": "0 2147483647",
}
# The least version whose answers to the calls below are the same as today's (Podman 4.0 has its own
# API beside Docker's under this name).
_OWN = "/v4.0.0/libpod"
_LATE = 1.5  # a timer that has not run within so many intervals and a second is not there
_CONFLICT = 409


class Checks:
    """Healthchecks that nobody else makes.

    Podman makes them by timers of systemd (podman-healthcheck-run(1)). Where systemd does not run,
    an App would be "starting" for ever: so a check that is overdue is asked for here. `made` counts
    them.
    """

    def __init__(self, api: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._clock = api, clock
        self._seen: dict[str, tuple[str, float]] = {}
        self.made = 0

    def overdue(self, container: str, row: Inspected) -> bool:
        """Whether the next check of a container that is not known to be healthy should have been
        made by now."""
        health, check = row.State.Health, row.Config.Healthcheck if row.Config else None
        if row.State.Status != "running" or health is None or health.Status != "starting":
            return False
        last = health.Log[-1].Start if health.Log else row.State.StartedAt
        before, since = self._seen.get(container, ("", 0.0))
        if before != last:
            before, since = self._seen[container] = last, self._clock()
        interval_s = check.Interval / 1e9 if check else 0.0
        return self._clock() - since >= interval_s * _LATE + 1

    def make(self, container: str) -> None:
        """Have the engine make one check now; it writes down what came of it."""
        import docker.errors

        url = f"{self._api.base_url}{_OWN}/containers/{container}/healthcheck"
        try:
            self._api._result(self._api._get(url), json=True)
        except docker.errors.APIError as error:
            # It has ended meanwhile, which the next look at it shows.
            if error.status_code != _CONFLICT:
                raise
        self.made += 1


def adapted(config: Mapping[str, Any], service: RunSpec) -> dict[str, Any]:
    """The arguments of `create_host_config` with which Podman makes what Docker would. Pure."""
    found = dict(config)
    limits = [each for each in config.get("ulimits", ()) if each.name not in _NO_LIMITS]
    found["ulimits"] = limits
    if service.network_mode != "host" and not service.shares_network:
        found["sysctls"] = {**_SYSCTLS, **service.sysctls}
    if not service.privileged and not service.is_root:
        # What is added by name, a user who is not root has (capabilities(7), ambient): "nobody"
        # could write every file. With Docker, it is what setuid programs can have.
        lost = [name for name in CAPABILITIES if name not in service.capabilities]
        found["cap_drop"] = [name.removeprefix("CAP_") for name in lost]
        found.pop("cap_add", None)
    return found
