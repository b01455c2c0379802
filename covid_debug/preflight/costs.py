"""`covid-debug plan`: what a run can show, and what it will cost on this machine.

Counts films without reading them, and multiplies what :mod:`covid_debug.preflight.timing` measures.
The stages have the names that the run prints, so that both can be held side by side.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from covid_debug.arms import ARMS, VERSIONS
from covid_debug.audit.attributes import ATTRIBUTES
from covid_debug.audit.shortcuts import ShortcutParams
from covid_debug.audit.transfer import TransferParams
from covid_debug.cleaning.policy import find_risks
from covid_debug.clock import NOTHING, Cost
from covid_debug.config.schema import RunConfig
from covid_debug.data.stage import PhantomData
from covid_debug.errors import CovidDebugError
from covid_debug.evaluation.comparison import BASE_ARM, CLEANED_ARM, UNSEEN_SOURCE
from covid_debug.evaluation.power import plan_smallest_effect
from covid_debug.evaluation.questions import choose_question
from covid_debug.imaging.reading import FILM_OR_MODEL_ERRORS
from covid_debug.preflight.checks import check_run
from covid_debug.preflight.facts import RunFacts
from covid_debug.preflight.sample import SampledFilm, list_films
from covid_debug.preflight.sharing import count_devices, count_workers, describe_sharing
from covid_debug.preflight.timing import WorkPrices, measure_prices
from covid_debug.saliency.naming import title_of
from covid_debug.terminal import format_duration
from covid_debug.training.batches import BalancedBatches
from covid_debug.training.checks import find_target_class

_N_NORM_FILMS = 512  # whose statistics end every epoch
_REPORT = Cost(5.0, 5.0)  # figures, tables and MLflow, as benchmarks/plan.md found
_START_PART_S = 1.0  # of a kind of work, where a run measures itself before it starts
_START_FILMS = 8
_LEAST_FILMS = 200  # of a run that does so: a smaller one is over before it is worth knowing


@dataclass(frozen=True, slots=True)
class StageCost:
    """What a numbered stage of a run will cost.

    Attributes:
        shared: Work on single films, which workers share.
        whole: The rest.
    """

    shared: Cost = NOTHING
    whole: Cost = NOTHING

    def clock_s(self, n_workers: int) -> float:
        """Return the seconds by the clock; a worker has one core for itself."""
        one = max(self.shared.clock_s, self.shared.processor_s)
        return one / n_workers + self.whole.clock_s

    @property
    def processor_s(self) -> float:
        """Seconds of the processor, whoever works."""
        return self.shared.processor_s + self.whole.processor_s


def describe_plan(config: RunConfig) -> Iterator[str]:
    """Check a run as it would be checked before its first stage, and estimate it.

    Args:
        config: The run.

    Yields:
        Lines for the terminal; the first ones need no measurement.
    """
    facts = check_run(config)
    config = count_workers(config)
    n_folds = len(config.choose_folds(facts.folds))
    n_trainings = len(config.arms) * len(config.seeds) * (1 + n_folds)
    yield f"{config.name}: about {facts.n_films} films, {facts.n_test} of them for testing"
    folds = f", again without each of at most {n_folds} sources" if n_folds else ""
    yield (
        f"arms {', '.join(config.arms)}; seeds {list(config.seeds)}{folds}: {n_trainings} trainings"
    )
    yield f"films are worked on by {config.compute.describe_runner()}"
    yield from describe_sharing(config)
    yield from (f"warning: {risk}" for risk in find_risks(config.cleaning.policy))
    yield from describe_effect(config, facts)
    yield "measuring this machine on a few of the films ..."
    films = list_films(config)
    prices = measure_prices(config, films, facts.n_test)
    yield from (
        f"warning: no {title_of(method)} maps: {why}" for method, why in prices.refused.items()
    )
    yield from describe_costs(config, plan_stages(config, facts, films, prices))
    yield (
        f"measured on {prices.n_films} films of {prices.megapixels:.2f} megapixels on average,"
        f" {prices.text_share:.0%} with text in the view;"
        f" {prices.map_evaluations:,} model evaluations for the maps of a film"
    )
    views_gb, made_gb = _estimate_disk_gb(config, facts, prices)
    yield f"disk: {views_gb:.2f} GB of decoded views, about {made_gb:.2f} GB of made films"
    yield (
        f"memory: about {prices.memory_gb:.1f} GB in this process, and {prices.worker_gb:.1f} GB in"
        f" each of {config.compute.n_workers} workers while they clean or look for text"
    )


def plan_start(config: RunConfig) -> Mapping[str, StageCost]:
    """Plan a run that is about to start, in some 20 seconds.

    Args:
        config: The run.

    Returns:
        What :func:`plan_stages` returns; nothing for a small run, for one that goes on, and
        where the films or the network fail: the stage that meets them says why.
    """
    facts = check_run(config)
    if facts.n_films < _LEAST_FILMS or (config.data_dir / config.data.key()).exists():
        return {}
    films = list_films(config)
    try:
        prices = measure_prices(
            config, films, facts.n_test, part_s=_START_PART_S, n_sampled=_START_FILMS
        )
    except (CovidDebugError, *FILM_OR_MODEL_ERRORS):
        return {}
    return plan_stages(config, facts, films, prices)


def plan_stages(
    config: RunConfig, facts: RunFacts, films: Sequence[SampledFilm], prices: WorkPrices
) -> dict[str, StageCost]:
    """Multiply prices by what a run will do.

    Args:
        config: The run.
        facts: What it will work on.
        films: What :func:`covid_debug.preflight.sample.list_films` returned.
        prices: What the work costs.

    Returns:
        Title of each numbered stage, as the run prints it -> its cost, in their order.
    """
    n_films, n_test = facts.n_films, facts.n_test
    n_train, n_val = (sum(film.split == split for film in films) for split in ("train", "val"))
    n_audited = round(n_test * prices.text_share)
    pool = prices.start if config.compute.n_workers > 1 else Cost()
    stages = {
        "Ingest and check the films": StageCost(prices.ingest * n_films, prices.listed),
        "Find burned-in text on every film": StageCost(prices.scan * n_films, pool),
    }
    for name in config.made_versions:
        stages[VERSIONS[name].title] = StageCost(
            prices.versions[name] * n_films, prices.version_rest + pool
        )
    n_proved = min(config.proof.max_films, n_films)
    if n_proved:
        per_film = prices.rescan * 2 + prices.versions[CLEANED_ARM]
        forests = prices.forest * (1 + len(facts.class_names))
        stages["Prove: is text left, did cleaning leave a scar?"] = StageCost(
            per_film * n_proved, forests + pool * 2
        )
    stages["Make the versions of the test films"] = _plan_tests(config, prices, n_test)
    epochs = _count_epochs(config, facts, films)
    decoded: set[str] = set()
    for arm in config.arms:
        steps = _share_steps(config, prices.steps[arm] * epochs)
        asked = prices.forward * _count_asked(n_train, n_val)
        training = (steps + asked) * config.training.n_epochs
        for seed in config.seeds:
            new = ARMS[arm].films not in decoded
            decoded.add(ARMS[arm].films)
            views = prices.view * ((n_train + n_val) * new)
            stages[f"Train {arm}, seed {seed}"] = StageCost(views, training + prices.trained)
    folds = config.choose_folds(facts.folds)
    if config.leave_out_sources:
        stages["Train every arm without each source"] = _plan_folds(config, films, folds, prices)
    for arm, seed in config.audited:
        with_maps = (arm, seed) == (BASE_ARM, config.seeds[0])
        n_maps = min(config.audit.max_explained, n_audited) if with_maps else 0
        views = prices.view * (n_test * (seed == config.seeds[0] and not ARMS[arm].training))
        stages[f"Audit: does text drive the {arm} model, seed {seed}?"] = StageCost(
            prices.intervene * n_audited + views, prices.maps * n_maps
        )
    n_mapped = len([arm for arm, _ in config.audited if arm == BASE_ARM])
    groups = Counter((film.source, film.label) for film in films if film.split == "test")
    n_laid = TransferParams().n_draws * len(groups) + 1
    stages["Lay each source's markers on films of the others"] = StageCost(
        (prices.laying - prices.forward * 2) * (n_audited * n_laid),
        prices.forward * (2 * n_audited * n_laid * n_mapped),
    )
    stages["Map what the models rely on"] = StageCost(
        prices.exchange * min(n_test, ShortcutParams().max_films),
        prices.auc * (3 * len(ATTRIBUTES)),
    )
    n_answers = len(config.arms) * len(config.seeds) * len(list_tests(config))
    n_unseen = len(config.arms) * len(config.seeds) * len(folds)
    n_tests = len(list_tests(config))
    stages["Compare the models"] = StageCost(
        prices.view * (n_test * (n_tests - 1)),
        prices.forward * (n_answers * n_test) + prices.score * (n_answers + n_unseen + 5),
    )
    stages["Report"] = StageCost(prices.view * (2 * n_audited), _REPORT)
    return stages


def _share_steps(config: RunConfig, steps: Cost) -> Cost:
    return Cost(steps.clock_s / count_devices(config), steps.processor_s)


def _count_asked(n_train: int, n_val: int) -> int:
    """Count predictions of an epoch besides its steps: batch norm and validation."""
    return min(_N_NORM_FILMS, n_train) + n_val


def _count_epochs(config: RunConfig, facts: RunFacts, films: Sequence[SampledFilm]) -> int:
    """Count the films that an epoch shows, repeats of the target class included."""
    labels = [facts.class_names.index(film.label) for film in films if film.split == "train"]
    training = config.training
    return BalancedBatches(
        np.array(labels),
        target_class=find_target_class(training, facts.class_names),
        target_share=training.target_share,
        batch_size=training.batch_size,
        seed=0,
    ).n_films


def _plan_tests(config: RunConfig, prices: WorkPrices, n_test: int) -> StageCost:
    """Plan the versions that hold test films only, and what arms see of every version."""
    work = Cost()
    for name in config.tests:
        if name not in config.made_versions:
            work += prices.versions[name] * n_test
    for arm in config.arms:
        sees = ARMS[arm].sees
        if sees:
            text = prices.scan * VERSIONS[sees].needs_text
            n_seen = len(list_tests(config)) - 1
            work += (prices.versions[sees] + text) * (n_test * n_seen)
    n_made = len(set(config.tests) - set(config.made_versions))
    return StageCost(work, prices.version_rest * n_made)


def _plan_folds(
    config: RunConfig, films: Sequence[SampledFilm], folds: Sequence[str], prices: WorkPrices
) -> StageCost:
    """Plan the trainings without each source, each of them on the other sources' films."""
    views, whole = Cost(), Cost()
    for source in folds:
        kept = [film for film in films if film.source != source and film.split != "test"]
        n_val = sum(film.split == "val" for film in kept)
        n_train = len(kept) - n_val
        views += prices.view * (len(films) * len({ARMS[arm].films for arm in config.arms}))
        for arm in config.arms:
            steps = _share_steps(config, prices.steps[arm] * n_train)
            epoch = steps + prices.forward * _count_asked(n_train, n_val)
            whole += epoch * (config.training.n_epochs * len(config.seeds))
    return StageCost(views, whole)


