"""Runs tests against a mutated module, each mutant in a fork of one process that is warm.

Reads one mutant a line from standard input and answers with one line: what the named tests ended
with. The heavy packages are imported once, the project's own modules anew in every fork, so that
the mutated source is what they and the tests see. No file is changed.
"""

import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, TextIO

HEAVY = (
    "beartype", "captum.attr", "cv2", "hypothesis.strategies", "jaxtyping", "lightning_fabric",
    "pandas", "pydicom", "pytest", "scipy.fft", "scipy.optimize", "scipy.sparse", "scipy.stats",
    "sklearn.linear_model", "sklearn.metrics", "sklearn.pipeline", "sklearn.preprocessing",
    "torch.fx", "torchvision.models",
)  # fmt: skip
LIMIT_S = 120  # a mutant that never ends is noticed, too


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer mutants until the input ends."""
    for name in HEAVY:
        importlib.import_module(name)
    for line in requests:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


def run(mutant: dict[str, Any]) -> dict[str, Any]:
    """Run the mutant's tests in a fork; return pytest's exit code, or minus a signal's number."""
    with tempfile.TemporaryFile() as log:
        child = os.fork()
        if child == 0:
            _run_tests(mutant, log.fileno())
        _, status = os.waitpid(child, 0)
        log.seek(0)
        tail = log.read().decode(errors="replace")[-3000:]
    return {"code": os.waitstatus_to_exitcode(status), "tail": tail}


def _run_tests(mutant: dict[str, Any], log: int) -> None:
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.alarm(LIMIT_S)
        _mutate(Path(mutant["path"]), mutant["old"], mutant["new"])
        import hypothesis
        import pytest

        # A mutant's failures are no examples to keep for the real suite.
        few = {"database": None, "derandomize": True, "max_examples": 20}
        hypothesis.settings.register_profile("mutants", **few)
        hypothesis.settings.load_profile("mutants")
        quietly = ["-x", "-q", "--tb=line", "-p", "no:cacheprovider", "-W", "ignore:Module already"]
        with tempfile.TemporaryDirectory() as folder:  # not the one that other tests clean up
            places = ["--basetemp", str(Path(folder) / "tests")]
            code = int(pytest.main([*quietly, *places, mutant["test"]]))
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _mutate(path: Path, old: str, new: str) -> None:
    """Let the import system read a module's source with one snippet replaced."""
    read, stat = SourceFileLoader.get_data, SourceFileLoader.path_stats

    def is_it(name: str) -> bool:
        return Path(name) == path

    def get_data(loader: SourceFileLoader, name: str) -> bytes:
        data = read(loader, name)
        return data.replace(old.encode(), new.encode()) if is_it(name) else data

    def path_stats(loader: SourceFileLoader, name: str) -> Any:
        if is_it(name):
            raise OSError("no compiled file stands for a mutant, and none is kept of it")
        return stat(loader, name)

    SourceFileLoader.get_data, SourceFileLoader.path_stats = get_data, path_stats


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a test or a package prints must not become an answer
    serve(sys.stdin, answers)
