"""`covid-debug debug`: does text drive the predictions of my model? One command, no training.

Heavy modules are imported inside the command so that `--help` stays quick.
"""

# ruff: noqa: PLC0415

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from covid_debug.cli.options import (
    ColumnOption,
    DeviceOption,
    FactoryOption,
    FindingOption,
    ImagesOption,
    LayoutOption,
    ResumedOption,
    SeedOption,
    WorkersOption,
    parse_columns,
)


def debug(
    model: Annotated[Path, typer.Option("--model", help="Checkpoint folder.")],
    films: Annotated[
        Path,
        typer.Option(
            "--films",
            help="Your films: a table (CSV or Parquet) or a folder, all of them test films; or a"
            " data set folder made by covid-debug, of which the test films are taken.",
        ),
    ],
    out: ResumedOption,
    target: Annotated[
        str | None,
        typer.Option("--target", help="Audit one class; default: every film for its prediction."),
    ] = None,
    layout: LayoutOption = None,
    images: ImagesOption = None,
    column: ColumnOption = None,
    finding: FindingOption = None,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    device: DeviceOption = "cpu",
    factory: FactoryOption = None,
) -> None:
    """Ask whether text drives a model: check it, find the text, audit, report; no training."""
    from covid_debug.artifacts import is_complete
    from covid_debug.cli.failures import termination_raised
    from covid_debug.cli.stopwatch import Stopwatch
    from covid_debug.data.stage import TableData
    from covid_debug.debugging import DebugQuestion, debug_model
    from covid_debug.models.devices import find_device
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole, format_duration, wrap

    find_device(device)
    given: Path | TableData = films
    of_tables = {"--layout": layout, "--images": images, "--column": column, "--finding": finding}
    if is_complete(films):
        for option in [name for name, value in of_tables.items() if value]:
            raise typer.BadParameter(f"{option} is of a table; {films} is a data set already")
    else:
        layout = layout or ("folders" if films.is_dir() else "table")
        columns = parse_columns(column or [])
        given = TableData("table", films, layout, images, columns, finding, split="test")
    command = shlex.join(["covid-debug", *sys.argv[1:]])
    asked = DebugQuestion(model, given, target, seed, factory, command)
    watch, console = Stopwatch(), RunConsole(asked.n_stages)
    console.headline("covid-debug debug (research tool, not for clinical use)")
    with termination_raised():
        answer = debug_model(asked, out, console, Means(console, out / "views", workers, device))
    console.headline(f"\nFinished in {format_duration(watch.elapsed_s)}")
    for line in answer.describe():
        console.rich.print(wrap(line, indent=2, width=console.rich.width), markup=False)
    console.rich.print(f"\nReport: {answer.page}", markup=False)
