"""Options that several commands of `covid-debug` share, and what can be said about them at once."""

import os
from pathlib import Path
from typing import Annotated

import typer

from covid_debug.errors import ArtifactError


def check_new_folder(out: Path) -> Path:
    """Refuse a place for results before anything is computed for it.

    Args:
        out: As given on the command line.

    Returns:
        The same.

    Raises:
        ArtifactError: If something stands there, or the folder could not be made.
    """
    if out.exists():
        raise ArtifactError(f"--out {out}: already exists; nothing is overwritten, name another")
    return check_folder(out)


def check_folder(out: Path) -> Path:
    """Refuse a folder that may exist, but is a file or cannot be written.

    Args:
        out: As given on the command line.

    Returns:
        The same.

    Raises:
        ArtifactError: If no file could be written in it.
    """
    place = out.absolute()
    while not place.exists():
        place = place.parent
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise ArtifactError(f"--out {out}: is no folder that can be written; name another")
    return out


OutOption = Annotated[
    Path,
    typer.Option("--out", help="Folder to create; must not exist.", callback=check_new_folder),
]
TablesOption = Annotated[
    Path,
    typer.Option("--out", help="Folder of tables; what stands is reused.", callback=check_folder),
]
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
