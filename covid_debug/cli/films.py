"""`covid-debug phantom`, `detect-text`, `clean`, `diff` and `prove`: stages about films.

Heavy modules are imported inside the commands so that `--help` stays quick.
"""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covid_debug.cli.options import (
    OutOption,
    SeedOption,
    ShardOption,
    WorkersOption,
    check_new_folder,
    end_shard,
    parse_shard,
)
from covid_debug.errors import DataIntegrityError, InputContractError

_N_SHOWN = 20
_N_FOLDERS = 2

if TYPE_CHECKING:
    from covid_debug.cleaning.archive_film import ArchiveParams
    from covid_debug.cleaning.scar import ProbeParams
    from covid_debug.stages import Means
    from covid_debug.text.finder import Finder


def phantom(
    out: OutOption,
    n_train: Annotated[int, typer.Option("--n-train", min=1)],
    n_test: Annotated[int, typer.Option("--n-test", min=1)],
    seed: SeedOption = 0,
    text_correlation: Annotated[float, typer.Option("--text-correlation", min=0, max=1)] = 0.9,
) -> None:
    """Generate phantom radiographs with known text and known causal effect."""
    import os

    from covid_debug.data.stage import PhantomData
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    console = RunConsole()
    request = PhantomData("phantom", n_train, n_test, seed, text_correlation)
    films = request.make(out, Means(console, n_workers=os.cpu_count() or 1))
    console.say(f"{len(films.films)} films in {out}")


def detect_text(
    images: Annotated[list[Path] | None, typer.Argument(help="Image files or folders.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Or a data set or folder.")] = None,
    detector: Annotated[str, typer.Option("--detector")] = "default",
    out: Annotated[Path, typer.Option("--out", help="JSON lines to write.")] = Path(
        "regions.jsonl"
    ),
    read: Annotated[
        bool,
        typer.Option(help="Read what is found, so that what it says tells its kind."),
    ] = True,
    kinds: Annotated[
        Path | None, typer.Option("--kinds", help="Your own patterns that tell kinds; YAML.")
    ] = None,
    workers: WorkersOption = 2,
    shard: ShardOption = None,
) -> None:
    """Find burned-in text and read it; writes one line an image, also for unreadable images."""
    from covid_debug.data.listing import collect_films
    from covid_debug.imaging.regions import iter_regions
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole
    from covid_debug.text.contents import build_content_reader
    from covid_debug.text.scan import scan_to_file

    console = RunConsole()
    pairs = collect_films(images or [], data, console)
    contents = build_content_reader(read_content=read, kinds=kinds)
    means = Means(console, n_workers=workers, shard=parse_shard(shard))
    with end_shard(console, shard):
        scan_to_file(pairs, out, detector, contents=contents, means=means)
    n_regions = n_failed = 0
    for film in iter_regions(out):
        n_regions += len(film.regions)
        if film.error is not None:
            n_failed += 1
            console.say(f"not read: {film.error}")
    console.say(f"{n_regions} regions on {len(pairs) - n_failed} of {len(pairs)} films: {out}")


