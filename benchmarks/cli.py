"""`covid-debug bench`: measure the parts."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.cli_cleaning import (
    bench_clean_command,
    bench_films_command,
    bench_scars_command,
)
from benchmarks.cli_models import (
    bench_audit_command,
    bench_comparison_command,
    bench_mitigations_command,
    bench_plants_command,
    bench_shortcuts_command,
    bench_transfer_command,
)
from covid_debug.cli.options import (
    CheckpointOption,
    DataOption,
    DeviceOption,
    FactoryOption,
    OutOption,
    SeedOption,
    TablesOption,
    check_new_folder,
)

bench_app = typer.Typer(
    help="Measure the parts: saliency, text, agreement, planted, lungs, audit, transfer, plants,"
    " clean, scars, films, comparison, shortcuts, mitigations, training, growth, backbones."
)
ThreadsOption = Annotated[int, typer.Option("--threads", min=0, help="0: torch's choice.")]


@bench_app.command("text")
def bench_text_command(
    data: Annotated[Path, typer.Option("--data", help="Folder of the annotated films' sources.")],
    out: OutOption,
    annotations: Annotated[
        list[Path] | None,
        typer.Option(
            "--annotations",
            help="File of boxes, ours or yours; repeatable; default: the development set.",
        ),
    ] = None,
    detector: Annotated[
        list[str] | None, typer.Option("--detector", help="Repeatable; default: all there are.")
    ] = None,
) -> None:
    """Score the text detectors on annotated films: recall, precision, over-cleaning, seconds."""
    from benchmarks.text.measure import ANNOTATIONS, SUMMARY_NAME, bench_text
    from covid_debug.terminal import RunConsole

    wanted: dict[str, dict[str, object]] | None = None
    if detector:
        wanted = {name: {} for name in detector}
    console = RunConsole()
    bench_text(annotations or [ANNOTATIONS], data, out, detectors=wanted, console=console)
    typer.echo((out / SUMMARY_NAME).read_text(encoding="utf-8"))
    console.say(f"tables: {out}")


@bench_app.command("agreement")
def bench_agreement_command(
    first: Annotated[Path, typer.Argument(help="File of boxes of one reader.")],
    second: Annotated[Path, typer.Argument(help="File of boxes of the other, of the same films.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="New folder for the table and the list of disagreements."),
    ] = None,
) -> None:
    """Compare two readers of text: boxes, kinds, contents, with intervals over films."""
    from benchmarks.text.agreement import bench_agreement

    typer.echo(bench_agreement(first, second, None if out is None else check_new_folder(out)))


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


@bench_app.command("planted")
def bench_planted_command(
    data: Annotated[Path, typer.Option("--data", help="Folder of the annotated films' sources.")],
    out: OutOption,
    annotations: Annotated[
        Path | None, typer.Option("--annotations", help="Boxes; default: the development set.")
    ] = None,
    detector: Annotated[
        list[str] | None, typer.Option("--detector", help="Repeatable; default: default.")
    ] = None,
) -> None:
    """Count the faint letters and words found that were set on text-free films."""
    from benchmarks.text.measure import ANNOTATIONS
    from benchmarks.text.planted import bench_planted

    typer.echo(bench_planted(annotations or ANNOTATIONS, data, out, detector or ["default"]))


@bench_app.command("backbones")
def bench_backbones_command(
    out: TablesOption,
    backbone: Annotated[
        list[str] | None, typer.Option("--backbone", help="Repeatable; default: all of them.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Repeatable; default: the catalogue.")
    ] = None,
    threads: ThreadsOption = 1,
) -> None:
    """Check every saliency method on every kind of network, in three precisions."""
    import torch

    from benchmarks.backbones.command import bench_backbones

    if threads:
        torch.set_num_threads(threads)
    typer.echo(bench_backbones(backbone or (), method or (), out, typer.echo))


bench_app.command("clean")(bench_clean_command)
bench_app.command("scars")(bench_scars_command)
bench_app.command("films")(bench_films_command)
bench_app.command("audit")(bench_audit_command)
bench_app.command("transfer")(bench_transfer_command)
bench_app.command("plants")(bench_plants_command)
bench_app.command("comparison")(bench_comparison_command)
bench_app.command("shortcuts")(bench_shortcuts_command)
bench_app.command("mitigations")(bench_mitigations_command)
