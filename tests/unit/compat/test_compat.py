"""Compatibility: each rule says what it found, and the verdict follows."""

from dataclasses import replace

import pytest

from portkit import app as apps
from portkit import compat
from portkit.errors import ConflictError, IncompatibleError, PortkitError, SpaceError
from portkit.model import (
    App,
    Artifact,
    Attachment,
    Blob,
    Facts,
    Finding,
    Firmware,
    Form,
    Guests,
    Healthcheck,
    HealthProbe,
    Instance,
    Machine,
    Mount,
    Network,
    Port,
    Service,
    Severity,
    Verdict,
)
from tests.factories import FACTS, IMAGE


def rules(facts: Facts, form: Form = Form.IMAGE, **service: object) -> set[str]:
    app = App("a", (Service("a", **service),), "compose.yaml")  # type: ignore[arg-type]
    found = compat.check(apps.resolve_all(app, [IMAGE]), {IMAGE.digest: IMAGE}, facts, form)
    for finding in found:
        assert finding.message
        assert finding.severity is not Severity.ERROR or finding.remedy
    # Most of these Apps publish nothing; that rule has a test of its own.
    return {f"{finding.severity}:{finding.rule}" for finding in found if finding.rule != "health"}


def test_all_is_well() -> None:
    assert rules(FACTS) == set()
    assert compat.verdict((), FACTS, Form.IMAGE) is Verdict.NATIVE
    assert compat.verdict((), FACTS, Form.DISK) is Verdict.EMULATED
    assert compat.verdict((), replace(FACTS, accelerator="kvm"), Form.DISK) is Verdict.NATIVE


def test_each_rule() -> None:
    assert rules(replace(FACTS, architecture="arm64")) == {"error:architecture"}
    assert rules(replace(FACTS, docker_version=None)) == {"error:docker"}
    no_vm = replace(FACTS, libvirt_version=None, accelerator="kvm")
    assert rules(no_vm, Form.DISK) == {"error:libvirt"}
    assert rules(no_vm) == set()
    assert rules(FACTS, mem_limit_bytes=8 << 30) == {"warning:memory-limit"}
    assert rules(FACTS, mem_limit_bytes=7 << 29) == {"warning:memory-free"}
    assert rules(FACTS, privileged=True) == {"warning:privileged"}


def test_what_guests_of_libvirt_can_be() -> None:
    def disk(guests: Guests, firmware: Firmware = Firmware.BIOS) -> set[str]:
        facts = replace(FACTS, accelerator="kvm", guests=guests)
        return rules(facts, Form.DISK, machine=Machine(firmware=firmware))

    newest = ("pc", "pc-q35-11.1", "q35")
    assert disk(Guests(newest)) == set()
    assert disk(Guests(("microvm", "pc-q35-rhel9.6.0"))) == {"error:machine-type"}
    assert disk(Guests(note="libvirt did not answer")) == {"warning:guests"}
    assert disk(Guests(newest, ("efi",)), Firmware.UEFI) == set()
    assert disk(Guests(newest, ()), Firmware.UEFI) == {"error:firmware"}
    assert rules(replace(FACTS, guests=Guests(("microvm",), note="no"))) == set(), "an image"


def test_the_processor_model_that_the_app_asks_for() -> None:
    def disk(guests: Guests, accelerator: str = "kvm") -> set[str]:
        facts = replace(FACTS, accelerator=accelerator, guests=guests)
        return rules(facts, Form.DISK, machine=Machine(cpu_model="Haswell"))

    assert disk(Guests(cpu_models={"Haswell": 3, "qemu64": 1})) == set()
    assert disk(Guests(cpu_models={"qemu64": 1})) == {"error:cpu-model"}
    emulated = disk(Guests(cpu_models={"qemu64": 1}), "tcg")
    assert emulated == {"error:cpu-model", "warning:accelerator"}
    assert disk(Guests()) == {"unknown:cpu-model"}
    assert rules(FACTS, machine=Machine(cpu_model="Haswell")) == set(), "an image"


