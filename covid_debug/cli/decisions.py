"""`covid-debug decisions`: what reviewers decided, compared and carried to other tools and back.

Heavy modules are imported inside the commands so that `--help` stays quick.
"""

# ruff: noqa: PLC0415

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from covid_debug.cli.options import DataOption, OutOption, SeedOption
from covid_debug.errors import ArtifactError, InputContractError

decisions_app = typer.Typer(
    help="Compare reviewers' decisions; carry them to Label Studio or FiftyOne and back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_MAX_LINES = 20


class Tool(StrEnum):
    """A tool that films are reviewed in."""

    label_studio = "label-studio"
    fiftyone = "fiftyone"


def _check_new_file(out: Path | None) -> Path | None:
    if out is not None and out.exists():
        raise ArtifactError(f"--out {out}: already exists; nothing is overwritten, name another")
    return out


@decisions_app.command()
def agree(
    first: Annotated[Path, typer.Argument(help="Decisions of one reviewer.")],
    second: Annotated[Path, typer.Argument(help="Decisions of another one.")],
    run: Annotated[Path, typer.Option("--run", help="Folder of the run that both reviewed.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="All disagreements as CSV.", callback=_check_new_file),
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Measure how far two reviewers agree, and list what they disagree on."""
    from covid_debug import results
    from covid_debug.artifacts import write_text_atomic
    from covid_debug.cleaning.agreement import compare_reviewers, list_reviewers, tabulate
    from covid_debug.cleaning.decisions import read_decisions

    files = {"first": read_decisions(first), "second": read_decisions(second)}
    films = list(results.films(run)[["image_id", "patient_id", "path"]].fillna("").itertuples())
    patients = {str(film.image_id): str(film.patient_id or film.image_id) for film in films}
    found = compare_reviewers(files["first"], files["second"], patients, seed=seed)
    for (name, decisions), path in zip(files.items(), (first, second), strict=True):
        who = ", ".join(list_reviewers(decisions)) or "no name"
        typer.echo(f"{name}: {path} ({who}, {len(decisions)} lines)")
    for agreement in found:
        typer.echo("")
        for line in agreement.describe():
            typer.echo(line)
    rows = [one for agreement in found for one in agreement.disagreements]
    names = {str(film.image_id): Path(str(film.path)).name for film in films}
    for one in rows[:_MAX_LINES]:
        region = f" region {one.about[1:]}" if one.about else ""
        typer.echo(f"  {names.get(one.image_id, one.image_id)}{region}: {one.first} / {one.second}")
    if len(rows) > _MAX_LINES:
        typer.echo(f"  and {len(rows) - _MAX_LINES} more; --out writes all of them")
    if out is not None:
        write_text_atomic(out, tabulate(rows, names))
        typer.echo(f"disagreements: {out}")


@decisions_app.command("export")
def export_films(
    tool: Annotated[Tool, typer.Option("--to", help="Which tool's format.")],
    data: DataOption,
    regions: Annotated[Path, typer.Option("--regions", help="From detect-text.")],
    out: OutOption,
    audit: Annotated[
        Path | None,
        typer.Option("--audit", help="Its films, most severe first; default: films with text."),
    ] = None,
) -> None:
    """Write films and text regions for Label Studio or FiftyOne, by their paths on this machine."""
    from covid_debug.audit.artifact import load_audit
    from covid_debug.data.filmset import load_filmset
    from covid_debug.imaging.regions import read_regions
    from covid_debug.reporting.elsewhere import gather_films
    from covid_debug.reporting.fiftyone import SAMPLES_NAME, write_fiftyone
    from covid_debug.reporting.label_studio import CONFIG_NAME, TASKS_NAME, write_label_studio

    found = None if audit is None else load_audit(audit)
    films, failed = gather_films(load_filmset(data), read_regions(regions), found, out / "films")
    for line in failed:
        typer.echo(line, err=True)
    out.mkdir(parents=True, exist_ok=True)
    if tool == Tool.fiftyone:
        write_fiftyone(films, out)
        typer.echo(f"{len(films)} films for FiftyOne: {out / SAMPLES_NAME}")
        return
    folder = write_label_studio(films, out)
    typer.echo(f"{len(films)} films for Label Studio: {out / TASKS_NAME}, {out / CONFIG_NAME}")
    typer.echo(f"document root for its local files: {folder.parent}")
    typer.echo(f"path of its local storage: {folder}")


@decisions_app.command("import")
def import_decisions(
    exported: Annotated[
        Path, typer.Argument(help="JSON export of Label Studio, or samples.json of FiftyOne.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Decisions file to write.", callback=_check_new_file)
    ],
    reviewer: Annotated[
        str | None,
        typer.Option(
            "--reviewer", help="Who decided; of several people in Label Studio, whose answers."
        ),
    ] = None,
) -> None:
    """Turn what was decided in Label Studio or FiftyOne into a decisions file."""
    from covid_debug.artifacts import write_text_atomic
    from covid_debug.cleaning.decisions import render_decisions
    from covid_debug.reporting.returned import read_export

    found = read_export(exported, reviewer)
    if not found.decisions:
        raise InputContractError(
            f"{exported}: {found.n_films} films, nothing decided; expected at least one answer"
        )
    write_text_atomic(out, render_decisions(found.decisions))
    n_regions = sum(one.is_about_region for one in found.decisions)
    typer.echo(
        f"{len(found.decisions) - n_regions} verdicts on films and {n_regions} decisions on regions"
        f" of {found.n_films} films: {out}"
    )
    if found.n_left:
        typer.echo(f"{found.n_left} rectangles at no known region, not marked remove: left out")
