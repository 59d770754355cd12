"""An image that is an init system gets the whole machine: systemd as PID 1 of the guest."""

from pathlib import Path

import pytest

from portkit.lab import Lab
from tests.integration.commands import ask, moved, portkit

pytestmark = pytest.mark.lab
DOCKERFILE = r"""
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends systemd systemd-sysv dbus udev
RUN cd /etc/systemd/system \
 && printf '[Socket]\nListenStream=80\nAccept=yes\n[Install]\nWantedBy=sockets.target\n' \
    > web.socket \
 && printf '[Service]\nExecStart=/usr/local/bin/answer\nStandardInput=socket\n' > web@.service \
 && printf '#!/bin/sh\nread line\nprintf "HTTP/1.0 200 OK\\r\\n\\r\\n"\ncat /proc/1/comm\n' \
    > /usr/local/bin/answer \
 && chmod 755 /usr/local/bin/answer && systemctl enable web.socket
STOPSIGNAL SIGRTMIN+3
CMD ["/sbin/init"]
"""
COMPOSE = """
services:
  units:
    build: {context: ., network: host}
    ports: ["8085:80"]
    x-portkit: {memory: 512m, health: {contains: systemd, timeout: 120s}}
"""


def test_systemd_boots_and_shuts_down(lab: Lab, store: Path, tmp_path: Path) -> None:
    app = tmp_path / "units"
    app.mkdir()
    (app / "Dockerfile").write_text(DOCKERFILE)
    (app / "compose.yaml").write_text(COMPOSE)
    with moved(app, "beta", store, "--form", "disk") as report:
        move, here = report["move"], ("--on", "lab:beta")
        assert ask(report["forms"][0]["boot"]["url"]) == b"systemd\n"
        stopped = portkit("stop", move, *here, "--time", "60", store=store)
        assert "exited" in stopped.text
        logged = portkit("logs", move, *here, store=store).text
        # Shut down by itself, not cut off.
        assert "Power down" in logged or "Powering off" in logged
