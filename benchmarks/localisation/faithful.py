"""How faithful the kept maps are to the model, beside where they lie: few films, once each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.localisation.lines import GRID, Line
from benchmarks.localisation.measure import Located, Subject, explain_rows, map_path, number
from benchmarks.saliency.runs import MAX_BATCH
from covid_debug.evaluation.deletion_insertion import (
    PerturbationProtocol,
    compute_deletion_insertion,
)
from covid_debug.evaluation.fidelity import measure_infidelity, measure_max_sensitivity
from covid_debug.evaluation.road import measure_road
from covid_debug.journal import Journal
from covid_debug.models.catalog import GRAY_MEAN
from covid_debug.models.scoring import TargetScore
from covid_debug.perturbation.baselines import BaselineSpec, blur_baseline
from covid_debug.records_json import parse_plain
from covid_debug.seeding import derive_seed

MOST_EVALUATIONS = 200
"""Methods that need more images a map are not explained again for their sensitivity."""
_BASELINES = {"blur": BaselineSpec("blur"), "gray": BaselineSpec("constant", GRAY_MEAN)}


@dataclass(frozen=True, slots=True)
class Faithful:
    """How one map stands with its model; None where a number is not defined.

    Attributes:
        key: The map's; names the record.
        deletion: Area on the blurred baseline, lower is better.
        insertion: Area on the blurred baseline, higher is better.
        deletion_gray: The same on mean gray.
        insertion_gray: The same on mean gray.
        road: Mean probability over the shares imputed, lower is better.
        infidelity: At the best scale, in [0, 1], lower is better.
        max_sensitivity: Relative change of the map; None for films and methods left out.
    """

    key: str
    deletion: float | None
    insertion: float | None
    deletion_gray: float | None
    insertion_gray: float | None
    road: float | None
    infidelity: float | None
    max_sensitivity: float | None


def judge(
    subject: Subject,
    line: Line,
    located: Sequence[Located],
    out: Path,
    *,
    n_films: int,
    n_sensitive: int,
    seed: int,
    again: bool,
    say: Callable[[str], None],
) -> list[Faithful]:
    """Measure the kept maps of one line on the first films.

    Args:
        subject: Model and films.
        line: What made the maps.
        located: Its records, in the order of the films.
        out: Folder; films that ``faithful.jsonl`` there holds are not repeated.
        n_films: Most films.
        n_sensitive: Most films that are explained again with noise.
        seed: Run seed.
        again: Measure again.
        say: Receives one line.

    Returns:
        One record a film, of those with a map.
    """
    journal = Journal(out / "faithful.jsonl", "key")
    found = []
    for row, one in enumerate(located[:n_films]):
        if one.refused:
            continue
        if again or one.key not in journal:
            saliency = torch.from_numpy(np.load(map_path(out, one.key)))[None, None]
            is_tried = row < n_sensitive and one.evaluations <= MOST_EVALUATIONS
            journal.add(asdict(_judge_film(subject, line, row, saliency, one.key, is_tried, seed)))
        found.append(parse_plain(journal[one.key], Faithful))
    road = [one.road for one in found if one.road is not None]
    say(f"{line.name}: {len(found)} films judged, ROAD {np.mean(road) if road else math.nan:.3f}")
    return found


def _judge_film(
    subject: Subject, line: Line, row: int, saliency: Tensor, key: str, is_tried: bool, seed: int
) -> Faithful:
    films = subject.films
    images, targets = films.images[row : row + 1], films.targets[row : row + 1]
    saliency = saliency.to(images)
    draw = derive_seed(seed, films.names[row], "faithful")
    subject.classifier.eval()
    score = TargetScore(subject.classifier, targets, max_batch=MAX_BATCH)
    areas: dict[str, float | None] = {}
    for name, spec in _BASELINES.items():
        protocol = PerturbationProtocol(
            n_steps=20,
            deletion_baseline=spec,
            insertion_baseline=spec,
            grid_size=min(GRID, images.shape[-1]),
            n_order_pairs=1,
        )
        scores = compute_deletion_insertion(score, images, saliency, protocol)
        suffix = "" if name == "blur" else f"_{name}"
        areas[f"deletion{suffix}"] = number(scores.deletion_score[0])
        areas[f"insertion{suffix}"] = number(scores.insertion_score[0])
    road = measure_road(score, images, saliency, seeds=[draw])
    infidelity = measure_infidelity(score, images, saliency, blur_baseline(images), seeds=[draw])
    sensitivity = None
    if is_tried and line.method:
        worst = measure_max_sensitivity(
            lambda changed: explain_rows(subject, line, changed, [row], seed).saliency,
            images,
            saliency,
            seeds=[draw],
            n_draws=4,
        )
        sensitivity = number(worst[0])
    return Faithful(
        key=key,
        **areas,
        road=number(road[0].mean()),
        infidelity=number(infidelity[0]),
        max_sensitivity=sensitivity,
    )
