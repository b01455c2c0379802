"""Everything that calls the model in an audit: films under interventions, and their maps.

Owns batching, timing and the isolation of broken films; judges nothing.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.baselines import ChosenBaselines, choose_baselines
from covid_debug.audit.case import Case, Explained
from covid_debug.audit.explanations import explain_films
from covid_debug.audit.inputs import NOT_ASKED, check_size
from covid_debug.audit.interventions import (
    Intervened,
    intervene,
    make_baseline_views,
    text_in_view,
)
from covid_debug.audit.planning import AuditSubject, Prices
from covid_debug.audit.verdicts import Answer, Evidence, log_odds
from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import render_view_mask
from covid_debug.imaging.masks import Mask
from covid_debug.imaging.reading import FILM_OR_MODEL_ERRORS, read_film
from covid_debug.models.inference import predict_probabilities
from covid_debug.models.parallel import ParallelPredictor, single_core_threads
from covid_debug.saliency.base import Explainer
from covid_debug.seeding import derive_seed

GROUP = 8
"""Films that are priced first, and films explained together."""

_WARM_UP_MAPS = 4

Views = NDArray[np.uint8]


class Auditor:
    """Calls the model on intervened and explained films."""

    def __init__(self, subject: AuditSubject, n_workers: int = 2) -> None:
        """Bind the model and the films.

        Args:
            subject: Model, films, their text, and how to audit.
            n_workers: Threads that read films, intervene on them and ask the model.

        Raises:
            InputContractError: If the grid of the maps has more cells than the view has pixels.
        """
        params, self._classifier = subject.params, subject.model.classifier
        side = min(self._classifier.image_size)
        if params.grid_size > side:
            raise InputContractError(
                f"audit: grid_size is {params.grid_size} and the model sees {side} pixels a side;"
                f" expected at most {side}"
            )
        self._subject, self._params = subject, params
        self._n_workers = n_workers
        self._predict = ParallelPredictor(self._classifier, n_workers, max_batch=params.max_batch)
        self._explainers = params.build_explainers()

    def choose_baselines(self, views: Views, probabilities: NDArray[np.float32]) -> ChosenBaselines:
        """Choose for each predicted class what this model does not itself take for it."""

        def predict(images: Views) -> NDArray[np.float32]:
            return predict_probabilities(self._classifier, images, max_batch=params.max_batch)

        params = self._params
        return choose_baselines(
            predict, views, probabilities, params.baselines, self._classifier.class_names
        )

    def measure(self, cases: Sequence[Case]) -> Prices:
        """Do the first group of interventions and the start of a few maps, and time them.

        Args:
            cases: All films to audit; the first ones get their evidence here, for good.

        Returns:
            Cost of one film and of its maps, from a group, so that batching is priced in.
        """
        group = cases[:GROUP]
        if not group:
            return Prices()
        start = time.perf_counter()
        list(self.intervene_on(group))
        prices = Prices(film_s=(time.perf_counter() - start) / len(group))
        usable = [case for case in group if case.error is None][:_WARM_UP_MAPS]
        if not usable or not self._params.max_explained:
            return prices
        priced = [self._price_map(usable, method) for method in self._explainers]
        return replace(
            prices,
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
            self._fill_in(case, item, self._predict(item.stack()))
        except FILM_OR_MODEL_ERRORS as error:
            case.error = str(error)
        return case

    def _make_views(self, case: Case) -> Intervened:
        params = self._params
        found = self._subject.regions[case.film.image_id]
        file = self._subject.filmset.file_of(case.film)
        film = read_film(file).to_uint8()
        check_size(str(file.path), film, found)
        return intervene(
            film,
            found.regions,
            self._subject.model.view,
            n_nulls=params.n_nulls,
            dilation_px=params.dilation_px,
            method=params.method,
            radius_px=params.radius_px,
            seed=derive_seed(case.seed, "nulls"),
            baseline=make_baseline_views(case.view[None], case.baseline)[0],
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
            dilation_px=self._params.dilation_px,
        )
        return render_view_mask(inside, spec)

    def iter_groups(self, cases: Sequence[Case]) -> Iterator[Sequence[Case]]:
        """Yield the films that are explained together."""
        for start in range(0, len(cases), GROUP):
            yield cases[start : start + GROUP]

    def explain(self, group: Sequence[Case], method: str) -> dict[str, Explained]:
        """Explain films together; where that fails, one by one.

        Args:
            group: Films with evidence, of :meth:`iter_groups`.
            method: One of the audit's methods.

        Returns:
            ``image_id`` -> evidence and map, or the error.
        """
        return self._explain_group(group, method, self._explainers[method])

    def _explain_group(
        self, group: Sequence[Case], method: str, explainer: Explainer[Any]
    ) -> dict[str, Explained]:
        try:
            results = explain_films(
                explainer,
                self._classifier,
                np.stack([case.view for case in group]),
                np.concatenate(
                    [make_baseline_views(case.view[None], case.baseline) for case in group]
                ),
                np.stack([self._mark_text(case) for case in group]),
                [case.target for case in group],
                [derive_seed(case.seed, method) for case in group],
                max_batch=self._params.max_batch,
            )
        except FILM_OR_MODEL_ERRORS as error:
            if len(group) == 1:
                return {group[0].film.image_id: str(error)}
            merged: dict[str, Explained] = {}
            for case in group:
                merged |= self._explain_group([case], method, explainer)
            return merged
        return {case.film.image_id: result for case, result in zip(group, results, strict=True)}


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
