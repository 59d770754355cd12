import pytest

from portkit.errors import LabError
from portkit.lab import net
from portkit.lab.plan import Lab


@pytest.mark.parametrize(
    ("rate", "bits"), [("100mbit", 100_000_000), ("512kbit", 512_000), ("1gbit", 1_000_000_000)]
)
def test_rates_there_and_back(rate: str, bits: int) -> None:
    assert net.parse_rate(rate) == bits
    assert net.format_rate(bits) == rate


@pytest.mark.parametrize(
    "rate", ["", "0mbit", "100", "1.5mbit", "-1mbit", "1mbit; reboot", "1mbps"]
)
def test_rates_refused(rate: str) -> None:
    with pytest.raises(LabError):
        net.parse_rate(rate)


def test_odd_rates_are_shown_as_they_are() -> None:
    assert net.format_rate(1_500_001) == "1500001bit"


def test_the_bucket_holds_some_frames_even_when_slow() -> None:
    assert net.tbf("64kbit")[4] == "16384"
    assert net.tbf("1gbit")[4] == "1250000"


def test_qdisc_of_tc_6_1() -> None:
    shaped = (
        '[{"kind":"tbf","handle":"8001:","root":true,"refcnt":3,'
        '"options":{"rate":12500000,"burst":131062,"lat":50000}}]'
    )
    assert net.parse_qdisc(shaped) == "100mbit"
    assert net.parse_qdisc('[{"kind":"noqueue","handle":"0:","root":true}]') is None
    assert net.parse_qdisc("") is None


SAVED = """\
*mangle
-A FORWARD -s 10.77.0.0/24 -p tcp -m comment --comment portkit-lab-pk0 -j TCPMSS --clamp-mss-to-pmtu
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -i docker0 -j ACCEPT
-A FORWARD -i pk1 -m comment --comment portkit-lab-pk1 -j ACCEPT
-A FORWARD -i pk0 -m comment --comment portkit-lab-pk0 -j ACCEPT
-A FORWARD -i x -m comment --comment "not portkit-lab-pk0" -j ACCEPT
COMMIT
"""


def test_only_rules_with_exactly_our_comment_are_ours() -> None:
    found = net.parse_rules(SAVED, "portkit-lab-pk0")
    assert [table for table, _ in found] == ["mangle", "filter"]
    assert found[1][1][:3] == ["FORWARD", "-i", "pk0"]


def test_every_rule_carries_the_comment() -> None:
    lab = Lab(number=4)
    for _, rule in net.rules(lab):
        assert rule[rule.index("--comment") + 1] == lab.tag
