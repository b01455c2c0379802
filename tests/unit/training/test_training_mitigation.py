"""Which countermeasures a training takes, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.training.mitigation import MitigationParams, check_mitigation, number_groups
from covid_debug.training.params import TrainingParams
from covid_debug.training.stage import TrainRequest

VIEWS = np.zeros((4, 8, 8), np.uint8)
NAMES = ("a", "a", "b", "b")


def check(params, **others):
    given = {
        "train_views": VIEWS,
        "val_views": VIEWS[:2],
        "train_sources": NAMES,
        "val_sources": NAMES[:2],
        "text_free": None,
    }
    check_mitigation(params, **given | others)


def test_a_plain_recipe_keeps_the_name_of_its_checkpoint():
    plain = TrainRequest(Path("a"), TrainingParams(), ViewSpec(), 0)
    changed = TrainingParams(mitigation=MitigationParams(sampling="source"))

    assert plain.key() == "checkpoint-49504408607a8a71"  # as before there were mitigations
    assert replace(plain, training=changed).key() != plain.key()


def test_nothing_is_needed_where_all_is_off():
    check(MitigationParams(), train_sources=None, val_sources=None)


@pytest.mark.parametrize(
    ("params", "others", "message"),
    [
        ({"sampling": "source"}, {"train_sources": None}, "train_sources is missing; pass"),
        ({"last_layer": True}, {"val_sources": None}, "val_sources is missing"),
        ({"objective": "group_dro"}, {"train_sources": NAMES[:1]}, "1 entries for 4 films"),
        ({"random_text": 0.5}, {}, "need text-free views; pass the views of the cleaned films"),
        ({}, {"text_free": VIEWS}, "neither random_text nor right_reasons is on"),
        ({"right_reasons": 1.0}, {"text_free": VIEWS[:1]}, r"uint8 \(1, 8, 8\); expected"),
        ({"random_text": 1.0}, {"text_free": VIEWS * 1.0}, "text-free views are float64"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(params, others, message):
    with pytest.raises(InputContractError, match=message):
        check(MitigationParams(**params), **others)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sampling": "sources"}, "mitigation: sampling is 'sources'"),
        ({"objective": "dro"}, "mitigation: objective is 'dro'"),
        ({"dro_step": 0.0}, "dro_step is 0.0; expected above 0"),
        ({"matching": -1.0}, "matching is -1.0; expected 0 or more"),
        ({"right_reasons": float("nan")}, "right_reasons is nan"),
        ({"random_text": 1.5}, r"random_text is 1.5; expected in \[0, 1\]"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises(InputContractError, match=message):
        MitigationParams(**params)


def test_groups_are_class_and_source():
    numbers = number_groups(np.array([0, 0, 1, 1, 0]), ["x", "y", "x", "x", "y"])

    assert numbers.tolist() == [0, 1, 2, 2, 1]