def test_each_rule_of_the_disk() -> None:
    kvm = replace(FACTS, accelerator="kvm", missing_tools=("mkfs.ext4",))

    def disk(**service: object) -> set[str]:
        return rules(kvm, Form.DISK, **service) - {"error:tools"}

    assert rules(kvm, Form.DISK) == {"error:tools"}
    assert rules(FACTS, Form.DISK) == {"warning:accelerator"}
    assert disk(machine=Machine(memory_bytes=8 << 30)) == {"error:memory"}
    swaps = replace(FACTS, swap_bytes=8 << 30)
    found = rules(swaps, Form.DISK, machine=Machine(memory_bytes=8 << 30))
    assert found == {"warning:memory", "warning:accelerator"}
    assert disk(machine=Machine(memory_bytes=7 << 29)) == {"warning:memory-free"}
    assert disk(machine=Machine(firmware=Firmware.UEFI)) == {"error:firmware"}
    assert disk(ports=(Port(80),)) == {"error:port-low"}
    assert disk(ports=(Port(8080, host_ip="::1"),)) == {"error:port-ipv6"}
    volumes = tuple(Mount("volume", f"/data/{number}") for number in range(25))
    assert disk(volumes=volumes[1:]) == set()
    assert disk(volumes=volumes) == {"error:volumes"}


@pytest.mark.parametrize("form", Form)
def test_every_capability_beyond_the_default_is_found(form: Form) -> None:
    def extra(**service: object) -> tuple[str, ...]:
        spec = apps.resolve_all(App("a", (Service("a", **service),), "c.yaml"), [IMAGE])  # type: ignore[arg-type]
        found = [
            each
            for each in compat.check(spec, {IMAGE.digest: IMAGE}, FACTS, form)
            if each.rule == "capabilities"
        ]
        assert all(each.severity is Severity.WARNING for each in found)
        return tuple(text for each in found for text in each.evidence)

    assert extra() == extra(cap_add=("CHOWN",)) == extra(cap_drop=("ALL",)) == ()
    assert extra(cap_add=("SYS_ADMIN", "net_admin")) == ("CAP_NET_ADMIN", "CAP_SYS_ADMIN")
    assert len(extra(cap_add=("ALL",))) == 41 - 14
    assert extra(cap_add=("ALL",), cap_drop=("SYS_ADMIN",)).count("CAP_SYS_ADMIN") == 0
    assert extra(privileged=True) == (), "that has a rule of its own"


def test_how_an_app_is_known_to_be_up_is_told() -> None:
    def told(form: Form, **service: object) -> list[tuple[str, tuple[str, ...]]]:
        spec = apps.resolve_all(App("a", (Service("a", **service),), "c.yaml"), [IMAGE])  # type: ignore[arg-type]
        found = compat.check(spec, {IMAGE.digest: IMAGE}, FACTS, form)
        return [(each.message, each.evidence) for each in found if each.rule == "health"]

    check = Healthcheck(("CMD", "true"))
    assert told(Form.IMAGE, ports=(Port(80),)) == told(Form.DISK, ports=(Port(8080),)) == []
    for form in Form:
        ((message, _),) = told(form, healthcheck=check)
        assert message.endswith("its own healthcheck decides when it is up")
    ((message, why),) = told(Form.DISK)
    assert message.endswith("portkit considers it up once it has run for 10 s")
    assert why[-1] == "the app has no healthcheck"
    ((message, _),) = told(Form.IMAGE, health=HealthProbe(port=80))
    assert message.endswith("portkit asks it at an address that only the host can reach")


def test_the_table_is_in_order() -> None:
    ids = [rule.id for rule in compat.RULES]
    assert len(set(ids)) == len(ids)
    for rule in compat.RULES:
        assert rule.forms
        assert rule.look.__doc__
        assert rule.error is IncompatibleError or rule.severity is Severity.ERROR, rule.id


