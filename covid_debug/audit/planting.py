"""Text of known effect, planted on real films: how often would the audit notice?

Owns the planted text, its known effect and the power curve. The audit itself is used as
it is; the known effect is explained in :mod:`covid_debug.audit.trials`.
"""

import csv
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covid_debug.artifacts import write_artifact
from covid_debug.audit.interventions import choose_baseline, make_baseline_views
from covid_debug.audit.planning import AuditParams, AuditSubject, Views, target_index
from covid_debug.audit.trials import Ground, Trial, run_trial
from covid_debug.audit.verdicts import compute_margins, decide, judge_significance, log_odds
from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import Estimate, wilson_interval
from covid_debug.imaging.geometry import render_view
from covid_debug.imaging.inpainting import inpaint
from covid_debug.imaging.masks import Mask
from covid_debug.imaging.reading import FILM_ERRORS, read_film
from covid_debug.imaging.regions import regions_to_mask
from covid_debug.models.inference import predict_probabilities
from covid_debug.progress import Progress
from covid_debug.records import Film
from covid_debug.records_json import write_record
from covid_debug.seeding import derive_seed

POWER_KIND = "audit_power"
POWER_NAME = "power.json"


@dataclass(frozen=True)
class PlantingParams:
    """What is planted.

    Attributes:
        contents: Words and letters, used in turn.
        height_shares: Heights of the letters as shares of the view's side.
        contrasts: Brightness added to the film under the glyphs, in gray levels.
        effects: Log-odds that the glyphs add to the target class; 0 measures the model itself.
        n_films: Films that are planted on; each gets every height and contrast.
    """

    contents: tuple[str, ...] = ("R", "L", "PORTABLE", "AP", "12.03.2020")
    height_shares: tuple[float, ...] = (0.03, 0.06)
    contrasts: tuple[int, ...] = (40, 120)
    effects: tuple[float, ...] = (0.0, 2.0, 4.0, 8.0)
    n_films: int = 16


@dataclass(frozen=True, slots=True)
class Plant:
    """One planted text under one effect, and what the audit said.

    Attributes:
        image_id: Film.
        content: What was written.
        height_share: Height of the letters as a share of the view's side.
        contrast: Added brightness in gray levels.
        effect: Log-odds added by the sensor.
        detected: Whether the text was found on the film (always, without a detector).
        predicted: Whether the planted film is predicted as the target.
        true_drop: Target probability with the plant minus without it.
        driven: Whether the plant really drives the prediction: without it the class is another
            one, or the probability is lower by at least ``strong_drop``.
        verdict: Verdict of the audit, ``"not_detected"``, or ``""`` where not predicted.
    """

    image_id: str
    content: str
    height_share: float
    contrast: int
    effect: float
    detected: bool
    predicted: bool
    true_drop: float
    driven: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class PowerRow:
    """Power and false alarms among the plants whose ``by`` has one value."""

    by: str
    value: float
    power: Estimate
    false_alarms: Estimate


@dataclass(frozen=True, slots=True)
class PowerSummary:
    """What ``power.json`` holds.

    Attributes:
        power: Share of truly driven predictions that are flagged.
        false_alarms: Share of the others that are flagged.
        rows: The same by effect, height and contrast.
        n_plants: Planted texts.
        n_detected: Of them, found by the detector.
        skipped: ``image_id`` -> why a film could not be planted on.
        baseline: What stood for "nothing".
    """

    power: Estimate
    false_alarms: Estimate
    rows: tuple[PowerRow, ...]
    n_plants: int
    n_detected: int
    skipped: Mapping[str, str]
    baseline: str


