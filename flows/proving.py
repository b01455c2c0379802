"""`covid-debug prove`: is a COVIDx++ what it claims, is text left, did cleaning leave a scar?"""

from functools import partial
from pathlib import Path

from covid_debug.cleaning.proof import prove_cleaning
from covid_debug.cleaning.scar import ProbeParams
from covid_debug.data.filmset import load_filmset
from covid_debug.text.catalog import build_detector
from covid_debug.text.scan import scan_films
from flows.console import RunConsole


def prove_data_set(
    data: Path,
    cleaned: Path,
    detector: str,
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
        detector: Name of the second detector.
        out: Folder to write; must not exist.
        seed: Seed of the probe's draws.
        n_workers: Processes.
        console: Terminal.
    """
    build_detector(detector)
    scan = partial(scan_films, detector_name=detector, n_workers=n_workers)
    with console.progress("films") as progress:
        proof = prove_cleaning(
            load_filmset(cleaned),
            load_filmset(data),
            scan,
            detector,
            out,
            params=ProbeParams(seed=seed),
            inputs={"filmset": data.name, "cleaned": cleaned.name},
            n_workers=n_workers,
            progress=progress,
        )
    console.say(proof.to_markdown())
    console.say(f"proof: {out}")
