"""`covid-debug plan`: what a run can show, and what it will cost on this machine.

Counts films without reading them and times one small piece of each expensive stage.
"""

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from covid_debug.arms import ARMS, VERSIONS
from covid_debug.audit.shortcuts import ShortcutParams
from covid_debug.cleaning.policy import find_risks
from covid_debug.cleaning.scar import ProbeParams, estimate_auc
from covid_debug.config.schema import RunConfig
from covid_debug.data.stage import PhantomData
from covid_debug.evaluation.comparison import BASE_ARM, UNSEEN_SOURCE
from covid_debug.evaluation.power import plan_smallest_effect
from covid_debug.evaluation.questions import choose_question
from covid_debug.imaging.reading import FILM_OR_MODEL_ERRORS
from covid_debug.models.catalog import build_backbone
from covid_debug.models.classifier import Classifier
from covid_debug.preflight.checks import RunFacts, check_run, estimate_disk_gb
from covid_debug.saliency.naming import join_titles, title_of
from covid_debug.terminal import format_duration
from covid_debug.text.base import RegionDetector
from covid_debug.text.catalog import build_detector, choose_second, members_of

_N_CLASSES = 3
_FILM_PX = 640  # side of the made films that the detector is timed on
_FILL_S = 0.06  # a film of that side, cleaned again and looked at
_N_GEOMETRY = 19  # numbers that describe the fills of a film
_TIMED_TREES = 10
_LAID_PER_FILM = 48  # evaluations of one model on a film with markers of six other groups
_EXCHANGED_PER_FILM = 33  # evaluations of one model on a film with every attribute exchanged
_AUDITED_SHARE = 0.9  # of the test films, of all classes: with text in the view


def describe_plan(config: RunConfig) -> Iterator[str]:
    """Check a run as it would be checked before its first stage, and estimate it.

    Args:
        config: The run.

    Yields:
        Lines for the terminal; the first ones need no measurement.
    """
    facts = check_run(config)
    n_films, n_test = facts.n_films, facts.n_test
    n_models = len(config.arms) * len(config.seeds)
    n_folds = len(config.choose_folds(facts.folds))
    n_trainings = n_models * (1 + n_folds)
    yield f"{config.name}: about {n_films} films, {n_test} of them for testing"
    folds = f", again without each of at most {n_folds} sources" if n_folds else ""
    yield (
        f"arms {', '.join(config.arms)}; seeds {list(config.seeds)}{folds}: {n_trainings} trainings"
    )
    yield from (f"warning: {risk}" for risk in find_risks(config.cleaning.policy))
    yield from describe_effect(config, facts)
    yield "measuring this machine ..."
    train_s, forward_s = _time_model(config)
    text_s = _time_detector(build_detector(config.text.detector, **config.text.params))
    map_s, map_evaluations, refused = _time_maps(config)
    yield from (f"warning: no {title_of(method)} maps: {why}" for method, why in refused.items())
    n_proved = min(config.proof.max_films, n_films)
    n_train = n_films - n_test
    n_audited = round(n_test * _AUDITED_SHARE)
    n_maps = min(config.audit.max_explained, n_audited)
    n_audits, n_mapped = len(config.audited), len(config.seeds[: config.audited_seeds])
    n_tests = len(list_tests(config))
    n_read = n_films + _count_read(config, n_test)
    stages = {
        "text detection": n_read * text_s / config.compute.n_workers,
        **(
            {f"proof of cleaning ({n_proved} of {n_films} films)": _time_proof(config, n_proved)}
            if n_proved
            else {}
        ),
        "training (all epochs, early stopping may save some)": n_trainings
        * config.training.n_epochs
        * n_train
        * train_s,
        f"text interventions ({n_audits} models)": n_audits
        * n_audited
        * (3 + config.audit.n_nulls)
        * forward_s,
        f"maps by {join_titles(config.audit.map_methods)} (of at most {n_maps} films,"
        f" {n_maps * map_evaluations:,} evaluations)": n_maps * map_s,
        f"markers laid on films of other sources ({n_mapped} models, six groups)": n_mapped
        * n_audited
        * _LAID_PER_FILM
        * forward_s,
        f"shortcut map ({n_mapped} models)": n_mapped
        * min(n_test, ShortcutParams().max_films)
        * _EXCHANGED_PER_FILM
        * forward_s,
        f"comparison ({n_models} models, {n_tests} versions of the test films)": n_models
        * (n_tests * n_test + (n_films if n_folds else 0))
        * forward_s,
    }
    for name, seconds in stages.items():
        yield f"  {name}: {format_duration(seconds)}"
    yield f"  total: about {format_duration(sum(stages.values()))} on {config.compute.device}"
    views_gb, films_gb = estimate_disk_gb(config, facts)
    yield f"disk: {views_gb:.1f} GB of decoded views, about {films_gb:.1f} GB of made films"
    yield f"  at {_FILM_PX} px a side; larger films need more, in proportion to their area"
    yield f"memory: about {_estimate_memory_gb(config):.1f} GB"


def list_tests(config: RunConfig) -> tuple[str, ...]:
    """Return the versions of the test films that every model is tested on, sources left out."""
    twins = ("text_free", "text_swapped") if isinstance(config.data, PhantomData) else ()
    return (BASE_ARM, *config.tests, *twins, *config.external)


