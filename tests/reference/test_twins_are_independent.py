"""A twin that borrows the library's arithmetic would make the library's mistakes with it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
TWINS = sorted({*FOLDER.glob("*_twin.py"), *FOLDER.glob("test_*_twin*.py")})
CHECKED = ("covid_debug.saliency", "covid_debug.perturbation", "covid_debug.evaluation")
ALLOWED = {  # what is tested, which makes parameters, and the record that holds its inputs
    "covid_debug.saliency.catalog.build_explainer",
    "covid_debug.saliency.base.ImageGroup",
}


def iter_imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def find_leaks(source: str) -> list[str]:
    names = iter_imports(ast.parse(source))
    return [name for name in names if name.startswith(CHECKED) and name not in ALLOWED]


def test_every_twin_is_looked_at() -> None:
    names = {"igos_pp_twin", "single_mask_twin", "papers_twin", "relevance_twin"}
    names |= {"test_igos_pp_twin", "test_single_mask_twin", "test_sampling_twins"}
    assert names <= {path.stem for path in TWINS}


@pytest.mark.parametrize("path", TWINS, ids=lambda path: path.stem)
def test_twin_imports_no_arithmetic_of_the_library(path: Path) -> None:
    assert find_leaks(path.read_text()) == []


@pytest.mark.parametrize(
    "name", ["igos_pp_twin", "single_mask_twin", "papers_twin", "relevance_twin"]
)
def test_twin_itself_imports_nothing_of_the_library(name: str) -> None:
    path = FOLDER / f"{name}.py"
    names = iter_imports(ast.parse(path.read_text()))

    assert [name for name in names if name.startswith("covid_debug")] == []


def test_a_borrowed_function_is_found() -> None:
    borrowed = "from covid_debug.saliency.mask_search import path_nodes, MaskSearchParams"

    assert find_leaks(borrowed) == [
        "covid_debug.saliency.mask_search.path_nodes",
        "covid_debug.saliency.mask_search.MaskSearchParams",
    ]
    assert find_leaks("import covid_debug.perturbation.compose")
