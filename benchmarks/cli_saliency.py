"""`covid-debug bench` for maps: saliency, and growth of its cost."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cli_models import ThreadsOption
from covid_debug.cli.options import (
    CheckpointOption,
    DataOption,
    DeviceOption,
    FactoryOption,
    SeedOption,
    TablesOption,
)


def bench_saliency_command(
    out: TablesOption,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Data set (its test films) or folder of images; phantoms and a model trained on"
            " them when this and --checkpoint are left out.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Checkpoint folder.")
    ] = None,
    factory: FactoryOption = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Class to explain; default: predicted class.")
    ] = None,
    films: Annotated[int, typer.Option("--films", min=1, help="At most so many films.")] = 24,
    split: Annotated[
        str, typer.Option("--split", help="train or val: to choose settings.")
    ] = "test",
    grid: Annotated[
        list[int] | None, typer.Option("--grid", help="Repeatable; default 7 and 28.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Repeatable; default: all there are.")
    ] = None,
    yardstick: Annotated[
        list[int] | None,
        typer.Option(
            "--yardstick", help="Grid at which the plain published iGOS++ runs, too (minutes)."
        ),
    ] = None,
    yardstick_films: Annotated[int, typer.Option("--yardstick-films", min=1)] = 24,
    rankings: Annotated[
        int,
        typer.Option(
            "--rankings",
            min=0,
            help="Films of the table search x ranking, published searches among them (minutes a"
            " film); without --method nothing else is measured.",
        ),
    ] = 0,
    paper: Annotated[bool, typer.Option("--paper", help="The papers' tables beside ours.")] = False,
    sanity: Annotated[bool, typer.Option("--sanity", help="Sanity checks of iGOS++.")] = False,
    control: Annotated[
        Path | None,
        typer.Option(
            "--control",
            help="Checkpoint trained with --shuffle-labels, for --sanity's label randomisation.",
        ),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", help="Write the page of maps and curves there.")
    ] = None,
    seed: SeedOption = 0,
    threads: ThreadsOption = 0,
    device: DeviceOption = "cpu",
) -> None:
    """Measure every saliency method: deletion, insertion, cost, void maps, sanity."""
    import torch

    from benchmarks.saliency.command import SaliencyBench, bench_saliency
    from benchmarks.saliency.films import FilmChoice, ModelChoice
    from covid_debug.terminal import RunConsole

    if threads:
        torch.set_num_threads(threads)
    console = RunConsole()
    request = SaliencyBench(
        ModelChoice(checkpoint, factory, device),
        FilmChoice(data, target, films, split),
        grids=tuple(grid or (7, 28)),
        methods=tuple(method or ()),
        yardstick_grids=tuple(yardstick or ()),
        yardstick_films=yardstick_films,
        ranking_films=rankings,
        seed=seed,
        paper=paper,
        sanity=sanity,
        control=control,
        gallery=gallery,
    )
    typer.echo(bench_saliency(request, out, console))
    console.say(f"tables and figures: {out}")


def bench_growth_command(
    checkpoint: CheckpointOption,
    data: DataOption,
    films: Annotated[int, typer.Option("--films", min=1, help="Most films.")] = 32,
    grid: Annotated[int, typer.Option("--grid", min=1, help="Cells a side.")] = 28,
    threads: ThreadsOption = 1,
) -> None:
    """Measure how cost and memory of iGOS++ grow with films and with films at once."""
    import torch

    from benchmarks.saliency.growth import bench_growth

    if threads:
        torch.set_num_threads(threads)
    bench_growth(checkpoint, data, films, grid, typer.echo)
