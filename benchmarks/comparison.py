"""How often the interval of a comparison covers the truth, and how often a verdict is wrong.

Simulated films for coverage and power; real predictions with their arms dealt out anew, and equal
trainings on phantoms, for verdicts where there is nothing to find.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.coverage import WORLDS, Table, measure_coverage, measure_plan
from benchmarks.tables import to_markdown, write_csv
from covid_debug.artifacts import is_complete
from covid_debug.data.counterfactuals import load_counterfactuals
from covid_debug.data.filmset import load_filmset
from covid_debug.data.phantom import generate_phantom
from covid_debug.errors import InputContractError
from covid_debug.evaluation.comparing import answer_questions
from covid_debug.evaluation.predictions import FilmPredictions, predict_test_films
from covid_debug.evaluation.questions import QUESTION_NAMES, choose_question
from covid_debug.evaluation.scoring import ScoreBank
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.progress import Listener
from covid_debug.stages import Means
from covid_debug.training.params import TrainingParams
from covid_debug.training.stage import TrainRequest

ARMS = ("original", "cleaned", "placebo")
_FAIR = ("no evidence", "not measured")


def read_answers(path: Path) -> tuple[list[FilmPredictions], tuple[str, ...]]:
    """Read ``predictions.csv`` of a comparison, and its classes."""
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputContractError(f"--predictions {path}: cannot be read ({error})") from error
    if not rows or not {"train_data", "seed", "test_data", "patient_id"} <= set(rows[0]):
        raise InputContractError(
            f"--predictions {path}: holds no answers; expected predictions.csv of a comparison"
        )
    names = tuple(key[2:] for key in rows[0] if key.startswith("p_"))
    by_model: dict[tuple[str, int, str], list[dict[str, str]]] = {}
    for row in rows:
        by_model.setdefault((row["train_data"], int(row["seed"]), row["test_data"]), []).append(row)
    answers = []
    for (arm, seed, test), own in by_model.items():
        chances = np.array([[float(row[f"p_{name}"]) for name in names] for row in own])
        answers.append(
            FilmPredictions(
                arm,
                seed,
                test,
                tuple(row["image_id"] for row in own),
                tuple(row["patient_id"] for row in own),
                tuple(row["source"] for row in own),
                np.array([names.index(row["label"]) for row in own], dtype=np.int64),
                (chances / chances.sum(axis=1, keepdims=True)).astype(np.float32),
                len(own),
            )
        )
    return answers, names


def exchange_arms(
    answers: Sequence[FilmPredictions], rng: np.random.Generator, *, by_seed: bool
) -> list[FilmPredictions]:
    """Deal the arms out anew for every patient, so that no arm is better than another.

    Args:
        answers: Of the arms, all on the same films in the same order.
        rng: Of the draws; all versions of the films are dealt alike.
        by_seed: Whether seeds are dealt independently; else all alike, which keeps what the seeds
            of an arm have in common on a patient.

    Returns:
        As many answers of as many arms.
    """
    table = {(a.arm, a.seed, a.test_data): a for a in answers}
    arms = list(dict.fromkeys(a.arm for a in answers))
    patients = np.unique(answers[0].patients)
    place = np.searchsorted(patients, answers[0].patients)
    dealt = []
    order = np.argsort(rng.random((len(patients), len(arms))), axis=1)
    for seed in dict.fromkeys(a.seed for a in answers):
        if by_seed:
            order = np.argsort(rng.random((len(patients), len(arms))), axis=1)
        for test in dict.fromkeys(a.test_data for a in answers):
            stack = np.stack([table[arm, seed, test].probabilities for arm in arms], axis=1)
            for k, arm in enumerate(arms):
                chosen = stack[np.arange(len(place)), order[place, k]]
                dealt.append(replace(table[arm, seed, test], probabilities=chosen))
    return dealt


def draw_trainings(
    answers: Sequence[FilmPredictions], n_seeds: int, rng: np.random.Generator
) -> list[FilmPredictions]:
    """Call some of many equal trainings the seeds of three arms."""
    pool = list(dict.fromkeys(a.seed for a in answers))
    chosen = rng.permutation(pool)[: n_seeds * len(ARMS)]
    names = {int(s): (ARMS[i % len(ARMS)], i // len(ARMS)) for i, s in enumerate(chosen)}
    return [
        replace(a, arm=names[a.seed][0], seed=names[a.seed][1]) for a in answers if a.seed in names
    ]


def count_verdicts(
    comparisons: Iterator[list[FilmPredictions]],
    class_names: tuple[str, ...],
    n: int,
    listener: Listener,
) -> dict[str, object]:
    """Answer the questions of comparisons in which there is nothing to find.

    Returns:
        How many had a verdict other than "no evidence", after Holm and without it, and questions
        that were asked.
    """
    n_wrong = n_single = n_asked = 0
    n_each = dict.fromkeys(QUESTION_NAMES, 0)
    with listener.progress("null comparisons") as progress:
        for done, answers in enumerate(comparisons, start=1):
            bank = ScoreBank(answers, class_names, seed=done, n_resamples=300)
            asked = [choose_question(name, bank.cells) for name in QUESTION_NAMES]
            found = answer_questions(bank, asked)
            n_wrong += any(one.verdict not in _FAIR for one in found)
            n_single += any(one.p <= 0.05 for one in found)
            n_asked = sum(one.verdict != "not measured" for one in found)
            for one in found:
                n_each[one.question.name] += one.p <= 0.05
            progress(done, n)
    low, high = stats.binomtest(n_wrong, n).proportion_ci(method="wilson")
    return {
        "comparisons": n,
        "questions": n_asked,
        "a wrong verdict": f"{n_wrong} ({100 * low:.1f} to {100 * high:.1f} %)",
        "without Holm": n_single,
        **{f"p <= .05: {name}": count for name, count in n_each.items()},
    }


def train_alike(
    out: Path,
    n_models: int,
    *,
    n_train: int,
    n_test: int,
    image_size: int,
    n_epochs: int,
    seed: int,
    listener: Listener,
) -> tuple[list[FilmPredictions], tuple[str, ...]]:
    """Train the same recipe on the same phantoms with many seeds.

    Args:
        out: Folder of films, models and their answers; what stands there is reused.
        n_models: Trainings.
        n_train: Films for training and selection.
        n_test: Test films.
        image_size: Side in pixels that the models see.
        n_epochs: Epochs.
        seed: Seed of the films.
        listener: Told how far it is.

    Returns:
        Answers on the films as they are, text-free and with exchanged text; and the classes.
    """
    films = out / "films"
    if not is_complete(films):
        with listener.progress("phantoms") as progress:
            generate_phantom(films, n_train=n_train, n_test=n_test, seed=seed, progress=progress)
    original = load_filmset(films)
    versions = {ARMS[0]: original, **load_counterfactuals(original)}
    means, answers = Means(listener, out / "views"), []
    training = TrainingParams(arch="resnet18_half", n_epochs=n_epochs)
    for k in range(n_models):
        folder = out / f"model-{k}"
        if not is_complete(folder):
            TrainRequest(films, training, ViewSpec(image_size=image_size), k).make(folder, means)
        model = load_checkpoint(folder)
        for name, filmset in versions.items():
            answers.append(
                predict_test_films(
                    model, filmset, arm="alike", seed=k, test_data=name, cache_dir=means.cache_dir
                )
            )
    return answers, original.class_names


def bench_comparison(
    out: Path,
    listener: Listener,
    *,
    predictions: Path | None,
    n_trials: int,
    n_null: int,
    seed: int,
) -> str:
    """Run all of it.

    Args:
        out: Folder of the tables; films and models of before are reused.
        listener: Told how far it is.
        predictions: ``predictions.csv`` of a comparison of original, cleaned and placebo with three
            seeds on original and cleaned films; None leaves the real part out.
        n_trials: Draws a world and number of seeds.
        n_null: Comparisons without anything to find, of each kind.
        seed: Seed of all draws.

    Returns:
        The tables in Markdown.
    """
    read = None if predictions is None else read_answers(predictions)
    out.mkdir(parents=True, exist_ok=True)
    gains = tuple(
        replace(world, name=f"{world.name}, +5 points", gain=0.05) for world in WORLDS[:3]
    )
    tables: dict[str, Table] = {
        "coverage": measure_coverage(WORLDS, (2, 3, 5), n_trials, seed, listener),
        "power": measure_coverage(gains, (3, 5), n_trials, seed, listener),
        "plan": measure_plan(n_trials, seed, listener),
        "null": [],
    }
    tables["power"] = [row for row in tables["power"] if row["quantity"] == "difference"]
    if read is not None:
        answers, names = read
        for by_seed in (False, True):
            rng = np.random.default_rng(seed)
            dealt = (
                _as_swapped(exchange_arms(answers, rng, by_seed=by_seed)) for _ in range(n_null)
            )
            counted = count_verdicts(dealt, names, n_null, listener)
            kind = "each seed by itself" if by_seed else "all seeds alike"
            tables["null"].append({"kind": f"real films, arms dealt by patient, {kind}", **counted})
    alike, names = train_alike(
        out, 12, n_train=150, n_test=120, image_size=64, n_epochs=3, seed=seed, listener=listener
    )
    rng = np.random.default_rng(seed)
    drawn = (draw_trainings(alike, 3, rng) for _ in range(n_null))
    counted = count_verdicts(drawn, names, n_null, listener)
    tables["null"].append({"kind": "phantoms, equal trainings", **counted})
    for name, rows in tables.items():
        write_csv(out / f"{name}.csv", list(rows[0]), rows)
    return "\n".join(f"{name}\n\n{to_markdown(rows)}" for name, rows in tables.items())


def _as_swapped(answers: Sequence[FilmPredictions]) -> list[FilmPredictions]:
    """Let the cleaned films stand for those with exchanged text, too: a third question."""
    pair = [a for a in answers if a.arm != "placebo" and a.test_data == "cleaned"]
    kept = [a for a in answers if a.arm != "placebo" or a.test_data == "cleaned"]
    return kept + [replace(a, test_data="swapped") for a in pair]
