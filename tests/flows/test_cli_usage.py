"""Help, version and the documents' command lines; none of them needs a heavy module."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.exceptions import TyperException

from covid_debug.cli import main as cli
from tests.cli import call

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
HEAVY = ("torch", "mlflow", "prefect", "cv2", "pandas")


def test_version_names_version_and_commit() -> None:
    outcome = call("--version")

    assert (outcome.code, outcome.err) == (0, [])
    (line,) = outcome.out
    assert line.startswith(f"covid-debug {version('covid_debug')}")
    if shutil.which("git") and (ROOT / ".git").exists():
        assert re.fullmatch(r".* \(commit [0-9a-f]{7,}(-dirty)?\)", line)


def test_version_outside_a_checkout_names_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    release = f"covid_debug {version('covid_debug')}"
    monkeypatch.setattr("covid_debug.artifacts.describe_code", lambda: release)

    assert call("--version").out == [f"covid-debug {version('covid_debug')}"]


def test_help_of_every_command_imports_nothing_heavy() -> None:
    code = f"""
import sys
from tests.cli import call, commands
for name in ["", "bench", *commands()]:
    outcome = call(*name.split(), "--help")
    assert outcome.code == 0 and outcome.out and not outcome.err, name
    print(name, [module for module in {HEAVY} if module in sys.modules])
"""
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert shown.returncode == 0, shown.stderr
    assert [line for line in shown.stdout.splitlines() if not line.endswith("[]")] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nope", "No such command 'nope'"),
        ("bench nope", "No such command 'nope'"),
        ("bench", "Missing command"),
        ("train --data d", "Missing option '--out'"),
        ("train --data d --out o --epochs two", "Invalid value for '--epochs'"),
        ("bench saliency --out o --films 0", "Invalid value for '--films'"),
        ("bench text --data d --out o --film 3", "No such option: --film"),
        ("train --data d --out o --seed -1", "Invalid value for '--seed'"),
        ("bench saliency --out o --seed -1", "Invalid value for '--seed'"),
        ("diff a b c", "unexpected extra argument(s) (c)"),
    ],
)
def test_wrong_arguments_are_one_line_that_names_the_help(line: str, said: str) -> None:
    outcome = call(*line.split())

    assert (outcome.code, outcome.out, len(outcome.err)) == (2, [], 1)
    assert outcome.err[0].startswith("error: ")
    assert said in outcome.err[0]
    assert re.search(r"\(see covid-debug.* --help\)$", outcome.err[0])


def test_no_arguments_show_the_help() -> None:
    outcome = call()

    assert outcome.code == 2
    assert "Usage: covid-debug [OPTIONS] COMMAND [ARGS]..." in outcome.err


def test_interrupted_command_says_that_it_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("covid_debug.cli.run._run", interrupt)

    outcome = call("run", tmp_path / "c.yaml")

    assert outcome.code == 130
    assert outcome.err == ["interrupted; finished stages are kept, start again to go on"]


def iter_documented_lines() -> Iterator[tuple[str, str, bool]]:
    """Yield the page, a `covid-debug ...` of a code block or in backticks, and if it is a block."""
    for page in PAGES:
        parts = re.split(r"^```\w*\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for part in parts[1::2]:
            for line in part.replace("\\\n", " ").splitlines():
                yield page.name, line, True
        for part in parts[::2]:
            for line in re.findall(r"`([^`]+)`", part):
                yield page.name, line, False


def strip_prompt(line: str) -> str:
    return re.sub(r"^(\$ |\.venv/bin/)*", "", " ".join(line.split()))


DOCUMENTED = [
    (page, strip_prompt(line), is_whole)
    for page, line, is_whole in iter_documented_lines()
    if strip_prompt(line).startswith("covid-debug ")
]


@pytest.mark.parametrize(("page", "line", "is_whole"), DOCUMENTED)
def test_documented_command_line_is_real(page: str, line: str, is_whole: bool) -> None:
    """Commands and options exist; what stands in a code block is also complete."""
    words = shlex.split(line, comments=True)[1:]
    app = typer.main.get_command(cli.app)
    while words and hasattr(app, "commands"):
        assert words[0] in app.commands, f"no command {words[0]!r}"
        app = app.commands[words.pop(0)]
    try:
        app.make_context("", words)
    except TyperException as error:
        message = error.format_message()
        if is_whole or not message.startswith("Missing"):
            pytest.fail(message)
