"""Docker's API through its SDK: containers only; images go through the remote half."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from portkit.engines.marks import ours
from portkit.engines.patience import CALL_S, Late, Patient, within
from portkit.errors import ConflictError, EngineError, PortkitError
from portkit.model import Form, Instance, Life, Mount, RunSpec
from portkit.wire import labels
from portkit.wire.json_types import JsonObject

if TYPE_CHECKING:  # they load the SDK, which may be absent where nobody needs it
    from docker.types import Mount as DockerMount

    from portkit.engines.docker_client import Inspected, Row, Volume

# Docker's states; all others are ends.
_STATES = {"created": "created", "running": "running", "paused": "running", "restarting": "running"}
# The list of containers has the exit code in a text for people only; `inspect` has it as a number
# and costs a request for each.
_EXITED = re.compile(r"Exited \((\d{1,3})\)")
_LABELS = (labels.MOVE, labels.APP, labels.FORM)
_STOP_S = 10  # what the engine gives an app to end unless it says otherwise
_LOG_LIMIT = 1 << 20  # bytes of a log that are kept
_LOG_READ = 64 << 20  # bytes after which an engine is not listened to any more


def volume_name(identity: str, index: int) -> str:
    """The i-th volume of an Instance."""
    return f"portkit-{identity.removeprefix('pk-')}-{index}"


class Docker:
    """One engine behind a unix socket. `close` when done."""

    def __init__(self, socket: Path, host: str) -> None:
        from portkit.engines.docker_client import Client

        self._host = host
        url = f"unix://{socket}"
        with self._errors("reach the engine"):
            made = within(CALL_S, lambda: Client(base_url=url, version="auto", timeout=120))
        # `close` and `stop` are called past the patience: the one must not start a thread at the
        # end of a process, the other may take as long as the App says.
        self._sdk = made
        self._api = Patient(made)

    def close(self) -> None:
        """Close the connections to the engine."""
        self._sdk.close()

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        import docker.errors
        import requests

        from portkit.engines.docker_client import Malformed

        try:
            yield
        except Malformed as error:
            raise self._malformed(what, str(error)) from error
        except Late as error:
            raise EngineError(
                f"Docker could not {what} in time",
                details=f"{self._host}: no answer within {CALL_S:g} s",
                resolution="Check that the engine runs there: docker info.",
            ) from error
        except docker.errors.APIError as error:
            said = str(error.explanation or error)[:2000]
            kind, resolution = _meaning(said)
            raise kind(
                f"Docker could not {what}",
                details=f"{self._host}: {said}",
                resolution=resolution,
            ) from error
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise EngineError(
                f"Docker could not {what}",
                details=f"{self._host}: {str(error)[:2000]}",
                resolution="Check that the engine runs there: docker info.",
            ) from error
        except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
            # The SDK's own, for an answer that is none: it looks into it first.
            raise self._malformed(what, type(error).__name__) from error

    def _malformed(self, what: str, why: str) -> EngineError:
        return EngineError(
            f"Docker could not {what}: its answer is malformed",
            details=f"{self._host}: {why}",
            resolution="Check what answers there: docker info.",
        )

    # ------------------------------------------------------------ containers

    def create(self, image: str, spec: RunSpec, identity: str) -> str:
        """A created container that does not start by itself; its name."""
        name = f"portkit-{spec.app}-{identity.removeprefix('pk-')}"
        mine = dict(zip(_LABELS, (identity, spec.app, Form.IMAGE.value), strict=True))
        with self._errors("create the container"):
            for index in range(sum(mount.type == "volume" for mount in spec.mounts)):
                self._api.create_volume(volume_name(identity, index), labels={**mine})
            self._api.create_container(
                image=image,
                name=name,
                # The whole argv as the entrypoint and no command: the image's own CMD would be
                # appended otherwise.
                entrypoint=list(spec.argv),
                environment=[f"{key}={value}" for key, value in spec.env],
                working_dir=spec.cwd,
                user=spec.user,
                hostname=spec.hostname,
                ports=[(port.target, port.protocol) for port in spec.ports],
                labels={**spec.labels, **mine},
                stop_signal=spec.stop_signal,
                stop_timeout=math.ceil(spec.stop_grace_period_s),
                healthcheck=_healthcheck(spec),
                host_config=self._host_config(spec, identity),
                # Else ~/.docker/config.json of this machine gets into the app's environment.
                use_config_proxy=False,
            )
        return name

    def _host_config(self, spec: RunSpec, identity: str) -> object:
        from docker.types import Ulimit

        capabilities = [name.removeprefix("CAP_") for name in spec.capabilities]
        limits = [
            Ulimit(name=name, soft=limit.soft, hard=limit.hard)
            for name, limit in sorted(spec.ulimits.items())
        ]
        bindings: dict[str, list[tuple[str, int] | int]] = {}
        for port in spec.ports:
            where = (port.host_ip, port.host_port) if port.host_ip else port.host_port
            bindings.setdefault(f"{port.target}/{port.protocol}", []).append(where)
        return self._api.create_host_config(
            # All are dropped and those that are wanted are added, so that the engine's own default
            # does not matter.
            cap_drop=None if spec.privileged else ["ALL"],
            cap_add=None if spec.privileged else capabilities,
            privileged=spec.privileged,
            ulimits=limits,
            port_bindings=bindings,
            mounts=_mounts(spec.mounts, identity),
            read_only=spec.read_only,
            init=spec.init,
            group_add=list(spec.group_add),
            mem_limit=spec.mem_limit_bytes,
            nano_cpus=None if spec.cpus is None else int(spec.cpus * 1e9),
            # Until `commit` nothing may start it: a host that restarts in the middle of a Move must
            # not bring the App up on its own.
            restart_policy={"Name": "no"},
        )

    def start(self, identity: str) -> None:
        """Start the container; returns when the engine has started its process."""
        with self._errors("start the container"):
            self._api.start(self._row(identity).Id)

    def stop(self, identity: str, grace_s: float | None = None) -> int | None:
        """Stop signal, `grace_s` seconds (None: the App's own), SIGKILL; the exit code."""
        container = self._row(identity).Id
        with self._errors("stop the container"):
            if grace_s is None:  # told to the SDK: it waits no longer for the answer than that
                config = self._inspect(container).Config
                asked = None if config is None else config.StopTimeout
                grace_s = _STOP_S if asked is None else asked
            # Not `within` a time of ours: the App's own may be longer.
            self._sdk.stop(container, timeout=math.ceil(grace_s))
            return self._inspect(container).State.ExitCode

    def _inspect(self, container: str) -> Inspected:
        from portkit.engines.docker_client import Inspected, read

        return read(Inspected, self._api.inspect_container(container))

    def restart_policy(self, identity: str, policy: str) -> None:
        """Let the engine start it by itself as compose's `restart` says."""
        kind, _, count = policy.partition(":")
        value = {"Name": kind, "MaximumRetryCount": int(count or 0)}
        with self._errors("set the restart policy"):
            self._api.update_container(self._row(identity).Id, restart_policy=value)

    def remove(self, identity: str) -> set[str]:
        """The container and its volumes; nothing else. The names of the images it was made from."""
        with self._errors("remove the container"):
            rows = self._rows(identity)
            for row in rows:
                # force kills it first: an App that is removed with its volumes has nothing to save.
                self._api.remove_container(row.Id, force=True)
            # By label and not by name: only those that portkit made for this Move, in whatever
            # number.
            for volume in self._volumes(f"{labels.MOVE}={identity}"):
                self._api.remove_volume(volume.Name)
        return {row.Image for row in rows}

    def _volumes(self, label: str) -> list[Volume]:
        from portkit.engines.docker_client import Volumes, read

        with self._errors("list volumes"):
            return read(Volumes, self._api.volumes(filters={"label": label})).Volumes

    def logs(self, identity: str, tail: int) -> str:
        """The end of what it wrote, both streams: so many lines, at most 1 MiB."""
        kept, seen = bytearray(), 0
        with self._errors("read the logs"):
            rows = self._api.logs(self._row(identity).Id, tail=tail, stream=True, follow=False)
            for data in rows:
                kept += data
                # `tail` counts lines, and a line may be gigabytes long.
                del kept[:-_LOG_LIMIT]
                seen += len(data)
                if seen > _LOG_READ:
                    rows.close()
                    break
        return kept.decode("utf-8", "replace")

    def follow(self, identity: str, write: Callable[[bytes], object]) -> None:
        """What it writes from now on, until it ends."""
        container = self._row(identity).Id
        with self._errors("follow the logs"):
            for data in self._api.logs(container, stream=True, follow=True, tail=0):
                write(data)

    def life(self, identity: str) -> Life:
        """What the engine says of the container now."""
        with self._errors("look at the container"):
            return _life(self._inspect(self._row(identity).Id))

    def instances(self) -> tuple[Instance, ...]:
        """Every container that portkit made here; not those with labels it would never write."""
        found = []
        for row in self._rows(None):
            identity, app = row.Labels.get(labels.MOVE, ""), row.Labels.get(labels.APP, "")
            if not ours(identity, app):
                continue
            # From the list itself: a container may be gone before it could be looked at.
            status, code = _listed(row.State, row.Status)
            url = " ".join(
                f":{port}" for port in sorted({each.PublicPort for each in row.Ports} - {0})
            )
            found.append(Instance(identity, app, Form.IMAGE, self._host, status, code, url))
        return tuple(found)

    def _rows(self, identity: str | None) -> list[Row]:
        from portkit.engines.docker_client import Row, read_all

        # The engine filters: other people's containers are not even listed.
        label = labels.MOVE if identity is None else f"{labels.MOVE}={identity}"
        with self._errors("list containers"):
            return read_all(Row, self._api.containers(all=True, filters={"label": label}))

    def _row(self, identity: str) -> Row:
        rows = self._rows(identity)
        if not rows:
            raise EngineError(
                "the container is not there any more",
                details=f"{identity} on {self._host}",
                resolution="portkit ps shows what there is.",
            )
        return rows[0]


def _meaning(said: str) -> tuple[type[PortkitError], str]:
    """The class of an engine's refusal and what can be done; words of Docker 20.10 to 29."""
    if "port is already allocated" in said or "address already in use" in said:
        return ConflictError, "Free the port, or publish another one."
    if "is already in use by container" in said:
        return ConflictError, "Remove or rename what has that name there."
    return EngineError, "See the engine's own words above."


def _listed(state: str, told: str) -> tuple[str, int | None]:
    """Status and exit code of a row of the list, which tells it as "Exited (3) 2 minutes ago"."""
    match = _EXITED.match(told)
    status = _STATES.get(state, "exited")
    return status, int(match[1]) if match and status == "exited" else None


def _life(row: Inspected) -> Life:
    """A container's inspection as a Life."""
    state = row.State
    status = _STATES.get(state.Status, "exited")
    health = state.Health.Status if state.Health else ""
    networks = row.NetworkSettings.Networks if row.NetworkSettings else {}
    addresses = [str(each.IPAddress) for each in networks.values() if each and each.IPAddress]
    return Life(
        status=status,
        exit_code=state.ExitCode if status == "exited" else None,
        # While it waits to be started again, the time of its last start is still there.
        started=state.StartedAt if state.Status == "running" else "",
        restarts=row.RestartCount,
        health="" if health == "none" else health,
        address=next(iter(addresses), ""),
    )


def _mounts(mounts: tuple[Mount, ...], identity: str) -> list[DockerMount]:
    from docker.types import Mount as DockerMount

    found = []
    index = 0
    for mount in mounts:
        if mount.type == "tmpfs":
            size, mode = mount.tmpfs_bytes, mount.tmpfs_mode
            found.append(DockerMount(mount.target, None, "tmpfs", tmpfs_size=size, tmpfs_mode=mode))
            continue
        name = volume_name(identity, index)
        found.append(DockerMount(mount.target, name, "volume", read_only=mount.read_only))
        index += 1
    return found


def _healthcheck(spec: RunSpec) -> JsonObject | None:
    check = spec.healthcheck
    if check is None:
        return None
    row: JsonObject = {"test": list(check.test)}
    for key, seconds in (
        ("interval", check.interval_s),
        ("timeout", check.timeout_s),
        ("start_period", check.start_period_s),
    ):
        if seconds is not None:
            # The API counts in nanoseconds, as Go does.
            row[key] = int(seconds * 1e9)
    if check.retries is not None:
        row["retries"] = check.retries
    return row
