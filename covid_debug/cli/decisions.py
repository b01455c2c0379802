"""`covid-debug decisions`: what reviewers decided, compared and carried to other tools and back.

Heavy modules are imported inside the commands so that `--help` stays quick.
"""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from covid_debug.cli.options import SeedOption
from covid_debug.errors import ArtifactError

decisions_app = typer.Typer(
    help="Compare reviewers' decisions; carry them to Label Studio or FiftyOne and back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_MAX_LINES = 20


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

    films = list(results.films(run)[["image_id", "patient_id", "path"]].fillna("").itertuples())
    files = {"first": read_decisions(first), "second": read_decisions(second)}
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
