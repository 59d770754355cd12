"""PID 1 of a practice host: starts its daemons, reaps, starts again what dies, stops in order.

Standard library only; runs with the host's own Python (3.11 or newer). SIGTERM stops the host.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
# Seconds before a daemon that ended is started again: one that ends at once must not fill the log.
RESTART_S = 1.0


@dataclass
class Service:
    """A daemon that stays in the foreground. grace_s: seconds it gets to stop by itself."""

    name: str
    argv: list[str]
    grace_s: float
    pid: int = 0
    # When to start it (again), on the monotonic clock.
    due: float = field(default_factory=time.monotonic)

    @property
    def program(self) -> str:
        """The file that is the daemon, behind whatever sets its limits."""
        return self.argv[self.argv.index("--") + 1] if "--" in self.argv else self.argv[0]


def services() -> list[Service]:
    """Those that the host's root has, in the order of starting; they are stopped in the opposite
    one."""
    # Raising the hard limit takes CAP_SYS_RESOURCE, which this machine may lack.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = f"{hard}:{hard}"
    known = [
        # virtlogd first: libvirtd does not start guests without it.
        Service("virtlogd", ["/usr/sbin/virtlogd"], 5),
        Service("libvirtd", ["/usr/sbin/libvirtd"], 10),
        # As docker.service: containers inherit a high limit of open files from it.
        Service(
            "dockerd", ["/usr/bin/prlimit", f"--nofile={files}", "--", "/usr/sbin/dockerd"], 30
        ),
        # As podman.service, which podman.socket starts for each client.
        Service("podman", ["/usr/bin/podman", "system", "service", "--time=0"], 10),
        Service("sshd", ["/usr/sbin/sshd", "-D", "-e"], 5),
    ]
    return [each for each in known if Path(each.program).exists()]


def start(service: Service) -> None:
    """Start it in the background, with its output in /var/log/NAME.log."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    log = f"/var/log/{service.name}.log"
    service.pid = os.posix_spawn(
        service.argv[0],
        service.argv,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, log, flags, 0o640), (os.POSIX_SPAWN_DUP2, 1, 2)],
        setsid=True,
        setsigmask=[],
        # What is ignored is inherited, down to each container: SIGPIPE and SIGXFSZ by Python, and
        # SIGHUP where somebody has started the lab under nohup.
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )


def reap(running: list[Service]) -> bool:
    """Collect every child that ended. False when there are no children at all."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        for service in running:
            if service.pid == pid:
                code = os.waitstatus_to_exitcode(status)
                print(f"{service.name} ended with {code}", flush=True)
                service.pid = 0
                service.due = time.monotonic() + RESTART_S


def stop(running: list[Service]) -> None:
    """Stop the daemons, the last started first, and then whatever else runs on the host."""
    for service in reversed(running):
        end = time.monotonic() + service.grace_s
        if service.pid:
            os.kill(service.pid, signal.SIGTERM)
        while service.pid and time.monotonic() < end:
            signal.sigtimedwait({signal.SIGCHLD}, 0.2)
            reap(running)
    # What no daemon looked after: guests, sessions, orphans. -1 is everyone but ourselves.
    for number, seconds in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 5.0)):
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            return
        end = time.monotonic() + seconds
        while reap(running) and time.monotonic() < end:
            signal.sigtimedwait({signal.SIGCHLD}, 0.2)


def main() -> int:
    """Run the host until SIGTERM or SIGINT."""
    # Blocked, then waited for: PID 1 would lose signals for which it has no handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    running = services()
    while True:
        now = time.monotonic()
        for service in running:
            if not service.pid and service.due <= now:
                start(service)
        # Half a second: what is due to be started again is looked for at least that often.
        got = signal.sigtimedwait(SIGNALS, 0.5)
        reap(running)
        if got is not None and got.si_signo in (signal.SIGTERM, signal.SIGINT):
            stop(running)
            return 0


if __name__ == "__main__":
    sys.exit(main())
