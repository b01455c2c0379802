"""`covid-debug bench`: measure the parts."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from covid_debug.cli.options import (
    CheckpointOption,
    DataOption,
    DeviceOption,
    FactoryOption,
    OutOption,
    SeedOption,
    TablesOption,
    WorkersOption,
    parse_pairs,
)
from covid_debug.errors import InputContractError

bench_app = typer.Typer(
    help="Measure the parts: saliency, text, lungs, audit, transfer, plants, clean,"
    " comparison, shortcuts, mitigations, training, growth."
)
ThreadsOption = Annotated[int, typer.Option("--threads", min=0, help="0: torch's choice.")]


@bench_app.command("text")
def bench_text_command(
    data: Annotated[Path, typer.Option("--data", help="Folder of the annotated films' sources.")],
    out: OutOption,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", help="Boxes; default: the development set.")
    ] = None,
    detector: Annotated[
        list[str] | None, typer.Option("--detector", help="Repeatable; default: all there are.")
    ] = None,
) -> None:
    """Score the text detectors on annotated films: recall, over-cleaning, seconds."""
    from benchmarks.text.measure import ANNOTATIONS, bench_text, describe_results
    from covid_debug.terminal import RunConsole

    wanted: dict[str, dict[str, object]] | None = None
    if detector:
        wanted = {name: {} for name in detector}
    console = RunConsole()
    results = bench_text(annotations or ANNOTATIONS, data, out, detectors=wanted, console=console)
    typer.echo(describe_results(results))
    console.say(f"tables: {out}")


@bench_app.command("lungs")
def bench_lungs_command(data: DataOption, out: OutOption) -> None:
    """Score the lung finder on films annotated by eye and on phantoms: Dice, lung covered."""
    from benchmarks.lungs.measure import SUMMARY_NAME, bench_lungs
    from covid_debug.data.filmset import load_filmset
    from covid_debug.terminal import RunConsole

    console = RunConsole()
    bench_lungs(load_filmset(data), out, console)
    typer.echo((out / SUMMARY_NAME).read_text(encoding="utf-8"))
    console.say(f"tables: {out}")


@bench_app.command("audit")
def bench_audit_command(
    out: TablesOption,
    size: Annotated[
        bool,
        typer.Option("--size", help="Audit models that cannot read on real films with text."),
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="With --size: data set folder.")
    ] = None,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="With --size: its text, from detect-text.")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint", help="With --size, repeatable: a model trained on text-free films."
        ),
    ] = None,
    films: Annotated[int, typer.Option("--films", min=8, help="At most so many films.")] = 80,
    skip: Annotated[
        int,
        typer.Option(
            "--skip", min=0, help="Leave out so many test films with text, first in the list."
        ),
    ] = 0,
    networks: Annotated[int, typer.Option("--networks", min=0, help="Random ResNet18.")] = 2,
    thumbnails: Annotated[
        int, typer.Option("--thumbnails", min=0, help="Random linear models.")
    ] = 20,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
) -> None:
    """Score the audit's flags on phantoms with known truth; or the size of its p and q."""
    from benchmarks.audit import bench_audit
    from benchmarks.audit_size import SizeBench, bench_audit_size
    from covid_debug.terminal import RunConsole

    if not size:
        if data or regions or checkpoint:
            raise InputContractError("--data, --regions, --checkpoint: expected --size with them")
        bench_audit(out, seed=seed, console=RunConsole())
        return
    if data is None or regions is None:
        raise InputContractError("--size: expected --data and --regions with it")
    request = SizeBench(
        data,
        regions,
        tuple(checkpoint or ()),
        n_films=films,
        n_skipped=skip,
        n_networks=networks,
        n_thumbnails=thumbnails,
        seed=seed,
        n_workers=workers,
    )
    bench_audit_size(request, out, RunConsole())


@bench_app.command("transfer")
def bench_transfer_command(
    data: DataOption,
    regions: Annotated[Path, typer.Option("--regions", help="From detect-text.")],
    out: OutOption,
    n_networks: Annotated[int, typer.Option("--networks", min=1)] = 30,
    image_size: Annotated[int, typer.Option("--image-size", min=16)] = 64,
    n_films: Annotated[int, typer.Option("--films", min=1, help="At most so many films.")] = 128,
    seed: SeedOption = 0,
) -> None:
    """Lay markers for random networks, which cannot read: how often does an interval miss 0?"""
    from benchmarks.transfer import bench_transfer
    from covid_debug.terminal import RunConsole

    bench_transfer(
        data,
        regions,
        out,
        n_networks=n_networks,
        n_seeds=min(3, n_networks),
        image_size=image_size,
        n_films=n_films,
        seed=seed,
        console=RunConsole(),
    )


