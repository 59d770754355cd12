"""The lab itself: real engines answer, links obey, and nothing is left whatever was killed."""

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from portkit import lab as lab_room
from portkit import process
from portkit.errors import LabError
from portkit.lab import Lab, cgroups
from portkit.lab.plan import member

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


def on(lab: Lab, name: str, command: str, *, input: bytes | None = None) -> str:
    argv = ["ssh", "-F", str(lab.ssh_config), f"lab-{name}", command]
    return process.run(argv, input=input, timeout=60).text.strip()


def test_a_dropping_forward_policy_does_not_part_the_hosts(lab: Lab) -> None:
    policy = process.run(["iptables", "-S", "FORWARD"]).text.splitlines()[0].split()[-1]
    process.run(["iptables", "-P", "FORWARD", "DROP"])
    try:
        assert on(lab, "beta", "bash -c 'exec 3<>/dev/tcp/alpha/22; head -c 4 <&3'") == "SSH-"
    finally:
        process.run(["iptables", "-P", "FORWARD", policy])


def pid_of(lab: Lab, name: str, program: str) -> int:
    """A process of the host by the name of its program, as this machine numbers it."""
    for pid in cgroups.processes(lab.cgroup(name)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            if Path(f"/proc/{pid}/comm").read_text().strip() == program:
                return pid
    raise AssertionError(f"{program} does not run on {name}")


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma"])
def test_engines_answer(lab: Lab, name: str) -> None:
    assert on(lab, name, "docker version -f '{{.Server.Version}}'")
    assert "QEMU" in on(lab, name, "virsh -c qemu:///system version")
    assert on(lab, name, "hostname") == name
    assert on(lab, name, "test ! -e /dev/kvm && echo absent") == "absent"
    codename = on(lab, name, ". /etc/os-release; echo $VERSION_CODENAME")
    assert codename == member(name).release or member(name).release == "testing"


def test_image_stores(lab: Lab) -> None:
    kind = "docker info -f '{{.Driver}}'"
    assert on(lab, "alpha", kind) == "overlay2"
    assert on(lab, "gamma", kind) == "overlayfs"


def test_hosts_reach_each_other_but_share_no_processes(lab: Lab) -> None:
    banner = on(lab, "alpha", "bash -c 'exec 3<>/dev/tcp/beta/22; head -c 4 <&3'")
    assert banner == "SSH-"
    assert on(lab, "alpha", "cat /proc/1/comm") == "python3"


def test_base_image_runs(lab: Lab) -> None:
    tag = lab_room.load_base("alpha")
    assert on(lab, "alpha", f"docker run --rm {tag} cat /etc/debian_version").startswith("12")
    assert lab_room.load_base("alpha") == tag


def test_shape_and_counters(own_lab: Lab) -> None:
    lab_room.up(["alpha"], lab=own_lab)
    lab_room.shape("alpha", "40mbit", lab=own_lab)
    assert lab_room.host("alpha", lab=own_lab).rate == "40mbit"
    data = os.urandom(10_000_000)
    received, _ = lab_room.counters("alpha", lab=own_lab)
    started = time.monotonic()
    on(own_lab, "alpha", "cat >/dev/null", input=data)
    seconds = time.monotonic() - started
    assert seconds > 1.8, "80 Mbit at 40 Mbit/s take 2 s"
    counted = lab_room.counters("alpha", lab=own_lab)[0] - received
    assert 1.0 < counted / len(data) < 1.15
    started = time.monotonic()
    on(own_lab, "alpha", f"head -c {len(data)} /dev/urandom")
    assert time.monotonic() - started > 1.8, "the other direction is shaped too"
    lab_room.shape("alpha", None, lab=own_lab)
    assert lab_room.host("alpha", lab=own_lab).rate is None


def test_cut_mend_and_reboot_keep_files(own_lab: Lab) -> None:
    lab_room.up(["alpha"], lab=own_lab)
    on(own_lab, "alpha", "echo kept >/root/kept; docker volume create kept")
    lab_room.cut("alpha", lab=own_lab)
    quick = ["ssh", "-F", str(own_lab.ssh_config), "-o", "ConnectTimeout=1", "lab-alpha", "true"]
    assert process.run(quick, check=False, timeout=20).code == 255
    assert not lab_room.host("alpha", lab=own_lab).linked
    lab_room.mend("alpha", lab=own_lab)
    assert on(own_lab, "alpha", "cat /root/kept") == "kept"
    lab_room.shape("alpha", "100mbit", lab=own_lab)
    before = on(own_lab, "alpha", "stat -c %Y /proc/1")
    lab_room.reboot("alpha", lab=own_lab)
    assert on(own_lab, "alpha", "cat /root/kept; docker volume ls -q").split() == ["kept", "kept"]
    assert on(own_lab, "alpha", "stat -c %Y /proc/1") >= before
    assert lab_room.host("alpha", lab=own_lab).rate == "100mbit"


def test_up_twice_and_two_at_once(own_lab: Lab) -> None:
    failures: list[Exception] = []

    def start() -> None:
        try:
            lab_room.up(["alpha"], lab=own_lab)
        except Exception as error:  # noqa: BLE001 - told to the main thread
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    init = cgroups.init_process(own_lab.cgroup("alpha"))
    lab_room.up(["alpha"], lab=own_lab)
    assert cgroups.init_process(own_lab.cgroup("alpha")) == init


def test_asking_a_host_that_is_down(own_lab: Lab) -> None:
    for ask in (lab_room.cut, lab_room.mend, lab_room.reboot, lab_room.counters):
        with pytest.raises(LabError):
            ask("alpha", lab=own_lab)  # type: ignore[operator]


@pytest.mark.parametrize("victim", ["dockerd", "libvirtd", "python3", "unshare", "sshd"])
def test_nothing_is_left_after_a_kill(own_lab: Lab, victim: str) -> None:
    lab_room.up(["alpha"], lab=own_lab)
    on(own_lab, "alpha", "setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
    os.kill(pid_of(own_lab, "alpha", victim), signal.SIGKILL)
    lab_room.down(own_lab)
    assert lab_room.leftovers(own_lab) == []


@pytest.mark.parametrize("victim", ["dockerd", "python3"])
def test_up_mends_a_host_after_a_kill(own_lab: Lab, victim: str) -> None:
    lab_room.up(["alpha"], lab=own_lab)
    os.kill(pid_of(own_lab, "alpha", victim), signal.SIGKILL)
    deadline = time.monotonic() + 5
    while victim == "python3" and lab_room.host("alpha", lab=own_lab).running:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    lab_room.up(["alpha"], lab=own_lab)
    assert on(own_lab, "alpha", "docker ps -q") == ""


@pytest.mark.parametrize("after_s", [0.1, 0.3, 0.6, 1.0])
def test_up_itself_killed(own_lab: Lab, after_s: float) -> None:
    code = "from portkit.lab import up, Lab; from pathlib import Path; import sys; "
    code += "up(['alpha'], lab=Lab(Path(sys.argv[1]), 9))"
    started = process.spawn([sys.executable, "-c", code, str(own_lab.state)])
    time.sleep(after_s)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    lab_room.down(own_lab)
    assert lab_room.leftovers(own_lab) == []
