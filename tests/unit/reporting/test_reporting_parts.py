import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import reporting_fakes as fakes

from covid_debug.audit.artifact import Interventions, load_audit
from covid_debug.evaluation.comparison import Comparison
from covid_debug.evaluation.statistics import Estimate
from covid_debug.records import TextRegion
from covid_debug.reporting.answers import (
    TrainTest,
    name_p,
    name_question,
    write_answer,
    write_train_test,
    write_warnings,
)
from covid_debug.reporting.cards import build_cards, rank_films
from covid_debug.reporting.comparison import arrange_comparison, name_metric
from covid_debug.reporting.figures import (
    draw_confusion,
    draw_probability_shift,
    draw_questions,
    to_png,
    to_svg_uri,
)
from covid_debug.reporting.headlines import start_sentence, write_headlines
from covid_debug.reporting.tables import write_csv
from tests.audits import EVIDENCE, MAPS, make_audit, make_audited

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


def test_arrange_comparison_differences_between_other_arms_are_found_by_name():
    table = _table([], [_contrast(0.2), replace(_contrast(0.9), against="placebo")])

    beyond = table.get_difference("cleaned", "original", "all", "accuracy", "placebo")

    assert beyond.mean == 0.9
    assert table.pairs == (("cleaned", "original"), ("cleaned", "placebo"))


def test_write_headlines_without_anything_is_silent():
    assert write_headlines(None, arrange_comparison(None)).lines == ()


def test_write_answer_promises_no_effect_beyond_a_hundred_points():
    said = write_answer(fakes.make_answer("no evidence", smallest=1.6))

    assert "100 patients; no difference would show in 80 of 100 comparisons" in said


def test_write_headlines_answers_come_before_what_else_was_found_and_alone_have_verdicts():
    rows = _both("original", 0.7) + _both("cleaned", 0.8) + [_row("original", 1, 0.7)]
    answers = (fakes.make_answer(), fakes.make_answer(verdict="not measured"))
    comparison = Comparison(("a",), tuple(rows), (), (_contrast(0.1),), questions=answers)

    lines = write_headlines(
        None, arrange_comparison(comparison), fakes.BASELINES, fakes.CALIBRATION
    )

    assert lines.warnings == ()
    assert lines.answers == (
        "Does it help? Improved. cleaned against original on the test films without any text:"
        " +12.0 points (+4.0 to +19.0) of balanced accuracy; p = 0.012 (Holm), 3 seeds, 100"
        " patients; some 9.5 points would show in 80 of 100 comparisons, if these 3 seeds say well"
        " how trainings spread.",
        "Does it help? Not measured: no arm 'placebo'.",
        "a precision and recall on the original test films (2 seeds): an undefined share and an"
        " undefined share trained on the original films; an undefined share and an undefined share"
        " trained on the cleaned films.",
    )
    assert lines.others == (
        "Against the phantom's truth, 90.0 % (70.0 % to 97.0 %) of the flags are right and 75.0 %"
        " (55.0 % to 88.0 %) of the predictions that really change are flagged (20 flagged, 24"
        " change, 60 audited).",
        "Source only, which sees no lung, gets 91.0 % of the test films right (n = 120); always"
        " giving the commonest label gets 41.0 %.",
    )


def test_write_answer_of_one_seed_has_no_verdict_and_no_p():
    answer = fakes.make_answer(
        verdict="one seed: no verdict", n_seeds=1, p_holm=math.nan, smallest=math.nan
    )

    assert write_answer(answer) == (
        "Does it help? One seed: no verdict. cleaned against original on the test films without"
        " any text: +12.0 points (+4.0 to +19.0) of balanced accuracy; 100 patients."
    )


def test_name_question_says_what_is_subtracted():
    question = replace(fakes.make_answer().question, test_data="swapped", minus="original")

    assert name_question(question) == (
        "cleaned against original on test films with the text of another class minus the original"
        " test films"
    )


def test_name_p_small_value_is_a_bound():
    assert [name_p(p) for p in (1e-9, 0.0124, math.nan)] == ["p < 0.001", "p = 0.012", "no p"]


