"""Plan a migration: what would each app need? Usage: plan.py SOURCE TARGET APP..."""

import sys

import portkit


def main(source: str, target: str, names: list[str]) -> None:
    """Print one line for each app and form: the verdict, its size, and what was found."""
    with portkit.connect(source) as old, portkit.connect(target) as new:
        for name in names:
            try:
                report = portkit.plan_app(
                    portkit.load(name), source=portkit.OnHost(old), target=new, pack_disk=False
                )
            except portkit.PortkitError as error:
                print(f"{name:30} cannot be planned: {error.brief}")
                continue
            for form in report.forms:
                size = f"{form.artifact.stored_bytes / 1e6:8.1f} MB" if form.artifact else ""
                notes = "; ".join(finding.message for finding in form.findings)
                print(f"{name:30} {form.form:6} {form.verdict:13} {size:11}  {notes}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
