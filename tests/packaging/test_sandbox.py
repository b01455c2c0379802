"""No network, no rights, nothing to write but one folder: as the container image runs."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.test_cli_smoke import load_run, write_config, write_source

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RAISE_LOOPBACK = (
    "import fcntl, socket, struct;"
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x41))"
)
SANDBOX = f"""
set -e
mount --bind "$PWD" "$PWD"
for place in / "{ROOT}" "{sys.prefix}"; do
  [ "$place" = / ] || mount --bind "$place" "$place"
  mount -o remount,bind,ro "$place"
done
cd "$PWD"
{sys.executable} -c "{RAISE_LOOPBACK}"
export PYTHONPATH="{ROOT}" TMPDIR="$PWD" OMP_NUM_THREADS=1
exec unshare --user env -u HOME {sys.executable} "$@"
"""


class Sandbox:
    """A folder, and Python programs that run in it without anything else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def call(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "-rnm", "sh", "-c", SANDBOX, "sandbox", *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)

    def covid_debug(self, line: str) -> str:
        result = self.call("-m", "covid_debug.cli.main", *line.split())
        assert result.returncode == 0, result.stderr
        return result.stdout


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    sandbox = Sandbox(tmp_path_factory.mktemp("work"))
    try:
        probe = sandbox.call("-c", "")
    except FileNotFoundError:
        pytest.skip("needs the program unshare")
    if probe.returncode:
        pytest.skip(f"no namespaces on this machine: {probe.stderr.strip()}")
    sandbox.covid_debug("phantom --out films --n-train 12 --n-test 6")
    return sandbox


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        (f"open({str(ROOT / 'touched')!r}, 'w')", "Read-only file system"),
        (f"open({sys.prefix + '/touched'!r}, 'w')", "Read-only file system"),
        ("import socket; socket.create_connection(('192.0.2.1', 80), 5)", "Network is unreachable"),
        ("import os; os.setuid(0)", "Invalid argument"),
    ],
)
def test_the_sandbox_is_closed(sandbox: Sandbox, attempt: str, error: str) -> None:
    assert error in sandbox.call("-c", attempt).stderr


@pytest.mark.parametrize("detector", ["marker", "rapidocr"])
def test_weights_of_the_detectors_are_there(sandbox: Sandbox, detector: str) -> None:
    line = f"detect-text --data films --detector {detector} --workers 1 --out {detector}.jsonl"

    assert "regions on 18 of 18 films" in sandbox.covid_debug(line)


def test_a_data_set_is_built_and_the_whole_loop_runs(sandbox: Sandbox) -> None:
    with contextlib.chdir(sandbox.folder):
        write_source()
        write_config()

    sandbox.covid_debug(
        "ingest --covidx covidx --train-list covidx/train.txt --test-list covidx/test.txt"
        " --out ingested"
    )
    sandbox.covid_debug("run tiny.yaml")

    (page,) = sandbox.folder.glob("reports/tiny-*/report.html")
    load_run(page)
    assert {path.name for path in sandbox.folder.iterdir()} >= {"data", "mlflow.db", "mlartifacts"}
