"""`covid-debug bench` for maps: saliency, where maps lie, and growth of their cost."""

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
    WorkersOption,
)
from covid_debug.errors import InputContractError


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
        str | None,
        typer.Option(
            "--split",
            help="train or val of a data set: to choose settings; default: its test films.",
        ),
    ] = None,
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
    search: Annotated[
        list[str] | None,
        typer.Option(
            "--search",
            help="Search of --rankings; repeatable, default: all. Differences and ratios need"
            " igos_pp_published, too.",
        ),
    ] = None,
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
        searches=tuple(search or ()),
        seed=seed,
        paper=paper,
        sanity=sanity,
        control=control,
        gallery=gallery,
    )
    typer.echo(bench_saliency(request, out, console))
    console.say(f"tables and figures: {out}")


def bench_localisation_command(
    out: TablesOption,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Data set with real films; phantoms only when left out."),
    ] = None,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="Its text, from detect-text.")
    ] = None,
    arch: Annotated[
        list[str] | None,
        typer.Option("--arch", help="Repeatable; default covidnet, resnet18_half and densenet121."),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option("--method", help="Repeatable; default: all but the slow presets."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", help="Repeatable: plant, mark, sign, text; default: all that the films allow."
        ),
    ] = None,
    again: Annotated[
        list[str] | None,
        typer.Option("--again", help="Repeatable: a method whose code changed is explained anew."),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", help="val: to choose a method; test: to report it.")
    ] = "test",
    films: Annotated[
        int, typer.Option("--films", min=1, help="Driven films of each model and truth.")
    ] = 24,
    costly: Annotated[
        int, typer.Option("--costly-films", min=1, help="The same for methods of >500 evaluations.")
    ] = 8,
    faithful: Annotated[
        int, typer.Option("--faithful-films", min=0, help="Films judged for faithfulness, too.")
    ] = 12,
    sensitive: Annotated[
        int, typer.Option("--sensitive-films", min=0, help="Films explained again with noise.")
    ] = 3,
    size: Annotated[int, typer.Option("--size", min=32, help="Side that models see, px.")] = 112,
    phantom_train: Annotated[
        int, typer.Option("--phantom-train", min=12, help="Phantoms to train on.")
    ] = 300,
    phantom_films: Annotated[
        int, typer.Option("--phantom-films", min=6, help="Phantoms looked through.")
    ] = 150,
    epochs: Annotated[int, typer.Option("--phantom-epochs", min=1)] = 8,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    threads: ThreadsOption = 1,
    device: DeviceOption = "cpu",
) -> None:
    """Judge every saliency method by what is known to drive the class."""
    import torch

    from benchmarks.localisation.command import ARCHS, KINDS, LocalisationBench, bench_localisation
    from benchmarks.localisation.phantoms import PhantomRecipe
    from covid_debug.models.devices import find_device
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    if split not in {"val", "test"}:
        raise InputContractError(f"--split {split!r}: expected val or test")
    find_device(device)
    if threads:
        torch.set_num_threads(threads)
    console = RunConsole()
    bench = LocalisationBench(
        data,
        regions,
        archs=tuple(arch or ARCHS),
        methods=tuple(method or ()),
        kinds=tuple(kind or KINDS),
        again=tuple(again or ()),
        split="val" if split == "val" else "test",
        n_films=films,
        n_costly=costly,
        n_faithful=faithful,
        n_sensitive=sensitive,
        image_size=size,
        phantom=PhantomRecipe(phantom_train, phantom_films, n_epochs=epochs),
        seed=seed,
    )
    means = Means(console, out / "views", n_workers=workers, device=device)
    typer.echo(bench_localisation(bench, out, means))
    console.say(f"tables and sheets of maps: {out}")


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
