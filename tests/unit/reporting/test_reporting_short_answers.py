"""The three answers say no more than the numbers behind them."""

from dataclasses import replace

import pytest
import reporting_fakes as fakes

from covid_debug.audit.artifact import BaselineAnswers
from covid_debug.audit.groups import AuditGroups, GroupCounts
from covid_debug.cleaning.proof import load_proof
from covid_debug.evaluation.questions import Question
from covid_debug.evaluation.statistics import Estimate
from covid_debug.records_json import read_record, write_record
from covid_debug.reporting.answers import write_three_answers, write_warnings
from covid_debug.reporting.headlines import CriticalFinding, collect_critical
from covid_debug.reporting.short_answers import answer_briefly
from covid_debug.reporting.summary import (
    AuditCounts,
    FilmsSummary,
    Interval,
    ModelAudit,
    RunSummary,
    TextSummary,
)


def _group(n_driven=0, n_predicted=50, upper=0.1):
    return GroupCounts(
        n_predicted=n_predicted,
        n_audited=n_predicted,
        not_audited={},
        n_driven=n_driven,
        n_sensitive=0,
        share_driven=n_driven / n_predicted,
        n_resting=n_driven,
        n_patients=n_predicted,
        upper=upper,
    )


def _summary(groups=None, *, n_audited=60, kept=None, **changes):
    kept = kept or {}
    audit = AuditCounts(
        target_class=None,
        n_predicted_target=100,
        n_audited=n_audited,
        not_audited={},
        n_cards=0,
        verdicts={"text_driven": 7, "inconclusive": 0},
        groups=AuditGroups(by_class=groups or {}),
        baseline_answers={"blur": BaselineAnswers(60, {}, 0.5, kept, {})} if kept else {},
    )
    values = {
        "schema_version": 1,
        "title": "made up",
        "headlines": (),
        "films": FilmsSummary(1, 1, fakes.CLASSES, {}),
        "text": TextSummary(1, 0, 1, 1, (), ()),
        "proof": None,
        "audit": audit,
        "comparison": {},
        "differences": {},
        "n_seeds": 3,
        "baselines": (),
        "calibration": None,
    }
    return RunSummary(**{**values, **changes})


def test_text_drives_counts_and_names_the_highest_bound():
    groups = {"normal": _group(0, 50, 0.08), "COVID-19": _group(9, 50, 0.3491)}

    text, _, _ = answer_briefly(_summary(groups))

    assert (text.word, text.tone) == ("some of them", "bad")
    assert text.line == (
        "9 of 100 are driven by text that was found; at most 35.0 % of COVID-19 predictions rest on"
        " it (95 %)."
    )
    assert text.notes == (
        "At most 8.0 % of normal predictions and 35.0 % of COVID-19 predictions rest on it, each at"
        " 95 %.",
    )


def test_text_drives_nothing_flagged_is_not_a_no():
    text, _, _ = answer_briefly(_summary({"normal": _group()}))

    assert (text.word, text.tone) == ("not shown", "open")
    assert text.line.startswith("0 of 50 are driven")


@pytest.mark.parametrize(
    ("arm", "word", "tone"),
    [("original", "with other seeds", "care"), ("cleaned", "not shown", "open")],
)
def test_text_drives_is_not_denied_where_another_training_of_the_same_films_is_driven(
    arm, word, tone
):
    groups, driven = {"normal": _group()}, {"normal": _group(2)}
    audits = (ModelAudit("original", 0, "a", groups), ModelAudit(arm, 1, "b", driven))

    text, _, _ = answer_briefly(_summary(groups, audits=audits))

    assert (text.word, text.tone) == (word, tone)


def test_text_drives_other_models_and_inconclusive_films_are_notes():
    groups = {"normal": _group(2)}
    audits = (ModelAudit("original", 0, "a", groups), ModelAudit("cleaned", 0, "b", groups))

    text, _, _ = answer_briefly(_summary(groups, audits=audits))

    assert text.notes == ("Driven in other models: cleaned, seed 0: 2 of 50.",)


def test_text_drives_without_an_audit_is_not_known():
    answers = answer_briefly(_summary(n_audited=0))

    assert [one.word for one in answers] == ["not known", "not known", "not asked"]


def test_text_drives_an_audit_of_version_0_1_has_counts_without_a_bound():
    text, _, _ = answer_briefly(_summary())

    assert text.line == "7 of 60 are driven by text that was found."


