"""The stage that tests every model on every version of the test films."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import write_artifact
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.errors import InputContractError
from covid_debug.evaluation.comparing import compare_arms
from covid_debug.evaluation.comparison import (
    BASE_ARM,
    UNSEEN_SOURCE,
    Comparison,
    write_comparison,
)
from covid_debug.evaluation.predictions import (
    PREDICTIONS_NAME,
    FilmPredictions,
    join_predictions,
    predict_test_films,
    write_predictions,
)
from covid_debug.evaluation.questions import QUESTION_NAMES
from covid_debug.models.checkpoint import (
    LoadedModel,
    load_checkpoint,
    read_class_names,
)
from covid_debug.models.devices import describe_device
from covid_debug.models.factories import describe_factory, load_factory
from covid_debug.stages import Means, Request


@dataclass(frozen=True)
class ComparisonRequest(Request):
    """Test several checkpoints on several versions of the test films, with paired tests.

    Attributes:
        checkpoints: Arm and training seed -> checkpoint; ``"original"`` is what the other arms are
            compared with.
        filmsets: Name of a version -> film set whose test films are used.
        seen: Arm and name of a version -> film set that the arm's models see instead: all that
            they see goes through a change of the films that belongs to them.
        unseen: Arm, training seed and source -> checkpoint that was trained without that source,
            and film set whose test films are those of the source. Together they are the version
            ``"unseen_source"``.
        seed: Of the bootstrap.
        questions: Names of the primary questions
            (:data:`covid_debug.evaluation.questions.QUESTION_NAMES`).
        factory: ``"package.module:function"`` that builds the network of every checkpoint that is
            the user's own; those of the catalogue need none.
    """

    checkpoints: Mapping[tuple[str, int], Path]
    filmsets: Mapping[str, Path]
    seed: int = 0
    questions: tuple[str, ...] = QUESTION_NAMES
    factory: str | None = None
    seen: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    unseen: Mapping[tuple[str, int, str], tuple[Path, Path]] = field(default_factory=dict)

    stage: ClassVar[str] = "comparison"
    makes: ClassVar[str] = "comparison"
    code_version: ClassVar[int] = 7

    def parameters(self) -> object:
        """Return what else decides the table; its rows follow the order of what goes in."""
        factory = describe_factory(self.factory)
        order = list(self.inputs())
        return {"seed": self.seed, "questions": self.questions, "order": order, **factory}

    def inputs(self) -> dict[str, str]:
        """Return checkpoints and versions of the films."""
        places = {
            **{f"checkpoint/{arm}/{seed}": path for (arm, seed), path in self.checkpoints.items()},
            **{f"filmset/{name}": path for name, path in self.filmsets.items()},
            **{f"seen/{arm}/{name}": path for (arm, name), path in self.seen.items()},
        }
        for (arm, seed, source), (checkpoint, films) in self.unseen.items():
            places[f"unseen/{arm}/{seed}/{source}"] = checkpoint
            places[f"unseen/{arm}/{seed}/{source}/films"] = films
        return {role: path.name for role, path in places.items()}

    def make(self, out: Path, means: Means) -> Comparison:
        """Write comparison.csv, comparison.json and predictions.csv."""
        versions = {name: load_filmset(folder) for name, folder in self.filmsets.items()}
        answers = []
        n_answers = len(self.checkpoints) * len(versions) + len(self.unseen)
        with means.listener.progress("models x test sets") as progress:
            for answer in self._iter_answers(versions, means):
                answers.append(answer)
                progress(len(answers), n_answers)
        answers = _join_unseen(answers)
        asked = next(iter(versions.values())).class_names if versions else ()
        class_names = read_class_names(next(iter(self.checkpoints.values())), asked)
        comparison = compare_arms(
            answers,
            class_names,
            seed=self.seed,
            questions=self.questions,
            from_source=_guess_from_source(versions, class_names),
        )
        with write_artifact(
            out,
            kind=self.makes,
            parameters=self.parameters(),
            inputs=self.inputs(),
            device=describe_device(means.device),
        ) as draft:
            write_comparison(draft.path, comparison)
            write_predictions(draft.path / PREDICTIONS_NAME, answers, class_names)
        return comparison

    def _iter_answers(
        self, versions: Mapping[str, FilmSet], means: Means
    ) -> Iterator[FilmPredictions]:
        """Yield every model's answers on every version, and on the sources it never saw."""
        asked = next(iter(versions.values())).class_names if versions else ()
        for (arm, seed), folder in self.checkpoints.items():
            model = self._load(folder, means.device, asked)
            for name, films in versions.items():
                own = self.seen.get((arm, name))
                filmset = films if own is None else load_filmset(own)
                yield _predict(model, filmset, arm, seed, name, means)
        for (arm, seed, _), (folder, own) in self.unseen.items():
            model = self._load(folder, means.device, asked)
            yield _predict(model, load_filmset(own), arm, seed, UNSEEN_SOURCE, means)

    def _load(self, folder: Path, device: str, asked: Sequence[str]) -> LoadedModel:
        build = load_factory(self.factory) if self.factory else None
        model = load_checkpoint(folder, device=device, factory=build, classes=asked)
        model.classifier.require_classes(f"compare {folder}")
        first = next(iter(self.checkpoints.values()))
        names, expected = model.classifier.class_names, read_class_names(first, asked)
        if names != expected:
            raise InputContractError(
                f"{folder}: has classes {list(names)}, {first} has {list(expected)}; compare models"
                " of the same classes in the same order"
            )
        return model


def _predict(
    model: LoadedModel, filmset: FilmSet, arm: str, seed: int, name: str, means: Means
) -> FilmPredictions:
    return predict_test_films(
        model,
        filmset,
        arm=arm,
        seed=seed,
        test_data=name,
        cache_dir=means.cache_dir,
        n_workers=means.n_workers,
    )


def _guess_from_source(
    versions: Mapping[str, FilmSet], class_names: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Return version -> test film -> the class that its source suggests, as learnt in training.

    It is the class of which the source has the largest share, and so the best guess for the mean
    recall; the commonest class of a source is not where classes differ in size. The training films
    are those of the original version, else of the first one that has some. Films of sources that
    are not among them lack.
    """
    ordered = sorted(versions, key=lambda name: name != BASE_ARM)
    training = next((films for n in ordered if (films := versions[n].select("train"))), ())
    labels: dict[str, Counter[str]] = {}
    for film in training:
        labels.setdefault(film.source, Counter())[film.label] += 1
    totals = Counter(film.label for film in training)
    guesses = {
        source: max((n / totals[name], name) for name, n in counts.items())[1]
        for source, counts in labels.items()
    }
    return {
        name: {
            film.image_id: class_names.index(guesses[film.source])
            for film in filmset.select("test")
            if film.source in guesses
        }
        for name, filmset in versions.items()
    }


def _join_unseen(answers: Sequence[FilmPredictions]) -> list[FilmPredictions]:
    """Make one test set of the sources left out, each answered by the model without it."""
    joined = [answer for answer in answers if answer.test_data != UNSEEN_SOURCE]
    parts: dict[tuple[str, int], list[FilmPredictions]] = {}
    for answer in answers:
        if answer.test_data == UNSEEN_SOURCE:
            parts.setdefault((answer.arm, answer.seed), []).append(answer)
    return joined + [join_predictions(folds) for folds in parts.values()]
