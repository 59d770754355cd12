"""Plan a migration: what would each app cost? Usage: plan.py SOURCE TARGET APP..."""

import sys

from portkit import app, host, move
from portkit.errors import PortkitError


def main(source: str, target: str, sources: list[str]) -> None:
    """One line an app: verdict, bytes of content, what stands in the way."""
    with host.connect(source) as old, host.connect(target) as new:
        for name in sources:
            try:
                report = move.plan(app.load(name), source=old, target=new)
            except PortkitError as error:
                print(f"{name:30} cannot be planned: {error.brief}")
                continue
            for form in report.forms:
                megabytes = form.artifact.stored_bytes / 1e6 if form.artifact else 0.0
                notes = "; ".join(finding.message for finding in form.findings)
                print(f"{name:30} {form.form:6} {form.verdict:13} {megabytes:8.1f} MB  {notes}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
