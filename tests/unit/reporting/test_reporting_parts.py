import math

import numpy as np
import pytest
import reporting_fakes as fakes

from covid_debug.evaluation.statistics import Estimate
from covid_debug.imaging.reading import read_film
from covid_debug.records import TextRegion
from covid_debug.reporting.cards import build_cards
from covid_debug.reporting.comparison import ComparisonTable, arrange_comparison
from covid_debug.reporting.figures import draw_confusion, draw_probability_shift, to_png, to_svg_uri
from covid_debug.reporting.headlines import start_sentence, write_headlines
from covid_debug.reporting.tables import write_csv
from covid_debug.reporting.verdicts import AuditedFilm, read_verdicts


def _row(arm, seed, value, *, low=None, high=None, metric="accuracy"):
    return {
        "train_data": arm,
        "test_data": "original",
        "seed": seed,
        "class_name": "all",
        "metric": metric,
        "value": value,
        "low": value if low is None else low,
        "high": value if high is None else high,
        "n": 10,
    }


def _pair(seed, value, verdict, p=0.01):
    entry = {
        "class_name": "all",
        "metric": "accuracy",
        "difference": {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 10},
        "mcnemar_p": p,
        "verdict": verdict,
    }
    return {
        "train_a": "original",
        "train_b": "cleaned",
        "test_data": "original",
        "seed": seed,
        "differences": [entry],
    }


def test_arrange_comparison_one_seed_keeps_the_numbers():
    table = arrange_comparison([_row("original", 0, 0.7, low=0.6, high=0.8)], [])

    assert table.get("original", "original", "all", "accuracy") == Estimate(0.7, 0.6, 0.8, 10)
    assert table.get("cleaned", "original", "all", "accuracy") is None
    assert table.n_seeds == 1


def test_arrange_comparison_two_seeds_gives_the_mean_and_a_wider_interval():
    rows = [_row("original", 0, 0.6), _row("original", 1, 0.8)]

    estimate = arrange_comparison(rows, []).get("original", "original", "all", "accuracy")

    assert estimate.value == pytest.approx(0.7)
    # Student's t with one degree of freedom times sd / sqrt(2) = 12.7 * 0.1, cut at the bounds
    assert (estimate.low, estimate.high) == (0.0, 1.0)


def test_arrange_comparison_pooled_rows_win():
    rows = [_row("original", 0, 0.6), _row("original", 1, 0.8), _row("original", "pooled", 0.71)]

    table = arrange_comparison(rows, [])

    assert table.get("original", "original", "all", "accuracy").value == 0.71
    assert table.n_seeds == 2


def test_arrange_comparison_orders_arms_and_unknown_ones_come_last():
    rows = [_row(arm, 0, 0.5) for arm in ("zebra", "placebo", "cleaned", "original")]

    assert arrange_comparison(rows, []).arms == ("original", "cleaned", "placebo", "zebra")


def test_arrange_comparison_undefined_value_stays_undefined():
    row = _row("original", 0, 0.5, metric="precision") | {"value": None, "low": None, "high": None}

    estimate = arrange_comparison([row], []).get("original", "original", "all", "precision")

    assert not estimate.is_defined


def test_differences_one_seed_keeps_the_verdict_of_the_test():
    table = arrange_comparison([], [_pair(0, 0.2, "no evidence", p=0.2)])

    difference = table.get_difference("cleaned", "original", "all", "accuracy")

    assert (difference.verdict, difference.p_value) == ("no evidence", 0.2)


def test_differences_two_seeds_are_judged_by_the_pooled_interval():
    wide = arrange_comparison([], [_pair(0, 0.2, "improved"), _pair(1, -0.2, "worse")])
    equal = arrange_comparison([], [_pair(0, 0.2, "improved"), _pair(1, 0.2, "improved")])

    first = wide.get_difference("cleaned", "original", "all", "accuracy")
    second = equal.get_difference("cleaned", "original", "all", "accuracy")

    assert (first.verdict, first.estimate.value) == ("no evidence", 0.0)
    assert (second.verdict, second.estimate.value) == ("improved", 0.2)
    assert math.isnan(second.p_value)


def test_write_headlines_without_anything_is_silent():
    assert write_headlines((), ComparisonTable((), (), (), 0, {}, {}), (), None) == []


def test_write_headlines_states_difference_interval_and_best_baseline():
    table = arrange_comparison(
        [_row("original", 0, 0.7), _row("cleaned", 0, 0.8)], [_pair(0, 0.1, "improved")]
    )

    lines = write_headlines((), table, fakes.BASELINES, fakes.CALIBRATION)

    assert lines == [
        "Against the phantom's truth, 90.0 % (70.0 % to 97.0 %) of the flags are right and 75.0 %"
        " (55.0 % to 88.0 %) of the predictions that really change are flagged (20 flagged, 24"
        " change, 60 audited).",
        "On the original test films accuracy is 70.0 % trained on the original films and 80.0 %"
        " trained on the cleaned films: improved (+10.0 points, +5.0 to +15.0, n = 10).",
        "Source only, which sees no lung, gets 91.0 % of the test films right (n = 120); always"
        " giving the commonest label gets 41.0 %.",
    ]


def test_write_headlines_placebo_takes_one_sentence():
    pair = _pair(0, 0.02, "no evidence") | {"train_b": "placebo"}
    rows = [_row("original", 0, 0.7), _row("placebo", 0, 0.72)]

    assert write_headlines((), arrange_comparison(rows, [pair]), (), None) == [
        "Control, trained on the placebo films: no evidence on the original test films"
        " (+2.0 points, -3.0 to +7.0)."
    ]


