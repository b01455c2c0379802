"""`covid-debug audit`: text interventions on any checkpoint."""

from pathlib import Path

from covid_debug.audit.pipeline import AuditPlan, audit_filmset
from covid_debug.audit.planning import AuditParams
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.regions import read_regions
from covid_debug.models.checkpoint import load_checkpoint, load_factory
from covid_debug.text.scan import scan_films
from flows.console import RunConsole


def audit_checkpoint(
    checkpoint: Path,
    data: Path,
    out: Path,
    *,
    regions: Path | None,
    target: str,
    seed: int,
    n_workers: int,
    device: str,
    factory: str | None,
    console: RunConsole,
) -> None:
    """Audit the test films of a data set and print the verdicts' counts.

    Args:
        checkpoint: Checkpoint folder.
        data: Data set folder.
        out: Artifact of kind "audit" to write.
        regions: Text regions; None detects them now with the default detector.
        target: Audited class.
        seed: Run seed.
        n_workers: Processes of the text scan.
        device: Torch device.
        factory: ``"package.module:function"`` that builds the user's own network.
        console: Terminal.

    Raises:
        DataIntegrityError: If the data set has no test films.
    """
    filmset = load_filmset(data)
    films = filmset.select("test")
    if not films:
        raise DataIntegrityError(f"{data}: has no test films to audit")
    model = load_checkpoint(
        checkpoint, device=device, factory=load_factory(factory) if factory else None
    )
    if regions is None:
        pairs = [(film.image_id, filmset.path_of(film)) for film in films]
        with console.progress("text") as progress:
            lines = scan_films(pairs, "default", {}, n_workers=n_workers, progress=progress)
            found = {line.image: line for line in lines}
    else:
        found = read_regions(regions)

    def announce(plan: AuditPlan) -> None:
        for line in plan.describe():
            console.say(line)

    with console.progress("films") as progress:
        result = audit_filmset(
            model,
            filmset,
            films,
            found,
            AuditParams(target_class=target),
            run_seed=seed,
            cache_dir=out.parent / "views",
            out=out,
            inputs={"checkpoint": checkpoint.name, "filmset": data.name},
            progress=progress,
            announce=announce,
        )
    for verdict, count in sorted(result.summary["verdicts"].items()):
        console.say(f"{verdict}: {count}")
    console.say(f"audit: {out}")
