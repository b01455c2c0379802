"""Planted text of known effect is flagged when it drives and not when it does not."""

import json
from dataclasses import replace

import numpy as np
import pytest

from covid_debug.artifacts import read_manifest
from covid_debug.audit.planning import AuditParams
from covid_debug.audit.planting import PlantingParams, measure_power, write_power
from covid_debug.audit.trials import Sensor, draw_text
from covid_debug.errors import InputContractError

PARAMS = AuditParams(radius_px=3.0, dilation_px=1)
PLANTING = PlantingParams(
    contents=("R", "AP"),
    height_shares=(0.1,),
    contrasts=(60, 150),
    effects=(0.0, 12.0),
    n_films=4,
)


def _measure(world, detect=None, n_films=4, run_seed=1, **changes):
    subject = world.subject(
        PARAMS, run_seed, **{"films": world.filmset.films, "detect": detect, **changes}
    )
    return measure_power(subject, replace(PLANTING, n_films=n_films))


def test_driving_text_is_flagged_and_text_without_effect_is_not(world):
    report = _measure(world)

    assert report.power(effect=12.0).value == 1.0
    assert report.power(effect=12.0).n >= 2
    assert report.false_alarms().value == 0.0
    assert report.false_alarms(effect=0.0).n > 0
    assert report.summarise().n_detected == len(report.plants) == 16
    assert "is flagged in 100%" in report.describe()[0]


def test_a_detector_that_sees_nothing_costs_all_power(world):
    report = _measure(world, detect=lambda films: [[] for _ in films])

    assert report.power(effect=12.0).value == 0.0
    assert {p.verdict for p in report.plants} <= {"not_detected", ""}


def test_report_is_written_as_an_artifact(world, tmp_path):
    report = _measure(world, n_films=1)

    write_power(tmp_path / "power", report, PLANTING, run_seed=1)

    assert read_manifest(tmp_path / "power", kind="audit_power")["parameters"]["run_seed"] == 1
    assert json.loads((tmp_path / "power" / "power.json").read_text())["n_plants"] == 4
    lines = (tmp_path / "power" / "plants.csv").read_text().splitlines()
    assert lines[0].startswith("image_id,content,height_share")
    assert len(lines) == 5


def test_plants_repeat_with_the_seed(world):
    first = _measure(world, n_films=1).plants

    assert first == _measure(world, n_films=1).plants
    assert first != _measure(world, n_films=1, run_seed=2).plants


def test_films_without_scan_are_skipped_and_none_left_is_an_error(world):
    regions = {"plain": world.regions["plain"]}

    report = _measure(world, regions=regions)

    assert {plant.image_id for plant in report.plants} == {"plain"}
    assert "was not scanned" in report.skipped["driven0"]
    with pytest.raises(InputContractError, match="none of 7 films can be planted on"):
        _measure(world, regions={})


def test_sensor_reads_contrast_not_brightness():
    mask = np.zeros((20, 20), np.bool_)
    mask[8:12, 8:12] = True
    flat, marked = np.full((20, 20), 90, np.uint8), np.full((20, 20), 50, np.uint8)
    marked[mask] = 80

    sensor = Sensor(mask)

    assert sensor.read(flat) == 0.0
    assert sensor.read(marked) == 30.0


def test_drawn_text_fills_its_box():
    glyphs = draw_text("R", 20)

    assert 16 <= glyphs.shape[0] <= 28
    assert glyphs.max() == 1.0
    assert glyphs.min() == 0.0
