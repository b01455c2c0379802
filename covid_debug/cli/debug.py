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
    DeviceOption,
    FactoryOption,
    ResumedOption,
    SeedOption,
    WorkersOption,
)


def debug(
    model: Annotated[Path, typer.Option("--model", help="Checkpoint folder.")],
    films: Annotated[Path, typer.Option("--films", help="Data set folder made by covid-debug.")],
    out: ResumedOption,
    target: Annotated[
        str | None,
        typer.Option("--target", help="Audit one class; default: every film for its prediction."),
    ] = None,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    device: DeviceOption = "cpu",
    factory: FactoryOption = None,
) -> None:
    """Ask whether text drives a model: check it, find the text, audit, report; no training."""
    from covid_debug.cli.failures import termination_raised
    from covid_debug.cli.stopwatch import Stopwatch
    from covid_debug.debugging import N_STAGES, DebugQuestion, debug_model
    from covid_debug.models.devices import find_device
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole, format_duration, wrap

    find_device(device)
    watch, console = Stopwatch(), RunConsole(N_STAGES)
    console.headline("covid-debug debug (research tool, not for clinical use)")
    command = shlex.join(["covid-debug", *sys.argv[1:]])
    asked = DebugQuestion(model, films, target, seed, factory, command)
    with termination_raised():
        answer = debug_model(asked, out, console, Means(console, out / "views", workers, device))
    console.headline(f"\nFinished in {format_duration(watch.elapsed_s)}")
    for line in answer.describe():
        console.rich.print(wrap(line, indent=2, width=console.rich.width), markup=False)
    console.rich.print(f"\nReport: {answer.page}", markup=False)
