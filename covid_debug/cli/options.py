"""Options that several commands of `covid-debug` share, and what can be said about them at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from typer import BadParameter

from covid_debug.errors import ArtifactError
from covid_debug.progress import Listener
from covid_debug.shards import Shard, ShardFinished


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
    return _check_folder(out)


def _check_folder(out: Path) -> Path:
    """Refuse a folder of results that may exist, but in which no file could be written."""
    return _check_writable(out, "--out")


def _check_resumed(folder: Path) -> Path:
    """Refuse a folder of results that is a result itself, or in which none could be written."""
    from covid_debug.artifacts import is_complete  # noqa: PLC0415  --help needs it not

    if is_complete(folder):
        raise ArtifactError(
            f"--out {folder}: is a finished data set, model or result, to which nothing is added;"
            " name another folder"
        )
    return _check_folder(folder)


def check_data_dir(folder: Path) -> Path:
    """Refuse a folder of artifacts in which no file could be written."""
    return _check_writable(folder, "--data-dir")


def _check_writable(folder: Path, option: str) -> Path:
    from covid_debug.places import find_obstacle  # noqa: PLC0415  --help needs it not

    obstacle = find_obstacle(folder)
    if obstacle is not None:
        raise ArtifactError(
            f"{option} {folder}: cannot be written ({obstacle}); name another folder"
        )
    return folder


def parse_pairs(pairs: list[str], option: str) -> dict[str, Path]:
    """Read NAME=DIR texts.

    Args:
        pairs: As given on the command line.
        option: The option's name.

    Returns:
        Name -> folder, in order.

    Raises:
        BadParameter: If a text is no pair or a name stands twice.
    """
    result: dict[str, Path] = {}
    for name, folder in split_pairs(pairs, option):
        if name in result:
            raise BadParameter(f"{option} '{name}={folder}': {name!r} is given twice")
        result[name] = folder
    return result


def split_pairs(pairs: list[str], option: str) -> list[tuple[str, Path]]:
    """Read NAME=DIR texts whose names may stand several times.

    Args:
        pairs: As given on the command line.
        option: The option's name.

    Returns:
        Names and folders, in order.

    Raises:
        BadParameter: If a text is no pair.
    """
    result = []
    for pair in pairs:
        name, sign, folder = pair.partition("=")
        if not sign or not name or not folder:
            raise BadParameter(f"{option} {pair!r}: expected NAME=DIR")
        result.append((name, Path(folder)))
    return result


def parse_columns(pairs: list[str]) -> dict[str, str]:
    """Read WHAT=NAME texts of columns.

    Args:
        pairs: As given on the command line.

    Returns:
        What -> the column's name.

    Raises:
        BadParameter: If a text is no pair or a column is named twice.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        what, sign, name = pair.partition("=")
        if not sign or not what or what in columns:
            raise BadParameter(
                f"--column {pair!r}: expected WHAT=NAME, each WHAT once, e.g. label=Finding"
            )
        columns[what] = name
    return columns


def parse_shard(text: str | None) -> Shard | None:
    """Read i/N, or nothing."""
    return None if text is None else Shard.parse(text)


@contextmanager
def end_shard(listener: Listener, shard: str | None) -> Iterator[None]:
    """Say what remains where a shard did its part, and end the command well."""
    try:
        yield
    except ShardFinished as finished:
        steps = [] if finished.n_done == finished.n_total else ["start it for the others"]
        if not finished.is_last:
            steps.append("start all shards again for the next part, which needs all of this one")
        steps.append("then the same command without --shard merges them")
        listener.say(f"shard {shard} is done: {finished}; {', '.join(steps)}")
        raise typer.Exit from finished


ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="i/N",
        help="Work on the i-th of N parts of the films only; the same command without --shard"
        " merges them.",
    ),
]
OutOption = Annotated[
    Path,
    typer.Option("--out", help="Folder to create; must not exist.", callback=check_new_folder),
]
TablesOption = Annotated[
    Path,
    typer.Option("--out", help="Folder of tables; what stands is reused.", callback=_check_folder),
]
ResumedOption = Annotated[
    Path,
    typer.Option(
        "--out",
        help="Folder of all that is made; a second start goes on.",
        callback=_check_resumed,
    ),
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout",
        help="Of your own films: table (default), folders, dicom, covidx (a split file), chexpert,"
        " mimic, nih, padchest or rsna.",
    ),
]
ImagesOption = Annotated[
    Path | None,
    typer.Option("--images", help="Folder of the films; default: the table's own."),
]
ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="WHAT=NAME",
        help="Column that holds the path, label, patient, source, view or split, where its name"
        " does not tell; WHAT= for none.",
    ),
]
FindingOption = Annotated[
    str | None,
    typer.Option(
        "--finding",
        help="Where films have several labels, the one that makes the two classes, e.g. Edema.",
    ),
]
DataOption = Annotated[Path, typer.Option("--data", help="Data set folder made by covid-debug.")]
CheckpointOption = Annotated[Path, typer.Option("--checkpoint", help="Checkpoint folder.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed; same seed, same result.")]
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
