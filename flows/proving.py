"""`covid-debug prove`: is a COVIDx++ what it claims, is text left, did cleaning leave a scar?"""

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from covid_debug.cleaning.proof import CleaningProof, prove_cleaning, read_proof
from covid_debug.cleaning.provenance import read_actions
from covid_debug.cleaning.residual import find_makers
from covid_debug.cleaning.scar import ProbeParams
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.errors import DataIntegrityError
from covid_debug.progress import Progress
from covid_debug.terminal import RunConsole
from covid_debug.text.catalog import build_detector, choose_second, members_of
from covid_debug.text.scan import scan_films


def prove_data_set(
    data: Path,
    cleaned: Path,
    detector: str | None,
    out: Path,
    *,
    seed: int,
    n_workers: int,
    console: RunConsole,
) -> None:
    """Verify, scan again and probe a cleaned data set from the command line.

    Args:
        data: The data set that was cleaned.
        cleaned: The COVIDx++ folder.
        detector: Name of the second detector; None chooses one that took no part.
        out: Folder to write; must not exist.
        seed: Seed of the probe's draws.
        n_workers: Processes.
        console: Terminal.

    Raises:
        DataIntegrityError: If the films made again differ from those that stand there; the proof
            is written all the same.
    """
    cleaned_set = load_filmset(cleaned)
    detector = detector or choose_second(find_makers(read_actions(cleaned)))
    with console.progress("films") as progress:
        proof = prove_with(
            detector,
            load_filmset(data),
            cleaned_set,
            out,
            params=ProbeParams(seed=seed),
            inputs={"filmset": data.name, "cleaned": cleaned.name},
            n_workers=n_workers,
            progress=progress,
        )
    show_proof(read_proof(out), console)
    console.say(f"proof: {out}")
    found = proof.verification
    if found is not None and not found.is_clean:
        raise DataIntegrityError(f"{cleaned}: {found.describe()}; see {out}")


def prove_with(
    detector: str,
    original: FilmSet,
    cleaned: FilmSet,
    out: Path,
    *,
    made_with: Collection[str] = (),
    params: ProbeParams,
    is_sample: bool = False,
    inputs: Mapping[str, str],
    n_workers: int,
    progress: Progress,
) -> CleaningProof:
    """Prove a cleaned data set with a detector of the catalogue.

    Returns:
        The proof, see :func:`covid_debug.cleaning.proof.prove_cleaning`.
    """
    scan = partial(scan_films, detector_name=detector, n_workers=n_workers, progress=progress)
    return prove_cleaning(
        cleaned,
        original,
        scan,
        detector,
        out,
        members=members_of(build_detector(detector)),
        made_with=made_with,
        params=params,
        is_sample=is_sample,
        inputs=inputs,
        n_workers=n_workers,
        progress=progress,
    )


def show_proof(proof: Mapping[str, Any], console: RunConsole) -> None:
    """Print a proof and what the user should act on.

    Args:
        proof: As :func:`covid_debug.cleaning.proof.read_proof` returns it.
        console: Terminal.
    """
    for line in proof["lines"]:
        console.say(line)
    for flag in proof["flags"]:
        console.finding(flag["severity"], flag["message"])
