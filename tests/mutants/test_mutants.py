"""Each small fault of ``faults.txt``, planted into a module, must fail its tests.

``pytest -m slow tests/mutants`` plants all of them, the normal suite a sample.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest

from tests.mutants.table import MUTANTS, ROOT, Mutant, read_table

SAMPLE = [mutant for mutant in MUTANTS if mutant.is_sample]
FAILED = 1  # pytest's exit code; any other means that no test has judged the mutant
Run = Callable[[Mutant], dict[str, Any]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.mutants.server"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip

        def ask(mutant: Mutant) -> dict[str, Any]:
            assert server.stdin is not None
            assert server.stdout is not None
            request = {**asdict(mutant), "path": str(mutant.find_module())}
            print(json.dumps(request), file=server.stdin, flush=True)
            return json.loads(server.stdout.readline())

        yield ask


def judge(mutant: Mutant, run: Run) -> None:
    answer = run(mutant)
    if answer["code"] == 0:
        pytest.fail(f"{mutant.test} did not notice that\n{mutant.old}\nbecame\n{mutant.new}")
    was_stopped = answer["code"] < 0  # it ran for ever
    assert was_stopped or answer["code"] == FAILED, answer["tail"]


@pytest.mark.parametrize("mutant", SAMPLE, ids=str)
def test_sample_mutant_is_noticed(mutant: Mutant, run: Run) -> None:
    judge(mutant, run)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_mutant_is_noticed(mutant: Mutant, run: Run) -> None:
    judge(mutant, run)


def test_every_snippet_stands_in_its_package_once_and_changes() -> None:
    for mutant in MUTANTS:
        assert mutant.find_module()
        assert mutant.old != mutant.new
    assert len(set(MUTANTS)) == len(MUTANTS) > 100


def test_a_snippet_that_is_gone_is_named() -> None:
    gone = Mutant("covid_debug/imaging", "no such line", "x", "t.py")

    with pytest.raises(ValueError, match="'no such line' stands 0 times in covid_debug/imaging"):
        gone.find_module()


def test_named_tests_exist() -> None:
    for test in {mutant.test for mutant in MUTANTS}:
        path, _, function = test.partition("::")
        assert (ROOT / path).is_file(), test
        assert f"def {function}(" in (ROOT / path).read_text() or not function, test


def test_a_line_that_is_out_of_place_is_named() -> None:
    with pytest.raises(ValueError, match="'late' has no place there"):
        read_table("= a.b\n@ t.py\n- x\n+ y\n+ more\n@ t.py\n+ late\n")
