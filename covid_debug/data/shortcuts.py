"""How far the labels follow from what is not the picture: source, view, film size, encoding.

Rules are learnt on the training films and scored on the test films. Finding shortcuts that a
trained model uses belongs to :mod:`covid_debug.audit`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence

from covid_debug.data.filmset import FilmSet
from covid_debug.data.fingerprints import FilmFacts
from covid_debug.records import Film

Row = Mapping[str, str | int | float]


def measure_shortcuts(filmset: FilmSet, facts: Mapping[str, FilmFacts]) -> tuple[Row, ...]:
    """Measure how well the labels of held-out films follow from what is not the picture.

    For each kind of knowledge (source, view, film size, encoding) and each question (which class;
    the last class or not), the majority answer per value is learnt on the training films and
    applied to the test and validation films; values unseen in training get the overall majority.

    Args:
        filmset: The data set.
        facts: Image id -> what its file says.

    Returns:
        One row per split, question and kind of knowledge, with the accuracy of always answering
        the majority beside it. Without training films empty.
    """
    films = [film for film in filmset.films if film.image_id in facts]
    train = [film for film in films if film.split == "train"]
    if not train:
        return ()
    target = filmset.class_names[-1]
    questions: dict[str, Callable[[Film], str]] = {"class": lambda film: film.label}
    if len(filmset.class_names) > 2:
        questions[f"{target} or not"] = lambda film: target if film.label == target else "rest"
    knowledge: dict[str, Callable[[Film], Hashable]] = {
        "source": lambda film: film.source,
        "view": lambda film: film.view,
        "film size": lambda film: (film.width, film.height),
        "encoding": lambda film: facts[film.image_id].encoding,
    }
    rows: list[Row] = []
    for split in ("test", "val"):
        held_out = [film for film in films if film.split == split]
        if not held_out:
            continue
        for question, answer in questions.items():
            majority = _score_rule(train, held_out, lambda _: None, answer)[0]
            for name, key in knowledge.items():
                n_correct, recall = _score_rule(train, held_out, key, answer)
                rows.append(
                    {
                        "split": split,
                        "question": question,
                        "known": name,
                        "n_correct": n_correct,
                        "n_films": len(held_out),
                        "accuracy": round(n_correct / len(held_out), 4),
                        "mean_recall": round(recall, 4),
                        "majority_accuracy": round(majority / len(held_out), 4),
                    }
                )
    return tuple(rows)


def _score_rule(
    train: Sequence[Film],
    test: Sequence[Film],
    key: Callable[[Film], Hashable],
    answer: Callable[[Film], str],
) -> tuple[int, float]:
    """Return the number of right answers, and recall averaged over the answers in test."""
    seen: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for film in train:
        seen[key(film)][answer(film)] += 1
    rule = {value: _most_common(counts) for value, counts in seen.items()}
    fallback = _most_common(Counter(answer(film) for film in train))
    asked: Counter[str] = Counter(answer(film) for film in test)
    right = Counter(answer(film) for film in test if rule.get(key(film), fallback) == answer(film))
    return right.total(), sum(right[name] / count for name, count in asked.items()) / len(asked)


def _most_common(counts: Counter[str]) -> str:
    return min(counts, key=lambda name: (-counts[name], name))
