"""The report's section about markers on films of other sources."""

import math
from dataclasses import replace
from typing import get_args

import reporting_fakes as fakes

from covid_debug.artifacts import write_artifact
from covid_debug.audit.transfer_record import (
    ANY,
    OTHER,
    TRANSFER_KIND,
    TRANSFER_NAME,
    MarkerTransfer,
    Measure,
    TransferEffect,
)
from covid_debug.records_json import write_record
from covid_debug.reporting.report import build_report
from covid_debug.reporting.transfer import show_transfer

HOSTILE = "<script>{{ 7*7 }}</script>"


def _make_transfer(source: str = "cohen") -> MarkerTransfer:
    effects = tuple(
        TransferEffect(
            donor_source=source,
            donor_label="COVID-19",
            marker=ANY,
            recipient_source=OTHER,
            recipient_label=ANY,
            class_name=ANY if measure.startswith("changed") else "COVID-19",
            measure=measure,
            value=0.25,
            low=0.1 if measure == "reading" else -0.1,
            high=0.4,
            reason="",
            n_layings=80,
            n_donor_patients=12,
            n_recipient_patients=30,
            seed_values=(0.2, 0.3),
        )
        for measure in get_args(Measure)
    )
    return MarkerTransfer(
        checkpoints=("a", "b"),
        class_names=("normal", "COVID-19"),
        n_films=50,
        n_marked=42,
        n_layings=80,
        n_evaluations=488,
        failed={},
        effects=effects,
    )


def _build(folder, transfer: MarkerTransfer) -> str:
    with write_artifact(folder / "transfer-1", kind=TRANSFER_KIND) as draft:
        write_record(draft.path / TRANSFER_NAME, transfer)
    request = fakes.make_request(folder, transfer=folder / "transfer-1")
    return build_report(folder / "out", request).read_text()


def test_the_report_shows_each_group_of_donors_and_one_sentence(tmp_path):
    page = _build(tmp_path, _make_transfer())

    assert '<section id="transfer">' in page
    assert "of 1 with an interval: by letters: cohen COVID-19; by site: none" in page
    assert "+0.250 [+0.100, +0.400]" in page
    assert "12 patients" in page
    assert "transfer-1" in page


def test_names_of_sources_stay_text(tmp_path):
    page = _build(tmp_path, _make_transfer(HOSTILE))

    assert HOSTILE not in page
    assert "&lt;script&gt;" in page


def test_without_markers_of_other_sources_there_is_no_section(tmp_path):
    empty = replace(_make_transfer(), effects=())

    assert show_transfer(None) is None
    assert show_transfer(empty) is None
    assert 'id="transfer"' not in _build(tmp_path, empty)


def test_numbers_without_interval_or_value_are_shown_as_such():
    transfer = _make_transfer()
    changed = [
        replace(e, low=math.nan, high=math.nan)
        if e.measure == "reading"
        else replace(e, value=math.nan, low=math.nan, high=math.nan)
        if e.measure == "site"
        else e
        for e in transfer.effects
    ]

    section = show_transfer(replace(transfer, effects=tuple(changed)))

    assert section.rows[0].reading == "+0.250 (no interval)"
    assert section.rows[0].site == "–"
    assert section.conclusion.startswith("too few patients")
