"""`covid-debug push` and `pull`: artifacts and shards to and from an object store."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from covid_debug.pushing import Moved

_UrlArgument = Annotated[
    str, typer.Argument(help="URL of it there, as s3://bucket/study/plus; anything fsspec opens.")
]


def push(
    place: Annotated[
        Path,
        typer.Argument(help="Artifact, regions.jsonl, or the --out of shards that did their part."),
    ],
    url: _UrlArgument,
) -> None:
    """Put an artifact, or finished shards, into an object store; repeat it to go on."""
    from covid_debug.pushing import push as push_to
    from covid_debug.terminal import RunConsole

    console = RunConsole()
    moved = push_to(place, url, console)
    n_outside = _count_outside(place)
    if n_outside:
        console.warn(
            f"{place}: {n_outside} films lie outside of the set and are not sent; where they are"
            " needed, copy them to the same absolute path"
        )
    console.say(f"{_describe(moved, 'sent')}: {url}")


def pull(
    url: _UrlArgument,
    place: Annotated[
        Path, typer.Argument(help="Folder or file to create; shards come beside it, for the merge.")
    ],
) -> None:
    """Fetch what push put into an object store; every file of an artifact is checked."""
    from covid_debug.pushing import pull as pull_from
    from covid_debug.terminal import RunConsole

    console = RunConsole()
    moved = pull_from(url, place, console)
    if moved.what == "shards":
        console.say("shards lie beside the place; the same command without --shard merges them")
    console.say(f"{_describe(moved, 'fetched')}: {place}")


def _describe(moved: "Moved", verb: str) -> str:
    if not moved.n_files:
        return f"already there, {moved.n_before} files"
    before = f", {moved.n_before} were there" if moved.n_before else ""
    return f"{moved.n_files} files {verb} ({moved.n_bytes / 1e6:.1f} MB){before}"


def _count_outside(place: Path) -> int:
    """Count the films of a data set that it names by an absolute path."""
    from covid_debug.data.filmset import load_filmset

    if not (place / "films.csv").is_file():
        return 0
    films = load_filmset(place)
    return sum(not films.path_of(film).is_relative_to(films.root) for film in films.films)