def describe_costs(config: RunConfig, stages: Mapping[str, StageCost]) -> Iterator[str]:
    """Say what the stages will cost; those of the same kind together.

    Args:
        config: The run.
        stages: What :func:`plan_stages` returned.

    Yields:
        Lines for the terminal.
    """
    n = config.compute.n_workers
    total = sum(cost.clock_s(n) for cost in stages.values())
    for name, seconds in group_stages({k: cost.clock_s(n) for k, cost in stages.items()}).items():
        if seconds >= 0.01 * total:
            yield f"  {name}: {format_duration(seconds)}"
    alone = format_duration(sum(cost.clock_s(1) for cost in stages.values()))
    processor = format_duration(sum(cost.processor_s for cost in stages.values()))
    yield (
        f"  total: about {format_duration(total)} on {config.compute.device} with {n} workers,"
        f" {alone} with one; {processor} of processor time"
    )


def describe_deviation(
    config: RunConfig, stages: Mapping[str, StageCost], took: Mapping[str, Cost]
) -> Iterator[str]:
    """Hold what a run took against its plan.

    Args:
        config: The run.
        stages: What :func:`plan_start` returned.
        took: Title of each stage -> what it took.

    Yields:
        Lines for the terminal: those above 1 % of the run, and the total.
    """
    n = config.compute.n_workers
    planned = group_stages({name: cost.clock_s(n) for name, cost in stages.items()})
    needed = group_stages({name: cost.clock_s for name, cost in took.items()})
    all_planned, all_needed = sum(planned.values()), sum(needed.values())
    if not all_planned:
        return
    yield f"{'stage':<52} {'planned':>12} {'took':>12}"
    for name, seconds in needed.items():
        expected = planned.get(name, 0.0)
        if max(seconds / all_needed, expected / all_planned) >= 0.01:
            yield f"{name:<52} {format_duration(expected):>12} {format_duration(seconds):>12}"
    total = f"{format_duration(all_planned):>12} {format_duration(all_needed):>12}"
    yield f"{'total':<52} {total} ({all_needed / all_planned - 1:+.0%})"
    planned_s = sum(cost.processor_s for cost in stages.values())
    took_s = sum(cost.processor_s for cost in took.values())
    both = f"{format_duration(planned_s):>12} {format_duration(took_s):>12}"
    yield f"{'processor time':<52} {both} ({took_s / planned_s - 1:+.0%})"