@bench_app.command("plants")
def bench_plants_command(
    data: DataOption,
    regions: Annotated[Path, typer.Option("--regions", help="Its text, from detect-text.")],
    out: TablesOption,
    plant_class: Annotated[
        str, typer.Option("--plant-class", help="Class that the learned plant goes with.")
    ] = "pneumonia",
    correlation: Annotated[
        list[float] | None,
        typer.Option(
            "--correlation",
            help="Share of that class's training films with the plant; repeatable, default .5, .75"
            " and 1.",
        ),
    ] = None,
    arch: Annotated[
        list[str] | None,
        typer.Option("--arch", help="Repeatable; default covidnet and resnet18_half."),
    ] = None,
    trainings: Annotated[int, typer.Option("--trainings", min=1, help="Seeds of each.")] = 2,
    size: Annotated[int, typer.Option("--size", min=8, help="Side that models see, px.")] = 112,
    epochs: Annotated[int, typer.Option("--epochs", min=1)] = 24,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Saliency; repeatable, default: all.")
    ] = None,
    maps: Annotated[
        int, typer.Option("--maps", min=0, help="Films a split, model and method; 0: no maps.")
    ] = 60,
    costly_maps: Annotated[
        int, typer.Option("--costly-maps", min=1, help="The same for the costly methods.")
    ] = 30,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    threads: ThreadsOption = 0,
    device: DeviceOption = "cpu",
) -> None:
    """Train on real films with planted text; is what the model learned told from the harmless?"""
    import torch

    from benchmarks.plants.command import PlantBench, bench_plants
    from benchmarks.plants.dealing import PlantParams
    from covid_debug.saliency.catalog import EXPLAINERS
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    if threads:
        torch.set_num_threads(threads)
    console = RunConsole()
    bench = PlantBench(
        data,
        regions,
        PlantParams(plant_class=plant_class),
        correlations=tuple(correlation or (0.5, 0.75, 1.0)),
        archs=tuple(arch or ("covidnet", "resnet18_half")),
        seeds=tuple(range(trainings)),
        image_size=size,
        n_epochs=epochs,
        methods=tuple(method or EXPLAINERS) if maps else (),
        n_maps=maps,
        n_costly_maps=min(costly_maps, maps) if maps else costly_maps,
        seed=seed,
    )
    means = Means(console, out / "views", workers, device)
    typer.echo(bench_plants(bench, out, means))
    console.say(f"tables: {out}")


@bench_app.command("comparison")
def bench_comparison_command(
    out: TablesOption,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions", help="predictions.csv of original, cleaned and placebo; three seeds."
        ),
    ] = None,
    trials: Annotated[int, typer.Option("--trials", min=10, help="Draws of each world.")] = 1000,
    null: Annotated[
        int, typer.Option("--null", min=1, help="Comparisons with nothing to find.")
    ] = 200,
    seed: SeedOption = 0,
) -> None:
    """Draw comparisons of known truth: how often do intervals cover it, how often lie verdicts?"""
    from benchmarks.comparison import bench_comparison
    from covid_debug.terminal import RunConsole

    console = RunConsole()
    tables = bench_comparison(
        out, console, predictions=predictions, n_trials=trials, n_null=null, seed=seed
    )
    typer.echo(tables)
    console.say(f"tables: {out}")


@bench_app.command("clean")
def bench_clean_command(
    out: OutOption,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data set folder; phantoms when left out.")
    ] = None,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="Its text regions, from detect-text.")
    ] = None,
    films: Annotated[
        int, typer.Option("--films", help="Measure speed and memory on so many phantoms instead.")
    ] = 0,
    side: Annotated[int, typer.Option("--side", help="Side of these phantoms in pixels.")] = 1024,
    fills: Annotated[
        list[str] | None,
        typer.Option(
            "--fills",
            metavar="NAME=DIR",
            help="Compare the fills of finished versions of --data instead.",
        ),
    ] = None,
    workers: WorkersOption = 2,
) -> None:
    """Compare ways of cleaning: fill error, scars; or speed and memory; or fills that stand."""
    from benchmarks.clean.fills import bench_fills
    from benchmarks.clean.throughput import bench_throughput
    from benchmarks.clean.variants import CleanBench, bench_clean
    from covid_debug.data.filmset import load_filmset
    from covid_debug.imaging.regions import read_regions
    from covid_debug.terminal import RunConsole

    if films:
        bench_throughput(films, side, workers, out, RunConsole())
        return
    if fills:
        if data is None:
            raise InputContractError("--fills: --data is missing")
        versions, films_before = parse_pairs(fills, "--fills"), load_filmset(data)
        bench_fills(films_before, versions, out, RunConsole(), n_workers=workers)
        return
    request = CleanBench(
        filmset=None if data is None else load_filmset(data),
        regions=None if regions is None else read_regions(regions),
        n_workers=workers,
    )
    bench_clean(request, out, RunConsole())


