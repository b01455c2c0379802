"""``python -m benchmarks.hostile --out FOLDER``: the tables of ``benchmarks/faults.md``."""

import argparse
import sys
from pathlib import Path

from benchmarks.hostile.measure import tabulate_commands, tabulate_kinds, try_commands
from covid_debug.shown import hush_readers


def main() -> None:
    """Run the commands on hostile films and print what became of them; 1 where something broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--films", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--detector", default="default")
    asked = parser.parse_args()
    hush_readers()
    trial = try_commands(asked.out, asked.films, seed=asked.seed, detector=asked.detector)
    print(tabulate_commands(trial))
    print(tabulate_kinds(trial))
    problems = [f"{step.words}: {line}" for step in trial.steps for line in step.problems]
    print("\n".join(problems) or "no problem")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