def _count_read(config: RunConfig, n_test: int) -> int:
    """Count test films on which text is looked for again, for arms that change what they see."""
    n_arms = sum(VERSIONS[sees].needs_text for arm in config.arms if (sees := ARMS[arm].sees))
    return n_test * (len(list_tests(config)) - 1) * (n_arms > 0)


def describe_effect(config: RunConfig, facts: RunFacts) -> Iterator[str]:
    """Say which questions a run will answer, and the smallest effect that it can show.

    Args:
        config: The run.
        facts: What it will work on.

    Yields:
        Lines for the terminal.
    """
    unseen = (UNSEEN_SOURCE,) if config.leave_out_sources else ()
    cells = {(arm, test) for arm in config.arms for test in (*list_tests(config), *unseen)}
    asked = [
        name for name in config.questions if set(choose_question(name, cells).cells()) <= cells
    ]
    left = [name for name in config.questions if name not in asked]
    not_asked = f"; not asked: {', '.join(left)}" if left else ""
    yield f"questions: {', '.join(asked) or 'none'}{not_asked}"
    n_seeds, n_patients = len(config.seeds), facts.n_test_patients
    if n_seeds == 1:
        yield "smallest effect: one training of each arm gives no verdict; use seeds: [0, 1, 2]"
    elif asked and n_patients > 1:
        smallest = plan_smallest_effect(n_patients, n_seeds, len(asked))
        found = (
            f"differences of {100 * smallest:.1f} points of balanced accuracy are shown in 80 of"
            " 100 such runs, if they spread as on our real films; smaller ones are easily missed"
            if smallest < 1
            else "no difference of balanced accuracy is large enough to be shown in 80 of 100 such"
            " runs; use more seeds"
        )
        yield (
            f"smallest effect: with {n_seeds} seeds and about {n_patients} test patients, {found}"
        )


def _build_model(config: RunConfig) -> Classifier:
    training = config.training
    module = build_backbone(training.arch, _N_CLASSES, training.channels, **training.arch_params)
    size = config.view.image_size
    classifier = Classifier(
        module,
        class_names=("a", "b", "c"),
        image_size=(size, size),
        channels=training.channels,
    )
    return classifier.to(config.compute.device)


def _images(config: RunConfig, n: int) -> torch.Tensor:
    size = config.view.image_size
    generator = torch.Generator().manual_seed(0)
    return torch.rand((n, 1, size, size), generator=generator).to(config.compute.device)


def _time_model(config: RunConfig) -> tuple[float, float]:
    """Return seconds per film of one training step and of one prediction."""
    classifier, n = _build_model(config), config.training.batch_size
    images = _images(config, n)
    labels = torch.zeros(n, dtype=torch.long, device=images.device)

    def step() -> None:
        loss = cross_entropy(classifier.train()(images), labels)
        torch.autograd.backward(loss)

    def predict() -> None:
        with torch.inference_mode():
            classifier.eval()(images)

    times = []
    for work in (step, predict):
        work()
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) / n)
    return times[0], times[1]


def _time_proof(config: RunConfig, n_films: int) -> float:
    """Return seconds: films scanned before and after, cleaned again, a forest a question."""
    used = members_of(build_detector(config.text.detector, **config.text.params))
    scan_s = _time_detector(build_detector(choose_second(used)))
    rows = np.random.default_rng(0).random((n_films, _N_GEOMETRY))
    params = ProbeParams(n_trees=_TIMED_TREES)
    start = time.perf_counter()
    estimate_auc(
        list(rows), [bool(i % 2) for i in range(n_films)], list(map(str, range(n_films))), params
    )
    forest_s = (time.perf_counter() - start) * ProbeParams().n_trees / _TIMED_TREES
    return n_films * (2 * scan_s + _FILL_S) / config.compute.n_workers + (1 + _N_CLASSES) * forest_s


def _time_detector(detector: RegionDetector) -> float:
    film = np.random.default_rng(0).integers(40, 200, (_FILM_PX, _FILM_PX), dtype=np.uint8)
    detector.detect([film])
    start = time.perf_counter()
    detector.detect([film])
    return time.perf_counter() - start


def _time_maps(config: RunConfig) -> tuple[float, int, dict[str, str]]:
    """Return seconds and evaluations of a film's maps, and why a method makes none."""
    classifier = _build_model(config).eval()
    images = _images(config, 2)
    targets = torch.zeros(2, dtype=torch.long, device=images.device)
    refused, n_evaluations = {}, 0
    start = time.perf_counter()
    for method, explainer in config.audit.build_explainers().items():
        try:
            explanation = explainer.explain(classifier, images, targets, seeds=[0, 1])
        except FILM_OR_MODEL_ERRORS as error:
            refused[method] = str(error)
        else:
            n_evaluations += explanation.n_evaluations
    return (time.perf_counter() - start) / 2, n_evaluations // 2, refused


def _estimate_memory_gb(config: RunConfig) -> float:
    size = config.view.image_size
    activations = config.training.batch_size * size**2 * 64 * 4 * 4  # a wide first stage, 4 copies
    return 1.2 + activations / 1e9
