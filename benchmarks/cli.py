"""`covid-debug bench`: measure the parts."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from covid_debug.cli.options import OutOption, SeedOption, TablesOption, WorkersOption
from covid_debug.errors import InputContractError

bench_app = typer.Typer(help="Measure the parts: saliency, text, audit, clean.")


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
    from benchmarks.text.measure import ANNOTATIONS, bench_text, to_markdown
    from covid_debug.terminal import RunConsole

    wanted: dict[str, dict[str, object]] | None = None
    if detector:
        wanted = {name: {} for name in detector}
    if annotations is None and not ANNOTATIONS.is_file():
        raise InputContractError(
            "bench text: the development set of boxes is in a checkout only; give"
            " --annotations FILE"
        )
    console = RunConsole()
    results = bench_text(annotations or ANNOTATIONS, data, out, detectors=wanted, console=console)
    typer.echo(to_markdown(results))
    console.say(f"tables: {out}")


@bench_app.command("audit")
def bench_audit_command(
    out: TablesOption,
    seed: SeedOption = 0,
) -> None:
    """Score the audit's flags on phantoms with known truth, and their cost."""
    from benchmarks.audit import bench_audit
    from covid_debug.terminal import RunConsole

    bench_audit(out, seed=seed, console=RunConsole())


@bench_app.command("clean")
def bench_clean_command(
    out: OutOption,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data set folder; phantoms when left out.")
    ] = None,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="Its text regions, from detect-text.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option("--detector", help="Second detector, looks for what is left.")
    ] = None,
    films: Annotated[
        int, typer.Option("--films", help="Measure speed and memory on so many phantoms instead.")
    ] = 0,
    side: Annotated[int, typer.Option("--side", help="Side of these phantoms in pixels.")] = 1024,
    workers: WorkersOption = 2,
) -> None:
    """Compare ways of cleaning: fill error, residual text, scars; or speed and memory."""
    from benchmarks.clean import bench_clean_command_line
    from covid_debug.terminal import RunConsole

    bench_clean_command_line(
        out,
        data=data,
        regions=regions,
        detector=detector,
        n_films=films,
        side_px=side,
        n_workers=workers,
        console=RunConsole(),
    )


@bench_app.command("saliency")
def bench_saliency_command(
    out: TablesOption,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Data set (its test films) or folder of images; phantoms and a model trained on"
            " them when both are left out.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Checkpoint folder.")
    ] = None,
    torchvision: Annotated[
        str | None, typer.Option("--torchvision", help="Or a torchvision network, e.g. resnet50.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Local weights of that network.")
    ] = None,
    factory: Annotated[
        str | None, typer.Option("--factory", help="module:function of your own network.")
    ] = None,
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
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    max_batch: Annotated[int, typer.Option("--max-batch", min=1)] = 64,
    threads: Annotated[int, typer.Option("--threads", min=0, help="0: torch's choice.")] = 0,
    device: Annotated[str, typer.Option("--device")] = "cpu",
) -> None:
    """Measure every saliency method: deletion, insertion, cost, void maps, sanity."""
    import torch

    from benchmarks.saliency.command import ModelChoice, bench_saliency
    from covid_debug.terminal import RunConsole

    if threads:
        torch.set_num_threads(threads)
    console = RunConsole()
    text = bench_saliency(
        ModelChoice(checkpoint, torchvision, weights, factory, device),
        data,
        out,
        target=target,
        n_films=films,
        grids=grid or [7, 28],
        methods=method or [],
        yardstick=yardstick or [],
        yardstick_films=yardstick_films,
        paper=paper,
        check_sanity=sanity,
        control=control,
        gallery=gallery,
        seed=seed,
        max_batch=max_batch,
        say=console.say,
    )
    typer.echo(text)
    console.say(f"tables and figures: {out}")