@dataclass(frozen=True)
class PowerReport:
    """What planting showed.

    Attributes:
        plants: Every planted text under every effect.
        skipped: ``image_id`` -> why a film could not be planted on.
        baseline: What stood for "nothing".
    """

    plants: tuple[Plant, ...]
    skipped: Mapping[str, str]
    baseline: str

    def power(self, **equal: object) -> Estimate:
        """Return the share of truly driven predictions that are flagged, among matching plants."""
        return _share([p for p in self._matching(equal) if p.driven and p.predicted])

    def false_alarms(self, **equal: object) -> Estimate:
        """Return the share of predictions that are flagged although the plant does not drive."""
        return _share([p for p in self._matching(equal) if not p.driven and p.predicted])

    def _matching(self, equal: Mapping[str, object]) -> list[Plant]:
        return [p for p in self.plants if all(getattr(p, k) == v for k, v in equal.items())]

    def summarise(self) -> PowerSummary:
        """Return power and false alarms, overall and by effect, height and contrast."""
        groups = [
            (key, value)
            for key in ("effect", "height_share", "contrast")
            for value in sorted({getattr(plant, key) for plant in self.plants})
        ]
        return PowerSummary(
            power=self.power(),
            false_alarms=self.false_alarms(),
            rows=tuple(
                PowerRow(by, value, self.power(**{by: value}), self.false_alarms(**{by: value}))
                for by, value in groups
            ),
            n_plants=len(self.plants),
            n_detected=sum(plant.detected for plant in self.plants),
            skipped=self.skipped,
            baseline=self.baseline,
        )

    def describe(self) -> tuple[str, ...]:
        """Return the result in lines for the terminal."""
        power, alarms = self.power(), self.false_alarms()
        return (
            f"planted text that drives the prediction is flagged in {_words(power)} cases;"
            f" text that does not is flagged in {_words(alarms)}",
        )


def measure_power(
    subject: AuditSubject, planting: PlantingParams, progress: Progress | None = None
) -> PowerReport:
    """Plant text on films, audit them, and compare the verdicts with what is known.

    Text that a film already has is inpainted first. Films that cannot be used are skipped with
    the reason until ``n_films`` are planted on.

    Args:
        subject: Model, films to draw from, their own text, and how the audit works. Its detector
            looks for the planted text, to include its misses; without one the planted box counts
            as found.
        planting: What to plant.
        progress: Called with (films done, films in total).

    Returns:
        Every plant with its truth and verdict.

    Raises:
        InputContractError: If no film could be planted on, or the model lacks the target class.
        FilmChangedError: If a film is not the one that the data set recorded.
    """
    loaded, params, run_seed = subject.model, subject.params, subject.run_seed
    target = target_index(loaded.classifier.class_names, params.target_class)
    order = sorted(subject.films, key=lambda film: derive_seed(run_seed, film.image_id, "planting"))
    skipped: dict[str, str] = {}
    bases: list[tuple[Film, Views, Mask]] = []
    for film in order:
        if len(bases) == planting.n_films:
            break
        try:
            bases.append((film, *_text_free_film(subject, film)))
        except FILM_ERRORS as error:
            skipped[film.image_id] = str(error)
    if not bases:
        raise InputContractError(
            f"planting: none of {len(order)} films can be planted on; expected scanned, readable"
            f" films (first: {next(iter(skipped.values()), 'no film given')})"
        )
    views = np.stack([render_view(pixels, loaded.view) for _, pixels, _ in bases])

    def predict(images: Views) -> NDArray[np.float32]:
        return predict_probabilities(loaded.classifier, images, max_batch=params.max_batch)

    base_rows = predict(views)
    baseline = choose_baseline(
        lambda images: predict(images)[:, target], views, base_rows[:, target], params.baselines
    )
    nothing = make_baseline_views(views, baseline)
    margin = float(compute_margins(log_odds(base_rows, target)[:, None])[0])
    trials: list[Trial] = []
    for i, (film, pixels, taken) in enumerate(bases):
        seed = derive_seed(run_seed, film.image_id, "plant")
        variants = itertools.product(planting.height_shares, planting.contrasts)
        for j, (height_share, contrast) in enumerate(variants):
            content = planting.contents[(i + j) % len(planting.contents)]
            trial = Trial(film, content, height_share, contrast, base_rows[i])
            ground = Ground(pixels, taken, views[i], nothing[i])
            try:
                trials.append(run_trial(trial, ground, subject, predict, seed + j))
            except FILM_ERRORS as error:
                skipped[f"{film.image_id}/{content}"] = str(error)
        if progress is not None:
            progress(i + 1, len(bases))
    plants = [
        plant
        for effect in planting.effects
        for plant in _judge(trials, effect, target, loaded.classifier.class_names, margin, params)
    ]
    return PowerReport(tuple(plants), skipped, baseline)


