"""The shortcut map in the report: its sentences, its figure, and its place."""

import json
import math
from dataclasses import replace

import pytest

from covid_debug.audit.shortcut_map import (
    ALL,
    SHORTCUTS_KIND,
    AnswerRate,
    MappedAttribute,
    Pull,
    ShortcutMap,
    rank_attributes,
    write_shortcut_lines,
    write_shortcuts,
)
from covid_debug.evaluation.statistics import Estimate
from covid_debug.reporting.figures import to_png
from covid_debug.reporting.report import build_report
from covid_debug.reporting.shortcut_map import draw_shortcut_map
from covid_debug.reporting.summary import load_run_summary
from tests.unit.reporting import reporting_fakes as fakes

NOTHING = Estimate.undefined(9, "the same on all these films")


def around(value: float, width: float = 0.05) -> Estimate:
    return Estimate(value, value - width, value + width, 90)


BORDER = around(0.2)


def make_pull(share: Estimate) -> Pull:
    return Pull(ALL, NOTHING if not share.is_defined else around(10 * share.value), share, (), ())


def make_item(name: str, share: Estimate | None, *, is_part: bool = True) -> MappedAttribute:
    pulls = () if share is None else (make_pull(share),)
    return MappedAttribute(name, name, is_part, 90, around(0.7), around(0.9), around(0.6), pulls)


def make_map(border: Estimate = BORDER, model: float = 0.7, source: float = 0.6) -> ShortcutMap:
    items = [
        make_item("lungs", around(0.4), is_part=False),
        make_item("source", None),
        make_item("size", around(-0.01)),
        make_item("jpeg", NOTHING),
        make_item("border", border),
    ]
    rates = (
        AnswerRate("class", around(model), around(source), 0.35),
        AnswerRate("COVID-19 or not", around(0.89), around(0.97), 0.68),
    )
    whole = (make_pull(around(0.5)),)
    classes = ("normal", "pneumonia", "COVID-19")
    return ShortcutMap(classes, 3, 90, 120, 1, rank_attributes(items), whole, rates)


def test_parts_come_first_from_most_to_least_and_what_has_no_number_last() -> None:
    names = [item.name for item in make_map().attributes]

    assert names == ["border", "size", "source", "jpeg", "lungs"]


def test_the_first_sentence_names_what_is_shown_to_move_and_its_interval() -> None:
    first, second, third = write_shortcut_lines(make_map())

    assert first == (
        "Of what a film carries besides the lungs, shown to move the predictions, 1 of 2: border"
        " +20.0 points (+15.0 to +25.0). So many more films are called a class when it comes from a"
        " film of that class instead of one of their own (3 seeds, 90 films). For comparison: lungs"
        " +40.0 points (+35.0 to +45.0); the whole film +50.0 points (+45.0 to +55.0)."
    )
    assert second.startswith("The class is answered right by the model on 70.0 % (65.0 to 75.0)")
    assert third.startswith("Warning: “COVID-19 or not”")
    assert "knows only the source on 97.0 %" in third


def test_an_interval_with_zero_in_it_is_no_finding() -> None:
    first = write_shortcut_lines(make_map(around(0.02)))[0]

    assert (
        "nothing is shown to move the predictions; the largest difference is that of border, +2.0"
        in first
    )


def test_a_smaller_pull_that_is_shown_is_said_beside_a_larger_one_that_is_not() -> None:
    found = make_map(around(0.2, 0.3))
    items = [*found.attributes, make_item("corners", around(0.1))]
    found = replace(found, attributes=rank_attributes(items))

    first = write_shortcut_lines(found)[0]

    assert "shown to move the predictions, 1 of 3: corners +10.0 points" in first
    assert "border" not in first


def test_a_model_below_the_source_is_warned_of() -> None:
    assert write_shortcut_lines(make_map(model=0.5))[1].startswith("Warning: The class")


def test_the_figure_has_three_panels_and_a_row_an_attribute() -> None:
    figure = draw_shortcut_map(make_map())

    assert len(figure.axes) == 3
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["border", "size", "source", "jpeg", "lungs"]
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written == ["nothing to exchange", "the same on all these films"]
    assert to_png(figure) == to_png(draw_shortcut_map(make_map()))


def test_the_report_opens_with_the_map_and_the_summary_holds_it(tmp_path) -> None:
    made = fakes.keep(tmp_path, SHORTCUTS_KIND, write_shortcuts, make_map())
    request = fakes.make_request(tmp_path, shortcuts=made)

    page = build_report(tmp_path / "out", request).read_text(encoding="utf-8")

    summary = load_run_summary(tmp_path / "out")
    assert any(line.startswith("Of what a film carries") for line in summary.headlines)
    assert summary.shortcuts is not None
    assert math.isnan(summary.shortcuts.attributes[3].pull().share.value)
    assert (tmp_path / "out" / "figures" / "shortcut_map.png").is_file()
    assert page.index("The shortcut map.") < page.index("What these numbers mean")
    raw = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert raw["shortcuts"]["attributes"][0]["name"] == "border"


def test_a_report_without_a_map_says_nothing_of_it(tmp_path) -> None:
    page = build_report(tmp_path / "out", fakes.make_request(tmp_path)).read_text(encoding="utf-8")

    assert "The shortcut map." not in page
    assert load_run_summary(tmp_path / "out").shortcuts is None


@pytest.mark.parametrize("towards", [ALL, "COVID-19"])
def test_a_pull_is_found_by_its_class(towards: str) -> None:
    item = make_item("border", around(0.1))

    assert (item.pull(towards) is None) == (towards != ALL)
