"""Options that several commands of `covid-debug` share."""

from pathlib import Path
from typing import Annotated

import typer

OutOption = Annotated[Path, typer.Option("--out", help="Folder to create; must not exist.")]
DataOption = Annotated[Path, typer.Option("--data", help="Data set folder made by covid-debug.")]
CheckpointOption = Annotated[Path, typer.Option("--checkpoint", help="Checkpoint folder.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed; same seed, same result.")]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, help="Processes.")]
DeviceOption = Annotated[str, typer.Option("--device", help="Torch device, e.g. cpu or cuda.")]
FactoryOption = Annotated[
    str | None,
    typer.Option(
        "--factory",
        metavar="PKG.MODULE:FUNCTION",
        help="Function of your own code that builds the network of the checkpoint.",
    ),
]
