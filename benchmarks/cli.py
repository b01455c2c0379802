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
from benchmarks.cli_saliency import (
    bench_growth_command,
    bench_localisation_command,
    bench_saliency_command,
)
from covid_debug.cli.options import (
    DataOption,
    OutOption,
    SeedOption,
    TablesOption,
    check_new_folder,
)

bench_app = typer.Typer(
    help="Measure the parts: saliency, text, agreement, planted, lungs, audit, transfer, plants,"
    " clean, scars, films, comparison, shortcuts, mitigations, training, growth, localisation,"
    " backbones, faults."
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
    typer.echo(out)


@bench_app.command("faults")
def bench_faults_command(
    out: OutOption,
    kills: Annotated[
        int, typer.Option("--kills", min=1, help="Random moments at which a run is killed.")
    ] = 30,
    seed: SeedOption = 0,
) -> None:
    """Disturb small runs of the whole loop in every way; is a file lost? (an hour)."""
    from benchmarks.faults.command import bench_faults
    from covid_debug.terminal import RunConsole

    bench_faults(out.absolute(), kills=kills, seed=seed, listener=RunConsole())
    typer.echo((out / "faults.md").read_text(encoding="utf-8"))


bench_app.command("clean")(bench_clean_command)
bench_app.command("scars")(bench_scars_command)
bench_app.command("films")(bench_films_command)
bench_app.command("saliency")(bench_saliency_command)
bench_app.command("localisation")(bench_localisation_command)
bench_app.command("growth")(bench_growth_command)
bench_app.command("audit")(bench_audit_command)
bench_app.command("transfer")(bench_transfer_command)
bench_app.command("plants")(bench_plants_command)
bench_app.command("comparison")(bench_comparison_command)
bench_app.command("shortcuts")(bench_shortcuts_command)
bench_app.command("mitigations")(bench_mitigations_command)