def clean(
    films: Annotated[
        list[Path] | None,
        typer.Argument(help="Films or folders, each film into a file of its kind; or --data."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data set folder made by covid-debug.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to create; with --verify, the COVIDx++ there."),
    ] = None,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="With --data: JSON lines from detect-text.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="KIND=ACTION",
            help="Remove (default), keep or replace text of a kind, e.g. side_marker=keep.",
        ),
    ] = None,
    uniform_marker: Annotated[
        bool, typer.Option("--uniform-marker", help="Draw the same letter into every view.")
    ] = False,
    method: Annotated[
        str, typer.Option(help="Fill: telea, transplant, navier_stokes, ...")
    ] = "telea",
    mask_shape: Annotated[str, typer.Option(help="What is filled: glyphs or box.")] = "glyphs",
    decoy_sets: Annotated[
        int, typer.Option(help="Fill every film at the places of so many films; needs box.")
    ] = 0,
    dilation: Annotated[
        int,
        typer.Option(help="Pixels, on a film of 640 px, by which masks grow; 6 also covers halos."),
    ] = 3,
    grain: Annotated[bool, typer.Option("--grain", help="Lay texture over the fills.")] = False,
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="Reviewers' decisions from the report.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the COVIDx++ that stands at --out instead.")
    ] = False,
    detector: Annotated[
        str, typer.Option("--detector", help="With films: what finds the text.")
    ] = "default",
    overlays: Annotated[
        str, typer.Option(help="With films: DICOM overlay planes: refuse, clear or keep.")
    ] = "refuse",
    kinds: Annotated[
        Path | None,
        typer.Option("--kinds", help="With films: your own patterns that tell kinds; YAML."),
    ] = None,
    jpeg: Annotated[
        str, typer.Option(help="With films: JPEG becomes jpeg, or png, which changes no more.")
    ] = "jpeg",
    workers: WorkersOption = 2,
    shard: ShardOption = None,
) -> None:
    """Inpaint every text region of a data set (COVIDx++), or of films, which stay what they are."""
    from covid_debug.cleaning.archive_film import ArchiveParams
    from covid_debug.cleaning.film import CleaningParams
    from covid_debug.cleaning.policy import find_risks, parse_policy
    from covid_debug.cleaning.stage import CleanRequest
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole
    from covid_debug.text.catalog import build_detector
    from covid_debug.text.contents import build_content_reader
    from covid_debug.text.finder import Finder

    if out is None:
        raise typer.BadParameter("--out is needed")
    params = CleaningParams(
        policy=parse_policy(policy or []),
        uniform_marker=uniform_marker,
        method=method,
        mask_shape=mask_shape,  # type: ignore[arg-type]
        decoy_sets=decoy_sets,
        dilation_px=dilation,
        grain=grain,
    )
    if films and (data or regions or decisions or verify or decoy_sets):
        raise typer.BadParameter(
            "--data, --regions, --decisions, --decoy-sets and --verify are of data sets;"
            " name either films or --data"
        )
    if verify and shard:
        raise typer.BadParameter("--shard is of cleaning, not of --verify; prove --shard does both")
    means = Means(RunConsole(), n_workers=workers, shard=parse_shard(shard))
    for risk in find_risks(params.policy):
        means.listener.warn(risk)
    if films:
        archive_params = ArchiveParams(params, overlays, jpeg)  # type: ignore[arg-type]
        finder = Finder(build_detector(detector), build_content_reader(kinds=kinds))
        with end_shard(means.listener, shard):
            _clean_films(films, out, archive_params, finder, means)
        return
    if data is None:
        raise typer.BadParameter("name films or folders to clean, or a data set with --data")
    if verify:
        _verify(data, out, means)
        return
    check_new_folder(out)
    if regions is None:
        raise typer.BadParameter("--regions is needed to clean; make it with detect-text")
    if not regions.is_file():
        raise InputContractError(f"--regions {regions}: no such file; make it with detect-text")
    with end_shard(means.listener, shard):
        cleaned = CleanRequest(data, regions, params, decisions).make(out, means)
    means.listener.say(f"{len(cleaned.films)} of {cleaned.n_total} films cleaned: {out}")
    if len(cleaned.films) < cleaned.n_total:
        means.listener.warn(f"the others and the reasons are in {out / 'unusable.csv'}")


def _clean_films(
    films: list[Path],
    out: Path,
    params: "ArchiveParams",
    finder: "Finder",
    means: "Means",
) -> None:
    from covid_debug.cleaning.archive import MANIFEST_NAME, clean_archive

    console = means.listener
    result = clean_archive(
        films, out, finder, params,
        n_workers=means.n_workers, shard=means.shard, listener=console,
    )  # fmt: skip
    before = f" ({result.n_before} of an earlier start)" if result.n_before else ""
    n_kept = sum(film.outcome == "copied" and bool(film.regions) for film in result.films)
    kept = f" ({n_kept} with text that stays)" if n_kept else ""
    console.say(
        f"{len(result.films)} films{before}: {result.count('cleaned')} cleaned,"
        f" {result.count('copied')} copied as they are{kept},"
        f" {result.count('refused')} not cleaned; {out / MANIFEST_NAME}"
    )
    lines = [film.reason for film in result.films if film.outcome == "refused"]
    lines += [f"{film.film}: {warning}" for film in result.films for warning in film.warnings]
    for line in lines[:_N_SHOWN]:
        console.warn(line)
    if len(lines) > _N_SHOWN:
        console.warn(f"and {len(lines) - _N_SHOWN} more, all in the manifest")
    moved = [film.max_change_outside for film in result.films if film.n_changed_outside]
    if moved:
        console.warn(
            f"{len(moved)} JPEG films were coded again, which moved pixels outside the text by up"
            f" to {max(moved)} levels; --jpeg png moves none"
        )
    if result.films and result.count("refused") == len(result.films):
        raise DataIntegrityError(f"none of {len(result.films)} films could be cleaned")


