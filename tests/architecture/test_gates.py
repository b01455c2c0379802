"""The gates themselves: layers, lint, links, light imports, and that the gates can fail."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
BAD_FILE = "import os\ndef F(x=[]):\n    print(x)\n"


def run(*command: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    # As from a shell: what runs these tests may be make itself.
    shell = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd, env=shell, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the gate whose tools only write down that they were called."""
    for name in (".ci/run", "Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("ruff", "mypy", "lint-imports", "python"):
        tool = folder / name
        tool.write_text(f'#!/bin/sh\necho "{name} $*" >> calls\n[ ! -e {name}-fails ]\n')
        tool.chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def test_ci_checks_style_types_layers_and_tests(checkout: Path) -> None:
    result = run(checkout / ".ci" / "run", cwd=checkout)

    calls = (checkout / "calls").read_text().splitlines()
    assert result.returncode == 0, result.stderr
    assert calls[:4] == ["ruff check .", "ruff format --check .", "mypy ", "lint-imports "]
    assert [call.split()[:3] for call in calls[4:]] == [["python", "-m", "pytest"]]
    assert sum(line.startswith("==>") for line in result.stdout.splitlines()) >= 3


@pytest.mark.parametrize("tool", ["ruff", "mypy", "lint-imports", "python"])
def test_ci_fails_when_one_of_them_fails(checkout: Path, tool: str) -> None:
    (checkout / f"{tool}-fails").touch()

    assert run(checkout / ".ci" / "run", cwd=checkout).returncode != 0
    assert "python -m pytest" in (checkout / "calls").read_text()


@pytest.mark.parametrize(
    ("said", "code", "shown"),
    [
        ("No known vulnerabilities found", 0, "No known vulnerabilities found"),
        ("Found 1 known vulnerability in 1 package", 1, "Found 1 known vulnerability in 1 package"),
        (
            "Traceback\nConnectionError: x",
            1,
            "error: PyPI.* cannot be reached .ConnectionError: x.;",
        ),
        ("torch: could not be audited", 1, "error: PyPI.* cannot be reached .torch: could not"),
    ],
)
def test_audit_says_what_is_known_or_that_nothing_is(
    checkout: Path, said: str, code: int, shown: str
) -> None:
    tool = checkout / ".venv" / "bin" / "pip-audit"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\nexit {code}\n")
    tool.chmod(0o755)

    result = run("make", "audit", cwd=checkout)

    _, line = result.stdout.splitlines()
    assert re.match(shown, line)
    assert bool(result.returncode) == bool(code)


def test_import_layers_are_kept() -> None:
    result = run(BIN / "lint-imports", "--no-cache")

    assert result.returncode == 0, result.stdout


def test_ruff_gate_fails_on_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(BAD_FILE)

    config = ROOT / "pyproject.toml"
    result = run(BIN / "ruff", "check", "--config", config, "--output-format", "json", tmp_path)

    codes = {item["code"] for item in json.loads(result.stdout)}
    assert result.returncode == 1
    assert {"F401", "B006", "T201", "N802", "ANN001"} <= codes


def test_layer_gate_fails_on_an_upward_import(tmp_path: Path) -> None:
    package = tmp_path / "covid_debug"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "errors.py").write_text("import covid_debug.records\n")
    (package / "records.py").write_text("")
    (tmp_path / ".importlinter").write_text(
        "[importlinter]\nroot_package = covid_debug\n"
        "[importlinter:contract:1]\nname = layers\ntype = layers\n"
        "containers = covid_debug\nlayers =\n  records\n  errors\n"
    )

    result = run(BIN / "lint-imports", "--no-cache", cwd=tmp_path)

    assert result.returncode == 1


def test_films_of_a_data_set_are_read_with_their_hash_and_window() -> None:
    files = [*ROOT.glob("covid_debug/**/*.py"), *ROOT.glob("flows/**/*.py")]
    forgetful = re.compile(r"(read_film|render_film|examine_film)\(.*path_of\(")

    assert [path for path in files if forgetful.search(path.read_text())] == []


@pytest.mark.parametrize(
    "module", ["covid_debug.cli.main", "covid_debug.imaging.reading", "covid_debug.cleaning.build"]
)
def test_import_stays_light(module: str) -> None:
    heavy = "('torch', 'mlflow', 'prefect')"
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in {heavy}))"

    assert run(sys.executable, "-c", code).returncode == 0


def test_links_between_documents_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]

    assert broken == []


def test_lock_file_carries_hashes_no_address_and_one_opencv() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()

    assert not [line for line in lines if "://" in line or line.startswith("--")]
    follows = [line for before, line in pairwise(lines) if "==" in before[:60] and before[0] != "#"]
    assert len(follows) > 250
    assert all(line.startswith("    --hash=sha256:") for line in follows)
    pins = [line for line in lines if line.startswith("opencv")]
    assert [line for line in pins if "never" not in line] == [
        line for line in pins if line.startswith("opencv-python==")
    ]
