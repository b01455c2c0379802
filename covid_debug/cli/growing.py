"""The command that audits what is new in a growing folder of films."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from covid_debug.cli.options import (
    CheckpointOption,
    DeviceOption,
    SeedOption,
    WorkersOption,
    check_data_dir,
)


def audit_new(
    folder: Annotated[Path, typer.Argument(help="Folder of images that grows.")],
    checkpoint: CheckpointOption,
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir", help="Folder of artifacts, with earlier audits.", callback=check_data_dir
        ),
    ] = Path("data"),
    table: Annotated[
        Path, typer.Option("--table", help="CSV file to which new flags are added.")
    ] = Path("reports/new-flags.csv"),
    detector: Annotated[str, typer.Option("--detector", help="Of text.")] = "default",
    target: Annotated[
        str | None,
        typer.Option("--target", help="Audit one class; default: every film for its prediction."),
    ] = None,
    at_least: Annotated[
        int, typer.Option("--at-least", min=1, help="New films wait until there are so many.")
    ] = 30,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    device: DeviceOption = "cpu",
) -> None:
    """Audit the films of a folder that no earlier audit of the checkpoint covered."""
    from covid_debug.audit.growing import (
        GrowingAudit,
        audit_new_films,
        describe_flags,
        write_flags,
    )
    from covid_debug.models.devices import find_device
    from covid_debug.places import hold_store, prepare_folders
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole
    from covid_debug.text.stage import TextParams

    find_device(device)
    console = RunConsole()
    asked = GrowingAudit(folder, checkpoint, TextParams(detector), target, at_least, seed)
    means = Means(console, data_dir / "views", n_workers=workers, device=device)
    with hold_store(data_dir):
        prepare_folders(data_dir)
        batch = audit_new_films(asked, data_dir, means)
        write_flags(table, data_dir)
    for line in describe_flags(batch, table):
        console.say(line)