def test_the_scope_says_what_a_rule_looks_at() -> None:
    """A rule of scope `app` finds the same in every Form and on every host; one of scope `form` on
    every host."""
    bare = Facts(
        host="web9",
        endpoint="ssh://web9",
        os_id="debian",
        os_version="13",
        os_name="Debian 13",
        architecture="arm64",
        kernel="6.12",
        cpus=1,
        memory_bytes=1,
        memory_available_bytes=1,
        store_free_bytes=1,
        python="3.13",
    )
    service = Service("a", privileged=True, init=True, ports=(Port(80, host_ip="::"),))
    able = replace(service, privileged=False, cap_add=("ALL",))
    for each in (service, able):
        spec = apps.resolve_all(App("a", (each,), "compose.yaml"), [IMAGE])
        for rule in compat.table.CASE_RULES:
            seen = {
                form: [
                    rule.judge(compat.Case(spec.front, spec, IMAGE, facts, form))
                    for facts in (FACTS, bare)
                ]
                for form in Form
            }
            if rule.scope is not compat.Scope.HOST:
                assert all(rows[0] == rows[1] for rows in seen.values()), rule.id
            if rule.scope is compat.Scope.APP:
                assert seen[Form.IMAGE] == seen[Form.DISK], rule.id


def finding(rule: str, message: str = "no", *evidence: str) -> Finding:
    return Finding(rule, Severity.ERROR, message, evidence, "Do it.")


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (("space",), SpaceError),
        (("port-free", "port-shared", "running"), ConflictError),
        (("port-free", "space"), IncompatibleError),
        (("architecture",), IncompatibleError),
        (("bind-not-carried",), IncompatibleError),
        (("space", "bind-not-carried"), IncompatibleError),
    ],
)
def test_the_error_is_a_part_of_the_rule(ids: tuple[str, ...], kind: type[PortkitError]) -> None:
    error = compat.refusal({"a": [finding(each) for each in ids]})
    assert type(error) is kind


def test_a_refusal_says_everything_once() -> None:
    both, own = finding("space", "no room", "a; b", "c"), finding("port-free", "taken", "x")
    notes = Finding("health", Severity.INFO, "a note")
    error = compat.refusal({"shop": [both, own, both, notes], "blog": [both]})
    assert error is not None
    assert error.brief == "no room; shop: taken"
    assert error.details == "space: a; b\nspace: c\nshop: port-free: x"
    assert error.resolution == "Do it."
    assert compat.refusal({"shop": [notes], "blog": []}) is None


def test_a_bundle_that_lacks_much_lists_some() -> None:
    (found,) = compat.lacking("", "web2", {f"sha256:{number:064}": 7 for number in range(60)})
    assert len(found.evidence) == 51
    assert found.evidence[0] == f"sha256:{0:064}, 7 bytes"
    assert found.evidence[-1] == "10 more"
    assert compat.lacking("web1", "web2", {}) == compat.running("web1", []) == ()


def test_a_port_is_taken_where_it_would_be_bound() -> None:
    taken = replace(FACTS, listening=(("127.0.0.1", 80), ("10.0.0.5", 81), ("::", 82)))
    assert rules(taken, ports=(Port(80),)) == {"error:port-free"}
    assert rules(taken, ports=(Port(9, 81, "tcp", "10.0.0.6"),)) == set()
    assert rules(taken, ports=(Port(9, 81, "tcp", "10.0.0.5"),)) == {"error:port-free"}
    assert rules(taken, ports=(Port(9, 82, "tcp", "10.0.0.6"),)) == {"error:port-free"}
    assert rules(taken, ports=(Port(80, 80, "udp"),)) == set()
    assert rules(taken, ports=(Port(9, 81, "tcp", "0.0.0.0"),)) == {"error:port-free"}