def test_read_verdicts_most_severe_and_largest_drop_first(tmp_path):
    filmset = fakes.make_filmset(tmp_path / "films", 8)
    fakes.make_audit(tmp_path / "audit", filmset)

    films = read_verdicts(tmp_path / "audit")

    assert [film.verdict for film in films[:4]] == ["text_driven"] * 2 + ["text_sensitive"] * 2
    assert films[0].drop > films[1].drop


def test_audited_film_without_interventions_has_no_drop_and_comes_last(tmp_path):
    filmset = fakes.make_filmset(tmp_path / "films", 2)
    whole, broken = (
        fakes.make_verdict(f, "inconclusive", 0.1, explained=False) for f in filmset.films
    )
    broken["interventions"] = {"text_removed": None, "text_revealed": None, "blurred": None}
    films = sorted((AuditedFilm(broken), AuditedFilm(whole)), key=lambda film: film.rank)

    assert math.isnan(films[1].drop)
    assert films[0].image_id == whole["image_id"]
    assert to_png(draw_probability_shift(films, "COVID-19")).startswith(b"\x89PNG")


def test_build_cards_outlines_follow_the_geometry(tmp_path):
    inputs = fakes.make_inputs(tmp_path, n=1)
    filmset = fakes.load_filmset(inputs.filmset)
    film = filmset.films[0]
    box = ((5.0, 20.0), (15.0, 20.0), (15.0, 26.0), (5.0, 26.0))
    regions = {
        film.image_id: fakes.FilmRegions(film.image_id, 40, 50, (TextRegion(box, 1.0, "R", ""),))
    }

    (card,) = build_cards(
        read_verdicts(inputs.audit), filmset, filmset, regions, inputs.audit, inputs.view
    )
    whole, evidence, cleaned = card.pictures

    # 50 rows, 4 dropped, 40 x 40 square from row 4 + 3 = 7; view of 32 px: scale 0.8
    assert whole.frame == (0, 7, 40)
    assert whole.outlines == ("5.0,20.0 15.0,20.0 15.0,26.0 5.0,26.0",)
    assert evidence.outlines == ("4.0,10.4 12.0,10.4 12.0,15.2 4.0,15.2",)
    assert cleaned.outlines == evidence.outlines
    assert whole.numbers == ((5.0, 20.0),)
    assert [region.box for region in card.regions] == ["5.0,20.0,15.0,26.0"]
    assert card.regions[0].title.startswith("\u201cR\u201d, seen by ")
    assert card.regions[0].uri.startswith("data:image/jpeg;base64,")
    assert read_film(filmset.path_of(film)).pixels.shape == (whole.height, whole.width)
    assert [bar.name for bar in card.bars][:2] == ["Film as it is", "Text removed"]
    assert card.bars[1].nulls == (0.94, 0.9, 0.93)


def test_draw_confusion_class_name_with_dollar_is_no_formula():
    figure = draw_confusion([[1, 0], [0, 2]], ["$x", "b"], title="$")

    assert to_svg_uri(figure).startswith("data:image/svg+xml;base64,")
    assert to_png(figure) == to_png(draw_confusion([[1, 0], [0, 2]], ["$x", "b"], title="$"))


def test_draw_confusion_empty_row_is_drawn():
    assert to_png(draw_confusion(np.zeros((3, 3), int).tolist(), ["a", "b", "c"], title=""))


def test_write_csv_none_and_nan_are_empty():
    text = write_csv(("a", "b", "c"), [{"a": None, "b": math.nan, "c": 0.123456789}])

    assert text == "a,b,c\n,,0.123457\n"


def test_start_sentence_spares_names():
    assert start_sentence("without the text") == "Without the text"
    assert start_sentence("iGOS++: map") == "iGOS++: map"
    assert start_sentence("") == ""


def test_build_cards_void_or_foreign_map_is_not_shown(tmp_path):
    inputs = fakes.make_inputs(tmp_path, n=3)
    filmset = fakes.load_filmset(inputs.filmset)
    void, _, foreign = (
        fakes.make_verdict(film, "inconclusive", 0.1, explained=True) for film in filmset.films
    )
    void["saliency"] |= {"void": True, "void_reason": "flat score"}
    np.save(inputs.audit / "maps" / f"{foreign['image_id']}.npy", np.zeros((8, 8), np.float16))
    films = [AuditedFilm(void), AuditedFilm(foreign)]

    cards = build_cards(films, filmset, None, {}, inputs.audit, inputs.view)

    assert cards[0].pictures[1].missing.startswith("void map")
    assert [bar.kind for bar in cards[0].bars] == ["asis", "test", "test", "test"]
    assert ("Void map", "flat score") in cards[0].facts
    assert cards[1].pictures[1].missing == "the map has (8, 8) cells, not the view's size"
    assert cards[1].pictures[2].missing == "no cleaned films"


def test_build_cards_film_that_the_set_lacks_gets_a_card_with_the_reason(tmp_path):
    inputs = fakes.make_inputs(tmp_path, n=1)
    filmset = fakes.load_filmset(inputs.filmset)
    line = fakes.make_verdict(filmset.films[0], "inconclusive", 0.1, explained=False)
    films = [AuditedFilm(line | {"image_id": "absent"})]

    (card,) = build_cards(films, filmset, filmset, {}, inputs.audit, inputs.view)

    assert {p.missing for p in card.pictures} == {"not in this version of the films"}
