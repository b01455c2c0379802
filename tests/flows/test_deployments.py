"""Deployments: `prefect.yaml` names flows that exist; what a user set on the page is kept."""

import asyncio
from pathlib import Path

import pytest
import yaml
from prefect.schedules import Cron
from prefect.utilities.importtools import import_object

from flows.new_films import audit_new
from flows.server import START, WATCH
from flows.serving import _read_watch

pytestmark = [
    pytest.mark.filterwarnings("default"),  # other packages' deprecations
]

ROOT = Path(__file__).resolve().parents[2]
FILE = yaml.safe_load((ROOT / "prefect.yaml").read_text())


@pytest.mark.parametrize("deployment", FILE["deployments"], ids=lambda one: one["name"])
def test_deployment_names_a_flow_and_its_parameters(deployment: dict) -> None:
    flow = import_object(deployment["entrypoint"])
    known = flow.parameters.properties

    assert set(deployment["parameters"]) <= set(known)
    assert f"{flow.name}/{deployment['name']}" in {START, WATCH}
    assert not any(schedule["active"] for schedule in deployment.get("schedules", ()))


def test_paths_of_the_file_exist_in_a_checkout() -> None:
    (start,) = (one for one in FILE["deployments"] if one["name"] == "start")

    assert (ROOT / start["parameters"]["config"]).is_file()


def test_folder_and_schedule_are_kept_as_they_were_set_on_the_page(prefect_server: None) -> None:
    first = asyncio.run(_read_watch())
    chosen = {"folder": "incoming", "checkpoint": "data/checkpoint-1"}
    weekly = Cron("30 5 * * 1", timezone="Europe/Zurich", active=True)
    audit_new.to_deployment("watch", parameters=chosen, schedules=[weekly]).apply()

    parameters, (schedule,) = asyncio.run(_read_watch())

    assert (first[0], [one.active for one in first[1]]) == ({}, [False])
    assert parameters == chosen
    assert (schedule.cron, schedule.timezone, schedule.active) == (
        "30 5 * * 1",
        "Europe/Zurich",
        True,
    )