def test_a_port_on_an_address_of_another_host() -> None:
    there = replace(FACTS, addresses=("10.0.0.5", "2001:db8::1"))
    assert rules(there, ports=(Port(9, 81, "tcp", "10.0.0.6"),)) == {"error:port-address"}
    assert rules(FACTS, ports=(Port(9, 81, "tcp", "10.0.0.6"),)) == set(), "nobody looked"
    for address in ("10.0.0.5", "2001:DB8:0::1", "", "0.0.0.0", "::", "127.0.0.2", "::1"):
        assert "error:port-address" not in rules(there, ports=(Port(9, 81, "tcp", address),))


def test_ports_of_several_apps() -> None:
    ports = {"a": [Port(80, 8080)], "b": [Port(1, 8080), Port(2, 8081)], "c": [Port(3, 8081)]}
    found = compat.clashes(ports)
    assert {name: len(rows) for name, rows in found.items()} == {"a": 1, "b": 2, "c": 1}
    assert found["a"][0] == found["b"][0]
    assert "8080 is published by both a and b" in found["a"][0].message
    assert compat.clashes({"a": ports["a"], "c": ports["c"]}) == {"a": (), "c": ()}


GIB = 1 << 30


def one_disk(free: int) -> Facts:
    return replace(FACTS, store_free_bytes=free, docker_free_bytes=free)


def brought(form: Form, stored: int, **blobs: int) -> tuple[Artifact, tuple[Blob, ...]]:
    """An Artifact all of whose blobs (name: size in GiB) are missing on the target."""
    rows = tuple(Blob(name, size * GIB) for name, size in blobs.items())
    image = replace(IMAGE, diff_ids=tuple(blobs))
    return Artifact(form, "x", (image,), rows, stored * GIB, stored * GIB), rows


def test_space_for_an_image_in_the_store_and_twice_in_the_engine() -> None:
    image = brought(Form.IMAGE, 3, a=2, b=1)
    (found,) = compat.space(one_disk(9 * GIB - 1), [image])
    assert (found.rule, found.severity) == ("space", Severity.ERROR)
    assert str(9 * GIB) in found.message
    assert str(9 * GIB - 1) in found.evidence[0]
    assert compat.space(one_disk(9 * GIB), [image]) == ()
    assert compat.space(FACTS, []) == ()


def test_space_on_two_file_systems() -> None:
    image, disk = brought(Form.IMAGE, 3, a=3), brought(Form.DISK, 1, k=1, d=50)
    apart = replace(FACTS, store_free_bytes=8 * GIB, docker_free_bytes=6 * GIB)
    assert compat.space(apart, [image, disk]) == (), "a disk's holes take no room"
    (found,) = compat.space(apart, [image, disk], more=1)
    assert [text.partition(":")[0] for text in found.evidence] == [
        "the Store",
        "the container engine",
    ]
    assert compat.space(replace(apart, docker_free_bytes=6 * GIB - 1), [image, disk])
    assert compat.space(replace(apart, docker_free_bytes=None), [disk]) == ()


def test_space_counts_what_is_common_once() -> None:
    first, second = brought(Form.IMAGE, 3, base=2, a=1), brought(Form.IMAGE, 3, base=2, b=1)
    apart = replace(FACTS, store_free_bytes=6 * GIB, docker_free_bytes=7 * GIB)
    assert compat.space(apart, [first, second]) == (), "4 stay, and 3 while the first is loaded"
    assert compat.space(replace(apart, docker_free_bytes=7 * GIB - 1), [first, second])
    assert compat.space(replace(apart, store_free_bytes=6 * GIB - 1), [first, second])
    assert compat.space(replace(apart, docker_store="containerd"), [first, second])


