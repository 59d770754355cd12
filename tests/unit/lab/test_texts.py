import json

from portkit.lab import texts
from portkit.lab.plan import MEMBERS, Lab


def test_only_gamma_uses_the_containerd_store() -> None:
    stores = {name: "features" in json.loads(texts.daemon_json(MEMBERS[name])) for name in MEMBERS}
    assert [name for name, used in stores.items() if used] == ["gamma"]


def test_every_host_knows_its_own_name_and_the_others() -> None:
    rows = texts.hosts(Lab(), "beta").splitlines()
    assert "10.77.0.12 beta" in rows
    assert "10.77.0.11 alpha" in rows
    assert len([row for row in rows if row.endswith(" beta")]) == 1


def test_resolvers_on_loopback_are_left_out() -> None:
    machine = "# x\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1\nsearch a b\nbad\n"
    assert texts.resolv_conf(machine) == "nameserver 192.0.2.1\nsearch a b\n"
    assert texts.resolv_conf("nameserver nonsense\n") == ""


def test_ssh_config_trusts_the_lab_and_nothing_else() -> None:
    text = texts.ssh_config(Lab())
    for name in MEMBERS:
        assert f"Host lab-{name}\n" in text
    assert text.count("StrictHostKeyChecking yes") == len(MEMBERS)
    assert text.count("GlobalKnownHostsFile /dev/null") == len(MEMBERS)


def test_known_hosts_by_address_and_alias() -> None:
    text = texts.known_hosts(Lab(), [("alpha", "ssh-ed25519 AAAA root@alpha\n")])
    assert text == "10.77.0.11,lab-alpha ssh-ed25519 AAAA\n"
