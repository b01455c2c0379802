"""`covid-debug audit`: text interventions on any checkpoint."""

from dataclasses import replace
from pathlib import Path

from covid_debug.audit.pipeline import AuditPlan, audit_filmset
from covid_debug.audit.planning import AuditParams, target_index
from covid_debug.audit.planting import PlantingParams, measure_power, write_power
from covid_debug.audit.trials import Detect
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.regions import read_regions
from covid_debug.models.checkpoint import load_checkpoint, load_factory
from covid_debug.models.devices import describe_device, find_device
from covid_debug.terminal import RunConsole
from covid_debug.text.catalog import build_detector
from covid_debug.text.scan import scan_films


def audit_checkpoint(
    checkpoint: Path,
    data: Path,
    out: Path,
    *,
    regions: Path | None,
    target: str,
    calibrate: bool,
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
        calibrate: Also plant text of known effect and write how often the audit notices it.
        seed: Run seed.
        n_workers: Processes of the text scan.
        device: Torch device.
        factory: ``"package.module:function"`` that builds the user's own network.
        console: Terminal.

    Raises:
        DataIntegrityError: If the data set has no test films.
        InputContractError: If the target is not a class of the checkpoint.
    """
    find_device(device)
    filmset = load_filmset(data)
    films = filmset.select("test")
    if not films:
        raise DataIntegrityError(f"{data}: has no test films to audit")
    model = load_checkpoint(
        checkpoint, device=device, factory=load_factory(factory) if factory else None
    )
    target_index(model.classifier.class_names, target)  # before text is looked for on every film
    params = AuditParams(target_class=target)
    params = replace(params, grid_size=min(params.grid_size, *model.classifier.image_size))
    detect: Detect | None = None
    if regions is None:
        detect = build_detector().detect
        pairs = [(film.image_id, filmset.file_of(film)) for film in films]
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
            params,
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
    if not calibrate:
        return
    planting = PlantingParams()
    n_plants = planting.n_films * len(planting.height_shares) * len(planting.contrasts)
    console.say(
        f"planting {n_plants} texts: {n_plants * (4 + 2 * params.n_nulls):,} model evaluations"
    )
    with console.progress("films with planted text") as progress:
        power = measure_power(
            model,
            filmset,
            films,
            found,
            params,
            planting,
            run_seed=seed,
            detect=detect,
            progress=progress,
        )
    power_out = out.with_name(f"{out.name}-power")
    inputs = {"checkpoint": checkpoint.name, "filmset": data.name}
    used = describe_device(device)
    write_power(power_out, power, planting, run_seed=seed, inputs=inputs, device=used)
    for line in power.describe():
        console.say(line)
    console.say(f"power: {power_out}")
