"""How an engine confines a service: by its seccomp profile, and by its profile of AppArmor."""

from __future__ import annotations

from portkit.compat.rule import Case, engine_of
from portkit.model import Form
from portkit.model.run import security_option

_DEFAULT = ("", "default", "builtin")  # what engines call their own seccomp profile


def is_filtered(case: Case) -> bool:
    """Whether the engine's own seccomp profile holds the service."""
    if case.form is Form.DISK or case.spec.privileged:
        return False
    told = dict(security_option(text) for text in case.spec.security_opt)
    if told.get("seccomp"):  # unconfined, or a profile of the App's own
        return False
    options = engine_of(case.facts).security
    if options is None:
        return True
    own = [text.partition(",profile=") for text in options if text.startswith("seccomp")]
    return any(profile in _DEFAULT for _, _, profile in own)


def under_apparmor(case: Case) -> bool:
    """Whether the engine puts the service under its own profile of AppArmor: it denies mounts."""
    if case.form is Form.DISK or case.spec.privileged:
        return False
    told = dict(security_option(text) for text in case.spec.security_opt)
    return "apparmor" in (engine_of(case.facts).security or ()) and not told.get("apparmor")
