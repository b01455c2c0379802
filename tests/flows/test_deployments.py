"""`prefect.yaml` names flows that exist, with parameters that they take."""

from pathlib import Path

import pytest
import yaml
from prefect.utilities.importtools import import_object

from flows.server import START, WATCH

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
