"""portkit pack: write an App as files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.filesize import decimal

from portkit import app as apps
from portkit import inventory
from portkit import move as moves
from portkit.app import values
from portkit.bundle import write
from portkit.export import files as exported
from portkit.export.files import Wanted
from portkit.host import connect
from portkit.inventory import Inventory
from portkit.model import App, PackedApp, Reading
from portkit.package.save import check as check_files
from portkit.progress import Observer
from portkit.source import OnHost, Pull
from portkit.store import Store, default_root
from portkit_cli import sources
from portkit_cli.observers import observer
from portkit_cli.options import progress
from portkit_cli.options import reading as reading_options
from portkit_cli.render import clean, finding_line


@click.command()
@click.argument("app")
@sources.source
@sources.pull
@sources.form
@click.option(
    "-o",
    "place",
    type=click.Path(path_type=Path),
    default=".",
    metavar="PATH",
    help="The folder to write the files to, or FILE.portkit for a bundle.  [default: the current "
    "folder]",
)
@click.option(
    "--disk-format",
    type=click.Choice(exported.DISK_FORMATS),
    default="qcow2",
    show_default=True,
    help="The format of the disk. containerdisk is an image for KubeVirt, with its manifest.",
)
@click.option(
    "--kubernetes",
    is_flag=True,
    help="Also write a Kubernetes manifest for the image.",
)
@click.option(
    "--registry",
    metavar="PREFIX",
    default="",
    help="The prefix of image names in manifests, such as registry.example/team.  [default: none; "
    "the images must be loaded on the nodes]",
)
@click.option(
    "--for",
    "made_for",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="INVENTORY",
    help="Leave out of the bundle what the host has according to this file, which `portkit "
    "inventory` made.",
)
@click.option(
    "--split",
    "part",
    type=values.size,
    metavar="SIZE",
    help="Split the bundle into parts of at most SIZE (650m, 4g): FILE.portkit.001 and so on.",
)
@reading_options
@progress
def pack(
    app: str,
    source: str,
    pull: str,
    form: str,
    place: Path,
    disk_format: str,
    kubernetes: bool,
    registry: str,
    made_for: Path | None,
    part: int | None,
    reading: Reading,
    progress: str,
) -> None:
    """Write APP as files: an image, a disk, or an offline bundle.

    NAME.tar is for `docker load`, and NAME.qcow2 boots on its own. FILE.portkit is a bundle: one
    file with both forms of all services and the files of APP, which `portkit move` accepts in place
    of APP. The disk boots with BIOS and UEFI, runs the process that the image defines, and expects
    QEMU's user-mode network. An APP with several images, or whose disk would hold several services
    or files, can only be written as a bundle, or with --kubernetes as one file for each image.

    With vmdk, vhdx, vdi, ova and containerdisk, the disk has the drivers for the hypervisors that
    read these formats, and asks a DHCP server for its address. Settings of APP that the files
    cannot express are printed on standard error. APP's environment is in NAME.secrets.yaml only.

    \b
    Examples:
      portkit pack ./shop -o /media/usb
      portkit pack ./shop -o /media/usb/shop.portkit --for web2.json --split 650m
      portkit pack ./shop --form disk --disk-format ova
      portkit pack ./shop --form image --kubernetes --registry registry.example/team
      qemu-system-x86_64 -M q35 -m 512 -nographic -drive file=shop.qcow2,if=virtio \\
        -nic user,model=virtio-net-pci,hostfwd=tcp::8080-:80
    """
    told = observer(progress)
    loaded, store = apps.load(app, **asdict(reading)), Store(default_root())
    # A folder may be called something.portkit too; then the files go into it.
    alone = place.suffix == ".portkit" and not place.is_dir()
    wanted = Wanted(sources.FORMS[form], disk_format, kubernetes, registry)
    _check(loaded, wanted, alone=alone, divided=bool(made_for or part))
    # The inventory is read before anything is packed, which may take minutes.
    known = Inventory("", "") if made_for is None else inventory.read(made_for)
    with connect(source, told) as origin:
        # A bundle says what its source host was, as nobody can ask it later.
        facts = origin.facts() if alone else None
        made = moves.pack(
            loaded,
            source=OnHost(origin, Pull(pull)),
            forms=wanted.packed,
            store=store,
            observer=told,
        )
    if facts is None:
        _write_files(place, made, wanted, store, told)
        return
    told.phase(f"write {place}")
    have, host = known.digests, known.host
    written = write(place, made, store, facts, told, have=have, made_for=host, part_bytes=part)
    click.echo("\n".join(f"{path}  {decimal(path.stat().st_size)}" for path in written))


def _check(app: App, wanted: Wanted, *, alone: bool, divided: bool) -> None:
    """alone: into a bundle. divided: with --for or --split."""
    if alone and wanted.other:
        raise click.UsageError(
            "--disk-format and --kubernetes do not apply to a bundle: use -o FOLDER"
        )
    if alone:
        return
    if divided:
        raise click.UsageError("--for and --split only apply to a bundle: use -o FILE.portkit")
    check_files(app, wanted.forms)
    exported.check(wanted)


def _write_files(
    folder: Path, made: PackedApp, wanted: Wanted, store: Store, told: Observer
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for each in exported.write(folder, made, wanted, store, told):
        for finding in each.findings:
            click.echo(clean(finding_line(finding)), err=True)
        size = decimal(each.path.stat().st_size)
        click.echo("  ".join(part for part in (str(each.path), size, each.digest) if part))
