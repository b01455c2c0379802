"""`covid-debug clean` and `diff`: make, check and compare COVIDx++ builds."""

from pathlib import Path

from covid_debug.artifacts import hash_file
from covid_debug.cleaning.build import clean_filmset
from covid_debug.cleaning.decisions import read_decisions
from covid_debug.cleaning.diff import diff_builds
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.verify import verify_cleaned
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.regions import read_regions
from covid_debug.terminal import RunConsole


def clean_data_set(
    data: Path,
    regions: Path,
    out: Path,
    params: CleaningParams,
    *,
    decisions: Path | None,
    n_workers: int,
    console: RunConsole,
) -> None:
    """Clean a data set from the command line.

    Args:
        data: Data set folder.
        regions: JSON lines of text regions.
        out: COVIDx++ folder to write.
        params: How to clean.
        decisions: Reviewers' decisions, applied first.
        n_workers: Processes.
        console: Terminal.

    Raises:
        InputContractError: If the regions file does not exist.
    """
    if not regions.is_file():
        raise InputContractError(f"--regions {regions}: no such file; make it with detect-text")
    with console.progress("films") as progress:
        cleaned = clean_filmset(
            load_filmset(data),
            read_regions(regions),
            params,
            out,
            inputs={"filmset": data.name, "regions": hash_file(regions)[:16]},
            n_workers=n_workers,
            progress=progress,
            decisions=() if decisions is None else read_decisions(decisions),
        )
    console.say(f"{len(cleaned.films)} of {cleaned.n_total} films cleaned: {out}")
    if len(cleaned.films) < cleaned.n_total:
        console.warn(f"the others and the reasons are in {out / 'unusable.csv'}")


def verify_data_set(data: Path, out: Path, *, n_workers: int, console: RunConsole) -> None:
    """Clean every film again in memory and compare with what stands at ``out``.

    Args:
        data: The data set that was cleaned.
        out: The COVIDx++ folder to check.
        n_workers: Processes.
        console: Terminal.

    Raises:
        DataIntegrityError: If anything differs.
    """
    with console.progress("films") as progress:
        found = verify_cleaned(out, load_filmset(data), n_workers=n_workers, progress=progress)
    if not found.is_clean:
        raise DataIntegrityError(f"{out}: {found.describe()}")
    console.say(found.describe())


def diff_data_sets(first: Path, second: Path, console: RunConsole) -> None:
    """Print how two COVIDx++ builds differ."""
    console.say(diff_builds(first, second).to_markdown())
