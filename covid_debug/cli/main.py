"""`covid-debug`: every stage and the whole loop from the command line.

Registers the commands and turns errors into one line.
"""

import sys
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from covid_debug.cli import debug, films, growing, ingest, models, objects, run, shortcuts
from covid_debug.cli.decisions import decisions_app
from covid_debug.cli.failures import (
    INTERRUPTED,
    TERMINATED,
    describe_failure,
    find_interruption,
)
from covid_debug.cli.model import model_app
from covid_debug.cli.neighbours import IS_CHECKOUT, check_own, is_own
from covid_debug.errors import ConfigError
from covid_debug.shown import hush_readers

app = typer.Typer(
    name="covid-debug",
    help="Find text-driven predictions of chest radiograph classifiers, test them, clean the films."
    " A research tool, not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for _command in (
    debug.debug,
    run.demo,
    run.run,
    run.ui,
    run.plan,
    films.phantom,
    ingest.ingest,
    models.train,
    films.detect_text,
    models.explain,
    models.audit,
    growing.audit_new,
    models.transfer,
    shortcuts.shortcuts,
    films.clean,
    films.diff,
    films.prove,
    models.compare,
    models.report,
    objects.push,
    objects.pull,
):
    app.command()(_command)
app.add_typer(model_app, name="model")
app.add_typer(decisions_app, name="decisions")
if IS_CHECKOUT and is_own("benchmarks"):
    from benchmarks.cli import bench_app

    app.add_typer(bench_app, name="bench")
else:

    @app.command(
        "bench", context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
    )
    def _refuse_bench() -> None:
        """Measure the parts; only in a checkout, which holds the yardsticks and annotations."""
        if IS_CHECKOUT:
            check_own("benchmarks")
        raise ConfigError(
            "bench: what it measures with is not installed; call it in a checkout of the project"
        )


def main() -> None:
    """Run the command line; exit code 0 only on success; a mendable error is one line."""
    hush_readers()
    try:
        code = app(prog_name="covid-debug", standalone_mode=False)
    except BaseException as error:
        code = find_interruption(error)
        if code is None:
            if isinstance(error, TyperException):
                _refuse(error)
            if isinstance(error, SystemExit):
                raise
            line = describe_failure(error)
            if line is None:
                raise
            typer.echo(f"error: {line}", err=True)
            sys.exit(1)
    if code in {INTERRUPTED, TERMINATED}:  # Typer returns the first by itself
        typer.echo("interrupted; finished stages are kept, start again to go on", err=True)
    if code:
        sys.exit(code)


def _refuse(error: TyperException) -> NoReturn:
    """Say in one line what is wrong with the arguments; without arguments, show the help."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    if "\n" in message:
        typer.echo(message, err=True)
    else:
        hint = f" (see {context.command_path} --help)" if context else ""
        typer.echo(f"error: {message.rstrip('.')}{hint}", err=True)
    sys.exit(error.exit_code)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version  # noqa: PLC0415

        from covid_debug.artifacts import describe_code  # noqa: PLC0415

        release, code = f"covid_debug {version('covid_debug')}", describe_code()
        commit = "" if code == release else f" (commit {code})"
        typer.echo(f"covid-debug {version('covid_debug')}{commit}")
        raise typer.Exit


@app.callback()
def _choose(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and end."
        ),
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()
