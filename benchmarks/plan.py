"""Holds `covid-debug plan` against the run that it plans: `python -m benchmarks.plan FILE`."""

import argparse
import os
import sys
from pathlib import Path

from covid_debug.config.loader import load_config
from covid_debug.places import hold_store
from covid_debug.preflight.checks import check_run
from covid_debug.preflight.costs import describe_deviation, plan_stages
from covid_debug.preflight.sample import list_films
from covid_debug.preflight.timing import measure_prices
from covid_debug.terminal import RunConsole
from flows.debug_covidx import count_stages, debug_covidx
from flows.server import configure_environment, prefect_server


def main() -> None:
    """Plan a run as the command does, run it, and print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    asked = parser.parse_args()
    config = load_config(asked.config, asked.overrides)
    facts = check_run(config)
    films = list_films(config)
    sys.stdout.write(f"load {os.getloadavg()[0]:.1f} while planning\n")
    prices = measure_prices(config, films, facts.n_test)
    planned = plan_stages(config, facts, films, prices)
    console = RunConsole(count_stages(config))
    with hold_store(config.data_dir):
        configure_environment(config.data_dir)
        with prefect_server():
            debug_covidx(config, console)
    sys.stdout.write(f"load {os.getloadavg()[0]:.1f} at the end of the run\n")
    for title, cost in console.took.items():
        both = f"{planned[title].processor_s:7.1f} {cost.processor_s:7.1f}"
        sys.stdout.write(f"{both}  processor seconds planned, took: {title}\n")
    for line in describe_deviation(config, planned, console.took):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
