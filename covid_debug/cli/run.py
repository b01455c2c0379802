"""`covid-debug demo`, `run`, `plan` and `ui`: the whole loop, what it will cost, and its pages.

Heavy modules are imported inside the commands so that `--help` stays quick.
"""

# ruff: noqa: PLC0415

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covid_debug.cli.failures import termination_raised
from covid_debug.cli.neighbours import DEMO_CONFIG, check_own
from covid_debug.cli.options import check_data_dir
from covid_debug.optional import require

if TYPE_CHECKING:
    from covid_debug.config.schema import RunConfig
    from flows.debug_covidx import RunOutcome

_TABLE_SIDE, _TABLE_COLUMN = 10, 14  # letters of the small table: besides an arm's name, a column


def demo(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of this demo's data and report.")
    ] = None,
) -> None:
    """Run the whole loop on embedded phantom radiographs (minutes on 2 cores)."""
    overrides = [] if out is None else [f"data_dir={out}/data", f"reports_dir={out}/reports"]
    _run(DEMO_CONFIG, overrides)


def run(
    config: Annotated[Path, typer.Argument(help="YAML file, e.g. configs/covidx.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the reports.")] = None,
) -> None:
    """Run the whole loop of a configuration; a second start resumes a killed run."""
    extra = [] if out is None else [f"reports_dir={out}"]
    _run(config, [*(overrides or []), *extra])


def _run(config_path: Path, overrides: list[str]) -> None:
    check_own("flows")
    require("prefect", "mlflow", purpose="a run of the whole loop")
    from covid_debug.config.loader import load_config
    from covid_debug.places import hold_store
    from covid_debug.preflight.checks import check_run
    from flows.server import configure_environment, prefect_server

    config = load_config(config_path, overrides)
    check_run(config)
    with termination_raised(), hold_store(config.data_dir):
        configure_environment(config.data_dir)
        with prefect_server():
            _run_flow(config)


def _run_flow(config: "RunConfig") -> None:
    from prefect import tags

    from covid_debug.cli.stopwatch import Stopwatch
    from covid_debug.preflight.costs import describe_costs, describe_deviation, plan_start
    from covid_debug.preflight.sharing import count_workers
    from covid_debug.terminal import RunConsole, format_duration
    from flows.debug_covidx import count_stages, debug_covidx
    from flows.starting import write_command

    console = RunConsole(count_stages(config))
    console.headline(f"covid-debug: {config.name} (research tool, not for clinical use)")
    watch = Stopwatch()
    planned = plan_start(config)
    counted = count_workers(config) if planned else config
    if planned:
        console.say(f"planned on a few of the films in {format_duration(watch.elapsed_s)}:")
        for line in describe_costs(counted, planned):
            console.say(line)
    with tags("covid-debug", config.name):
        outcome = debug_covidx(config, console, write_command(*sys.argv[1:]))
    console.headline(
        f"\nFinished in {format_duration(watch.elapsed_s)},"
        f" peak memory {watch.peak_memory_gb:.1f} GB"
    )
    if planned:
        for line in describe_deviation(counted, planned, console.took):
            console.rich.print(line, markup=False)
    for line in write_ending(outcome, console.rich.width):
        console.rich.print(line, markup=False)


def write_ending(outcome: "RunOutcome", width: int) -> Iterator[str]:
    """Write what a run's terminal shows last: the answers, the small table, where the rest is.

    Args:
        outcome: What the run left behind.
        width: Columns of the terminal; a table that is wider comes in parts.

    Yields:
        Lines of plain text.
    """
    from covid_debug.reporting.answers import write_three_answers, write_train_test
    from covid_debug.terminal import wrap

    summary, run_dir = outcome.summary, outcome.run_dir.resolve()
    for line in write_three_answers(summary):
        yield wrap(line, indent=2, width=width)
    yield ""
    tests = list(dict.fromkeys(row.test_data for row in summary.train_test))
    side = max((len(row.train_data) for row in summary.train_test), default=0) + _TABLE_SIDE
    n_beside = max(1, (width - side) // _TABLE_COLUMN)
    for start in range(0, len(tests), n_beside):
        shown = tests[start : start + n_beside]
        yield from write_train_test([row for row in summary.train_test if row.test_data in shown])
        yield ""
    yield f"Report: {(run_dir / 'report.html').as_uri()}"
    yield f"Tables: {run_dir}/"
    tables = "questions.csv, comparison.csv, flags.csv, maps.csv, summary.json"
    yield wrap(tables, indent=8, width=width)
    yield f"MLflow: {outcome.mlflow_url}"
    yield wrap("after `covid-debug ui`, which serves Prefect's page, too", indent=8, width=width)


def ui(
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir", help="Folder of artifacts of the runs.", callback=check_data_dir
        ),
    ] = Path("data"),
    tracking_uri: Annotated[
        str | None, typer.Option("--tracking-uri", help="MLflow store; default ./mlflow.db.")
    ] = None,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect.")] = 4200,
) -> None:
    """Serve MLflow and Prefect on localhost, and run what is started on Prefect's page."""
    from covid_debug.terminal import alive

    check_own("flows")
    require("prefect", "mlflow", purpose="the pages of MLflow and Prefect")
    from flows.server import configure_environment

    typer.echo(f"Starting MLflow and Prefect ({data_dir.resolve()}); takes tens of seconds ...")
    configure_environment(data_dir)
    with alive("loading"):
        from covid_debug.cli.ui import serve

    serve(data_dir, tracking_uri, mlflow_port=mlflow_port, prefect_port=prefect_port)


def plan(
    config: Annotated[Path, typer.Argument(help="YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value.")
    ] = None,
) -> None:
    """Say what a run will cost before anything runs: films, evaluations, hours, disk, memory."""
    from covid_debug.config.loader import load_config
    from covid_debug.preflight.costs import describe_plan

    for line in describe_plan(load_config(config, overrides or [])):
        typer.echo(line)
