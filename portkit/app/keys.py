"""The compose-spec's keys: known, carried out by portkit, and without effect on a Move.

Source: compose-spec, schema/compose-spec.json.
"""

from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOP_CARRIED = frozenset(["name", "services", "version", "volumes"])
TOP_KNOWN = TOP_CARRIED | {"configs", "include", "models", "networks", "secrets"}

CARRIED = _words(
    """
    build cap_add cap_drop command cpus deploy entrypoint env_file environment group_add
    healthcheck hostname image init labels mem_limit ports privileged read_only restart
    stop_grace_period stop_signal tmpfs ulimits user volumes working_dir
    """
)
# They say how compose handles the service, not what its process sees.
HARMLESS = frozenset(["attach", "container_name", "expose", "profiles", "pull_policy"])

# portkit does nothing for them: each is a Finding, or an error where the App would be another.
_OTHERS = _words(
    """
    annotations blkio_config cgroup cgroup_parent configs cpu_count cpu_percent cpu_period
    cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpuset credential_spec depends_on develop
    device_cgroup_rules devices dns dns_opt dns_search domainname driver_opts extends
    external_links extra_hosts gpus ipc isolation label_file links logging mac_address
    mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable
    oom_score_adj pid pids_limit platform post_start pre_stop provider runtime scale secrets
    security_opt shm_size stdin_open storage_opt sysctls tty use_api_socket userns_mode uts
    volumes_from
    """
)
KNOWN = CARRIED | HARMLESS | _OTHERS


@dataclass(frozen=True)
class Level:
    """The keys of a mapping inside a service or volume. Others than these are errors.

    noted: not carried out. harmless: neither, and the process does not see it.
    """

    carried: frozenset[str]
    noted: frozenset[str] = frozenset()
    harmless: frozenset[str] = frozenset()


def _level(carried: str, noted: str = "", harmless: str = "") -> Level:
    return Level(_words(carried), _words(noted), _words(harmless))


LEVELS = {
    "build": _level(
        "context dockerfile dockerfile_inline args target network",
        "additional_contexts cache_from cache_to entitlements extra_hosts"
        " isolation labels no_cache no_cache_filter platforms privileged provenance pull sbom"
        " secrets shm_size ssh tags ulimits",
    ),
    "deploy": _level(
        "resources",
        "endpoint_mode labels mode placement replicas restart_policy rollback_config update_config",
    ),
    "deploy.resources": _level("limits", "reservations"),
    "deploy.resources.limits": _level("cpus memory", "pids"),
    "env_file": _level("path required format"),
    "healthcheck": _level("test interval timeout retries start_period disable", "start_interval"),
    "ports[]": _level("target published protocol host_ip mode", "", "name app_protocol"),
    "ulimits[]": _level("soft hard"),
    "volumes": _level("name", "driver driver_opts external", "labels"),  # the top level's
    "volumes[]": _level("type source target read_only tmpfs volume bind image", "consistency"),
    "volumes[].volume": _level("", "nocopy subpath labels"),
    "volumes[].bind": _level("", "create_host_path propagation recursive selinux"),
    "volumes[].image": _level("", "subpath"),
    "volumes[].tmpfs": _level("size mode"),
}
