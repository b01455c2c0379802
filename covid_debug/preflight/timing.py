"""Times every kind of work of a run, on a few of its films and with what the run would use."""

import resource
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from covid_debug.arms import ARMS, VERSIONS, arm_training
from covid_debug.audit.auditor import Auditor
from covid_debug.audit.case import Case
from covid_debug.audit.inputs import choose_kinds
from covid_debug.audit.planning import AuditSubject, exclude_film
from covid_debug.audit.shortcuts import ShortcutParams, ShortcutsRequest
from covid_debug.audit.transfer import draw_layings
from covid_debug.audit.transfer_stage import TransferRequest
from covid_debug.clock import NOTHING, Cost, TickingListener, measure, now
from covid_debug.config.schema import RunConfig
from covid_debug.data.filmset import FilmSet
from covid_debug.data.views import render_film
from covid_debug.errors import CovidDebugError, DataIntegrityError
from covid_debug.evaluation.comparison import CLEANED_ARM
from covid_debug.imaging.reading import FILM_OR_MODEL_ERRORS
from covid_debug.imaging.regions import write_regions
from covid_debug.models.checkpoint import LoadedModel, load_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.models.inference import predict_probabilities, to_canonical
from covid_debug.preflight.joint_work import peak_gb, time_auc, time_forest, time_pool, time_score
from covid_debug.preflight.sample import Sample, SampledFilm, take_sample, write_sample
from covid_debug.records import Film, FilmRegions
from covid_debug.stages import Means
from covid_debug.text.catalog import build_detector, choose_second, members_of
from covid_debug.text.scan import scan_films
from covid_debug.training.loop import train_classifier
from covid_debug.training.params import EpochMetrics, TrainingParams

Views = NDArray[np.uint8]
_N_INTERVENED = 6  # films at most
_N_TRAINED = 96  # films of a timed epoch at most


@dataclass(frozen=True)
class WorkPrices:
    """What each kind of work costs; of a film unless said otherwise.

    Attributes:
        n_films: Films that were measured.
        text_share: Share of them with text inside the model's view.
        megapixels: Their mean size.
        ingest: Reading or making one.
        scan: Looking for its text.
        rescan: The same by the second detector.
        versions: Name -> making that version of it.
        version_rest: Making a version besides its films.
        listed: Ingest besides the films.
        trained: A training besides its epochs.
        version_mb: Name -> megabytes of the film made.
        view: Decoding its view.
        steps: Arm -> a film of a training epoch.
        forward: A prediction.
        intervene: All interventions on it.
        maps: Its maps by all methods.
        map_evaluations: Model evaluations of these.
        refused: Method -> why it makes no map.
        laying: Laying one marker and its shuffled twin on it.
        exchange: Exchanging every attribute of it.
        forest: A question of the proof, about all its films.
        score: Bootstrap of one model's answers on one version of the test films.
        auc: An attribute of the shortcut map, read from views of the films.
        start: Starting a pool of workers.
        memory_gb: Most memory that this process held.
        worker_gb: About what a worker holds that looks for text.
    """

    n_films: int
    text_share: float
    megapixels: float
    ingest: Cost
    scan: Cost
    rescan: Cost
    versions: Mapping[str, Cost]
    version_rest: Cost
    listed: Cost
    trained: Cost
    version_mb: Mapping[str, float]
    view: Cost
    steps: Mapping[str, Cost]
    forward: Cost
    intervene: Cost
    maps: Cost
    map_evaluations: int
    refused: Mapping[str, str]
    laying: Cost
    exchange: Cost
    forest: Cost
    score: Cost
    auc: Cost
    start: Cost
    memory_gb: float
    worker_gb: float