def test_believe_a_model_at_chance_is_not_believed():
    footing = (fakes.make_footing("original", 0.36, 0.3, above_chance=False),)

    _, believe, _ = answer_briefly(_summary(footing=footing, calibration=fakes.CALIBRATION))

    assert (believe.word, believe.tone) == ("no", "bad")
    assert believe.line == (
        "Balanced accuracy 36.0 % (31.0 to 41.0) is not measurably above chance, 33.3 %: what"
        " drives such a model means little."
    )


@pytest.mark.parametrize(("low", "said"), [(0.62, True), (0.5, False)])
def test_believe_a_model_at_chance_whose_scores_are_not_is_told_so(low, said):
    footing = (fakes.make_footing("original", 0.36, 0.3, above_chance=False),)
    own = {"original/original": {"all/auroc": Interval(0.71, low, 0.8, 60)}}

    _, believe, _ = answer_briefly(_summary(footing=footing, comparison=own))

    told = "Its scores tell the classes apart all the same (AUROC 0.71, 0.62 to 0.80)"
    assert any(note.startswith(told) for note in believe.notes) is said


def test_believe_the_source_alone_as_good_asks_for_care():
    footing = (fakes.make_footing("original", 0.7, 0.68, above_source=False),)

    _, believe, _ = answer_briefly(_summary(footing=footing))

    assert believe.word == "with care"
    assert believe.line.startswith("The source alone gets 68.0 % right, the models 70.0 % (65.0")


def test_believe_films_of_one_class_say_nothing_of_chance():
    footing = replace(fakes.make_footing("original", 0.25, 0.3, above_chance=False), chance=1.0)

    answer = answer_briefly(_summary(footing=(footing,)))[1]

    assert (answer.word, answer.line) == (
        "with care",
        "All test films are of one class: 25.0 % (20.0 to 30.0) of them are predicted so, and"
        " whether the model tells classes apart cannot be said; precision and AUC mean nothing.",
    )
    assert write_warnings((footing,), ("original",)) == []


def test_one_prediction_that_was_not_audited_is_one():
    summary = _summary({"normal": _group()})
    audit = replace(summary.audit, not_audited={"no text found": 1})

    answer = answer_briefly(replace(summary, audit=audit))[0]

    assert answer.notes == ("1 prediction was not audited (no text found).",)


def test_believe_another_arm_at_chance_says_nothing_about_the_audited_model():
    footing = (
        fakes.make_footing("cleaned", 0.36, 0.3, above_chance=False),
        fakes.make_footing("original", 0.7, 0.5, above_source=True),
    )

    _, believe, _ = answer_briefly(_summary(footing=footing))

    assert believe.word == "no objection found"
    assert believe.line == (
        "Balanced accuracy 70.0 % (65.0 to 75.0); chance 33.3 %, 50.0 % from the source alone."
    )


def test_believe_flags_are_counted_with_false_alarms():
    _, believe, _ = answer_briefly(_summary(calibration=fakes.CALIBRATION))

    assert believe.line == (
        "Against the phantom's truth, 90.0 % (70.0 to 97.0) of 20 flags are right; flagged are"
        " 75.0 % (55.0 to 88.0) of 24 that really change, and 33.3 % (9.7 to 70.0) of 6 that stay."
    )


def test_believe_flags_no_better_than_a_coin_ask_for_care():
    rare = replace(fakes.CALIBRATION, precision=Estimate(0.6, 0.4, 0.77, 20))

    _, believe, _ = answer_briefly(_summary(calibration=rare))

    assert believe.word == "with care"
    assert believe.line == (
        "60.0 % (40.0 to 77.0) of 20 flags are right, but half of the flags or more may be wrong."
    )


def test_believe_a_class_named_on_blurred_films_and_critical_findings_ask_for_care():
    critical = (CriticalFinding("ingest", "2 patients"), CriticalFinding("cleaning", "scars"))

    _, believe, _ = answer_briefly(_summary(kept={"COVID-19": 1.0, "a": 0.2}, critical=critical))

    assert believe.word == "with care"
    assert believe.line == "100 % of COVID-19 predictions stay when the film is blurred away."
    assert believe.notes == ("2 critical findings about the data and cleaning.",)


