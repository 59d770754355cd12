"""What the target is told of the App when nothing of it is at its source any more."""

from types import SimpleNamespace
from typing import Any

import pytest

from portkit.errors import HostError
from portkit.model import App, Form, LiveContainer, LiveDomain, Service
from portkit.move import described
from portkit.source import vm_description
from tests.factories import IMAGE, live, plan

DOMAIN = LiveDomain("pk-00000000000a", "always", autostart=True, running=True)


def ground(text: str, **about: Any) -> tuple[Any, list[Any]]:
    """A Move that goes on without its App. text: what the hosts have kept beside a VM's disks."""
    asked: list[Any] = []

    def host(name: str) -> Any:
        def call(verb: str, args: dict[str, Any]) -> dict[str, Any]:
            asked.append((name, verb, args["id"]))
            return {"text": text}

        return SimpleNamespace(name=name, remote=SimpleNamespace(call=call))

    made = plan(live=live(**about))
    return SimpleNamespace(plan=made, cargo=None, source=host("old"), target=host("new")), asked


def test_an_engine_needs_no_more_than_the_policies() -> None:
    rows = (
        LiveContainer("a" * 64, "web", "on-failure:3", running=True),
        LiveContainer("b" * 64, "db", "no", running=True),
    )
    there, asked = ground("", containers=rows)
    assert described.policies_of(there, Form.IMAGE) == ({"web": "on-failure:3", "db": "no"}, None)
    assert asked == []


@pytest.mark.parametrize(
    ("form", "about", "where"),
    [
        (Form.DISK, {}, ("new", plan().move)),
        (Form.DISK, {"domain": DOMAIN, "containers": ()}, ("new", plan().move)),
        (Form.IMAGE, {"domain": DOMAIN, "containers": ()}, ("old", DOMAIN.id)),
    ],
)
def test_a_vm_is_known_by_what_was_kept_beside_its_disks(
    monkeypatch: pytest.MonkeyPatch, form: Form, about: dict[str, Any], where: tuple[str, str]
) -> None:
    app = App("shop", (Service("web", image="shop:1", restart="unless-stopped"),), "vm:shop")
    told = vm_description.Description(app, (), (IMAGE,), None)  # type: ignore[arg-type]
    monkeypatch.setattr(described, "decode", lambda text, source: told)
    there, asked = ground("{}", **about)
    policies, spec = described.policies_of(there, form)
    assert list(policies.values()) == ["unless-stopped"]
    assert spec is not None
    assert spec.front.image == IMAGE.digest
    assert asked == [(where[0], "instance.described", where[1])]


def test_a_vm_of_which_nothing_was_kept_is_not_made_up() -> None:
    there, _ = ground("")
    with pytest.raises(HostError, match="cannot be read"):
        described.policies_of(there, Form.DISK)
