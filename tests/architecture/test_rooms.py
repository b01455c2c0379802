"""What may lie in a room: who imports what, one name for one thing, files that can be read.

The lists of exceptions only get shorter: an entry that is no longer needed fails, too.
"""

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
N_LINES = 400
LONGER: dict[str, int] = {}  # file: lines that it has at most until it is cut
SHARED_NAMES: set[str] = set()  # public names that two modules define
FLOWS_MAY_IMPORT = {"distributed", "prefect", "covid_debug", "flows", *sys.stdlib_module_names}
SPEAKERS = ("covid_debug/cli/", "covid_debug/terminal.py")
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def iter_imported(tree: ast.Module) -> Iterator[str]:
    """Yield the top packages that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0] if node.level == 0 else "a relative import"


def find_shared_names(sources: dict[str, str]) -> dict[str, list[str]]:
    """Return public top-level functions and classes that several modules define."""
    places: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for name, source in sources.items():
        for node in ast.parse(source).body:
            if isinstance(node, Definition) and not node.name.startswith("_"):
                places[node.name][name] = None  # once, whatever its overloads
    return {name: [*modules] for name, modules in places.items() if len(modules) > 1}


def find_long_files(lines: dict[str, int], allowed: dict[str, int]) -> list[str]:
    """Return what is wrong with the lengths: files too long, and exceptions without need."""
    long = [f"{n}: {k} lines" for n, k in lines.items() if k > allowed.get(n, N_LINES)]
    idle = [n for n in allowed if lines.get(n, 0) <= N_LINES]
    return sorted(long) + [f"{n}: no longer needs its exception" for n in idle]


def read(folder: str) -> dict[str, str]:
    found = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    assert found, folder
    return found


def test_flows_import_only_engines_the_standard_library_and_covid_debug() -> None:
    imported = {name for text in read("flows").values() for name in iter_imported(ast.parse(text))}

    assert "prefect" in imported
    assert imported - FLOWS_MAY_IMPORT == set()


def test_only_the_command_line_and_the_terminal_speak() -> None:
    quiet = {n: t for n, t in read("covid_debug").items() if not n.startswith(SPEAKERS)}
    loud = re.compile(r"\b(print|echo)\(|^\s*(import|from) (rich|typer)\b", re.MULTILINE)

    assert [name for name, text in quiet.items() if loud.search(text)] == []


def test_no_two_modules_share_a_public_name() -> None:
    # A command is named by its word, which a function of the public face may have, too.
    sources = {n: t for n, t in read("covid_debug").items() if not n.startswith("covid_debug/cli/")}
    shared = find_shared_names(sources)

    assert {name: where for name, where in shared.items() if name not in SHARED_NAMES} == {}
    assert SHARED_NAMES - shared.keys() == set(), "no longer shared: take it out of the list"


def test_no_file_is_longer_than_can_be_read() -> None:
    rooms = ("covid_debug", "flows", "benchmarks", "recipes")
    lines = {n: len(t.splitlines()) for room in rooms for n, t in read(room).items()}

    assert find_long_files(lines, LONGER) == []


def test_the_gates_of_the_rooms_can_fail() -> None:
    source = "import torch.nn\ndef f():\n    from . import x\n    from mlflow.a import b\n"
    assert set(iter_imported(ast.parse(source))) == {"torch", "a relative import", "mlflow"}
    sources = {"a": "def f(): ...\ndef _g(): ...", "b": "class f: ...\ndef _g(): ..."}
    assert find_shared_names(sources) == {"f": ["a", "b"]}
    wrong = find_long_files({"a": 401, "b": 500, "c": 400}, {"b": 499, "c": 450})
    assert wrong == ["a: 401 lines", "b: 500 lines", "c: no longer needs its exception"]
