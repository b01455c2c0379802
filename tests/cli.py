"""`covid-debug` called in this process, as it would be from a terminal."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import typer

from covid_debug.cli.main import app, main


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and the lines on standard output and error."""

    code: int
    out: list[str]
    err: list[str]


def call(*arguments: object) -> Outcome:
    """Run `covid-debug` with these arguments; the environment is left as it was."""
    argv = ["covid-debug", *map(str, arguments)]
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", argv),
        mock.patch.dict(os.environ),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Outcome(code, out.getvalue().splitlines(), err.getvalue().splitlines())


def refusal(*arguments: object) -> str:
    """Run a command that must fail; return its error, which is one line, with exit code 1."""
    outcome = call(*arguments)
    assert (outcome.code, len(outcome.err)) == (1, 1), outcome
    assert outcome.err[0].startswith("error: ")
    return outcome.err[0]


def commands() -> dict[str, Any]:
    """Return every command of the app by its words, e.g. ``"bench text"``."""
    return dict(_walk(typer.main.get_command(app), ""))


def _walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name, command
        return
    for word, inner in command.commands.items():
        yield from _walk(inner, f"{name} {word}".strip())
