"""The command that maps the shortcuts of a model."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from covid_debug.cli.options import (
    DataOption,
    DeviceOption,
    FactoryOption,
    OutOption,
    SeedOption,
    WorkersOption,
)


def shortcuts(
    checkpoint: Annotated[
        list[Path],
        typer.Option(
            "--checkpoint", help="Checkpoint folder; several are one model trained with more seeds."
        ),
    ],
    data: DataOption,
    regions: Annotated[Path, typer.Option("--regions", help="From detect-text.")],
    out: OutOption,
    cleaned: Annotated[
        Path | None, typer.Option("--cleaned", help="Cleaned films: what can still be read there?")
    ] = None,
    max_films: Annotated[
        int, typer.Option("--max-films", min=1, help="At most so many test films.")
    ] = 300,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    device: DeviceOption = "cpu",
    factory: FactoryOption = None,
) -> None:
    """Rank what films carry besides disease by how far a model relies on it."""
    from covid_debug.audit.shortcuts import ShortcutParams, ShortcutsRequest
    from covid_debug.models.devices import find_device
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    find_device(device)
    console = RunConsole()
    request = ShortcutsRequest(
        tuple(checkpoint), data, regions, cleaned, ShortcutParams(max_films), seed, factory
    )
    means = Means(console, out.parent / "views", n_workers=workers, device=device)
    for line in request.make(out, means).describe():
        typer.echo(line)
    console.say(f"shortcuts: {out}")