def measure_prices(
    config: RunConfig,
    films: Sequence[SampledFilm],
    n_test: int,
    *,
    part_s: float = 3.0,
    n_sampled: int = 24,
) -> WorkPrices:
    """Measure what a run costs, on a few of its films, in a folder that is deleted again.

    Args:
        config: The run.
        films: What :func:`covid_debug.preflight.sample.list_films` returned.
        n_test: Test films of the run.
        part_s: Seconds after which a kind of work is measured no longer.
        n_sampled: Films at most.

    Returns:
        The prices.

    Raises:
        CovidDebugError: If the films cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="covid-debug-plan-") as folder:
        sample = take_sample(config, films, Path(folder, "all"), n_sampled)
        return _Measuring(config, sample, Path(folder), part_s).measure(n_test, len(films))


class _Measuring:
    """One measurement: films, their text, and a model that was trained for a moment."""

    def __init__(self, config: RunConfig, sample: Sample, folder: Path, part_s: float) -> None:
        self._config, self._folder, self._part_s = config, folder, part_s
        self._read, self._listed = sample.read, sample.listed
        before_gb = peak_gb()
        self._scan, self._regions = self._find_text(sample.filmset)
        self._detector_gb = peak_gb() - before_gb
        films = [film for film in sample.filmset.films if film.image_id in self._regions]
        self._filmset = write_sample(folder / "films", films, sample.filmset.class_names)
        self._films: tuple[Film, ...] = self._filmset.films
        write_regions(folder / "regions.jsonl", self._regions.values())
        self._means = Means(cache_dir=folder / "views", n_workers=1, device=config.compute.device)

    def measure(self, n_test: int, n_films: int) -> WorkPrices:
        config = self._config
        versions, rest, sizes = self._make_versions()
        view, views = self._decode()
        model, steps, trained, forward = self._train(views)
        in_view, intervene, maps, n_evaluations, refused = self._audit(model, views)
        laying, exchange = self._ask_stages()
        n_proved = min(config.proof.max_films, n_films)
        is_own = config.compute.runner == "processes"
        start = time_pool(config.compute.n_workers) if is_own else NOTHING
        return WorkPrices(
            n_films=len(self._films),
            text_share=in_view / len(self._films),
            megapixels=float(np.mean([film.width * film.height for film in self._films])) / 1e6,
            ingest=self._read,
            scan=self._scan,
            rescan=self._scan_again() if n_proved else NOTHING,
            versions=versions,
            version_rest=rest,
            listed=self._listed,
            trained=trained,
            version_mb=sizes,
            view=view,
            steps=steps,
            forward=forward,
            intervene=intervene,
            maps=maps,
            map_evaluations=n_evaluations,
            refused=refused,
            laying=laying,
            exchange=exchange,
            forest=time_forest(n_proved) if n_proved else NOTHING,
            score=time_score(n_test, self._filmset.class_names),
            auc=time_auc(min(n_test, ShortcutParams().max_films)),
            start=start,
            memory_gb=peak_gb(),
            worker_gb=self._detector_gb + peak_gb(resource.RUSAGE_CHILDREN),
        )

    def _find_text(self, filmset: FilmSet) -> tuple[Cost, dict[str, FilmRegions]]:
        """Look for text until the time is over; the first film warms up and does not count."""
        text = self._config.text
        pairs = [(film.image_id, filmset.file_of(film)) for film in filmset.films]
        found: dict[str, FilmRegions] = {}
        start, spent = now(), Cost()
        for record in scan_films(pairs, text.detector, text.params, contents=text.build_reader()):
            if record.error is None:
                found[record.image] = record
            if len(found) <= 1:
                start = now()
                continue
            spent = now() - start
            if spent.clock_s > 3 * self._part_s and len(found) > 3:
                break
        return spent * (1 / max(len(found) - 1, 1)), found

    def _scan_again(self) -> Cost:
        used = members_of(build_detector(self._config.text.detector, **self._config.text.params))
        pairs = [(film.image_id, self._filmset.file_of(film)) for film in self._films]
        found = scan_films(pairs, choose_second(used))
        next(found)
        start, n = now(), 0
        for _ in found:
            n += 1
            if (now() - start).clock_s > self._part_s:
                break
        return (now() - start) * (1 / n)

    def _make_versions(self) -> tuple[dict[str, Cost], Cost, dict[str, float]]:
        """Make every version of the films that the run makes."""
        config = self._config
        names = {*config.made_versions, *config.tests}
        names |= {sees for arm in config.arms if (sees := ARMS[arm].sees)}
        costs: dict[str, Cost] = {}
        sizes: dict[str, float] = {}
        rest = NOTHING
        for name in sorted(names, key=lambda name: name != CLEANED_ARM):
            ticks = TickingListener()
            request = VERSIONS[name].request(
                self._filmset.root, self._folder / "regions.jsonl", config.cleaning, config.run_seed
            )
            means = replace(self._means, listener=ticks)
            try:
                request.make(self._folder / name, means)
            except DataIntegrityError:
                # So few films may have no text to exchange; it is taken off like any other.
                costs[name], sizes[name] = costs[CLEANED_ARM], sizes[CLEANED_ARM]
                continue
            costs[name], rest = ticks.per_item, ticks.measure_rest()
            made = [path.stat().st_size for path in (self._folder / name).rglob("*.png")]
            sizes[name] = sum(made) / len(self._films) / 1e6
        return costs, rest, sizes

    def _decode(self) -> tuple[Cost, Views]:
        spec = self._config.view
        files = [self._filmset.file_of(film) for film in self._films]
        render_film(files[0], spec)
        start = now()
        views = np.stack([render_film(file, spec) for file in files])
        return (now() - start) * (1 / len(files)), views

    def _train(self, views: Views) -> tuple[LoadedModel, dict[str, Cost], Cost, Cost]:
        """Train every recipe for a moment.

        Returns:
            The original arm's model, a film's cost in an epoch by arm, that of a training besides
            its epochs, and that of a prediction.
        """
        config = self._config
        names = self._filmset.class_names
        n = min(2 * config.training.batch_size, _N_TRAINED)
        many = np.resize(views, (n, *views.shape[1:]))
        labels = np.arange(n) % len(names)
        recipes = {arm: arm_training(config.training, arm) for arm in config.arms}
        per_film: dict[str, Cost] = {}
        seen: dict[str, Cost] = {}
        model: LoadedModel | None = None
        forward = trained = NOTHING
        for arm, recipe in recipes.items():
            key = repr(recipe.mitigation)
            if key not in seen:
                folder = self._folder / f"model-{arm}"
                epoch, rest = self._time_epoch(recipe, many, labels, folder)
                if model is None:
                    trained = rest
                    model = load_checkpoint(folder, device=config.compute.device)
                    predict = partial(predict_probabilities, model.classifier, many)
                    forward = measure(predict, self._part_s / 2) * (1 / n)
                # An epoch ends with the batch norm's films, as many again, and validation.
                seen[key] = (epoch - forward * (n + len(names))) * (1 / n)
            per_film[arm] = seen[key]
        assert model is not None  # noqa: S101 - a run has at least the original arm
        return model, per_film, trained, forward

    def _time_epoch(
        self, recipe: TrainingParams, views: Views, labels: NDArray[np.int64], folder: Path
    ) -> tuple[Cost, Cost]:
        """Return the cost of the second epoch, as the first one warms up, and that of the rest."""
        start = now()
        ends: list[Cost] = []

        def note(_: EpochMetrics) -> None:
            ends.append(now())

        names = self._filmset.class_names
        timed = replace(recipe, n_epochs=2, patience=2, target_share=None)
        grouped = recipe.mitigation.needs_sources or recipe.mitigation.sampling == "source"
        sources = [str(i // len(names) % 2) for i in range(len(views))]
        train_classifier(
            views,
            labels,
            views[: len(names)],
            labels[: len(names)],
            names,
            timed,
            seed=0,
            view=self._config.view,
            out=folder,
            on_epoch=note,
            device=self._config.compute.device,
            train_sources=sources if grouped else None,
            val_sources=sources[: len(names)] if grouped else None,
            train_text_free=views if recipe.mitigation.needs_text_free else None,
        )
        epoch = ends[1] - ends[0]
        return epoch, now() - start - epoch * 2

    def _audit(
        self, model: LoadedModel, views: Views
    ) -> tuple[int, Cost, Cost, int, dict[str, str]]:
        """Intervene on films and explain one.

        Returns:
            Films with text in the view; cost of the interventions on one and of its maps; model
            evaluations of these; why a method makes no map.
        """
        config, classifier = self._config, model.classifier
        regions = choose_kinds(self._regions, config.audit.kinds)
        picked = [
            i
            for i, film in enumerate(self._films)
            if exclude_film(
                film,
                regions.get(film.image_id),
                config.view,
                dilation_px=config.audit.dilation_px,
            )
            is None
        ]
        rows = picked[:_N_INTERVENED] or [0]
        probabilities = predict_probabilities(classifier, views)
        cases = [
            Case(self._films[i], probabilities[i], i, 0, config.audit.baselines[0]) for i in rows
        ]
        subject = AuditSubject(
            model, self._filmset, self._films, regions, config.audit, config.run_seed
        )
        done = Auditor(subject, 1).intervene_on([cases[0], *cases])
        next(done)
        start, n_done = now(), len(list(done))
        intervene = (now() - start) * (1 / n_done)
        if not config.audit.max_explained:
            return len(picked), intervene, NOTHING, 0, {}
        return len(picked), intervene, *_time_maps(config, classifier, views[rows[:2]])

    def _ask_stages(self) -> tuple[Cost, Cost]:
        """Lay markers, and exchange attributes, between the films; by one model."""
        config, checkpoint = self._config, self._folder / f"model-{self._config.arms[0]}"
        regions = self._folder / "regions.jsonl"
        laid = draw_layings(self._films, 4, config.run_seed)
        laying = exchange = NOTHING
        with suppress(CovidDebugError):  # a sample without text in the view has no markers
            start = now()
            TransferRequest(
                (checkpoint,), self._filmset.root, regions, run_seed=config.run_seed
            ).make(self._folder / "transfer", self._means)
            laying = (now() - start) * (1 / (len(laid) + len(self._films)))
        # The map also asks what the source says, as learnt on training films.
        films = [replace(f, split="train") for f in self._films[:2]]
        films += self._films[2:]
        mixed = write_sample(self._folder / "mixed", films, self._filmset.class_names)
        with suppress(CovidDebugError):
            start = now()
            ShortcutsRequest((checkpoint,), mixed.root, regions, run_seed=config.run_seed).make(
                self._folder / "shortcuts", self._means
            )
            exchange = (now() - start) * (1 / (len(self._films) - 2))
        return laying, exchange


def _time_maps(
    config: RunConfig, classifier: Classifier, views: Views
) -> tuple[Cost, int, dict[str, str]]:
    """Return cost and evaluations of a film's maps, and why a method makes none."""
    images = to_canonical(views, classifier.device)
    targets = torch.zeros(len(views), dtype=torch.long, device=images.device)
    refused, n_evaluations = {}, 0
    start = now()
    for method, explainer in config.audit.build_explainers().items():
        try:
            explanation = explainer.explain(
                classifier, images, targets, seeds=list(range(len(views)))
            )
        except FILM_OR_MODEL_ERRORS as error:
            refused[method] = str(error)
        else:
            n_evaluations += explanation.n_evaluations
    return (now() - start) * (1 / len(views)), n_evaluations // len(views), refused
