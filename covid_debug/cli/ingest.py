"""`covid-debug ingest`: films, of whatever layout, become a data set.

Heavy modules are imported inside the command so that `--help` stays quick.
"""

# ruff: noqa: PLC0415

import csv
from pathlib import Path
from typing import Annotated

import typer

from covid_debug.cli.options import (
    ColumnOption,
    FindingOption,
    ImagesOption,
    LayoutOption,
    OutOption,
    SeedOption,
    ShardOption,
    WorkersOption,
    end_shard,
    parse_columns,
    parse_pairs,
    parse_shard,
)


def ingest(
    out: OutOption,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME=DIR", help="cohen, fig1, actmed, nih or rsna."),
    ] = None,
    covidx: Annotated[Path | None, typer.Option("--covidx", help="Folder with train/, test/.")] = (
        None
    ),
    train_list: Annotated[
        Path | None, typer.Option("--train-list", help="Leave out for an external test set.")
    ] = None,
    test_list: Annotated[Path | None, typer.Option("--test-list", help="COVIDx split file.")] = (
        None
    ),
    table: Annotated[
        Path | None,
        typer.Option("--table", help="Your own films: CSV or Parquet, a row a film; or a folder."),
    ] = None,
    layout: LayoutOption = None,
    images: ImagesOption = None,
    column: ColumnOption = None,
    finding: FindingOption = None,
    class_names: Annotated[
        str | None,
        typer.Option("--class-names", metavar="A,B", help="Classes in order, the positive last."),
    ] = None,
    all_test: Annotated[
        bool, typer.Option("--all-test", help="Every film of --table is a test film.")
    ] = False,
    seed: SeedOption = 0,
    val_share: Annotated[float, typer.Option("--val-share", min=0.01, max=0.5)] = 0.1,
    test_share: Annotated[float, typer.Option("--test-share", min=0.01, max=0.5)] = 0.2,
    max_failed_share: Annotated[
        float,
        typer.Option(
            "--max-failed-share", min=0, max=1, help="Refuse when a larger share is unusable."
        ),
    ] = 0.05,
    workers: WorkersOption = 2,
    shard: ShardOption = None,
) -> None:
    """Build a data set from your own films, public sources or a COVIDx folder, and audit it."""
    from covid_debug.data.integrity import load_ingest_audit
    from covid_debug.data.stage import CovidxData, SourceData, TableData
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    console = RunConsole()
    of_tables = {
        "--layout": layout,
        "--images": images,
        "--column": column,
        "--finding": finding,
        "--class-names": class_names,
        "--all-test": all_test,
    }
    stray = [name for name, value in of_tables.items() if value and table is None]
    if stray:
        raise typer.BadParameter(f"{stray[0]} goes with --table; name the table of your films")
    is_covidx = covidx is not None and test_list is not None
    if sum([table is not None, is_covidx, bool(source)]) != 1 or (covidx and not is_covidx):
        raise typer.BadParameter(
            "give one of --table FILE (your own films), --source NAME=DIR (once per source), or"
            " --covidx with --test-list"
        )
    request: CovidxData | SourceData | TableData
    if table is not None:
        request = TableData(
            "table",
            table,
            layout or "table",
            images,
            parse_columns(column or []),
            finding,
            _parse_names(class_names),
            "test" if all_test else "patients",
            seed,
            val_share,
            test_share,
        )
    elif covidx is not None and test_list is not None:
        request = CovidxData("covidx", covidx, train_list, test_list, seed, val_share)
    else:
        sources = parse_pairs(source or [], "--source")
        request = SourceData("sources", sources, seed, val_share, test_share)
    means = Means(
        console, n_workers=workers, max_failed_share=max_failed_share, shard=parse_shard(shard)
    )
    with end_shard(console, shard):
        request.make(out, means)
    console.say(load_ingest_audit(out).render_markdown())
    console.say(f"data set: {out}")


def _parse_names(text: str | None) -> tuple[str, ...] | None:
    """Read names parted by commas; a name with a comma stands in double quotes."""
    if text is None:
        return None
    try:
        names = tuple(name.strip() for name in next(csv.reader([text], strict=True), []))
    except csv.Error as error:
        raise typer.BadParameter(f"--class-names {text!r}: {error}; expected A,B") from error
    if len(names) < 2 or not all(names):
        raise typer.BadParameter(f"--class-names {text!r}: expected two names or more, as A,B")
    return names
