"""`covid-debug bench` for what is said of models: audit, markers, plants, comparison, shortcuts."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from covid_debug.cli.options import (
    DataOption,
    DeviceOption,
    OutOption,
    SeedOption,
    TablesOption,
    WorkersOption,
)
from covid_debug.errors import InputContractError

ThreadsOption = Annotated[int, typer.Option("--threads", min=0, help="0: torch's choice.")]


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
    trainings: Annotated[int, typer.Option("--trainings", min=1, help="Seeds of each arm.")] = 3,
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
