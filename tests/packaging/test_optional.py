"""Without the packages of the extras the library works, and says which extra is missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from covid_debug.config.loader import build_config
from covid_debug.errors import MissingPackageError
from covid_debug.optional import require
from covid_debug.preflight.checks import check_run
from covid_debug.tracking.mlflow_tracker import MlflowTracker
from tests.cli import refusal

EXTRAS = ("prefect", "mlflow", "craft_text_detector", "gdown")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without any extra."""
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)


def test_nothing_is_said_where_the_packages_are_there() -> None:
    require(*EXTRAS, purpose="test")


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("command", [("demo",), ("run", "absent.yaml"), ("ui",)])
def test_the_loop_names_both_extras(command: tuple[str, ...]) -> None:
    assert "pip install 'covid_debug[flow,mlflow]'" in refusal(*command)


@pytest.mark.usefixtures("bare")
def test_tracking_names_its_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingPackageError, match=r"^tracking: .*'covid_debug\[mlflow\]'$"):
        MlflowTracker(f"sqlite:///{tmp_path / 'runs.db'}")


def test_a_parquet_table_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "films.parquet").write_bytes(b"PAR1")

    error = refusal("ingest", "--table", tmp_path / "films.parquet", "--out", tmp_path / "set")

    assert "pip install 'covid_debug[parquet]'" in error


def test_a_cluster_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    tree = {"name": "t", "data": {"kind": "phantom", "n_train": 30, "n_test": 6}}
    config = build_config(tree | {"compute": {"runner": "dask"}}, where="test")

    with pytest.raises(MissingPackageError, match=r"runner dask: .*'covid_debug\[dask\]'$"):
        check_run(config)


@pytest.mark.usefixtures("bare")
def test_craft_names_the_line_that_no_extra_can_hold() -> None:
    from covid_debug.text.craft import load_network

    line = r"'covid_debug\[craft\]' && pip install --no-deps craft-text-detector==0\.4\.3$"
    with pytest.raises(MissingPackageError, match=line):
        load_network(Path("absent.pth"))


@pytest.mark.parametrize("name", ["flows", "benchmarks"])
def test_a_foreign_package_of_that_name_is_not_imported(tmp_path: Path, name: str) -> None:
    foreign = tmp_path / name / "__init__.py"
    foreign.parent.mkdir()
    foreign.write_text("raise SystemExit('foreign')\n")
    command = ["run", "absent.yaml"] if name == "flows" else ["bench", "text"]
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['', *{command}];"
        "from covid_debug.cli.main import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {name}: Python would import {foreign.parent}, not ")
    assert len(result.stderr.splitlines()) == 1
