"""The notebooks of the site: they run, and what they hold is fit to publish."""

import ast
import importlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells_of(path: Path) -> list[dict[str, object]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_import_of_a_notebook_resolves(path: Path) -> None:
    code = "\n".join("".join(cell["source"]) for cell in cells_of(path))

    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            for item in node.names:
                importlib.import_module(item.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            for item in node.names:
                assert hasattr(module, item.name), f"{node.module}.{item.name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_executed_and_names_no_machine(path: Path) -> None:
    text = path.read_text()

    assert all(cell["execution_count"] for cell in cells_of(path))
    assert len(text) < 500_000
    for trace in ("/home/", "/tmp/", "/root/", "iopub", '"ename"', "stderr"):  # noqa: S108
        assert trace not in text, trace


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_to_its_end(path: Path) -> None:
    fresh = load(DOCS / "notebooks" / "execute.py").execute(path)

    assert fresh.cells[-1].execution_count == len(cells_of(path))
