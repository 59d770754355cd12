"""YAML that every reader takes for the same values. Pure."""

from __future__ import annotations

import re

from portkit.wire.json_types import JsonObject

# PyYAML quotes what YAML 1.1 reads as something else; this leaves it only what every version reads
# as text. y and n are booleans of YAML 1.1, which PyYAML itself does not know, and others do.
_PLAIN = re.compile(r"(?![ynYN]\Z)[A-Za-z_/][A-Za-z0-9_./@:=-]*( [A-Za-z0-9_./@=-]+)*")


def dump(*documents: JsonObject) -> str:
    """As YAML. Every text that some reader could take for a number or a date is quoted."""
    import yaml  # slow to import

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = None if _PLAIN.fullmatch(value) else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    made = yaml.dump_all(
        documents,
        Dumper=Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        explicit_start=len(documents) > 1,
    )
    return str(made)