def group_stages(stages: Mapping[str, float]) -> dict[str, float]:
    """Add up the trainings of all arms, and the audits of all models."""
    grouped: dict[str, float] = {}
    for title, seconds in stages.items():
        name = title
        if title.startswith("Train ") and ", seed " in title:
            name = "Train the models"
        elif title.startswith("Audit: "):
            name = "Audit the models"
        grouped[name] = grouped.get(name, 0.0) + seconds
    return grouped


def _estimate_disk_gb(
    config: RunConfig, facts: RunFacts, prices: WorkPrices
) -> tuple[float, float]:
    """Return the gigabytes of decoded views and of made films, as those of the sample."""
    only_tests = set(config.tests) - set(config.made_versions)
    n_folds = len(config.choose_folds(facts.folds))
    n_views = (1 + len(config.made_versions)) * (1 + n_folds) * facts.n_films
    n_views += len(only_tests) * facts.n_test
    made_mb = sum(prices.version_mb[name] for name in config.made_versions) * facts.n_films
    made_mb += sum(prices.version_mb[name] for name in only_tests) * facts.n_test
    return n_views * config.view.image_size**2 / 1e9, made_mb / 1e3


def list_tests(config: RunConfig) -> tuple[str, ...]:
    """Return the versions of the test films that every model is tested on, sources left out."""
    twins = ("text_free", "text_swapped") if isinstance(config.data, PhantomData) else ()
    return (BASE_ARM, *config.tests, *twins, *config.external)


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