def _verify(data: Path, out: Path, means: "Means") -> None:
    from covid_debug.cleaning.verify import verify_cleaned
    from covid_debug.data.filmset import load_filmset

    found = verify_cleaned(out, load_filmset(data), means=means)
    if not found.is_clean:
        raise DataIntegrityError(f"{out}: {found.describe()}")
    means.listener.say(found.describe())


def diff(
    first: Annotated[Path, typer.Argument(help="A COVIDx++ folder.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Say how two COVIDx++ builds differ: parameters, films, regions, pixels."""
    from covid_debug.cleaning.diff import diff_builds
    from covid_debug.terminal import RunConsole

    RunConsole().say(diff_builds(first, second).to_markdown())


def prove(
    out: OutOption,
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Two folders, before and after another tool's cleaning; or --data."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Data set folder made by covid-debug.")
    ] = None,
    cleaned: Annotated[
        Path | None, typer.Option("--cleaned", help="Folder of the COVIDx++ to prove.")
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option("--detector", help="Second detector; by default one that took no part."),
    ] = None,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    shard: ShardOption = None,
) -> None:
    """Check a COVIDx++, or films that another tool cleaned: text that is left, changes, scars."""
    from covid_debug.cleaning.scar import ProbeParams
    from covid_debug.cleaning.stage import ProofRequest, tell_proof
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    if folders:
        if data or cleaned or shard or len(folders) != _N_FOLDERS:
            raise typer.BadParameter(
                "give two folders, the films before and after, or --data with --cleaned, which"
                " --shard goes with"
            )
        means = Means(RunConsole(), n_workers=workers)
        _prove_foreign(folders, out, detector or "default", ProbeParams(seed=seed), means)
        return
    if data is None or cleaned is None:
        raise typer.BadParameter(
            "give --data with --cleaned, or two folders, the films before and after"
        )
    console = RunConsole()
    request = ProofRequest(data, cleaned, ProbeParams(seed=seed), detector)
    means = Means(console, n_workers=workers, shard=parse_shard(shard))
    with end_shard(console, shard):
        proof = request.make(out, means)
    tell_proof(out, console)
    console.say(f"proof: {out}")
    found = proof.verification
    if found is not None and not found.is_clean:
        raise DataIntegrityError(f"{cleaned}: {found.describe()}; see {out}")


def _prove_foreign(
    folders: list[Path], out: Path, detector: str, params: "ProbeParams", means: "Means"
) -> None:
    from covid_debug.cleaning.archive import find_own_detector
    from covid_debug.cleaning.foreign import FILMS_NAME, describe_films, prove_foreign, read_foreign
    from covid_debug.text.catalog import build_detector
    from covid_debug.text.finder import Finder

    before, after = folders
    console = means.listener
    finder = Finder(build_detector(detector))
    proof = prove_foreign(
        before, after, out, finder, params, n_workers=means.n_workers, listener=console
    )
    console.say(proof.to_markdown())
    if find_own_detector(after) == detector:
        console.warn(
            f"{detector} is what cleaned these films: text that it does not see counts as gone;"
            " look again with another, such as --detector rapidocr"
        )
    for line in describe_films(read_foreign(out)):
        console.warn(line)
    console.say(f"every film: {out / FILMS_NAME}")
    if not proof.is_complete:
        raise DataIntegrityError(f"{after}: {proof.describe()}; see {out / FILMS_NAME}")
    console.say(proof.describe())
