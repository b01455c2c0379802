"""`covid-debug bench`: measure the parts."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated, cast

import typer

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
    WorkersOption,
    check_new_folder,
    parse_pairs,
)
from covid_debug.errors import InputContractError

bench_app = typer.Typer(
    help="Measure the parts: saliency, text, agreement, planted, lungs, audit, transfer, plants,"
    " clean, scars, films, comparison, shortcuts, mitigations, training, growth."
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
    annotations: Annotated[
        list[Path] | None,
        typer.Option(
            "--annotations",
            help="Score --cleaned, whoever cleaned it, or the masks that --regions lead to, against"
            " these boxes; repeatable. --data is then the folder of the films as they were.",
        ),
    ] = None,
    cleaned: Annotated[
        Path | None, typer.Option("--cleaned", help="With --annotations: the cleaned films.")
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="KIND",
            help="With --annotations, repeatable: text to be kept, such as side_marker.",
        ),
    ] = None,
    workers: WorkersOption = 2,
) -> None:
    """Compare ways of cleaning; or score films that any tool cleaned against annotations."""
    from benchmarks.clean.annotated import CleanedFilms, bench_cleaned, parse_kinds
    from benchmarks.clean.fills import bench_fills
    from benchmarks.clean.masks import bench_masks
    from benchmarks.clean.throughput import bench_throughput
    from benchmarks.clean.variants import CleanBench, bench_clean
    from covid_debug.data.filmset import load_filmset
    from covid_debug.imaging.regions import read_regions
    from covid_debug.terminal import RunConsole

    if annotations or cleaned or keep:
        if not annotations or data is None or (cleaned is None) == (regions is None):
            raise InputContractError(
                "--annotations, --data, and --cleaned or --regions: expected all three, to score"
                " cleaned films or masks"
            )
        if cleaned is None:
            regions = cast(Path, regions)
            if keep:
                raise InputContractError("--keep: masks are of all text; it goes with --cleaned")
            typer.echo(bench_masks(annotations, data, regions, out, RunConsole()))
            return
        kinds = parse_kinds(keep or (), "--keep")
        scored = CleanedFilms(tuple(annotations), data, cleaned, kinds)
        typer.echo(bench_cleaned(scored, out, RunConsole()))
        return
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


@bench_app.command("scars")
def bench_scars_command(
    data: DataOption,
    regions: Annotated[Path, typer.Option("--regions", help="Its text, from detect-text.")],
    out: OutOption,
    films: Annotated[
        str | None,
        typer.Option(
            "--films", help="Only these of the covidx films: chosen_on or held_out; default: all."
        ),
    ] = None,
    fill: Annotated[
        list[str] | None,
        typer.Option(
            "--fill",
            metavar="METHOD=PX",
            help="Fill and dilation, repeatable; default telea and transplant with 3 and 6.",
        ),
    ] = None,
    no_network: Annotated[
        bool, typer.Option("--no-network", help="Ask the forest only, which is quicker.")
    ] = False,
    seed: SeedOption = 0,
    workers: WorkersOption = 1,
) -> None:
    """Fill the same films in several ways; say who can see the fills, and what they tell."""
    from benchmarks.clean.scars import (
        FILLS,
        SUMMARY_NAME,
        ScarBench,
        bench_scars,
        choose_films,
        parse_fill,
    )
    from covid_debug.cleaning.scar import ProbeParams
    from covid_debug.data.filmset import load_filmset
    from covid_debug.imaging.regions import read_regions
    from covid_debug.terminal import RunConsole

    filmset = load_filmset(data)
    if films is not None:
        filmset = choose_films(filmset, films)
    request = ScarBench(
        filmset,
        read_regions(regions),
        tuple(dict.fromkeys(map(parse_fill, fill))) if fill else FILLS,
        ProbeParams(seed=seed),
        not no_network,
        workers,
    )
    console = RunConsole()
    bench_scars(request, out, console)
    typer.echo((out / SUMMARY_NAME).read_text(encoding="utf-8"))
    console.say(f"tables: {out}")


@bench_app.command("films")
def bench_films_command(
    out: OutOption,
    films: Annotated[int, typer.Option("--films", min=1, help="Phantoms.")] = 200,
    validator: Annotated[
        Path | None, typer.Option("--validator", help="Program dciodvfy of dicom3tools.")
    ] = None,
    detector: Annotated[str, typer.Option("--detector", help="What finds the text.")] = "default",
    seed: SeedOption = 0,
    workers: WorkersOption = 1,
) -> None:
    """Clean DICOM films of every encoding and compare each with what it was."""
    from benchmarks.archive import ArchiveBench, bench_archive
    from covid_debug.terminal import RunConsole
    from covid_debug.text.catalog import build_detector
    from covid_debug.text.contents import build_content_reader
    from covid_debug.text.finder import Finder

    bench = ArchiveBench(films, seed, validator, workers)
    finder = Finder(build_detector(detector), build_content_reader())
    typer.echo(bench_archive(bench, finder, out, RunConsole()))


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


bench_app.command("audit")(bench_audit_command)
bench_app.command("transfer")(bench_transfer_command)
bench_app.command("plants")(bench_plants_command)
bench_app.command("comparison")(bench_comparison_command)
bench_app.command("shortcuts")(bench_shortcuts_command)
bench_app.command("mitigations")(bench_mitigations_command)
