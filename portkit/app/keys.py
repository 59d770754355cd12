"""The compose-spec's keys: known, carried out by portkit, and without effect on a Move.

Source: compose-spec, schema/compose-spec.json.
"""

from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TOP_CARRIED = frozenset(
    ["configs", "include", "name", "networks", "secrets", "services", "version", "volumes"]
)
TOP_KNOWN = TOP_CARRIED | {"models"}

CARRIED = _words(
    """
    build cap_add cap_drop command configs container_name cpus cpuset depends_on deploy devices
    dns dns_opt dns_search domainname entrypoint env_file environment expose extends extra_hosts
    group_add healthcheck hostname image init ipc label_file labels links logging mem_limit
    mem_reservation memswap_limit network_mode networks oom_score_adj pid pids_limit platform
    ports privileged profiles read_only restart runtime scale secrets security_opt shm_size
    stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits user
    userns_mode volumes volumes_from working_dir
    """
)
# They say how compose handles the service, not what its process sees.
HARMLESS = frozenset(["attach", "develop", "pull_policy"])

# portkit does nothing for them: each is a Finding, or an error where the App would be another.
_OTHERS = _words(
    """
    annotations blkio_config cgroup cgroup_parent cpu_count cpu_percent cpu_period
    cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares credential_spec device_cgroup_rules
    driver_opts external_links gpus isolation mac_address mem_swappiness models oom_kill_disable
    post_start pre_stop provider use_api_socket uts
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
    "depends_on": _level("condition required restart"),
    # What only several engines together do, compose leaves out as well.
    "deploy": _level(
        "resources replicas restart_policy",
        "",
        "endpoint_mode labels mode placement rollback_config update_config",
    ),
    "deploy.resources": _level("limits reservations"),
    "deploy.resources.limits": _level("cpus memory pids"),
    "deploy.resources.reservations": _level("memory", "devices generic_resources", "cpus"),
    "deploy.restart_policy": _level("condition max_attempts", "", "delay window"),
    "devices[]": _level("source target permissions"),
    "env_file": _level("path required format"),
    "healthcheck": _level("test interval timeout retries start_period disable", "start_interval"),
    "ipam": _level("config driver", "options"),
    "ipam.config[]": _level("subnet gateway ip_range", "aux_addresses"),
    "logging": _level("driver options"),
    "networks": _level(  # the top level's
        "name driver driver_opts external internal ipam enable_ipv6 labels",
        "",
        "attachable enable_ipv4",
    ),
    "networks[]": _level(
        "aliases ipv4_address ipv6_address mac_address priority",
        "driver_opts gw_priority interface_name link_local_ips",
    ),
    "ports[]": _level("target published protocol host_ip mode", "", "name app_protocol"),
    "mounted[]": _level("source target uid gid mode"),  # configs and secrets of a service
    "ulimits[]": _level("soft hard"),
    # The top level's.
    "configs": _level("content environment external file name", "template_driver", "labels"),
    "secrets": _level(
        "environment external file name", "driver driver_opts template_driver", "labels"
    ),
    "volumes": _level("driver driver_opts external name", "", "labels"),
    "volumes[]": _level("type source target read_only tmpfs volume bind image", "", "consistency"),
    "volumes[].volume": _level("", "nocopy subpath labels"),
    "volumes[].bind": _level("create_host_path", "propagation recursive", "selinux"),
    "volumes[].image": _level("", "subpath"),
    "volumes[].tmpfs": _level("size mode"),
}
