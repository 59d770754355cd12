"""What values a kernel takes for its settings below /proc/sys. Pure.

The ranges were tried on Linux 6.1, 6.12 and 6.18; of settings that are not named here only the form
is known. A range that is narrower on one kernel than on another is left out.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"-?(0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9][0-9]{0,20})")
_INT, _LONG = (1 << 31) - 1, (1 << 64) - 1
# Settings that are no numbers, or not only.
_TEXTS = re.compile(
    r"kernel\.(core_pattern|domainname|hostname|modprobe|poweroff_cmd|printk_devkmsg|hotplug|"
    r"seccomp\..+|unprivileged_userns_apparmor_policy)|vm\.numa_zonelist_order|"
    r"net\.core\.(default_qdisc|rps_default_mask|flow_limit_cpu_bitmap)|net\.mptcp\.scheduler|"
    r"net\.ipv4\.(ip_local_reserved_ports|tcp_\w*congestion_control|tcp_fastopen_key)|"
    r"net\.ipv6\.(icmp\.ratemask|conf\.[^.]+\.stable_secret)|net\.netfilter\.nf_log\..+"
)
# Numbers of 64 bits (proc_doulongvec_minmax, and shmmax with shmall).
_WIDE = re.compile(
    r"kernel\.(shmmax|shmall)|fs\.(file-max|aio-max-nr|mount-max)|net\.ipv4\.(tcp|udp)_mem|vm\.\w+|"
    r"kernel\.(hung_task_\w+|panic_print|core_file_note_size_limit)"
)
# From and to, both included. Settings that are the same in this are one row.
_RANGES: dict[str, tuple[int, int]] = {
    "net.core.somaxconn": (0, _INT),
    "net.ipv4.ip_unprivileged_port_start": (0, 65535),
    "net.ipv4.ip_local_port_range": (1, 65535),
    "net.ipv4.ip_default_ttl": (1, 255),
    "net.ipv4.tcp_syn_retries": (1, 127),
    "net.ipv4.tcp_rmem": (1, _INT),
    "net.ipv4.tcp_wmem": (1, _INT),
    # Seconds, which the kernel keeps in ticks: 100 in a second at least.
    "net.ipv4.tcp_keepalive_time": (-1, _INT // 100),
    "net.ipv4.tcp_keepalive_intvl": (-1, _INT // 100),
    "net.ipv4.tcp_fin_timeout": (-1, _INT // 100),
    "kernel.shm_rmid_forced": (0, 1),
    "kernel.msgmax": (0, _INT),
    "kernel.msgmnb": (0, _INT),
    "kernel.msgmni": (0, 1 << 15),  # without ipcmni_extend on the kernel's command line
    "kernel.shmmni": (0, 1 << 15),
    "kernel.shmmax": (0, _LONG),
    "kernel.shmall": (0, _LONG),
    "fs.mqueue.msg_max": (1, 1 << 16),
    "fs.mqueue.msg_default": (1, 1 << 16),
    "fs.mqueue.msgsize_max": (128, 1 << 24),
    "fs.mqueue.msgsize_default": (128, 1 << 24),
    "vm.swappiness": (0, 200),
    "vm.overcommit_memory": (0, 2),
    "vm.max_map_count": (0, _INT),
    "vm.dirty_ratio": (0, 100),
    "vm.dirty_background_ratio": (0, 100),
    "vm.panic_on_oom": (0, 2),
    "kernel.pid_max": (301, 1 << 22),
    "kernel.dmesg_restrict": (0, 1),
    "kernel.kptr_restrict": (0, 2),
    "kernel.yama.ptrace_scope": (0, 3),
    "kernel.unprivileged_bpf_disabled": (0, 2),
    "fs.nr_open": (8, 2147483584),
    "fs.protected_symlinks": (0, 1),
    "fs.inotify.max_user_watches": (0, _INT),
    "fs.inotify.max_user_instances": (0, _INT),
}
_PAIR = "net.ipv4.ip_local_port_range"


def refused(name: str, value: str) -> str:
    """Why every kernel that has the setting refuses this value; "" where that is not known.

    A number is decimal, octal (017) or hexadecimal (0x0f); several have blanks between them. The
    kernel changes nothing for an empty value, and of fewer numbers than it has only the first.
    """
    if _TEXTS.fullmatch(name):
        return ""
    words = value.split()
    strange = next((word for word in words if not _WORD.fullmatch(word)), None)
    if strange is not None:
        return f"{strange[:40]!a} is not a number"
    numbers = [number(word) for word in words]
    low, high = _RANGES.get(name, (-_LONG, _LONG if _WIDE.fullmatch(name) else (1 << 32) - 1))
    outside = next((each for each in numbers if not low <= each <= high), None)
    if outside is not None:
        limits = f"{low} to {high}" if name in _RANGES else f"at most {high}"
        return f"{outside} is out of range: {limits}"
    if name == _PAIR and len(numbers) > 1 and numbers[0] > numbers[1]:
        return "the first port is above the last"
    return ""


def number(word: str) -> int:
    """As the kernel reads it (kernel/sysctl.c, strtoul_lenient)."""
    digits, sign = word.removeprefix("-"), -1 if word.startswith("-") else 1
    base = 16 if digits[:2] in ("0x", "0X") else 8 if len(digits) > 1 and digits[0] == "0" else 10
    return sign * int(digits, base)