def test_write_warnings_name_the_arms_that_know_no_more_than_chance_or_source():
    footing = [
        fakes.make_footing("cleaned", 0.6, 0.7, above_chance=True, above_source=False),
        fakes.make_footing("original", 0.35, 0.7, above_chance=False, above_source=False),
        fakes.make_footing("original", 0.1, 0.7, test="swapped", above_chance=False),
    ]

    chance, source = write_warnings(footing, ("original", "cleaned"))

    assert chance == (
        "Warning: trained on the original films, models are not measurably better than chance on"
        " the original test films: balanced accuracy 35.0 % (30.0 to 40.0); chance is 33.3 %."
        " Differences between them mean little."
    )
    assert source == (
        "Warning: trained on the original and cleaned films, models are not measurably better than"
        " the source alone on the original test films: balanced accuracy 35.0 % and 60.0 %, against"
        " 70.0 % for naming the class that each film's source suggests. Right answers need not"
        " come from lungs."
    )


def test_write_warnings_without_training_films_say_nothing_of_the_source():
    assert write_warnings([fakes.make_footing("original", 0.6, math.nan)], ("original",)) == []


def test_write_train_test_is_a_table_of_one_class():
    rows = [
        TrainTest(
            train_data=arm,
            test_data=test,
            class_name="COVID-19",
            precision=Estimate(0.52, 0.4, 0.64, 60),
            recall=Estimate.undefined(0, "no film"),
        )
        for arm in ("original", "cleaned")
        for test in ("original", "text_swapped")
    ]

    assert list(write_train_test(rows)) == [
        "COVID-19, %, with 95 % intervals; columns: tested on, rows: trained on",
        "                          original  text-swapped",
        "original   precision   52 [40, 64]   52 [40, 64]",
        "           recall        undefined     undefined",
        "cleaned    precision   52 [40, 64]   52 [40, 64]",
        "           recall        undefined     undefined",
    ]
    assert list(write_train_test([])) == []


def test_name_metric_of_all_classes_is_a_mean_and_of_one_is_small():
    assert name_metric("all", "precision") == "Macro precision"
    assert name_metric("all", "balanced_accuracy") == "Balanced accuracy"
    assert name_metric("COVID-19", "recall") == "recall"
    assert name_metric("COVID-19", "auroc") == "AUROC"
    assert name_metric("COVID-19", "f1") == "F1"


def test_draw_questions_shows_what_was_not_measured_and_one_seed_too():
    one = fakes.make_answer(verdict="one seed: no verdict", n_seeds=1, smallest=math.nan)
    answers = [fakes.make_answer(), one, fakes.make_answer(verdict="not measured")]

    figure = draw_questions(answers)

    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["+12.0\nimproved", "+12.0\none seed: no verdict", "not measured"]
    assert to_png(figure) == to_png(draw_questions(answers))


def test_write_headlines_audit_without_films_is_no_negative_finding():
    audit = make_audit([], {f"f{i}": "no text found" for i in range(9)})

    assert list(write_headlines(audit, _table()).lines) == [
        "No prediction was audited: whether text drives them is not known. Predicted so"
        " but not audited: 9 (no text found)."
    ]


def test_write_headlines_counts_the_predictions_that_were_not_audited():
    excluded = {f"f{i}": "no text found" for i in range(9)}
    excluded |= {"x": "not scanned for text", "y": "text scan failed: truncated"}

    (line,) = write_headlines(make_audit([make_audited()], excluded), _table()).lines

    # 3 of 12 rest on text or could not be tested: Clopper and Pearson's bound is 52.7 %.
    assert line.startswith("At most 5")
    assert " of COVID-19 predictions rest on the text that was found (95 %); 1 of 12" in line
    assert line.endswith("driven by it, 2 could not be tested and count as resting on it.")


def test_write_headlines_nothing_flagged_is_said_so():
    nothing = Estimate.undefined(0, "")
    calibration = replace(fakes.CALIBRATION, precision=nothing, n_flagged=0)

    (line,) = write_headlines(None, _table(), calibration=calibration).lines

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
    frame = card.frame

    # 50 rows, 4 dropped, 40 x 40 square from row 4 + 3 = 7
    assert frame.view == (0, 7, 40)
    assert frame.outlines == ("5.0,20.0 15.0,20.0 15.0,26.0 5.0,26.0",)
    assert frame.numbers == ((5.0, 20.0),)
    assert (frame.width, frame.height) == (40, 50)
    for shown in card.maps:
        assert shown.layer.left == 0
        assert shown.layer.top == pytest.approx(7 / 50)
        assert shown.layer.height == pytest.approx(40 / 50)
        assert shown.layer.width == 1
    assert (frame.patches, frame.no_patches) == ((), "cleaning changed nothing here")
    assert [region.box for region in card.regions] == ["5.0,20.0,15.0,26.0"]
    assert card.regions[0].title.startswith("\u201cR\u201d, seen by ")
    assert card.regions[0].uri.startswith("data:image/jpeg;base64,")
    assert card.thumbnail.startswith("data:image/jpeg;base64,")
    assert [bar.name for bar in card.bars][:2] == ["Film as it is", "Text removed"]
    assert card.bars[1].nulls == (0.94, 0.9, 0.93)


