"""Runs that start from Prefect's page or a work pool: plain strings in, the same loop as `run`.

Heavy modules are imported inside the flow, so that the process that only offers it stays small.
"""

# ruff: noqa: PLC0415

import datetime
import logging
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from covid_debug.errors import CovidDebugError

if TYPE_CHECKING:
    from covid_debug.terminal import RunConsole


def write_command(*arguments: str) -> str:
    """Return a command line, quoted for a shell, without the passwords of addresses in it."""
    line = shlex.join(["covid-debug", *arguments])
    return re.sub(r"(://[^/:@\s]*:)[^/@\s]+@", r"\1***@", line)


def _name_run() -> str:
    from covid_debug.config.loader import load_config

    config, overrides = flow_run.parameters["config"], flow_run.parameters["overrides"]
    try:
        name = load_config(Path(config), overrides).name
    except CovidDebugError:  # the run itself says what is wrong
        name = Path(config).stem
    return name_start(name)


def name_start(name: str) -> str:
    """Return a name with the present minute, for a run's page."""
    return f"{name} {datetime.datetime.now().astimezone():%Y-%m-%d %H:%M}"


def refuse(error: CovidDebugError, console: "RunConsole") -> State[Any]:
    """Say in one line what a user can mend, and return the state of a run that failed of it."""
    line = " ".join(str(error).split())
    console.finding("critical", line)
    return Failed(message=line)


class _OneLine(logging.Filter):
    """Takes the traceback from what a user can mend; what is said twice is left out."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, CovidDebugError):
            record.exc_info = None
        return not isinstance(error, FailedRun)


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_OneLine())


@flow(
    name="debug-covidx",
    flow_run_name=_name_run,
    description="The whole loop of a configuration; started again, it goes on from its finished"
    " stages. Press *Run*, *Custom run*, and give a configuration's path.",
)
def run_configuration(config: str, overrides: tuple[str, ...] = ()) -> State[Any]:
    """Run the whole loop of a configuration; started again, it goes on from its finished stages.

    Args:
        config: YAML file, as `covid-debug run` takes it. A relative path starts in the folder in
            which `covid-debug ui`, or the worker, was started.
        overrides: Single values that win over the file, each KEY=VALUE, e.g. training.n_epochs=5.

    Returns:
        Completed, or Failed with the line that says what to mend.
    """
    from covid_debug.config.loader import load_config
    from covid_debug.places import hold_store
    from covid_debug.preflight.checks import check_run
    from covid_debug.reporting.answers import write_three_answers, write_train_test
    from covid_debug.terminal import RunConsole
    from flows.debug_covidx import count_stages, debug_covidx

    console = RunConsole()
    command = write_command("run", config, *(word for one in overrides for word in ("--set", one)))
    try:
        run = load_config(Path(config), overrides)
        check_run(run)
        console = RunConsole(count_stages(run))
        console.headline(f"covid-debug: {run.name} (research tool, not for clinical use)")
        with hold_store(run.data_dir):
            outcome = debug_covidx.fn(run, console, command)
    except CovidDebugError as error:
        return refuse(error, console)
    summary = outcome.summary
    table = write_train_test(summary.train_test)
    for text in (*summary.headlines, *write_three_answers(summary), *table):
        console.say(text)
    return Completed(message=f"report: {outcome.run_dir.resolve() / 'report.html'}")
