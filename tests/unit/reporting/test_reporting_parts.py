import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import reporting_fakes as fakes

from covid_debug.audit.artifact import Interventions, load_audit
from covid_debug.evaluation.comparison import Comparison
from covid_debug.evaluation.statistics import Estimate
from covid_debug.imaging.reading import read_film
from covid_debug.records import TextRegion
from covid_debug.reporting.cards import build_cards, rank_films
from covid_debug.reporting.comparison import arrange_comparison
from covid_debug.reporting.figures import draw_confusion, draw_probability_shift, to_png, to_svg_uri
from covid_debug.reporting.headlines import start_sentence, write_headlines
from covid_debug.reporting.tables import write_csv
from tests.audits import EVIDENCE, make_audit, make_audited

_row = fakes.make_row


def _table(rows=(), contrasts=()):
    return arrange_comparison(Comparison(("a",), tuple(rows), (), tuple(contrasts)))


def _both(arm, value, **changes):
    """Return the rows of one training, and of all seeds."""
    return [_row(arm, seed, value, **changes) for seed in (0, "pooled")]


def _contrast(value, *, arm="cleaned", p=math.nan, n_seeds=2):
    return fakes.make_contrast([fakes.make_difference(value, p=p, n_seeds=n_seeds)], arm=arm)


def test_arrange_comparison_shows_the_rows_over_all_seeds():
    rows = [_row("original", 0, 0.6), _row("original", 1, 0.8)]
    rows.append(_row("original", "pooled", 0.71, low=0.6, high=0.8))

    table = _table(rows)

    assert table.get("original", "original", "all", "accuracy") == Estimate(0.71, 0.6, 0.8, 10)
    assert table.get("cleaned", "original", "all", "accuracy") is None
    assert table.n_seeds == 2


def test_arrange_comparison_orders_arms_and_unknown_ones_come_last():
    rows = [_row(arm, "pooled", 0.5) for arm in ("zebra", "placebo", "cleaned", "original")]

    assert _table(rows).arms == ("original", "cleaned", "placebo", "zebra")


def test_arrange_comparison_undefined_value_stays_undefined():
    row = _row("original", "pooled", math.nan, metric="precision")

    estimate = _table([row]).get("original", "original", "all", "precision")

    assert not estimate.is_defined


def test_arrange_comparison_takes_the_difference_to_the_original_arm_as_it_was_given():
    other = replace(_contrast(0.9, arm="cleaned"), against="placebo")
    table = _table([], [_contrast(0.2, p=0.2), other])

    difference = table.get_difference("cleaned", "original", "all", "accuracy")

    assert difference.mcnemar_p == 0.2
    assert difference.estimate == Estimate(0.2, 0.15000000000000002, 0.25, 10)


def test_write_headlines_without_anything_is_silent():
    assert write_headlines(None, arrange_comparison(None)) == []


def test_write_headlines_states_difference_interval_and_best_baseline():
    rows = _both("original", 0.7) + _both("cleaned", 0.8) + [_row("original", 1, 0.7)]
    table = _table(rows, [_contrast(0.1)])

    lines = write_headlines(None, table, fakes.BASELINES, fakes.CALIBRATION)

    assert lines == [
        "Against the phantom's truth, 90.0 % (70.0 % to 97.0 %) of the flags are right and 75.0 %"
        " (55.0 % to 88.0 %) of the predictions that really change are flagged (20 flagged, 24"
        " change, 60 audited).",
        "On the original test films accuracy is 70.0 % trained on the original films and 80.0 %"
        " trained on the cleaned films: +10.0 points, +5.0 to +15.0 (n = 10, 2 seeds).",
        "Source only, which sees no lung, gets 91.0 % of the test films right (n = 120); always"
        " giving the commonest label gets 41.0 %.",
    ]


def test_write_headlines_one_seed_gives_the_numbers_of_the_pair_and_no_verdict():
    rows = _both("original", 0.7) + _both("cleaned", 0.8)
    table = _table(rows, [_contrast(0.1, p=0.001, n_seeds=1)])

    assert write_headlines(None, table) == [
        "On the original test films accuracy is 70.0 % trained on the original films and 80.0 %"
        " trained on the cleaned films: +10.0 points, +5.0 to +15.0, for this pair of models"
        " (n = 10); one seed: no verdict."
    ]


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_write_headlines_placebo_takes_one_sentence(n_seeds):
    contrast = _contrast(0.02, arm="placebo", n_seeds=n_seeds)
    rows = _both("original", 0.7) + _both("placebo", 0.72)
    (line,) = write_headlines(None, _table(rows, [contrast]))

    ending = "; one seed: no verdict." if n_seeds == 1 else "."
    points = "+2.0 points, -3.0 to +7.0 on the original test films"
    assert line == f"Control, trained on the placebo films: {points}{ending}"


def test_write_headlines_audit_without_films_is_no_negative_finding():
    audit = make_audit([], {f"f{i}": "no text found" for i in range(9)})

    assert write_headlines(audit, _table()) == [
        "No prediction was audited: whether text drives them is not known. Predicted so"
        " but not audited: 9 (no text found)."
    ]


def test_write_headlines_counts_the_predictions_that_were_not_audited():
    excluded = {f"f{i}": "no text found" for i in range(9)}
    excluded |= {"x": "not scanned for text", "y": "text scan failed: truncated"}

    (line,) = write_headlines(make_audit([make_audited()], excluded), _table())

    # 3 of 12 rest on text or could not be tested: Clopper and Pearson's bound is 52.7 %.
    assert line.startswith("At most 5")
    assert " of COVID-19 predictions rest on the text that was found (95 %); 1 of 12" in line
    assert line.endswith("driven by it, 2 could not be tested and count as resting on it.")


