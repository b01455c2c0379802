"""Everything that calls the model in an audit: on films, under interventions, for their maps.

Owns batching, timing and the isolation of broken films; judges nothing.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.baselines import ChosenBaselines, choose_baselines
from covid_debug.audit.case import Case, Explained, Predicted
from covid_debug.audit.explanations import explain_films
from covid_debug.audit.inputs import NOT_ASKED, check_size
from covid_debug.audit.interventions import (
    Intervened,
    intervene,
    is_constant,
    make_baseline_views,
    text_in_view,
)
from covid_debug.audit.planning import AuditSubject, Prices, audited_classes, exclude_film
from covid_debug.audit.verdicts import Answer, Evidence, log_odds
from covid_debug.data.views import render_film
from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import render_view, render_view_mask
from covid_debug.imaging.masks import Mask
from covid_debug.imaging.reading import FILM_ERRORS, FILM_OR_MODEL_ERRORS, read_film
from covid_debug.models.parallel import ParallelPredictor, single_core_threads
from covid_debug.records import Film
from covid_debug.saliency.base import Explainer
from covid_debug.seeding import derive_seed

GROUP = 8
"""Films that are priced first, and films explained together.

A map depends in its last bits on the films beside it, so the groups belong to the list of all
explained films: no shard, kill or number of workers cuts one.
"""

_WARM_UP_MAPS = 4


class Auditor:
    """Calls the model on films.

    Attributes:
        params: How to audit.
        prices: What a film costs, once it has been measured.
    """

    def __init__(self, subject: AuditSubject, n_workers: int = 2) -> None:
        """Bind the model and the films.

        Args:
            subject: Model, films, their text, and how to audit.
            n_workers: Threads that read films, intervene on them and ask the model.

        Raises:
            InputContractError: If the model lacks the audited class, or the grid of the maps has
                more cells than the view has pixels.
        """
        params, self._classifier = subject.params, subject.model.classifier
        self._classes = audited_classes(self._classifier.class_names, params.target_class)
        side = min(self._classifier.image_size)
        if params.grid_size > side:
            raise InputContractError(
                f"audit: grid_size is {params.grid_size} and the model sees {side} pixels a side;"
                f" expected at most {side}"
            )
        self._subject, self.params = subject, params
        self._n_workers = n_workers
        self._ask = ParallelPredictor(self._classifier, n_workers, max_batch=params.max_batch)
        self._explainers = params.build_explainers()
        self.prices: Prices | None = None

    def predict(self, films: Sequence[Film]) -> Iterator[Predicted | str]:
        """Ask the model about films as they are, and about what stands for "nothing" on them.

        Args:
            films: Each is a batch of its own, so its answers depend on no other film.

        Yields:
            What the model says of each film, in order, or why it cannot be read.
        """
        with single_core_threads(self._n_workers) as pool:
            yield from pool.map(self._predict_film, films)

    def _predict_film(self, film: Film) -> Predicted | str:
        subject = self._subject
        try:
            view = render_film(subject.filmset.file_of(film), subject.model.view)[None]
        except FILM_ERRORS as error:
            return str(error)
        row = self._ask(view)[0]
        probabilities = tuple(map(float, row))
        if int(row.argmax()) not in self._classes:
            return Predicted(probabilities)
        found = subject.regions.get(film.image_id)
        reason = exclude_film(film, found, subject.model.view, dilation_px=self.params.dilation_px)
        if reason is not None:
            return Predicted(probabilities, reason)
        kinds = [kind for kind in self.params.baselines if not is_constant(kind)]
        said = {kind: self._ask(make_baseline_views(view, kind))[0] for kind in kinds}
        baselines = {kind: tuple(map(float, row)) for kind, row in said.items()}
        return Predicted(probabilities, baselines=baselines)

    def choose_baselines(self, audited: Sequence[Predicted]) -> ChosenBaselines:
        """Choose for each predicted class what this model does not itself take for it.

        Args:
            audited: What the model says of the films to audit.

        Returns:
            The choice.
        """
        names, kinds = self._classifier.class_names, self.params.baselines
        side = self._subject.model.view.image_size
        film = np.zeros((1, side, side), np.uint8)
        with single_core_threads(1) as pool:
            constant = {
                kind: pool.submit(self._ask, make_baseline_views(film, kind)).result()
                for kind in kinds
                if is_constant(kind)
            }
        shape = (len(audited), len(names))
        said = {
            kind: np.broadcast_to(constant[kind], shape)
            if kind in constant
            else _stack([(item.baselines or {})[kind] for item in audited], len(names))
            for kind in kinds
        }
        rows = _stack([item.probabilities for item in audited], len(names))
        return choose_baselines(said, rows, names)

    def measure(self, cases: Sequence[Case]) -> None:
        """Do the first group of interventions and the start of a few maps, and time them.

        Batching is priced in.

        Args:
            cases: Films to audit, at least one; the first ones get their evidence here, for good.
        """
        group = cases[:GROUP]
        start = time.perf_counter()
        list(self.intervene_on(group))
        self.prices = Prices(film_s=(time.perf_counter() - start) / len(group))
        usable = [case for case in group if case.error is None][:_WARM_UP_MAPS]
        if not usable or not self.params.max_explained:
            return
        priced = [self._price_map(usable, method) for method in self._explainers]
        self.prices = replace(
            self.prices,
            map_s=sum(seconds for seconds, _ in priced),
            map_evaluations=sum(n for _, n in priced),
        )

    def _price_map(self, usable: Sequence[Case], method: str) -> tuple[float, int]:
        explainer = self._explainers[method]
        n_iterations = getattr(explainer.params, "n_iterations", None)
        if n_iterations is None:  # nothing to shorten
            return self._time_maps(usable[:1], method, explainer)
        first_s, first_n = self._time_maps(usable, method, _shorten(explainer, 1))
        if n_iterations == 1:
            return first_s, first_n
        n_more = min(3, n_iterations)
        more_s, more_n = self._time_maps(usable, method, _shorten(explainer, n_more))
        factor = (n_iterations - 1) / (n_more - 1)
        return (
            first_s + max(0.0, more_s - first_s) * factor,
            round(first_n + max(0, more_n - first_n) * factor),
        )

    def _time_maps(
        self, group: Sequence[Case], method: str, explainer: Explainer[Any]
    ) -> tuple[float, int]:
        start = time.perf_counter()
        outcomes = self._explain_group(group, method, explainer).values()
        n_evaluations = [item[0].n_evaluations for item in outcomes if not isinstance(item, str)]
        duration_s = (time.perf_counter() - start) / len(group)
        return duration_s, max(n_evaluations, default=0)

    def intervene_on(self, cases: Sequence[Case]) -> Iterator[Case]:
        """Fill in the predictions of the cases under every intervention.

        A film that fails gets its error, the others are unaffected. Each film is a batch of its
        own, so its answers depend on no other film.

        Args:
            cases: Films to intervene on.

        Yields:
            Each film when it is done, in order.
        """
        with single_core_threads(self._n_workers) as pool:
            yield from pool.map(self._intervene_on, cases)

    def _intervene_on(self, case: Case) -> Case:
        try:
            item = self._make_views(case)
            self._fill_in(case, item, self._ask(item.stack()))
        except FILM_OR_MODEL_ERRORS as error:
            case.error = str(error)
        return case

    def _make_views(self, case: Case) -> Intervened:
        params = self.params
        found = self._subject.regions[case.film.image_id]
        file = self._subject.filmset.file_of(case.film)
        film = read_film(file).to_uint8()
        check_size(str(file.path), film, found)
        view = render_view(film, self._subject.model.view)
        return intervene(
            film,
            found.regions,
            self._subject.model.view,
            n_nulls=params.n_nulls,
            dilation_px=params.dilation_px,
            method=params.method,
            radius_px=params.radius_px,
            seed=derive_seed(case.seed, "nulls"),
            baseline=make_baseline_views(view[None], case.baseline)[0],
            others=[region for region, reason in found.rejected if reason == NOT_ASKED],
        )

    def _fill_in(self, case: Case, item: Intervened, rows: NDArray[np.float32]) -> None:
        case.text_area_share = float(item.text_mask.mean())
        case.n_border_matched = item.n_border_matched
        case.evidence = gather_evidence(
            case.probabilities, rows, case.target, self._classifier.class_names, case.margin
        )

    def _mark_text(self, case: Case) -> Mask:
        spec, found = self._subject.model.view, self._subject.regions[case.film.image_id]
        _, inside = text_in_view(
            found.regions,
            found.width,
            found.height,
            spec,
            dilation_px=self.params.dilation_px,
        )
        return render_view_mask(inside, spec)

    def explain(self, group: Sequence[Case], method: str) -> dict[str, Explained]:
        """Explain films together; where that fails, one by one.

        Args:
            group: At most :data:`GROUP` films with evidence.
            method: One of the audit's methods.

        Returns:
            ``image_id`` -> evidence and map, or the error.
        """
        return self._explain_group(group, method, self._explainers[method])

    def _explain_group(
        self, group: Sequence[Case], method: str, explainer: Explainer[Any]
    ) -> dict[str, Explained]:
        filmset, spec = self._subject.filmset, self._subject.model.view
        try:
            views = np.stack([render_film(filmset.file_of(case.film), spec) for case in group])
            nothing = [
                make_baseline_views(view[None], case.baseline)
                for view, case in zip(views, group, strict=True)
            ]
            results = explain_films(
                explainer,
                self._classifier,
                views,
                np.concatenate(nothing),
                np.stack([self._mark_text(case) for case in group]),
                [case.target for case in group],
                [derive_seed(case.seed, method) for case in group],
                max_batch=self.params.max_batch,
            )
        except FILM_OR_MODEL_ERRORS as error:
            if len(group) == 1:
                return {group[0].film.image_id: str(error)}
            merged: dict[str, Explained] = {}
            for case in group:
                merged |= self._explain_group([case], method, explainer)
            return merged
        return {case.film.image_id: result for case, result in zip(group, results, strict=True)}


def _stack(rows: Sequence[Sequence[float]], n_classes: int) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, n_classes)


def _shorten(explainer: Explainer[Any], n_iterations: int) -> Explainer[Any]:
    return type(explainer)(replace(explainer.params, n_iterations=n_iterations))


def gather_evidence(
    probabilities: NDArray[np.float32],
    rows: NDArray[np.float32],
    target: int,
    class_names: Sequence[str],
    margin: float,
) -> Evidence:
    """Sort the answers to one film's views.

    Args:
        probabilities: ``(K,)`` of the film as it is.
        rows: ``(3 + n_nulls, K)`` in the order of :meth:`Intervened.stack`.
        target: Class that the film is audited for.
        class_names: Classes in index order.
        margin: Least effect that is tested for, in log-odds.

    Returns:
        The evidence.
    """
    answers = [
        Answer(float(row[target]), float(log_odds(row, target)), class_names[int(row.argmax())])
        for row in (probabilities, *rows)
    ]
    film, removed, revealed, baseline, *null_removed = answers
    return Evidence(
        target=class_names[target],
        film=film,
        text_removed=removed,
        text_revealed=revealed,
        baseline=baseline,
        null_removed=tuple(null_removed),
        margin=margin,
    )