def write_power(
    out: Path,
    report: PowerReport,
    planting: PlantingParams,
    *,
    run_seed: int,
    inputs: Mapping[str, str] | None = None,
    device: str | None = None,
) -> None:
    """Write ``power.json`` and ``plants.csv`` as an artifact of kind ``"audit_power"``.

    Args:
        out: Folder to make; must not exist.
        report: What planting showed.
        planting: What was planted.
        run_seed: Seed of the run.
        inputs: Names of the artifacts that went in.
        device: What computed it, for the manifest.

    Raises:
        ArtifactError: If the place is taken or cannot be written.
    """
    parameters = {"planting": planting, "run_seed": run_seed}
    with write_artifact(
        out, kind=POWER_KIND, parameters=parameters, inputs=inputs, device=device
    ) as draft:
        write_record(draft.path / POWER_NAME, report.summarise(), ascii_only=False)
        columns = [item.name for item in fields(Plant)]
        with (draft.path / "plants.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([getattr(plant, name) for name in columns] for plant in report.plants)


def _judge(
    trials: Sequence[Trial],
    effect: float,
    target: int,
    class_names: Sequence[str],
    margin: float,
    params: AuditParams,
) -> list[Plant]:
    name = class_names[target]
    answers = [trial.answers(effect, target, class_names, margin) for trial in trials]
    audited = [
        i
        for i, (_, film, evidence) in enumerate(answers)
        if film.predicted_class == name and evidence is not None
    ]
    verdicts: dict[int, str] = {}
    significances = judge_significance([answers[i][2] for i in audited])
    for i, significance in zip(audited, significances, strict=True):
        evidence = answers[i][2]
        if evidence is not None:
            verdicts[i] = decide(
                evidence,
                significance,
                alpha=params.alpha,
                min_drop=params.min_drop,
                strong_drop=params.strong_drop,
            ).verdict
    plants = []
    for i, (trial, (base, film, evidence)) in enumerate(zip(trials, answers, strict=True)):
        predicted = film.predicted_class == name
        drop = film.probability - base.probability
        plants.append(
            Plant(
                image_id=trial.film.image_id,
                content=trial.content,
                height_share=trial.height_share,
                contrast=trial.contrast,
                effect=effect,
                detected=evidence is not None,
                predicted=predicted,
                true_drop=drop,
                driven=base.predicted_class != name or drop >= params.strong_drop,
                verdict=verdicts.get(i, "not_detected") if predicted else "",
            )
        )
    return plants


def _text_free_film(subject: AuditSubject, film: Film) -> tuple[Views, Mask]:
    # The film without its own text, and where nothing may be planted.
    params = subject.params
    found = subject.regions.get(film.image_id)
    if found is None or found.error is not None:
        raise InputContractError(f"planting: film {film.image_id} was not scanned for text")
    pixels = read_film(subject.filmset.file_of(film)).to_uint8()
    height, width = pixels.shape
    mask = regions_to_mask(found.regions, width, height, dilation_px=params.dilation_px)
    if not mask.any():
        return pixels, mask
    filled = inpaint(pixels, mask, method=params.method, radius_px=params.radius_px)
    return np.asarray(filled, np.uint8), mask


def _share(plants: Sequence[Plant]) -> Estimate:
    return wilson_interval(sum(p.verdict == "text_driven" for p in plants), len(plants))


def _words(estimate: Estimate) -> str:
    if not estimate.is_defined:
        return "none of 0"
    return f"{estimate.value:.0%} [{estimate.low:.0%}, {estimate.high:.0%}] of {estimate.n}"
