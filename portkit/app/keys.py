"""The compose-spec's keys: known, carried out by portkit, and without effect on a Move."""

TOP_CARRIED = frozenset(["name", "services", "version", "volumes"])
TOP_KNOWN = TOP_CARRIED | {"configs", "include", "models", "networks", "secrets"}

CARRIED = frozenset(
    [
        *("build", "cap_add", "cap_drop", "command", "cpus", "deploy", "entrypoint", "env_file"),
        *("environment", "group_add", "healthcheck", "hostname", "image", "init", "labels"),
        *("mem_limit", "ports", "privileged", "read_only", "restart", "stop_grace_period"),
        *("stop_signal", "tmpfs", "ulimits", "user", "volumes", "working_dir"),
    ]
)
# They say how compose handles the service, not what its process sees.
HARMLESS = frozenset(["attach", "container_name", "expose", "profiles", "pull_policy"])

KNOWN = (
    CARRIED
    | HARMLESS
    | frozenset(
        [
            *("annotations", "blkio_config", "cgroup", "cgroup_parent", "configs", "cpu_count"),
            *("cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime"),
            *("cpu_shares", "cpuset", "credential_spec", "depends_on", "develop"),
            *("device_cgroup_rules", "devices", "dns", "dns_opt", "dns_search", "domainname"),
            *("driver_opts", "extends", "external_links", "extra_hosts", "gpus", "ipc"),
            *("isolation", "label_file", "links", "logging", "mac_address", "mem_reservation"),
            *("mem_swappiness", "memswap_limit", "models", "network_mode", "networks"),
            *("oom_kill_disable", "oom_score_adj", "pid", "pids_limit", "platform", "post_start"),
            *("pre_stop", "provider", "runtime", "scale", "secrets", "security_opt", "shm_size"),
            *("stdin_open", "storage_opt", "sysctls", "tty", "use_api_socket", "userns_mode"),
            *("uts", "volumes_from"),
        ]
    )
)