def test_space_for_the_stream_beside_the_blob() -> None:
    """The host asks for both before it takes the first byte: see transfer/deliver.py."""
    image, disk = brought(Form.IMAGE, 8, a=8), brought(Form.DISK, 9, d=50)
    apart = replace(FACTS, store_free_bytes=16 * GIB, docker_free_bytes=90 * GIB)
    assert compat.space(apart, [image]) == ()
    (found,) = compat.space(replace(apart, store_free_bytes=16 * GIB - 1), [image])
    assert found.evidence[0] == f"the Store: {16 * GIB} bytes needed, {16 * GIB - 1} free"
    alone = replace(apart, store_free_bytes=18 * GIB)
    assert compat.space(alone, [disk]) == ()
    assert compat.space(replace(alone, store_free_bytes=18 * GIB - 1), [disk])
    there = (image[0], ())
    beside = replace(apart, store_free_bytes=9 * GIB + 9 * GIB // 8)
    assert compat.space(beside, [there, disk]) == (), "its image is on the host"
    assert compat.space(replace(beside, store_free_bytes=10 * GIB), [there, disk])


def test_a_finding_of_one_of_several_services_names_it() -> None:
    services = (
        Service("web", tty=True, networks=(Attachment("front"),)),
        Service("db", networks=(Attachment("back", ipv4="10.1.0.5"),)),
    )
    networks = (Network("front", "shop_front"), Network("back", "shop_back", internal=True))
    app = App("shop", services, "compose.yaml", networks=networks)
    spec = apps.resolve_all(app, [IMAGE, IMAGE])
    found = compat.check(spec, {IMAGE.digest: IMAGE}, FACTS, Form.DISK)
    told = {each.rule: each.message for each in found}
    whose = {each.rule: each.services for each in found}
    assert (whose["engine-only"], whose["address-changed"]) == (("web",), ("db",))
    assert whose["networks-joined"] == ()
    assert told["engine-only"].startswith("web: ")
    assert told["address-changed"].startswith("db: ")
    assert told["networks-joined"] == "in the VM, all services share one network"
    assert told["network-internal"].startswith("in the VM, services of an internal network")
    assert [each.rule for each in found].count("accelerator") == 1


def test_a_default_network_of_others_is_joined_by_one_service() -> None:
    one = Service("wiki", networks=(Attachment("default"),))
    for external in (False, True):
        network = Network("default", "proxy", external=external)
        spec = apps.resolve_all(App("wiki", (one,), "-", networks=(network,)), [IMAGE])
        assert [each.engine_name for each in spec.joined(spec.front)] == ["proxy"] * external


def test_a_vm_has_no_path_of_its_host() -> None:
    socket = Mount("bind", "/run/docker.sock", "/run/docker.sock")
    app = App("shop", (Service("web", volumes=(socket,)),), "compose.yaml")
    spec = apps.resolve_all(app, [IMAGE])
    for form, wanted in ((Form.IMAGE, []), (Form.DISK, ["error"])):
        rows = compat.check(spec, {IMAGE.digest: IMAGE}, FACTS, form)
        assert [row.severity for row in rows if row.rule == "host-path"] == wanted


def test_a_network_whose_name_is_taken() -> None:
    networks = (
        Network("front", "shop_front"),
        Network("theirs", "theirs", external=True),
    )
    services = (
        Service("web", networks=(Attachment("front"), Attachment("theirs"))),
        Service("db", networks=(Attachment("front"),)),
    )
    app = App("shop", services, "compose.yaml", networks=networks)
    spec = apps.resolve_all(app, [IMAGE, IMAGE])
    there = replace(FACTS, networks=("bridge", "shop_front", "theirs"))

    def found(form: Form, facts: Facts, *own: Instance) -> list[Finding]:
        rows = compat.check(spec, {IMAGE.digest: IMAGE}, facts, form, own)
        return [each for each in rows if each.rule == "network-taken"]

    mine = Instance("pk-0123456789ab", "shop", Form.IMAGE, "web2", "exited")
    (taken,) = found(Form.IMAGE, there, mine)
    assert taken.evidence == ("shop_front", "portkit's shop: pk-0123456789ab")
    assert taken.remedy == "portkit rm pk-0123456789ab --on web2"
    assert "another `name:`" in found(Form.IMAGE, there)[0].remedy
    assert found(Form.DISK, there) == []
    assert found(Form.IMAGE, FACTS) == []
    assert (compat.something_taken(spec, there), compat.something_taken(spec, FACTS)) == (
        True,
        False,
    )
