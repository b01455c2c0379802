"""`covid-debug bench` for what is cleaned: ways of cleaning, fills that are seen, DICOM films."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated, cast

import typer

from covid_debug.cli.options import (
    DataOption,
    OutOption,
    SeedOption,
    WorkersOption,
    parse_pairs,
)
from covid_debug.errors import InputContractError


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
