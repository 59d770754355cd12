"""A container in the words of a compose file. Pure; the reverse of docker_spec.

What an engine fills in by itself is left out again: variables and words of the image, addresses,
names that it gives. What a compose file cannot say is a finding, named by the field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from portkit.engines import docker_spec
from portkit.engines.described.answers import CONTAINER, Check, Config, Container
from portkit.engines.described.networks import networking
from portkit.engines.described.reading import Described, Engine, Reading
from portkit.engines.described.storage import storage
from portkit.model import Dependency, Severity
from portkit.model.run import security_option
from portkit.wire import labels

_NANO = 1_000_000_000
_SHM_BYTES = 64 << 20  # what an engine gives without being asked


def describe(
    container: Container,
    image: Config,
    *,
    reference: str,
    engine: Engine,
    services: Mapping[str, str] | None = None,
    volumes: Mapping[str, str] | None = None,
    networks: Mapping[str, str] | None = None,
    others: Mapping[str, str] | None = None,
) -> Described:
    """A container as a service of a compose file.

    image: the configuration of its image. reference: what names that image for good. services:
    by id and by name, the services of the other containers of the file. volumes, networks: what the
    file calls those of the engine; the engine's own name where it has none. others: the names of
    containers that are not in the file, by id.
    """
    reading = Reading(
        container, image, engine, services or {}, volumes or {}, networks or {}, others or {}
    )
    row: dict[str, object] = {"image": reference, **_named(container)}
    if reference.startswith("sha256:"):
        what = "its image has no name: tag it, then push it to a registry or pack it"
        reading.lost("Config.Image", what)
    for part in (_process, _rights, _limits, networking, storage, _life):
        row.update(part(reading))
    _rest(reading)
    return Described(
        name=container.service,
        service={
            key: value
            for key, value in row.items()
            if value not in _NOTHING or key in _MAY_BE_EMPTY
        },
        findings=tuple(replace(each, services=(container.service,)) for each in reading.findings),
    )


def _named(container: Container) -> dict[str, object]:
    """Its own name, where compose would give it another one."""
    if labels.MOVE in container.Config.Labels:
        return {}  # portkit gives it another name on every host
    number = container.Config.Labels.get(labels.COMPOSE + "container-number", "1")
    words = (container.project, container.service, number)
    made = ("-".join(words), "_".join(words))  # of compose 2, and of compose 1
    if container.project and container.name in made:
        return {}
    return {"container_name": container.name}


# ---------------------------------------------------------------- the process


# Of the configuration, what compose has no word for.
_TOLD_OF_CONFIG = ("NetworkDisabled",)


def _process(reading: Reading) -> dict[str, object]:
    config, image = reading.container.Config, reading.image
    host = reading.container.HostConfig
    # An engine names a container after its id; another's name comes with its network.
    named = config.Hostname != reading.container.Id[:12]
    shared = host.NetworkMode == "host" or host.NetworkMode.startswith(CONTAINER) or host.UTSMode
    for key in _TOLD_OF_CONFIG:
        if (config.model_extra or {}).get(key):
            reading.lost(f"Config.{key}", f"Config.{key}")
    return {
        **_words(config, image),
        "environment": _environment(reading),
        "user": _other(config.User, image.User),
        "working_dir": _other(config.WorkingDir, image.WorkingDir),
        "hostname": config.Hostname if named and not shared else None,
        "domainname": None if shared else config.Domainname,
        # Only older engines keep one that was chosen apart from one that they made.
        "mac_address": (config.model_extra or {}).get("MacAddress"),
        "tty": config.Tty or None,
        "stdin_open": config.OpenStdin or None,
        "labels": {
            key: value
            for key, value in config.Labels.items()
            if image.Labels.get(key) != value and not key.startswith((labels.COMPOSE, "portkit."))
        },
        "healthcheck": _healthcheck(config.Healthcheck, image.Healthcheck),
    }


def _other(value: str, usual: str) -> str | None:
    return None if value == usual else value


def _words(config: Config, image: Config) -> dict[str, object]:
    """Entrypoint and command, as far as they are not the image's. An entrypoint takes the image's
    command away, also where it is the same."""
    same = config.Entrypoint == image.Entrypoint
    if same and config.Cmd == image.Cmd:
        return {}
    command: dict[str, object] = {"command": config.Cmd} if config.Cmd else {}
    return command if same and command else {"entrypoint": config.Entrypoint, **command}


def _environment(reading: Reading) -> dict[str, str]:
    """The variables that were set for this container: the engine puts those of the image that are
    missing behind them, so it is the shortest beginning that leads to the same list."""
    own, image = reading.container.Config.Env, reading.image.Env
    count = _first_of_image(own, image)
    for row in own[:count]:
        if "=" not in row:
            reading.lost("Config.Env", f"the variable {row[:80]}, which has no value")
    return {row.partition("=")[0]: row.partition("=")[2] for row in own[:count] if "=" in row}


def _first_of_image(own: Sequence[str], image: Sequence[str]) -> int:
    """How many variables stand before those that the engine has added from the image."""
    of_name = Counter(row.partition("=")[0] for row in image)
    names: set[str] = set()
    missing = len(image)
    for count, row in enumerate(own):
        # The lists are compared only where their lengths allow it: there may be thousands.
        if missing == len(own) - count:
            rest = [each for each in image if each.partition("=")[0] not in names]
            if rest == list(own[count:]):
                return count
        name = row.partition("=")[0]
        missing -= 0 if name in names else of_name[name]
        names.add(name)
    return len(own)


def _healthcheck(check: Check | None, image: Check | None) -> dict[str, object] | None:
    if check is None or check == image:
        return None
    if check.Test[:1] == ["NONE"]:
        return {"disable": True}
    times = {
        "interval": check.Interval,
        "timeout": check.Timeout,
        "start_period": check.StartPeriod,
        "start_interval": check.StartInterval,
    }
    return {
        **({"test": check.Test} if check.Test else {}),
        **{key: duration(value) for key, value in times.items() if value},
        **({"retries": check.Retries} if check.Retries else {}),
    }


def duration(nanoseconds: int) -> str:
    """As compose writes it: 30s, 1500ms."""
    for unit, size in (("s", _NANO), ("ms", 1_000_000), ("us", 1000)):
        if nanoseconds % size == 0:
            return f"{nanoseconds // size}{unit}"
    return f"{nanoseconds}ns"


# ---------------------------------------------------------------- rights and limits

# Fields that compose has under another name, with what an engine has where nobody asked.
_SAME: dict[str, tuple[str, tuple[object, ...]]] = {
    "Privileged": ("privileged", (False,)),
    "ReadonlyRootfs": ("read_only", (False,)),
    "Init": ("init", (None, False)),
    "GroupAdd": ("group_add", ()),
    "UsernsMode": ("userns_mode", ()),
    "Sysctls": ("sysctls", ()),
    "OomScoreAdj": ("oom_score_adj", (0,)),
    "OomKillDisable": ("oom_kill_disable", (None, False)),
    "MemoryReservation": ("mem_reservation", (0,)),
    "MemorySwappiness": ("mem_swappiness", (None, -1)),
    "CpuShares": ("cpu_shares", (0,)),
    "CpuQuota": ("cpu_quota", (0,)),
    "CpuPeriod": ("cpu_period", (0,)),
    "CpuRealtimePeriod": ("cpu_rt_period", (0,)),
    "CpuRealtimeRuntime": ("cpu_rt_runtime", (0,)),
    "CpusetCpus": ("cpuset", ()),
    "CgroupParent": ("cgroup_parent", ()),
    "DeviceCgroupRules": ("device_cgroup_rules", ()),
    "StorageOpt": ("storage_opt", ()),
    "UTSMode": ("uts", ()),
    "Dns": ("dns", ()),
    "DnsSearch": ("dns_search", ()),
    "DnsOptions": ("dns_opt", ()),
    "Isolation": ("isolation", ("default",)),
}
_NOTHING: tuple[object, ...] = (None, "", [], {})
_MAY_BE_EMPTY = ("entrypoint",)  # empty, it takes that of the image away


def _rights(reading: Reading) -> dict[str, object]:
    host = reading.container.HostConfig
    told = {**(host.model_extra or {}), "UTSMode": host.UTSMode}
    found = {
        name: told[key]
        for key, (name, usual) in _SAME.items()
        if key in told and told[key] not in (*usual, *_NOTHING)
    }
    engine = reading.engine
    runtime = told.get("Runtime") or engine.runtime
    return {
        **found,
        # Docker from 28 on writes the kernel's names, before it what was typed.
        "cap_add": [name.removeprefix("CAP_") for name in host.CapAdd],
        "cap_drop": [name.removeprefix("CAP_") for name in host.CapDrop],
        "security_opt": _security(reading),
        "runtime": _other(str(runtime), engine.runtime),
        "cgroup": _other(str(told.get("CgroupnsMode") or engine.cgroup), engine.cgroup),
        "devices": [
            f"{each.PathOnHost}:{each.PathInContainer}:{each.CgroupPermissions}"
            for each in host.Devices
        ],
    }


def _security(reading: Reading) -> list[str]:
    """The docker command puts the text of a seccomp profile into it; compose wants a file there."""
    found = []
    host = reading.container.HostConfig
    # The engine adds it where SELinux could not let such a container do its work.
    modes = (host.PidMode, host.IpcMode)
    unlabelled = (host.model_extra or {}).get("Privileged") or "host" in modes
    for option in host.SecurityOpt:
        name, value = security_option(option)
        if unlabelled and (name, value) == ("label", "disable"):
            continue
        if "{" in option:
            what = f"the {name[:40]} profile, which must be in a file of its own"
            reading.lost("HostConfig.SecurityOpt", what, Severity.ERROR)
        else:
            found.append(option)
    return found


def _limits(reading: Reading) -> dict[str, object]:
    host = reading.container.HostConfig
    # Docker allows as much swap as memory where nobody says how much.
    swap = None if host.MemorySwap in (0, 2 * host.Memory) else host.MemorySwap
    return {
        "cpus": host.NanoCpus / _NANO or None,
        "mem_limit": host.Memory or None,
        "memswap_limit": swap,
        "pids_limit": None if (host.PidsLimit or 0) <= 0 else host.PidsLimit,
        "shm_size": None if host.ShmSize in (0, _SHM_BYTES) else host.ShmSize,
        "ulimits": {each.Name: {"soft": each.Soft, "hard": each.Hard} for each in host.Ulimits},
    }


# ---------------------------------------------------------------- its life


def _life(reading: Reading) -> dict[str, object]:
    container = reading.container
    config, host = container.Config, container.HostConfig
    restart, log = host.RestartPolicy.told, host.LogConfig
    if host.AutoRemove:
        reading.lost("HostConfig.AutoRemove", "that it is removed when it ends (--rm)")
    usual = log.Type in ("", reading.engine.log) and not log.Options
    grace = config.StopTimeout
    return {
        "restart": None if restart == "no" else restart,
        "stop_signal": _other(config.StopSignal, reading.image.StopSignal),
        "stop_grace_period": None if grace is None or grace < 0 else f"{grace}s",
        "logging": None if usual else {"driver": log.Type, "options": log.Options},
        "depends_on": {
            need.service: {
                "condition": need.condition.value,
                **({} if need.required else {"required": False}),
                **({"restart": True} if need.restart else {}),
            }
            for need in _needs(reading)
        },
    }


def _needs(reading: Reading) -> list[Dependency]:
    """What it depends on of the services in the file."""
    found = []
    for need in docker_spec.needs_of(reading.container.Config.Labels):
        if need.service in reading.services.values():
            found.append(need)
        else:
            what = f"that it depends on {need.service[:80]}, which is not in the file"
            reading.lost("Config.Labels", what)
    return found


# Fields of HostConfig that say nothing of the container, or what other fields say as well.
_SAID = (
    "Binds",
    "Cgroup",
    "CgroupnsMode",
    "ConsoleSize",
    "ContainerIDFile",
    "MaskedPaths",
    "ReadonlyPaths",
    "Runtime",
    "VolumeDriver",
)
_GUARDED = ("MaskedPaths", "ReadonlyPaths")


def _rest(reading: Reading) -> None:
    """What is set and has no word in compose, or none here."""
    host = reading.container.HostConfig
    for key, value in sorted((host.model_extra or {}).items()):
        if key in _SAME or key in _SAID or value in (*_NOTHING, 0, -1, False):
            continue
        reading.lost(f"HostConfig.{key}", f"HostConfig.{key}", Severity.WARNING)
    told = host.model_extra or {}
    if str(told.get("Cgroup") or "").startswith(CONTAINER):
        reading.lost("HostConfig.Cgroup", "that it is in the cgroup of another container")
    for key in _GUARDED:
        # An engine always has some, but for a privileged container.
        if key in told and not told[key] and not told.get("Privileged"):
            reading.lost(f"HostConfig.{key}", "that nothing in /proc is hidden from it")