def test_write_headlines_nothing_flagged_is_said_so():
    nothing = Estimate.undefined(0, "")
    calibration = replace(fakes.CALIBRATION, precision=nothing, n_flagged=0)

    (line,) = write_headlines(None, _table(), calibration=calibration)

    assert line.startswith("Against the phantom's truth, nothing was flagged and 75.0 %")


def test_read_verdicts_most_severe_and_largest_drop_first(tmp_path):
    filmset = fakes.make_filmset(tmp_path / "films", 8)
    fakes.make_audit(tmp_path / "audit", filmset)

    films = rank_films(load_audit(tmp_path / "audit"))

    assert [film.verdict for film in films[:4]] == ["text_driven"] * 2 + ["text_sensitive"] * 2
    assert films[0].drop > films[1].drop


def test_audited_film_without_interventions_has_no_drop_and_comes_last(tmp_path):
    filmset = fakes.make_filmset(tmp_path / "films", 2)
    whole, broken = (fakes.make_verdict(f, "inconclusive", 0.1) for f in filmset.films)
    broken = replace(broken, interventions=Interventions())
    films = sorted((broken, whole), key=lambda film: film.rank)

    assert math.isnan(films[1].drop)
    assert films[0].image_id == whole.image_id
    assert to_png(draw_probability_shift(films)).startswith(b"\x89PNG")


def test_build_cards_outlines_follow_the_geometry(tmp_path):
    request = fakes.make_request(tmp_path, n=1)
    filmset = fakes.load_filmset(request.filmset)
    film = filmset.films[0]
    box = ((5.0, 20.0), (15.0, 20.0), (15.0, 26.0), (5.0, 26.0))
    regions = {
        film.image_id: fakes.FilmRegions(film.image_id, 40, 50, (TextRegion(box, 1.0, "R", ""),))
    }

    (card,) = build_cards(load_audit(request.audit), filmset, filmset, regions, request.view, 200)
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
    cell = replace(fakes.make_cell("$", "$"), class_names=("$x", "b", "$"))

    figure = draw_confusion(cell)

    assert to_svg_uri(figure).startswith("data:image/svg+xml;base64,")
    assert to_png(figure) == to_png(draw_confusion(cell))


def test_draw_confusion_empty_row_is_drawn():
    assert to_png(draw_confusion(replace(fakes.make_cell("a", "b"), confusion=((0, 0, 0),) * 3)))


def test_write_csv_none_and_nan_are_empty():
    text = write_csv(("a", "b", "c"), [SimpleNamespace(a=None, b=math.nan, c=0.123456789)])

    assert text == "a,b,c\n,,0.123457\n"


def test_start_sentence_spares_names():
    assert start_sentence("without the text") == "Without the text"
    assert start_sentence("iGOS++: map") == "iGOS++: map"
    assert start_sentence("") == ""


@pytest.mark.parametrize(
    ("baseline", "name"),
    [("blur", "All blurred"), ("black", "All black"), ("white", "All white")],
)
def test_build_cards_bar_names_the_baseline_that_was_used(tmp_path, baseline, name):
    request = fakes.make_request(tmp_path, n=1)
    filmset = fakes.load_filmset(request.filmset)
    film = fakes.make_verdict(filmset.films[0], "inconclusive", 0.1, baseline=baseline)

    (card,) = build_cards(make_audit([film]), filmset, None, {}, request.view, 200)

    assert card.bars[-1].name == name


@pytest.mark.parametrize(("low", "warns"), [(0.28, True), (0.4, False)])
def test_write_headlines_model_at_chance_opens_with_a_warning(low, warns):
    rows = _both("original", 0.36, low=low, high=0.45, metric="balanced_accuracy")
    rows += [_row("original", 0, 0.3, metric="recall", name=name) for name in "abc"]

    lines = write_headlines(make_audit([make_audited()]), _table(rows))

    assert lines[0].startswith("Warning: ") == warns
    if warns:
        assert lines[0] == (
            "Warning: the audited model is not measurably better than chance on the original test"
            " films (balanced accuracy 36.0 %, 28.0 to 45.0 %; chance is 33.3 %): verdicts about"
            " what drives it mean little."
        )


def test_build_cards_void_or_foreign_map_is_not_shown(tmp_path):
    request = fakes.make_request(tmp_path, n=3)
    filmset = fakes.load_filmset(request.filmset)
    void, _, foreign = (
        fakes.make_verdict(film, "inconclusive", 0.1, explained=True) for film in filmset.films
    )
    void = replace(void, saliency=replace(EVIDENCE, void=True, void_reason="flat score"))
    np.save(request.audit / "maps" / f"{foreign.image_id}.npy", np.zeros((8, 8), np.float16))
    audit = make_audit([void, foreign], folder=request.audit)

    cards = build_cards(audit, filmset, None, {}, request.view, 200)

    assert cards[0].pictures[1].missing.startswith("void map")
    assert [bar.kind for bar in cards[0].bars] == ["asis", "test", "test", "test"]
    assert ("Void map", "flat score") in cards[0].facts
    assert cards[1].pictures[1].missing == "the map has (8, 8) cells, not the view's size"
    assert cards[1].pictures[2].missing == "no cleaned films"


def test_build_cards_film_that_the_set_lacks_gets_a_card_with_the_reason(tmp_path):
    request = fakes.make_request(tmp_path, n=1)
    filmset = fakes.load_filmset(request.filmset)
    audit = make_audit([make_audited("absent")])

    (card,) = build_cards(audit, filmset, filmset, {}, request.view, 200)

    assert {p.missing for p in card.pictures} == {"not in this version of the films"}
