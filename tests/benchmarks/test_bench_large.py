"""The notes of a large run become a table that says what a film costs and what is held."""

from pathlib import Path

import pytest

from benchmarks import large
from benchmarks.large import Sample, describe_stage


def test_cost_and_memory_are_told_by_tenths() -> None:
    samples = [Sample(n, n * 0.5, n * 0.2 + 3, 100 + n, 50.0, 200.0) for n in range(0, 101, 5)]

    row = describe_stage("cleaning", samples)

    assert (row["films"], row["films/s"], row["last tenth / second"]) == ("100", "2.0", "1.00")
    assert row["of the tenths"] == "0.2000 to 0.2000"
    assert row["MiB after a tenth (main, worker)"] == "110, 50"
    assert row["at the end"] == "200, 50"


def test_times_of_a_second_start_are_added_to_those_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [f"cleaning,{n},{n / 2},{n / 5},900,50,950" for n in range(0, 61, 2)]
    second = [f"cleaning,{n},{(n - 60) / 2},{(n - 60) / 5},900,50,950" for n in range(62, 101, 2)]
    found = ["ingest,0,1,1,900,0,900", "cleaning,0,1,1,900,0,900"]
    (tmp_path / "samples.csv").write_text("\n".join([*first, *found, *second]))
    monkeypatch.setattr("sys.argv", ["large", "--out", str(tmp_path), "--draw"])

    large.main()

    *_, rule, row = capsys.readouterr().out.splitlines()
    assert rule.startswith("| ---")
    assert row.startswith("| cleaning | 100 | 0.8 | 2.0 | 0.2000 | 0.2000 to 0.2000 | 1.00 |")


@pytest.mark.slow
def test_stages_are_noted_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["large", "--out", str(tmp_path), "--films", "12"])

    large.main()

    printed = capsys.readouterr().out
    stages = [line.split(" | ")[0].removeprefix("| ") for line in printed.splitlines()[2:]]
    assert stages[:3] == ["ingest", "text detection", "cleaning"]
    assert set(stages[3:]) <= {"predictions", "interventions"}
    assert (tmp_path / "large.png").stat().st_size > 0
