"""Lines of a network configuration that only fit the card of the old machine."""

import pytest

from portkit.needs import network_config

UDEV = """\
# PCI device 0x15ad:0x07b0 (vmxnet3) "00:0c:29:aa:bb:cc"
SUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{address}=="00:0c:29:aa:bb:cc", NAME="eth0"
"""
PINNED = [
    UDEV,
    "DEVICE=eth0\nHWADDR=00:0C:29:AA:BB:CC\n",
    'HWADDR="00:0c:29:aa:bb:cc"',
    "DEVICE=ens192",
    "network:\n ethernets:\n  lan:\n   match:\n    macaddress: '00:0c:29:aa:bb:cc'\n",
    "network:\n ethernets:\n  enp0s3:\n   dhcp4: true\n",
    "[ethernet]\nmac-address=00:0C:29:AA:BB:CC\n",
    "[connection]\nid=lan\ninterface-name=eno1\n",
    "[Match]\nPermanentMACAddress=00-0c-29-aa-bb-cc\n",
    "[Match]\nMACAddress=00:0c:29:aa:bb:cc\n",
    "[Match]\nName=enp0s3\n",
    "auto lo\niface ens18 inet dhcp\n",
    "allow-hotplug enp1s0\n",
]
FREE = [
    "DEVICE=eth0\nONBOOT=yes\nMACADDR=00:0c:29:aa:bb:cc\n",
    "# HWADDR=00:0c:29:aa:bb:cc\n",
    "network:\n ethernets:\n  all:\n   match:\n    name: en*\n   dhcp4: true\n",
    "[Match]\nName=en*\n",
    "[ethernet]\ncloned-mac-address=00:0c:29:aa:bb:cc\n",
    "auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet dhcp\n",
    "network:\n version: 2\n renderer: networkd\n end:\n",
]


@pytest.mark.parametrize("text", PINNED)
def test_a_card_by_its_address_or_its_place(text: str) -> None:
    (line,) = network_config.pinned({"/etc/a": text})
    assert line.startswith("/etc/a: ")


@pytest.mark.parametrize("text", FREE)
def test_any_card(text: str) -> None:
    assert network_config.pinned({"/etc/a": text}) == ()