def test_build_cards_say_which_film_was_cleaned_incompletely(tmp_path):
    request = fakes.make_request(tmp_path, n=1)
    filmset = fakes.load_filmset(request.filmset)
    region = {"polygon": [], "confidence": 1.0, "content": None, "detector": "made"}
    line = {"image": filmset.films[0].image_id, "width": 40, "height": 50, "decoys": []}
    line["regions"] = [{**region, "action": "removed", "incomplete": cut} for cut in (True, False)]
    (filmset.root / "regions.jsonl").write_text(json.dumps(line) + "\n")

    (card,) = build_cards(load_audit(request.audit), filmset, filmset, {}, request.view, 200)

    assert dict(card.facts)["Cleaned incompletely"] == "ink goes on outside the fill of 1 region"


def test_build_cards_makes_thumbnails_for_the_first_screen_alone(tmp_path):
    request = fakes.make_request(tmp_path, n=5, comparison=None, confounds=None)
    filmset = fakes.load_filmset(request.filmset)

    cards = build_cards(load_audit(request.audit), filmset, None, {}, request.view, 200)

    assert [bool(card.thumbnail) for card in cards] == [True] * 3 + [False] * 2


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

    lines = write_headlines(make_audit([make_audited()]), _table(rows)).lines

    assert lines[0].startswith("Warning: ") == warns
    if warns:
        assert lines[0] == (
            "Warning: the audited model is not measurably better than chance on these films"
            " (balanced accuracy 36.0 %, 28.0 to 45.0 %; chance is 33.3 %): verdicts about what"
            " drives it mean little."
        )


def test_write_headlines_films_of_one_class_are_not_compared_with_chance():
    rows = _both("original", 0.25, low=0.1, high=0.6, metric="balanced_accuracy")
    rows += [_row("original", 0, 0.3, metric="recall", name="a")]

    assert write_headlines(make_audit([make_audited()]), _table(rows)).warnings == ()


def test_build_cards_void_failed_or_foreign_map_is_not_shown_and_the_other_is(tmp_path):
    request = fakes.make_request(tmp_path, n=3)
    filmset = fakes.load_filmset(request.filmset)
    void, failed, foreign = (
        fakes.make_verdict(film, "inconclusive", 0.1, explained=True) for film in filmset.films
    )
    flat = replace(EVIDENCE, void=True, void_reason="flat score")
    void = replace(void, maps={**MAPS, "igos_pp": flat})
    failed = replace(failed, maps={"igos_pp": EVIDENCE}, no_maps={"path_gradient": "out of memory"})
    folder = request.audit / "maps"
    np.save(folder / "igos_pp" / f"{foreign.image_id}.npy", np.zeros((8, 8), np.float16))
    for film in (void, failed):
        for method in MAPS:
            np.save(folder / method / f"{film.image_id}.npy", np.eye(32, dtype=np.float16))
    audit = make_audit([void, failed, foreign], folder=request.audit)

    cards = build_cards(audit, filmset, None, {}, request.view, 200)

    shown = {
        card.film.image_id: [(each.title, each.absent, each.layer is None) for each in card.maps]
        for card in cards
    }
    assert shown == {
        void.image_id: [("iGOS++", "void map: flat score", True), ("path gradient", "", False)],
        failed.image_id: [("iGOS++", "", False), ("path gradient", "no map: out of memory", True)],
        foreign.image_id: [
            ("iGOS++", "the map has (8, 8) cells, not the view's size", True),
            ("path gradient", "", False),
        ],
    }
    assert [bar.kind for bar in cards[0].bars] == ["asis", "test", "test", "test"]
    second = next(card.maps[1] for card in cards if card.film.image_id == void.image_id)
    assert second.in_text == "10.0 % of the map in text, 3.1 times its area"
    assert second.bars == (("Top 12 % removed", 0.2), ("Only top 6 % left", 0.8))
    assert cards[2].frame.no_patches == "no cleaned films"


def test_build_cards_film_that_the_set_lacks_gets_a_card_with_the_reason(tmp_path):
    request = fakes.make_request(tmp_path, n=1)
    filmset = fakes.load_filmset(request.filmset)
    audit = make_audit([make_audited("absent")])

    (card,) = build_cards(audit, filmset, filmset, {}, request.view, 200)

    assert card.frame.missing == "not in this version of the films"
    assert card.thumbnail == ""