@bench_app.command("saliency")
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
        FilmChoice(data, target, films),
        grids=tuple(grid or (7, 28)),
        methods=tuple(method or ()),
        yardstick_grids=tuple(yardstick or ()),
        yardstick_films=yardstick_films,
        seed=seed,
        paper=paper,
        sanity=sanity,
        control=control,
        gallery=gallery,
    )
    typer.echo(bench_saliency(request, out, console))
    console.say(f"tables and figures: {out}")


@bench_app.command("growth")
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


@bench_app.command("training")
def bench_training_command(
    arch: Annotated[
        list[str] | None,
        typer.Option("--arch", help="Repeatable; default covidnet and resnet18_half."),
    ] = None,
    size: Annotated[
        list[int] | None, typer.Option("--size", help="Repeatable; default 128 and 224 px.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Films a step.")] = 32,
    threads: ThreadsOption = 2,
) -> None:
    """Measure films per second of training and inference, by memory layout and precision."""
    import torch

    from benchmarks.training import bench_training

    if threads:
        torch.set_num_threads(threads)
    bench_training(arch or ("covidnet", "resnet18_half"), size or (128, 224), batch, typer.echo)


@bench_app.command("shortcuts")
def bench_shortcuts_command(
    data: DataOption,
    regions: Annotated[Path, typer.Option("--regions", help="From detect-text.")],
    films: Annotated[int, typer.Option("--films", min=3, help="Test films.")] = 60,
    groups: Annotated[int, typer.Option("--groups", min=1, help="Groups of three models.")] = 20,
    seed: SeedOption = 0,
) -> None:
    """Map models that cannot rely on anything: how often is the interval right?"""
    from benchmarks.shortcuts import bench_shortcuts
    from covid_debug.terminal import RunConsole

    table = bench_shortcuts(
        data, regions, n_films=films, n_groups=groups, seed=seed, console=RunConsole()
    )
    typer.echo(table)


@bench_app.command("mitigations")
def bench_mitigations_command(
    out: TablesOption,
    strength: Annotated[
        list[float] | None,
        typer.Option(
            "--strength",
            min=0.0,
            max=1.0,
            help="Share of training patients whose text is of their class. Repeatable;"
            " default .5, .75, .9, 1.",
        ),
    ] = None,
    arm: Annotated[
        list[str] | None, typer.Option("--arm", help="Repeatable; default: nine of the arms.")
    ] = None,
    trainings: Annotated[int, typer.Option("--trainings", min=1, help="Seeds of each arm.")] = 2,
    n_train: Annotated[int, typer.Option("--train", min=12, help="Films to train on.")] = 300,
    n_test: Annotated[int, typer.Option("--test", min=6, help="Films to test on.")] = 150,
    image_size: Annotated[int, typer.Option("--image-size", min=32)] = 64,
    n_epochs: Annotated[int, typer.Option("--epochs", min=1)] = 8,
    workers: WorkersOption = 2,
    threads: ThreadsOption = 1,
) -> None:
    """Train every arm on phantoms whose text goes with the class ever more strongly."""
    import torch

    from benchmarks.mitigations.command import bench_mitigations
    from benchmarks.mitigations.sweep import DEFAULT_ARMS, STRENGTHS, Sweep
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    if threads:
        torch.set_num_threads(threads)
    console = RunConsole()
    sweep = Sweep(
        strengths=tuple(strength or STRENGTHS),
        arms=tuple(arm or DEFAULT_ARMS),
        seeds=tuple(range(trainings)),
        n_train=n_train,
        n_test=n_test,
        image_size=image_size,
        n_epochs=n_epochs,
    )
    means = Means(console, out / "views", n_workers=workers)
    typer.echo(bench_mitigations(sweep, out, means))
    console.say(f"tables and figure: {out}")