def test_believe_only_baselines_that_beat_chance_count():
    beaten = replace(fakes.BASELINES[0], warning="beats chance")

    _, believe, _ = answer_briefly(_summary(baselines=(beaten, fakes.BASELINES[1])))
    _, silent, _ = answer_briefly(_summary(baselines=fakes.BASELINES))

    assert believe.line.startswith("Source only alone, which sees no lung, gets 91.0 %")
    assert silent.word == "not known"


@pytest.mark.parametrize(
    ("verdicts", "word", "tone"),
    [
        (("no evidence", "no evidence"), "no evidence", "open"),
        (("no evidence", "improved"), "improved in 1 of 2", "good"),
        (("worse", "no evidence"), "worse in 1 of 2", "bad"),
        (("worse",), "worse", "bad"),
        (("improved", "not measured"), "improved, where measured", "good"),
        (("improved", "no evidence", "not measured"), "improved in 1 of 2", "good"),
        (("improved", "worse"), "improved and worse", "care"),
        (("one seed: no verdict",), "one seed: no verdict", "open"),
        (("not measured",), "not measured", "open"),
    ],
)
def test_cleaning_helped_takes_the_word_from_the_verdicts(verdicts, word, tone):
    questions = tuple(fakes.make_answer(verdict) for verdict in verdicts)

    _, _, helped = answer_briefly(_summary(questions=questions))

    assert (helped.word, helped.tone) == (word, tone)


def test_cleaning_helped_shows_the_question_that_was_decided():
    question = Question(
        name="dependence", words="?", arm="cleaned", against="original", test_data="swapped"
    )
    answers = (
        fakes.make_answer("no evidence", question=question, p_holm=0.4),
        fakes.make_answer("improved"),
    )

    _, _, helped = answer_briefly(_summary(questions=answers))

    assert helped.line == (
        "Right on films without text: +12.0 points (+4.0 to +19.0); p = 0.012 (Holm), 3 seeds."
    )
    assert helped.notes == (
        "Difference in balanced accuracy, cleaned against original; 1 of 2 questions decided.",
        "No evidence: Less lost when text is exchanged: +12.0 points (+4.0 to +19.0); p = 0.400"
        " (Holm), 3 seeds; balanced accuracy, cleaned against original.",
    )


def test_cleaning_helped_says_how_many_questions_were_not_measured():
    questions = (fakes.make_answer("improved"), fakes.make_answer("not measured"))

    _, _, helped = answer_briefly(_summary(questions=questions))

    assert helped.notes[0].endswith("; 1 of 1 questions decided, 1 not measured.")


def test_believe_an_audit_that_misses_what_changes_is_an_objection():
    nothing = Estimate.undefined(0, "nothing was flagged")
    missed = replace(
        fakes.CALIBRATION,
        **{"n_flagged": 0, "n_right": 0, "precision": nothing, "n_changed": 20},
        recall=Estimate(0.0, 0.0, 0.16, 20),
    )

    _, believe, _ = answer_briefly(_summary(calibration=missed))

    assert (believe.word, believe.tone) == ("with care", "care")
    assert believe.line == "Half of what really changes or more may be missed."


def test_cleaning_helped_one_seed_has_no_p():
    questions = (fakes.make_answer("one seed: no verdict", n_seeds=1),)

    _, _, helped = answer_briefly(_summary(questions=questions))

    assert helped.line.endswith("(+4.0 to +19.0); one seed.")


def test_write_three_answers_is_one_plain_line_each_and_survives_the_file(tmp_path):
    summary = _summary({"normal": _group(3)}, questions=(fakes.make_answer(),))
    summary = replace(summary, short_answers=answer_briefly(summary))
    write_record(tmp_path / "s.json", summary)
    loaded = read_record(tmp_path / "s.json", RunSummary, broken="", remedy="")

    lines = write_three_answers(loaded)

    assert loaded.short_answers == summary.short_answers
    assert len(lines) == 3
    assert lines[0].startswith("Does text drive the predictions? Some of them. 3 of 50 are")
    assert not any("\n" in line for line in lines)


def test_write_three_answers_a_run_without_them_has_none():
    assert write_three_answers(_summary()) == []


def test_collect_critical_takes_the_critical_ones_of_the_proof(tmp_path):
    fakes.make_proof(tmp_path / "proof-1")

    found = collect_critical(None, load_proof(tmp_path / "proof-1"))

    assert [one.section for one in found] == ["cleaning"]
    assert found[0].message.startswith("number, size and place of the fills")
